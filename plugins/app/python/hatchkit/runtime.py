# SPDX-License-Identifier: MIT
"""Hatches of any Python process: threads, gc, tracemalloc."""
import collections
import gc as _gc
import linecache
import sys
import threading
import time
import tracemalloc as _tracemalloc
from typing import Literal

from .problem import Problem
from .registry import hatch
from .server import frames_can_be_read
from .values import safe_repr

MAX_OBJECTS = 2000000


@hatch(effect="observe")
def threads(frames: int = 40):
    """Show what every Python thread is doing

    The stack of each thread as the interpreter sees it, innermost frame first. It answers only while the interpreter
    lock is free now and then; when it is not, hatchd's stack.dump shows the process from outside.

    :param frames: at most so many frames of each thread
    """
    if not frames_can_be_read():
        raise Problem("hatch-failed", "this Python runs without the interpreter lock, where to look at other threads' frames "
                      "may end the process", remedy="hatchd's stack.dump reads the process from outside")  # fmt: skip
    names = {thread.ident: thread for thread in threading.enumerate()}
    mine, result = threading.get_ident(), []
    for ident, frame in sys._current_frames().items():
        if ident == mine:
            continue
        thread = names.get(ident)
        stack = []
        while frame is not None and len(stack) < max(1, min(frames, 500)):
            code = frame.f_code
            number = frame.f_lineno or 0  # None where the compiler left no line
            line = linecache.getline(code.co_filename, number).strip()[:200]
            stack.append({"function": code.co_name, "file": code.co_filename, "line": number, "source": line})
            frame = frame.f_back
        entry = {"name": thread.name if thread else "", "daemon": thread.daemon if thread else None, "frames": stack}
        entry["id"] = getattr(thread, "native_id", None) or ident
        result.append(entry)
    return {"threads": result, "switch_interval_s": sys.getswitchinterval()}


@hatch(effect="act")
def gc(collect: bool = False, top: int = 20):
    """Show, and on request run, the garbage collector

    Counts, thresholds and the types with the most objects. collect=true runs a full collection, which holds the
    interpreter for as long as it takes (about 0.1 s for each million objects).

    :param collect: run a full collection first
    :param top: so many types
    """
    answer = {"enabled": _gc.isenabled(), "thresholds": _gc.get_threshold(), "counts": _gc.get_count()}
    if collect:
        begun = time.monotonic()
        answer["unreachable"] = _gc.collect()
        answer["collect_ms"] = round((time.monotonic() - begun) * 1000, 3)
    answer["generations"] = _gc.get_stats()
    answer["uncollectable"] = [safe_repr(each, 200) for each in _gc.garbage[:20]]
    objects = _gc.get_objects()
    answer["tracked_objects"] = len(objects)
    if len(objects) <= MAX_OBJECTS:
        counted = collections.Counter(type(each).__module__ + "." + type(each).__qualname__ for each in objects)
        answer["top"] = dict(counted.most_common(max(1, min(top, 200))))
    return answer


@hatch(effect="act")
def tracemalloc(action: Literal["show", "start", "stop"] = "show", frames: int = 1, top: int = 20):
    """Show where Python memory was allocated

    action=start begins to note where each block comes from, which slows the process (by about a third) and costs memory
    until action=stop. action=show lists the lines that hold the most.

    :param action: start, show or stop
    :param frames: how much of each stack to keep, when starting
    :param top: so many lines
    """
    if action == "start":
        _tracemalloc.start(max(1, min(frames, 25)))
        return {"tracing": True}
    if not _tracemalloc.is_tracing():
        return {"tracing": False, "remedy": "action=start begins"}
    if action == "stop":
        _tracemalloc.stop()
        return {"tracing": False}
    traced, peak = _tracemalloc.get_traced_memory()
    lines = []
    for entry in _tracemalloc.take_snapshot().statistics("lineno")[: max(1, min(top, 200))]:
        lines.append({"bytes": entry.size, "blocks": entry.count, "where": str(entry.traceback)})
    return {"tracing": True, "traced_bytes": traced, "peak_bytes": peak, "top": lines,
            "overhead_bytes": _tracemalloc.get_tracemalloc_memory()}  # fmt: skip

