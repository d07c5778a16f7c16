#include "worker/rendering.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <vector>

#include "base/json.hpp"
#include "hatch/json.hpp"
#include "link/outcome.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

// A parsed result takes many times its text; beyond this nobody reads the generic rendering anyway.
constexpr std::size_t max_parsed = 4 * 1024 * 1024;

std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}
std::string padded(std::string text, std::size_t width, bool right = false) {
  const std::string gap(width > columns(text) ? width - columns(text) : 0, ' ');
  return right ? gap + text : text + gap;
}

bool is_scalar(const json::value& value) { return !value.is_object() && !value.is_array(); }

std::string scalar_text(const json::value& value) {
  if (const json::string* text = value.if_string()) return hatch::printable(*text, true);
  if (value.is_null()) return "-";
  // JSON writes 42.259 as 4.2259E1, which nobody reads.
  if (const double* number = value.if_double()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", *number);
    return text;
  }
  return json::serialize(value);
}

// Text of several lines stands below its name, each line indented.
void append_lines(std::string& out, std::string_view text, std::size_t indent) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out.append(indent, ' ').append(text.substr(0, end)) += '\n';
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
}

void append_value(std::string& out, std::string_view name, const json::value& value, std::size_t indent);

void append_members(std::string& out, const json::object& object, std::size_t indent) {
  for (const auto& member : object) append_value(out, member.key(), member.value(), indent);
}

void append_value(std::string& out, std::string_view name, const json::value& value, std::size_t indent) {
  out.append(indent, ' ').append(hatch::printable(name)) += ':';
  if (is_scalar(value)) {
    const std::string text = scalar_text(value);
    if (text.find('\n') == std::string::npos) {
      (out += ' ').append(text) += '\n';
    } else {
      out += '\n';
      append_lines(out, text, indent + 2);
    }
  } else if (const json::object* object = value.if_object()) {
    if (object->empty()) out += " -";
    out += '\n';
    append_members(out, *object, indent + 2);
  } else {
    const json::array& array = value.get_array();
    if (std::all_of(array.begin(), array.end(), is_scalar)) {
      for (std::size_t i = 0; i < array.size(); ++i)
        (out += i == 0 ? " " : ", ") += hatch::printable(scalar_text(array[i]));
      out += array.empty() ? " -\n" : "\n";
      return;
    }
    out += '\n';
    for (const json::value& element : array) {
      const json::object* entry = element.if_object();
      if (!entry) {
        append_value(out, "-", element, indent + 2);
        continue;
      }
      // "- " before the first member, so that one sees where an entry begins.
      const std::size_t begin = out.size();
      append_members(out, *entry, indent + 4);
      if (out.size() > begin) out[begin + indent + 2] = '-';
    }
  }
}

void append_steps(std::string& out, const json::array& steps) {
  struct Row {
    std::string name, ms, ok, detail;
  };
  std::vector<Row> rows;
  std::size_t name_width = 0, ms_width = 0;
  for (const json::value& step : steps) {
    const json::object* entry = step.if_object();
    if (!entry) continue;
    Row row{hatch::printable(text_of(*entry, "name")), "", flag_of(*entry, "ok") ? "ok" : "FAILED",
            hatch::printable(text_of(*entry, "detail"))};
    const json::value* ms = entry->if_contains("ms");
    if (ms && ms->is_number()) {
      char text[32];
      std::snprintf(text, sizeof text, "%.1f ms", ms->to_number<double>());
      row.ms = text;
    }
    name_width = std::max(name_width, columns(row.name));
    ms_width = std::max(ms_width, columns(row.ms));
    rows.push_back(std::move(row));
  }
  for (const Row& row : rows) {
    std::string line = "  " + padded(row.name, name_width) + "  " + padded(row.ms, ms_width, true) + "  " +
                       padded(row.ok, 6) + "  " + row.detail;
    line.erase(line.find_last_not_of(' ') + 1);
    (out += line) += '\n';
  }
}

}  // namespace

std::string default_text(std::string_view text) {
  if (text.size() > max_parsed) {
    const auto verdict = link::verdict_of(text);
    return (verdict ? hatch::printable(*verdict, true) : "") + "\n(too large to be shown whole; see the JSON)\n";
  }
  const auto parsed = parse_json(text, "run-failed", 64);
  if (!parsed || !parsed->is_object()) return {};
  const json::object& result = parsed->get_object();

  std::string out = hatch::printable(text_of(result, "verdict"), true) + '\n';
  if (const json::array* steps = array_of(result, "steps")) append_steps(out, *steps);
  if (const std::string hint = text_of(result, "hint"); !hint.empty())
    out += "hint: " + hatch::printable(hint, true) + '\n';
  for (const auto& member : result) {
    const std::string_view name = member.key();
    if (name == "verdict" || name == "hint" || (name == "steps" && member.value().is_array())) continue;
    append_value(out, name, member.value(), 2);
  }
  return out;
}

}  // namespace hatchd::worker
