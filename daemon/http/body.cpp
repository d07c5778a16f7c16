#include "http/body.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <set>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "hatch/json.hpp"
#include "http/duplicates.hpp"
#include "http/text.hpp"
#include "schema/schema.hpp"

namespace hatchd::http {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 7> reserved = {"target",  "format",  "reason", "processes",
                                                      "profile", "dry_run", "wait"};

bool is_reserved(std::string_view name) { return std::find(reserved.begin(), reserved.end(), name) != reserved.end(); }

std::string_view canonical(std::string_view name) { return name == "dry-run" ? "dry_run" : name; }

// "application/json; charset=utf-8" to "application/json".
std::string media_type(std::string_view header) { return lower(trim(header.substr(0, header.find(';')))); }

char first_character(std::string_view text) {
  const std::size_t at = text.find_first_not_of(" \t\r\n");
  return at == text.npos ? '\0' : text[at];
}

bool looks_like_json(std::string_view text) {
  const char first = first_character(text);
  return first == '{' || first == '[';
}

// Collects parameters from every place they may stand in, and every fault in them.
class Reader {
 public:
  explicit Reader(const json::object& schema) : schema_(schema) {}

  void text(std::string_view given_name, std::string_view value) {
    const std::string name(canonical(given_name));
    if (!first_time(name)) return;
    if (is_reserved(name)) return reserved_text(name, value);
    auto converted = schema::convert(schema_, name, value);
    if (converted)
      invocation_.params[name] = std::move(*converted);
    else if (converted.error().errors.empty())
      fault(name, converted.error().detail);
    else
      errors_.insert(errors_.end(), converted.error().errors.begin(), converted.error().errors.end());
  }

  void member(std::string_view given_name, const json::value& value) {
    const std::string name(canonical(given_name));
    if (!first_time(name)) return;
    if (!is_reserved(name)) {
      invocation_.params[name] = value;
    } else if (const json::string* string = value.if_string()) {
      reserved_text(name, *string);
    } else if (name == "dry_run" && value.is_bool()) {
      invocation_.dry_run = value.get_bool();
    } else if (name == "wait" && value.is_number()) {
      wait(value.to_number<double>());
    } else if (name == "processes" && value.is_int64()) {
      invocation_.processes = std::to_string(value.get_int64());
    } else {
      fault(name, name == "dry_run" ? "must be true or false"
                  : name == "wait"  ? "must be a number of seconds"
                                    : "must be a string");
    }
  }

  void twice(std::string pointer) { errors_.push_back({std::move(pointer), "is given twice"}); }

  Result<Invocation> done() && {
    if (errors_.empty()) return std::move(invocation_);
    Problem problem{"params-invalid", errors_.size() == 1
                                          ? "a parameter is not valid: " + errors_[0].pointer + " " + errors_[0].detail
                                          : std::to_string(errors_.size()) + " parameters are not valid"};
    problem.errors = std::move(errors_);
    return tl::unexpected(std::move(problem));
  }

 private:
  void fault(std::string_view name, std::string detail) { errors_.push_back({pointer_step(name), std::move(detail)}); }

  bool first_time(const std::string& name) {
    if (names_.insert(name).second) return true;
    twice(pointer_step(name));
    return false;
  }

  void wait(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) return fault("wait", "must be a number of seconds, 0 or more");
    invocation_.wait = seconds;
  }

  void reserved_text(std::string_view name, std::string_view value) {
    if (name == "dry_run") return dry_run(value);
    if (name == "wait") {
      double seconds = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (error == std::errc() && end == value.data() + value.size() && !value.empty()) return wait(seconds);
      const auto duration = parse_duration(value);
      if (duration.count() < 0) return fault("wait", "must be a number of seconds or a duration such as 30s");
      return wait(std::chrono::duration<double>(duration).count());
    }
    std::string text(value);
    if (name == "target")
      invocation_.target = std::move(text);
    else if (name == "format")
      invocation_.format = std::move(text);
    else if (name == "reason")
      invocation_.reason = std::move(text);
    else if (name == "processes")
      invocation_.processes = std::move(text);
    else
      invocation_.profile = std::move(text);
  }

