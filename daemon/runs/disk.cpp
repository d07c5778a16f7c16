#include "runs/disk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>

#include "base/json.hpp"
#include "base/log.hpp"
#include "runs/follow.hpp"
#include "runs/journal.hpp"

namespace hatchd::runs {

namespace {

constexpr const char* look_at_rights = "look at the rights and the health of runs.directory";

// The code for a write that failed: a full disk is the operator's to solve and has a status of its own.
tl::unexpected<Problem> refuse_write(const std::string& what) {
  const int error = errno;
  const bool full = error == ENOSPC || error == EDQUOT;
  return refuse(full ? "no-space" : "internal", what + ": " + errno_text(error),
                full ? "make room in runs.directory, or lower runs.keep" : look_at_rights);
}

UniqueFd open_directory(int at, const char* path) {
  return UniqueFd{::openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
}

// Names in a directory without "." and "..". `error`: the errno for which some may be missing, or 0.
std::vector<std::string> names_in(int directory, int* error = nullptr) {
  std::vector<std::string> names;
  // A descriptor of its own: readdir() moves the position, which a dup() would share.
  UniqueFd own = open_directory(directory, ".");
  DIR* stream = own ? ::fdopendir(own.get()) : nullptr;
  if (!stream) {
    if (error) *error = errno;
    return names;
  }
  own.release();
  const Defer close{[stream] { ::closedir(stream); }};
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream);
    if (!entry) {
      if (error) *error = errno;
      return names;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

// A run's folder has two levels, and what others put there need not keep us for long.
constexpr int max_depth = 16;

// With all that is in it, by descriptors: what a link names stays. False with errno.
bool remove_tree(int at, const std::string& name, int depth = max_depth) {
  if (::unlinkat(at, name.c_str(), 0) == 0 || errno == ENOENT) return true;
  if (errno != EISDIR) return false;
  int failed = 0;
  {
    const UniqueFd inside = open_directory(at, name.c_str());
    if (!inside) return false;
    if (depth == 0) return errno = ENOTEMPTY, false;
    for (const std::string& each : names_in(inside.get()))
      if (!remove_tree(inside.get(), each, depth - 1) && !failed) failed = errno;
  }
  if (::unlinkat(at, name.c_str(), AT_REMOVEDIR) == 0) return true;
  if (failed) errno = failed;
  return false;
}

// A regular file, and not by another name that somebody gave to it.
bool is_own_file(int fd, struct stat& facts) {
  return ::fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_nlink == 1;
}

constexpr const char* artifacts_folder = "artifacts";
constexpr std::string_view temporary = ".tmp";
constexpr const char* record_file = "run.json";

}  // namespace

std::string rendering_file(std::string_view name) {
  return name == "text" ? "result.txt" : "rendering." + std::string(name);
}

MinFree min_free_of(std::string_view text, std::optional<std::uint64_t> size) {
  MinFree least;
  if (size) least.bytes = *size;
  if (text.ends_with('%')) std::from_chars(text.data(), text.data() + text.size() - 1, least.percent);
  return least;
}

namespace {

// Files on their way into a folder: written beside their places, synced together, then renamed in their order. What did
// not get there is cleared away.
class Staged {
 public:
  Staged(int directory, bool durable) : directory_(directory), durable_(durable) {}
  ~Staged() {
    for (const Entry& entry : entries_)
      if (!entry.name.empty()) ::unlinkat(directory_, beside(entry.name).c_str(), 0);
  }
  Staged(const Staged&) = delete;

  Result<void> add(const std::string& file, std::string_view text) {
    UniqueFd fd = make(file);
    // Left by an interrupted write. Never written into: it may be a link, or a FIFO whose open waits.
    if (!fd && errno == EEXIST && ::unlinkat(directory_, beside(file).c_str(), 0) == 0) fd = make(file);
    if (!fd) return refuse_write("cannot write " + file);
    entries_.push_back({file, std::move(fd)});
    if (!write_all(entries_.back().fd.get(), text)) return refuse_write("cannot write " + file);
    return {};
  }
  // A file that is where it belongs and has yet to be synced.
  void add_in_place(UniqueFd fd) { entries_.push_back({{}, std::move(fd)}); }

  Result<void> put() {
    if (auto done = sync(); !done) return done;
    if (auto done = rename(); !done) return done;
    if (durable_ && ::fsync(directory_) != 0) return refuse_write("cannot sync the folder");
    return {};
  }

  // Into a folder where nothing is that could be lost: a power cut meanwhile may leave empty files. What is synced once
  // all is in its place takes the file system one commit, and not a second one for the renaming.
  Result<void> put_first() {
    if (auto done = rename(); !done) return done;
    if (auto done = sync(); !done) return done;
    if (durable_ && ::fsync(directory_) != 0) return refuse_write("cannot sync the folder");
    return {};
  }

 private:
  struct Entry {
    std::string name;  // empty: it is in its place
    UniqueFd fd;
  };
  Result<void> sync() {
    if (!durable_) return {};
    // All of them are begun first, so that what the file system commits for the first holds for the others.
    for (const Entry& entry : entries_) ::sync_file_range(entry.fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
    for (const Entry& entry : entries_)
      if (::fsync(entry.fd.get()) != 0) return refuse_write("cannot sync a file of the run");
    return {};
  }
  Result<void> rename() {
    for (Entry& entry : entries_) {
      if (entry.name.empty()) continue;
      if (::renameat(directory_, beside(entry.name).c_str(), directory_, entry.name.c_str()) != 0)
        return refuse_write("cannot rename " + entry.name);
      entry.name.clear();
    }
    return {};
  }
  static std::string beside(const std::string& file) { return file + std::string(temporary); }
  UniqueFd make(const std::string& file) const {
    return UniqueFd{::openat(directory_, beside(file).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  }

  int directory_;
  bool durable_;
  std::vector<Entry> entries_;
};

Result<void> add_files(Staged& staged, const Files& files) {
  for (const auto& [file, text] : files) {
    // What could not be read back is not written.
    if (text.size() > (file == record_file ? Disk::max_record : Disk::max_file))
      return refuse("no-space", file + " would have " + std::to_string(text.size()) + " bytes, which is too large");
    if (auto added = staged.add(file, text); !added) return added;
  }
  return {};
}

std::string record_text(const Run& run) { return pretty(to_record(run)) + "\n"; }

}  // namespace

Result<void> replace_file(int directory, const std::string& file, std::string_view text, bool durable) {
  Staged staged(directory, durable);
  if (auto added = staged.add(file, text); !added) return added;
  return staged.put();
}

Result<void> append_file(int directory, const std::string& file, std::string_view text, bool durable) {
  UniqueFd fd{
      ::openat(directory, file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600)};
  struct stat before {};
  if (!fd || ::fstat(fd.get(), &before) != 0) return refuse_write("cannot open " + file);
  if (write_all(fd.get(), text) && (!durable || ::fsync(fd.get()) == 0)) {
    // A file that is new has a name that must last, too.
    if (durable && before.st_size == 0 && ::fsync(directory) != 0)
      return refuse_write("cannot sync the folder of " + file);
    return {};
  }
  auto problem = refuse_write("cannot write " + file);
  [[maybe_unused]] const int cut = ::ftruncate(fd.get(), before.st_size);  // the reader stops at half an entry anyway
  return problem;
}

Result<Disk> Disk::open(int directory, MinFree min_free) {
  UniqueFd runs = open_directory(directory, ".");
  if (!runs) return refuse_write("cannot open the runs directory");
  Disk disk{std::move(runs)};
  disk.set_min_free(min_free);
  return disk;
}

void Disk::set_min_free(MinFree min_free) {
  least_->percent = min_free.percent;
  least_->bytes = min_free.bytes;
}

bool Disk::low() const {
  struct statvfs facts {};
  if (::fstatvfs(runs_.get(), &facts) != 0) return false;  // a file system that does not tell is asked by writing
  const std::uint64_t block = facts.f_frsize, left = facts.f_bavail * block;
  const std::uint64_t share = facts.f_blocks * block / 100 * least_->percent;
  return left == 0 || left < std::max(share, least_->bytes.load());
}

Result<UniqueFd> Disk::folder(const std::string& id) const {
  // Ids come from URLs, too: what is not a ULID never becomes a path.
  if (!is_ulid(id)) return refuse("run-unknown", "there is no such run");
  UniqueFd fd = open_directory(runs_.get(), id.c_str());
  if (!fd && errno == ENOENT) return refuse("run-unknown", "there is no such run");
  if (!fd) return refuse("internal", "the run's folder cannot be opened: " + errno_text(errno), look_at_rights);
  return fd;
}

Result<void> Disk::create(const std::string& id, bool durable) const {
  if (::mkdirat(runs_.get(), id.c_str(), 0700) != 0) return refuse_write("cannot make the run's folder");
  if (durable && ::fsync(runs_.get()) != 0) return refuse_write("cannot sync the runs directory");
  return {};
}

Result<void> Disk::write(const std::string& id, const std::string& file, std::string_view text, bool durable) const {
  return write(id, {{file, std::string(text)}}, durable);
}

Result<void> Disk::write(const std::string& id, const Files& files, bool durable) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  Staged staged(directory->get(), durable);
  if (auto added = add_files(staged, files); !added) return added;
  return staged.put();
}

Result<std::uint64_t> Disk::write_record(const Run& run, bool durable) const {
  const std::string text = record_text(run);
  if (auto done = write(run.id, record_file, text, durable); !done) return tl::unexpected(done.error());
  return text.size();
}

Result<std::uint64_t> Disk::begin(const Run& run, bool durable) const {
  if (auto made = create(run.id, false); !made) return tl::unexpected(made.error());
  auto directory = folder(run.id);
  if (!directory) return tl::unexpected(directory.error());
  const std::string text = record_text(run);
  Staged staged(directory->get(), durable);
  if (auto added = add_files(staged, {{record_file, text}}); !added) return tl::unexpected(added.error());
  if (auto done = staged.put_first(); !done) return tl::unexpected(done.error());
  // Last, when it costs least: what was synced above has mostly committed the folder's own name, too.
  if (durable && ::fsync(runs_.get()) != 0) return refuse_write("cannot sync the runs directory");
  return text.size();
}

Result<std::uint64_t> Disk::end(const Run& run, const Files& files, bool durable) const {
  auto directory = folder(run.id);
  if (!directory) return tl::unexpected(directory.error());
  const std::string record = record_text(run);
  Staged staged(directory->get(), durable);
  if (durable)
    if (UniqueFd events{::openat(directory->get(), events_file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)})
      staged.add_in_place(std::move(events));
  auto added = add_files(staged, files);
  if (added) added = add_files(staged, {{record_file, record}});  // the last to get its name
  if (added) added = staged.put();
  if (!added) return tl::unexpected(added.error());
  return record.size();
}

Result<std::uint64_t> Disk::end(const Run& run, std::shared_ptr<Ends::Place>& place) const {
  const std::string text = record_text(run);
  place = ends_->claim(run.id, text);
  if (!place || !place->write(run.id, text)) {
    place.reset();
    return write_record(run, true);
  }
  const auto put = [&]() -> Result<void> {
    auto directory = folder(run.id);
    if (!directory) return tl::unexpected(directory.error());
    Staged staged(directory->get(), false);
    if (auto added = add_files(staged, {{record_file, text}}); !added) return added;
    // Before the new record takes the place of the old one: unsynced as it is, a power cut may leave it empty.
    if (!place->sync()) return refuse_write("cannot sync the end of the run");
    return staged.put();
  };
  if (auto done = put(); !done) {
    place.reset();
    return tl::unexpected(done.error());
  }
  return text.size();
}

std::optional<Run> Disk::restore_end(const std::string& id) const {
  const auto left = ends_->take(id);
  if (!left) return std::nullopt;
  // A run without a record is being removed: that comes first there (remove()).
  const auto directory = folder(id);
  struct stat facts {};
  if (!directory || ::fstatat(directory->get(), record_file, &facts, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  const auto there = read_record(id);
  Result<void> done;
  std::optional<Run> restored;
  if (there && is_over(there->state)) {
    done = settle(id);  // written by whoever ran before us, and maybe not synced
  } else {
    const auto value = parse_json(left->record);
    auto ended = value && value->is_object() ? from_record(value->get_object()) : refuse("malformed", "no record");
    if (!ended || ended->id != id) return std::nullopt;
    if (const auto written = write_record(*ended, true))
      ended->record_bytes = *written;
    else
      done = tl::unexpected(written.error());
    restored = std::move(*ended);
  }
  if (!done) {
    ends_->keep(*left);
    log::error("the end of a run is in ends, and not synced in its folder",
               {{"run", id}, {"problem", done.error().detail}, {"remedy", done.error().remedy}});
  }
  return restored;
}

Result<void> Disk::append(const std::string& id, const std::string& file, std::string_view entries,
                          bool durable) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  return append_file(directory->get(), file, entries, durable);
}

Result<void> Disk::settle(const std::string& id) const {
  auto directory = folder(id);
  if (!directory) return {};
  const int at = directory->get();
  for (const std::string& name : names_in(at)) {
    const UniqueFd file{::openat(at, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
    if (!file && errno == ENOENT) continue;  // a file that was written beside its place, or pruned
    if (!file || ::fsync(file.get()) != 0) return refuse_write("cannot sync " + name);
  }
  if (::fsync(at) != 0 || ::fsync(runs_.get()) != 0) return refuse_write("cannot sync the folder of the run");
  return {};
}

void Disk::mend(const std::string& id, const std::string& file) const {
  auto directory = folder(id);
  if (!directory) return;
  UniqueFd fd{::openat(directory->get(), file.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  struct stat facts {};
  if (!fd || !is_own_file(fd.get(), facts)) return;
  Journal journal(UniqueFd{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)});
  while (journal.next()) continue;
  if (journal.good() < static_cast<std::uint64_t>(facts.st_size)) [[maybe_unused]]
    const int cut = ::ftruncate(fd.get(), static_cast<off_t>(journal.good()));
}

namespace {

// Why a file of a run is not to be had.
tl::unexpected<Problem> refuse_open(const std::string& file) {
  if (errno == ENOENT) return refuse("run-unknown", file + " is not there");
  return refuse("internal", file + " cannot be opened: " + errno_text(errno), look_at_rights);
}

Result<UniqueFd> open_at(int directory, const std::string& file) {
  UniqueFd fd{::openat(directory, file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!fd) return refuse_open(file);
  struct stat facts {};
  if (::fstat(fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode))
    return refuse("internal", file + " is not a file", look_at_rights);
  return fd;
}

}  // namespace

std::optional<std::string> Disk::text_in_record(const std::string& id, const std::string& file) const {
  auto run = read_record(id);
  if (!run) return std::nullopt;
  const auto at = run->texts.find(file);
  return at == run->texts.end() ? std::nullopt : std::optional(std::move(at->second));
}

Result<std::string> Disk::read(const std::string& id, const std::string& file) const {
  if (auto text = text_in_record(id, file)) return std::move(*text);
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  const auto fd = open_at(directory->get(), file);
  if (!fd) return tl::unexpected(fd.error());
  auto text = read_all(fd->get(), max_file);
  if (!text) return refuse("internal", file + " cannot be read: " + text.error().detail, look_at_rights);
  return text;
}

Result<Run> Disk::read_record(const std::string& id, std::uint64_t* size) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  auto text = read_file_at(directory->get(), record_file, max_record);
  if (!text) return tl::unexpected(text.error());
  if (size) *size = text->size();
  auto value = parse_json(*text);
  if (!value) return tl::unexpected(value.error());
  if (!value->is_object()) return refuse("malformed", "not the record of a run");
  auto run = from_record(value->get_object());
  if (run && run->id != id) return refuse("malformed", "the record of another run");
  return run;
}

Result<UniqueFd> Disk::open_file(const std::string& id, const std::string& file) const {
  if (const auto text = text_in_record(id, file)) return sealed_memfd(file.c_str(), *text);
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  return open_at(directory->get(), file);
}

Result<Disk::ArtifactFile> Disk::create_artifact(const std::string& id, unsigned number) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  if (::mkdirat(directory->get(), artifacts_folder, 0700) != 0 && errno != EEXIST)
    return refuse_write("cannot make artifacts/");
  const UniqueFd artifacts = open_directory(directory->get(), artifacts_folder);
  if (!artifacts) return refuse_write("cannot open artifacts/");
  const std::string name = std::to_string(number);
  ArtifactFile file;
  file.writer = UniqueFd{::openat(artifacts.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file.writer) return refuse_write("cannot make the artifact");
  file.reader = UniqueFd{::openat(artifacts.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!file.reader) return refuse_write("cannot open the artifact");
  return file;
}

Result<UniqueFd> Disk::open_artifact(const std::string& id, unsigned number) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  // Not by a path: "artifacts" could be a link, which leads elsewhere.
  const UniqueFd artifacts = open_directory(directory->get(), artifacts_folder);
  if (!artifacts) return refuse_open(artifacts_folder);
  return open_at(artifacts.get(), std::to_string(number));
}

Result<void> Disk::sync_artifacts(const std::string& id) const {
  auto directory = folder(id);
  if (!directory) return tl::unexpected(directory.error());
  const UniqueFd artifacts = open_directory(directory->get(), artifacts_folder);
  if (!artifacts || ::fsync(artifacts.get()) != 0 || ::fsync(directory->get()) != 0 || ::fsync(runs_.get()) != 0)
    return refuse_write("cannot sync artifacts/");
  return {};
}

void Disk::remove_artifact(const std::string& id, unsigned number) const {
  auto directory = folder(id);
  if (!directory) return;
  if (const UniqueFd artifacts = open_directory(directory->get(), artifacts_folder))
    ::unlinkat(artifacts.get(), std::to_string(number).c_str(), 0);
}

Result<void> Disk::remove(const std::string& id) const {
  if (auto directory = folder(id)) {
    // The record first: a folder without one is what tidy() clears, should we be interrupted here.
    if (!remove_tree(directory->get(), record_file)) return refuse_write("cannot remove the record");
  } else if (directory.error().code == "run-unknown") {
    return {};
  }
  if (!remove_tree(runs_.get(), id)) return refuse_write("cannot remove the run's folder");
  return {};
}

std::vector<std::string> Disk::ids(int* error) const {
  std::vector<std::string> names = names_in(runs_.get(), error);
  std::erase_if(names, [](const std::string& name) { return !is_ulid(name); });
  std::sort(names.begin(), names.end());
  return names;
}

Result<bool> Disk::tidy(const std::string& id) const {
  auto directory = folder(id);
  if (!directory && directory.error().code == "run-unknown") return false;
  if (!directory) return tl::unexpected(directory.error());
  int error = 0;
  for (const std::string& name : names_in(directory->get(), &error))
    if (name.ends_with(temporary)) ::unlinkat(directory->get(), name.c_str(), 0);
  if (error) return refuse("internal", "the run's folder cannot be listed: " + errno_text(error), look_at_rights);
  // A record that was not synced is an empty file after a power cut: the run was never recorded.
  struct stat facts {};
  const bool seen = ::fstatat(directory->get(), record_file, &facts, AT_SYMLINK_NOFOLLOW) == 0;
  if (!seen && errno != ENOENT) return refuse_open(record_file);
  if (seen && (!S_ISREG(facts.st_mode) || facts.st_size > 0)) return true;
  if (auto removed = remove(id); !removed) return tl::unexpected(removed.error());
  return false;
}

bool Disk::tidy_result(Run& run) const {
  auto directory = folder(run.id);
  if (!directory) return false;
  const auto there = [&](const std::string& file) {
    if (run.texts.contains(file)) return true;
    struct stat facts {};
    // What cannot be looked at may be there.
    if (::fstatat(directory->get(), file.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) return errno != ENOENT;
    return !S_ISREG(facts.st_mode) || facts.st_size > 0;
  };
  const bool lost = run.has_result && !there("result.json");
  if (lost) run.has_result = false;
  return std::erase_if(run.renderings, [&](const std::string& name) { return !there(rendering_file(name)); }) > 0 ||
         lost;
}

void Disk::tidy_artifacts(const Run& run) const {
  auto directory = folder(run.id);
  if (!directory) return;
  const UniqueFd artifacts = open_directory(directory->get(), artifacts_folder);
  if (!artifacts) return;
  for (const std::string& name : names_in(artifacts.get()))
    if (std::none_of(run.artifacts.begin(), run.artifacts.end(),
                     [&](const Artifact& named) { return std::to_string(named.number) == name; }))
      ::unlinkat(artifacts.get(), name.c_str(), 0);
}

std::uint64_t Disk::bytes_of(const std::string& id) const {
  std::uint64_t bytes = 0;
  const auto add = [&](int directory) {
    for (const std::string& name : names_in(directory)) {
      struct stat facts {};
      if (::fstatat(directory, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0)
        bytes +=
            static_cast<std::uint64_t>(facts.st_blocks) * 512;  // stat(2): in these units, whatever the file system's
    }
  };
  auto directory = folder(id);
  if (!directory) return 0;
  add(directory->get());
  if (const UniqueFd artifacts = open_directory(directory->get(), artifacts_folder)) add(artifacts.get());
  return bytes;
}

Result<void> Seal::follow(int fd, std::uint64_t most) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return refuse_write("cannot look at the artifact");
  // A run that goes on writing must not keep us here.
  std::uint64_t size = static_cast<std::uint64_t>(facts.st_size);
  if (size > bytes_) size = bytes_ + std::min(size - bytes_, most);
  std::string piece(256 * 1024, '\0');
  while (bytes_ < size) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size - bytes_));
    const ssize_t n = ::pread(fd, piece.data(), part, static_cast<off_t>(bytes_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse_write("cannot read the artifact back");
    if (n == 0) break;
    digest_.add(std::string_view(piece).substr(0, static_cast<std::size_t>(n)));
    bytes_ += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<void> Seal::seal(int fd) {
  struct stat facts {};
  if (::fsync(fd) != 0 || ::fstat(fd, &facts) != 0) return refuse_write("cannot sync the artifact");
  if (static_cast<std::uint64_t>(facts.st_size) < bytes_) *this = {};  // it was cut, so it was not only appended to
  return follow(fd);
}

}  // namespace hatchd::runs
