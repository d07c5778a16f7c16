#include "common/follower.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <set>

#include "common/child.hpp"
#include "common/entry.hpp"
#include "common/news.hpp"
#include "common/url.hpp"
#include "hatch/log.hpp"

namespace common {

namespace json = boost::json;

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t max_sources = 16, max_descriptors = 4096, max_kept = 512 * 1024;
constexpr auto pace = 20ms;
constexpr auto quiet = 200ms;      // nothing more of the entry came for so long: it is whole
constexpr auto elsewhere = 300ms;  // once it arrived at one place, so long for the others
constexpr auto first_round = 2s;
constexpr auto first_lines = 500ms;  // a program that goes on has found the end of its log by then
constexpr auto remote_limit = 30s;
constexpr const char* journalctl = "/usr/bin/journalctl";

bool is_written(int proc_fd, const std::string& number) {
  const stack::UniqueFd info{::openat(proc_fd, ("fdinfo/" + number).c_str(), O_RDONLY | O_CLOEXEC)};
  char buffer[512];
  const ssize_t n = info ? ::read(info.get(), buffer, sizeof buffer - 1) : -1;
  if (n <= 0) return false;
  buffer[n] = 0;
  const std::string_view text(buffer, static_cast<std::size_t>(n));
  const std::size_t at = text.find("flags:\t");
  if (at == std::string_view::npos) return false;
  const unsigned long flags = std::strtoul(buffer + at + 7, nullptr, 8);  // octal: proc(5)
  return (flags & O_ACCMODE) != O_RDONLY;
}

bool looks_like_a_log(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return path.starts_with("/var/log/") || name.find("log") != std::string::npos || name.ends_with(".err") ||
         name.ends_with(".out");
}

json::object log_of(const hatch::Run& run) {
  const auto* extension = static_cast<const hatch::LogExtension*>(run.extension("log/1"));
  if (!extension || extension->size < sizeof *extension) return {};
  const hatch_str text = extension->log(run.handle());
  boost::system::error_code error;
  json::value value = json::parse({text.data, text.size}, error);
  return !error && value.is_object() ? std::move(value.get_object()) : json::object{};
}

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

// "{mark}" as what is looked for; anything else as it is written.
std::optional<std::string> filled(std::string_view written, const std::string& wanted) {
  return written == "{mark}" ? std::optional(wanted) : std::nullopt;
}

// journalctl(1) for what the target's processes say from now on.
std::vector<std::string> journal_of(const hatch::Run& run, const json::value& where) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  char since[64];
  std::snprintf(since, sizeof since, "--since=@%lld.%06lld",
                static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(now).count()),
                static_cast<long long>(std::chrono::duration_cast<std::chrono::microseconds>(now).count() % 1'000'000));
  std::vector<std::string> argv{journalctl, "--follow", "--no-tail", "--quiet", "--output=cat", since};
  if (where.is_string()) argv.push_back("--directory=" + std::string(where.get_string()));
  std::vector<std::string> pids;
  for (const hatch_process& process : run.processes()) {
    pids.push_back("_PID=" + std::to_string(process.pid));
    if (!process.main) continue;
    const std::string match = journal_match(stack::read_below(process.proc_fd, "cgroup", 16 * 1024).value_or(""));
    if (match.empty()) continue;
    argv.push_back(match);
    return argv;
  }
  argv.insert(argv.end(), pids.begin(), pids.end());  // several of one field: any of them
  return argv;
}

}  // namespace

std::string mark_of(const hatch::Run& run) {
  const std::string id(run.id());
  return "hatchd-" + (id.size() > 16 ? id.substr(id.size() - 16) : id);
}

std::string journal_match(std::string_view cgroup) {
  // "0::/system.slice/web.service" of version 2; of version 1 the line of the hierarchy "name=systemd".
  std::string_view path;
  while (!cgroup.empty()) {
    const std::string_view line = cgroup.substr(0, cgroup.find('\n'));
    cgroup.remove_prefix(std::min(line.size() + 1, cgroup.size()));
    const std::size_t first = line.find(':'), second = line.find(':', first == line.npos ? first : first + 1);
    if (second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty() || controllers == "name=systemd") path = line.substr(second + 1);
    if (controllers == "name=systemd") break;
  }
  std::string unit, user_unit;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(part.size() + 1, path.size()));
    if (!part.ends_with(".service") && !part.ends_with(".scope")) continue;
    (unit.empty() ? unit : user_unit) = part;
    if (!unit.starts_with("user@")) break;  // below a unit there may be anything: it is the outermost that counts
    if (!user_unit.empty()) break;
  }
  if (!user_unit.empty()) return "_SYSTEMD_USER_UNIT=" + user_unit;
  return unit.empty() ? std::string() : "_SYSTEMD_UNIT=" + unit;
}

Follower::Follower(const hatch::Run& run, std::string wanted) : wanted_(std::move(wanted)) { add_configured(run); }

