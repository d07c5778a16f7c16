"""Secrets are masked before they are stored, logged or sent."""

import json
import subprocess

import pytest

from harness import HATCHD, Daemon, Demo
from test_broken_plugins import path_of

# In pieces, so that no scanner takes this file for a leak.
TOKEN = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.fixture(scope="module")
def masking():
    config = {
        "mask": {"keys": ["room"], "allow": ["csrf_token"]},
        "plugins": {"probe": {"path": path_of("probe"), "profiles": {"default": {"password": "hunter2-secret"}}}},
    }
    with Demo() as demo, Daemon(demo.pid, config) as daemon:
        yield daemon


def test_parameters_reason_and_result(masking):
    answer = masking.run("probe.echo", {"text": f"redis://:pw1@h room=12b csrf_token=abc {TOKEN}", "reason": "password=pw2"})
    assert answer.status == 200, answer
    run = answer.json()
    for text in (answer.text, masking.get("/v1/runs/" + run["id"]).text, masking.get("/v1/runs").text):
        assert TOKEN not in text and "pw1" not in text and "12b" not in text and "pw2" not in text
        assert "hunter2" not in text
    assert run["params"]["text"] == "redis://:******@h room=****** csrf_token=abc ******"
    assert run["reason"] == "password=******"
    text = masking.ask("POST", "/probe.echo", {"text": "token=pw3"}).text
    assert "pw3" not in text


def test_problems(masking):
    answer = masking.run("probe.echo", {"text": "x", "password=pw4": "1"})
    assert answer.status == 422 and "pw4" not in answer.text


def test_config_show(tmp_path):
    file = tmp_path / "hatchd.json"
    file.write_text(json.dumps({"mask": {"keys": ["room"]}, "plugins": {"mail": {"room": "12b", "url": "smtp://u:pw5@h"}}}))
    shown = subprocess.run([HATCHD, "config", "show", "--config", file], capture_output=True, text=True, check=True).stdout
    assert "12b" not in shown and "pw5" not in shown and "smtp://u:******@h" in shown


@pytest.mark.parametrize("mask", [{"keys": ["*"]}, {"patterns": ["a*b"]}, {"key": ["x"]}])
def test_rules_that_would_mask_everything_are_refused(tmp_path, mask):
    file = tmp_path / "hatchd.json"
    file.write_text(json.dumps({"mask": mask}))
    check = subprocess.run([HATCHD, "check", "--config", file], capture_output=True, text=True)
    assert check.returncode == 1 and "/mask/" in check.stderr
