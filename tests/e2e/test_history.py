"""A long history, one of a clock that ran ahead, and one that others have been at: lists, retention and keys behave, nothing is lost."""

import json
import os
import socket
import time
import urllib.parse

import pytest

import past
from harness import AM_ROOT, Daemon, wait_until
from test_broken_plugins import path_of

DAY = 24 * 3600 * 1000
PLUGINS = {"probe": {"path": path_of("probe"), "profiles": {"default": {"password": "x"}}}}
ALL = {"count": 1_000_000, "age": "3650d", "bytes": "1TiB"}


def house(demo, **keep):
    return Daemon(demo.pid, {"plugins": PLUGINS, "runs": {"keep": {**ALL, **keep}}}, start=False)


def runs_of(daemon):
    """The folder of the runs, before the first start, too."""
    folder = daemon.folder / "runs" / "runs"
    if not folder.exists():
        daemon.start()
        daemon.stop()
    return folder


def keep(daemon, **bounds):
    daemon.config["runs"]["keep"] = {**ALL, **bounds}
    daemon.file.write_text(json.dumps(daemon.config))


def on_disk(daemon):
    return {entry.name for entry in runs_of(daemon).iterdir()} - {"keys", "ends"}


def listed(daemon, **query):
    """The ids of every page, by following `next`."""
    path, ids = "/v1/runs?" + urllib.parse.urlencode(query), []
    while path:
        answer = daemon.get(path)
        assert answer.status == 200, answer
        page = answer.json()
        assert len(page["runs"]) <= int(query.get("limit", 50))
        ids += [run["id"] for run in page["runs"]]
        path = page["next"]
    return ids


def read_whole(daemon, starts=1):
    wait_until("the history to be read", lambda: daemon.log().count("history is read") == starts, 60)


def newest_first(records, **wanted):
    return sorted((r["id"] for r in records if all(r[name] == value for name, value in wanted.items())), reverse=True)


# ---- long -------------------------------------------------------------------------------------------------------------


