"""queue.ping against Celery's workers over a real RabbitMQ, and RabbitMQ's own loop-back."""

import signal
import time

import pytest

from harness import free_port, wait_until
from mail import Authority
from queues import Mute, Rabbit, Redis, Says, Worker, answered_soon, assert_nowhere, bad, good, hatchd, ping, run_of, same_verdict, step

SECRET = "s3cret-rabbit"


def celery(broker, result=None, **more):
    """Workers have ten seconds to say what they do, since a busy machine gives a worker no turn for longer than one."""
    return {"kind": "celery", "broker": broker, "timeout": "20s", "control_wait": "10s", **({"result": result} if result else {}), **more}


class OverTls(Rabbit):
    """It listens for TLS, too."""

    def __init__(self, authority):
        self.tls_port, self.authority = free_port(), authority
        self.certificate, self.key = authority.issue("rabbit", names=("localhost",))
        super().__init__(SECRET)

    def more_settings(self):
        files = {"cacertfile": self.authority.file, "certfile": self.certificate, "keyfile": self.key, "verify": "verify_none"}
        return f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n" + "".join(f"ssl_options.{name} = {value}\n" for name, value in files.items())


@pytest.fixture(scope="module")
def authority():
    made = Authority()
    yield made
    made.close()


@pytest.fixture(scope="module")
def rabbit(authority):
    with OverTls(authority) as server:
        yield server


@pytest.fixture(scope="module")
def worker(rabbit):
    with Worker(rabbit.url(), "rpc://") as program:
        yield program


@pytest.fixture(scope="module")
def daemon(rabbit, worker):
    profiles = {
        "shop": celery(rabbit.url(), queues=["nobody", "absent"], tasks=["shop.greet", "shop.fail"]),
        "quick": celery(rabbit.url(), queues=["nobody", "absent"]) | {"timeout": "2s"},
        "wrong": celery(rabbit.url(password=SECRET + "x")),
        "foreign": celery(rabbit.url("foreign")),
        "nowhere": celery(rabbit.url("nowhere")),
        "rabbit": {"kind": "rabbitmq", "url": rabbit.url(), "queue": "celery", "queues": ["nobody", "absent"]},
        "rabbit-quick": {"kind": "rabbitmq", "url": rabbit.url(), "timeout": "2s"},
    }
    with hatchd(profiles, {"worker": {"pid": worker.pid}}) as private:
        yield private


def test_a_task_goes_through_and_back(daemon, worker):
    answer = ping(daemon, "shop", target="worker")
    assert answer.status == 200, answer
    result = answer.json()["result"]
    assert result["worker"] == worker.name and result["answer"] == ["hatchd", answer.json()["id"]]
    assert result["depth"] == 0 and result["consumers"] == 1
    assert [one["name"] for one in result["steps"]] == ["connect", "login", "queue", "publish", "answer", "workers"]
    assert "RabbitMQ 3" in step(result, "login")["detail"]
    [one] = result["workers"]
    assert one["pid"] == one["process"] == worker.pid and one["queues"] == ["celery"] and one["slots"] == 2
    assert result["settings"]["broker"]["value"] == f"amqp://shop:******@127.0.0.1:{result['settings']['broker']['value'].rsplit(':', 1)[1]}"
    assert_nowhere(daemon, answer.json()["id"], SECRET)


