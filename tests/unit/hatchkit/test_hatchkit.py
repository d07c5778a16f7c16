"""hatchkit by itself, against a process of its own. Runs under any Python from 3.8: python3 -m unittest, or pytest."""
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "plugins/app/python"
sys.path.insert(0, str(PACKAGE))

from hatchkit import client, conformance, masking, place, registry, values  # noqa: E402


def wait_until(what, condition, seconds=30.0):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "waited in vain for " + what
        time.sleep(0.02)


def end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class App:
    def __init__(self, folder, script=HERE / "app.py", **options):
        self.environment = dict(os.environ, HATCH_DIR=folder, PYTHONPATH=str(PACKAGE), PYTHONDONTWRITEBYTECODE="1")
        self.popen = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            **options,
        )
        self.folder, self.pid = folder, int(self.popen.stdout.readline())
        self.socket = os.path.join(folder, "%d.sock" % self.pid)
        wait_until("the socket", lambda: os.path.exists(self.socket) and place.is_alive(self.socket))

    def run(self, hatch, **params):
        return client.ask(self.socket, "POST", "/hatches/" + hatch, params)

    def hatchkit(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "hatchkit", *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60,
        )  # fmt: skip

    def end(self):
        """Ends as apps end, and gives back what it wrote to stderr."""
        self.popen.stdin.close()
        self.popen.wait(20)
        errors = self.popen.stderr.read().decode(errors="replace")
        self.popen.stdout.close()
        self.popen.stderr.close()
        return errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


class Folder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="hatchkit-")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name


class Served(Folder):
    def test_conforms_to_its_own_protocol(self):
        with App(self.folder) as app:
            found = conformance.Conformance(app.socket).run()
        # How quick it is is the machine's, which is busy with other tests.
        self.assertEqual([each for each in found if each[1] != "ok" and each[0] != "catalogue is quick"], [])

    def test_describes_a_function_by_its_signature_and_docstring(self):
        with App(self.folder) as app:
            _, body = client.ask(app.socket, "GET", "/hatches")
        hatches = {hatch["name"]: hatch for hatch in body["hatches"]}
        self.assertNotIn("unusable", hatches)
        self.assertEqual(
            hatches["rebuild-index"],
            {
                "name": "rebuild-index",
                "title": "Rebuild the index of one shop",
                "documentation": "Rebuild the index of one shop.\n\nTakes minutes.",
                "effect": "act",
                "role": "operator",
                "timeout_ms": 30000,
                "parameters": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["shop"],
                    "properties": {
                        "shop": {"type": "string", "description": "which shop, by its name"},
                        "limit": {"type": "integer", "description": "at most so many", "default": 100},
                        "deep": {"type": "boolean", "default": False},
                        "key": {"type": "string", "secret": True, "default": ""},
                    },
                },
            },
        )
        self.assertEqual(hatches["echo"]["effect"], "observe")

    def test_parameters_are_checked_and_every_failure_is_named(self):
        with App(self.folder) as app:
            self.assertEqual(app.run("rebuild-index", shop="a", limit=3.0)[1]["result"], ["a", 3, False, app.pid])
            status, body = app.run("rebuild-index", limit="3", deep=1, more=None)
        self.assertEqual(status, 422)
        self.assertEqual({error["pointer"] for error in body["errors"]}, {"/shop", "/limit", "/deep", "/more"})

    def test_hatches_that_misbehave_leave_the_app_unharmed(self):
        with App(self.folder) as app:
            status, body = app.run("fail")
            self.assertEqual((status, body["code"]), (500, "hatch-failed"))
            self.assertIn("RuntimeError: on purpose \\ud800", body["detail"])
            self.assertIn("in fail", body["traceback"])
            self.assertEqual(app.run("leave")[1]["detail"], "SystemExit: 3")

            status, body = app.run("forever")
            self.assertEqual((status, body["code"], body["output"]), (504, "hatch-timeout", "before\n"))
            self.assertIn("in forever", body["traceback"])

            status, body = app.run("prints")
            self.assertEqual((status, body["result"], body["output_truncated"]), (200, "done", True))
            self.assertLess(len(body["output"]), 300 * 1024)

            status, body = app.run("odd")
            self.assertEqual((status, body["lossy"]), (200, True))
            result = body["result"]
            self.assertEqual(result["set"], [1])
            self.assertEqual((result["nan"], result["big"], result["3"]), ("nan", str(2**70), "key"))
            self.assertEqual(result["rude"], "<Rude, whose repr() raised ValueError>")
            self.assertLess(len(json.dumps(body)), 4 * 1024 * 1024)

            self.assertEqual(app.run("echo", text="still here")[1]["result"], "still here")
            app.end()
            self.assertEqual(app.popen.returncode, 0)

    def test_hatches_that_never_return_are_bounded(self):
        with App(self.folder) as app:
            answers = [app.run("forever") for _ in range(9)]
            self.assertEqual([status for status, _ in answers], [504] * 8 + [503])
            self.assertIn("forever", answers[-1][1]["detail"])
            _, body = client.ask(app.socket, "GET", "/hatches")
            self.assertIn("forever", [hatch["name"] for hatch in body["hatches"]])
            app.end()
            self.assertEqual(app.popen.returncode, 0)

    def test_level_of_a_log_reverts(self):
        with App(self.folder) as app:
            self.assertEqual(app.run("log-level", level="DEBUG", seconds=3600)[1]["result"]["level"], "DEBUG")
            self.assertEqual(app.run("log-level", level="ERROR", seconds=1)[1]["result"]["changed"]["root"]["before"], "WARNING")
            wait_until("the level of before", lambda: app.run("log-level")[1]["result"]["level"] == "WARNING")
            self.assertEqual(app.run("log-level", level="DEBUG", seconds=0)[0], 422)

    def test_the_interpreter_is_shown(self):
        with App(self.folder) as app:
            threads = app.run("threads")[1]["result"]["threads"]
            main = next(thread for thread in threads if thread["name"] == "MainThread")
            self.assertIn("app.py", main["frames"][0]["file"])
            self.assertIn("generations", app.run("gc", collect=True)[1]["result"])
            self.assertFalse(app.run("tracemalloc")[1]["result"]["tracing"])
            self.assertTrue(app.run("tracemalloc", action="start")[1]["result"]["tracing"])
            self.assertTrue(app.run("tracemalloc")[1]["result"]["top"])


