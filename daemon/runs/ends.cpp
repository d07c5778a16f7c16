#include "runs/ends.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.hpp"
#include "base/problem.hpp"
#include "runs/journal.hpp"

namespace hatchd::runs {

namespace {

using namespace std::chrono_literals;

constexpr const char* file_name = "ends";
constexpr std::size_t size = Ends::place_size * Ends::places;
constexpr auto pause_of_making = 60s;  // each try may take the last room of others for a moment

// Ours, and whole: not one whose making was interrupted, or that somebody gave another name to.
UniqueFd open_file(int directory) {
  UniqueFd file{::openat(directory, file_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  struct stat facts {};
  const bool good = file && ::fstat(file.get(), &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_nlink == 1 &&
                    facts.st_size == static_cast<off_t>(size);
  return good ? std::move(file) : UniqueFd{};
}

}  // namespace

Ends::Ends(int directory) : directory_(directory) {
  const UniqueFd file = open_file(directory);
  ready_ = file && read(file.get());
  struct stat facts {};
  if (ready_ || ::fstatat(directory, file_name, &facts, AT_SYMLINK_NOFOLLOW) != 0) return;
  lost_ = static_cast<bool>(file);
  log::warning("ends of runs that were not synced elsewhere before a power cut cannot be read",
               {{"file", file_name},
                {"why", lost_ ? errno_text(errno) : std::string("it is not as hatchd left it")},
                {"remedy", lost_ ? "look at the rights and the health of runs.directory"
                                 : "none is needed where hatchd was stopped in order"}});
}

bool Ends::read(int file) {
  std::string all(size, '\0');
  if (::pread(file, all.data(), all.size(), 0) != static_cast<ssize_t>(all.size())) return false;
  for (std::size_t i = 0; i < places; ++i) {
    const auto entry = Journal::whole(std::string_view(all).substr(i * place_size, place_size));
    if (!entry) continue;
    const std::size_t space = entry->find(' ');
    if (space == entry->npos || !is_ulid(entry->substr(0, space))) continue;
    taken_[i] = found_[i] = true;
    left_.insert_or_assign(std::string(entry->substr(0, space)), Left{std::string(entry->substr(space + 1)), i});
  }
  return true;
}

void Ends::prepare() {
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (ready_ || lost_ || now < again_) return;
    again_ = now + pause_of_making;  // and nobody else makes it meanwhile
  }
  // In memory a sync costs nothing.
  struct statfs facts {};
  if (::fstatfs(directory_, &facts) != 0 || facts.f_type == TMPFS_MAGIC) return;
  const bool made = make();
  if (!made) ::unlinkat(directory_, file_name, 0);  // no room: ends are synced where they belong
  const std::lock_guard lock(mutex_);
  ready_ = made;
}

// Written and not just reserved: blocks that were never written are marked so, and to change that takes a commit.
bool Ends::make() const {
  ::unlinkat(directory_, file_name, 0);
  const UniqueFd file{::openat(directory_, file_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  return file && write_all(file.get(), std::string(size, '\0')) && ::fsync(file.get()) == 0 && ::fsync(directory_) == 0;
}

std::shared_ptr<Ends::Place> Ends::claim(const std::string& id, std::string_view record) {
  if (Journal::size_of_entry(id.size() + 1 + record.size()) > place_size) return nullptr;
  UniqueFd file = open_file(directory_);
  const std::lock_guard lock(mutex_);
  if (!file) ready_ = false;  // somebody took it away: it is made anew
  const auto at = ready_ ? std::find(taken_.begin(), taken_.end(), false) : taken_.end();
  if (at == taken_.end()) return nullptr;
  *at = true;
  return std::make_shared<Place>(*this, static_cast<std::size_t>(at - taken_.begin()), std::move(file));
}

void Ends::free(std::size_t number) {
  const std::lock_guard lock(mutex_);
  taken_[number] = false;
}

std::optional<Ends::Left> Ends::take(const std::string& id) {
  const std::lock_guard lock(mutex_);
  auto left = left_.extract(id);
  return left ? std::optional(std::move(left.mapped())) : std::nullopt;
}

void Ends::keep(const Left& left) {
  const std::lock_guard lock(mutex_);
  found_[left.place] = false;
}

void Ends::forget() {
  const std::lock_guard lock(mutex_);
  left_.clear();
  for (std::size_t i = 0; i < places; ++i)
    if (std::exchange(found_[i], false)) taken_[i] = false;
}

bool Ends::Place::write(const std::string& id, std::string_view record) {
  const std::string entry = Journal::entry(id + " " + std::string(record));
  const auto at = static_cast<off_t>(number_ * place_size);
  if (::pwrite(file_.get(), entry.data(), entry.size(), at) != static_cast<ssize_t>(entry.size())) return false;
  ::sync_file_range(file_.get(), at, static_cast<off_t>(entry.size()), SYNC_FILE_RANGE_WRITE);
  return true;
}

bool Ends::Place::sync() { return ::fdatasync(file_.get()) == 0; }

void Ends::Place::clear() {
  const std::string none(place_size, '\0');
  if (::pwrite(file_.get(), none.data(), none.size(), static_cast<off_t>(number_ * place_size)) < 0)
    log::debug("a place in ends is not cleared",
               {{"why", errno_text(errno)}});  // it is compared with the folder anyway
}

}  // namespace hatchd::runs
