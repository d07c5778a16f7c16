// By systemd unit: every process whose cgroup is the unit's. No D-Bus, so it works in a container that sees the host's
// /proc too.
#include <boost/json.hpp>

#include "targets/find/cgroup.hpp"
#include "targets/find/finder.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

class ByUnit : public Finder {
 public:
  ByUnit(std::string unit, const Context& context) : unit_(std::move(unit)), context_(context) {}
  Shape shape() const override { return Shape::group; }
  std::string what() const override { return "process of unit " + unit_; }
  bool sees_to_user() const override { return true; }

  bool fits(pid_t, int directory) override {
    for (const Cgroup& cgroup : read_cgroups(directory))
      if (unit_of(cgroup) == unit_ && admitted(cgroup, directory, context_)) return true;
    return false;
  }

 private:
  std::string unit_;
  Context context_;
};

}  // namespace

Made by_unit(const json::value& value, const Context& context) {
  const json::string* text = value.if_string();
  if (!text || text->empty() || text->size() > 255 || text->find('/') != json::string::npos)
    return refuse("malformed", "must be the name of a systemd service");
  std::string unit(*text);
  for (const std::string_view other : {".slice", ".scope", ".socket", ".timer", ".target", ".mount"})
    if (unit.ends_with(other)) return refuse("malformed", "must be a service; " + unit + " is of another type");
  if (!unit.ends_with(".service")) unit += ".service";
  return std::make_unique<ByUnit>(std::move(unit), context);
}

}  // namespace hatchd::targets
