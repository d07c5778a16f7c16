#!/usr/bin/env python3
"""Measures stack.dump against eu-stack and gdb on the same target in the same run. See README.md."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def default_program(name):
    for preset in ("release", "dev"):
        program = ROOT / "build" / preset / "bin" / name
        if program.exists():
            return str(program)
    return str(ROOT / "build" / "release" / "bin" / name)


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


def measure(command, target):
    """One run: wall time, what the target felt, peak memory of the tool."""
    time.sleep(0.2)
    target.report()
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


def tools(hatchd, pid):
    exec_dump = [hatchd, "exec", "stack.dump", "--pid", str(pid)]
    yield "hatchd least", exec_dump
    yield "hatchd all", exec_dump + ["pause=all"]
    yield "hatchd none", exec_dump + ["pause=none"]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hatchd", default=default_program("hatchd"))
    parser.add_argument("--demo", default=default_program("hatchd-demo"))
    parser.add_argument("--threads", default="1,64,1000", help="comma separated")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5, help="of each tool, in turn; the median is shown")
    options = parser.parse_args()
    for program in (options.hatchd, options.demo):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is not there: run ./dev build, or name it by --hatchd and --demo")

    for threads in map(int, options.threads.split(",")):
        target = Target(options.demo, threads, options.depth)
        try:
            measured = {}
            # In turn, so that a busy minute of the machine hits all of them.
            for _ in range(options.runs):
                for name, command in tools(options.hatchd, target.pid):
                    measured.setdefault(name, []).append(measure(command, target))
            rows = {
                name: {member: statistics.median(run[member] for run in runs) for member in runs[0]}
                for name, runs in measured.items()
            }
        finally:
            target.end()
        show(threads, options.depth, rows)


if __name__ == "__main__":
    main()
