#include "config/tls.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/fd.hpp"
#include "config/read.hpp"

namespace hatchd::config {
namespace {

constexpr std::size_t max_file = 256 << 10;  // a chain of many certificates

// "" or what is wrong.
std::string read_file(const std::string& path, bool secret, std::string& content) {
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (!fd) return path + " cannot be read: " + errno_text(errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return path + " is not a regular file";
  if (std::string why = why_untrusted(path, fd.get()); !why.empty()) return why;
  // A group may: Debian's ssl-cert is made for that.
  if (secret && (info.st_mode & S_IROTH) != 0)
    return path + " can be read by everybody; repair it with: chmod o-r " + path;
  auto text = read_all(fd.get(), max_file);
  if (!text) return path + " cannot be read: " + text.error().detail;
  content = std::move(*text);
  return {};
}

}  // namespace

std::vector<FieldError> read_tls(const Tls& tls, TlsFiles& files) {
  std::vector<FieldError> errors;
  if (std::string wrong = read_file(tls.certificate, false, files.certificate); !wrong.empty())
    errors.push_back({"/tls/certificate", std::move(wrong)});
  if (std::string wrong = read_file(tls.key, true, files.key); !wrong.empty())
    errors.push_back({"/tls/key", std::move(wrong)});
  return errors;
}

}  // namespace hatchd::config
