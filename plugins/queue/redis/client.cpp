#include "queue/redis/client.hpp"

#include <hiredis.h>

#include <charconv>
#include <new>

namespace queue::redis {
namespace {

// hiredis builds our own Reply through these, so that what a hostile server announces is bounded before it is made.
// The lists of functions and the type of a count differ between hiredis 0.14 and 1.x; names and "auto" fit both.
Reply* place_of(const redisReadTask* task) {
  if (!task->parent) return new (std::nothrow) Reply;
  auto* parent = static_cast<Reply*>(task->parent->obj);
  const auto index = static_cast<std::size_t>(task->idx);
  return index < parent->items.size() ? &parent->items[index] : nullptr;
}

Reply::Type type_of(const redisReadTask* task) {
  return task->type == REDIS_REPLY_ERROR    ? Reply::Type::error
         : task->type == REDIS_REPLY_STATUS ? Reply::Type::status
                                            : Reply::Type::text;
}

redisReplyObjectFunctions* functions() {
  static redisReplyObjectFunctions table = [] {
    redisReplyObjectFunctions f{};
    f.createString = [](const redisReadTask* task, char* text, std::size_t size) -> void* {
      Reply* reply = place_of(task);
      if (!reply) return nullptr;
      reply->type = type_of(task);
      reply->text.assign(text, size);
      return reply;
    };
    f.createArray = [](const redisReadTask* task, auto count) -> void* {
      Reply* reply = place_of(task);
      if (!reply || static_cast<long long>(count) < 0 || static_cast<std::size_t>(count) > Client::max_items) {
        if (!task->parent) delete reply;
        return nullptr;
      }
      reply->type = Reply::Type::array;
      reply->items.resize(static_cast<std::size_t>(count));
      return reply;
    };
    f.createInteger = [](const redisReadTask* task, long long value) -> void* {
      Reply* reply = place_of(task);
      if (!reply) return nullptr;
      reply->type = Reply::Type::integer;
      reply->integer = value;
      return reply;
    };
    f.createNil = [](const redisReadTask* task) -> void* { return place_of(task); };
    f.freeObject = [](void* object) { delete static_cast<Reply*>(object); };
    return f;
  }();
  return &table;
}

Place place_from(const Url& url, const Tls& tls, std::uint16_t default_port) {
  Place place;
  place.host = url.host.empty() ? "localhost" : url.host;
  place.port = url.port ? url.port : default_port;
  place.tls = tls;
  place.tls.on = tls.on || url.scheme == "rediss";
  const auto query = [&](const char* name, std::string& to) {
    if (const auto at = url.query.find(name); at != url.query.end() && to.empty()) to = at->second;
  };
  query("ssl_ca_certs", place.tls.ca);
  query("ssl_certfile", place.tls.certificate);
  query("ssl_keyfile", place.tls.key);
  std::string verify;
  query("ssl_cert_reqs", verify);
  if (verify == "none" || verify == "CERT_NONE") place.tls.verify = false;
  return place;
}

long database_of(std::string_view text) {
  if (text.empty()) return 0;
  long number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0 || number > 1'000'000)
    throw Trouble("its address names a database that is no number", "write redis://HOST:PORT/0");
  return number;
}

// Asks the sentinels, one after the other, where the master is.
Place find_master(const Access& access, const Watch& watch) {
  std::string said;
  for (const Place& sentinel : access.places) {
    const auto add = [&](const std::string& text) {
      said += (said.empty() ? "" : "; ") + sentinel.name() + ": " + text;
    };
    try {
      Access own;
      own.places = {sentinel};
      own.password = access.sentinel_password;
      own.database = -1;  // a sentinel has none
      Client client(own, watch.within(std::chrono::seconds{2}));
      const Reply reply = client.call({"SENTINEL", "get-master-addr-by-name", access.master}, watch);
      if (reply.items.size() != 2) {
        add("knows no master of this name");
        continue;
      }
      Place place = sentinel;
      place.host = reply.items[0].text;
      unsigned port = 0;
      std::from_chars(reply.items[1].text.data(), reply.items[1].text.data() + reply.items[1].text.size(), port);
      place.port = static_cast<std::uint16_t>(port);
      return place;
    } catch (const Trouble& trouble) {
      add(trouble.what());
    }
  }
  throw Trouble("no sentinel tells where the master \"" + access.master + "\" is: " + said,
                "is the name of the master right, and are the sentinels running?");
}

}  // namespace

Trouble explain(const Reply& error, std::string_view command) {
  const std::string& text = error.text;
  const std::string said = "it answered " + std::string(command) + " with: " + text;
  if (text.starts_with("WRONGPASS") || text.find("invalid password") != text.npos)
    return Trouble("login refused: " + text, "is this the user's password? redis-cli ACL LIST shows the users");
  if (text.starts_with("NOAUTH"))
    return Trouble("login refused: it wants a password and the address has none", "write redis://USER:PASSWORD@HOST");
  if (text.find("without any password configured") != text.npos || text.find("no password is set") != text.npos)
    return Trouble("login refused: the address has a password, but the server has none: " + text);
  if (text.starts_with("NOPERM")) return Trouble("the user may not do this: " + text, "ACL SETUSER grants it");
  if (text.starts_with("LOADING")) return Trouble("it is still loading its data: " + text, "try again in a moment");
  if (text.starts_with("READONLY")) return Trouble(said, "this is a replica: name the master, or its sentinels");
  if (text.starts_with("MISCONF")) return Trouble(said, "it cannot save to disk and so takes no writes: see its log");
  if (text.starts_with("OOM")) return Trouble(said, "it has reached maxmemory and takes no writes");
  return Trouble(said);
}

