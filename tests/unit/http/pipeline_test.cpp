#include "http/pipeline.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <stdexcept>

#include "catch.hpp"
#include "http/sites.hpp"

using namespace hatchd;
using namespace hatchd::http;
namespace asio = boost::asio;

namespace {

int handled = 0;

asio::awaitable<Response> handler(const Context& context) {
  ++handled;
  if (context.request.path == "/v1/bug") throw std::runtime_error("the secret is 42");
  if (context.request.path == "/v1/odd-bug") throw 42;
  const auto id = context.captures.find("id");
  co_return text_response(200, context.caller.name + " " + (id == context.captures.end() ? "" : id->second));
}

std::vector<config::Listen> listeners() {
  config::Listen local, tcp, scrape;
  local.unix_path = "/run/hatchd/hatchd.sock";
  tcp.address = "127.0.0.1:4282";
  tcp.anonymous = "viewer";
  scrape.address = "0.0.0.0:4283";
  scrape.only = {"health", "metrics"};
  scrape.anonymous = "metrics";
  return {local, tcp, scrape};
}

Pipeline make_pipeline(config::Access rules = {}) {
  Router router;
  const auto add = [&](const char* method, const char* pattern, access::Action action, Format fallback = Format::json) {
    router.add({method, pattern, action, handler, fallback});
  };
  add("GET", "/livez", access::Action::health, Format::text);
  add("GET", "/metrics", access::Action::metrics, Format::text);
  add("GET", "/v1/bug", access::Action::list);
  add("GET", "/v1/odd-bug", access::Action::list);
  add("GET", "/v1/hatches", access::Action::list);
  add("GET", "/v1/hatches/{id}", access::Action::list);
  add("POST", "/v1/hatches/{id}", access::Action::run);
  add("GET", "/v1/audit", access::Action::audit);
  add("POST", "/{group.verb}", access::Action::run, Format::text);
  return {std::move(router), access::make_policy(std::move(rules), listeners(), {}), {"hatch.example.org"}};
}

Request ask(std::string method, std::string path, Fields headers = {}, std::size_t listener = 0, uid_t uid = 0) {
  Request request;
  request.id = "01J0000000000000000000TEST";
  request.method = std::move(method);
  request.path = path;
  request.target = std::move(path);
  request.headers = std::move(headers);
  request.peer.listener = listener;
  request.peer.local = listener == 0;
  request.peer.uid = uid;
  request.peer.gid = uid;
  request.peer.address = "127.0.0.1:5000";
  return request;
}

Response run(const Pipeline& pipeline, const Request& request) {
  asio::io_context context;
  Response response;
  asio::co_spawn(context, pipeline.answer(request), [&](std::exception_ptr thrown, Response answer) {
    REQUIRE_FALSE(thrown);
    response = std::move(answer);
  });
  context.run();
  return response;
}

std::string code(const Response& response) {
  if (response.status < 400) return "ok";
  if (response.body.starts_with('{')) return std::string(boost::json::parse(response.body).at("code").as_string());
  const std::size_t begin = response.body.find('(');
  return response.body.substr(begin + 1, response.body.find(')') - begin - 1);
}

std::string header_of(const Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

}  // namespace

TEST_CASE("a request that may pass reaches its handler with caller and captures") {
  const Pipeline pipeline = make_pipeline();
  const Response response = run(pipeline, ask("GET", "/v1/hatches/stack.dump"));
  CHECK(response.status == 200);
  CHECK(response.body == "root stack.dump\n");
  CHECK(response.caller == "root");
  CHECK(response.route == "/v1/hatches/{id}");
}

TEST_CASE("hosts") {
  const std::pair<const char*, bool> rows[] = {
      {"localhost", true},
      {"localhost:4282", true},
      {"LOCALHOST.", true},
      {"app.localhost", true},
      {"127.0.0.1", true},
      {"127.0.0.1:4282", true},
      {"10.1.2.3:80", true},
      {"[::1]", true},
      {"[::1]:4282", true},
      {"[fe80::1]", true},
      {"hatch.example.org", true},
      {"Hatch.Example.ORG:443", true},
      {"evil.example.org", false},
      {"example.org", false},
      {"xhatch.example.org", false},
      {"hatch.example.org.evil.net", false},
      {"localhost.evil.net", false},
      {"127.0.0.1.evil.net", false},
      {"[evil]", false},
      {"[::1", false},
      {"127.1", false},
      {"2130706433", false},
      {"0x7f.0.0.1", false},
      {"notlocalhost", false},
  };
  const Pipeline pipeline = make_pipeline();
  for (const auto& [host, passes] : rows) {
    CAPTURE(host);
    CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {{"host", host}}, 1))) == (passes ? "ok" : "host-unknown"));
    CHECK(code(run(pipeline, ask("GET", "/livez", {{"host", host}}, 1))) == "ok");
    CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {{"host", host}}, 0))) ==
          "ok");  // no browser reaches a Unix socket
  }
  CHECK(run(pipeline, ask("GET", "/v1/hatches", {{"host", "evil"}}, 1)).status == 421);
  CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {}, 1))) == "ok");  // HTTP/1.0
}

