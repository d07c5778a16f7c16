// From what the host gives a run to what the conversation needs: profile or target, allow-list, resolver files, message.
#pragma once

#include <string>
#include <vector>

#include "hatch/hatch.hpp"
#include "mail/conversation.hpp"
#include "mail/render.hpp"
#include "mail/resolve.hpp"
#include "mail/settings.hpp"

namespace mail {

// What a caller asks for.
struct Wish {
  std::string from = "profile", network = "hatchd", sender;
  std::vector<std::string> to;
  std::string subject = "Test message", text;
  bool send = true;
};

struct Prepared {
  Settings settings;
  ResolverFiles files;
  Errand errand;
  Vantage vantage;
  std::vector<std::string> warnings;
};

// Throws hatch::Failure with a remedy where the run may not or cannot be done as it is asked for.
Prepared prepare_errand(const hatch::Run& run, const Wish& wish);

}  // namespace mail
