"""What nobody should send: each gets the right status and a clear problem, is never run, costs no memory that stays, and
the daemon goes on answering. The wire's own corpus (line ends, lengths, chunks) is tests/unit/http/smuggling_test.cpp; here
the same strangers meet the whole daemon.
"""

import json
import random
import re
import socket
import urllib.parse

import pytest

from harness import SANITIZED, TOKEN, Daemon, wait_until
from test_broken_plugins import path_of
from test_http import raw, status_of

BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MISLEADING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")  # text that is not in the order in which it is shown


@pytest.fixture(scope="module")
def daemon(demo):
    probe = {"path": path_of("probe"), "colour": "green", "profiles": {"default": {"password": "x"}}}
    with Daemon(demo.pid, {"plugins": {"probe": probe}}, tcp=True) as one:
        yield one


def memory_of(daemon):
    """KiB of the front that are its own."""
    return int(daemon.process("hatchd: front").status()["RssAnon"].split()[0])


@pytest.fixture(autouse=True)
def unharmed(daemon):
    """Whatever a test sends: the same front answers afterwards, no larger than before, and nothing ran."""
    assert daemon.run("probe.echo").status == 200  # what is needed once, such as the plugin's process, is there
    front, before = daemon.process("hatchd: front"), memory_of(daemon)
    newest = daemon.get("/v1/runs?limit=1").json()["runs"]
    yield
    assert daemon.get("/livez").status == 200
    assert front.alive(), daemon.log()
    assert daemon.get("/v1/runs?limit=1").json()["runs"] == newest
    if not SANITIZED:  # which keeps what is freed
        wait_until("the front's memory to be given back", lambda: memory_of(daemon) < before + 48 * 1024, 10)


def check_problem(answer, statuses, codes=None):
    assert answer.status in statuses, answer
    assert answer.type == "application/problem+json", answer
    problem = answer.json()
    assert problem["status"] == answer.status and problem["detail"] and problem["title"], problem
    assert codes is None or problem["code"] in codes, problem
    return problem


# ---- requests that are none -------------------------------------------------------------------------------------------

POST = b"POST /v1/hatches/probe.echo HTTP/1.1\r\nHost: localhost\r\n" + BEARER + b"Content-Type: application/json\r\n"
EVIL = b"POST /v1/hatches/probe.echo HTTP/1.1\r\nHost: localhost\r\n" + BEARER + b"Content-Length: 0\r\n\r\n"

