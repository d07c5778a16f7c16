// GET /v1/runs/{id}/artifacts/{name}: a file of a run, whole or a range of it (RFC 9110, section 14), never in memory.
#include <boost/json.hpp>
#include <charconv>

#include "api/api.hpp"

namespace hatchd::api {

namespace {

struct Range {
  std::uint64_t first, last;  // both included
};

// "bytes=0-99", "bytes=100-", "bytes=-50". What is not one satisfiable range is ignored, as RFC 9110 allows: the answer
// is the whole file then.
std::optional<Range> range_of(std::string_view header, std::uint64_t size) {
  if (!header.starts_with("bytes=") || size == 0) return std::nullopt;
  header.remove_prefix(6);
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  };
  const auto first = number(header.substr(0, dash)), last = number(header.substr(dash + 1));
  if (!first) {
    if (dash != 0 || !last || *last == 0) return std::nullopt;
    return Range{size - std::min(*last, size), size - 1};
  }
  if (*first >= size || (last && *last < *first) || (!last && dash + 1 != header.size())) return std::nullopt;
  return Range{*first, last ? std::min(*last, size - 1) : size - 1};
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

}  // namespace

Answer get_artifact(Api& api, const http::Context& context) {
  const auto run = co_await readable_run(api, context, access::Action::read);
  if (!run) co_return refused(run.error(), context);
  const auto name = context.captures.find("name");
  const auto artifact = std::find_if(run->artifacts.begin(), run->artifacts.end(), [&](const runs::Artifact& entry) {
    return name != context.captures.end() && entry.name == name->second;
  });
  if (artifact == run->artifacts.end())
    co_return refused(Problem{"run-unknown", "the run has no artifact of that name"}, context);
  auto file = co_await api.runner.open_artifact(run->id, artifact->number);
  if (!file) co_return refused(Problem{"run-unknown", file.error().detail}, context);

  const std::string tag = "\"" + artifact->sha256 + "\"";
  http::Response response;
  response.header("ETag", tag).header("Accept-Ranges", "bytes");
  if (context.request.header("if-none-match") == tag) {
    response.status = 304;
    co_return response;
  }
  response.header("Content-Type", artifact->media_type);
  // What a plugin wrote is never shown as a page of this origin.
  response.header("Content-Disposition", "attachment; filename*=UTF-8''" + runs::encode_segment(artifact->name));
  response.header("Content-Security-Policy", "sandbox");
  response.header("X-Content-Type-Options", "nosniff");
  response.header("Repr-Digest", "sha-256=:" + base64_of_hex(artifact->sha256) + ":");
  response.file = std::move(*file);
  response.file_bytes = artifact->bytes;
  const std::string_view condition = context.request.header("if-range");
  if (condition.empty() || condition == tag)
    if (const auto range = range_of(context.request.header("range"), artifact->bytes)) {
      response.status = 206;
      response.file_offset = range->first;
      response.file_bytes = range->last - range->first + 1;
      response.header("Content-Range", "bytes " + std::to_string(range->first) + "-" + std::to_string(range->last) +
                                           "/" + std::to_string(artifact->bytes));
    }
  co_return response;
}

}  // namespace hatchd::api
