// GET, HEAD and DELETE /v1/runs/{id}/artifacts/{name}: a file of a run, whole or a range of it (RFC 9110, sections 13 and
// 14), never in memory.
#include <sys/stat.h>

#include <boost/json.hpp>
#include <charconv>

#include "api/api.hpp"
#include "http/text.hpp"

namespace hatchd::api {

namespace {

struct Range {
  std::uint64_t first, last;  // both included
};
enum class Asked { whole, part, beyond };

// "bytes=0-99", "bytes=100-", "bytes=-50". What is not one range in bytes is ignored, as RFC 9110 allows: the answer is
// the whole file then. One that begins behind the end, or asks for nothing, cannot be had.
Asked range_of(std::string_view header, std::uint64_t size, Range& range) {
  if (header.size() < 6 || !http::same(header.substr(0, 6), "bytes=")) return Asked::whole;
  header = http::trim(header.substr(6));
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return Asked::whole;
  const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  };
  const auto first = number(header.substr(0, dash)), last = number(header.substr(dash + 1));
  if (!first) {
    if (dash != 0 || !last) return Asked::whole;
    if (*last == 0 || size == 0) return Asked::beyond;
    range = {size - std::min(*last, size), size - 1};
    return Asked::part;
  }
  if ((last && *last < *first) || (!last && dash + 1 != header.size())) return Asked::whole;
  if (*first >= size) return Asked::beyond;
  range = {*first, last ? std::min(*last, size - 1) : size - 1};
  return Asked::part;
}

// Is `tag` in the list, or is it "*"? Weakly compared, as If-None-Match wants it.
bool lists(std::string_view header, std::string_view tag) {
  header = http::trim(header);
  if (header == "*") return true;
  while (!header.empty()) {
    const std::size_t comma = std::min(header.find(','), header.size());
    std::string_view entry = http::trim(header.substr(0, comma));
    header.remove_prefix(std::min(comma + 1, header.size()));
    if (entry.starts_with("W/")) entry.remove_prefix(2);
    if (entry == tag) return true;
  }
  return false;
}

// The name as a file's, for clients of both kinds (RFC 6266, appendix D).
std::string disposition(const std::string& name) {
  std::string plain;
  for (const char c : name) plain += c < 0x20 || c > 0x7E || c == '"' || c == '\\' || c == '%' ? '_' : c;
  return "attachment; filename=\"" + plain + "\"; filename*=UTF-8''" + runs::encode_segment(name);
}

std::string base64_of_hex(std::string_view hex) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::string_view nibbles = "0123456789abcdef";
  std::string out;
  unsigned bits = 0, count = 0;
  for (const char c : hex) {
    bits = bits << 4 | static_cast<unsigned>(nibbles.find(c) & 15);
    count += 4;
    while (count >= 6) out += digits[bits >> (count -= 6) & 63];
  }
  if (count > 0) out += digits[bits << (6 - count) & 63];
  while (out.size() % 4 != 0) out += '=';
  return out;
}

struct Found {
  runs::Run run;
  runs::Artifact artifact;
};

boost::asio::awaitable<Result<Found>> find(Api& api, const http::Context& context, access::Action action) {
  auto run = co_await readable_run(api, context, action);
  if (!run) co_return tl::unexpected(run.error());
  const auto name = context.captures.find("name");
  const auto artifact = std::find_if(run->artifacts.begin(), run->artifacts.end(), [&](const runs::Artifact& entry) {
    return name != context.captures.end() && entry.name == name->second;
  });
  if (artifact == run->artifacts.end()) co_return refuse("run-unknown", "the run has no artifact of that name");
  Found found{*run, *artifact};
  co_return found;
}

}  // namespace

Answer get_artifact(Api& api, const http::Context& context) {
  const auto found = co_await find(api, context, access::Action::read);
  if (!found) co_return refused(found.error(), context);
  const runs::Artifact& artifact = found->artifact;
  const http::Request& request = context.request;

  const std::string tag = "\"" + artifact.sha256 + "\"";
  http::Response response;
  response.header("ETag", tag).header("Accept-Ranges", "bytes");
  if (lists(request.header("if-none-match"), tag)) {
    response.status = 304;
    co_return response;
  }
  auto file = co_await api.runner.open_artifact(found->run.id, artifact.number);
  if (!file) co_return refused(file.error(), context);
  struct stat facts {};
  if (::fstat(file->get(), &facts) != 0 || static_cast<std::uint64_t>(facts.st_size) != artifact.bytes)
    co_return refused(Problem{"internal", "the artifact is not as long as the run's record says: somebody changed it"},
                      context);

  // A part of what the client has of another file would be spoilt; If-Range compares strongly. Only GET has ranges.
  const std::string_view condition = request.header("if-range");
  Range range{0, 0};
  Asked asked = Asked::whole;
  if (request.method == "GET" && (condition.empty() || condition == tag))
    asked = range_of(request.header("range"), artifact.bytes, range);
  if (asked == Asked::beyond) {
    response = refused(Problem{"range-unsatisfiable", "the artifact has " + std::to_string(artifact.bytes) + " bytes"},
                       context);
    response.header("Content-Range", "bytes */" + std::to_string(artifact.bytes));
    co_return response;
  }
  response.header("Content-Type", artifact.media_type);
  // What a plugin wrote is never shown as a page of this origin.
  response.header("Content-Disposition", disposition(artifact.name));
  response.header("Content-Security-Policy", "sandbox");
  response.header("Repr-Digest", "sha-256=:" + base64_of_hex(artifact.sha256) + ":");
  response.file = std::move(*file);
  response.file_bytes = artifact.bytes;
  if (asked == Asked::part) {
    response.status = 206;
    response.file_offset = range.first;
    response.file_bytes = range.last - range.first + 1;
    response.header("Content-Range", "bytes " + std::to_string(range.first) + "-" + std::to_string(range.last) + "/" +
                                         std::to_string(artifact.bytes));
  }
  co_return response;
}

Answer remove_artifact(Api& api, const http::Context& context) {
  const auto found = co_await find(api, context, access::Action::remove);
  if (!found) co_return refused(found.error(), context);
  const auto left = co_await api.runner.remove_artifact(found->run.id, found->artifact.name);
  if (!left) co_return refused(left.error(), context);
  if (api.artifact_removed) api.artifact_removed(context, *left, found->artifact);
  http::Response response;
  response.status = 204;
  co_return response;
}

}  // namespace hatchd::api