TEST_CASE("origins") {
  struct Row {
    const char* host;
    const char* origin;
    const char* site;
    bool cross;
  };
  const Row rows[] = {
      {"localhost:4282", "", "", false},
      {"localhost:4282", "http://localhost:4282", "", false},
      {"localhost:4282", "http://LocalHost:4282", "same-origin", false},
      {"localhost:4282", "http://localhost:4283", "", true},
      {"localhost:4282", "http://localhost", "", true},
      {"localhost:4282", "http://evil.net", "", true},
      {"localhost:4282", "http://localhost:4282.evil.net", "", true},
      {"localhost:4282", "null", "", true},
      {"localhost:4282", "localhost:4282", "", true},
      {"hatch.example.org", "https://hatch.example.org", "", false},
      {"hatch.example.org", "https://hatch.example.org:443", "", false},
      {"hatch.example.org:443", "https://hatch.example.org", "", false},
      {"hatch.example.org", "http://hatch.example.org:443", "", true},
      {"hatch.example.org", "https://example.org", "", true},
      {"[::1]:80", "http://[::1]", "", false},
      {"[::1]", "http://[::2]", "", true},
      {"localhost", "", "same-origin", false},
      {"localhost", "", "none", false},
      {"localhost", "", "same-site", true},
      {"localhost", "", "Cross-Site", true},
      {"localhost", "http://localhost", "cross-site", true},
  };
  const Pipeline pipeline = make_pipeline();
  for (const Row& row : rows) {
    CAPTURE(row.host, row.origin, row.site);
    Fields headers = {{"host", row.host}};
    if (*row.origin) headers.emplace_back("origin", row.origin);
    if (*row.site) headers.emplace_back("sec-fetch-site", row.site);
    CHECK(is_cross_site(ask("POST", "/", headers)) == row.cross);
    CHECK(code(run(pipeline, ask("POST", "/v1/hatches/mail.send", headers))) == (row.cross ? "cross-site" : "ok"));
    const Response read = run(pipeline, ask("GET", "/v1/hatches", headers));
    CHECK(code(read) == "ok");
    CHECK(header_of(read, "Access-Control-Allow-Origin").empty());
  }
  CHECK(code(run(pipeline, ask("DELETE", "/v1/hatches/x", {{"origin", "null"}}))) == "cross-site");
  CHECK(code(run(pipeline, ask("FROB", "/v1/hatches/x", {{"origin", "null"}}))) == "cross-site");
}

TEST_CASE("strangers learn nothing about routes") {
  config::Access rules;
  config::Token token;
  rules.tokens = {token};
  Router router;
  router.add({"GET", "/v1/hatches", access::Action::list, handler, Format::json});
  router.add({"GET", "/livez", access::Action::health, handler, Format::text});
  auto listen = listeners();
  listen[1].anonymous.clear();
  const Pipeline pipeline(std::move(router), access::make_policy(rules, listen, {}), {});
  for (const char* path : {"/v1/hatches", "/v1/nothing", "/nothing"}) {
    const Response response = run(pipeline, ask("GET", path, {}, 1));
    CHECK(response.status == 401);
    CHECK(header_of(response, "WWW-Authenticate") == "Bearer realm=\"hatchd\"");
    CHECK(response.body.find("hatchd token new") != std::string::npos);
  }
  CHECK(run(pipeline, ask("GET", "/livez", {}, 1)).status == 200);
  CHECK(run(pipeline, ask("GET", "/livez", {{"authorization", "Bearer wrong"}}, 1)).status == 200);
}

