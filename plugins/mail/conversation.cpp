#include "mail/conversation.hpp"

#include <unistd.h>

#include <algorithm>

#include "mail/address.hpp"
#include "mail/certificate.hpp"
#include "mail/connection.hpp"
#include "mail/message.hpp"
#include "mail/sasl.hpp"

namespace mail {
namespace {

constexpr Millis quit_patience{2'000}, probe_patience{3'000};
constexpr std::size_t max_attempts = 16;
constexpr int max_challenges = 6;

std::string own_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0 || !name[0]) return "localhost";
  // A greeting is a domain name or an address in brackets; anything else is refused by strict servers.
  const std::string_view text(name);
  const bool valid =
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == text.npos;
  return valid ? std::string(text) : "localhost";
}

// The first bytes of a TLS record, which a plain reader takes for a line.
bool looks_like_tls(std::string_view bytes) {
  return bytes.size() >= 2 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 0x03;
}

class Conversation {
 public:
  Conversation(const Settings& settings, const ResolverFiles& files, const Errand& errand, const Fences& fences,
               Report& report, void (*on_stage)(void*, Stage), void* context)
      : settings_(settings),
        files_(files),
        errand_(errand),
        fences_(fences),
        report_(report),
        on_stage_(on_stage),
        context_(context),
        connection_(fences) {}

  bool run() {
    try {
      begin(Stage::resolve);
      resolve();
      begin(Stage::connect);
      connect();
      if (settings_.server.security == Security::implicit) {
        begin(Stage::tls);
        encrypt("implicit");
      }
      begin(Stage::banner);
      banner();
      begin(Stage::ehlo);
      greet();
      if (wants_starttls()) {
        begin(Stage::tls);
        starttls();
        greet();
      }
      if (!settings_.server.user.empty() && settings_.server.auth != "none") {
        begin(Stage::auth);
        authenticate();
      }
      envelope();
      if (errand_.send)
        deliver();
      else
        reset();
      quit();
      count();
      return true;
    } catch (const Stop& stop) {
      report_.cause = stop.cause;
      report_.trouble = report_.mask(stop.detail);
      if (open_) quit();
      count();
      return false;
    }
  }

 private:
  // ---- steps

  void begin(Stage stage) {
    report_.stage = stage;
    if (on_stage_) on_stage_(context_, stage);
    if (Clock::now() >= fences_.deadline) throw Stop{Cause::out_of_time, "the time of the run was used up"};
  }

  // Does one thing, and writes down how long it took, whether it came to its end, and what `work` returns about it.
  template <class Work>
  void step(const std::string& name, Work work) {
    const Clock::time_point start = Clock::now();
    try {
      std::string detail = work();
      report_.steps.push_back({name, ms_since(start), true, report_.mask(detail)});
    } catch (const Stop& stop) {
      report_.steps.push_back({name, ms_since(start), false, report_.mask(stop.detail)});
      throw;
    }
  }

  void resolve() {
    step("resolve", [&] {
      const Server& server = settings_.server;
      const std::vector<std::string> hosts =
          server.mx ? exchangers_of(server.host, files_, fences_, report_) : std::vector<std::string>{server.host};
      // One exchanger without an address does not spoil the others.
      for (const std::string& host : hosts) {
        try {
          for (const std::string& address : addresses_of(host, settings_.addresses, files_, fences_, report_))
            if (report_.addresses.size() < max_attempts) {
              report_.addresses.push_back({address, server.port, 0, false, false, {}, {}});
              hosts_.push_back(host);
            }
        } catch (const Stop& stop) {
          if (&host == &hosts.back() && report_.addresses.empty()) throw;
          report_.note(Line::By::note, stop.detail);
        }
      }
      return std::to_string(report_.addresses.size()) + (report_.addresses.size() == 1 ? " address" : " addresses");
    });
  }

