#!/usr/bin/env python3
"""Measures mail.send, through HTTP, against curl's smtp and swaks to the same server in the same run. See README.md."""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
os.environ.setdefault("HATCHD_BUILD", str(ROOT / "build" / ("release" if (ROOT / "build" / "release" / "bin" / "hatchd").exists() else "dev")))

from kept import Kept  # noqa: E402
from mail import Authority, Boxes, Postfix, mail_daemon, profile  # noqa: E402

TO = "somebody@test.example.org"
TEXT = "Subject: bench\r\nFrom: hatch@example.org\r\nTo: somebody@test.example.org\r\n\r\nThis is a test message.\r\n"


def took(command):
    begin = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr).decode(errors='replace')[-500:]}")
    return (time.monotonic() - begin) * 1000


def kept(client, mode):
    begin = time.monotonic()
    client.run("mail.send", {"profile": mode, "to": [TO]})
    return (time.monotonic() - begin) * 1000


def commands(daemon, postfix, authority, letter, mode):
    ca = str(authority.file)
    # hatchd as a person calls it: a fresh curl, through HTTP.
    yield "hatchd, curl", ["curl", "-sSf", "--unix-socket", daemon.socket, "h/mail.send", "-d", f"profile={mode}", "-d", f"to={TO}"]
    tls = ["--ssl-reqd", "--cacert", ca] if mode == "starttls" else []
    yield "curl", ["curl", "-sSf", f"smtp://127.0.0.1:{postfix.port}", "--mail-from", "hatch@example.org", "--mail-rcpt", TO, "-T", letter, *tls]
    if shutil.which("swaks"):
        tls = ["--tls"] if mode == "starttls" else []
        yield "swaks", ["swaks", "--server", "127.0.0.1", "--port", str(postfix.port), "--from", "hatch@example.org", "--to", TO, "--data", TEXT, *tls]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="of each tool, in turn; the median is shown")
    options = parser.parse_args()
    authority, boxes = Authority(), Boxes("box")
    postfix = Postfix(authority, boxes)
    letter = pathlib.Path(tempfile.mkdtemp(prefix="bench-mail-")) / "letter"
    letter.write_bytes(TEXT.encode())
    profiles = {
        "plain": profile(postfix.port, tls="none", step_timeout="20s"),
        "starttls": profile(postfix.port, tls="starttls", ca=str(authority.file), step_timeout="20s"),
    }
    try:
        with mail_daemon(profiles) as daemon:
            client = Kept(daemon)
            for mode in profiles:
                measured = {}
                for round_number in range(options.runs + 1):
                    wall = kept(client, mode)
                    if round_number:
                        measured.setdefault("hatchd, HTTP", []).append(wall)
                    for name, command in commands(daemon, postfix, authority, str(letter), mode):
                        wall = took(command)
                        if round_number:  # the first one starts Postfix's and hatchd's processes
                            measured.setdefault(name, []).append(wall)
                rows = {name: statistics.median(walls) for name, walls in measured.items()}
                print(f"\n{mode}\n" + "  ".join(f"{cell:>12}" for cell in ("tool", "wall ms", "least ms", "HTTP/tool", "curl/tool")))
                for name, wall in rows.items():
                    ratios = [f"{rows[own] / wall:.2f}" for own in ("hatchd, HTTP", "hatchd, curl")]
                    print("  ".join(f"{cell:>12}" for cell in (name, f"{wall:.1f}", f"{min(measured[name]):.1f}", *ratios)), flush=True)
    finally:
        postfix.close()
        boxes.close()
        authority.close()
        shutil.rmtree(letter.parent, ignore_errors=True)


if __name__ == "__main__":
    main()
