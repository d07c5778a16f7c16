// Names as programmers wrote them.
#pragma once

#include <string>
#include <string_view>

namespace stack {

// C++ (Itanium ABI), Rust legacy and v0; anything else comes back as it is. Suffixes that compilers add (".cold",
// ".isra.0", ".llvm.123") stay behind the name. Never more than demangled_limit bytes.
constexpr std::size_t demangled_limit = 4096;
std::string demangle(std::string_view symbol);

}  // namespace stack
