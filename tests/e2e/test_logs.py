"""Where an error arrives: an error tracker's API, a command, the journal of a real journald; for hatches of the app and for
recipes. The app, its tracker and its journal are one process each; the targets differ by where hatchd is told to look."""

import http.server
import json
import os
import pathlib
import subprocess
import threading
import urllib.parse

import pytest

from harness import AM_ROOT, HATCHD, Daemon, Process, all_processes, wait_until
from test_app import APPS, alive, environment_for, folder_for, listed_with, result

JOURNALD = "/lib/systemd/systemd-journald"
TOKEN = "tr4ck3r-t0k3n-Qx81"
# A journald of its own in a mount namespace, its journal in a folder that everybody sees; below it the app.
IN_NAMESPACE = """
set -e
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/journal /run/log
mount -t tmpfs tmpfs /run/log
mkdir /run/log/journal
mount --bind "$1" /run/log/journal
/lib/systemd/systemd-journald & echo $! > "$1.pid"
until [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
shift
exec systemd-cat "$@"
"""


class Tracker(http.server.BaseHTTPRequestHandler):
    """Takes events, and finds them for whoever has the token."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path == "/events":
            self.server.events.append(json.loads(body)["event"])
        else:  # the app's door for recipes: what the form says goes to the spool and to the tracker
            text = urllib.parse.parse_qs(body).get("msg", [""])[0]
            self.server.events.append(text)
            with open(self.server.spool, "a") as spool:
                spool.write(text + "\n")
        self.answer(200, b"{}")

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.server.asked.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, b"no")
        asked = urllib.parse.parse_qs(query)
        wanted = asked.get("query", [urllib.parse.unquote(path.rsplit("/", 1)[1])])[0]
        found = [event for event in self.server.events if wanted in event]
        if "newest" in asked:  # no more than so many, each with an id
            numbered = [{"message": event, "id": 1000 + i} for i, event in enumerate(self.server.events) if wanted in event]
            found = numbered[: -1 - int(asked["newest"][0]) : -1]
        return self.answer(200, json.dumps({"events": found}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def world():
    with folder_for("logs") as folder:
        folder.chmod(0o755)
        spool, journal = folder / "spool", folder / "journal"
        spool.write_text("old needle\n")
        journal.mkdir()
        tracker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tracker)
        tracker.events, tracker.asked, tracker.spool = ["old needle"], [], str(spool)
        threading.Thread(target=tracker.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{tracker.server_port}"
        has_journal = AM_ROOT and os.path.exists(JOURNALD)
        argv = ["/usr/bin/python3", APPS / "reporting.py"]
        if has_journal:
            argv = ["unshare", "--mount", "--propagation", "private", "bash", "-c", IN_NAMESPACE, "bash", journal, *argv]
        environment = environment_for(folder, SHOP_SPOOL=spool, SHOP_TRACKER=base + "/events")
        app = subprocess.Popen(
            list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=folder
        )
        os.environ["E2E_TRACKER_TOKEN"] = TOKEN
        try:
            [pid] = alive(folder, 1)
            assert pid == app.pid
            if has_journal:  # hatchd's user is not in the group systemd-journal of this machine
                for path in wait_until("the journal", lambda: list(journal.glob("*/*.journal"))):
                    path.chmod(0o644)
                    path.parent.chmod(0o755)
            token = {"Authorization": "Bearer ${E2E_TRACKER_TOKEN}"}
            logs = {
                "tracked": {"url": base + "/search?limit=5&query={mark}", "headers": token},
                "newest": {"url": base + "/search?newest=2&query={mark}", "headers": token, "within": "20s"},
                "by-path": {"url": base + "/find/{mark}", "headers": token},
                "refused": {"url": base + "/search?query={mark}", "headers": {"Authorization": "Bearer wrong"}, "within": "3s"},
                "asked": {"command": ["/bin/grep", "-F", "--", "{mark}", str(spool)]},
                "bare": {"command": ["/bin/grep", "-F", "{mark}", str(spool)]},
                "followed": {"command": ["/usr/bin/tail", "-n", "20", "-F", str(spool)]},
                "filed": {"file": str(spool)},
                "broken": {"command": ["/bin/sh", "-c", "echo no such queue >&2; exit 3"], "within": "3s"},
                "asleep": {"command": ["/bin/sleep", "617"], "within": "60s"},
                "absent": {"command": ["/nowhere/program"], "within": "3s"},
                "journaled": {"journal": str(journal), "within": "20s"},
            }
            text = {"type": "string"}
            recipes = {
                f"{name}.raise": {
                    "kind": "http", "target": name, "params": {"msg": text},
                    "request": {"url": base + "/raise", "form": {"msg": "{msg}"}}, "expect": {"log": "{msg}"},
                }
                for name in ("tracked", "newest", "asked", "bare", "followed", "refused")
            }  # fmt: skip
            recipes["tracked.mark"] = {
                "kind": "http", "target": "tracked", "request": {"url": base + "/raise", "form": {"msg": "{mark}"}}, "expect": {"log": "{mark}"},
            }  # fmt: skip
            recipes["tracked.nothing"] = {
                "kind": "http", "target": "tracked", "request": {"url": base + "/raise", "form": {"msg": "else"}}, "expect": {"log": "needle"},
                "timeout": "5s",
            }  # fmt: skip
            targets = {name: {"pid": pid, "log": log} for name, log in logs.items()}
            with Daemon(targets, {"hatches": recipes}) as daemon:
                listed_with(daemon, "raise-error")
                daemon.tracker, daemon.spool, daemon.has_journal, daemon.base = tracker, spool, has_journal, base
                yield daemon
        finally:
            app.stdin.close()
            app.wait(20)
            if has_journal:
                os.kill(int(pathlib.Path(f"{journal}.pid").read_text()), 15)
            tracker.shutdown()
            tracker.server_close()
            del os.environ["E2E_TRACKER_TOKEN"]


def programs(word):
    return [p for p in all_processes() if word in p.title and "python" not in p.title]


@pytest.mark.parametrize("target", ["tracked", "by-path", "asked", "followed"])
def test_an_error_is_found_where_the_configuration_says(world, target):
    answer = result(world.run("app.raise-error", {"target": target, "msg": "Are we heard?"}))
    [reported] = answer["reported"]
    assert answer["mark"] in reported["text"] and "Are we heard?" in reported["text"]
    assert target == "asked" or reported["text"].startswith("shop: unhandled\nTraceback (most recent call last):")
    where = {"tracked": world.base + "/search", "by-path": world.base + "/find/{mark}", "asked": "/bin/grep", "followed": "/usr/bin/tail"}
    assert reported["where"] == where[target] and reported["after_ms"] >= 0
    assert f"reported in {where[target]} after" in answer["verdict"]
    wait_until("what looked to be gone", lambda: not programs(str(world.spool)))


@pytest.mark.parametrize("target", ["filed", "followed"])
def test_a_busy_log_hides_nothing(world, target):
    answer = result(world.run("app.raise-error", {"target": target, "noise": 8}))
    assert answer["reported"][0]["text"].startswith("shop: unhandled\nTraceback (most recent call last):"), answer["reported"]
    assert answer["mark"] in answer["reported"][0]["text"]
    os.truncate(world.spool, 0)


@pytest.mark.skipif(not AM_ROOT or not os.path.exists(JOURNALD), reason="starts a journald in a mount namespace")
def test_an_error_is_found_in_the_journal(world):
    answer = result(world.run("app.raise-error", {"target": "journaled", "msg": "for the journal"}))
    [reported] = answer["reported"]
    assert reported["where"] == "the journal" and answer["mark"] in reported["text"]
    assert reported["text"].startswith("shop: unhandled\nTraceback (most recent call last):")
    wait_until("journalctl to be gone", lambda: not programs("journalctl"))


def test_a_place_that_cannot_be_asked_says_why(world):
    for target, why in (
        ("refused", "the server answered 401"),
        ("broken", "/bin/sh ended with exit status 3: no such queue"),
        ("absent", "/nowhere/program could not be started"),
    ):
        answer = world.run("app.raise-error", {"target": target})
        assert answer.status == 424 and "arrived nowhere that was looked at within 3 s" in answer.json()["detail"], answer
        told = answer.json()["run"]["result"]
        assert told["reported"] == [] and any(why in each for each in told["not_seen"]), told


def test_nobody_is_asked_where_nothing_is_to_be_found(world):
    world.tracker.asked.clear()
    assert world.run("app.hatches", {"target": "tracked"}).status == 200
    assert world.run("app.raise-error?dry_run=true", {"target": "tracked"}).status == 200
    assert world.tracker.asked == []


@pytest.mark.parametrize("target", ["tracked", "asked", "followed"])
def test_recipes_look_there_too_and_old_text_does_not_count(world, target):
    answer = result(world.run(f"{target}.raise", {"msg": "needle"}))  # stands there already, and now once more
    assert len(answer["reported"]) == 1 and "needle" in answer["reported"][0]["text"]


def test_a_server_that_answers_the_newest_ones_only_shows_the_new_one(world):
    for _ in range(4):  # the first of them fill what it answers
        answer = result(world.run("newest.raise", {"msg": "needle"}))
        assert [each["text"] for each in answer["reported"]] == ["needle"]


def test_where_nobody_knows_what_is_new_nothing_is_found(world):
    answer = world.run("refused.raise", {"msg": "needle"})
    assert answer.status == 424 and "nobody knows what of its answers is new" in answer.json()["detail"], answer


def test_recipes_have_a_mark_of_their_own(world):
    answer = result(world.run("tracked.mark"))
    assert "hatchd-" in answer["reported"][0]["text"]
    failed = world.run("tracked.nothing")
    assert failed.status == 424 and f'nothing with "needle" came into {world.base}/search' in failed.json()["detail"]


@pytest.mark.parametrize("nasty", ["a\r\nX-Evil: 1", "'\"; id; `id` $(id)", "-e x", "&query=old&", "../..", "é☃"])
def test_what_is_looked_for_stays_data(world, nasty):
    for target in ("tracked", "asked"):
        answer = world.run(f"{target}.raise", {"msg": nasty + " needle"})
        if target == "asked" and "\n" in nasty:
            continue  # to grep, lines are several patterns
        assert answer.status == 200, answer


def test_what_a_program_would_take_for_an_option_is_refused_before_anything_is_done(world):
    known = len(world.tracker.events)
    for query in ("", "?dry_run=true"):
        refused = world.run(f"bare.raise{query}", {"msg": "-f/etc/passwd"})
        assert refused.status == 422 and [error["pointer"] for error in refused.json()["errors"]] == ["/msg"], refused
    assert len(world.tracker.events) == known
    assert result(world.run("bare.raise", {"msg": "f-needle"}))["reported"]


@pytest.mark.skipif(not AM_ROOT, reason="reads what the kernel says of other processes")
def test_what_looks_for_it_has_no_rights(world):
    """While a program looks, it and the process that started it have no capability, and no way to get one."""
    run = world.start_run("app.raise-error", {"target": "asleep"})
    try:
        [program] = wait_until("the program", lambda: programs("sleep 617"))
        parent = Process(program.parent)
        assert parent.title.startswith("hatchd: run"), parent
        for process in (program, parent):
            fields = process.status()
            assert process.capabilities() == set() and int(fields["CapAmb"], 16) == 0 and int(fields["CapInh"], 16) == 0
            assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2" and fields["Uid"].split()[0] != "0"
    finally:
        assert world.ask("DELETE", f"/v1/runs/{run}").status in (200, 202, 204)
    assert world.ended(run)["state"] == "cancelled"
    wait_until("it to be gone", lambda: not programs("sleep 617"))


def test_the_token_is_shown_nowhere(world):
    seen = [world.get(path).text for path in ("/v1/targets", "/v1/hatches", "/v1/runs", "/openapi.json")]
    shown = subprocess.run([HATCHD, "config", "show", "--config", str(world.file)], capture_output=True, text=True, check=True).stdout
    for text in [*seen, shown, world.log()]:
        assert TOKEN not in text and "Bearer wrong" not in text
    assert "Bearer ${E2E_TRACKER_TOKEN}" in shown or "******" in shown


def test_a_wrong_place_is_refused_with_its_line(tmp_path):
    file = tmp_path / "hatchd.json"
    wrong = [
        ({"url": "ftp://h/"}, "must begin with http"),
        ({"url": "http://h/x{mark}"}, "beside other text"),
        ({"url": "http://h/", "command": ["/bin/true"]}, "only one of"),
        ({"command": ["true"]}, "absolute path"),
        ({"command": ["/bin/true", "--x={mark}"]}, "whole argument"),
        ({"journal": False}, "must be true"),
        ({"command": []}, "at least 1"),
        ({"file": "/x", "headers": {"A": "b"}}, "belong to"),
        ({"url": "http://h/", "headers": {"A": "b\r\nc"}}, "has a header"),
    ]
    for log, why in wrong:
        file.write_text(json.dumps({"targets": {"t": {"pid": 1, "log": log}}}, indent=1))
        file.chmod(0o600)
        said = subprocess.run([HATCHD, "check", "--config", str(file)], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        assert said.returncode == 1 and any("/targets/t/log" in line and why in line for line in lines), (log, said)
