// Did it arrive where it was to arrive? Follows what a target logs, from before something was done on, until a text stands
// in it: a file, the journal, what a program prints, what a server answers (targets.NAME.log of the configuration).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/remote.hpp"
#include "hatch/hatch.hpp"
#include "stack/procfs.hpp"

namespace common {

struct Reported {
  std::string where;
  double after_ms = 0;
  std::string text;  // what was logged with the text: the traceback, as far as it belongs to it
};

class Follower {
 public:
  // The target's log of the configuration (flag HATCH_TARGET_LOG), from now on. Needs the rights to look into the
  // target; nothing is asked of programs and servers yet. `wanted` is what will be looked for.
  Follower(const hatch::Run& run, std::string wanted);
  Follower(Follower&&) = default;
  Follower& operator=(Follower&&) = default;

  // Besides, the regular files that the target's processes have open for writing as stdout, stderr or by a name with
  // "log" in it.
  void add_open_files(const hatch::Run& run);

  // To be called before it is done. `unique`: the text can stand nowhere yet, so a program has half a second to begin;
  // otherwise programs and servers are asked once beforehand (at most 2 s), and what they say then does not count
  // (news.hpp). Of one that cannot be asked, nothing counts. Throws hatch::Cancelled.
  void begin(const hatch::Run& run, bool unique);

  // Waits until the text stands in one of them, or the time is over: that of the configuration ("within"), else `limit`
  // for files and the journal, 30 s for programs and servers. `begun` is when it was done. A little longer where it may
  // arrive at several places. Throws hatch::Cancelled.
  std::vector<Reported> look(const hatch::Run& run, std::chrono::steady_clock::time_point begun,
                             std::chrono::milliseconds limit);

  std::vector<std::string> places() const;                      // where it looks
  std::vector<std::string> blind() const;                       // where it cannot, and why
  bool empty() const { return sources_.empty(); }               // there is nowhere to look
  std::chrono::milliseconds waited() const { return waited_; }  // how long look() would wait at most, the last time
  // Why the configuration's log is not followed, with what would mend it; empty: it is.
  const std::string& why_not() const { return why_not_; }

 private:
  struct Followed {
    std::string where;
    stack::UniqueFd file;  // this or remote
    std::unique_ptr<Remote> remote;
    bool is_program = false;  // of the configuration
    bool from_now = false;    // says nothing that is older: the journal's
    dev_t device = 0;
    ino_t inode = 0;
    off_t at = 0;
    std::string text;  // what was added to the file, the last of it
    double found_ms = -1;
    std::string entry{};  // as it stood there when it was found

    // What a program or a server said before it was done.
    bool may_be_old = false;  // the text may have stood there before
    bool was_asked = false;   // and it is known what did
    std::string before{};
    std::size_t before_end = 0, before_answers = 0;
  };
  void add_configured(const hatch::Run& run);
  void add_file(std::string where, stack::UniqueFd fd);
  static bool grow(Followed& file);
  static bool grown_file(Followed& file);
  static std::string_view news_of(const Followed& followed, std::string& room);  // what counts of it

  std::string wanted_;
  std::vector<Followed> sources_;
  std::vector<std::string> blind_;
  std::string why_not_;
  std::optional<std::chrono::milliseconds> within_;
  std::chrono::milliseconds waited_{0};
};

// A word that stands nowhere else: the end of the run's id, 80 random bits in letters that no log escapes.
std::string mark_of(const hatch::Run& run);

// The unit of a process by the content of /proc/PID/cgroup, as a match of journalctl(1): "_SYSTEMD_UNIT=web.service",
// "_SYSTEMD_USER_UNIT=…" of a user's; empty: it is in none.
std::string journal_match(std::string_view cgroup);

}  // namespace common
