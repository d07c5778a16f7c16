# SPDX-License-Identifier: MIT
"""python -m hatchkit.conformance SOCKET: does a server keep the protocol of docs/hatchkit.md? In any language.

Everything is tried against a running process and leaves no traces in it, but for the hatches `echo` (a string parameter
`text`, gives it back) and `fail` (fails): they are run where they are there, and what they show is skipped elsewhere.
"""
import argparse
import json
import os
import re
import socket
import stat
import struct
import sys
import threading
import time

from .__main__ import printable
from .registry import EFFECTS, NAME

PATIENCE = 10.0
CATALOGUE_MS = 200  # how long hatchd waits for GET /hatches


class Failed(AssertionError):
    pass


class Skipped(Exception):
    pass


def need(condition, text, *values):
    if not condition:
        raise Failed(text % values if values else text)


class Answer:
    def __init__(self, data):
        head, separator, body = data.partition(b"\r\n\r\n")
        need(separator, "no HTTP answer but %r", data[:200])
        lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.[01] ([1-5][0-9][0-9])( .*)?", lines[0])
        need(found, "the status line is %r", lines[0])
        self.status = int(found.group(1))
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            need(colon, "a header is %r", line)
            self.headers[name.lower()] = value.strip()
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            body = _unchunked(body)
        elif "content-length" in self.headers:
            length = int(self.headers["content-length"])
            need(len(body) >= length, "the body has %d bytes, Content-Length says %d", len(body), length)
            body = body[:length]
        self.body = body

    def json(self):
        kind = self.headers.get("content-type", "").split(";")[0].strip()
        need(kind in ("application/json", "application/problem+json"), "Content-Type is %r", kind)
        try:
            return json.loads(self.body.decode("utf-8"))
        except ValueError as error:
            raise Failed("the body is not JSON: %s" % error) from None


def _unchunked(data):
    whole = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            return whole
        whole, data = whole + data[:length], data[length + 2 :]


