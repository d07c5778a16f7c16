"""queue.ping against Celery's workers over a real Redis, and Redis' own loop-back: what works, and what each failure says."""

import json
import os
import pathlib
import re
import subprocess
import time

import pytest

from harness import free_port, open_to_all, wait_until
from mail import Authority
from queues import (
    PYTHON, Mute, Redis, Says, Server, Worker, answered_soon, assert_nowhere, bad, good, hatchd, ping, run_of, same_verdict, step,
)

SECRET = "s3cret-Pass/word"
QUOTED = "s3cret-Pass%2Fword"


def celery(broker, result=None, **more):
    """Workers have ten seconds to say what they do, since a busy machine gives a worker no turn for longer than one."""
    return {"kind": "celery", "broker": broker, "timeout": "20s", "control_wait": "10s", **({"result": result} if result else {}), **more}


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def worker(redis):
    with Worker(redis.url(0), redis.url(1), env={"CELERY_RESULT_BACKEND": redis.url(1)}) as program:
        yield program


@pytest.fixture(scope="module")
def daemon(redis, worker):
    profiles = {
        "shop": celery(
            redis.url(0), redis.url(1), queues=["nobody"], tasks=["shop.greet", "shop.fail", "shop.wait", "shop.unknown"]
        ),
        "quick": celery(redis.url(0), redis.url(1), queues=["nobody"], tasks=["shop.wait"]) | {"timeout": "2s"},
        "redis": {"kind": "redis", "url": redis.url(3), "queue": "orders", "queues": ["events", "hash"]},
        "env": {"kind": "celery", "timeout": "20s", "control_wait": "10s"},
        "mute": celery("redis://127.0.0.1:1/0"),
    }
    with hatchd(profiles, {"worker": {"pid": worker.pid}}) as private:
        yield private


def send(worker, name, *args, queue="celery"):
    """A task by Celery itself."""
    code = "import sys, shop_tasks; shop_tasks.app.send_task(sys.argv[1], sys.argv[3:], queue=sys.argv[2])"
    subprocess.run(
        [PYTHON, "-c", code, name, queue, *args], env={**os.environ, **worker.env}, check=True, timeout=60, stdin=subprocess.DEVNULL
    )


def test_a_task_goes_through_and_back(daemon, worker, redis):
    result = good(daemon, "shop", target="worker")
    assert result["kind"] == "celery" and result["queue"] == "celery"
    assert result["depth"] == 0 and result["consumers"] == 1
    assert result["worker"] == worker.name
    assert result["answer"][0] == "hatchd" and result["status"] == "SUCCESS"
    assert result["round_trip_ms"] > 0
    assert [one["name"] for one in result["steps"]] == ["connect", "login", "result back end", "queue", "publish", "answer", "workers"]
    assert all(one["ok"] for one in result["steps"])
    assert result["verdict"].startswith(f"worker {worker.name} answered through queue `celery` in ")
    [one] = result["workers"]
    assert one["pid"] == one["process"] == worker.pid and one["in_target"] and one["pool"] == "prefork"
    assert one["slots"] == 2 and len(one["processes"]) == 2 and one["queues"] == ["celery"] and one["consumes"]
    assert one["active"] == 0 and not one["busy"]
    assert result["settings"]["broker"] == {"value": redis.url(0), "origin": "profile shop"}


def test_the_worker_has_seen_the_very_task(daemon, worker):
    answer = ping(daemon, "shop").json()
    assert answer["result"]["answer"] == ["hatchd", answer["id"]]
    wait_until("the worker's log to have it", lambda: answer["id"] in worker.log())


def test_a_task_of_the_app_with_a_message(daemon):
    result = good(daemon, "shop", task="shop.greet", msg="good \"evening\" \x06")
    assert result["answer"]["said"].startswith('good "evening" ')
    assert "\x1b" not in json.dumps(result["answer"], ensure_ascii=False) and "[31m" in result["answer"]["control"]


