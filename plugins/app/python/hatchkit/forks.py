# SPDX-License-Identifier: MIT
"""What has to be done anew in the child of a fork.

Python tells by os.register_at_fork(). uWSGI forks in C, and unless it is told --py-call-osafterfork Python does not hear of
it: there its own hook does (`uwsgi` is a module that only programs inside uWSGI have).
"""
import logging
import os

log = logging.getLogger("hatchkit")

_hooks = []
_pid = os.getpid()


def in_child(hook):
    """Calls `hook` in every child of a fork from now on, in the order of registration."""
    if not _hooks:
        os.register_at_fork(after_in_child=_run)
        _join_uwsgi()
    _hooks.append(hook)


def is_only_a_master():
    """Does this process only start others? uWSGI's master holds the interpreter lock, so no thread of it ever runs."""
    uwsgi = _uwsgi()
    return uwsgi is not None and uwsgi.worker_id() == 0 and uwsgi.masterpid() > 0


def _run():
    global _pid
    if _pid == os.getpid():
        return  # told twice
    _pid = os.getpid()
    for hook in _hooks:
        hook()


def _uwsgi():
    try:
        import uwsgi
    except ImportError:
        return None
    return uwsgi


def _join_uwsgi():
    uwsgi = _uwsgi()
    if uwsgi is None:
        return
    if not any(name in uwsgi.opt for name in ("enable-threads", b"enable-threads", "threads", b"threads")):
        log.warning("uWSGI runs without --enable-threads, so no thread of Python does: hatches will not answer")
    try:
        import uwsgidecorators  # it sets the one hook there is, and would take ours away

        uwsgidecorators.postfork(_run)
    except ImportError:
        before = getattr(uwsgi, "post_fork_hook", None)

        def after_fork():
            if before is not None:
                before()
            _run()

        uwsgi.post_fork_hook = after_fork
