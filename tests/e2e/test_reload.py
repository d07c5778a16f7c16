"""SIGHUP: a new configuration is taken over whole, or the old one stays and the log says why."""

import http.client
import json
import signal
import subprocess

from harness import BUILD, HATCHD, TOKEN, Daemon, Demo, Process, token_entry, wait_until
from queues import Redis

# A hatch that waits until it is told to end.
SLOW = {"plugins": {"slow": {"path": str(BUILD / "fixtures" / "slow.so")}}}


def write(daemon, change):
    """Changes the configuration's file, not yet the daemon."""
    config = json.loads(daemon.file.read_text())
    change(config)
    daemon.file.write_text(json.dumps(config, indent=2))


def reload(daemon, change=lambda config: None, takes=True):
    """Changes the file, sends SIGHUP and waits for what the log says of it; the lines since then."""
    write(daemon, change)
    before = len(daemon.log())
    daemon.popen.send_signal(signal.SIGHUP)
    said = "the configuration is taken over" if takes else "the old configuration stays as it is"
    wait_until(f"the log to say: {said}", lambda: said in daemon.log()[before:])
    lines = daemon.log()[before:]
    assert ("the old configuration stays" in lines) != takes, lines
    return lines


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_tokens_peers_and_the_switch_for_reading_only_count_at_once(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        new = "hatchd_a-second-token-of-the-same-name-0123456789"
        assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 200
        assert daemon.get("/v1/hatches", headers=bearer(new), tcp=True).status == 401
        # Both tokens of one name are good while clients change over.
        reload(daemon, lambda c: c["access"]["tokens"].append(token_entry(new, "viewer")))
        assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 200
        assert daemon.get("/v1/hatches", headers=bearer(new), tcp=True).status == 200
        reload(daemon, lambda c: c["access"]["tokens"].pop(0))
        assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 401
        assert daemon.get("/v1/hatches", headers=bearer(new), tcp=True).status == 200

        host = {"Host": "hatch.example.org", **bearer(new)}
        assert daemon.get("/v1/hatches", headers=host, tcp=True).status == 421
        reload(daemon, lambda c: c.update(hosts=["hatch.example.org"]))
        assert daemon.get("/v1/hatches", headers=host, tcp=True).status == 200

        reload(daemon, lambda c: c["access"].update(peers=[{"group": "no-such-group", "role": "admin"}]))
        assert daemon.get("/v1/hatches").status == 403
        assert "/access/peers/0/group" in daemon.log()


def test_a_stream_ends_when_its_token_is_revoked_and_others_go_on(demo):
    with Daemon(demo.pid, tcp=True, config=SLOW) as daemon:
        run = daemon.start_run("broken.slow")
        mine, root = daemon.connection(tcp=True), daemon.connection()
        mine.request("GET", f"/v1/runs/{run}/events", headers=bearer(TOKEN))
        root.request("GET", f"/v1/runs/{run}/events")
        streams = [mine.getresponse(), root.getresponse()]
        for stream in streams:
            assert stream.status == 200 and stream.readline().startswith(b"id: ")
        reload(daemon, lambda c: c["access"]["tokens"].clear())
        try:
            while streams[0].readline():
                pass
        except (http.client.IncompleteRead, OSError):
            pass
        daemon.ask("DELETE", f"/v1/runs/{run}")
        assert b"event: result" in streams[1].read()
        mine.close()
        root.close()


def test_a_waiting_call_is_not_answered_to_a_token_that_was_revoked(demo):
    with Daemon(demo.pid, tcp=True, config=SLOW) as daemon:
        connection = daemon.connection(tcp=True)
        connection.request("POST", "/v1/hatches/broken.slow", '{}', {"Content-Type": "application/json", **bearer(TOKEN)})
        runs = wait_until("the run to be there", lambda: daemon.get("/v1/runs?state=running").json()["runs"])
        reload(daemon, lambda c: c["access"]["tokens"].clear())
        daemon.ask("DELETE", f"/v1/runs/{runs[0]['id']}")
        answer = connection.getresponse()
        assert answer.status == 401 and b"is not valid any more" in answer.read()
        connection.close()


def test_targets_come_and_go_and_stay_the_process_that_they_were(demo):
    with Demo() as other, Daemon({"demo": {"pid": demo.pid}}) as daemon:
        before = daemon.get("/v1/targets/demo").json()["processes"][0]
        reload(daemon, lambda c: c["targets"].update(other={"pid": other.pid}))
        assert daemon.run("stack.dump", {"target": "other"}).json()["target"]["pid"] == other.pid
        assert daemon.get("/v1/targets/demo").json()["processes"][0]["started"] == before["started"]
        reload(daemon, lambda c: c["targets"].pop("demo"))
        assert daemon.get("/v1/targets/demo").status == 404
        assert daemon.run("stack.dump").json()["target"]["name"] == "other"


def test_runs_under_way_end_where_they_began_and_new_ones_have_the_new_settings(demo):
    with Daemon(demo.pid, {**SLOW, "hatches": {"broken.slow": {"concurrency": 2}}}) as daemon:
        run = daemon.start_run("broken.slow")
        wait_until("the run to run", lambda: daemon.record(run)["state"] == "running")
        old = daemon.process("hatchd: plugin slow")
        reload(daemon, lambda c: c.update(hatches={"broken.slow": {"timeout": "1s", "concurrency": 2}}))
        answer = daemon.run("broken.slow")
        assert answer.status == 424 and answer.json()["code"] == "run-timeout", answer
        # A process that was just forked from it has its name for a moment.
        new = [p for p in daemon.processes() if p.title == "hatchd: plugin slow" and p.parent == daemon.pid and p.pid != old.pid]
        assert len(new) == 1 and old.alive()
        assert daemon.record(run)["state"] == "running"
        daemon.ask("DELETE", f"/v1/runs/{run}")
        assert daemon.ended(run)["state"] == "cancelled"
        wait_until("the old process to leave", lambda: not old.alive())
        assert Process(new[0].pid).alive()
        assert "a process ended" not in daemon.log().split("the configuration is taken over")[1]
        # What is switched off is off, and read_only is the daemon's.
        reload(daemon, lambda c: c["hatches"]["broken.slow"].update(enabled=False))
        assert daemon.run("broken.slow").json()["code"] == "hatch-disabled"


def test_what_cannot_be_taken_over_changes_nothing(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        good = daemon.file.read_text()

        def also(config, **change):
            """A change that could be taken over, beside one that cannot."""
            config["access"]["tokens"].clear()
            config.update(change)

        cases = [
            (lambda c: also(c, grace="1s", graze="1s"), ["/graze: unknown", 'did you mean \\"grace\\"']),
            (lambda c: also(c, listen=c["listen"][:1]), ["/listen/1/tcp", "takes a restart"]),
            (lambda c: also(c, runs={"directory": "/var/lib/elsewhere"}), ["/runs/directory", "takes a restart"]),
            (lambda c: also(c, users={"front": "nobody"}), ["/users", "takes a restart"]),
            (lambda c: also(c, plugins={"stack": {"enabled": False}}), ["/plugins/stack/enabled", "takes a restart"]),
            (lambda c: also(c, plugins={"stack": {"colour": "red"}}), ["/plugins/stack"]),
        ]
        for change, told in cases:
            lines = reload(daemon, change, takes=False)
            for text in told:
                assert text in lines, lines
            assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 200
            daemon.file.write_text(good)
        # Not only the log says so: the audit, for admins the index, and the metrics do.
        wait_until("the audit to have it", lambda: len(daemon.get("/v1/audit?event=reload&outcome=failed").json()["audit"]) == len(cases))
        line = daemon.get("/v1/audit?event=reload").json()["audit"][0]
        assert line["outcome"] == "failed" and "/plugins/stack" in line["detail"], line
        told = daemon.get("/", headers={"Accept": "application/json"}).json()["reload"]
        assert told["outcome"] == "failed" and told["detail"] == line["detail"], told
        assert "not taken over" in daemon.get("/").text
        health = daemon.ctl("health")
        assert health.returncode == 0 and f"the configuration was not taken over at {told['time']}: " in health.stdout, health
        assert "reload" not in daemon.get("/", headers={"Accept": "application/json", **bearer(TOKEN)}, tcp=True).json()
        assert "\nhatchd_config_last_reload_successful 0\n" in daemon.get("/metrics").text
        daemon.file.write_text("{")
        daemon.popen.send_signal(signal.SIGHUP)
        wait_until("the log to name line and column", lambda: "ends too early" in daemon.log())
        daemon.file.write_text(good)
        daemon.file.chmod(0o666)
        daemon.popen.send_signal(signal.SIGHUP)
        wait_until("the log to name the file", lambda: "can be changed by others" in daemon.log())
        assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 200
        daemon.file.chmod(0o600)
        reload(daemon, also)
        assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 401
        assert daemon.get("/", headers={"Accept": "application/json"}).json()["reload"]["outcome"] == "succeeded"
        assert "\nhatchd_config_last_reload_successful 1\n" in daemon.get("/metrics").text


def test_a_front_that_is_restarted_has_the_configuration_that_was_taken_over(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        reload(daemon, lambda c: c["access"]["tokens"].clear())
        front = daemon.process("hatchd: front")
        subprocess.run(["kill", "-KILL", str(front.pid)], check=True)
        wait_until("a new front", lambda: (p := daemon.process("hatchd: front")) and p.pid != front.pid)
        daemon.wait_ready()
        assert daemon.get("/v1/hatches", headers=bearer(TOKEN), tcp=True).status == 401


def test_many_reloads_in_a_row_leave_one_daemon(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        for _ in range(20):
            daemon.popen.send_signal(signal.SIGHUP)
            assert daemon.get("/readyz").status == 200
        reload(daemon)
        assert daemon.run("stack.dump").status == 200
        assert len([p for p in daemon.processes() if p.title == "hatchd: front"]) == 1


def test_hatchd_without_a_configuration_still_ends_with_its_terminal(demo):
    program = subprocess.Popen([HATCHD, "--pid", str(demo.pid)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert b"hatchd serves" in program.stdout.readline()
    program.send_signal(signal.SIGHUP)
    assert program.wait(20) == 0
    program.stdout.close()


def test_a_plugin_has_its_new_settings_and_profiles(demo):
    plugin = {"path": str(BUILD / "fixtures" / "probe.so"), "colour": "red", "profiles": {"default": {"url": "one"}}}
    with Daemon(demo.pid, {"plugins": {"probe": plugin}}) as daemon:
        assert daemon.run("probe.echo").json()["result"]["configuration"]["colour"] == "red"

        def change(config):
            config["plugins"]["probe"]["colour"] = "green"
            config["plugins"]["probe"]["profiles"] = {"default": {"url": "two"}, "more": {"url": "three"}}

        reload(daemon, change)
        result = daemon.run("probe.echo").json()["result"]
        assert result["configuration"]["colour"] == "green" and result["profile"]["url"] == "two"
        assert daemon.run("probe.echo", {"profile": "more"}).json()["result"]["profile"]["url"] == "three"


def test_a_profile_becomes_one_of_another_kind(demo):
    """queue.ping is served by the plugin of the new kind from then on; a kind that nobody serves changes nothing."""
    with Redis() as redis, Daemon(demo.pid, {"plugins": {"queue": {"profiles": {"shop": {"kind": "redis", "url": redis.url()}}}}}) as daemon:
        assert daemon.run("queue.ping").json()["result"]["kind"] == "redis"

        def kinds():
            listed = daemon.get("/v1/hatches").json()["hatches"]
            return {one["kind"]: one["enabled"] for one in listed if one.get("id") == "queue.ping"}

        assert kinds() == {"celery": False, "rabbitmq": False, "redis": True}
        profiles = {"shop": {"kind": "celery", "broker": redis.url(), "timeout": "1s"}}
        reload(daemon, lambda config: config["plugins"]["queue"].update(profiles=profiles))
        assert kinds() == {"celery": True, "rabbitmq": False, "redis": False}
        answer = daemon.run("queue.ping").json()
        assert answer["code"] == "run-failed" and "worker" in answer["detail"], answer  # there is none
        lines = reload(daemon, lambda config: config["plugins"]["queue"].update(profiles={"shop": {"kind": "kafka"}}), takes=False)
        assert "/plugins/queue/profiles/shop/kind" in lines and "kafka" in lines
        assert kinds() == {"celery": True, "rabbitmq": False, "redis": False}


def test_less_history_is_kept_at_once(demo):
    with Daemon(demo.pid) as daemon:
        runs = [daemon.run("stack.dump").json()["id"] for _ in range(3)]
        reload(daemon, lambda c: c["runs"].update(keep={"count": 1}))
        wait_until("the oldest to go", lambda: [r["id"] for r in daemon.get("/v1/runs").json()["runs"]] == runs[2:])