class Conformance:
    def __init__(self, path, echo="echo", fail="fail"):
        self.path, self.echo, self.fail = path, echo, fail
        self.hatches = {}

    # ---- asking

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        connection.connect(self.path)
        return connection

    def raw(self, request):
        """All that the server sends to these bytes."""
        connection = self.connect()
        try:
            try:
                connection.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered and closed before it had read all
            data = b""
            while True:
                try:
                    piece = connection.recv(65536)
                except ConnectionResetError:
                    break
                except socket.timeout:
                    raise Failed("no end of the answer within %d s; it began with %r" % (PATIENCE, data[:100])) from None
                if not piece:
                    break
                data += piece
            return data
        finally:
            connection.close()

    def ask(self, method, target, body=None, headers=()):
        lines = ["%s %s HTTP/1.1" % (method, target), "Host: hatch", "Connection: close"] + list(headers)
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            lines += ["Content-Type: application/json", "Content-Length: %d" % len(data)]
        return Answer(self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data))

    def problem(self, answer, status, code):
        need(answer.status == status, "the status is %d, not %d", answer.status, status)
        body = answer.json()
        need(isinstance(body, dict) and body.get("code") == code, "code is not %s in %r", code, answer.body[:300])
        need(isinstance(body.get("detail"), str) and body["detail"], "no detail in %r", answer.body[:300])
        return body

    def named(self, name):
        if name not in self.hatches:
            raise Skipped("it has no hatch %s" % name)
        return name

    # ---- checks, in order

    def check_socket_is_named_after_the_process(self):
        info = os.lstat(self.path)
        need(stat.S_ISSOCK(info.st_mode), "it is not a socket")
        found = re.fullmatch(r"([1-9][0-9]*)\.sock", os.path.basename(self.path))
        need(found, "its name is not <pid>.sock")
        if hasattr(socket, "SO_PEERCRED"):
            connection = self.connect()
            pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            connection.close()
            if pid == 0:
                raise Skipped("the server is in another pid namespace")
            status = "/proc/%d/status" % pid
            numbers = [str(pid)]
            try:
                with open(status) as lines:
                    numbers += [w for line in lines if line.startswith("NSpid:") for w in line.split()[1:]]
            except OSError:
                pass
            need(found.group(1) in numbers, "process %d listens, not %s", pid, found.group(1))

    def check_folder_is_nobody_elses(self):
        folder = os.path.dirname(os.path.abspath(self.path))
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        need(not mode & 0o002, "everybody may write to its folder (mode %o)", mode)
        need(not (mode & 0o001 and os.lstat(self.path).st_mode & 0o002),
             "everybody may enter its folder (mode %o) and write to the socket", mode)  # fmt: skip

    def check_catalogue(self):
        answer = self.ask("GET", "/hatches")
        need(answer.status == 200, "GET /hatches answers %d", answer.status)
        body = answer.json()
        need(isinstance(body, dict) and body.get("protocol") == 1, "protocol is not 1")
        need(isinstance(body.get("process"), dict) and isinstance(body["process"].get("pid"), int), "process.pid is missing")
        need(isinstance(body.get("hatches"), list), "hatches is not a list")
        for hatch in body["hatches"]:
            need(isinstance(hatch, dict), "a hatch is not an object")
            name = hatch.get("name")
            need(isinstance(name, str) and NAME.fullmatch(name) and len(name) <= 60, "the name %r is none", name)
            for member in ("title", "documentation"):
                need(isinstance(hatch.get(member), str) and hatch[member], "%s: %s is missing", name, member)
            need("\n" not in hatch["title"], "%s: title has several lines", name)
            need(hatch.get("effect") in EFFECTS, "%s: effect is %r", name, hatch.get("effect"))
            schema = hatch.get("parameters")
            need(isinstance(schema, dict) and schema.get("type") == "object", "%s: parameters is no schema of an object", name)
            need(isinstance(schema.get("properties", {}), dict), "%s: properties is not an object", name)
            mark = hatch.get("mark")
            need(mark is None or mark in schema.get("properties", {}), "%s: mark names no parameter", name)
            need(name not in self.hatches, "%s is there twice", name)
            self.hatches[name] = hatch
        need(self.hatches, "there are no hatches")

    def check_catalogue_is_quick(self):
        best = min(self._timed_catalogue() for _ in range(5))
        need(best < CATALOGUE_MS, "the best of five took %.0f ms; hatchd waits %d ms", best, CATALOGUE_MS)

    def _timed_catalogue(self):
        begun = time.monotonic()
        self.ask("GET", "/hatches")
        return (time.monotonic() - begun) * 1000

    def check_unknown_hatch(self):
        self.problem(self.ask("POST", "/hatches/no-such-hatch", {}), 404, "hatch-unknown")

    def check_unknown_path(self):
        self.problem(self.ask("GET", "/no-such-path"), 404, "hatch-unknown")

    def check_nothing_runs_by_get(self):
        self.problem(self.ask("GET", "/hatches/" + next(iter(self.hatches))), 405, "method")

    def check_body_must_be_json(self):
        target = "/hatches/" + next(iter(self.hatches))
        for body in (b"{", b"[1]", b"\xff\xfe", b'"text"'):
            self.problem(self.ask("POST", target, body), 400, "malformed")

    def check_unknown_parameter(self):
        for name, hatch in self.hatches.items():
            if hatch["parameters"].get("additionalProperties") is False:
                body = self.problem(self.ask("POST", "/hatches/" + name, {"no_such_parameter": 1}), 422, "params-invalid")
                errors = body.get("errors")
                need(isinstance(errors, list) and errors, "errors[] is missing")
                need(all(isinstance(e, dict) and isinstance(e.get("pointer"), str) for e in errors), "errors[].pointer is missing")

    def check_missing_parameter(self):
        for name, hatch in self.hatches.items():
            if hatch["parameters"].get("required"):
                self.problem(self.ask("POST", "/hatches/" + name, {}), 422, "params-invalid")
                return
        raise Skipped("no hatch requires a parameter")

    def check_echo(self):
        name = self.named(self.echo)
        for text in ("", "plain", "Grüße, 世界 🚪", 'quo"te \\ \n\t\x01', "x" * 100000):
            answer = self.ask("POST", "/hatches/" + name, {"text": text})
            need(answer.status == 200, "%s answers %d", name, answer.status)
            body = answer.json()
            need(body.get("result") == text, "%r came back as %r", text[:50], repr(body.get("result"))[:80])

    def check_failure(self):
        self.problem(self.ask("POST", "/hatches/" + self.named(self.fail), {}), 500, "hatch-failed")

    def check_large_body(self):
        data = self.raw(b"POST /hatches/x HTTP/1.1\r\nHost: h\r\nContent-Length: 104857600\r\n\r\n" + b" " * 65536)
        if data:
            need(Answer(data).status in (404, 413), "100 MiB announced: %d, not 413", Answer(data).status)
        self.alive()

    def check_large_head(self):
        data = self.raw(b"GET /hatches HTTP/1.1\r\nX: " + b"x" * 200000 + b"\r\n\r\n")
        if data:
            need(Answer(data).status in (400, 413, 431), "a head of 200 KB: %d", Answer(data).status)
        self.alive()

    def check_garbage(self):
        for data in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /hatches HTTP/1.1\r\nno colon\r\n\r\n",
                     b"POST /hatches/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     b"POST /hatches/x HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n"):  # fmt: skip
            answered = self.raw(data)
            if answered:
                status = Answer(answered).status
                need(400 <= status < 500, "%r is answered by %d", data[:40], status)
        self.alive()

    def check_callers_who_leave(self):
        for data in (b"", b"GET /hat", b"POST /hatches/x HTTP/1.1\r\nContent-Length: 5\r\n\r\n{"):
            connection = self.connect()
            connection.sendall(data)
            connection.close()
        self.alive()

    def check_a_silent_caller_holds_up_nobody(self):
        silent = self.connect()
        try:
            silent.sendall(b"POST /hatches/x HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
            self.alive()
        finally:
            silent.close()

    def check_many_callers(self):
        answers = []

        def one():
            try:
                answers.append(self.ask("GET", "/hatches").status)
            except (OSError, Failed) as error:
                answers.append(error)

        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        need(answers == [200] * 8, "eight at once: %s", answers)

    def alive(self):
        need(self.ask("GET", "/hatches").status == 200, "it does not answer any more")

    def run(self):
        """[(name, "ok" | "failed" | "skipped", why)] of all checks."""
        found = []
        for name in [n for n in vars(type(self)) if n.startswith("check_")]:
            title = name[6:].replace("_", " ")
            try:
                getattr(self, name)()
                found.append((title, "ok", ""))
            except Skipped as why:
                found.append((title, "skipped", str(why)))
            except (Failed, OSError, ValueError, StopIteration) as error:
                found.append((title, "failed", str(error) or type(error).__name__))
        return found


def main():
    parser = argparse.ArgumentParser(prog="python -m hatchkit.conformance", description=__doc__.split("\n")[0])
    parser.add_argument("socket")
    parser.add_argument("--echo", default="echo", help="a hatch that gives its parameter text back")
    parser.add_argument("--fail", default="fail", help="a hatch that fails")
    options = parser.parse_args()
    failed = False
    for title, how, why in Conformance(options.socket, options.echo, options.fail).run():
        print(printable("%-8s %s%s" % (how, title, ": " + why if why else "")))
        failed = failed or how == "failed"
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
