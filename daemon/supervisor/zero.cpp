#include "supervisor/zero.hpp"

#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "config/token.hpp"
#include "hatch/access.hpp"
#include "supervisor/supervisor.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

// The person: under sudo the one who called it.
struct Person {
  uid_t uid = ::getuid();
  gid_t gid = ::getgid();
};

Person person() {
  Person who;
  const auto number = [](const char* name, unsigned& value) {
    const char* text = ::getuid() == 0 ? std::getenv(name) : nullptr;
    if (!text) return false;
    const std::string_view view{text};
    return std::from_chars(view.data(), view.data() + view.size(), value).ptr == view.data() + view.size() &&
           !view.empty();
  };
  unsigned uid = 0, gid = 0;
  if (number("SUDO_UID", uid) && number("SUDO_GID", gid)) who = {uid, gid};
  return who;
}

// A name for the target that is fit for URLs and configuration keys.
std::string target_name(const std::string& wish) {
  std::string name;
  for (const char c : wish)
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')
      name += c;
  return name.empty() ? "target" : name;
}

std::string comm_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string comm;
  std::getline(file, comm);
  return comm;
}

// A folder that is new and ours alone; "" with errno.
std::string private_folder(const std::string& pattern) {
  std::string path = pattern + "XXXXXX";
  return ::mkdtemp(path.data()) ? path : std::string{};
}

// Both folders of a session, removed at the end.
struct Folders {
  std::string open;  // socket and header file, the person's
  std::string runs;  // hatchd's
  ~Folders() {
    std::error_code ignored;
    // By name: in a folder that belongs to the person, nothing is followed or swept.
    for (const char* file : {"hatchd.sock", "token.header"})
      if (!open.empty()) ::unlink((open + "/" + file).c_str());
    if (!open.empty()) ::rmdir(open.c_str());
    if (!runs.empty()) fs::remove_all(runs, ignored);
  }
};

bool make_folders(Folders& folders, const Person& who, const std::string& label) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime && who.uid == ::getuid()) {
    folders.open = std::string(runtime) + "/hatchd-" + label;
    // Left over from one that was killed: ours, so it may be used again.
    struct stat info {};
    if (::mkdir(folders.open.c_str(), 0700) != 0 && (errno != EEXIST || ::lstat(folders.open.c_str(), &info) != 0 ||
                                                     !S_ISDIR(info.st_mode) || info.st_uid != who.uid))
      folders.open.clear();
  }
  const std::string temporary = fs::temp_directory_path().string();
  if (folders.open.empty()) folders.open = private_folder(temporary + "/hatchd-" + label + "-");
  folders.runs = private_folder(temporary + "/hatchd-runs-");
  return !folders.open.empty() && !folders.runs.empty();
}

bool port_is_free(const std::string& address) { return static_cast<bool>(bind_tcp(address)); }

int say(const std::string& problem, const std::string& remedy) {
  std::fprintf(stderr, "hatchd: %s\n", problem.c_str());
  if (!remedy.empty()) std::fprintf(stderr, "remedy: %s\n", remedy.c_str());
  return 2;
}

// Said at once, and not with the first hatch that is tried at night.
void warn_of_rights(int pid, const std::string& more_rights) {
  if (hatch::try_access(pid) != EPERM) return;
  const UniqueFd proc{::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  const hatch::Refusal refusal = hatch::explain_access(hatch::access_facts(pid, proc.get()), hatch::Look::trace);
  std::fprintf(stderr, "hatchd: warning: %s\n", refusal.detail.c_str());
  for (const std::string& entry : refusal.missing) std::fprintf(stderr, "missing: %s\n", entry.c_str());
  std::fprintf(stderr, "remedy: %s%s\n", more_rights.empty() ? "" : (more_rights + "; as a service: ").c_str(),
               refusal.remedy.c_str());
}

// The command that starts it with more rights, for who has less than all of them.
std::string with_more_rights(const ZeroOptions& options) {
  if (::geteuid() == 0) return {};
  if (options.pid) return "sudo hatchd --pid " + std::to_string(*options.pid);
  return "sudo hatchd " + (options.name.empty() ? "--unit '" + options.unit : "--name '" + options.name) + "'";
}

}  // namespace

std::vector<std::string> zero_sockets(int pid) {
  const std::string label = "/hatchd-" + std::to_string(pid), socket = "/hatchd.sock";
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  std::vector<std::string> patterns{fs::temp_directory_path().string() + label + "-??????" + socket};
  if (runtime) patterns.insert(patterns.begin(), runtime + label + socket);
  std::vector<std::string> found;
  for (const std::string& pattern : patterns) {
    glob_t matches{};
    struct stat info {};
    if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &matches) == 0)
      for (std::size_t i = 0; i < matches.gl_pathc; ++i)
        if (::lstat(matches.gl_pathv[i], &info) == 0 && S_ISSOCK(info.st_mode) &&
            (info.st_uid == 0 || info.st_uid == ::geteuid() || info.st_uid == person().uid))
          found.emplace_back(matches.gl_pathv[i]);
    ::globfree(&matches);
  }
  return found;
}

