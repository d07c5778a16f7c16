// Which runtime the process is, as far as what it has mapped shows it; of HotSpot also what it publishes of itself.
#include "settings/runtime.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cstring>

#include "app/settings.hpp"
#include "stack/jvm/attach.hpp"
#include "stack/listeners.hpp"
#include "stack/memory.hpp"
#include "stack/node/inspector.hpp"

namespace settings {
namespace {

constexpr std::size_t perf_limit = std::size_t{1} << 20;

// "python3.11" and "libpython3.11.so.1.0": "3.11".
std::string digits_behind(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  return std::string(name.substr(0, std::min(name.find_first_not_of("0123456789."), name.size())));
}

template <class N>
N little(std::string_view bytes, std::size_t at) {
  N value{};
  if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// HotSpot keeps its counters in a file that it has mapped (-XX:+UsePerfData, the default): read as the mapping, no name
// in /tmp has to be trusted.
std::string perf_data(const Subject& subject) {
  for (const stack::Mapping& mapping : subject.mappings) {
    if (mapping.path.find("/hsperfdata_") == std::string::npos || !mapping.readable) continue;
    std::string bytes(std::min<std::size_t>(mapping.end - mapping.start, perf_limit), '\0');
    bytes.resize(stack::read_memory(subject.process.pid, mapping.start, std::as_writable_bytes(std::span{bytes})));
    return bytes;
  }
  return {};
}

void add_hotspot(const Subject& subject, Section& section) {
  for (const PerfEntry& entry : parse_perf_data(perf_data(subject))) {
    static constexpr std::string_view public_names[] = {"java.property.java.version", "java.property.java.vm.name",
                                                        "java.property.java.home", "sun.gc.policy.name",
                                                        "java.threads.live"};
    static constexpr std::string_view values[] = {"java.rt.vmArgs", "java.rt.vmFlags", "sun.rt.javaCommand"};
    const auto is_in = [&](const auto& list) {
      return std::find(std::begin(list), std::end(list), entry.name) != std::end(list);
    };
    if (is_in(public_names))
      section.add(entry.name, entry.value);
    else if (is_in(values) && subject.values)
      section.add(entry.name, subject.mask.text(entry.value));
  }
}

// A code point of the Basic Multilingual Plane (RFC 3629).
void append_utf8(std::string& out, unsigned code) {
  const auto put = [&](unsigned byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

// Nobody is stopped here; what counts is whether the run was cancelled.
class Unheld final : public stack::Hold {
 public:
  explicit Unheld(const hatch::Run* run) : run_(run) {}
  void begin() override {}
  void end() override {}
  bool cancelled() override { return run_ && run_->cancelled(); }
  stack::Micros max_pause() const override { return stack::Micros{0}; }

 private:
  const hatch::Run* run_;
};

// What the VM itself says: all system properties, and the flags that it runs with. Both cost it no safepoint.
void ask_hotspot(const Subject& subject, Section& section) {
  Unheld hold{subject.run};
  const stack::jvm::Dump properties =
      stack::jvm::ask(subject.process, subject.process.pid, subject.act, hold, "properties");
  if (properties.text.empty()) {
    section.add("attach", properties.trouble.detail);
    return;
  }
  hatch::Object all;
  for (const Row& property : parse_properties(properties.text)) {
    std::string value = subject.values ? subject.mask.value(property.name, property.value) : std::string();
    if (subject.values)
      all.add(property.name, value);
    else
      all.add(property.name, hatch::Raw{"null"});
    section.rows.push_back({"property " + property.name, std::move(value)});
  }
  section.object.add("properties", all);
  const stack::jvm::Dump flags = stack::jvm::ask(subject.process, subject.process.pid, false, hold, "jcmd", "VM.flags");
  if (flags.text.empty()) return section.add("flags_missing", flags.trouble.detail);
  std::string text = flags.text;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  section.add("flags", subject.mask.text(text));
}

// A row for each value that has no parts.
void add_rows(const std::string& name, const boost::json::value& value, const Subject& subject, Section& section) {
  constexpr std::size_t max_rows = 4096;
  if (section.rows.size() >= max_rows) return;
  if (const boost::json::object* object = value.if_object()) {
    for (const auto& member : *object)
      add_rows(name + "." + std::string(member.key()), member.value(), subject, section);
  } else {
    const boost::json::string* text = value.if_string();
    section.rows.push_back({name, subject.mask.value(name, text ? std::string(*text) : boost::json::serialize(value))});
  }
}

// How Node was built, and of what, where its inspector is open: nobody opens it for this.
void ask_node(const Subject& subject, Section& section) {
  Unheld hold{subject.run};
  if (!stack::shares_network(subject.process, subject.process.pid))
    return section.add("inspector", "not asked: the process is in another network namespace");
  for (const stack::Listener& listener : stack::find_listeners(subject.process, subject.process.pid).own) {
    stack::node::Inspector inspector{hold};
    if (!listener.loopback || !inspector.find(listener.endpoint)) continue;
    const auto said = inspector.evaluate("JSON.stringify({config: process.config, versions: process.versions})");
    if (!said) return section.add("inspector", "asked in vain: " + inspector.error());
    boost::system::error_code error;
    const boost::json::value answer = boost::json::parse(*said, error);  // the target's own words: hostile
    if (error || !answer.is_object()) return section.add("inspector", "it did not answer with JSON");
    for (const char* part : {"config", "versions"})
      if (const boost::json::value* value = answer.get_object().if_contains(part)) {
        section.object.add(part, hatch::Raw{subject.mask.json(boost::json::serialize(*value))});
        add_rows(part, *value, subject, section);
      }
    return;
  }
  section.add("inspector", "not asked: it is not open (node --inspect)");
}

// What the app shows of its settings itself, where it has opened a hatch for that (docs/hatchkit.md).
void ask_app(const Subject& subject, Section& section) {
  if (!subject.run || !subject.values) return;
  const app::AppSettings said = app::ask_for_settings(*subject.run, subject.process.pid);
  if (!said.why.empty()) section.add("app", "not asked, or in vain: " + said.why);
  boost::system::error_code error;
  const boost::json::value settings = boost::json::parse(said.json, error);
  if (said.pid == 0 || error) return;
  section.object.add("settings", hatch::Raw{subject.mask.json(said.json)});
  add_rows("settings", settings, subject, section);
}

}  // namespace

// The format of java.util.Properties.store(): comments with '#', "key=value" with escapes by '\\', one a line.
std::vector<Row> parse_properties(std::string_view text) {
  constexpr std::size_t max_properties = 4096;
  std::vector<Row> all;
  for_each_line(text, [&](std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#' || line.front() == '!' || all.size() >= max_properties) return;
    Row row;
    std::string* part = &row.name;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '=' && part == &row.name) {
        part = &row.value;
      } else if (line[i] == '\\' && i + 1 < line.size()) {
        const char escaped = line[++i];
        unsigned code = 0;
        const char* const digits = line.data() + i + 1;
        if (escaped == 'u' && i + 4 < line.size() && std::from_chars(digits, digits + 4, code, 16).ptr == digits + 4) {
          append_utf8(*part, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
          i += 4;
        } else {
          *part += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped == 'r' ? '\r' : escaped;
        }
      } else {
        *part += line[i];
      }
    }
    if (part == &row.value && !row.name.empty()) all.push_back(std::move(row));
  });
  return all;
}

std::vector<PerfEntry> parse_perf_data(std::string_view bytes) {
  std::vector<PerfEntry> all;
  constexpr std::size_t prologue = 32, head = 20, max_entries = 4096;
  if (bytes.size() < prologue || bytes.substr(0, 4) != "\xca\xfe\xc0\xc0" || bytes[4] != 1) return all;
  std::size_t at = little<std::uint32_t>(bytes, 24);
  const std::size_t count = std::min<std::size_t>(little<std::uint32_t>(bytes, 28), max_entries);
  for (std::size_t i = 0; i < count && at + head <= bytes.size(); ++i) {
    const std::size_t length = little<std::uint32_t>(bytes, at);
    if (length < head || length > bytes.size() - at) break;
    const std::string_view entry = bytes.substr(at, length);
    at += length;
    const std::size_t name_at = little<std::uint32_t>(entry, 4), vector = little<std::uint32_t>(entry, 8);
    const std::size_t data_at = little<std::uint32_t>(entry, 16);
    if (name_at >= entry.size() || data_at >= entry.size()) continue;
    std::string name{entry.substr(name_at, entry.find('\0', name_at) - name_at)};
    if (entry[12] == 'B' && vector > 0) {
      const std::string_view text = entry.substr(data_at, vector);
      all.push_back({std::move(name), std::string(text.substr(0, text.find('\0')))});
    } else if (entry[12] == 'J' && vector == 0) {
      all.push_back({std::move(name), std::to_string(little<std::int64_t>(entry, data_at))});
    }
  }
  return all;
}

Section runtime(const Subject& subject) {
  Section section{"runtime"};
  std::string kind = "native", version;
  for (const stack::Module& module : subject.modules) {
    const std::string_view name = module.name();
    for (const char* prefix : {"libpython", "python"})
      if (std::string digits = digits_behind(name, prefix); !digits.empty()) kind = "python", version = digits;
    if (name == "node" || name == "nodejs" || name.starts_with("libnode.so")) kind = "node";
    if (name == "libjvm.so") kind = "jvm";
  }
  // The file name of a library says "3.11.so.1.0" by its first two numbers.
  while (version.ends_with('.')) version.pop_back();
  section.add("kind", kind);
  if (!version.empty()) section.add("version", version);
  if (kind == "node") ask_node(subject, section);
  if (kind == "jvm") {
    add_hotspot(subject, section);
    ask_hotspot(subject, section);
  }
  ask_app(subject, section);
  section.close();
  return section;
}

}  // namespace settings
