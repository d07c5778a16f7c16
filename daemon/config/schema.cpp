// The schema of hatchd.json, written as what it is. "@role" and the like are replaced by the definitions below, because
// the subset has no $ref. Relations between keys that a schema cannot say are in relations.cpp.
#include <string>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "config/config.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

constexpr const char* definitions = R"json({
  "@role": { "type": "string", "enum": ["metrics", "viewer", "operator", "admin"],
    "description": "What the caller may do: metrics < viewer (observe) < operator (and act) < admin (and disrupt)." },
  "@anonymous": { "type": ["string", "null"], "enum": ["metrics", "viewer", "operator", "admin", null],
    "description": "Role of callers without identity; null for none." },
  "@effect": { "type": "string", "enum": ["observe", "act", "disrupt"] },
  "@path": { "type": "string", "format": "absolute-path" },
  "@target": {
    "type": "object",
    "properties": {
      "pid": { "type": "integer", "minimum": 1, "maximum": 4194304, "description": "One process, until it ends." },
      "pidfile": { "type": "string", "format": "absolute-path", "description": "A file that holds the process id." },
      "exe": { "type": "string", "format": "absolute-path", "description": "The executable that it runs." },
      "cmdline": { "type": "string", "minLength": 1, "maxLength": 1000,
        "description": "A regular expression that the whole command line matches, arguments joined by spaces." },
      "name": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^/]+$", "description": "The process name, as ps shows it." },
      "port": { "type": "integer", "minimum": 1, "maximum": 65535, "description": "Who listens on this TCP port." },
      "unit": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^/]+$", "description": "A systemd service, with all its processes." },
      "container": { "type": "string", "minLength": 1, "maxLength": 255, "description": "A container, with all its processes." },
      "user": { "type": ["string", "integer"], "minimum": 0, "minLength": 1,
        "description": "Whose process it is. Required beside name, cmdline and exe, which anybody can imitate, when hatchd has capabilities." },
      "log": {
        "type": "object",
        "description": "Where the target's log is read.",
        "properties": {
          "file": "@path",
          "journal": { "type": ["boolean", "string"], "format": "absolute-path",
            "description": "true: what its unit, or without one its processes, say in the journal. A path: the folder of the journal, where it is not the system's own." },
          "command": { "type": "array", "minItems": 1, "maxItems": 64, "items": { "type": "string" },
            "description": "A program that prints it, such as [\"/usr/bin/docker\", \"logs\", \"-f\", \"--tail=20\", \"web\"]; one that ends is started again each second. \"{mark}\" is what is looked for." },
          "url": { "type": "string", "minLength": 1, "maxLength": 4000,
            "description": "Where it is asked for each second, such as an error tracker's search. {mark} as a whole segment or query value is what is looked for." },
          "headers": "@texts",
          "within": { "type": "string", "format": "duration", "description": "How long something may take to arrive there; 30s when absent for command and url." }
        },
        "additionalProperties": false,
        "oneOf": [{ "required": ["file"] }, { "required": ["journal"] }, { "required": ["command"] }, { "required": ["url"] }]
      }
    },
    "additionalProperties": false,
    "oneOf": [{ "required": ["pid"] }, { "required": ["pidfile"] }, { "required": ["exe"] }, { "required": ["cmdline"] },
              { "required": ["name"] }, { "required": ["port"] }, { "required": ["unit"] }, { "required": ["container"] }]
  },
  "@texts": { "type": "object", "additionalProperties": { "type": "string" } }
})json";

