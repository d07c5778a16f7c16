"""hatchd exec and hatchd check: without a daemon."""

import json
import os
import subprocess

import pytest

from harness import AM_ROOT, BUILD, HATCHD, assert_untouched
from test_app import ended, folder_for, started


def hatchd(*arguments, **options):
    return subprocess.run(
        [HATCHD, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, **options
    )


def fixture(name):
    path = BUILD / "fixtures" / f"{name}.so"
    assert path.exists(), f"{path} was not built"
    return path


def test_a_stack_dump(demo):
    ran = hatchd("exec", "stack.dump", "--pid", demo.pid)
    assert ran.returncode == 0 and "demo::Shop::accept_orders" in ran.stdout, ran
    for name in ("acceptor", "worker-4", "pricer"):
        assert name in ran.stdout
    assert_untouched(demo.pid)


def test_as_json_with_parameters(demo):
    ran = hatchd("exec", "stack.dump", "--pid", demo.pid, "pause=all", "--json")
    assert ran.returncode == 0, ran
    answer = json.loads(ran.stdout)
    result = answer.get("result", answer)
    assert len(result["threads"]) == 10 and result["verdict"]


def test_wrong_parameters(demo):
    ran = hatchd("exec", "stack.dump", "--pid", demo.pid, "pause=sideways")
    assert ran.returncode == 2 and "/pause" in ran.stderr + ran.stdout, ran
    unknown = hatchd("exec", "no.such", "--pid", demo.pid)
    assert unknown.returncode == 2 and "no.such" in unknown.stderr, unknown


def test_a_process_that_is_not_there():
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    ran = hatchd("exec", "stack.dump", "--pid", gone.pid)
    assert ran.returncode == 1 and "target-gone" in ran.stderr, ran


@pytest.mark.skipif(not AM_ROOT, reason="takes two users")
def test_rights_that_are_missing_are_named(demo):
    ran = hatchd("exec", "stack.dump", "--pid", demo.pid, user=65533, group=65533, extra_groups=[])
    assert ran.returncode == 3, ran  # not allowed
    assert "rights-missing" in ran.stderr and "missing: " in ran.stderr, ran
    assert f"remedy: sudo hatchd exec stack.dump --pid {demo.pid}; as a service: " in ran.stderr, ran


def test_check_a_configuration(tmp_path):
    good = tmp_path / "good.json"
    good.write_text('{"targets": {"web": {"pid": 1}}, /* comments */ "listen": [{"unix": "/run/x.sock"},]}')
    ran = hatchd("check", "--config", good)
    assert ran.returncode == 0, ran
    bad = tmp_path / "bad.json"
    bad.write_text('{\n  "targets": {"web": {"pdi": 1}},\n  "lisen": [],\n  "runs": {"keep": {"count": "many"}}\n}\n')
    ran = hatchd("check", "--config", bad)
    shown = ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert "bad.json:3" in shown and "/lisen" in shown and "listen" in shown, shown
    assert "bad.json:4" in shown and "/runs/keep/count" in shown, "all problems at once: " + shown


def test_check_the_shipped_plugin():
    ran = hatchd("check", "--plugin", BUILD / "plugins" / "stack.so")
    assert ran.returncode == 0 and "stack.dump" in ran.stdout, ran


def test_a_daemon_does_not_start_with_a_wrong_configuration(tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"lisen": []}')
    ran = hatchd("serve", "--config", bad)
    assert ran.returncode == 78 and "/lisen" in ran.stderr, ran
    assert hatchd("serve", "--config", tmp_path / "none.json").returncode != 0


def test_help_and_version():
    helped = hatchd("--help")
    assert helped.returncode == 0 and "serve" in helped.stdout and "exec" in helped.stdout
    assert hatchd("--no-such-option").returncode != 0
    assert os.access(HATCHD, os.X_OK)


def test_hatches_inside_the_app_are_run_without_a_daemon():
    with folder_for("exec") as folder:
        program = started(folder, "documented.py")
        try:
            asked = hatchd("exec", "app.rebuild-index", "--pid", program.pid, "shop=7", "limit=7", "--json")
            assert asked.returncode == 0, asked
            answer = json.loads(asked.stdout)
            assert answer.get("result", answer)["answer"] == {"shop": "7", "limit": 7}
            wrong = hatchd("exec", "app.rebuild-index", "--pid", program.pid, "shop=7", "limit=many")
            assert wrong.returncode == 1 and "/limit: must be an integer" in wrong.stdout + wrong.stderr
            unknown = hatchd("exec", "app.nothing", "--pid", program.pid)
            assert unknown.returncode == 1 and "has the hatch nothing" in unknown.stdout + unknown.stderr
            assert "app.rebuild-index" in hatchd("exec", "app.hatches", "--pid", program.pid).stdout
        finally:
            ended(program)
