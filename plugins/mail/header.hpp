// The head of a message as it arrived.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mail/text.hpp"

namespace mail {

// Is this the message of that run?
bool is_of_run(std::string_view head, std::string_view run_id);

// Its Received lines, the first hop first, unfolded and bounded.
std::vector<std::string> hops_of(std::string_view head, const Masker& mask);

}  // namespace mail
