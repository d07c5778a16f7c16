# SPDX-License-Identifier: MIT
"""`import hatchkit.celery` where the Celery app is made brings task-ping, and log-level, threads, gc and tracemalloc to
workers (each process of the pool has a socket of its own) and to whoever sends tasks."""
import time
import uuid

from celery import current_app

from .logging import log_level
from .problem import Problem
from .registry import hatch
from .runtime import gc, threads, tracemalloc
from .values import clean

__all__ = ["gc", "log_level", "task_ping", "threads", "tracemalloc"]

# In every worker; it gives its arguments back (celery/app/builtins.py).
ECHO = "celery.accumulate"


@hatch(name="task-ping", effect="act", timeout=65)
def task_ping(queue: str = "", task: str = ECHO, msg: str = "ping", seconds: float = 10.0):
    """Send a task through broker, worker and result backend, and wait for its answer

    Unlike hatchd's queue.ping it is sent by the app itself, with the app's own settings and routes.

    :param queue: into this queue, instead of where the routes lead
    :param task: name of the task; it gets the mark as its only argument
    :param msg: what the task is to give back
    :param seconds: how long to wait, at most 60
    """
    from celery.result import allow_join_result  # also inside a worker

    app, mark = current_app._get_current_object(), "%s %s" % (msg, uuid.uuid4().hex[:12])
    patience = min(max(seconds, 0.1), 60.0)
    begun = time.monotonic()
    options = {"queue": queue} if queue else {}
    try:
        sent = app.send_task(task, args=[mark], expires=patience, retry=False, **options)
    except Exception as error:
        raise Problem("hatch-failed", "the task could not be sent: %s: %s" % (type(error).__name__, clean(str(error), 500)))
    sent_ms = (time.monotonic() - begun) * 1000
    try:
        with allow_join_result():
            answer = sent.get(timeout=patience)
    except NotImplementedError:
        return {"sent": True, "task_id": sent.id, "verdict": "The task was sent; the app has no result backend to hear more from."}
    except Exception as error:
        raise Problem("hatch-failed", "no answer to task %s: %s: %s" % (sent.id, type(error).__name__, clean(str(error), 500)))
    finally:
        try:
            sent.forget()
        except Exception:
            pass
    ms = (time.monotonic() - begun) * 1000
    return {"task_id": sent.id, "sent_ms": round(sent_ms, 3), "round_trip_ms": round(ms, 3), "answer": answer,
            "verdict": "A worker answered after %.0f ms." % ms}  # fmt: skip
