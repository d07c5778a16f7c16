// One pass over the text. Whatever looks ahead is either bounded or consumed by what it finds, so that the pass stays
// linear whoever wrote the text.
//
// SPDX-License-Identifier: MIT
#include "hatch/mask.hpp"

#include <algorithm>

#include "again.hpp"
#include "hatch/hatch.hpp"
#include "names.hpp"
#include "shapes.hpp"

namespace hatch {

using masking::Says;

namespace {

constexpr std::size_t max_name = 128;
constexpr std::size_t max_judged = 256;
constexpr std::size_t max_word_of_rules = 4096;
constexpr std::size_t min_line = 16, max_line = 1024;  // of lines that are looked for again

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_line_end(char c) { return c == '\n' || c == '\r'; }
bool is_quote(char c) { return c == '"' || c == '\'' || c == '`'; }
bool is_name_byte(char c) { return masking::is_word_byte(c) || c == '-' || c == '.'; }
bool ends_word(char c) { return is_blank(c) || is_line_end(c) || is_quote(c) || c == '\\' || c == '<' || c == '>'; }

bool matches(const std::vector<std::string>& globs, std::string_view text) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) { return masking::glob(glob, text); });
}

}  // namespace

class MaskScan {
 public:
  MaskScan(const MaskRules& rules, std::string_view in) : rules_(rules), in_(in) {}

  std::string run() {
    if (in_.size() >= masking::long_text) lines_.resize(1024);
    while (at_ < in_.size()) {
      if (!lines_.empty() && at_ >= run_end_ && (at_ == 0 || in_[at_ - 1] == '\n') && known_line()) continue;
      switch (const char c = in_[at_]) {
        case '=':
        case ':':
          if (c == ':' && in_.substr(at_).starts_with("://"))
            url();
          else
            pair();
          break;
        case '-':
          if (in_.substr(at_).starts_with("-----BEGIN "))
            pem();
          else
            other();
          break;
        case '$':
          if (const std::size_t size = masking::crypt_hash_at(in_.substr(at_)))
            replace(at_, at_ + size);
          else
            ++at_;
          break;
        default: other();
      }
    }
    out_ += in_.substr(done_);
    return std::move(out_);
  }

  static Says judge(const MaskRules& rules, std::string_view name) {
    if (name.empty() || matches(rules.allow, name)) return Says::nothing;
    const Says says = masking::says(name);
    return says < Says::secret && matches(rules.keys, name) ? Says::secret : says;
  }

  static bool is_secret_value(Says says, std::string_view name, std::string_view value) {
    if (says == Says::nothing || masking::is_harmless(says, name, value)) return false;
    return says != Says::maybe || masking::may_be_random(value);
  }

 private:
  bool is(std::size_t at, char c) const { return at < in_.size() && in_[at] == c; }

  // At the begin of a line: one in which nothing was masked before is not read again. Texts repeat themselves, and what
  // a line becomes depends on nothing around it but where one of these begins.
  static bool stands_alone(std::string_view line) {
    return line.find("-----BEGIN ") == line.npos && line.find("://") == line.npos && line[line.size() - 2] != '\\';
  }
  bool known_line() {
    if (line_.size() > 0 && line_.data() + line_.size() == in_.data() + at_ && line_done_ == done_ &&
        stands_alone(line_))
      lines_[line_slot_] = line_;
    line_ = {};
    const std::string_view rest = in_.substr(at_, max_line);
    const std::size_t size = rest.find('\n') + 1;  // npos + 1 is 0
    if (size < min_line) return false;
    const std::string_view line = rest.substr(0, size);
    line_slot_ = masking::hash_of(line) % lines_.size();
    if (lines_[line_slot_] == line) {
      at_ += size;
      return true;
    }
    line_ = line;
    line_done_ = done_;
    return false;
  }

  void replace(std::size_t begin, std::size_t end) {
    out_ += in_.substr(done_, begin - done_);
    out_ += Mask::stars;
    done_ = at_ = end;
  }

