#include "queue/frame/ping.hpp"

namespace queue {

Setting open_loop_back(Report& report, const Settings& settings, std::string_view kind, std::string& queue,
                       std::initializer_list<const char*> variables, std::string_view example) {
  report.add("kind", kind);
  report.add("worker", nullptr);
  report.add("workers", hatch::Array{});
  Setting url = settings.address("url", variables);
  const std::string own = settings.text("queue");
  if (queue.empty()) queue = own;
  if (queue.empty()) {
    report.add("queue", nullptr);
  } else {
    settings.allow("queue", queue, own, "queues");
    report.add("queue", queue);
  }
  if (url.text.empty())
    throw Trouble(settings.from_target() ? "the target's environment has no " + std::string(*variables.begin())
                                         : "the profile has no \"url\"",
                  "add \"url\": \"" + std::string(example) + "\" to the profile, or use from=target");
  return url;
}

void add_address(Report& report, const std::string& shown, const Setting& url) {
  report.add("settings",
             hatch::Object{}.add("url", hatch::Object{}.add("value", report.clean(shown)).add("origin", url.origin)));
}

}  // namespace queue
