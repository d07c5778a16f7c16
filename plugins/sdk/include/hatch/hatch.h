/* hatch.h: the contract between hatchd and a plugin, version 1.
 *
 * SPDX-License-Identifier: MIT
 *
 * A plugin is a shared object that exports one function, hatch_plugin_entry(). It returns a static description of
 * the hatches the plugin brings. hatchd opens the object in a process of its own and calls a hatch in a process
 * forked from that one, so whatever a hatch does ends with its run.
 *
 * Most authors want <hatch/hatch.hpp>, which turns this contract into about thirty lines of C++.
 *
 * The rules, in the order in which they matter:
 *
 * Memory.   Every pointer is borrowed for the call that passes it; who wants to keep the bytes copies them. Neither
 *           side frees the other's memory. Descriptions are static: they live as long as the object is loaded.
 * Text.     UTF-8. Text that crosses at run time is a pointer and a size; descriptions use NUL-terminated constants.
 * Growth.   Members are only ever appended. Each struct begins with its own size, and the reader treats what lies
 *           beyond that size as zero. Arrays are NULL-terminated arrays of pointers, so elements can grow too.
 *           Same major and any minor load; a function the host does not have is NULL or lies beyond `size`. Larger
 *           ideas come through extension("name/revision"). An enumeration grows only where the value flows from the
 *           plugin to the host, and the host refuses a value that it does not know.
 * Threads.  run() is called on the only thread of a fresh process. It may start threads, but only the calling thread may
 *           use `run` and `host`, save for the pauses. Loading the object must start none, which fork() would lose;
 *           neither may prepare().
 * Ending.   A run ends when run() has called result() or fail() and returned. A process that ends without that is a
 *           crash, whatever its exit status: a hatch that calls _exit(0) must not look like a success.
 * Cancel.   cancel_fd() becomes readable when the run is cancelled or out of time; poll it beside your own descriptors.
 *           A run that does not return within the grace period (2 s) is killed.
 * Rights.   A run has the capabilities that the hatch declares and that the operator granted, until drop_rights().
 *           Gather first, drop, then parse what strangers wrote.
 */
#ifndef HATCH_HATCH_H
#define HATCH_HATCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HATCH_ABI_MAGIC 0x48544348u /* "HTCH" */
#define HATCH_ABI_MAJOR 1u
#define HATCH_ABI_MINOR 2u

/* Text or bytes, borrowed. `data` may be NULL only when `size` is 0. */
typedef struct hatch_str {
  const char* data;
  size_t size;
} hatch_str;

/* One run, opaque to the plugin. */
typedef struct hatch_run hatch_run;

/* What run() and preflight() return. */
enum {
  HATCH_OK = 0,        /* result() was called and is the answer */
  HATCH_FAILED = 1,    /* fail() was called */
  HATCH_CANCELLED = 2, /* stopped because cancel_fd() became readable */
  HATCH_BROKEN = 3     /* the plugin met its own bug; fail() may have been called to say which */
};

/* What a hatch does to the world. The highest of hatch, parameters (x-effect) and configuration counts. */
enum {
  HATCH_OBSERVE = 0, /* looks; may pause the target for the stated budget */
  HATCH_ACT = 1,     /* leaves traces: a mail, a queued task, a signal that makes the target print */
  HATCH_DISRUPT = 2  /* may slow, stop or lay open the target */
};

/* Whether a hatch works on a target. */
enum { HATCH_TARGET_NONE = 0, HATCH_TARGET_OPTIONAL = 1, HATCH_TARGET_REQUIRED = 2 };

/* hatch_hatch.flags */
enum {
  HATCH_INTERACTIVE = 1u << 0, /* needs stream(): a console */
  HATCH_ENVIRONMENT = 1u << 1, /* wants the target's environment through target_file() */
  HATCH_TARGET_LOG = 1u << 2,  /* wants the target's log through target_file() */
  HATCH_TARGET_NETFILES =
      1u << 3 /* wants the main process's resolv.conf, hosts and nsswitch.conf through target_file() */
};

enum { HATCH_DEBUG = 0, HATCH_INFO = 1, HATCH_WARNING = 2, HATCH_ERROR = 3 };

/* Which file of the target target_file() opens. */
enum {
  HATCH_FILE_ENVIRONMENT = 0, /* /proc/PID/environ; flag HATCH_ENVIRONMENT */
  HATCH_FILE_RESOLV_CONF = 1, /* the target's /etc/resolv.conf; this and the next two: flag HATCH_TARGET_NETFILES */
  HATCH_FILE_HOSTS = 2,       /* the target's /etc/hosts */
  HATCH_FILE_NSSWITCH = 3,    /* the target's /etc/nsswitch.conf */
  HATCH_FILE_LOG = 4          /* the log that the configuration names; flag HATCH_TARGET_LOG */
};