  void dry_run(std::string_view value) {
    const std::string word = lower(value);
    if (word == "true" || word == "1" || word == "yes" || word == "on")
      invocation_.dry_run = true;
    else if (word != "false" && word != "0" && word != "no" && word != "off")
      fault("dry_run", "must be true or false");
  }

  const json::object& schema_;
  Invocation invocation_;
  std::set<std::string> names_;
  std::vector<FieldError> errors_;
};

constexpr std::size_t max_members = 256;  // as many as a form may have
constexpr std::size_t max_values = 10'000;

constexpr std::string_view use_json = "add -H 'Content-Type: application/json', or use curl's --json";
constexpr std::string_view use_form = "with curl use -d NAME=VALUE, or --json '{\"NAME\": \"VALUE\"}'";

Problem too_many(std::string what) {
  Problem problem{"params-invalid", "the body has more than " + what};
  problem.errors.push_back({"", "must not have more than " + what});
  return problem;
}

Result<void> read_json(const Request& request, Reader& reader) {
  // Before anything is built: what follows takes its time on the thread that serves everybody.
  const JsonSize size = json_size(request.body);
  if (size.members > max_members) return tl::unexpected(too_many(std::to_string(max_members) + " members"));
  if (size.values > max_values) return tl::unexpected(too_many(std::to_string(max_values) + " values in all"));
  auto value = parse_json(request.body);
  if (!value) {
    // A form sent with the header of JSON. Broken JSON stays what it is: malformed, with line and column.
    if (!looks_like_json(request.body) && request.body.find('=') != std::string::npos)
      return refuse("unsupported-media", "the body is a form, but its Content-Type says application/json",
                    "leave out the Content-Type header: curl's -d sends a form by itself");
    return tl::unexpected(std::move(value.error()));
  }
  const json::object* object = value->if_object();
  if (!object) {
    Problem problem{"params-invalid", "the body must be a JSON object"};
    problem.errors.push_back({"", "must be an object"});
    return tl::unexpected(std::move(problem));
  }
  for (std::string& pointer : duplicate_members(request.body)) reader.twice(std::move(pointer));
  for (const auto& member : *object) reader.member(member.key(), member.value());
  return {};
}

Result<void> read_body(const Request& request, Reader& reader) {
  if (request.body.empty()) return {};
  const std::string encoding = lower(request.header("content-encoding"));
  if (!encoding.empty() && encoding != "identity")
    return refuse("unsupported-media", "the body is compressed", "send it without Content-Encoding");

  const std::string type = media_type(request.header("content-type"));
  if (type == "application/json") return read_json(request, reader);
  if (type == "application/x-www-form-urlencoded") {
    if (looks_like_json(request.body))
      return refuse("unsupported-media", "the body is JSON, but its Content-Type says it is a form",
                    std::string(use_json));
    auto fields = parse_form(request.body);
    if (!fields) return tl::unexpected(std::move(fields.error()));
    for (const auto& [name, value] : *fields) reader.text(name, value);
    return {};
  }
  if (type == "multipart/form-data")
    return refuse("unsupported-media", "multipart forms are not read here",
                  "with curl use -d NAME=VALUE in place of -F");
  if (type.empty())
    return refuse("unsupported-media", "the body has no Content-Type",
                  std::string(looks_like_json(request.body) ? use_json : use_form));
  return refuse("unsupported-media", "a body of type " + hatch::printable(type.substr(0, 100)) + " is not read here",
                std::string(looks_like_json(request.body) ? use_json : use_form));
}

}  // namespace

Result<Invocation> read_invocation(const Request& request, const json::object& schema) {
  Reader reader(schema);
  for (const auto& [name, value] : request.query) reader.text(name, value);
  if (auto read = read_body(request, reader); !read) return tl::unexpected(std::move(read.error()));
  return std::move(reader).done();
}

}  // namespace hatchd::http
