// The routes that run hatches and read runs, called with requests made by hand.
#include "api/api.hpp"

#include <future>

#include "catch.hpp"
#include "house.hpp"

using api::Api;

namespace {

// `hatchd: targets` as a thread: "web" is up, everything else is gone.
class FakeTargets {
 public:
  explicit FakeTargets(UniqueFd end)
      : thread_([fd = std::make_shared<UniqueFd>(std::move(end))] {
          link::Channel channel(std::move(*fd));
          link::Message ask;
          while (channel.wait(ask, 20'000) == link::Received::message) {
            const std::string name = text_of(ask.body, "target", "web");
            json::object target{{"name", name}, {"state", name == "web" ? "up" : "gone"}, {"processes", json::array{}}};
            channel.send("listed", {{"tag", ask.body.at("tag")}, {"targets", json::array{std::move(target)}}});
          }
        }) {}
  ~FakeTargets() { thread_.join(); }

 private:
  std::thread thread_;
};

struct Routes : House {
  std::shared_ptr<const catalogue::Catalogue> catalogue =
      std::make_shared<const catalogue::Catalogue>(json::parse(R"([{"plugin": "stack", "hatches": [
      {"id": "stack.dump", "title": "Dump", "effect": "observe", "target": "required", "enabled": true, "preflight": true, "concurrency": 4,
       "renderings": ["folded"], "parameters": {"type": "object", "properties": {
          "secret": {"type": "string", "secret": true}, "force": {"type": "boolean", "default": false, "x-effect": "disrupt"}}}},
      {"id": "stack.off", "title": "Off", "effect": "observe", "target": "none", "enabled": false, "why_not": "switched off"}]}])")
                                                       .as_array());
  api::Finder finder{io.get_executor()};
  access::Policy policy = access::make_policy({}, {}, {});
  Api api{catalogue,
          runner,
          pool,
          finder,
          [this] { return std::make_shared<const access::Policy>(policy); },
          {{"/run/h.sock", ""}},
          {"gone", "web"}};
  std::optional<FakeTargets> targets;
  access::Caller caller;

  Routes() {
    auto [ours, theirs] = link::Channel::pair();
    targets.emplace(std::move(theirs));
    finder.connect(link::Channel(std::move(ours)));
    caller.name = "alice";
    caller.via = "unix";
    caller.role = access::Role::operator_;
  }
  ~Routes() {
    finder.close();
    io.restart();
    io.poll();  // the coroutine that listens ends, and with it the channel that FakeTargets waits on
  }

  // One request; `form` makes it a POST.
  http::Response ask(api::Answer (*handler)(Api&, const http::Context&),
                     std::map<std::string, std::string, std::less<>> captures, std::string form = {},
                     http::Fields headers = {}, http::Fields query = {}) {
    http::Request request;
    request.id = new_ulid();
    request.method = form.empty() ? "GET" : "POST";
    request.path = request.target = "/";
    request.headers = std::move(headers);
    request.query = std::move(query);
    request.peer.local = true;
    if (!form.empty()) request.headers.emplace_back("content-type", "application/x-www-form-urlencoded");
    request.body = std::move(form);
    const http::Context context{request, caller, std::move(captures), http::Format::json};
    http::Response response;
    go([&]() -> asio::awaitable<void> { response = co_await handler(api, context); });
    return response;
  }
  http::Response post(std::string form, http::Fields headers = {}) {
    return ask(api::invoke, {{"id", "stack.dump"}}, std::move(form), std::move(headers));
  }
};

json::object object_in(const http::Response& response) {
  INFO(response.body);
  auto value = parse_json(response.body);
  REQUIRE(value);
  REQUIRE(value->is_object());
  return value->get_object();
}

std::string header_of(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

}  // namespace

