#include "api/finder.hpp"

#include <boost/asio/detached.hpp>
#include <boost/json.hpp>

#include "base/json.hpp"

namespace hatchd::api {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {
constexpr auto patience = 2s;
constexpr std::size_t max_questions = 64;
}  // namespace

void Finder::connect(link::Channel channel) {
  close();
  receiver_ = std::make_shared<runs::Receiver>(executor_, std::move(channel));
  asio::co_spawn(executor_, listen(receiver_), asio::detached);
  changed_.notify();
}

void Finder::close() {
  if (receiver_) receiver_->close();
  receiver_.reset();
}

asio::awaitable<void> Finder::listen(std::shared_ptr<runs::Receiver> receiver) {
  while (auto message = co_await receiver->next()) {
    const auto at = questions_.find(number_of(message->body, "tag", -1));
    if (at == questions_.end()) continue;  // too late
    at->second.answered = true;
    if (const json::array* targets = array_of(message->body, "targets")) at->second.targets = *targets;
    changed_.notify();
  }
}

asio::awaitable<Result<json::array>> Finder::list(std::string target) {
  if (questions_.size() >= max_questions) co_return refuse("overloaded", "too many questions about targets are open");
  const SteadyTime until = std::chrono::steady_clock::now() + patience;
  const std::int64_t tag = ++last_tag_;
  questions_[tag];
  const Defer forget{[&] { questions_.erase(tag); }};
  json::object ask{{"tag", tag}};
  if (!target.empty()) ask["target"] = target;
  std::shared_ptr<runs::Receiver> asked;
  while (!questions_[tag].answered && std::chrono::steady_clock::now() < until) {
    // Asked again when the process was restarted in between.
    if (receiver_ && receiver_ != asked && receiver_->send("list", ask)) asked = receiver_;
    co_await changed_.wait(until);
  }
  if (!questions_[tag].answered)
    co_return refuse("overloaded", "the process that looks for targets did not answer in time",
                     "try again; `hatchd: targets` is restarted when it ended");
  co_return std::move(questions_[tag].targets);
}

}  // namespace hatchd::api
