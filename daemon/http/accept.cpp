// Which representation a client prefers: ?format= first, then Accept (RFC 9110, section 12.5.1).
#include <algorithm>
#include <array>

#include "http/message.hpp"
#include "http/prefer.hpp"
#include "http/text.hpp"

namespace hatchd::http {
namespace {

constexpr std::size_t max_ranges = 32;

struct Choice {
  Format format;
  unsigned q = 0;  // thousandths
  int specificity = -1;
  std::size_t position = 0;
};

// "0.8" to 800. What is not a weight counts as 0: better something else than a guess.
unsigned thousandths(std::string_view text) {
  if (text.empty() || (text[0] != '0' && text[0] != '1') || text.size() > 5) return 0;
  unsigned value = text[0] == '1' ? 1000 : 0;
  if (text.size() > 1 && text[1] != '.') return 0;
  unsigned unit = 100;
  for (const char digit : text.substr(std::min<std::size_t>(2, text.size()))) {
    if (digit < '0' || digit > '9') return 0;
    value += static_cast<unsigned>(digit - '0') * unit;
    unit /= 10;
  }
  return std::min(value, 1000u);
}

// 2: named, 1: type/*, 0: */*, -1: no match. A stream is started only for who names it.
int match(std::string_view range, Format format) {
  switch (format) {
    case Format::json:
      if (same(range, "application/json") || same(range, "application/problem+json")) return 2;
      if (same(range, "application/*")) return 1;
      break;
    case Format::text:
      if (same(range, "text/plain")) return 2;
      if (same(range, "text/*")) return 1;
      break;
    case Format::events: return same(range, "text/event-stream") ? 2 : -1;
  }
  return range == "*/*" || range == "*" ? 0 : -1;
}

// Calls visit(range, q in thousandths, position) for each range of an Accept header.
template <class Visit>
void each_range(std::string_view accept, Visit visit) {
  for (std::size_t position = 0; position < max_ranges && !accept.empty(); ++position) {
    const std::size_t end = accept.find(',');
    std::string_view item = accept.substr(0, end);
    accept.remove_prefix(end == accept.npos ? accept.size() : end + 1);

    unsigned q = 1000;
    const std::string_view range = trim(item.substr(0, item.find(';')));
    while (item.find(';') != item.npos) {
      item.remove_prefix(item.find(';') + 1);
      const std::string_view parameter = trim(item.substr(0, item.find(';')));
      if (parameter.starts_with("q=") || parameter.starts_with("Q=")) q = thousandths(trim(parameter.substr(2)));
    }
    visit(range, q, position);
  }
}

// Weighs every offered format: the most specific range that matches it gives its q.
void weigh(std::string_view accept, std::initializer_list<Format> offered, std::array<Choice, 3>& choices) {
  std::size_t count = 0;
  for (const Format format : offered) choices[count++].format = format;
  each_range(accept, [&](std::string_view range, unsigned q, std::size_t position) {
    for (std::size_t i = 0; i < count; ++i) {
      const int specificity = match(range, choices[i].format);
      if (specificity > choices[i].specificity) choices[i] = {choices[i].format, q, specificity, position};
    }
  });
}

// Several Accept fields are one list (RFC 9110, section 5.3).
std::string accept_of(const Request& request) {
  std::string accept;
  for (const auto& [name, value] : request.headers)
    if (name == "accept") accept += (accept.empty() ? "" : ",") + value;
  return accept;
}

std::optional<Format> choose(const Request& request, std::initializer_list<Format> offered, Format fallback) {
  const auto is_offered = [&](Format format) {
    return std::find(offered.begin(), offered.end(), format) != offered.end();
  };
  if (const auto name = request.query_value("format")) {
    if (name == "json" && is_offered(Format::json)) return Format::json;
    if (name == "text" && is_offered(Format::text)) return Format::text;
    if (name == "events" && is_offered(Format::events)) return Format::events;
    return fallback;  // a rendering of the hatch's own, or unknown: the handler says
  }
  const std::string accept = accept_of(request);
  if (trim(accept).empty()) return fallback;

  std::array<Choice, 3> choices{};
  weigh(accept, offered, choices);
  const Choice* best = nullptr;
  for (std::size_t i = 0; i < offered.size(); ++i) {
    const Choice& choice = choices[i];
    if (choice.q == 0) continue;
    const auto better = [&] {
      if (choice.q != best->q) return choice.q > best->q;
      if (choice.specificity != best->specificity) return choice.specificity > best->specificity;
      if (choice.position != best->position) return choice.position < best->position;
      return choice.format == fallback;
    };
    if (!best || better()) best = &choice;
  }
  if (!best) return {};
  return best->format;
}

}  // namespace

Format format_of(const Request& request, Format fallback) {
  return choose(request, {Format::json, Format::text, Format::events}, fallback).value_or(fallback);
}

Result<Format> acceptable(const Request& request, std::initializer_list<Format> offered, Format fallback) {
  if (const auto format = choose(request, offered, fallback)) return *format;
  std::string types;
  for (const Format format : offered) {
    if (!types.empty()) types += ", ";
    types += format == Format::json ? "application/json" : format == Format::text ? "text/plain" : "text/event-stream";
  }
  return refuse("not-acceptable", "the Accept header rules out everything there is here",
                "accept one of " + types + ", or send no Accept header");
}

std::string_view preferred_type(const Request& request, std::initializer_list<std::string_view> types) {
  const std::string accept = accept_of(request);
  if (trim(accept).empty()) return *types.begin();
  std::string_view best;
  unsigned best_q = 0;
  int best_specificity = -1;
  for (const std::string_view type : types) {
    const std::string any = std::string(type.substr(0, type.find('/') + 1)) + "*";
    unsigned type_q = 0;
    int specificity = -1;
    each_range(accept, [&](std::string_view range, unsigned q, std::size_t) {
      const int found = same(range, type) ? 2 : same(range, any) ? 1 : range == "*/*" || range == "*" ? 0 : -1;
      if (found <= specificity) return;
      specificity = found;
      type_q = q;
    });
    if (type_q == 0 || type_q < best_q || (type_q == best_q && specificity <= best_specificity)) continue;
    best = type;
    best_q = type_q;
    best_specificity = specificity;
  }
  return best;
}

}  // namespace hatchd::http
