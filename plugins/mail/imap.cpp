// As much of IMAP (RFC 3501) as it takes to find one message: LOGIN, SELECT, SEARCH, FETCH of its header.
#include <algorithm>
#include <charconv>

#include "mail/arrival.hpp"
#include "mail/connection.hpp"
#include "mail/header.hpp"

namespace mail {
namespace {

constexpr std::size_t max_line = 16 * 1024, max_literal = 256 * 1024;
constexpr int max_lines = 2000;

struct Answer {
  std::string status, text;           // "OK", "NO", "BAD"
  std::vector<std::string> untagged;  // without "* "
  std::string literal;                // the last one
};

// A quoted string; the settings admit no line ends, and what is not ASCII goes as it is, which servers of today take.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\r' || c == '\n' || c == '\0')
      throw Stop{Cause::none, "the mailbox's user or password holds a character that cannot be sent"};
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

bool has_word(const std::vector<std::string>& lines, std::string_view word) {
  return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
    return (" " + lower(line) + " ").find(" " + std::string(word) + " ") != std::string::npos;
  });
}

class Imap final : public Mailbox {
 public:
  Imap(const ArrivalSettings& settings, const ResolverFiles& files, Millis step_timeout, const Fences& fences,
       const Masker& mask)
      : settings_(settings),
        files_(files),
        step_timeout_(step_timeout),
        fences_(fences),
        mask_(mask),
        connection_(fences) {}

  bool find(const std::string& run_id, std::string& head) override {
    if (!ready_) log_in();
    command("NOOP");
    const Answer found = command("UID SEARCH OR HEADER X-Hatchd-Run " + run_id + " SUBJECT " + run_id);
    for (const std::string& line : found.untagged) {
      std::string_view rest(line);
      if (!lower(rest.substr(0, 6)).starts_with("search")) continue;
      rest.remove_prefix(6);
      while (!(rest = trimmed(rest)).empty()) {
        unsigned long uid = 0;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), uid);
        if (error != std::errc{}) break;
        rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
        const Answer fetched = command("UID FETCH " + std::to_string(uid) + " BODY.PEEK[HEADER]");
        if (!is_of_run(fetched.literal, run_id)) continue;
        head = fetched.literal;
        uid_ = std::to_string(uid);
        return true;
      }
    }
    return false;
  }

  void remove() override {
    command("UID STORE " + uid_ + " +FLAGS.SILENT (\\Deleted)");
    // Without UIDPLUS an EXPUNGE would take away what others have marked.
    if (uidplus_) command("UID EXPUNGE " + uid_);
  }

 private:
  void log_in() {
    const Server& server = settings_.imap;
    Report quiet;
    quiet.mask = mask_;
    std::vector<Attempt> attempts;
    for (const std::string& address : addresses_of(server.host, "any", files_, fences_, quiet))
      attempts.push_back({address, server.port, 0, false, false, {}, {}});
    if (!connection_.connect(attempts, step_timeout_))
      throw Stop{Cause::none,
                 "the mailbox's server does not answer: " + server.host + " port " + std::to_string(server.port)};
    if (server.security == Security::implicit) encrypt(server);
    const std::string greeting = read_line(fences_.until(step_timeout_));
    if (!lower(greeting).starts_with("* ok")) throw Stop{Cause::none, "the mailbox's server greets with " + greeting};
    Answer can = command("CAPABILITY");
    const bool offered = has_word(can.untagged, "starttls");
    if (server.security == Security::starttls || (server.security == Security::automatic && offered)) {
      if (!offered) throw Stop{Cause::none, "the mailbox's server does not offer STARTTLS"};
      command("STARTTLS");
      if (!connection_.unread().empty())
        throw Stop{Cause::none, "the mailbox's server sent text behind its answer to STARTTLS"};
      encrypt(server);
      can = command("CAPABILITY");
    }
    if (!connection_.encrypted() && !server.cleartext_auth)
      throw Stop{Cause::none, "the connection to the mailbox is not encrypted, so no password is sent over it"};
    command("LOGIN " + quoted(server.user) + " " + quoted(server.password));
    can = command("CAPABILITY");
    uidplus_ = has_word(can.untagged, "uidplus");
    command((settings_.remove ? "SELECT " : "EXAMINE ") + quoted(settings_.mailbox));
    ready_ = true;
  }

  void encrypt(const Server& server) {
    TlsReport report;
    const Connection::Outcome outcome = connection_.start_tls(server, report, fences_.until(step_timeout_));
    if (outcome.status != Connection::Status::ok)
      throw Stop{Cause::none, "the TLS handshake with the mailbox's server failed: " + outcome.text};
    if (!report.verified && server.must_verify())
      throw Stop{Cause::none, "the certificate of the mailbox's server does not verify: " + report.error};
  }

  std::string read_line(Clock::time_point end) {
    std::string line;
    const Connection::Outcome outcome = connection_.read_line(line, max_line, end);
    if (outcome.status != Connection::Status::ok)
      throw Stop{Cause::none, "the mailbox's server does not answer as it should: " + outcome.text};
    return line;
  }

  // Sends one command and reads up to its tagged answer, which must be OK.
  Answer command(const std::string& text) {
    const Clock::time_point end = fences_.until(step_timeout_);
    const std::string tag = "h" + std::to_string(++tag_);
    if (connection_.write(tag + " " + text + "\r\n", end).status != Connection::Status::ok)
      throw Stop{Cause::none, "the mailbox's server closed the connection"};
    Answer answer;
    for (int i = 0; i < max_lines; ++i) {
      std::string line = read_line(end);
      // "{123}" at the end of a line: that many bytes follow, then the rest of the line.
      while (line.ends_with('}')) {
        const std::size_t open = line.rfind('{');
        std::size_t size = 0;
        if (open == std::string::npos ||
            std::from_chars(line.data() + open + 1, line.data() + line.size() - 1, size).ec != std::errc{})
          break;
        if (size > max_literal) throw Stop{Cause::none, "the mailbox's server sends more than it was asked for"};
        if (connection_.read_exactly(answer.literal, size, end).status != Connection::Status::ok)
          throw Stop{Cause::none, "the mailbox's server does not send what it announced"};
        line = line.substr(0, open) + read_line(end);
      }
      if (line.starts_with("* ")) {
        answer.untagged.push_back(line.substr(2));
      } else if (line.starts_with(tag + " ")) {
        const std::string_view rest = std::string_view(line).substr(tag.size() + 1);
        answer.status = rest.substr(0, rest.find(' '));
        answer.text = rest;
        if (!same_ignoring_case(answer.status, "OK"))
          throw Stop{Cause::none,
                     "the mailbox's server answered " + text.substr(0, text.find(' ')) + " with " + answer.text};
        return answer;
      }
    }
    throw Stop{Cause::none, "the mailbox's server answers without end"};
  }

  const ArrivalSettings& settings_;
  const ResolverFiles& files_;
  const Millis step_timeout_;
  const Fences fences_;
  const Masker& mask_;
  Connection connection_;
  bool ready_ = false, uidplus_ = false;
  unsigned tag_ = 0;
  std::string uid_;
};

}  // namespace

std::unique_ptr<Mailbox> open_imap(const ArrivalSettings& settings, const ResolverFiles& files, Millis step_timeout,
                                   const Fences& fences, const Masker& mask) {
  return std::make_unique<Imap>(settings, files, step_timeout, fences, mask);
}

}  // namespace mail
