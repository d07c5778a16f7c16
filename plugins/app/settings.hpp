// What the app inside the target says that its settings are, for hatches that try what the app uses (mail, queue): the
// answer of its hatch dump-settings (docs/hatchkit.md). Secrets are masked in it, and hatchd does not go around that.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "hatch/hatch.hpp"

namespace app {

using Variables = std::map<std::string, std::string>;

struct AppSettings {
  int pid = 0;       // who said it; 0: no process of the target has such a hatch
  Variables values;  // as an environment would hold them: "true", "587"; a member of a dictionary is NAME_MEMBER
  std::string json;  // as the app wrote them: a JSON object, hostile
  std::string why;   // there is a socket, and why nothing was learnt by it; a sentence

  // Of a value that it holds as `name`.
  std::string origin(std::string_view name) const;
};

// Asks the first process that has the hatch, within two seconds; only where the app says that it observes, and does not
// ask for role admin: whoever may read settings may not therefore act. Reaches the socket with the rights that the run has:
// those of the target's user, or a folder that is shared with hatchd's. `pid`: that process alone; 0: any.
AppSettings ask_for_settings(const hatch::Run& run, int pid = 0);

// Reads the answer of dump-settings; false: it is none.
bool read_settings(std::string_view body, AppSettings& settings);

// Whether something in the value was masked by the app.
bool is_masked(std::string_view value);
// Whether `open`, once masked as the app does, is what the app shows: then it is the value that the app has, as far as
// can be seen. Of a password nothing can be seen, so there the name has to say it.
bool fits_masked(std::string_view open, std::string_view shown);

}  // namespace app
