// mail.send and mail.check: does mail leave, and if not, why?
//
// The hatches are thin: prepare_errand() takes what the host gives, converse() speaks with the server, await_arrival()
// looks into the mailbox, and result_of() makes the answer. Each of them can be tried without a host.
#include "mail/send.hpp"
#include "hatch/act.hpp"
#include "mail/arrival.hpp"
#include "mail/conversation.hpp"
#include "mail/errand.hpp"
#include "mail/hints.hpp"
#include "mail/render.hpp"

namespace mail {
namespace {

constexpr Millis spare{700};  // before the host's deadline, to hand over what was learnt

void on_stage(void* context, Stage stage) {
  const auto& run = *static_cast<const hatch::Run*>(context);
  // A name and a password, a sender and recipients: from here on it is more than a look at what the server offers.
  if (stage == Stage::auth || stage == Stage::mail) hatch::begin_to_act(run);
  run.progress(static_cast<double>(stage) / static_cast<double>(Stage::arrived), to_string(stage));
}

void keep_secrets(Masker& mask, const Server& server) {
  mask.add(server.password);
  mask.add(server.token);
}

// A mailbox that cannot be looked into is no reason not to send.
std::unique_ptr<Mailbox> open_mailbox(const Prepared& prepared, const Fences& fences, Report& report) {
  const ArrivalSettings& settings = *prepared.settings.arrival;
  report.arrival.emplace();
  report.arrival->where = settings.maildir.empty() ? settings.imap.host + " " + settings.mailbox : settings.maildir;
  try {
    if (!settings.maildir.empty()) return open_maildir(settings.maildir);
    return open_imap(settings, prepared.files, prepared.settings.step_timeout, fences, report.mask);
  } catch (const Stop& stop) {
    report.arrival->trouble = report.mask(stop.detail);
    return nullptr;
  }
}

hatch::Result work(hatch::Run& run, const Wish& wish) {
  Prepared prepared = prepare_errand(run, wish);
  const Settings& settings = prepared.settings;
  Report report;
  report.warnings = prepared.warnings;
  keep_secrets(report.mask, settings.server);
  if (settings.arrival) keep_secrets(report.mask, settings.arrival->imap);
  const Millis left = run.remaining();
  const Fences fences{run.cancel_fd(), Clock::now() + (left > 2 * spare ? left - spare : left / 2)};
  try {
    std::unique_ptr<Mailbox> mailbox;
    if (wish.send && settings.arrival) {
      hatch::begin_to_act(run);  // it logs in there
      mailbox = open_mailbox(prepared, fences, report);
    }
    const bool done = converse(settings, prepared.files, prepared.errand, fences, report, on_stage, &run);
    if (!done) report.arrival.reset();
    if (done && mailbox) {
      const Clock::time_point begin = Clock::now();
      await_arrival(*mailbox, *settings.arrival, std::string(run.id()), fences, report.mask, *report.arrival);
      report.steps.push_back({"arrival", ms_since(begin), report.arrival->seen,
                              report.arrival->seen ? report.arrival->where : report.arrival->trouble});
      if (report.arrival->seen) report.stage = Stage::arrived;
    }
  } catch (const Cancelled&) {
    throw hatch::Cancelled{};
  }
  hatch::Result result = result_of(report, settings, prepared.vantage, wish.send);
  if (report.cause == Cause::none) return result;
  hatch::Failure failure(verdict_of(report, settings, wish.send));
  failure.remedy = hint_of(report, settings);
  throw std::move(failure).with(std::move(result));
}

hatch::Result ready(hatch::Run& run, const Wish& wish) {
  const Prepared prepared = prepare_errand(run, wish);
  std::string to;
  for (const std::string& address : prepared.errand.to) (to += to.empty() ? "" : ", ") += address;
  return hatch::Result{"Mail would go from " + prepared.errand.sender + " to " + to + " by " +
                       hatch::printable(prepared.settings.server.host) + " port " +
                       std::to_string(prepared.settings.server.port) + "."};
}

}  // namespace

hatch::Result Send::run(hatch::Run& run) { return work(run, wish); }
hatch::Result Send::preflight(hatch::Run& run) { return ready(run, wish); }
hatch::Result Check::run(hatch::Run& run) { return work(run, wish); }
hatch::Result Check::preflight(hatch::Run& run) { return ready(run, wish); }

}  // namespace mail
