"""A private hatchd, a demo target beside it, and the ways to ask: what every end-to-end test starts from.

Each Daemon lives in a temporary folder of its own, is ended by its pid, and leaves no process behind: stop() asserts it.
"""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HATCHD_BUILD", ROOT / "build" / "release"))
BIN = BUILD / "bin"
HATCHD, HATCHCTL, DEMO = str(BIN / "hatchd"), str(BIN / "hatchctl"), str(BIN / "hatchd-demo")
AM_ROOT = os.geteuid() == 0
SANITIZED = (BUILD / "CMakeCache.txt").exists() and "HATCHD_SANITIZE:BOOL=ON" in (BUILD / "CMakeCache.txt").read_text()


def wait_until(what, condition, seconds=20.0):
    """Polls until condition() is true, and returns what it said."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.02)


def call(*command, **options):
    """What a command printed that must succeed."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False, **options)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


given_ports = set()


def free_port():
    """A port that nobody has, and that nobody gets by chance before it is used: not of those that the kernel gives away."""
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.randrange(10_000, lowest) if lowest > 11_000 else 0
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if probe.getsockname()[1] not in given_ports:
                given_ports.add(probe.getsockname()[1])
                return probe.getsockname()[1]
    raise AssertionError("no port is free")


# ---- processes --------------------------------------------------------------------------------------------------------


class Process:
    """What /proc says about one process at one moment; pid + start time is its identity."""

    def __init__(self, pid):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        self.pid = pid
        self.state, self.parent, self.session = fields[0], int(fields[1]), int(fields[3])
        self.started = int(fields[19])
        self.title = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")

    def alive(self):
        with contextlib.suppress(OSError):
            now = Process(self.pid)
            return now.started == self.started and now.state not in "ZX"
        return False

    def status(self):
        """/proc/PID/status as a dictionary."""
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def capabilities(self):
        """The numbers of the capabilities that are permitted."""
        bits = int(self.status()["CapPrm"], 16)
        return {number for number in range(64) if bits >> number & 1}

    def __repr__(self):
        return f"{self.pid} ({self.title})"


def all_processes():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                found.append(Process(int(entry)))
    return found


def descendants(pid):
    everybody = all_processes()
    family = {pid}
    while True:
        more = {p.pid for p in everybody if p.parent in family} - family
        if not more:
            return [p for p in everybody if p.pid in family and p.state not in "ZX"]
        family |= more


def thread_states(pid):
    """{tid: (name, state, tracer)} of every thread."""
    states = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            status = dict(
                (k, v.strip())
                for k, _, v in (line.partition(":") for line in pathlib.Path(f"/proc/{pid}/task/{tid}/status").read_text().splitlines())
            )
            states[int(tid)] = (status["Name"], status["State"][0], int(status["TracerPid"]))
    return states


def assert_untouched(pid):
    """Nobody traces the process, and no thread of it is stopped."""

    def free():
        return all(tracer == 0 and state not in "Tt" for _, state, tracer in thread_states(pid).values())

    wait_until(f"process {pid} to run untraced", free)


