// Where the audit is kept: a folder that is the front's, so that it can rotate the files in it, and nobody else's.
#pragma once

#include "base/fd.hpp"
#include "config/config.hpp"
#include "supervisor/users.hpp"

namespace hatchd::supervisor {

// The folder of the configured file, made when it is not there. Refused when it holds anything but the audit, because it
// is given to the front's user; and when the front could not write there.
Result<UniqueFd> open_audit_folder(const config::Config& config, const Identity& front);

}  // namespace hatchd::supervisor
