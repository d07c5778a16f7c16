#include "schema/schema.hpp"
#include "schema/walk.hpp"

namespace json = boost::json;

namespace hatchd::schema {

json::value mask(const json::object& schema, const json::value& value) {
  json::value copy = value;
  walk(schema, copy, [](const json::object& spoken, json::value& part) {
    // That a secret is not set is no secret.
    if (flag_of(spoken, "secret") && !part.is_null()) part = "******";
  });
  return copy;
}

}  // namespace hatchd::schema
