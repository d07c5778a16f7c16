// A problem: why something was refused or failed, in the words of DESIGN section 4 ("HTTP"). One shape serves every
// process: plugins, targets and the supervisor make problems, the front renders them (RFC 9457), hatchctl prints them.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace hatchd {

// One wrong place in a parameter object or a configuration.
struct FieldError {
  std::string pointer;  // RFC 6901, "" is the whole document
  std::string detail;   // a sentence without the place
};

struct Problem {
  std::string code;    // from the closed list in http/problem.cpp
  std::string detail;  // one sentence for a person
  std::vector<std::string> missing{};
  std::string remedy{};  // what a person does about it
  std::vector<FieldError> errors{};
  std::vector<std::string> candidates{};  // for target-ambiguous and target-required
};

// Outcomes are values; exceptions are for start-up and bugs.
template <class T>
using Result = tl::expected<T, Problem>;

inline tl::unexpected<Problem> refuse(std::string code, std::string detail, std::string remedy = {}) {
  Problem problem{std::move(code), std::move(detail)};
  problem.remedy = std::move(remedy);
  return tl::unexpected<Problem>(std::move(problem));
}

// A copy whose texts hold no secret.
Problem masked(Problem problem);

// Masked, since it leaves the process.
boost::json::object to_json(const Problem& problem);
// Tolerates absent members: the sender may be a captured process, and what it left out is empty.
Problem problem_from_json(const boost::json::object& object);

}  // namespace hatchd
