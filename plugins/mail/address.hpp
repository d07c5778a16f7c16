// Mail addresses, and which of them a run may use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mail {

// Why the text is no address that may stand in a command; empty: it is one. Nothing that could end a command, a header
// or the angle brackets around it passes.
std::string why_no_address(std::string_view address);

std::string domain_of(std::string_view address);

bool is_ascii(std::string_view text);

// "oncall@example.org" is that address, "*@example.org" every one of the domain. The local part counts as written, the
// domain in any case.
bool is_allowed(std::string_view address, const std::vector<std::string>& patterns);

// "Shop <shop@example.org>" or "shop@example.org", as applications configure it; the bare address.
std::string bare_address(std::string_view text);

}  // namespace mail
