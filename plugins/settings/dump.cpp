// settings.dump: what a process was started with, what it is allowed, and what it has open.
//
// Sections are read one after the other with the rights that the run has; each says by itself what it could not see.
#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "hatch/hatch.hpp"
#include "settings/changes.hpp"
#include "settings/environment.hpp"
#include "settings/section.hpp"
#include "stack/modules.hpp"
#include "stack/refusal.hpp"

namespace {

using settings::Row;
using settings::Section;

constexpr std::size_t maps_limit = std::size_t{32} << 20;

// The section's rows under its name, with the names in one column.
std::string text_of(const Section& section) {
  constexpr std::size_t widest = 32;
  std::string out = "\n" + section.name + "\n";
  std::size_t width = 0;
  for (const Row& row : section.rows) width = std::max(width, std::min(row.name.size(), widest));
  for (const Row& row : section.rows) {
    std::string line = "  " + hatch::printable(row.name);
    if (!row.value.empty()) {
      line.resize(std::max(line.size(), width + 2), ' ');
      line += "  " + hatch::printable(row.value);
    }
    out += line + "\n";
  }
  if (section.rows.empty() && section.trouble.empty()) out += "  (none)\n";
  if (!section.trouble.empty()) out += "  (" + hatch::printable(section.trouble) + ")\n";
  return out;
}

std::string plural(std::size_t count, const char* noun) {
  return std::to_string(count) + ' ' + noun + (count == 1 ? "" : "s");
}

struct Dump {
  static constexpr hatch::About about{
      .id = "settings.dump",
      .title = "Show what a process runs with: environment, limits, descriptors, libraries",
      .documentation =
          "Reads from outside what the process was started with and what it has now: command line, environment, user, "
          "limits, capabilities, namespaces, control group, open descriptors, sockets with their peers, loaded "
          "libraries (and those that an upgrade has replaced under it), clock and time zone, and what its runtime "
          "publishes of itself. The target is not stopped; a JVM, Node.js and an app that has opened a hatch for its "
          "settings (dump-settings, with values=true) may be asked.\n\n"
          "Without values=true the environment and the command line show names alone. Values of secrets are masked; "
          "reveal=NAME puts the named variables into an artifact, for administrators, and the audit keeps who "
          "asked.\n\n"
          "diff=RUN says what has changed since that run, diff_target=NAME what is different in the newest dump of "
          "another "
          "target.\n\n"
          "A JVM whose attach socket is open is asked for its system properties and flags; act=true opens one that is "
          "not, by a SIGQUIT. Node.js is asked for process.config where its inspector is open.\n\n"
          "The environment is the one that the process was started "
          "with: what it has set since is in its memory alone.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::required,
      .flags = HATCH_ENVIRONMENT,
      .timeout = std::chrono::seconds{30},
      .capabilities = {"sys_ptrace", "dac_read_search", "setuid", "setgid", "kill"},  // the last three if asked for
      .artifact_types = {"application/json"},
  };

  bool values = false, log = false;
  std::vector<std::string> sections, reveal;
  std::string diff, diff_target;
  bool act = false;
  int pid = 0;

  void params(auto& p) {
    p.optional("sections", sections,
               "Only these: process, command_line, environment, limits, capabilities, namespaces, cgroup, descriptors, "
               "sockets, libraries, time, runtime. Default: all");
    p.optional("values", values, "Also the values of the environment and of the command line, secrets masked")
        .role("operator");
    p.optional("reveal", reveal,
               "Variables of the environment whose values are written, unmasked, to the artifact revealed.json; delete "
               "it when it has served")
        .role("admin");
    p.optional("diff", diff, "Id of an earlier run of this hatch on this target: also show what has changed since")
        .pattern("([0-9A-HJKMNP-TV-Z]{26})?");
    p.optional("diff_target", diff_target,
               "Name of another target: also show what is different there, by the newest dump of it that is kept")
        .length(0, 64);
    p.optional("act", act, "Open the attach socket of a JVM that has none yet, by a SIGQUIT, to ask for its properties")
        .effect(hatch::Effect::act);
    p.optional("log", log, "Also write the dump, as it is answered, to hatchd's log");
    p.optional("pid", pid, "Which process of the target, when it has several. Default: its main process")
        .range(0, 1 << 30);
  }

