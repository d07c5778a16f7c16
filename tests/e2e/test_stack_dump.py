"""stack.dump of the demo shop: every thread by name, with the function that it is known to sit in."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import pytest

from harness import AM_ROOT, DEMO, Daemon, Demo, Process, assert_untouched, descendants, thread_states, wait_until

# The name of each thread, and functions of which at least one must be on its stack.
THREADS = {
    "hatchd-demo": ["serve_until_told_to_stop"],
    "acceptor": ["demo::Shop::accept_orders"],
    "worker-1": ["demo::Shop::work"],
    "worker-2": ["demo::Shop::work"],
    "worker-3": ["demo::Shop::work"],
    "worker-4": ["demo::Shop::work"],
    "scheduler": ["demo::Shop::schedule_deliveries"],
    "cache-sweeper": ["demo::Shop::sweep_expired_entries"],
    "logger": ["demo::Shop::write_log"],
    "pricer": ["demo::recompute_prices", "demo::rest_between_prices", "demo::Shop::compute_prices"],
}


def functions(thread):
    return [frame.get("function", "") for frame in thread["frames"]]


def check_threads(threads):
    by_name = {thread["name"]: thread for thread in threads}
    assert set(by_name) == set(THREADS)
    for name, expected in THREADS.items():
        found = functions(by_name[name])
        assert any(e in f for e in expected for f in found), (name, found)


@pytest.mark.parametrize("pause", ["least", "all"])
def test_every_thread_by_name_with_its_function(daemon, demo, pause):
    answer = daemon.run("stack.dump", {"target": "demo", "pause": pause})
    assert answer.status == 200, answer
    run = answer.json()
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"
    assert run["state"] == "succeeded" and run["hatch"] == "stack.dump"
    assert run["target"]["name"] == "demo" and run["target"]["pid"] == demo.pid
    result = run["result"]
    assert result["verdict"] and all(step["ok"] for step in result["steps"])
    # What sleeps is read without a stop by default, and the one thread that works may sleep.
    assert (0 if pause == "least" else 1) <= result["paused_us"] < 5_000_000
    assert result["processes"][0]["pid"] == demo.pid
    check_threads(result["threads"])
    assert {t["pid"] for t in result["threads"]} == {demo.pid}
    assert {t["id"] for t in result["threads"]} == set(thread_states(demo.pid))
    assert_untouched(demo.pid)


def test_blocked_threads_show_the_whole_stack_innermost_first(daemon):
    threads = {t["name"]: t for t in daemon.run("stack.dump").json()["result"]["threads"]}
    acceptor = [re.sub(r"\(.*", "", f) for f in functions(threads["acceptor"])]
    assert "epoll_wait" in acceptor[0] or "epoll_wait" in acceptor[1]
    assert acceptor.index("demo::Shop::wait_for_order") < acceptor.index("demo::Shop::accept_orders")
    assert not threads["acceptor"].get("truncated")
    module = next(f for f in threads["acceptor"]["frames"] if "wait_for_order" in f.get("function", ""))["module"]
    assert module.endswith("hatchd-demo")


def test_text_names_threads_and_functions(daemon):
    answer = daemon.ask("POST", "/stack.dump")
    assert answer.status == 200 and answer.type == "text/plain", answer
    for name in THREADS:
        assert name in answer.text
    assert "demo::Shop::accept_orders" in answer.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", answer.text)


def test_the_short_door_by_curl(daemon):
    shown = daemon.curl("h/stack.dump", "-d", "target=demo")
    assert shown.returncode == 0 and "demo::Shop::work" in shown.stdout, shown
    described = daemon.curl("h/stack.dump")
    assert "demo::Shop::work" not in described.stdout and "stack.dump" in described.stdout


def test_processes_main_and_by_pid(daemon, demo):
    for processes in ("main", "all", str(demo.pid)):
        answer = daemon.run("stack.dump", {"processes": processes})
        assert answer.status == 200, answer
        check_threads(answer.json()["result"]["threads"])
    answer = daemon.run("stack.dump", {"processes": "1"})
    assert answer.status in (409, 422), answer


def test_pausing_nothing_still_answers(daemon, demo):
    answer = daemon.run("stack.dump", {"pause": "none"})
    assert answer.status == 200, answer
    result = answer.json()["result"]
    assert result["paused_us"] == 0
    assert {t["name"] for t in result["threads"]} == set(THREADS)


def test_a_thousand_threads():
    with Demo("--threads", "1000", "--depth", "20") as crowd, Daemon(crowd.pid) as daemon:
        answer = daemon.run("stack.dump")
        assert answer.status == 200, answer.text[:2000]
        result = answer.json()["result"]
        assert len(result["threads"]) == len(thread_states(crowd.pid)) > 1000
        assert sum(1 for t in result["threads"] if len(t["frames"]) >= 20) >= 1000
        assert_untouched(crowd.pid)


def test_the_pause_budget_holds(demo):
    with Demo("--threads", "3000", "--depth", "50") as crowd:
        with Daemon(crowd.pid, {"hatches": {"stack.dump": {"max_pause": "500us"}}}) as daemon:
            answer = daemon.run("stack.dump", {"pause": "all"})
            assert answer.status == 200, answer.text[:2000]
            result = answer.json()["result"]
            assert result["partial"] is True and "pause" in result["verdict"]
            read = [t for t in result["threads"] if t["frames"]]
            assert len(read) < 3001, "past the budget the rest is let go unread"
            assert_untouched(crowd.pid)


@pytest.mark.parametrize("pause", ["least", "all"])
def test_runs_at_the_same_time_wait_for_each_other(pause):
    """A thread has one tracer; who comes second is not refused."""
    config = {"hatches": {"stack.dump": {"concurrency": 4, "cooldown": "0s", "timeout": "60s"}}}
    with Demo("--threads", "50", "--watch") as crowd, Daemon(crowd.pid, config) as daemon:
        for _ in range(3):
            for run in [daemon.start_run("stack.dump", {"pause": pause, "mode": "native"}) for _ in range(4)]:
                record = daemon.ended(run, 60)
                assert record["state"] == "succeeded", record["error"]
                held = [t for t in record["result"]["threads"] if "trac" in t.get("error", "")]
                assert not held and len(record["result"]["threads"]) > 50, held
        assert_untouched(crowd.pid)


def test_a_deleted_and_stripped_executable(tmp_path):
    copy = tmp_path / "shop"
    shutil.copy(DEMO, copy)
    subprocess.run(["strip", "--strip-all", copy], check=True)
    with Demo(binary=copy) as shop, Daemon(shop.pid) as daemon:
        copy.unlink()
        answer = daemon.run("stack.dump")
        assert answer.status == 200, answer
        threads = {t["name"]: t for t in answer.json()["result"]["threads"]}
        acceptor = threads["acceptor"]["frames"]
        own = [f for f in acceptor if "shop" in f.get("module", "")]
        assert own and all("offset" in f for f in own), acceptor
        assert any("epoll_wait" in f.get("function", "") for f in acceptor)


def test_a_run_killed_in_the_middle_leaves_the_target_running():
    with Demo("--threads", "3000", "--depth", "30") as crowd, Daemon(crowd.pid) as daemon:
        daemon.run("stack.dump", {"pause": "none"})  # the plugin's process is there from now on
        for _ in range(40):
            run = daemon.start_run("stack.dump", {"pause": "all"})
            end = time.monotonic() + 10
            while time.monotonic() < end:
                tracer = int(Process(crowd.pid).status()["TracerPid"])
                if tracer:
                    try:
                        os.kill(tracer, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                    break
                if daemon.record(run)["state"] not in ("queued", "running"):
                    break
            record = daemon.ended(run)
            assert_untouched(crowd.pid)
            if record["state"] == "crashed":
                assert record["error"]["code"] == "run-crashed"
                break
        else:
            pytest.fail("no run could be caught while it held the target")
        again = daemon.run("stack.dump")
        assert again.status == 200
        assert len(again.json()["result"]["threads"]) > 3000


def test_cancelling_releases_the_target(demo, daemon):
    run = daemon.start_run("stack.dump")
    daemon.ask("DELETE", f"/v1/runs/{run}")
    assert daemon.ended(run)["state"] in ("cancelled", "succeeded")
    assert_untouched(demo.pid)


def test_signals_reach_the_target_during_dumps(daemon, demo):
    """SIGUSR1 makes the demo print a line; none may be lost while it is being dumped."""
    for _ in range(20):
        os.kill(demo.pid, signal.SIGUSR1)
        assert daemon.run("stack.dump", {"pause": "all"}).status == 200
        demo.popen.stdout.readline()


def test_no_process_stays_behind(daemon):
    daemon.run("stack.dump")
    wait_until("the run's process to be gone", lambda: not any("run " in p.title for p in descendants(daemon.pid)))


def tables(daemon):
    return sorted(pathlib.Path(daemon.config["runs"]["directory"], "cache", "stack").glob("*.table"))


def checksum(data):
    """As plugins/stack/cache/table.cpp has it."""
    mask, factor = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(lane, word):
        mixed = lane ^ word
        return ((mixed << 27 | mixed >> 37) & mask) * factor & mask

    lanes = [1, 2, 3, 4]
    whole = len(data) // 32 * 32
    for i, word in enumerate(struct.unpack(f"<{whole // 8}Q", data[:whole])):
        lanes[i % 4] = mix(lanes[i % 4], word)
    for byte in data[whole:]:
        lanes[0] = mix(lanes[0], byte)
    total = len(data)
    for lane in lanes:
        total = mix(total, lane)
    return total


def test_the_second_dump_is_served_by_the_tables_of_the_first(demo):
    def acceptor(daemon):
        result = daemon.run("stack.dump").json()["result"]
        return next(t for t in result["threads"] if t["name"] == "acceptor")["frames"]

    with Daemon(demo.pid) as daemon:
        first, files = acceptor(daemon), tables(daemon)
        assert len(files) >= 3, "the program, libc, libstdc++"
        assert acceptor(daemon) == first and tables(daemon) == files

        # Another daemon takes them over, and believes them: a name that was changed in a table is what is shown.
        daemon.stop()
        spoiled = {}
        for file in files:
            data = bytearray(file.read_bytes().replace(b"epoll_wait", b"epoll_w4it"))
            if b"epoll_w4it" in data:
                data[8:16] = struct.pack("<Q", checksum(bytes(data[16:])))
                file.write_bytes(data)
                spoiled[file] = data
        daemon.start()
        forged = acceptor(daemon)
        assert any("epoll_w4it" in frame.get("function", "") for frame in forged)
        assert json.loads(json.dumps(forged).replace("w4it", "wait")) == first

        # A damaged one is as good as none, and replaced.
        for file, data in spoiled.items():
            data[-1] ^= 1
            file.write_bytes(data)
        assert acceptor(daemon) == first
        assert all(b"epoll_wait" in file.read_bytes() for file in spoiled)


def test_a_program_that_was_replaced_is_not_served_the_old_ones_table(tmp_path):
    copy = tmp_path / "shop"
    shutil.copy(DEMO, copy)
    with Demo(binary=copy) as old:
        copy.unlink()
        subprocess.run(["strip", "--strip-all", "-o", copy, DEMO], check=True)
        with Demo(binary=copy) as new, Daemon({"old": {"pid": old.pid}, "new": {"pid": new.pid}}) as daemon:
            for target, named in ("old", True), ("new", False), ("old", True), ("new", False):
                result = daemon.run("stack.dump", {"target": target}).json()["result"]
                acceptor = next(t for t in result["threads"] if t["name"] == "acceptor")
                assert any("wait_for_order" in name for name in functions(acceptor)) == named, acceptor
                assert len(acceptor["frames"]) > 4


@pytest.mark.skipif(not AM_ROOT, reason="takes root to give a file away and to start as two users")
def test_users_share_tables_of_roots_files_alone():
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as programs:
        os.chmod(folder, 0o755)
        copy = pathlib.Path(folder, "shop")
        shutil.copy(DEMO, copy)
        os.chown(copy, 65534, 65534)
        one, other = (programs.enter_context(Demo(binary=copy, user=user)) for user in (65534, 65533))
        with Daemon({"one": {"pid": one.pid}, "other": {"pid": other.pid}}) as daemon:
            assert daemon.run("stack.dump", {"target": "one"}).status == 200
            first = tables(daemon)
            result = daemon.run("stack.dump", {"target": "other"}).json()["result"]
            assert any("wait_for_order" in name for thread in result["threads"] for name in functions(thread))
            assert len(tables(daemon)) == len(first) + 1


def test_a_thread_that_sleeps_is_not_stopped():
    with Demo("--threads", "64", "--watch") as crowd, Daemon(crowd.pid) as daemon:
        for _ in range(2):
            os.kill(crowd.pid, signal.SIGUSR1)
            crowd.popen.stdout.readline()
            result = daemon.run("stack.dump").json()["result"]
            sleeping = [t for t in result["threads"] if t["name"].startswith("crowd-")]
            assert len(sleeping) == 64 and not any(t["truncated"] for t in sleeping)
            os.kill(crowd.pid, signal.SIGUSR1)
            assert json.loads(crowd.popen.stdout.readline())["eintr"] == 0
