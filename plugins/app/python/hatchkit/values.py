# SPDX-License-Identifier: MIT
"""Any Python value as JSON that every reader takes: bounded, finite, without surrogates, never raising."""
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid

MAX_DEPTH = 20
MAX_ITEMS = 20000  # of all lists and objects together
MAX_TEXT = 256 * 1024  # of one string
MAX_BYTES = 1024 * 1024  # of all strings together

AS_TEXT = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
)


def clean(text, limit=MAX_TEXT):
    """Text that UTF-8 can hold, no longer than `limit` characters."""
    if len(text) > limit:
        text = text[:limit] + "… (%d characters in all)" % len(text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_repr(value, limit=2000):
    try:
        return clean(repr(value), limit)
    except Exception as error:  # a repr() of the app's
        return "<%s, whose repr() raised %s>" % (type(value).__name__, type(error).__name__)


class Converter:
    """`lossy` says afterwards whether anything was shortened or could only be described."""

    def __init__(self):
        self.lossy = False
        self.items = 0
        self.bytes = 0

    def convert(self, value, depth=0):
        try:
            return self._convert(value, depth)
        except Exception as error:  # a mapping or iterator of the app's
            self.lossy = True
            return "<%s: %s>" % (type(value).__name__, type(error).__name__)

    def _text(self, text):
        room = max(0, min(MAX_TEXT, MAX_BYTES - self.bytes))
        if len(text) > room:
            self.lossy = True
        cleaned = clean(text, room)
        self.bytes += len(cleaned)
        return cleaned

    def _described(self, value):
        self.lossy = True
        return self._text(safe_repr(value))

    def _convert(self, value, depth):
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            return self._convert(value.value, depth + 1) if depth < MAX_DEPTH else self._described(value)
        if isinstance(value, str):
            return self._text(str(value))
        if isinstance(value, int):
            # What other languages can hold; int's own text has a limit of digits, too.
            return int(value) if -(2**63) <= value < 2**63 else self._described(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._described(value)
        if isinstance(value, AS_TEXT):
            return self._text(str(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            self.lossy = True
            return self._text(bytes(value[: MAX_TEXT + 1]).decode("utf-8", "backslashreplace"))
        if depth >= MAX_DEPTH:
            return self._described(type(value))  # also where a value holds itself
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._object(((f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value)), depth)
        if isinstance(value, collections.abc.Mapping):
            return self._object(value.items(), depth)
        if isinstance(value, (list, tuple, collections.deque, collections.abc.Set)):
            return self._list(value, depth)
        if isinstance(value, collections.abc.Iterator):
            return self._list(value, depth)
        return self._described(value)

    def _full(self):
        self.items += 1
        if self.items > MAX_ITEMS or self.bytes >= MAX_BYTES:
            self.lossy = True
            return True
        return False

    def _object(self, pairs, depth):
        result = {}
        for key, item in pairs:
            if self._full():
                result["…"] = "shortened"
                break
            name = self._text(key if isinstance(key, str) else safe_repr(key, 200))
            result[name] = self.convert(item, depth + 1)
        return result

    def _list(self, values, depth):
        result = []
        for item in values:
            if self._full():
                result.append("… (shortened)")
                break
            result.append(self.convert(item, depth + 1))
        return result


def jsonable(value):
    """(JSON value, whether something was lost)."""
    converter = Converter()
    return converter.convert(value), converter.lossy