def test_a_task_that_fails(daemon):
    result = bad(daemon, "shop", task="shop.fail", msg="today")
    assert "took the task shop.fail from queue `celery`, and it failed: ValueError: no goods" in result["verdict"]
    assert "\x1b" not in result["verdict"]
    assert result["status"] == "FAILURE" and step(result, "answer")["ok"]


def test_a_task_that_the_worker_does_not_know(daemon):
    result = bad(daemon, "shop", task="shop.unknown")
    assert "NotRegistered" in result["verdict"] and "older release" in result["hint"]


@pytest.mark.parametrize("what, value, key", [("queue", "unlisted", "queues"), ("task", "os.system", "tasks")])
def test_what_the_profile_does_not_list_is_refused(daemon, what, value, key):
    answer = ping(daemon, "shop", **{what: value})
    assert answer.status == 424, answer
    assert f"does not allow the {what} {value}" in answer.json()["detail"] and key in answer.json()["remedy"]


def test_a_queue_without_a_consumer(daemon, worker, redis):
    for _ in range(3):
        send(worker, "shop.greet", "waits", queue="nobody")
    result = bad(daemon, "quick", queue="nobody")
    assert result["verdict"].startswith("broker up, queue `nobody` has 3 messages and no consumer")
    assert "listen to celery" in result["verdict"] and "-Q nobody" in result["hint"]
    assert result["depth"] == 3 and result["consumers"] == 0
    # The ping is not among what waits there.
    assert redis.cli("LLEN", "nobody") == "3"
    redis.cli("DEL", "nobody")


def test_workers_that_are_busy_are_told_from_dead_ones(daemon, worker):
    done = worker.folder / "done"
    for _ in range(2):
        send(worker, "shop.wait", str(done))
    try:
        wait_until("both slots to be taken", lambda: last(daemon)["workers"] and last(daemon)["workers"][0]["busy"], 60)
        result = bad(daemon, "quick")
        assert "alive and busy: all 2 slots of w1@test run tasks, the longest shop.wait for " in result["verdict"]
        assert {one["task"] for one in result["workers"][0]["running"]} == {"shop.wait"}
        assert all(one["pid"] in result["workers"][0]["processes"] for one in result["workers"][0]["running"])
    finally:
        done.write_text("")
    wait_until("the slots to be free", lambda: ping(daemon, "shop").status == 200)


def test_a_task_that_takes_too_long_is_named(daemon, worker):
    never = worker.folder / "later"
    result = bad(daemon, "quick", task="shop.wait", msg=str(never))
    never.write_text("")
    assert "worker w1@test took the task shop.wait, which was still running after" in result["verdict"]
    # Its result comes when nobody waits for it any more, and is no longer any ping's to remove.
    wait_until("it to have ended", lambda: (workers := last(daemon)["workers"]) and not workers[0].get("running"))


def last(daemon):
    return daemon.record(run_of(ping(daemon, "quick")))["result"]


def acknowledged(redis):
    """All keys, once the worker has acknowledged what it took, which may be after the answer."""

    def keys():
        found = [redis.keys(database) for database in range(16)]
        return None if any("unacked" in key for names in found for key in names) else found

    return wait_until("the worker to have acknowledged the task", keys)


def test_a_hundred_pings_leave_nothing_behind(daemon, redis):
    good(daemon, "shop")
    before = acknowledged(redis)
    for _ in range(100):
        good(daemon, "shop")
    wait_until("nothing to be left", lambda: acknowledged(redis) == before)
    assert redis.cli("PUBSUB", "NUMSUB", "celery-task-meta-x").endswith("0")


def test_results_over_rpc(redis):
    with Worker(redis.url(4), "rpc://", name="rpc") as worker, hatchd({"shop": celery(redis.url(4), "rpc://")}) as daemon:
        before = redis.keys(4)
        result = good(daemon, "shop")
        assert result["worker"] == worker.name and result["settings"]["result"]["value"] == "rpc"
        wait_until("nothing to be left", lambda: redis.keys(4) == before)


