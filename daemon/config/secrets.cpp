#include "config/secrets.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include <boost/json/value.hpp>

#include "base/fd.hpp"
#include "config/config.hpp"
#include "config/read.hpp"
#include "hatch/json.hpp"
#include "schema/walk.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

constexpr std::size_t max_secret = 64 << 10;
constexpr const char* masked = "******";

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (hatch::next_code_point(text, at) == 0xFFFD && at - begin != 3) return false;
  }
  return true;
}

bool is_variable(std::string_view name) {
  const auto allowed = [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  };
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') && std::all_of(name.begin(), name.end(), allowed);
}

// Result's problem holds only a detail: the place is the caller's.
Result<std::string> substituted(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("$${")) {
      out += "${";
      at += 3;
    } else if (rest.starts_with("${")) {
      const std::size_t end = rest.find('}');
      if (end == rest.npos) return refuse("malformed", "has a ${ without a }");
      const std::string name(rest.substr(2, end - 2));
      if (!is_variable(name))
        return refuse("malformed", "must name an environment variable between ${ and }; $${ stands for ${ itself");
      const char* found = std::getenv(name.c_str());
      if (found == nullptr) return refuse("malformed", "the environment variable " + name + " is not set");
      if (!is_utf8(found)) return refuse("malformed", "the environment variable " + name + " is not UTF-8");
      out += found;
      at += end + 1;
    } else {
      out += rest[0];
      ++at;
    }
  }
  return out;
}

// {"file": …} or {"credential": …}: the one member of a reference, or nullptr.
const json::key_value_pair* reference(const json::value& value) {
  const json::object* object = value.if_object();
  if (object == nullptr || object->size() != 1) return nullptr;
  const auto& member = *object->begin();
  return member.value().is_string() && (member.key() == "file" || member.key() == "credential") ? &member : nullptr;
}

Result<std::string> read_secret(std::string_view kind, std::string path) {
  if (kind == "credential") {
    // systemd.exec(5), "Credentials": a folder that only the service can read.
    const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
    if (folder == nullptr) return refuse("malformed", "there are no credentials: the unit has no LoadCredential=");
    if (path.empty() || path.find('/') != path.npos || path == "." || path == "..")
      return refuse("malformed", "must name a credential");
    path = std::string(folder) + "/" + path;
  } else if (!path.starts_with('/')) {
    return refuse("malformed", "must be an absolute path");
  }
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (!fd) return refuse("malformed", path + " cannot be read: " + errno_text(errno));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return refuse("malformed", path + " is not a regular file");
  if (std::string why = why_untrusted(path, fd.get()); !why.empty()) return refuse("malformed", why);
  auto text = read_all(fd.get(), max_secret);
  if (!text) return text;
  if (text->ends_with('\n')) text->pop_back();
  if (!is_utf8(*text)) return refuse("malformed", path + " is not UTF-8");
  return text;
}

// Names whose values are secret more often than not; too much masked costs a look into the file, too little a secret.
bool is_secret_name(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  for (const char* part : {"passw", "passphrase", "secret", "token", "credential", "private", "pwd"})
    if (lower.find(part) != lower.npos) return true;
  return lower.ends_with("key") || lower == "pass" || lower.ends_with("_pass");
}

bool is_only_a_variable(std::string_view text) {
  return text.starts_with("${") && text.ends_with('}') && is_variable(text.substr(2, text.size() - 3));
}

// "redis://user:******@host".
std::string without_password(std::string_view text) {
  const std::size_t scheme = text.find("://");
  if (scheme == text.npos) return std::string(text);
  const std::size_t begin = scheme + 3;
  const std::size_t at = text.substr(0, text.find_first_of("/?#", begin)).rfind('@');
  // A password may hold an unescaped slash; then what looks like the host is not where the user ends.
  const std::size_t end = at != text.npos && at >= begin ? at : text.rfind('@');
  const std::size_t colon = text.find(':', begin);
  if (end == text.npos || end < begin || colon == text.npos || colon > end) return std::string(text);
  if (is_only_a_variable(text.substr(colon + 1, end - colon - 1))) return std::string(text);
  return std::string(text.substr(0, colon + 1)) + masked + std::string(text.substr(end));
}

void mask_below(json::value& value, bool secret) {
  if (json::object* object = value.if_object()) {
    if (secret && reference(value) != nullptr) return;
    for (auto& member : *object) mask_below(member.value(), secret || is_secret_name(member.key()));
  } else if (json::array* list = value.if_array()) {
    for (json::value& entry : *list) mask_below(entry, secret);
  } else if (json::string* text = value.if_string()) {
    if (!secret)
      *text = without_password(*text);
    else if (!is_only_a_variable(*text))
      *text = masked;
  } else if (secret && value.is_number()) {
    value = masked;
  }
}

}  // namespace

void substitute(json::value& value, const std::string& pointer, std::vector<FieldError>& failures) {
  if (json::object* object = value.if_object()) {
    for (auto& member : *object)
      substitute(member.value(), schema::child(pointer, std::string_view(member.key())), failures);
  } else if (json::array* list = value.if_array()) {
    for (std::size_t i = 0; i < list->size(); ++i) substitute((*list)[i], schema::child(pointer, i), failures);
  } else if (json::string* text = value.if_string()) {
    if (text->find('$') == json::string::npos) return;
    auto out = substituted(*text);
    if (out)
      *text = *out;
    else
      failures.push_back({pointer, out.error().detail});
  }
}

void mask_plugin(json::value& value) { mask_below(value, false); }

std::vector<FieldError> resolve_secrets(const json::object& schema, json::value& value) {
  std::vector<FieldError> failures;
  schema::walk(schema, value, [&](const json::object& spoken, json::value& part) {
    const auto* found = flag_of(spoken, "secret") ? reference(part) : nullptr;
    if (found == nullptr) return;
    auto text = read_secret(found->key(), std::string(found->value().get_string()));
    if (text)
      part = json::string(*text);
    else
      failures.push_back({"", text.error().detail});
  });
  return failures;
}

}  // namespace hatchd::config
