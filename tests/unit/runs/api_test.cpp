// The routes that run hatches and read runs, called with requests made by hand.
#include "api/api.hpp"

#include <future>

#include "api/prefer.hpp"
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
  std::function<bool()> gone;  // has the client hung up?

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
    request.gone = gone;
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

TEST_CASE("a retry with the same Idempotency-Key gets the first run, and nothing is done again") {
  Routes routes;
  routes.caller.role = access::Role::admin;
  int ran = 0;
  routes.acts = {[&](FakeRun& run) {
    ++ran;
    return succeed(run);
  }};
  const http::Fields key{{"idempotency-key", "k1"}};
  const http::Response first = routes.post("target=web&force=true&secret=a", key);
  CHECK(first.status == 200);
  CHECK(header_of(first, "Idempotent-Replayed").empty());
  const http::Response second = routes.post("secret=a&target=web&force=true", key);
  CHECK(second.status == 200);
  CHECK(header_of(second, "Idempotent-Replayed") == "true");
  CHECK(header_of(second, "Location") == header_of(first, "Location"));
  CHECK(object_in(second) == object_in(first));
  CHECK(routes.post("target=web&force=true&secret=a&format=text", key).body == "all is well\n");
  CHECK(ran == 1);

  SECTION("but other parameters are a mistake") {
    const http::Response other = routes.post("target=web&force=true&secret=b", key);
    CHECK(other.status == 422);
    CHECK(text_of(object_in(other), "code") == "idempotency-mismatch");
    CHECK(routes.post("target=web&force=true&secret=a&processes=main", key).status == 422);
  }
  SECTION("and another caller's key is another key") {
    routes.caller.name = "bob";
    CHECK(header_of(routes.post("target=web&force=true&secret=b", key), "Idempotent-Replayed").empty());
    CHECK(ran == 2);
  }
  SECTION("also when it is no longer kept, which is said") {
    const std::string id = text_of(object_in(first), "id");
    for (int i = 0; i < 70; ++i) CHECK(routes.post("target=web").status == 200);  // out of memory
    CHECK(header_of(routes.post("target=web&force=true&secret=a", key), "Location") == "/v1/runs/" + id);
    routes.store.forget(id);
    const http::Response gone = routes.post("target=web&force=true&secret=a", key);
    CHECK(gone.status == 409);
    CHECK(text_of(object_in(gone), "code") == "run-ended");
  }
  SECTION("and a dry run neither uses nor claims a key") {
    CHECK(routes.post("target=web&dry_run=true&secret=z", key).status == 200);
    CHECK(routes.post("target=web&dry_run=true", {{"idempotency-key", "k2"}}).status == 200);
    CHECK(routes.runner.keys().size() == 1);
  }
  SECTION("and a key is one printable word") {
    for (const std::string& wrong : {std::string(), std::string("a b"), std::string(256, 'x'), std::string("\x7f")})
      CHECK(routes.post("target=web", {{"idempotency-key", wrong}}).status == 400);
    CHECK(routes.post("target=web", {{"idempotency-key", "a"}, {"idempotency-key", "b"}}).status == 400);
  }
}

TEST_CASE("a retry attaches to the first run while it is under way") {
  Routes routes;
  std::promise<void> go_on;
  routes.acts = {[ready = go_on.get_future().share()](FakeRun& run) {
    ready.wait();
    return succeed(run);
  }};
  const http::Fields key{{"idempotency-key", "k"}, {"prefer", "respond-async"}};
  const http::Response first = routes.post("target=web", key), second = routes.post("target=web", key);
  CHECK(first.status == 202);
  CHECK(second.status == 202);
  CHECK(header_of(first, "Location") == header_of(second, "Location"));
  CHECK(header_of(second, "Idempotent-Replayed") == "true");
  CHECK(routes.store.size() == 1);
  go_on.set_value();
  CHECK(routes.post("target=web", {{"idempotency-key", "k"}}).status == 200);
  CHECK(routes.asked == 1);
}

