"""A client that keeps its connection, as a monitor does, and sends each request in one piece, as curl does."""

import http.client
import json


class Kept:
    def __init__(self, daemon):
        self.connection = daemon.connection()
        self.connection.connect()

    def run(self, hatch, params):
        """The body of a run's answer; ends the program where it is not 200."""
        body = json.dumps(params)
        head = f"POST /v1/hatches/{hatch} HTTP/1.1\r\nHost: hatchd\r\nContent-Type: application/json\r\n"
        self.connection.sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = http.client.HTTPResponse(self.connection.sock, method="POST")
        answer.begin()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{hatch} answered {answer.status}: {text.decode(errors='replace')[-500:]}")
        return text
