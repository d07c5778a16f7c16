// Masks JSON text as it is read: nothing is kept but where we are.
//
// SPDX-License-Identifier: MIT
#include "hatch/json.hpp"

#include <algorithm>

#include "again.hpp"
#include "hatch/hatch.hpp"
#include "hatch/mask.hpp"
#include "names.hpp"

namespace hatch {
namespace {

constexpr std::size_t max_depth = 1024;

// Lists and objects in which nothing was masked, so that they are not read again where they come again: a thousand
// threads of a pool show one stack. What becomes of one depends on its text, the name that the elements of a list have,
// and whether whatever is in it is secret.
class Known {
 public:
  static constexpr std::size_t min_size = 64, max_size = std::size_t{64} << 10;

  explicit Known(std::string_view in) : in_(in), places_(in.size() >= masking::long_text ? sets * ways : 0) {}

  // How long the container at `at` is; 0: not known.
  std::size_t size_at(std::size_t at, std::size_t depth, bool all_secret, std::string_view name) {
    const std::string_view rest = in_.substr(at);
    if (places_.empty() || rest.size() < min_size || wasted_ > 4 * in_.size()) return 0;
    const std::size_t set = set_of(rest);
    for (std::size_t i = set; i < set + ways; ++i) {
      const Place& place = places_[i];
      if (place.text.empty() || place.text.size() > rest.size() || place.depth < depth ||
          place.all_secret != all_secret || place.name != name)
        continue;
      const std::string_view here = rest.substr(0, place.text.size());
      if (here.substr(here.size() - min_size / 2) != place.text.substr(here.size() - min_size / 2)) continue;
      if (here == place.text) return here.size();
      wasted_ += here.size();  // so that the whole stays linear whoever wrote the text
    }
    return 0;
  }

  void add(std::string_view text, std::size_t depth, bool all_secret, const std::string& name) {
    if (places_.empty() || text.size() < min_size || text.size() > max_size) return;
    places_[set_of(text) + next_++ % ways] = {text, depth, all_secret, name};
  }

 private:
  static constexpr std::size_t sets = 256, ways = 4;
  struct Place {
    std::string_view text;
    std::size_t depth = 0;
    bool all_secret = false;
    std::string name;
  };
  static std::size_t set_of(std::string_view text) { return masking::hash_of(text.substr(0, min_size)) % sets * ways; }

  std::string_view in_;
  std::vector<Place> places_;
  std::size_t next_ = 0, wasted_ = 0;
};

class JsonScan {
 public:
  JsonScan(const Mask& mask, std::string_view in) : mask_(mask), in_(in), known_(in) { out_.reserve(in.size()); }

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
          open(c == '{');
          break;
        case '}':
        case ']':
          if (levels_.empty()) return false;
          take();
          close();
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
    std::size_t begin = 0, masked = 0;
  };

  void take() { out_ += in_[at_++]; }

  void open(bool object) {
    const bool secret = all_below();
    const std::string_view of_list = object ? std::string_view{} : name();
    if (const std::size_t size = known_.size_at(at_, levels_.size(), secret, of_list)) {
      out_ += in_.substr(at_, size);
      at_ += size;
      return;
    }
    levels_.push_back({object, object, secret, std::string(of_list), {}, at_, masked_});
    take();
  }
  void close() {
    const Level& level = levels_.back();
    if (level.masked == masked_)
      known_.add(in_.substr(level.begin, at_ - level.begin), levels_.size() - 1, level.all_secret,
                 level.object ? std::string() : level.name);
    levels_.pop_back();
  }

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
    if (masked == text) {
      out_ += raw;
    } else {
      append_quoted(out_, masked);
      ++masked_;
    }
    return true;
  }

  // A number below a secret name is masked, unless it counts tokens; true, false and null say only whether it is set.
  void number_or_word() {
    const std::size_t begin = at_++;
    constexpr std::string_view ends = ",]} \n\r\t\"{[:";
    while (at_ < in_.size() && ends.find(in_[at_]) == ends.npos) ++at_;
    const std::string_view raw = in_.substr(begin, at_ - begin);
    const bool number = raw[0] == '-' || (raw[0] >= '0' && raw[0] <= '9');
    if (number && (all_secret() || mask_.value(name(), raw) == Mask::stars)) {
      append_quoted(out_, Mask::stars);
      ++masked_;
    } else {
      out_ += raw;
    }
  }

  const Mask& mask_;
  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0, masked_ = 0;
  std::vector<Level> levels_;
  Known known_;
};

}  // namespace

std::string Mask::json(std::string_view json) const {
  return masking::mask_again(json, [&](std::string_view once) {
    JsonScan scan(*this, once);
    return scan.run() ? scan.result() : text(once);
  });
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