int serve_without_configuration(const ZeroOptions& options) {
  std::string name, label;
  json::object matcher;
  if (options.pid) {
    const std::string comm = comm_of(*options.pid);
    if (comm.empty() && (::kill(*options.pid, 0) == 0 || errno == EPERM))
      return say(
          "process " + std::to_string(*options.pid) + " is there, but /proc is mounted with hidepid, which hides it",
          "sudo hatchd --pid " + std::to_string(*options.pid) + "; or mount -o remount,hidepid=0 /proc");
    if (comm.empty()) return say("there is no process " + std::to_string(*options.pid), "see `ps -ef`");
    name = target_name(comm);
    label = std::to_string(*options.pid);
    matcher["pid"] = *options.pid;
  } else if (!options.name.empty()) {
    name = label = target_name(options.name);
    matcher["name"] = options.name;
    // Anybody can give a process a name; with rights over other users' processes the owner must be the person's.
    if (::geteuid() == 0) {
      const passwd* entry = ::getpwuid(person().uid);
      matcher["user"] = entry ? entry->pw_name : std::to_string(person().uid);
    }
  } else {
    name = label = target_name(options.unit.substr(0, options.unit.rfind(".service")));
    matcher["unit"] = options.unit;
  }
  if (options.ready) label = "preflight-" + std::to_string(::getpid());

  const Person who = person();
  Folders folders;
  if (!make_folders(folders, who, label))
    return say("cannot make a private folder: " + errno_text(errno), "set TMPDIR to a folder that you can write");
  const std::string socket = folders.open + "/hatchd.sock", header = folders.open + "/token.header";

  json::array listen{json::object{{"unix", socket}, {"mode", "0600"}}};
  json::object access;
  if (options.tcp) {
    listen.push_back(json::object{{"tcp", port_is_free("127.0.0.1:4282") ? "127.0.0.1:4282" : "127.0.0.1:0"}});
    const config::MadeToken made = config::make_token();
    ::unlink(header.c_str());
    const UniqueFd file{::open(header.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!file || !write_all(file.get(), "Authorization: Bearer " + made.token + "\n") ||
        ::fchown(file.get(), who.uid, who.gid) != 0)
      return say(header + ": " + errno_text(errno), "");
    access["tokens"] = json::array{json::object{{"name", "session"}, {"sha256", made.sha256}, {"role", "admin"}}};
  }
  json::object hatches;
  for (const std::string& id : options.enable) hatches[id] = json::object{{"enabled", true}};

  // A session of root's own person and one target: acting as that target's user is nothing that they could not do.
  json::object plugins;
  if (::geteuid() == 0) plugins["stack"] = json::object{{"capabilities", json::array{"setuid", "setgid"}}};

  config::Loaded loaded = config::from_json({{"listen", listen},
                                             {"plugins", plugins},
                                             {"targets", json::object{{name, matcher}}},
                                             {"access", access},
                                             {"hatches", hatches},
                                             {"runs", json::object{{"directory", folders.runs}}}});
  for (const config::Fault& fault : loaded.faults)
    std::fprintf(stderr, "hatchd: %s\n", config::to_string(fault).c_str());
  if (!loaded.faults.empty()) return 2;

  Service service;
  service.config = std::move(loaded.config);
  service.effective = std::move(loaded.effective);
  service.admin_uids = {who.uid};
  service.temporary = true;
  service.ends_with_terminal = true;
  service.more_rights = with_more_rights(options);
  service.announce = [&](const std::vector<Listener>& listeners) {
    if (who.uid != ::getuid()) {
      // Under sudo: what the person is to use becomes theirs now, not before somebody accepts.
      (void)!::lchown(socket.c_str(), who.uid, who.gid);
      (void)!::lchown(folders.open.c_str(), who.uid, who.gid);
    }
    if (options.ready) return options.ready(socket);
    std::printf("hatchd serves the target \"%s\". Paste one of these; Ctrl-C ends it.\n\n", name.c_str());
    std::printf("  curl --unix-socket %s h/\n", socket.c_str());
    std::printf("  curl --unix-socket %s 'h/v1/targets?format=text'\n", socket.c_str());
    std::printf("  curl --unix-socket %s -X POST h/stack.dump\n", socket.c_str());
    for (const Listener& listener : listeners)
      if (!listener.tcp.empty())
        std::printf("  curl -H @%s -X POST http://%s/stack.dump\n", header.c_str(), listener.tcp.c_str());
    std::printf("  HATCHD_SOCKET=%s hatchctl hatches\n\n", socket.c_str());
    std::fflush(stdout);
  };
  if (options.pid && !options.ready) warn_of_rights(*options.pid, service.more_rights);
  return serve(std::move(service));
}

}  // namespace hatchd::supervisor
