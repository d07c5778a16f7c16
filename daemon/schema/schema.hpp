// The JSON Schema subset that parameters of hatches, plugins' own configuration and hatchd.json share: one language,
// one validator. Every failure is listed at its JSON Pointer (RFC 6901), not only the first.
//
// Keywords: type (one name: object, array, string, integer, number, boolean, null; or an array of names), properties,
// required, additionalProperties (false or a schema), patternProperties (as a map: one schema for keys matched in
// full), items, minItems, maxItems, enum, const, minimum, maximum, minLength, maxLength (code points), pattern (whole
// string must match, RE2-like ECMAScript; checked for length before matching), format (those of formats.cpp alone:
// checked), oneOf, anyOf, default, title, description, examples, $schema, and hatchd's own: secret
// (true: masked), x-effect, x-role (docs/writing-a-hatch.md). An unknown keyword makes the schema itself invalid.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::schema {

// Is `schema` within the subset, and do its defaults and examples satisfy it? Empty: yes.
std::vector<FieldError> check(const boost::json::object& schema);

// Fills defaults of absent members into `value`, then validates it. Empty: valid. An unknown member names the nearest
// declared one ("unknown; did you mean \"pause\"?") and lists what there is.
std::vector<FieldError> validate(const boost::json::object& schema, boost::json::value& value);

// One parameter given as text (query, form, command line), converted to the type its schema says: "3" to 3, "true",
// "on", "1", "yes" to true, "a,b" or JSON to an array. Unknown names stay text, so that validate() reports them.
Result<boost::json::value> convert(const boost::json::object& schema, std::string_view name, std::string_view text);

// A copy with each member that the schema marks as secret replaced by "******".
boost::json::value mask(const boost::json::object& schema, const boost::json::value& value);

enum class Effect { observe, act, disrupt };
std::string_view to_string(Effect effect);
bool parse_effect(std::string_view text, Effect& effect);

// The highest effect that parameters and their values ask for by x-effect; at least `base`. As a string, x-effect
// counts when the parameter is there with a value other than its default; as an object {"value": "act"} when it has
// that value.
Effect effect_of(const boost::json::object& schema, const boost::json::object& params, Effect base);
// The same for x-role ("viewer", "operator", "admin"); empty when none is asked for.
std::string role_of(const boost::json::object& schema, const boost::json::object& params);

}  // namespace hatchd::schema
