"""hatchctl while a run goes on: follow, progress, Ctrl-C, cancel, show, watch."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

from harness import HATCHCTL, Daemon, Terminal, wait_until
from test_broken_plugins import path_of

OK, FAILED, USAGE, NOT_ALLOWED, CANNOT_CONNECT = range(5)


@pytest.fixture(scope="module")
def busy(demo):
    config = {
        "plugins": {
            "probe": {"path": path_of("probe"), "profiles": {"default": {"password": "hunter2-secret"}}},
            "slow": {"path": path_of("slow")},
        },
        "hatches": {"broken.slow": {"concurrency": 8}},
    }
    with Daemon(demo.pid, config) as daemon:
        yield daemon


def on_terminal(daemon, *arguments, env=None):
    return Terminal(HATCHCTL, "--socket", daemon.socket, *arguments, env=env)


def cancel(daemon, run):
    return daemon.ctl("cancel", run)


# ---- follow -----------------------------------------------------------------------------------------------------------


def test_follow_a_run_that_has_ended(busy):
    run = busy.run("probe.output").json()["id"]
    followed = busy.ctl("follow", run)
    assert followed.returncode == OK and not followed.stderr, followed
    lines = followed.stdout.splitlines()
    assert lines.index("running") < lines.index("succeeded")
    assert "warning: a warning\ufffd[2J" in lines and "café" in lines and "line 2" in lines
    assert "printed" in followed.stdout, "the answer stands at the end"
    assert "\x1b" not in followed.stdout


def test_follow_until_the_end(busy):
    run = busy.start_run("broken.slow")
    with subprocess.Popen(
        [HATCHCTL, "--socket", busy.socket, "follow", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        while following.stdout.readline() != "running\n":
            assert following.poll() is None
        cancelled = cancel(busy, run)
        assert (cancelled.returncode, cancelled.stdout) == (OK, "cancelled: broken.slow\n"), cancelled
        out, err = following.communicate(timeout=60)
    assert following.returncode == FAILED and out.endswith("cancelled\n") and err.startswith("cancelled: "), (out, err)
    assert "\x1b" not in err and "[....." not in err, "no progress in a pipe"


def test_follow_as_json(busy):
    run = busy.run("probe.output").json()["id"]
    followed = busy.ctl("follow", run, "--json")
    events = [json.loads(line) for line in followed.stdout.splitlines()]
    assert followed.returncode == OK
    assert {"state", "log", "output", "result"} <= {event["event"] for event in events}
    assert events[-1]["event"] == "result" and events[-1]["data"]["state"] == "succeeded"
    ids = [event["id"] for event in events]
    assert ids == sorted(set(ids))


def test_follow_what_is_not_there(busy):
    unknown = busy.ctl("follow", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert unknown.returncode == USAGE and unknown.stderr.startswith("refused (run-unknown): "), unknown
    as_json = busy.ctl("follow", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--json")
    assert as_json.returncode == USAGE and json.loads(as_json.stdout)["code"] == "run-unknown"


class Cutter:
    """Stands before the daemon's socket, and cuts the first connection after so many bytes of the answer."""

    def __init__(self, upstream, path, after):
        self.upstream, self.after, self.requests = upstream, after, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(self.upstream)
                request = b""
                while b"\r\n\r\n" not in request:
                    piece = client.recv(65536)
                    if not piece:
                        break
                    request += piece
                self.requests.append(request.decode())
                # The daemon closes behind its answer, so that its end can be seen here.
                server.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                server.settimeout(30)
                limit = self.after if len(self.requests) == 1 else None
                with contextlib.suppress(BrokenPipeError):  # hatchctl has seen the end and has hung up
                    while piece := server.recv(65536 if limit is None else limit):
                        client.sendall(piece)
                        if limit is not None:
                            limit -= len(piece)
                            if limit <= 0:
                                break

    def close(self):
        self.listener.close()


