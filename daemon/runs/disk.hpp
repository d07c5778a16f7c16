// Runs on disk: a folder for each in the runs directory, named by the run's ULID.
//
//   run.json         the record          result.json      the result, pretty at indent 1, ready to stand in the run
//   result.txt       its text            rendering.NAME   other renderings
//   artifacts/N      files of the run, named by number
//
// A file is written beside its place and renamed, so that a reader, and a start after a power cut, sees the old one
// or the new one and never half of it (rename(2); the folder is synced so that the rename itself lasts).
//
// Every function blocks and none has state, so they are called from the thread pool.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "runs/run.hpp"

namespace hatchd::runs {

class Disk {
 public:
  static constexpr std::size_t max_record = 1024 * 1024;
  static constexpr std::size_t max_file = 256 * 1024 * 1024;  // results and renderings, pretty

  // The descriptor stays the caller's.
  static Result<Disk> open(int directory);

  Result<void> create(const std::string& id) const;
  // `durable`: on return it outlasts a power cut, and so does the run's folder. Otherwise it outlasts the process only.
  Result<void> write(const std::string& id, const std::string& file, std::string_view text, bool durable) const;
  Result<void> write_record(const Run& run, bool durable) const;
  void remove_file(const std::string& id, const std::string& file) const;
  Result<std::string> read(const std::string& id, const std::string& file) const;
  Result<Run> read_record(const std::string& id) const;

  // The run gets `writer`, which cannot read; `reader` is for the hash.
  struct ArtifactFile {
    UniqueFd writer, reader;
  };
  Result<ArtifactFile> create_artifact(const std::string& id, unsigned number) const;
  Result<UniqueFd> open_artifact(const std::string& id, unsigned number) const;
  void remove_artifact(const std::string& id, unsigned number) const;

  void remove(const std::string& id) const;

  // Names of run folders, sorted; what is not a ULID is somebody else's and left alone.
  std::vector<std::string> ids() const;
  // Clears what an interrupted write left behind; removes a folder without a record (its creation or its removal was
  // interrupted). False when the folder is gone.
  bool tidy(const std::string& id) const;

 private:
  explicit Disk(UniqueFd runs) : runs_(std::move(runs)) {}
  Result<UniqueFd> folder(const std::string& id) const;

  UniqueFd runs_;
};

// The file of a rendering.
std::string rendering_file(std::string_view name);

// Syncs an artifact and hashes it as it lies on disk, as long as it is at the call.
struct Digest {
  std::uint64_t bytes = 0;
  std::string sha256;
};
Result<Digest> seal_artifact(int fd);

}  // namespace hatchd::runs
