#include "client/params.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"

namespace hatchd::client {
namespace {

// Beyond what any parameter of a hatch takes; the server refuses earlier.
constexpr std::size_t max_file = 8 * 1024 * 1024;

Result<std::string> content_of(const std::string& path) {
  if (path == "-") return read_all(STDIN_FILENO, max_file);
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return refuse("usage", errno_text(errno));
  return read_all(fd.get(), max_file);
}

}  // namespace

Result<Fields> parse_params(const std::vector<std::string>& arguments) {
  Fields fields;
  for (const std::string& argument : arguments) {
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos || equals == 0)
      return refuse("usage", "\"" + argument + "\" is not key=value", "parameters are written key=value or key=@file");
    std::string name = argument.substr(0, equals);
    std::string value = argument.substr(equals + 1);
    if (value.starts_with("@@")) {
      value.erase(0, 1);
    } else if (value.starts_with('@')) {
      Result<std::string> content = content_of(value.substr(1));
      if (!content)
        return refuse("usage", "parameter " + name + ": cannot read " + value.substr(1) + ": " + content.error().detail,
                      "a value that begins with @ is written " + name + "=@" + value);
      value = std::move(*content);
    }
    fields.emplace_back(std::move(name), std::move(value));
  }
  return fields;
}

std::string escape(std::string_view text) {
  constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                            c == '.' || c == '_' || c == '~';  // RFC 3986, section 2.3
    if (unreserved) {
      out += c;
    } else {
      out += '%';
      out += hex[byte >> 4];
      out += hex[byte & 15];
    }
  }
  return out;
}

std::string form(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    if (!out.empty()) out += '&';
    out += escape(name) + '=' + escape(value);
  }
  return out;
}

}  // namespace hatchd::client