Access access_of(const std::vector<Url>& urls, const Tls& tls, std::string_view master,
                 std::string_view sentinel_password) {
  Access access;
  const Url& first = urls.front();
  const bool sentinel = first.scheme == "sentinel";
  for (const Url& url : urls) {
    if (url.scheme != first.scheme) throw Trouble("its addresses are of different schemes");
    if (!url.is({"redis", "rediss", "redis+socket", "sentinel"}))
      throw Trouble("its scheme is " + url.scheme, "write redis://, rediss://, redis+socket:// or sentinel://");
    Place place = place_from(url, tls, sentinel ? 26379 : 6379);
    if (url.scheme == "redis+socket") {
      place.socket = "/" + url.path;
      place.tls.on = false;
    }
    access.places.push_back(std::move(place));
    access.shown += (access.shown.empty() ? "" : ";") + url.masked();
  }
  const auto query = [&](const char* name) {
    const auto at = first.query.find(name);
    return at == first.query.end() ? std::string() : at->second;
  };
  access.user = first.user;
  access.password = first.password;
  access.database = database_of(first.scheme == "redis+socket" ? query("virtual_host") : urls.back().path);
  access.sentinel_password = sentinel_password;
  if (sentinel) {
    access.master = master;
    if (access.master.empty())
      throw Trouble("it names sentinels, and no master", "add \"sentinel_master\" to the profile");
  }
  return access;
}

struct Client::Reader {
  redisReader* reader = redisReaderCreateWithFunctions(functions());
  std::size_t unparsed = 0;
  ~Reader() { redisReaderFree(reader); }
};

Client::Client(const Access& access, const Watch& watch, Report* report)
    : stream_([&] {
        if (report) report->begin("connect");
        return Stream(access.master.empty() ? access.places.front() : find_master(access, watch), watch);
      }()),
      reader_(std::make_unique<Reader>()) {
  if (report) report->good(stream_.address() + (stream_.tls().empty() ? "" : ", " + stream_.tls()));
  greet(access, watch, report);
}
Client::Client(Client&&) noexcept = default;
Client::~Client() = default;

void Client::greet(const Access& access, const Watch& watch, Report* report) {
  if (report) report->begin("login");
  const std::string database = std::to_string(access.database);
  std::vector<Words> commands;
  if (!access.password.empty())
    commands.push_back(access.user.empty() || access.user == "default" ? Words{"AUTH", access.password}
                                                                       : Words{"AUTH", access.user, access.password});
  if (access.database > 0) commands.push_back({"SELECT", database});
  commands.push_back({"PING"});
  send_all(commands, watch);
  // All were sent at once; the first refusal is the reason of those behind it.
  std::optional<Trouble> trouble;
  for (const Words& command : commands) {
    const Reply reply = next(watch);
    if (reply.is_error() && !trouble) trouble = explain(reply, command.front());
  }
  if (trouble) throw Trouble(*trouble);
  if (report)
    report->good(access.password.empty() ? "no password asked"
                                         : "as " + (access.user.empty() ? std::string("default") : access.user));
}

void Client::send(const Words& words, const Watch& watch) { send_all({words}, watch); }

void Client::send_all(const std::vector<Words>& commands, const Watch& watch) {
  std::string bytes;
  for (const Words& words : commands) {
    bytes += "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string_view word : words) ((bytes += "$" + std::to_string(word.size()) + "\r\n") += word) += "\r\n";
  }
  stream_.write(bytes, watch);
}

std::optional<Reply> Client::parsed() {
  void* object = nullptr;
  if (redisReaderGetReply(reader_->reader, &object) != REDIS_OK)
    throw Trouble(address() + " does not speak Redis: " + reader_->reader->errstr,
                  "is this the port of a Redis server?");
  if (!object) return std::nullopt;
  const std::unique_ptr<Reply> reply{static_cast<Reply*>(object)};
  reader_->unparsed = 0;
  return std::move(*reply);
}

std::optional<Reply> Client::poll() {
  for (;;) {
    if (auto reply = parsed()) return reply;
    std::string bytes;
    if (!stream_.read(bytes, nullptr)) return std::nullopt;
    reader_->unparsed += bytes.size();
    if (reader_->unparsed > max_reply) throw Trouble(address() + " sent an answer of more than 8 MiB");
    redisReaderFeed(reader_->reader, bytes.data(), bytes.size());
  }
}

Reply Client::next(const Watch& watch) {
  for (;;) {
    if (auto reply = poll()) return std::move(*reply);
    if (!watch.wait(fd(), POLLIN))
      throw Trouble(address() + " took the connection and does not answer", "it hangs, is overloaded, or is no Redis");
  }
}

Reply Client::call(const Words& words, const Watch& watch) {
  send(words, watch);
  Reply reply = next(watch);
  if (reply.is_error()) throw explain(reply, words.front());
  return reply;
}

}  // namespace queue::redis
