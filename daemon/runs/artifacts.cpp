#include "runs/artifacts.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "base/json.hpp"

namespace hatchd::runs {

namespace json = boost::json;

namespace {

bool is_media_type(std::string_view text) {
  return text.size() <= 128 && text.find('/') != std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F && c != '"' && c != ','; });
}

}  // namespace

asio::awaitable<bool> Artifacts::take(const LivePtr& live, const link::Message& message) {
  const std::int64_t tag = number_of(message.body, "tag");
  if (message.type == "artifact") {
    auto writer = co_await open(live, tag, message.body);
    if (writer) {
      const std::array fds{writer->get()};
      live->channel->send("artifact", {{"tag", tag}}, fds);
    } else {
      live->channel->send("refused", {{"tag", tag}, {"problem", hatchd::to_json(writer.error())}});
    }
  } else if (message.type == "commit") {
    const auto done = co_await commit(live, number_of(message.body, "of"));
    if (done)
      live->channel->send("committed", {{"tag", tag}});
    else
      live->channel->send("refused", {{"tag", tag}, {"problem", hatchd::to_json(done.error())}});
  } else if (message.type == "abort") {
    co_await abort(live->run.id, number_of(message.body, "of"));
  } else {
    co_return false;
  }
  co_return true;
}

asio::awaitable<Result<UniqueFd>> Artifacts::open(const LivePtr& live, std::int64_t tag, const json::object& ask) {
  const std::string id = live->run.id;
  Open file;
  file.artifact.name = text_of(ask, "name");
  file.artifact.media_type = text_of(ask, "media_type");
  if (live->preflight || !live->run.stored) co_return refuse("no-space", "this run is kept in memory and has no files");
  if (!is_artifact_name(file.artifact.name)) co_return refuse("malformed", "not a name for an artifact");
  if (!is_media_type(file.artifact.media_type)) file.artifact.media_type = "application/octet-stream";
  auto& opened = open_[id];
  const auto same_name = [&](const Artifact& other) { return other.name == file.artifact.name; };
  if (opened.contains(tag) || std::any_of(live->run.artifacts.begin(), live->run.artifacts.end(), same_name) ||
      std::any_of(opened.begin(), opened.end(), [&](const auto& entry) { return same_name(entry.second.artifact); }))
    co_return refuse("malformed", "there is an artifact of that name or tag already");
  unsigned& number = numbers_[id];
  if (opened.size() >= max_open || number >= max_count) co_return refuse("no-space", "the run has too many artifacts");
  file.artifact.number = ++number;
  auto work = [this, id, n = file.artifact.number] { return disk_.create_artifact(id, n); };
  auto made = co_await pool_.run(std::move(work));
  if (!made) co_return tl::unexpected(made.error());
  file.reader = std::make_shared<UniqueFd>(std::move(made->reader));
  open_[id].emplace(tag, std::move(file));
  co_return std::move(made->writer);
}

asio::awaitable<Result<void>> Artifacts::commit(const LivePtr& live, std::int64_t tag) {
  auto& opened = open_[live->run.id];
  const auto at = opened.find(tag);
  if (at == opened.end()) co_return refuse("malformed", "there is no open artifact with that tag");
  Open file = std::move(at->second);
  opened.erase(at);
  auto seal = [reader = file.reader] { return seal_artifact(reader->get()); };
  auto digest = co_await pool_.run(std::move(seal));
  if (!digest) {
    auto remove = [this, id = live->run.id, n = file.artifact.number] { disk_.remove_artifact(id, n); };
    co_await pool_.run(std::move(remove));
    co_return tl::unexpected(digest.error());
  }
  file.artifact.bytes = digest->bytes;
  file.artifact.sha256 = std::move(digest->sha256);
  live->run.bytes += file.artifact.bytes;
  live->run.artifacts.push_back(std::move(file.artifact));
  co_return Result<void>{};
}

asio::awaitable<void> Artifacts::abort(std::string run, std::int64_t tag) {
  auto& opened = open_[run];
  const auto at = opened.find(tag);
  if (at == opened.end()) co_return;
  const unsigned number = at->second.artifact.number;
  opened.erase(at);
  auto remove = [this, run, number] { disk_.remove_artifact(run, number); };
  co_await pool_.run(std::move(remove));
}

asio::awaitable<void> Artifacts::finish(std::string run) {
  numbers_.erase(run);
  const auto at = open_.find(run);
  if (at == open_.end()) co_return;
  std::vector<unsigned> numbers;
  for (const auto& [tag, file] : at->second) numbers.push_back(file.artifact.number);
  open_.erase(at);
  if (numbers.empty()) co_return;
  auto remove = [this, run, numbers] {
    for (const unsigned number : numbers) disk_.remove_artifact(run, number);
  };
  co_await pool_.run(std::move(remove));
}

}  // namespace hatchd::runs