  void connect() {
    step("connect", [&] {
      // The exchangers of a domain are asked in their order; the addresses of one host all at once.
      std::size_t first = 0;
      while (first < report_.addresses.size()) {
        std::size_t end = first;
        while (end < hosts_.size() && hosts_[end] == hosts_[first]) ++end;
        std::vector<Attempt> group(report_.addresses.begin() + static_cast<std::ptrdiff_t>(first),
                                   report_.addresses.begin() + static_cast<std::ptrdiff_t>(end));
        const bool done = connection_.connect(group, settings_.connect_timeout);
        std::copy(group.begin(), group.end(), report_.addresses.begin() + static_cast<std::ptrdiff_t>(first));
        if (done) {
          host_ = hosts_[first];
          break;
        }
        first = end;
      }
      for (const Attempt& attempt : report_.addresses) {
        if (!attempt.ok && attempt.error.empty()) continue;  // not tried: an exchanger before it answered
        report_.note(Line::By::note, attempt.address + " port " + std::to_string(attempt.port) + ": " +
                                         (attempt.used ? "connected from " + attempt.local
                                          : attempt.ok ? "answers too"
                                                       : attempt.error));
      }
      if (host_.empty()) throw unreachable();
      for (const Attempt& attempt : report_.addresses)
        if (attempt.used) return attempt.address + " port " + std::to_string(attempt.port);
      return std::string{};
    });
  }

  Stop unreachable() const {
    bool refused = false, late = false;
    std::string text;
    for (const Attempt& attempt : report_.addresses) {
      refused = refused || attempt.error == "connection refused";
      late = late || attempt.error == "no answer in time" || attempt.error == "timed out";
      text +=
          (text.empty() ? "" : "; ") + attempt.address + " port " + std::to_string(attempt.port) + ": " + attempt.error;
    }
    return {refused ? Cause::connect_refused : late ? Cause::connect_timeout : Cause::unreachable, text};
  }

  void banner() {
    step("banner", [&] {
      Reply reply;
      try {
        reply = read_reply();
      } catch (const Stop& stop) {
        // Who says nothing may be waiting for a ClientHello: one look tells.
        if (stop.cause == Cause::timeout && !connection_.encrypted() && speaks_tls())
          throw Stop{Cause::speaks_tls, "the server says nothing in clear text, but answers a TLS handshake at once"};
        throw;
      }
      report_.banner = report_.mask(reply.text());
      open_ = true;
      expect(reply, reply.code == 220, "greeted with");
      return reply.whole();
    });
  }

  // A second connection, for nothing but a handshake.
  bool speaks_tls() {
    for (const Attempt& attempt : report_.addresses) {
      if (!attempt.used) continue;
      Connection probe(fences_);
      std::vector<Attempt> again{{attempt.address, attempt.port, 0, false, false, {}, {}}};
      if (!probe.connect(again, probe_patience)) return false;
      TlsReport ignored;
      Server server = settings_.server;
      server.ca.clear();
      return probe.start_tls(server, ignored, fences_.until(probe_patience)).status == Connection::Status::ok;
    }
    return false;
  }

  void greet() {
    const bool again = report_.before_tls.has_value();
    step(again ? "ehlo again" : "ehlo", [&] {
      const std::string name = settings_.helo.empty() ? own_name() : settings_.helo;
      report_.ehlo_name = name;
      command("EHLO " + name);
      Reply reply = read_reply();
      if (reply.code >= 500 && reply.code <= 502 && !again) {
        command("HELO " + name);
        reply = read_reply();
        expect(reply, reply.code == 250, "answered HELO with");
        report_.capabilities.emplace();
        return "HELO only: " + reply.whole();
      }
      expect(reply, reply.code == 250, "answered EHLO with");
      report_.capabilities = capabilities_of(reply);
      std::string offered;
      for (const std::string& line : report_.capabilities->lines) (offered += offered.empty() ? "" : ", ") += line;
      return offered;
    });
  }

  bool wants_starttls() const {
    if (settings_.server.security == Security::starttls) return true;
    return settings_.server.security == Security::automatic && report_.capabilities->starttls;
  }

  void starttls() {
    step("starttls", [&] {
      if (!report_.capabilities->starttls)
        throw Stop{Cause::no_starttls, "the server does not offer STARTTLS, and the settings ask for it"};
      command("STARTTLS");
      const Reply reply = read_reply();
      expect(reply, reply.code == 220, "answered STARTTLS with");
      // CVE-2011-0411 and its family: what came before the handshake could be taken for what comes after it.
      if (!connection_.unread().empty()) {
        report_.note(Line::By::server, connection_.unread());
        open_ = false;
        throw Stop{Cause::injected,
                   "text came behind the answer to STARTTLS and before encryption; somebody may be "
                   "writing into this connection"};
      }
      return reply.whole();
    });
    report_.before_tls = report_.capabilities;
    encrypt("starttls");
  }

