#include "app/hatches.hpp"

#include <boost/json.hpp>

#include "app/members.hpp"

namespace app {

namespace json = boost::json;

namespace {

std::string count_of(std::size_t count, const char* one, const char* many) {
  return std::to_string(count) + ' ' + (count == 1 ? one : many);
}

hatch::Result list(hatch::Run& run) {
  std::vector<Door> doors = find_doors(run, 1);
  run.drop_rights();
  const std::vector<Process> processes = ask_all(run, std::move(doors));
  const json::array hatches = hatches_json(processes);
  std::size_t answered = 0, sockets = 0;
  std::string lines;
  for (const Process& process : processes) {
    sockets += process.door.path.empty() ? 0 : 1;
    answered += process.door.usable() && process.why.empty() ? 1 : 0;
    std::string line = "process " + std::to_string(process.door.process.pid) + "  ";
    if (!process.door.path.empty()) line += process.door.path + "  ";
    line += !process.why.empty()        ? process.why
            : process.door.path.empty() ? "no socket"
                                        : count_of(process.members.size(), "hatch", "hatches");
    lines += hatch::printable(line) + '\n';
  }
  hatch::Result result;
  if (sockets == 0) {
    result.verdict("No process of " + std::string(run.target_name()) + " has opened hatches.");
    result.hint(
        "docs/hatchkit.md: an app opens hatches with a few lines. A folder of its own is found by HATCH_DIR in the "
        "app's environment.");
  } else {
    result.verdict(count_of(answered, "process has", "processes have") + " opened " +
                   count_of(hatches.size(), "hatch", "hatches") +
                   (answered < sockets ? "; " + std::to_string(sockets - answered) + " did not answer." : "."));
    if (answered < sockets) result.partial();
  }
  result.add("processes", hatch::Raw{json::serialize(processes_json(processes))});
  result.add("hatches", hatch::Raw{json::serialize(hatches)});
  for (const json::value& value : hatches) {
    const json::object& entry = value.as_object();
    std::string name = "  app." + std::string(entry.at("name").as_string());
    name.resize(std::max<std::size_t>(name.size() + 2, 26), ' ');
    std::string effect(entry.at("effect").as_string());
    effect.resize(9, ' ');
    lines += name + effect + std::string(entry.at("title").as_string()) + '\n';
  }
  // Nobody answers, and a right is what lacks.
  if (answered == 0)
    for (const Process& process : processes)
      if (!process.door.missing.empty())
        throw hatch::Failure::rights("process " + std::to_string(process.door.process.pid) + ": " + process.why,
                                     {process.door.missing}, process.door.remedy)
            .with(std::move(result));
  result.text(lines);
  if (sockets > 0 && answered == 0)
    for (const Process& process : processes)
      if (!process.door.path.empty())
        throw hatch::Failure("process " + std::to_string(process.door.process.pid) + ": " + process.why)
            .with(std::move(result));
  return result;
}

}  // namespace

hatch::Result Hatches::run(hatch::Run& run) { return list(run); }

hatch::Result Call::preflight(hatch::Run& run) { return list(run); }

}  // namespace app
