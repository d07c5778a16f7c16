// kind command: a program with its arguments, without a shell.
#include <sys/wait.h>

#include <boost/json.hpp>

#include "common/child.hpp"
#include "recipe/recipe.hpp"

namespace recipe {
namespace {

namespace json = boost::json;

constexpr std::size_t max_kept = 64 * 1024, max_streamed = std::size_t{4} << 20;

// The arguments with the parameters in their places. A value that begins with '-' would be an option: it is taken only
// behind "--", or where the program is configured to expect it.
std::vector<std::string> arguments_of(const Recipe& recipe) {
  std::vector<std::string> all;
  bool plain = false;  // behind "--"
  for (const json::value& element : recipe.written().at("argv").as_array()) {
    const std::string_view written = element.as_string();
    std::string value = recipe.fill(written);
    if (const std::string unfit = common::unfit_argument(value, plain || value == written, "argv"); !unfit.empty())
      throw hatch::Failure("parameter " + std::string(written) + ' ' + unfit);
    plain = plain || written == "--";
    all.push_back(std::move(value));
  }
  return all;
}

std::vector<std::string> environment_of(const hatch::Run& run, const Recipe& recipe) {
  std::vector<std::string> all = common::bare_environment();
  all.push_back("HATCHD_RUN=" + std::string(run.id()));
  for (const hatch_process& process : run.processes())
    if (process.main) all.push_back("HATCHD_TARGET_PID=" + std::to_string(process.pid));
  for (const auto& variable : recipe.part("environment"))
    if (const json::string* value = variable.value().if_string())
      all.push_back(std::string(variable.key()) + "=" + std::string(*value));
  return all;
}

// `limits` of the recipe (getrlimit(2)); sizes and durations came as numbers (daemon/config/structs.cpp).
std::vector<std::pair<int, rlim_t>> limits_of(const Recipe& recipe) {
  static constexpr std::pair<const char*, int> known[] = {{"memory", RLIMIT_AS},
                                                          {"cpu", RLIMIT_CPU},
                                                          {"files", RLIMIT_NOFILE},
                                                          {"processes", RLIMIT_NPROC},
                                                          {"file_size", RLIMIT_FSIZE}};
  std::vector<std::pair<int, rlim_t>> limits{{RLIMIT_CORE, 0}};
  const json::object& written = recipe.part("limits");
  for (const auto& [name, resource] : known)
    if (const json::value* value = written.if_contains(name)) {
      const std::int64_t most = value->is_number() ? value->to_number<std::int64_t>() : 0;
      if (most > 0) limits.emplace_back(resource, static_cast<rlim_t>(most));
    }
  return limits;
}

common::Start start_of(const hatch::Run& run, const Recipe& recipe) {
  const auto text = [&](const char* name) {
    const json::value* value = recipe.written().if_contains(name);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  common::Start start{arguments_of(recipe), environment_of(run, recipe)};
  if (const std::string directory = text("directory"); !directory.empty()) start.directory = directory;
  if (const std::string user = text("user"); !user.empty()) start.user = common::user_of(user);
  start.limits = limits_of(recipe);
  return start;
}

}  // namespace

hatch::Result try_command(hatch::Run& run) {
  common::Start start = start_of(run, Recipe{run});
  const std::string sentence = start.arguments.front() + " can be started" +
                               (start.user ? " as the user " + start.user->name : std::string()) + ".";
  common::Child::try_start(std::move(start));
  return hatch::Result{sentence};
}

hatch::Result run_command(hatch::Run& run) {
  const Recipe recipe{run};
  common::Start start = start_of(run, recipe);
  const std::string program = start.arguments.front();
  const auto begin = std::chrono::steady_clock::now();
  common::Child child{std::move(start)};

  std::string kept;  // the end of what it said
  std::size_t said = 0;
  for (char piece[16 * 1024];;) {
    run.wait(child.output(), POLLIN);  // throws when the run is cancelled or out of time
    const ssize_t n = ::read(child.output(), piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    const std::string_view bytes{piece, static_cast<std::size_t>(n)};
    if (said < max_streamed) run.output(bytes);
    said += bytes.size();
    kept += bytes;
    if (kept.size() > 2 * max_kept) kept.erase(0, kept.size() - max_kept);
  }
  const int status = child.wait();
  const double ms = since(begin);
  if (kept.size() > max_kept) kept.erase(0, kept.size() - max_kept);

  hatch::Result result;
  result.step("command", ms, status == 0, common::ending(status));
  if (WIFEXITED(status)) result.add("exit_status", WEXITSTATUS(status));
  result.add("output", kept).add("output_bytes", said);
  if (kept.size() < said) result.add("output_cut", true);
  const std::string sentence = program + " ended with " + common::ending(status) + " after " +
                               std::to_string(static_cast<long>(ms)) + " ms and said " + std::to_string(said) +
                               " bytes";
  result.verdict(sentence + ".");
  result.text(hatch::printable(sentence) + ".\n\n" + hatch::printable(kept, true));
  if (status == 0) return result;
  throw hatch::Failure(program + " ended with " + common::ending(status)).with(std::move(result));
}

}  // namespace recipe