  void encrypt(const char* mode) {
    step("tls", [&] {
      TlsReport& tls = report_.tls.emplace();
      tls.mode = mode;
      Server server = settings_.server;
      // A domain's exchanger shows a certificate for itself, not for the domain.
      if (server.mx && server.server_name.empty()) server.server_name = host_;
      report_.note(Line::By::note, "TLS handshake");
      const Connection::Outcome outcome = connection_.start_tls(server, tls, deadline());
      mask_certificates(tls);
      if (outcome.status != Connection::Status::ok) {
        open_ = false;
        if (outcome.unready) throw Stop{Cause::no_ca, outcome.text};
        if (outcome.wrong_version) throw Stop{Cause::speaks_plain, "the server answers a TLS handshake in clear text"};
        if (outcome.status == Connection::Status::timeout)
          throw Stop{Cause::timeout, "the TLS handshake did not end in time"};
        throw Stop{Cause::tls_failed, "the TLS handshake failed: " + outcome.text};
      }
      const std::string what = tls.version + ", " + tls.cipher;
      report_.note(Line::By::note,
                   what + (tls.verified ? ", certificate verified" : ", certificate not verified: " + tls.error));
      for (std::string& warning : warnings_of(tls, settings_.warn_before))
        report_.warnings.push_back(std::move(warning));
      if (!tls.verified && settings_.server.must_verify())
        throw Stop{Cause::unverified, "the certificate does not verify: " + tls.error};
      return what;
    });
  }

  void mask_certificates(TlsReport& tls) const {
    for (Certificate& certificate : tls.chain) {
      for (std::string* text : {&certificate.subject, &certificate.issuer}) *text = report_.mask(*text);
      for (std::string& name : certificate.names) name = report_.mask(name);
    }
    tls.error = report_.mask(tls.error);
    tls.trusted_root = report_.mask(tls.trusted_root);
    tls.matched_name = report_.mask(tls.matched_name);
  }

  void authenticate() {
    step("auth", [&] {
      const Server& server = settings_.server;
      if (!server.has_credentials())
        throw Stop{Cause::no_mechanism, "there is a user but neither a password nor a token"};
      if (!connection_.encrypted() && !server.cleartext_auth)
        throw Stop{Cause::clear_text, "the connection is not encrypted, so no password is sent over it"};
      std::string why;
      const auto mechanism = choose_mechanism(server, report_.capabilities->mechanisms, why);
      if (!mechanism) throw Stop{Cause::no_mechanism, why};
      report_.mechanism = mechanism->name();
      std::string response;
      std::string line = "AUTH " + mechanism->name();
      if (mechanism->initial(response)) line += " " + base64(response);
      keep_secret(response);
      send(line + "\r\n", "AUTH " + mechanism->name() + (response.empty() ? "" : " ******"));
      Reply reply = read_reply(mechanism.get());
      for (int round = 0; reply.code == 334; ++round) {
        bool ok = false;
        const std::string challenge = from_base64(reply.text(), ok);
        if (round == max_challenges) throw Stop{Cause::endless, "the server asks again and again during AUTH"};
        if (mechanism->name() == "XOAUTH2" && ok) report_.note(Line::By::note, "the challenge says " + challenge);
        // A challenge that is no base64 is a prompt in clear text, which LOGIN and XOAUTH2 do not read.
        if (!mechanism->answer(ok ? challenge : std::string{}, response)) {
          send("*\r\n", "*");
          read_reply();
          throw Stop{Cause::not_smtp, "the server's challenge cannot be answered: " + response};
        }
        keep_secret(response);
        send(base64(response) + "\r\n", response.empty() ? "(nothing)" : "******");
        reply = read_reply(mechanism.get());
      }
      // RFC 4954: the server's proof may come with the reply itself.
      if (reply.code == 235 && !mechanism->complete()) {
        bool ok = false;
        const std::string proof = from_base64(reply.text(), ok);
        if (!ok || !mechanism->answer(proof, response))
          throw Stop{Cause::not_smtp, "the server accepts the password without proving that it knows it"};
        reply.lines = {"******"};
      }
      expect(reply, reply.code == 235, "answered AUTH with");
      return mechanism->name() + ": " + reply.whole();
    });
  }

  // A server may repeat what it was sent.
  void keep_secret(const std::string& response) const {
    if (response != settings_.server.user) report_.mask.add(response);
  }