def test_a_pool_of_threads_and_two_workers(redis):
    with Worker(redis.url(5), redis.url(5), name="a", pool="threads") as a, Worker(redis.url(5), redis.url(5), name="b") as b:
        with hatchd({"shop": celery(redis.url(5))}) as daemon:
            seen = set()
            for _ in range(6):
                result = good(daemon, "shop")
                assert [one["name"] for one in result["workers"]] == [a.name, b.name]
                assert [one["pool"] for one in result["workers"]] == ["threads", "prefork"]
                assert result["consumers"] == 2
                seen.add(result["worker"])
                worked = a if result["worker"] == a.name else b
                wait_until("the worker's log to have it", lambda worked=worked, result=result: result["answer"][1] in worked.log())
            assert seen <= {a.name, b.name}


def test_a_stopped_worker(redis):
    with Worker(redis.url(6), redis.url(6), name="stopped") as worker:
        with hatchd({"shop": celery(redis.url(6)) | {"timeout": "1s", "control_wait": "1s"}}, {"worker": {"pid": worker.pid}}) as daemon:
            with worker.stopped():
                before = redis.keys(6)
                result = bad(daemon, "shop", target="worker")
                assert "but no worker answers" in result["verdict"]
                assert f"process {worker.pid} of the target is stopped" in result["verdict"]
                assert redis.keys(6) == before


def test_a_clear_broker_and_no_worker_at_all(redis):
    with hatchd({"shop": celery(redis.url(7)) | {"timeout": "1s", "control_wait": "1s"}}) as daemon:
        redis.cli("LPUSH", "celery", *["x"] * 1200, database=7)
        result = bad(daemon, "shop")
        assert result["verdict"] == "broker up, queue `celery` has 1,200 messages and no consumer: no worker listens to it"
        assert result["consumers"] == 0 and result["worker"] is None and result["workers"] == []
        assert redis.cli("LLEN", "celery", database=7) == "1200"
        redis.cli("FLUSHDB", database=7)


def questions(monitored):
    return sum('"PUBLISH" "/0.celery.pidbox"' in line for line in monitored.splitlines())


def test_ask_unanswered_asks_nobody_where_an_answer_comes(daemon, redis):
    good(daemon, "shop")
    before = acknowledged(redis)
    with Server("monitor") as monitor:
        monitor.launch("redis-cli", "-p", redis.port, "MONITOR")
        wait_until("the monitor", lambda: monitor.alive() and monitor.log().startswith("OK"))
        results = answered_soon(daemon, "shop", target="worker")
        good(daemon, "shop")
        redis.cli("ECHO", "that was all")
        wait_until("the monitor to have seen it all", lambda: "that was all" in monitor.log())
        assert questions(monitor.log()) == 3 * len(results)  # of those that came too late, and of the one that asks always
    result = results[-1]
    assert result["worker"] is None and result["status"] == "SUCCESS" and result["answer"][0] == "hatchd"
    assert [one["name"] for one in result["steps"]] == ["connect", "login", "result back end", "queue", "publish", "answer"]
    assert result["verdict"].startswith("a worker answered through queue `celery` in ")
    assert "workers" not in result and "consumers" not in result
    for _ in range(20):
        good(daemon, "shop", ask="unanswered")
    result = bad(daemon, "shop", task="shop.fail", ask="unanswered")
    assert "it failed: ValueError: no goods" in result["verdict"]
    wait_until("nothing to be left", lambda: acknowledged(redis) == before)
    answer = ping(daemon, "shop", ask="never")
    assert answer.status == 422 and "unanswered" in answer.text, answer


def test_ask_unanswered_names_the_worker_where_the_result_does(redis):
    settings = {"SHOP_SETTINGS": json.dumps({"result_extended": True})}
    with Worker(redis.url(12), redis.url(12), name="a", env=settings) as a, Worker(redis.url(12), redis.url(12), name="b", env=settings) as b:
        with hatchd({"shop": celery(redis.url(12))}) as daemon:
            result = answered_soon(daemon, "shop")[-1]
            assert result["worker"] in (a.name, b.name) and result["verdict"].startswith(f"worker {result['worker']} answered")


