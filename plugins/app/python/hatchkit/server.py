# SPDX-License-Identifier: MIT
"""Serves the hatches of this process on its socket.

One daemon thread waits in accept(2); each connection has a thread while it lasts, and so has each running hatch, since
a thread cannot be ended: whoever called a hatch that does not return is told so, and it keeps its place until it does.
A child of a fork begins anew with a socket of its own.
"""
import atexit
import errno
import grp
import json
import logging
import os
import platform
import pwd
import select
import socket
import struct
import sys
import threading
import time
import traceback

from . import forks, http, output, place, registry
from .problem import Problem
from .values import clean, jsonable, safe_repr
from .version import PROTOCOL

log = logging.getLogger("hatchkit")

MAX_CONNECTIONS = 16
MAX_RUNNING = 8  # hatches, with those that nobody waits for any more
MAX_TRACEBACK = 32 * 1024
# A child that goes on to exec() (subprocess with preexec_fn) or to change its user (gunicorn, uWSGI) does so at once.
CHILD_PAUSE = 0.25
RECHECKS = (1.0, 10.0)  # seconds after the start: has the user changed since?
USERS = ("hatchd", "hatchd-plugins")  # whom hatchd's plugins run as
GROUP = "hatch-app"
SO_PEERGROUPS = 59  # Linux, asm-generic/socket.h; not in the socket module

_server = None
_start_lock = threading.Lock()
_registered = False


def start():
    """Opens the socket of this process; called by the first hatch. Again is harmless."""
    global _server, _registered
    with _start_lock:
        if _server is not None and _server.pid == os.getpid():
            return
        if not _registered:
            _registered = True
            forks.in_child(_after_fork)
            atexit.register(stop)
        _server = Server()
        if forks.is_only_a_master():
            _server.problem = "this process only starts others, which have hatches"
        else:
            _server.begin(0.0)


def stop():
    """Removes the socket; hatches under way go on."""
    global _server
    server, _server = _server, None
    if server is not None and server.pid == os.getpid():
        server.close()


def status():
    """{"socket": path or None, "problem": why there is none, or None, "hatches": names}"""
    server = _server
    return {
        "socket": server.path if server else None,
        "problem": server.problem if server else "not started",
        "hatches": list(registry.hatches()),
    }


def _after_fork():
    global _server, _start_lock
    _start_lock = threading.Lock()
    registry.reset_lock()
    output.reset_in_child()
    parents, _server = _server, None
    if parents is None:
        return
    parents.forget()
    try:
        _server = Server()
        _server.begin(CHILD_PAUSE)
    except Exception:  # no thread to be had: this process has no hatches
        _server = None


