"""stack.dump of a real HotSpot: by its attach socket, across users, and where that socket is out of reach."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from harness import AM_ROOT, ROOT, Daemon, Program, assert_untouched, open_to_all, thread_states, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("javac"), reason="takes a JDK")
AS_TARGET = {"plugins": {"stack": {"capabilities": ["setuid", "setgid"]}}}


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-d", folder, ROOT / "tests/e2e/java/Shop.java"], check=True, timeout=120)
    open_to_all(folder)  # another user reads them too
    return folder


class Jvm(Program):
    """The shop, once all its threads are where they shall be."""

    def __init__(self, classes, *options, extra=0, **more):
        self.out = classes / f"out-{os.urandom(4).hex()}"
        with open(self.out, "wb") as out:
            super().__init__("java", "-Xmx64m", *options, "-cp", classes, "Shop", extra, stdout=out, cwd="/", **more)
        try:
            wait_until("the shop to open", self.is_open, 60)
        except AssertionError:
            self.stop()
            raise

    def is_open(self):
        assert self.popen.poll() is None, "the JVM ended"
        return "ready" in self.out.read_text()

    @property
    def socket(self):
        return pathlib.Path(f"/tmp/.java_pid{self.pid}")

    def stop(self):
        super().stop()
        with contextlib.suppress(OSError):
            self.socket.unlink()


@pytest.fixture(scope="module")
def jvm(classes):
    with Jvm(classes) as program:
        yield program


@pytest.fixture(scope="module")
def daemon(jvm):
    with Daemon(jvm.pid, AS_TARGET) as private:
        yield private


def dump(daemon, **params):
    answer = daemon.run("stack.dump", params)
    assert answer.status == 200, answer
    return answer.json()


def by_name(result):
    return {t["name"]: t for t in result["threads"]}


def functions(thread):
    return [frame.get("function", "") for frame in thread["frames"]]


def test_without_act_an_unopened_socket_stays_so_and_native_stacks_stand_in(classes):
    with Jvm(classes) as private, Daemon(private.pid, AS_TARGET) as daemon:
        result = dump(daemon)["result"]
        assert result["mode"] == "native" and result["partial"] is True
        assert "act=true would add the Java stacks" in result["verdict"]
        assert not private.socket.exists() and "Full thread dump" not in private.out.read_text()
        assert any(t["name"].startswith("VM Thread") for t in result["threads"])
        asked = daemon.run("stack.dump", {"mode": "jvm"})
        assert asked.status == 424 and "act=true" in asked.json()["remedy"], asked
        # Once it is open no act is needed any more.
        assert dump(daemon, act=True)["result"]["mode"] == "jvm"
        assert dump(daemon)["result"]["mode"] == "jvm"
        assert not list(pathlib.Path("/tmp").glob(f".attach_pid{private.pid}"))


def test_names_states_frames_and_locks(daemon, jvm):
    run = dump(daemon, act=True)
    result = run["result"]
    assert result["mode"] == "jvm" and result["runtime"].startswith("OpenJDK 64-Bit Server VM "), result["runtime"]
    assert not result.get("partial"), result["verdict"]
    threads = by_name(result)
    main = threads["main"]
    assert main["state"] == "TIMED_WAITING (sleeping)"
    assert main["id"] in map(int, os.listdir(f"/proc/{jvm.pid}/task"))
    assert functions(main)[0] == "java.lang.Thread.sleep" and functions(main)[-1] == "Shop.main"
    assert main["frames"][-1]["file"] == "Shop.java" and main["frames"][-1]["line"] > 0 and main["frames"][-1]["kind"] == "jvm"
    assert main["daemon"] is False and threads["parked"]["daemon"] is True and main["priority"] == 5
    assert threads["spinner"]["state"] == "RUNNABLE" and "Shop.spin" in functions(threads["spinner"])
    assert threads["stock-waiter"]["waiting_on"].endswith('(java.lang.Object) held by "stock-holder"')
    assert threads["ledger-waiter"]["waiting_on"].endswith('held by "ledger-holder"')
    assert "ReentrantLock" in threads["ledger-holder"]["locks"][0]
    assert threads["bell-waiter"]["waiting_on"].startswith("notification of <0x")
    assert "VM Thread" in threads and "ünïcode 店" in threads
    evil = [name for name in threads if name.startswith("evil")]
    assert len(evil) == 1 and '"forged" #98' in evil[0] and functions(threads[evil[0]])[-1] == "java.lang.Thread.run"
    assert not any("evil.Frame" in f for t in threads.values() for f in functions(t))
    ring = run["result"]["processes"][0]["deadlocks"]
    assert [{t["name"] for t in one} for one in ring] == [{"till-first", "counter-first"}]
    artifact = next(a for a in run["artifacts"] if a["name"] == "threads.txt")
    text = daemon.get(artifact["href"]).text
    assert "Full thread dump" in text and "Found 1 deadlock." in text


def test_the_text_is_clean_and_shows_who_waits_for_whom(daemon):
    text = daemon.form("/stack.dump", {"act": "true"}).text
    assert "Shop.takeTillThenCounter" in text and 'held by "counter-first"' in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)


def test_the_same_as_jstack(daemon, jvm):
    shown = subprocess.run(["jstack", str(jvm.pid)], capture_output=True, text=True, timeout=60, check=True).stdout
    theirs = {}
    # The threads that lie still, by the kernel's number.
    for block in re.split(r"\n(?=\")", shown):
        head = re.search(r"nid=(0x[0-9a-f]+|\d+) ", block.split("\n\tat", 1)[0])
        frames = re.findall(r"^\tat (\S+)\(", block, re.M)
        if head and frames and "Shop" in block and "spin" not in block and not block.startswith('"evil'):
            theirs[int(head[1], 0)] = frames
    ours = {t["id"]: functions(t) for t in dump(daemon, act=True)["result"]["threads"] if t["frames"]}
    assert len(theirs) >= 9
    for tid, frames in theirs.items():
        assert ours[tid] == frames


def test_both_kinds_of_stacks_together(daemon):
    result = dump(daemon, mode="all", act=True)["result"]
    parked = by_name(result)["parked"]
    kinds = {f["kind"] for f in parked["frames"]}
    assert kinds == {"jvm", "native"} and "Shop.park" in functions(parked)


@pytest.mark.skipif(not AM_ROOT, reason="another user takes root")
@pytest.mark.parametrize("capable", [True, False])
def test_a_jvm_of_another_user(classes, capable):
    classes.chmod(0o755)
    with Jvm(classes, "-XX:-UsePerfData", user=65534, group=65534, extra_groups=[]) as private:
        with Daemon(private.pid, AS_TARGET if capable else None) as daemon:
            result = dump(daemon, act=True)["result"]
            if capable:
                assert result["mode"] == "jvm" and private.socket.stat().st_uid == 65534
                assert "Shop.main" in functions(by_name(result)["main"])
            else:
                assert result["mode"] == "native" and result["partial"]
                asked = daemon.run("stack.dump", {"mode": "jvm", "act": True})
                assert asked.status == 424
                assert private.popen.poll() is None


def test_xrs_is_not_signalled(classes):
    """-Xrs takes the handler of SIGQUIT away: it would kill. That VM opens its socket at the start instead."""
    with Jvm(classes, "-Xrs") as private, Daemon(private.pid, AS_TARGET) as daemon:
        assert dump(daemon)["result"]["mode"] == "jvm"
        private.socket.unlink()
        result = dump(daemon, act=True)["result"]
        assert result["mode"] == "native" and "would kill this process" in result["verdict"]
        assert private.popen.poll() is None and "Full thread dump" not in private.out.read_text()


@pytest.mark.parametrize("where", ["command line", "environment"])
def test_a_disabled_attach_mechanism_is_left_alone(classes, where):
    option = "-XX:+DisableAttachMechanism"
    more = {"env": {**os.environ, "JAVA_TOOL_OPTIONS": option}} if where == "environment" else {}
    with Jvm(classes, *([option] if not more else []), **more) as private, Daemon(private.pid, AS_TARGET) as daemon:
        asked = daemon.run("stack.dump", {"mode": "jvm", "act": True})
        assert asked.status == 424 and option in asked.json()["detail"], asked
        assert "Full thread dump" not in private.out.read_text()


def test_a_stopped_vm_stays_stopped_and_gives_native_stacks(classes):
    with Jvm(classes) as private, Daemon(private.pid, AS_TARGET) as daemon:

        def is_stopped():
            return {state for _, state, _ in thread_states(private.pid).values()} == {"T"}

        os.kill(private.pid, signal.SIGSTOP)
        try:
            wait_until("it to be stopped", is_stopped)
            result = dump(daemon, act=True)["result"]
            assert result["mode"] == "native" and "stopped" in result["verdict"]
            wait_until("it to be stopped still", is_stopped)
        finally:
            os.kill(private.pid, signal.SIGCONT)
        assert_untouched(private.pid)


def test_two_hundred_threads_grouped(classes):
    with Jvm(classes, extra=200) as private, Daemon(private.pid, AS_TARGET) as daemon:
        result = dump(daemon, act=True)["result"]
        assert len([t for t in result["threads"] if t["name"].startswith("pool-")]) == 200
        grouped = dump(daemon, group=True)["result"]["threads"]
        assert max(t.get("count", 1) for t in grouped) >= 200


def test_what_listens_in_the_vms_place_is_believed_nothing(classes):
    """A socket of that name which somebody else made, and one that never answers."""
    import socket

    with Jvm(classes) as private, Daemon(private.pid, AS_TARGET) as daemon:
        private.socket.write_text("no socket")
        asked = daemon.run("stack.dump", {"mode": "jvm", "act": True})
        assert asked.status == 424 and "no socket of the JVM's user" in asked.json()["detail"], asked
        private.socket.unlink()
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as silent:
            silent.bind(str(private.socket))
            silent.listen(1)
            result = dump(daemon, act=True)["result"]
            assert result["mode"] == "native" and "does not answer" in result["verdict"]
        assert json.dumps(result)