  // A byte that begins nothing, or the begin of a word.
  void other() {
    // "\nghp_…" with the backslash in the text: the n belongs to it.
    const char c = in_[at_];
    if (at_ > 0 && in_[at_ - 1] == '\\' && (c == 'n' || c == 't' || c == 'r')) {
      run_end_ = ++at_;
      if (at_ < in_.size() && masking::is_word_byte(in_[at_])) word(true);
      return;
    }
    word(at_ == 0 || !masking::is_word_byte(in_[at_ - 1]));
  }

  void word(bool begins) {
    const std::string_view rest = in_.substr(at_);
    begins = begins && masking::is_word_byte(rest[0]);
    if (begins) {
      const std::size_t size = masking::token_at(rest, at_ > 0 ? in_[at_ - 1] : ' ');
      if (size > 0 && !stays(rest.substr(0, size))) return replace(at_, at_ + size);
    }
    if (at_ >= run_end_) {
      const std::size_t size = masking::run_at(rest);
      run_end_ = at_ + size;
      if (size > 0 && whole_run(size)) return;
    }
    if (!begins) {
      ++at_;
      return;
    }
    if (rest.starts_with("Bearer ") || rest.starts_with("bearer ")) {
      const std::size_t begin = at_ + 7;
      const std::size_t size = masking::run_at(in_.substr(begin));
      if (masking::may_be_random(in_.substr(begin, size))) return replace(begin, begin + size);
    }
    while (at_ < in_.size() && masking::is_word_byte(in_[at_])) ++at_;
  }

  bool stays(std::string_view word) const {
    return !rules_.allow.empty() && word.size() <= max_word_of_rules && matches(rules_.allow, word);
  }

  // The longest word there is at this place, asked once.
  bool whole_run(std::size_t size) {
    std::string_view run = in_.substr(at_, size);
    if (!rules_.patterns.empty() && size <= max_word_of_rules && matches(rules_.patterns, run))
      return replace(at_, at_ + size), true;
    if (!masking::is_random(run) || stays(run)) return false;
    // Digests in base64 that say what they are: "sha256-…", "SHA256:…", "sha-256=:…:", Go's "h1:…".
    for (const std::string_view digest : {"sha1-", "sha256-", "sha384-", "sha512-"})
      if (run.starts_with(digest)) return false;
    const std::string_view before = in_.substr(at_ > 9 ? at_ - 9 : 0, std::min<std::size_t>(at_, 9));
    for (const std::string_view digest : {"SHA256:", "sha256:", "sha512:", "MD5:", "-256=:", "-512=:", "h1:"})
      if (before.ends_with(digest)) return false;
    return replace(at_, at_ + size), true;
  }

  // -----BEGIN … PRIVATE KEY----- to its end. What is between the lines of a certificate is random and public.
  void pem() {
    const std::size_t label = at_ + 11;
    const std::size_t dashes = in_.substr(label, 64).find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ");
    if (dashes == in_.npos || !in_.substr(label + dashes).starts_with("-----")) {
      at_ += 5;
      return;
    }
    const std::size_t begin = label + dashes + 5;
    if (in_.substr(label, dashes).find("PRIVATE KEY") == in_.npos) {
      // Public only if it ends as it should: else it may be anything that begins with such letters.
      std::size_t end = begin;
      while (end < in_.size() &&
             (masking::is_base64_digit(in_[end]) || in_[end] == '=' || is_line_end(in_[end]) || in_[end] == '\\'))
        ++end;
      at_ = in_.substr(end).starts_with("-----END ") ? end : begin;
      run_end_ = at_;
      return;
    }
    const std::size_t end = std::min(in_.find("-----END ", begin), in_.size());
    replace(begin, end);
    at_ = std::min(end + 9, in_.size());
    run_end_ = at_;
  }

