#include "config/read.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>

#include <boost/json/stream_parser.hpp>
#include <boost/json/value.hpp>

#include "base/fd.hpp"
#include "config/places.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

constexpr std::size_t max_file = 1 << 20;
constexpr std::size_t max_files = 200;

std::string owner_name(uid_t uid) {
  std::array<char, 4096> room{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, room.data(), room.size(), &found) == 0 && found != nullptr) return found->pw_name;
  return "uid " + std::to_string(uid);
}

// The text of one file; a fault instead when it cannot be read or must not be believed.
bool read_text(const std::string& file, std::string& text, std::vector<Fault>& faults) {
  const auto fault = [&](std::string detail) {
    faults.push_back({{file, 0, ""}, std::move(detail)});
    return false;
  };
  const UniqueFd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (!fd) return fault("cannot be read: " + errno_text(errno));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return fault("is not a regular file");
  if (std::string why = why_untrusted(file, fd.get()); !why.empty()) return fault(std::move(why));
  auto read = read_all(fd.get(), max_file);
  if (!read) return fault("cannot be read: " + read.error().detail);
  text = std::move(*read);
  return true;
}

bool parse(const std::string& file, std::string_view text, json::value& value, std::vector<Fault>& faults) {
  json::parse_options options;
  options.allow_comments = true;
  options.allow_trailing_commas = true;
  options.max_depth = schema::max_depth;
  json::stream_parser parser({}, options);
  json::error_code error;
  // Where the text ends just behind the first slash of a comment, Boost 1.81 says that it has read more than there was.
  const std::size_t read = std::min(parser.write_some(text.data(), text.size(), error), text.size());
  if (!error && read == text.size()) parser.finish(error);
  std::string detail = error ? error.message() : read < text.size() ? "there is text after the end" : "";
  if (error == json::error::incomplete) {
    detail = "ends too early: a bracket, brace, string or comment is still open";
    if (text.find_first_not_of(" \t\r\n") == text.npos) detail = "is empty";
  }
  if (!detail.empty()) {
    const std::string place = line_and_column(text, read);
    const auto line = static_cast<unsigned>(std::stoul(place));
    faults.push_back({{file, line, ""}, detail + " (column " + place.substr(place.find(':') + 1) + ")"});
    return false;
  }
  value = parser.release();
  if (value.is_object()) return true;
  faults.push_back({{file, 1, ""}, "must be an object: { … }"});
  return false;
}

// Notes for `value`, which stood at `from` in its own file, that it now stands at `to`.
void record(Read& read, const std::string& file, const Lines& lines, const json::value& value, const std::string& from,
            const std::string& to) {
  const auto line = lines.of.find(from);
  read.places[to] = {file, line == lines.of.end() ? 0 : line->second, to};
  if (const json::object* object = value.if_object())
    for (const auto& member : *object) {
      const std::string_view name = member.key();
      record(read, file, lines, member.value(), schema::child(from, name), schema::child(to, name));
    }
  if (const json::array* list = value.if_array())
    for (std::size_t i = 0; i < list->size(); ++i)
      record(read, file, lines, (*list)[i], schema::child(from, i), schema::child(to, i));
}

void forget(Read& read, const std::string& at) {
  read.places.erase(at);
  const auto first = read.places.lower_bound(at + '/'), last = read.places.lower_bound(at + '0');  // '0' follows '/'
  read.places.erase(first, last);
}

void merge(Read& read, const std::string& file, const Lines& lines, json::value& base, json::value added,
           const std::string& from, const std::string& to) {
  if (base.is_object() && added.is_object()) {
    for (auto& member : added.get_object()) {
      const std::string_view name = member.key();
      const std::string below_from = schema::child(from, name), below_to = schema::child(to, name);
      if (json::value* there = base.get_object().if_contains(name)) {
        merge(read, file, lines, *there, std::move(member.value()), below_from, below_to);
      } else {
        record(read, file, lines, member.value(), below_from, below_to);
        base.get_object().emplace(name, std::move(member.value()));
      }
    }
  } else if (base.is_array() && added.is_array()) {
    json::array& list = base.get_array();
    for (std::size_t i = 0; i < added.get_array().size(); ++i) {
      json::value& entry = added.get_array()[i];
      record(read, file, lines, entry, schema::child(from, i), schema::child(to, list.size()));
      list.push_back(std::move(entry));
    }
  } else {
    forget(read, to);
    record(read, file, lines, added, from, to);
    base = std::move(added);
  }
}

