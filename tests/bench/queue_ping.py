#!/usr/bin/env python3
"""Measures queue.ping against `celery inspect ping` and a Python script that does the same round trip, in the same run. See
README.md."""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from kept import Kept  # noqa: E402

SCRIPT = """
import sys, shop_tasks
assert shop_tasks.app.send_task("celery.accumulate", ["bench"]).get(timeout=30) == ["bench"]
"""


def timed(act):
    begin = time.monotonic()
    act()
    return (time.monotonic() - begin) * 1000


def command(worker, *argv):
    def act():
        done = subprocess.run(argv, env={**os.environ, **worker.env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}")

    return act


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", help="build/release, or another folder with bin/hatchd")
    parser.add_argument("--runs", type=int, default=5, help="of each Python tool; hatchd is asked twenty times as often, in between")
    parser.add_argument("--pool", default="prefork", help="of the worker: prefork or threads")
    options = parser.parse_args()
    if options.build:
        os.environ["HATCHD_BUILD"] = str(pathlib.Path(options.build).resolve())
    import queues  # it looks for the programs when it is read

    with queues.Redis() as redis, queues.Worker(redis.url(0), redis.url(1), pool=options.pool) as worker:
        profiles = {"shop": {"kind": "celery", "broker": redis.url(0), "result": redis.url(1), "timeout": "20s"}}
        with queues.hatchd(profiles) as daemon:
            queues.good(daemon, "shop")
            client = Kept(daemon)
            tools = {
                "celery inspect ping": command(worker, queues.PYTHON, "-m", "celery", "-A", "shop_tasks", "inspect", "ping"),
                "Python round trip": command(worker, queues.PYTHON, "-c", SCRIPT),
                "hatchd, HTTP": lambda: queues.good(daemon, "shop"),
                "hatchd, kept": lambda: client.run("queue.ping", {"profile": "shop"}),
                "hatchd, ask=unanswered": lambda: client.run("queue.ping", {"profile": "shop", "ask": "unanswered"}),
            }
            if shutil.which("curl"):
                curl = ["curl", "-sSf", "--unix-socket", daemon.socket, "-X", "POST", "http://h/queue.ping"]
                tools["hatchd, curl"] = command(worker, *curl)
            measured = {name: [] for name in tools}
            # In turn, so that a busy minute of the machine hits all of them.
            for _ in range(options.runs):
                for name, act in tools.items():
                    measured[name] += [timed(act) for _ in range(20 if name.startswith("hatchd") else 1)]

    medians = {name: statistics.median(times) for name, times in measured.items()}
    print(f"{'':24}{'median ms':>12}{'least ms':>12}{'inspect/it':>12}{'script/it':>12}")
    for name, median in medians.items():
        ratios = [medians["celery inspect ping"] / median, medians["Python round trip"] / median]
        print(f"{name:24}{median:12.2f}{min(measured[name]):12.2f}{ratios[0]:12.1f}{ratios[1]:12.1f}")


if __name__ == "__main__":
    main()
