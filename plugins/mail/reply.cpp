#include "mail/reply.hpp"

#include <algorithm>
#include <charconv>
#include <regex>

#include "mail/text.hpp"

namespace mail {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "5.7.1" at the beginning of the text, when its class fits the code (RFC 2034); the number of bytes it takes.
std::size_t status_length(std::string_view text, int code) {
  std::size_t at = 0;
  for (int part = 0; part < 3; ++part) {
    const std::size_t begin = at;
    while (at < text.size() && is_digit(text[at]) && at - begin < 3) ++at;
    if (at == begin || (part == 0 && (at != 1 || text[0] - '0' != code / 100))) return 0;
    if (part < 2) {
      if (at >= text.size() || text[at] != '.') return 0;
      ++at;
    }
  }
  return at == text.size() || text[at] == ' ' ? at : 0;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) (out += out.empty() ? "" : " ") += line;
  return out;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all;
  while (!(text = trimmed(text)).empty()) {
    const std::size_t end = std::min(text.find_first_of(" \t"), text.size());
    all.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return all;
}

}  // namespace

std::string Reply::text() const { return joined(lines); }

std::string Reply::whole() const {
  std::string out = std::to_string(code);
  for (const std::string& part : {status, text()})
    if (!part.empty()) out += " " + part;
  return out;
}

std::optional<ReplyLine> parse_reply_line(std::string_view line) {
  if (line.size() < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) || !is_digit(line[2]))
    return std::nullopt;
  ReplyLine parsed;
  parsed.code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
  if (line.size() == 3) return parsed;
  if (line[3] != ' ' && line[3] != '-') return std::nullopt;
  parsed.last = line[3] == ' ';
  parsed.text = line.substr(4);
  return parsed;
}

bool add_line(Reply& reply, std::string_view line, bool& complete) {
  const auto parsed = parse_reply_line(line);
  if (!parsed || (reply.code != 0 && parsed->code != reply.code)) return false;
  reply.code = parsed->code;
  std::string_view text = parsed->text;
  if (const std::size_t size = status_length(text, parsed->code)) {
    if (reply.status.empty()) reply.status = text.substr(0, size);
    text = trimmed(text.substr(size));
  }
  reply.lines.emplace_back(text);
  complete = parsed->last;
  return true;
}

bool Capabilities::offers(std::string_view mechanism) const {
  return std::any_of(mechanisms.begin(), mechanisms.end(),
                     [&](const std::string& one) { return same_ignoring_case(one, mechanism); });
}

Capabilities capabilities_of(const Reply& ehlo) {
  Capabilities all;
  for (std::size_t i = 0; i < ehlo.lines.size(); ++i) {
    const std::string& line = ehlo.lines[i];
    if (i == 0) {
      all.greeting = line;
      continue;
    }
    all.lines.push_back(line);
    // "AUTH=PLAIN" is how servers of the last century wrote it.
    std::string spaced = line;
    if (lower(spaced).starts_with("auth=")) spaced[4] = ' ';
    std::vector<std::string> part = words(spaced);
    if (part.empty()) continue;
    const std::string keyword = lower(part[0]);
    if (keyword == "starttls") all.starttls = true;
    if (keyword == "pipelining") all.pipelining = true;
    if (keyword == "smtputf8") all.smtputf8 = true;
    if (keyword == "size") {
      all.size = true;
      if (part.size() > 1) std::from_chars(part[1].data(), part[1].data() + part[1].size(), all.max_size);
    }
    if (keyword == "auth")
      for (std::size_t k = 1; k < part.size(); ++k)
        if (!all.offers(part[k])) all.mechanisms.push_back(part[k]);
  }
  return all;
}

void prepare_replies() {
  queue_id_of({});
  wait_of({});
}

std::string queue_id_of(std::string_view reply) {
  static const std::regex forms[] = {
      std::regex(R"(queued as ([0-9A-Za-z]+))", std::regex::icase),                               // Postfix
      std::regex(R"(\bid=([0-9A-Za-z-]+))"),                                                      // Exim
      std::regex(R"(\bInternalId=([0-9]+))"),                                                     // Exchange
      std::regex(R"(\b([0-9A-Za-z]+) Message accepted for delivery)"),                            // Sendmail
      std::regex(R"(\bOK +[0-9]+ (\S+) - gsmtp)"),                                                // Gmail
      std::regex(R"(^(?:[0-9]{3} )?(?:[0-9.]+ )?Ok:? ([0-9A-Za-z-]{12,})$)", std::regex::icase),  // SES
  };
  const std::string text(reply.substr(0, 1000));
  std::smatch found;
  for (const std::regex& form : forms)
    if (std::regex_search(text, found, form)) return bounded(found[1].str(), 128);
  return {};
}

std::string wait_of(std::string_view reply) {
  static const std::regex form(
      R"((?:\bin|\bfor|\bafter|wait)[ :]+(?:about |at least )?([0-9]{1,6}) ?(seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b)",
      std::regex::icase);
  static const std::regex clock(R"((?:\bin|\bfor|\bafter|wait)[ :]+([0-9]{2}:[0-9]{2}:[0-9]{2})\b)", std::regex::icase);
  const std::string text(reply.substr(0, 1000));
  std::smatch found;
  if (std::regex_search(text, found, clock)) return found[1].str();
  if (!std::regex_search(text, found, form)) return {};
  const char unit = lower(found[2].str())[0];
  return found[1].str() + (unit == 's' ? " s" : unit == 'm' ? " min" : " h");
}

}  // namespace mail
