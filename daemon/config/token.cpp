#include "config/token.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include <boost/json/value.hpp>

#include "base/digest.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

std::string base64url(const unsigned char* bytes, std::size_t size) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  unsigned pending = 0, bits = 0;
  for (std::size_t i = 0; i < size; ++i) {
    pending = pending << 8 | bytes[i];
    for (bits += 8; bits >= 6; bits -= 6) out += digits[pending >> (bits - 6) & 63];
  }
  if (bits > 0) out += digits[pending << (6 - bits) & 63];
  return out;
}

int say(const std::string& problem) {
  std::fprintf(stderr, "hatchd: %s\n", problem.c_str());
  return 1;
}

// A new file; one that is there already is somebody's, and stays.
bool write_new(const std::string& path, mode_t mode, const std::string& text) {
  const UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
  if (!fd) return false;
  // fchmod, because the umask may have taken away what the service's group needs.
  if (::fchmod(fd.get(), mode) == 0 && write_all(fd.get(), text) && ::fsync(fd.get()) == 0) return true;
  const int error = errno;
  ::unlink(path.c_str());
  errno = error;
  return false;
}

// Without the group of the configuration the service could not read what only root's group may.
void take_group_of(const std::string& file, const std::string& config_file) {
  struct stat info {};
  if (::stat(config_file.c_str(), &info) == 0 && ::chown(file.c_str(), static_cast<uid_t>(-1), info.st_gid) != 0)
    std::fprintf(stderr, "hatchd: %s keeps its group: %s\n", file.c_str(), errno_text(errno).c_str());
}

int install_token(const MadeToken& made, const std::string& name, const json::object& entry,
                  const std::string& config_file) {
  const std::string folder = config_file + ".d";
  const std::string addition = folder + "/50-token-" + name + ".json";
  const std::string header = (std::filesystem::current_path() / ("token-" + name + ".header")).string();
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return say(folder + ": " + errno_text(errno));
  const json::object whole{{"access", json::object{{"tokens", json::array{entry}}}}};
  if (!write_new(addition, 0640, pretty(whole) + "\n")) return say(addition + ": " + errno_text(errno));
  take_group_of(addition, config_file);
  if (!write_new(header, 0600, "Authorization: Bearer " + made.token + "\n")) {
    const int error = errno;
    ::unlink(addition.c_str());  // a token that nobody holds
    return say(header + ": " + errno_text(error));
  }
  std::printf("entry:  %s (takes effect when hatchd is reloaded or restarted)\n", addition.c_str());
  std::printf("header: %s (use it as: curl -H @%s …)\n", header.c_str(), header.c_str());
  return 0;
}

}  // namespace

MadeToken make_token() {
  std::array<unsigned char, 32> bytes{};
  // Up to 256 bytes come whole once the kernel's generator is seeded; only a signal before that interrupts
  // (getrandom(2)).
  while (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "getrandom");
  MadeToken made;
  made.token = "hatchd_" + base64url(bytes.data(), bytes.size());
  made.sha256 = sha256(made.token);
  return made;
}

int token_new_command(const std::string& name, const std::string& role, bool install, const std::string& config_file) {
  if (const std::string wrong = schema::format_failure("name", name); !wrong.empty()) {
    say("NAME " + wrong);
    return 2;
  }
  if (role != "metrics" && role != "viewer" && role != "operator" && role != "admin") {
    say("--role must be one of metrics, viewer, operator, admin");
    return 2;
  }
  const MadeToken made = make_token();
  const json::object entry{{"name", name}, {"sha256", made.sha256}, {"role", role}};
  if (install) return install_token(made, name, entry, config_file);
  std::printf("token (shown once): %s\n", made.token.c_str());
  std::printf("entry for \"access\": {\"tokens\": [ … ]} of %s:\n%s\n", config_file.c_str(), pretty(entry).c_str());
  return 0;
}

}  // namespace hatchd::config