void Follower::add_configured(const hatch::Run& run) {
  const json::object log = log_of(run);
  if (const json::value* within = log.if_contains("within_ms"); within && within->is_int64())
    within_ = std::chrono::milliseconds(within->get_int64());
  Source source;
  std::string where;
  if (const json::value* journal = log.if_contains("journal")) {
    source.argv = journal_of(run, *journal);
    where = "the journal";
    if (::access(journalctl, X_OK) != 0) {
      why_not_ = "the journal cannot be read: there is no " + std::string(journalctl) + "; name a file as targets." +
                 std::string(run.target_name()) + ".log.file";
      blind_.push_back(why_not_);
      return;
    }
  } else if (const json::value* command = log.if_contains("command"); command && command->is_array()) {
    bool plain = false;  // behind "--"
    for (const json::value& argument : command->get_array())
      if (argument.is_string()) {
        const std::string text(argument.get_string());
        const std::optional<std::string> given = filled(text, wanted_);
        // What a recipe's caller looks for is no option of the operator's program.
        const std::string place = "targets." + std::string(run.target_name()) + ".log.command";
        if (const std::string unfit = given ? unfit_argument(*given, plain, place) : ""; !unfit.empty())
          throw hatch::Failure("what is looked for " + unfit);
        plain = plain || text == "--";
        source.argv.push_back(given.value_or(text));
      }
    where = source.argv.empty() ? "" : source.argv.front();
  } else if (const std::string url = text_of(log, "url"); !url.empty()) {
    source.request.url = fill_url(url, [&](std::string_view written) { return filled(written, wanted_); });
    if (const json::value* headers = log.if_contains("headers"); headers && headers->is_object())
      for (const auto& header : headers->get_object())
        if (const json::string* value = header.value().if_string())
          source.request.headers.push_back(std::string(header.key()) + ": " + std::string(*value));
    where = shown_url(url);
  } else {
    for (std::uint32_t i = 0; const hatch_process& process : run.processes()) {
      if (process.main) {
        const int fd = run.target_file(i, HATCH_FILE_LOG);
        if (fd >= 0) {
          stack::UniqueFd file{fd};
          const std::string self = "/proc/self/fd/" + std::to_string(fd);
          return add_file(stack::link_below(AT_FDCWD, self).value_or(""), std::move(file));
        }
        const bool absent = fd == -ENOENT;
        why_not_ = std::string("the target's log cannot be read: ") +
                   (absent          ? "the configuration names none, or the file is not there"
                    : fd == -EACCES ? "permission denied"
                                    : std::strerror(-fd)) +
                   "; set targets." + std::string(run.target_name()) + ".log to where it is (docs/configuration.md)";
        if (!absent) blind_.push_back("the configured log may not be read");
      }
      ++i;
    }
    return;
  }
  if (source.is_program() && source.argv.front().find('\0') != std::string::npos) return;
  Followed& followed = sources_.emplace_back();
  followed.where = where;
  followed.is_program = log.contains("command");
  followed.from_now = log.contains("journal");
  followed.remote = std::make_unique<Remote>(source);
}

