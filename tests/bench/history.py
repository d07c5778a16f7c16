#!/usr/bin/env python3
"""Measures how quick a start and the list of runs are when there are very many. See README.md."""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(milliseconds, number):
    def base32(value, length):
        return "".join(DIGITS[value >> 5 * i & 31] for i in reversed(range(length)))

    return base32(milliseconds, 10) + base32(number, 16)


def make_history(folder, count):
    """One run every ten seconds until now: ten targets, five hatches, one run in a thousand failed, one in ten thousand of a rare hatch."""
    now = int(time.time() * 1000)
    for i in range(count):
        run = ulid(now - (count - i) * 10_000, i)
        failed = i % 1000 == 7
        record = {
            "id": run,
            "hatch": "rare.hatch" if i % 10_000 == 11 else f"ping.n{i % 5}",
            "target": {"name": f"t{i % 10}"},
            "caller": {"name": "root", "via": "unix", "uid": 0},
            "params": {"queue": "celery", "msg": "are you there?"},
            "state": "failed" if failed else "succeeded",
            "started": "2026-01-01T00:00:00.000Z",
            "finished": "2026-01-01T00:00:01.000Z",
            "duration_ms": 12,
            "error": {"code": "run-failed", "detail": "nobody answered"} if failed else None,
            "verdict": "answered",
            "effect": "observe",
            "role": "viewer",
        }
        os.mkdir(folder / run, 0o700)
        (folder / run / "run.json").write_text(json.dumps(record))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    options = parser.parse_args()
    os.environ["HATCHD_BUILD"] = options.build
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    import harness

    with harness.Demo() as demo:
        daemon = harness.Daemon(demo.pid, {"runs": {"keep": {"count": 1_000_000, "age": "365d", "bytes": "1TiB"}}})
        daemon.stop()
        began = time.monotonic()
        make_history(daemon.folder / "runs" / "runs", options.runs)
        print(f"made {options.runs} runs in {time.monotonic() - began:.1f} s")
        if harness.AM_ROOT:
            owner = (daemon.folder / "runs" / "runs").stat()
            for folder, _, files in os.walk(daemon.folder / "runs" / "runs"):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    os.chown(path, owner.st_uid, owner.st_gid)
        began = time.monotonic()
        daemon.start()
        print(f"answers after {time.monotonic() - began:.2f} s")
        daemon.get("/v1/runs?limit=50")
        print(f"lists the newest after {time.monotonic() - began:.2f} s")
        state = daemon.run("stack.dump", {"target": "demo"}).json()["state"]
        print(f"a stack dump has {state} after {time.monotonic() - began:.2f} s")
        path = "/v1/runs?hatch=nothing.there"
        while path:
            path = daemon.get(path).json()["next"]
        print(f"knows its history after {time.monotonic() - began:.2f} s")
        front = daemon.process("hatchd: front")
        print(f"front: {int(front.status()['VmRSS'].split()[0]) / 1024:.0f} MB")
        middle = ulid(int(time.time() * 1000) - options.runs * 5_000, 0)
        connection = daemon.connection()
        print("\n| GET /v1/runs? | runs | median ms | worst ms |\n| --- | --- | --- | --- |")
        for query in (
            "limit=50",
            "limit=200",
            f"limit=50&after={middle}",
            "limit=50&hatch=ping.n3",
            "limit=50&hatch=ping.n3&target=t8",
            "limit=50&state=failed",
            "limit=50&state=running",
            "limit=50&hatch=rare.hatch",
            "limit=50&hatch=rare.hatch&target=t1&state=failed",
            "limit=50&hatch=nothing.there",
        ):
            times, found = [], 0
            for _ in range(options.rounds):
                began = time.monotonic()
                connection.request("GET", "/v1/runs?" + query)
                answer = connection.getresponse().read()
                times.append((time.monotonic() - began) * 1000)
                found = len(json.loads(answer)["runs"])
            print(f"| `{query}` | {found} | {statistics.median(times):.1f} | {max(times):.1f} |")
        connection.close()
        daemon.close()


if __name__ == "__main__":
    main()
