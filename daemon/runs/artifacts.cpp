#include "runs/artifacts.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "runs/plugins.hpp"

namespace hatchd::runs {

namespace json = boost::json;

namespace {

// A step of hashing is short, so that a commit need not wait long for it.
constexpr std::uint64_t step = 64 * 1024 * 1024;

tl::unexpected<Problem> no_room() {
  return refuse("no-space", "less than runs.min_free is left on the disk",
                "make room in runs.directory, or lower runs.keep or runs.min_free");
}

}  // namespace

bool Artifacts::File::appends() const { return (::fcntl(writer.get(), F_GETFL) & O_APPEND) != 0; }

void Artifacts::File::follow() {
  const std::lock_guard guard(lock);
  if (!appends() || !reader) return;
  followed = static_cast<bool>(seal.follow(reader.get(), step));
}

Result<void> Artifacts::File::close() {
  const std::lock_guard guard(lock);
  if (!followed || !appends()) seal = {};
  auto sealed = seal.seal(reader.get());
  artifact.bytes = seal.bytes();
  artifact.sha256 = seal.hex();
  reader.reset();
  if (sealed && artifact.sha256.empty()) return refuse("internal", "SHA-256 is not available");
  return sealed;
}

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
    co_await abort(live, number_of(message.body, "of"));
  } else {
    co_return false;
  }
  co_return true;
}

asio::awaitable<Result<UniqueFd>> Artifacts::open(const LivePtr& live, std::int64_t tag, const json::object& ask) {
  const std::string id = live->run.id;
  auto file = std::make_shared<File>();
  file->artifact.name = text_of(ask, "name");
  file->artifact.media_type = text_of(ask, "media_type");
  if (live->preflight) co_return refuse("no-space", "a dry run has no files");
  co_await live->on_disk();
  if (!is_artifact_name(file->artifact.name)) co_return refuse("malformed", "not a name for an artifact");
  if (!is_media_type(file->artifact.media_type)) file->artifact.media_type = "application/octet-stream";
  auto& opened = open_[id];
  const auto same_name = [&](const Artifact& other) { return other.name == file->artifact.name; };
  if (opened.contains(tag) || std::any_of(live->run.artifacts.begin(), live->run.artifacts.end(), same_name) ||
      std::any_of(opened.begin(), opened.end(), [&](const auto& entry) { return same_name(entry.second->artifact); }))
    co_return refuse("malformed", "there is an artifact of that name or tag already");
  unsigned& number = numbers_[id];
  if (opened.size() >= max_open || number >= max_count) co_return refuse("no-space", "the run has too many artifacts");
  file->artifact.number = ++number;
  auto work = [this, id, n = file->artifact.number, stored = live->folder]() -> Result<Disk::ArtifactFile> {
    if (!stored || disk_.low()) return no_room();
    return disk_.create_artifact(id, n);
  };
  auto made = co_await pool_.run(std::move(work));
  if (!made) {
    live->no_space = live->no_space || made.error().code == "no-space";
    co_return tl::unexpected(made.error());
  }
  file->reader = std::move(made->reader);
  file->writer = UniqueFd{::fcntl(made->writer.get(), F_DUPFD_CLOEXEC, 0)};
  open_[id].emplace(tag, std::move(file));
  live->changed.notify();  // there is something to watch
  co_return std::move(made->writer);
}

asio::awaitable<Result<void>> Artifacts::commit(const LivePtr& live, std::int64_t tag) {
  auto& opened = open_[live->run.id];
  const auto at = opened.find(tag);
  if (at == opened.end()) co_return refuse("malformed", "there is no open artifact with that tag");
  const FilePtr file = std::move(at->second);
  opened.erase(at);
  const std::string id = live->run.id;
  auto close = [this, id, file]() -> Result<void> {
    if (disk_.low()) return no_room();
    if (auto closed = file->close(); !closed) return closed;
    return disk_.sync_artifacts(id);
  };
  auto done = co_await pool_.run(std::move(close));
  if (done) {  // it is durable: now the record may name it
    live->run.artifacts.push_back(file->artifact);
    live->run.bytes += file->artifact.bytes;
    done = co_await record_(live);
    if (done) co_return done;
    std::erase_if(live->run.artifacts, [&](const Artifact& entry) { return entry.number == file->artifact.number; });
    live->run.bytes -= file->artifact.bytes;
  }
  live->no_space = live->no_space || done.error().code == "no-space";
  auto remove = [this, id, n = file->artifact.number] { disk_.remove_artifact(id, n); };
  co_await pool_.run(std::move(remove));
  co_return done;
}

asio::awaitable<void> Artifacts::abort(const LivePtr& live, std::int64_t tag) {
  const std::string id = live->run.id;
  auto& opened = open_[id];
  const auto at = opened.find(tag);
  if (at == opened.end()) co_return;
  const unsigned number = at->second->artifact.number;
  opened.erase(at);
  // Given up on a disk that is full: it is full because of this file, so look before it is gone.
  auto remove = [this, id, number] {
    const bool low = disk_.low();
    disk_.remove_artifact(id, number);
    return low;
  };
  if (co_await pool_.run(std::move(remove))) live->no_space = true;
}

bool Artifacts::any_open(const std::string& run) const {
  const auto at = open_.find(run);
  return at != open_.end() && !at->second.empty();
}

asio::awaitable<void> Artifacts::watch(LivePtr live) {
  std::vector<FilePtr> files;
  for (const auto& [tag, file] : open_[live->run.id]) files.push_back(file);
  auto work = [this, files = std::move(files)] {
    for (const FilePtr& file : files) file->follow();
    return disk_.low();
  };
  if (!co_await pool_.run(std::move(work)) || live->stopped_for_space) co_return;
  live->no_space = live->stopped_for_space = true;
  if (live->link) live->link->call_off(live->run.id);
}

asio::awaitable<void> Artifacts::finish(std::string run) {
  numbers_.erase(run);
  const auto at = open_.find(run);
  if (at == open_.end()) co_return;
  std::vector<unsigned> numbers;
  for (const auto& [tag, file] : at->second) numbers.push_back(file->artifact.number);
  open_.erase(at);
  if (numbers.empty()) co_return;
  auto remove = [this, run, numbers] {
    for (const unsigned number : numbers) disk_.remove_artifact(run, number);
  };
  co_await pool_.run(std::move(remove));
}

}  // namespace hatchd::runs
