#!/usr/bin/env python3
"""Measures stack.dump against eu-stack and gdb on the same target in the same run. See README.md."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from kept import Kept

ROOT = pathlib.Path(__file__).resolve().parents[2]


def default_program(name):
    for preset in ("release", "dev"):
        program = ROOT / "build" / preset / "bin" / name
        if program.exists():
            return str(program)
    return str(ROOT / "build" / "release" / "bin" / name)


def start_daemon(pid, build, config=None):
    sys.path[0] = str(ROOT / "tests" / "e2e")
    os.environ["HATCHD_BUILD"] = str(build)
    from harness import Daemon

    return Daemon(pid, config)


class Target:
    """hatchd-demo with a thread that watches its own clock."""

    def __init__(self, program, threads, depth):
        arguments = [program, "--watch", "--threads", str(threads), "--depth", str(depth)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.pid = int(self.process.stdout.readline())
        assert self.process.stdout.readline() == "ready\n"

    def report(self):
        """What the target saw since the last report."""
        os.kill(self.pid, signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class RunPeak:
    """The peak memory of the run's process, whose parent is a daemon's plugin process: the kernel's own mark (VmHWM), read
    every two milliseconds while the run lasts."""

    def __init__(self, daemon):
        self.plugin = daemon.process("hatchd: plugin stack").pid
        self.mb = 0.0
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self.watch)

    def watch(self):
        children = pathlib.Path(f"/proc/{self.plugin}/task/{self.plugin}/children")
        while not self.over.wait(0.002):
            try:
                for pid in children.read_text().split():
                    if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"hatchd: run "):
                        mark = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
                        self.mb = max(self.mb, int(mark.group(1)) / 1024) if mark else self.mb
            except OSError:
                pass  # it has just ended

    def __enter__(self):
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.watcher.join()


def measure(command, target, daemon=None):
    """One run: wall time, what the target felt, peak memory of the tool, or of the daemon's run."""
    time.sleep(0.2)
    target.report()
    with RunPeak(daemon) if daemon else contextlib.nullcontext() as peak:
        row = measure_command(command, target)
    if peak:
        row["rss_mb"] = peak.mb
    return row


def measure_command(command, target):
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_ms = (time.monotonic() - begin) * 1000
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    felt = target.report()
    # eu-stack ends with 1 when it missed a single frame.
    if process.returncode not in (0, 1):
        sys.exit(f"{command[0]} ended with {process.returncode}: {errors.decode(errors='replace')[:500]}")
    return {
        "wall_ms": wall_ms,
        "pause_us": felt["longest_gap_us"],
        "eintr": felt["eintr"],
        "rss_mb": usage.ru_maxrss / 1024,
    }


def tools(hatchd, pid, daemon):
    exec_dump = [hatchd, "exec", "stack.dump", "--pid", str(pid)]
    yield "hatchd least", exec_dump
    yield "hatchd all", exec_dump + ["pause=all"]
    yield "hatchd none", exec_dump + ["pause=none"]
    asked = ["curl", "-sS", "--fail", "--unix-socket", daemon.socket, "http://h/stack.dump", "-d", "target=demo"]
    yield "daemon, first", asked
    yield "daemon, later", asked
    yield "later, grouped", asked + ["-d", "group=true"]
    if shutil.which("eu-stack"):
        yield "eu-stack", ["eu-stack", "-p", str(pid)]
    if shutil.which("gdb"):
        yield "gdb", ["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all bt"]


def show(threads, depth, rows):
    print(f"\n{threads} threads, {depth} frames each")
    head = ["tool", "wall ms", "pause us", "EINTR", "RSS MB", "wall/eu-stack", "wall/gdb", "pause/eu-stack", "pause/gdb"]
    print("  ".join(f"{cell:>14}" for cell in head))
    for name, row in rows.items():
        cells = [name, f"{row['wall_ms']:.1f}", f"{row['pause_us']:.0f}", f"{row['eintr']:.0f}", f"{row['rss_mb']:.1f}"]
        for member in ("wall_ms", "pause_us"):
            for peer in ("eu-stack", "gdb"):
                cells.append(f"{row[member] / rows[peer][member]:.3f}" if peer in rows and rows[peer][member] else "-")
        print("  ".join(f"{cell:>14}" for cell in cells), flush=True)