def test_follow_resumes_where_the_connection_broke(busy, tmp_path):
    run = busy.run("probe.output", {"lines": 200}).json()["id"]
    whole = busy.ctl("follow", run).stdout
    cutter = Cutter(busy.socket, str(tmp_path / "cut.sock"), 3000)
    try:
        followed = subprocess.run(
            [HATCHCTL, "--socket", str(tmp_path / "cut.sock"), "follow", run],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        cutter.close()
    assert followed.returncode == OK and followed.stdout == whole, followed
    streams = [request for request in cutter.requests if "/events" in request]
    assert len(streams) == 2 and "Last-Event-ID" not in streams[0]
    assert int(re.search(r"Last-Event-ID: (\d+)", streams[1])[1]) > 1


# ---- progress and Ctrl-C ----------------------------------------------------------------------------------------------


def test_a_bar_on_a_terminal(busy):
    with on_terminal(busy, "run", "broken.slow") as ctl:
        ctl.expect(r"\r\x1b\[K\[\.{20}\]   0 %  waiting")
        run = json.loads(busy.ctl("runs", "--state", "running", "--limit", "1", "--json").stdout)["runs"][0]["id"]
        assert cancel(busy, run).returncode == OK
        assert ctl.wait() == FAILED
        assert "cancelled: " in ctl.text and ctl.text.rindex("\x1b[K") < ctl.text.rindex("cancelled")


def test_no_bar_where_the_terminal_cannot(busy):
    run = busy.start_run("broken.slow")
    with on_terminal(busy, "follow", run, env={"TERM": "dumb"}) as ctl:
        ctl.expect("running")
        cancel(busy, run)
        assert ctl.wait() == FAILED and "\x1b" not in ctl.text and "0 %" not in ctl.text


def test_ctrl_c_leaves_the_run_alone(busy):
    with on_terminal(busy, "run", "broken.slow") as ctl:
        ctl.expect("waiting")
        ctl.type("\x03")
        said = ctl.expect(r"the run goes on: hatchctl follow (\w+), or hatchctl cancel (\w+)")
        run = said[1]
        assert run == said[2] and busy.record(run)["state"] == "running"
        ctl.type("\x03")
        assert ctl.wait() == -signal.SIGINT
    assert busy.record(run)["state"] == "running"
    assert cancel(busy, run).stdout == "cancelled: broken.slow\n"


def test_one_ctrl_c_and_then_the_end(busy):
    with on_terminal(busy, "run", "broken.slow") as ctl:
        ctl.expect("waiting")
        ctl.type("\x03")
        run = ctl.expect(r"hatchctl follow (\w+)")[1]
        cancel(busy, run)
        assert ctl.wait() == FAILED and "cancelled: " in ctl.text


def test_ctrl_c_leaves_follow_at_once(busy):
    run = busy.start_run("broken.slow")
    with on_terminal(busy, "follow", run) as ctl:
        ctl.expect("waiting")
        ctl.type("\x03")
        assert ctl.wait() == -signal.SIGINT and f"hatchctl cancel {run}" in ctl.text
    assert busy.record(run)["state"] == "running"
    cancel(busy, run)


# ---- how it ended -----------------------------------------------------------------------------------------------------


def test_exit_codes_and_words_of_runs_that_failed(busy):
    plain = busy.ctl("run", "probe.fail")
    assert plain.returncode == FAILED and plain.stderr.startswith("failed (run-failed): it did not work"), plain
    assert plain.stdout == ""
    rights = busy.ctl("run", "probe.fail", "how=rights")
    assert rights.returncode == NOT_ALLOWED, "as hatchd exec says"
    assert "missing: CAP_SYS_PTRACE\nremedy: grant sys_ptrace" in rights.stderr, rights
    waited = busy.ctl("run", "probe.fail", "how=rights", "wait=30")
    assert waited.returncode == NOT_ALLOWED and "(rights-missing)" in waited.stderr, waited
    partway = busy.ctl("run", "probe.fail", "how=partway")
    assert partway.returncode == FAILED and "rcpt" in partway.stderr, "as far as it came"
    as_json = busy.ctl("run", "probe.fail", "how=rights", "--json")
    assert as_json.returncode == NOT_ALLOWED and json.loads(as_json.stdout)["error"]["code"] == "rights-missing"


def test_a_rendering_by_name(busy):
    folded = busy.ctl("run", "stack.dump", "format=json")
    assert folded.returncode == OK and json.loads(folded.stdout)["hatch"] == "stack.dump"
    wrong = busy.ctl("run", "stack.dump", "format=smoke-signals")
    assert wrong.returncode == USAGE and "/format" in wrong.stderr


def test_show_has_a_head(busy, demo):
    ran = busy.ctl("run", "stack.dump", "--reason", "just looking", "--json")
    run = json.loads(ran.stdout)
    shown = busy.ctl("show", run["id"])
    head, _, body = shown.stdout.partition("\n\n")
    assert shown.returncode == OK and "demo::Shop" in body
    lines = dict(re.split(r"\s+", line, maxsplit=1) for line in head.splitlines())
    assert lines["run"] == run["id"] and lines["hatch"] == f"stack.dump on demo (pid {demo.pid})"
    assert lines["state"].startswith("succeeded after ") and lines["reason"] == "just looking"
    assert " via unix" in lines["caller"] and lines["created"] == run["created"]

    files = json.loads(busy.ctl("run", "probe.artifact", "--json").stdout)
    shown = busy.ctl("show", files["id"]).stdout
    for artifact in files["artifacts"]:
        assert f"artifact  {artifact['name']}, {artifact['bytes']} bytes, {artifact['href']}\n" in shown
    assert files["artifacts"]
    assert busy.ctl("show", "01ARZ3NDEKTSV4RRFFQ69G5FAV").returncode == USAGE


def test_cancel_what_has_ended(busy):
    run = busy.run("probe.output").json()["id"]
    late = cancel(busy, run)
    assert late.returncode == FAILED and late.stderr.startswith("refused (run-ended): ") and late.stdout == ""


# ---- watch ------------------------------------------------------------------------------------------------------------


def test_watch_a_run_in_a_pipe(busy):
    run = busy.start_run("broken.slow")
    with subprocess.Popen(
        [HATCHCTL, "--socket", busy.socket, "--watch", "--every", "1", "show", run], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout.readline() == f"run       {run}\n"
        cancel(busy, run)
        rest = watching.communicate(timeout=60)[0]
    assert watching.returncode == OK and "cancelled after" in rest and "\x1b" not in rest


@pytest.mark.parametrize("what, shows", [("targets", "demo"), ("runs", "CREATED")])
def test_watch_on_a_terminal(busy, what, shows):
    busy.run("probe.output")
    with on_terminal(busy, what, "--watch", "--every", "1") as ctl:
        ctl.expect(rf"(?s)\x1b\[H\x1b\[2J.*{shows}.*\x1b\[H\x1b\[2J.*{shows}")
        ctl.type("\x03")
        assert ctl.wait() == -signal.SIGINT


def test_watch_only_what_changes(busy):
    wrong = busy.ctl("--watch", "hatches")
    assert wrong.returncode == USAGE and "--watch is for" in wrong.stderr and "remedy: " in wrong.stderr


# ---- console ----------------------------------------------------------------------------------------------------------


def test_console_says_what_there_is(busy):
    plain = busy.ctl("console", "stack.dump")
    assert plain.returncode == USAGE and "not interactive" in plain.stderr and "hatchctl run stack.dump" in plain.stderr
    console = busy.ctl("console", "probe.console")
    assert console.returncode == USAGE and "opens no consoles yet" in console.stderr
    assert busy.ctl("console", "no.such").returncode == USAGE
    assert "hatch-unknown" in busy.ctl("console", "no.such").stderr


def test_a_daemon_that_goes_away(demo):
    """The run is gone with it, and is recorded so; follow finds that out when the daemon is back."""
    with Daemon(demo.pid, {"plugins": {"slow": {"path": path_of("slow")}}}) as private:
        run = private.start_run("broken.slow")
        with subprocess.Popen(
            [HATCHCTL, "--socket", private.socket, "follow", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as following:
            while following.stdout.readline() != "running\n":
                assert following.poll() is None
            for process in private.processes():
                with contextlib.suppress(ProcessLookupError):  # the first takes the others with it
                    os.kill(process.pid, signal.SIGKILL)
            private.popen.wait()
            wait_until("everything to be gone", lambda: not private.left())
            private.start()
            following.communicate(timeout=90)
        assert following.returncode == FAILED
        assert private.record(run)["state"] == "crashed"
