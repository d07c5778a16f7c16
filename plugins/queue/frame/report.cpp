#include "queue/frame/report.hpp"

namespace queue {

double ms_between(Time from, Time to) { return std::chrono::duration<double, std::milli>(to - from).count(); }

Report::Report(hatch::Run& run, hatch::Network network) : run_(run), network_(network) {
  add("network", network == hatch::Network::target ? "target" : "hatchd");
}

void Report::secret(std::string_view text) {
  if (text.size() >= 3) secrets_.emplace_back(text);
}

std::string Report::clean(std::string_view text, std::size_t max) const {
  // Masked before it is cut: half of a secret is one too.
  std::string whole(text.substr(0, 64 * 1024));
  for (const std::string& secret : secrets_)
    for (std::size_t at = 0; (at = whole.find(secret, at)) != whole.npos; at += 6)
      whole.replace(at, secret.size(), "******");
  if (whole.size() > max) {
    while (max > 0 && (static_cast<unsigned char>(whole[max]) & 0xC0) == 0x80) --max;
    whole.resize(max);
    whole += "…";
  }
  return hatch::printable(whole);
}

void Report::begin(std::string name) {
  if (!open_.empty()) good();
  open_ = std::move(name);
  since_ = Clock::now();
  run_.check();
}

void Report::good(std::string detail) {
  step(std::exchange(open_, {}), ms_between(since_, Clock::now()), true, std::move(detail));
}
void Report::bad(std::string detail) {
  step(std::exchange(open_, {}), ms_between(since_, Clock::now()), false, std::move(detail));
}

void Report::step(std::string name, double ms, bool ok, std::string detail) {
  if (!name.empty()) steps_.push_back({std::move(name), clean(detail), ms, ok});
}

hatch::Result Report::result(std::string verdict, std::string hint) const {
  hatch::Result result{clean(verdict, 2000)};
  if (!hint.empty()) result.hint(clean(hint, 2000));
  for (const Step& step : steps_) result.step(step.name, step.ms, step.ok, step.detail);
  for (const auto& [name, json] : members_) result.add(name, hatch::Raw{json});
  return result;
}

void Report::fail(std::string verdict, std::string hint) {
  if (!open_.empty()) bad(verdict);
  if (network_ == hatch::Network::other)
    hint += (hint.empty() ? "" : "; ") +
            std::string("the target is in another network namespace than hatchd: network=target looks from there");
  throw hatch::Failure(clean(verdict, 2000)).with(result(verdict, std::move(hint)));
}

void Report::fail(const Trouble& trouble) { fail(trouble.what(), trouble.hint); }

std::string grouped(long long number) {
  std::string text = std::to_string(number < 0 ? -number : number);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return number < 0 ? "-" + text : text;
}

std::string counted(long long number, std::string_view noun) {
  return grouped(number) + " " + std::string(noun) + (number == 1 ? "" : "s");
}

}  // namespace queue
