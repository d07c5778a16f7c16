#include "config/places.hpp"

#include <algorithm>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "schema/words.hpp"

namespace hatchd::config {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Lines scan() {
    skip();
    lines_.of.emplace("", line_);
    value("", 0);
    return std::move(lines_);
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void step() {
    if (peek() == '\n') ++line_;
    ++at_;
  }
  bool looking_at(std::string_view word) const { return text_.substr(at_, word.size()) == word; }

  // White space and comments.
  void skip() {
    while (at_ < text_.size()) {
      if (looking_at("//")) {
        while (at_ < text_.size() && peek() != '\n') step();
      } else if (looking_at("/*")) {
        step();
        for (step(); at_ < text_.size() && !looking_at("*/");) step();
        step();
        step();
      } else if (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') {
        step();
      } else {
        return;
      }
    }
  }

  void value(const std::string& pointer, unsigned depth) {
    if (depth > schema::max_depth) {
      at_ = text_.size();  // the parser refuses this, so it is not a text for us
      return;
    }
    if (peek() == '{')
      container(pointer, '}', depth);
    else if (peek() == '[')
      container(pointer, ']', depth);
    else if (peek() == '"')
      string();
    else
      while (at_ < text_.size() && std::string_view(",]}/ \t\r\n").find(peek()) == std::string_view::npos) step();
  }

  void container(const std::string& pointer, char closing, unsigned depth) {
    step();
    for (std::size_t index = 0; at_ < text_.size(); ++index) {
      skip();
      if (peek() == closing) return step();
      const unsigned line = line_;
      const std::size_t begin = at_;
      std::string below;
      if (closing == '}') {
        below = schema::child(pointer, string());
        skip();
        step();  // the colon
        skip();
      } else {
        below = schema::child(pointer, index);
      }
      const auto [entry, fresh] = lines_.of.emplace(below, line);
      if (!fresh) lines_.twice.push_back({below, entry->second, line});
      value(below, depth + 1);
      skip();
      if (peek() == ',') step();
      if (at_ == begin) return;  // not JSON after all
    }
  }

  // Moves behind a string and returns what it says.
  std::string string() {
    const std::size_t begin = at_;
    for (step(); at_ < text_.size() && peek() != '"'; step())
      if (peek() == '\\') step();
    step();
    boost::json::error_code error;
    const auto said = boost::json::parse(text_.substr(begin, at_ - begin), error);
    return !error && said.is_string() ? std::string(said.get_string()) : std::string{};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_ = 1;
  Lines lines_;
};

}  // namespace

Lines lines_of(std::string_view text) { return Scanner(text).scan(); }

std::string line_and_column(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t begin = before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1;
  return std::to_string(line) + ":" + std::to_string(before.size() - begin + 1);
}

}  // namespace hatchd::config
