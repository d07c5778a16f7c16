// By number. The first look fixes which process is meant; a later one of the same number is somebody else.
#include <boost/json.hpp>

#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

class ByPid : public Finder {
 public:
  explicit ByPid(pid_t pid) : pid_(pid) {}
  Shape shape() const override { return Shape::one; }
  std::string what() const override { return "process " + std::to_string(pid_); }

  Result<std::optional<pid_t>> begin() override {
    if (looked_ && started_ticks_ == 0)
      return refuse(gone, "there was no process " + std::to_string(pid_) + " when hatchd started");
    looked_ = true;
    other_ = false;
    return std::optional(pid_);
  }
  bool fits(pid_t, int directory) override {
    const auto stat = read_stat(directory);
    if (!stat) return false;
    if (started_ticks_ == 0) started_ticks_ = stat->started_ticks;
    other_ = started_ticks_ != stat->started_ticks;
    return !other_;
  }
  std::optional<Problem> doubt() const override {
    if (!other_) return std::nullopt;
    return Problem{gone, "process " + std::to_string(pid_) + " has ended; the number belongs to another process now"};
  }

 private:
  pid_t pid_;
  bool looked_ = false, other_ = false;
  std::uint64_t started_ticks_ = 0;
};

}  // namespace

Made by_pid(const json::value& value, const Context&) {
  constexpr std::int64_t most = 1 << 22;  // PID_MAX_LIMIT
  const auto number = number_value(value, 1, most);
  if (!number) return refuse("malformed", "must be a process number");
  return std::make_unique<ByPid>(static_cast<pid_t>(*number));
}

}  // namespace hatchd::targets
