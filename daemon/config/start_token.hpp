// access.start_token: a token that hatchd makes at each start and leaves in a file for callers who can read it. In a
// container the app's user is the daemon's, too, and so has no role: whoever may enter the container of hatchd
// (`kubectl exec`) has one by this file, and the app next door has not.
#pragma once

#include <optional>
#include <string>

#include "config/config.hpp"

namespace hatchd::config {

struct StartToken {
  std::string sha256, role;
  // Makes it one of the tokens of a configuration: at start, and again at each reload.
  void add_to(Loaded& loaded) const;
};

// Writes the file (a header line, as `curl -H @FILE` reads it), mode 0600. Nothing when the key is absent.
Result<std::optional<StartToken>> make_start_token(const Loaded& loaded);

}  // namespace hatchd::config
