#include "base/problem.hpp"

#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/mask.hpp"

namespace hatchd {

namespace json = boost::json;

Problem masked(Problem problem) {
  const auto mask = mask::rules();
  problem.detail = mask->text(problem.detail);
  problem.remedy = mask->text(problem.remedy);
  for (std::string& item : problem.missing) item = mask->text(item);
  for (FieldError& error : problem.errors) {
    error.pointer = mask->text(error.pointer);  // names are the caller's
    error.detail = mask->text(error.detail);
  }
  return problem;
}

json::object to_json(const Problem& whole) {
  const Problem problem = masked(whole);
  json::object object{{"code", problem.code}, {"detail", problem.detail}};
  if (!problem.missing.empty()) object["missing"] = json::value_from(problem.missing);
  if (!problem.remedy.empty()) object["remedy"] = problem.remedy;
  if (!problem.candidates.empty()) object["candidates"] = json::value_from(problem.candidates);
  if (!problem.errors.empty()) {
    json::array& errors = object["errors"].emplace_array();
    for (const FieldError& error : problem.errors)
      errors.push_back(json::object{{"pointer", error.pointer}, {"detail", error.detail}});
  }
  return object;
}

Problem problem_from_json(const json::object& object) {
  Problem problem{text_of(object, "code"), text_of(object, "detail")};
  problem.remedy = text_of(object, "remedy");
  problem.missing = texts_of(object, "missing");
  problem.candidates = texts_of(object, "candidates");
  if (const json::array* errors = array_of(object, "errors"))
    for (const json::value& error : *errors)
      if (const json::object* entry = error.if_object())
        problem.errors.push_back({text_of(*entry, "pointer"), text_of(*entry, "detail")});
  return problem;
}

}  // namespace hatchd
