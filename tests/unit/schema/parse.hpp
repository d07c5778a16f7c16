// JSON as a test writes it: single quotes stand for double ones.
#pragma once

#include <algorithm>
#include <string>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "base/problem.hpp"

inline boost::json::value parsed(std::string text) {
  std::replace(text.begin(), text.end(), '\'', '"');
  return boost::json::parse(text);
}

// "pointer: detail" of each failure, joined by " | ", with single quotes again.
inline std::string told(const std::vector<hatchd::FieldError>& errors) {
  std::string out;
  for (const auto& error : errors) out += (out.empty() ? "" : " | ") + error.pointer + ": " + error.detail;
  std::replace(out.begin(), out.end(), '"', '\'');
  return out;
}
