"""Who did what: two lines for a run, refused calls in a file of their own, nothing that acts while neither can be written."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from harness import AM_ROOT, BUILD, TOKEN, Daemon, token_entry, wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def fixture(name):
    return {"path": str(BUILD / "fixtures" / f"{name.replace('-', '_')}.so")}


PLUGINS = {"probe": {**fixture("probe"), "profiles": {"default": {"password": "x"}}}, "slow": fixture("slow")}
PROBE = {"plugins": PLUGINS}
# The same hatch, as one that acts.
ACTS = {**PROBE, "hatches": {"probe.echo": {"effect": "act"}}}


def lines(daemon, name="audit.jsonl"):
    file = daemon.folder / "runs" / "audit" / name
    # The last piece is what is being written just now, or nothing.
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.is_file() else []


def recorded(daemon, name="audit.jsonl", **wanted):
    """The lines with these members, once there is one."""

    def found():
        return [line for line in lines(daemon, name) if all(line.get(key) == value for key, value in wanted.items())]

    return wait_until(f"the audit to say {wanted}", found)


def run_id(answer):
    return answer.headers["location"].rsplit("/", 1)[1]


def test_two_lines_for_a_run(demo):
    with Daemon(demo.pid, ACTS) as daemon:
        answer = daemon.run(
            "probe.echo",
            {"text": "hello", "secret": "hunter2"},
            {"Hatchd-Reason": "to see", "traceparent": TRACE},
        )
        assert answer.status == 200, answer
        run = run_id(answer)
        [begin] = recorded(daemon, event="begin", run=run)
        [end] = recorded(daemon, event="end", run=run)
        assert begin["hatch"] == end["hatch"] == "probe.echo" and begin["effect"] == "act"
        assert begin["caller"]["uid"] == os.geteuid() and begin["caller"]["pid"] == os.getpid()
        assert begin["caller"]["via"] == "unix" and begin["caller"]["role"] == "admin"
        assert begin["request"] == answer.headers["hatchd-request-id"] == end["request"]
        assert begin["traceparent"] == TRACE == end["traceparent"]
        assert begin["params"]["text"] == "hello" and begin["params"]["secret"] == "******"
        assert begin["reason"] == "to see"
        assert end["outcome"] == "succeeded" and end["duration_ms"] >= 0 and end["code"] is None
        assert "hunter2" not in (daemon.folder / "runs" / "audit" / "audit.jsonl").read_text()
        assert [begin["id"], end["id"]] == sorted([begin["id"], end["id"]])
        file = daemon.folder / "runs" / "audit" / "audit.jsonl"
        assert file.stat().st_mode & 0o077 == 0


def test_a_target_is_its_process(demo):
    with Daemon(demo.pid) as daemon:
        run = run_id(daemon.run("stack.dump"))
        [begin] = recorded(daemon, event="begin", run=run)
        [end] = recorded(daemon, event="end", run=run)
        for line in (begin, end):
            assert line["target"]["name"] == "demo" and line["target"]["pid"] == demo.pid and line["target"]["started"]


def test_a_token_has_its_name_and_address(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        run = run_id(daemon.run("stack.dump", headers={**BEARER, "traceparent": "00-nonsense"}, tcp=True))
        [begin] = recorded(daemon, event="begin", run=run)
        assert begin["caller"]["name"] == "e2e" and begin["caller"]["via"] == "token"
        assert begin["caller"]["address"].startswith("127.0.0.1:")
        assert begin["traceparent"] is None


def test_reading_it(demo):
    with Daemon(demo.pid, PROBE, tcp=True) as daemon:
        runs = [run_id(daemon.run("probe.echo", {"text": str(n)})) for n in range(3)]
        recorded(daemon, event="end", run=runs[-1])
        first = daemon.get("/v1/audit?hatch=probe.echo&limit=4").json()
        assert [(e["event"], e["run"]) for e in first["audit"]] == [
            ("end", runs[2]),
            ("begin", runs[2]),
            ("end", runs[1]),
            ("begin", runs[1]),
        ]
        second = daemon.get(first["next"]).json()
        assert [e["run"] for e in second["audit"]] == [runs[0], runs[0]] and second["next"] is None
        ends = daemon.get("/v1/audit?event=end&outcome=succeeded").json()["audit"]
        assert {e["run"] for e in ends} == set(runs)
        assert daemon.get("/v1/audit?since=2999-01-01").json()["audit"] == []
        assert daemon.get("/v1/audit?caller=nobody-of-that-name").json()["audit"] == []
        text = daemon.get(f"/v1/audit?format=text&run={runs[0]}").text
        assert text.startswith("TIME") and "probe.echo" in text and "succeeded" in text
        for bad in ("limit=0", "limit=9999", "after=x", "since=yesterday"):
            answer = daemon.get(f"/v1/audit?{bad}")
            assert answer.status == 422 and answer.json()["code"] == "params-invalid", answer
        told = daemon.ctl("audit", "--run", runs[0])
        assert told.returncode == 0 and "probe.echo" in told.stdout, told
        told = daemon.ctl("--json", "audit", "--event", "end", "--limit", "1")
        assert json.loads(told.stdout)["audit"][0]["run"] == runs[2], told


def test_only_admins_read_it_and_the_denied_attempt_is_recorded(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        answer = daemon.get("/v1/audit", headers=BEARER, tcp=True)
        assert answer.status == 403 and answer.json()["code"] == "role-missing" and "admin" in answer.json()["detail"]
        [line] = recorded(daemon, "audit-refused.jsonl", code="role-missing")
        assert line["path"] == "/v1/audit" and line["caller"]["name"] == "e2e" and line["source"] == "127.0.0.1"
        assert any(e["code"] == "role-missing" for e in daemon.get("/v1/audit?event=refused").json()["audit"])
        assert "/v1/audit" not in (daemon.folder / "runs" / "audit" / "audit.jsonl").read_text()


def test_a_scoped_admin_sees_its_own(demo):
    config = {**PROBE, "access": {"tokens": [token_entry(TOKEN, "admin", hatches=["stack.*"])]}}
    with Daemon(demo.pid, config, tcp=True) as daemon:
        probe, stack = run_id(daemon.run("probe.echo")), run_id(daemon.run("stack.dump"))
        recorded(daemon, event="end", run=probe)
        recorded(daemon, event="end", run=stack)
        seen = {e.get("run") for e in daemon.get("/v1/audit", headers=BEARER, tcp=True).json()["audit"]}
        assert stack in seen and probe not in seen


def test_a_flood_of_refused_calls_is_counted_not_listed(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        run = run_id(daemon.run("stack.dump"))
        for n in range(200):
            answer = daemon.run("stack.dump", headers={"Authorization": f"Bearer wrong{n}"}, tcp=True)
            assert answer.status in (401, 429), answer
        recorded(daemon, "audit-refused.jsonl", code="unauthenticated")
        daemon.stop()
        refused = [e for e in lines(daemon, "audit-refused.jsonl") if e["event"] == "refused"]
        assert sum(e["count"] for e in refused) == 200
        assert len(refused) <= 4, "two lines for each code"
        assert all(e["source"] == "127.0.0.1" and e["hatch"] == "stack.dump" for e in refused)
        assert [e["event"] for e in lines(daemon) if e.get("run") == run] == ["begin", "end"]


def test_cancel_start_and_stop_are_recorded(demo):
    with Daemon(demo.pid, PROBE) as daemon:
        run = daemon.start_run("broken.slow")
        wait_until("it to run", lambda: daemon.record(run)["state"] == "running")
        daemon.ask("DELETE", f"/v1/runs/{run}")
        daemon.ended(run)
        [cancel] = recorded(daemon, event="cancel", run=run)
        assert cancel["caller"]["uid"] == os.geteuid() and cancel["hatch"] == "broken.slow"
        [end] = recorded(daemon, event="end", run=run)
        assert end["outcome"] == "cancelled" and end["code"] == "run-cancelled"
        daemon.stop()
        assert [e["event"] for e in lines(daemon)] == ["start", "begin", "cancel", "end", "stop"]


def test_what_acts_waits_for_an_audit_that_can_be_written(demo):
    with Daemon(demo.pid, ACTS) as daemon:
        assert daemon.run("probe.echo").status == 200
        file = daemon.folder / "runs" / "audit" / "audit.jsonl"
        file.rename(file.with_name("audit.away"))
        file.mkdir()  # cannot be written, for root neither
        refused = daemon.run("probe.echo")
        assert refused.status == 503 and refused.json()["code"] == "audit-unwritable", refused
        assert int(refused.headers["retry-after"]) >= 1 and refused.json()["remedy"]
        again = daemon.run("probe.echo")
        assert again.status == 503 and "run" not in again.json(), "nothing is begun any more"
        observed = daemon.run("stack.dump")
        assert observed.status == 200, observed
        file.rmdir()

        def goes():
            answer = daemon.run("probe.echo", {"text": "back"})
            return answer if answer.status == 200 else None

        answer = wait_until("the audit to be written again", goes)
        recorded(daemon, event="begin", run=run_id(answer))
        # What happened meanwhile is not lost.
        [end] = recorded(daemon, event="end", run=run_id(observed))
        assert end["outcome"] == "succeeded"


def test_after_a_crash_what_began_gets_its_end(demo):
    with Daemon(demo.pid, PROBE) as daemon:
        run = daemon.start_run("broken.slow")
        recorded(daemon, event="begin", run=run)
        wait_until("it to run", lambda: daemon.record(run)["state"] == "running")
        processes = daemon.processes()
        os.killpg(daemon.pid, signal.SIGKILL)  # all at once, as when the machine ends
        daemon.popen.wait(10)
        wait_until("all of it to be gone", lambda: not any(p.alive() for p in processes), 20)
        file = daemon.folder / "runs" / "audit" / "audit.jsonl"
        with open(file, "a", encoding="utf-8") as torn:
            torn.write('{"id":"01')
        daemon.start()
        [end] = recorded(daemon, event="end", run=run)
        assert end["outcome"] == "crashed" and end["hatch"] == "broken.slow", end
        assert recorded(daemon, event="torn")[0]["bytes"] == 9
        assert daemon.record(run)["state"] == "crashed"


def test_a_file_of_its_own_that_rotates(demo):
    config = {**PROBE, "audit": {"max_bytes": "64KiB", "keep": 1}}
    with Daemon(demo.pid, config, start=False) as daemon:
        folder = daemon.folder / "log"
        daemon.log_file = daemon.folder / "daemon.log"
        daemon.config["audit"]["file"] = str(folder / "who.jsonl")
        daemon.file.write_text(json.dumps(daemon.config))
        daemon.start()
        for _ in range(16):
            assert daemon.run("probe.echo", {"text": "x" * 12_000}).status == 200
        wait_until("it to rotate", lambda: (folder / "who.jsonl.1").exists())
        daemon.stop()
        assert sorted(p.name for p in folder.iterdir()) == ["who.jsonl", "who.jsonl.1"]
        assert all(p.stat().st_size <= 64 * 1024 for p in folder.iterdir())


@pytest.mark.skipif(not AM_ROOT, reason="only root's folders are handed over")
def test_a_folder_with_other_files_is_not_taken(demo):
    with Daemon(demo.pid, start=False) as daemon:
        folder = daemon.folder / "shared"
        folder.mkdir()
        (folder / "precious").write_text("mine")
        daemon.config["audit"] = {"file": str(folder / "audit.jsonl")}
        daemon.file.write_text(json.dumps(daemon.config))
        with pytest.raises(AssertionError, match="holds precious"):
            daemon.start()
        assert (folder / "precious").stat().st_uid == 0


def test_a_reason_where_one_is_required(demo):
    config = {**ACTS, "access": {"require_reason": ["act", "disrupt"]}}
    with Daemon(demo.pid, config) as daemon:
        refused = daemon.run("probe.echo")
        assert refused.status == 422, refused
        problem = refused.json()
        assert problem["errors"] == [{"pointer": "/reason", "detail": "is required"}] and "Hatchd-Reason" in problem["remedy"]
        answer = daemon.run("probe.echo", headers={"Hatchd-Reason": "ticket 42"})
        assert answer.status == 200 and answer.json()["reason"] == "ticket 42"
        assert daemon.run("stack.dump").status == 200, "looking needs none"
        told = daemon.ctl("--reason", "ticket 43", "run", "probe.echo")
        assert told.returncode == 0, told
        assert daemon.ctl("run", "probe.echo").returncode == 2
        reasons = {e["reason"] for e in daemon.get("/v1/audit?event=begin&hatch=probe.echo").json()["audit"]}
        assert reasons == {"ticket 42", "ticket 43"}


JOURNAL = pathlib.Path("/run/systemd/journal/socket")


@pytest.mark.skipif(not AM_ROOT or JOURNAL.exists(), reason="takes the place of a journald that is not there")
def test_journald_gets_it_too(demo):
    made = [p for p in (JOURNAL.parent.parent, JOURNAL.parent) if not p.exists()]
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(JOURNAL))
            journald.settimeout(20)
            with Daemon(demo.pid) as daemon:
                run = run_id(daemon.run("stack.dump"))
                seen = []
                while not any(f"HATCHD_RUN={run}\n" in entry and "HATCHD_EVENT=end\n" in entry for entry in seen):
                    seen.append(journald.recv(1 << 20).decode())
        assert all(entry.startswith("MESSAGE={") and "SYSLOG_IDENTIFIER=hatchd-audit\n" in entry for entry in seen)
    finally:
        JOURNAL.unlink(missing_ok=True)
        for folder in reversed(made):
            folder.rmdir()


def test_limits_and_their_retry_after(demo):
    config = {
        "plugins": PLUGINS,
        "hatches": {
            "broken.slow": {"concurrency": 1, "queue": 1, "timeout": "60s"},
            "probe.echo": {"cooldown": "5s"},
        },
    }
    with Daemon(demo.pid, config) as daemon:
        described = daemon.get("/v1/hatches/broken.slow").json()
        assert described["concurrency"] == 1 and described["queue"] == 1
        first, second = daemon.start_run("broken.slow"), daemon.start_run("broken.slow")
        wait_until("the first to run", lambda: daemon.record(first)["state"] == "running")
        assert daemon.record(second)["state"] == "queued"
        busy = daemon.run("broken.slow")
        assert busy.status == 429 and busy.json()["code"] == "busy" and "1 wait" in busy.json()["detail"], busy
        assert int(busy.headers["retry-after"]) >= 1
        third_waits = daemon.ask("DELETE", f"/v1/runs/{second}")
        assert third_waits.status == 200 and third_waits.json()["state"] == "cancelled", third_waits
        third = daemon.start_run("broken.slow")
        daemon.ask("DELETE", f"/v1/runs/{first}")
        wait_until("the third to get its turn", lambda: daemon.record(third)["state"] == "running")
        daemon.ask("DELETE", f"/v1/runs/{third}")

        assert daemon.run("probe.echo").status == 200
        cool = daemon.run("probe.echo")
        assert cool.status == 429 and cool.json()["code"] == "cooldown", cool
        time.sleep(int(cool.headers["retry-after"]))
        assert daemon.run("probe.echo").status == 200, "after that many seconds it goes"


def test_the_daemons_own_limit_and_a_stop_with_a_queue(demo):
    config = {"plugins": {"slow": fixture("slow")}, "runs": {"concurrency": 1}, "hatches": {"broken.slow": {"queue": 3}}}
    with Daemon(demo.pid, config) as daemon:
        runs = [daemon.start_run("broken.slow") for _ in range(3)]
        wait_until("the first to run", lambda: daemon.record(runs[0])["state"] == "running")
        full = daemon.run("stack.dump")
        assert full.status == 503 and full.json()["code"] == "overloaded" and "retry-after" in full.headers, full
        assert [daemon.record(run)["state"] for run in runs[1:]] == ["queued", "queued"]
        daemon.stop()
        daemon.start()
        assert [daemon.record(run)["state"] for run in runs] == ["cancelled"] * 3
        assert re.search("waited for its turn", daemon.record(runs[2])["error"]["detail"])


def test_zero_configuration_has_an_audit_too(demo, tmp_path):
    from harness import HATCHD

    env = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}
    env["TMPDIR"] = str(tmp_path)
    os.chmod(tmp_path, 0o755)
    with subprocess.Popen([HATCHD, "--pid", str(demo.pid)], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as popen:
        try:
            files = wait_until("its audit", lambda: list(tmp_path.glob("hatchd-runs-*/audit/audit.jsonl")))
            wait_until("its first line", lambda: '"event":"start"' in files[0].read_text())
        finally:
            popen.send_signal(signal.SIGTERM)
            popen.wait(20)
    assert not list(tmp_path.glob("hatchd-runs-*")), "it goes with the session"
