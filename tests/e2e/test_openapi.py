"""GET /openapi.json: valid by somebody else's validator, complete, and true of what the daemon answers."""

import json
import subprocess

import pytest
from jsonschema import Draft202012Validator, FormatChecker, RefResolver

import npm
from harness import TOKEN, Daemon, token_entry
from test_broken_plugins import path_of

VALIDATOR = {"@seriousme/openapi-schema-validator": "2.11.0"}
SCRIPT = """
import { Validator } from "@seriousme/openapi-schema-validator";
import { readFileSync } from "node:fs";
const validator = new Validator();
const result = await validator.validate(JSON.parse(readFileSync(process.argv[2], "utf8")));
console.log(JSON.stringify({ valid: result.valid, version: validator.version, errors: result.errors ?? [] }));
"""


@pytest.fixture(scope="module")
def validate():
    """A function from a document to what the validator of npm says of it."""
    folder = npm.packages("npm", VALIDATOR)
    (folder / "validate.mjs").write_text(SCRIPT)

    def ask(document):
        (folder / "document.json").write_text(json.dumps(document))
        said = subprocess.run(
            ["node", "validate.mjs", "document.json"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert said.returncode == 0, said
        return json.loads(said.stdout)

    return ask


@pytest.fixture(scope="module")
def described(demo):
    config = {
        "plugins": {
            "probe": {"path": path_of("probe"), "profiles": {"default": {"password": "hunter2-secret"}}},
            "measures": {"path": path_of("measures"), "profiles": {"default": {"kind": "fixture"}, "bulk": {"kind": "fixture"}}},
        },
        "access": {
            "tokens": [
                token_entry(TOKEN, "viewer"),
                token_entry("hatchd_narrow-0123456789", "viewer", "narrow", hatches=["stack.*"]),
                token_entry("hatchd_scraper-0123456789", "metrics", "scraper"),
            ]
        },
    }
    with Daemon(demo.pid, config, tcp=True) as daemon:
        daemon.document = daemon.get("/openapi.json").json()
        yield daemon


def test_it_is_valid(described, validate):
    said = validate(described.document)
    assert said == {"valid": True, "version": "3.1", "errors": []}


def test_the_validator_finds_faults(described, validate):
    broken = json.loads(json.dumps(described.document))
    del broken["info"]["version"]
    assert not validate(broken)["valid"]
    broken = json.loads(json.dumps(described.document))
    broken["paths"]["/v1/runs"]["get"]["responses"]["200"] = {"content": {}}
    assert not validate(broken)["valid"]


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for below in value.values():
            yield from references(below)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)


def test_every_reference_leads_somewhere(described):
    for reference in set(references(described.document)):
        at = described.document
        for step in reference.removeprefix("#/").split("/"):
            assert step in at, reference
            at = at[step]


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_every_route_is_there_and_described(described):
    document = described.document
    assert document["openapi"] == "3.1.0"
    for path in ("/v1/hatches", "/v1/targets", "/v1/runs", "/v1/runs/{id}", "/v1/runs/{id}/events", "/metrics", "/livez", "/{group.verb}"):
        assert "get" in document["paths"][path], path
    assert "delete" in document["paths"]["/v1/runs/{id}"]
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for path, method, operation in operations(document):
        assert operation["summary"] and operation["summary"] != path, f"{method} {path} has no line in api/openapi_parts.cpp"
        captures = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert captures == {p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"}
        if path in ("/livez", "/healthz", "/readyz"):
            assert operation["security"] == []
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_hatch_is_a_path_with_its_parameters(described):
    document = described.document
    hatches = described.get("/v1/hatches").json()["hatches"]
    for hatch in hatches:
        post = document["paths"][f"/v1/hatches/{hatch['id']}"]["post"]
        kinds = [other for other in hatches if other["id"] == hatch["id"]]
        assert post["summary"] in [kind["title"] for kind in kinds] and post["x-effect"] == hatch["effect"]
        content = post["requestBody"]["content"]
        assert set(content) == {"application/json", "application/x-www-form-urlencoded"}
        choice = content["application/json"]["schema"]
        names = [one["$ref"].rsplit("/", 1)[1] for one in choice.get("anyOf", [choice])]
        assert len(names) == len(kinds)
        name = f"parameters-of-{hatch['id']}" + (f"-{hatch['kind']}" if hatch.get("kind") else "")
        assert name in names
        schema = document["components"]["schemas"][name]
        Draft202012Validator.check_schema(schema)
        for parameter, own in hatch["parameters"].get("properties", {}).items():
            if parameter != "profile":
                assert schema["properties"][parameter] == own
        assert ("target" in schema["properties"]) == (hatch["target"] != "none")
        assert schema["properties"]["format"]["enum"] == hatch["renderings"]
    profiles = document["components"]["schemas"]["parameters-of-queue.ping-fixture"]["properties"]["profile"]
    assert sorted(profiles["enum"]) == ["bulk", "default"]


def test_the_codes_of_problems_are_closed(described):
    codes = described.document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert {"hatch-unknown", "role-missing", "rights-missing", "cooldown", "no-space"} <= set(codes)
    post = described.document["paths"]["/v1/hatches/stack.dump"]["post"]["responses"]
    assert {"200", "202", "401", "403", "404", "422", "424", "429", "503", "507"} <= set(post)
    assert "`run-failed`" in described.document["components"]["responses"]["problem-424"]["description"]


def check(described, answer, path, method="get"):
    """The body of an answer against what the document says of it."""
    responses = described.document["paths"][path][method]["responses"]
    response = responses[str(answer.status)]
    if "$ref" in response:
        response = described.document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    schema = response["content"][answer.type]["schema"]
    resolver = RefResolver.from_schema(described.document)
    Draft202012Validator(schema, resolver=resolver, format_checker=FormatChecker()).validate(answer.json())


def test_answers_are_as_described(described):
    check(described, described.get("/v1/hatches"), "/v1/hatches")
    check(described, described.get("/v1/hatches/stack.dump"), "/v1/hatches/{id}")
    check(described, described.get("/v1/targets"), "/v1/targets")
    check(described, described.get("/v1/targets/demo"), "/v1/targets/{name}")
    ran = described.run("stack.dump")
    assert ran.status == 200
    check(described, ran, "/v1/hatches/stack.dump", "post")
    check(described, described.run("stack.dump", {"dry_run": True}), "/v1/hatches/stack.dump", "post")
    check(described, described.get(f"/v1/runs/{ran.json()['id']}"), "/v1/runs/{id}")
    check(described, described.get("/v1/runs"), "/v1/runs")
    check(described, described.get("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV"), "/v1/runs/{id}")
    check(described, described.get("/v1/runs?limit=none"), "/v1/runs")
    check(described, described.run("stack.dump", {"pause": "sideways"}), "/v1/hatches/stack.dump", "post")
    check(described, described.run("no.such"), "/v1/hatches/{id}", "post")
    check(described, described.ask("GET", "/v1/hatches", tcp=True), "/v1/hatches")


def test_parameters_are_as_described(described):
    """What the schema admits the daemon takes, and the other way round."""
    validator = Draft202012Validator(described.document["components"]["schemas"]["parameters-of-stack.dump"])
    for given, fits in (
        ({}, True),
        ({"pause": "all", "target": "demo", "format": "json", "wait": 30, "reason": "test"}, True),
        ({"pause": "sideways"}, False),
        ({"puase": "all"}, False),
        ({"format": "smoke-signals"}, False),
        ({"processes": "some"}, False),
    ):
        assert validator.is_valid(given) == fits, given
        assert (described.run("stack.dump", given).status == 200) == fits, given


def test_it_shows_what_the_caller_may_see(described):
    narrow = described.get("/openapi.json", headers={"Authorization": "Bearer hatchd_narrow-0123456789"}, tcp=True)
    assert "/v1/hatches/stack.dump" in narrow.json()["paths"] and "probe.echo" not in narrow.text
    assert described.get("/openapi.json", tcp=True).status == 401
    scraper = {"Authorization": "Bearer hatchd_scraper-0123456789"}
    assert described.get("/openapi.json", headers=scraper, tcp=True).status == 403
    assert "hunter2-secret" not in json.dumps(described.document)