void Follower::add_file(std::string where, stack::UniqueFd fd) {
  struct stat info {};
  if (sources_.size() >= max_sources || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return;
  for (const Followed& known : sources_)
    if (known.file && known.device == info.st_dev && known.inode == info.st_ino) return;
  Followed& followed = sources_.emplace_back();
  followed.where = std::move(where);
  followed.file = std::move(fd);
  followed.device = info.st_dev;
  followed.inode = info.st_ino;
  followed.at = info.st_size;
}

void Follower::add_open_files(const hatch::Run& run) {
  std::set<std::string> blind;
  for (const hatch_process& process : run.processes()) {
    run.check();
    const int fds = ::openat(process.proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fds < 0) continue;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing{::fdopendir(fds), &::closedir};
    if (!listing) {
      ::close(fds);
      continue;
    }
    std::size_t seen = 0;
    while (const dirent* entry = ::readdir(listing.get())) {
      const std::string number = entry->d_name;
      if (number.front() == '.' || ++seen > max_descriptors) continue;
      const std::string path = stack::link_below(::dirfd(listing.get()), number).value_or("");
      const bool standard = number == "1" || number == "2";
      struct stat info {};
      if (::fstatat(::dirfd(listing.get()), number.c_str(), &info, 0) != 0) continue;
      if (!S_ISREG(info.st_mode)) {
        if (number == "2") {
          const char* what = S_ISSOCK(info.st_mode)   ? "stderr is a socket (the journal, most likely)"
                             : S_ISFIFO(info.st_mode) ? "stderr is a pipe"
                             : path == "/dev/null"    ? "stderr is /dev/null"
                                                      : "stderr is a terminal or a device";
          blind.insert(what);
        }
        continue;
      }
      if (!(standard || looks_like_a_log(path)) || !is_written(process.proc_fd, number)) continue;
      stack::UniqueFd file{
          ::openat(process.proc_fd, ("fd/" + number).c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
      if (file)
        add_file(path, std::move(file));
      else
        blind.insert(path + " may not be read");
    }
  }
  blind_.insert(blind_.end(), blind.begin(), blind.end());
}

bool Follower::grow(Followed& followed) { return followed.remote ? followed.remote->receive() : grown_file(followed); }

bool Follower::grown_file(Followed& file) {
  struct stat info {};
  if (::fstat(file.file.get(), &info) != 0) return false;
  if (info.st_size < file.at) file.at = 0;  // cut by a rotation that copies
  bool grew = false;
  char buffer[65536];
  // No more at once than is kept: nothing is forgotten before it was searched.
  for (std::size_t room = max_kept / 2; room >= sizeof buffer; room -= sizeof buffer) {
    const ssize_t n = ::pread(file.file.get(), buffer, sizeof buffer, file.at);
    if (n <= 0) break;
    file.at += n;
    file.text.append(buffer, static_cast<std::size_t>(n));
    grew = true;
    if (file.text.size() > max_kept) file.text.erase(0, file.text.size() - max_kept);
  }
  return grew;
}

std::string_view Follower::news_of(const Followed& followed, std::string& room) {
  if (!followed.remote) return followed.text;
  const Remote& remote = *followed.remote;
  const std::string_view text = remote.text();
  if (!followed.may_be_old) return text;
  if (!followed.was_asked) return {};
  // A program that goes on: what came behind that.
  if (followed.is_program && remote.answers() == followed.before_answers && !remote.is_whole())
    return text.substr(std::min(followed.before_end - std::min(followed.before_end, remote.forgotten()), text.size()));
  // One that was asked again. A piece of a line would look like another one.
  room = news(followed.before, remote.is_whole() ? text : text.substr(0, text.rfind('\n') + 1));
  return room;
}

void Follower::begin(const hatch::Run& run, bool unique) {
  for (Followed& followed : sources_)
    if (followed.remote) followed.remote->begin();
  for (Followed& followed : sources_) {
    if (!followed.remote || followed.from_now || (unique && !followed.is_program)) continue;
    const Remote& remote = *followed.remote;
    const Clock::time_point end = Clock::now() + (unique ? first_lines : first_round);
    while (remote.answers() == 0 && remote.fd() >= 0 && Clock::now() < end) {
      (void)run.wait(remote.fd(), POLLIN, pace);
      (void)followed.remote->receive();
    }
    if (unique) continue;
    followed.may_be_old = true;
    followed.was_asked = followed.is_program || remote.answers() > 0;
    followed.before = remote.text();
    followed.before_end = remote.forgotten() + remote.text().size();
    followed.before_answers = remote.answers();
  }
}

std::vector<Reported> Follower::look(const hatch::Run& run, Clock::time_point begun, std::chrono::milliseconds limit) {
  for (const Followed& followed : sources_)
    if (followed.remote && followed.where != "the journal")
      limit = std::max<std::chrono::milliseconds>(limit, remote_limit);
  waited_ = std::min(within_.value_or(limit), std::max(run.remaining() - 500ms, std::chrono::milliseconds(500)));
  Clock::time_point until = Clock::now() + waited_, grew = Clock::now();
  bool found = false;
  std::string room;
  for (;;) {
    bool more = false;
    for (Followed& followed : sources_) {
      if (!grow(followed)) continue;
      more = true;
      grew = Clock::now();
      const std::string_view news = news_of(followed, room);
      if (news.find(wanted_) == std::string_view::npos) continue;
      // Now: the next answer may not have it any more, and the begin of it may be forgotten before its end is there.
      std::string entry = entry_around(news, wanted_);
      if (entry.size() >= followed.entry.size()) followed.entry = std::move(entry);
      if (followed.found_ms >= 0) continue;
      followed.found_ms = std::chrono::duration<double, std::milli>(grew - begun).count();
      if (!std::exchange(found, true)) until = std::min(until, grew + elsewhere);
    }
    const Clock::time_point now = Clock::now();
    if (more && now < until + (found ? 1s : 0s)) {
      run.check();
      continue;
    }
    // An entry that is being written: the end of it is waited for, but not for ever.
    if (now >= until && (!found || now >= grew + quiet || now >= until + 1s)) break;
    (void)run.wait(run.cancel_fd(), 0, pace);  // throws when the run is cancelled
  }
  std::vector<Reported> reported;
  for (const Followed& followed : sources_)
    if (followed.found_ms >= 0) reported.push_back({followed.where, followed.found_ms, followed.entry});
  return reported;
}

std::vector<std::string> Follower::places() const {
  std::vector<std::string> names;
  for (const Followed& followed : sources_) names.push_back(followed.where);
  return names;
}

std::vector<std::string> Follower::blind() const {
  std::vector<std::string> all = blind_;
  for (const Followed& followed : sources_) {
    if (!followed.remote) continue;
    if (followed.may_be_old && !followed.was_asked)
      all.push_back(followed.where + ": it could not be asked beforehand, so nobody knows what of its answers is new");
    if (!followed.remote->trouble().empty()) all.push_back(followed.where + ": " + followed.remote->trouble());
  }
  return all;
}

}  // namespace common
