// All that a run learns, in the order in which it learns it. The conversation fills it, hints and rendering read it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mail/fences.hpp"
#include "mail/reply.hpp"
#include "mail/text.hpp"

namespace mail {

enum class Stage { resolve, connect, banner, ehlo, tls, auth, mail, rcpt, data, accepted, arrived };
const char* to_string(Stage stage);

struct Step {
  std::string name;
  double ms = 0;
  bool ok = true;
  std::string detail;
};

struct Line {
  enum class By { server, client, note } by;
  double at_ms = 0;  // since the run began
  std::string text;
};

// One address of the server.
struct Attempt {
  std::string address;
  std::uint16_t port = 0;
  double ms = 0;
  bool ok = false, used = false;
  std::string error, local;
};

struct Refusal {
  std::string address;
  int code = 0;
  std::string status, text;
};

struct Certificate {
  std::string subject, issuer, serial, key, signature, not_before, not_after, sha256;
  std::vector<std::string> names;
  long days_left = 0;
  bool self_signed = false;
};

struct TlsReport {
  std::string mode;  // "starttls", "implicit"
  std::string version, cipher, group, server_name, matched_name;
  bool verified = false, name_ok = false, stapled = false;
  std::string error;     // why it was not verified
  int error_depth = -1;  // 0: the server's own certificate
  std::string trusted_root;
  std::vector<Certificate> chain;  // as sent
  bool incomplete = false;         // an intermediate certificate is missing
};

struct Arrival {
  std::string where;
  bool seen = false;
  double after_ms = 0;  // since the server accepted it
  std::vector<std::string> received;
  std::string trouble;
};

// What went wrong, as far as a machine can tell.
enum class Cause {
  none,
  no_such_name,
  dns_failed,
  null_mx,
  no_address,
  connect_refused,
  connect_timeout,
  unreachable,
  timeout,
  closed,
  reply,     // the server said no
  not_smtp,  // what came is no SMTP
  endless,   // more than a bound
  no_starttls,
  injected,
  tls_failed,
  no_ca,
  speaks_tls,    // a plain conversation met TLS
  speaks_plain,  // TLS met a plain conversation
  unverified,
  no_mechanism,
  clear_text,
  too_large,
  needs_utf8,
  out_of_time
};

struct Report {
  Clock::time_point begin = Clock::now();
  Masker mask;

  Stage stage = Stage::resolve;
  std::vector<Step> steps;
  std::vector<Line> transcript;
  std::vector<std::string> resolution;  // what DNS said, a line each
  std::vector<Attempt> addresses;
  std::string banner, ehlo_name;
  std::optional<Capabilities> before_tls, capabilities;
  std::optional<TlsReport> tls;
  std::string mechanism;
  std::vector<std::string> accepted;
  std::vector<Refusal> refused;
  std::string queue_id, reply;  // the last that counted
  std::optional<Reply> last;    // what the server answered to the step that failed
  std::optional<Arrival> arrival;
  std::vector<std::string> warnings;
  std::uint64_t bytes_sent = 0, bytes_received = 0;
  Cause cause = Cause::none;
  std::string trouble;  // one sentence about the cause

  void note(Line::By by, std::string_view text);
};

// Thrown where a conversation cannot go on; the report says at which stage.
struct Stop {
  Cause cause;
  std::string detail;
};

}  // namespace mail
