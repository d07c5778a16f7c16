"""Plugins that are broken on purpose: each outcome is named, and the daemon still answers."""

import os
import re
import subprocess
import time

import pytest

from harness import BUILD, HATCHD, SANITIZED, Daemon, Process, assert_untouched, wait_until


def path_of(name):
    path = BUILD / "fixtures" / f"{name.replace('-', '_')}.so"
    assert path.exists(), f"{path} was not built"
    return str(path)


def with_plugin(demo, name, **hatch):
    config = {"plugins": {name: {"path": path_of(name)}}}
    if hatch:
        config["hatches"] = {f"broken.{name}": hatch}
    return Daemon(demo.pid, config)


def check_still_answers(daemon, demo):
    assert daemon.get("/livez").status == 200
    assert daemon.run("stack.dump").status == 200
    assert_untouched(demo.pid)


@pytest.mark.parametrize(
    "name, code, state, says",
    [
        ("crashes", "run-crashed", "crashed", r"SIGSEGV|signal 11"),
        ("aborts", "run-crashed", "crashed", r"SIGABRT|signal 6"),
        ("throws-int", "run-failed", "failed", r"std::exception|threw"),
        ("escapes", "run-", None, r"."),
        ("exits-zero", "run-crashed", "crashed", r"without an answer|ended"),
        ("hangs", "run-timeout", "timed-out", r"1 s|1000 ms|time"),
        ("busy", "run-timeout", "timed-out", r"1 s|1000 ms|time"),
        ("invalid-result", "run-failed", "failed", r"verdict"),
        ("bad-json", "run-failed", "failed", r"JSON"),
        ("huge-result", "run-failed", "failed", r"more than 64 MiB"),
        ("closes-everything", "run-crashed", "crashed", r"without an answer"),
        ("aborts-in-destructor", "run-crashed", "crashed", r"SIGABRT|signal 6"),
    ],
)
def test_a_hatch_that_misbehaves(demo, name, code, state, says):
    with with_plugin(demo, name) as daemon:
        for _ in range(2):
            answer = daemon.run(f"broken.{name}", timeout=30)
            assert answer.status == 424, answer
            problem = answer.json()
            assert problem["code"].startswith(code), problem
            assert re.search(says, problem["detail"]), problem
            assert problem["run"]["state"] == (state or problem["run"]["state"])
            assert daemon.record(problem["run"]["id"])["state"] == problem["run"]["state"]
        plugin = daemon.process("hatchd: plugin")
        assert plugin, "the plugin's process outlives its runs"
        check_still_answers(daemon, demo)


def test_one_from_the_future_works(demo):
    with with_plugin(demo, "future-minor") as daemon:
        answer = daemon.run("broken.future-minor")
        assert answer.status == 200 and answer.json()["result"]["verdict"] == "did without what is not there yet", answer
        check_still_answers(daemon, demo)


def test_a_flood_of_events_is_bounded(demo):
    with with_plugin(demo, "floods-log") as daemon:
        answer = daemon.run("broken.floods-log", timeout=90)
        assert answer.status == 200 and answer.json()["state"] == "succeeded", answer
        events = daemon.get(f"/v1/runs/{answer.json()['id']}/events", timeout=60)
        assert len(events.body) < 8 * 1024 * 1024
        numbers = [int(number) for number in re.findall(r"^id: (\d+)$", events.text, re.MULTILINE)]
        assert numbers[0] == 1 and numbers[-1] > len(numbers), "what was not kept shows as a gap"
        assert events.text.rstrip().splitlines()[-2] == "event: result"
        check_still_answers(daemon, demo)


