// Redis, spoken through hiredis: its reader takes the answers apart, the connection is ours (hiredis 0.14 has no TLS).
#pragma once

#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "queue/frame/stream.hpp"
#include "queue/frame/url.hpp"

namespace queue::redis {

struct Reply {
  enum class Type { nil, status, error, integer, text, array };
  Type type = Type::nil;
  std::string text;  // status, error, text
  long long integer = 0;
  std::vector<Reply> items;

  bool is_error() const { return type == Type::error; }
};

// Which server, and as whom.
struct Access {
  std::vector<Place> places;  // one, or the sentinels
  std::string master;         // of the sentinels; empty: places.front() is the server itself
  std::string user, password, sentinel_password;
  long database = 0;
  std::string shown;  // without secrets
};
// From redis://, rediss://, redis+socket:// or sentinel:// addresses. Throws Trouble.
Access access_of(const std::vector<Url>& urls, const Tls& tls, std::string_view master,
                 std::string_view sentinel_password);

using Words = std::vector<std::string_view>;  // of a command, its name first

class Client {
 public:
  static constexpr std::size_t max_reply = 8 * 1024 * 1024, max_items = 100'000;

  // Connects, authenticates, chooses the database and hears a PONG. With `report`, in steps "connect" and "login".
  Client(const Access& access, const Watch& watch, Report* report = nullptr);
  Client(Client&&) noexcept;
  ~Client();

  int fd() const { return stream_.fd(); }
  const std::string& address() const { return stream_.address(); }

  // Sends one command without waiting; its reply comes by next().
  void send(const Words& words, const Watch& watch);
  void send_all(const std::vector<Words>& commands, const Watch& watch);  // in one piece
  // The next reply, waiting for it; Trouble when it does not come in time.
  Reply next(const Watch& watch);
  // The next reply if it has arrived.
  std::optional<Reply> poll();
  // Sends, waits, and makes an error reply a Trouble.
  Reply call(const Words& words, const Watch& watch);

 private:
  struct Reader;
  std::optional<Reply> parsed();
  void greet(const Access& access, const Watch& watch, Report* report);

  Stream stream_;
  std::unique_ptr<Reader> reader_;
};

// "NOAUTH …", "WRONGPASS …", "NOPERM …" in words that lead to a remedy.
Trouble explain(const Reply& error, std::string_view command);

}  // namespace queue::redis