def test_a_long_history(demo):
    with house(demo) as daemon:
        folder = runs_of(daemon)
        records = past.make(folder, 3000, DAY // 150)  # twenty days
        now = int(time.time() * 1000)
        for i in range(40):  # two a day
            made = now - i * DAY // 2 - 1000
            records.append(past.record_of(past.ulid(made, i), made, "rare.hatch", "t1", i % 4 == 0))
            past.write(folder, records[-1])
        past.give(folder)

        daemon.start()
        assert listed(daemon, limit=200) == newest_first(records)
        assert listed(daemon, limit=7, hatch="rare.hatch") == newest_first(records, hatch="rare.hatch")
        web = [r for r in records if r["target"]["name"] == "t1"]
        assert listed(daemon, limit=100, hatch="ping.n1", target="t1") == newest_first(web, hatch="ping.n1")
        assert listed(daemon, limit=3, state="failed") == newest_first(records, state="failed")
        assert listed(daemon, state="failed", hatch="rare.hatch", target="t1") == newest_first(web, state="failed", hatch="rare.hatch")
        assert listed(daemon, state="running") == [] and listed(daemon, hatch="nothing.there") == []
        middle = sorted(r["id"] for r in records)[1000]
        assert listed(daemon, limit=200, after=middle) == [run for run in newest_first(records) if run < middle]

        first = daemon.run("probe.echo", {"text": "1"}, {"Idempotency-Key": "first"}).json()["id"]
        last = daemon.run("probe.echo", {"text": "2"}, {"Idempotency-Key": "last"}).json()["id"]
        daemon.stop()
        daemon.start()
        for key, text, run in (("first", "1", first), ("last", "2", last)):
            again = daemon.run("probe.echo", {"text": text}, {"Idempotency-Key": key})
            assert again.json()["id"] == run and again.headers["idempotent-replayed"] == "true", again
        assert listed(daemon, limit=50, hatch="probe.echo") == [last, first]
        daemon.stop()

        # The newest hundred of each hatch and target, as far as they are younger than ten days; none of them is lost.
        keep(daemon, count=100, age="10d")
        places = {}
        for record in sorted(records, key=lambda r: r["id"], reverse=True):
            places.setdefault((record["hatch"], record["target"]["name"]), []).append(record["id"])
        oldest = past.ulid(int(time.time() * 1000) - 10 * DAY, 0)
        kept = {run for ids in places.values() for run in ids[:100] if run > oldest}
        assert 0 < len([run for run in kept if run in places["rare.hatch", "t1"]]) < 40 and len(kept) > 900
        daemon.start()
        wait_until("what is too old or too many to be gone", lambda: on_disk(daemon) == kept | {first, last}, 60)
        assert listed(daemon, limit=200) == sorted(kept | {first, last}, reverse=True)
        daemon.stop()

        keep(daemon, count=1)
        daemon.start()
        wait_until("one of each to be left", lambda: on_disk(daemon) == {ids[0] for ids in places.values()} | {last}, 60)
        gone = daemon.run("probe.echo", {"text": "1"}, {"Idempotency-Key": "first"})
        assert gone.status == 409 and gone.json()["code"] == "run-ended", "never run twice: " + repr(gone)
        assert daemon.run("probe.echo", {"text": "2"}, {"Idempotency-Key": "last"}).json()["id"] == last


# ---- a clock that ran ahead -------------------------------------------------------------------------------------------


def test_a_clock_that_ran_ahead_and_was_set_back(demo):
    with house(demo, count=3, age="10d") as daemon:
        folder = runs_of(daemon)
        ahead = int(time.time() * 1000) + 365 * DAY
        future = [past.record_of(past.ulid(ahead + i, i), ahead + i, "probe.echo", "demo") for i in range(3)]
        for record in future:
            record["target"] = None
            past.write(folder, record)
        past.give(folder)
        daemon.start()
        read_whole(daemon, 2)
        began = time.time()
        first = daemon.run("probe.echo", {}, {"Idempotency-Key": "k"}).json()
        assert listed(daemon)[0] == first["id"], "the newest is first"
        assert abs(time.mktime(time.strptime(first["created"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - began) < 3600, first["created"]
        wait_until("the oldest to be gone", lambda: on_disk(daemon) == {future[1]["id"], future[2]["id"], first["id"]})
        daemon.stop()
        daemon.start()
        read_whole(daemon, 3)
        again = daemon.run("probe.echo", {}, {"Idempotency-Key": "k"})
        assert again.json()["id"] == first["id"], "its key holds"
        new = [daemon.run("probe.echo").json()["id"] for _ in range(2)]
        # In the order of making; what is too many goes after the answer, the oldest first.
        wait_until("the oldest to be gone", lambda: listed(daemon) == [new[1], new[0], first["id"]])


# ---- others were there ------------------------------------------------------------------------------------------------


def closed(path):
    """As a file that root copied there: hatchd's front cannot open it."""
    path.chmod(0)
    if AM_ROOT:
        os.chown(path, 0, 0)


def test_others_have_been_at_the_folder(demo):
    with house(demo, count=1) as daemon:
        folder = runs_of(daemon)
        made = int(time.time() * 1000) - DAY
        outside = daemon.folder / "outside"
        outside.mkdir(mode=0o777)
        outside.chmod(0o777)
        (outside / "1").write_text("by somebody")
        (outside / "1").chmod(0o666)
        (outside / "run.json").write_text("{}")
        ids = iter(past.ulid(made + i, i) for i in range(100))

        def run(target, **more):
            record = past.record_of(next(ids), made, "probe.echo", target, **more)
            place = past.write(folder, record)
            return record, place

        def artifact(number, name="x"):
            return {"name": name, "type": "text/plain", "bytes": 11, "sha256": "a" * 64, "number": number}

        # What cannot be read at all, by its folder or its record.
        bad = []
        for spoil in (
            lambda place: place.chmod(0),
            lambda place: closed(place / "run.json"),
            lambda place: (place / "run.json").write_text('{"id": "' + place.name),
            lambda place: (place / "run.json").write_text("[" * 100_000),
            lambda place: os.truncate(place / "run.json", 1 << 40),
            lambda place: ((place / "run.json").unlink(), os.mkfifo(place / "run.json")),
            lambda place: ((place / "run.json").unlink(), (place / "run.json").mkdir()),
            lambda place: ((place / "run.json").unlink(), (place / "run.json").symlink_to(outside / "run.json")),
            lambda place: ((place / "run.json").unlink(), place.rmdir(), place.symlink_to(outside)),
            lambda place: ((place / "run.json").unlink(), place.rmdir(), place.write_text("a file")),
        ):
            _, place = run("bad")
            bad.append((place, spoil))
        elsewhere = run("bad", artifacts=[artifact(1, "../../../outside/1")])[1]
        line = run("bad", artifacts=[artifact(1, "a\nb")])[1]
        bad += [(elsewhere, None), (line, None)]

        # What can be read, but for a part of it.
        no_result, place = run("no-result", has_result=True, renderings=["text"])
        closed_files = [place / "result.json", place / "result.txt"]
        for path in closed_files:
            path.write_text("{}")
        linked, place = run("linked", artifacts=[artifact(1)])
        (place / "artifacts").symlink_to(outside)
        pipe, place = run("pipe", artifacts=[artifact(1)], has_result=True)
        (place / "artifacts").mkdir()
        os.mkfifo(place / "artifacts" / "1")
        os.mkfifo(place / "result.json")
        short, place = run("short", artifacts=[artifact(1)])
        (place / "artifacts").mkdir()
        (place / "artifacts" / "1").write_text("cut")
        torn, place = run("torn", state="running")
        os.link(outside / "1", place / "events")
        os.link(outside / "1", place / "result.json.tmp")
        (place / "line\nbreak").write_text("")
        with socket.socket(socket.AF_UNIX) as somebody:
            somebody.bind(str(place / "s"))
        good, place = run("good", state="succeeded", bytes=2**62)
        (place / "by" / "an" / "admin").mkdir(parents=True)
        records = [no_result, linked, pipe, short, torn, good]

        os.mkfifo(folder / "keys.tmp")
        (folder / "keys").write_text("0000001b torn")
        (folder / "7ZZZZZZZZZZZZZZZZZZZZZZZZZ").mkdir()
        (folder / "a note\n").write_text("by the operator")
        past.give(folder)
        for path in closed_files:
            closed(path)
        for place, spoil in bad:
            if spoil:
                spoil(place)

        daemon.start()
        read_whole(daemon, 2)
        assert listed(daemon) == newest_first(records), "the rest is served"
        log = daemon.log()
        told = [line for line in log.splitlines() if "runs cannot be read" in line]
        assert len(told) == 1 and f"runs={len(bad)}" in told[0] and "chown -hR" in told[0], log
        assert "keys is cut" in log and "beyond the year 2262" in log, log

        # Of what is served no link leads out, and what cannot be had says so.
        for record in (linked, pipe, short):
            answer = daemon.get(f"/v1/runs/{record['id']}/artifacts/x")
            assert answer.status == 500 and "by somebody" not in answer.text, answer
        for record in (no_result, pipe):
            answer = daemon.get(f"/v1/runs/{record['id']}")
            assert answer.status == 500 and "result.json" in answer.json()["detail"], "never a null in its place: " + repr(answer)
        assert "EACCES" in daemon.get(f"/v1/runs/{no_result['id']}").json()["detail"]
        assert daemon.record(torn["id"])["state"] == "crashed"
        assert daemon.record(good["id"])["state"] == "succeeded"
        for place, _ in bad:
            assert daemon.get(f"/v1/runs/{place.name}").status == 404
        assert daemon.run("probe.echo", {}, {"Idempotency-Key": "k"}).status == 200

        # Nothing is lost, in the folder and outside; count=1 above is not for what nobody knows.
        for place, _ in bad:
            assert os.path.lexists(place), place
        assert (outside / "1").read_text() == "by somebody" and (outside / "run.json").read_text() == "{}"
        assert (folder / "7ZZZZZZZZZZZZZZZZZZZZZZZZZ").exists() and (folder / "a note\n").exists()
        daemon.stop()

        # With its owner it is back.
        bad[0][0].chmod(0o700)
        (bad[1][0] / "run.json").chmod(0o600)
        past.give(folder)
        daemon.start()
        read_whole(daemon, 3)
        back = {bad[0][0].name, bad[1][0].name}
        assert back & set(listed(daemon, target="bad")), "one of them, since count is 1"
        assert f"runs={len(bad) - 2}" in [line for line in daemon.log().splitlines() if "runs cannot be read" in line][-1]
        daemon.stop()

        # And retention takes all of it in the end, but follows no link.
        keep(daemon, age="1h")
        daemon.start()
        ours = {record["id"] for record in records} | {place.name for place, _ in bad}
        wait_until("the old ones to be gone", lambda: not on_disk(daemon) & ours)
        assert (outside / "1").read_text() == "by somebody" and (outside / "run.json").read_text() == "{}"


@pytest.mark.skipif(not AM_ROOT, reason="needs root to make a file immutable")
def test_what_cannot_be_removed_is_said(demo):
    import fcntl
    import struct

    get_flags, set_flags, immutable = 0x80086601, 0x40086602, 0x10  # ioctl_iflags(2)
    with house(demo, age="1h") as daemon:
        folder = runs_of(daemon)
        made = int(time.time() * 1000) - DAY
        place = past.write(folder, past.record_of(past.ulid(made, 1), made, "probe.echo", "demo"))
        other = past.write(folder, past.record_of(past.ulid(made, 2), made, "probe.echo", "demo"))
        past.give(folder)
        with open(place / "run.json", "rb") as file:
            try:
                flags = struct.unpack("l", fcntl.ioctl(file, get_flags, bytes(8)))[0]
                fcntl.ioctl(file, set_flags, struct.pack("l", flags | immutable))
            except OSError as error:
                pytest.skip(f"this file system makes no file immutable: {error}")
            try:
                daemon.start()
                wait_until("it to be said", lambda: "cannot be removed" in daemon.log())
                wait_until("the other to be gone", lambda: not other.exists())
                assert "EPERM" in daemon.log() and place.name in daemon.log() and place.exists()
            finally:
                fcntl.ioctl(file, set_flags, struct.pack("l", flags))