def test_repeated_crashes_earn_a_rest(demo):
    with with_plugin(demo, "crashes") as daemon:
        for _ in range(3):
            assert daemon.run("broken.crashes").status == 424
        answer = daemon.run("broken.crashes")
        assert answer.status == 429, answer
        problem = answer.json()
        assert problem["code"] == "cooldown" and "crashed 3 times in a row and rests" in problem["detail"], problem
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        [resting] = daemon.get("/v1/hatches/broken.crashes").json()["resting"]
        assert resting["crashes"] == 3 and resting["target"] is None and 1 <= resting["seconds"] <= 10, resting
        assert "broken.crashes rests for" in daemon.get("/v1/hatches?format=text").text
        assert "broken.crashes rests for" in daemon.get("/broken.crashes").text
        check_still_answers(daemon, demo)
        time.sleep(int(daemon.run("broken.crashes").headers["retry-after"]))
        again = daemon.run("broken.crashes")
        assert again.status == 424 and again.json()["code"] == "run-crashed", "after that many seconds it goes"
        assert int(daemon.run("broken.crashes").headers["retry-after"]) > 10, "the next rest is twice as long"


def test_text_of_a_crash(demo):
    with with_plugin(demo, "crashes") as daemon:
        answer = daemon.ask("POST", "/broken.crashes")
        assert answer.status == 424 and answer.text.startswith("failed (run-crashed): "), answer


def test_what_a_run_leaves_behind_ends_with_it(demo):
    with with_plugin(demo, "forks-and-leaves") as daemon:
        answer = daemon.run("broken.forks-and-leaves", timeout=20)
        assert answer.status in (200, 424), answer
        result = (answer.json() if answer.status == 200 else answer.json()["run"])["result"]

        def gone(pid):
            try:
                return Process(pid).state in "ZX"
            except OSError:
                return True

        wait_until("both to be gone", lambda: gone(result["child"]) and gone(result["daemon"]))
        check_still_answers(daemon, demo)


def test_one_that_has_answered_is_not_waited_for_and_is_ended_in_time(demo):
    with with_plugin(demo, "lingers", timeout="5s", concurrency=1) as daemon:
        for _ in range(2):
            answer = daemon.run("broken.lingers", timeout=20)
            assert answer.status == 200 and answer.json()["result"]["verdict"] == "answered", answer
            assert daemon.record(answer.json()["id"])["state"] == "succeeded"
        assert daemon.process("hatchd: run"), "its process hangs and does not keep the answer back"
        wait_until("both processes to be ended", lambda: not daemon.process("hatchd: run"), 30)
        check_still_answers(daemon, demo)


def test_a_run_that_holds_its_target_is_ended_by_its_parent(demo):
    with with_plugin(demo, "overstays") as daemon:
        answer = daemon.run("broken.overstays", timeout=15)
        assert answer.status == 424, answer
        run = answer.json()["run"]
        assert run["duration_ms"] < 10_000, "long before its time limit of 20 s"
        assert "pause" in answer.json()["detail"] or "held" in answer.json()["detail"], answer
        check_still_answers(daemon, demo)


def test_cancelling_one_that_listens_and_one_that_does_not(demo):
    config = {
        "plugins": {name: {"path": path_of(name)} for name in ("slow", "hangs")},
        "hatches": {"broken.hangs": {"timeout": "60s"}},
    }
    with Daemon(demo.pid, config) as daemon:
        for hatch in ("broken.slow", "broken.hangs"):
            run = daemon.start_run(hatch)
            wait_until("it to run", lambda run=run: daemon.record(run)["state"] == "running")
            answer = daemon.ask("DELETE", f"/v1/runs/{run}")
            assert answer.status in (200, 202), answer
            record = daemon.ended(run)
            assert record["state"] == "cancelled" and record["error"]["code"] == "run-cancelled", record
        wait_until("no process of a run to be left", lambda: not daemon.process("hatchd: run"))
        check_still_answers(daemon, demo)


@pytest.mark.parametrize(
    "name, says",
    [
        ("no-entry", r"hatch_plugin_entry"),
        ("null-entry", r"describe itself|NULL|null"),
        ("bad-magic", r"magic"),
        ("future-major", r"2"),
        ("short-struct", r"hatch_plugin has 32 bytes, version 1.0 has 64"),
        ("short-hatch", r"bytes, version 1.0 has"),
        ("duplicate-id", r"broken\.twice"),
        ("starts-thread-at-load", r"thread"),
        ("crash-at-load", r"SIGABRT" if SANITIZED else r"SIGSEGV"),
        ("hang-at-load", r"did not describe itself within 10 s"),
    ],
)
def test_a_plugin_that_cannot_be_used(demo, name, says):
    with with_plugin(demo, name) as daemon:
        [absent] = daemon.get("/v1/hatches").json()["unavailable"]
        assert absent["plugin"] == name and absent["enabled"] is False
        assert re.search(says, absent["why_not"]), absent
        assert daemon.log().count("a plugin cannot be used") == 1, daemon.log()
        assert name in daemon.get("/v1/hatches?format=text").text
        check_still_answers(daemon, demo)


