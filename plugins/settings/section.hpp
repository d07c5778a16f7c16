// One part of a dump, said twice: as JSON for programs, and as rows of name and value for people and for comparing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hatch/hatch.hpp"
#include "hatch/json.hpp"
#include "hatch/mask.hpp"
#include "stack/model.hpp"
#include "stack/procfs.hpp"

namespace settings {

// What is looked at: one process, through descriptors that never lead to a successor of its number.
struct Subject {
  stack::Process process;
  std::vector<stack::Mapping> mappings;  // ascending; empty when they may not be read
  std::vector<stack::Module> modules;    // what of them are programs and libraries
  const hatch::Mask& mask;
  bool values = false;              // or names alone
  bool act = false;                 // may a JVM be asked to open its attach socket?
  const hatch::Run* run = nullptr;  // none: there is nobody to cancel it
};

struct Row {
  std::string name, value;  // the target's own words: hostile
};

struct Section {
  explicit Section(std::string member) : name(std::move(member)) {}

  std::string name;  // the member of the result
  std::string json;  // its value
  std::vector<Row> rows;
  std::string trouble;   // why it is missing, or not whole
  bool refused = false;  // for want of rights

  // A member of a section that is an object: JSON and row in one.
  template <class T>
  void add(std::string_view member, const T& value) {
    object.add(member, value);
    std::string text;
    if constexpr (std::is_convertible_v<const T&, std::string_view>)
      text = std::string_view{value};
    else
      hatch::detail::append_value(text, value);
    rows.push_back({std::string(member), std::move(text)});
  }
  void close() { json = object.json(); }
  // What could not be read, in the words of errno(3).
  Section& missing(std::string_view what, int error);

  hatch::Object object;
};

// The words of one line, separated by blanks.
std::vector<std::string_view> words(std::string_view line);

// Calls `each` with every line, without its end.
template <class Each>
void for_each_line(std::string_view text, Each&& each) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    each(text.substr(0, end));
    if (end == text.npos) return;
    text.remove_prefix(end + 1);
  }
}

// The sections, each in a file of its own name. None throws for what a target or the kernel says.
Section command_line(const Subject& subject);
Section environment(const Subject& subject, int environ_fd);
Section process(const Subject& subject);
Section limits(const Subject& subject);
Section capabilities(const Subject& subject);
Section namespaces(const Subject& subject);
Section cgroup(const Subject& subject);
Section descriptors(const Subject& subject);
Section sockets(const Subject& subject);
Section libraries(const Subject& subject);
Section clock(const Subject& subject);
Section runtime(const Subject& subject);

}  // namespace settings
