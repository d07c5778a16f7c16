// The formats that are checked. Each is one row: its name, its test, and what a person should have written.
#include <algorithm>
#include <array>

#include "base/clock.hpp"
#include "base/url.hpp"
#include "schema/words.hpp"

namespace hatchd::schema {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool lower(char c) { return c >= 'a' && c <= 'z'; }
bool letter(char c) { return lower(c) || (c >= 'A' && c <= 'Z'); }

bool is_duration(std::string_view text) { return parse_duration(text).count() >= 0; }

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 64 || (!letter(text[0]) && !digit(text[0]))) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return letter(c) || digit(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_hatch_word(std::string_view text) {
  return !text.empty() && lower(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) { return lower(c) || digit(c) || c == '_' || c == '-'; });
}

bool is_hatch_id(std::string_view text) {
  const std::size_t dot = text.find('.');
  return dot != text.npos && text.size() <= 64 && is_hatch_word(text.substr(0, dot)) &&
         is_hatch_word(text.substr(dot + 1));
}

bool is_absolute_path(std::string_view text) {
  return !text.empty() && text[0] == '/' && text.size() < 4096 && std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
}

// RFC 3986: a scheme, a colon, and then only characters that a URI may hold.
bool is_uri(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos || colon + 1 == text.size() || !letter(text[0])) return false;
  constexpr std::string_view in_scheme = "+-.", in_rest = "-._~:/?#[]@!$&'()*+,;=%";
  const auto holds = [](std::string_view part, std::string_view marks) {
    return std::all_of(part.begin(), part.end(),
                       [&](char c) { return letter(c) || digit(c) || marks.find(c) != marks.npos; });
  };
  return holds(text.substr(0, colon), in_scheme) && holds(text.substr(colon + 1), in_rest);
}

// SCHEME://[USER[:PASSWORD]@]HOST[:PORT]…, or several with ";" between them. Only ports are looked at: what else there is
// differs by scheme.
bool is_server_url(std::string_view text) {
  while (!text.empty()) {
    const std::size_t scheme = text.find("://");
    if (scheme == text.npos) return false;
    text.remove_prefix(scheme + 3);
    const std::size_t next = text.find("://"), border = text.substr(0, next).rfind(';');
    const std::size_t end = next == text.npos || border == text.npos ? text.size() : border;
    if (has_wrong_port(text.substr(0, end))) return false;
    text.remove_prefix(end);
  }
  return true;
}

// execve(2): a string that ends with a NUL byte, of 32 pages at most with it.
bool is_argument(std::string_view text) { return text.size() < 131'072 && text.find('\0') == text.npos; }

// An argument that no program takes for an option.
bool is_plain_argument(std::string_view text) { return is_argument(text) && !text.starts_with('-'); }

// Encoded or not, servers take dots for the way up.
bool is_path_segment(std::string_view text) { return !text.empty() && text != "." && text != ".."; }

struct Format {
  std::string_view name;
  bool (*holds)(std::string_view);
  std::string_view expected;
};

constexpr std::array formats{
    Format{"duration", is_duration, "must be a duration such as \"30s\", \"250ms\" or \"2h\""},
    Format{"name", is_name,
           "must be a name: letters, digits, \".\", \"_\" and \"-\", at most 64, a letter or digit first"},
    Format{"hatch-id", is_hatch_id,
           "must be a hatch id such as \"stack.dump\": two lower-case words with a dot between"},
    Format{"absolute-path", is_absolute_path, "must be an absolute path"},
    Format{"uri", is_uri, "must be a URI such as \"smtp://127.0.0.1:25\""},
    Format{"server-url", is_server_url,
           "must have a port from 1 to 65535 or none behind the host, as in \"smtp://127.0.0.1:25\"; : / ? # and @ "
           "within a "
           "user or password are written %3A %2F %3F %23 and %40"},
    Format{"argument", is_argument, "must be fit for an argument of a program: less than 128 KiB without a NUL byte"},
    Format{"plain-argument", is_plain_argument,
           "must be fit for an argument of a program: less than 128 KiB without a NUL byte, and not beginning with "
           "\"-\", which would make it an option"},
    Format{"path-segment", is_path_segment, "must be a segment of a path: not empty, \".\" or \"..\""},
};

const Format* find(std::string_view name) {
  const auto found = std::find_if(formats.begin(), formats.end(), [&](const Format& f) { return f.name == name; });
  return found == formats.end() ? nullptr : &*found;
}

}  // namespace

bool known_format(std::string_view format) { return find(format) != nullptr; }

std::string format_failure(std::string_view format, std::string_view text) {
  const Format* known = find(format);
  if (known == nullptr) return "has a format that hatchd does not know";
  return known->holds(text) ? std::string{} : std::string(known->expected);
}

}  // namespace hatchd::schema
