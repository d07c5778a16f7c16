"""Would it work? A dry run answers and does nothing."""

import os

import pytest

from harness import AM_ROOT, Daemon, Demo, Program


def test_ready(daemon):
    before = daemon.get("/v1/runs").json()["runs"]
    for answer in (
        daemon.run("stack.dump", {"dry_run": True}),
        daemon.ask("POST", "/v1/hatches/stack.dump?dry_run=true"),
        daemon.ask("POST", "/v1/hatches/stack.dump?dry-run=true&target=demo"),
    ):
        assert answer.status == 200, answer
        assert answer.json()["ready"] is True and not answer.json().get("missing")
    after = daemon.get("/v1/runs").json()["runs"]
    assert [r["id"] for r in before] == [r["id"] for r in after], "a dry run is no run"


def test_wrong_parameters_are_refused_as_in_a_run(daemon):
    answer = daemon.run("stack.dump", {"dry_run": True, "pause": "sideways"})
    assert answer.status == 422 and answer.json()["code"] == "params-invalid"


def test_as_text(daemon):
    answer = daemon.ask("POST", "/stack.dump?dry_run=true")
    assert answer.status == 200 and answer.type == "text/plain" and "ready" in answer.text


def test_a_target_that_is_gone():
    with Demo() as shop, Daemon(shop.pid) as daemon:
        shop.stop()
        answer = daemon.run("stack.dump", {"dry_run": True})
        if answer.status == 200:
            assert answer.json()["ready"] is False
        else:
            assert answer.status == 409 and answer.json()["code"] == "target-gone"


@pytest.mark.skipif(not AM_ROOT, reason="a target of another user takes root")
def test_what_is_missing_is_named():
    """hatchd as an ordinary user beside a process of root: not ready, with the right and the remedy."""
    import shutil
    import tempfile

    from test_zero_config import Zero

    folder = tempfile.mkdtemp(prefix="e2e-")
    os.chown(folder, 65533, 65533)
    try:
        with Program("/bin/sleep", "100") as foreign, Zero(foreign.pid, folder, uid=65533) as zero:
            answer = zero.ask("POST", "/v1/hatches/stack.dump", {"dry_run": True})
            assert answer.status == 200, answer
            verdict = answer.json()
            assert verdict["ready"] is False and verdict["missing"] and verdict["remedy"]
            assert any("ptrace" in m.lower() for m in verdict["missing"]), verdict
            refused = zero.ask("POST", "/v1/hatches/stack.dump", {})
            assert refused.status == 424 and refused.json()["code"] == "rights-missing", refused
            assert refused.json()["missing"] and refused.json()["remedy"]
    finally:
        shutil.rmtree(folder)
