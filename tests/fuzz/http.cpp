// Any bytes on a connection: through the wire and the pipeline to a handler that reads parameters, and back. The first
// byte says where the bytes are cut in two. Whether they come at once or in pieces, the same requests must be seen (else
// one could be smuggled behind another), each answered once, and the session ends.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "access/access.hpp"
#include "base/log.hpp"
#include "http/body.hpp"
#include "http/pipeline.hpp"
#include "http/wire.hpp"

using namespace hatchd;
using namespace hatchd::http;
namespace asio = boost::asio;

namespace {

std::string seen;          // every request that came to a handler
std::size_t requests = 0;  // that the wire passed on

const boost::json::object& schema() {
  static const boost::json::object object =
      boost::json::parse(R"({"type":"object","additionalProperties":false,"properties":{
        "depth":{"type":"integer","minimum":1,"maximum":9,"default":3},"name":{"type":"string","pattern":"[a-z]+"},
        "list":{"type":"array","items":{"type":"number"}},"on":{"type":"boolean"}}})")
          .get_object();
  return object;
}

asio::awaitable<Response> handler(const Context& context) {
  const Request& request = context.request;
  (seen += request.method) += ' ';
  (seen += request.path) += '\n';
  for (const auto& [name, value] : request.query) ((seen += name) += '=') += value + "\n";
  for (const auto& [name, value] : request.headers) ((seen += name) += ':') += value + "\n";
  for (const auto& [name, value] : context.captures) ((seen += name) += '~') += value + "\n";
  (seen += request.body) += '\n';
  auto invocation = read_invocation(request, schema());
  if (!invocation) co_return problem_response(invocation.error(), request, format_of(request, context.fallback));
  Response response = json_response(200, boost::json::serialize(invocation->params));
  co_return response;
}

Pipeline make_pipeline() {
  Router router;
  const auto add = [&](const char* method, const char* pattern, access::Action action) {
    router.add({method, pattern, action, handler, Format::json});
  };
  add("GET", "/", access::Action::index);
  add("GET", "/livez", access::Action::health);
  add("POST", "/v1/hatches/{id}", access::Action::run);
  add("DELETE", "/v1/runs/{id}", access::Action::cancel);
  add("GET", "/v1/runs/{id}/artifacts/{name}", access::Action::read);
  add("POST", "/{group.verb}", access::Action::run);
  config::Listen listen;
  listen.address = "127.0.0.1:1";
  listen.anonymous = "viewer";
  return {std::move(router), access::make_policy({}, {listen}, {}), {"hatch.example.org"}};
}

// What the handlers saw of `bytes`, sent in one piece or cut at `cut`.
std::string serve(std::string_view bytes, std::size_t cut) {
  static const Pipeline pipeline = make_pipeline();
  seen.clear();
  requests = 0;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) abort();
  UniqueFd client(ends[0]);
  asio::io_context context(1);
  auto exchange = std::make_shared<Exchange>();
  exchange->readiness = std::make_shared<Readiness>(context.get_executor());
  exchange->limits.body_bytes = 1024;
  exchange->limits.header_bytes = 1024;
  exchange->limits.header_fields = 8;
  exchange->answer = [](const Request& request) {
    ++requests;
    return pipeline.answer(request);
  };
  Peer peer;
  peer.address = "127.0.0.1:2";
  bool ended = false;
  auto session = make_session(UniqueFd(ends[1]), std::move(peer), exchange, nullptr, false);
  session->start([&] { ended = true; });

  std::string answer;
  const auto drain = [&] {
    context.poll();
    char piece[16384];
    ssize_t got;
    while ((got = ::recv(client.get(), piece, sizeof piece, MSG_DONTWAIT)) > 0) {
      answer.append(piece, static_cast<std::size_t>(got));
      context.poll();
    }
  };
  for (std::string_view piece : {bytes.substr(0, cut), bytes.substr(cut)}) {
    if (!piece.empty()) (void)!::send(client.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    drain();
  }
  ::shutdown(client.get(), SHUT_WR);
  drain();
  session->tick(std::chrono::steady_clock::now() + std::chrono::hours(1));  // what waits for more is late now
  drain();
  client.reset();
  context.restart();
  context.poll();
  session->abort();
  context.restart();
  context.poll();
  if (!ended) abort();
  if (!answer.empty() && !answer.starts_with("HTTP/1.")) abort();
  std::size_t answers = 0;
  for (std::size_t at = 0; (at = answer.find("Hatchd-Request-Id: ", at)) != answer.npos; ++at) ++answers;
  if (answers < requests) abort();
  return seen + std::to_string(requests);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  log::start("fuzz", log::Level::error);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
  const char* data = reinterpret_cast<const char*>(input);
  if (size == 0) return 0;
  const std::string_view bytes(data + 1, size - 1);
  const std::string whole = serve(bytes, bytes.size());
  if (serve(bytes, std::min<std::size_t>(static_cast<unsigned char>(data[0]), bytes.size())) != whole) abort();
  return 0;
}