  // At "://". scheme://user:password@host, and web hooks.
  void url() {
    const std::size_t begin = at_ + 3;
    at_ = begin;
    if (begin >= in_.size() || in_[begin] == '[') return;
    const auto stops = [&](std::size_t i) { return ends_word(in_[i]) && in_[i] != '\\'; };
    std::size_t end = begin, sign = in_.npos;  // of what is before the path, and its last @
    for (; end < in_.size() && !stops(end) && in_[end] != '/' && in_[end] != '?' && in_[end] != '#'; ++end)
      if (in_[end] == '@') sign = end;
    const std::size_t colon = in_.substr(begin, end - begin).find(':');
    if (sign == in_.npos && colon != in_.npos) {
      // A password may hold a raw slash; then what is behind the colon is no port.
      const std::size_t behind = begin + colon + 1;
      const bool port =
          colon > 0 && behind < end && in_.substr(behind, end - behind).find_first_not_of("0123456789") == in_.npos;
      for (std::size_t i = end; !port && i < in_.size() && !stops(i) && !in_.substr(i).starts_with("://"); ++i)
        if (in_[i] == '@') sign = i;
    }
    if (sign != in_.npos) {
      std::size_t secret = begin;
      if (colon != in_.npos && begin + colon < sign)
        secret = begin + colon + 1;
      else if (!masking::may_be_random(in_.substr(begin, sign - begin)))
        secret = sign;  // a name alone
      const std::string_view password = in_.substr(secret, sign - secret);
      if (!masking::is_harmless(Says::secret, {}, password) && !stays(password)) replace(secret, sign);
      at_ = sign;
    } else if (const std::size_t path = masking::hook_path_in(in_.substr(begin, 256))) {
      std::size_t last = begin + path;
      while (last < in_.size() && !ends_word(in_[last]) && in_[last] != '?' && in_[last] != '#') ++last;
      if (last > begin + path) replace(begin + path, last);
    }
  }

  // At '=' or ':'. The name is behind us: "name=", "name: ", "\"name\": ", "[name]=".
  void pair() {
    const std::size_t sign = at_++;
    const char c = in_[sign];
    if (is(at_, c)) {  // "==", "::"
      while (is(at_, c)) ++at_;
      return;
    }
    if (c == '=' && is(at_, '~')) return;
    std::size_t end = sign;
    while (end > 0 && sign - end < 3 && is_blank(in_[end - 1])) --end;
    const bool spaced = end < sign;
    if (end > 0 && is_quote(in_[end - 1])) {
      --end;
      if (end > 0 && in_[end - 1] == '\\') --end;
    } else if (end > 0 && in_[end - 1] == ']') {
      --end;
    }
    std::size_t begin = end;
    while (begin > 0 && end - begin < max_name && is_name_byte(in_[begin - 1])) --begin;
    const std::string_view name = in_.substr(begin, end - begin);
    const Says says = judge(rules_, name);
    if (says == Says::nothing) return;
    const bool in_query = begin > 0 && (in_[begin - 1] == '?' || in_[begin - 1] == '&');

    std::size_t value = at_;
    if (c == '=' && is(value, '>')) ++value;  // Ruby's and PHP's arrow
    const std::size_t gap = value;
    while (value < in_.size() && is_blank(in_[value]) && value - gap < 8) ++value;
    if (c == ':' && in_query) return;
    if (value >= in_.size() || is_line_end(in_[value])) return;

    if (masking::is_secret_header(name) && c == ':') return header(name, begin, value);
    if (value > gap && !spaced && parameter_at(value)) return;  // "name= other=…" is empty
    bool escaped = is(value, '\\') && value + 1 < in_.size() && is_quote(in_[value + 1]);
    if (escaped) ++value;
    if (is_quote(in_[value])) return quoted(says, name, value + 1, in_[value], escaped);
    if (in_[value] == '{') return;
    if (in_[value] == '[') return list(says, value);
    plain(says, name, value, in_query, c == ':');
  }

  void header(std::string_view name, std::size_t begin, std::size_t value) {
    // Within quotes, as in curl -H 'Cookie: …', it ends there.
    const char quote = begin > 0 && is_quote(in_[begin - 1]) ? in_[begin - 1] : '\n';
    if (is_quote(in_[value])) ++value;
    std::size_t end = value;
    while (end < in_.size() && !is_line_end(in_[end]) && in_[end] != quote && !is_quote(in_[end]) && in_[end] != '\\')
      ++end;
    if (masking::has_scheme(name)) {
      std::size_t scheme = value;
      while (scheme < end && is_name_byte(in_[scheme])) ++scheme;
      if (scheme < end && in_[scheme] == ' ' && scheme - value <= 24) value = scheme + 1;
    }
    if (end > value && !masking::is_harmless(Says::secret, {}, in_.substr(value, end - value))) replace(value, end);
  }

