// Text that comes from strangers, and text that must not reach them: bounds, control characters, secrets.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mail {

std::string lower(std::string_view text);
std::string_view trimmed(std::string_view text);
bool same_ignoring_case(std::string_view a, std::string_view b);
// ASCII without control characters.
bool is_printable_ascii(std::string_view text);

std::string base64(std::string_view bytes);
// nullopt-like: `ok` is false when the text is no base64.
std::string from_base64(std::string_view text, bool& ok);

// At most `max` bytes of it, and " …" where something was left out.
std::string bounded(std::string_view text, std::size_t max);

// Takes secrets out of text that the other side wrote: it may repeat what it was sent, as it is, in base64 or in
// percent encoding. What comes out is safe for a terminal and bounded.
class Masker {
 public:
  // An empty secret is none.
  void add(std::string_view secret);
  std::string operator()(std::string_view text, std::size_t max = 1000) const;

 private:
  void add_form(std::string form);
  std::vector<std::string> forms_;  // the longest first
};

}  // namespace mail
