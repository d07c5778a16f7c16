// What a step failed of, in a sentence for a person, and what to try next. Thrown within a step; the hatch turns it into
// its failure, with all that was found out before.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace queue {

class Trouble : public std::runtime_error {
 public:
  explicit Trouble(const std::string& what, std::string hint_ = {})
      : std::runtime_error(what), hint(std::move(hint_)) {}
  std::string hint;
};

}  // namespace queue
