"""hatchctl: its commands, its exit codes, and how it finds the daemon."""

import json
import os
import pty
import subprocess

import pytest

from harness import HATCHCTL, TOKEN, Daemon, Demo

OK, FAILED, USAGE, NOT_ALLOWED, CANNOT_CONNECT = range(5)


def bare(*arguments, **env):
    """hatchctl without being told where the daemon is."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("HATCHD_", "XDG_RUNTIME"))}
    plain["TMPDIR"] = "/nonexistent"
    return subprocess.run(
        [HATCHCTL, *arguments],
        env={**plain, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_hatches_and_describe(daemon):
    listed = daemon.ctl("hatches")
    assert listed.returncode == OK and "stack.dump" in listed.stdout and not listed.stderr
    described = daemon.ctl("describe", "stack.dump")
    assert described.returncode == OK and "observe" in described.stdout and "pause" in described.stdout
    as_json = json.loads(daemon.ctl("describe", "stack.dump", "--json").stdout)
    assert as_json["id"] == "stack.dump" and as_json["parameters"]["type"] == "object"


def test_run_show_runs(daemon, demo):
    ran = daemon.ctl("-t", "demo", "run", "stack.dump", "--reason", "just looking", "pause=all")
    assert ran.returncode == OK and "demo::Shop::accept_orders" in ran.stdout, ran
    as_json = json.loads(daemon.ctl("run", "stack.dump", "--json").stdout)
    assert as_json["state"] == "succeeded" and as_json["target"]["pid"] == demo.pid
    shown = daemon.ctl("show", as_json["id"])
    assert shown.returncode == OK and "demo::Shop::accept_orders" in shown.stdout
    assert json.loads(daemon.ctl("show", as_json["id"], "--json").stdout) == as_json
    listed = json.loads(daemon.ctl("runs", "--hatch", "stack.dump", "--limit", "2", "--json").stdout)["runs"]
    assert [run["hatch"] for run in listed] == ["stack.dump"] * 2
    assert listed[0]["id"] == as_json["id"], "newest first"
    assert listed[1]["reason"] == "just looking"
    text = daemon.ctl("runs")
    assert text.returncode == OK and as_json["id"] in text.stdout
    assert daemon.ctl("runs", "--state", "crashed", "--json").returncode == OK


def test_a_run_in_the_background_says_how_to_see_it(daemon):
    ran = daemon.ctl("run", "stack.dump", "wait=0")
    assert ran.returncode == OK
    assert "hatchctl follow " in ran.stdout or "demo::Shop" in ran.stdout, ran


def test_targets_and_health(daemon, demo):
    assert str(demo.pid) in daemon.ctl("targets").stdout
    assert json.loads(daemon.ctl("targets", "demo", "--json").stdout)["processes"][0]["pid"] == demo.pid
    assert daemon.ctl("health").returncode == OK


def test_cancel(daemon):
    run = json.loads(daemon.ctl("run", "stack.dump", "--json").stdout)["id"]
    ended = daemon.ctl("cancel", run)
    assert ended.returncode == FAILED and "run-ended" in ended.stderr
    assert daemon.ctl("cancel", "01ARZ3NDEKTSV4RRFFQ69G5FAV").returncode == USAGE


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["describe", "no.such"], "hatch-unknown"),
        (["run", "no.such"], "hatch-unknown"),
        (["run", "stack.dump", "pause=sideways"], "params-invalid"),
        (["run", "stack.dump", "puase=all"], "params-invalid"),
        (["-t", "nobody", "run", "stack.dump"], "target-unknown"),
        (["show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], "run-unknown"),
        (["run", "stack.dump", "pause"], "usage"),
        (["run", "stack.dump", "pause=@/no/such/file"], "usage"),
    ],
)
def test_what_the_caller_got_wrong_is_2(daemon, arguments, code):
    wrong = daemon.ctl(*arguments)
    assert wrong.returncode == USAGE and wrong.stderr.startswith(f"refused ({code}): "), wrong
    assert wrong.stdout == ""


def test_remedies_are_commands_and_not_requests(demo):
    """The daemon tells curl's users what to request; hatchctl's users get what they can type, and it works."""
    with Demo() as other:
        targets = {"one": {"pid": demo.pid}, "two": {"pid": other.pid}}
        with Daemon(targets, {"access": {"require_reason": ["observe"]}}) as daemon:

            def remedy_of(*arguments):
                wrong = daemon.ctl(*arguments)
                assert wrong.returncode == USAGE, wrong
                return next(line[8:] for line in wrong.stderr.splitlines() if line.startswith("remedy: "))

            command = remedy_of("run", "stack.dump")
            assert command == "hatchctl run stack.dump -t one"
            assert remedy_of(*command.split()[1:]) == "add --reason 'why'"
            assert daemon.ctl(*command.split()[1:], "--reason", "why").returncode == OK
            assert remedy_of("run", "stack.dump", "-t", "one", "puase=all") == "hatchctl describe stack.dump describes the parameters"
            assert remedy_of("run", "no-such.hatch") == "hatchctl hatches lists what there is"
            described = daemon.ctl("describe", "stack.dump").stdout
            assert "\nRUN\n  hatchctl run stack.dump -t one\n" in described and "curl" not in described


def test_usage_of_the_command_line():
    for arguments in ([], ["frobnicate"], ["run"], ["hatches", "--no-such-option"], ["runs", "--limit", "many"]):
        wrong = bare(*arguments)
        assert wrong.returncode == USAGE and wrong.stderr, arguments
    helped = bare("--help")
    assert helped.returncode == OK and "cannot connect" in helped.stdout


def test_problems_as_json(daemon):
    wrong = daemon.ctl("run", "stack.dump", "pause=sideways", "--json")
    problem = json.loads(wrong.stdout)
    assert wrong.returncode == USAGE and problem["code"] == "params-invalid"
    assert problem["errors"][0]["pointer"] == "/pause"


def test_dry_run(daemon):
    ready = daemon.ctl("run", "stack.dump", "--dry-run")
    assert ready.returncode == OK and ready.stdout.startswith("ready"), ready
    assert json.loads(daemon.ctl("run", "stack.dump", "--dry-run", "--json").stdout)["ready"] is True
    wrong = daemon.ctl("run", "stack.dump", "--dry-run", "pause=sideways")
    assert wrong.returncode == USAGE and "/pause" in wrong.stderr


def test_a_file_as_value(daemon, tmp_path):
    (tmp_path / "pause").write_text("all")
    ran = daemon.ctl("run", "stack.dump", f"pause=@{tmp_path}/pause", "--json")
    assert json.loads(ran.stdout)["params"]["pause"] == "all"


def test_over_tcp_with_a_token(daemon, tmp_path):
    url = f"http://127.0.0.1:{daemon.port}"
    token = tmp_path / "token"
    token.write_text(f"Authorization: Bearer {TOKEN}\n")
    token.chmod(0o600)
    assert bare("--url", url, "--token-file", str(token), "run", "stack.dump").returncode == OK
    assert bare("hatches", HATCHD_URL=url, HATCHD_TOKEN_FILE=str(token)).returncode == OK

    nobody = bare("--url", url, "hatches")
    assert nobody.returncode == NOT_ALLOWED and "unauthenticated" in nobody.stderr
    token.write_text("Authorization: Bearer hatchd_wrong\n")
    assert bare("--url", url, "--token-file", str(token), "hatches").returncode == NOT_ALLOWED
    token.chmod(0o644)
    readable = bare("--url", url, "--token-file", str(token), "hatches")
    assert readable.returncode == USAGE and "chmod 600" in readable.stderr


def test_not_allowed(demo):
    from harness import token_entry

    viewer = {"access": {"tokens": [token_entry(TOKEN, "metrics")]}, "hatches": {"stack.dump": {"role": "admin"}}}
    with Daemon(demo.pid, viewer) as daemon:
        file = daemon.folder / "token"
        file.write_text(f"Authorization: Bearer {TOKEN}\n")
        file.chmod(0o600)
        refused = daemon.ctl("--token-file", str(file), "run", "stack.dump")
        assert refused.returncode == NOT_ALLOWED and "role-missing" in refused.stderr, refused


def test_finds_the_daemon(daemon, tmp_path):
    assert bare("hatches", HATCHD_SOCKET=daemon.socket).returncode == OK
    runtime = tmp_path / "run"
    (runtime / "hatchd-12").mkdir(parents=True)
    os.symlink(daemon.socket, runtime / "hatchd-12" / "hatchd.sock")
    planted = bare("hatches", XDG_RUNTIME_DIR=str(runtime))
    if not os.path.exists("/run/hatchd/hatchd.sock"):
        assert planted.returncode == CANNOT_CONNECT, "a link is not a socket"
        assert str(runtime) in planted.stderr and "remedy: " in planted.stderr


def test_cannot_connect_says_what_was_tried(tmp_path):
    gone = bare("--socket", str(tmp_path / "none.sock"), "hatches")
    assert gone.returncode == CANNOT_CONNECT
    assert str(tmp_path / "none.sock") in gone.stderr and "remedy: " in gone.stderr
    assert bare("--url", "http://127.0.0.1:1", "hatches").returncode == CANNOT_CONNECT
    as_json = bare("--socket", str(tmp_path / "none.sock"), "hatches", "--json")
    assert json.loads(as_json.stdout)["code"] == "cannot-connect"


@pytest.fixture
def disrupting(demo):
    with Daemon(demo.pid, {"hatches": {"stack.dump": {"effect": "disrupt", "enabled": True}}}) as daemon:
        yield daemon


def on_a_terminal(daemon, answer, *arguments):
    """hatchctl with a terminal as stdin and stderr: (exit code, what the terminal showed, stdout)."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [HATCHCTL, "--socket", daemon.socket, *arguments], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        os.write(ours, answer)
        out = process.communicate(timeout=60)[0]
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass
    os.close(ours)
    return process.returncode, shown.decode(), out


