// What the audit says about a run (docs/audit.md).
#pragma once

#include "audit/audit.hpp"
#include "base/problem.hpp"

namespace hatchd::runs {

// Nothing that must be recorded happens while it cannot be.
Problem unwritable(const audit::Audit& audit);

}  // namespace hatchd::runs
