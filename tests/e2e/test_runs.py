"""Runs last: what is kept, through restarts, SIGKILL, torn files and a full disk; and every way to run."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from harness import SANITIZED, TOKEN, Daemon, Process, wait_until
from test_broken_plugins import path_of

PLUGINS = {
    "files": {"path": path_of("files")},
    "probe": {"path": path_of("probe"), "profiles": {"default": {"password": "x"}}},
}
HATCHES = {"files.mark": {"concurrency": 8}, "files.big": {"concurrency": 8}, "probe.echo": {"concurrency": 8}}


def house(demo, **runs):
    config = {"plugins": PLUGINS, "hatches": HATCHES}
    if runs:
        config["runs"] = runs
    return Daemon(demo.pid, config, tcp=True)


@pytest.fixture(scope="module")
def running(demo):
    with house(demo) as daemon:
        yield daemon


@pytest.fixture
def marks(tmp_path):
    """A file that runs of any user may append to."""
    for folder in (tmp_path, *tmp_path.parents):
        with contextlib.suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o011)
        if folder == pathlib.Path(tempfile.gettempdir()):
            break
    path = tmp_path / "marks"
    path.touch()
    path.chmod(0o666)
    return path


def kill(daemon):
    """SIGKILL to the daemon's front and its head; everything of it is gone after that. The front first: it would write
    down what becomes of the others."""
    os.kill(daemon.process("hatchd: front").pid, signal.SIGKILL)
    daemon.popen.kill()
    daemon.popen.wait()
    wait_until("every process of hatchd to be gone", lambda: not daemon.left())


def events(daemon, run, last=None):
    headers = {"Last-Event-ID": str(last)} if last is not None else {}
    answer = daemon.get(f"/v1/runs/{run}/events", headers=headers)
    assert answer.status == 200 and answer.type == "text/event-stream", answer
    return answer.text


# ---- what lasts -------------------------------------------------------------------------------------------------------


def test_events_outlive_the_daemon(demo):
    with house(demo) as daemon:
        run = daemon.run("probe.output", {"lines": 5}).json()["id"]
        told = events(daemon, run)
        assert "event: output" in told and told.rstrip().splitlines()[-2] == "event: result", told
        daemon.stop()
        daemon.start()
        assert events(daemon, run) == told
        middle = told.index("id: 3\n")
        assert events(daemon, run, 2) == told[middle:]
        last = told.rsplit("id: ", 1)[1].split("\n", 1)[0]
        assert events(daemon, run, last) == ""


def test_a_flood_of_events_has_a_bound_on_disk(demo):
    with house(demo) as daemon:
        run = daemon.run("probe.output", {"lines": 1000, "at_once": 6_000_000}, timeout=120).json()["id"]
        [file] = daemon.folder.rglob(f"{run}/events")
        assert file.stat().st_size < 5 * 1024 * 1024
        daemon.stop()
        daemon.start()
        told = events(daemon, run)
        assert told.startswith("id: 1\n") and "event: result" in told
        assert len(told) < 8 * 1024 * 1024
        assert told.count("was not kept: more than 4 MiB of events") == 1


def test_killed_at_any_moment_history_is_whole(demo, marks):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with house(demo, keep={"count": 100_000}) as daemon:
        answered = {}  # what clients were told: run → state

        def work(stop):
            hatches = [("probe.echo", {}), ("files.big", {"mebibytes": 2}), ("files.mark", {"path": str(marks), "hold_ms": 20}), ("probe.fail", {})]
            while not stop.is_set():
                hatch, params = random.choice(hatches)
                with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                    answer = daemon.run(hatch, params)
                    if answer.status in (200, 424):
                        run = answer.json().get("run") or answer.json()
                        answered[run["id"]] = run["state"]

        crashed = 0
        for _ in range(3 if SANITIZED else 6):
            stop = threading.Event()
            workers = [threading.Thread(target=work, args=(stop,)) for _ in range(4)]
            for worker in workers:
                worker.start()
            time.sleep(chance.uniform(0.05, 1.0))
            wait_until("somebody to have been answered so far", lambda: answered)
            kill(daemon)
            stop.set()
            for worker in workers:
                worker.join()
            # As it lies there: every record is whole, the old or the new one.
            for record in (daemon.folder / "runs" / "runs").glob("*/run.json"):
                json.loads(record.read_text())
            daemon.start()
            seen, path = {}, "/v1/runs?limit=200"
            while path:
                page = daemon.get(path).json()
                seen.update((run["id"], run) for run in page["runs"])
                path = page["next"]
            for run, state in answered.items():
                assert seen[run]["state"] == state, (run, state, seen[run])
            for run in seen.values():
                assert run["state"] not in ("queued", "running"), run
                if run["state"] == "crashed":
                    crashed += 1
                    assert run["error"]["code"] == "run-crashed" and "hatchd ended" in run["error"]["detail"], run
                    assert '"state":"crashed"' in events(daemon, run["id"])
                if run["state"] == "succeeded":
                    assert daemon.record(run["id"])["result"]["verdict"]
                for artifact in run["artifacts"]:
                    file = daemon.ask("GET", artifact["href"]).body
                    assert len(file) == artifact["bytes"] and hashlib.sha256(file).hexdigest() == artifact["sha256"]
            names = {p.name for p in (daemon.folder / "runs" / "runs").iterdir()} - {"keys", "ends"}
            assert names == set(seen), "no folder without a run, no run without a folder"
            assert not list((daemon.folder / "runs" / "runs").rglob("*.tmp"))
        print(f"{len(answered)} answered, {crashed} recorded as crashed")
        assert answered


def test_torn_tails_made_by_hand(demo, marks):
    with house(demo) as daemon:
        ended = daemon.run("probe.output", {"lines": 600}).json()["id"]  # more than its record takes
        told = events(daemon, ended)
        under_way = daemon.start_run("files.mark", {"path": str(marks), "hold_ms": 60_000})
        journal = folder_of(daemon, under_way) / "events"
        wait_until("it to have marked", lambda: journal.exists() and "marked" in journal.read_text())
        kill(daemon)
        for run in (ended, under_way):
            with open(folder_of(daemon, run) / "events", "ab") as file:
                file.write(b"000000ff 12345678 7 output {\"text\":\"half of an ev")
        (folder_of(daemon, ended) / "run.json.tmp").write_text('{"id": "')
        (folder_of(daemon, ended) / "artifacts").mkdir(exist_ok=True)
        (folder_of(daemon, ended) / "artifacts" / "7").write_text("never committed")
        with open(daemon.folder / "runs" / "runs" / "keys", "ab") as file:
            file.write(b"0000")
        daemon.start()
        assert events(daemon, ended) == told
        assert "half of" not in (folder_of(daemon, under_way) / "events").read_text(), "cut at start"
        crashed = events(daemon, under_way)
        assert "marked" in crashed and "half of" not in crashed
        assert crashed.rstrip().splitlines()[-2] == "event: result" and "run-crashed" in crashed
        assert not (folder_of(daemon, ended) / "run.json.tmp").exists()
        assert not (folder_of(daemon, ended) / "artifacts" / "7").exists()


def folder_of(daemon, run):
    return daemon.folder / "runs" / "runs" / run


# ---- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tmpfs():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="e2e-tmpfs-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", folder], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def fill(folder):
    """Until nothing more fits; the file that took the room."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def test_what_looks_first_acts_only_when_it_is_on_record(demo, marks, tmpfs):
    with house(demo, directory=str(tmpfs), min_free="0B") as daemon:
        assert daemon.run("files.look-then-mark", {"path": str(marks)}).status == 200
        assert marks.read_text() == "look\nmark\n"
        fill(tmpfs)
        answer = daemon.run("files.look-then-mark", {"path": str(marks)})
        assert answer.status == 507 and answer.json()["code"] == "no-space", answer
        assert answer.json()["run"]["state"] == "failed"
        assert marks.read_text() in ("look\nmark\n", "look\nmark\nlook\n"), "it may have begun to look"


