// The daemon names requests in what it says, since most who read it have curl and nothing else. Whoever uses hatchctl
// reads commands.
#pragma once

#include <string>
#include <string_view>

namespace hatchd::client {

// "GET /v1/hatches/stack.dump describes the parameters" → "hatchctl describe stack.dump describes the parameters";
// "curl --unix-socket S h/stack.dump -d target=web" → "hatchctl run stack.dump -t web". What is not known stays.
std::string in_commands(std::string_view sentence);

// The same for the lines of a text that give a remedy or a curl line; the rest stays as it is.
std::string with_commands(std::string_view text);

}  // namespace hatchd::client
