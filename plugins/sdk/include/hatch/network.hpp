// network.hpp: from whose network a run speaks: hatchd's own, or the target's, where that is another one (a container, a
// unit with PrivateNetwork=).
//
// SPDX-License-Identifier: MIT
//
// Library: link hatch-shared beside the headers (`pkg-config --libs hatch-shared`).
//
// A hatch that wants it declares the capability "sys_admin" and the requirement "network/1", and says whose network it
// wants before it does anything else:
//
//   const hatch::Network network = hatch::use_network(run, network_parameter == "target", "mine");
//
// Where hatchd has the right and the operator granted it, the run's process enters the target's network namespace by
// setns(2). Whatever was asked for, CAP_SYS_ADMIN is gone afterwards: what talks to strangers does not have it.
#pragma once

#include <string_view>

#include "hatch/hatch.hpp"

namespace hatch {

enum class Network {
  own,      // hatchd's, and the target's is the same, or there is no target
  other,    // hatchd's; the target is in another one
  unknown,  // hatchd's; which one the target is in cannot be seen
  target,   // the target's, which is another one than hatchd's
};

// Throws Failure with what is missing and the remedy where the target's is wanted and not to be had. `part` is the
// hatch's part of the configuration, below "plugins". Before the run starts a thread.
Network use_network(const Run& run, bool of_target, std::string_view part);

// The extension "network/1".
inline constexpr std::string_view network_extension = "network/1";
struct NetworkExtension {
  std::uint32_t size;
  // Takes the calling thread into the network namespace of the target's main process (of_target 1), or has it stay, and
  // gives up CAP_SYS_ADMIN in either case. 0, or a negative errno: -EACCES, -ENOENT: the namespace could not be opened;
  // -EPERM: the kernel refuses to enter it; -ENOTRECOVERABLE: the capability could not be given up, the run must end.
  std::int32_t (*choose)(hatch_run* run, std::uint32_t of_target);
};

}  // namespace hatch