class Jvm:
    """The end-to-end tests' Java program with that many more threads."""

    def __init__(self, threads):
        self.folder = tempfile.TemporaryDirectory()
        source = ROOT / "tests" / "e2e" / "java" / "Shop.java"
        subprocess.run(["javac", "-d", self.folder.name, source], check=True)
        argv = ["java", "-cp", self.folder.name, "Shop", str(threads)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        pathlib.Path(f"/tmp/.java_pid{self.pid}").unlink(missing_ok=True)
        self.folder.cleanup()


def attach(pid):
    """The bare dialogue with the VM and nothing else: what no tool can be faster than."""
    with socket.socket(socket.AF_UNIX) as vm:
        vm.connect(f"/tmp/.java_pid{pid}")
        vm.sendall(b"1\0threaddump\0-l\0\0\0")
        while vm.recv(1 << 20):
            pass


def in_turn(rows, runs, looks=None):
    """{name: [milliseconds]} of functions that are called in turn. `looks` has what is done with what one gives back: that is
    not timed, as no other tool here reads what it prints."""
    measured = {}
    for _ in range(runs):
        for name, act in rows.items():
            begin = time.monotonic()
            given = act()
            measured.setdefault(name, []).append((time.monotonic() - begin) * 1000)
            if name in (looks or {}):
                looks[name](given)
    return measured


def measure_jvm(threads, runs, build):
    """mode=jvm of a daemon against the JDK's tools."""
    jvm = Jvm(threads)
    try:
        with start_daemon(jvm.pid, build, {"plugins": {"stack": {"capabilities": ["setuid", "setgid"]}}}) as daemon:
            gathered = []

            client = Kept(daemon)

            def dump(act):
                return client.run("stack.dump", {"act": act})

            def look(answer):
                result = json.loads(answer)["result"]
                assert result["mode"] == "jvm", result["verdict"]
                gathered.append(next(step["ms"] for step in result["steps"] if step["name"] == "gather"))

            def tool(*argv):
                return lambda: subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)

            rows = {
                "hatchd": lambda: dump(False),
                "hatchd, act=true": lambda: dump(True),
                "dialogue alone": lambda: attach(jvm.pid),
                "jcmd": tool("jcmd", str(jvm.pid), "Thread.print", "-l"),
                "jstack": tool("jstack", "-l", str(jvm.pid)),
            }
            look(dump(True))  # the VM opens its socket
            gathered.clear()
            measured = in_turn(rows, runs, {"hatchd": look})
    finally:
        jvm.end()
    measured["hatchd's gather"] = gathered
    medians = {name: statistics.median(times) for name, times in measured.items()}
    print(f"\nJVM, {threads} threads besides its own")
    print(f"{'tool':>18}  {'wall ms':>9}  {'x dialogue':>10}  {'x jcmd':>8}")
    for name, ms in medians.items():
        print(f"{name:>18}  {ms:>9.1f}  {ms / medians['dialogue alone']:>10.2f}  {ms / medians['jcmd']:>8.3f}")


POOL = """
import os, threading, time
def descend(depth):
    return descend(depth - 1) if depth else time.sleep(100000)
for _ in range(%d):
    threading.Thread(target=descend, args=(16,), daemon=True).start()
time.sleep(1)
print("ready", flush=True)
time.sleep(100000)
"""


def measure_python(threads, runs, build):
    """mode=python of a daemon against gdb's py-bt, which takes the package python3-dbg, and gdb's native frames."""
    python = subprocess.Popen(["/usr/bin/python3", "-c", POOL % threads], stdout=subprocess.PIPE, text=True)
    try:
        assert python.stdout.readline() == "ready\n"
        with start_daemon(python.pid, build) as daemon:
            work = []

            client = Kept(daemon)

            def dump():
                return client.run("stack.dump", {})

            def look(answer):
                result = json.loads(answer)["result"]
                assert result["mode"] == "python" and len(result["threads"]) == threads + 1, result["verdict"]
                assert result["paused_us"] == 0
                work.append(sum(step["ms"] for step in result["steps"] if step["name"] in ("gather", "runtime")))

            def gdb(command):
                argv = ["gdb", "-nx", "-batch", "-p", str(python.pid), "-ex", f"thread apply all {command}"]
                return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

            rows = {"hatchd": dump}
            if shutil.which("gdb"):
                rows["gdb bt"] = lambda: gdb("bt")
                if "in descend" in gdb("py-bt"):
                    rows["gdb py-bt"] = lambda: gdb("py-bt")
                else:
                    print("gdb knows no py-bt for this Python: install python3-dbg")
            look(dump())
            work.clear()
            measured = in_turn(rows, runs, {"hatchd": look})
    finally:
        python.kill()
        python.wait()
        python.stdout.close()
    measured["hatchd's reading"] = work
    medians = {name: statistics.median(times) for name, times in measured.items()}
    peers = [name for name in ("gdb bt", "gdb py-bt") if name in medians]
    print(f"\nCPython, {threads} threads of 20 frames")
    print(f"{'tool':>18}  {'wall ms':>9}" + "".join(f"  {'x ' + peer:>12}" for peer in peers))
    for name, ms in medians.items():
        print(f"{name:>18}  {ms:>9.1f}" + "".join(f"  {ms / medians[peer]:>12.4f}" for peer in peers))


