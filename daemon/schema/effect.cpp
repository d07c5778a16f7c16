// What parameters and their values ask for beyond the hatch itself. Authorization depends on it, so it errs upwards.
#include <algorithm>
#include <array>

#include "schema/schema.hpp"
#include "schema/walk.hpp"

namespace json = boost::json;

namespace hatchd::schema {
namespace {

constexpr std::array<std::string_view, 3> effects{"observe", "act", "disrupt"};
constexpr std::array<std::string_view, 3> roles{"viewer", "operator", "admin"};

// The place of `word` in `words`, from 1; 0 when it is none of them.
std::size_t rank_in(const std::array<std::string_view, 3>& words, std::string_view word) {
  const auto found = std::find(words.begin(), words.end(), word);
  return found == words.end() ? 0 : static_cast<std::size_t>(found - words.begin()) + 1;
}

// Does `value` hold `chosen`, itself or in a list?
bool holds(const json::value& value, std::string_view chosen) {
  if (const json::array* list = value.if_array())
    return std::any_of(list->begin(), list->end(),
                       [&](const json::value& entry) { return scalar_text(entry) == chosen; });
  return !value.is_object() && scalar_text(value) == chosen;
}

std::size_t highest(const json::object& schema, const json::object& params, std::string_view keyword,
                    const std::array<std::string_view, 3>& words) {
  std::size_t rank = 0;
  const json::value whole(params);
  walk(schema, whole, [&](const json::object& spoken, const json::value& value) {
    const json::value* raised = spoken.if_contains(keyword);
    if (raised == nullptr) return;
    if (const json::string* word = raised->if_string()) {
      const json::value* fallback = spoken.if_contains("default");
      if (fallback == nullptr || !same(*fallback, value)) rank = std::max(rank, rank_in(words, *word));
    } else if (const json::object* by_value = raised->if_object()) {
      for (const auto& entry : *by_value)
        if (entry.value().is_string() && holds(value, entry.key()))
          rank = std::max(rank, rank_in(words, entry.value().get_string()));
    }
  });
  return rank;
}

}  // namespace

std::string_view to_string(Effect effect) { return effects[static_cast<std::size_t>(effect)]; }

bool parse_effect(std::string_view text, Effect& effect) {
  const std::size_t rank = rank_in(effects, text);
  if (rank == 0) return false;
  effect = static_cast<Effect>(rank - 1);
  return true;
}

Effect effect_of(const json::object& schema, const json::object& params, Effect base) {
  const std::size_t rank = highest(schema, params, "x-effect", effects);
  return rank == 0 ? base : std::max(base, static_cast<Effect>(rank - 1));
}

std::string role_of(const json::object& schema, const json::object& params) {
  const std::size_t rank = highest(schema, params, "x-role", roles);
  return rank == 0 ? std::string{} : std::string(roles[rank - 1]);
}

}  // namespace hatchd::schema
