// A family: one metric with all its series, told apart by the values of its labels. Plain memory, used by the event loop
// alone. Label values come from outside (hatches, targets, queues), so their number has a bound: what would go beyond it
// is counted in one series whose labels all say "other".
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hatchd::metrics {

inline constexpr std::size_t max_series = 4096;
inline constexpr std::size_t max_label = 200;  // bytes of a label's value

using Labels = std::vector<std::string>;

// Orders texts of either kind, so that a series can be found by views.
struct LabelsLess {
  using is_transparent = void;
  template <class One, class Other>
  bool operator()(const One& one, const Other& other) const {
    return std::lexicographical_compare(one.begin(), one.end(), other.begin(), other.end());
  }
};

enum class Type { counter, gauge, histogram };

// How a metric is called and described; `labels` in the order of their values.
struct About {
  std::string_view name;  // as its samples are called: with "_total" where it counts
  Type type;
  std::string_view help;
  std::vector<std::string_view> labels;
};

template <class Value>
class Family {
 public:
  explicit Family(About about) : about_(std::move(about)) {}

  const About& about() const { return about_; }
  const std::map<Labels, Value, LabelsLess>& series() const { return series_; }

  // The series of these values if there is one. Copies nothing: for what every request counts.
  Value* find(std::initializer_list<std::string_view> values) {
    const auto found = series_.find(values);
    return found == series_.end() ? nullptr : &found->second;
  }
  // The series of these values; made at 0 when it is new.
  Value& at(Labels values) {
    for (std::string& value : values)
      if (value.size() > max_label) value.resize(cut(value));
    if (const auto found = series_.find(values); found != series_.end()) return found->second;
    if (series_.size() < max_series) return series_[std::move(values)];
    return series_[Labels(about_.labels.size(), "other")];
  }
  // The series is known: it stands at 0 until something happens. Without effect when there is no room.
  void know(const Labels& values) {
    if (series_.size() < max_series) at(values);
  }
  void clear() { series_.clear(); }

 private:
  // Not inside a code point.
  static std::size_t cut(const std::string& value) {
    std::size_t at = max_label;
    while (at > 0 && (value[at] & 0xC0) == 0x80) --at;
    return at;
  }

  About about_;
  std::map<Labels, Value, LabelsLess> series_;
};

class Histogram {
 public:
  static constexpr std::size_t buckets = 14;
  // Upper bounds in seconds and as they are written: from a pause that nobody notices to the longest of runs.
  static constexpr std::array<double, buckets> bounds{0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                      0.25,   0.5,   1,     2.5,  10,    30,   120};
  static constexpr std::array<std::string_view, buckets> bound_texts{
      "0.0001", "0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "10.0", "30.0", "120.0"};

  void observe(double seconds);
  std::uint64_t count() const { return count_; }
  double sum() const { return sum_; }
  // How many were at most bounds[i].
  std::uint64_t at_most(std::size_t i) const;

 private:
  std::array<std::uint64_t, buckets> counts_{};
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

using Counters = Family<std::uint64_t>;
using Reals = Family<double>;  // gauges, and what counts seconds
using Histograms = Family<Histogram>;

}  // namespace hatchd::metrics