class Server:
    def __init__(self):
        self.pid = os.getpid()
        self.path = self.problem = None
        self._listener = None
        self._closing = False
        self._private = False
        self._uid = None
        self._lock = threading.Lock()
        self._connections = set()
        self._running = {}  # Call → since when

    def begin(self, pause):
        threading.Thread(target=self._serve, args=(pause,), name="hatchkit", daemon=True).start()

    def forget(self):
        """In the child of a fork: the parent's sockets are not ours, but we hold copies."""
        for each in [self._listener] + list(self._connections):
            try:
                if each is not None:
                    each.close()
            except OSError:
                pass

    def close(self):
        self._closing = True
        path, self.path = self.path, None
        if path:
            try:
                os.unlink(path)
            except OSError:
                pass
        try:
            if self._listener is not None:
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass

    # ---- the socket

    def _serve(self, pause):
        try:
            if pause:
                time.sleep(pause)
            self._bind()
            if not self._closing:
                self._accept()
        except OSError as error:
            self._trouble(error)
        except Exception as error:  # also the interpreter's end, which takes modules away
            self.problem = str(error)
        finally:
            if self._listener is not None and not self._closing:
                self.close()

    def _trouble(self, error):
        self.problem = "%s%s" % (error.strerror or error, ": %s" % error.filename if error.filename else "")
        try:
            log.warning("the hatches of process %d are closed: %s", os.getpid(), self.problem)
        except Exception:
            pass

    def _bind(self):
        folder = place.own_folder()
        place.remove_stale(folder)
        path = os.path.join(folder, "%d.sock" % os.getpid())
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                listener.bind(path)
            except OSError as error:
                # Of an earlier process of this number, or of the same number in another pid namespace.
                if error.errno != errno.EADDRINUSE or place.is_alive(path):
                    error.filename = path
                    raise
                os.unlink(path)
                listener.bind(path)
            self._private = place.is_private(folder)
            # The folder says who gets here, and the peer's credentials are looked at; a folder that everybody may
            # enter does not guard, so there the file does.
            os.chmod(path, 0o660 if os.stat(folder).st_mode & 0o001 else 0o666)
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
        self._listener, self.path, self.problem, self._uid = listener, path, None, os.geteuid()

    def _rebind_for_new_user(self):
        old, self._listener = self._listener, None
        try:
            os.unlink(self.path)
        except OSError:
            pass  # the folder is the old user's; whoever starts there next removes it
        old.close()
        self._bind()

    def _accept(self):
        rechecks = list(RECHECKS)
        while not self._closing:
            self._listener.settimeout(rechecks[0] if rechecks else None)
            try:
                connection, _ = self._listener.accept()
            except socket.timeout:
                rechecks.pop(0)
                if os.geteuid() != self._uid:
                    self._rebind_for_new_user()
                continue
            except OSError as error:
                if self._closing or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                time.sleep(1.0)  # no descriptor left: the app needs them more
                continue
            with self._lock:
                full = len(self._connections) >= MAX_CONNECTIONS
                if not full:
                    self._connections.add(connection)
            if full:
                self._refuse(connection, Problem("busy", "%d connections are open already" % MAX_CONNECTIONS))
                continue
            try:
                threading.Thread(target=self._attend, args=(connection,), name="hatchkit call", daemon=True).start()
            except RuntimeError:  # no thread to be had, or the interpreter is ending
                with self._lock:
                    self._connections.discard(connection)
                self._refuse(connection, Problem("busy", "the process cannot start a thread"))

    @staticmethod
    def _refuse(connection, problem):
        try:
            connection.settimeout(0.05)
            connection.recv(http.MAX_HEAD)  # what is unread at close() costs the caller the answer
            connection.send(http.response(problem.status, problem.body()))
        except OSError:
            pass
        finally:
            connection.close()

    # ---- one connection

    def _attend(self, connection):
        try:
            try:
                reply = self._reply(connection)
            except Problem as problem:
                reply = http.response(problem.status, problem.body())
            except (EOFError, OSError):
                return  # the caller left
            except Exception as error:
                problem = Problem("hatch-failed", "hatchkit's own fault: " + safe_repr(error))
                reply = http.response(problem.status, problem.body())
            connection.settimeout(http.WRITE_LIMIT)
            connection.sendall(reply)
            connection.shutdown(socket.SHUT_WR)
            http.drain(connection)
        except Exception:
            pass  # the caller left, or the interpreter is ending
        finally:
            with self._lock:
                self._connections.discard(connection)
            try:
                connection.close()
            except OSError:
                pass

    def _reply(self, connection):
        caller = self._caller(connection)
        request = http.read_request(connection)
        if request.path == "/hatches":
            if request.method != "GET":
                raise Problem("method", "GET /hatches lists; POST /hatches/NAME runs")
            return http.response(200, self.describe())
        if not request.path.startswith("/hatches/"):
            raise Problem("hatch-unknown", "there are GET /hatches and POST /hatches/NAME")
        if request.method != "POST":
            raise Problem("method", "POST runs a hatch; nothing runs by %s" % clean(request.method, 20))
        name = request.path[len("/hatches/") :]
        hatch = registry.hatches().get(name)
        if hatch is None:
            raise Problem("hatch-unknown", "there is no hatch %s" % safe_repr(clean(name, 80)))
        params = _params(request.body)
        arguments = hatch.arguments(params)
        if _has_left(connection):
            raise EOFError  # it gave up while this process was stuck: what nobody waits for is not begun
        log.info("hatch %s is run by uid %s%s", hatch.name, caller, _origin(request.headers))
        return http.response(200, self._run(hatch, arguments))

    def _caller(self, connection):
        """The uid of the peer, once it is admitted."""
        if not hasattr(socket, "SO_PEERCRED"):
            return "unknown"  # the folder guards
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, gid = struct.unpack("3i", raw)
        if uid in (0, os.geteuid(), os.getuid()) or self._private or _of_hatchd(connection, uid, gid):
            return uid
        raise Problem(
            "forbidden",
            "uid %d is neither root, nor this process's user, nor hatchd's" % uid,
            remedy="put hatchd's user into the group %s, or name it in HATCH_PEERS of the app's environment" % GROUP,
        )

    def describe(self):
        return {
            "protocol": PROTOCOL,
            "process": {
                "pid": os.getpid(),
                "program": clean(" ".join(sys.argv[:3]), 300),
                "language": "python " + platform.python_version(),
            },
            "hatches": [hatch.describe() for hatch in registry.hatches().values()],
        }

    def _run(self, hatch, arguments):
        call = Call(hatch, arguments)
        with self._lock:
            if len(self._running) >= MAX_RUNNING:
                names = ", ".join("%s for %d s" % (c.hatch.name, time.monotonic() - c.since) for c in self._running)
                raise Problem("busy", "%d hatches run in this process already: %s" % (MAX_RUNNING, names))
            self._running[call] = call.since

        def work():
            try:
                call.perform()
            finally:
                with self._lock:
                    self._running.pop(call, None)

        try:
            thread = threading.Thread(target=work, name="hatch " + hatch.name, daemon=True)
            thread.start()
        except RuntimeError:
            with self._lock:
                self._running.pop(call, None)
            raise Problem("busy", "the process cannot start a thread") from None
        if not call.done.wait(hatch.timeout):
            frame = sys._current_frames().get(thread.ident) if frames_can_be_read() else None
            where = "".join(traceback.format_stack(frame)) if frame is not None else ""
            raise Problem(
                "hatch-timeout",
                "%s has not returned after %g s; its thread goes on, since a thread cannot be ended"
                % (hatch.name, hatch.timeout),
                traceback=clean(where, MAX_TRACEBACK),
                output=call.taken.text(),
            )
        return call.answer()