def test_over_tls(rabbit, authority, worker):
    """The app's worker speaks plain to the same broker; each of both kinds goes by TLS, or says why not."""
    url = f"amqps://shop:{SECRET}@localhost:{rabbit.tls_port}/%2F"
    profiles = {
        "celery": celery(url, ca=str(authority.file)),
        "rabbit": {"kind": "rabbitmq", "url": url, "ca": str(authority.file)},
        "unknown": {"kind": "rabbitmq", "url": url},
        "other-name": {"kind": "rabbitmq", "url": url.replace("localhost", "127.0.0.1"), "ca": str(authority.file)},
        "unchecked": {"kind": "rabbitmq", "url": url, "verify": False},
        "plain-port": {"kind": "rabbitmq", "url": url.replace(str(rabbit.tls_port), str(rabbit.port)), "ca": str(authority.file)},
        "plain-scheme": {"kind": "rabbitmq", "url": url.replace("amqps", "amqp"), "timeout": "3s"},
    }
    with hatchd(profiles) as daemon:
        result = good(daemon, "celery")
        assert result["worker"] == worker.name and "TLS" in step(result, "connect")["detail"]
        assert "TLS" in step(good(daemon, "rabbit"), "connect")["detail"]
        assert "TLS" in step(good(daemon, "unchecked"), "connect")["detail"]
        result = bad(daemon, "unknown")
        assert "certificate" in result["verdict"] and '"ca"' in result["hint"], result
        for name, why in {"other-name": "another name than 127.0.0.1", "plain-port": "TLS", "plain-scheme": "localhost"}.items():
            answer = ping(daemon, name)
            assert answer.status == 424 and why in answer.json()["detail"], answer
            assert_nowhere(daemon, run_of(answer), SECRET)


def test_a_task_of_the_app_and_one_that_fails(daemon):
    assert good(daemon, "shop", task="shop.greet", msg="hello")["answer"]["said"] == "hello"
    assert "it failed: ValueError: no goods" in bad(daemon, "shop", task="shop.fail")["verdict"]


def test_a_wrong_password_and_a_wrong_virtual_host(daemon):
    answer = ping(daemon, "wrong")
    assert answer.status == 424 and "login refused for user shop" in answer.json()["detail"], answer
    assert_nowhere(daemon, run_of(answer), SECRET)
    assert 'may not open the virtual host "foreign"' in bad(daemon, "foreign")["verdict"]
    result = bad(daemon, "nowhere")
    assert 'may not open the virtual host "nowhere"' in result["verdict"] and "list_vhosts" in result["hint"]


def test_a_queue_without_a_consumer_and_one_that_is_not_there(daemon, rabbit):
    with rabbit.channel() as channel:
        channel.queue_declare("nobody", durable=True, auto_delete=False)
        import amqp

        for _ in range(5210):
            channel.basic_publish(amqp.Message("x"), routing_key="nobody")
        wait_until("the queue to be that long", lambda: channel.queue_declare("nobody", passive=True).message_count == 5210)
        result = bad(daemon, "quick", queue="nobody")
        assert result["verdict"].startswith("broker up, queue `nobody` has 5,210 messages and no consumer")
        assert "listen to celery" in result["verdict"]
        assert result["depth"] == 5210 and result["consumers"] == 0
        # Nothing was added to what waits there.
        assert channel.queue_declare("nobody", passive=True).message_count == 5210
        channel.queue_delete("nobody")
    result = bad(daemon, "quick", queue="absent")
    assert "there is no queue `absent`: no worker has declared it" in result["verdict"] and "-Q absent" in result["hint"]


def test_a_virtual_host_where_no_worker_ever_was(rabbit):
    with hatchd({"shop": celery(rabbit.url("shop"), control_wait="500ms")}) as daemon:
        with rabbit.channel("shop") as channel:
            channel.queue_declare("celery", durable=True, auto_delete=False)
            result = bad(daemon, "shop")
            assert result["verdict"] == "broker up, queue `celery` has no message and no consumer: no worker listens to it"
            channel.queue_delete("celery")


def test_a_hundred_pings_leave_nothing_behind(daemon, rabbit):
    good(daemon, "shop")
    before = rabbit.things()
    for _ in range(100):
        good(daemon, "shop")
    wait_until("the broker to have forgotten the last connection", lambda: rabbit.things() == before, 120)


