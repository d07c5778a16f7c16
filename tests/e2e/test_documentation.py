"""Documentation is part of the door: every hatch of every plugin, recipe and app says what it does, what it takes, how it is
called, what it touches and who may; and the example that it shows works as it stands."""

import json
import re
import shlex
import subprocess

import pytest

from harness import Daemon
from test_app import ended, folder_for, listed_with, started

EFFECTS, ROLES = ("observe", "act", "disrupt"), ("viewer", "operator", "admin")
UNSAID = "does not say what this is"
LEAST = {"observe": "viewer", "act": "operator", "disrupt": "admin"}

# One of everything: profiles of every kind (nobody answers there), recipes of every kind with and without words of their own.
PLUGINS = {
    "mail": {"profiles": {"default": {"url": "smtp://127.0.0.1:1", "from": "hatch@example.org", "to": ["a@example.org"]}}},
    "queue": {
        "profiles": {
            "celery": {"kind": "celery", "broker": "redis://127.0.0.1:1/0"},
            "cache": {"kind": "redis", "url": "redis://127.0.0.1:1/0"},
            "bus": {"kind": "rabbitmq", "url": "amqp://127.0.0.1:1/"},
        }
    },
}
RECIPES = {
    "web.described": {
        "kind": "http", "title": "Raise an error", "description": "On purpose.", "params": {"msg": {"type": "string", "description": "What it says"}},
        "request": {"url": "http://127.0.0.1:1/raise", "form": {"msg": "{msg}"}},
    },
    "web.bare": {"kind": "http", "params": {"id": {"type": "string"}}, "request": {"method": "GET", "url": "http://u:hunter2@127.0.0.1:1/items/{id}?key=hunter2"}},
    "web.signal": {"kind": "signal", "target": "app", "signal": "USR1"},
    "web.command": {"kind": "command", "params": {"n": {"type": "integer"}}, "argv": ["/bin/echo", "{n}", "hunter2"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def everything():
    with folder_for("documented") as folder:
        program = started(folder, "documented.py")
        try:
            with Daemon({"app": {"pid": program.pid}}, {"plugins": PLUGINS, "hatches": RECIPES}) as daemon:
                listed_with(daemon, "rebuild-index")
                yield daemon
        finally:
            ended(program)


def lacking(daemon, entry):
    """What the description of one hatch lacks."""
    shown = daemon.get(entry["href"]).json()
    same_id = shown if "hatches" not in shown else next(h for h in shown["hatches"] if h.get("kind") == entry.get("kind"))
    missing = []

    def need(what, there):
        if not there:
            missing.append(what)

    need("title", same_id["title"] and same_id["title"] != same_id["id"])
    need("documentation", len(same_id["documentation"]) >= 20 or entry["id"] == "web.described")
    need("effect", same_id["effect"] in EFFECTS)
    need("role", same_id["role"] in ROLES and ROLES.index(same_id["role"]) >= ROLES.index(LEAST[same_id["effect"]]))
    need("parameters", same_id["parameters"]["type"] == "object")
    for name, schema in same_id["parameters"].get("properties", {}).items():
        need(f"type of {name}", "type" in schema or "enum" in schema)
        need(f"description of {name}", len(schema.get("description", "")) >= 5)
        need(f"description of {name} by its author", UNSAID not in schema.get("description", "") or entry["id"] == "app.unsaid")
    need("example", f"/{entry['id']}" in same_id["curl"])
    return missing


def untold(daemon, entry):
    """What `hatchctl describe` does not show of it."""
    told = daemon.ctl("describe", entry["id"])
    assert told.returncode == 0, told
    words = re.sub(r"\s+", " ", told.stdout)
    missing = [what for what in (entry["title"], entry["documentation"]) if re.sub(r"\s+", " ", what).strip() not in words]
    for name, schema in entry["parameters"].get("properties", {}).items():
        missing += [what for what in (name, schema["description"]) if re.sub(r"\s+", " ", what).strip() not in words]
    if not re.search(rf"effect +{entry['effect']} \(role {entry['role']}\)", told.stdout):
        missing.append("effect and role")
    if not re.search(rf"hatchctl .*run {re.escape(entry['id'])}", told.stdout):
        missing.append("example")
    return missing


def test_every_hatch_says_what_it_does_what_it_takes_and_who_may(everything):
    hatches = everything.get("/v1/hatches").json()["hatches"]
    ids = {hatch["id"] for hatch in hatches}
    groups = {"stack.dump", "stack.signal", "settings.dump", "mail.send", "mail.check", "queue.ping", "app.hatches", "app.raise-error", "app.threads"}
    assert groups | set(RECIPES) <= ids
    assert {h["kind"] for h in hatches if h["id"] == "queue.ping"} == {"celery", "redis", "rabbitmq"}
    assert {h["id"]: missing for h in hatches if (missing := lacking(everything, h))} == {}
    assert {h["id"]: missing for h in hatches if (missing := untold(everything, h))} == {}
    assert "hunter2" not in everything.get("/v1/hatches").text


def test_every_example_works_as_it_stands(everything):
    """As a dry run: the words are understood, the target is found, the parameters are taken."""
    for hatch in everything.get("/v1/hatches").json()["hatches"]:
        if not hatch["enabled"]:
            continue
        line = shlex.split(hatch["curl"])
        assert line[0] == "curl"
        answer = subprocess.run([*line, "-sS", "-d", "dry_run=true", "-H", "Accept: application/json"], capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 0, (line, answer)
        body = json.loads(answer.stdout)
        assert "ready" in body, (line, body)


def test_what_an_app_does_not_document_is_told(everything):
    shown = everything.get("/v1/hatches/app.unsaid").json()
    assert "docstring" in shown["documentation"]
    assert UNSAID in shown["parameters"]["properties"]["much"]["description"]
