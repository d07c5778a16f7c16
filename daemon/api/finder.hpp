// Asks `hatchd: targets` what is there. It looks into other processes, one of which may be stuck in the kernel, so
// every question has a limit; the rest of the front goes on without an answer.
#pragma once

#include <boost/json/array.hpp>
#include <map>
#include <memory>
#include <string>

#include "runs/async.hpp"

namespace hatchd::api {

class Finder {
 public:
  explicit Finder(runs::asio::any_io_executor executor) : executor_(executor), changed_(executor) {}

  // The channel from the supervisor; again after the targets process was restarted.
  void connect(link::Channel channel);
  void close();

  // TARGET objects of link/protocol.hpp, of one target or of all. overloaded when there is no answer within two
  // seconds.
  runs::asio::awaitable<Result<boost::json::array>> list(std::string target = {});

 private:
  struct Question {
    bool answered = false;
    boost::json::array targets;
  };
  runs::asio::awaitable<void> listen(std::shared_ptr<runs::Receiver> receiver);

  runs::asio::any_io_executor executor_;
  runs::Signal changed_;
  std::shared_ptr<runs::Receiver> receiver_;
  std::map<std::int64_t, Question> questions_;
  std::int64_t last_tag_ = 0;
};

}  // namespace hatchd::api