def test_ask_unanswered_over_rpc(redis):
    with Worker(redis.url(13), "rpc://", name="rpc"), hatchd({"shop": celery(redis.url(13), "rpc://")}) as daemon:
        before = redis.keys(13)
        assert answered_soon(daemon, "shop")[-1]["status"] == "SUCCESS"
        wait_until("nothing to be left", lambda: redis.keys(13) == before)


def test_ask_unanswered_asks_where_the_answer_is_late(daemon, worker):
    later = worker.folder / "in-a-second"
    run = daemon.start_run("queue.ping", {"profile": "shop", "ask": "unanswered", "task": "shop.wait", "msg": str(later)})
    time.sleep(1)
    later.write_text("")
    result = daemon.ended(run, 40)["result"]
    assert result["status"] == "SUCCESS" and result["round_trip_ms"] > 300, result
    assert result["worker"] == worker.name and [one["name"] for one in result["workers"]] == [worker.name]
    assert [one["name"] for one in result["steps"]][-2:] == ["answer", "workers"]


def test_ask_unanswered_gives_the_same_verdicts(daemon, worker, redis):
    result = same_verdict(daemon, "quick", queue="nobody")
    assert "no consumer" in result["verdict"] and "listen to celery" in result["verdict"]
    assert redis.cli("LLEN", "nobody") == "0"
    never = worker.folder / "much-later"
    assert "was still running after" in same_verdict(daemon, "quick", task="shop.wait", msg=str(never))["verdict"]
    try:
        # Both slots run what the two pings sent.
        assert "all 2 slots of w1@test run tasks" in same_verdict(daemon, "quick")["verdict"]
    finally:
        never.write_text("")
    wait_until("the slots to be free", lambda: ping(daemon, "shop").status == 200)


def test_ask_unanswered_and_a_stopped_worker(redis):
    with Worker(redis.url(14), redis.url(14), name="stopped") as worker:
        profile = celery(redis.url(14)) | {"timeout": "1s", "control_wait": "1s"}
        with hatchd({"shop": profile}, {"worker": {"pid": worker.pid}}) as daemon:
            with worker.stopped():
                before = redis.keys(14)
                result = same_verdict(daemon, "shop", target="worker")
                assert "but no worker answers" in result["verdict"] and result["workers"] == []
                assert f"process {worker.pid} of the target is stopped" in result["verdict"]
                assert redis.keys(14) == before


def test_ask_unanswered_and_no_worker_at_all(redis):
    with hatchd({"shop": celery(redis.url(15)) | {"timeout": "1s", "control_wait": "1s"}}) as daemon:
        redis.cli("LPUSH", "celery", "x", database=15)
        result = same_verdict(daemon, "shop")
        assert result["verdict"] == "broker up, queue `celery` has 1 message and no consumer: no worker listens to it"
        assert result["consumers"] == 0 and result["workers"] == [] and redis.keys(15) == {"celery"}
        run = daemon.start_run("queue.ping", {"profile": "shop", "ask": "unanswered"})
        wait_until("the task to be there", lambda: redis.cli("LLEN", "celery", database=15) == "2")
        daemon.ask("DELETE", f"/v1/runs/{run}")
        daemon.ended(run)
        assert redis.keys(15) == {"celery"} and redis.cli("LLEN", "celery", database=15) == "1"
        redis.cli("FLUSHDB", database=15)


