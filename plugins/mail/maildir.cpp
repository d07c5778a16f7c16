// A Maildir: a file for each message in new/ or, once somebody read it, in cur/. Whoever delivers there could have planted
// anything, so only plain files are opened, and never by following a link.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "mail/arrival.hpp"
#include "mail/header.hpp"

namespace mail {
namespace {

constexpr std::size_t max_files = 200'000, max_head = 64 * 1024;

// The name up to its flags, which change when it is read.
std::string base_of(const std::string& name) { return name.substr(0, name.find(':')); }

std::string head_of(int folder, const char* name) {
  std::string head;
  const int fd = ::openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  // Deliveries belong to the mailbox's owner alone, unless somebody has seen to it that hatchd may read them.
  if (fd < 0 && errno == EACCES)
    throw Stop{Cause::none,
               "a new message is there, but the user that hatchd's plugins run as may not read what is in the Maildir"};
  if (fd < 0) return head;
  struct stat info {};
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    head.resize(max_head);
    const ssize_t n = ::read(fd, head.data(), head.size());
    head.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  ::close(fd);
  return head;
}

class Maildir final : public Mailbox {
 public:
  explicit Maildir(std::string folder) : folder_(std::move(folder)) {
    each([&](const char*, int, const std::string& name) { return seen_.insert(base_of(name)), false; });
  }

  bool find(const std::string& run_id, std::string& head) override {
    return each([&](const char* part, int folder, const std::string& name) {
      if (!seen_.insert(base_of(name)).second) return false;
      std::string text = head_of(folder, name.c_str());
      if (!is_of_run(text, run_id)) return false;
      head = std::move(text);
      found_ = folder_ + "/" + part + "/" + name;
      return true;
    });
  }

  void remove() override { ::unlink(found_.c_str()); }

 private:
  // Calls visit for each file until it says that this was the one.
  template <class Visit>
  bool each(Visit visit) {
    bool found = false;
    for (const char* part : {"new", "cur"}) {
      const std::string path = folder_ + "/" + part;
      DIR* folder = ::opendir(path.c_str());
      if (!folder) throw Stop{Cause::none, "the Maildir cannot be read: " + path + ": " + std::strerror(errno)};
      std::size_t count = 0;
      while (const dirent* entry = found ? nullptr : ::readdir(folder))
        if (entry->d_name[0] != '.' && ++count < max_files)
          found = visit(part, ::dirfd(folder), std::string(entry->d_name));
      ::closedir(folder);
      if (found) break;
    }
    return found;
  }

  std::string folder_, found_;
  std::set<std::string> seen_;
};

}  // namespace

std::unique_ptr<Mailbox> open_maildir(const std::string& folder) { return std::make_unique<Maildir>(folder); }

}  // namespace mail
