// Reads JSON where it lies: no tree is built, nothing is copied, and nesting costs no stack. The text is a peer's and may
// be anything; what is no JSON is answered by nothing found.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace stack::node {

// Calls `visit` for each member of the object that `text` is; visit answers false to end early. False: no object, or it
// breaks off. Names are compared as they are written, which no peer of ours escapes.
bool each_member(std::string_view text,
                 const std::function<bool(std::string_view name, std::string_view value)>& visit);
bool each_element(std::string_view text, const std::function<bool(std::string_view value)>& visit);

// The value of a member; empty: there is none.
std::string_view member(std::string_view object, std::string_view name);
// The text of a string; empty when it is none. At most `limit` bytes of it.
std::string text_of(std::string_view value, std::size_t limit = 4096);
std::optional<std::int64_t> number_of(std::string_view value);

}  // namespace stack::node