def test_users_prefixes_and_passwords():
    with Redis("--requirepass", "other-" + SECRET) as server:
        auth = ("-a", "other-" + SECRET, "--no-auth-warning")
        server.cli("ACL", "SETUSER", "shop", "on", ">" + SECRET, "~*", "&*", "+@all", auth=auth)
        # What docs/plugins/queue.md says that a user for hatchd needs.
        needed = "ping select llen lpush lrem brpop sadd srem del get publish subscribe unsubscribe".split()
        server.cli("ACL", "SETUSER", "hatchd", "on", ">" + SECRET, "~*", "&*", *(f"+{word}" for word in needed), auth=auth)
        url = server.url(2, f"shop:{QUOTED}@")
        settings = json.dumps(
            {"broker_transport_options": {"global_keyprefix": "tenant:"}, "result_backend_transport_options": {"global_keyprefix": "r"}}
        )
        with Worker(url, url, env={"SHOP_SETTINGS": settings}) as worker:
            prefixes = {"key_prefix": "tenant:", "result_key_prefix": result_prefix(worker)}
            profiles = {
                "shop": celery(url, **prefixes),
                "wrong": celery(server.url(2, f"shop:{QUOTED}x@")),
                "none": celery(server.url(2)),
                "least": celery(server.url(2, f"hatchd:{QUOTED}@"), **prefixes),
                "redis": {"kind": "redis", "url": url},
            }
            with hatchd(profiles) as daemon:
                def keys():
                    return set(server.cli("KEYS", "*", database=2, auth=auth).splitlines())

                before = keys()
                answer = ping(daemon, "shop")
                assert answer.status == 200 and answer.json()["result"]["worker"] == worker.name, answer
                assert answer.json()["result"]["settings"]["broker"]["value"] == server.url(2, "shop:******@")
                assert_nowhere(daemon, answer.json()["id"], "s3cret")
                wait_until("nothing to be left", lambda: keys() == before)
                assert good(daemon, "least")["worker"] == worker.name
                assert good(daemon, "redis")["server"]["version"]

                answer = ping(daemon, "wrong")
                assert answer.status == 424 and "login refused: WRONGPASS" in answer.json()["detail"], answer
                assert_nowhere(daemon, run_of(answer), "s3cret")
                assert not step(daemon.record(run_of(answer))["result"], "login")["ok"]
                assert "wants a password and the address has none" in bad(daemon, "none")["verdict"]