@pytest.mark.parametrize("name", ["no-entry", "bad-magic", "future-major", "short-struct", "duplicate-id", "crash-at-load", "hang-at-load"])
def test_check_says_what_is_wrong(name):
    ran = subprocess.run([HATCHD, "check", "--plugin", path_of(name)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1 and (ran.stdout + ran.stderr).strip(), ran


def test_a_file_that_is_no_library(demo, tmp_path):
    os.chmod(tmp_path, 0o755)
    text = tmp_path / "text.so"
    text.write_text("this is no shared object\n")
    text.chmod(0o644)
    with Daemon(demo.pid, {"plugins": {"text": {"path": str(text)}, "absent": {"path": str(tmp_path / "absent.so")}}}) as daemon:
        reasons = {plugin["plugin"]: plugin["why_not"] for plugin in daemon.get("/v1/hatches").json()["unavailable"]}
        assert reasons["text"] and "ENOENT" in reasons["absent"], reasons
        check_still_answers(daemon, demo)


def test_a_plugin_that_others_can_write_is_refused(demo, tmp_path):
    import shutil

    os.chmod(tmp_path, 0o755)
    copy = tmp_path / "probe.so"
    shutil.copy(path_of("probe"), copy)
    copy.chmod(0o666)
    with Daemon(demo.pid, {"plugins": {"probe": {"path": str(copy)}}}) as daemon:
        [absent] = daemon.get("/v1/hatches").json()["unavailable"]
        assert absent["plugin"] == "probe" and "can be changed by others" in absent["why_not"] and "o+w" in absent["why_not"], absent


def test_what_a_plugin_prepares_the_later_runs_have(demo):
    with with_plugin(demo, "prepares") as daemon:
        assert daemon.run("broken.prepares").json()["result"]["prepared"] == 0
        for _ in range(2):
            wait_until("the next run's process", lambda: daemon.process("hatchd: spare prepares"))
            assert daemon.run("broken.prepares").json()["result"]["prepared"] == 1


@pytest.mark.parametrize(
    "name, says",
    [("starts-thread-in-prepare", "prepare() of the plugin started a thread"), ("hangs-in-prepare", "how=signal status=14")],
)
def test_a_plugin_that_prepares_what_it_must_not_begins_anew(demo, name, says):
    with with_plugin(demo, name) as daemon:
        for round in range(1, 3):
            assert daemon.run(f"broken.{name}", timeout=30).status == 200, "after a rest, if there is one"
            wait_until("the log to say why", lambda round=round: daemon.log().count(says) == round)
            wait_until("its process to end", lambda: not daemon.process(f"hatchd: plugin {name}"))
        check_still_answers(daemon, demo)


def test_a_run_that_floods_its_standard_error_does_not_fill_the_log(demo):
    probe = {"path": path_of("probe"), "colour": "green", "profiles": {"default": {"password": "x"}}}
    with Daemon(demo.pid, {"plugins": {"probe": probe}}) as daemon:
        assert daemon.run("probe.output", {"lines": 1, "errors": 3}).status == 200
        wait_until("the log to have it", lambda: "trouble 2" in daemon.log())
        assert "\x1b" not in daemon.log() and "writes too much" not in daemon.log()
        before = len(daemon.log())
        assert daemon.run("probe.output", {"lines": 1, "errors": 300_000}, timeout=60).status == 200
        wait_until("the log to say so", lambda: "writes too much" in daemon.log())
        assert daemon.log().count("writes too much") == 1
        assert len(daemon.log()) - before < 2 * 1024 * 1024
        check_still_answers(daemon, demo)
