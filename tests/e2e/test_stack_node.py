"""stack.dump of Node.js: JavaScript frames through its inspector, which is as closed afterwards as it was before."""

import contextlib
import os
import pathlib
import re
import platform
import shutil
import signal
import subprocess

import pytest

from harness import Daemon, Program, assert_untouched, wait_until

NODE = shutil.which("node") or shutil.which("nodejs")
FUTEX = {"x86_64": "202"}.get(platform.machine(), "98")
pytestmark = pytest.mark.skipif(not NODE, reason="node is not installed")

SPIN = """
function countForever() { for (;;) Math.sqrt(2); }
function outer() { countForever(); }
console.log('ready');
outer();
"""
IDLE = """
require('http').createServer((q, r) => r.end('x')).listen(0, '127.0.0.1', () => console.log('ready'));
"""
WORKERS = """
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (isMainThread) {
  let up = 0;
  const count = () => { if (++up == 2) console.log('ready'); };
  new Worker(__filename).on('message', count);
  new Worker("require('worker_threads').parentPort.postMessage(1); setInterval(() => {}, 1e6)", { eval: true }).on('message', count);
} else {
  parentPort.postMessage(1);
  setTimeout(function grind() { for (;;) Math.sqrt(3); }, 1);
}
"""
OWN_HANDLER = """
process.on('SIGUSR1', () => console.log('the program has seen SIGUSR1'));
setInterval(() => {}, 1e6);
console.log('ready');
"""
BLOCKED = """
console.log('ready');
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
"""
HOSTILE = """
const name = 'evil\\u001b[2J\\n#9 fake\\u202e' + 'x'.repeat(5000);
const holder = { [name]() { console.log('ready'); for (;;) Math.sqrt(2); } };
holder[name]();
"""


