#!/usr/bin/env python3
"""Measures what an idle hatchd costs, all processes together, beside nginx and a Go net/http server. See README.md."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import http_front as bench


def tree(pid):
    found = [pid]
    for parent in found:
        found += [child for child in bench.children(parent) if child not in found]
    return found


def memory(pids):
    """Proportional and private memory of all, in MB: what is shared with strangers counts in part, or not at all."""
    kinds = ("Pss", "Private_Clean", "Private_Dirty")
    pss, clean, dirty = map(sum, zip(*(bench.status(pid, *kinds) for pid in pids)))
    return pss / 1024, (clean + dirty) / 1024


def switches(pids):
    """How often a thread of these has gone to sleep so far: so often has it been woken."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            lines = (task / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def first_answers(argv, port, paths):
    """Starts a server; it, and the milliseconds from exec to the first answer of each path, asked one after the other."""
    began = time.monotonic()
    server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = []
    for path in paths:
        while not bench.answers_well(port, path):
            if time.monotonic() > began + 30:
                raise SystemExit(f"{argv[0]} does not answer")
            time.sleep(0.0002)
        answers.append((time.monotonic() - began) * 1e3)
    return server, answers


def run_of_nothing():
    """Milliseconds from exec of the smallest program to its end."""
    began = time.monotonic()
    subprocess.run(["true"], check=True)
    return (time.monotonic() - began) * 1e3


def servers(arguments, folder):
    """(name, port, argv) of each; the same answer from all."""
    port = bench.free_port()
    configuration = {
        "listen": [{"unix": str(folder / "hatchd.sock")}, {"tcp": f"127.0.0.1:{port}"}],
        "targets": {"self": {"pid": os.getpid()}},
        "runs": {"directory": str(folder / "runs"), "min_free": "1MiB"},
    }
    file = folder / "hatchd.json"
    file.write_text(json.dumps(configuration))
    file.chmod(0o600)
    yield "hatchd", port, [arguments.hatchd, "serve", "--config", str(file)]
    if shutil.which("nginx"):
        port = bench.free_port()
        (folder / "nginx.conf").write_text(bench.NGINX.format(folder=folder, listen=f"listen 127.0.0.1:{port};"))
        yield "nginx", port, ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    if shutil.which("go"):
        port = bench.free_port()
        (folder / "main.go").write_text(bench.GO)
        environment = {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
        subprocess.run(["go", "build", "-o", str(folder / "server"), str(folder / "main.go")], env=environment, check=True)
        yield "go", port, [str(folder / "server"), f"127.0.0.1:{port}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hatchd", default=str(bench.ROOT / "build/release/bin/hatchd"))
    parser.add_argument("--seconds", type=int, default=20, help="how long it is watched while idle")
    parser.add_argument("--starts", type=int, default=5)
    arguments = parser.parse_args()
    print("| server | processes | PSS MB | private MB | wake-ups in a minute | first answer, ms after start | ready |")
    print("| --- " * 7 + "|")
    # What starting any program costs here, to read the others by.
    print(f"| true | 1 | – | – | – | {statistics.median(run_of_nothing() for _ in range(20)):.1f} | – |", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as name:
        for label, port, argv in servers(arguments, pathlib.Path(name)):
            # The others are ready with their first answer.
            paths = ("/livez", "/readyz") if label == "hatchd" else ("/livez",)
            starts = []
            for left in range(arguments.starts - 1, -1, -1):
                server, answers = first_answers(argv, port, paths)
                starts.append((answers[0], answers[-1]))
                if left:
                    server.terminate()
                    server.wait(20)
            time.sleep(3)  # what is done once, after the start, is over
            family = tree(server.pid)
            before = switches(family)
            time.sleep(arguments.seconds)
            woken = (switches(family) - before) * 60 / arguments.seconds
            pss, private = memory(family)
            first, ready = (statistics.median(times) for times in zip(*starts))
            print(f"| {label} | {len(family)} | {pss:.1f} | {private:.1f} | {woken:.0f} | {first:.1f} | {ready:.1f} |", flush=True)
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
