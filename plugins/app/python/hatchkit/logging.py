# SPDX-License-Identifier: MIT
"""The hatch log-level: more detail in the log for a while, and back with certainty.

Each logger that was changed is held with its level of before. The timer that sets it back is a daemon thread; an app
that ends before has nothing to set back, and a fork's child, which has no such timer, sets it back at once.
"""
import logging
import threading
import time
from typing import Literal

from . import forks
from .problem import Problem
from .registry import hatch
from .values import clean

MAX_CHANGED = 64
MAX_SECONDS = 24 * 3600

_lock = threading.Lock()
_changed = {}  # logger's name → [level before, until, level set, number of the change]
_number = 0


def _logger(name):
    return logging.getLogger() if name in ("", "root") else logging.getLogger(name)


def _revert(name, number=None):
    with _lock:
        entry = _changed.get(name)
        if entry is None or (number is not None and entry[3] != number):
            return False  # a later change counts
        del _changed[name]
        logger = _logger(name)
        if logger.level == entry[2]:  # unless the app has set it since
            logger.setLevel(entry[0])
        return True


def _revert_later(name, number, seconds):
    time.sleep(seconds)
    _revert(name, number)


def _after_fork():
    global _lock
    _lock = threading.Lock()
    for name in list(_changed):
        _revert(name)


forks.in_child(_after_fork)


@hatch(name="log-level", effect="act")
def log_level(
    logger: str = "root",
    level: Literal["", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "",
    seconds: int = 300,
    revert: bool = False,
):
    """Show or change the level of a logger, for a while

    Without a level it shows the loggers that have one. With one it sets it, and sets it back after `seconds`: also when
    nobody thinks of it any more. Handlers have levels of their own, which are shown and not changed.

    :param logger: name of the logger; "root" for all that have no level of their own
    :param level: the new level
    :param seconds: how long, at most a day
    :param revert: set it back now
    """
    global _number
    known = logging.Logger.manager.loggerDict
    if logger not in ("", "root") and logger not in known:
        raise Problem("params-invalid", "there is no logger %s" % clean(logger, 100),
                      errors=[{"pointer": "/logger", "detail": "unknown"}])  # fmt: skip
    if revert:
        _revert(logger)
    elif level:
        if not 1 <= seconds <= MAX_SECONDS:
            raise Problem("params-invalid", "seconds must be from 1 to %d" % MAX_SECONDS,
                          errors=[{"pointer": "/seconds", "detail": "out of range"}])  # fmt: skip
        with _lock:
            if logger not in _changed and len(_changed) >= MAX_CHANGED:
                raise Problem("busy", "%d loggers are changed already" % MAX_CHANGED)
            _number += 1
            number = _number
            before = _changed[logger][0] if logger in _changed else _logger(logger).level
            # The way back first: a level that nobody sets back is worse than none.
            threading.Thread(target=_revert_later, args=(logger, number, seconds), name="hatchkit log-level",
                             daemon=True).start()  # fmt: skip
            new = getattr(logging, level)
            _changed[logger] = [before, time.monotonic() + seconds, new, number]
            _logger(logger).setLevel(new)
    return _levels(logger)


def _levels(name):
    chosen = _logger(name)
    loggers = {"root": logging.getLevelName(logging.getLogger().level)}
    for each, logger in sorted(logging.Logger.manager.loggerDict.copy().items())[:2000]:
        if isinstance(logger, logging.Logger) and logger.level:
            loggers[each] = logging.getLevelName(logger.level)
    with _lock:
        changed = {
            each: {"before": logging.getLevelName(before), "seconds_left": round(until - time.monotonic(), 1)}
            for each, (before, until, _, _) in _changed.items()
        }
    handlers, logger = [], chosen
    while logger is not None:
        for handler in logger.handlers:
            handlers.append({"handler": repr(handler)[:200], "level": logging.getLevelName(handler.level)})
        logger = logger.parent if logger.propagate else None
    return {"logger": name, "level": logging.getLevelName(chosen.level), "handlers": handlers,
            "effective": logging.getLevelName(chosen.getEffectiveLevel()), "changed": changed, "levels": loggers}  # fmt: skip