def test_a_disk_that_is_really_full(demo, marks, tmpfs):
    with house(demo, directory=str(tmpfs), min_free="0B") as daemon:
        before = daemon.run("probe.echo").json()
        assert "stored" not in before
        # A file larger than the disk: the run ends, and leaves no part of it.
        answer = daemon.run("files.big", {"mebibytes": 64})
        assert answer.status == 507 and answer.json()["code"] == "no-space", answer
        run = answer.json()["run"]
        assert run["state"] == "failed" and run["artifacts"] == [] and answer.json()["remedy"], run
        # The room is free once the run's process, which holds the file open, has ended.
        wait_until("the half file to be gone", lambda: shutil.disk_usage(tmpfs).free > 8 * 1024 * 1024)

        # One that began while there was room, and whose end finds none.
        late = daemon.run("files.mark", {"path": str(marks), "hold_ms": 3000}, {"Prefer": "respond-async"}).json()["id"]
        wait_until("it to do its work", lambda: marks.read_text() == "mark\n")
        filler = fill(tmpfs)
        looked = daemon.run("stack.dump")
        assert looked.status == 200 and looked.json()["stored"] is False and looked.json()["result"]["threads"], looked
        assert looked.json()["id"] in [r["id"] for r in daemon.get("/v1/runs").json()["runs"]]
        again = daemon.record(looked.json()["id"])
        assert again["stored"] is False and again["result"]["threads"]
        assert "event: result" in events(daemon, looked.json()["id"])
        acted = daemon.run("files.mark", {"path": str(marks)}, {"Idempotency-Key": "full"})
        assert acted.status == 507 and acted.json()["code"] == "no-space", acted
        assert marks.read_text() == "mark\n", "what cannot be recorded is not done"
        wait_until("the other run to end", lambda: daemon.record(late)["state"] == "succeeded")
        record = tmpfs / "runs" / late / "run.json"
        assert daemon.record(late)["stored"] is False and json.loads(record.read_text())["state"] != "succeeded"

        filler.unlink()
        wait_until("its record to be written at last", lambda: json.loads(record.read_text())["state"] == "succeeded")

        def admitted():
            answer = daemon.run("files.mark", {"path": str(marks)}, {"Idempotency-Key": "full"})
            return answer if answer.status != 503 else None

        acted = wait_until("the audit to find room, too", admitted)
        assert acted.status == 200 and marks.read_text() == "mark\nmark\n", "the key was not used up"
        assert "stored" not in daemon.run("probe.echo").json()
        daemon.stop()
        daemon.start()
        listed = {r["id"] for r in daemon.get("/v1/runs").json()["runs"]}
        assert before["id"] in listed and acted.json()["id"] in listed and looked.json()["id"] not in listed
        assert daemon.record(late)["state"] == "succeeded", "and not crashed"


