// Parameters of a hatch as strangers send them. The input is a schema, a line feed, and a body: as JSON, as a form and as
// a query it is read or refused; what is read is judged; and what was found valid stays valid, and the same, when it is
// judged again, as the plugin's process does.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "http/body.hpp"
#include "schema/schema.hpp"

using namespace hatchd;
namespace json = boost::json;

namespace {

void judge(const json::object& schema, const json::object& params) {
  json::value value = params;
  const bool valid = schema::validate(schema, value).empty();
  schema::mask(schema, value);
  if (!value.is_object()) abort();
  const json::object& filled = value.get_object();
  if (schema::effect_of(schema, filled, schema::Effect::act) < schema::Effect::act) abort();
  schema::role_of(schema, filled);
  if (!valid) return;
  json::value again = value;
  if (!schema::validate(schema, again).empty() || again != value) abort();
}

void read(const json::object& schema, std::string_view type, std::string_view body) {
  http::Request request;
  request.headers = {{"content-type", std::string(type)}};
  request.body = body;
  if (const auto invocation = http::read_invocation(request, schema)) judge(schema, invocation->params);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
  const char* data = reinterpret_cast<const char*>(input);
  const std::string_view text(data, size);
  const std::size_t end = text.find('\n');
  if (end == text.npos) return 0;
  const auto parsed = parse_json(text.substr(0, end));
  if (!parsed || !parsed->is_object()) return 0;
  const json::object& schema = parsed->get_object();
  if (!schema::check(schema).empty()) return 0;
  const std::string_view body = text.substr(end + 1);
  read(schema, "application/json", body);
  read(schema, "application/x-www-form-urlencoded", body);
  http::Request query;
  if (auto fields = http::parse_form(body)) {
    query.query = std::move(*fields);
    if (const auto invocation = http::read_invocation(query, schema)) judge(schema, invocation->params);
  }
  return 0;
}