class Processes(Folder):
    def test_a_forked_child_has_a_socket_of_its_own(self):
        with App(self.folder) as app:
            child = app.run("fork")[1]["result"]
            self.addCleanup(end, child)
            path = os.path.join(self.folder, "%d.sock" % child)
            wait_until("the child's socket", lambda: os.path.exists(path) and place.is_alive(path))
            self.assertEqual(client.ask(path, "POST", "/hatches/rebuild-index", {"shop": "b"})[1]["result"][3], child)
            self.assertEqual(app.run("rebuild-index", shop="a")[1]["result"][3], app.pid)
            listed = app.hatchkit("run", "rebuild-index", "shop=c", "--workers", "all")
            self.assertEqual(listed.returncode, 0, listed.stderr)
            self.assertIn(str(child), listed.stdout)
            self.assertIn(str(app.pid), listed.stdout)

            # Ended without a word, its socket stays; whoever opens one next removes it, and nobody else's.
            os.kill(child, signal.SIGKILL)
            wait_until("the child's end", lambda: not place.is_alive(path))
            self.assertTrue(os.path.exists(path))
            with App(self.folder):
                self.assertFalse(os.path.exists(path))
                self.assertTrue(place.is_alive(app.socket))

    def test_an_app_that_ends_takes_its_socket_along(self):
        with App(self.folder) as app:
            app.end()
            self.assertEqual(app.popen.returncode, 0)
            self.assertFalse(os.path.exists(app.socket))

    def test_a_folder_that_cannot_be_used_is_no_reason_not_to_start(self):
        taken = os.path.join(self.folder, "file")
        open(taken, "w").close()
        script = os.path.join(self.folder, "script.py")
        with open(script, "w") as text:
            text.write("import time, hatchkit\nhatchkit.hatch(lambda: 1, name='x')\n"
                       "while hatchkit.status()['problem'] is None: time.sleep(0.01)\n"
                       "print(hatchkit.status()['problem'])\n")  # fmt: skip
        environment = dict(os.environ, HATCH_DIR=taken, PYTHONPATH=str(PACKAGE))
        ran = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn(b"Not a directory", ran.stdout)

    def test_the_folder_in_tmp_is_private_and_not_somebody_elses(self):
        with unittest.mock.patch.object(place, "private_folder", lambda: os.path.join(self.folder, "own")), \
             unittest.mock.patch.object(place, "SHARED", "/no/such"), \
             unittest.mock.patch.dict(os.environ):  # fmt: skip
            os.environ.pop("HATCH_DIR", None)
            folder = place.own_folder()
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
            os.chmod(folder, 0o777)
            self.assertEqual(stat.S_IMODE(os.stat(place.own_folder()).st_mode), 0o700)
            os.rmdir(folder)
            os.symlink("/etc", folder)
            with self.assertRaises(OSError):
                place.own_folder()

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_foreign_user_is_turned_away(self):
        def as_nobody(path):
            code = (
                "import os, sys; sys.path.insert(0, %r); from hatchkit import client;"
                "os.setgroups([]); os.setresgid(%d, %d, %d); os.setresuid(65534, 65534, 65534);"
                "print(client.ask(%r, 'GET', '/hatches'))" % (str(PACKAGE), gid, gid, gid, path)
            )
            return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  universal_newlines=True, cwd="/", timeout=60)  # fmt: skip

        gid = 65500
        with App(self.folder) as app:
            self.assertIn("PermissionError", as_nobody(app.socket).stderr)  # the folder
        os.chown(self.folder, 0, gid)
        os.chmod(self.folder, 0o2770)
        with App(self.folder) as app:
            self.assertIn("'forbidden'", as_nobody(app.socket).stdout)  # who it is
        os.environ["HATCH_PEERS"] = "65534"
        self.addCleanup(os.environ.pop, "HATCH_PEERS")
        with App(self.folder) as app:
            self.assertIn("rebuild-index", as_nobody(app.socket).stdout)

    def test_exec_right_after_a_fork_leaves_no_socket(self):
        script = os.path.join(self.folder, "script.py")
        with open(script, "w") as text:
            text.write("import os, subprocess, sys, hatchkit\nhatchkit.hatch(lambda: 1, name='x')\n"
                       "child = subprocess.Popen(['sleep', '60'], preexec_fn=os.getpgrp)\n"
                       "print(os.getpid(), flush=True)\nprint(child.pid, flush=True)\n"
                       "sys.stdin.read()\nchild.kill()\nchild.wait()\n")  # fmt: skip
        with App(self.folder, script) as app:
            child = int(app.popen.stdout.readline())
            self.assertEqual([os.path.basename(path) for path in place.sockets(self.folder)], ["%d.sock" % app.pid])
            self.assertNotEqual(child, app.pid)
            self.assertEqual(app.end(), "")


