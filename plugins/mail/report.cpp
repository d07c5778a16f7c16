#include "mail/report.hpp"

namespace mail {

namespace {
constexpr std::size_t max_transcript = 600;
}

const char* to_string(Stage stage) {
  switch (stage) {
    case Stage::resolve: return "resolve";
    case Stage::connect: return "connect";
    case Stage::banner: return "banner";
    case Stage::ehlo: return "ehlo";
    case Stage::tls: return "tls";
    case Stage::auth: return "auth";
    case Stage::mail: return "mail";
    case Stage::rcpt: return "rcpt";
    case Stage::data: return "data";
    case Stage::accepted: return "accepted";
    case Stage::arrived: return "arrived";
  }
  return "?";
}

void Report::note(Line::By by, std::string_view text) {
  if (transcript.size() > max_transcript) return;
  const double at = ms_since(begin);
  if (transcript.size() == max_transcript)
    transcript.push_back({Line::By::note, at, "the rest of the conversation is left out"});
  else
    transcript.push_back({by, at, mask(text)});
}

}  // namespace mail
