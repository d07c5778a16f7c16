// What the hatches of every kind have in common: how they describe themselves, their parameters, and that a dry run is the
// same ping, which only looks.
#pragma once

#include "queue/frame/settings.hpp"

namespace queue {

constexpr hatch::About about_ping(const char* kind, const char* title, const char* documentation) {
  return {
      .id = "queue.ping",
      .title = title,
      .documentation = documentation,
      .effect = hatch::Effect::act,
      .target = hatch::Target::optional,
      .flags = HATCH_ENVIRONMENT,
      .timeout = std::chrono::seconds{30},
      .kind = kind,
      .capabilities = {"sys_admin"},
      .requirements = {"network/1", "act/1"},
  };
}

// `Kind` has
//   static constexpr hatch::About about;  std::string queue_name;
//   static constexpr const char* which_queue;    what the parameter "queue" is
//   void params(auto&);                          those of its own, if it has any
//   hatch::Result ping(hatch::Run&, const Settings&, bool look_only) const;
template <class Kind>
struct PingHatch {
  static constexpr hatch::About about = Kind::about;

  Source source;
  Kind kind;

  void params(auto& p) {
    source.params(p);
    p.optional("queue", kind.queue_name, Kind::which_queue).length(0, 200);
    if constexpr (requires { kind.params(p); }) kind.params(p);
  }
  hatch::Result run(hatch::Run& run) { return perform(run, false); }
  // As far as it goes without sending anything.
  hatch::Result preflight(hatch::Run& run) { return perform(run, true); }

 private:
  hatch::Result perform(hatch::Run& run, bool look_only) const {
    const Settings settings(run, source);
    return kind.ping(run, settings, look_only);
  }
};

// How a loop-back begins: what its result has in any case, the app's queue that is to be looked at (`queue`: the caller's
// choice, then what it came to), and the server's address, of which `example` is one. Throws Trouble where there is none.
Setting open_loop_back(Report& report, const Settings& settings, std::string_view kind, std::string& queue,
                       std::initializer_list<const char*> variables, std::string_view example);

// Says in the result what the address is and whose.
void add_address(Report& report, const std::string& shown, const Setting& url);

}  // namespace queue