  hatch::Result run(hatch::Run& run) {
    check_sections();
    const auto [index, process] = chosen(run);
    const hatch::Mask mask = hatch::mask_of(run);
    settings::Subject subject{{process.pid, process.pidfd, process.proc_fd}, {}, {}, mask, values, act, &run};
    if (const auto maps = stack::read_below(process.proc_fd, "maps", maps_limit)) {
      subject.mappings = stack::parse_maps(*maps);
      subject.modules = stack::group_modules(subject.mappings);
    }

    const auto begin = std::chrono::steady_clock::now();
    std::vector<Section> all = read(run, subject, index);
    if (stack::has_ended(process.pidfd, process.proc_fd))
      throw hatch::Failure("process " + std::to_string(process.pid) + " has ended");
    refuse_if_all_is_refused(subject, all);

    hatch::Result result;
    std::string text;
    std::size_t missing = 0;
    hatch::Array trouble;
    for (const Section& section : all) {
      if (!section.json.empty()) result.add(section.name, hatch::Raw{section.json});
      if (!section.trouble.empty()) {
        ++missing;
        trouble.add(hatch::Object{}.add("section", section.name).add("detail", section.trouble));
      }
      text += text_of(section);
    }
    if (missing) result.partial().add("missing", trouble);
    std::string verdict = "Process " + std::to_string(process.pid) + ": " + verdict_of(all);
    if (missing) verdict += "; " + plural(missing, "section") + " could not be read whole";
    if (!reveal.empty()) verdict += "; " + write_revealed(run, index);

    settings::Snapshot now =
        settings::snapshot_of(std::string(run.target_name()) + "/" + std::to_string(pid), values, all, mask);
    now.sections = sections;
    if (!diff.empty()) verdict += "; " + compare(run, now, result, text);
    if (!diff_target.empty()) verdict += "; " + compare_targets(run, now, result, text);
    if (const int error = settings::save(run.cache_fd(), run.id(), now); error && error != ENOENT)
      run.log(hatch::Level::warning, "the dump is not kept for diff=: " + std::string(std::strerror(error)));

    result.verdict(verdict + ".");
    result.step("read", stack::ms_since(begin), true, plural(all.size(), "section"));
    text = hatch::printable(verdict) + ".\n" + text;
    if (log) write_log(std::string(run.target_name()), mask.text(text));
    result.text(std::move(text));
    return result;
  }

  hatch::Result preflight(hatch::Run& run) {
    check_sections();
    const auto [index, process] = chosen(run);
    const stack::Process subject{process.pid, process.pidfd, process.proc_fd};
    if (stack::has_ended(process.pidfd, process.proc_fd))
      throw hatch::Failure("process " + std::to_string(process.pid) + " has ended");
    if (!stack::read_below(process.proc_fd, "maps", 1)) throw refusal(subject);
    return hatch::Result{"The settings of process " + std::to_string(process.pid) + " can be read."};
  }

 private:
  struct Reader {
    std::string_view name;
    Section (*read)(const settings::Subject&);  // nullptr: the environment, which comes by a descriptor of its own
  };
  static constexpr Reader readers[] = {{"process", settings::process},
                                       {"command_line", settings::command_line},
                                       {"environment", nullptr},
                                       {"limits", settings::limits},
                                       {"capabilities", settings::capabilities},
                                       {"namespaces", settings::namespaces},
                                       {"cgroup", settings::cgroup},
                                       {"descriptors", settings::descriptors},
                                       {"sockets", settings::sockets},
                                       {"libraries", settings::libraries},
                                       {"time", settings::clock},
                                       {"runtime", settings::runtime}};

