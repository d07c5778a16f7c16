// Metrics as text, in the two forms that scrapers read: Prometheus' own (version 0.0.4) and OpenMetrics 1.0. They differ
// in how a counter's family is called, in escapes of descriptions, and in the last line.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "metrics/family.hpp"

namespace hatchd::metrics {

enum class Form { prometheus, openmetrics };

std::string_view media_type(Form form);

// Whether a series may be shown, by its labels.
using Shown = std::function<bool(const About&, const Labels&)>;

class Text {
 public:
  Text(Form form, Shown shown) : form_(form), shown_(std::move(shown)) {}

  void add(const Counters& family);
  void add(const Reals& family);
  void add(const Histograms& family);
  std::string finish();

 private:
  void head(const About& about);
  void sample(const About& about, std::string_view suffix, const Labels& values, std::string_view bound,
              std::string_view value);

  Form form_;
  Shown shown_;
  std::string out_;
};

}  // namespace hatchd::metrics
