#include "client/complete.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/json.hpp"
#include "client/params.hpp"
#include "hatch/json.hpp"

namespace hatchd::client {

namespace json = boost::json;

namespace {

constexpr std::size_t max_candidates = 200;

std::string scalar(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

// The line as far as it is understood.
struct Line {
  std::string command, target, option;  // option: the current word is its value
  std::vector<std::string> arguments;   // behind the command, without options
  std::string current;
  std::string front;  // of the current word, which the candidates repeat: "--target="
};

const Grammar::Option* find_option(const Grammar& grammar, const std::string& command, const std::string& name) {
  const auto in = [&](const std::vector<Grammar::Option>& options) -> const Grammar::Option* {
    for (const Grammar::Option& option : options)
      if (std::find(option.names.begin(), option.names.end(), name) != option.names.end()) return &option;
    return nullptr;
  };
  if (const Grammar::Option* found = in(grammar.options)) return found;
  for (const Grammar::Command& each : grammar.commands)
    if (each.name == command) return in(each.options);
  return nullptr;
}

Line read(const Grammar& grammar, const std::vector<std::string>& words) {
  Line line;
  line.current = words.empty() ? "" : words.back();
  const auto is_target = [](const std::string& name) { return name == "-t" || name == "--target"; };
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word.front() != '-') {
      if (line.command.empty())
        line.command = word;
      else
        line.arguments.push_back(word);
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const Grammar::Option* option = find_option(grammar, line.command, name);
    if (equals != std::string::npos) {
      if (is_target(name)) line.target = word.substr(equals + 1);
    } else if (option && option->takes_value) {
      if (i + 2 == words.size())
        line.option = name;
      else if (is_target(name))
        line.target = words[i + 1];
      ++i;
    }
  }
  if (line.option.empty() && line.current.starts_with("--"))
    if (const std::size_t equals = line.current.find('='); equals != std::string::npos) {
      line.option = line.current.substr(0, equals);
      line.front = line.current.substr(0, equals + 1);
    }
  return line;
}

class Completer {
 public:
  Completer(const Grammar& grammar, Line line, const Fetch& fetch)
      : grammar_(grammar), line_(std::move(line)), fetch_(fetch) {}

  std::vector<Candidate> go() {
    if (!line_.option.empty())
      value_of(line_.option);
    else if (line_.current.starts_with('-'))
      options();
    else if (line_.command.empty())
      for (const Grammar::Command& command : grammar_.commands) add(command.name, command.help);
    else
      argument();
    return std::move(found_);
  }

 private:
  void add(const std::string& word, const std::string& help) {
    const std::string whole = line_.front + word;
    // What a shell would have to be told twice about is left out: nobody names things so.
    if (found_.size() >= max_candidates || !whole.starts_with(line_.current) || hatch::printable(whole) != whole)
      return;
    found_.push_back({whole, help.substr(0, help.find('\n'))});
  }

  void options() {
    const auto all = [&](const std::vector<Grammar::Option>& options) {
      for (const Grammar::Option& option : options)
        for (const std::string& name : option.names)
          if (name.starts_with("--")) add(name, option.help);
    };
    for (const Grammar::Command& command : grammar_.commands)
      if (command.name == line_.command) all(command.options);
    all(grammar_.options);
  }

  void value_of(const std::string& option) {
    if (option == "-t" || option == "--target") targets();
    if (option == "--hatch") hatches([](const json::object&) { return true; });
    if (option == "--state")
      for (const char* state : {"queued", "running", "succeeded", "failed", "cancelled", "timed-out", "crashed"})
        add(state, "");
  }

  void argument() {
    const std::string& command = line_.command;
    if (command == "preflight") return hatches([](const json::object& hatch) { return flag_of(hatch, "enabled"); });
    if (command == "run" && !line_.arguments.empty()) return parameters(line_.arguments.front());
    if (!line_.arguments.empty()) return;
    if (command == "describe") hatches([](const json::object&) { return true; });
    if (command == "run") hatches([](const json::object& hatch) { return flag_of(hatch, "enabled"); });
    if (command == "console") hatches([](const json::object& hatch) { return flag_of(hatch, "interactive"); });
    if (command == "targets") targets();
    if (command == "show") runs([](const std::string&) { return true; });
    if (command == "follow" || command == "cancel")
      runs([](const std::string& state) { return state == "queued" || state == "running"; });
    if (command == "completion")
      for (const char* shell : {"bash", "zsh", "fish"}) add(shell, "");
  }

