# SPDX-License-Identifier: MIT
"""python -m hatchkit: lists and runs the hatches of running processes."""
import argparse
import json
import os
import sys

from . import client, place


def printable(text):
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\\x%02x" % ord(c) for c in text)


def show(text):
    print(printable(text))


def found(options):
    folders = [options.dir] if options.dir else place.candidates()
    paths = [path for folder in folders for path in place.sockets(folder)]
    if options.pid:
        paths = [path for path in paths if os.path.basename(path) == "%d.sock" % options.pid]
    if not paths:
        sys.exit("no sockets in %s; is the app running, as this user, with the same HATCH_DIR?" % " or ".join(folders))
    return paths


def described(paths, timeout):
    """(path, description or None, why not) of each that is alive."""
    for path in paths:
        try:
            status, body = client.ask(path, "GET", "/hatches", timeout=timeout)
            yield (path, body, None) if status == 200 else (path, None, body.get("detail", "HTTP %d" % status))
        except ConnectionRefusedError:
            continue  # left by a dead process
        except (OSError, ValueError) as error:
            yield path, None, str(error) or type(error).__name__


def list_all(options):
    groups = {}
    for path, body, why in described(found(options), options.timeout):
        if why:
            show("%s: %s" % (path, why))
            continue
        text = "\n".join("  %-20s %-8s %s" % (h["name"], h["effect"], h["title"]) for h in body["hatches"])
        groups.setdefault(text, []).append(str(body["process"]["pid"]))
    for text, pids in groups.items():
        show("process%s %s\n%s" % ("es" if len(pids) > 1 else "", ", ".join(pids), text))


def converted(hatch, words):
    properties, params = hatch["parameters"].get("properties", {}), {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            sys.exit("%s: parameters are NAME=VALUE" % printable(word))
        kind = properties.get(name, {}).get("type", "string")
        try:
            params[name] = text if kind == "string" else json.loads(text)
        except ValueError:
            sys.exit("%s: not %s" % (printable(word), kind))
    return params


def run(options):
    ok, asked = True, 0
    for path, body, why in described(found(options), options.timeout):
        hatch = next((h for h in (body or {}).get("hatches", []) if h["name"] == options.name), None)
        if hatch is None:
            if why:
                show("%s: %s" % (path, why))
            continue
        asked += 1
        patience = hatch.get("timeout_ms", 30000) / 1000.0 + 10.0
        status, answer = client.ask(path, "POST", "/hatches/" + options.name, converted(hatch, options.params), patience)
        ok = ok and status == 200
        show("process %d: %s" % (body["process"]["pid"], "" if status == 200 else "failed (%s)" % answer.get("code")))
        for part in ("output", "traceback"):
            if answer.get(part):
                show(answer[part].rstrip())
        show(json.dumps(answer["result"] if status == 200 else answer.get("detail"), indent=2, ensure_ascii=False))
        if options.workers == "one":
            break
    if not asked:
        sys.exit("no process has a hatch %s; `python -m hatchkit` lists them" % printable(options.name))
    sys.exit(0 if ok else 1)


def main():
    parser = argparse.ArgumentParser(prog="python -m hatchkit", description=__doc__)
    parser.add_argument("--dir", help="folder of the sockets; else HATCH_DIR, /run/hatch-app or /tmp/hatch-app-UID")
    parser.add_argument("--pid", type=int, help="only this process")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for a process to list its hatches")
    parser.set_defaults(act=list_all)
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("list", help="all hatches (the default)").set_defaults(act=list_all)
    runner = commands.add_parser("run", help="run one")
    runner.add_argument("name")
    runner.add_argument("params", nargs="*", metavar="NAME=VALUE")
    runner.add_argument("--workers", choices=("one", "all"), default="one", help="in one process, or in each")
    runner.set_defaults(act=run)
    options = parser.parse_args()
    try:
        options.act(options)
    except (OSError, ValueError) as error:
        sys.exit(printable(str(error)))


if __name__ == "__main__":
    main()
