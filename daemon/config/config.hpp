// The configuration as plain structs (DESIGN section 6), and how it is read: file → JSON with origins → schema →
// structs. All problems are reported at once, each with file, line and JSON Pointer.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::config {

struct Listen {
  std::string unix_path;  // either this …
  unsigned mode = 0660;
  std::string group;
  std::string address;  // … or "ADDRESS:PORT", "[::1]:PORT"; port 0 takes a free one
  bool tls = false;
  std::vector<std::string> only;  // "health", "metrics"; empty: everything
  std::string anonymous;          // role of callers without identity on this listener; "": none
};

struct Peer {
  std::string user, group;  // one of them
  std::string role;
};

struct Token {
  std::string name;
  std::string sha256;  // 64 hex digits of the whole token text
  std::string role;
  std::vector<std::string> hatches;  // patterns ("stack.*"); empty: all
  std::vector<std::string> targets;  // names or patterns; empty: all
  std::string expires;               // date or RFC 3339 time; empty: never
};

struct Access {
  std::vector<Peer> peers;
  std::vector<Token> tokens;
  std::string anonymous;  // role; "": none
  bool read_only = false;
  std::vector<std::string> require_reason;  // effects
};

struct Tls {
  std::string certificate, key;  // paths of PEM files; empty: none
};

struct Plugin {
  bool enabled = true;
  std::string path;                       // empty: a packaged one
  std::vector<std::string> capabilities;  // the grant for one that is not packaged
  boost::json::object profiles;           // NAME → profile
  boost::json::object own;                // the plugin's own keys
};

// Overrides for one hatch; absent means what the manifest says.
struct Hatch {
  std::optional<bool> enabled;
  std::optional<std::chrono::milliseconds> timeout, cooldown;
  std::optional<unsigned> concurrency, queue;
  std::optional<std::chrono::microseconds> max_pause;
  bool recipe = false;            // it has a kind: the hatch is written here, and no plugin brings it
  boost::json::object written{};  // of a recipe: the entry itself, secrets resolved
  std::string role;               // raises it
  std::string effect;             // raises it
};

struct Runs {
  std::string directory = "/var/lib/hatchd";
  std::uint64_t keep_count = 200;  // for each hatch and target
  std::uint64_t keep_bytes = 2ull << 30;
  std::chrono::seconds keep_age{30 * 24 * 3600};
  std::string min_free = "5%";
  unsigned concurrency = 32;  // runs under way at once, of all hatches together
};

struct Audit {
  std::string file;                      // empty: audit/audit.jsonl in runs.directory
  std::uint64_t max_bytes = 8ull << 20;  // of one file
  unsigned keep = 8;                     // old files beside it
  bool journal = true;                   // to journald as well, where it is there
};

struct Users {  // whom the processes become when hatchd starts as root
  std::string front = "hatchd-front", targets = "hatchd-targets", plugins = "hatchd-plugins";
};

struct Config {
  std::vector<Listen> listen;
  boost::json::object targets;  // NAME → matcher, as written; targets/ reads it
  Access access;
  std::vector<std::string> hosts;
  boost::json::object mask;  // what is secret beyond what hatchd knows, as written; base/mask.hpp reads it
  Tls tls;
  std::map<std::string, Plugin> plugins;
  std::map<std::string, Hatch> hatches;
  Runs runs;
  Audit audit;
  Users users;
  std::vector<std::string> plugin_directories;  // where packaged plugins are; found beside the binary when empty
  std::chrono::milliseconds grace{10000};       // for an orderly end
};

// The schema of hatchd.json: what `hatchd config schema` prints and what load() validates against.
const boost::json::object& schema();

// One place in one file.
struct Place {
  std::string file;
  unsigned line = 0;
  std::string pointer;
};
struct Fault {
  Place place;
  std::string detail;
};
std::string to_string(const Fault& fault);  // "hatchd.json:12: /targets/web/unitt: unknown; did you mean \"unit\"?"

struct Loaded {
  Config config;
  boost::json::object effective;  // all files merged, defaults filled in, secrets of plugins as written ("${NAME}")
  std::vector<Fault> faults;      // not empty: config is not to be used
  std::map<std::string, Place> places;  // JSON Pointer → where it was written; absent: a default
};

// A failure at its place in the files that were loaded.
Fault fault_at(const Loaded& loaded, FieldError error);

// What targets/ says about "targets", each with its JSON Pointer below it. A parameter, because config/ does not link
// it.
using CheckTargets = std::vector<FieldError> (*)(const boost::json::object& targets);

// Reads FILE and FILE.d/*.json in name order (objects merge, lists append, a later scalar wins).
Loaded load(const std::string& file, CheckTargets check_targets = nullptr);
// The same from a value that needs no file (zero configuration, the front's copy). Faults have no line.
Loaded from_json(boost::json::object effective, CheckTargets check_targets = nullptr);

// The effective configuration as JSON, secrets masked. Loading it again gives the same.
std::string show(const Loaded& loaded);
// Where each value of it comes from, a line each: "/runs/directory  hatchd.json:12", or "default".
std::string origins(const Loaded& loaded);

// Replaces {"file": PATH} and {"credential": NAME} by what they hold, wherever `schema` (a plugin's own) says secret.
// To be done before validating against that schema. Failures name the file or credential, not the place.
std::vector<FieldError> resolve_secrets(const boost::json::object& schema, boost::json::value& value);

}  // namespace hatchd::config