TEST_CASE("unknown routes and methods") {
  const Pipeline pipeline = make_pipeline();
  const Response unknown = run(pipeline, ask("GET", "/v1/hatchs"));
  CHECK(unknown.status == 404);
  CHECK(code(unknown) == "route-unknown");
  CHECK(unknown.body.find("did you mean /v1/hatches?") != std::string::npos);
  const Response method = run(pipeline, ask("DELETE", "/v1/hatches/stack.dump"));
  CHECK(method.status == 405);
  CHECK(header_of(method, "Allow") == "GET, HEAD, POST");
  CHECK(run(pipeline, ask("FROB", "/v1/hatches")).status == 405);
  CHECK(run(pipeline, ask("HEAD", "/v1/hatches")).status == 200);
  CHECK(run(pipeline, ask("GET", "/x\x1b[2J")).body.find('\x1b') == std::string::npos);
}

TEST_CASE("errors come in the format of their route") {
  const Pipeline pipeline = make_pipeline();
  CHECK(run(pipeline, ask("POST", "/v1/nothing")).body.starts_with('{'));
  CHECK(run(pipeline, ask("POST", "/nothing")).body.starts_with("refused (route-unknown): "));
  CHECK(run(pipeline, ask("POST", "/v1/nothing", {{"accept", "text/plain"}})).body.starts_with("refused"));
  CHECK(run(pipeline, ask("POST", "/mail.send", {{"origin", "null"}})).body.starts_with("refused (cross-site)"));
  CHECK(run(pipeline, ask("POST", "/mail.send", {{"origin", "null"}, {"accept", "application/json"}}))
            .body.starts_with('{'));
}

TEST_CASE("a listener with `only` serves nothing else, not even to root") {
  const Pipeline pipeline = make_pipeline();
  CHECK(code(run(pipeline, ask("GET", "/livez", {}, 2))) == "ok");
  CHECK(code(run(pipeline, ask("GET", "/metrics", {}, 2))) == "ok");
  CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {}, 2))) == "route-unknown");
  CHECK(code(run(pipeline, ask("POST", "/mail.send", {}, 2))) == "route-unknown");
}

TEST_CASE("authorization stands before the handler") {
  const Pipeline pipeline = make_pipeline();
  handled = 0;
  CHECK(code(run(pipeline, ask("GET", "/v1/audit", {}, 0, 4711))) == "role-missing");
  CHECK(code(run(pipeline, ask("GET", "/v1/audit", {}, 1))) == "unauthenticated");  // anonymous viewer
  CHECK(handled == 0);
  CHECK(code(run(pipeline, ask("GET", "/v1/audit"))) == "ok");
  CHECK(handled == 1);
}

TEST_CASE("what a handler throws is 500 and stays inside") {
  const Pipeline pipeline = make_pipeline();
  for (const char* path : {"/v1/bug", "/v1/odd-bug"}) {
    const Response response = run(pipeline, ask("GET", path));
    CHECK(response.status == 500);
    CHECK(code(response) == "internal");
    CHECK(response.body.find("42") == std::string::npos);
    CHECK(response.body.find("01J0000000000000000000TEST") != std::string::npos);
    CHECK(response.route == path);
  }
}

TEST_CASE("a new configuration counts from the next request on, and wrong tokens stay counted") {
  Pipeline pipeline = make_pipeline();
  const Request stranger = ask("GET", "/v1/hatches", {{"authorization", "Bearer wrong"}}, 1);
  for (int i = 0; i < 10; ++i) CHECK(code(run(pipeline, stranger)) == "unauthenticated");
  const Response limited = run(pipeline, stranger);
  CHECK(code(limited) == "rate");
  CHECK(std::count(limited.headers.begin(), limited.headers.end(),
                   std::pair<std::string, std::string>("Retry-After", "6")) == 1);
  config::Access rules;
  rules.peers = {{"4711", "", "viewer"}};
  pipeline.reconfigure(access::make_policy(rules, listeners(), {{{"4711", 4711}}, {}, {}, {}}), {"new.example.org"});
  CHECK(code(run(pipeline, stranger)) == "rate");
  CHECK(code(run(pipeline, ask("GET", "/v1/hatches"))) == "role-missing");
  CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {}, 0, 4711))) == "ok");
  CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {{"host", "hatch.example.org"}}, 1))) == "host-unknown");
  CHECK(code(run(pipeline, ask("GET", "/v1/hatches", {{"host", "new.example.org"}}, 1))) == "ok");
}