  void quoted(Says says, std::string_view name, std::size_t begin, char quote, bool escaped) {
    std::size_t end = begin;
    while (end < in_.size() && !is_line_end(in_[end])) {
      if (in_[end] == '\\' && !(escaped && is(end + 1, quote))) {
        end += 2;
        continue;
      }
      if (in_[end] == '\\' || in_[end] == quote) break;
      ++end;
    }
    end = std::min(end, in_.size());
    if (is_secret_value(says, name, in_.substr(begin, end - begin))) replace(begin, end);
  }

  void list(Says says, std::size_t begin) {
    if (says < Says::token) return;
    std::size_t end = begin + 1;
    while (end < in_.size() && !is_line_end(in_[end]) && in_[end] != ']' && in_[end] != '{' && in_[end] != '[') ++end;
    if (is(end, ']') && in_.substr(begin + 1, end - begin - 1).find_first_not_of("0123456789., *") != in_.npos)
      replace(begin + 1, end);
    else
      at_ = begin + 1;
  }

  // Does a further parameter follow, "&name=", "; name=", ", name:"? Then the separator ends the value.
  bool parameter_follows(std::size_t at) const {
    const std::size_t limit = std::min(in_.size(), ++at + 8);
    while (at < limit && is_blank(in_[at])) ++at;
    return at >= in_.size() || is_line_end(in_[at]) || is_quote(in_[at]) || parameter_at(at);
  }
  bool parameter_at(std::size_t at) const {
    std::size_t end = at;
    while (end < in_.size() && end - at < 64 && (is_name_byte(in_[end]) || in_[end] == '[' || in_[end] == ']')) ++end;
    return end > at && (is(end, '=') || is(end, ':'));
  }

  // Where a value without quotes ends; not behind `limit`.
  std::size_t end_of_plain(std::size_t begin, std::size_t limit, bool in_query) const {
    std::size_t end = begin;
    bool opened = false;
    for (; end < limit && !ends_word(in_[end]); ++end) {
      const char c = in_[end];
      opened = opened || c == '(' || c == '[' || c == '{';
      if (c == '|' || ((c == '&' || c == '#') && in_query)) break;
      const bool last = end + 1 >= in_.size() || ends_word(in_[end + 1]);
      if ((c == ',' || c == ';') && (last || parameter_follows(end))) break;
      if (c == '&' && parameter_follows(end)) break;
      if (!opened && (c == ')' || c == ']' || c == '}') && (last || in_[end + 1] == ',' || in_[end + 1] == ')')) break;
    }
    return end;
  }

  void plain(Says says, std::string_view name, std::size_t begin, bool in_query, bool colon) {
    // The begin of a long value is enough to judge it; what stays is read again, and must not be read to its end.
    const std::size_t end = end_of_plain(begin, std::min(in_.size(), begin + max_judged), in_query);
    const std::string_view value = in_.substr(begin, end - begin);
    // "Unexpected token: end": prose, unless it looks like one.
    if (says == Says::token && colon && !masking::may_be_random(value) &&
        (value.size() < 8 || value.find_first_of("0123456789") == value.npos))
      return;
    if (is_secret_value(says, name, value)) replace(begin, end_of_plain(begin, in_.size(), in_query));
  }

  const MaskRules& rules_;
  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0, done_ = 0, run_end_ = 0;
  std::vector<std::string_view> lines_;  // in which nothing was masked
  std::string_view line_;                // that is being read, and may become one of them
  std::size_t line_slot_ = 0, line_done_ = 0;
};

bool Mask::secret_name(std::string_view name) const { return MaskScan::judge(rules_, name) >= Says::token; }

std::string Mask::text(std::string_view text) const {
  return masking::mask_again(text, [&](std::string_view once) { return MaskScan(rules_, once).run(); });
}

std::string Mask::value(std::string_view name, std::string_view value) const {
  const Says says = MaskScan::judge(rules_, name);
  return MaskScan::is_secret_value(says, name, value) ? std::string(stars) : text(value);
}

Mask mask_of(const Run& run) {
  const auto* extension = static_cast<const MaskExtension*>(run.extension("mask/1"));
  if (extension == nullptr || extension->size < sizeof(MaskExtension)) return {};
  return Mask(mask_rules_of(detail::view(extension->rules(run.handle()))));
}

}  // namespace hatch