REQUESTS = {
    "CL.TE": (POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" + EVIL, 400),
    "TE.CL": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + EVIL + b"\r\n0\r\n\r\n", 400),
    "TE.TE, one disguised": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + EVIL, 400),
    "TE by a tab": (POST + b"Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n" + EVIL, 400),
    "TE with a space before the colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + EVIL, 400),
    "two equal lengths": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + EVIL, 400),
    "two unequal lengths": (POST + b"Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}" + EVIL, 400),
    "a list of lengths": (POST + b"Content-Length: 2, 2\r\n\r\n{}" + EVIL, 400),
    "a signed length": (POST + b"Content-Length: +2\r\n\r\n{}" + EVIL, 400),
    "a chunk that is too large for 64 bits": (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + EVIL, 400),
    "a chunk of another length": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n" + EVIL, 400),
    "a bare line feed in a chunk's head": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" + EVIL, 400),
    "a bare line feed in the head": (POST + b"X: y\nContent-Length: 0\r\n\r\n" + EVIL, 400),
    "a bare carriage return": (POST + b"X: y\rContent-Length: 0\r\n\r\n" + EVIL, 400),
    "a folded header": (POST + b"X: y\r\n Content-Length: 0\r\n\r\n" + EVIL, 400),
    "a NUL in a header": (POST + b"X: \0\r\nContent-Length: 0\r\n\r\n" + EVIL, 400),
    "a NUL in the address": (b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n" + EVIL, 400),
    "HTTP/0.9": (b"GET /livez\r\n" + EVIL, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EVIL, 400),
    "another host in the address": (b"GET http://evil.example.org/ HTTP/1.1\r\nHost: localhost\r\n\r\n" + EVIL, 400),
    "CONNECT": (b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n" + EVIL, 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n" + EVIL, 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n" + EVIL, 400),
    "a long address": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "a long header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    "a long body": (POST + b"Content-Length: 300000\r\n\r\n" + b" " * 300_000, 413),
    "a long body in chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b" " * 0x8000 + b"\r\n", None),
    "chunks with long extensions": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 9000 + b"\r\n \r\n") * 300, 413),
    "an encoded slash": (b"GET /v1/runs/..%2f..%2fetc HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "too many parameters": (b"GET /?" + b"a&" * 300 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_requests_that_are_none(daemon, name, tcp):
    request, status = REQUESTS[name]
    if status is None:  # without an end: the limit strikes first
        request += b"8000\r\n" * 0 + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 12
        status = 413
    answer = raw(daemon, request, tcp=tcp)
    assert status_of(answer) == status, answer
    assert len(re.findall(rb"HTTP/1\.[01] \d", answer)) == 1, f"one answer, and nothing behind it is a request: {answer}"
    assert b"malformed" in answer or b"too-large" in answer, answer


@pytest.mark.parametrize("end", ["head", "body", "chunk"])
def test_requests_cut_off(daemon, end):
    body = b'{"text": "a longer text than most"}'
    whole = {
        "head": EVIL,
        "body": POST + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n" + body[:5] + b"\r\n%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\n\r\n",
    }[end]
    for size in range(0, len(whole) - 1, 7):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(daemon.socket)
            connection.sendall(whole[:size])


def test_slow_heads_and_bodies_hold_up_nobody(daemon):
    """Hundreds of them from one address: whoever speaks gets in, and the memory is bounded."""
    slow, before = [], memory_of(daemon)
    try:
        for i in range(700):
            connection = socket.create_connection(("127.0.0.1", daemon.port), timeout=10)
            slow.append(connection)
            try:
                connection.sendall(POST + b"Content-Length: 20000\r\n\r\n" + b" " * 10_000 if i % 2 else b"GET /livez HT")
            except OSError:
                pass  # made room already
            if i % 100 == 99:
                assert daemon.get("/v1/hatches", tcp=True, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
                assert daemon.get("/livez").status == 200
        if not SANITIZED:
            assert memory_of(daemon) - before < 64 * 1024
    finally:
        for connection in slow:
            connection.close()


def test_noise(daemon):
    """Valid requests with bytes changed, from a fixed seed."""
    chance = random.Random(20260101)
    seeds = [POST + b"Content-Length: 2\r\n\r\n[]", EVIL.replace(b"probe.echo", b"no.such"), REQUESTS["a chunk of another length"][0]]
    for i in range(300):
        noise = bytearray(chance.choice(seeds).replace(BEARER, b""))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(noise))
            noise[at : at + chance.randrange(2)] = bytes([chance.randrange(256)]) * chance.randrange(3)
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            if i % 10 == 0:
                answer = connection.recv(65536)
                assert answer == b"" or answer.startswith(b"HTTP/1."), (noise, answer)


# ---- bodies ----------------------------------------------------------------------------------------------------------

AS_JSON = {"Content-Type": "application/json"}

BODIES = {
    "arrays 100,000 deep": ('{"words": ' + "[" * 100_000 + "]" * 100_000 + "}", (400, 422)),
    "objects 20,000 deep": ('{"a":' * 20_000 + "1" + "}" * 20_000, (400, 422)),
    "arrays that do not end": ("[" * 200_000, (400, 422)),
    "33 deep": ('{"words": ' + "[" * 33 + "]" * 33 + "}", (400, 422)),
    "many members": ("{" + ",".join(f'"m{i}":1' for i in range(20_000)) + "}", (422,)),
    "many values": ('{"numbers": [' + "1," * 100_000 + "1]}", (422,)),
    "a long number": ('{"number": ' + "9" * 100_000 + "}", (400, 422)),
    "a number beyond doubles": ('{"ratio": 1e999999}', (400, 422)),
    "a long name": ('{"' + "n" * 200_000 + '": 1}', (422,)),
    "a name twice": ('{"text": "a", "text": "b"}', (422,)),
    "a name twice by an escape": ('{"text": "a", "te\\u0078t": "b"}', (422,)),
    "half a surrogate pair": ('{"text": "\\ud800"}', (400,)),
    "bytes that are not UTF-8": (b'{"text": "\xc3\x28"}', (400,)),
    "an overlong slash": (b'{"text": "\xc0\xaf"}', (400,)),
    "a raw line break in a string": ('{"text": "a\nb"}', (400,)),
    "a NUL behind the value": ('{"text": "a"}\0', (400,)),
    "two values": ("{} {}", (400,)),
    "a comment": ('{"text": "a" /* b */}', (400,)),
    "no object": ("[1]", (422,)),
    "null": ("null", (422,)),
    "a word": ("nonsense", (400,)),
    "nothing but a brace": ("{", (400,)),
    "NaN": ('{"ratio": NaN}', (400,)),
    "a byte-order mark": (b"\xef\xbb\xbf{}", (400,)),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_no_parameters(daemon, name):
    body, statuses = BODIES[name]
    answer = daemon.ask("POST", "/v1/hatches/probe.echo", body if isinstance(body, bytes) else body.encode(), AS_JSON)
    problem = check_problem(answer, statuses, ("malformed", "params-invalid"))
    if problem["code"] == "params-invalid":
        assert problem["errors"], problem
    assert len(answer.body) < 64 * 1024, "a problem does not give the body back"


WRONG = {
    "null": [None],
    "boolean": [True],
    "integer": [7, -(2**63), 2**63],
    "number": [0.25, 1e300],
    "string": ["\u202egnp.exe", "a" * 200_000, "", "\x1b[2J", "'; DROP TABLE runs; --"],
    "array": [[], [[[]]], [None], [{"a": 1}]],
    "object": [{}, {"$ref": "#/"}, {"__proto__": {"admin": True}}],
}


def types_of(schema):
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else list(types)
    return {"integer", "number"} | set(types) if "number" in types else set(types)


def wrong_values(schema):
    """Values that the schema cannot mean: of every other type, and beyond each bound that it states."""
    types = types_of(schema)
    if types:
        for kind, values in WRONG.items():
            if kind not in types:
                yield from values
    if "enum" in schema:
        yield from ("\0", "no such value", " ")
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "maxLength" in schema:
        yield "a" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield ""
    if "maxItems" in schema:
        yield [None] * (schema["maxItems"] + 1)
    if isinstance(schema.get("items"), dict):
        for value in wrong_values(schema["items"]):
            yield [value]


def test_every_wrong_type_for_every_parameter(daemon):
    """From the catalogue's own schemas, for every hatch there is. A dry run, so that what is right would do nothing."""
    asked = 0
    hatches = daemon.get("/v1/hatches").json()["hatches"]
    assert {"stack.dump", "probe.echo"} <= {hatch["id"] for hatch in hatches}
    for hatch in hatches:
        for name, schema in hatch["parameters"].get("properties", {}).items():
            for value in wrong_values(schema):
                answer = daemon.run(hatch["id"], {"dry_run": True, name: value})
                if answer.status == 403:
                    break  # a hatch that is not enabled judges no parameters
                assert answer.status == 422, (hatch["id"], name, value, answer)
                problem = check_problem(answer, (422,), ("params-invalid", "target-required"))
                asked += 1
                if problem["code"] == "params-invalid":
                    assert any(e["pointer"].startswith("/" + name) for e in problem["errors"]), (hatch["id"], name, value, problem)
                assert len(answer.body) < 16 * 1024, answer
                assert not CONTROL.search(answer.text), answer.text
                if schema.get("secret") and isinstance(value, str) and len(value) > 6:
                    assert value not in answer.text
    assert asked > 100


@pytest.mark.parametrize("name", ["target", "format", "reason", "processes", "profile", "dry_run", "wait"])
def test_reserved_names_of_a_wrong_type(daemon, name):
    for value in (None, [], {}, [[1]], {"a": 1}):
        problem = check_problem(daemon.run("probe.echo", {"dry_run": True, name: value}), (422,), ("params-invalid",))
        assert problem["errors"][0]["pointer"] == "/" + name


# ---- names -----------------------------------------------------------------------------------------------------------

NAMES = [
    "..",
    "../../etc/passwd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "\\..\\..\\windows",
    ".",
    " ",
    "\x1b]0;owned\x07\x1b[31m",
    "\x9b31m",
    "a\nb: c",
    "a\r\nSet-Cookie: x=1",
    "\u202egpj.exe",
    "\u2066\u2069\u200b",
    "\ufeff",
    "%2e%2e%2f",
    "%00",
    "${HOME}",
    "$(id)",
    "`id`",
    "{msg}",
    "<script>alert(1)</script>",
    "' OR '1'='1",
    "a" * 8000,
    "ä" * 3000,
    "\U0001f6aa",
    "con.aux",
    "-rf",
    "*",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
    "01arz3ndektsv4rrffq69g5fav",
    "9" * 26,
]
RAW_NAMES = ["%00", "%c0%af", "%c0%ae%c0%ae", "%ed%a0%80", "%f4%90%80%80", "%ff", "%e2%28%a1", "%", "%zz", "a%0d%0aX:%20y"]


def check_refused(answer, statuses=(400, 404, 405, 409, 422, 431)):
    assert answer.status in statuses, answer
    assert not CONTROL.search(answer.text), answer.text
    assert answer.type != "text/plain" or not MISLEADING.search(answer.text), answer.text
    assert "set-cookie" not in answer.headers and "x" not in answer.headers
    assert len(answer.body) < 16 * 1024


@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
def test_hostile_names_in_the_path(daemon, accept):
    run = daemon.get("/v1/runs?limit=1").json()["runs"][0]["id"]
    headers = {"Accept": accept}
    for name in [urllib.parse.quote(name, safe="") for name in NAMES] + RAW_NAMES:
        for path in (f"/v1/hatches/{name}", f"/v1/targets/{name}", f"/v1/runs/{name}", f"/v1/runs/{name}/events",
                     f"/v1/runs/{run}/artifacts/{name}", f"/v1/runs/{name}/artifacts/x", f"/x.{name}"):  # fmt: skip
            check_refused(daemon.get(path, headers=headers))
        check_refused(daemon.ask("POST", f"/v1/hatches/{name}", headers=headers))
        check_refused(daemon.ask("DELETE", f"/v1/runs/{name}", headers=headers))
    assert not CONTROL.search(daemon.log()) and not MISLEADING.search(daemon.log()), "the log goes to terminals"


@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
def test_hostile_names_in_parameters(daemon, accept):
    headers = {"Accept": accept}
    for name in NAMES:
        quoted = urllib.parse.quote(name, safe="")
        for path in (f"/v1/hatches?target={quoted}", f"/v1/hatches/stack.dump?target={quoted}", f"/v1/runs?after={quoted}",
                     f"/v1/runs?state={quoted}", f"/v1/runs?limit={quoted}"):  # fmt: skip
            if not name.strip() and "target" in path:
                continue
            check_refused(daemon.get(path, headers=headers))
        for member in ("target", "processes", "profile", "format"):
            check_refused(daemon.run("stack.dump", {"dry_run": True, member: name}, headers))
            check_refused(daemon.form("/stack.dump", {"dry_run": "true", member: name}, headers))
        check_refused(daemon.run("stack.dump", {"dry_run": True, name: 1}, headers))
    assert not CONTROL.search(daemon.log()) and not MISLEADING.search(daemon.log()), "the log goes to terminals"


def test_names_with_a_nul_are_told_apart_from_their_beginning(daemon):
    for member in ("target", "processes", "profile", "format"):
        check_refused(daemon.run("stack.dump", {"dry_run": True, member: "demo\0x"}))
        check_refused(daemon.ask("POST", f"/v1/hatches/stack.dump?dry_run=true&{member}=demo%00"))
    assert json.loads(daemon.get("/v1/targets/demo").body)["name"] == "demo"
