// Reading /proc/PID/fd.
#pragma once

#include <cstdint>

#include "settings/section.hpp"

namespace settings {

constexpr std::size_t max_descriptors = 4096;

// The numbers, ascending, at most max_descriptors of them; `count`: how many there are. `error`: errno, or 0.
std::vector<int> list_descriptors(int proc_fd, std::size_t& count, int& error);

// Of "socket:[4711]".
std::optional<std::uint64_t> socket_inode(std::string_view target);

}  // namespace settings
