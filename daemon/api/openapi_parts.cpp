#include <algorithm>
#include <boost/json.hpp>

#include "api/openapi.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

constexpr RouteDoc docs[] = {
    {"GET", "/", "about", "Where to go from here", "Links", "text/plain", ""},
    {"GET", "/robots.txt", "about", "Nothing here is for search engines", "", "text/plain", ""},
    {"GET", "/openapi.json", "about", "This document", "Any", "", ""},
    {"GET", "/livez", "health", "Is hatchd alive?", "", "text/plain", ""},
    {"GET", "/healthz", "health", "The same as /livez", "", "text/plain", ""},
    {"GET", "/readyz", "health", "Is hatchd ready?", "", "text/plain", ""},
    {"GET", "/metrics", "health", "Numbers for Prometheus", "", "text/plain application/openmetrics-text", ""},
    {"GET", "/v1/hatches", "hatches", "What can be done here", "Hatches", "text/plain", "for_target"},
    {"GET", "/v1/hatches/{id}", "hatches", "All about one hatch", "Hatch", "text/plain", "for_target profile"},
    {"POST", "/v1/hatches/{id}", "hatches", "Run a hatch", "Run", "text/plain text/event-stream",
     "prefer idempotency_key hatchd_reason"},
    {"GET", "/v1/targets", "targets", "What hatchd sits beside", "Targets", "text/plain", ""},
    {"GET", "/v1/targets/{name}", "targets", "One target", "Target", "text/plain", ""},
    {"GET", "/v1/runs", "runs", "Past and present runs, newest first", "Runs", "text/plain",
     "hatch target state limit after"},
    {"GET", "/v1/runs/{id}", "runs", "One run", "Run", "text/plain", "format result"},
    {"DELETE", "/v1/runs/{id}", "runs", "Cancel a run", "Run", "text/plain", ""},
    {"GET", "/v1/runs/{id}/events", "runs", "Follow a run: state, progress, log, output, result", "",
     "text/event-stream", "last_event_id"},
    {"GET", "/v1/runs/{id}/session", "runs", "Talk to an interactive run, over a WebSocket", "", "", ""},
    {"GET", "/v1/runs/{id}/artifacts/{name}", "runs", "A file that a run produced", "", "*/*", "range if_range"},
    {"DELETE", "/v1/runs/{id}/artifacts/{name}", "runs", "Remove a file that a run produced", "", "", ""},
    {"GET", "/v1/audit", "audit", "Who did what", "Any", "text/plain", ""},
    {"GET", "/{group.verb}", "hatches", "All about one hatch, as text", "Hatch", "text/plain", "for_target profile"},
    {"POST", "/{group.verb}", "hatches", "Run a hatch, answered as text", "Run", "text/plain text/event-stream",
     "prefer idempotency_key hatchd_reason"},
};

