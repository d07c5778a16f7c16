// Which plugins there are, what they say of themselves, and what each is granted.
//
// Loaded is not enabled, enabled is not permitted, permitted is recorded: a plugin's manifest says what it wants; the
// configuration decides what is on; the grant is what its process gets.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "config/config.hpp"
#include "supervisor/users.hpp"

namespace hatchd::supervisor {

struct LoadedPlugin {
  std::string name;
  std::string file;
  bool packaged = false;
  std::shared_ptr<UniqueFd> object{};  // open for reading: what is run is what was described
  boost::json::object manifest{};      // MANIFEST of link/protocol.hpp; empty when it could not be had
  boost::json::object configuration{},
      profiles{};                    // the plugin's part of the configuration, secrets resolved, defaults filled in
  std::string why_broken{};          // then this says why
  std::vector<FieldError> faults{};  // of its part of the configuration, every one: the first of them is why_broken
  std::vector<std::string> capabilities{};  // declared ∩ granted
};

using Plugins = std::map<std::string, LoadedPlugin>;

// Opens every packaged and configured plugin in a throw-away child each (all at once) and reads its manifest. A plugin
// that cannot be described is in the answer too, with the reason. `identity`: whom the children become.
Plugins load_plugins(const config::Config& config, const std::vector<std::string>& directories,
                     const std::string& worker, const Identity& identity);

// The same plugins with their parts of another configuration, for a reload: which plugins there are stays as it is. The
// failures say which parts do not fit their plugin.
Plugins reconfigured(const Plugins& plugins, const config::Config& config, std::vector<std::string>& failures);

// Gives each plugin its part of the configuration, checked against its schemas; a fault makes it broken and says where.
// Plugins that serve one hatch by kinds share the profiles below the name of its group: plugins.queue for queue.ping.
void configure(Plugins& plugins, const config::Config& config);

// The parts of the configuration that several plugins share: "queue" once a plugin brings queue.ping with a kind.
std::vector<std::string> shared_parts(const Plugins& plugins);

// Where packaged plugins are when the configuration does not say: beside this program, or where they are installed.
std::vector<std::string> plugin_directories(const config::Config& config);

// Recipes whose id is that of a hatch of a plugin: two hatches cannot have one id, and nobody would know which answers.
std::vector<FieldError> taken_ids(const Plugins& plugins, const config::Config& config);

// The catalogue as the front gets it: manifests with "enabled", "why_not", "role", limits and profile names.
boost::json::array catalogue(const Plugins& plugins, const config::Config& config);

// The `hatches` member of a plugin process's setup: what is enabled, with its limits.
// Where one stands for members (catalogue/members.hpp), also what the configuration says of these by id.
boost::json::object enabled_hatches(const boost::json::array& catalogue, const std::string& plugin,
                                    const config::Config& config);

// A plugin's file and folder belong to root or to us and can be written by nobody else; otherwise the reason.
Result<UniqueFd> open_trusted(const std::string& file);

}  // namespace hatchd::supervisor