void add_file(Read& read, const std::string& file) {
  std::string text;
  json::value value;
  if (!read_text(file, text, read.faults) || !parse(file, text, value, read.faults)) {
    read.whole = false;
    return;
  }
  const Lines lines = lines_of(text);
  for (const Lines::Twice& twice : lines.twice)
    read.faults.push_back(
        {{file, twice.second, twice.pointer}, "is given twice, first in line " + std::to_string(twice.first)});
  read.places.try_emplace("", Place{file, 1, ""});
  json::value whole(std::move(read.merged));
  merge(read, file, lines, whole, std::move(value), "", "");
  read.merged = std::move(whole.get_object());
}

// The names of FOLDER/*.json in order. A folder that is not there adds nothing.
std::vector<std::string> more_files(const std::string& folder, Read& read) {
  const auto fault = [&](std::string detail) {
    read.faults.push_back({{folder, 0, ""}, std::move(detail)});
    read.whole = false;
    return std::vector<std::string>{};
  };
  UniqueFd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd) return errno == ENOENT ? std::vector<std::string>{} : fault("cannot be read: " + errno_text(errno));
  if (std::string why = why_untrusted(folder, fd.get()); !why.empty()) return fault(std::move(why));
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd.get()), ::closedir);
  if (!directory) return fault("cannot be read: " + errno_text(errno));
  fd.release();  // the DIR's now
  std::vector<std::string> files;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.') || !name.ends_with(".json")) continue;
    if (files.size() == max_files) return fault("holds more than " + std::to_string(max_files) + " files");
    files.push_back(folder + "/" + std::string(name));
  }
  std::sort(files.begin(), files.end());
  return files;
}

// One file or folder by itself.
std::string why_changeable(const std::string& path, int fd) {
  struct stat info {};
  struct statvfs system {};
  if (::fstat(fd, &info) != 0) return "cannot be examined: " + errno_text(errno);
  // Nobody writes to a read-only mount whatever the modes say; a Kubernetes ConfigMap is one, with open modes.
  if (::fstatvfs(fd, &system) == 0 && (system.f_flag & ST_RDONLY) != 0) return {};
  const bool strange_owner = info.st_uid != 0 && info.st_uid != ::geteuid();
  // A sticky folder such as /tmp protects what is in it from all but its owner.
  const bool sticky = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
  const bool group = (info.st_mode & S_IWGRP) != 0 && !sticky, everybody = (info.st_mode & S_IWOTH) != 0 && !sticky;
  if (!strange_owner && !group && !everybody) return {};
  std::array<char, 8> mode{};
  std::snprintf(mode.data(), mode.size(), "%04o", static_cast<unsigned>(info.st_mode & 07777));
  std::string why =
      "can be changed by others: " + path + " belongs to " + owner_name(info.st_uid) + " and has mode " + mode.data();
  if (group || everybody)
    why += std::string(" (") + (group ? "g+w" : "") + (group && everybody ? ", " : "") + (everybody ? "o+w" : "") + ")";
  why += "; repair it with:";
  if (strange_owner) why += " chown root " + path;
  if (strange_owner && (group || everybody)) why += " &&";
  if (group || everybody) why += " chmod go-w " + path;
  return why;
}

}  // namespace

std::string why_untrusted(const std::string& path, int fd) {
  if (std::string why = why_changeable(path, fd); !why.empty()) return why;
  // Whoever can write the folder can put another file in its place: the folder of the name, and of what a link leads to.
  std::array<char, 4096> target{};
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target.data(), target.size() - 1);
  for (const std::string& name : {path, std::string(target.data(), size > 0 ? static_cast<std::size_t>(size) : 0)}) {
    if (name.empty()) continue;
    const std::size_t slash = name.rfind('/');
    const std::string folder = slash == name.npos ? "." : slash == 0 ? "/" : name.substr(0, slash);
    const UniqueFd opened{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (opened)
      if (std::string why = why_changeable(folder, opened.get()); !why.empty()) return why;
  }
  return {};
}

Read read_files(const std::string& file) {
  Read read;
  add_file(read, file);
  for (const std::string& more : more_files(file + ".d", read)) add_file(read, more);
  return read;
}

}  // namespace hatchd::config