  // ---- the message

  std::string mail_command() const {
    const Capabilities& can = *report_.capabilities;
    std::string line = "MAIL FROM:<" + errand_.sender + ">";
    if (can.size) line += " SIZE=" + std::to_string(errand_.message.size());
    if (needs_utf8()) line += " SMTPUTF8";
    return line;
  }

  bool needs_utf8() const {
    return !is_ascii(errand_.sender) ||
           std::any_of(errand_.to.begin(), errand_.to.end(), [](const std::string& to) { return !is_ascii(to); });
  }

  void envelope() {
    begin(Stage::mail);
    const Capabilities& can = *report_.capabilities;
    if (can.max_size != 0 && errand_.message.size() > can.max_size)
      throw Stop{Cause::too_large, "the server takes messages of up to " + std::to_string(can.max_size) +
                                       " bytes, this one has " + std::to_string(errand_.message.size())};
    if (needs_utf8() && !can.smtputf8)
      throw Stop{Cause::needs_utf8, "an address is not ASCII, and the server does not offer SMTPUTF8"};
    std::vector<std::string> commands{mail_command()};
    for (const std::string& to : errand_.to) commands.push_back("RCPT TO:<" + to + ">");
    // RFC 2920: one packet for all where the server takes it; the answers come in order either way.
    if (can.pipelining) {
      std::string all;
      for (const std::string& one : commands) {
        all += one + "\r\n";
        report_.note(Line::By::client, one);
      }
      write(all);
    }
    step("mail", [&] {
      if (!can.pipelining) command(commands[0]);
      const Reply reply = read_reply();
      expect(reply, reply.code == 250, "answered MAIL with");
      return reply.whole();
    });
    begin(Stage::rcpt);
    for (std::size_t i = 0; i < errand_.to.size(); ++i) recipient(errand_.to[i], can.pipelining ? "" : commands[i + 1]);
    if (report_.accepted.empty()) {
      const Refusal& first = report_.refused.front();
      report_.last = Reply{first.code, first.status, {first.text}};
      throw Stop{Cause::reply,
                 (report_.refused.size() == 1 ? "the server refused " : "the server refused every recipient, first ") +
                     first.address + ": " + report_.last->whole()};
    }
  }

  // A refused recipient is an outcome of its own, not the end.
  void recipient(const std::string& to, const std::string& line) {
    const Clock::time_point start = Clock::now();
    if (!line.empty()) command(line);
    Reply reply;
    try {
      reply = read_reply();
    } catch (const Stop& stop) {
      report_.steps.push_back({"rcpt", ms_since(start), false, report_.mask(to + ": " + stop.detail)});
      throw;
    }
    const bool taken = reply.code == 250 || reply.code == 251;
    if (reply.code == 421) open_ = false;
    if (taken)
      report_.accepted.push_back(to);
    else
      report_.refused.push_back({to, reply.code, reply.status, report_.mask(reply.text())});
    report_.reply = report_.mask(reply.whole());
    report_.steps.push_back({"rcpt", ms_since(start), taken, report_.mask(to + ": " + reply.whole())});
  }

  void deliver() {
    begin(Stage::data);
    step("data", [&] {
      command("DATA");
      const Reply reply = read_reply();
      expect(reply, reply.code == 354, "answered DATA with");
      return reply.whole();
    });
    step("message", [&] {
      const std::string body = stuffed(errand_.message);
      write(body);
      report_.note(Line::By::client, "(the message, " + std::to_string(body.size()) + " bytes)");
      open_ = false;  // until the server has said what became of it, nothing else may be said
      const Reply reply = read_reply();
      open_ = true;
      expect(reply, reply.positive(), "answered the message with");
      report_.queue_id = report_.mask(queue_id_of(reply.whole()), 128);
      return reply.whole();
    });
    report_.stage = Stage::accepted;
  }

  void reset() {
    step("rset", [&] {
      command("RSET");
      const Reply reply = read_reply();
      return reply.whole();
    });
  }

