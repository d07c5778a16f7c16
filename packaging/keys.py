"""Prints a man page: the template with every key of a JSON Schema in place of the line `.\\" KEYS`, in mdoc(7).

    packaging/keys.py docs/man/hatchd.json.5.in config/hatchd.schema.json
"""

import json
import sys


def plain(text):
    """Text that roff takes as text."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def kind(schema):
    kinds = schema.get("type", "")
    words = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if "enum" in schema:
        words = ", ".join(json.dumps(value) for value in schema["enum"])
    if "default" in schema and not isinstance(schema["default"], (dict, list)):
        words += f"; default {json.dumps(schema['default'])}"
    return words


def keys(schema, path):
    """(path, schema) of every key below, parents first. NAME stands for a name of the operator's choice, [] for an entry."""
    if "items" in schema:
        yield from keys(schema["items"], path + "[]")
        return
    for name, below in schema.get("properties", {}).items():
        if name == "*":  # the same as its neighbours by pattern
            continue
        at = f"{path}.{name}" if path else name
        yield at, below
        yield from keys(below, at)
    for below in schema.get("patternProperties", {}).values():
        yield from keys(below, path + ".NAME")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keys(schema["additionalProperties"], path + ".NAME")


def section(schema):
    lines = [".Bl -tag -width Ds"]
    for path, key in keys(schema, ""):
        lines.append(f".It Cm {plain(path)} Pq {plain(kind(key))}")
        if "description" in key:
            lines.append(plain(key["description"]))
    return "\n".join(lines + [".El"])


if __name__ == "__main__":
    with open(sys.argv[1]) as template, open(sys.argv[2]) as schema:
        print(template.read().replace('.\\" KEYS', section(json.load(schema))), end="")
