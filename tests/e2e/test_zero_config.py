"""hatchd --pid N: one target, no configuration."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile
import threading

import pytest

from harness import AM_ROOT, HATCHCTL, HATCHD, Daemon, Demo, all_processes, assert_untouched, wait_until


class Zero(Daemon):
    """`hatchd --pid N` in a runtime directory of its own, optionally as another user."""

    def __init__(self, pid, runtime, *arguments, uid=None):  # pylint: disable=super-init-not-called
        self.folder = pathlib.Path(runtime)
        self.seen = {}
        self.port = None
        self.output = []
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SUDO_", "HATCHD_"))}
        env.update(XDG_RUNTIME_DIR=str(runtime), TMPDIR=str(runtime))
        env["HATCHD_BUILD"] = os.environ.get("HATCHD_BUILD", "")
        prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"] if uid else []
        self.popen = subprocess.Popen(
            [*prefix, HATCHD, "--pid", str(pid), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        try:
            self.socket = wait_until("a socket", self.find_socket, 60)
            wait_until("hatchd to be ready", self.ready, 60)
            wait_until("the curl lines", lambda: "stack.dump" in self.log())
        except BaseException:
            print(self.log())
            self.stop(clean=False)
            raise

    def read(self):
        for line in self.popen.stdout:
            self.output.append(line)

    def log(self):
        return "".join(self.output)

    def find_socket(self):
        assert self.popen.poll() is None, self.log()
        found = re.search(r"--unix-socket (\S+)", self.log())
        return found[1] if found else None

    def close(self):
        self.stop()
        self.reader.join(5)
        self.popen.stdout.close()

    def curl_lines(self):
        return [line[line.index("curl ") :].strip() for line in self.output if re.search(r"(^|\s)curl ", line)]


@pytest.fixture
def runtime():
    """Short, since the path of a Unix socket has 108 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        yield folder


def check_whole(zero, pid):
    """The printed curl line works when it is pasted, and the folder is private."""
    lines = [line for line in zero.curl_lines() if "stack.dump" in line]
    assert lines, zero.log()
    ran = subprocess.run(["sh", "-c", lines[0] + " -sS"], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0 and "demo::Shop::work" in ran.stdout, (ran, zero.log())
    status = os.stat(zero.socket)
    assert status.st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(zero.socket)).st_mode & 0o777 == 0o700
    assert_untouched(pid)


def test_as_whoever_runs_the_test(demo, runtime):
    with Zero(demo.pid, runtime) as zero:
        assert zero.socket.startswith(runtime + "/hatchd-"), zero.socket
        check_whole(zero, demo.pid)
        found = subprocess.run(
            [HATCHCTL, "hatches"], env={"XDG_RUNTIME_DIR": runtime, "TMPDIR": runtime}, capture_output=True, text=True, timeout=30, check=False
        )
        if not os.path.exists("/run/hatchd/hatchd.sock"):
            assert found.returncode == 0 and "stack.dump" in found.stdout, found
    assert os.listdir(runtime) == [], "nothing stays behind"


@pytest.mark.skipif(not AM_ROOT, reason="becoming another user takes root")
def test_as_an_ordinary_user_beside_a_process_of_their_own(runtime):
    os.chown(runtime, 65533, 65533)
    with Demo(user=65533, group=65533, extra_groups=[]) as shop, Zero(shop.pid, runtime, uid=65533) as zero:
        check_whole(zero, shop.pid)
        assert os.stat(zero.socket).st_uid == 65533
        for process in zero.processes():
            assert process.capabilities() == set(), process
            assert set(process.status()["Uid"].split()) == {"65533"}, process
        answer = zero.ask("POST", "/v1/hatches/stack.dump", {})
        assert answer.json()["caller"]["uid"] in (0, 65533)


def test_with_tcp_and_a_fresh_token(demo, runtime):
    with Zero(demo.pid, runtime, "--tcp") as zero:
        line = next(l for l in zero.curl_lines() if "127.0.0.1" in l or "localhost" in l)
        words = shlex.split(line)
        header = next(w for w in words if w.startswith("@"))[1:]
        assert os.stat(header).st_mode & 0o077 == 0
        ran = subprocess.run([*words, "-sS"], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0 and "unauthenticated" not in ran.stdout, ran
        without = [w for i, w in enumerate(words) if not w.startswith("@") and not (w == "-H" and words[i + 1].startswith("@"))]
        refused = subprocess.run([*without, "-sS"], capture_output=True, text=True, timeout=60, check=False)
        assert "unauthenticated" in refused.stdout, refused


def test_two_beside_each_other(demo, runtime):
    with Demo() as other, Zero(demo.pid, runtime), Zero(other.pid, runtime) as second:
        asked = subprocess.run(
            [HATCHCTL, "hatches"], env={"XDG_RUNTIME_DIR": runtime, "TMPDIR": "/nonexistent"}, capture_output=True, text=True, timeout=30, check=False
        )
        if not os.path.exists("/run/hatchd/hatchd.sock"):
            assert asked.returncode == 2 and second.socket in asked.stderr, asked


def test_no_such_process(runtime):
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    for pid in (gone.pid, "0", "-1", "x"):
        ran = subprocess.run(
            [HATCHD, "--pid", str(pid)],
            env={"XDG_RUNTIME_DIR": runtime},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert ran.returncode != 0 and ran.stderr, pid
        assert str(pid) in ran.stderr
    assert os.listdir(runtime) == []


def test_ends_with_its_terminal(demo, runtime):
    zero = Zero(demo.pid, runtime)
    try:
        zero.processes()
        os.kill(zero.pid, signal.SIGHUP)
        zero.popen.wait(20)
        wait_until("all of it to be gone", lambda: not zero.left())
    finally:
        zero.close()
    assert os.listdir(runtime) == []
    assert not [p for p in all_processes() if p.session == zero.pid and p.state not in "ZX"]
