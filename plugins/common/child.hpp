// A program that a plugin starts, and all that it starts: one process group, ended with the object.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace common {

// Whom a program runs as.
struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};
// As the system knows that name. Throws hatch::Failure when it does not.
User user_of(const std::string& name);

// Why a text that somebody else chose can not be an argument of a program, behind "it "; empty: it can. With '-' it would be an
// option, but behind "--" (`plain`). `where`: the place of the configuration that has the arguments.
std::string unfit_argument(std::string_view text, bool plain, const std::string& where);

// PATH and LANG, for a program that gets nothing of ours.
std::vector<std::string> bare_environment();

struct Start {
  std::vector<std::string> arguments;    // the first is the absolute path of the program; there is no shell
  std::vector<std::string> environment;  // "NAME=value"
  std::string directory = "/";
  std::optional<User> user = {};                    // none: whoever the plugin is
  std::vector<std::pair<int, rlim_t>> limits = {};  // getrlimit(2): RLIMIT_AS, …; soft and hard alike
};

class Child {
 public:
  // Throws hatch::Failure with what failed, and code rights-missing where becoming the user takes a right that lacks.
  explicit Child(Start start);
  Child(const Child&) = delete;
  ~Child();

  // Does all of it short of starting the program, and throws what the constructor would throw.
  static void try_start(Start start);

  // Standard output and standard error, in one.
  int output() const { return output_; }
  // Its exit status as waitpid(2) gives it. What it left behind is killed.
  int wait();

 private:
  Child(Start start, bool only_try);
  void end();

  pid_t pid_ = -1;
  int output_ = -1;
};

// "exit status 3", "SIGSEGV"
std::string ending(int status);

}  // namespace common
