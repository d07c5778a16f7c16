"""What a run's process holds in its memory: the secrets of its own profile, and of no other one."""

import contextlib
import pathlib
import re
import socket

import pytest

from harness import AM_ROOT, Daemon, wait_until

pytestmark = pytest.mark.skipif(not AM_ROOT, reason="needs root to read the memory of hatchd's processes")

# A long one; one that fits into a JSON value itself; one that the parser puts together from pieces.
SECRETS = {name: [f"{name}-long-0123456789abcdefghijklmnop-{name}", f"{name}-brief", f'{name}-"quoted"-\\{name}'] for name in ("own", "other")}


def found(pid, texts):
    """Which of them lie in the writable memory of the process."""
    seen = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            size = int(end, 16) - int(begin, 16)
            if "w" not in rights or size > 1 << 30:  # so large is only a sanitizer's bookkeeping, which holds no text
                continue
            with contextlib.suppress(OSError):
                memory.seek(int(begin, 16))
                piece = memory.read(size)
                seen |= {text for text in texts if text.encode() in piece}
    return seen


@pytest.mark.parametrize("more", [0, 8], ids=["in a packet", "in a memory file"])
def test_a_run_holds_no_secret_of_another_profile(demo, more):
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def profile(name, port):
            password, user, token = SECRETS[name]
            return {
                "url": f"smtp://127.0.0.1:{port}", "user": user, "password": password, "token": token,
                "tls": "none", "cleartext_auth": True, "from": "a@example.org", "to": ["b@example.org"],
            }  # fmt: skip

        profiles = {"own": profile("own", silent.getsockname()[1]), "other": profile("other", 1)}
        profiles.update((f"more{i}", {**profile("other", 1), "token": "x" * 16_000}) for i in range(more))
        config = {"plugins": {"mail": {"profiles": profiles}}, "hatches": {"mail.send": {"cooldown": "0s", "concurrency": 8}}}
        with Daemon(demo.pid, config) as daemon:
            # Both have been in use before, so that all copies were made that are made.
            daemon.run("mail.send", {"profile": "other"})
            first = daemon.start_run("mail.send", {"profile": "own"})
            waits = [silent.accept()]
            daemon.run("mail.send", {"profile": "other"})
            second = daemon.start_run("mail.send", {"profile": "own"})
            waits.append(silent.accept())
            for run in (first, second):
                pid = daemon.process(f"hatchd: run {run}").pid
                seen = found(pid, SECRETS["own"] + SECRETS["other"])
                assert SECRETS["own"][0] in seen, "the search finds what is there"
                assert not seen & set(SECRETS["other"]), seen
            for run in (first, second):
                daemon.ask("DELETE", f"/v1/runs/{run}")
                daemon.ended(run)
            spare = wait_until("a process to be forked ahead", lambda: daemon.process("hatchd: spare mail"))
            seen = found(spare.pid, SECRETS["own"] + SECRETS["other"])
            assert not seen, seen
            for connection, _ in waits:
                connection.close()
