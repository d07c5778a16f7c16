"""What a well-behaved plugin gets and gives: the probe fixture, and the template of the SDK."""

import concurrent.futures
import json
import pathlib
import subprocess
import time

import pytest

from harness import AM_ROOT, HATCHD, SANITIZED, Daemon, wait_until
from test_broken_plugins import path_of


@pytest.fixture(scope="module")
def probing(demo):
    config = {
        "plugins": {
            "probe": {
                "path": path_of("probe"),
                "colour": "green",
                "capabilities": ["kill"],
                "profiles": {"default": {"password": "hunter2-secret"}},
            },
            "slow": {"path": path_of("slow")},
        }
    }
    with Daemon(demo.pid, config) as daemon:
        yield daemon


def result_of(answer):
    assert answer.status == 200, answer
    return answer.json()["result"]


def with_password(demo, password):
    return Daemon(demo.pid, {"plugins": {"probe": {"path": path_of("probe"), "colour": "green", "profiles": {"default": {"password": password}}}}})


def test_the_next_process_does_without_what_was_given_back(demo):
    """A profile of this size is a mapping of its own, which every run unmaps at its birth."""
    with with_password(demo, "x" * 150_000) as daemon:
        for _ in range(5):
            assert daemon.run("probe.echo").status == 200
            spare = wait_until("the next run's process", lambda: daemon.process("hatchd: spare probe"))
            time.sleep(0.2)  # it has its memory in its hands by then, or died of it
            assert daemon.process("hatchd: spare probe").pid == spare.pid


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's allocator has no such heap")
def test_the_next_process_has_room(demo):
    with with_password(demo, "x") as daemon:
        assert daemon.run("probe.echo").status == 200
        spare = wait_until("the next run's process", lambda: daemon.process("hatchd: spare probe"))
        plugin = daemon.process("hatchd: plugin probe")
        wait_until("its heap to have grown", lambda: heap_of(spare.pid) > heap_of(plugin.pid) + 500 * 1024)