TEST_CASE("a key whose run was refused is not used up") {
  Routes routes;
  std::promise<void> go_on;
  routes.acts = {[ready = go_on.get_future().share()](FakeRun& run) {
    ready.wait();
    return succeed(run);
  }};
  const http::Fields async{{"prefer", "respond-async"}};
  for (int i = 0; i < 4; ++i) CHECK(routes.post("target=web", async).status == 202);
  CHECK(routes.post("target=web", {{"idempotency-key", "k"}}).status == 429);
  CHECK(routes.runner.keys().size() == 0);
  go_on.set_value();
}

TEST_CASE("preferences are read as RFC 7240 has them") {
  struct Row {
    http::Fields headers;
    std::optional<double> wait;
    std::optional<std::int64_t> ms;
    bool cancels;
    std::string applied;
  };
  const std::vector<Row> rows{{{}, {}, {}, false, ""},
                              {{{"prefer", "respond-async"}}, {}, 0, false, "respond-async"},
                              {{{"prefer", "Respond-Async , wait=7"}}, {}, 7000, false, "respond-async, wait=7"},
                              {{{"prefer", "WAIT = \"3\"; x=1"}, {"prefer", "cancel-on-disconnect"}},
                               {},
                               3000,
                               true,
                               "wait=3, cancel-on-disconnect"},
                              {{{"prefer", "wait=1, wait=2"}}, {}, 1000, false, "wait=1"},
                              {{{"prefer", "wait=soon"}}, {}, {}, false, ""},
                              {{{"prefer", "wait=-1"}}, {}, {}, false, ""},
                              {{{"prefer", "wait=9"}}, 0.5, 500, false, ""},
                              {{{"prefer", "return=minimal, , handling=lenient"}}, {}, {}, false, ""},
                              {{{"prefer", "wait=4000000000"}}, {}, 24 * 3600 * 1000, false, "wait=4000000000"}};
  for (const Row& row : rows) {
    http::Request request;
    request.headers = row.headers;
    CAPTURE(row.headers.empty() ? "" : row.headers[0].second);
    const api::Preferences read = api::preferences_of(request, row.wait);
    CHECK(read.wait.has_value() == row.ms.has_value());
    if (read.wait && row.ms) CHECK(read.wait->count() == *row.ms);
    CHECK(read.cancel_on_disconnect == row.cancels);
    CHECK(read.applied == row.applied);
  }
}

TEST_CASE("who hangs up ends the run only when that was asked for") {
  Routes routes;
  routes.acts = {[](FakeRun& run) {
    run.started();
    const link::Message cancel = FakeRun::next(run.plugin);
    if (cancel.type == "cancel") run.closing("cancelled");
    run.ended("exit", 0, "cancelled");
    return true;
  }};
  routes.gone = [] { return true; };
  const http::Response response = routes.post("target=web", {{"prefer", "cancel-on-disconnect"}});
  CHECK(header_of(response, "Preference-Applied") == "cancel-on-disconnect");
  const std::string id = header_of(response, "Location").substr(9);
  const LivePtr live = routes.runner.live(id);
  REQUIRE(live);
  routes.go([&]() -> asio::awaitable<void> { co_await routes.runner.wait(live); });
  CHECK(live->run.state == State::cancelled);

  SECTION("not otherwise") {
    Routes others;
    others.acts = {succeed};
    others.gone = [] { return true; };
    CHECK(text_of(object_in(others.post("target=web")), "state") == "succeeded");
  }
}

