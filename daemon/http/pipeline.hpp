// The way of a request through the front, in order (pipeline.cpp is the list). wire.cpp calls answer() for each request
// it has read whole; what comes back goes out as it is.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <string>
#include <vector>

#include "access/access.hpp"
#include "http/message.hpp"
#include "http/router.hpp"

namespace hatchd::http {

class Pipeline {
 public:
  Pipeline(Router router, access::Policy policy, std::vector<std::string> hosts);

  boost::asio::awaitable<Response> answer(const Request& request) const;

  // Takes over a new configuration: requests under way keep the old one. Wrong tokens stay counted.
  void reconfigure(access::Policy policy, std::vector<std::string> hosts);
  // The policy of requests that come from now on.
  std::shared_ptr<const access::Policy> policy() const;
  const Router& router() const { return router_; }

 private:
  struct Rules {
    access::Policy policy;
    std::vector<std::string> hosts;
  };
  // May a caller that began under `since` go on under the rules of now?
  Result<void> still_may(const access::Caller& caller, const Peer& peer,
                         const std::shared_ptr<const Rules>& since) const;
  boost::asio::awaitable<Result<Response>> go(const Request& request, const Router::Match& match,
                                              Response& noted) const;

  Router router_;
  std::shared_ptr<const Rules> rules_;
};

}  // namespace hatchd::http