constexpr const char* text = R"json({
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "hatchd.json",
  "description": "The configuration of hatchd: JSON with comments and trailing commas.",
  "type": "object",
  "properties": {
    "$schema": { "type": "string", "description": "For editors: where this schema is." },
    "listen": {
      "type": "array", "minItems": 1, "maxItems": 64,
      "description": "Where hatchd answers.",
      "default": [{ "unix": "/run/hatchd/hatchd.sock" }],
      "items": {
        "type": "object",
        "properties": {
          "unix": { "type": "string", "format": "absolute-path", "description": "A Unix socket; callers are known by their user and groups." },
          "mode": { "type": "string", "pattern": "^0[0-7]{3}$", "description": "Mode of the socket; 0660 when absent.", "examples": ["0660"] },
          "group": { "type": "string", "minLength": 1, "description": "Group of the socket." },
          "tcp": { "type": "string", "description": "ADDRESS:PORT; beyond loopback TLS is required, unless \"only\" is given. Port 0 takes a free one.",
            "examples": ["127.0.0.1:4282", "[::1]:4282"] },
          "tls": { "type": "boolean", "description": "Whether a TCP listener speaks TLS. When absent: where \"tls\" is set, those beyond loopback without \"only\"." },
          "only": { "type": "array", "minItems": 1, "items": { "type": "string", "enum": ["health", "metrics"] },
            "description": "Answers nothing but these." },
          "anonymous": "@anonymous"
        },
        "additionalProperties": false,
        "oneOf": [{ "required": ["unix"] }, { "required": ["tcp"] }]
      }
    },
    "targets": {
      "type": "object",
      "description": "What hatchd sits beside: each name with the one way of finding it.",
      "default": {},
      "properties": { "*": "@target" },
      "patternProperties": { "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "@target" },
      "additionalProperties": false
    },
    "access": {
      "type": "object",
      "description": "Who may do what.",
      "default": {},
      "properties": {
        "peers": {
          "type": "array", "maxItems": 1000, "default": [],
          "description": "Roles of callers on the Unix socket; the highest that fits counts.",
          "items": {
            "type": "object",
            "properties": {
              "user": { "type": "string", "minLength": 1 },
              "group": { "type": "string", "minLength": 1 },
              "role": "@role"
            },
            "required": ["role"],
            "additionalProperties": false,
            "oneOf": [{ "required": ["user"] }, { "required": ["group"] }]
          }
        },
        "tokens": {
          "type": "array", "maxItems": 1000, "default": [],
          "description": "Bearer tokens; `hatchd token new NAME --role ROLE` makes one.",
          "items": {
            "type": "object",
            "properties": {
              "name": { "type": "string", "format": "name" },
              "sha256": { "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the whole token, in hexadecimal." },
              "role": "@role",
              "hatches": { "type": "array", "minItems": 1, "items": { "type": "string", "pattern": "^[a-z0-9_*-]+([.][a-z0-9_*-]+)?$" },
                "description": "The only hatches it may see and run; * stands for anything.", "examples": [["stack.*", "mail.send"]] },
              "targets": { "type": "array", "minItems": 1, "items": { "type": "string", "pattern": "^[A-Za-z0-9._*-]+$" },
                "description": "The only targets it may see." },
              "expires": { "type": "string", "description": "A date, or an RFC 3339 time.", "examples": ["2027-01-01"] }
            },
            "required": ["name", "sha256", "role"],
            "additionalProperties": false
          }
        },
        "start_token": {
          "type": "object",
          "description": "A token made at each start and left in a file of mode 0600, for callers who may read it: in containers.",
          "properties": {
            "file": { "type": "string", "format": "absolute-path", "description": "Where; a header file, as `curl -H @FILE` and hatchctl read it." },
            "role": "@role"
          },
          "required": ["file", "role"],
          "additionalProperties": false,
          "examples": [{ "file": "/run/hatchd/token.header", "role": "operator" }]
        },
        "anonymous": "@anonymous",
        "read_only": { "type": "boolean", "default": false, "description": "Refuse every hatch that acts or disrupts." },
        "require_reason": { "type": "array", "items": "@effect", "description": "Effects for which the caller has to say why." }
      },
      "additionalProperties": false
    },
    "hosts": {
      "type": "array", "default": [], "maxItems": 1000,
      "description": "Host names under which TCP listeners are reached, besides loopback names and IP addresses.",
      "items": { "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$" }
    },
    "tls": {
      "type": "object",
      "description": "Certificate and key of the TCP listeners that speak TLS; SIGHUP reads both again.",
      "properties": {
        "certificate": { "type": "string", "format": "absolute-path", "description": "PEM, the server's own certificate first, then the chain." },
        "key": { "type": "string", "format": "absolute-path", "description": "PEM, without a passphrase, and not to be read by everybody." }
      },
      "required": ["certificate", "key"],
      "additionalProperties": false
    },
    "mask": {
      "type": "object",
      "description": "What is secret beyond what hatchd knows.",
      "properties": {
        "keys": { "type": "array", "maxItems": 64, "items": { "type": "string", "minLength": 2, "maxLength": 200, "pattern": "^.*[^*?].*$" },
          "description": "Names whose value is secret; * stands for any text, ? for one character, and case does not count.", "examples": [["*_DSN"]] },
        "patterns": { "type": "array", "maxItems": 64, "items": { "type": "string", "maxLength": 200, "pattern": "^.*[^*?]{4}.*$" },
          "description": "Words that are secret wherever they stand; with four characters in a row that are no * or ?.", "examples": [["acme_????????????????*"]] },
        "allow": { "type": "array", "maxItems": 64, "items": { "type": "string", "minLength": 2, "maxLength": 200, "pattern": "^.*[^*?].*$" },
          "description": "Names and words that stay readable, whatever the other rules say.", "examples": [["CSRF_COOKIE_*"]] }
      },
      "additionalProperties": false
    },
    "audit": {
      "type": "object",
      "description": "Who did what, as JSON lines. Always on; see docs/audit.md.",
      "default": {},
      "properties": {
        "file": { "type": "string", "format": "absolute-path",
          "description": "In a folder of its own, which becomes the front's; audit/audit.jsonl in runs.directory when absent.", "examples": ["/var/log/hatchd/audit.jsonl"] },
        "max_bytes": { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "default": "8MiB", "description": "A file that is larger is rotated." },
        "keep": { "type": "integer", "minimum": 0, "maximum": 1000, "default": 8, "description": "How many old files stay beside it." },
        "journal": { "type": "boolean", "default": true, "description": "Goes to journald as well, where that is there." }
      },
      "additionalProperties": false
    },
    "plugins": {
      "type": "object",
      "description": "Packaged plugins are there unless disabled; others by path. Keys beyond these are the plugin's own.",
      "default": {},
      "patternProperties": {
        "^[a-z][a-z0-9_-]{0,63}$": {
          "type": "object",
          "properties": {
            "enabled": { "type": "boolean", "default": true },
            "path": { "type": "string", "format": "absolute-path", "description": "The shared object of a plugin that is not packaged." },
            "capabilities": { "type": "array", "items": { "type": "string" },
              "description": "What a plugin that is not packaged is granted, and what a packaged one gets besides: stack takes setuid and setgid, to act as the target's user at a JVM's attach socket; mail and queue take sys_admin, to enter the target's network (network=target).",
              "examples": [["sys_ptrace"]] },
            "profiles": {
              "type": "object",
              "description": "What its hatches work with, chosen by the parameter \"profile\".",
              "patternProperties": { "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": { "type": "object" } },
              "additionalProperties": false
            }
          }
        }
      },
      "additionalProperties": false
    },
    "hatches": {
      "type": "object",
      "description": "Settings of single hatches. Those that disrupt are on only when named here.",
      "default": {},
      "patternProperties": {
        "^[a-z][a-z0-9_-]*[.][a-z][a-z0-9_-]*$": {
          "type": "object",
          "properties": {
            "enabled": { "type": "boolean" },
            "timeout": { "type": "string", "format": "duration", "description": "A run that lasts longer is ended." },
            "cooldown": { "type": "string", "format": "duration", "description": "How long to wait between two runs on a target." },
            "concurrency": { "type": "integer", "minimum": 1, "maximum": 1000, "description": "How many may run on a target at once." },
            "queue": { "type": "integer", "minimum": 0, "maximum": 1000, "description": "How many more may wait for their turn on a target; 0 when absent: they are refused." },
            "max_pause": { "type": "string", "format": "duration", "description": "How long it may stop the target." },
            "role": { "type": "string", "enum": ["viewer", "operator", "admin"], "description": "Asks for a higher role than its effect does." },
            "effect": { "type": "string", "enum": ["observe", "act", "disrupt"], "description": "Raises its effect, never lowers it; of a recipe, its effect, act when absent." },
            "kind": { "type": "string", "enum": ["http", "signal", "command"], "description": "Makes it a recipe." },
            "target": { "type": "string", "format": "name", "description": "The target that a recipe is for." },
            "title": { "type": "string", "minLength": 1, "maxLength": 200 },
            "description": { "type": "string", "maxLength": 10000 },
            "params": { "type": "object", "additionalProperties": { "type": "object" }, "description": "Parameters, each a JSON Schema." },
            "request": {
              "type": "object",
              "description": "kind http: the request. {name} stands for a whole value.",
              "properties": {
                "method": { "type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "default": "POST" },
                "url": { "type": "string", "minLength": 1 },
                "headers": "@texts", "query": "@texts", "form": "@texts",
                "json": { "type": "object" }
              },
              "required": ["url"],
              "additionalProperties": false
            },
            "expect": {
              "type": "object",
              "description": "What has to come of it.",
              "properties": {
                "status": { "type": "integer", "minimum": 100, "maximum": 599, "description": "2xx when absent." },
                "log": { "type": "string", "minLength": 1, "description": "Text that appears in the target's log." },
                "body": { "type": "string", "minLength": 1, "description": "Text that the answer holds." },
                "json": { "type": "object", "description": "Members of the answer, by JSON Pointer.", "examples": [{ "/status": "ok" }] }
              },
              "additionalProperties": false
            },
            "signal": { "type": "string", "minLength": 1, "maxLength": 32, "description": "kind signal: its name without SIG.", "examples": ["USR1"] },
            "argv": { "type": "array", "minItems": 1, "items": { "type": "string" }, "description": "kind command: program and arguments; no shell. {name} stands for a whole argument." },
            "directory": { "type": "string", "format": "absolute-path", "description": "kind command: where it runs; / when absent." },
            "environment": "@texts",
            "user": { "type": "string", "minLength": 1, "maxLength": 64, "description": "kind command: whom it runs as; the plugins' user when absent. Takes plugins.recipe.capabilities [\"setuid\", \"setgid\"]." },
            "limits": {
              "type": "object",
              "description": "kind command: what it may use at most (getrlimit(2)).",
              "properties": {
                "memory": { "type": "string", "pattern": "^[1-9][0-9]*(B|KiB|MiB|GiB|TiB)$", "description": "Address space of each process." },
                "cpu": { "type": "string", "format": "duration", "description": "CPU time of each process, in whole seconds." },
                "files": { "type": "integer", "minimum": 3, "maximum": 1000000, "description": "Open descriptors of each process." },
                "processes": { "type": "integer", "minimum": 1, "maximum": 1000000, "description": "Processes and threads of its user, all together." },
                "file_size": { "type": "string", "pattern": "^[1-9][0-9]*(B|KiB|MiB|GiB|TiB)$", "description": "Of a file that it writes." }
              },
              "additionalProperties": false
            }
          },
          "additionalProperties": false
        }
      },
      "additionalProperties": false
    },
    "runs": {
      "type": "object",
      "description": "Where runs are recorded, and how much is kept.",
      "default": {},
      "properties": {
        "directory": { "type": "string", "format": "absolute-path", "default": "/var/lib/hatchd" },
        "keep": {
          "type": "object",
          "default": {},
          "properties": {
            "count": { "type": "integer", "minimum": 1, "maximum": 1000000, "default": 200, "description": "For each hatch and target." },
            "bytes": { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$", "default": "2GiB" },
            "age": { "type": "string", "format": "duration", "default": "30d" }
          },
          "additionalProperties": false
        },
        "concurrency": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 32, "description": "How many may run at once, of all hatches together." },
        "min_free": { "type": "string", "pattern": "^([0-9]{1,2}%|[0-9]+(B|KiB|MiB|GiB|TiB))$", "default": "5%",
          "description": "Below this much free space artifacts are refused." }
      },
      "additionalProperties": false
    },
    "users": {
      "type": "object",
      "description": "Whom the processes become when hatchd starts as root.",
      "default": {},
      "properties": {
        "front": { "type": "string", "minLength": 1, "default": "hatchd-front" },
        "targets": { "type": "string", "minLength": 1, "default": "hatchd-targets" },
        "plugins": { "type": "string", "minLength": 1, "default": "hatchd-plugins" }
      },
      "additionalProperties": false
    },
    "plugin_directories": { "type": "array", "default": [], "maxItems": 64, "items": "@path",
      "description": "Where packaged plugins are; found beside the program when empty." },
    "grace": { "type": "string", "format": "duration", "default": "10s", "description": "How long an orderly end may take." }
  },
  "additionalProperties": false
})json";

json::value expand(const json::value& value, const json::object& by_name) {
  if (const json::string* name = value.if_string())
    if (const json::value* definition = by_name.if_contains(*name)) return expand(*definition, by_name);
  if (const json::array* list = value.if_array()) {
    json::array out;
    for (const json::value& entry : *list) out.push_back(expand(entry, by_name));
    return out;
  }
  if (const json::object* object = value.if_object()) {
    json::object out;
    for (const auto& member : *object) out.emplace(member.key(), expand(member.value(), by_name));
    return out;
  }
  return value;
}

json::object make_schema() {
  const json::value by_name = json::parse(definitions);
  return expand(json::parse(text), by_name.as_object()).as_object();
}

}  // namespace

const json::object& schema() {
  static const json::object made = make_schema();
  return made;
}

}  // namespace hatchd::config
