"""hatchd under systemd: its units, and what it says to a service manager, which is played here by a socket."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import HATCHD, ROOT, Daemon, Demo, wait_until

UNITS = ROOT / "systemd"


# ---- the units --------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path):
    """A root with our units and programs, for systemd-analyze --root."""
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for unit in [*UNITS.glob("hatchd*.service"), *UNITS.glob("*.socket"), *pathlib.Path("/usr/lib/systemd/system").glob("*.target")]:
        shutil.copy(unit, system)
    for program in ("usr/bin/hatchd", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).touch(0o755)
    return tmp_path


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "LC_ALL": "C"})


def documented():
    """{set of rights: what docs/install.md says that `systemd-analyze security` says of it}; a lower number is a better one."""
    table = re.findall(r"^\| (?:\(the unit\)|`(\S+)[.]conf`) \|.*\| ([0-9.]+) \|$", (ROOT / "docs/install.md").read_text(), re.M)
    return {name: float(exposure) for name, exposure in table}


def test_every_set_of_rights_is_documented():
    assert set(documented()) == {"", *(path.stem for path in (UNITS / "rights").iterdir())}
    assert documented()["same-user"] <= 2.0, "the one that needs no capability"


@pytest.mark.parametrize("rights", ["", "observe-only", "same-user", "full", "journal"])
def test_units_are_valid_and_hardened(image, rights):
    if rights:
        for unit in ("hatchd.service", "hatchd@.service"):
            folder = image / f"etc/systemd/system/{unit}.d"
            folder.mkdir(parents=True)
            shutil.copy(UNITS / "rights" / f"{rights}.conf", folder)
    explained = (UNITS / "hatchd.service").read_text() + ((UNITS / "rights" / f"{rights}.conf").read_text() if rights else "")
    for unit in ("hatchd.service", "hatchd@web.service"):
        verified = analyze("verify", "--man=no", f"--root={image}", unit, "hatchd.socket")
        assert verified.returncode == 0 and verified.stderr == "", verified
        judged = analyze("security", "--offline=true", f"--root={image}", unit)
        level = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)[1])
        assert level <= documented()[rights], judged.stdout
        looser = set(re.findall(r"^- ([A-Za-z]+)=", judged.stdout, re.M))
        assert looser and all(re.search(rf"\b{name}=", explained) for name in looser), looser


def directives(unit):
    lines = (UNITS / unit).read_text().splitlines()
    return [line for line in lines[lines.index("[Service]") :] if line and line[0] not in "#["]


def test_the_template_is_as_hard_as_the_unit():
    own = ("ExecStart", "StateDirectory=", "LogsDirectory", "RuntimeDirectory")
    alike = [[line for line in directives(unit) if not line.startswith(own)] for unit in ("hatchd.service", "hatchd@.service")]
    assert alike[0] == alike[1]


# ---- the service manager ----------------------------------------------------------------------------------------------


class Managed(Daemon):
    """A daemon with a NOTIFY_SOCKET and, when `given` is a listening socket, that as LISTEN_FDS."""

    def __init__(self, target, arguments=None, given=None, environment=None, **options):
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"\0hatchd-e2e-{os.getpid()}-{id(self)}")
        self.manager.settimeout(20)
        self.arguments, self.given, self.environment = arguments, given, environment or {}
        super().__init__(target, **options)

    def start(self):
        name = self.manager.getsockname().decode().replace("\0", "@")
        environment = {**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000", **self.environment}
        command = [HATCHD, "serve", *(self.arguments or ["--config", str(self.file)])]
        descriptors = []
        if self.given:
            descriptors = [self.given.fileno()]
            script = f'exec 3<&{self.given.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
            command = ["bash", "-c", script, "bash", *command]
        with open(self.log_file, "ab") as log:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment, pass_fds=descriptors
            )
        self.wait_ready()

    def told(self, wanted):
        """The next message that holds this line; what came before it is forgotten."""
        while True:
            lines = self.manager.recv(4096).decode().split("\n")
            if wanted in lines:
                return dict(line.split("=", 1) for line in lines)

    def close(self):
        super().close()
        self.manager.close()


def test_what_the_service_manager_hears(demo):
    with Managed(demo.pid) as daemon:
        assert daemon.told("READY=1")["STATUS"] == "Serving 1 target on 1 listener"
        for _ in range(3):
            daemon.told("WATCHDOG=1")
        os.kill(daemon.pid, signal.SIGHUP)
        assert int(daemon.told("RELOADING=1")["MONOTONIC_USEC"]) > 0
        daemon.told("READY=1")
        daemon.file.write_text("{ broken")
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.told("RELOADING=1")
        assert daemon.told("READY=1")["STATUS"].startswith("The old configuration stays as it is")
        os.kill(daemon.pid, signal.SIGTERM)
        daemon.told("STOPPING=1")
        # Nothing of this reaches what hatchd starts.
        for process in daemon.processes():
            if process.pid != daemon.pid:
                with contextlib.suppress(OSError):
                    assert b"NOTIFY_SOCKET" not in pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()


def test_the_watchdog_sees_a_front_that_hangs(demo):
    with Managed(demo.pid) as daemon:
        daemon.told("WATCHDOG=1")
        front = daemon.process("hatchd: front").pid
        os.kill(front, signal.SIGSTOP)
        try:
            daemon.manager.settimeout(2)  # ten times what the watchdog bears
            with pytest.raises(TimeoutError):
                while True:
                    daemon.told("WATCHDOG=1")
        finally:
            os.kill(front, signal.SIGCONT)
        daemon.manager.settimeout(20)
        daemon.told("WATCHDOG=1")


def test_a_socket_that_systemd_bound_is_used_and_stays(demo, tmp_path):
    path = tmp_path / "bound.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        given.listen()
        path.chmod(0o640)
        with Managed(demo.pid, given=given, config={"listen": [{"unix": str(path), "mode": "0666"}]}, start=False) as daemon:
            daemon.socket = str(path)
            daemon.start()
            assert daemon.run("stack.dump").status == 200
            assert path.stat().st_mode & 0o777 == 0o640, "mode and group are the socket unit's"
            daemon.stop()
            assert path.exists(), "it is not ours to remove"
            # Whoever calls meanwhile waits, and is answered by the next one.
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(20)
                caller.connect(str(path))
                caller.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                daemon.start()
                assert caller.recv(64).startswith(b"HTTP/1.1 200")


def test_a_socket_that_no_listener_wants_is_closed(demo):
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        with Managed(demo.pid, given=given) as daemon:
            assert "sockets from systemd are not used" in daemon.log()


# ---- hatchd@web -------------------------------------------------------------------------------------------------------


def test_an_instance_serves_its_unit_alone(tmp_path):
    """As hatchd@web.service starts it; the unit's cgroup is played by a name in a target of the configuration."""
    run, state = tmp_path / "run", tmp_path / "state"
    for folder in (run, state):
        folder.mkdir(mode=0o700)
    targets = {"shop": {"unit": "web.service", "log": {"file": "/var/log/web.log"}}, "other": {"unit": "other.service"}}
    with Demo() as demo:
        daemon = Managed(
            targets,
            environment={"RUNTIME_DIRECTORY": str(run), "STATE_DIRECTORY": str(state)},
            config={"hatches": {"stack.dump": {"timeout": "10s"}}},
            tcp=True,
            start=False,
        )
        with daemon:
            daemon.arguments = ["--config", str(daemon.file), "--unit", "web.service"]
            daemon.socket = str(run / "hatchd.sock")
            daemon.start()
            names = {target["name"]: target["match"] for target in daemon.get("/v1/targets").json()["targets"]}
            assert set(names) == {"shop"} and names["shop"]["log"], "as configured"
            assert (run / "hatchd.sock").stat().st_mode & 0o777 == 0o666, "as the configuration's socket"
            assert (state / "runs").is_dir()
            with pytest.raises(OSError):
                daemon.get("/livez", tcp=True)
            daemon.stop()

            daemon.arguments[-1] = "mail@shop.service"
            daemon.start()
            assert [target["name"] for target in daemon.get("/v1/targets").json()["targets"]] == ["mail-shop"]
        assert demo.popen.poll() is None

    alone = subprocess.run(
        [HATCHD, "serve", "--config", str(tmp_path / "none.json"), "--unit", "web"], capture_output=True, text=True, timeout=30, check=False
    )
    assert alone.returncode == 2 and "RUNTIME_DIRECTORY" in alone.stderr and "remedy:" in alone.stderr


# ---- access.start_token -----------------------------------------------------------------------------------------------


def test_a_token_made_at_start_serves_whoever_can_read_the_file(demo, tmp_path):
    file = tmp_path / "token.header"
    with Daemon(demo.pid, {"access": {"start_token": {"file": str(file), "role": "operator"}}}) as daemon:
        assert file.stat().st_mode & 0o777 == 0o600
        first = file.read_text()
        ran = daemon.ctl("run", "stack.dump", env={**os.environ, "HATCHD_TOKEN_FILE": str(file)})
        assert ran.returncode == 0, ran
        caller = daemon.get("/v1/runs").json()["runs"][0]["caller"]
        assert caller["name"] == "start" and caller["via"] == "token"
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until("the reload", lambda: "the configuration is taken over" in daemon.log())
        assert daemon.ctl("--token-file", str(file), "run", "stack.dump").returncode == 0, "it outlives a reload"
        daemon.stop()
        daemon.start()
        assert file.read_text() != first, "and no restart"
        assert first.split()[-1] not in daemon.log()
