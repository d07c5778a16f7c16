// The ends of runs that act, until each is synced in the folder of its run: a file of fixed size, `ends` in the runs
// directory, that is written in place.
//
// To sync a file that was just made and renamed takes the file system two commits of its own journal, while the caller
// waits. Blocks that are there already are overwritten and synced with none (fdatasync(2)): a fifth of the time. So the
// record of a run's end goes here first, its caller gets the answer, and then the record in the run's folder is synced and
// the place is free for another. After a power cut in between, the record is taken from here.
//
// A place holds one entry of journal.hpp, whose checksum tells whether it is whole: the run's id, a space, its record.
// Places are not cleared; whoever reads one compares it with what lies in the folder.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/problem.hpp"

namespace hatchd::runs {

class Ends {
 public:
  static constexpr std::size_t place_size = 16 * 1024, places = 32;

  // Takes what hatchd left behind when it ended; without such a file there are no places until prepare(). The descriptor
  // of the runs directory stays the caller's. This and what follows blocks, and may be called by any thread.
  explicit Ends(int directory);
  Ends(const Ends&) = delete;

  // A place of one's own, which is free again when this ends.
  class Place {
   public:
    Place(Ends& ends, std::size_t number) : ends_(&ends), number_(number) {}
    Place(Place&& other) noexcept : ends_(std::exchange(other.ends_, nullptr)), number_(other.number_) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(ends_, other.ends_);
      std::swap(number_, other.number_);
      return *this;
    }
    ~Place() {
      if (ends_) ends_->free(number_);
    }

    // Puts it on its way to the disk. False: with errno.
    bool write(const std::string& id, std::string_view record);
    // On return it outlasts a power cut. False: with errno.
    bool sync();

   private:
    Ends* ends_;
    std::size_t number_;
  };

  // Nullopt: it does not fit, all places are taken, or there are none.
  std::optional<Place> claim(const std::string& id, std::string_view record);

  // Makes the file where that has not been done, which takes milliseconds.
  void prepare();

  // The record of this run, where hatchd left one behind; it is forgotten by that.
  std::optional<std::string> take(const std::string& id);
  // All runs have been read: nothing that was left behind is needed any more.
  void forget();

 private:
  void free(std::size_t number);
  bool make();
  void read();

  int directory_;
  std::mutex mutex_;  // for what follows
  UniqueFd file_;
  std::array<bool, places> taken_{}, found_{};                       // found: by read()
  std::map<std::string, std::pair<std::size_t, std::string>> left_;  // by id: place and record
};

}  // namespace hatchd::runs
