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

bool is_only_a_variable(std::string_view text) {
  return text.starts_with("${") && text.ends_with('}') && is_variable(text.substr(2, text.size() - 3));
}

// References stay, and so does the place of a variable: they say where a secret is, not what.
void mask_below(json::value& value, std::string_view name, bool secret, const hatch::Mask& mask) {
  if (json::object* object = value.if_object()) {
    if (secret && reference(value) != nullptr) return;
    for (auto& member : *object)
      mask_below(member.value(), member.key(), secret || mask.secret_name(member.key()), mask);
  } else if (json::array* list = value.if_array()) {
    for (json::value& entry : *list) mask_below(entry, name, secret, mask);
  } else if (json::string* text = value.if_string()) {
    if (!secret)
      *text = mask.value(name, *text);
    else if (!is_only_a_variable(*text))
      *text = hatch::Mask::stars;
  } else if (secret && value.is_number()) {
    value = hatch::Mask::stars;
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

void mask_secrets(json::value& value, const hatch::Mask& mask) { mask_below(value, {}, false, mask); }

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