SPIN = "function f(n) { if (n) { f(n - 1); Math.sqrt(n); } else for (;;) Math.sqrt(2); } f(30);"


def pause_plainly(address, path):
    """What a debugger does: an ordinary WebSocket client, on a socket as it comes."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as inspector:
        inspector.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        seen = b""

        def until(mark):
            nonlocal seen
            while mark not in seen:
                seen += inspector.recv(65536)
            seen = seen[seen.index(mark) + len(mark) :]

        until(b"\r\n\r\n")
        for number, (method, mark) in enumerate(
            [("Debugger.enable", b'"id":0'), ("Debugger.pause", b"Debugger.paused"), ("Debugger.resume", b"Debugger.resumed")]
        ):
            text = json.dumps({"id": number, "method": method}).encode()
            inspector.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # a mask of zeros leaves it as it is
            until(mark)


def measure_node(runs, build):
    """mode=node of a daemon against an ordinary WebSocket client; the inspector is open, the loop endless."""
    process = subprocess.Popen(["node", "--inspect=127.0.0.1:0", "-e", SPIN], stderr=subprocess.PIPE, text=True)
    try:
        address, path = re.search(r"ws://([^/]+)(/\S+)", process.stderr.readline()).groups()
        with start_daemon(process.pid, build) as daemon:
            gathered = []

            client = Kept(daemon)

            def dump():
                return client.run("stack.dump", {})

            def look(answer):
                result = json.loads(answer)["result"]
                assert result["mode"] == "node", result["verdict"]
                gathered.append(next(step["ms"] for step in result["steps"] if step["name"] == "gather"))

            look(dump())
            gathered.clear()
            rows = {"hatchd": dump, "plain client": lambda: pause_plainly(address, path)}
            measured = in_turn(rows, runs, {"hatchd": look})
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    measured["hatchd's gather"] = gathered
    medians = {name: statistics.median(times) for name, times in measured.items()}
    print("\nNode.js in an endless loop, 30 deep")
    print(f"{'client':>18}  {'wall ms':>9}  {'x plain':>8}")
    for name, ms in medians.items():
        print(f"{name:>18}  {ms:>9.1f}  {ms / medians['plain client']:>8.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hatchd", default=default_program("hatchd"))
    parser.add_argument("--demo", default=default_program("hatchd-demo"))
    parser.add_argument("--threads", default="1,64,1000", help="comma separated")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5, help="of each tool, in turn; the median is shown")
    parser.add_argument("--jvm", type=int, metavar="THREADS", help="a JVM instead, against jcmd and jstack")
    parser.add_argument("--python", type=int, metavar="THREADS", help="CPython instead, against gdb's py-bt")
    parser.add_argument("--node", action="store_true", help="Node.js instead, against an ordinary WebSocket client")
    options = parser.parse_args()
    for program in (options.hatchd, options.demo):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is not there: run ./dev build, or name it by --hatchd and --demo")

    if options.python is not None:
        return measure_python(options.python, options.runs, pathlib.Path(options.hatchd).resolve().parents[1])
    if options.node:
        return measure_node(options.runs, pathlib.Path(options.hatchd).resolve().parents[1])
    if options.jvm is not None:
        return measure_jvm(options.jvm, options.runs, pathlib.Path(options.hatchd).resolve().parents[1])
    for threads in map(int, options.threads.split(",")):
        target = Target(options.demo, threads, options.depth)
        daemon = None
        try:
            daemon = start_daemon(target.pid, pathlib.Path(options.hatchd).resolve().parents[1])
            daemon.run("stack.dump", {"group": True})  # the plugin's process is there from now on
            measured = {}
            # In turn, so that a busy minute of the machine hits all of them.
            for _ in range(options.runs):
                for name, command in tools(options.hatchd, target.pid, daemon):
                    if name == "daemon, first":
                        for table in pathlib.Path(daemon.config["runs"]["directory"], "cache", "stack").iterdir():
                            table.unlink()
                    asked = daemon if name.startswith(("daemon", "later")) else None
                    measured.setdefault(name, []).append(measure(command, target, asked))
            rows = {
                name: {member: statistics.median(run[member] for run in runs) for member in runs[0]}
                for name, runs in measured.items()
            }
        finally:
            if daemon:
                daemon.stop()
            target.end()
        show(threads, options.depth, rows)


if __name__ == "__main__":
    main()