class Node:
    """A script under node, in a folder of its own, until it says that it is ready."""

    def __init__(self, folder, script, *options, lines=1, **more):
        self.file = folder / "app.js"
        self.file.write_text(script)
        self.errors = folder / "stderr"
        with open(self.errors, "wb") as errors:
            self.popen = subprocess.Popen(
                [NODE, *options, str(self.file)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=folder, **more
            )
        self.pid = self.popen.pid
        for _ in range(lines):
            assert self.popen.stdout.readline() == b"ready\n", self.errors.read_text()

    def listens(self):
        """Ports on which it listens."""
        inodes = set()
        for entry in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if match := re.match(r"socket:\[(\d+)\]", os.readlink(entry)):
                    inodes.add(match[1])
        ports = set()
        for table in pathlib.Path(f"/proc/{self.pid}/net").glob("tcp*"):  # tcp, and tcp6 where there is IPv6
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    ports.add(int(fields[1].split(":")[1], 16))
        return ports

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.wait(10)
        self.popen.stdout.close()


@pytest.fixture
def start(tmp_path):
    """start(script, *options) gives a node and a daemon beside it."""
    with contextlib.ExitStack() as stack:

        def begin(script, *options, **more):
            node = stack.enter_context(Node(tmp_path, script, *(options or ("--inspect-port=0",)), **more))
            return node, stack.enter_context(Daemon(node.pid))

        yield begin


def dump(daemon, **parameters):
    answer = daemon.run("stack.dump", parameters)
    assert answer.status == 200, answer
    return answer.json()["result"]


def thread_of(result, pid):
    return next(t for t in result["threads"] if t["id"] == pid)


def functions(thread):
    return [f.get("function", "") for f in thread["frames"]]


def test_a_spinning_loop_is_read_and_the_inspector_closed_again(start):
    node, daemon = start(SPIN)
    before = node.listens()
    result = dump(daemon, act=True)
    assert result["mode"] == "node" and result["runtime"].startswith("Node.js "), result
    main = thread_of(result, node.pid)
    names = functions(main)
    assert names.index("countForever") < names.index("outer"), names
    spinning = main["frames"][names.index("countForever")]
    assert spinning["file"] == str(node.file) and spinning["line"] == 2 and spinning["kind"] == "node"
    assert main["running"] is True and 0 < result["paused_us"] < 5_000_000
    inspector = result["processes"][0]["inspector"]
    assert inspector["opened"] is True and inspector["closed"] is True, inspector
    assert node.listens() == before
    assert node.popen.poll() is None
    assert_untouched(node.pid)
    # It can be done again, which takes a target that was left as it was.
    assert "countForever" in functions(thread_of(dump(daemon, act=True), node.pid))
    text = daemon.ask("POST", "/stack.dump?act=true").text
    assert f"at {node.file}:2" in text or f"{node.file}:2" in text, text


def test_without_act_there_are_native_stacks_and_what_acting_would_add(start):
    node, daemon = start(SPIN)
    result = dump(daemon)
    assert result["mode"] == "native" and all(f["kind"] == "native" for t in result["threads"] for f in t["frames"])
    assert thread_of(result, node.pid)["frames"]
    note = result["processes"][0]["error"]
    assert "inspector is not open" in note and "act=true" in note and "native stacks instead" in note
    assert node.errors.read_text() == "", "no signal was sent"
    refused = daemon.run("stack.dump", {"mode": "node"})
    assert refused.status == 424 and "act=true" in refused.json()["remedy"], refused


def test_an_idle_server_is_said_to_be_idle(start):
    node, daemon = start(IDLE)
    before = node.listens()
    result = dump(daemon, act=True)
    main = thread_of(result, node.pid)
    assert main["state"] == "idle" and main["waiting_on"] == "the event loop" and not main["frames"], main
    assert main["active_resources"]["TCPServerWrap"] == 1
    assert "partial" not in result and node.listens() == before and len(before) == 1


def test_workers_have_stacks_of_their_own(start):
    node, daemon = start(WORKERS)

    def grinding():
        result = dump(daemon, act=True)
        workers = [t for t in result["threads"] if str(t["id"]).startswith("worker ")]
        assert len(workers) == 2, result["threads"]
        return workers if any("grind" in functions(t) for t in workers) else None

    workers = wait_until("the worker to grind", grinding)
    busy = next(t for t in workers if t["frames"])
    assert functions(busy)[0] == "grind" and busy["script"] == str(node.file)
    assert next(t for t in workers if t is not busy)["state"] == "idle"


def test_an_inspector_that_is_open_is_used_and_stays_open(start):
    node, daemon = start(SPIN, "--inspect=127.0.0.1:0")
    before = node.listens()
    assert len(before) == 1
    result = dump(daemon)  # without act: nothing is opened
    assert result["mode"] == "node" and "countForever" in functions(thread_of(result, node.pid))
    assert result["processes"][0]["inspector"] == {"address": f"127.0.0.1:{before.pop()}", "opened": False}
    assert len(node.listens()) == 1
    both = dump(daemon, mode="all")
    main = thread_of(both, node.pid)
    assert {f["kind"] for f in main["frames"]} == {"native", "node"}, main
    assert any("node::" in f for f in functions(main)) and "countForever" in functions(main)


def test_a_program_with_its_own_handler_gets_no_signal(start):
    node, daemon = start(OWN_HANDLER)
    result = dump(daemon, act=True)
    assert result["mode"] == "native"
    assert "handler of its own for SIGUSR1" in result["processes"][0]["error"]
    os.kill(node.pid, signal.SIGUSR1)
    assert node.popen.stdout.readline() == b"the program has seen SIGUSR1\n"
    os.kill(node.pid, signal.SIGTERM)
    assert node.popen.stdout.read() == b"", "it has seen one, and that one was ours"


def test_a_program_that_sigusr1_would_end_gets_no_signal(tmp_path):
    """--disable-sigusr1, or no Node behind the name: nobody waits for the signal, and that is what counts."""
    fake = tmp_path / "node"
    shutil.copy("/bin/sleep", fake)
    with Program(fake, "1000") as sleeper, Daemon(sleeper.pid) as daemon:
        result = dump(daemon, act=True)
        assert result["mode"] == "native" and "would end it" in result["processes"][0]["error"]
        assert sleeper.popen.poll() is None


def test_a_main_thread_that_is_blocked_is_read_natively(start):
    node, daemon = start(BLOCKED)
    wait_until("it to wait", lambda: pathlib.Path(f"/proc/{node.pid}/syscall").read_text().split()[0] == FUTEX)
    result = dump(daemon, act=True)
    assert result["mode"] == "native" and "blocked in futex" in result["processes"][0]["error"], result["processes"]
    assert node.errors.read_text() == ""


def test_names_of_functions_are_hostile(start):
    node, daemon = start(HOSTILE)
    answer = daemon.ask("POST", "/stack.dump?act=true")
    assert answer.status == 200 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", answer.text)
    assert "\n#9 fake" not in answer.text
    names = functions(thread_of(dump(daemon, act=True), node.pid))
    assert any(name.startswith("evil\x1b[2J\n#9 fake") and len(name) < 4000 for name in names)


def test_native_stacks_name_compiled_javascript_by_the_perf_map(start):
    node, daemon = start(SPIN, "--perf-basic-prof")
    try:
        named = wait_until(
            "the loop to be compiled", lambda: [f for f in functions(thread_of(dump(daemon, mode="native"), node.pid)) if "countForever" in f]
        )
        assert str(node.file) in named[0]
    finally:
        pathlib.Path(f"/tmp/perf-{node.pid}.map").unlink(missing_ok=True)