TEST_CASE("a run is answered with the run, its result in it, secrets masked") {
  Routes routes;
  routes.acts = {succeed};
  const http::Response response = routes.post("target=web&secret=hunter2&reason=because");
  CHECK(response.status == 200);
  const json::object run = object_in(response);
  CHECK(text_of(run, "state") == "succeeded");
  CHECK(run.at("result").at("threads").as_array().size() == 2);
  CHECK(run.at("params").at("secret") == "******");
  CHECK(run.at("reason") == "because");
  CHECK(header_of(response, "Location") == "/v1/runs/" + text_of(run, "id"));
  CHECK(response.body.find("hunter2") == std::string::npos);

  SECTION("and is read again, in every form") {
    const std::map<std::string, std::string, std::less<>> id{{"id", text_of(run, "id")}};
    CHECK(object_in(routes.ask(api::show_run, id)) == run);
    CHECK(routes.ask(api::show_run, id, {}, {}, {{"format", "text"}}).body == "all is well\n");
    const http::Response missing = routes.ask(api::show_run, id, {}, {}, {{"format", "folded"}});
    CHECK(missing.status == 422);
    CHECK(routes.ask(api::cancel_run, id).status == 409);
    const json::object list = object_in(routes.ask(api::list_runs, {}));
    CHECK(list.at("runs").as_array().size() == 1);
    CHECK(list.at("next").is_null());
    CHECK(routes.ask(api::list_runs, {}, {}, {}, {{"format", "text"}}).body.find("all is well") != std::string::npos);
  }
  SECTION("and is hidden from whoever may not run it") {
    routes.caller.hatches = {"mail.*"};
    CHECK(routes.ask(api::show_run, {{"id", text_of(run, "id")}}).status == 404);
    CHECK(object_in(routes.ask(api::list_runs, {})).at("runs").as_array().empty());
  }
}

TEST_CASE("a run that failed is 424 with the run in the problem; reading it is 200") {
  Routes routes;
  routes.acts = {[](FakeRun& run) {
    run.started();
    run.result(R"({"verdict":"half way"})");
    run.rendering("text", "half way\n");
    run.closing("failed", {{"detail", "550 no"}, {"remedy", "ask them"}});
    run.ended();
    return true;
  }};
  const http::Response response = routes.post("target=web");
  CHECK(response.status == 424);
  const json::object problem = object_in(response);
  CHECK(text_of(problem, "code") == "run-failed");
  const json::object run = problem.at("run").as_object();
  CHECK(run.at("result").at("verdict") == "half way");
  const std::map<std::string, std::string, std::less<>> id{{"id", text_of(run, "id")}};
  CHECK(routes.ask(api::show_run, id).status == 200);
  const http::Response text = routes.ask(api::show_run, id, {}, {}, {{"format", "text"}});
  CHECK(text.status == 200);
  CHECK(text.body.find("(run-failed): 550 no\nremedy: ask them\n") != std::string::npos);
  CHECK(text.body.find("half way") != std::string::npos);
}

TEST_CASE("refusals before anything runs") {
  Routes routes;
  struct Row {
    std::string hatch, form, code;
    unsigned status;
  };
  const std::vector<Row> rows{{"stack.dmup", "target=web", "hatch-unknown", 404},
                              {"stack.off", "x=1", "hatch-disabled", 403},
                              {"stack.dump", "secret=x", "target-required", 422},
                              {"stack.dump", "target=nope", "target-unknown", 404},
                              {"stack.dump", "target=gone", "target-gone", 409},
                              {"stack.dump", "target=web&pasue=all", "params-invalid", 422},
                              {"stack.dump", "target=web&processes=some", "params-invalid", 422},
                              {"stack.dump", "target=web&format=nope", "params-invalid", 422},
                              {"stack.dump", "target=web&force=true", "role-missing", 403}};
  for (const Row& row : rows) {
    CAPTURE(row.hatch, row.form);
    const http::Response response = routes.ask(api::invoke, {{"id", row.hatch}}, row.form);
    CHECK(response.status == row.status);
    CHECK(text_of(object_in(response), "code") == row.code);
  }
  CHECK(routes.asked == 0);
  CHECK(routes.store.size() == 0);
}

TEST_CASE("an Idempotency-Key is refused where a retry would act again, and only there") {
  Routes routes;
  routes.caller.role = access::Role::admin;
  routes.acts = {succeed};
  const http::Response refused = routes.post("target=web&force=true", {{"idempotency-key", "k1"}});
  CHECK(refused.status == 400);
  const json::object problem = object_in(refused);
  CHECK(text_of(problem, "code") == "malformed");
  CHECK(text_of(problem, "detail").find("stack.dump again") != std::string::npos);
  CHECK(routes.store.size() == 0);
  CHECK(routes.post("target=web", {{"idempotency-key", "k1"}}).status == 200);
}

TEST_CASE("who prefers not to wait gets 202 and where to look") {
  Routes routes;
  std::promise<void> go_on;
  routes.acts = {[ready = go_on.get_future().share()](FakeRun& run) {
    ready.wait();
    return succeed(run);
  }};
  const http::Response response = routes.post("target=web", {{"prefer", "respond-async"}});
  CHECK(response.status == 202);
  CHECK(header_of(response, "Preference-Applied") == "respond-async");
  const std::string id = text_of(object_in(response), "id");
  CHECK(header_of(response, "Location") == "/v1/runs/" + id);
  go_on.set_value();
  const LivePtr live = routes.runner.live(id);
  REQUIRE(live);
  routes.go([&]() -> asio::awaitable<void> { co_await routes.runner.wait(live); });
  CHECK(live->run.state == State::succeeded);
}

