// By name: what ps shows (comm), or the last part of the first argument, which the kernel does not cut at 15 bytes.
#include <boost/json.hpp>

#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

class ByName : public Finder {
 public:
  explicit ByName(std::string name) : name_(std::move(name)) {}
  Shape shape() const override { return Shape::tree; }
  std::string what() const override { return "process called " + name_; }

  bool fits(pid_t, int directory) override {
    auto comm = read_front(directory, "comm", 64);
    if (comm && comm->ends_with('\n')) comm->pop_back();
    if (comm == name_) return true;
    const auto arguments = read_command(directory, 4096);
    return arguments && !arguments->empty() && base_name(arguments->front()) == name_;
  }

 private:
  std::string name_;
};

}  // namespace

Made by_name(const json::value& value, const Context&) {
  const json::string* name = value.if_string();
  if (!name || name->empty() || name->size() > 255) return refuse("malformed", "must be a process name");
  if (name->find('/') != json::string::npos) return refuse("malformed", "holds a /; for a path use \"exe\"");
  return std::make_unique<ByName>(std::string(*name));
}

}  // namespace hatchd::targets
