// By container id: every process whose cgroup carries it.
#include <boost/json.hpp>

#include "targets/find/cgroup.hpp"
#include "targets/find/finder.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

class ByContainer : public Finder {
 public:
  ByContainer(std::string id, const Context& context) : id_(std::move(id)), context_(context) {}
  Shape shape() const override { return Shape::group; }
  std::string what() const override { return "process of container " + id_; }
  // The processes of a rootless container have uids of their own; there "user" is whose container it is.
  bool sees_to_user() const override { return true; }

  bool fits(pid_t, int directory) override {
    for (const Cgroup& cgroup : read_cgroups(directory))
      if (in_container(cgroup, id_) && admitted(cgroup, directory, context_)) return true;
    return false;
  }

 private:
  std::string id_;
  Context context_;
};

}  // namespace

Made by_container(const json::value& value, const Context& context) {
  const json::string* id = value.if_string();
  if (!id || id->size() < 12 || id->size() > 64 || id->find_first_not_of("0123456789abcdef") != json::string::npos)
    return refuse("malformed", "must be a container's id, at least its first 12 hex digits (docker ps shows them)");
  return std::make_unique<ByContainer>(std::string(*id), context);
}

}  // namespace hatchd::targets
