#include "recipe/recipe.hpp"

#include <boost/json.hpp>
#include <charconv>

#include "common/follower.hpp"
#include "common/url.hpp"

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
  if (!value.is_double()) return json::serialize(value);
  char digits[32];  // 0.5: as a person wrote it, not 5E-1
  return {digits, std::to_chars(digits, digits + sizeof digits, value.get_double()).ptr};
}

}  // namespace

Recipe::Recipe(const hatch::Run& run) : Recipe(object_of(run.configuration()), object_of(run.params())) {
  // What nobody gave stands for the mark, so that a log can be searched for what stands nowhere else.
  if (!part("params").contains("mark")) params_["mark"] = common::mark_of(run);
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

std::string Recipe::url(std::string_view url) const {
  return common::fill_url(
      url, [&](std::string_view written) { return parameter(written) ? std::optional(fill(written)) : std::nullopt; });
}

void need(const common::Follower& log, const hatch::Run& run) {
  if (!log.empty()) return;
  hatch::Failure failure{log.why_not()};
  failure.missing = {"a log to look into"};
  failure.remedy = "set targets." + std::string(run.target_name()) +
                   ".log to what hatchd's plugins may read (docs/configuration.md)";
  throw failure;
}

common::Follower follow(const hatch::Run& run, const std::string& text) {
  common::Follower log{run, text};
  need(log, run);
  log.begin(run, text.find(common::mark_of(run)) != std::string::npos);
  return log;
}

void add_reported(hatch::Result& result, const common::Follower& log, const std::vector<common::Reported>& found) {
  hatch::Array reported, blind;
  for (const common::Reported& each : found)
    reported.add(hatch::Object{}
                     .add("where", hatch::printable(each.where))
                     .add("after_ms", hatch::rounded_ms(each.after_ms))
                     .add("text", hatch::printable(each.text, true)));
  result.add("reported", reported);
  const std::vector<std::string> why = log.blind();
  for (const std::string& each : why) blind.add(hatch::printable(each));
  if (!why.empty()) result.add("not_seen", blind);
}

std::string not_there(const common::Follower& log, const std::string& text) {
  std::string sentence = "nothing with \"" + text.substr(0, 200) + "\" came into " + log.places().front() + " within " +
                         std::to_string(log.waited().count()) + " ms";
  for (const std::string& why : log.blind()) sentence += " (" + why + ")";
  return sentence;
}

double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace recipe
