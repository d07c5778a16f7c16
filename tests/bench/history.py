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

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    options = parser.parse_args()
    os.environ["HATCHD_BUILD"] = options.build
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    import harness
    import past

    with harness.Demo() as demo:
        daemon = harness.Daemon(demo.pid, {"runs": {"keep": {"count": 1_000_000, "age": "365d", "bytes": "1TiB"}}})
        daemon.stop()
        began = time.monotonic()
        past.make(daemon.folder / "runs" / "runs", options.runs)
        print(f"made {options.runs} runs in {time.monotonic() - began:.1f} s")
        past.give(daemon.folder / "runs" / "runs")
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
        middle = past.ulid(int(time.time() * 1000) - options.runs * 5_000, 0)
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
