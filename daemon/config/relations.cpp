#include "config/relations.hpp"

#include <algorithm>
#include <map>
#include <string>

#include <boost/json/value.hpp>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/rights.hpp"
#include "config/recipes.hpp"
#include "config/units.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

using schema::child;

constexpr std::size_t max_socket_path = 107;  // sun_path with its zero: unix(7)

class Relations {
 public:
  explicit Relations(const json::object& whole) : whole_(whole) {}

  std::vector<FieldError> check() {
    each(array_of(whole_, "listen"), "/listen", &Relations::listener);
    if (const json::object* targets = object_of(whole_, "targets"))
      for (const auto& member : *targets)
        if (member.value().is_object())
          target(member.value().get_object(), child("/targets", std::string_view(member.key())));
    if (const json::object* access = object_of(whole_, "access"))
      each(array_of(*access, "tokens"), "/access/tokens", &Relations::token);
    if (const json::object* plugins = object_of(whole_, "plugins"))
      for (const auto& member : *plugins)
        if (member.value().is_object())
          plugin(member.value().get_object(), child("/plugins", std::string_view(member.key())));
    if (const json::object* hatches = object_of(whole_, "hatches"))
      for (const auto& member : *hatches)
        if (member.value().is_object())
          hatch(member.value().get_object(), child("/hatches", std::string_view(member.key())));
    if (const json::object* runs = object_of(whole_, "runs")) kept(*runs);
    if (const json::object* audit = object_of(whole_, "audit")) audited(*audit);
    duration(whole_, "grace", "", std::chrono::minutes(10));
    return std::move(errors_);
  }

 private:
  void each(const json::array* list, const std::string& at,
            void (Relations::*check)(const json::object&, const std::string&)) {
    if (list == nullptr) return;
    for (std::size_t i = 0; i < list->size(); ++i)
      if ((*list)[i].is_object()) (this->*check)((*list)[i].get_object(), child(at, i));
  }

  void listener(const json::object& listen, const std::string& at) {
    const std::string path = text_of(listen, "unix"), address = text_of(listen, "tcp");
    if (path.size() > max_socket_path)
      fail(at + "/unix", "must have at most 107 bytes, the kernel's limit for a socket");
    if (!path.empty()) unique(path, at + "/unix");
    if (address.empty()) {
      if (listen.contains("tls")) fail(at + "/tls", "belongs to TCP");
      if (listen.contains("tcp"))
        fail(at + "/tcp", "must be ADDRESS:PORT, such as \"127.0.0.1:4282\" or \"[::1]:4282\"");
      return;
    }
    for (const char* key : {"mode", "group"})
      if (listen.contains(key)) fail(child(at, std::string_view(key)), "belongs to a Unix socket");
    const auto parsed = parse_address(address);
    if (!parsed) return fail(at + "/tcp", "must be ADDRESS:PORT, such as \"127.0.0.1:4282\" or \"[::1]:4282\"");
    if (parsed->port != 0) unique(address, at + "/tcp");
    const bool has_tls = whole_.contains("tls") && flag_of(listen, "tls", true);
    if (!parsed->loopback && !listen.contains("only") && !has_tls)
      fail(at + "/tcp", "beyond loopback TLS is required, or \"only\": [\"health\", \"metrics\"]");
    if (flag_of(listen, "tls") && !whole_.contains("tls"))
      fail(at + "/tls", "needs certificate and key: \"tls\": {\"certificate\": …, \"key\": …} beside \"listen\"");
  }

  void target(const json::object& target, const std::string& at) {
    const std::string pattern = text_of(target, "cmdline");
    if (!pattern.empty() && !schema::compiles(pattern))
      fail(at + "/cmdline", "is not a regular expression that hatchd understands (ECMAScript without back-references)");
  }

  void token(const json::object& token, const std::string& at) {
    unique("sha256 " + text_of(token, "sha256"), at + "/sha256");
    const std::string expires = text_of(token, "expires");
    if (token.contains("expires") && !is_date_or_time(expires))
      fail(at + "/expires", "must be a date such as \"2027-01-01\", or a time such as \"2027-01-01T12:00:00Z\"");
  }

  void plugin(const json::object& plugin, const std::string& at) {
    const json::array* capabilities = array_of(plugin, "capabilities");
    if (capabilities == nullptr) return;
    const std::vector<std::string> known = rights::known_capabilities();
    const std::vector<std::string_view> names(known.begin(), known.end());
    for (std::size_t i = 0; i < capabilities->size(); ++i) {
      const json::string* name = (*capabilities)[i].if_string();
      if (name == nullptr || std::count(names.begin(), names.end(), std::string_view(*name)) != 0) continue;
      const std::string near = schema::nearest(*name, names);
      fail(child(child(at, "capabilities"), i),
           "is no capability of this kernel (capabilities(7)); without \"CAP_\", in lower case" +
               (near.empty() ? std::string() : ": did you mean \"" + near + "\"?"));
    }
  }

  void hatch(const json::object& hatch, const std::string& at) {
    duration(hatch, "timeout", at, std::chrono::hours(24));
    duration(hatch, "max_pause", at, std::chrono::minutes(1));
    if (parse_duration(text_of(hatch, "cooldown")) > std::chrono::hours(24 * 30))
      fail(at + "/cooldown", "must be at most 30d");
    static const json::object none;
    const json::object* targets = object_of(whole_, "targets");
    check_recipe(hatch, at, targets ? *targets : none, errors_);
  }

  void kept(const json::object& runs) {
    if (const json::object* keep = object_of(runs, "keep"))
      if (keep->contains("bytes") && !text_of(*keep, "bytes").empty() && !parse_size(text_of(*keep, "bytes")))
        fail("/runs/keep/bytes", "must be a size such as \"512MiB\" or \"2GiB\"");
  }

  void audited(const json::object& audit) {
    if (const std::string file = text_of(audit, "file"); file.ends_with('/'))
      fail("/audit/file", "must be the name of a file, such as /var/log/hatchd/audit.jsonl");
    const auto bytes = parse_size(text_of(audit, "max_bytes"));
    if (audit.contains("max_bytes") && (!bytes || *bytes < 64 * 1024))
      fail("/audit/max_bytes", "must be a size of at least 64KiB, such as \"8MiB\"");
  }

  // Between nothing and `most`. That it is a duration at all, the schema says.
  void duration(const json::object& object, std::string_view name, const std::string& at, std::chrono::minutes most) {
    if (!object.contains(name)) return;
    const auto parsed = parse_duration(text_of(object, name));
    if (parsed.count() == 0) fail(child(at, name), "must be more than nothing");
    if (parsed > most)
      fail(child(at, name), "must be at most " + (most.count() % 60 == 0 ? std::to_string(most.count() / 60) + "h"
                                                                         : std::to_string(most.count()) + "m"));
  }

  // The same text must not stand in two places.
  void unique(const std::string& value, const std::string& at) {
    const auto [entry, fresh] = seen_.emplace(value, at);
    if (!fresh) fail(at, "is the same as " + entry->second);
  }

  void fail(std::string at, std::string detail) { errors_.push_back({std::move(at), std::move(detail)}); }

  const json::object& whole_;
  std::map<std::string, std::string> seen_;
  std::vector<FieldError> errors_;
};

}  // namespace

std::vector<FieldError> check_relations(const json::object& configuration) { return Relations(configuration).check(); }

}  // namespace hatchd::config
