// Where a ping gets its settings from: the profile of the configuration, or the environment of the target, so that the
// test uses what the app uses. Each value knows its origin.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings.hpp"
#include "hatch/network.hpp"
#include "queue/frame/report.hpp"
#include "queue/frame/stream.hpp"

namespace queue {

struct Setting {
  std::string text, origin;  // text empty: there is none
};

// The parameters that every kind has in common.
struct Source {
  std::string profile = "", from = "profile", network = "hatchd";

  void params(auto& p) {
    p.optional("profile", profile, "Which profile of the configuration: its kind, broker and queue").length(0, 64);
    p.optional("from", from,
               "Whose addresses: those of the profile, or what the app's own settings or the target's environment hold "
               "(CELERY_BROKER_URL, REDIS_URL, AMQP_URL, …)")
        .one_of({"profile", "target"});
    p.optional("network", network,
               "From whose network: hatchd's, or the target's, which may be another one (then it takes the rights set "
               "full)")
        .one_of({"hatchd", "target"});
  }
};

class Settings {
 public:
  // Enters the target's network where that is wanted, before anything is read: the right to do so is gone afterwards.
  // Throws hatch::Failure where something is not to be had.
  Settings(hatch::Run& run, const Source& source);

  hatch::Network network() const { return network_; }

  // The address that the profile holds as `key`; with from=target the first of `variables` that the app's own settings
  // have, else that its environment has. Throws Trouble where the app masks its password and it is not to be had.
  Setting address(std::string_view key, std::initializer_list<const char*> variables) const;
  std::string text(std::string_view key, std::string_view fallback = {}) const;
  std::vector<std::string> texts(std::string_view key) const;
  std::chrono::milliseconds duration(std::string_view key, std::chrono::milliseconds fallback) const;
  Tls tls() const;
  bool from_target() const { return from_target_; }

  // `name` is the profile's own or among its list `key`: what a caller may choose is what the operator wrote down.
  void allow(std::string_view what, const std::string& name, std::string_view own, std::string_view key) const;

 private:
  hatch::Network network_;  // first: made first
  boost::json::object profile_;
  std::string name_;
  bool from_target_ = false;
  Setting of_app(std::string_view key, const char* variable) const;
  const Setting* of_environment(std::string_view variable) const;

  std::vector<std::pair<std::string, Setting>> environment_;  // of the target's processes, the main one's first
  app::AppSettings app_;
};

// The JSON Schema of a profile: `own` holds the members of the kind ("name": {…}, …), to which come those that every
// kind has. `kind` is required.
std::string profile_schema(std::string_view kind, std::string_view own);

}  // namespace queue
