// A small shop that takes orders, so that a dump of it shows what real programs show: threads that wait in different
// system calls, and one that works. Each thread sits in a function whose name says what it waits for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace demo {

// The name that ps and a dump show, at most 15 bytes.
void name_thread(const std::string& name);

struct Order {
  std::uint64_t number = 0;
  std::uint32_t items = 0;
};

class Shop {
 public:
  Shop();
  ~Shop();
  Shop(const Shop&) = delete;
  void open();
  void close();
  std::uint64_t sold() const { return sold_; }

 private:
  void accept_orders();
  void work(int number);
  void schedule_deliveries();
  void sweep_cache();
  void write_log();
  void compute_prices();

  Order take_order_from_queue();
  void wait_for_order();
  void sleep_until_next_delivery();
  void sweep_expired_entries();
  std::string wait_for_log_line();

  std::atomic<bool> open_ = false;
  std::atomic<std::uint64_t> sold_ = 0, price_checksum_ = 0, logged_ = 0;
  std::mutex mutex_;
  std::condition_variable order_ready_;
  std::deque<Order> queue_;
  int orders_fd_[2] = {-1, -1};  // customers → acceptor
  int log_fd_[2] = {-1, -1};     // workers → logger
  int closing_fd_ = -1;          // eventfd: the cache sweeper waits for it, with a timeout
  int epoll_fd_ = -1;
  std::vector<std::thread> threads_;
};

}  // namespace demo
