"""hatchd's processes: their names, what each may do, and what happens when one of them is killed."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from harness import HATCHD, AM_ROOT, BUILD, ROOT, SANITIZED, Daemon, Demo, assert_untouched, descendants, wait_until

# linux/capability.h
CAPABILITIES = {
    "chown": 0, "dac_override": 1, "dac_read_search": 2, "fowner": 3, "kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8,
    "sys_ptrace": 19, "checkpoint_restore": 40,
}  # fmt: skip

needs_root = pytest.mark.skipif(not AM_ROOT, reason="users of its own take root")


def documented():
    """{process: (user, capabilities)} of the table in docs/security.md."""
    rows = {}
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        match = re.match(r"\| `(hatchd[^`]*)`[^|]*\| (\S+) \| ([^|]*) \|", line)
        if match:
            rows[match[1]] = (match[2], set(re.sub(r";.*|`|none", "", match[3]).split()))
    return rows


def of_daemon():
    """The capabilities that this test, and so hatchd, has in the first place."""
    bits = int(next(line for line in open("/proc/self/status") if line.startswith("CapPrm")).split()[1], 16)
    return {name for name, number in CAPABILITIES.items() if bits >> number & 1}


@pytest.fixture
def own(demo):
    """A daemon of the test's own, with a plugin process and the spare that it makes when it has nothing else to do."""
    with Daemon(demo.pid) as private:
        assert private.run("stack.dump").status == 200
        wait_until("the spare", lambda: "hatchd: spare stack" in {p.title for p in descendants(private.pid)})
        yield private



def test_names_in_ps(own):
    titles = sorted(p.title for p in descendants(own.pid) if p.pid != own.pid)
    assert titles == ["hatchd: front", "hatchd: plugin stack", "hatchd: spare stack", "hatchd: targets"]
    comms = {p.status()["Name"] for p in descendants(own.pid)}
    assert comms == {"hatchd", "hatchd: front", "hatchd: targets", "hatchd: plugin", "hatchd: spare s"}  # 15 bytes, the last a space


def table_of(daemon):
    for process in descendants(daemon.pid):
        name = "hatchd" if process.pid == daemon.pid else process.title
        yield name, process, process.status()


def test_every_process_has_the_documented_rights_and_no_more(own):
    expected = documented()
    assert len(expected) == 6
    seen = set()
    for name, process, status in table_of(own):
        seen.add(name)
        wanted = {CAPABILITIES[c] for c in expected[name][1] & of_daemon()} if AM_ROOT else set()
        if name in ("hatchd: plugin stack", "hatchd: spare stack") and AM_ROOT:
            assert process.capabilities() <= wanted and CAPABILITIES["sys_ptrace"] in process.capabilities(), name
        else:
            assert process.capabilities() == wanted, name
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16), name
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0, name
        if AM_ROOT:
            assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16), name
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == "2", name
    assert seen == {"hatchd", "hatchd: front", "hatchd: targets", "hatchd: plugin stack", "hatchd: spare stack"}


@needs_root
def test_users_of_their_own(own):
    uids = {name: {int(u) for u in status["Uid"].split()} for name, _, status in table_of(own)}
    groups = {name: status["Groups"].split() for name, _, status in table_of(own)}
    assert uids.pop("hatchd") == {0}
    for name, ids in uids.items():
        assert len(ids) == 1 and 0 not in ids, name
        assert groups[name] == [], name
    assert len(set.union(*uids.values())) == 3


def test_nobody_of_the_same_user_may_look_inside(own):
    """An undumpable process's files in /proc belong to root, whatever its user is (proc(5))."""
    for name, process, _ in table_of(own):
        assert os.stat(f"/proc/{process.pid}/environ").st_uid == 0, name
        assert os.stat(f"/proc/{process.pid}/fd").st_uid == 0, name
        if AM_ROOT and name != "hatchd":
            uid = int(process.status()["Uid"].split()[0])
            child = os.fork()
            if child == 0:
                with contextlib.suppress(OSError):
                    os.setgroups([])
                    os.setgid(uid)
                    os.setuid(uid)
                    pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
                    os._exit(1)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, f"{name} can be read by its own user"


@pytest.fixture
def slow(demo):
    """A daemon with a hatch that takes as long as one lets it."""
    with Daemon(demo.pid, {"plugins": {"slow": {"path": str(BUILD / "fixtures" / "slow.so")}}}) as daemon:
        yield daemon


def start_slow(daemon):
    run = daemon.start_run("broken.slow")
    wait_until("it to run", lambda: daemon.record(run)["state"] == "running")
    wait_until("its process to have a name", lambda: daemon.process(f"hatchd: run {run}"))
    return run


def test_a_run_has_a_name_and_no_more_rights_than_its_plugin(slow):
    run = start_slow(slow)
    process = slow.process("hatchd: run")
    assert process.title == f"hatchd: run {run}"
    status = process.status()
    assert process.capabilities() == set(), "its plugin was granted nothing"
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert os.stat(f"/proc/{process.pid}/environ").st_uid == 0, "undumpable"
    assert process.parent == slow.process("hatchd: plugin slow").pid


def test_sigterm_ends_all_in_order_and_records_the_run(slow):
    run = start_slow(slow)
    began = time.monotonic()
    slow.stop()
    assert time.monotonic() - began < 10, "within the grace period"
    slow.start()
    record = slow.record(run)
    assert record["state"] == "cancelled" and record["error"]["code"] == "run-cancelled", record


