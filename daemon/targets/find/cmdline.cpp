// By command line: a regular expression that matches all of it, the arguments joined by blanks.
#include <boost/json.hpp>
#include <regex>

#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

// Command lines are written by whoever starts a process. libstdc++'s polynomial mode takes time proportional to pattern
// times text and no stack for the length of the text, where its default backtracks (and recurses) at the text's will;
// measured on 4 KiB of a hostile text: 0.2 ms.
constexpr auto flags = std::regex::ECMAScript | std::regex::optimize | std::regex_constants::__polynomial;
constexpr std::size_t max_line = 4096;
constexpr std::size_t max_pattern = 1024;

class ByCmdline : public Finder {
 public:
  explicit ByCmdline(const std::string& pattern) : pattern_(pattern), regex_(pattern, flags) {}
  Shape shape() const override { return Shape::tree; }
  std::string what() const override { return "process whose whole command line matches " + pattern_; }

  bool fits(pid_t, int directory) override {
    const auto arguments = read_command(directory, max_line);
    if (!arguments || arguments->empty()) return false;
    std::string line;
    for (const std::string& argument : *arguments) (line += line.empty() ? "" : " ") += argument;
    return std::regex_match(line, regex_);
  }

 private:
  std::string pattern_;
  std::regex regex_;
};

}  // namespace

Made by_cmdline(const json::value& value, const Context&) {
  const json::string* pattern = value.if_string();
  if (!pattern || pattern->empty())
    return refuse("malformed", "must be a regular expression for the whole command line");
  if (pattern->size() > max_pattern)
    return refuse("malformed", "is longer than " + std::to_string(max_pattern) + " bytes");
  try {
    return std::make_unique<ByCmdline>(std::string(*pattern));
  } catch (const std::regex_error& error) {
    return refuse("malformed", error.code() == std::regex_constants::error_complexity
                                   ? "is too large, or refers back to a group, which is not supported"
                                   : std::string("is no regular expression: ") + error.what());
  }
}

}  // namespace hatchd::targets
