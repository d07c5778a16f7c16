#include "queue/celery/message.hpp"

#include <sys/random.h>

#include <boost/json.hpp>
#include <cstdio>
#include <ctime>

#include "hatch/json.hpp"
#include "queue/frame/trouble.hpp"

namespace json = boost::json;

namespace queue::celery {
namespace {

constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t max_json = 8 * 1024 * 1024;

// What Celery shows of the arguments in its log and in `inspect active`: ('a', 'b').
std::string repr_of(const std::vector<std::string>& arguments) {
  std::string text = "(";
  for (const std::string& argument : arguments) {
    hatch::append_quoted(text, argument);
    text += ", ";
  }
  if (arguments.size() > 1) text.resize(text.size() - 2);
  if (arguments.size() == 1) text.resize(text.size() - 1);
  return text + ")";
}

}  // namespace

std::string new_uuid() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) throw Trouble("the kernel gives no random numbers");
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0F) | 0x40);  // RFC 9562: version 4, variant 10
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3F) | 0x80);
  std::string text;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

std::string base64(std::string_view bytes) {
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const auto byte = [&](std::size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u; };
    const unsigned group = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    out += alphabet[group >> 18 & 63];
    out += alphabet[group >> 12 & 63];
    out += at + 1 < bytes.size() ? alphabet[group >> 6 & 63] : '=';
    out += at + 2 < bytes.size() ? alphabet[group & 63] : '=';
  }
  return out;
}

std::string from_base64(std::string_view text) {
  std::string out;
  unsigned group = 0;
  int bits = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    const std::size_t at = std::string_view(alphabet, 64).find(c);
    if (at == std::string_view::npos) throw Trouble("an answer is not in base64");
    group = group << 6 | static_cast<unsigned>(at);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(group >> bits & 0xFF);
  }
  return out;
}

std::string iso_time(std::chrono::system_clock::time_point time) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  const auto seconds = static_cast<time_t>(micros / 1'000'000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64], whole[96];
  ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(whole, sizeof whole, "%s.%06lld+00:00", text, static_cast<long long>(micros % 1'000'000));
  return whole;
}

std::string Task::body() const {
  hatch::Array args;
  for (const std::string& argument : arguments) args.add(argument);
  hatch::Object embed;
  embed.add("callbacks", nullptr).add("errbacks", nullptr).add("chain", nullptr).add("chord", nullptr);
  return hatch::Array{}.add(args).add(hatch::Object{}).add(embed).json();
}

std::string Task::headers() const {
  hatch::Object object;
  object.add("lang", "py").add("task", name).add("id", id).add("shadow", nullptr).add("eta", nullptr);
  object.add("expires", expires).add("group", nullptr).add("group_index", nullptr).add("retries", 0);
  object.add("timelimit", hatch::Array{}.add(nullptr).add(nullptr)).add("root_id", id).add("parent_id", nullptr);
  object.add("argsrepr", repr_of(arguments))
      .add("kwargsrepr", "{}")
      .add("origin", "hatchd")
      .add("ignore_result", false);
  return object.json();
}

std::string question(std::string_view method, std::string_view ticket, std::string_view reply_exchange,
                     std::string_view reply_key) {
  hatch::Object object;
  object.add("method", method).add("arguments", hatch::Object{}).add("destination", nullptr);
  object.add("pattern", nullptr).add("matcher", nullptr).add("ticket", ticket);
  object.add("reply_to", hatch::Object{}.add("exchange", reply_exchange).add("routing_key", reply_key));
  return object.json();
}

namespace {
// The one template. All of delivery_info, delivery_tag and body_encoding are needed: kombu reads them unguarded.
std::string envelope(std::string_view body, std::string_view headers, std::string_view correlation_id,
                     std::string_view reply_to, std::string_view exchange, std::string_view key) {
  hatch::Object properties;
  if (!correlation_id.empty()) properties.add("correlation_id", correlation_id);
  if (!reply_to.empty()) properties.add("reply_to", reply_to);
  properties.add("delivery_mode", 2);
  properties.add("delivery_info", hatch::Object{}.add("exchange", exchange).add("routing_key", key));
  properties.add("priority", 0).add("body_encoding", "base64").add("delivery_tag", new_uuid());
  hatch::Object object;
  object.add("body", base64(body)).add("content-encoding", "utf-8").add("content-type", "application/json");
  object.add("headers", hatch::Raw{headers}).add("properties", properties);
  return object.json();
}
}  // namespace

std::string task_envelope(const Task& task) {
  return envelope(task.body(), task.headers(), task.id, task.reply_to, "", task.queue);
}

std::string question_envelope(std::string_view body, std::string_view control_exchange, long long expires) {
  return envelope(body, hatch::Object{}.add("clock", 1).add("expires", expires).json(), "", "", control_exchange, "");
}

json::object parse_object(std::string_view text, const char* what) {
  json::error_code error;
  if (text.size() > max_json) throw Trouble(std::string(what) + " is larger than 8 MiB");
  json::value value = json::parse(json::string_view(text.data(), text.size()), error);
  if (error || !value.is_object()) throw Trouble(std::string(what) + " is not a JSON object");
  return std::move(value.get_object());
}

}  // namespace queue::celery
