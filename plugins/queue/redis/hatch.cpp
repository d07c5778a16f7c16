// queue.ping, kind redis: a list and a stream there and back, and in what state the server is.
#include <charconv>
#include <cmath>

#include "hatch/act.hpp"
#include "queue/frame/ping.hpp"
#include "queue/redis/client.hpp"

namespace {

using queue::Report;
using queue::Trouble;
using queue::Watch;
using queue::redis::Client;
using queue::redis::Reply;

constexpr const char* profile = R"(
  "url": {"type": "string", "secret": true, "pattern": "^(redis|rediss|redis\\+socket|sentinel)://.*$", "format": "server-url", "description": "redis://, rediss://, redis+socket:// or sentinel://."},
  "queue": {"type": "string", "maxLength": 200, "description": "A list, stream or sorted set whose length to tell."},
  "queues": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "description": "Others that a caller may name by the parameter \"queue\"."},
  "key_prefix": {"type": "string", "default": "hatchd:ping:", "maxLength": 100, "description": "What the ping's own keys begin with: the user of Redis needs to write these alone."},
  "sentinel_master": {"type": "string", "description": "The name of the master that Redis' sentinels watch."},
  "sentinel_password": {"type": "string", "secret": true, "description": "The sentinels' own password."})";

// One line of INFO.
std::string info(const std::string& text, std::string_view name) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':')
      return std::string(line.substr(name.size() + 1));
    at = end + 1;
  }
  return {};
}
long long number(const std::string& text) {
  long long value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

class LoopBack {
 public:
  LoopBack(hatch::Run& run, const queue::Settings& settings, std::string queue_name)
      : run_(run),
        settings_(settings),
        report_(run, settings.network()),
        watch_(run, queue::Clock::now() + std::chrono::seconds{20}),
        patience_(settings.duration("timeout", std::chrono::seconds{5})),
        queue_(std::move(queue_name)) {}

  hatch::Result perform(bool look_only) {
    try {
      open();
      state();
      look();
      if (look_only) {
        report_.add("ready", true);
        return report_.result("ready: " + server_ + " is up and knows us");
      }
      hatch::begin_to_act(run_);
      const queue::Time begin = queue::Clock::now();
      list();
      stream();
      const double ms = queue::ms_between(begin, queue::Clock::now());
      report_.add("round_trip_ms", std::round(ms * 1000) / 1000);
      report_.add("answer", "list and stream came back");
      std::string verdict = server_ + " works: a list and a stream came back";
      if (!queue_.empty()) verdict += "; " + depth_;
      if (!worry_.empty()) verdict += "; but " + worry_;
      return report_.result(verdict, worry_.empty() ? "" : "INFO replication and INFO persistence tell more");
    } catch (const Trouble& trouble) {
      tidy();
      report_.fail(Trouble((shown_.empty() ? "" : shown_ + ": ") + trouble.what(), trouble.hint));
    } catch (...) {
      tidy();
      throw;
    }
  }

 private:
  Watch soon() const { return watch_.within(patience_); }

  void open() {
    const queue::Setting url = queue::open_loop_back(report_, settings_, "redis", queue_,
                                                     {"REDIS_URL", "REDISCLOUD_URL", "CELERY_BROKER_URL"}, "redis://…");
    const queue::redis::Access access =
        queue::redis::access_of(queue::parse_urls(url.text), settings_.tls(), settings_.text("sentinel_master"),
                                settings_.text("sentinel_password"));
    report_.secret(access.password);
    report_.secret(access.sentinel_password);
    shown_ = access.shown;
    queue::add_address(report_, shown_, url);
    client_.emplace(access, soon(), &report_);
  }

  void state() {
    report_.begin("state");
    const Reply reply = [&] {
      client_->send({"INFO"}, soon());
      return client_->next(soon());
    }();
    if (reply.is_error()) {
      server_ = "Redis";
      return report_.bad("not allowed: " + reply.text);
    }
    const auto said = [&](std::string_view name) { return report_.clean(info(reply.text, name), 64); };
    server_ = "Redis " + said("redis_version");
    const std::string role = said("role"), link = said("master_link_status");
    hatch::Object replication, persistence;
    replication.add("role", role).add("replicas", number(said("connected_slaves")));
    if (!link.empty())
      replication.add("master_link", link).add("master_silent_s", number(said("master_last_io_seconds_ago")));
    const std::string saved = said("rdb_last_bgsave_status"), appended = said("aof_last_write_status");
    persistence.add("loading", said("loading") == "1")
        .add("last_save", saved)
        .add("unsaved_changes", number(said("rdb_changes_since_last_save")));
    persistence.add("append_only", said("aof_enabled") == "1").add("last_append", appended);
    report_.add("server", hatch::Object{}
                              .add("version", said("redis_version"))
                              .add("clients", number(said("connected_clients")))
                              .add("memory_bytes", number(said("used_memory")))
                              .add("max_memory_bytes", number(said("maxmemory"))));
    report_.add("replication", replication);
    report_.add("persistence", persistence);
    if (link == "down") worry_ = "it is a replica and has lost its master";
    if (saved == "err") worry_ = "its last save to disk failed";
    if (appended == "err") worry_ = "its last write to the append-only file failed";
    report_.good(server_ + ", " + role + (link.empty() ? "" : ", link to the master " + link) + ", last save " + saved);
  }

  // The length of a queue of the app's, whatever it is made of.
  void look() {
    if (queue_.empty()) return;
    report_.begin("queue");
    const std::string type = client_->call({"TYPE", queue_}, soon()).text;
    const char* count = type == "list" ? "LLEN" : type == "stream" ? "XLEN" : type == "zset" ? "ZCARD" : nullptr;
    if (!count && type != "none")
      throw Trouble("the key " + queue_ + " is a " + type + " and no queue", "name a list, stream or sorted set");
    const long long depth = count ? client_->call({count, queue_}, soon()).integer : 0;
    report_.add("depth", depth);
    depth_ = (type == "none" ? "list" : type) + " `" + queue_ + "` has " +
             queue::counted(depth, type == "zset" ? "member" : "message");
    if (type == "stream") groups();
    report_.good(depth_);
  }

  // Who reads a stream, and how far behind each group is.
  void groups() {
    const Reply reply = client_->call({"XINFO", "GROUPS", queue_}, soon());
    hatch::Array list;
    long long consumers = 0, lag = 0;
    for (std::size_t i = 0; i < reply.items.size() && i < 100; ++i) {
      hatch::Object group;
      const auto& fields = reply.items[i].items;
      for (std::size_t at = 0; at + 1 < fields.size(); at += 2) {
        const std::string& name = fields[at].text;
        if (name == "name") group.add("name", report_.clean(fields[at + 1].text, 200));
        if (name == "consumers") consumers += fields[at + 1].integer;
        if (name == "consumers" || name == "pending" || name == "lag") group.add(name, fields[at + 1].integer);
        if (name == "lag") lag = std::max(lag, fields[at + 1].integer);
      }
      list.add(group);
    }
    report_.add("groups", list);
    report_.add("consumers", consumers);
    report_.add("lag", lag);
    depth_ += " and " + queue::counted(static_cast<long long>(reply.items.size()), "group") +
              " of readers, the slowest " + queue::counted(lag, "message") + " behind";
  }

  std::string key(const char* what) const {
    return settings_.text("key_prefix", "hatchd:ping:") + std::string(run_.id()) + ":" + what;
  }

  void list() {
    report_.begin("list");
    made_ = true;
    const std::string id(run_.id());
    client_->call({"LPUSH", key("list"), id}, soon());
    client_->call({"EXPIRE", key("list"), "60"}, soon());  // were this run killed here
    const Reply back = client_->call({"BRPOP", key("list"), "2"}, soon());
    if (back.items.size() != 2 || back.items[1].text != id)
      throw Trouble("what was pushed into a list did not come back");
    report_.good("LPUSH, BRPOP");
  }

  void stream() {
    report_.begin("stream");
    const std::string id(run_.id());
    client_->call({"XADD", key("stream"), "*", "run", id}, soon());
    client_->call({"EXPIRE", key("stream"), "60"}, soon());
    const Reply back = client_->call({"XREAD", "COUNT", "1", "STREAMS", key("stream"), "0"}, soon());
    client_->call({"DEL", key("stream")}, soon());
    const bool same = back.items.size() == 1 && back.items[0].items.size() == 2 &&
                      back.items[0].items[1].items.size() == 1 && back.items[0].items[1].items[0].items.size() == 2 &&
                      back.items[0].items[1].items[0].items[1].items.size() == 2 &&
                      back.items[0].items[1].items[0].items[1].items[1].text == id;
    if (!same) throw Trouble("what was added to a stream did not come back");
    report_.good("XADD, XREAD");
  }

  void tidy() {
    if (!client_ || !made_) return;
    try {
      client_->call({"DEL", key("list"), key("stream")}, watch_.cleanup(std::chrono::seconds{1}));
    } catch (const std::exception&) {
      // It is gone, or refuses: the keys expire within a minute.
    }
  }

  hatch::Run& run_;
  const queue::Settings& settings_;
  Report report_;
  Watch watch_;
  std::chrono::milliseconds patience_;
  std::string queue_, shown_, server_, depth_, worry_;
  std::optional<Client> client_;
  bool made_ = false;
};

struct RedisPing {
  static constexpr hatch::About about = queue::about_ping(
      "redis", "Send a list and a stream through Redis and back",
      "Connects and logs in as the app does, pushes and pops an element of a list of its own, adds and reads an entry "
      "of a stream of its own, and tells how replication and persistence stand. With a queue of the app's, how long it "
      "is; of a stream also who reads it and how far behind.\n\n"
      "Its own keys are removed, and expire within a minute should the run be killed.");
  static constexpr const char* which_queue =
      "A key of the app's whose length to tell: the profile's own, or one that it lists";

  std::string queue_name;

  hatch::Result ping(hatch::Run& run, const queue::Settings& settings, bool look_only) const {
    return LoopBack(run, settings, queue_name).perform(look_only);
  }
};

const char* schema() {
  static const std::string text = queue::profile_schema("redis", profile);
  return text.c_str();
}

}  // namespace

HATCH_PLUGIN_CONFIGURED("queue-redis", "1.0.0", "Redis, there and back", nullptr, schema(), queue::PingHatch<RedisPing>)
