"""network=target: mail and queue from the target's own network namespace, with CAP_SYS_ADMIN and without."""

import concurrent.futures
import contextlib
import ctypes
import json
import os
import shutil
import subprocess

import pytest

from harness import AM_ROOT, BUILD, Daemon, Process, Program, descendants, free_port, open_to_all, wait_until
from mail import Smtp, profile
from queues import Mute, listens

pytestmark = pytest.mark.skipif(not AM_ROOT, reason="a network namespace takes root")

OWN = 61001  # without a name
SYS_ADMIN = 21  # linux/capability.h
GRANTED = {"mail": {"capabilities": ["sys_admin"]}, "queue": {"capabilities": ["sys_admin"]}}


def within(pid, make):
    """make() by a thread in the network namespace of `pid`; the sockets that it makes, and its threads, stay there."""

    def act():
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            assert libc.setns(namespace, 0x40000000) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(namespace)
        return make()

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(act).result()


class Away:
    """A target in a network of its own: a sleeper; beside it there a Redis, a mail server and somebody who never answers."""

    def __init__(self, folder, ends):
        environment = {"PATH": os.environ["PATH"], "REDIS_URL": "redis://127.0.0.1:6379/0"}
        script = "ip link set lo up && exec sleep 600"
        self.pid = ends.enter_context(Program("unshare", "--net", "sh", "-c", script, env=environment)).pid
        wait_until("the target to be there", lambda: Process(self.pid).title == "sleep 600")
        redis = ["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        ends.enter_context(Program("nsenter", f"--net=/proc/{self.pid}/ns/net", *redis))
        wait_until("redis to listen", lambda: within(self.pid, lambda: listens(6379)))
        self.smtp = within(self.pid, Smtp)
        ends.callback(self.smtp.close)
        self.mute = within(self.pid, Mute)
        ends.enter_context(self.mute)

    def network(self):
        return os.readlink(f"/proc/{self.pid}/ns/net")


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    with contextlib.ExitStack() as ends:
        yield Away(tmp_path_factory.mktemp("away"), ends)


def configuration(away, granted):
    plugins = {name: dict(part) for name, part in (GRANTED if granted else {"mail": {}, "queue": {}}).items()}
    plugins["mail"]["profiles"] = {"default": profile(away.smtp.port)}
    plugins["queue"]["profiles"] = {
        "redis": {"kind": "redis", "url": "redis://127.0.0.1:6379/0"},
        "mute": {"kind": "redis", "url": f"redis://127.0.0.1:{away.mute.port}/0", "timeout": "60s"},
        "rabbit": {"kind": "rabbitmq", "url": f"amqp://u:p@127.0.0.1:{free_port()}/"},
        "celery": {"kind": "celery", "broker": "redis://127.0.0.1:6379/0"},
    }
    return {"plugins": plugins, "hatches": {"mail.send": {"cooldown": "0s"}, "queue.ping": {"concurrency": 8}}}


@pytest.fixture(scope="module")
def able(away):
    with Daemon({"away": {"pid": away.pid}, "here": {"pid": os.getpid()}}, configuration(away, granted=True)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def plain(away):
    with Daemon({"away": {"pid": away.pid}}, configuration(away, granted=False)) as daemon:
        yield daemon


def test_mail_from_the_target_s_network(away, able):
    answer = able.run("mail.send", {"target": "away", "network": "target"})
    assert answer.status == 200, answer
    assert answer.json()["result"]["vantage"] == {"settings": "profile", "network": "target", "resolver": "target"}
    assert len(away.smtp.messages) == 1
    # The same address in hatchd's own network is nobody's.
    answer = able.run("mail.send", {"target": "away"})
    assert answer.status == 424 and "connection refused" in answer.text.lower(), answer
    assert len(away.smtp.messages) == 1


def test_a_queue_in_the_target_s_network(able):
    answer = able.run("queue.ping", {"profile": "redis", "target": "away", "network": "target"})
    assert answer.status == 200 and answer.json()["result"]["network"] == "target", answer
    answer = able.run("queue.ping", {"profile": "redis", "target": "away", "network": "target", "from": "target"})
    assert answer.status == 200, answer
    assert answer.json()["result"]["settings"]["url"]["origin"] == f"REDIS_URL of process {answer.json()['target']['pid']}"
    answer = able.run("queue.ping", {"profile": "redis", "target": "away", "from": "target"})
    if answer.status == 424:  # unless somebody runs a Redis here
        result = able.record(answer.json()["run"]["id"])["result"]
        assert result["network"] == "hatchd" and "network=target looks from there" in result["hint"]


def test_a_dry_run_of_it(away, able):
    for hatch, params in (("mail.send", {}), ("queue.ping", {"profile": "redis"})):
        answer = able.run(hatch, {"target": "away", "network": "target", "dry_run": True, **params})
        assert answer.status == 200 and answer.json()["ready"] is True, answer


def test_each_kind_of_queue_enters_it(able):
    """Nobody listens there; that it was tried from there is what the result says."""
    for name in ("rabbit", "celery"):
        answer = able.run("queue.ping", {"profile": name, "target": "away", "network": "target", "dry_run": True})
        assert answer.json()["ready"] is (name == "celery") and "rights" not in answer.text, answer


@pytest.mark.parametrize("network", ["target", "hatchd"])
def test_the_right_to_enter_is_gone_before_anything_is_said(away, able, network):
    """A run that waits for a server's first word holds nothing, wherever it is; its plugin's process holds that right alone."""
    target = "away" if network == "target" else "here"
    name = "mute"
    with Mute() as here:
        if network == "hatchd":
            able.config["plugins"]["queue"]["profiles"]["mute"]["url"] = f"redis://127.0.0.1:{here.port}/0"
            able.file.write_text(json.dumps(able.config))
            reloads = able.log().count("configuration")
            able.popen.send_signal(1)
            wait_until("the reload", lambda: able.log().count("configuration") > reloads)
        silent = here if network == "hatchd" else away.mute
        before = len(silent.taken)
        run = able.start_run("queue.ping", {"profile": name, "target": target, "network": network})
        wait_until("the connection", lambda: len(silent.taken) > before)
        process = next(p for p in descendants(able.pid) if p.title == f"hatchd: run {run}")
        assert process.capabilities() == set()
        wanted = away.network() if network == "target" else os.readlink("/proc/self/ns/net")
        assert os.readlink(f"/proc/{process.pid}/ns/net") == wanted
        plugin = next(p for p in descendants(able.pid) if p.title == "hatchd: plugin queue-redis")
        assert plugin.capabilities() == {SYS_ADMIN}
        assert os.readlink(f"/proc/{plugin.pid}/ns/net") == os.readlink("/proc/self/ns/net")
        able.ask("DELETE", f"/v1/runs/{run}")


def assert_refused(daemon, away, what):
    before = away.smtp.connections
    for hatch, part, params in (("mail.send", "mail", {}), ("mail.check", "mail", {}), ("queue.ping", "queue", {"profile": "redis"})):
        wish = {"target": "away", "network": "target", **params}
        problem = daemon.run(hatch, wish).json()
        assert problem["code"] == "rights-missing" and what in problem["missing"][0], problem
        assert f'"{part}": {{"capabilities": ["sys_admin"]}}' in problem["remedy"] and "full.conf" in problem["remedy"], problem
        assert "another network namespace" in problem["detail"] and "sidecar" in problem["remedy"], problem
        dry = daemon.run(hatch, {**wish, "dry_run": True}).json()
        assert dry["ready"] is False and dry["missing"] == problem["missing"] and dry["remedy"] == problem["remedy"], dry
    assert away.smtp.connections == before


def test_root_s_hatchd_without_the_grant_refuses(away, plain):
    assert_refused(plain, away, "CAP_SYS_ADMIN (the rights set full)")
    assert all(SYS_ADMIN not in process.capabilities() for process in descendants(plain.pid))


def test_an_unprivileged_hatchd_refuses_though_it_is_granted(tmp_path_factory):
    """The configuration grants what hatchd does not have."""
    folder = tmp_path_factory.mktemp("hatchd")
    open_to_all(folder)
    parts = {"bin": ["hatchd"], "libexec": ["hatchd-worker"], "plugins": ["mail.so", "queue-redis.so"]}
    for part, names in parts.items():
        (folder / part).mkdir()
        for name in names:
            shutil.copy2(BUILD / part / name, folder / part / name)
    own = folder / "own"
    own.mkdir()
    os.chown(own, OWN, OWN)
    become = ["setpriv", f"--reuid={OWN}", f"--regid={OWN}", "--clear-groups", "--inh-caps=-all", "--"]
    with contextlib.ExitStack() as ends:
        shared = Away(own, ends)
        config = configuration(shared, granted=True)
        config["plugins"]["queue"]["profiles"] = {"redis": config["plugins"]["queue"]["profiles"]["redis"]}
        daemon = Daemon({"away": {"pid": shared.pid}}, config, start=False)
        ends.callback(daemon.close)
        daemon.socket = str(own / "hatchd.sock")
        daemon.config["listen"][0]["unix"] = daemon.socket
        daemon.config["runs"]["directory"] = str(own / "runs")
        daemon.file.write_text(json.dumps(daemon.config))
        daemon.file.chmod(0o644)
        with open(daemon.log_file, "ab") as log:
            daemon.popen = subprocess.Popen(
                [*become, folder / "bin/hatchd", "serve", "--config", daemon.file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        daemon.wait_ready()
        assert_refused(daemon, shared, "CAP_SYS_ADMIN (the rights set full)")
