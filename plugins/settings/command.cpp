// The command line, and the small helpers that all sections share.
#include <cerrno>
#include <cstring>

#include "settings/section.hpp"

namespace settings {
namespace {

constexpr std::size_t command_limit = std::size_t{256} << 10;
constexpr std::size_t argument_limit = 4096;

// "--password" of "--password=x"; nothing of what is no option.
std::string option_name(std::string_view argument) {
  return argument.starts_with('-') ? std::string(argument.substr(0, argument.find('='))) : std::string{};
}

}  // namespace

Section& Section::missing(std::string_view what, int error) {
  refused = refused || error == EACCES || error == EPERM;
  if (!trouble.empty()) trouble += "; ";
  trouble.append(what).append(": ").append(std::strerror(error));
  return *this;
}

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> all;
  for (std::size_t at = 0; (at = line.find_first_not_of(" \t", at)) != line.npos;) {
    const std::size_t end = std::min(line.find_first_of(" \t", at), line.size());
    all.push_back(line.substr(at, end - at));
    at = end;
  }
  return all;
}

// A viewer sees the program and the names of its options; what they are set to needs the right to see values.
Section command_line(const Subject& subject) {
  Section section{"command_line"};
  const auto text = stack::read_below(subject.process.proc_fd, "cmdline", command_limit);
  if (!text) return section.missing("cmdline", errno);
  std::vector<std::string> arguments;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\0', at), text->size());
    arguments.push_back(text->substr(at, end - at));
    at = end + 1;
  }
  if (text->size() == command_limit || arguments.size() > argument_limit)
    section.trouble = "the command line is longer than what is shown";
  if (arguments.size() > argument_limit) arguments.resize(argument_limit);
  arguments = subject.mask.arguments(std::move(arguments));
  hatch::Array array;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool shown = subject.values || i == 0;
    const std::string value = shown ? arguments[i] : option_name(arguments[i]);
    array.add(shown || !value.empty() ? std::optional<std::string>{value} : std::nullopt);
    section.rows.push_back({"[" + std::to_string(i) + "]", shown || !value.empty() ? value : "(not shown)"});
  }
  section.json = array.json();
  return section;
}

}  // namespace settings
