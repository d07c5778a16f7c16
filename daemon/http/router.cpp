#include "http/router.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace hatchd::http {
namespace {

constexpr std::size_t max_segments = 16;

struct Segments {
  std::array<std::string_view, max_segments> items;
  std::size_t count = 0;
  bool too_many = false;
};

Segments split(std::string_view path) {
  Segments segments;
  if (path.starts_with('/')) path.remove_prefix(1);
  while (true) {
    if (segments.count == max_segments) {
      segments.too_many = true;
      return segments;
    }
    const std::size_t end = path.find('/');
    segments.items[segments.count++] = path.substr(0, end);
    if (end == path.npos) return segments;
    path.remove_prefix(end + 1);
  }
}

bool is_capture(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

// How many segments are named literally, or -1: of two patterns that fit, the more literal one is meant. Every request
// asks this of every route, so most are to be told apart by their first segment.
int fit(std::string_view pattern, const Segments& path) {
  int literal = 0;
  pattern.remove_prefix(1);
  for (std::size_t i = 0; i < path.count; ++i) {
    const std::size_t end = std::min(pattern.find('/'), pattern.size());
    const std::string_view wanted = pattern.substr(0, end), given = path.items[i];
    if ((end == pattern.size()) != (i + 1 == path.count)) return -1;
    pattern.remove_prefix(std::min(end + 1, pattern.size()));
    if (!is_capture(wanted)) {
      if (wanted != given) return -1;
      ++literal;
    } else if (given.empty() || (wanted.find('.') != wanted.npos && given.find('.') == given.npos)) {
      return -1;
    }
  }
  return literal;
}

bool answers(const Route& route, std::string_view method) {
  return route.method == method || (route.method == "GET" && method == "HEAD");
}

// Levenshtein's distance, for texts of at most 64 characters.
std::size_t distance(std::string_view a, std::string_view b) {
  std::array<std::size_t, 65> row{};
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

void Router::add(Route route) {
  for (const Route& other : routes_)
    if (other.method == route.method && other.pattern == route.pattern)
      throw std::logic_error("two routes for " + route.method + " " + route.pattern);
  if (!route.pattern.starts_with('/') || split(route.pattern).too_many)
    throw std::logic_error("not a pattern: " + route.pattern);
  routes_.push_back(std::move(route));
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  const Segments given = split(path);
  if (given.too_many) return match;

  int best = -1;
  for (const Route& route : routes_) {
    const int literal = fit(route.pattern, given);
    if (literal < 0 || literal < best) continue;
    if (literal > best) match.route = nullptr;
    best = literal;
    if (!match.route && answers(route, method)) match.route = &route;
  }
  if (match.route) {
    const Segments pattern = split(match.route->pattern);
    for (std::size_t i = 0; i < pattern.count; ++i)
      if (is_capture(pattern.items[i]))
        match.captures.emplace(pattern.items[i].substr(1, pattern.items[i].size() - 2), given.items[i]);
  } else if (best >= 0) {
    for (const Route& route : routes_) {
      if (fit(route.pattern, given) != best) continue;
      match.allowed.push_back(route.method);
      if (route.method == "GET") match.allowed.push_back("HEAD");
    }
  }
  return match;
}

std::string Router::nearest(std::string_view path) const {
  constexpr std::size_t max_length = 64;
  if (path.size() > max_length) return {};
  std::string nearest;
  std::size_t least = 4;  // further away is a guess, not a suggestion
  for (const Route& route : routes_) {
    if (route.pattern.find('{') != route.pattern.npos || route.pattern.size() > max_length) continue;
    const std::size_t edits = distance(path, route.pattern);
    if (edits < least && edits < route.pattern.size() - 1) {
      least = edits;
      nearest = route.pattern;
    }
  }
  return nearest;
}

}  // namespace hatchd::http