class Signatures(Folder):
    """Annotations that name what is not there at run time cost that parameter its type, and nobody else anything."""

    @staticmethod
    def types(function):
        entry = registry.Hatch(function, None, "act", 1.0, None, None, None)
        return {parameter.name: parameter.schema["type"] for parameter in entry.parameters}

    def test_annotations_as_text_are_read_one_by_one(self):
        def rebuild(shop, limit=3, deep=False, keys=()):
            pass

        rebuild.__annotations__ = {"shop": "Shop", "limit": "int", "deep": "bool", "keys": "typing.List[Key]"}
        self.assertEqual(self.types(rebuild), {"shop": "string", "limit": "integer", "deep": "boolean", "keys": "string"})

    def test_annotations_that_raise_when_they_are_looked_at(self):
        """As Python 3.14 has them: inspect.signature() evaluates unless it is told not to."""
        import inspect
        import typing

        def rebuild(shop, limit=3, when=None):
            pass

        plain, asked, unknown = inspect.signature(rebuild), [], typing.ForwardRef("Date")

        def signature(function, annotation_format="value"):
            asked.append(annotation_format)
            if annotation_format == "value" or annotation_format == self.broken:
                raise NameError("name 'Shop' is not defined")
            found = {"shop": typing.ForwardRef("Shop"), "limit": int, "when": typing.Optional[unknown]}
            if annotation_format == "string":
                found = {"shop": "Shop", "limit": "int", "when": "Optional[Date]"}
            changed = [each.replace(annotation=found[each.name]) for each in plain.parameters.values()]
            return plain.replace(parameters=changed)

        library = unittest.mock.Mock()
        library.Format.FORWARDREF, library.Format.STRING = "forwardref", "string"
        wanted = {"shop": "string", "limit": "integer", "when": "string"}
        hints = unittest.mock.patch.object(typing, "get_type_hints", side_effect=NameError("name 'Shop' is not defined"))
        with hints, unittest.mock.patch.object(registry, "annotationlib", library), \
                unittest.mock.patch.object(inspect, "signature", signature):  # fmt: skip
            self.broken = None
            self.assertEqual(self.types(rebuild), wanted)
            self.broken = "forwardref"
            self.assertEqual(self.types(rebuild), wanted)
        self.assertEqual(asked, ["forwardref", "forwardref", "string"])

    def test_frames_of_other_threads_are_left_alone_without_the_interpreter_lock(self):
        program = """
import sys
sys._is_gil_enabled = lambda: False
from hatchkit import problem, runtime
try:
    runtime.threads()
except problem.Problem as refused:
    print(refused.members["remedy"])
"""
        environment = dict(os.environ, HATCH_DIR=self.folder, PYTHONPATH=str(PACKAGE))
        asked = subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, timeout=60, check=True)
        self.assertIn(b"stack.dump", asked.stdout)


