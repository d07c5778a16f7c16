#include "catalogue/catalogue.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "catalogue/members.hpp"
#include "hatch/act.hpp"
#include "hatch/network.hpp"
#include "schema/words.hpp"

namespace hatchd::catalogue {

namespace json = boost::json;

namespace {

constexpr std::size_t max_hatches = 4096;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) (text += text.empty() ? "" : ", ") += word;
  return text;
}

Hatch hatch_from(const std::string& plugin, const json::object& entry) {
  Hatch hatch;
  hatch.plugin = plugin;
  hatch.id = text_of(entry, "id");
  hatch.kind = text_of(entry, "kind");
  hatch.title = text_of(entry, "title");
  hatch.documentation = text_of(entry, "documentation");
  // An effect that we do not know is the highest: nothing becomes harmless by being misspelt.
  if (!schema::parse_effect(text_of(entry, "effect"), hatch.effect)) hatch.effect = schema::Effect::disrupt;
  hatch.role = access::parse_role(text_of(entry, "role"));
  const std::string target = text_of(entry, "target");
  hatch.target = target == "required" ? Needs::required : target == "optional" ? Needs::optional : Needs::none;
  if (std::string only = text_of(entry, "bound_to"); !only.empty()) hatch.bound_to.push_back(std::move(only));
  hatch.flags = texts_of(entry, "flags");
  hatch.interactive = std::find(hatch.flags.begin(), hatch.flags.end(), "interactive") != hatch.flags.end();
  hatch.preflight = flag_of(entry, "preflight");
  hatch.timeout =
      std::chrono::milliseconds(std::clamp<std::int64_t>(number_of(entry, "timeout_ms", 30000), 1, 24 * 3600 * 1000));
  hatch.cooldown =
      std::chrono::milliseconds(std::clamp<std::int64_t>(number_of(entry, "cooldown_ms"), 0, 24 * 3600 * 1000));
  hatch.max_pause = std::chrono::microseconds(std::max<std::int64_t>(0, number_of(entry, "max_pause_us")));
  hatch.concurrency = static_cast<unsigned>(std::clamp<std::int64_t>(number_of(entry, "concurrency", 1), 1, 1000));
  hatch.queue = static_cast<unsigned>(std::clamp<std::int64_t>(number_of(entry, "queue"), 0, 1000));
  hatch.parameters = {{"type", "object"}};
  if (const json::object* parameters = object_of(entry, "parameters")) hatch.parameters = *parameters;
  // A name that the hatch does not know is a typing error, never something to pass on.
  if (!hatch.parameters.contains("additionalProperties")) hatch.parameters["additionalProperties"] = false;
  hatch.capabilities = texts_of(entry, "capabilities");
  hatch.renderings = texts_of(entry, "renderings");
  hatch.artifact_types = texts_of(entry, "artifact_types");
  hatch.requirements = texts_of(entry, "requirements");
  hatch.profiles = texts_of(entry, "profiles");
  hatch.enabled = flag_of(entry, "enabled");
  hatch.why_not = text_of(entry, "why_not");
  hatch.remedy = text_of(entry, "remedy");

  // What this hatchd cannot do is listed all the same, so that nobody wonders where it went.
  std::vector<std::string> unknown = hatch.requirements;
  std::erase_if(unknown, [](const std::string& need) {
    return need == members_requirement || need == "mask/1" || need == hatch::network_extension ||
           need == hatch::act_extension;
  });
  if (!unknown.empty()) {
    hatch.enabled = false;
    hatch.why_not = "it needs what this hatchd does not have: " + joined(unknown);
  } else if (hatch.interactive) {
    hatch.enabled = false;
    hatch.why_not = "it is interactive, and this hatchd has no sessions yet";
    hatch.remedy = "hatchd exec " + hatch.id + " runs it on a terminal";
  } else if (!hatch.enabled && hatch.why_not.empty()) {
    hatch.why_not = "the configuration does not enable it";
  }
  return hatch;
}

}  // namespace

bool Hatch::looks_first() const {
  return std::find(requirements.begin(), requirements.end(), hatch::act_extension) != requirements.end();
}

std::string_view to_string(Needs needs) {
  switch (needs) {
    case Needs::none: return "none";
    case Needs::optional: return "optional";
    case Needs::required: return "required";
  }
  return "none";
}

