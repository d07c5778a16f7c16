# SPDX-License-Identifier: MIT
"""As much of HTTP/1.1 (RFC 9112) as the protocol needs: one request a connection, bounded in size and time."""
import json
import time

from .problem import STATUS, Problem

MAX_HEAD = 16 * 1024
MAX_BODY = 1024 * 1024
READ_LIMIT = 10.0  # seconds for a whole request
WRITE_LIMIT = 10.0

REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
           413: "Content Too Large", 422: "Unprocessable Content", 500: "Internal Server Error",
           503: "Service Unavailable", 504: "Gateway Timeout"}  # fmt: skip
assert set(STATUS.values()) <= set(REASONS)


class Request:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body


def _receive(connection, deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise Problem("malformed", "the request did not arrive within %d s" % READ_LIMIT)
    connection.settimeout(left)
    piece = connection.recv(65536)
    if not piece:
        raise EOFError
    return piece


def read_request(connection):
    """A Request; Problem, EOFError or OSError when there is none."""
    deadline = time.monotonic() + READ_LIMIT
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > MAX_HEAD:
            raise Problem("too-large", "the head of the request is larger than %d bytes" % MAX_HEAD)
        data += _receive(connection, deadline)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise Problem("malformed", "the request line is not that of HTTP/1.1")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Problem("malformed", "a header is malformed")
        name = name.lower()
        if name == "content-length" and name in headers:
            raise Problem("malformed", "Content-Length twice")
        headers[name] = value.strip()
    if "transfer-encoding" in headers:
        raise Problem("malformed", "send the body with Content-Length, not Transfer-Encoding")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise Problem("malformed", "Content-Length is not a number")
    if len(length) > 9 or int(length) > MAX_BODY:
        raise Problem("too-large", "the body is larger than %d bytes" % MAX_BODY)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    pieces, got = [body], len(body)
    while got < int(length):
        pieces.append(_receive(connection, deadline))
        got += len(pieces[-1])
    return Request(words[0], words[1].split("?", 1)[0], headers, b"".join(pieces)[: int(length)])


def drain(connection):
    """Reads what the caller still sends, for a moment: closing a socket with unread bytes takes the answer with it."""
    connection.settimeout(1.0)
    for _ in range(32):
        if not connection.recv(65536):
            return


def response(status, body, headers=()):
    text = json.dumps(body, allow_nan=False).encode("ascii")
    kind = "application/json" if status < 400 else "application/problem+json"
    head = ["HTTP/1.1 %d %s" % (status, REASONS.get(status, "Error")), "Content-Type: " + kind,
            "Content-Length: %d" % len(text), "Connection: close"]  # fmt: skip
    head.extend("%s: %s" % header for header in headers)
    return "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + text