  void check_sections() const {
    for (const std::string& name : sections) {
      if (std::any_of(std::begin(readers), std::end(readers), [&](const Reader& r) { return r.name == name; }))
        continue;
      std::string known;
      for (const Reader& reader : readers) known.append(known.empty() ? "" : ", ").append(reader.name);
      throw hatch::Failure("there is no section \"" + name + "\"; there are " + known);
    }
  }

  std::pair<std::uint32_t, hatch_process> chosen(const hatch::Run& run) const {
    const std::vector<hatch_process> all = run.processes();
    for (std::uint32_t i = 0; i < all.size(); ++i)
      if (pid == 0 ? all[i].main != 0 : all[i].pid == pid) return {i, all[i]};
    if (pid != 0)
      throw hatch::Failure("process " + std::to_string(pid) + " is none of the " + plural(all.size(), "process") +
                           "es of the target: GET /v1/targets lists them");
    throw hatch::Failure("the target has no process");
  }

  std::vector<Section> read(const hatch::Run& run, const settings::Subject& subject, std::uint32_t index) const {
    std::vector<Section> all;
    for (const Reader& reader : readers) {
      if (!sections.empty() && std::find(sections.begin(), sections.end(), reader.name) == sections.end()) continue;
      run.check();
      if (reader.read) {
        all.push_back(reader.read(subject));
      } else {
        const int file = run.target_file(index, HATCH_FILE_ENVIRONMENT);
        const stack::UniqueFd closes{file};
        all.push_back(settings::environment(subject, file));
      }
    }
    return all;
  }

  // What a run writes to its standard error goes where hatchd's own log goes.
  static void write_log(const std::string& target, std::string_view text) {
    settings::for_each_line(text, [&](std::string_view line) {
      if (!line.empty())
        std::fprintf(stderr, "settings.dump %s: %.*s\n", target.c_str(), static_cast<int>(line.size()), line.data());
    });
  }

  static hatch::Failure refusal(const stack::Process& process) {
    const stack::Trouble trouble = stack::explain_refusal(process, process.pid, stack::Refused::private_file);
    return hatch::Failure::rights(trouble.detail, trouble.missing, trouble.remedy);
  }

  // Some of it everybody may read; it is an answer as long as one section that asks for rights was read.
  static void refuse_if_all_is_refused(const settings::Subject& subject, const std::vector<Section>& all) {
    if (!subject.mappings.empty()) return;
    if (std::any_of(all.begin(), all.end(), [](const Section& s) { return s.refused; })) throw refusal(subject.process);
  }

  static std::string verdict_of(const std::vector<Section>& all) {
    std::string text;
    for (const Section& section : all) {
      const std::size_t restart =
          static_cast<std::size_t>(std::count_if(section.rows.begin(), section.rows.end(), [](const Row& row) {
            return row.value.find(" on disk: restart") != std::string::npos;
          }));
      std::string said;
      if (section.name == "environment" && section.trouble.empty())
        said = plural(section.rows.size(), "variable");
      else if (section.name == "descriptors" && !section.rows.empty())
        said = section.rows.front().value + " descriptors open";
      else if (section.name == "libraries" && restart)
        said = plural(restart, "file") + " replaced on disk since it started: restart it to use the new ones";
      if (!said.empty()) text += (text.empty() ? "" : ", ") + said;
    }
    return text.empty() ? plural(all.size(), "section") + " read" : text;
  }

