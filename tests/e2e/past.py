"""Runs of a past that never was, as they lie in the folder of the runs: for tests and measurements of a long history."""

import datetime
import json
import os
import time

from harness import AM_ROOT

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(milliseconds, number):
    def base32(value, length):
        return "".join(DIGITS[value >> 5 * i & 31] for i in reversed(range(length)))

    return base32(milliseconds, 10) + base32(number, 16)


def record_of(run, milliseconds, hatch, target, failed=False, **more):
    created = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return {
        "id": run,
        "hatch": hatch,
        "target": {"name": target},
        "caller": {"name": "root", "via": "unix", "uid": 0},
        "params": {"queue": "celery", "msg": "are you there?"},
        "state": "failed" if failed else "succeeded",
        "created": created.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03}Z",
        "started": "2026-01-01T00:00:00.000Z",
        "finished": "2026-01-01T00:00:01.000Z",
        "duration_ms": 12,
        "error": {"code": "run-failed", "detail": "nobody answered"} if failed else None,
        "verdict": "answered",
        "effect": "observe",
        "role": "viewer",
        **more,
    }


def write(folder, record):
    """A run whose folder is `folder`/ID; its path."""
    place = folder / record["id"]
    os.mkdir(place, 0o700)
    (place / "run.json").write_text(json.dumps(record))
    return place


def make(folder, count, step_ms=10_000):
    """One run every step until now: ten targets, five hatches, one run in a thousand failed, one in ten thousand of a rare hatch."""
    now = int(time.time() * 1000)
    records = []
    for i in range(count):
        made = now - (count - i) * step_ms
        hatch = "rare.hatch" if i % 10_000 == 11 else f"ping.n{i % 5}"
        records.append(record_of(ulid(made, i), made, hatch, f"t{i % 10}", i % 1000 == 7))
        write(folder, records[-1])
    return records


def give(folder):
    """All that is in the folder of the runs becomes its owner's, as if hatchd's front had written it."""
    if not AM_ROOT:
        return
    owner = folder.stat()
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(os.path.join(place, name), owner.st_uid, owner.st_gid, follow_symlinks=False)
