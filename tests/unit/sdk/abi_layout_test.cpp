// The layout of version 1.0, member by member: what is compiled against it once must work for ever. A line here never
// changes; members that come later get lines of their own.
#include <cstddef>

#include "catch.hpp"
#include "hatch/hatch.h"

static_assert(sizeof(void*) == 8 && sizeof(long) == 8, "these numbers are for LP64");

#define AT(type, member, offset) static_assert(offsetof(type, member) == (offset), #type "." #member)

static_assert(sizeof(hatch_str) == 16);
AT(hatch_str, data, 0);
AT(hatch_str, size, 8);

static_assert(sizeof(hatch_process) == 48);
AT(hatch_process, size, 0);
AT(hatch_process, pid, 4);
AT(hatch_process, start_ticks, 8);
AT(hatch_process, pid_namespace, 16);
AT(hatch_process, pidfd, 24);
AT(hatch_process, proc_fd, 28);
AT(hatch_process, uid, 32);
AT(hatch_process, gid, 36);
AT(hatch_process, main, 40);
AT(hatch_process, reserved, 44);

static_assert(sizeof(hatch_host) == 248);
AT(hatch_host, size, 0);
AT(hatch_host, abi_major, 4);
AT(hatch_host, abi_minor, 6);
AT(hatch_host, param, 8);
AT(hatch_host, params, 16);
AT(hatch_host, profile, 24);
AT(hatch_host, configuration, 32);
AT(hatch_host, format, 40);
AT(hatch_host, run_id, 48);
AT(hatch_host, caller, 56);
AT(hatch_host, target_name, 64);
AT(hatch_host, process_count, 72);
AT(hatch_host, process, 80);
AT(hatch_host, target_file, 88);
AT(hatch_host, progress, 96);
AT(hatch_host, log, 104);
AT(hatch_host, output, 112);
AT(hatch_host, cancel_fd, 120);
AT(hatch_host, remaining_ms, 128);
AT(hatch_host, max_pause_us, 136);
AT(hatch_host, pause_begin, 144);
AT(hatch_host, pause_end, 152);
AT(hatch_host, artifact, 160);
AT(hatch_host, artifact_commit, 168);
AT(hatch_host, artifact_abort, 176);
AT(hatch_host, artifact_adopt, 184);
AT(hatch_host, cache_fd, 192);
AT(hatch_host, drop_rights, 200);
AT(hatch_host, stream, 208);
AT(hatch_host, result, 216);
AT(hatch_host, rendering, 224);
AT(hatch_host, fail, 232);
AT(hatch_host, extension, 240);

static_assert(sizeof(hatch_hatch) == 120);  // 112 in 1.0
AT(hatch_hatch, size, 0);
AT(hatch_hatch, effect, 4);
AT(hatch_hatch, target, 8);
AT(hatch_hatch, flags, 12);
AT(hatch_hatch, timeout_ms, 16);
AT(hatch_hatch, max_pause_us, 20);
AT(hatch_hatch, id, 24);
AT(hatch_hatch, kind, 32);
AT(hatch_hatch, title, 40);
AT(hatch_hatch, documentation, 48);
AT(hatch_hatch, parameters, 56);
AT(hatch_hatch, capabilities, 64);
AT(hatch_hatch, renderings, 72);
AT(hatch_hatch, artifact_types, 80);
AT(hatch_hatch, requirements, 88);
AT(hatch_hatch, run, 96);
AT(hatch_hatch, preflight, 104);
AT(hatch_hatch, cooldown_ms, 112);  // 1.1
AT(hatch_hatch, reserved, 116);

static_assert(sizeof(hatch_plugin) == 72);  // 64 in 1.0
AT(hatch_plugin, magic, 0);
AT(hatch_plugin, size, 4);
AT(hatch_plugin, abi_major, 8);
AT(hatch_plugin, abi_minor, 10);
AT(hatch_plugin, reserved, 12);
AT(hatch_plugin, name, 16);
AT(hatch_plugin, version, 24);
AT(hatch_plugin, summary, 32);
AT(hatch_plugin, configuration, 40);
AT(hatch_plugin, profile, 48);
AT(hatch_plugin, hatches, 56);
AT(hatch_plugin, prepare, 64);  // 1.2

TEST_CASE("the numbers of the contract") {
  CHECK(HATCH_ABI_MAGIC == 0x48544348u);
  CHECK(HATCH_ABI_MAJOR == 1u);
  CHECK((HATCH_OK == 0 && HATCH_FAILED == 1 && HATCH_CANCELLED == 2 && HATCH_BROKEN == 3));
  CHECK((HATCH_OBSERVE == 0 && HATCH_ACT == 1 && HATCH_DISRUPT == 2));
  CHECK((HATCH_TARGET_NONE == 0 && HATCH_TARGET_OPTIONAL == 1 && HATCH_TARGET_REQUIRED == 2));
  CHECK((HATCH_INTERACTIVE == 1 && HATCH_ENVIRONMENT == 2 && HATCH_TARGET_LOG == 4 && HATCH_TARGET_NETFILES == 8));
  CHECK((HATCH_DEBUG == 0 && HATCH_INFO == 1 && HATCH_WARNING == 2 && HATCH_ERROR == 3));
  CHECK((HATCH_FILE_ENVIRONMENT == 0 && HATCH_FILE_RESOLV_CONF == 1 && HATCH_FILE_HOSTS == 2 &&
         HATCH_FILE_NSSWITCH == 3 && HATCH_FILE_LOG == 4));
}
