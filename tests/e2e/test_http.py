"""HTTP as DESIGN promises it: the catalogue, problems and their statuses, limits, identities, connections."""

import contextlib
import json
import re
import socket
import threading
import time

import pytest

from harness import TOKEN, Daemon, token_entry

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def raw(daemon, request, seconds=20, tcp=False):
    """Sends bytes as they are; what came back until the other side closed (or fell silent for a second after an answer)."""
    family = socket.AF_INET if tcp else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(("127.0.0.1", daemon.port) if tcp else daemon.socket)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):  # closed before all was sent; what it said before that is there
            connection.sendall(request)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
                connection.settimeout(1)
        return answer


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def check_problem(answer, status, code):
    assert answer.status == status, answer
    assert answer.type == "application/problem+json", answer
    problem = answer.json()
    assert problem["code"] == code and problem["status"] == status
    assert problem["type"] and problem["title"] and problem["detail"] and problem["instance"]
    return problem


# ---- what there is ----------------------------------------------------------------------------------------------------


def test_catalogue(daemon):
    answer = daemon.get("/v1/hatches")
    assert answer.status == 200 and answer.type == "application/json"
    assert answer.text.startswith("{\n") and answer.text.endswith("}\n"), "pretty-printed"
    [dump] = [h for h in answer.json()["hatches"] if h["id"] == "stack.dump"]
    assert dump["effect"] == "observe" and dump["enabled"] is True and dump["title"]
    assert dump["targets"] == ["demo"]
    text = daemon.get("/v1/hatches", headers={"Accept": "text/plain"})
    assert text.type == "text/plain" and "stack.dump" in text.text


def test_describe_and_the_curl_line_that_works(daemon, tmp_path):
    import subprocess

    described = daemon.get("/v1/hatches/stack.dump").json()
    schema = described["parameters"]
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert set(schema["properties"]["pause"]["enum"]) == {"least", "all", "none"}
    assert described["max_pause_us"] > 0 and described["documentation"] and described["needs"]["capabilities"]
    ran = subprocess.run(["sh", "-c", described["curl"] + " -sS"], capture_output=True, text=True, timeout=60, check=True)
    assert "demo::Shop::work" in ran.stdout, ran
    assert daemon.get("/v1/hatches/stack.dump?target=demo").status == 200
    check_problem(daemon.get("/v1/hatches/stack.dump?target=other"), 404, "target-unknown")


def test_get_describes_and_never_runs(daemon):
    before = daemon.get("/v1/runs").json()["runs"]
    for path in ("/v1/hatches/stack.dump", "/stack.dump", "/stack.dump?target=demo"):
        assert daemon.get(path).status == 200
    assert daemon.get("/v1/runs").json()["runs"] == before


def test_index_health_and_robots(daemon):
    assert "stack.dump" in daemon.get("/").text
    for path in ("/livez", "/readyz", "/healthz"):
        for tcp in (False, True):
            assert daemon.get(path, tcp=tcp).status == 200, "health is open"
    assert "demo" not in daemon.get("/readyz").text
    robots = daemon.get("/robots.txt", tcp=True)
    assert robots.status == 200 and "Disallow: /" in robots.text


def test_every_response_is_labelled(daemon):
    for path in ("/livez", "/v1/hatches", "/nothing", "/v1/hatches/no.such"):
        answer = daemon.get(path)
        assert answer.headers["x-robots-tag"] == "noindex", path
        assert int(answer.headers["content-length"]) == len(answer.body), path


def test_head_has_the_headers_of_get_and_no_body(daemon):
    for path in ("/livez", "/v1/hatches", "/v1/hatches/stack.dump"):
        head, get = daemon.ask("HEAD", path), daemon.get(path)
        assert head.status == get.status == 200 and head.body == b""
        assert head.headers["content-type"] == get.headers["content-type"]
        assert head.headers["content-length"] == get.headers["content-length"]


