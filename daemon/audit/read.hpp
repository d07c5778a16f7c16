// Reading the audit back: the newest first, a page at a time. Blocks, so: on the pool.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::audit {

struct Query {
  std::string event, run, hatch, target, caller, outcome;  // "": any
  std::string since, until;  // beginnings of RFC 3339 times in UTC; `until` is not included
  std::string after;         // the id of the last line of the page before
  std::size_t limit = 50;
  std::function<bool(const boost::json::object&)> visible;  // may the caller see it?
};

struct Page {
  std::vector<boost::json::object> entries;
  std::string next;  // `after` of the next page; "": there is none
};

// How much is read for one page; a page that finds little in it is short, and its `next` goes on from there.
inline constexpr std::size_t max_read = 16 * 1024 * 1024;

Page read_page(int directory, const std::string& name, const Query& query);

// Every whole line of all files, the oldest first, without its line break.
void for_each_line(int directory, const std::string& name, const std::function<void(std::string_view)>& visit);

}  // namespace hatchd::audit
