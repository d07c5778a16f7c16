"""Hatches inside the app: Django under gunicorn, Flask, Celery and a plain program; apps that hang, fork and misbehave;
whoever does not belong there."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

from harness import AM_ROOT, Daemon, Process, Program, free_port, wait_until

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "plugins/app/python"
APPS = REPOSITORY / "tests/fixtures/apps"
EXAMPLES = REPOSITORY / "plugins/app/examples"
sys.path.insert(0, str(PACKAGE))

from hatchkit import client, conformance, place  # noqa: E402


@contextlib.contextmanager
def folder_for(name):
    folder = tempfile.mkdtemp(prefix=f"e2e-app-{name}-")
    try:
        yield pathlib.Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment_for(folder, **more):
    hatches = folder / "hatches"
    hatches.mkdir(mode=0o700, exist_ok=True)
    names = {"HATCH_DIR": str(hatches), "PYTHONPATH": f"{PACKAGE}:{APPS}", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **names, **{name: str(value) for name, value in more.items()}}


def alive(folder, least):
    """The pids that have a socket, once there are so many."""

    def found():
        paths = [path for path in place.sockets(str(folder / "hatches")) if place.is_alive(path)]
        return [int(pathlib.Path(path).stem) for path in paths] if len(paths) >= least else None

    return wait_until(f"{least} sockets in {folder}", found, 60)


def started(folder, script, *arguments, log=None, **more):
    """A Python program of the fixtures, once its first socket is there."""
    with open(log or os.devnull, "ab") as output:
        program = subprocess.Popen(
            ["/usr/bin/python3", str(APPS / script), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment_for(folder, **more), cwd=folder,
        )  # fmt: skip
    alive(folder, 1)
    return program


def ended(program):
    if program.poll() is None:
        program.kill()
    program.wait(20)
    if program.stdin:
        program.stdin.close()


def listed(daemon, query=""):
    body = daemon.get("/v1/hatches" + query).json()
    return {hatch["id"]: hatch for hatch in body["hatches"] if hatch["id"].startswith("app.")}


def listed_with(daemon, name, query=""):
    """The hatches of the app, once that one is among them."""
    return wait_until(f"app.{name} to be listed", lambda: (found := listed(daemon, query)) and f"app.{name}" in found and found, 60)


def result(answer):
    assert answer.status == 200, answer
    return answer.json()["result"]


# ---- Django under gunicorn --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site():
    with folder_for("site") as folder:
        log, mail = folder / "error.log", folder / "mail"
        mail.mkdir()
        port = free_port()
        with Program(
            "/usr/bin/gunicorn", "--workers", 2, "--bind", f"127.0.0.1:{port}", "--name", f"site-{port}", "shop_site:application",
            env=environment_for(folder, SITE_LOG=log, SITE_MAIL=mail), cwd=folder,
        ) as program:  # fmt: skip
            alive(folder, 2)
            target = {"cmdline": f".*gunicorn.*127\\.0\\.0\\.1:{port}.*", "log": {"file": str(log)}}
            if AM_ROOT:
                target["user"] = "root"
            config = {"hatches": {"app.send-mail": {"role": "admin"}}}
            with Daemon({"site": target}, config) as daemon:
                listed_with(daemon, "rebuild-index")
                daemon.site, daemon.mail, daemon.site_folder, daemon.error_log = program, mail, folder, log
                yield daemon


def test_hatches_of_the_app_are_in_the_catalogue_like_any_other(site):
    hatches = listed(site)
    assert {"app.hatches", "app.raise-error", "app.send-mail", "app.dump-settings", "app.log-level"} <= set(hatches)
    assert "app.call" not in hatches
    hatch = hatches["app.rebuild-index"]
    assert hatch["title"] == "Rebuild the search index of one shop"
    assert (hatch["effect"], hatch["role"], hatch["enabled"], hatch["targets"]) == ("act", "operator", True, ["site"])
    assert hatch["parameters"]["properties"]["shop"] == {"type": "string", "description": "its name"}
    assert "h/app.rebuild-index" in hatch["curl"] and "shop=SHOP" in hatch["curl"]
    assert hatches["app.send-mail"]["role"] == "admin"  # the configuration's
    assert hatches["app.dump-settings"]["role"] == "operator"  # the app's
    page = site.get("/app.rebuild-index").text
    assert "Rebuild the search index of one shop" in page and "shop  string, required" in page
    assert "/app.rebuild-index" in json.dumps(site.get("/openapi.json").json())
    own = ("app.rebuild-index", "app.drop-tables", "app.silence")
    for entry in hatches.values():
        assert entry["title"] and entry["documentation"] and entry["curl"], entry
        for name, schema in entry["parameters"].get("properties", {}).items():
            assert "does not say" not in schema["description"] or entry["id"] in own, (entry["id"], name)


def test_parameters_are_converted_and_refused_as_the_app_describes_them(site):
    answer = result(site.form("/v1/hatches/app.rebuild-index", {"shop": "berlin", "limit": "7"}))
    assert (answer["answer"]["shop"], answer["answer"]["limit"]) == ("berlin", 7)
    assert answer["workers"][0]["output"] == "reading berlin\n"
    refused = site.run("app.rebuild-index", {"limit": "x"})
    assert refused.status == 422
    assert {error["pointer"] for error in refused.json()["errors"]} == {"/shop", "/limit"}
    assert site.run("app.rebuild-idnex", {"shop": "a"}).json()["remedy"] == "use app.rebuild-index"


def test_every_worker_is_addressed(site):
    answer = result(site.run("app.rebuild-index", {"shop": "a", "workers": "all"}))
    pids = {worker["result"]["pid"] for worker in answer["workers"]}
    assert pids == {worker["pid"] for worker in answer["workers"]} and len(pids) >= 2
    one = sorted(pids)[-1]
    answer = result(site.run("app.rebuild-index", {"shop": "a", "processes": str(one)}))
    assert answer["answer"]["pid"] == one


def test_an_error_is_raised_and_found_in_the_log(site):
    answer = result(site.run("app.raise-error", {"msg": "Are we heard?"}))
    assert answer["status"] == 500
    [reported] = [each for each in answer["reported"] if each["where"] == str(site.error_log)]
    assert answer["mark"] in reported["text"] and "Are we heard?" in reported["text"]
    assert "Traceback (most recent call last)" in reported["text"] and "HatchError" in reported["text"]
    assert reported["after_ms"] >= 0
    assert f"[{answer['mark']}]" in site.error_log.read_text()
    told = site.form("/app.raise-error", headers={"Accept": "text/plain"}).text
    assert "reported in" in told and "It was reported in" in told.splitlines()[0]  # the verdict first


def test_mail_and_settings_are_the_projects_own(site):
    answer = result(site.run("app.send-mail", {"subject": "a test of the hatch"}))
    assert answer["answer"]["to"] == ["oncall@example.org"]
    assert any("a test of the hatch" in path.read_text() for path in site.mail.iterdir())
    settings = site.run("app.dump-settings")
    assert "hunter2" not in settings.text and "do-not-tell" not in settings.text
    assert result(settings)["answer"]["settings"]["ALLOWED_HOSTS"] == ["shop.example.org"]


def test_a_hatch_that_disrupts_is_off_until_it_is_named(site):
    hatch = listed(site)["app.drop-tables"]
    assert not hatch["enabled"] and "app.drop-tables" in hatch["remedy"]
    refused = site.run("app.drop-tables")
    assert (refused.status, refused.json()["code"]) == (403, "hatch-disabled")


def test_a_worker_that_is_replaced_is_found_again(site):
    before = {worker["pid"] for worker in result(site.run("app.rebuild-index", {"shop": "a", "workers": "all"}))["workers"]}
    victim = max(before)
    os.kill(victim, signal.SIGKILL)

    def replaced():
        answer = site.run("app.rebuild-index", {"shop": "a", "workers": "all"})
        now = {worker["pid"] for worker in answer.json()["result"]["workers"]} if answer.status == 200 else set()
        return now if len(now) == len(before) and victim not in now else None

    wait_until("the new worker", replaced, 60)
    # What the dead one left is taken away by the new one.
    assert f"{victim}.sock" not in os.listdir(site.site_folder / "hatches")


def test_an_error_that_arrives_nowhere_is_the_finding(site):
    assert site.run("app.silence", {"workers": "all"}).status == 200
    answer = site.run("app.raise-error")
    assert (answer.status, answer.json()["code"]) == (424, "run-failed")
    told = answer.json()["run"]["result"]
    assert told["status"] == 500 and told["reported"] == []
    assert str(site.error_log) in told["looked"]


# ---- a plain program --------------------------------------------------------------------------------------------------


@pytest.fixture
def plain():
    with folder_for("plain") as folder:
        program = started(folder, "thread.py")
        try:
            with Daemon(program.pid) as daemon:
                listed_with(daemon, "echo")
                daemon.app, daemon.app_folder = program, folder
                yield daemon
        finally:
            ended(program)


def test_hatches_that_misbehave_are_reported_and_the_app_goes_on(plain):
    failed = plain.run("app.fail")
    assert (failed.status, failed.json()["code"]) == (424, "run-failed")
    assert "ValueError: on purpose" in failed.json()["detail"]
    assert "in fail" in failed.json()["run"]["result"]["workers"][0]["traceback"]

    endless = plain.run("app.forever")
    assert endless.status == 424 and "has not returned after 0.5 s" in endless.json()["detail"]

    odd = result(plain.run("app.odd"))
    assert odd["answer"]["set"] == [1] and odd["workers"][0]["lossy"] is True
    assert "\x1b" not in plain.form("/app.odd", headers={"Accept": "text/plain"}).text

    assert result(plain.run("app.prints"))["workers"][0]["output_truncated"] is True
    assert result(plain.run("app.echo", {"text": "still here"}))["answer"] == "still here"
    assert plain.app.poll() is None


def test_an_app_that_holds_its_lock_is_left_alone_and_the_catalogue_says_stale(plain):
    assert plain.run("app.hold").status == 200

    def refused():
        answer = plain.run("app.echo", {"text": "late"})
        # A call that began just before that hangs until its time is up; the next one is not even sent.
        return answer if answer.status == 424 and "200 ms" in answer.json()["detail"] else None

    answer = wait_until("the lock to be held", refused, 60)
    assert "did not answer within 200 ms" in answer.json()["detail"] and "stack.dump" in answer.json()["detail"]

    stale = wait_until("the catalogue to say so", lambda: listed(plain)["app.echo"]["stale"], 30)
    assert "200 ms" in stale
    assert "stale: " in plain.get("/v1/hatches?format=text").text
    looked = plain.run("app.hatches")
    assert looked.status == 424 and looked.json()["run"]["result"]["processes"][0]["answered"] is False
    assert plain.app.poll() is None
    assert plain.run("stack.dump").status == 200  # from outside it is still seen


def test_a_forked_child_answers_for_itself(plain):
    child = result(plain.run("app.fork"))["answer"]
    try:
        assert child in alive(plain.app_folder, 2)
        with Daemon({"child": {"pid": child}}) as daemon:
            listed_with(daemon, "echo")
            looked = result(daemon.run("app.hatches"))
            assert [process["pid"] for process in looked["processes"]] == [child]
            assert result(daemon.run("app.echo", {"text": "child"}))["workers"][0]["pid"] == child
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_socket_that_another_process_serves_is_not_the_targets(plain):
    """A dead process's socket; then one of the right name whose server is somebody else."""
    path = plain.app_folder / "hatches" / f"{plain.app.pid}.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        path.chmod(0o666)
    refused = plain.run("app.hatches")
    assert refused.status == 424 and "left by a process that has ended" in refused.json()["detail"]

    path.unlink()
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(path))
        path.chmod(0o666)
        impostor.listen(5)
        refused = plain.run("app.echo", {"text": "secret"})
        assert refused.status == 424
        assert "is not the process that it is named after" in refused.json()["detail"]
        connection, _ = impostor.accept()
        connection.settimeout(5)
        assert connection.recv(1000) == b""  # nothing was said to it