/* One process of the target. A process is pid + start time + pid namespace; `pidfd` holds it, so a signal sent through
 * it never reaches a successor of the same number. Both descriptors are open until the run ends; the plugin does not
 * close them. */
typedef struct hatch_process {
  uint32_t size;          /* set by the caller to sizeof(hatch_process): the host fills no more than that */
  int32_t pid;            /* in hatchd's pid namespace */
  uint64_t start_ticks;   /* field 22 of /proc/PID/stat: clock ticks since boot (proc(5)) */
  uint64_t pid_namespace; /* inode of /proc/PID/ns/pid, 0 when it may not be read */
  int32_t pidfd;          /* pidfd_open(2) */
  int32_t proc_fd;        /* O_PATH directory /proc/PID: openat() every file relative to it */
  uint32_t uid;           /* effective */
  uint32_t gid;           /* effective */
  uint32_t main;          /* 1 for the main process of the target */
  uint32_t reserved;
} hatch_process;

/* What hatchd offers to a run. Functions that return int32_t answer 0 for success and a negative errno otherwise,
 * unless they say something else. */
typedef struct hatch_host {
  uint32_t size;
  uint16_t abi_major, abi_minor;

  /* -- parameters, validated against the hatch's schema, defaults filled in -- */
  /* One parameter: 1 when it is there, 0 when it is not. Strings come as their text, other values as JSON text. */
  int32_t (*param)(hatch_run* run, hatch_str name, hatch_str* value);
  /* All parameters as one JSON object. */
  hatch_str (*params)(hatch_run* run);
  /* The chosen profile of the plugin's configuration as a JSON object, secrets included; "{}" when there is none. */
  hatch_str (*profile)(hatch_run* run);
  /* The plugin's own configuration, without profiles, as a JSON object. */
  hatch_str (*configuration)(hatch_run* run);
  /* The rendering that the caller asked for: "json", "text" or one that the hatch declares. */
  hatch_str (*format)(hatch_run* run);
  /* The run's id, a ULID; and who asked for it, as a JSON object {"name", "via"}. */
  hatch_str (*run_id)(hatch_run* run);
  hatch_str (*caller)(hatch_run* run);

  /* -- the target -- */
  hatch_str (*target_name)(hatch_run* run); /* empty when the run has no target */
  uint32_t (*process_count)(hatch_run* run);
  int32_t (*process)(hatch_run* run, uint32_t index, hatch_process* out);
  /* A descriptor open for reading on a file of process `index`, which the plugin closes; or a negative errno:
   * -EACCES without the flag, -ENOENT when there is no such file. */
  int32_t (*target_file)(hatch_run* run, uint32_t index, uint32_t file);

  /* -- telling the caller how it goes -- */
  void (*progress)(hatch_run* run, uint32_t permyriad, hatch_str note); /* 0 to 10000 */
  void (*log)(hatch_run* run, uint32_t level, hatch_str message);
  void (*output)(hatch_run* run, hatch_str bytes); /* what a target printed, as it comes */

  /* -- time -- */
  int32_t (*cancel_fd)(hatch_run* run);     /* readable: stop soon. The plugin does not read or close it */
  int64_t (*remaining_ms)(hatch_run* run);  /* until the deadline; 0 when it has passed */
  uint64_t (*max_pause_us)(hatch_run* run); /* the pause budget: how long any one thread of the target may be held */
  /* Call these around every stop of the target. The host measures the longest and kills a run that holds the target
   * far beyond its budget. They may be called from any thread and nest. pause_end() returns the microseconds held. */
  void (*pause_begin)(hatch_run* run);
  uint64_t (*pause_end)(hatch_run* run);

  /* -- artifacts: files that outlive the run -- */
  /* A descriptor to write to, or a negative errno (-ENOSPC: no room; the run goes on without it). `name` has no '/'.
   * Close it through commit or abort; what was neither is aborted. Who only appends may set O_APPEND on it
   * (fcntl(2), F_SETFL): then the host hashes the file while it grows, and a commit is quick. */
  int32_t (*artifact)(hatch_run* run, hatch_str name, hatch_str media_type);
  int32_t (*artifact_commit)(hatch_run* run, int32_t fd);
  void (*artifact_abort)(hatch_run* run, int32_t fd);
  /* Keep the content of an open regular file or memfd as an artifact. The descriptor stays the plugin's. */
  int32_t (*artifact_adopt)(hatch_run* run, int32_t fd, hatch_str name, hatch_str media_type);

  /* -- the rest -- */
  /* A directory (descriptor) for what is costly to learn and may be lost at any time, or -1. Not to be closed. */
  int32_t (*cache_fd)(hatch_run* run);
  /* Ends the first phase: no capability and no ptrace, signal, exec or socket from here on. 0, or a negative errno,
   * after which the run must end without parsing what it gathered. */
  int32_t (*drop_rights)(hatch_run* run);
  /* Interactive hatches: a socket to the caller's terminal, bytes both ways, end of file when the caller left; or -1.
   * Not to be closed. */
  int32_t (*stream)(hatch_run* run);

  /* -- the answer -- */
  /* The result as a JSON object with at least "verdict" (a sentence for a person). May be called before fail() to hand
   * over how far the run came. The last call counts. */
  int32_t (*result)(hatch_run* run, hatch_str json);
  /* A rendering of the result: "text" for people; others as declared. Without "text" the host renders verdict, steps
   * and the members itself. */
  int32_t (*rendering)(hatch_run* run, hatch_str name, hatch_str text);
  /* Why the hatch did not succeed. `code`: "run-failed", or "rights-missing" when hatchd lacks a right on the target.
   * `missing` and `remedy` name what is missing and what a person does about it; both may be NULL. */
  void (*fail)(hatch_run* run, hatch_str code, hatch_str detail, const char* const* missing, const char* remedy);

  /* What came after v1: a struct that "name/revision" documents, or NULL. */
  const void* (*extension)(hatch_run* run, hatch_str id);
} hatch_host;