Catalogue::Catalogue(const json::array& manifests) {
  for (const json::value& value : manifests) {
    const json::object* manifest = value.if_object();
    if (!manifest) continue;
    const std::string plugin = text_of(*manifest, "plugin");
    if (const json::object* problem = object_of(*manifest, "problem")) {
      absent_.push_back({plugin, problem_from_json(*problem)});
      continue;
    }
    const json::array* hatches = array_of(*manifest, "hatches");
    if (!hatches) continue;
    for (const json::value& entry : *hatches) {
      const json::object* object = entry.if_object();
      if (!object || text_of(*object, "id").empty() || hatches_.size() >= max_hatches) {
        log::warning("a hatch of a manifest is left out", {{"plugin", plugin}});
        continue;
      }
      Hatch hatch = hatch_from(plugin, *object);
      const auto& needs = hatch.requirements;
      const bool family = std::find(needs.begin(), needs.end(), members_requirement) != needs.end();
      (family ? families_ : hatches_).push_back(std::move(hatch));
    }
  }
  sort();
}

bool Catalogue::may_be_member(std::string_view id) const {
  const std::string_view group = id.substr(0, id.find('.'));
  const auto of_group = [&](const Hatch& family) {
    return std::string_view(family.id).substr(0, family.id.find('.')) == group;
  };
  const auto same = [&](const Hatch& hatch) { return hatch.id == id && hatch.family.empty(); };
  return std::any_of(families_.begin(), families_.end(), of_group) &&
         std::none_of(hatches_.begin(), hatches_.end(), same);
}

std::shared_ptr<const Catalogue> Catalogue::with(std::vector<Hatch> members) const {
  auto both = std::make_shared<Catalogue>(*this);
  for (Hatch& member : members)
    if (may_be_member(member.id) && both->hatches_.size() < max_hatches) both->hatches_.push_back(std::move(member));
  both->sort();
  return both;
}

void Catalogue::sort() {
  std::stable_sort(hatches_.begin(), hatches_.end(),
                   [](const Hatch& a, const Hatch& b) { return std::tie(a.id, a.kind) < std::tie(b.id, b.kind); });
}

Result<const Hatch*> Catalogue::find(std::string_view id, std::optional<std::string_view> profile,
                                     std::optional<std::string_view> target) const {
  const auto [first, last] = std::equal_range(hatches_.begin(), hatches_.end(), id, [](const auto& a, const auto& b) {
    const auto key = [](const auto& side) -> std::string_view {
      if constexpr (std::is_same_v<std::decay_t<decltype(side)>, Hatch>)
        return side.id;
      else
        return side;
    };
    return key(a) < key(b);
  });
  if (first == last) {
    std::vector<std::string_view> ids;
    for (const Hatch& hatch : hatches_) ids.push_back(hatch.id);
    const std::string near = schema::nearest(id, ids);
    return refuse(
        "hatch-unknown",
        "there is no hatch " + schema::quoted(json::string(id)) + (near.empty() ? "" : "; did you mean " + near + "?"),
        near.empty() ? "GET /v1/hatches lists what there is" : "use " + near);
  }
  if (std::next(first) == last) return &*first;
  if (!first->family.empty()) {
    const auto applies = std::find_if(first, last, [&](const Hatch& h) { return target && h.applies_to(*target); });
    return applies == last ? &*first : &*applies;
  }

  // Several kinds: the one whose profiles hold the chosen name.
  std::vector<std::string> names;
  for (auto hatch = first; hatch != last; ++hatch)
    names.insert(names.end(), hatch->profiles.begin(), hatch->profiles.end());
  Hatch all;
  all.profiles = names;
  auto chosen = choose_profile(all, profile);
  if (!chosen) return tl::unexpected(chosen.error());
  for (auto hatch = first; hatch != last; ++hatch)
    if (std::find(hatch->profiles.begin(), hatch->profiles.end(), *chosen) != hatch->profiles.end()) return &*hatch;
  return &*first;
}

Result<std::string> choose_profile(const Hatch& hatch, std::optional<std::string_view> named) {
  const auto& names = hatch.profiles;
  const auto has = [&](std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  const auto refuse_with_names = [&](std::string detail) {
    Problem problem{"params-invalid", std::move(detail)};
    problem.errors.push_back({"/profile", names.empty() ? "no profile is configured" : "one of: " + joined(names)});
    problem.candidates = names;
    return tl::unexpected<Problem>(std::move(problem));
  };
  if (named && !named->empty()) {
    if (has(*named)) return std::string(*named);
    return refuse_with_names("there is no profile " + schema::quoted(json::string(*named)));
  }
  if (has("default")) return std::string("default");
  if (names.size() == 1) return names.front();
  if (names.empty()) return std::string();
  return refuse_with_names("several profiles are configured: name one with profile=NAME");
}

}  // namespace hatchd::catalogue
