// What the kernel says of sockets beyond the tables of /proc/net: sock_diag(7), over netlink.
#pragma once

#include <functional>
#include <string_view>

namespace hatch {

// Asks about the sockets of this process's network namespace. `request` is the structure of its family (inet_diag_req_v2,
// unix_diag_req), as bytes; each answer is what stands behind its nlmsghdr (inet_diag_msg, unix_diag_msg, attributes).
// False: netlink is not to be had, did not answer to its end within half a second a packet, or `take` said that it cannot
// go on. Part of libhatch-shared.
bool ask_sock_diag(std::string_view request, const std::function<bool(std::string_view answer)>& take);

}  // namespace hatch