class Call:
    """One run of a hatch, in a thread of its own."""

    def __init__(self, hatch, arguments):
        self.hatch, self.arguments = hatch, arguments
        self.since = time.monotonic()
        self.done = threading.Event()
        self.taken = output.Taken()
        self.error = None
        self.result, self.lossy, self.ms = None, False, 0.0

    def perform(self):
        try:
            with self.taken:
                value = self.hatch.function(**self.arguments)
                self.result, self.lossy = jsonable(value)  # here: an iterator of the app's may not end, either
        except BaseException as error:  # also SystemExit: a hatch ends no app
            try:
                self.error = error if isinstance(error, Problem) else _failed(error)
            except Exception:
                self.error = Problem("hatch-failed", type(error).__name__)
        self.ms = (time.monotonic() - self.since) * 1000.0
        self.done.set()

    def answer(self):
        printed = self.taken.text()
        if self.error is not None:
            if printed:
                self.error.members.setdefault("output", printed)
            raise self.error
        body = {"result": self.result, "ms": round(self.ms, 3)}
        if self.lossy:
            body["lossy"] = True
        if printed:
            body["output"] = printed
        if self.taken.truncated:
            body["output_truncated"] = True
        return body


def frames_can_be_read():
    """Without the interpreter lock (the free-threaded build) to look at a running thread's frames may end the process."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def _failed(error):
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=50)
    text = "".join(lines[:1] + lines[2:])  # without the line of Call.perform()
    return Problem(
        "hatch-failed",
        clean("%s: %s" % (type(error).__name__, _said(error)), 2000),
        traceback=clean(text[-MAX_TRACEBACK:], MAX_TRACEBACK),
    )


def _said(error):
    try:
        return str(error)
    except Exception:
        return "(its text could not be had)"


def _has_left(connection):
    """Has the caller closed its end (not only for writing)?"""
    poll = select.poll()
    poll.register(connection, 0)  # POLLHUP is always told
    return bool(poll.poll(0))


def _params(body):
    if not body.strip():
        return {}
    try:
        params = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", "the body is not JSON: %s" % clean(str(error), 200)) from None
    if not isinstance(params, dict):
        raise Problem("malformed", "the body is not an object of parameters")
    return params


def _origin(headers):
    """Who asked hatchd, for the app's own log: it cannot be checked here, and is not believed."""
    parts = [name[7:] + " " + clean(headers[name], 80) for name in ("hatchd-run", "hatchd-caller") if name in headers]
    text = ", ".join(parts)
    return " (%s)" % "".join(c if c.isprintable() else "?" for c in text) if text else ""


def _of_hatchd(connection, uid, gid):
    named = [word.strip() for word in os.environ.get("HATCH_PEERS", "").split(",") if word.strip()]
    if str(uid) in named:
        return True
    try:
        if pwd.getpwuid(uid).pw_name in USERS + tuple(named):
            return True
    except KeyError:
        pass
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return False
    if gid == group:
        return True
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4096)
    except OSError:
        return False
    return group in struct.unpack("%dI" % (len(raw) // 4), raw)