class Values(unittest.TestCase):
    def test_masking(self):
        settings = {"SECRET_KEY": "k", "DATABASES": {"default": {"PASSWORD": "p", "PORT": 5432}}, "PASSWORD_RESET_TIMEOUT": 5,
                    "BROKER": "redis://u:p@h/0", "MONKEY": "m", "EMPTY_TOKEN": ""}  # fmt: skip
        self.assertEqual(
            masking.masked(settings),
            {"SECRET_KEY": "******", "DATABASES": {"default": {"PASSWORD": "******", "PORT": 5432}},
             "PASSWORD_RESET_TIMEOUT": 5, "BROKER": "redis://******@h/0", "MONKEY": "m", "EMPTY_TOKEN": ""},
        )  # fmt: skip

    def test_endless_iterators_end(self):
        def forever():
            while True:
                yield "x" * 1000

        value, lossy = values.jsonable(forever())
        self.assertTrue(lossy)
        self.assertLess(len(json.dumps(value)), 2 * values.MAX_BYTES)


class Conformance(Folder):
    def test_a_server_that_does_not_conform_is_found_out(self):
        path = os.path.join(self.folder, "%d.sock" % os.getpid())
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(50)

        import threading

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with contextlib.suppress(OSError), connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

        threading.Thread(target=serve, daemon=True).start()
        found = {title: how for title, how, _ in conformance.Conformance(path).run()}
        listener.shutdown(socket.SHUT_RDWR)
        self.assertEqual(found["catalogue"], "failed")
        self.assertEqual(found["unknown hatch"], "failed")
        self.assertEqual(found["socket is named after the process"], "ok")


@unittest.skipUnless(importlib.util.find_spec("pip") and importlib.util.find_spec("setuptools") and importlib.util.find_spec("wheel"), "takes pip, setuptools and wheel")
class Wheel(Folder):
    def test_the_package_makes_a_wheel_with_all_of_it(self):
        source = os.path.join(self.folder, "source")
        shutil.copytree(str(PACKAGE), source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        pip = [sys.executable, "-m", "pip", "--no-cache-dir", "--disable-pip-version-check"]
        # Nothing is fetched: the back end is the one that is installed, and there are no dependencies.
        subprocess.check_output(
            pip + ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", self.folder, source], stderr=subprocess.STDOUT
        )
        [wheel] = pathlib.Path(self.folder).glob("hatchkit-*-py3-none-any.whl")
        inside = {name for name in zipfile.ZipFile(str(wheel)).namelist() if name.startswith("hatchkit/")}
        written = {str(path.relative_to(PACKAGE)) for path in (PACKAGE / "hatchkit").rglob("*.py")}
        self.assertEqual(inside, written)


if __name__ == "__main__":
    unittest.main()