  // The objects of a list that the daemon answers with.
  template <class Visit>
  void each(const std::string& path, std::string_view list, Visit visit) {
    const json::value body = fetch_(path);
    const json::object* object = body.if_object();
    const json::array* entries = object ? array_of(*object, list) : nullptr;
    if (!entries) return;
    for (const json::value& entry : *entries)
      if (const json::object* one = entry.if_object()) visit(*one);
  }

  void targets() {
    each("/v1/targets", "targets",
         [&](const json::object& target) { add(text_of(target, "name"), text_of(target, "state")); });
  }

  template <class Fits>
  void hatches(Fits fits) {
    std::string last;  // several kinds have one id
    each("/v1/hatches", "hatches", [&](const json::object& hatch) {
      const std::string id = text_of(hatch, "id");
      if (fits(hatch) && id != std::exchange(last, id)) add(id, text_of(hatch, "title"));
    });
  }

  template <class Fits>
  void runs(Fits fits) {
    each("/v1/runs?limit=50", "runs", [&](const json::object& run) {
      const std::string state = text_of(run, "state");
      if (fits(state)) add(text_of(run, "id"), text_of(run, "hatch") + ", " + state);
    });
  }

  void parameters(const std::string& id) {
    std::string path = "/v1/hatches/" + escape(id);
    if (!line_.target.empty()) path += "?target=" + escape(line_.target);
    const json::value body = fetch_(path);
    const json::object* hatch = body.if_object();
    if (!hatch) return;
    const std::size_t equals = line_.current.find('=');
    const json::object* schema = object_of(*hatch, "parameters");
    const json::object* properties = schema ? object_of(*schema, "properties") : nullptr;
    const std::string name = line_.current.substr(0, equals);
    if (equals == std::string::npos) {
      if (properties)
        for (const auto& [key, value] : *properties) {
          const std::string parameter(key);
          if (is_given(parameter)) continue;
          const json::object* property = value.if_object();
          add(parameter + "=", property ? text_of(*property, "description") : "");
        }
      if (!is_given("format")) add("format=", "How to answer");
      return;
    }
    line_.front = name + "=";
    if (name == "format")
      for (const std::string& rendering : texts_of(*hatch, "renderings")) add(rendering, "");
    if (name == "profile")
      for (const std::string& profile : texts_of(*hatch, "profiles")) add(profile, "");
    if (properties)
      if (const json::object* property = object_of(*properties, name)) values_of(*property);
  }

  bool is_given(const std::string& name) const {
    return std::any_of(line_.arguments.begin() + 1, line_.arguments.end(),
                       [&](const std::string& argument) { return argument.starts_with(name + "="); });
  }

  void values_of(const json::object& property) {
    if (const json::array* values = array_of(property, "enum"))
      for (const json::value& value : *values) add(scalar(value), "");
    else if (text_of(property, "type") == "boolean")
      for (const char* word : {"true", "false"}) add(word, "");
    else if (const json::array* examples = array_of(property, "examples"))
      for (const json::value& value : *examples) add(scalar(value), "for example");
  }

  const Grammar& grammar_;
  Line line_;
  const Fetch& fetch_;
  std::vector<Candidate> found_;
};

}  // namespace

std::vector<Candidate> complete(const Grammar& grammar, const std::vector<std::string>& words, const Fetch& fetch) {
  return Completer(grammar, read(grammar, words), fetch).go();
}

std::string lines_of(const std::vector<Candidate>& candidates) {
  std::string text;
  for (const Candidate& candidate : candidates) {
    text += candidate.word;
    if (!candidate.help.empty()) text += "\t" + hatch::printable(candidate.help);
    text += "\n";
  }
  return text;
}

}  // namespace hatchd::client
