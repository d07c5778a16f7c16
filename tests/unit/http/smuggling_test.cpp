// Requests that two readers could read in two ways, or that are no HTTP at all. Each is refused with 400 and the end of
// the connection, so that nothing behind it is taken for a request.
#include "catch.hpp"
#include "server.hpp"

using namespace hatchd;
using namespace hatchd::http;
using namespace hatchd::http::test;

namespace {

boost::asio::awaitable<Response> answer(const Request& request) {
  co_return text_response(200, request.method + " " + request.path + " " + request.body);
}

}  // namespace

TEST_CASE("malformed and ambiguous requests are refused") {
  Server server(answer);
  const std::string start = "POST / HTTP/1.1\r\nHost: h\r\n";
  const std::pair<const char*, std::string> rows[] = {
      {"both lengths", start + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"both lengths, the other way", start + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
      {"two lengths that differ", start + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"},
      {"two lengths that agree", start + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"},
      {"a list of lengths", start + "Content-Length: 5, 5\r\n\r\nabcde"},
      {"a signed length", start + "Content-Length: +5\r\n\r\nabcde"},
      {"a negative length", start + "Content-Length: -5\r\n\r\nabcde"},
      {"a hexadecimal length", start + "Content-Length: 0x5\r\n\r\nabcde"},
      {"an empty length", start + "Content-Length:\r\n\r\n"},
      {"a length beyond 64 bits", start + "Content-Length: 99999999999999999999\r\n\r\n"},
      {"an encoding that is not chunked", start + "Transfer-Encoding: gzip\r\n\r\n"},
      {"chunked and another", start + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
      {"chunked and identity", start + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
      {"chunked twice", start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"a disguised chunked", start + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
      {"a vertical tab", start + "Transfer-Encoding: \x0b"
                                 "chunked\r\n\r\n0\r\n\r\n"},
      {"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"a folded header", start + "X: a\r\n b\r\n\r\n"},
      {"a folded first header", "GET / HTTP/1.1\r\n Host: h\r\n\r\n"},
      {"a folded length", start + "Content-Length:\r\n 5\r\n\r\nabcde"},
      {"a space before the colon", start + "Content-Length : 5\r\n\r\nabcde"},
      {"a space in a name", start + "X Y: 5\r\n\r\n"},
      {"an empty name", start + ": 5\r\n\r\n"},
      {"no colon", start + "Content-Length 5\r\n\r\n"},
      {"a NUL in a value", start + std::string("X: a\0b\r\n\r\n", 10)},
      {"a NUL in the address", std::string("GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n", 31)},
      {"bare line feeds", "GET / HTTP/1.1\nHost: h\n\n"},
      {"one bare line feed", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"},
      {"a bare carriage return", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rY: b\r\n\r\n"},
      {"no Host", "GET / HTTP/1.1\r\n\r\n"},
      {"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
      {"a Host with a user", "GET / HTTP/1.1\r\nHost: user@h\r\n\r\n"},
      {"a Host with a path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n"},
      {"a list of Hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
      {"another host in the address", "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"a user in the address", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"authority form", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"},
      {"no slash", "GET x HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"a star that is not for OPTIONS", "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"a space in the address", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"a fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"a broken escape", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"an escaped NUL", "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"an escaped line break", "GET /a%0ab HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"an escaped slash", "GET /a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"a broken escape in the query", "GET /?a=%1 HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"HTTP/0.9", "GET /\r\n\r\n"},
      {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n"},
      {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {"two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
      {"lower-case http", "GET / http/1.1\r\nHost: h\r\n\r\n"},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)},
      {"binary", "\xff\xfe\x00\x01"},
      {"an empty header", "\r\n\r\n\r\n\r\n\r\n"},
      {"a chunk without a size", start + "Transfer-Encoding: chunked\r\n\r\n\r\n\r\n"},
      {"a chunk of no number", start + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"},
      {"a negative chunk", start + "Transfer-Encoding: chunked\r\n\r\n-1\r\n"},
      {"a chunk with 0x", start + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"},
      {"a chunk longer than said", start + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"},
      {"a bare line feed in a chunk",
       start + "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n" + std::string(17000, 'a')},
      {"a chunk header without an end", start + "Transfer-Encoding: chunked\r\n\r\n3;" + std::string(20000, 'a')},
      {"a trailer that is none", start + "Transfer-Encoding: chunked\r\n\r\n0\r\nX Y\r\n\r\n"},
  };
  for (const auto& [name, bytes] : rows) {
    INFO(name);
    Client client = server.tcp();
    client.send(bytes);
    const Reply reply = client.read();
    CHECK(reply.status == 400);
    CHECK(reply.headers.contains("connection"));
    CHECK(reply.body.find("malformed") != std::string::npos);
    CHECK(client.closes());
  }
  CHECK(server.tcp().get("/").read().status == 200);
}

TEST_CASE("unusual requests that are right are answered") {
  Server server(answer);
  const std::pair<std::string, std::string> rows[] = {
      {"GET http://H:80/a?b HTTP/1.1\r\nHost: h:80\r\n\r\n", "GET /a \n"},
      {"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / \n"},
      {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * \n"},
      {"FROB /x HTTP/1.1\r\nHost: h\r\n\r\n", "FROB /x \n"},
      {"GET /?a=%2Fb HTTP/1.1\r\nHost: [::1]:4282\r\n\r\n", "GET / \n"},
      {"POST / HTTP/1.1\r\nHost:\r\nTRANSFER-ENCODING: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST / abc\n"},
      {"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 003\r\n\r\nabc", "POST / abc\n"},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST / \n"},
      {"GET /%C3%A4 HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n", "GET /\xC3\xA4 \n"},
      {"\r\nGET /after-empty-line HTTP/1.1\r\nHost: h\r\n\r\n", "GET /after-empty-line \n"},
  };
  Client client = server.tcp();
  for (const auto& [bytes, body] : rows) {
    CAPTURE(bytes);
    client.send(bytes);
    const Reply reply = client.read();
    CHECK(reply.status == 200);
    CHECK(reply.body == body);
  }
}

TEST_CASE("what stands behind a refused request is not taken for one") {
  Server server(answer);
  Client client = server.tcp();
  client.send(
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil "
      "HTTP/1.1\r\nHost: h\r\n\r\n");
  CHECK(client.read().status == 400);
  CHECK(client.read_rest().empty());
}

TEST_CASE("connections cut off anywhere in a request cost nothing") {
  Server server(answer);
  const std::string whole =
      "POST /a?b=c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (std::size_t size = 0; size < whole.size(); ++size) server.local().send(whole.substr(0, size));
  CHECK(server.becomes(0));
  CHECK(server.local().send(whole).read().body == "POST /a abc\n");
}
