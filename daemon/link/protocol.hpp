// What hatchd's processes say to each other. Each message is one packet of a Channel: {"type": …, members} and, where
// noted, descriptors. "→" reads "sends to". A member in [brackets] may be absent. Whoever gets a message of an unknown
// type or out of turn ignores it and logs it once; a packet that is not a message at all ends the channel.
//
// Every child is started by exec with argv[0] = its name in ps ("hatchd: front"), its channel to the supervisor on
// descriptor 3 (control_fd) and nothing else but stdin (/dev/null), stdout and stderr. Its first message is `setup`.
//
// ---- supervisor → every child -----------------------------------------------------------------------------------------
//   setup    {"role": "front"|"targets"|"plugin"|"manifest"|"manifests", "rights": RIGHTS, …by role, below}; descriptors by role
//   stop     {"grace_ms"}            end in order: cancel what runs, record it, leave
//   targets  {} + channel            the way to `hatchd: targets` (again after it was restarted); front and plugins
// child → supervisor
//   ready    {}                      set up, rights lowered, serving
//   failed   {"problem": PROBLEM}    cannot serve; the child exits
//
//   RIGHTS = {["uid": N, "gid": N,] "capabilities": ["sys_ptrace", …]}: what the child lowers itself to (base/rights.hpp)
//
// ---- role "manifest": a throw-away child without rights that opens one plugin -------------------------------------------
//   setup    + [object]              descriptor of the shared object
//   → manifest MANIFEST | failed {"problem"}; then it exits
// ---- role "manifests": the same for many at once, each in a child of its own that costs a fork and no exec ---------------
//   setup    {"names": [NAME in ps…]} + [object, channel for its answer, object, channel…]
//   → on each channel: manifest MANIFEST | failed {"problem"} | ended {"how", "status"} of a child that said nothing
//
//   MANIFEST = {"plugin", "version", "summary", ["configuration": SCHEMA, "profile": SCHEMA,] "hatches": [HATCH…]}
//   HATCH    = {"id", ["kind",] "title", "documentation", "effect": "observe"|"act"|"disrupt",
//               "target": "none"|"optional"|"required", "flags": ["interactive", "environment", "target-log",
//              "target-netfiles"],
//               "timeout_ms", "max_pause_us", "parameters": SCHEMA, "preflight": bool,
//               "capabilities": […], "renderings": […], "artifact_types": […], "requirements": […]}
//
// ---- role "targets" ------------------------------------------------------------------------------------------------------
//   setup    {"targets": {NAME: the configuration's object, …}, "mask": MASK} + [own channel end for the front]
//   supervisor → targets: serve {"as": "front"|"plugin", ["plugin", "targets": [NAME…] allowed, "environment": bool,
//            "log": bool]} + [channel]   one more client
//   supervisor → targets: configure {"targets", "mask"}   another configuration, at a reload; unchanged targets
//                                   stay who they are
//   client → targets, both answered with the same "tag":
//   list     {"tag", ["target"]}     → listed {"tag", "targets": [TARGET…]}
//   open     {"tag", "target", "processes": "all"|"main"|"PID"}     only for plugins
//            → opened {"tag", "target": NAME, "processes": [PROCESS…], "counted"} + [pidfd, /proc directory] for each of processes, in order
//            | refused {"tag", "problem": PROBLEM}     target-unknown, target-gone, target-ambiguous, rights-missing
//   file     {"tag", "pid", "started_ticks", "file": "environment"|"resolv.conf"|"hosts"|"nsswitch.conf"|"log"|"network", "target"}
//            → file {"tag"} + [descriptor, read only] | refused {"tag", "problem"}
//
//   TARGET   = {"name", "match": {configuration}, "state": "up"|"gone"|"ambiguous"|"starting", ["problem": PROBLEM,]
//               "processes": [PROCESS…], "counted": how many there are in all}
//   PROCESS  = {"pid", "started": RFC 3339, "started_ticks", "pid_namespace", "main": bool, "name", "executable",
//               "executable_deleted": bool, "runtime": "native"|"python"|"jvm"|"node"|"go"|"dotnet"|"ruby"|"beam"|"php"|"unknown",
//               "state": "R"|"S"|…, "uid", "gid", "user", "threads", "cpu_seconds", "resident_bytes", "open_fds", "max_fds",
//               "tracer_pid", "command": [argv, masked]}; what may not be read is absent
//
// ---- role "plugin" -------------------------------------------------------------------------------------------------------
//   setup    {"plugin", "hatches": {ID: {["kind",] "timeout_ms", "max_pause_us", ["template": ID of a hatch of the plugin
//            from which this one is made, with its own "parameters": SCHEMA, "configuration"]}, …} (the enabled ones; "ID kind" as key
//            where there is a kind; members of a family that the configuration names, with "named": bool), "configuration": {…}, "profiles": {NAME: {…}}, "targets": [NAME…] allowed,
//            "idle_ms", "grace_ms", "max_runs", "cache": bool, ["launcher": true: it may start programs]} + [object, channel to front, channel to targets, (cache directory)]
//   front → plugin
//   start    {"run": ULID, "hatch", ["kind",] ["as": id of the member that a family's hatch runs,] "params": {…}, "format", "caller": {"name", "via"}, ["profile",]
//            ["target", "processes",] "preflight": bool, "recording": bool: `act` comes on the run channel} + [the run's end of its run channel, (the run's end of the
//            terminal's stream socket, for an interactive hatch)]
//            → started {"run", "pid", ["target": {"name", "pid", "started"}]} | refused {"run", "problem"}
//   cancel   {"run"}
//   plugin → front, after the run's process was reaped and whatever it left behind was killed
//   ended    {"run", "how": "exit"|"signal", "status": exit code or signal number,
//             "asked": null|"cancelled"|"deadline"|"pause"|"gone" (why the plugin process had asked it to stop or killed it; "gone": the target
//             or the front went away), "killed": bool, "longest_pause_us"}
//   supervisor → plugin: retire {}   at a reload that changes its setup: it takes no new runs and leaves after the last
//   A plugin process leaves by itself, with exit status exit_idle, after idle_ms without a run; and when its channel to
//   the front or to the supervisor ends.
//
// ---- the run channel: run → front; 512 KiB a message (link/receive.hpp) --------------------------------------------
//   event    {"event": "progress", "permyriad", "note"} | {"event": "log", "level": "debug"|"info"|"warning"|"error",
//             "message"} | {"event": "output", "text"}
//   artifact {"tag", "name", "media_type"} → artifact {"tag"} + [descriptor to write] | refused {"tag", "problem"}
//   commit   {"tag", "of": tag of the artifact} → committed {"tag"} | refused {"tag", "problem"};   abort {"of"}
//   result   {"bytes": N, "text": JSON object as text} where it is small (Outcome::max_inline),
//            else {"bytes": N} + [sealed memfd: JSON object]
//   rendering{"name", "bytes": N, …the same with UTF-8 text}
//   front → run: act {}   it is on record, and so is its line of the audit (hatch/act.hpp); where `start` said "recording"
//   closing  {"status": "ok"|"failed"|"cancelled"|"broken", "longest_pause_us", ["problem": PROBLEM]}   the last message of a run,
//            whose process ends then. The front does not wait for that, unless the run was cancelled, which `ended` explains.
//   A run whose process ended without `closing` has crashed, whatever its exit status says.
//
// ---- role "front" --------------------------------------------------------------------------------------------------------
//   setup    {RELOADABLE but its catalogue, "listeners": [{"unix": PATH} | {"tcp": "ADDRESS:PORT", "tls": bool}],
//            "reserved_uids": [N…] (peers with these have no role), "admin_uids": [N…] (zero configuration), "temporary": bool,
//            ["memory_limit": bytes that all of hatchd may have,]
//            "journal": bool} + [runs directory, audit directory, listener…, (socket to journald)]
//   supervisor → front: catalogue {"catalogue"}, once; then it begins, and says `ready`;   reload {RELOADABLE, "retire": [PLUGIN…] whose process the next run must not use}
//            → reloaded {} | reload-refused {"problem"}, which changes nothing;   reload-failed {"detail"}: refused before it came here
//
//   RELOADABLE = {"configuration": the effective configuration without profiles and secrets of plugins, "catalogue": [MANIFEST
//            whose HATCHes also have "enabled": bool, ["why_not", "remedy",] "role", "cooldown_ms", "concurrency", "queue",
//            "timeout_ms", "max_pause_us", "profiles": [NAME…], ["bound_to": the only target it applies to]; or {"plugin", "problem"}],
//            "peers": {"users": {NAME: UID}, "groups": {NAME: GID}}, ["tls": {"certificate": PEM, "key": PEM}]}
//
//   front → supervisor: plugin {"plugin"}   → supervisor → front: plugin {"plugin", "pid"} + [channel] | plugin-refused {"plugin", "problem"}
//   supervisor → front: plugin-ended {"plugin", "pid", "how": "exit"|"signal", "status", "idle": bool,
//            ["rest_ms": how long it waits before it starts the next one]}
//   supervisor → front: ping {}   → front → supervisor: pong {}   the service manager's watchdog asks whether its loop turns
//   front → supervisor: stopped {}    all runs ended and recorded; the front exits
#pragma once

namespace hatchd::link {

inline constexpr int control_fd = 3;

// Exit statuses of children, so that a death has a name in the log (as in OpenSSH's srclimit.h).
inline constexpr int exit_idle = 10;         // a plugin process had nothing to do
inline constexpr int exit_parent_gone = 11;  // the supervisor or the front went away
inline constexpr int exit_setup = 12;        // `failed` was sent
inline constexpr int exit_prepare = 13;      // the plugin's prepare() did what it must not
inline constexpr int exit_bug = 70;          // an exception reached main

}  // namespace hatchd::link