def test_without_hatches_the_answer_says_so(demo):
    with Daemon(demo.pid) as daemon:
        answer = result(daemon.run("app.hatches"))
        assert "has opened hatches" in answer["verdict"] and "hatchkit" in answer["hint"]
        assert set(listed(daemon)) == {"app.hatches"}
        assert daemon.run("app.echo", {"text": "x"}).json()["code"] == "hatch-unknown"


# A hostile app: answers every request with what a file holds just now.
HOSTILE = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["HATCH_DIR"] + "/%d.sock" % os.getpid())
os.chmod(listener.getsockname(), 0o666)
listener.listen(50)
while True:
    connection, _ = listener.accept()
    try:
        connection.recv(65536)
        connection.sendall(open(sys.argv[1], "rb").read())
    except OSError:
        pass
    connection.close()
"""


@contextlib.contextmanager
def hostile_app(words):
    with folder_for("hostile") as folder:
        (folder / "words").write_bytes(words)
        with Program("/usr/bin/python3", "-c", HOSTILE, folder / "words", env=environment_for(folder)) as program:
            alive(folder, 1)
            with Daemon(program.pid) as daemon:
                daemon.words = folder / "words"
                yield daemon


HEAD = b"HTTP/1.1 200 OK\r\n"
LISTED = {"name": "x", "title": "t\x1b[2J", "documentation": "d", "effect": "harmless", "parameters": {"type": "object", "nonsense": 1}}


ANSWERS = [
    (b"", "without an answer"),
    (b"nonsense", "in the middle|not HTTP"),
    (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}", "in the middle|not HTTP"),
    (HEAD + b"Content-Length: 100\r\n\r\n{}", "in the middle"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "not HTTP"),
    (HEAD + b"\r\n" + b"[" * 100000, "not that of hatches"),
    (HEAD + b"\r\n" + b" " * 2_000_000, "larger than"),
    (HEAD + b"\r\n" + json.dumps({"protocol": 2, "hatches": []}).encode(), "another protocol"),
    (b"HTTP/1.1 403 Forbidden\r\n\r\n{}", "does not admit"),
]


def test_what_a_hostile_app_answers_is_refused_by_name():
    with hostile_app(b"") as daemon:
        for words, says in ANSWERS:
            daemon.words.write_bytes(words)
            answer = daemon.run("app.hatches")
            assert answer.status == 424, answer
            assert re.search(says, answer.json()["detail"]), (words[:100], answer)
        assert set(listed(daemon)) == {"app.hatches"}


def test_what_a_hostile_app_describes_stays_harmless():
    names = ["../x", "a" * 100, "UPPER", "call", "hatches"]
    hatches = [LISTED, LISTED, {"name": "y", "effect": "observe", "parameters": {"type": "object", "properties": {"target": {"type": "string"}}}}]
    hatches += [{"name": name, "title": "t", "documentation": "d", "effect": "observe"} for name in names] + [1, None, {}]
    body = json.dumps({"protocol": 1, "process": {"pid": 1}, "hatches": hatches}).encode()
    with hostile_app(HEAD + b"\r\n" + body) as daemon:
        found = listed_with(daemon, "x")
        assert set(found) == {"app.hatches", "app.x", "app.y", "app.call"}
        assert found["app.x"]["effect"] == "disrupt" and not found["app.x"]["enabled"]
        assert "does not understand" in found["app.x"]["why_not"]
        assert "takes for the request itself" in found["app.y"]["why_not"]
        assert "\x1b" not in daemon.get("/v1/hatches?format=text").text
        assert found["app.hatches"]["title"].startswith("Show which processes")


# ---- Flask, Celery ----------------------------------------------------------------------------------------------------


def test_flask_reports_an_error_on_stderr():
    with folder_for("flask") as folder:
        log = folder / "stderr.log"
        program = started(folder, "flask_shop.py", free_port(), log=log)
        try:
            with Daemon(program.pid) as daemon:
                listed_with(daemon, "raise-error")
                answer = result(daemon.run("app.raise-error", {"msg": "from Flask"}))
                assert answer["status"] == 500
                assert [each["where"] for each in answer["reported"]] == [str(log)]
                assert "from Flask" in answer["reported"][0]["text"] and "Traceback" in answer["reported"][0]["text"]
                settings = result(daemon.run("app.dump-settings"))["answer"]["settings"]
                assert settings["DB_PASSWORD"] == "******"
        finally:
            ended(program)


def test_a_celery_worker_pings_itself_and_its_pool_has_sockets():
    with folder_for("celery") as folder:
        for name in ("queue", "results", "control"):
            (folder / name).mkdir()
        with Program(
            "/usr/bin/python3", "-m", "celery", "-A", "worker", "worker", "--concurrency", 2, "--pool", "prefork",
            "--without-gossip", "--without-mingle", "--hostname", f"w{os.getpid()}@e2e",
            env=environment_for(folder, WORKER_FOLDER=folder, C_FORCE_ROOT="1"), cwd=folder,
        ) as program:  # fmt: skip
            pids = alive(folder, 3)
            try:
                assert program.pid in pids
                target = {"cmdline": f".*celery.*w{os.getpid()}@e2e.*"}
                if AM_ROOT:
                    target["user"] = "root"
                with Daemon({"worker": target}) as daemon:
                    listed_with(daemon, "task-ping")
                    levels = result(daemon.run("app.log-level", {"workers": "all"}))
                    assert len(levels["workers"]) == 3
                    answer = result(daemon.run("app.task-ping", {"processes": str(program.pid), "msg": "there?"}))
                    assert answer["answer"]["answer"][0].startswith("there? ")
                    assert "answered after" in answer["verdict"]
            finally:
                for process in [p for p in pids if p != program.pid]:
                    with contextlib.suppress(OSError):
                        os.kill(process, signal.SIGKILL)


# ---- servers that fork ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(name, argv, least):
    """The Django project under another server: a daemon, with the port and the log of the server."""
    with folder_for(name) as folder:
        log, mail = folder / "error.log", folder / "mail"
        mail.mkdir()
        port = free_port()
        environment = environment_for(folder, SITE_LOG=log, SITE_MAIL=mail)
        with open(folder / "out", "wb") as output:
            with Program(*[str(each).replace("PORT", str(port)) for each in argv], env=environment, cwd=folder, stdout=output, stderr=output) as program:
                alive(folder, least)
                target = {"cmdline": f".*127\\.0\\.0\\.1:{port}.*", "log": {"file": str(log)}}
                if AM_ROOT:
                    target["user"] = "root"
                with Daemon({"site": target}) as daemon:
                    listed_with(daemon, "rebuild-index")
                    daemon.port, daemon.program, daemon.folder_of_site = port, program, folder
                    yield daemon


def workers_of(daemon):
    answer = daemon.run("app.rebuild-index", {"shop": "a", "workers": "all"})
    return {worker["pid"] for worker in answer.json()["result"]["workers"] if worker["ok"]} if answer.status == 200 else set()


def visit(port):
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"Host": "shop.example.org"})
        connection.getresponse().read()
        connection.close()


def recycled(daemon):
    """The workers have served their time: others answer in their stead, and every one of them reports errors."""
    before = workers_of(daemon)

    def others():
        now = workers_of(daemon)
        if before <= now:  # nobody has left yet; later visits would end the fresh one before it is heard of
            visit(daemon.port)
        return now if now - before else None

    now = wait_until("a fresh worker", others, 60)
    [fresh, *_] = now - before
    answer = wait_until("the fresh worker", lambda: (a := daemon.run("app.raise-error", {"processes": str(fresh)})).status == 200 and a, 30)
    told = answer.json()["result"]
    assert told["workers"][0]["pid"] == fresh and told["mark"] in told["reported"][0]["text"]


def test_gunicorn_preloads_the_app_and_recycles_its_workers():
    argv = ["/usr/bin/gunicorn", "--preload", "--workers", 2, "--max-requests", 3, "--bind", "127.0.0.1:PORT", "shop_site:application"]
    with server("preload", argv, 3) as daemon:
        assert len(workers_of(daemon)) == 3  # the one that loaded the app, too
        recycled(daemon)


@pytest.mark.skipif(not shutil.which("uwsgi"), reason="takes uWSGI")
@pytest.mark.parametrize("options", [[], ["--lazy-apps"]], ids=["fork", "lazy"])
def test_uwsgi_forks_in_c_and_recycles_its_workers(options):
    argv = ["uwsgi", "--plugin", "python3", "--http-socket", "127.0.0.1:PORT", "--master", "--processes", 2, "--enable-threads"]
    argv += ["--die-on-term", "--no-orphans", "--max-requests", 3, "--module", "shop_site:application", *options]
    with server("uwsgi", argv, 2) as daemon:
        assert len(workers_of(daemon)) == 2 and daemon.program.pid not in workers_of(daemon)
        if not options:
            recycled(daemon)
        else:
            answer = result(daemon.run("app.raise-error"))
            assert answer["mark"] in answer["reported"][0]["text"]
        os.kill(daemon.program.pid, signal.SIGTERM)  # its workers end with it
        daemon.program.popen.wait(30)


@pytest.mark.skipif(not shutil.which("uwsgi"), reason="takes uWSGI")
def test_uwsgi_without_threads_says_what_is_missing():
    with folder_for("unthreaded") as folder:
        (folder / "mail").mkdir()
        environment = environment_for(folder, SITE_LOG=folder / "error.log", SITE_MAIL=folder / "mail")
        argv = ["uwsgi", "--plugin", "python3", "--http-socket", f"127.0.0.1:{free_port()}", "--die-on-term", "--module", "shop_site:application"]
        with open(folder / "out", "wb") as output, Program(*argv, env=environment, cwd=folder, stdout=output, stderr=output) as program:
            wait_until("the warning", lambda: "without --enable-threads" in (folder / "out").read_text(), 60)
            assert program.popen.poll() is None


# ---- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not AM_ROOT, reason="only root can become somebody else")
def test_an_app_of_another_user_is_reached_and_a_stranger_is_not():
    with folder_for("nobody") as folder:
        folder.chmod(0o711)
        shutil.copytree(PACKAGE, folder / "python")
        shutil.copy(APPS / "thread.py", folder / "thread.py")
        environment = {**environment_for(folder), "PYTHONPATH": str(folder / "python")}
        os.chown(folder / "hatches", 65534, 65534)
        subprocess.run(["chmod", "-R", "a+rX", str(folder / "python"), str(folder / "thread.py")], check=True)
        program = subprocess.Popen(
            ["/usr/bin/python3", str(folder / "thread.py")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            env=environment, cwd="/", user=65534, group=65534, extra_groups=[],
        )  # fmt: skip
        try:
            alive(folder, 1)
            path = str(folder / "hatches" / f"{program.pid}.sock")
            with Daemon(program.pid) as daemon:
                listed_with(daemon, "echo")
                assert result(daemon.run("app.echo", {"text": "hello"}))["answer"] == "hello"
                plugin = daemon.process("hatchd: plugin app")
                assert isinstance(plugin, Process) and plugin.status()["Uid"].split()[0] != "0"
            stranger = subprocess.run(
                ["/usr/bin/python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"],
                capture_output=True, text=True, cwd="/", user=65533, group=65533, extra_groups=[], check=False,
            )  # fmt: skip
            assert "PermissionError" in stranger.stderr
        finally:
            ended(program)


# ---- other languages --------------------------------------------------------------------------------------------------


def example(name, folder):
    if name == "node":
        return ["node", EXAMPLES / "hatches.js"]
    if name == "go":
        binary, environment = folder / "server", {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
        subprocess.run(["go", "build", "-o", binary, EXAMPLES / "hatches.go"], check=True, timeout=300, env=environment)
        return [binary]
    binary = folder / "server"
    subprocess.run(["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", binary, EXAMPLES / "hatches.cpp"], check=True, timeout=300)
    return [binary]


@pytest.mark.parametrize("name", ["node", "go", "cpp"])
def test_examples_of_other_languages_keep_the_protocol(name):
    with folder_for(name) as folder:
        with Program(*example(name, folder), env=environment_for(folder), cwd=folder) as program:
            [pid] = alive(folder, 1)
            assert pid == program.pid
            found = conformance.Conformance(str(folder / "hatches" / f"{pid}.sock")).run()
            assert [each for each in found if each[1] != "ok" and each[0] != "catalogue is quick"] == []
            with Daemon(pid) as daemon:
                listed_with(daemon, "echo")
                assert result(daemon.run("app.echo", {"text": "Grüße"}))["answer"] == "Grüße"
                assert client.ask(str(folder / "hatches" / f"{pid}.sock"), "GET", "/hatches")[0] == 200