def result_prefix(worker):
    """What this version of Celery makes of global_keyprefix: nothing before 5.3."""
    code = "import shop_tasks; print(shop_tasks.app.backend.get_key_for_task('x').decode().split('celery-task-meta-')[0])"
    env = {**os.environ, **worker.env}
    return subprocess.run([PYTHON, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_sentinels_tell_where_the_master_is(redis):
    with Server("sentinel") as sentinel:
        port = free_port()
        file = sentinel.folder / "sentinel.conf"
        file.write_text(f"port {port}\nbind 127.0.0.1\ndir {sentinel.folder}\nsentinel monitor shop 127.0.0.1 {redis.port} 1\n")
        sentinel.launch("redis-server", file, "--sentinel")
        wait_until("the sentinel", lambda: sentinel.alive() and "+monitor" in sentinel.log())
        url = f"sentinel://127.0.0.1:1;sentinel://127.0.0.1:{port}/8"
        profiles = {
            "shop": celery(url, sentinel_master="shop"),
            "other": celery(url, sentinel_master="other"),
            "redis": {"kind": "redis", "url": url, "sentinel_master": "shop"},
        }
        with Worker(redis.url(8), redis.url(8), name="behind") as worker, hatchd(profiles) as daemon:
            assert good(daemon, "shop")["worker"] == worker.name
            assert step(good(daemon, "redis"), "connect")["detail"] == f"127.0.0.1:{redis.port}"
            assert 'no sentinel tells where the master "other" is' in bad(daemon, "other")["verdict"]


def test_sentinels_with_a_password_of_their_own(redis):
    secret = "secret-of-the-sentinels"
    with Server("sentinel") as sentinel:
        port = free_port()
        file = sentinel.folder / "sentinel.conf"
        settings = f"port {port}\nbind 127.0.0.1\ndir {sentinel.folder}\nrequirepass {secret}\n"
        file.write_text(settings + f"sentinel monitor shop 127.0.0.1 {redis.port} 1\n")
        sentinel.launch("redis-server", file, "--sentinel")
        wait_until("the sentinel", lambda: sentinel.alive() and "+monitor" in sentinel.log())
        common = {"kind": "redis", "url": f"sentinel://127.0.0.1:{port}/0", "sentinel_master": "shop"}
        profiles = {
            "right": {**common, "sentinel_password": secret},
            "wrong": {**common, "sentinel_password": "hunter2-wrong"},
            "none": common,
        }
        with hatchd(profiles) as daemon:
            answer = ping(daemon, "right")
            assert step(answer.json()["result"], "connect")["detail"] == f"127.0.0.1:{redis.port}"
            assert_nowhere(daemon, run_of(answer), secret)
            for name, why in (("wrong", "login refused"), ("none", "wants a password")):
                answer = ping(daemon, name)
                assert answer.status == 424 and why in answer.json()["detail"] and f"127.0.0.1:{port}" in answer.json()["detail"], answer
                assert_nowhere(daemon, run_of(answer), "hunter2-wrong")


def certificate(folder, name):
    key, file = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", file, "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )
    for path in (key, file):
        path.chmod(0o644)
    return str(key), str(file)


def test_redis_over_tls(tmp_path):
    open_to_all(tmp_path)
    key, file = certificate(tmp_path, "localhost")
    _, other = certificate(tmp_path, "stranger")
    port = free_port()
    with Redis("--tls-port", port, "--tls-cert-file", file, "--tls-key-file", key, "--tls-ca-cert-file", file, "--tls-auth-clients", "no") as server:
        url = f"rediss://127.0.0.1:{port}/0"
        with Worker(f"{url}?ssl_cert_reqs=none", f"{url}?ssl_cert_reqs=none") as worker:
            profiles = {
                "shop": celery(url, ca=read_by_all(file)),
                "stranger": celery(url, ca=read_by_all(other)),
                "unverified": celery(url, verify=False),
                "plain": celery(f"rediss://127.0.0.1:{server.port}/0", ca=read_by_all(file)),
            }
            with hatchd(profiles) as daemon:
                result = good(daemon, "shop")
                assert result["worker"] == worker.name and "TLSv1." in step(result, "connect")["detail"]
                good(daemon, "unverified")
                assert "its certificate is not trusted" in bad(daemon, "stranger")["verdict"]
                assert "TLS with 127.0.0.1" in bad(daemon, "plain")["verdict"]


def test_redis_that_wants_a_certificate_and_knows_the_root_alone(tmp_path):
    """The profile names a certificate without its chain; what is missing of that is in "ca"."""
    open_to_all(tmp_path)
    authority, port = Authority(), free_port()
    try:
        served, served_key = authority.issue("server")
        whole, key = authority.issue("client", intermediate="sent")
        mark = "-----BEGIN CERTIFICATE-----"
        leaf, between = (mark + part for part in pathlib.Path(whole).read_text().split(mark)[1:])
        known = tmp_path / "known.pem"
        known.write_text(authority.file.read_text() + between)
        mine = tmp_path / "mine.pem"
        mine.write_text(leaf)
        pathlib.Path(key).chmod(0o644)
        tls = ["--tls-port", port, "--tls-cert-file", served, "--tls-key-file", served_key, "--tls-ca-cert-file", authority.file]
        profile = {"kind": "redis", "url": f"rediss://127.0.0.1:{port}/0", "ca": str(known)}
        profiles = {"mine": profile | {"certificate": str(mine), "key": key}, "nobody": profile}
        with Redis(*tls, "--tls-auth-clients", "yes"), hatchd(profiles) as daemon:
            assert "TLSv1." in step(good(daemon, "mine"), "connect")["detail"]
            assert ping(daemon, "nobody").status == 424
    finally:
        authority.close()


def read_by_all(file):
    return str(file)


def test_a_broker_that_takes_the_connection_and_never_answers():
    with Mute() as mute, hatchd({"shop": celery(f"redis://:{QUOTED}@127.0.0.1:{mute.port}") | {"timeout": "500ms"}}) as daemon:
        began = time.monotonic()
        result = bad(daemon, "shop")
        assert time.monotonic() - began < 15
        assert f"127.0.0.1:{mute.port} took the connection and does not answer" in result["verdict"]
        assert not step(result, "login")["ok"] and step(result, "connect")["ok"]


def test_hostile_answers_are_bounded_and_cannot_move_a_cursor():
    echo = f"-ERR \x1b[2J{SECRET} \u202e".encode() + b"x" * 100_000 + b"\r\n"
    with Says(echo) as liar, Says(b"*2000000000\r\n") as huge, Says(b"HTTP/1.1 400 Bad\r\n\r\n") as web:
        profiles = {
            "echo": celery(f"redis://:{QUOTED}@127.0.0.1:{liar.port}"),
            "huge": celery(f"redis://127.0.0.1:{huge.port}"),
            "web": celery(f"redis://127.0.0.1:{web.port}"),
        }
        with hatchd(profiles) as daemon:
            answer = ping(daemon, "echo")
            assert answer.status == 424 and "\x1b" not in answer.text and len(answer.text) < 20_000
            assert_nowhere(daemon, run_of(answer), SECRET)
            assert "does not speak Redis" in bad(daemon, "huge")["verdict"]
            assert "does not speak Redis" in bad(daemon, "web")["verdict"]


def test_nobody_listens_there(daemon):
    result = bad(daemon, "mute")
    assert "cannot connect to 127.0.0.1:1: connection refused" in result["verdict"] and "is it running" in result["hint"]


def test_a_result_back_end_that_is_down(redis, worker):
    with hatchd({"shop": celery(redis.url(0), f"redis://127.0.0.1:{free_port()}/0")}) as daemon:
        result = bad(daemon, "shop")
        assert result["verdict"].startswith("broker up, but the result back end redis://127.0.0.1:")
        assert "connection refused" in result["verdict"]
        assert not step(result, "result back end")["ok"] and step(result, "login")["ok"]


def test_results_that_go_elsewhere(redis):
    with Redis() as other, Worker(redis.url(9), redis.url(10), name="astray") as worker:
        profiles = {
            "database": celery(redis.url(9), redis.url(11)),
            "server": celery(redis.url(9), other.url()) | {"timeout": "2s"},
        }
        with hatchd(profiles) as daemon:
            result = bad(daemon, "database")
            assert f"the result is not in {redis.url(11)}: the workers write to another database" in result["verdict"]
            result = bad(daemon, "server")
            assert f"{worker.name} alive, but no result came from {other.url()}" in result["verdict"]


def test_a_broker_that_is_killed_in_the_middle():
    with Redis() as server, hatchd({"shop": celery(server.url(0))}) as daemon:
        run = daemon.start_run("queue.ping", {"profile": "shop"})
        wait_until("the task to be there", lambda: server.cli("LLEN", "celery") == "1")
        server.kill()
        record = daemon.ended(run)
        assert record["state"] == "failed"
        assert "failed in the middle of the ping: 127.0.0.1" in record["result"]["verdict"]
        assert "closed the connection" in record["result"]["verdict"]


def test_a_cancelled_ping_takes_its_task_back():
    with Redis() as server, hatchd({"shop": celery(server.url(0))}) as daemon:
        run = daemon.start_run("queue.ping", {"profile": "shop"})
        wait_until("the task to be there", lambda: server.cli("LLEN", "celery") == "1")
        assert daemon.ask("DELETE", f"/v1/runs/{run}").status < 300
        assert daemon.ended(run)["state"] == "cancelled"
        assert server.keys() == set()


def test_settings_from_the_target(daemon, worker, redis):
    result = good(daemon, "env", **{"from": "target", "target": "worker"})
    assert result["worker"] == worker.name and result["status"] == "SUCCESS"
    assert result["settings"] == {
        "broker": {"value": redis.url(0), "origin": f"CELERY_BROKER_URL of process {worker.pid}"},
        "result": {"value": redis.url(1), "origin": f"CELERY_RESULT_BACKEND of process {worker.pid}"},
    }
    answer = ping(daemon, "env")
    assert answer.status == 424 and 'the profile has no "broker"' in answer.json()["detail"]
    answer = ping(daemon, "env", **{"from": "target"})
    assert answer.status == 424 and "takes a target" in answer.json()["detail"]


def test_the_targets_network_where_it_is_hatchd_s_own(daemon):
    """Nothing to do, and no right that it takes; test_network.py has the rest."""
    answer = ping(daemon, "shop", network="target")
    assert answer.status == 424 and "takes a target" in answer.json()["detail"] and "target=NAME" in answer.json()["remedy"]
    assert ping(daemon, "shop", network="target", target="worker").status == 200


def test_a_dry_run_sends_nothing(daemon, worker, redis):
    # A worker logs what it received before it works, but how that went only after its answer has left.
    received = re.compile(r"celery\.accumulate\[\S+\] received")
    before = len(received.findall(worker.log()))
    answer = daemon.run("queue.ping", {"profile": "shop", "dry_run": True})
    assert answer.status == 200 and answer.json()["ready"] is True, answer
    answer = daemon.run("queue.ping", {"profile": "mute", "dry_run": True})
    assert answer.json()["ready"] is False and "connection refused" in answer.json()["detail"]
    assert before and len(received.findall(worker.log())) == before


# ---- Redis itself -----------------------------------------------------------------------------------------------------


def test_redis_there_and_back(daemon, redis):
    redis.cli("RPUSH", "orders", *"abcde", database=3)
    before = redis.keys(3)
    result = good(daemon, "redis")
    assert result["kind"] == "redis" and result["depth"] == 5 and result["queue"] == "orders"
    assert result["verdict"].endswith("works: a list and a stream came back; list `orders` has 5 messages")
    assert result["replication"]["role"] == "master" and result["persistence"]["last_save"] == "ok"
    assert [one["name"] for one in result["steps"]] == ["connect", "login", "state", "queue", "list", "stream"]
    assert redis.keys(3) == before


def test_how_far_readers_of_a_stream_are_behind(daemon, redis):
    for number in range(4):
        redis.cli("XADD", "events", "*", "n", str(number), database=3)
    redis.cli("XGROUP", "CREATE", "events", "billing", "0", database=3)
    redis.cli("XREADGROUP", "GROUP", "billing", "me", "COUNT", "1", "STREAMS", "events", ">", database=3)
    result = good(daemon, "redis", queue="events")
    assert result["depth"] == 4 and result["consumers"] == 1 and result["lag"] == 3
    assert result["groups"] == [{"name": "billing", "consumers": 1, "pending": 1, "lag": 3}]
    redis.cli("HSET", "hash", "a", "b", database=3)
    assert "is a hash and no queue" in bad(daemon, "redis", queue="hash")["verdict"]


def test_a_replica_without_its_master_says_so(redis):
    with Redis("--replicaof", "127.0.0.1", free_port(), "--replica-read-only", "no") as server:
        with hatchd({"redis": {"kind": "redis", "url": server.url()}}) as daemon:
            result = good(daemon, "redis")
            assert "but it is a replica and has lost its master" in result["verdict"]
            server.cli("CONFIG", "SET", "replica-read-only", "yes")
            assert "READONLY" in bad(daemon, "redis")["verdict"]


def test_each_kind_is_in_the_catalogue_and_an_unknown_one_is_said(redis):
    with hatchd({"redis": {"kind": "redis", "url": redis.url()}, "stream": {"kind": "kafka"}}) as daemon:
        hatches = daemon.get("/v1/hatches").json()["hatches"]
        mine = {one["kind"]: one for one in hatches if one.get("id") == "queue.ping"}
        assert set(mine) == {"celery", "redis", "rabbitmq"}
        assert mine["redis"]["enabled"] and not mine["celery"]["enabled"]
        assert "no profile of kind celery" in json.dumps(mine["celery"])
        assert 'no plugin serves \\"kafka\\"' in daemon.get("/v1/hatches").text
        assert good(daemon, "redis")["kind"] == "redis"
