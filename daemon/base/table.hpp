// An aligned text table for terminals: columns as wide as their longest cell, two spaces between, the last one ragged.
#pragma once

#include <string>
#include <vector>

namespace hatchd {

class Table {
 public:
  explicit Table(std::vector<std::string> head) { row(std::move(head)); }
  // Cells are made printable here, so that no caller can forget it.
  void row(std::vector<std::string> cells);
  std::string text() const;
  bool empty() const { return rows_.size() < 2; }

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "1.2 s", "340 ms", "3 min"; "12.3 MiB".
std::string short_duration(double seconds);
std::string short_bytes(double bytes);

}  // namespace hatchd
