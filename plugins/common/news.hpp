// What of a text that was asked for again is new.
#pragma once

#include <string>
#include <string_view>

namespace common {

// The lines of `after` that are not those of `before`, in their order. Lines that stand once in either, such as an id or a
// time, say which parts of the two are the same, so that an entry is known for new although its message stood there before
// and although as many old ones are gone (a server that answers the newest ten). Where nothing tells entries apart their
// number counts. What was only moved, or counts up in its place, is not new.
std::string news(std::string_view before, std::string_view after);

}  // namespace common