def test_results_in_redis(rabbit):
    with Redis() as redis, Worker(rabbit.url("shop"), redis.url(1), name="mixed", pool="threads") as worker:
        with hatchd({"shop": celery(rabbit.url("shop"), redis.url(1))}) as daemon:
            result = good(daemon, "shop")
            assert result["worker"] == worker.name and result["workers"][0]["pool"] == "threads"
            assert redis.keys(1) == set()
        with hatchd({"shop": celery(rabbit.url("shop"), f"redis://127.0.0.1:{free_port()}")}) as daemon:
            assert "broker up, but the result back end" in bad(daemon, "shop")["verdict"]


def test_a_stopped_worker(rabbit):
    with Worker(rabbit.url("shop"), "rpc://", name="stopped", queues="stopped") as worker:
        profile = celery(rabbit.url("shop"), queue="stopped", control_wait="500ms") | {"timeout": "1s"}
        with hatchd({"shop": profile}, {"worker": {"pid": worker.pid}}) as daemon:
            with worker.stopped():
                result = bad(daemon, "shop", target="worker")
                assert "1 consumer, but no worker answers" in result["verdict"]
                assert f"process {worker.pid} of the target is stopped" in result["verdict"]
                assert result["consumers"] == 1
            # The ping that it took meanwhile is expired by now: it is revoked and never run.
            wait_until("the worker to have thrown the ping away", lambda: "Discarding revoked task: celery.accumulate" in worker.log())
            assert "succeeded" not in worker.log()


def test_ask_unanswered_asks_nobody_where_an_answer_comes(daemon, rabbit):
    before = rabbit.things()
    with rabbit.channel() as channel:
        # A box of our own beside those of the workers.
        box = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(box, exchange="celery.pidbox")
        results = answered_soon(daemon, "shop", target="worker")
        result = results[-1]
        results += [good(daemon, "shop", ask="unanswered") for _ in range(20)]
        results.append(good(daemon, "shop"))
        asked = 3 * sum("workers" in one for one in results)
        wait_until("the questions of those that asked", lambda: channel.queue_declare(box, passive=True).message_count == asked)
    assert result["worker"] is None and result["status"] == "SUCCESS" and result["consumers"] == 1 and "workers" not in result
    assert [one["name"] for one in result["steps"]] == ["connect", "login", "queue", "publish", "answer"]
    assert result["verdict"].startswith("a worker answered through queue `celery` in ")
    wait_until("the broker to have forgotten the last connection", lambda: rabbit.things() == before, 120)


def test_ask_unanswered_and_a_stopped_worker(rabbit):
    with Worker(rabbit.url("shop"), "rpc://", name="stopped", queues="halted") as worker:
        profile = celery(rabbit.url("shop"), queue="halted", control_wait="500ms") | {"timeout": "1s"}
        with hatchd({"shop": profile}, {"worker": {"pid": worker.pid}}) as daemon:
            with worker.stopped():
                result = same_verdict(daemon, "shop", target="worker")
                assert "1 consumer, but no worker answers" in result["verdict"] and result["workers"] == []
                assert f"process {worker.pid} of the target is stopped" in result["verdict"]


def test_ask_unanswered_asks_at_once_where_the_broker_knows_why(worker, rabbit):
    with hatchd({"shop": celery(rabbit.url(), queues=["nobody", "absent"], control_wait="3s")}) as daemon, rabbit.channel() as channel:
        result = bad(daemon, "shop", queue="absent", ask="unanswered")
        assert "there is no queue `absent`" in result["verdict"] and [one["name"] for one in result["workers"]] == [worker.name]
        channel.queue_declare("nobody", durable=True, auto_delete=False)
        result = bad(daemon, "shop", queue="nobody", ask="unanswered")
        assert "no consumer: the workers that answer listen to celery" in result["verdict"]
        assert channel.queue_delete("nobody") == 0