def test_below_min_free_only_artifacts_are_refused(demo, marks):
    with house(demo, min_free="4096TiB") as daemon:
        answer = daemon.run("files.big")
        assert answer.status == 507 and answer.json()["code"] == "no-space", answer
        assert daemon.form("/files.big").text.startswith("refused (no-space): ")
        looked = daemon.run("stack.dump").json()
        assert looked["state"] == "succeeded" and looked["stored"] is False
        acted = daemon.run("files.mark", {"path": str(marks)})
        assert acted.status == 200 and "stored" not in acted.json(), "what acts is recorded as long as there is any room"
        assert [p.name for p in (daemon.folder / "runs" / "runs").iterdir() if p.name not in ("keys", "ends")] == [acted.json()["id"]]


# ---- ways to run ------------------------------------------------------------------------------------------------------


def test_a_retry_after_sigkill_returns_the_crashed_run(demo, marks):
    with house(demo) as daemon:
        params, key = {"path": str(marks), "hold_ms": 60_000}, {"Idempotency-Key": "7f3c"}
        first = daemon.run("files.mark", params, {**key, "Prefer": "respond-async"})
        assert first.status == 202 and "idempotent-replayed" not in first.headers, first
        wait_until("the mark", lambda: marks.read_text() == "mark\n")
        attached = daemon.run("files.mark", params, {**key, "Prefer": "wait=0"})
        assert attached.status == 202 and attached.headers["idempotent-replayed"] == "true"
        assert attached.headers["location"] == first.headers["location"]
        kill(daemon)
        daemon.start()
        again = daemon.run("files.mark", params, key)
        assert again.status == 424 and again.json()["code"] == "run-crashed", again
        assert again.headers["idempotent-replayed"] == "true" and again.headers["location"] == first.headers["location"]
        stream = daemon.run("files.mark", params, {**key, "Accept": "text/event-stream"})
        assert stream.status == 200 and "run-crashed" in stream.text
        other = daemon.run("files.mark", {**params, "hold_ms": 1}, key)
        assert other.status == 422 and other.json()["code"] == "idempotency-mismatch", other
        time.sleep(0.2)
        assert marks.read_text() == "mark\n", "done once"


