"""Real brokers and real workers for the tests of queue.ping. Each listens on loopback, lives in a folder of its own and is
ended by its pid, with everything that it started."""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from harness import ROOT, Daemon, descendants, free_port, wait_until

PYTHON = "/usr/bin/python3"
TASKS = ROOT / "tests" / "fixtures" / "celery"


class Server:
    """A program with a folder and a log, ended with all of its children."""

    def __init__(self, name):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"e2e-{name}-"))
        self.log_file = self.folder / "log"
        self.popen = None

    def launch(self, *argv, env=None, cwd=None):
        with open(self.log_file, "ab") as log:
            self.popen = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd=cwd or self.folder,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.log_file.read_text(errors="replace")

    def alive(self):
        assert self.popen.poll() is None, f"it ended with {self.popen.returncode}:\n{self.log()[-3000:]}"
        return True

    def kill(self):
        """Everything of it, now."""
        if self.popen is None:
            return
        for process in descendants(self.pid):
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
        self.popen.wait(10)

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(f"---- {self.folder.name}\n{self.log()[-3000:]}")
        self.close()


class Redis(Server):
    def __init__(self, *settings, port=None):
        super().__init__("redis")
        self.port = port or free_port()
        self.settings = settings
        self.start()

    def start(self):
        self.launch("redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--dir", self.folder, *self.settings)
        self.wait()

    def wait(self):
        wait_until("redis to listen", lambda: self.alive() and listens(self.port))

    def url(self, database=0, user=""):
        return f"redis://{user}127.0.0.1:{self.port}/{database}"

    def cli(self, *words, database=0, auth=()):
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), "-n", str(database), *auth, *words],
            capture_output=True, text=True, timeout=30, check=False,
        )
        return done.stdout.strip()

    def keys(self, database=0):
        return set(self.cli("--raw", "KEYS", "*", database=database).splitlines())


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Rabbit(Server):
    """RabbitMQ with a node name, a cookie and an epmd of its own."""

    def __init__(self, password="secret-rabbit"):
        super().__init__("rabbit")
        self.port, self.dist, self.epmd_port = free_port(), free_port(), free_port()
        self.password = password
        self.environment = {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"hatch{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text("HATCHTESTCOOKIE")
        cookie.chmod(0o400)
        (self.folder / "enabled_plugins").write_text("[].\n")
        salt = b"salt"
        digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        (self.folder / "definitions.json").write_text(
            json.dumps(
                {
                    "users": [{"name": "shop", "password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}],
                    "vhosts": [{"name": "/"}, {"name": "shop"}, {"name": "foreign"}],
                    "permissions": [{"user": "shop", "vhost": vhost, **everything} for vhost in ("/", "shop")],
                }
            )
        )
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nload_definitions = {self.folder}/definitions.json\n"
            "disk_free_limit.absolute = 1MB\nlog.console = true\n" + self.more_settings()
        )
        self.epmd = Server("epmd")
        self.epmd.launch("epmd", "-port", self.epmd_port, "-address", "127.0.0.1")
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def more_settings(self):
        return ""

    def start(self):
        self.launch("/usr/lib/rabbitmq/bin/rabbitmq-server", env=self.environment)
        wait_until("RabbitMQ to listen", lambda: self.alive() and "completed with" in self.log(), 120)

    def close(self):
        super().close()
        self.epmd.close()

    def url(self, vhost="%2F", password=None, user="shop"):
        return f"amqp://{user}:{password or self.password}@127.0.0.1:{self.port}/{vhost}"

    def ctl(self, *words):
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", *words],
            env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=120, check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def channel(self, vhost="/"):
        import amqp

        with amqp.Connection(f"127.0.0.1:{self.port}", userid="shop", password=self.password, virtual_host=vhost) as connection:
            yield connection.channel()

    def things(self):
        """Queues with their messages, exchanges and bindings of every virtual host."""
        return {
            (vhost, what): sorted(self.ctl(what, "-p", vhost, *columns).splitlines())
            for vhost in ("/", "shop")
            for what, columns in (("list_queues", ("name", "messages")), ("list_bindings", ()), ("list_exchanges", ("name",)))
        }


class Worker(Server):
    """A worker of the fixture's app, once it is ready."""

    def __init__(self, broker, result, *options, name="w1", pool="prefork", slots=2, queues="celery", env=None, start=True):
        super().__init__("celery")
        self.name = f"{name}@test"
        self.argv = [PYTHON, "-m", "celery", "-A", "shop_tasks", "worker", "-n", self.name, "-P", pool, "-c", slots]
        self.argv += ["-Q", queues, "-l", "info", "--without-gossip", "--without-mingle", *options]
        self.env = {
            "CELERY_BROKER_URL": broker, "SHOP_RESULT": result, "PYTHONPATH": str(TASKS), "PYTHONDONTWRITEBYTECODE": "1",
            "C_FORCE_ROOT": "1", **(env or {}),
        }
        if start:
            self.start()

    def start(self):
        self.launch(*self.argv, env=self.env)
        wait_until("the worker to be ready", lambda: self.alive() and f"{self.name} ready." in self.log(), 60)

    def signal(self, number):
        for process in descendants(self.pid):
            with contextlib.suppress(OSError):
                os.kill(process.pid, number)

    @contextlib.contextmanager
    def stopped(self):
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


class Mute:
    """Takes connections and never says a word."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.taken = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self.socket.accept()[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in [self.socket, *self.taken]:
            one.close()


class Says(Mute):
    """Answers every connection with the same bytes."""

    def __init__(self, answer):
        self.answer = answer
        super().__init__()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.socket.accept()[0]
                self.taken.append(connection)
                with contextlib.suppress(OSError):
                    connection.recv(4096)
                    connection.sendall(self.answer)


def hatchd(profiles, targets=None, **more):
    """A daemon with these profiles; as many pings at once as a test likes."""
    config = {"plugins": {"queue": {"profiles": profiles}}, "hatches": {"queue.ping": {"concurrency": 8}}, **more}
    return Daemon(targets or {}, config)


def ping(daemon, profile, **params):
    return daemon.run("queue.ping", {"profile": profile, **params})


def good(daemon, profile, **params):
    answer = ping(daemon, profile, **params)
    assert answer.status == 200, answer
    return answer.json()["result"]


def answered_soon(daemon, profile, **params):
    """The results of pings with ask=unanswered, the last of which was answered before anybody was asked: a busy machine may
    not manage that at once."""
    results = []

    def soon():
        results.append(good(daemon, profile, ask="unanswered", **params))
        return "workers" not in results[-1]

    wait_until("an answer within the first wait", soon, 60)
    return results


def same_verdict(daemon, profile, **params):
    """Asked later, the workers say the same; the result of ask=unanswered."""
    always, unanswered = (bad(daemon, profile, ask=ask, **params) for ask in ("always", "unanswered"))
    for name in ("verdict", "hint", "consumers", "worker", "depth"):
        one, other = (re.sub(r"[\d.]+ m?s\b", "N s", str(result.get(name))) for result in (always, unanswered))
        assert one == other, name
    assert [one["name"] for one in always["workers"]] == [one["name"] for one in unanswered["workers"]]
    assert [one["name"] for one in always["steps"]] == [one["name"] for one in unanswered["steps"]]
    return unanswered


def run_of(answer):
    """The id of the run that an answer is of, whether it succeeded or not."""
    body = answer.json()
    return body["run"]["id"] if isinstance(body.get("run"), dict) else body["id"]


def bad(daemon, profile, **params):
    """The result of a ping that failed."""
    answer = ping(daemon, profile, **params)
    assert answer.status == 424, answer
    run = daemon.record(run_of(answer))
    assert run["state"] == "failed", run
    assert run["error"]["detail"] == run["result"]["verdict"]
    return run["result"]


def step(result, name):
    return next(one for one in result["steps"] if one["name"] == name)


def assert_nowhere(daemon, run, secret):
    """The secret is in no answer, no record, no event and no log."""
    texts = [daemon.log(), daemon.get(f"/v1/runs/{run}").text, daemon.get(f"/v1/runs/{run}?format=text").text]
    for file in (daemon.folder / "runs").rglob("*"):
        if file.is_file():
            texts.append(file.read_text(errors="replace"))
    for text in texts:
        assert secret not in text, text