constexpr std::string_view components = R"json({
  "securitySchemes": {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "hatchd_…",
      "description": "A token of access.tokens; `hatchd token new` makes one. On a Unix socket no token is needed: the kernel says who calls."}
  },
  "parameters": {
    "for_target": {"name": "target", "in": "query", "description": "Only what applies to this target", "schema": {"type": "string"}},
    "profile": {"name": "profile", "in": "query", "description": "The hatch that serves this profile", "schema": {"type": "string"}},
    "prefer": {"name": "Prefer", "in": "header", "description": "respond-async: answer 202 at once; wait=N: after N seconds (RFC 7240)", "schema": {"type": "string"}},
    "idempotency_key": {"name": "Idempotency-Key", "in": "header", "description": "A retry with the same key gets the first run instead of another", "schema": {"type": "string"}},
    "hatchd_reason": {"name": "Hatchd-Reason", "in": "header", "description": "Why; kept with the run", "schema": {"type": "string"}},
    "hatch": {"name": "hatch", "in": "query", "description": "Only runs of this hatch", "schema": {"type": "string"}},
    "target": {"name": "target", "in": "query", "description": "Only runs for this target", "schema": {"type": "string"}},
    "state": {"name": "state", "in": "query", "description": "Only runs in this state", "schema": {"$ref": "#/components/schemas/State"}},
    "limit": {"name": "limit", "in": "query", "description": "At most so many", "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}},
    "after": {"name": "after", "in": "query", "description": "Only older ones than this run", "schema": {"type": "string"}},
    "format": {"name": "format", "in": "query", "description": "json, text, or a rendering that the hatch made", "schema": {"type": "string"}},
    "result": {"name": "result", "in": "query", "description": "false: without its result, as JSON", "schema": {"type": "boolean", "default": true}},
    "last_event_id": {"name": "Last-Event-ID", "in": "header", "description": "Go on behind this event", "schema": {"type": "integer", "minimum": 0}},
    "range": {"name": "Range", "in": "header", "description": "A part of the file (RFC 9110)", "schema": {"type": "string"}},
    "if_range": {"name": "If-Range", "in": "header", "description": "The part only if the file is still this one, else all of it", "schema": {"type": "string"}}
  },
  "headers": {
    "Location": {"description": "The run", "schema": {"type": "string"}},
    "Hatchd-Request-Id": {"description": "Under this number the log has the request", "schema": {"type": "string"}}
  },
  "schemas": {
    "Any": {"type": "object"},
    "Links": {
      "type": "object", "additionalProperties": {"type": "string"},
      "properties": {
        "reload": {
          "type": "object", "description": "The last reload of the configuration since hatchd started, for admins",
          "properties": {"time": {"type": "string", "format": "date-time"}, "outcome": {"enum": ["succeeded", "failed"]}, "detail": {"type": ["string", "null"]}}
        }
      }
    },
    "State": {"type": "string", "enum": ["queued", "running", "succeeded", "failed", "cancelled", "timed-out", "crashed"]},
    "Effect": {"type": "string", "enum": ["observe", "act", "disrupt"]},
    "Role": {"type": "string", "enum": ["metrics", "viewer", "operator", "admin"]},
    "Problem": {
      "type": "object", "description": "RFC 9457", "required": ["type", "title", "status", "detail", "code"],
      "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "instance": {"type": "string"},
        "code": {"type": "string"},
        "missing": {"type": "array", "items": {"type": "string"}},
        "remedy": {"type": "string", "description": "What a person does about it"},
        "errors": {"type": "array", "items": {"type": "object", "required": ["pointer", "detail"],
          "properties": {"pointer": {"type": "string", "description": "JSON Pointer (RFC 6901)"}, "detail": {"type": "string"}}}},
        "candidates": {"type": "array", "items": {"type": "string"}},
        "run": {"$ref": "#/components/schemas/Run"}
      }
    },
    "Result": {
      "type": "object", "description": "What the hatch found; each has members of its own beside these", "required": ["verdict"],
      "properties": {
        "verdict": {"type": "string", "description": "One sentence for a person"},
        "hint": {"type": "string"},
        "partial": {"type": "boolean"},
        "steps": {"type": "array", "items": {"type": "object", "required": ["name", "ms", "ok"],
          "properties": {"name": {"type": "string"}, "ms": {"type": "number"}, "ok": {"type": "boolean"}, "detail": {"type": "string"}}}}
      }
    },
    "Run": {
      "type": "object",
      "required": ["id", "hatch", "target", "caller", "reason", "cause", "parent", "params", "state", "created", "started", "finished", "duration_ms", "paused_us", "error", "artifacts"],
      "properties": {
        "id": {"type": "string"}, "hatch": {"type": "string"},
        "target": {"type": ["object", "null"], "required": ["name"],
          "properties": {"name": {"type": "string"}, "pid": {"type": "integer"}, "started": {"type": "string", "format": "date-time"}}},
        "caller": {"type": "object", "required": ["name", "via"],
          "properties": {"name": {"type": "string"}, "via": {"type": "string"}, "uid": {"type": ["integer", "null"]}, "login": {"type": ["string", "null"]}}},
        "reason": {"type": ["string", "null"]}, "cause": {"type": ["string", "null"]}, "parent": {"type": ["string", "null"]},
        "params": {"type": "object", "description": "With secrets masked"},
        "state": {"$ref": "#/components/schemas/State"},
        "created": {"type": "string", "format": "date-time"},
        "started": {"type": ["string", "null"], "format": "date-time"},
        "finished": {"type": ["string", "null"], "format": "date-time"},
        "duration_ms": {"type": ["integer", "null"]},
        "paused_us": {"type": "integer", "description": "The longest that any one thread of the target was held"},
        "verdict": {"type": ["string", "null"]},
        "result": {"oneOf": [{"$ref": "#/components/schemas/Result"}, {"type": "null"}]},
        "error": {"type": ["object", "null"], "description": "Why it did not succeed", "required": ["code", "detail"],
          "properties": {"code": {"type": "string"}, "detail": {"type": "string"}, "remedy": {"type": "string"}, "missing": {"type": "array", "items": {"type": "string"}}}},
        "artifacts": {"type": "array", "items": {"type": "object", "required": ["name", "type", "bytes", "sha256", "href"],
          "properties": {"name": {"type": "string"}, "type": {"type": "string"}, "bytes": {"type": "integer"}, "sha256": {"type": "string"}, "href": {"type": "string"}}}},
        "href": {"type": "string"},
        "stored": {"type": "boolean", "description": "false: in memory only, because the disk refused it"}
      }
    },
    "Runs": {
      "type": "object", "required": ["runs", "next"],
      "properties": {"runs": {"type": "array", "items": {"$ref": "#/components/schemas/Run"}}, "next": {"type": ["string", "null"], "description": "The page behind this one"}}
    },
    "Ready": {
      "type": "object", "description": "The answer to dry_run=true", "required": ["ready"],
      "properties": {"ready": {"type": "boolean"}, "probed": {"type": "boolean", "description": "The hatch itself was asked, and not only whether target and parameters are right"},
        "hatch": {"type": "string"}, "target": {"type": ["string", "null"]},
        "code": {"type": "string", "description": "With what a run would be refused or fail"}, "detail": {"type": "string"}, "verdict": {"type": "string"},
        "missing": {"type": "array", "items": {"type": "string"}}, "remedy": {"type": ["string", "null"]}}
    },
    "Hatch": {
      "type": "object", "required": ["id", "plugin", "title", "documentation", "effect", "role", "enabled", "target", "targets", "parameters", "curl"],
      "properties": {
        "id": {"type": "string"}, "kind": {"type": "string"}, "plugin": {"type": "string"}, "title": {"type": "string"}, "documentation": {"type": "string"},
        "effect": {"$ref": "#/components/schemas/Effect"}, "role": {"$ref": "#/components/schemas/Role"},
        "enabled": {"type": "boolean"}, "why_not": {"type": ["string", "null"]}, "remedy": {"type": "string"},
        "target": {"type": "string", "enum": ["none", "optional", "required"]},
        "targets": {"type": "array", "items": {"type": "string"}},
        "max_pause_us": {"type": "integer"}, "timeout_ms": {"type": "integer"}, "cooldown_ms": {"type": "integer"}, "concurrency": {"type": "integer"},
        "needs": {"type": "object"}, "interactive": {"type": "boolean"},
        "profiles": {"type": "array", "items": {"type": "string"}},
        "renderings": {"type": "array", "items": {"type": "string"}},
        "artifact_types": {"type": "array", "items": {"type": "string"}},
        "parameters": {"type": "object", "description": "JSON Schema"},
        "curl": {"type": "string"}, "href": {"type": "string"}
      }
    },
    "Hatches": {
      "type": "object", "required": ["hatches"],
      "properties": {"hatches": {"type": "array", "items": {"$ref": "#/components/schemas/Hatch"}}, "unavailable": {"type": "array", "items": {"type": "object"}}}
    },
    "Process": {
      "type": "object", "description": "What may not be read is absent", "required": ["pid", "started"],
      "properties": {
        "pid": {"type": "integer"}, "started": {"type": "string", "format": "date-time"}, "main": {"type": "boolean"}, "name": {"type": "string"},
        "executable": {"type": "string"}, "runtime": {"type": "string"}, "state": {"type": "string"}, "user": {"type": "string"},
        "threads": {"type": "integer"}, "cpu_seconds": {"type": "number"}, "resident_bytes": {"type": "integer"},
        "open_fds": {"type": "integer"}, "max_fds": {"type": "integer"}, "command": {"type": "array", "items": {"type": "string"}}
      }
    },
    "Target": {
      "type": "object", "required": ["name", "state", "processes"],
      "properties": {
        "name": {"type": "string"}, "match": {"type": "object"}, "state": {"type": "string", "enum": ["up", "gone", "ambiguous", "starting"]},
        "problem": {"type": "object"}, "processes": {"type": "array", "items": {"$ref": "#/components/schemas/Process"}},
        "counted": {"type": "integer", "description": "How many processes there are; the first 64 are told"}
      }
    },
    "Targets": {"type": "object", "required": ["targets"], "properties": {"targets": {"type": "array", "items": {"$ref": "#/components/schemas/Target"}}}}
  }
})json";

constexpr std::string_view reserved = R"json({
  "target": {"type": "string", "description": "The target, where there are several"},
  "processes": {"type": "string", "pattern": "^(all|main|[0-9]{1,10})$", "default": "all", "description": "Which processes of the target: all, main, or a pid"},
  "format": {"type": "string", "description": "How to answer"},
  "dry_run": {"type": "boolean", "default": false, "description": "Say whether it would work, and do nothing"},
  "reason": {"type": "string", "description": "Why; kept with the run"},
  "wait": {"type": "number", "minimum": 0, "description": "Answer 202 after so many seconds"}
})json";

}  // namespace

const RouteDoc* doc_of(std::string_view method, std::string_view pattern) {
  const auto* const found = std::find_if(std::begin(docs), std::end(docs), [&](const RouteDoc& doc) {
    return doc.method == method && doc.pattern == pattern;
  });
  return found == std::end(docs) ? nullptr : found;
}

const json::object& shared_components() {
  static const json::value parsed = json::parse(json::string_view(components.data(), components.size()));
  return parsed.get_object();
}

const json::object& reserved_properties() {
  static const json::value parsed = json::parse(json::string_view(reserved.data(), reserved.size()));
  return parsed.get_object();
}

}  // namespace hatchd::api
