// Masks JSON text as it is read: nothing is kept but where we are.
//
// SPDX-License-Identifier: MIT
#include "hatch/json.hpp"

#include <algorithm>

#include "hatch/hatch.hpp"
#include "hatch/mask.hpp"
#include "names.hpp"

namespace hatch {
namespace {

constexpr std::size_t max_depth = 1024;

class JsonScan {
 public:
  JsonScan(const Mask& mask, std::string_view in) : mask_(mask), in_(in) { out_.reserve(in.size()); }

  // False: this is no JSON.
  bool run() {
    while (at_ < in_.size()) {
      switch (const char c = in_[at_]) {
        case '"':
          if (!string()) return false;
          break;
        case '{':
        case '[':
          if (levels_.size() >= max_depth) return false;
          levels_.push_back({c == '{', c == '{', all_below(), c == '[' ? std::string(name()) : std::string(), {}});
          take();
          break;
        case '}':
        case ']':
          if (levels_.empty()) return false;
          levels_.pop_back();
          take();
          break;
        case ',':
          if (!levels_.empty()) levels_.back().name_next = levels_.back().object;
          take();
          break;
        case ':':
        case ' ':
        case '\n':
        case '\r':
        case '\t': take(); break;
        default: number_or_word();
      }
    }
    return levels_.empty();
  }
  std::string result() { return std::move(out_); }

 private:
  struct Level {
    bool object, name_next;
    bool all_secret;   // "credentials": {…}: whatever is in it
    std::string name;  // of the member; the elements of a list have the list's
    std::string told;  // {"name": "DB_PASSWORD", "value": …}: the value's real name
  };

  void take() { out_ += in_[at_++]; }

  // Of the value that comes.
  std::string_view name() const {
    if (levels_.empty()) return {};
    const Level& level = levels_.back();
    return !level.told.empty() && (level.name == "value" || level.name == "Value") ? level.told : level.name;
  }
  bool all_secret() const { return !levels_.empty() && levels_.back().all_secret; }
  bool all_below() const {
    return all_secret() || (masking::says(name()) == masking::Says::everything && mask_.secret_name(name()));
  }

  bool string() {
    const std::size_t begin = at_;
    std::string text;
    if (!read_quoted(in_, at_, text)) return false;
    const std::string_view raw = in_.substr(begin, at_ - begin);
    if (!levels_.empty() && levels_.back().name_next) {
      levels_.back().name_next = false;
      levels_.back().name = text;
      return emit(raw, text, mask_.text(text));
    }
    if (all_secret() && !masking::is_harmless(masking::Says::everything, {}, text))
      return emit(raw, text, std::string(Mask::stars));
    const std::string masked = mask_.value(name(), text);
    if (!levels_.empty() && (levels_.back().name == "name" || levels_.back().name == "key")) levels_.back().told = text;
    return emit(raw, text, masked);
  }

  // As it was written where nothing was masked, so that the same text stays the same text.
  bool emit(std::string_view raw, const std::string& text, const std::string& masked) {
    if (masked == text)
      out_ += raw;
    else
      append_quoted(out_, masked);
    return true;
  }

  // A number below a secret name is masked, unless it counts tokens; true, false and null say only whether it is set.
  void number_or_word() {
    const std::size_t begin = at_++;
    constexpr std::string_view ends = ",]} \n\r\t\"{[:";
    while (at_ < in_.size() && ends.find(in_[at_]) == ends.npos) ++at_;
    const std::string_view raw = in_.substr(begin, at_ - begin);
    const bool number = raw[0] == '-' || (raw[0] >= '0' && raw[0] <= '9');
    if (number && (all_secret() || mask_.value(name(), raw) == Mask::stars))
      append_quoted(out_, Mask::stars);
    else
      out_ += raw;
  }

  const Mask& mask_;
  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
  std::vector<Level> levels_;
};

}  // namespace

std::string Mask::json(std::string_view json) const {
  JsonScan scan(*this, json);
  return scan.run() ? scan.result() : text(json);
}

MaskRules mask_rules_of(std::string_view json) {
  MaskRules rules;
  std::vector<std::string>* list = nullptr;
  unsigned depth = 0;
  for (std::size_t at = 0; at < json.size();) {
    const char c = json[at];
    if (c != '"') {
      depth += c == '[' || c == '{';
      depth -= (c == ']' || c == '}') && depth > 0;
      ++at;
      continue;
    }
    std::string text;
    if (!read_quoted(json, at, text)) break;
    if (depth == 1)
      list = text == "keys"       ? &rules.keys
             : text == "patterns" ? &rules.patterns
             : text == "allow"    ? &rules.allow
                                  : nullptr;
    else if (depth == 2 && list != nullptr)
      list->push_back(std::move(text));
  }
  return rules;
}

}  // namespace hatch
