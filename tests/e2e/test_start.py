"""The start: probes are answered while plugins are still being read, all else waits for these; and a start that fails
leaves things as they were.

A plugin that never comes back from its constructor holds the reading up for as long as hatchd lets it, and a supervisor
that is stopped for as long as a test wants.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import unittest.mock

import pytest

from harness import BUILD, HATCHD, Daemon, descendants, wait_until

SLOW = {"hang-at-load": {"path": str(BUILD / "fixtures/hang_at_load.so")}}


class Starting(Daemon):
    """A daemon that answers probes and is about to read its plugins; what it says to a service manager is in `manager`."""

    def __init__(self, target):
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"\0hatchd-e2e-start-{os.getpid()}-{id(self)}")
        self.manager.setblocking(False)
        with unittest.mock.patch.dict(os.environ, NOTIFY_SOCKET=self.manager.getsockname().decode().replace("\0", "@")):
            super().__init__(target, {"plugins": SLOW})

    def wait_ready(self):
        wait_until("the first answer", self.lives)

    def lives(self):
        assert self.popen.poll() is None, self.log()
        try:
            return self.get("/livez").status == 200
        except OSError:
            return False

    def told(self):
        try:
            return self.manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return []

    def close(self):
        super().close()
        self.manager.close()


@pytest.fixture
def starting(demo):
    """Its supervisor is stopped, so it stays at its start."""
    with Starting(demo.pid) as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            yield daemon
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGCONT)


def files_below(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_probes_are_answered_before_the_plugins_are_known_and_all_else_waits_for_them(starting):
    for path in ("/livez", "/healthz"):
        assert starting.get(path).status == 200
    ready = starting.get("/readyz")
    assert ready.status == 503 and ready.text == "starting\n" and ready.headers["retry-after"] == "1", ready
    assert starting.told() == [], "the service manager hears of it when the catalogue is known"
    assert not list((starting.folder / "runs").glob("audit/*")), "nothing has begun that would have to be recorded"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # Whom they concern, and whether there is such a thing, is told later, too.
        asked = {
            "catalogue": pool.submit(starting.get, "/v1/hatches"),
            "run": pool.submit(starting.run, "stack.dump"),
            "short door": pool.submit(starting.get, "/stack.dump"),
            "nothing": pool.submit(starting.get, "/v1/nothing"),
        }
        assert starting.get("/livez").status == 200, "and probes do not wait behind these"
        assert not any(answer.done() for answer in asked.values())
        os.kill(starting.pid, signal.SIGCONT)
        answers = {name: answer.result() for name, answer in asked.items()}
    assert answers["run"].status == 200 and answers["run"].json()["result"]["threads"]
    assert answers["short door"].status == 200 and answers["short door"].type == "text/plain"
    assert answers["nothing"].status == 404
    known = answers["catalogue"].json()
    [slow] = known["unavailable"]
    assert slow["plugin"] == "hang-at-load" and "did not describe itself within 10 s" in slow["why_not"], slow
    assert any(hatch["id"] == "stack.dump" and hatch["enabled"] for hatch in known["hatches"])
    assert starting.get("/readyz").status == 200
    assert wait_until("READY=1", starting.told)[0] == "READY=1"


def test_who_waits_too_long_is_told_so(starting):
    late = starting.get("/v1/hatches")
    assert late.status == 503 and late.json()["code"] == "overloaded" and late.headers["retry-after"], late
    assert "plugins are still being read" in late.json()["detail"]
    short = starting.ask("POST", "/stack.dump")
    assert short.status == 503 and short.text.startswith("refused (overloaded): hatchd is starting"), short


def test_a_front_that_ends_meanwhile_is_started_again(starting):
    os.kill(starting.process("hatchd: front").pid, signal.SIGKILL)
    os.kill(starting.pid, signal.SIGCONT)
    wait_until("hatchd to be ready", starting.ready, 60)
    assert starting.run("stack.dump").status == 200
    assert wait_until("READY=1", starting.told)[0] == "READY=1"


def test_it_ends_when_it_is_told_to_meanwhile(starting):
    starting.popen.terminate()
    os.kill(starting.pid, signal.SIGCONT)
    assert starting.popen.wait(30) == 0
    assert not os.path.exists(starting.socket)


def test_a_start_that_fails_by_what_a_plugin_says_changes_nothing(demo):
    """As above, but it is refused in the end; what a daemon left that was killed stays as it is, for one that starts."""
    with Daemon(demo.pid, {"plugins": {"slow": {"path": str(BUILD / "fixtures/slow.so")}}}) as daemon:
        under_way = daemon.start_run("broken.slow")
        wait_until("the run to be under way", lambda: daemon.record(under_way)["state"] == "running")
        daemon.processes()  # who is left is looked for at the end
        daemon.popen.kill()
        daemon.popen.wait()
        wait_until("its processes to be gone", lambda: not daemon.left())
        recipe = {"settings.dump": {"kind": "command", "argv": ["/bin/true"]}}
        refused = daemon.folder / "refused.json"
        refused.write_text(json.dumps({**daemon.config, "plugins": {**daemon.config["plugins"], **SLOW}, "hatches": recipe}))
        refused.chmod(0o600)
        before = files_below(daemon.folder / "runs")
        assert f"runs/{under_way}/run.json" in before
        started = subprocess.Popen([HATCHD, "--config", refused], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        daemon.popen = started
        wait_until("the first answer", lambda: os.path.exists(daemon.socket) and Starting.lives(daemon))
        family = descendants(started.pid)
        assert any(process.title == "hatchd: front" for process in family)
        _, said = started.communicate(timeout=60)
        assert started.returncode == 78 and "/hatches/settings.dump: is the id of a hatch of the plugin settings" in said, said
        wait_until("its processes to be gone", lambda: not any(process.alive() for process in family))
        assert files_below(daemon.folder / "runs") == before
        assert not os.path.exists(daemon.socket)
        daemon.start()
        assert daemon.record(under_way)["state"] == "crashed"
