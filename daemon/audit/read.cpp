#include "audit/read.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "audit/entry.hpp"
#include "audit/lines.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"

namespace hatchd::audit {

namespace json = boost::json;

namespace {

constexpr std::size_t piece_size = 64 * 1024;  // no line is longer (Audit::max_line)
constexpr std::size_t longest_line = 1024 * 1024;
constexpr unsigned most_files = 1001;

struct File {
  UniqueFd fd;
  ino_t inode = 0;
  std::uint64_t size = 0;
};

// The newest first. A rotation meanwhile shows a file twice or leaves one out; the first is seen to here.
std::vector<File> open_all(int directory, const std::string& name) {
  std::vector<File> files;
  for (unsigned number = 0; number < most_files; ++number) {
    File file;
    file.fd = UniqueFd{::openat(directory, rotated_name(name, number).c_str(),
                                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
    struct stat info {};
    if (!file.fd) {
      if (number > 0) break;  // the newest may be missing for a moment: moved away, and nothing written since
      continue;
    }
    if (::fstat(file.fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    file.inode = info.st_ino;
    file.size = static_cast<std::uint64_t>(info.st_size);
    if (std::none_of(files.begin(), files.end(), [&](const File& other) { return other.inode == file.inode; }))
      files.push_back(std::move(file));
  }
  return files;
}

std::string read_at(int fd, std::uint64_t at, std::size_t length) {
  std::string piece(length, '\0');
  const ssize_t n = ::pread(fd, piece.data(), length, static_cast<off_t>(at));
  piece.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return piece;
}

// The first line that begins at `at` or later: where it begins and its id.
struct Found {
  std::uint64_t at = 0;
  std::string id;
};
std::optional<Found> line_from(const File& file, std::uint64_t at) {
  std::string piece = read_at(file.fd.get(), at == 0 ? 0 : at - 1, 2 * piece_size);
  std::size_t begin = 0;
  if (at > 0) {
    begin = piece.find('\n');
    if (begin == std::string::npos) return std::nullopt;
    ++begin;
  }
  const std::string_view id = id_of(std::string_view(piece).substr(begin));
  if (id.empty()) return std::nullopt;
  return Found{(at == 0 ? 0 : at - 1) + begin, std::string(id)};
}

// Where the lines end that are older than `id`: ids grow with the lines, so by halves.
std::uint64_t end_before(const File& file, const std::string& id) {
  std::uint64_t low = 0, high = file.size;  // below `low` all are older; from `high` on none is
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    const auto found = line_from(file, middle);
    if (!found || found->at >= high || found->id >= id)
      high = middle;
    else
      low = found->at + 1;
  }
  const auto found = line_from(file, low);
  return found ? found->at : file.size;
}

// Lines of a file from its end, or from `end`, to its beginning.
class Backward {
 public:
  Backward(const File& file, std::uint64_t end) : file_(file), at_(end) {}

  std::optional<std::string> next() {
    for (;;) {
      // The last byte of buffer_ is the line break of the line that is asked for, so the search begins before it.
      const std::size_t from = buffer_.empty() ? std::string::npos : buffer_.rfind('\n', buffer_.size() - 2);
      if (buffer_.size() > 1 && from != std::string::npos) return cut(from + 1);
      if (at_ == 0) return buffer_.empty() ? std::nullopt : std::optional(cut(0));
      if (buffer_.size() > longest_line) buffer_.clear();
      const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(at_, piece_size));
      at_ -= length;
      buffer_.insert(0, read_at(file_.fd.get(), at_, length));
    }
  }

 private:
  std::string cut(std::size_t begin) {
    std::string line = buffer_.substr(begin);
    buffer_.resize(begin);
    while (line.ends_with('\n')) line.pop_back();
    return line;
  }

  const File& file_;
  std::uint64_t at_;
  std::string buffer_;  // what is read and not handed out; it goes on to at_ at its front
};

std::string target_name(const json::object& entry) {
  const json::object* target = object_of(entry, "target");
  return target ? text_of(*target, "name") : text_of(entry, "target");
}

bool fits(const json::object& entry, const Query& query) {
  const auto is = [](const std::string& wanted, const std::string& value) { return wanted.empty() || wanted == value; };
  const json::object* caller = object_of(entry, "caller");
  return is(query.event, text_of(entry, "event")) && is(query.run, text_of(entry, "run")) &&
         is(query.hatch, text_of(entry, "hatch")) && is(query.outcome, text_of(entry, "outcome")) &&
         is(query.target, target_name(entry)) && is(query.caller, caller ? text_of(*caller, "name") : "") &&
         (query.until.empty() || text_of(entry, "time") < query.until) && (!query.visible || query.visible(entry));
}

}  // namespace

Page read_page(int directory, const std::string& name, const Query& query) {
  Page page;
  std::size_t read = 0;
  std::string last;  // the id of the last line that was looked at
  for (const File& file : open_all(directory, name)) {
    Backward lines(file, query.after.empty() ? file.size : end_before(file, query.after));
    while (auto line = lines.next()) {
      read += line->size();
      const std::string_view id = id_of(*line);
      if (id.empty()) continue;
      if (page.entries.size() == query.limit || read > max_read) {
        page.next = last;
        return page;
      }
      auto parsed = parse_json(*line);
      if (!parsed || !parsed->is_object()) continue;
      json::object& entry = parsed->get_object();
      last = id;
      if (!query.since.empty() && text_of(entry, "time") < query.since) return page;  // all that follow are older
      if (fits(entry, query)) page.entries.push_back(std::move(entry));
    }
  }
  return page;
}

void for_each_line(int directory, const std::string& name, const std::function<void(std::string_view)>& visit) {
  std::vector<File> files = open_all(directory, name);
  std::reverse(files.begin(), files.end());
  for (const File& file : files) {
    std::string rest;
    for (std::uint64_t at = 0; at < file.size;) {
      const std::string piece = read_at(file.fd.get(), at, std::min<std::uint64_t>(piece_size * 16, file.size - at));
      if (piece.empty()) break;
      at += piece.size();
      rest += piece;
      std::size_t begin = 0;
      for (std::size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1)
        visit(std::string_view(rest).substr(begin, end - begin));
      rest.erase(0, begin);
      if (rest.size() > longest_line) rest.clear();
    }
  }
}

}  // namespace hatchd::audit