def test_several_workers(rabbit):
    with Worker(rabbit.url("shop"), "rpc://", name="a", queues="both") as a, Worker(rabbit.url("shop"), "rpc://", name="b", queues="both") as b:
        with hatchd({"shop": celery(rabbit.url("shop"), queue="both")}) as daemon:
            for _ in range(4):
                result = good(daemon, "shop")
                assert {one["name"] for one in result["workers"]} == {a.name, b.name} and result["consumers"] == 2
                assert result["worker"] in (a.name, b.name)
                worked = a if result["worker"] == a.name else b
                wait_until("the worker's log to have it", lambda worked=worked, result=result: result["answer"][1] in worked.log())


def test_a_broker_that_takes_the_connection_and_never_answers():
    with Mute() as mute, Says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web:
        profiles = {
            "mute": celery(f"amqp://shop:{SECRET}@127.0.0.1:{mute.port}//") | {"timeout": "500ms"},
            "web": celery(f"amqp://127.0.0.1:{web.port}") | {"timeout": "2s"},
            "nobody": {"kind": "rabbitmq", "url": f"amqp://127.0.0.1:{free_port()}"},
        }
        with hatchd(profiles) as daemon:
            began = time.monotonic()
            answer = ping(daemon, "mute")
            assert "took the connection and does not answer" in answer.json()["detail"], answer
            assert time.monotonic() - began < 15
            assert_nowhere(daemon, run_of(answer), SECRET)
            assert "login failed" in bad(daemon, "web")["verdict"] or "does not speak AMQP" in bad(daemon, "web")["verdict"]
            assert "connection refused" in bad(daemon, "nobody")["verdict"]


def test_a_cancelled_ping_ends_at_once():
    with Mute() as mute, hatchd({"shop": celery(f"amqp://127.0.0.1:{mute.port}")}) as daemon:
        run = daemon.start_run("queue.ping", {"profile": "shop"})
        wait_until("it to be connected", lambda: mute.taken)
        daemon.ask("DELETE", f"/v1/runs/{run}")
        assert daemon.ended(run)["state"] == "cancelled"


# ---- RabbitMQ itself --------------------------------------------------------------------------------------------------


def test_rabbitmq_there_and_back(daemon, rabbit):
    before = rabbit.things()
    result = good(daemon, "rabbit")
    assert result["kind"] == "rabbitmq" and result["consumers"] == 1 and result["depth"] == 0
    assert "works: a message was routed, confirmed and came back; queue `celery` has 0 messages and 1 consumer" in result["verdict"]
    assert [one["name"] for one in result["steps"]] == ["connect", "login", "queue", "queue of our own", "publish", "consume"]
    assert "there is no queue `absent`" in bad(daemon, "rabbit", queue="absent")["verdict"]
    wait_until("the broker to have forgotten the connection", lambda: rabbit.things() == before, 120)


def test_a_full_disk(daemon, rabbit):
    rabbit.ctl("set_disk_free_limit", "900000GB")
    try:
        wait_until("the alarm", lambda: "alarm is set" in rabbit.log() or "disk resource limit alarm set" in rabbit.log(), 60)
        for profile in ("quick", "rabbit-quick"):
            result = bad(daemon, profile)
            assert "the broker takes no messages now: low on disk" in result["verdict"]
            assert "disk_free_limit" in result["hint"]
    finally:
        rabbit.ctl("set_disk_free_limit", "1MB")
    wait_until("the alarm to be over", lambda: ping(daemon, "shop").status == 200, 60)


def test_a_broker_that_is_killed_in_the_middle():
    with Rabbit() as server, Worker(server.url(), "rpc://", name="doomed") as worker:
        with hatchd({"shop": celery(server.url(), control_wait="20s")}) as daemon:
            worker.signal(signal.SIGSTOP)
            run = daemon.start_run("queue.ping", {"profile": "shop"})
            # Its task is there, and nobody works on it: it waits for 20 s.
            wait_until("the ping to be sent", lambda: "celery\t1" in server.ctl("list_queues", "name", "messages").splitlines())
            server.kill()
            record = daemon.ended(run)
            assert record["state"] == "failed" and "ended the connection" in record["result"]["verdict"], record
