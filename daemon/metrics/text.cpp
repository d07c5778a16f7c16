#include "metrics/text.hpp"

#include <charconv>

namespace hatchd::metrics {

namespace {

constexpr std::string_view total = "_total";

std::string number(double value) {
  char text[32];  // the shortest form that reads back as the same number
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return error == std::errc() ? std::string(text, end) : "NaN";
}

void escape(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out += c;
  }
}

}  // namespace

void Histogram::observe(double seconds) {
  ++count_;
  sum_ += seconds;
  for (std::size_t i = 0; i < buckets; ++i)
    if (seconds <= bounds[i]) {
      ++counts_[i];
      return;
    }
}

std::uint64_t Histogram::at_most(std::size_t i) const {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at <= i; ++at) sum += counts_[at];
  return sum;
}

std::string_view media_type(Form form) {
  return form == Form::openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                   : "text/plain; version=0.0.4; charset=utf-8";
}

void Text::head(const About& about) {
  std::string_view name = about.name;
  // OpenMetrics calls the family of x_total "x".
  if (form_ == Form::openmetrics && about.type == Type::counter) name.remove_suffix(total.size());
  ((out_ += "# HELP ") += name) += ' ';
  escape(out_, about.help, form_ == Form::openmetrics);
  ((out_ += "\n# TYPE ") += name) += about.type == Type::counter ? " counter\n"
                                     : about.type == Type::gauge ? " gauge\n"
                                                                 : " histogram\n";
}

void Text::sample(const About& about, std::string_view suffix, const Labels& values, std::string_view bound,
                  std::string_view value) {
  (out_ += about.name) += suffix;
  char before = '{';
  const auto label = [&](std::string_view name, std::string_view text) {
    ((out_ += before) += name) += "=\"";
    escape(out_, text, true);
    out_ += '"';
    before = ',';
  };
  for (std::size_t i = 0; i < about.labels.size(); ++i) label(about.labels[i], values[i]);
  if (!bound.empty()) label("le", bound);
  if (before == ',') out_ += '}';
  ((out_ += ' ') += value) += '\n';
}

void Text::add(const Counters& family) {
  head(family.about());
  for (const auto& [values, count] : family.series())
    if (shown_(family.about(), values)) sample(family.about(), "", values, "", std::to_string(count));
}

void Text::add(const Reals& family) {
  head(family.about());
  for (const auto& [values, value] : family.series())
    if (shown_(family.about(), values)) sample(family.about(), "", values, "", number(value));
}

void Text::add(const Histograms& family) {
  const About& about = family.about();
  head(about);
  for (const auto& [values, histogram] : family.series()) {
    if (!shown_(about, values)) continue;
    for (std::size_t i = 0; i < Histogram::buckets; ++i)
      sample(about, "_bucket", values, Histogram::bound_texts[i], std::to_string(histogram.at_most(i)));
    const std::string count = std::to_string(histogram.count());
    sample(about, "_bucket", values, "+Inf", count);
    sample(about, "_sum", values, "", number(histogram.sum()));
    sample(about, "_count", values, "", count);
  }
}

std::string Text::finish() {
  if (form_ == Form::openmetrics) out_ += "# EOF\n";
  return std::move(out_);
}

}  // namespace hatchd::metrics
