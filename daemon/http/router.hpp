// From method and path to a handler. The table is the list of all routes; front/front.cpp fills it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "access/access.hpp"
#include "http/message.hpp"

namespace hatchd::http {

// What a handler gets besides the request.
struct Context {
  const Request& request;
  const access::Caller& caller;
  std::map<std::string, std::string, std::less<>> captures;  // {id} in the pattern → decoded segment
  Format fallback;                                           // json below /v1, text for the short door
};

using Handler = std::function<boost::asio::awaitable<Response>(const Context&)>;

struct Route {
  std::string method;     // "GET" also answers HEAD
  std::string pattern;    // "/v1/runs/{id}"; "{group.verb}" matches a segment with a dot in it
  access::Action action;  // checked before the handler; run/read/cancel/remove are checked again by it with the details
  Handler handler;
  Format fallback = Format::json;
};

class Router {
 public:
  void add(Route route);
  struct Match {
    const Route* route = nullptr;  // nullptr: none
    std::map<std::string, std::string, std::less<>> captures;
    std::vector<std::string> allowed;  // methods of the path when the method does not fit (405)
  };
  Match find(std::string_view method, std::string_view path) const;
  const std::vector<Route>& all() const { return routes_; }
  // The literal path that was probably meant, or "".
  std::string nearest(std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace hatchd::http