# ---- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_and_its_record(daemon):
    answer = daemon.run("stack.dump", {"reason": "a test"})
    run = answer.json()
    assert ULID.fullmatch(run["id"])
    record = daemon.get(answer.headers["location"]).json()
    assert record == run
    assert run["reason"] == "a test" and run["params"]["pause"] == "least", "defaults are filled in"
    assert run["caller"]["via"] == "unix" and run["caller"]["uid"] is not None
    for time_ in ("created", "started", "finished"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", run[time_])
    assert run["error"] is None and run["artifacts"] == [] and run["paused_us"] >= 0 and run["duration_ms"] >= 0


@pytest.mark.parametrize("way", ["json", "form", "query", "short door"])
def test_parameters_by_json_form_and_query(daemon, way):
    accept = {"Accept": "application/json"}
    if way == "json":
        answer = daemon.run("stack.dump", {"target": "demo", "pause": "all"})
    elif way == "form":
        answer = daemon.form("/v1/hatches/stack.dump", {"target": "demo", "pause": "all"})
    elif way == "query":
        answer = daemon.ask("POST", "/v1/hatches/stack.dump?target=demo&pause=all")
    else:
        answer = daemon.form("/stack.dump", {"target": "demo", "pause": "all"}, accept)
    assert answer.status == 200, answer
    assert answer.json()["params"]["pause"] == "all"


def test_answers_in_the_asked_form(daemon):
    for headers, path, kind in (
        ({"Accept": "text/plain"}, "/v1/hatches/stack.dump", "text/plain"),
        ({}, "/v1/hatches/stack.dump?format=text", "text/plain"),
        ({"Accept": "text/plain;q=0.1, application/json"}, "/v1/hatches/stack.dump", "application/json"),
        ({"Accept": "application/json"}, "/stack.dump", "application/json"),
    ):
        answer = daemon.ask("POST", path, headers=headers)
        assert answer.status == 200 and answer.type == kind, (headers, path, answer)


def test_history(daemon):
    ids = [daemon.run("stack.dump").json()["id"] for _ in range(3)]
    listed = [run["id"] for run in daemon.get("/v1/runs?limit=3").json()["runs"]]
    assert listed == ids[::-1], "newest first"
    older = [run["id"] for run in daemon.get(f"/v1/runs?limit=1&after={ids[2]}").json()["runs"]]
    assert older == [ids[1]]
    assert daemon.get("/v1/runs?hatch=no.such").json()["runs"] == []
    assert daemon.get("/v1/runs?state=crashed").json()["runs"] == []
    check_problem(daemon.get("/v1/runs?state=sideways"), 422, "params-invalid")


def test_respond_async(daemon):
    answer = daemon.run("stack.dump", headers={"Prefer": "respond-async"})
    assert answer.status == 202 and ULID.fullmatch(answer.headers["location"].rsplit("/", 1)[1])
    run = daemon.ended(answer.headers["location"].rsplit("/", 1)[1])
    assert run["state"] == "succeeded"
    check_problem(daemon.ask("DELETE", answer.headers["location"]), 409, "run-ended")


def test_many_at_once(daemon):
    statuses = []

    def one():
        statuses.append(daemon.run("stack.dump").status)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    assert daemon.get("/livez").status == 200 and time.monotonic() - began < 10, "nothing blocks the event loop"
    for thread in threads:
        thread.join()
    assert len(statuses) == 12 and set(statuses) <= {200, 429} and 200 in statuses


# ---- problems ---------------------------------------------------------------------------------------------------------


def test_unknown_things(daemon):
    for path, code in (
        ("/v1/hatches/no.such", "hatch-unknown"),
        ("/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV", "run-unknown"),
        ("/v1/targets/nobody", "target-unknown"),
    ):
        check_problem(daemon.get(path), 404, code)
    check_problem(daemon.run("no.such"), 404, "hatch-unknown")
    check_problem(daemon.run("stack.dump", {"target": "nobody"}), 404, "target-unknown")
    assert daemon.get("/nothing/at/all").status == 404
    # An encoded slash is refused before anybody could take it for a path.
    assert daemon.get("/v1/runs/..%2f..%2fetc").status == 400


def test_every_wrong_parameter_is_listed(daemon):
    answer = daemon.run("stack.dump", {"pause": "sideways", "puase": "all"})
    problem = check_problem(answer, 422, "params-invalid")
    pointers = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert {"/pause", "/puase"} <= set(pointers)
    assert "pause" in pointers["/puase"], "the nearest name"


def test_problems_as_three_lines(daemon):
    answer = daemon.ask("POST", "/stack.dump?pause=sideways")
    assert answer.status == 422 and answer.type == "text/plain"
    assert answer.text.startswith("refused (params-invalid): "), answer
    assert "/pause" in answer.text


def test_a_name_given_twice(daemon):
    for answer in (
        daemon.ask("POST", "/v1/hatches/stack.dump?pause=all&pause=none"),
        daemon.ask("POST", "/v1/hatches/stack.dump", "pause=all&pause=none", {"Content-Type": "application/x-www-form-urlencoded"}),
        daemon.ask("POST", "/v1/hatches/stack.dump", '{"pause": "all", "pause": "none"}', {"Content-Type": "application/json"}),
        daemon.ask("POST", "/v1/hatches/stack.dump?pause=all", '{"pause": "none"}', {"Content-Type": "application/json"}),
    ):
        check_problem(answer, 422, "params-invalid")


def test_bodies_that_do_not_match_their_type(daemon):
    as_json = {"Content-Type": "application/json"}
    as_form = {"Content-Type": "application/x-www-form-urlencoded"}
    form_body = '{"pause": "all"}'
    remedy = check_problem(daemon.ask("POST", "/v1/hatches/stack.dump", form_body, as_form), 415, "unsupported-media")["remedy"]
    assert "-H" in remedy or "--json" in remedy
    remedy = check_problem(daemon.ask("POST", "/v1/hatches/stack.dump", "pause=all", as_json), 415, "unsupported-media")["remedy"]
    assert remedy
    check_problem(daemon.ask("POST", "/v1/hatches/stack.dump", "<a/>", {"Content-Type": "text/xml"}), 415, "unsupported-media")
    check_problem(daemon.ask("POST", "/v1/hatches/stack.dump", '{"pause": ', as_json), 400, "malformed")
    deep = "[" * 1000 + "]" * 1000
    assert daemon.ask("POST", "/v1/hatches/stack.dump", '{"pause": %s}' % deep, as_json).status in (400, 422)


def test_methods_that_do_not_fit(daemon):
    for method, path, allowed in (
        ("PUT", "/v1/hatches/stack.dump", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/targets", {"GET", "HEAD"}),
        ("PATCH", "/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV", {"GET", "HEAD", "DELETE"}),
        ("DELETE", "/livez", {"GET", "HEAD"}),
    ):
        answer = daemon.ask(method, path, headers={"Accept": "application/json"})
        check_problem(answer, 405, "method-not-allowed")
        assert {m.strip() for m in answer.headers["allow"].split(",")} - {"OPTIONS"} == allowed, path


# ---- who may ----------------------------------------------------------------------------------------------------------


def test_tcp_takes_a_token(daemon):
    problem = check_problem(daemon.get("/v1/hatches", tcp=True), 401, "unauthenticated")
    assert "token" in problem["remedy"] and daemon.socket in problem["remedy"] + problem["detail"]
    answer = daemon.get("/v1/hatches", tcp=True, headers={"Authorization": "Bearer hatchd_wrong"})
    check_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = daemon.run("stack.dump", headers=BEARER, tcp=True)
    assert answer.status == 200 and answer.json()["caller"]["via"] == "token" and answer.json()["caller"]["name"] == "e2e"


def test_a_wrong_token_is_no_fallback_to_the_socket(daemon):
    check_problem(daemon.get("/v1/hatches", headers={"Authorization": "Bearer hatchd_wrong"}), 401, "unauthenticated")


def test_roles_and_scopes(demo):
    tokens = {
        "viewer": token_entry("hatchd_viewer", "viewer", "viewer"),
        "metrics": token_entry("hatchd_metrics", "metrics", "metrics"),
        "elsewhere": token_entry("hatchd_elsewhere", "admin", "elsewhere", targets=["other"]),
        "expired": token_entry("hatchd_expired", "admin", "expired", expires="2020-01-01"),
    }
    config = {"access": {"tokens": list(tokens.values())}, "hatches": {"stack.dump": {"effect": "act"}}}
    with Daemon(demo.pid, config, tcp=False) as daemon:

        def as_(name):
            return {"Authorization": f"Bearer hatchd_{name}"}

        problem = check_problem(daemon.run("stack.dump", headers=as_("viewer")), 403, "role-missing")
        assert "viewer" in problem["detail"] and "operator" in problem["detail"]
        assert daemon.get("/v1/hatches", headers=as_("viewer")).status == 200
        check_problem(daemon.get("/v1/hatches", headers=as_("metrics")), 403, "role-missing")
        check_problem(daemon.run("stack.dump", {"target": "demo"}, headers=as_("elsewhere")), 404, "target-unknown")
        check_problem(daemon.get("/v1/hatches", headers=as_("expired")), 401, "unauthenticated")
        run = daemon.run("stack.dump").json()["id"]
        check_problem(daemon.get(f"/v1/runs/{run}", headers=as_("viewer")), 403, "role-missing")
        check_problem(daemon.get(f"/v1/runs/{run}", headers=as_("elsewhere")), 404, "run-unknown")


def test_a_hatch_that_is_off_names_the_key(demo):
    with Daemon(demo.pid, {"hatches": {"stack.dump": {"enabled": False}}}) as daemon:
        problem = check_problem(daemon.run("stack.dump"), 403, "hatch-disabled")
        assert "stack.dump" in problem["detail"] + problem["remedy"] and "enabled" in problem["detail"] + problem["remedy"]
        [dump] = [h for h in daemon.get("/v1/hatches").json()["hatches"] if h["id"] == "stack.dump"]
        assert dump["enabled"] is False and dump["why_not"]


def test_host_names_on_tcp(daemon):
    """DNS rebinding needs a name; addresses and loopback names pass."""
    for host, status in (("127.0.0.1", 200), ("localhost:99", 200), ("[::1]", 200), ("evil.example.org", 421)):
        answer = daemon.get("/v1/hatches", tcp=True, headers={"Host": host, **BEARER})
        assert answer.status == status, (host, answer)
    assert daemon.get("/livez", tcp=True, headers={"Host": "evil.example.org"}).status == 200
    assert daemon.get("/v1/hatches", headers={"Host": "evil.example.org"}).status == 200, "not on a Unix socket"


# ---- connections ------------------------------------------------------------------------------------------------------


def test_keep_alive(daemon):
    connection = daemon.connection()
    connection.connect()
    held = connection.sock
    for path in ("/livez", "/v1/hatches", "/nothing", "/livez"):
        connection.request("GET", path)
        connection.getresponse().read()
        assert connection.sock is held, "still the same connection"
    connection.close()


def test_pipelined_requests_are_answered_in_order(daemon):
    one = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answer = raw(daemon, one * 3 + last)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"200", b"404"]


def test_a_body_that_is_too_large(daemon):
    head = b"POST /v1/hatches/stack.dump HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    assert status_of(raw(daemon, head % (1 << 40))) == 413, "by what it announces"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    chunked = head.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
    assert status_of(raw(daemon, chunked + chunk * 64)) in (413, None), "by what comes"
    assert daemon.get("/livez").status == 200


def test_a_header_that_is_too_large(daemon):
    answer = raw(daemon, b"GET /livez HTTP/1.1\r\nHost: h\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n")
    assert status_of(answer) in (431, None)
    assert daemon.get("/livez").status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /livez HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
def test_malformed_requests(daemon, request_):
    status = status_of(raw(daemon, request_))
    assert status is None or 400 <= status < 500, status
    assert daemon.get("/livez").status == 200


def test_a_slow_client_does_not_hold_up_others(daemon):
    slow = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(30)]
    for connection in slow:
        connection.connect(daemon.socket)
        connection.sendall(b"GET /livez HT")
    assert daemon.run("stack.dump").status == 200
    for connection in slow:
        connection.close()


def test_what_is_under_way_is_answered_at_the_end(demo):
    """Graceful close: an idle connection is closed, a run under way is cancelled and still answered."""
    with Daemon(demo.pid) as daemon:
        idle = daemon.connection()
        idle.request("GET", "/livez")
        idle.getresponse().read()
        daemon.stop()
        idle.sock.settimeout(5)
        assert idle.sock.recv(1) == b""


def test_json_bodies_are_utf8(daemon):
    answer = daemon.run("stack.dump", {"reason": "käse \u202e \x07"})
    assert answer.status == 200 and json.loads(answer.body.decode("utf-8"))["reason"].startswith("käse")
    assert b"\x07" not in answer.body
