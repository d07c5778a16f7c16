// Server-sent events as they come in pieces (HTML standard, section 9.2), within a bound.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hatchd::client {

struct Event {
  std::uint64_t id = 0;  // 0: it has none
  std::string type, data;
};

class EventReader {
 public:
  static constexpr std::size_t max_line = 1024 * 1024;

  explicit EventReader(std::function<void(const Event&)> on_event) : on_event_(std::move(on_event)) {}
  // False: a line is longer than any event of hatchd.
  bool feed(std::string_view piece);

 private:
  void line(std::string_view text);

  std::function<void(const Event&)> on_event_;
  std::string rest_;
  Event event_;
};

}  // namespace hatchd::client