def test_a_killed_run_is_recorded_as_crashed(slow):
    run = start_slow(slow)
    os.kill(slow.process("hatchd: run").pid, signal.SIGKILL)
    record = slow.ended(run)
    assert record["state"] == "crashed" and record["error"]["code"] == "run-crashed", record
    assert "SIGKILL" in record["error"]["detail"] or "signal 9" in record["error"]["detail"]


def test_a_killed_plugin_process_takes_its_run_along(slow):
    run = start_slow(slow)
    process = slow.process("hatchd: run")
    os.kill(slow.process("hatchd: plugin slow").pid, signal.SIGKILL)
    assert slow.ended(run)["state"] == "crashed"
    wait_until("the run's process to be gone", lambda: not process.alive())
    start_slow(slow)


def test_a_killed_front_takes_its_runs_along(slow):
    run = start_slow(slow)
    process = slow.process("hatchd: run")
    os.kill(slow.process("hatchd: front").pid, signal.SIGKILL)
    wait_until("the run's process to be gone", lambda: not process.alive())
    wait_until("the front to be back", slow.ready)
    assert slow.record(run)["state"] == "crashed"


def killed(daemon, title):
    """Kills one of the daemon's processes; it must end, and the daemon must notice."""
    process = wait_until(title, lambda: daemon.process(title))
    os.kill(process.pid, signal.SIGKILL)
    wait_until(f"{title} to be gone", lambda: not process.alive())
    return process


@pytest.mark.parametrize("title", ["hatchd: front", "hatchd: targets", "hatchd: plugin stack"])
def test_a_killed_process_is_noticed_and_replaced(own, demo, title):
    for _ in range(2):
        old = killed(own, title)

        def answers():
            with contextlib.suppress(OSError):
                return own.run("stack.dump").status == 200

        wait_until("stack.dump to answer again", answers, 15)
        assert own.process(title).pid != old.pid
    assert re.search(r"(?i)(signal|kill)", own.log()), own.log()
    assert_untouched(demo.pid)


def test_after_a_killed_front_the_history_is_there(own):
    run = own.run("stack.dump").json()["id"]
    killed(own, "hatchd: front")
    wait_until("the front", own.ready)
    assert own.record(run)["state"] == "succeeded"


def test_a_killed_supervisor_takes_all_along_and_leaves_the_target_running():
    with Demo("--threads", "1000") as crowd:
        daemon = Daemon(crowd.pid)
        try:
            daemon.run("stack.dump")
            daemon.start_run("stack.dump", {"pause": "all"})
            family = daemon.processes()
            assert len(family) >= 4
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.popen.wait(10)
            wait_until("all of hatchd to be gone", lambda: not any(p.alive() for p in family) and not daemon.left())
            assert_untouched(crowd.pid)
        finally:
            daemon.popen.poll()
            daemon.stop(clean=False)
            daemon.close()


def test_a_second_sigterm_is_no_crash(own):
    os.kill(own.pid, signal.SIGTERM)
    with contextlib.suppress(ProcessLookupError):
        os.kill(own.pid, signal.SIGTERM)
    own.popen.wait(20)
    wait_until("all of hatchd to be gone", lambda: not own.left())


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is not hatchd's")
def test_an_idle_daemon_is_small(demo):
    """Every packaged plugin is there and none has a process, which would be its memory twice."""
    with Daemon(demo.pid) as idle:
        family = descendants(idle.pid)
        assert sorted(p.title for p in family if p.pid != idle.pid) == ["hatchd: front", "hatchd: targets"]
        rollups = [pathlib.Path(f"/proc/{p.pid}/smaps_rollup").read_text() for p in family]
        assert sum(int(re.search(r"^Pss: +(\d+)", rollup, re.M)[1]) for rollup in rollups) < 16 * 1024
        # Who asks for the catalogue has the apps asked for theirs, by a process that leaves when it is idle.
        assert {hatch["id"].split(".")[0] for hatch in idle.get("/v1/hatches").json()["hatches"]} >= {"stack", "mail", "queue"}


def sleeps(family):
    """How often a thread of these has gone to sleep so far, which is as often as one was woken."""
    status = [path.read_text() for process in family for path in pathlib.Path(f"/proc/{process.pid}/task").glob("*/status")]
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1]) for text in status)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's thread is not hatchd's")
def test_an_idle_daemon_sleeps(demo):
    """No timer runs where there is nothing to do. (The watchdog's beat is test_systemd's, and there is none without one.)"""
    with Daemon(demo.pid) as idle:
        assert idle.get("/v1/targets").status == 200 and idle.get("/no/such/place").status == 404
        family = descendants(idle.pid)

        def at_rest():
            before = sleeps(family)
            time.sleep(0.6)
            return sleeps(family) == before

        wait_until("what follows start and requests to be over", at_rest)
        before = sleeps(family)
        time.sleep(2.5)
        assert sleeps(family) == before, "nobody asked for anything"
        assert [process.pid for process in descendants(idle.pid)] == [process.pid for process in family]


def test_a_runs_folder_has_one_daemon(own, tmp_path):
    """A second one would take the first one's runs for crashed."""
    other = {**own.config, "listen": [{"unix": str(tmp_path / "other.sock")}]}
    file = tmp_path / "hatchd.json"
    file.write_text(json.dumps(other))
    file.chmod(0o600)
    ran = subprocess.run([HATCHD, "serve", "--config", str(file)], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 70 and "in use by another hatchd" in ran.stderr, ran
    assert own.run("stack.dump").status == 200
