# SPDX-License-Identifier: MIT
"""Masks settings by their names, and passwords in URLs. hatchd masks once more, by its operator's own rules."""
import re

STARS = "******"

_NAME = re.compile(
    r"(?i)(pass(word|wd|phrase)?|pwd|secret|token|credential|signature|salt|cookie_key|private|dsn)s?([^a-z]|$)"
    r"|(api|auth|access|signing|encryption|account|secret|crypt|master|storage)[_-]?key|(^|[_.-])key$"
)
_URL = re.compile(r"(?i)([a-z][a-z0-9+.-]*://)[^\s/@]*@")
MAX_DEPTH = 20


def is_secret(name):
    return bool(_NAME.search(str(name)))


def masked(value, name="", depth=0):
    """A copy in which what names say is secret reads "******". Lists and dictionaries are gone through."""
    if name and is_secret(name) and value not in (None, "", True, False) and not isinstance(value, (int, float)):
        return STARS
    if depth >= MAX_DEPTH:
        return STARS
    if isinstance(value, str):
        return _URL.sub(r"\1" + STARS + "@", value)
    if isinstance(value, dict):
        return {key: masked(item, key if isinstance(key, str) else "", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item, "", depth + 1) for item in value]
    return value
