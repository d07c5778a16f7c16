#include "recipe/recipe.hpp"

#include <boost/json.hpp>

namespace recipe {

namespace json = boost::json;

namespace {

json::object object_of(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse({text.data(), text.size()}, error);
  return !error && value.is_object() ? std::move(value.get_object()) : json::object{};
}

std::string text_of(const json::value& value) {
  if (const json::string* text = value.if_string()) return {text->data(), text->size()};
  return json::serialize(value);
}

}  // namespace

Recipe::Recipe(const hatch::Run& run) : Recipe(object_of(run.configuration()), object_of(run.params())) {
  if (!written_.contains("kind"))
    throw hatch::Failure(
        "there is no recipe to run: write one below \"hatches\" in the configuration (docs/recipes.md)");
}

const json::object& Recipe::part(std::string_view name) const {
  static const json::object none;
  const json::value* found = written_.if_contains({name.data(), name.size()});
  return found && found->is_object() ? found->get_object() : none;
}

const json::value* Recipe::parameter(std::string_view text) const {
  if (text.size() < 3 || text.front() != '{' || text.back() != '}') return nullptr;
  const std::string_view name = text.substr(1, text.size() - 2);
  const json::value* found = params_.if_contains({name.data(), name.size()});
  // A parameter without default that was not given.
  static const json::value empty = "";
  return found ? found : &empty;
}

std::string Recipe::fill(std::string_view text) const {
  const json::value* value = parameter(text);
  return value ? text_of(*value) : std::string(text);
}

json::value Recipe::filled(const json::value& value) const {
  if (const json::string* text = value.if_string()) {
    const json::value* given = parameter({text->data(), text->size()});
    return given ? *given : value;
  }
  if (const json::array* array = value.if_array()) {
    json::array copy;
    for (const json::value& element : *array) copy.push_back(filled(element));
    return copy;
  }
  if (const json::object* object = value.if_object()) {
    json::object copy;
    for (const auto& member : *object) copy[member.key()] = filled(member.value());
    return copy;
  }
  return value;
}

std::string percent_encoded(std::string_view text) {
  static constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                            c == '.' || c == '_' || c == '~';
    if (unreserved) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += hex[byte >> 4];
    out += hex[byte & 15];
  }
  return out;
}

std::string Recipe::segment(std::string_view text) const {
  if (!parameter(text)) return std::string(text);
  const std::string value = fill(text);
  // Encoded or not, servers take dots for the way up.
  if (value.empty() || value == "." || value == "..")
    throw hatch::Failure("parameter " + std::string(text.substr(1, text.size() - 2)) + " is \"" + value +
                         "\", which is no segment of a path");
  return percent_encoded(value);
}

std::string Recipe::url(std::string_view url) const {
  const std::size_t question = std::min(url.find('?'), url.size());
  const std::size_t authority = std::min(url.find("://"), url.size());
  const std::size_t path = std::min(url.find('/', std::min(authority + 3, url.size())), question);
  std::string out{url.substr(0, path)};
  for (std::size_t at = path; at < question;) {  // stands on a '/'
    const std::size_t end = std::min(url.find('/', at + 1), question);
    out += '/' + segment(url.substr(at + 1, end - at - 1));
    at = end;
  }
  for (std::size_t at = question; at < url.size();) {  // stands on '?' or '&'
    const std::size_t end = std::min(url.find('&', at + 1), url.size());
    const std::string_view pair = url.substr(at + 1, end - at - 1);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    out += url[at];
    out += pair.substr(0, equals);
    if (equals < pair.size()) {
      const std::string_view value = pair.substr(equals + 1);
      out += '=' + (parameter(value) ? percent_encoded(fill(value)) : std::string(value));
    }
    at = end;
  }
  return out;
}

}  // namespace recipe