def heap_of(pid):
    """In bytes; what has grown since a fork may be a mapping of its own."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if line.endswith("[heap]")]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ranges)


def test_parameters_of_every_type(probing):
    given = {"text": "käse", "yes": True, "number": -7, "ratio": 1.5, "words": ["a", "b"], "numbers": [1, 2]}
    result = result_of(probing.run("probe.echo", given))
    assert {name: result[name] for name in given} == given
    form = {"text": "käse", "yes": "on", "number": "-7", "ratio": "1.5", "words": "a,b", "numbers": "1,2"}
    assert {n: v for n, v in result_of(probing.form("/v1/hatches/probe.echo", form)).items() if n in given} == given


def test_own_configuration_profile_and_caller(probing):
    result = result_of(probing.run("probe.echo"))
    assert result["configuration"] == {"colour": "green"}
    assert result["caller"]["via"] == "unix"


def test_secrets_are_masked(probing):
    answer = probing.run("probe.echo", {"secret": "tell-nobody-42"})
    run = answer.json()
    assert run["params"]["secret"] == "******"
    assert run["result"]["params"]["secret"] == "******"
    assert run["result"]["secret_size"] == len("tell-nobody-42"), "the hatch itself sees it"
    assert "tell-nobody-42" not in json.dumps(probing.record(run["id"])["params"])
    assert "tell-nobody-42" not in probing.log()
    assert "hunter2-secret" not in probing.log() + probing.get("/v1/hatches").text


def test_only_granted_rights_and_none_after_dropping(probing):
    result = result_of(probing.run("probe.rights"))
    before, after = result["before"], result["after"]
    assert int(before["CapPrm"], 16) == (1 << 5 if AM_ROOT else 0), "kill was granted, sys_ptrace was not"
    assert int(after["CapPrm"], 16) == int(after["CapEff"], 16) == 0
    assert before["NoNewPrivs"] == after["NoNewPrivs"] == "1"
    assert before["Seccomp"] == after["Seccomp"] == "2"


def test_failures(probing):
    for how, code, says in (
        ("plain", "run-failed", "it did not work"),
        ("rights", "rights-missing", "may not look into 1"),
        ("bug", "run-failed", "out of range"),
        ("partway", "run-failed", "refused by the server"),
    ):
        answer = probing.run("probe.fail", {"how": how})
        problem = answer.json()
        assert answer.status == 424 and problem["code"] == code and says in problem["detail"], answer
        if how == "rights":
            assert problem["missing"] == ["CAP_SYS_PTRACE"] and problem["remedy"] == "grant sys_ptrace to the plugin"
        if how == "partway":
            assert problem["run"]["result"]["stage"] == "rcpt", "as far as it was reached"


def test_preflight_answers_dry_runs(probing):
    ready = probing.run("probe.fail", {"dry_run": True})
    assert ready.status == 200 and ready.json()["ready"] is True, ready
    missing = probing.run("probe.fail", {"how": "rights", "dry_run": True})
    assert missing.status == 200 and missing.json()["ready"] is False, missing
    assert missing.json()["missing"] == ["a key"] and missing.json()["remedy"] == "bring the key"


def test_the_default_rendering(probing):
    text = probing.ask("POST", "/probe.steps").text
    for part in ("two of three worked", "connect", "127.0.0.1:25", "send", "try again"):
        assert part in text
    assert "\x1b" not in text


def test_artifacts_are_recorded(probing):
    run = probing.run("probe.artifact").json()
    assert {a["name"]: a["bytes"] for a in run["artifacts"]} == {"written.txt": 21, "adopted.txt": 8}
    for artifact in run["artifacts"]:
        assert artifact["type"] == "text/plain" and len(artifact["sha256"]) == 64
        assert artifact["href"] == f"/v1/runs/{run['id']}/artifacts/{artifact['name']}"


def test_a_large_result(probing):
    assert len(result_of(probing.run("probe.big", {"bytes": 4_000_000}))["filler"]) == 4_000_000
    answer = probing.run("probe.big", {"bytes": 100_000_000}, timeout=60)
    assert answer.status == 424 and answer.json()["code"] == "run-failed", answer.text[:500]


def test_a_rendering_by_name(probing):
    assert probing.ask("POST", "/v1/hatches/probe.big?format=folded&bytes=10").text == "a;b 1\n"


@pytest.mark.skipif(SANITIZED, reason="takes minutes with a sanitizer")
def test_large_results_that_many_read_at_once_have_a_bound(probing):
    """Each is read whole to be laid out: whoever comes when memory is full of them is told what to do."""
    made = probing.run("probe.big", {"bytes": 48_000_000}, timeout=60)
    assert made.status == 200, made.text[:500]
    path = made.headers["location"]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: probing.ask("GET", path, timeout=120), range(10)))
    assert {answer.status for answer in answers} == {200, 503}, [answer.text[:300] for answer in answers]
    for answer in answers:
        if answer.status == 503:
            problem = answer.json()
            assert problem["code"] == "overloaded" and int(answer.headers["retry-after"]) >= 1, problem
        else:
            assert len(result_of(answer)["filler"]) == 48_000_000
    assert any("being laid out" in answer.text[:1000] for answer in answers if answer.status == 503)
    again = probing.ask("GET", path, timeout=120)
    assert again.status == 200, again.text[:500]


def test_a_disrupt_hatch_is_off_until_it_is_named(probing):
    answer = probing.run("probe.console")
    assert answer.status == 403 and answer.json()["code"] == "hatch-disabled", answer


def test_nothing_leaks_into_a_run(probing):
    result = result_of(probing.run("probe.environment"))
    assert len(result["descriptors"]) < 20
    assert result["title"].startswith("hatchd: run 0")


# ---- the template -----------------------------------------------------------------------------------------------------


def test_exec_with_a_plugin():
    ran = subprocess.run(
        [HATCHD, "exec", "--plugin", path_of("probe"), "probe.echo", "text=hi there", "number=5", "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran
    answer = json.loads(ran.stdout)
    result = answer.get("result", answer)
    assert result["text"] == "hi there" and result["number"] == 5


def test_check_a_good_plugin():
    ran = subprocess.run([HATCHD, "check", "--plugin", path_of("probe")], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0 and "probe.echo" in ran.stdout, ran


def test_the_template_runs_in_a_daemon(demo):
    checked = subprocess.run([HATCHD, "check", "--plugin", path_of("mine")], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0 and "disk.space" in checked.stdout, checked
    with Daemon(demo.pid, {"plugins": {"mine": {"path": path_of("mine")}}}) as daemon:
        result = result_of(daemon.run("disk.space", {"path": "/", "least": 0}))
        assert 0 <= result["free_percent"] <= 100 and result["verdict"]
