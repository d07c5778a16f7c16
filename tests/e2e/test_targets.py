"""How targets are found, named, lost and found again."""

import os
import pathlib
import shutil
import signal
import socket
import tempfile

import pytest

from harness import DEMO, Daemon, Demo, Program, wait_until


def target(daemon, name="shop"):
    answer = daemon.get(f"/v1/targets/{name}")
    assert answer.status == 200, answer
    return answer.json()


def pids(daemon, name="shop"):
    return [process["pid"] for process in target(daemon, name)["processes"]]


def test_facts_of_a_process(daemon, demo):
    found = target(daemon, "demo")
    assert found["name"] == "demo" and found["state"] == "up"
    [process] = found["processes"]
    assert process["pid"] == demo.pid and process["main"] is True
    assert process["name"] == "hatchd-demo" and process["executable"] == os.path.realpath(DEMO)
    assert process["executable_deleted"] is False
    assert process["runtime"] == "native"
    assert process["threads"] == 10 and process["state"] in "RS"
    assert process["uid"] == os.geteuid()
    assert process["resident_bytes"] > 100_000 and process["open_fds"] >= 8
    assert process["started"].endswith("Z") and process["pid_namespace"] == os.stat("/proc/self/ns/pid").st_ino
    listed = daemon.get("/v1/targets").json()
    assert [t["name"] for t in listed["targets"]] == ["demo"]
    assert "demo" in daemon.get("/v1/targets?format=text").text


@pytest.fixture
def copy():
    """A demo with a path and a name of its own, so that nothing else on this machine matches; any user may start it."""
    with tempfile.TemporaryDirectory(prefix="e2e-shop-") as folder:
        os.chmod(folder, 0o755)
        path = pathlib.Path(folder) / f"shop-{os.getpid()}"
        shutil.copy(DEMO, path)
        yield path


def guarded(matcher):
    """Matchers that anybody can imitate name the user when hatchd has capabilities."""
    return {"shop": {**matcher, "user": str(os.geteuid()) if os.geteuid() else "root"}}


def test_by_exe(copy):
    with Demo(binary=copy) as shop, Daemon(guarded({"exe": str(copy)})) as daemon:
        assert pids(daemon) == [shop.pid]


def test_by_name(copy):
    with Demo(binary=copy) as shop, Daemon(guarded({"name": copy.name})) as daemon:
        assert pids(daemon) == [shop.pid]


def test_by_command_line(copy):
    with Demo("--threads", "1", binary=copy) as shop, Demo(binary=copy):
        with Daemon(guarded({"cmdline": f".*{copy.name} --threads 1"})) as daemon:
            assert pids(daemon) == [shop.pid]


def test_by_listening_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with Program("/bin/sleep", "100", pass_fds=[listener.fileno()]) as holder:
            listener.close()
            with Daemon({"shop": {"port": port}}) as daemon:
                assert pids(daemon) == [holder.pid]


def test_pidfile_and_restart(tmp_path):
    """A target that restarts is found again; between the two, and after, it is gone: 409 with the reason."""
    os.chmod(tmp_path, 0o755)
    pidfile = tmp_path / "shop.pid"
    with Demo("--pidfile", pidfile) as first, Daemon({"shop": {"pidfile": str(pidfile)}}) as daemon:
        assert pids(daemon) == [first.pid]
        assert daemon.run("stack.dump").json()["target"]["pid"] == first.pid
        os.kill(first.pid, signal.SIGTERM)
        first.popen.wait(10)
        gone = daemon.run("stack.dump")
        assert gone.status == 409 and gone.json()["code"] == "target-gone", gone
        assert str(pidfile) in gone.json()["detail"]
        assert target(daemon)["state"] == "gone"
        with Demo("--pidfile", pidfile) as second:
            assert wait_until("the new one", lambda: pids(daemon) == [second.pid])
            assert daemon.run("stack.dump").json()["target"]["pid"] == second.pid


def test_a_pidfile_that_is_a_link_or_garbage_is_refused(tmp_path):
    os.chmod(tmp_path, 0o755)
    with Demo() as shop:
        (tmp_path / "real").write_text(f"{shop.pid}\n")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "garbage").write_text("12; rm -rf\x1b[31m\n")
        targets = {name: {"pidfile": str(tmp_path / name)} for name in ("real", "link", "garbage", "absent")}
        with Daemon(targets) as daemon:
            assert pids(daemon, "real") == [shop.pid]
            for name in ("link", "garbage", "absent"):
                answer = daemon.run("stack.dump", {"target": name})
                assert answer.status == 409 and answer.json()["code"] == "target-gone", (name, answer)
                assert "\x1b" not in answer.text


def test_a_pid_that_ended_is_gone_for_good():
    with Demo() as shop, Daemon(shop.pid) as daemon:
        shop.stop()
        answer = daemon.run("stack.dump")
        assert answer.status == 409 and answer.json()["code"] == "target-gone", answer
        assert daemon.get("/readyz").status == 200, "the daemon's health does not depend on a target"


def test_several_matches_are_listed(copy):
    with Demo(binary=copy) as one, Demo(binary=copy) as two, Daemon(guarded({"exe": str(copy)})) as daemon:
        assert target(daemon)["state"] == "ambiguous"
        answer = daemon.run("stack.dump")
        assert answer.status == 409, answer
        problem = answer.json()
        assert problem["code"] == "target-ambiguous"
        assert len(problem["candidates"]) == 2
        for pid in (one.pid, two.pid):
            assert any(str(pid) in candidate for candidate in problem["candidates"])
        two.stop()
        assert wait_until("one to be left", lambda: pids(daemon) == [one.pid])


def test_several_targets_and_none_named(demo):
    with Demo() as other, Daemon({"one": {"pid": demo.pid}, "two": {"pid": other.pid}}) as daemon:
        answer = daemon.run("stack.dump")
        assert answer.status == 422 and answer.json()["code"] == "target-required", answer
        assert {"one", "two"} <= set(" ".join(answer.json()["candidates"]).replace("=", " ").split())
        assert daemon.run("stack.dump", {"target": "two"}).json()["target"]["pid"] == other.pid
        unknown = daemon.run("stack.dump", {"target": "three"})
        assert unknown.status == 404 and unknown.json()["code"] == "target-unknown"
        assert daemon.get("/v1/targets/three").status == 404


def test_a_target_of_another_user_is_not_taken_for_ours(copy):
    """A matcher that anybody can imitate matches the named user alone."""
    if os.geteuid() != 0:
        pytest.skip("starting a program as another user takes root")
    with Demo(binary=copy, user=65533, group=65533, extra_groups=[]) as stranger:
        with Daemon({"shop": {"exe": str(copy), "user": "root"}}) as daemon:
            assert target(daemon)["state"] == "gone"
            with Demo(binary=copy) as ours:
                assert wait_until("ours", lambda: pids(daemon) == [ours.pid])
                assert stranger.pid not in pids(daemon)
