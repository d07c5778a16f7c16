// Secrets of known shapes in the midst of any text are masked; what is innocent stays as it is; masking again changes
// nothing; and JSON stays JSON.
//
// The input is a byte that chooses a secret, one that chooses how it stands in the text, and the text around it, in two
// parts that a NUL divides.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "hatch/mask.hpp"

namespace {

using Text = std::string_view;
const hatch::Mask mask;

// A line that holds a secret, and what of it must not be seen. In pieces, so that nobody's scanner takes them for real.
struct Planted {
  std::string line, secret;
};

std::vector<Planted> make_planted() {
  const std::string body = "a8Kd92mXqL01pZ7vT3bYw6RcE5nUjH4gFs0D";
  std::vector<Planted> all;
  const auto add = [&](const Text before, const std::string& secret, Text after = "") {
    all.push_back({std::string(before) + secret + std::string(after), secret});
  };
  add("", "gh" + ("p_" + body));
  add("cloned with ", "glp" + ("at-" + body), " and left");
  add("", "xox" + ("b-" + body));
  add("(", "AK" + std::string("IAQ7ZP3XW5MR2K8TBN"), ")");
  add("DB_PASSWORD=", "hunter2horse");
  add("export API_KEY='", "hunter2 horse", "' # set");
  add("{\"client_secret\": \"", "hunter2horse", "\"}");
  add("Authorization: Bearer ", body);
  add("redis://:", "hunter2horse", "@cache:6379/0");
  add("/login?user=joe&password=", "hunter2horse", "&next=/");
  add("-----BEGIN RSA PRIVATE KEY-----\\n", "MIIEhunter2horse", "\\n-----END RSA PRIVATE KEY-----");
  add("root:$6$", "saltsalt$hunter2horsehunter2horse", ":19000:0");
  return all;
}

constexpr Text innocent[] = {
    "MONKEY=1 TURKEY=2 KEYBOARD=us",
    "Unexpected token: end of file",
    "PASSWORD_FILE=/run/secrets/db",
    "PASSWORD=${DB_PASSWORD}",
    "password=******",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
    "#3  0x00007f3a9c in Session::password (this=0x55d0) at a.cpp:12",
    "File \"/srv/app/token.py\", line 12, in verify_token",
    "hatchd_runs_total{hatch=\"stack.dump\"} 7",
    "redis://cache:6379/0",
    "GET /v1/hatches/stack.dump HTTP/1.1",
    "2026-11-26T12:50:37.123456Z web[1]: 250 2.0.0 Ok: queued as 4XyZ1234567",
    "ssh://git@host/r.git",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
};

void same_again(const std::string& masked) {
  if (mask.text(masked) != masked) abort();
}

// Lines chosen by the bytes of the input, one below the other.
void innocent_stays(Text choices) {
  std::string text;
  for (const char c : choices.substr(0, 32)) {
    text += innocent[static_cast<unsigned char>(c) % std::size(innocent)];
    text += c & 32 ? "\r\n" : "\n";
  }
  if (mask.text(text) != text) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Planted> planted = make_planted();
  if (size < 2) return 0;
  const Text input(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Planted& chosen = planted[data[0] % planted.size()];
  const Text before = input.substr(0, input.find('\0'));
  const Text after = input.substr(std::min(input.size(), before.size() + 1));

  same_again(mask.text(input));
  innocent_stays(input);
  if (input.find(chosen.secret) != input.npos) return 0;
  const std::string line_end = data[1] & 1 ? "\n" : "\r\n";
  const std::string masked = mask.text(std::string(before) + line_end + chosen.line + line_end + std::string(after));
  if (masked.find(chosen.secret) != masked.npos) abort();
  same_again(masked);

  const std::string value = mask.value(data[1] & 2 ? "NOTE" : "FOO_KEY", chosen.line + line_end + std::string(after));
  if (value.find(chosen.secret) != value.npos) abort();

  const std::vector<std::string> arguments =
      mask.arguments({"app", std::string(before), chosen.line, std::string(after)});
  if (arguments.size() != 4 || mask.arguments(arguments) != arguments) abort();
  for (const std::string& argument : arguments)
    if (argument.find(chosen.secret) != argument.npos) abort();

  if (hatchd::parse_json(input)) {
    const std::string json = mask.json(input);
    if (!hatchd::parse_json(json) || mask.json(json) != json) abort();
  }
  const boost::json::object object = {{std::string(before.substr(0, 64)), chosen.line}, {"text", after}};
  const auto read = hatchd::parse_json(mask.json(boost::json::serialize(object)));
  if (hatchd::parse_json(boost::json::serialize(object))) {
    if (!read || boost::json::serialize(*read).find(chosen.secret) != std::string::npos) abort();
  }
  return 0;
}