def test_ten_at_once_with_one_key_act_once(running, marks):
    params, answers = {"path": str(marks), "hold_ms": 100}, []

    def post():
        answers.append(running.run("files.mark", params, {"Idempotency-Key": str(marks)}))

    threads = [threading.Thread(target=post) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status for a in answers] == [200] * 10, answers
    assert len({a.headers["location"] for a in answers}) == 1
    assert sum("idempotent-replayed" in a.headers for a in answers) == 9
    assert marks.read_text() == "mark\n"


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("prefer, state", [(None, "succeeded"), ("cancel-on-disconnect", "cancelled")])
def test_a_client_that_hangs_up(running, marks, tcp, prefer, state):
    body = json.dumps({"path": str(marks), "hold_ms": 3000 if state == "succeeded" else 60_000})
    headers = {"Content-Type": "application/json", **({"Prefer": prefer} if prefer else {})}
    if tcp:
        headers["Authorization"] = f"Bearer {TOKEN}"
    connection = running.connection(tcp)
    connection.request("POST", "/v1/hatches/files.mark", body, headers)
    wait_until("the mark", lambda: marks.read_text() == "mark\n")
    run = running.get("/v1/runs?hatch=files.mark&limit=1").json()["runs"][0]
    assert run["state"] in ("queued", "running")
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert running.ended(run["id"], 30)["state"] == state


def test_the_ways_to_wait(running, marks):
    params = {"path": str(marks), "hold_ms": 1500}
    answer = running.run("files.mark", params, {"Prefer": "respond-async"})
    assert answer.status == 202 and answer.headers["preference-applied"] == "respond-async"
    run = answer.headers["location"].rsplit("/", 1)[1]
    assert answer.json()["state"] in ("queued", "running")
    stream = events(running, run)
    assert '"state":"succeeded"' in stream and stream.rstrip().splitlines()[-2] == "event: result"
    answer = running.run("files.mark", params, {"Prefer": "wait=0"})
    assert answer.status == 202 and answer.headers["preference-applied"] == "wait=0"
    answer = running.run("files.mark", {**params, "hold_ms": 0}, {"Prefer": "wait=60"})
    assert answer.status == 200 and answer.headers["location"].startswith("/v1/runs/")
    text = running.run("files.mark", {**params, "hold_ms": 0}, {"Accept": "text/plain"})
    assert text.status == 200 and text.text.startswith("left a mark") and text.headers["location"]
    stream = running.run("files.mark", {**params, "hold_ms": 0}, {"Accept": "text/event-stream"})
    assert stream.type == "text/event-stream" and stream.text.startswith("id: 1\nevent: state\n")
    assert "marked" in stream.text and "event: result" in stream.text