TEST_CASE("a dry run says what is missing and leaves no run") {
  Routes routes;
  routes.acts = {[](FakeRun& run) {
    CHECK(flag_of(run.start.body, "preflight"));
    run.started();
    run.closing("failed",
                {{"code", "rights-missing"}, {"detail", "no"}, {"missing", {"sys_ptrace"}}, {"remedy", "grant it"}});
    run.ended();
    return true;
  }};
  const http::Response response = routes.post("target=web&dry_run=true");
  CHECK(response.status == 200);
  const json::object answer = object_in(response);
  CHECK_FALSE(flag_of(answer, "ready", true));
  CHECK(texts_of(answer, "missing") == std::vector<std::string>{"sys_ptrace"});
  CHECK(text_of(answer, "remedy") == "grant it");
  CHECK(routes.store.size() == 0);
}

TEST_CASE("an artifact is served whole, by range, and not again when unchanged") {
  Routes routes;
  routes.acts = {[](FakeRun& run) {
    run.started();
    run.channel.send("artifact", {{"tag", 1}, {"name", "a b.txt"}, {"media_type", "text/plain"}});
    const link::Message file = FakeRun::next(run.channel);
    write_all(file.fds.at(0).get(), "abc");
    run.channel.send("commit", {{"tag", 2}, {"of", 1}});
    FakeRun::next(run.channel);
    return succeed(run);
  }};
  const json::object run = object_in(routes.post("target=web"));
  CHECK(run.at("artifacts").at(0).at("bytes") == 3);
  const std::map<std::string, std::string, std::less<>> name{{"id", text_of(run, "id")}, {"name", "a b.txt"}};
  const http::Response whole = routes.ask(api::get_artifact, name);
  CHECK(whole.status == 200);
  CHECK(whole.file_bytes == 3);
  CHECK(header_of(whole, "Repr-Digest") == "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
  struct Row {
    const char* range;
    unsigned status;
    std::uint64_t offset, bytes;
  };
  for (const Row& row : {Row{"bytes=1-1", 206, 1, 1}, Row{"bytes=1-", 206, 1, 2}, Row{"bytes=-2", 206, 1, 2},
                         Row{"bytes=0-99", 206, 0, 3}, Row{"bytes=3-", 200, 0, 3}, Row{"bytes=2-1", 200, 0, 3},
                         Row{"bytes=0-0,2-2", 200, 0, 3}, Row{"bytes=x", 200, 0, 3}}) {
    CAPTURE(row.range);
    const http::Response part = routes.ask(api::get_artifact, name, {}, {{"range", row.range}});
    CHECK(part.status == row.status);
    CHECK(part.file_offset == row.offset);
    CHECK(part.file_bytes == row.bytes);
  }
  CHECK(routes.ask(api::get_artifact, name, {}, {{"if-none-match", header_of(whole, "ETag")}}).status == 304);
  CHECK(routes.ask(api::get_artifact, {{"id", text_of(run, "id")}, {"name", "other"}}).status == 404);
}

TEST_CASE("events of a run are followed to its end, and from where a client left off") {
  Routes routes;
  routes.acts = {succeed};
  const json::object run = object_in(routes.post("target=web"));
  const auto follow = [&](http::Fields headers) {
    const http::Response response = routes.ask(api::follow_run, {{"id", text_of(run, "id")}}, {}, std::move(headers));
    REQUIRE(response.stream);
    std::string all;
    routes.go([&]() -> asio::awaitable<void> {
      while (auto piece = co_await response.stream->next()) all += *piece;
    });
    return all;
  };
  const std::string all = follow({});
  CHECK(all.starts_with("id: 1\nevent: state\ndata: {\"state\":\"queued\"}\n\n"));
  CHECK(all.find("event: progress\ndata: {\"permyriad\":5000,\"note\":\"half") != std::string::npos);
  CHECK(all.find("event: result") != std::string::npos);
  CHECK(all.find('\x1b') == std::string::npos);
  const std::string rest = follow({{"last-event-id", "2"}});
  CHECK(rest.starts_with("id: 3\n"));
  CHECK(all.ends_with(rest));
}