class Program:
    """A child of the test, ended with it."""

    def __init__(self, *argv, **options):
        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        options.setdefault("stdin", subprocess.DEVNULL)
        self.popen = subprocess.Popen([str(a) for a in argv], **options)
        self.pid = self.popen.pid

    def stop(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Demo(Program):
    """The repository's own target, once it says that it is ready."""

    def __init__(self, *arguments, binary=DEMO, **options):
        super().__init__(binary, *arguments, stdout=subprocess.PIPE, **options)
        lines = [self.popen.stdout.readline(), self.popen.stdout.readline()]
        assert lines == [b"%d\n" % self.pid, b"ready\n"], lines
        wait_until("its threads to be at their places", self.is_settled)

    def is_settled(self):
        """All threads sleep under names of their own, but those whose work is to run."""
        threads = thread_states(self.pid)
        main = threads[self.pid][0]
        return all(
            name in ("pricer", "watcher") or (state == "S" and (tid == self.pid or name != main))
            for tid, (name, state, _) in threads.items()
        )

    def stop(self):
        super().stop()
        self.popen.stdout.close()


class Terminal:
    """A program on a terminal of its own: what it shows, and what is typed."""

    def __init__(self, *argv, env=None):
        self.text = ""
        self.code = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(argv[0], [str(a) for a in argv], {**os.environ, "TERM": "xterm", **(env or {})})
            finally:
                os._exit(127)

    def read(self, seconds=0.05):
        """Takes what has been shown; False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, pattern, seconds=30.0):
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.text)):
            over = not self.read()
            assert not (over and not re.search(pattern, self.text)), f"ended without {pattern!r}: {self.text!r}"
            assert time.monotonic() < end, f"waited in vain for {pattern!r}: {self.text!r}"
        return match

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, seconds=30.0):
        """Its exit code, or the negative number of the signal that ended it."""
        end = time.monotonic() + seconds
        while self.code is None:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                while self.read(0.2) and select.select([self.fd], [], [], 0.2)[0]:
                    pass
            assert self.code is not None or time.monotonic() < end, f"does not end: {self.text!r}"
        return self.code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.code is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        os.close(self.fd)


# ---- HTTP -------------------------------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Response:
    def __init__(self, raw):
        self.status = raw.status
        self.headers = {name.lower(): value for name, value in raw.getheaders()}
        self.body = raw.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def type(self):
        return self.headers.get("content-type", "").split(";")[0]

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"HTTP {self.status} {self.headers}\n{self.body[:4000].decode(errors='replace')}"


TOKEN = "hatchd_e2e-operator-0123456789abcdef"


def token_entry(text, role, name="e2e", **more):
    return {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "role": role, **more}


def open_to_all(folder):
    """Every user may reach it, as far as folders of tests go: pytest's are closed to those that hatchd's processes run as."""
    for each in [folder, *folder.parents]:
        if pathlib.Path(tempfile.gettempdir()) in each.parents:
            each.chmod(0o755)


# ---- the daemon -------------------------------------------------------------------------------------------------------


class Daemon:
    """`hatchd serve` with a configuration of its own. Targets as in the configuration, or a pid for one named demo."""

    program = HATCHD

    def __init__(self, targets, config=None, tcp=False, start=True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="e2e-hatchd-"))
        self.folder.chmod(0o755)
        self.socket = str(self.folder / "hatchd.sock")
        self.port = free_port() if tcp else None
        if isinstance(targets, int):
            targets = {"demo": {"pid": targets}}
        self.config = {
            "listen": [{"unix": self.socket, "mode": "0666"}],
            "targets": targets,
            "access": {"peers": [{"user": "root", "role": "admin"}]},
            "runs": {"directory": str(self.folder / "runs"), "min_free": "1MiB"},
        }
        if not AM_ROOT:
            import pwd

            self.config["access"]["peers"].append({"user": pwd.getpwuid(os.geteuid()).pw_name, "role": "admin"})
        if tcp:
            self.config["listen"].append({"tcp": f"127.0.0.1:{self.port}"})
            self.config["access"]["tokens"] = [token_entry(TOKEN, "operator")]
        for key, value in (config or {}).items():
            if isinstance(value, dict) and isinstance(self.config.get(key), dict):
                self.config[key].update(value)
            else:
                self.config[key] = value
        self.file = self.folder / "hatchd.json"
        self.file.write_text(json.dumps(self.config, indent=2))
        self.file.chmod(0o600)
        self.log_file = self.folder / "log"
        self.popen = None
        self.seen = {}
        if start:
            self.start()

    def start(self):
        with open(self.log_file, "ab") as log:
            self.popen = subprocess.Popen(
                [self.program, "serve", "--config", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.log_file.read_text(errors="replace")

    def ready(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"hatchd ended with {self.popen.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/readyz").status == 200
        return False

    def wait_ready(self):
        try:
            wait_until("hatchd to be ready", self.ready, 60)
        except AssertionError as error:
            log = self.log()
            self.stop()
            raise AssertionError(f"{error}\n{log}") from None

    def processes(self):
        """Every process of this daemon: its family, and what stayed in its session."""
        found = {p.pid: p for p in descendants(self.pid)}
        found.update((p.pid, p) for p in all_processes() if p.session == self.pid and p.state not in "ZX")
        self.seen.update(((p.pid, p.started), p) for p in found.values())
        return sorted(found.values(), key=lambda p: p.pid)

    def process(self, title):
        """The one whose name in ps begins so, or None."""
        return next((p for p in self.processes() if p.title.startswith(title)), None)

    def at_rest(self):
        """Its processes when none is a run's, and none of them is about to be one: a run's may outlast the run's answer."""

        def resting():
            family = descendants(self.pid)
            return family if all(p.title and not p.title.startswith("hatchd: run") for p in family) else None

        return wait_until("the processes of runs to be gone", resting)

    def left(self):
        """Processes of this daemon that are still there."""
        mine = [p for p in all_processes() if p.session == self.pid and p.state not in "ZX"]
        return mine + [p for p in self.seen.values() if p.alive() and p not in mine]

    def stop(self, clean=True):
        if self.popen is None:
            return
        try:
            if self.popen.poll() is None:
                self.processes()
                self.popen.send_signal(signal.SIGTERM)
                try:
                    code = self.popen.wait(20)
                except subprocess.TimeoutExpired:
                    raise AssertionError(f"hatchd did not end on SIGTERM:\n{self.log()}") from None
                assert not clean or code == 0, f"hatchd ended with {code}:\n{self.log()}"
            wait_until("every process of hatchd to be gone", lambda: not self.left())
        finally:
            for process in self.left():
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGKILL)
            if self.popen.poll() is None:
                self.popen.kill()
                self.popen.wait()
            # A sanitizer's report is a failure, but for plugins that crash on purpose.
            log = self.log()
            if "/fixtures/hatches/" not in log:
                assert "AddressSanitizer" not in log and "runtime error:" not in log, log

    def close(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("---- hatchd's log\n" + self.log())
        self.close()

    # -- asking --

    def connection(self, tcp=False, timeout=60):
        if tcp:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        return UnixConnection(self.socket, timeout)

    def ask(self, method, path, body=None, headers=None, tcp=False, timeout=60):
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection = self.connection(tcp, timeout)
        try:
            connection.request(method, path, body, headers)
            return Response(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def run(self, hatch, params=None, headers=None, **options):
        return self.ask("POST", f"/v1/hatches/{hatch}", params or {}, headers, **options)

    def form(self, path, fields=None, headers=None, **options):
        headers = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.ask("POST", path, urllib.parse.urlencode(fields or {}), headers, **options)

    def start_run(self, hatch, params=None):
        """Starts a run without waiting for it; its id."""
        answer = self.run(hatch, params, {"Prefer": "respond-async"})
        assert answer.status == 202, answer
        return answer.headers["location"].rsplit("/", 1)[1]

    def record(self, run):
        answer = self.get(f"/v1/runs/{run}")
        assert answer.status == 200, answer
        return answer.json()

    def ended(self, run, seconds=20):
        """The record of a run once it has ended."""

        def done():
            record = self.record(run)
            return record if record["state"] not in ("queued", "running") else None

        return wait_until(f"run {run} to end", done, seconds)

    def curl(self, *arguments):
        return subprocess.run(
            ["curl", "-sS", "--unix-socket", self.socket, *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    def ctl(self, *arguments, env=None, **options):
        return subprocess.run(
            [HATCHCTL, "--socket", self.socket, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=env,
            **options,
        )