def test_a_disrupt_hatch_asks(disrupting):
    refused = disrupting.ctl("run", "stack.dump")
    assert refused.returncode == USAGE and "--yes" in refused.stderr, refused
    assert disrupting.ctl("run", "stack.dump", "--yes").returncode == OK
    code, shown, out = on_a_terminal(disrupting, b"n\n", "run", "stack.dump")
    assert code == USAGE and "[y/N]" in shown and out == ""
    code, shown, out = on_a_terminal(disrupting, b"y\n", "run", "stack.dump")
    assert code == OK and "demo::Shop" in out
    assert len(json.loads(disrupting.ctl("runs", "--json").stdout)["runs"]) == 2


def test_nobody_is_asked_about_a_hatch_that_is_off(demo):
    with Daemon(demo.pid, {"hatches": {"stack.dump": {"effect": "disrupt"}}}) as daemon:
        for arguments in ((), ("--yes",)):
            off = daemon.ctl("run", "stack.dump", *arguments)
            assert off.returncode == NOT_ALLOWED and "hatch-disabled" in off.stderr and '"enabled": true' in off.stderr, off
            assert "--yes" not in off.stderr
        code, shown, _ = on_a_terminal(daemon, b"y\n", "run", "stack.dump")
        assert code == NOT_ALLOWED and "[y/N]" not in shown and "is off" in shown


def test_colour_only_on_a_terminal(daemon):
    code, shown, _ = on_a_terminal(daemon, b"", "run", "stack.dump", "pause=sideways")
    assert code == USAGE and "\x1b[31mrefused (params-invalid)" in shown
    assert "\x1b" not in daemon.ctl("run", "stack.dump", "pause=sideways").stderr
