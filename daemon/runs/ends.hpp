// The ends of runs that act, or have an Idempotency-Key, until each is synced in the folder of its run: a file of fixed
// size, `ends` in the runs directory, that is written in place.
//
// To sync a file that was just made and renamed takes the file system two commits of its own journal, while the caller
// waits. Blocks that are there already are overwritten and synced with none (fdatasync(2)): a fifth of the time. So the
// record of a run's end goes here first, its caller gets the answer, and then the record in the run's folder is synced and
// the place is free for another. After a power cut in between, the record is taken from here.
//
// A place holds one entry of journal.hpp, whose checksum tells whether it is whole: the run's id, a space, its record.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/fd.hpp"

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
    Place(Ends& ends, std::size_t number, UniqueFd file) : ends_(&ends), number_(number), file_(std::move(file)) {}
    Place(const Place&) = delete;
    ~Place() {
      if (ends_) ends_->free(number_);
    }

    // Puts it on its way to the disk. False: with errno.
    bool write(const std::string& id, std::string_view record);
    // On return it outlasts a power cut. False: with errno.
    bool sync();
    // What it says is synced elsewhere: nobody shall find it here.
    void clear();
    // What it says is synced nowhere else: it is not given to another, until the next start.
    void keep() { ends_ = nullptr; }

   private:
    Ends* ends_;
    std::size_t number_;
    UniqueFd file_;  // its own: an error of writing back is told to each open file once (errseq)
  };

  // Null: it does not fit, all places are taken, or there are none. It ends before this does.
  std::shared_ptr<Place> claim(const std::string& id, std::string_view record);

  // Makes the file where that has not been done, which takes milliseconds.
  void prepare();

  // What was left behind of this run, by whoever ran before us.
  struct Left {
    std::string record;
    std::size_t place;
  };
  std::optional<Left> take(const std::string& id);
  // It could not be brought to where it belongs: its place stays as it is until the next start.
  void keep(const Left& left);
  // All runs have been read: nothing else that was left behind is needed any more.
  void forget();

 private:
  void free(std::size_t number);
  bool make() const;
  bool read(int file);

  const int directory_;
  std::mutex mutex_;  // for what follows
  bool ready_ = false;
  bool lost_ = false;                           // it cannot be read: nothing is written into it either
  SteadyTime again_{};                          // when prepare() may try once more
  std::array<bool, places> taken_{}, found_{};  // found: left behind
  std::map<std::string, Left> left_;            // by id
};

}  // namespace hatchd::runs
