#include "client/speech.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <vector>

namespace hatchd::client {

namespace {

// Turns of phrase that are no request.
constexpr std::array<std::array<std::string_view, 2>, 2> phrases{{
    {"-d reason='why' or the header Hatchd-Reason", "--reason 'why'"},
    {"present a token as \"Authorization: Bearer hatchd_...\"", "give a token with --token-file FILE"},
}};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  if (const std::size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// Split at blanks outside of single quotes; the quotes stay, so that what is joined again is what it was.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words{{}};
  bool quoted = false;
  for (const char c : text) {
    if (c == '\'') quoted = !quoted;
    if (c == ' ' && !quoted)
      words.emplace_back();
    else
      words.back() += c;
  }
  return words;
}

// Punctuation behind a request belongs to the sentence.
std::string cut_punctuation(std::string& word) {
  const std::size_t end = word.find_last_not_of(";,)") + 1;
  std::string tail = word.substr(end);
  word.resize(end);
  return tail;
}

// A GET of /v1 as its command; nullopt where there is none.
std::optional<std::string> command_for(const std::string& target) {
  constexpr std::string_view root = "/v1/";
  if (!target.starts_with(root)) return std::nullopt;
  const std::size_t question = std::min(target.find('?'), target.size());
  const std::string path = target.substr(root.size(), question - root.size());
  const std::size_t slash = path.find('/');
  const std::string group = path.substr(0, slash), one = slash == std::string::npos ? "" : path.substr(slash + 1);
  if (one.find('/') != std::string::npos) return std::nullopt;
  std::string command;
  if (group == "hatches")
    command = one.empty() ? "hatches" : "describe " + one;
  else if (group == "runs")
    command = one.empty() ? "runs" : "show " + one;
  else if (group == "targets" || (group == "audit" && one.empty()))
    command = one.empty() ? group : group + " " + one;
  else
    return std::nullopt;
  for (std::size_t at = question + 1; at < target.size();) {  // ?state=crashed&hatch=ID
    const std::size_t end = std::min(target.find('&', at), target.size()), equals = target.find('=', at);
    if (equals >= end) return std::nullopt;
    command += " --" + target.substr(at, equals - at) + " " + target.substr(equals + 1, end - equals - 1);
    at = end + 1;
  }
  return "hatchctl " + command;
}

// The words of a curl line from `at`, which is moved behind it.
std::string curl_as_command(const std::vector<std::string>& words, std::size_t& at) {
  const std::size_t begin = at;
  std::string socket, hatch, rest, tail;
  for (++at; at < words.size() && tail.empty(); ++at) {
    std::string word = words[at];
    tail = cut_punctuation(word);
    const bool takes_value = (word == "--unix-socket" || word == "-H" || word == "-X" || word == "-d") &&
                             at + 1 < words.size() && tail.empty();
    if (takes_value) {
      std::string value = words[++at];
      tail = cut_punctuation(value);
      if (word == "--unix-socket") socket = value;
      if (word == "-d" && value.starts_with("target="))
        rest += " -t " + value.substr(7);
      else if (word == "-d")
        rest += " " + value;
    } else if (word == "...") {
      rest += " ...";
    } else if (!word.starts_with('-') && word.find('/') != std::string::npos) {
      hatch = word.substr(word.rfind('/') + 1);
    } else if (!word.starts_with('-')) {
      break;  // the sentence goes on
    }
  }
  if (hatch.empty() && socket.empty()) {  // the word alone
    at = begin + 1;
    return "curl";
  }
  std::string command = "hatchctl";
  command += hatch.empty() ? " --socket " + socket : " run " + hatch;
  return command + rest + tail;
}

}  // namespace

std::string in_commands(std::string_view sentence) {
  std::string text(sentence);
  for (const auto& [from, to] : phrases) text = replaced(std::move(text), from, to);
  const std::vector<std::string> words = words_of(text);
  std::string out;
  bool first = true;
  for (std::size_t at = 0; at < words.size();) {
    std::string next;
    std::string bare = words[at];
    const std::string front = bare.starts_with('(') ? "(" : "";
    bare.erase(0, front.size());
    if (bare == "curl" && at + 1 < words.size()) {
      next = front + curl_as_command(words, at);
    } else if (bare == "GET" && at + 1 < words.size()) {
      std::string target = words[at + 1];
      const std::string tail = cut_punctuation(target);
      const auto command = command_for(target);
      next = front + (command ? *command + tail : "GET " + words[at + 1]);
      at += 2;
    } else {
      next = words[at++];
    }
    out += (first ? "" : " ") + next;
    first = false;
  }
  return out;
}

std::string with_commands(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
    const std::string_view words = line.substr(begin);
    const bool asks = words.starts_with("remedy: ") || words.starts_with("curl ");
    out += line.substr(0, begin);
    out += asks ? in_commands(words) : std::string(words);
    if (end < text.size()) out += '\n';
    at = end + 1;
  }
  return out;
}

}  // namespace hatchd::client
