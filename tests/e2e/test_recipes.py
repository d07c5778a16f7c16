"""Hatches of the configuration against a real server, process and programs; what callers send stays data."""

import http.server
import json
import os
import subprocess
import threading
import urllib.parse

import pytest

from harness import AM_ROOT, HATCHD, Daemon, Program, all_processes, open_to_all, wait_until
from test_reload import reload

TARGET = """
import os, signal, sys, time
log = open(sys.argv[1], "a", buffering=1)
signal.signal(signal.SIGUSR1, lambda *_: log.write("logs reopened\\n"))
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.signal(signal.SIGHUP, lambda *_: os._exit(0))  # at once: the hatch looks for that for a quarter of a second
print("ready", flush=True)
while True:
    time.sleep(60)
"""
NASTY = ["a\r\nX-Evil: 1", "'\"; rm -rf /tmp/x; `id` $(id) && x || y", "../../etc/passwd", "a\x00b", "%0d%0a{msg}", "é\u202e☃", "x" * 100_000]


class App(http.server.BaseHTTPRequestHandler):
    """Remembers what reached it, answers as the path says, and writes the form's msg into the log."""

    seen = []

    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size).decode()
        path, _, query = self.path.partition("?")
        self.seen.append({"method": self.command, "raw": path, "query": query, "body": body, "headers": dict(self.headers)})
        if path.startswith("/raise") and self.server.log:
            form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
            with open(self.server.log, "a") as log:
                log.write(f"Traceback: {form['msg']}\n")
        status = 500 if path.startswith("/raise") else 302 if path == "/away" else 200
        answer = json.dumps({"status": "ok", "workers": [1, 2]}).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    open_to_all(folder)
    log = folder / "app.log"
    log.write_text("old: needle\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
    server.log = str(log)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    text = {"type": "string"}
    recipes = {
        "web.raise-error": {
            "kind": "http", "target": "web", "title": "Raise an exception in the live site", "description": "On purpose.",
            "params": {"msg": {"type": "string", "default": "on purpose"}},
            "request": {"url": base + "/raise", "form": {"msg": "{msg}"}}, "expect": {"status": 500, "log": "{msg}"},
        },
        "web.silent-error": {
            "kind": "http", "target": "web", "params": {"msg": text}, "timeout": "4s",
            "request": {"url": base + "/quiet", "form": {"msg": "{msg}"}}, "expect": {"log": "{msg}"},
        },
        "web.look": {
            "kind": "http", "effect": "observe", "params": {"id": text, "q": text},
            "request": {"method": "GET", "url": base + "/items/{id}/look?fixed=1&q={q}", "headers": {"Authorization": "Bearer ${RECIPE_SECRET}"}},
            "expect": {"json": {"/status": "ok", "/workers/1": 2}},
        },
        "web.put": {"kind": "http", "params": {"n": {"type": "integer"}, "msg": text}, "request": {"method": "PUT", "url": base + "/put", "json": {"n": "{n}", "deep": ["{msg}"]}}},
        "web.form": {"kind": "http", "params": {"msg": text}, "request": {"url": base + "/form", "form": {"msg": "{msg}"}}},
        "web.away": {"kind": "http", "request": {"method": "GET", "url": base + "/away"}},
        "web.wrong": {"kind": "http", "request": {"method": "GET", "url": base + "/x"}, "expect": {"status": 201, "body": "absent", "json": {"/status": "down"}}},
        "web.nobody": {"kind": "http", "request": {"url": "http://127.0.0.1:1/"}},
        "web.reopen-logs": {"kind": "signal", "target": "web", "signal": "USR1", "expect": {"log": "logs reopened"}},
        "web.ignored": {"kind": "signal", "target": "web", "signal": "USR2"},
        "web.deadly": {"kind": "signal", "target": "web", "signal": "TERM"},
        "cmd.show": {"kind": "command", "effect": "observe", "params": {"a": text}, "argv": ["/usr/bin/printf", "%s|", "fixed", "{a}"], "environment": {"SHOWN": "yes"}},
        "cmd.count": {"kind": "command", "params": {"a": {"type": "integer"}}, "argv": ["/usr/bin/printf", "%s", "{a}"]},
        "cmd.share": {"kind": "command", "params": {"a": {"type": "number"}}, "argv": ["/usr/bin/printf", "%s", "{a}"]},
        "cmd.dashed": {"kind": "command", "params": {"a": text}, "argv": ["/usr/bin/printf", "--", "%s", "{a}"]},
        "cmd.environment": {"kind": "command", "target": "web", "argv": ["/usr/bin/env"], "directory": "/tmp", "environment": {"SHOWN": "yes"}},
        "cmd.fails": {"kind": "command", "argv": ["/bin/sh", "-c", "echo said; echo wrong >&2; exit 3"]},
        "cmd.absent": {"kind": "command", "argv": ["/nowhere/program"]},
        "cmd.floods": {"kind": "command", "argv": ["/usr/bin/head", "-c", "20000000", "/dev/zero"]},
        "cmd.sleeps": {"kind": "command", "timeout": "3s", "argv": ["/bin/sh", "-c", "sleep 600 & echo $!; sleep 600"]},
    }
    os.environ["RECIPE_SECRET"] = "s3cr3t-Vb9xQ-header"
    with Program("/usr/bin/python3", "-c", TARGET, str(log), stdout=subprocess.PIPE) as target:
        assert target.popen.stdout.readline() == b"ready\n"
        with Daemon({"web": {"pid": target.pid, "log": {"file": str(log)}}}, {"hatches": recipes}) as daemon:
            daemon.app, daemon.web = App, target
            yield daemon
        target.popen.stdout.close()
    server.shutdown()
    server.server_close()
    del os.environ["RECIPE_SECRET"]


def succeeded(answer):
    assert answer.status == 200, answer
    return answer.json()["result"]


def failed(answer):
    assert answer.status == 424, answer
    return answer.json()


def test_recipes_are_in_the_catalogue_like_any_hatch(world):
    shown = world.get("/v1/hatches/web.raise-error").json()
    assert shown["title"] == "Raise an exception in the live site" and shown["effect"] == "act" and shown["enabled"]
    assert shown["documentation"] == "On purpose." and "msg" in shown["parameters"]["properties"]
    ids = {hatch["id"] for hatch in world.get("/v1/hatches").json()["hatches"]}
    assert {"web.look", "cmd.show", "web.reopen-logs"} <= ids and not any(i.startswith("recipe.") for i in ids)
    assert world.run("recipe.http").status == 404
    assert "s3cr3t" not in world.get("/v1/hatches/web.look").text


def test_an_error_is_raised_and_seen_in_the_log(world):
    result = succeeded(world.run("web.raise-error", {"msg": "mark-4711"}))
    assert result["status"] == 500 and result["reported"][0]["text"] == "Traceback: mark-4711"
    assert "answered 500" in result["verdict"] and "app.log shows it after" in result["verdict"]
    assert result["reported"][0]["where"].endswith("/app.log")


def test_an_error_that_is_not_reported_is_the_finding(world):
    # The word stands in the log already; only what comes after the request counts.
    problem = failed(world.run("web.silent-error", {"msg": "needle"}))
    assert 'nothing with "needle" came into /' in problem["detail"] and "/app.log within" in problem["detail"]
    assert problem["run"]["result"]["status"] == 200


def test_expectations_that_are_not_met_are_all_told(world):
    detail = failed(world.run("web.wrong"))["detail"]
    assert "answered 200, not 201" in detail and 'does not hold "absent"' in detail and '"ok" at /status, not "down"' in detail
    assert "answered 302, not 2xx" in failed(world.run("web.away"))["detail"]
    assert "127.0.0.1" in failed(world.run("web.nobody"))["detail"]


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_what_a_caller_sends_stays_data(world, nasty):
    world.app.seen.clear()
    answer = world.run("web.look", {"id": nasty, "q": nasty})
    assert answer.status in (200, 424, 413), answer
    if answer.status == 200:
        [seen] = world.app.seen
        prefix, item, look = seen["raw"].rsplit("/", 2)
        assert (prefix, look) == ("/items", "look") and urllib.parse.unquote(item, errors="strict") == nasty
        assert urllib.parse.parse_qs(seen["query"], keep_blank_values=True) == {"fixed": ["1"], "q": [nasty]}
        assert "X-Evil" not in seen["headers"] and seen["headers"]["Authorization"] == "Bearer s3cr3t-Vb9xQ-header"
    else:
        assert len(nasty) > 10_000  # the server's line is full, and says so

    world.app.seen.clear()
    succeeded(world.run("web.put", {"n": 3, "msg": nasty}))
    assert json.loads(world.app.seen[0]["body"]) == {"n": 3, "deep": [nasty]}

    answer = world.run("cmd.show", {"a": nasty})
    if "\0" in nasty:
        assert answer.status == 422 and "/a" in answer.text and "NUL" in answer.text
    elif len(nasty) < 10_000:
        assert succeeded(answer)["output"] == f"fixed|{nasty}|"
    else:
        assert succeeded(answer)["output"].endswith("x|")


def test_segments_do_not_climb_and_arguments_are_no_options(world):
    world.app.seen.clear()
    for climbing in ("..", ".", ""):
        refused = world.run("web.look", {"id": climbing, "q": ""})
        assert refused.status == 422 and refused.json()["code"] == "params-invalid", refused
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/id"] and "segment of a path" in refused.text
    assert world.app.seen == []
    for hatch, value in (("cmd.show", "--version"), ("cmd.show", "-"), ("cmd.count", -1)):
        refused = world.run(hatch, {"a": value})
        assert refused.status == 422 and [error["pointer"] for error in refused.json()["errors"]] == ["/a"], refused
    assert succeeded(world.run("cmd.count", {"a": 7}))["output"] == "7"
    assert succeeded(world.run("cmd.share", {"a": 0.5}))["output"] == "0.5"
    assert succeeded(world.run("cmd.dashed", {"a": "--version"}))["output"] == "--version"
    wrong = world.run("web.put", {"n": "three", "msg": "x"})
    assert wrong.status == 422 and "/n" in wrong.text
    missing = world.run("web.look", {"id": "1"})
    assert missing.status == 422 and "/q" in missing.text


def test_a_dry_run_shows_the_address_without_its_query(world):
    asked = len(world.app.seen)
    dry = world.run("web.look?dry_run=true", {"id": "7", "q": "s3cr3t-query"})
    assert dry.json()["ready"] and "/items/7/look would be sent" in dry.json()["verdict"], dry
    assert "s3cr3t-query" not in dry.text and "fixed=1" not in dry.text and len(world.app.seen) == asked


def test_a_signal_where_it_has_a_meaning(world):
    result = succeeded(world.run("web.reopen-logs"))
    assert result["signal"] == "USR1" and result["pid"] == world.web.pid and result["reported"][0]["text"] == "logs reopened"
    assert result["output"] == "logs reopened\n" and result["source"].endswith("/app.log")
    assert "ignores SIGUSR2" in failed(world.run("web.ignored"))["detail"]
    deadly = failed(world.run("web.deadly"))["detail"]
    assert "does not catch SIGTERM" in deadly and '"effect": "disrupt"' in deadly
    dry = world.run("web.reopen-logs?dry_run=true")
    assert dry.status == 200 and "SIGUSR1 can be sent" in dry.text
    assert world.web.popen.poll() is None


def test_commands(world):
    problem = failed(world.run("cmd.fails"))
    assert problem["run"]["result"]["exit_status"] == 3 and problem["run"]["result"]["output"] == "said\nwrong\n"
    assert "/nowhere/program could not be started" in failed(world.run("cmd.absent"))["detail"]
    environment = dict(line.split("=", 1) for line in succeeded(world.run("cmd.environment"))["output"].splitlines())
    assert environment["SHOWN"] == "yes" and environment["HATCHD_TARGET_PID"] == str(world.web.pid)
    assert set(environment) == {"PATH", "LANG", "SHOWN", "HATCHD_RUN", "HATCHD_TARGET_PID"}
    flood = succeeded(world.run("cmd.floods"))
    assert flood["output_bytes"] == 20_000_000 and len(flood["output"]) <= 65536 and flood["output_cut"]


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(world):
    answer = world.run("cmd.sleeps")
    assert "did not finish within its time limit" in failed(answer)["detail"]
    events = world.get(f"/v1/runs/{answer.headers['location'].rsplit('/', 1)[1]}/events", headers={"Accept": "text/event-stream"}).text
    child = int(json.loads(next(line for line in events.splitlines() if line.startswith("data:") and '"text"' in line)[5:])["text"])
    wait_until("the program's child to be gone", lambda: not [p for p in all_processes() if p.pid == child and p.state not in "ZX"])


@pytest.mark.skipif(not AM_ROOT, reason="needs to give rights away")
def test_a_command_has_no_rights():
    with Daemon({}, {"hatches": {"cmd.status": {"kind": "command", "argv": ["/bin/cat", "/proc/self/status"]}}}) as daemon:
        fields = dict(line.split(":\t", 1) for line in succeeded(daemon.run("cmd.status"))["output"].splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0 and fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split()[0] != "0" and fields["Seccomp"] == "2"


def test_a_process_that_ends_by_the_signal_is_told(tmp_path):
    log = tmp_path / "log"
    with Program("/usr/bin/python3", "-c", TARGET, str(log), stdout=subprocess.PIPE) as target:
        assert target.popen.stdout.readline() == b"ready\n"
        recipes = {"web.hup": {"kind": "signal", "target": "web", "signal": "HUP"}, "web.kill": {"kind": "signal", "target": "web", "signal": "TERM", "effect": "disrupt"}}
        with Daemon({"web": {"pid": target.pid}}, {"hatches": recipes}) as daemon:
            assert daemon.run("web.kill").status == 403  # off until it is named
            problem = failed(daemon.run("web.hup"))
            assert "has ended after SIGHUP" in problem["detail"]
            missing = problem["run"]["result"]["output_missing"]
            assert missing.startswith("its standard output is ") and "targets.NAME.log.file" in missing, problem
        assert target.popen.wait(10) == 0
        target.popen.stdout.close()


def refused_by_check(folder, configuration):
    file = folder / "hatchd.json"
    file.write_text(configuration if isinstance(configuration, str) else json.dumps(configuration))
    file.chmod(0o600)
    asked = subprocess.run([HATCHD, "check", "--config", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 1, asked
    return asked.stderr


WRONG = """{ "targets": { "web": { "name": "web" } }, "hatches": {
  "a.template": { "kind": "http", "request": {
      "url": "http://h/x{id}" } },
  "a.prefix": { "kind": "signal", "target": "web", "signal": "SIGUSR1" },
  "a.unknown": { "kind": "signal", "target": "web", "signal": "FOO" },
  "a.kill": { "kind": "signal", "target": "web", "signal": "KILL" },
  "a.look": { "kind": "signal", "target": "web", "signal": "USR1", "effect": "observe" },
  "a.nowhere": { "kind": "http", "target": "web", "request": { "url": "http://h/" }, "expect": { "log": "x" } },
  "a.option": { "kind": "command", "argv": ["/bin/true", "{a}"], "params": { "a": { "type": "string", "default": "-v" } } }
} }"""


def test_what_can_never_work_is_refused_with_its_place_by_check_start_and_reload(tmp_path):
    wanted = [
        "3: /hatches/a.template/request/url: {id} names no parameter",
        '4: /hatches/a.prefix/signal: there is no such signal; write its name without SIG, as signal(7) has it, such as "USR1": did you mean "USR1"?',
        "5: /hatches/a.unknown/signal: there is no such signal",
        '6: /hatches/a.kill/signal: ends the target, whatever it does about it: write "effect": "disrupt"',
        "7: /hatches/a.look/effect: a signal is more than a look",
        '8: /hatches/a.nowhere/expect/log: is looked for in the target\'s log, and "web" has none: write targets.web.log',
        "9: /hatches/a.option/params/a/default: must be fit for an argument of a program",
    ]
    told = refused_by_check(tmp_path, WRONG)
    file = tmp_path / "hatchd.json"
    for line, start in zip(told.splitlines(), wanted, strict=True):
        assert line.startswith(f"{file}:{start}"), told
    started = subprocess.run([HATCHD, "--config", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == 78 and told in started.stderr, started
    with Daemon({}) as daemon:
        told = reload(daemon, lambda config: config.update(json.loads(WRONG)), takes=False)
        assert "/hatches/a.kill/signal: ends the target" in told
        assert daemon.run("a.kill").status == 404


def test_a_recipe_cannot_take_the_id_of_another_hatch(tmp_path):
    recipe = {"kind": "command", "argv": ["/bin/true"]}
    configuration = '{ "hatches": {\n "settings.dump": %s,\n "app.mine": %s } }' % (json.dumps(recipe), json.dumps(recipe))
    told = refused_by_check(tmp_path, configuration)
    file = tmp_path / "hatchd.json"
    assert f"{file}:2: /hatches/settings.dump: is the id of a hatch of the plugin settings; give the recipe another id" in told
    assert f"{file}:3: /hatches/app.mine: a recipe's id cannot begin with \"app.\"" in told and len(told.splitlines()) == 2, told
    runs = {"directory": str(tmp_path / "runs")}
    listen = [{"unix": str(tmp_path / "s"), "mode": "0600"}]
    file.write_text(json.dumps({"listen": listen, "runs": runs, "hatches": {"settings.dump": recipe}}))
    started = subprocess.run([HATCHD, "--config", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == 78 and f"{file}:1: /hatches/settings.dump: is the id of a hatch" in started.stderr, started
    with Daemon({}) as daemon:
        told = reload(daemon, lambda config: config.update(hatches={"settings.dump": recipe}), takes=False)
        assert "/hatches/settings.dump: is the id of a hatch of the plugin settings" in told
    # A plugin that is switched off has none.
    with Daemon({}, {"plugins": {"settings": {"enabled": False}}, "hatches": {"settings.dump": recipe}}) as daemon:
        assert succeeded(daemon.run("settings.dump"))["exit_status"] == 0


def test_what_this_machine_has_not_is_told_by_check_start_and_dry_run(tmp_path):
    open_to_all(tmp_path)

    def script(name, text, mode=0o755):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
        return str(tmp_path / name)

    commands = {
        "gone": {"argv": ["/nowhere/program", "x"]},
        "folder": {"argv": ["/usr/bin"]},
        "plain": {"argv": [script("plain", "#!/bin/sh\n", 0o644)]},
        "lost": {"argv": ["/bin/true"], "directory": "/nowhere"},
        "nobody": {"argv": ["/bin/true"], "user": "no-such-user"},
        "other": {"argv": ["/bin/true"], "user": "daemon"},
        "unread": {"argv": [script("unread", "#!/nowhere/interpreter -x\n")]},
        "shapeless": {"argv": [script("shapeless", "echo hello\n")]},
        "limited": {"argv": ["/bin/true"], "limits": {"files": 1000000}},
        "fine": {"argv": [script("fine", "#! /bin/sh\necho hello\n")]},
        "asks": {"argv": ["/nowhere/program", "{q}"], "params": {"q": {"type": "string"}}},
        "asks-well": {"argv": ["/bin/true", "{q}"], "params": {"q": {"type": "string"}}},
    }
    recipes = {f"cmd.{name}": {"kind": "command", **command} for name, command in commands.items()}
    told = refused_by_check(tmp_path, {"hatches": recipes})
    wanted = {
        "/hatches/cmd.gone/argv/0": "there is no program /nowhere/program; install it, or write where it is",
        "/hatches/cmd.asks/argv/0": "there is no program /nowhere/program; install it, or write where it is",
        "/hatches/cmd.folder/argv/0": "/usr/bin is no program",
        "/hatches/cmd.plain/argv/0": "is not executable: chmod +x",
        "/hatches/cmd.lost/directory": "there is no folder /nowhere",
        "/hatches/cmd.nobody/user": 'there is no user "no-such-user"',
        "/hatches/cmd.other/user": 'takes "plugins": {"recipe": {"capabilities": ["setuid", "setgid"]}}',
    }
    assert len(told.splitlines()) == len(wanted), told
    for pointer, why in wanted.items():
        assert f": {pointer}: " in told and why in told, told

    with Daemon({}, {"hatches": recipes}) as daemon:
        for pointer in wanted:
            assert pointer in daemon.log(), daemon.log()
        for name, missing, remedy in [
            ("gone", "/nowhere/program", "install it"),
            ("folder", "/usr/bin", "execute it"),
            ("plain", str(tmp_path / "plain"), "chmod +x"),
            ("lost", "/nowhere", "make that folder"),
            ("nobody", "the user no-such-user", "useradd"),
            ("other", "CAP_SETUID", "plugins"),
            ("unread", "interpreter", "correct that line"),
            ("shapeless", str(tmp_path / "shapeless"), "#!/bin/sh"),
        ]:
            dry = daemon.run(f"cmd.{name}?dry_run=true").json()
            assert dry["ready"] is False and missing in " ".join(dry["missing"]) and remedy in dry["remedy"], dry
            assert failed(daemon.run(f"cmd.{name}"))["detail"] == dry["detail"], name
        # What is missing whatever its parameters is told although they are for a person to give.
        checks = {check["hatch"]: check for check in json.loads(daemon.ctl("preflight", "--json").stdout)["checks"]}
        assert checks["cmd.asks"]["is"] == "not ready" and checks["cmd.asks"]["missing"] == ["/nowhere/program"], checks["cmd.asks"]
        assert checks["cmd.asks-well"]["is"] == "untried" and checks["cmd.asks-well"]["detail"] == "it takes q", checks["cmd.asks-well"]
        dry, run = daemon.run("cmd.limited?dry_run=true").json(), daemon.run("cmd.limited")
        assert dry["ready"] == (run.status == 200), (dry, run)
        dry = daemon.run("cmd.fine?dry_run=true").json()
        assert dry["ready"] and dry["probed"] and "can be started" in dry["verdict"], dry
        assert succeeded(daemon.run("cmd.fine"))["output"] == "hello\n"


def test_a_log_that_cannot_be_read_is_told_by_the_dry_run(tmp_path):
    with Program("/bin/sleep", "600") as target:
        recipes = {
            "web.look": {"kind": "http", "target": "web", "request": {"url": "http://127.0.0.1:1/"}, "expect": {"log": "x"}},
            "web.wake": {"kind": "signal", "target": "web", "signal": "CONT", "expect": {"log": "x"}},
        }
        with Daemon({"web": {"pid": target.pid, "log": {"file": str(tmp_path / "absent.log")}}}, {"hatches": recipes}) as daemon:
            for hatch in recipes:
                dry = daemon.run(f"{hatch}?dry_run=true").json()
                assert not dry["ready"] and dry["missing"] == ["a log to look into"] and "targets.web.log" in dry["remedy"], dry
            (tmp_path / "absent.log").write_text("")
            open_to_all(tmp_path)
            for hatch in recipes:
                dry = daemon.run(f"{hatch}?dry_run=true").json()
                assert dry["ready"] and dry["probed"], dry


LIMITED = {
    "cmd.limits": {
        "kind": "command", "argv": ["/bin/sh", "-c", "ulimit -v; ulimit -t; ulimit -n; ulimit -f; ulimit -c; ulimit -p 2>/dev/null || ulimit -u"],
        "limits": {"memory": "64MiB", "cpu": "1500ms", "files": 33, "processes": 77, "file_size": "1MiB"},
    },
    "cmd.eats": {"kind": "command", "argv": ["/usr/bin/python3", "-c", "x = 'x' * (1 << 30)"], "limits": {"memory": "128MiB"}},
    "cmd.spins": {"kind": "command", "timeout": "30s", "argv": ["/bin/sh", "-c", "while :; do :; done"], "limits": {"cpu": "1s"}},
    "cmd.who": {"kind": "command", "argv": ["/usr/bin/id"], "user": "nobody"},
    "cmd.nowho": {"kind": "command", "argv": ["/usr/bin/id"], "user": "no-such-user"},
    "cmd.stays": {"kind": "command", "timeout": "1s", "user": "nobody", "argv": ["/bin/sh", "-c", "trap '' TERM; sleep 613 & sleep 613"]},
    "cmd.caps": {"kind": "command", "argv": ["/bin/cat", "/proc/self/status"], "user": "nobody"},
}  # fmt: skip


def test_a_command_has_the_limits_of_its_recipe():
    with Daemon({}, {"hatches": LIMITED}) as daemon:
        shown = succeeded(daemon.run("cmd.limits"))["output"].split()
        assert shown == ["65536", "2", "33", "2048", "0", "77"]  # KiB, seconds, descriptors, 512 bytes
        eaten = failed(daemon.run("cmd.eats"))
        assert "MemoryError" in eaten["run"]["result"]["output"]
        assert "SIGKILL" in failed(daemon.run("cmd.spins"))["detail"]
        assert "no user no-such-user" in failed(daemon.run("cmd.nowho"))["detail"]


def test_a_command_runs_as_its_user_where_that_is_granted():
    with Daemon({}, {"hatches": LIMITED}) as daemon:
        refused = daemon.run("cmd.who")
        assert refused.status == 424 and refused.json()["code"] == "rights-missing", refused
        assert "CAP_SETUID" in refused.json()["missing"] and "plugins" in refused.json()["remedy"]
    if not AM_ROOT:
        return
    with Daemon({}, {"hatches": LIMITED, "plugins": {"recipe": {"capabilities": ["setuid", "setgid"]}}}) as daemon:
        assert "(nobody)" in succeeded(daemon.run("cmd.who"))["output"]
        fields = dict(line.split(":\t", 1) for line in succeeded(daemon.run("cmd.caps"))["output"].splitlines() if ":\t" in line)
        assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0} and fields["NoNewPrivs"] == "1"
        assert set(fields["Groups"].split()) <= {"65534"}
        assert "did not finish within its time limit" in failed(daemon.run("cmd.stays"))["detail"]
        wait_until("what it started to be gone", lambda: not [p for p in all_processes() if p.title == "sleep 613"])


def test_user_and_limits_are_checked_when_they_are_read(tmp_path):
    file = tmp_path / "hatchd.json"
    for recipe, why in (
        ({"kind": "command", "argv": ["/bin/true"], "limits": {"memory": "64"}}, "/limits/memory"),
        ({"kind": "command", "argv": ["/bin/true"], "limits": {"memroy": "64MiB"}}, 'did you mean "memory"?'),
        ({"kind": "command", "argv": ["/bin/true"], "limits": {"files": 1}}, "/limits/files"),
        ({"kind": "http", "request": {"url": "http://h/"}, "user": "nobody"}, "does not belong to a recipe of kind http"),
        ({"kind": "http", "request": {"url": "http://h/x", "query": {"a": "x{mark}"}}}, "nothing may stand beside it"),
    ):
        file.write_text(json.dumps({"hatches": {"a.b": recipe}}))
        file.chmod(0o600)
        asked = subprocess.run([HATCHD, "check", "--config", str(file)], capture_output=True, text=True, check=False)
        assert asked.returncode == 1 and why in asked.stdout + asked.stderr, asked


# Characters of every syntax that a value could break out into, and 1 MB.
HARD = ["\r\n\r\nGET / HTTP/1.1\r\n", "';\"`$(touch /tmp/hatchd-was-here)`", "\x00", "x" * 1_000_000, "{msg}{id}", "$IFS&&||;#", "\\", "\x1b[2J", "😀"]


@pytest.mark.parametrize("hard", HARD, ids=range(len(HARD)))
def test_every_parameter_of_every_kind_stays_data(world, hard):
    """Each place of an http recipe and of a command: the very value arrives, or the request is refused as such."""
    places = {"path": "web.look", "query": "web.look", "json": "web.put", "form": "web.form", "argument": "cmd.dashed"}
    for place, hatch in places.items():
        world.app.seen.clear()
        params = {"id": "1", "q": "1"} if hatch == "web.look" else {}
        name = {"path": "id", "query": "q", "json": "msg", "form": "msg", "argument": "a"}[place]
        params[name] = hard
        if hatch == "web.put":
            params["n"] = 1
        answer = world.run(hatch, params)
        assert answer.status in (200, 413, 422, 424), (place, answer)
        if place == "argument":
            if answer.status == 200:
                assert answer.json()["result"]["output"] == hard[-65536:]
            else:
                assert answer.status in (413, 422) and ("\0" in hard or len(hard) >= 131_072), answer
            continue
        for seen in world.app.seen:
            value = {
                "path": lambda s: urllib.parse.unquote(s["raw"].split("/")[2], errors="strict"),
                "query": lambda s: dict(urllib.parse.parse_qsl(s["query"], keep_blank_values=True))["q"],
                "json": lambda s: json.loads(s["body"])["deep"][0],
                "form": lambda s: dict(urllib.parse.parse_qsl(s["body"], keep_blank_values=True))["msg"],
            }[place](seen)
            assert value == hard, place
        assert len(world.app.seen) == 1 or len(hard) > 10_000, (place, answer)
    assert not os.path.exists("/tmp/hatchd-was-here")
    assert world.web.popen.poll() is None
