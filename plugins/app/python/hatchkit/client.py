# SPDX-License-Identifier: MIT
"""Asks the sockets of running processes."""
import http.client
import json
import socket

MAX_ANSWER = 8 * 1024 * 1024


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("hatch", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, method, target, params=None, timeout=60.0):
    """(status, JSON) of one request; OSError or ValueError when there is none."""
    connection = _Connection(path, timeout)
    try:
        body = None if params is None else json.dumps(params)
        connection.request(method, target, body, {"Content-Type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        text = answer.read(MAX_ANSWER + 1)
        if len(text) > MAX_ANSWER:
            raise ValueError("the answer is larger than %d bytes" % MAX_ANSWER)
        return answer.status, json.loads(text)
    except http.client.HTTPException as error:
        raise ValueError("the answer is not HTTP: %s" % type(error).__name__) from error
    finally:
        connection.close()
