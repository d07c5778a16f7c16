#include "supervisor/preflight.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "base/mask.hpp"
#include "base/program.hpp"
#include "supervisor/check.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t max_log = 64 * 1024;  // of a daemon that does not start

bool answers(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const UniqueFd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  // Who may not connect is told so by hatchctl: there is a daemon.
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EACCES;
}

std::vector<std::string> sockets_of(const PreflightOptions& options) {
  std::vector<std::string> sockets;
  if (options.zero.pid) return zero_sockets(*options.zero.pid);
  if (options.file.empty()) return sockets;
  for (const config::Listen& listen : options.loaded.config.listen)
    if (!listen.unix_path.empty() && listen.only.empty()) sockets.push_back(listen.unix_path);
  return sockets;
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int ask(const std::string& socket, const PreflightOptions& options) {
  std::vector<std::string> words{"hatchctl", "--socket", socket, "preflight"};
  if (options.json) words.emplace_back("--json");
  if (!options.target.empty()) words.insert(words.end(), {"--target", options.target});
  words.insert(words.end(), options.hatches.begin(), options.hatches.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const fs::path beside = fs::path(own_program()).parent_path() / "hatchctl";
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    std::fprintf(stderr, "hatchd: fork: %s\n", errno_text(errno).c_str());
    return 70;
  }
  if (child > 0) return wait_for(child);
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGPIPE, SIG_DFL);
  // A token of the environment is for another daemon.
  for (const char* name : {"HATCHD_SOCKET", "HATCHD_URL", "HATCHD_TOKEN_FILE"}) ::unsetenv(name);
  ::execv(beside.c_str(), arguments.data());
  ::execvp("hatchctl", arguments.data());
  std::fprintf(stderr, "hatchd: cannot start hatchctl: %s\nremedy: install it beside %s\n", errno_text(errno).c_str(),
               own_program().c_str());
  ::_exit(70);
}

// Serves by the configuration as it is, but where nobody else asks and nothing is left.
int serve_privately(const PreflightOptions& options, const std::function<void(const std::string&)>& ready) {
  std::string folder = fs::temp_directory_path().string() + "/preflight-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    std::fprintf(stderr, "%s: %s\nremedy: set TMPDIR to a folder that you can write\n", folder.c_str(),
                 errno_text(errno).c_str());
    return 70;
  }
  const Defer sweep{[&] {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }};
  const std::string socket = folder + "/hatchd.sock";
  json::object effective = options.loaded.effective;
  effective["listen"] = json::array{json::object{{"unix", socket}, {"mode", "0600"}}};
  effective["audit"] = json::object{{"journal", false}};
  for (const char* name : {"tls", "hosts"}) effective.erase(name);
  json::value& runs = effective["runs"];
  if (!runs.is_object()) runs = json::object{};
  runs.get_object()["directory"] = folder + "/runs";

  config::Loaded loaded = config::from_json(std::move(effective), options.check_targets);
  for (const config::Fault& fault : loaded.faults) std::fprintf(stderr, "%s\n", config::to_string(fault).c_str());
  if (!loaded.faults.empty()) return 78;
  mask::use({{"mask", loaded.config.mask}});
  Service service;
  service.config = std::move(loaded.config);
  service.effective = std::move(loaded.effective);
  service.admin_uids = {::getuid()};
  service.temporary = true;
  service.ends_with_terminal = true;
  service.announce = [&](const std::vector<Listener>&) { ready(socket); };
  return serve(std::move(service));
}

// The child: a daemon that tells its socket through `told`, and whose log nobody wants to see but when it fails.
[[noreturn]] void be_the_daemon(const PreflightOptions& options, const UniqueFd& told, const UniqueFd& log,
                                pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(70);
  if (log) ::dup2(log.get(), STDERR_FILENO);
  const auto ready = [&](const std::string& socket) {
    (void)!write_all(told.get(), socket);
    ::shutdown(told.get(), SHUT_WR);
  };
  ZeroOptions zero = options.zero;
  zero.ready = ready;
  const int status = options.file.empty() ? serve_without_configuration(zero) : serve_privately(options, ready);
  std::fflush(nullptr);
  ::_exit(status);
}

void say_as_whom(const PreflightOptions& options) {
  const passwd* entry = ::getpwuid(::geteuid());
  const std::string user =
      entry != nullptr ? "the user " + std::string(entry->pw_name) : "the user id " + std::to_string(::geteuid());
  const std::string what = options.file.empty() ? "that process" : options.file;
  std::fprintf(stderr, "No daemon answers for %s: one is started to be asked, as %s.\n", what.c_str(), user.c_str());
  if (const std::string service = service_user(); !options.file.empty() && !service.empty())
    std::fprintf(stderr,
                 "The service is the user %s, with the rights of its unit: systemctl start hatchd, and ask again.\n",
                 service.c_str());
}

int ask_a_temporary_one(const PreflightOptions& options) {
  say_as_whom(options);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    std::fprintf(stderr, "hatchd: socketpair: %s\n", errno_text(errno).c_str());
    return 70;
  }
  UniqueFd ours{ends[0]}, theirs{ends[1]};
  const UniqueFd log{::memfd_create("hatchd-preflight-log", MFD_CLOEXEC)};
  // Ctrl-C reaches all three: the daemon ends in order, and is waited for.
  ::signal(SIGINT, SIG_IGN);
  std::fflush(nullptr);
  const pid_t parent = ::getpid(), daemon = ::fork();
  if (daemon < 0) {
    std::fprintf(stderr, "hatchd: fork: %s\n", errno_text(errno).c_str());
    return 70;
  }
  if (daemon == 0) {
    ours.reset();
    be_the_daemon(options, theirs, log, parent);
  }
  theirs.reset();
  const Result<std::string> socket = read_all(ours.get(), 4096);
  if (!socket || socket->empty()) {
    const int status = wait_for(daemon);
    ::lseek(log.get(), 0, SEEK_SET);
    const Result<std::string> said = read_all(log.get(), max_log);
    std::fprintf(stderr, "%s", said ? said->c_str() : "");
    return status == 0 ? 1 : status;
  }
  const int answer = ask(*socket, options);
  ::kill(daemon, SIGTERM);
  wait_for(daemon);
  return answer;
}

}  // namespace

int preflight_command(PreflightOptions options) {
  for (const std::string& socket : sockets_of(options))
    if (answers(socket)) return ask(socket, options);
  return ask_a_temporary_one(options);
}

}  // namespace hatchd::supervisor
