// Runs on disk: a folder for each in the runs directory, named by the run's ULID.
//
//   run.json         the record          result.json      the result, as the hatch wrote it
//   result.txt       its text            rendering.NAME   other renderings
//   events           what it told (journal.hpp)
//   artifacts/N      files of the run, named by number
//
// What is small lies in the record, as a member `texts` with a text for each of these files (Run::texts), and is read as
// if it were a file; making, syncing and renaming one takes longer than a whole short run.
//
// Beside them lie `keys`, the idempotency keys (keys.hpp), and `ends`, records whose sync in their folder nobody waits for
// (ends.hpp).
//
// A file is written beside its place and renamed, so that a reader, and a start after a power cut, sees the old one
// or the new one and never half of it (rename(2); the folder is synced so that the rename itself lasts). What grows is a
// journal, whose torn end is cut.
//
// Every function but set_min_free() blocks and none has other state, so they are called from the thread pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.hpp"
#include "base/fd.hpp"
#include "runs/ends.hpp"
#include "runs/run.hpp"

namespace hatchd::runs {

// Below so much free space nothing large is begun.
struct MinFree {
  unsigned percent = 0;  // of the file system
  std::uint64_t bytes = 0;
};
// "5%", or a size, which the caller has read already.
MinFree min_free_of(std::string_view text, std::optional<std::uint64_t> size);

using Files = std::map<std::string, std::string>;  // texts by the names of their files

class Disk {
 public:
  static constexpr std::size_t max_record = 1024 * 1024;
  static constexpr std::size_t max_file = 256 * 1024 * 1024;  // results and renderings, pretty

  // The descriptor stays the caller's.
  static Result<Disk> open(int directory, MinFree min_free = {});

  // Less than min_free is left, or nothing.
  bool low() const;
  // From now on, for every thread.
  void set_min_free(MinFree min_free);

  // `durable`, here and below: on return it outlasts a power cut, where what it lies in does. Otherwise it outlasts the
  // process only.
  Result<void> create(const std::string& id, bool durable) const;
  Result<void> write(const std::string& id, const std::string& file, std::string_view text, bool durable) const;
  // Several, all of them or none.
  Result<void> write(const std::string& id, const Files& files, bool durable) const;
  // How large it became.
  Result<std::uint64_t> write_record(const Run& run, bool durable) const;
  // A new run: its folder and its record; how large that became. After a failure some of it may be there.
  Result<std::uint64_t> begin(const Run& run, bool durable) const;
  // A run that is over: `files`, and then the record that names them, with as few syncs as can be; its events are synced,
  // too. How large the record became. Where it does not fit, nothing is changed.
  Result<std::uint64_t> end(const Run& run, const Files& files, bool durable) const;
  // One that is in its record as a whole, durably, by way of `ends`: the place is to be held until settle() has synced the
  // folder. No place: there was none, and the folder is synced.
  Result<std::uint64_t> end(const Run& run, std::shared_ptr<Ends::Place>& place) const;
  // A run whose end a power cut left in `ends` alone, which goes to its folder by this; where it cannot, the place is kept.
  std::optional<Run> restore_end(const std::string& id) const;
  Ends& ends() const { return *ends_; }
  // Adds whole entries to a journal; what could not be written whole is taken back.
  Result<void> append(const std::string& id, const std::string& file, std::string_view entries, bool durable) const;
  // Syncs what was written without `durable`: results, then the record, then the folder. A folder that is gone has
  // nothing to lose.
  Result<void> settle(const std::string& id) const;
  // Cuts off what is torn at the end of a journal.
  void mend(const std::string& id, const std::string& file) const;
  // A file of the run, or what the record has in its place.
  Result<std::string> read(const std::string& id, const std::string& file) const;
  // The same, to be read piece by piece.
  Result<UniqueFd> open_file(const std::string& id, const std::string& file) const;
  // `size`: how large the record is.
  Result<Run> read_record(const std::string& id, std::uint64_t* size = nullptr) const;

  // The run gets `writer`, which cannot read; `reader` is for the hash.
  struct ArtifactFile {
    UniqueFd writer, reader;
  };
  Result<ArtifactFile> create_artifact(const std::string& id, unsigned number) const;
  Result<UniqueFd> open_artifact(const std::string& id, unsigned number) const;
  // On return the file's name outlasts a power cut, with the names above it; its content is seal()'s affair.
  Result<void> sync_artifacts(const std::string& id) const;
  void remove_artifact(const std::string& id, unsigned number) const;

  // With whatever lies in the folder; of links only the link. A folder that is gone is no failure.
  Result<void> remove(const std::string& id) const;

  // Names of run folders, sorted; what is not a ULID is somebody else's and left alone. `error`: the errno for which some
  // may be missing, or 0.
  std::vector<std::string> ids(int* error = nullptr) const;
  // Clears what an interrupted write left behind; removes a folder without a record (its creation or its removal was
  // interrupted, or a power cut came before the record was on disk). False when the folder is gone; a problem when that
  // cannot be told, or it cannot be removed.
  Result<bool> tidy(const std::string& id) const;
  // Takes out of `run` what a power cut came before: a result or renderings whose files are absent or empty. True when
  // there was such.
  bool tidy_result(Run& run) const;
  // Removes artifacts that the record does not name: they were never committed, or their removal was interrupted.
  void tidy_artifacts(const Run& run) const;
  // What the folder takes on the disk, as far as that can be seen.
  std::uint64_t bytes_of(const std::string& id) const;

  // The runs directory itself, for what stands beside the runs.
  int directory() const { return runs_.get(); }

 private:
  explicit Disk(UniqueFd runs) : runs_(std::move(runs)), ends_(std::make_unique<Ends>(runs_.get())) {}
  Result<UniqueFd> folder(const std::string& id) const;
  std::optional<std::string> text_in_record(const std::string& id, const std::string& file) const;

  struct Least {
    std::atomic<unsigned> percent;
    std::atomic<std::uint64_t> bytes;
  };
  UniqueFd runs_;
  std::unique_ptr<Ends> ends_;
  std::unique_ptr<Least> least_ = std::make_unique<Least>();
};

// Writes a file beside its place, syncs it when `durable`, and renames it; syncs the directory, too.
Result<void> replace_file(int directory, const std::string& file, std::string_view text, bool durable);
// Adds to a file, in one piece or not at all.
Result<void> append_file(int directory, const std::string& file, std::string_view text, bool durable);

// The file of a rendering.
std::string rendering_file(std::string_view name);

// An artifact's digest as it lies on disk. follow() hashes what has come so far, so that little is left for seal(); only
// a file that is appended to may be followed, since what was hashed is not looked at again.
class Seal {
 public:
  Result<void> follow(int fd, std::uint64_t most = UINT64_MAX);
  // Syncs it and hashes the rest, as far as it is long at the call.
  Result<void> seal(int fd);

  std::uint64_t bytes() const { return bytes_; }
  std::string hex() { return digest_.hex(); }

 private:
  Sha256 digest_;
  std::uint64_t bytes_ = 0;
};

}  // namespace hatchd::runs
