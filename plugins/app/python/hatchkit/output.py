# SPDX-License-Identifier: MIT
"""What a hatch prints belongs to its caller. Only its own thread's text is taken: sys.stdout is the whole process's, so
while hatches run a stand-in looks who writes, and passes everybody else's on."""
import sys
import threading

from .values import clean

MAX_OUTPUT = 256 * 1024

_lock = threading.Lock()
_users = 0
_local = threading.local()


class _StandIn:
    def __init__(self, real):
        self._real = real

    def write(self, text):
        taken = getattr(_local, "taken", None)
        if taken is None:
            return self._real.write(text)
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        taken.add(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def __getattr__(self, name):
        return getattr(self._real, name)

    def __iter__(self):
        return iter(self._real)


class Taken:
    """Use it in the thread that prints: `with Taken() as taken: …`, then taken.text()."""

    def __init__(self):
        self._pieces, self._size, self.truncated = [], 0, False

    def add(self, text):
        room = MAX_OUTPUT - self._size
        if len(text) > room:
            self.truncated = True
            text = text[:room]
        self._size += len(text)
        if text:
            self._pieces.append(text)

    def text(self):
        return clean("".join(list(self._pieces)), MAX_OUTPUT)

    def __enter__(self):
        global _users
        with _lock:
            _users += 1
            if sys.stdout is not None and not isinstance(sys.stdout, _StandIn):
                sys.stdout = _StandIn(sys.stdout)
        _local.taken = self
        return self

    def __exit__(self, *_):
        global _users
        _local.taken = None
        with _lock:
            _users -= 1
            # Somebody else may have put another one there meanwhile: that one stays.
            if _users == 0 and isinstance(sys.stdout, _StandIn):
                sys.stdout = sys.stdout._real


def reset_in_child():
    """After a fork no hatch runs here."""
    global _lock, _users, _local
    _lock, _users, _local = threading.Lock(), 0, threading.local()
    if isinstance(sys.stdout, _StandIn):
        sys.stdout = sys.stdout._real