# ---- artifacts --------------------------------------------------------------------------------------------------------


def test_a_large_artifact_passes_in_constant_memory(running, tmp_path):
    running.run("files.big", {"mebibytes": 1})
    front = running.process("hatchd: front")
    before = int(front.status()["VmRSS"].split()[0])
    answer = running.run("files.big", {"mebibytes": 400}, timeout=240)
    assert answer.status == 200, answer
    [artifact] = answer.json()["artifacts"]
    assert artifact["bytes"] == 400 * 1024 * 1024
    out = tmp_path / "out"
    digest = hashlib.sha256()
    got = running.curl("-D", str(tmp_path / "head"), "-o", str(out), "http://h" + artifact["href"])
    assert got.returncode == 0, got
    with open(out, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    assert digest.hexdigest() == artifact["sha256"]
    # Broken off and resumed, as curl does it.
    half = artifact["bytes"] // 2
    os.truncate(out, half)
    got = running.curl("-C", "-", "-o", str(out), "http://h" + artifact["href"])
    assert got.returncode == 0 and out.stat().st_size == artifact["bytes"], got
    peak = int(Process(front.pid).status()["VmHWM"].split()[0])
    assert peak - before < (256 if SANITIZED else 48) * 1024, f"{before} kB before, {peak} kB at most"
    assert running.ask("DELETE", artifact["href"]).status == 204


def test_what_an_artifact_is_served_with(running):
    run = running.run("files.big", {"mebibytes": 1, "hold_ms": 600}).json()
    [artifact] = run["artifacts"]
    href, sha = artifact["href"], artifact["sha256"]
    assert href.endswith("/artifacts/big-file.bin")
    whole = running.ask("GET", href)
    assert whole.status == 200 and hashlib.sha256(whole.body).hexdigest() == sha
    assert whole.headers["etag"] == f'"{sha}"' and whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["repr-digest"] == "sha-256=:" + base64.b64encode(bytes.fromhex(sha)).decode() + ":"
    assert whole.headers["content-disposition"] == "attachment; filename=\"big-file.bin\"; filename*=UTF-8''big-file.bin"
    head = running.ask("HEAD", href, headers={"Range": "bytes=0-9"})
    assert head.status == 200 and head.body == b"" and head.headers["content-length"] == str(1024 * 1024)
    assert head.headers["repr-digest"] == whole.headers["repr-digest"]
    part = running.ask("GET", href, headers={"Range": "bytes=64-127", "If-Range": whole.headers["etag"]})
    assert part.status == 206 and part.body == whole.body[64:128]
    assert part.headers["content-range"] == f"bytes 64-127/{1024 * 1024}" and part.headers["repr-digest"] == whole.headers["repr-digest"]
    assert running.ask("GET", href, headers={"Range": "bytes=64-127", "If-Range": '"other"'}).status == 200
    assert running.ask("GET", href, headers={"If-None-Match": f'"x", {whole.headers["etag"]}'}).status == 304
    beyond = running.ask("GET", href, headers={"Range": "bytes=9999999-"})
    assert beyond.status == 416 and beyond.headers["content-range"] == f"bytes */{1024 * 1024}"


def test_an_artifact_that_was_removed_stays_removed(demo):
    with house(demo) as daemon:
        run = daemon.run("probe.artifact").json()
        written = next(a for a in run["artifacts"] if a["name"] == "written.txt")
        daemon.stop()
        daemon.start()
        assert daemon.ask("DELETE", written["href"]).status == 204
        assert daemon.ask("DELETE", written["href"]).status == 404
        kill(daemon)
        daemon.start()
        assert daemon.get(written["href"]).status == 404
        assert [a["name"] for a in daemon.record(run["id"])["artifacts"]] == ["adopted.txt"]
        assert daemon.get(daemon.record(run["id"])["artifacts"][0]["href"]).text == "adopted\n"
        assert len(list((folder_of(daemon, run["id"]) / "artifacts").iterdir())) == 1
