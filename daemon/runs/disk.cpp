#include "runs/disk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <memory>

#include "base/json.hpp"

namespace hatchd::runs {

namespace {

// The code for a write that failed: a full disk is the operator's to solve and has a status of its own.
tl::unexpected<Problem> refuse_write(const std::string& what) {
  const int error = errno;
  const bool full = error == ENOSPC || error == EDQUOT;
  return refuse(
      full ? "no-space" : "internal", what + ": " + errno_text(error),
      full ? "make room in runs.directory, or lower runs.keep" : "look at the rights and the health of runs.directory");
}

UniqueFd open_directory(int at, const char* path) {
  return UniqueFd{::openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
}

// Names in a directory without "." and "..".
std::vector<std::string> names_in(int directory) {
  std::vector<std::string> names;
  // A descriptor of its own: readdir() moves the position, which a dup() would share.
  UniqueFd own = open_directory(directory, ".");
  DIR* stream = own ? ::fdopendir(own.get()) : nullptr;
  if (!stream) return names;
  own.release();
  const Defer close{[stream] { ::closedir(stream); }};
  while (const dirent* entry = ::readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

std::string artifact_path(unsigned number) { return "artifacts/" + std::to_string(number); }

constexpr std::string_view temporary = ".tmp";
constexpr std::string_view record_file = "run.json";

}  // namespace

std::string rendering_file(std::string_view name) {
  return name == "text" ? "result.txt" : "rendering." + std::string(name);
}

Result<Disk> Disk::open(int directory) {
  UniqueFd runs = open_directory(directory, ".");
  if (!runs) return refuse_write("cannot open the runs directory");
  return Disk{std::move(runs)};
}

Result<UniqueFd> Disk::folder(const std::string& id) const {
  // Ids come from URLs, too: what is not a ULID never becomes a path.
  if (!is_ulid(id)) return refuse("run-unknown", "there is no such run");
  UniqueFd fd = open_directory(runs_.get(), id.c_str());
  if (!fd) return refuse("run-unknown", "there is no such run");
  return fd;
}

Result<void> Disk::create(const std::string& id) const {
  if (::mkdirat(runs_.get(), id.c_str(), 0700) != 0) return refuse_write("cannot make the run's folder");
  return {};
}

Result<void> Disk::write(const std::string& id, const std::string& file, std::string_view text, bool durable) const {
  // What could not be read back is not written.
  if (text.size() > (file == record_file ? max_record : max_file))
    return refuse("no-space", file + " would have " + std::to_string(text.size()) + " bytes, which is too large");
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  const std::string beside = file + std::string(temporary);
  const int at = directory->get();
  UniqueFd fd{::openat(at, beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!fd || !write_all(fd.get(), text) || (durable && ::fsync(fd.get()) != 0)) {
    auto problem = refuse_write("cannot write " + file);
    ::unlinkat(at, beside.c_str(), 0);
    return problem;
  }
  if (::renameat(at, beside.c_str(), at, file.c_str()) != 0) return refuse_write("cannot rename " + file);
  if (durable && (::fsync(at) != 0 || ::fsync(runs_.get()) != 0)) return refuse_write("cannot sync the run's folder");
  return {};
}

Result<void> Disk::write_record(const Run& run, bool durable) const {
  return write(run.id, std::string(record_file), pretty(to_record(run)) + "\n", durable);
}

void Disk::remove_file(const std::string& id, const std::string& file) const {
  if (auto directory = folder(id)) ::unlinkat(directory->get(), file.c_str(), 0);
}

Result<std::string> Disk::read(const std::string& id, const std::string& file) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  return read_file_at(directory->get(), file.c_str(), max_file);
}

Result<Run> Disk::read_record(const std::string& id) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  auto text = read_file_at(directory->get(), "run.json", max_record);
  if (!text) return tl::unexpected(text.error());
  auto value = parse_json(*text);
  if (!value) return tl::unexpected(value.error());
  if (!value->is_object()) return refuse("malformed", "not the record of a run");
  auto run = from_record(value->get_object());
  if (run && run->id != id) return refuse("malformed", "the record of another run");
  return run;
}

Result<Disk::ArtifactFile> Disk::create_artifact(const std::string& id, unsigned number) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  if (::mkdirat(directory->get(), "artifacts", 0700) != 0 && errno != EEXIST)
    return refuse_write("cannot make artifacts/");
  const std::string path = artifact_path(number);
  ArtifactFile file;
  file.writer =
      UniqueFd{::openat(directory->get(), path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!file.writer) return refuse_write("cannot make the artifact");
  file.reader = UniqueFd{::openat(directory->get(), path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!file.reader) return refuse_write("cannot open the artifact");
  return file;
}

Result<UniqueFd> Disk::open_artifact(const std::string& id, unsigned number) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  UniqueFd fd{::openat(directory->get(), artifact_path(number).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return refuse("run-unknown", "the artifact's file is no longer there");
  return fd;
}

void Disk::remove_artifact(const std::string& id, unsigned number) const {
  if (auto directory = folder(id)) ::unlinkat(directory->get(), artifact_path(number).c_str(), 0);
}

void Disk::remove(const std::string& id) const {
  auto directory = folder(id);
  if (!directory) return;
  const int at = directory->get();
  // The record first: a folder without one is what tidy() clears, should we be interrupted here.
  ::unlinkat(at, "run.json", 0);
  if (UniqueFd artifacts = open_directory(at, "artifacts")) {
    for (const std::string& name : names_in(artifacts.get())) ::unlinkat(artifacts.get(), name.c_str(), 0);
    ::unlinkat(at, "artifacts", AT_REMOVEDIR);
  }
  for (const std::string& name : names_in(at)) ::unlinkat(at, name.c_str(), 0);
  ::unlinkat(runs_.get(), id.c_str(), AT_REMOVEDIR);
}

std::vector<std::string> Disk::ids() const {
  std::vector<std::string> names = names_in(runs_.get());
  std::erase_if(names, [](const std::string& name) { return !is_ulid(name); });
  std::sort(names.begin(), names.end());
  return names;
}

bool Disk::tidy(const std::string& id) const {
  auto directory = folder(id);
  if (!directory) return false;
  for (const std::string& name : names_in(directory->get()))
    if (name.ends_with(temporary)) ::unlinkat(directory->get(), name.c_str(), 0);
  if (::faccessat(directory->get(), "run.json", F_OK, 0) == 0) return true;
  remove(id);
  return false;
}

Result<Digest> seal_artifact(int fd) {
  struct stat facts;
  if (::fsync(fd) != 0 || ::fstat(fd, &facts) != 0) return refuse_write("cannot sync the artifact");
  const auto size = static_cast<std::uint64_t>(facts.st_size);  // a run that goes on writing must not keep us here
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
    return refuse("internal", "SHA-256 is not available");
  Digest digest;
  std::vector<char> buffer(256 * 1024);
  while (digest.bytes < size) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - digest.bytes));
    const ssize_t n = ::pread(fd, buffer.data(), part, static_cast<off_t>(digest.bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse_write("cannot read the artifact back");
    if (n == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(n));
    digest.bytes += static_cast<std::uint64_t>(n);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned length = 0;
  EVP_DigestFinal_ex(context.get(), hash.data(), &length);
  constexpr char hex[] = "0123456789abcdef";
  for (unsigned i = 0; i < length; ++i) (digest.sha256 += hex[hash[i] >> 4]) += hex[hash[i] & 15];
  return digest;
}

}  // namespace hatchd::runs
