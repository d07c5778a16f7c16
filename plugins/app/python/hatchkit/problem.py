# SPDX-License-Identifier: MIT
"""What a call answers when it does not succeed: problem details (RFC 9457) with a closed list of codes."""

STATUS = {
    "malformed": 400,
    "forbidden": 403,
    "hatch-unknown": 404,
    "method": 405,
    "too-large": 413,
    "params-invalid": 422,
    "hatch-failed": 500,  # the hatch raised
    "busy": 503,
    "hatch-timeout": 504,  # it is still running: a thread cannot be ended
}


class Problem(Exception):
    def __init__(self, code, detail, **members):
        super().__init__(detail)
        self.code, self.detail, self.members = code, detail, members

    @property
    def status(self):
        return STATUS.get(self.code, 500)

    def body(self):
        return dict({"status": self.status, "code": self.code, "detail": self.detail}, **self.members)
