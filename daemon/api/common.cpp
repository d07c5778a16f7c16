#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "api/api.hpp"
#include "base/json.hpp"

namespace hatchd::api {

namespace json = boost::json;

catalogue::Door door_of(const Api& api, const http::Context& context) {
  catalogue::Door door;
  const Listener listener =
      context.request.peer.listener < api.listeners.size() ? api.listeners[context.request.peer.listener] : Listener{};
  if (context.request.peer.local) {
    door.unix_path = listener.unix_path.empty() ? "/run/hatchd/hatchd.sock" : listener.unix_path;
    return door;
  }
  // The name that brought the caller here works for it, also through a port forwarding; but only what needs no quoting.
  std::string host(context.request.header("host"));
  const bool plain = !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == ':' ||
           c == '-';
  });
  door.origin = (listener.tls ? "https://" : "http://") + (plain ? host : listener.tcp);
  door.token = context.caller.via == "token";
  return door;
}

std::string hatch_id_of(const http::Context& context) {
  for (const char* name : {"id", "group.verb"})
    if (const auto at = context.captures.find(name); at != context.captures.end()) return at->second;
  return {};
}

boost::asio::awaitable<std::vector<std::string>> target_names(Api& api) {
  std::vector<std::string> names = api.targets;
  if (api.discovers_targets)
    if (const auto listed = co_await api.finder.list())
      for (const json::value& value : *listed)
        if (const json::object* target = value.if_object())
          if (std::string name = text_of(*target, "name"); !name.empty()) names.push_back(std::move(name));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  co_return names;
}

boost::asio::awaitable<std::shared_ptr<const catalogue::Catalogue>> whole_catalogue(Api& api,
                                                                                    std::vector<std::string> names) {
  const std::shared_ptr<const catalogue::Catalogue> base = api.catalogue;
  if (!api.members || base->families().empty()) co_return base;
  co_return co_await api.members->look(base, std::move(names));
}

std::vector<std::string> visible(const std::vector<std::string>& names, const access::Caller& caller,
                                 std::string_view hatch) {
  std::vector<std::string> seen;
  for (const std::string& name : names)
    if (access::sees(caller, hatch, name)) seen.push_back(name);
  return seen;
}

Problem invalid(std::string pointer, std::string detail) {
  Problem problem{"params-invalid", "a parameter is not valid: " + pointer};
  problem.errors.push_back({std::move(pointer), std::move(detail)});
  return problem;
}

Result<std::size_t> limit_of(const http::Request& request) {
  constexpr std::size_t fallback = 50, most = 200;
  const std::string_view text = request.query_value("limit").value_or("");
  if (text.empty()) return fallback;
  std::size_t limit = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (error == std::errc() && end == text.data() + text.size() && limit >= 1 && limit <= most) return limit;
  return tl::unexpected(invalid("/limit", "must be a number from 1 to " + std::to_string(most)));
}

http::Response refused(const Problem& problem, const http::Context& context) {
  return http::problem_response(problem, context.request, http::format_of(context.request, context.fallback));
}

boost::asio::awaitable<Result<runs::Run>> readable_run(Api& api, const http::Context& context, access::Action action) {
  const auto at = context.captures.find("id");
  const std::string id = at == context.captures.end() ? std::string() : at->second;
  auto run = co_await api.runner.load(id);
  if (!run) {
    // An unreadable record is not the client's to understand.
    if (run.error().code != "run-unknown") co_return refuse("run-unknown", "the record of this run cannot be read");
    co_return run;
  }
  const access::Ask ask{action, run->hatch, run->effect, run->role, run->target};
  if (auto allowed = access::authorize(context.caller, ask, *api.policy()); !allowed)
    co_return tl::unexpected(allowed.error());
  co_return run;
}

}  // namespace hatchd::api