TEST_CASE("a stream of events that is dropped ends its run only when that was asked for") {
  for (const bool asked : {true, false}) {
    CAPTURE(asked);
    Routes routes;
    std::promise<void> go_on;
    routes.acts = {[asked, ready = go_on.get_future().share()](FakeRun& run) {
      run.started();
      if (asked) {
        const bool told = FakeRun::next(run.plugin).type == "cancel";
        run.closing(told ? "cancelled" : "failed");
        run.ended("exit", 0, told ? json::value("cancelled") : json::value(nullptr));
        return true;
      }
      ready.wait();
      return succeed(run);
    }};
    http::Fields headers{{"accept", "text/event-stream"}};
    if (asked) headers.emplace_back("prefer", "cancel-on-disconnect");
    http::Response response = routes.post("target=web", headers);
    REQUIRE(response.stream);
    const LivePtr live = routes.runner.live(header_of(response, "Location").substr(9));
    REQUIRE(live);
    routes.go([&]() -> asio::awaitable<void> {
      while (live->run.state == State::queued) co_await live->changed.wait(std::chrono::steady_clock::now() + 5ms);
    });
    response.stream.reset();
    go_on.set_value();
    routes.go([&]() -> asio::awaitable<void> { co_await routes.runner.wait(live); });
    CHECK(live->run.state == (asked ? State::cancelled : State::succeeded));
  }
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
                         Row{"bytes=0-99", 206, 0, 3}, Row{"Bytes= 0-0", 206, 0, 1}, Row{"bytes=2-1", 200, 0, 3},
                         Row{"bytes=-", 200, 0, 3}, Row{"bytes=1-x", 200, 0, 3}, Row{"lines=0-1", 200, 0, 3},
                         Row{"bytes=0-0,2-2", 200, 0, 3}, Row{"bytes=x", 200, 0, 3}}) {
    CAPTURE(row.range);
    const http::Response part = routes.ask(api::get_artifact, name, {}, {{"range", row.range}});
    CHECK(part.status == row.status);
    CHECK(part.file_offset == row.offset);
    CHECK(part.file_bytes == row.bytes);
  }
  for (const char* beyond : {"bytes=3-", "bytes=3-5", "bytes=-0"}) {
    const http::Response none = routes.ask(api::get_artifact, name, {}, {{"range", beyond}});
    CHECK(none.status == 416);
    CHECK(header_of(none, "Content-Range") == "bytes */3");
    CHECK(text_of(object_in(none), "code") == "range-unsatisfiable");
  }
  const std::string tag = header_of(whole, "ETag");
  for (const std::string& same : {tag, "W/" + tag, "\"x\", " + tag, std::string("*")})
    CHECK(routes.ask(api::get_artifact, name, {}, {{"if-none-match", same}}).status == 304);
  CHECK(header_of(routes.ask(api::get_artifact, name, {}, {{"if-none-match", tag}}), "ETag") == tag);
  CHECK(routes.ask(api::get_artifact, name, {}, {{"if-none-match", "\"x\""}}).status == 200);
  for (const auto& [condition, status] :
       {std::pair(tag, 206u), std::pair("W/" + tag, 200u), std::pair(std::string("\"x\""), 200u),
        std::pair(std::string("Wed, 21 Oct 2015 07:28:00 GMT"), 200u)})
    CHECK(routes.ask(api::get_artifact, name, {}, {{"range", "bytes=1-1"}, {"if-range", condition}}).status == status);
  CHECK(header_of(whole, "Content-Disposition") == "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
  CHECK(routes.ask(api::get_artifact, {{"id", text_of(run, "id")}, {"name", "other"}}).status == 404);
}

