// How much of something may be held at once, by all and by one source (see source_key()). A Share takes from a Budget
// and gives back when it goes. One thread: nothing here is locked.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace hatchd::http {

class Budget {
 public:
  struct Limits {
    std::size_t all = 0, source = 0;
  };

 private:
  friend class Share;
  std::size_t held_ = 0;
  std::map<std::string, std::size_t, std::less<>> by_source_;
};

class Share {
 public:
  Share() = default;
  Share(const Share&) = delete;
  ~Share() {
    if (!budget_) return;
    budget_->held_ -= amount_;
    const auto own = budget_->by_source_.find(source_);
    if ((own->second -= amount_) == 0) budget_->by_source_.erase(own);
  }

  // From now on `amount`, if that is more than before; false when the limits do not allow it.
  bool grow(const std::shared_ptr<Budget>& budget, Budget::Limits limits, std::string_view source, std::size_t amount) {
    if (amount <= amount_) return true;
    const std::size_t more = amount - amount_;
    const auto own = budget->by_source_.find(source);
    const std::size_t held = own == budget->by_source_.end() ? 0 : own->second;
    if (budget->held_ + more > limits.all || held + more > limits.source) return false;
    if (!budget_) source_ = source;
    budget_ = budget;
    amount_ = amount;
    budget->held_ += more;
    budget->by_source_[source_] = held + more;
    return true;
  }

 private:
  std::shared_ptr<Budget> budget_;
  std::string source_;
  std::size_t amount_ = 0;
};

}  // namespace hatchd::http