  // Politeness: whatever comes of it changes nothing.
  void quit() {
    const Clock::time_point start = Clock::now();
    open_ = false;
    const auto end = fences_.until(quit_patience);
    if (connection_.write("QUIT\r\n", end).status != Connection::Status::ok) return;
    report_.note(Line::By::client, "QUIT");
    std::string line;
    for (int i = 0; i < 10; ++i) {
      if (connection_.read_line(line, max_reply_line, end).status != Connection::Status::ok) return;
      report_.note(Line::By::server, line);
      const auto parsed = parse_reply_line(line);
      if (!parsed || parsed->last) break;
    }
    if (report_.cause == Cause::none) report_.steps.push_back({"quit", ms_since(start), true, report_.mask(line)});
  }

  // ---- words

  Clock::time_point deadline() const { return fences_.until(settings_.step_timeout); }

  void command(const std::string& line) {
    // Whatever was checked before: one command is one line.
    if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
      throw std::logic_error("a command of more than one line");
    send(line + "\r\n", line);
  }
  void send(std::string_view bytes, std::string_view shown) {
    write(bytes);
    report_.note(Line::By::client, shown);
  }
  void write(std::string_view bytes) {
    const Connection::Outcome outcome = connection_.write(bytes, deadline());
    if (outcome.status == Connection::Status::ok) return;
    open_ = false;
    if (outcome.status == Connection::Status::timeout)
      throw Stop{Cause::timeout, "the server does not read what it is sent"};
    throw Stop{Cause::closed, "the server closed the connection: " + outcome.text};
  }

  // One whole reply within one deadline: a server that sends a byte a second does not get longer.
  // During AUTH challenges and proofs stay out of sight: with them a password can be guessed offline.
  Reply read_reply(const Mechanism* auth = nullptr) {
    const Clock::time_point end = deadline();
    Reply reply;
    bool complete = false;
    while (!complete) {
      std::string line;
      const Connection::Outcome outcome = connection_.read_line(line, max_reply_line, end);
      if (outcome.status != Connection::Status::ok) {
        open_ = false;
        const std::string_view rest = connection_.unread().substr(0, 200);
        if (!rest.empty()) report_.note(Line::By::server, rest);
        if (looks_like_tls(rest)) throw Stop{Cause::speaks_tls, "the server answers with TLS"};
        switch (outcome.status) {
          case Connection::Status::timeout:
            throw Stop{
                Clock::now() >= fences_.deadline ? Cause::out_of_time : Cause::timeout,
                std::string("the server did not answer in time") + (rest.empty() ? "" : "; its answer is not whole")};
          case Connection::Status::closed:
            throw Stop{Cause::closed, "the server closed the connection in the middle of the conversation"};
          default:
            throw Stop{outcome.text.starts_with("a line") ? Cause::endless : Cause::closed,
                       "the server's answer cannot be read: " + outcome.text};
        }
      }
      const bool secret = auth && (line.starts_with("334") || (line.starts_with("235") && !auth->complete()));
      report_.note(Line::By::server, secret ? line.substr(0, 4) + "******" : line);
      if (!add_line(reply, line, complete)) {
        open_ = false;
        if (looks_like_tls(line)) throw Stop{Cause::speaks_tls, "the server answers with TLS"};
        throw Stop{Cause::not_smtp, "the server's answer is no SMTP: " + bounded(line, 200)};
      }
      if (reply.lines.size() >= max_reply_lines && !complete) {
        open_ = false;
        throw Stop{Cause::endless, "the server's answer has more than " + std::to_string(max_reply_lines) + " lines"};
      }
    }
    if (reply.code == 421) open_ = false;
    return reply;
  }

  void expect(const Reply& reply, bool fits, const char* what) {
    report_.reply = report_.mask(reply.whole());
    if (fits) return;
    report_.last = reply;
    throw Stop{Cause::reply, std::string("the server ") + what + " " + reply.whole()};
  }

  void count() {
    report_.bytes_sent = connection_.sent();
    report_.bytes_received = connection_.received();
  }

  const Settings& settings_;
  const ResolverFiles& files_;
  const Errand& errand_;
  const Fences fences_;
  Report& report_;
  void (*on_stage_)(void*, Stage);
  void* context_;
  Connection connection_;
  std::vector<std::string> hosts_;  // whose address each of report_.addresses is
  std::string host_;                // the one that is connected
  bool open_ = false;               // may another command be sent?
};

}  // namespace

bool converse(const Settings& settings, const ResolverFiles& files, const Errand& errand, const Fences& fences,
              Report& report, void (*on_stage)(void*, Stage), void* context) {
  return Conversation(settings, files, errand, fences, report, on_stage, context).run();
}

}  // namespace mail
