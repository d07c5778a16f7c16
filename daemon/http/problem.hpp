// The closed table of problems, for who describes them.
#pragma once

#include <string_view>
#include <vector>

namespace hatchd::http {

struct Code {
  std::string_view code;
  unsigned status;
  std::string_view title;
};
std::vector<Code> problem_codes();

}  // namespace hatchd::http