  std::string write_revealed(hatch::Run& run, std::uint32_t index) const {
    const int file = run.target_file(index, HATCH_FILE_ENVIRONMENT);
    const stack::UniqueFd closes{file};
    if (file < 0) throw hatch::Failure("the environment may not be read: " + std::string(std::strerror(-file)));
    const auto text = stack::read_all(file, settings::environment_limit);
    if (!text) throw hatch::Failure("the environment could not be read: " + std::string(std::strerror(errno)));
    hatch::Object revealed;
    std::string absent;
    const std::vector<Row> variables = settings::parse_environment(*text);
    for (const std::string& name : reveal) {
      const auto at =
          std::find_if(variables.begin(), variables.end(), [&](const Row& row) { return row.name == name; });
      if (at == variables.end())
        absent += (absent.empty() ? "" : ", ") + name;
      else
        revealed.add(name, at->value);
    }
    hatch::Artifact artifact = run.artifact("revealed.json", "application/json");
    artifact.write(revealed.json() + "\n");
    artifact.commit();
    return "the artifact revealed.json holds what was to be revealed" +
           (absent.empty() ? "" : ", but not set: " + absent);
  }

  std::string compare(const hatch::Run& run, const settings::Snapshot& now, hatch::Result& result,
                      std::string& text) const {
    const auto before = settings::load(run.cache_fd(), diff);
    if (!before)
      throw hatch::Failure("no dump of run " + diff + " is kept to compare with; the last " +
                           std::to_string(settings::max_snapshots) + " are");
    if (before->target != now.target)
      throw hatch::Failure("run " + diff + " dumped another target, or another process of it");
    hatch::Array list;
    Section shown{"changes since " + diff};
    for (const settings::Change& change : settings::changes(*before, now)) {
      list.add(hatch::Object{}.add("name", change.name).add_if("was", change.was).add_if("now", change.now));
      shown.rows.push_back({change.name, (change.was ? "was \"" + *change.was + "\"" : std::string("was not there")) +
                                             (change.now ? ", is \"" + *change.now + "\"" : ", is gone")});
    }
    result.add("changes", list);
    text = text_of(shown) + text;
    return plural(shown.rows.size(), "change") + " since that run";
  }

  // With what was kept of the other target: a run has one target, and its descriptors alone.
  std::string compare_targets(const hatch::Run& run, const settings::Snapshot& now, hatch::Result& result,
                              std::string& text) const {
    const auto other = settings::newest(run.cache_fd(), diff_target + "/0", values);
    if (!other) {
      hatch::Failure failure{"no dump of the target " + diff_target + (values ? " with values=true" : "") +
                             " is kept to compare with: run settings.dump for it, and then this again"};
      failure.missing = {"a dump of the target " + diff_target + (values ? " with values=true" : "")};
      failure.remedy = "hatchctl run settings.dump -t " + diff_target + (values ? " values=true" : "");
      throw failure;
    }
    const auto& [id, there] = *other;
    hatch::Array list;
    Section shown{"differences to " + diff_target};
    for (const settings::Change& change : settings::changes(there, now)) {
      list.add(hatch::Object{}.add("name", change.name).add_if("there", change.was).add_if("here", change.now));
      shown.rows.push_back({change.name, (change.was ? "there \"" + *change.was + "\"" : std::string("not there")) +
                                             (change.now ? ", here \"" + *change.now + "\"" : ", not here")});
    }
    result.add("differences", list).add("compared_with", id);
    text = text_of(shown) + text;
    const std::string age = settings::age_of(id, std::chrono::system_clock::now());
    std::string said = plural(shown.rows.size(), "difference") + " to " + hatch::printable(diff_target) + " as run " +
                       id + " saw it" + (age.empty() ? "" : " " + age + " ago");
    if (!there.sections.empty()) {
      said += ", of its";
      for (const std::string& section : there.sections) said += " " + section;
      said += " alone";
    }
    if (!age.empty()) result.add("compared_age", age);
    return said + " (a fresh one: hatchctl run settings.dump -t " + hatch::printable(diff_target) +
           (values ? " values=true" : "") + ")";
  }
};

}  // namespace

HATCH_PLUGIN("settings", "1.0.0", "What a process runs with, from outside", Dump)