typedef struct hatch_hatch {
  uint32_t size;
  uint32_t effect;       /* HATCH_OBSERVE … */
  uint32_t target;       /* HATCH_TARGET_NONE … */
  uint32_t flags;        /* HATCH_INTERACTIVE | … */
  uint32_t timeout_ms;   /* how long a run may take unless the configuration says otherwise; 0: 30 s */
  uint32_t max_pause_us; /* pause budget unless the configuration says otherwise; 0: never pauses the target */
  const char* id;        /* "group.verb", lower case, digits and '-' */
  const char* kind;      /* NULL; or the profile kind that it serves: id + kind is unique */
  const char* title;     /* one line */
  const char* documentation;
  const char* parameters;            /* JSON Schema subset of an object, see docs/writing-a-hatch.md; NULL: none */
  const char* const* capabilities;   /* "sys_ptrace", "dac_read_search", … capabilities(7) in lower case */
  const char* const* renderings;     /* beside "json" and "text" */
  const char* const* artifact_types; /* media types */
  const char* const* requirements;   /* extensions without which it cannot run */
  int32_t (*run)(hatch_run* run, const hatch_host* host);
  int32_t (*preflight)(hatch_run* run,
                       const hatch_host* host); /* NULL, or: would run() work? answers by result() or fail() */
  /* -- since 1.1 -- */
  uint32_t cooldown_ms; /* how long it rests on a target after a run, unless the configuration says otherwise */
  uint32_t reserved;
} hatch_hatch;

typedef struct hatch_plugin {
  uint32_t magic; /* HATCH_ABI_MAGIC */
  uint32_t size;
  uint16_t abi_major, abi_minor;
  uint32_t reserved;
  const char* name; /* the key below "plugins" in the configuration */
  const char* version;
  const char* summary;
  const char* configuration;         /* JSON Schema subset of the plugin's own keys below plugins.NAME; NULL: none */
  const char* profile;               /* JSON Schema subset of one profile; NULL: the plugin has no profiles */
  const hatch_hatch* const* hatches; /* NULL-terminated */
  /* -- since 1.2 -- */
  /* NULL, or: does ahead of time what each run would do again, such as setting up a library. Called at most once in a
   * process that runs are forked from, some time after its first run, so a run must also work without it. What it
   * leaves in memory each later run has from its birth. It must be quick (nothing else is served meanwhile; 5 s end the
   * process), and leave no thread, descriptor, child or secret behind. */
  void (*prepare)(void);
} hatch_plugin;

#if defined(__GNUC__)
#define HATCH_EXPORT __attribute__((visibility("default")))
#else
#define HATCH_EXPORT
#endif

/* The one exported symbol. A function and not a datum: dlsym(3) promises more for functions, and a C++ plugin can
 * build its tables on the first call. Returns NULL when the plugin cannot describe itself. */
HATCH_EXPORT const hatch_plugin* hatch_plugin_entry(void);
typedef const hatch_plugin* (*hatch_plugin_entry_fn)(void);

#ifdef __cplusplus
}
#endif
#endif
