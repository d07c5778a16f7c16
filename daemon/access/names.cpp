#include "access/names.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <chrono>
#include <map>
#include <mutex>
#include <string_view>

#include "base/fd.hpp"

namespace hatchd::access {
namespace {

constexpr std::size_t max_passwd = 4 * 1024 * 1024;

struct Names {
  std::mutex mutex;
  std::map<uid_t, std::string> remembered, file;
  timespec changed{};
  std::chrono::steady_clock::time_point looked{};

  // One line of passwd(5): name:password:uid:…
  void add(std::string_view line) {
    const std::size_t name_end = line.find(':');
    if (name_end == 0 || name_end == line.npos) return;
    const std::size_t password_end = line.find(':', name_end + 1);
    if (password_end == line.npos) return;
    uid_t uid = 0;
    const std::string_view rest = line.substr(password_end + 1);
    if (std::from_chars(rest.data(), rest.data() + rest.size(), uid).ec == std::errc())
      file.emplace(uid, line.substr(0, name_end));  // the first entry of a uid counts, as for getpwuid
  }

  void refresh() {
    const auto moment = std::chrono::steady_clock::now();
    if (moment - looked < std::chrono::seconds(1)) return;  // not at every request
    looked = moment;
    struct stat now {};
    if (::stat("/etc/passwd", &now) != 0) return;
    if (now.st_mtim.tv_sec == changed.tv_sec && now.st_mtim.tv_nsec == changed.tv_nsec) return;
    changed = now.st_mtim;
    const UniqueFd fd(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    if (!fd) return;
    const Result<std::string> text = read_all(fd.get(), max_passwd);
    if (!text) return;
    file.clear();
    for (std::string_view rest = *text; !rest.empty();) {
      const std::size_t end = rest.find('\n');
      add(rest.substr(0, end));
      rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
  }
};

Names& names() {
  static Names instance;
  return instance;
}

}  // namespace

std::string user_name(uid_t uid) {
  Names& known = names();
  const std::lock_guard lock(known.mutex);
  known.refresh();
  if (const auto found = known.file.find(uid); found != known.file.end()) return found->second;
  if (const auto found = known.remembered.find(uid); found != known.remembered.end()) return found->second;
  return "uid " + std::to_string(uid);
}

void remember_user(uid_t uid, const std::string& name) {
  Names& known = names();
  const std::lock_guard lock(known.mutex);
  known.remembered[uid] = name;
}

}  // namespace hatchd::access
