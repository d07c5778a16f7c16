// All hatches, from the manifests that the supervisor read. Never changes: a reload makes a new one, and what is under way
// keeps the old.
#pragma once

#include <boost/json/array.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"
#include "catalogue/hatch.hpp"

namespace hatchd::catalogue {

// A plugin that could not be opened: its hatches are unknown, but that it should be there is not.
struct Absent {
  std::string plugin;
  Problem problem;
};

class Catalogue {
 public:
  // `manifests`: "catalogue" of the front's setup (link/protocol.hpp). What is malformed is left out and logged.
  explicit Catalogue(const boost::json::array& manifests);

  const std::vector<Hatch>& hatches() const { return hatches_; }  // by id, then kind
  const std::vector<Absent>& absent() const { return absent_; }
  // Those that stand for members (members.hpp); they are not among the hatches.
  const std::vector<Hatch>& families() const { return families_; }
  // Does a family of the id's group exist, and no hatch of that id?
  bool may_be_member(std::string_view id) const;
  // A catalogue with these as well; where an id is there already, that one counts.
  std::shared_ptr<const Catalogue> with(std::vector<Hatch> members) const;

  // The hatch of that id; several kinds are told apart by the profile. hatch-unknown (with the nearest), or
  // params-invalid when the profile is not there or must be named. Members of one id may differ by target.
  Result<const Hatch*> find(std::string_view id, std::optional<std::string_view> profile = {},
                            std::optional<std::string_view> target = {}) const;

 private:
  void sort();

  std::vector<Hatch> hatches_, families_;
  std::vector<Absent> absent_;
};

// The profile that a run uses: the named one, else "default", else the only one; "" where a hatch has none.
Result<std::string> choose_profile(const Hatch& hatch, std::optional<std::string_view> named);

}  // namespace hatchd::catalogue
