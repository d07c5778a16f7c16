// Which schemas speak about which part of a value: what mask() and effect_of() need alike. Branches of oneOf and anyOf
// all speak, whichever fits: a secret is masked, and an effect counts, rather once too often than not at all.
#pragma once

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "schema/words.hpp"

namespace hatchd::schema {

// Calls visit(schema, value) for each pair, the whole before its parts. `Value` is json::value or const json::value.
template <class Value, class Visit>
void walk(const boost::json::object& schema, Value& value, const Visit& visit, unsigned depth = 0) {
  if (depth > max_depth) return;
  visit(schema, value);
  for (const char* keyword : {"oneOf", "anyOf"})
    if (const auto* branches = array_of(schema, keyword))
      for (const auto& branch : *branches)
        if (branch.is_object()) walk(branch.get_object(), value, visit, depth + 1);
  if (value.is_array())
    if (const auto* items = object_of(schema, "items"))
      for (auto& entry : value.get_array()) walk(*items, entry, visit, depth + 1);
  if (!value.is_object()) return;
  const auto* properties = object_of(schema, "properties");
  const auto* patterns = object_of(schema, "patternProperties");
  const auto* additional = object_of(schema, "additionalProperties");
  for (auto& member : value.get_object()) {
    const std::string_view name = member.key();
    bool known = false;
    if (const auto* declared = properties == nullptr ? nullptr : object_of(*properties, name)) {
      known = true;
      walk(*declared, member.value(), visit, depth + 1);
    }
    if (patterns != nullptr)
      for (const auto& pattern : *patterns)
        if (pattern.value().is_object() && matches(std::string(pattern.key()), name)) {
          known = true;
          walk(pattern.value().get_object(), member.value(), visit, depth + 1);
        }
    if (!known && additional != nullptr) walk(*additional, member.value(), visit, depth + 1);
  }
}

}  // namespace hatchd::schema