TEST_CASE("an artifact is removed: from the record, from the disk, and the last that is known of it is told") {
  Routes routes;
  const auto leave = [](FakeRun& run) {
    run.started();
    int tag = 0;
    for (const char* name : {"a", "b"}) {
      run.channel.send("artifact", {{"tag", ++tag}, {"name", name}, {"media_type", "text/plain"}});
      const link::Message file = FakeRun::next(run.channel);
      write_all(file.fds.at(0).get(), name);
      run.channel.send("commit", {{"tag", tag + 10}, {"of", tag}});
      FakeRun::next(run.channel);
    }
    return succeed(run);
  };
  routes.acts = {
      [&, first = true](FakeRun& run) mutable { return std::exchange(first, false) ? leave(run) : succeed(run); }};
  const std::string id = text_of(object_in(routes.post("target=web")), "id");
  std::vector<std::string> removed;
  routes.api.artifact_removed = [&](const http::Context& context, const Run& run, const Artifact& artifact) {
    removed.push_back(context.caller.name + " " + run.id + " " + artifact.name + " " + artifact.sha256);
  };
  if (GENERATE(false, true))
    for (int i = 0; i < 70; ++i) routes.post("target=web");  // it is on disk only
  const std::map<std::string, std::string, std::less<>> name{{"id", id}, {"name", "a"}};
  std::uint64_t before = 0;
  routes.go([&]() -> asio::awaitable<void> {
    const auto run = co_await routes.runner.load(id);
    before = run ? run->bytes : 0;
  });

  routes.policy.access.read_only = true;
  CHECK(routes.ask(api::remove_artifact, name).status == 403);
  routes.policy.access.read_only = false;
  CHECK(removed.empty());

  CHECK(routes.ask(api::remove_artifact, name).status == 204);
  CHECK(removed == std::vector<std::string>{"alice " + id + " a " + sha256("a")});
  CHECK(routes.ask(api::get_artifact, name).status == 404);
  CHECK(routes.ask(api::remove_artifact, name).status == 404);
  CHECK(routes.ask(api::get_artifact, {{"id", id}, {"name", "b"}}).status == 200);
  const Run run = *routes.disk.read_record(id);
  REQUIRE(run.artifacts.size() == 1);
  CHECK(run.artifacts[0].name == "b");
  CHECK(run.bytes == before - 1);
  CHECK_FALSE(routes.disk.open_artifact(id, 1));
}

TEST_CASE("events of a run that memory has forgotten come from the disk, from where a client left off") {
  const bool much = GENERATE(false, true);  // else they lie in its record
  Routes routes;
  routes.acts = {[&](FakeRun& run) {
    for (int i = 0; much && i < 3; ++i)
      run.channel.send("event", {{"event", "output"}, {"text", std::string(4000, 'x')}});
    return succeed(run);
  }};
  const std::string id = text_of(object_in(routes.post("target=web")), "id");
  const auto follow = [&](http::Fields headers) {
    const http::Response response = routes.ask(api::follow_run, {{"id", id}}, {}, std::move(headers));
    REQUIRE(response.stream);
    std::string all;
    routes.go([&]() -> asio::awaitable<void> {
      while (auto piece = co_await response.stream->next()) all += *piece;
    });
    return all;
  };
  const std::string from_memory = follow({}), tail = follow({{"last-event-id", "2"}});
  for (int i = 0; i < 70; ++i) routes.post("target=web");
  REQUIRE_FALSE(routes.runner.live(id));
  CHECK(follow({}) == from_memory);
  CHECK(follow({{"last-event-id", "2"}}) == tail);
  CHECK(follow({{"last-event-id", "1000"}}).empty());
  CHECK(std::filesystem::exists(routes.folder.path / id / events_file) == much);
  if (!much) return;

  SECTION("a torn end is left out, and how it ended comes from the record") {
    const std::filesystem::path file = routes.folder.path / id / events_file;
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
    const std::string all = follow({});
    CHECK(all.starts_with(from_memory.substr(0, from_memory.find("id: 5"))));
    CHECK(all.find("event: result\ndata: {\"state\":\"succeeded\"") != std::string::npos);
    const std::string last = all.substr(all.rfind("id: ") + 4, 7);
    CHECK(follow({{"last-event-id", last}}).empty());
    CHECK(follow({{"last-event-id", "77"}}).find("event: result") != std::string::npos);  // seen, but not on disk
  }
  SECTION("no file at all") {
    std::filesystem::remove(routes.folder.path / id / events_file);
    CHECK(follow({}).find("event: result") != std::string::npos);
  }
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
