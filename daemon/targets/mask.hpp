// Command lines hold secrets more often than they should; what leaves this process has them masked.
#pragma once

#include <string>
#include <vector>

namespace hatchd::targets {

// The arguments with values of secret options ("--password=x", "--token x", "DB_PASSWORD=x", "-px" of a MySQL client)
// and the user part of URLs replaced by "******".
std::vector<std::string> masked(std::vector<std::string> arguments);

}  // namespace hatchd::targets
