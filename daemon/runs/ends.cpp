#include "runs/ends.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "runs/journal.hpp"

namespace hatchd::runs {

namespace {

constexpr const char* file_name = "ends";
constexpr std::size_t size = Ends::place_size * Ends::places;

}  // namespace

Ends::Ends(int directory) : directory_(directory) {
  UniqueFd file{::openat(directory, file_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  struct stat facts {};
  // One that an interrupted prepare() left is made anew.
  if (!file || ::fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_nlink != 1 ||
      facts.st_size != static_cast<off_t>(size))
    return;
  file_ = std::move(file);
  read();
}

void Ends::read() {
  std::string all(size, '\0');
  if (::pread(file_.get(), all.data(), all.size(), 0) != static_cast<ssize_t>(all.size())) return;
  for (std::size_t i = 0; i < places; ++i) {
    const auto entry = Journal::whole(std::string_view(all).substr(i * place_size, place_size));
    if (!entry) continue;
    const std::size_t space = entry->find(' ');
    if (space == entry->npos || !is_ulid(entry->substr(0, space))) continue;
    taken_[i] = found_[i] = true;
    left_.insert_or_assign(std::string(entry->substr(0, space)), std::pair{i, std::string(entry->substr(space + 1))});
  }
}

void Ends::prepare() {
  const std::lock_guard lock(mutex_);
  if (!file_ && !make()) ::unlinkat(directory_, file_name, 0);  // no room: the ends are synced where they belong
}

// Written and not just reserved: blocks that were never written are marked so, and to change that takes a commit.
bool Ends::make() {
  ::unlinkat(directory_, file_name, 0);
  UniqueFd file{::openat(directory_, file_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file || !write_all(file.get(), std::string(size, '\0')) || ::fsync(file.get()) != 0 || ::fsync(directory_) != 0)
    return false;
  file_ = std::move(file);
  return true;
}

std::optional<Ends::Place> Ends::claim(const std::string& id, std::string_view record) {
  if (Journal::size_of_entry(id.size() + 1 + record.size()) > place_size) return std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto at = file_ ? std::find(taken_.begin(), taken_.end(), false) : taken_.end();
  if (at == taken_.end()) return std::nullopt;
  *at = true;
  return std::optional<Place>(std::in_place, *this, static_cast<std::size_t>(at - taken_.begin()));
}

void Ends::free(std::size_t number) {
  const std::lock_guard lock(mutex_);
  taken_[number] = false;
}

std::optional<std::string> Ends::take(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto at = left_.find(id);
  if (at == left_.end()) return std::nullopt;
  // Its place stays taken until forget(): what it says may not be synced elsewhere yet.
  std::string record = std::move(at->second.second);
  left_.erase(at);
  return record;
}

void Ends::forget() {
  const std::lock_guard lock(mutex_);
  left_.clear();
  for (std::size_t i = 0; i < places; ++i)
    if (std::exchange(found_[i], false)) taken_[i] = false;
}

bool Ends::Place::write(const std::string& id, std::string_view record) {
  const std::string entry = Journal::entry(id + " " + std::string(record));
  const off_t at = static_cast<off_t>(number_ * place_size);
  if (::pwrite(ends_->file_.get(), entry.data(), entry.size(), at) != static_cast<ssize_t>(entry.size())) return false;
  ::sync_file_range(ends_->file_.get(), at, static_cast<off_t>(entry.size()), SYNC_FILE_RANGE_WRITE);
  return true;
}

bool Ends::Place::sync() { return ::fdatasync(ends_->file_.get()) == 0; }

}  // namespace hatchd::runs
