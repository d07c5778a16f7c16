#include "base/mask.hpp"

#include <mutex>
#include <utility>

#include <boost/json.hpp>

#include "base/json.hpp"

namespace hatchd::mask {

namespace json = boost::json;

namespace {

std::mutex mutex;
std::shared_ptr<const hatch::Mask>& current() {
  static std::shared_ptr<const hatch::Mask> mask = std::make_shared<const hatch::Mask>();
  return mask;
}

}  // namespace

void use(hatch::MaskRules rules) {
  auto mask = std::make_shared<const hatch::Mask>(std::move(rules));
  const std::lock_guard lock(mutex);
  current().swap(mask);
}

void use(const json::object& holder) {
  const json::object* written = object_of(holder, "mask");
  use(written ? hatch::mask_rules_of(json::serialize(*written)) : hatch::MaskRules{});
}

std::shared_ptr<const hatch::Mask> rules() {
  const std::lock_guard lock(mutex);
  return current();
}

std::string text(std::string_view text) { return rules()->text(text); }

json::value value(const json::value& value) {
  json::parse_options options;
  options.max_depth = 256;
  json::error_code error;
  json::value masked = json::parse(rules()->json(json::serialize(value)), error, json::storage_ptr(), options);
  // Deeper than anything that came in through a parser of ours: rather nothing than all of it.
  return error ? json::value(hatch::Mask::stars) : masked;
}

}  // namespace hatchd::mask
