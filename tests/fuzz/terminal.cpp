// What a target, a peer or a server says, on its way to a terminal: no control, no change of direction, no broken UTF-8
// is left of it, whether it comes whole or in pieces; and an event stream tells the same events however it is cut.
//
// The first byte of the input says where it is cut.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/json.hpp"
#include "client/output.hpp"
#include "client/sse.hpp"
#include "hatch/json.hpp"

namespace {

void must_be_harmless(std::string_view text, bool lines) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20 || byte == 0x7F) {
      if (!lines || (byte != '\n' && byte != '\t')) abort();
      ++at;
      continue;
    }
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("\xC2") && rest.size() > 1 && static_cast<unsigned char>(rest[1]) < 0xA0) abort();  // C1
    for (const std::string_view turn :
         {"\xD8\x9C", "\xE2\x80\x8E", "\xE2\x80\x8F", "\xE2\x80\xAA", "\xE2\x80\xAB", "\xE2\x80\xAC", "\xE2\x80\xAD",
          "\xE2\x80\xAE", "\xE2\x81\xA6", "\xE2\x81\xA7", "\xE2\x81\xA8", "\xE2\x81\xA9"})
      if (rest.starts_with(turn)) abort();
    at += byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
  }
}

using Events = std::vector<std::tuple<std::uint64_t, std::string, std::string>>;

Events events_of(std::string_view one, std::string_view two) {
  Events all;
  hatchd::client::EventReader reader(
      [&](const hatchd::client::Event& event) { all.emplace_back(event.id, event.type, event.data); });
  if (!reader.feed(one) || !reader.feed(two)) abort();
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view one = text.substr(0, data[0]), two = text.substr(one.size());

  const std::string line = hatch::printable(text), lines = hatch::printable(text, true);
  must_be_harmless(line, false);
  must_be_harmless(lines, true);
  if (hatch::printable(line) != line || hatch::printable(lines, true) != lines) abort();
  if (!hatchd::parse_json(boost::json::serialize(boost::json::string(lines)))) abort();  // it is UTF-8

  hatchd::client::Filter filter(false);
  std::string shown = filter.feed(one);
  shown += filter.feed(two);
  shown += filter.finish();
  if (shown != lines) abort();

  if (events_of(one, two) != events_of(text, {})) abort();

  if (const auto value = hatchd::parse_json(text); value && value->is_object()) {
    const std::string told = hatchd::client::lines_of(hatchd::problem_from_json(value->get_object()));
    must_be_harmless(told, true);
    hatchd::client::painted(told);
  }
  return 0;
}
