"""hatchd under the memory limits that unit and pod give it: a load fits, and what does not costs a run and nothing else."""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import subprocess
import time

import pytest

from harness import AM_ROOT, BUILD, HATCHD, ROOT, SANITIZED, Daemon, Demo, assert_untouched, descendants, wait_until

pytestmark = [
    pytest.mark.skipif(not AM_ROOT, reason="control groups take root"),
    pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is not hatchd's"),
]

MIB = 1024 * 1024
POD = int(re.search(r"limits: { memory: (\d+)Mi }", (ROOT / "config/kubernetes/pod.yaml").read_text())[1]) * MIB
UNIT = int(re.search(r"^MemoryMax=(\d+)M$", (ROOT / "systemd/hatchd.service").read_text(), re.M)[1]) * MIB


class Group:
    """A control group with a memory limit, of version 2 or 1 of cgroups(7)."""

    def __init__(self, limit):
        mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
        places = [(pathlib.Path(m[1]), m[2]) for m in mounts if m[2] == "cgroup2" or (m[2] == "cgroup" and "memory" in m[3].split(","))]
        for place, kind in places:
            self.folder = place / f"hatchd-e2e-{os.getpid()}"
            with contextlib.suppress(OSError):
                if kind == "cgroup2":
                    (place / "cgroup.subtree_control").write_text("+memory")
                self.folder.mkdir()
                limits = ["memory.max"] if kind == "cgroup2" else ["memory.limit_in_bytes"]
                for name in limits:
                    (self.folder / name).write_text(str(limit))
                for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):  # where swap is counted
                    with contextlib.suppress(OSError):
                        (self.folder / name).write_text("0" if name == "memory.swap.max" else str(limit))
                return
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        pytest.skip("no control group with a memory limit can be made here")

    def kills(self):
        """How many processes the kernel ended here for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                return int(re.search(r"^oom_kill (\d+)$", (self.folder / name).read_text(), re.M)[1])
        raise AssertionError("the kernel does not count its kills")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _ in range(100):
            with contextlib.suppress(OSError):
                return self.folder.rmdir()
            time.sleep(0.02)  # processes that have ended leave it a moment later


class Bounded(Daemon):
    def __init__(self, group, target, **config):
        self.group = group
        super().__init__(target, {"plugins": {"hungry": {"path": str(BUILD / "fixtures/hungry.so")}}, **config})

    def start(self):
        script = f'echo $$ > {self.group.folder}/cgroup.procs; exec "$@"'
        with open(self.log_file, "ab") as log:
            self.popen = subprocess.Popen(
                ["bash", "-c", script, "bash", HATCHD, "serve", "--config", str(self.file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait_ready()


@pytest.mark.parametrize("limit, mebibytes", [(POD, 2), (UNIT, 4)], ids=["pod", "unit"])
def test_a_load_of_big_answers_fits_into_the_documented_limit(limit, mebibytes):
    """As docs/install.md says: eight callers at once, half of them with answers of so many mebibytes."""
    with Group(limit) as group, Demo("--threads", "200") as demo:
        with Bounded(group, demo.pid, hatches={"hungry.answer": {"concurrency": 8, "queue": 64}, "stack.dump": {"queue": 64}}) as daemon:
            family = {process.pid for process in descendants(daemon.pid)}

            def ask(number):
                return daemon.run("stack.dump") if number % 2 else daemon.run("hungry.answer", {"mebibytes": mebibytes})

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(ask, range(24)))
            assert {answer.status for answer in answers} == {200}, {answer.status: answer.text[:500] for answer in answers}
            assert group.kills() == 0
            assert family <= {process.pid for process in descendants(daemon.pid)}, "nothing was started again"
        assert_untouched(demo.pid)


def test_a_run_that_takes_all_memory_is_recorded_and_nothing_else_ends():
    with Group(POD) as group, Demo() as demo:
        with Bounded(group, demo.pid) as daemon:
            assert daemon.run("stack.dump").status == 200
            # A spare comes and goes with the runs.
            wait_until("the spare", lambda: any("spare" in process.title for process in descendants(daemon.pid)))
            family = {process.pid: process.title for process in daemon.at_rest() if "spare" not in process.title}
            first = {title for pid, title in family.items() if pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"}
            assert first == {"hatchd: plugin stack"}, "plugins and their runs go before the rest"
            record = daemon.ended(daemon.start_run("hungry.everything"), 60)
            assert record["state"] == "crashed" and record["error"]["code"] == "run-crashed", record
            assert "SIGKILL" in record["error"]["detail"] and "oom-kill" in record["error"]["remedy"], record
            assert group.kills() >= 1
            alive = {process.pid for process in descendants(daemon.pid)}
            assert family.keys() <= alive, daemon.log()
            assert daemon.run("stack.dump").status == 200
        assert_untouched(demo.pid)
        assert demo.popen.poll() is None
