#include "config/start_token.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json/value.hpp>
#include <cerrno>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "config/token.hpp"

namespace hatchd::config {

namespace json = boost::json;

namespace {
constexpr const char* name = "start";  // what records and audit call the caller
}

void StartToken::add_to(Loaded& loaded) const {
  json::object& access = loaded.effective["access"].get_object();
  if (!access.contains("tokens")) access["tokens"].emplace_array();
  access["tokens"].get_array().push_back(json::object{{"name", name}, {"sha256", sha256}, {"role", role}});
  Token token;
  token.name = name;
  token.sha256 = sha256;
  token.role = role;
  loaded.config.access.tokens.push_back(std::move(token));
}

Result<std::optional<StartToken>> make_start_token(const Loaded& loaded) {
  const json::object* access = object_of(loaded.effective, "access");
  const json::object* wanted = access ? object_of(*access, "start_token") : nullptr;
  if (!wanted) return std::nullopt;
  const std::string file = text_of(*wanted, "file");
  const MadeToken made = make_token();
  ::unlink(file.c_str());  // the last start's
  const UniqueFd opened{::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!opened || !write_all(opened.get(), "Authorization: Bearer " + made.token + "\n"))
    return refuse("internal", "/access/start_token/file: " + file + ": " + errno_text(errno),
                  "name a file in a folder that hatchd's user can write, such as /run/hatchd");
  return StartToken{made.sha256, text_of(*wanted, "role")};
}

}  // namespace hatchd::config
