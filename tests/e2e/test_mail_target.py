"""from=target: the mail server that a process was told to use by its environment, looked up with its resolver files; and
network=target."""

import base64
import contextlib
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

import pytest

from harness import AM_ROOT, Program, free_port, wait_until
from mail import PASSWORD, Smtp, failed, mail_daemon, profile, send, succeeded


class NameServer:
    """Answers A and MX questions from a table, by UDP; everything else has no such name."""

    def __init__(self, records):
        self.records = records  # (name, type): list of bytes (A) or (preference, host) (MX)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    @staticmethod
    def encoded(name):
        return b"".join(bytes([len(part)]) + part.encode() for part in name.strip(".").split(".") if part) + b"\0"

    def serve(self):
        with contextlib.suppress(OSError, IndexError):
            while True:
                question, peer = self.socket.recvfrom(4096)
                at, parts = 12, []
                while question[at]:
                    parts.append(question[at + 1 : at + 1 + question[at]].decode().lower())
                    at += question[at] + 1
                (kind,) = struct.unpack("!H", question[at + 1 : at + 3])
                name, body = ".".join(parts), question[12 : at + 5]
                known = any(entry[0] == name for entry in self.records)
                answers = b""
                found = self.records.get((name, kind), [])
                for one in found:
                    data = one if kind == 1 else struct.pack("!H", one[0]) + self.encoded(one[1])
                    answers += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 77, len(data)) + data
                flags = 0x8180 if known else 0x8183
                self.socket.sendto(question[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + body + answers, peer)

    def close(self):
        self.socket.close()


LOOPBACK = bytes([127, 0, 0, 1])


@pytest.fixture(scope="module")
def house():
    server = Smtp({b"AUTH": b"235 2.7.0 Ok\r\n"}, offers=[b"PIPELINING", b"AUTH PLAIN"])
    names = NameServer(
        {
            ("relay.test", 1): [LOOPBACK],
            ("test.example.org", 15): [(20, "second.test"), (10, "first.test")],
            ("first.test", 1): [bytes([127, 0, 0, 2])],
            ("second.test", 1): [LOOPBACK],
            ("bare.test", 1): [LOOPBACK],
            ("null.test", 15): [(0, ".")],
            ("empty.test", 16): [],
        }
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(server.port),
        "EMAIL_HOST_USER": "shop",
        "EMAIL_HOST_PASSWORD": PASSWORD,
        "DEFAULT_FROM_EMAIL": "Shop <shop@shop.example.org>",
    }
    dns = {"dns": [f"127.0.0.1:{names.port}"]}
    profiles = {
        "default": profile(free_port(), cleartext_auth=True, senders=["*@shop.example.org"]),
        "strict": profile(free_port(), cleartext_auth=True),
        "by-name": {**profile(0, **dns), "url": f"smtp://relay.test:{server.port}"},
        "by-mx": {**profile(0, **dns), "url": f"mx://test.example.org:{server.port}"},
        "by-bare-mx": {**profile(0, **dns), "url": f"mx://bare.test:{server.port}"},
        "null-mx": {**profile(0, **dns), "url": f"mx://null.test:{server.port}"},
        "no-name": {**profile(0, **dns), "url": f"smtp://nothing.test:{server.port}"},
        "no-address": {**profile(0, **dns), "url": f"smtp://empty.test:{server.port}"},
    }
    with Program("sleep", "600", env=environment) as shop, Program("sleep", "600", env={"PATH": "/bin"}) as other:
        with mail_daemon(profiles, {"shop": {"pid": shop.pid}, "other": {"pid": other.pid}}) as daemon:
            yield server, daemon
    server.close()
    names.close()


def test_the_server_that_the_target_uses(house):
    server, daemon = house
    answer = send(daemon, "default", target="shop", **{"from": "target"})
    result = succeeded(answer)
    assert result["vantage"] == {"settings": "target", "network": "hatchd", "resolver": "target"}
    settings = {one.pop("name"): one for one in result["settings"]}
    assert settings["host"] == {"value": "127.0.0.1", "origin": "EMAIL_HOST"}
    assert settings["port"] == {"value": str(server.port), "origin": "EMAIL_PORT"}
    assert settings["user"] == {"value": "shop", "origin": "EMAIL_HOST_USER"}
    assert settings["password"] == {"value": "******", "origin": "EMAIL_HOST_PASSWORD"}
    assert settings["from"]["origin"] == "DEFAULT_FROM_EMAIL" and result["mechanism"] == "PLAIN"
    assert b"MAIL FROM:<shop@shop.example.org>\r\n" in server.lines
    message = server.messages[-1].decode()
    assert 'From: "Shop" <shop@shop.example.org>' in message and "as shop would" in message
    texts = [answer.body, daemon.log().encode(), daemon.ask("POST", "/mail.check", {"profile": "default", "target": "shop", "from": "target"}).body]
    texts += [path.read_bytes() for path in pathlib.Path(daemon.folder, "runs").rglob("*") if path.is_file()]
    for secret in (PASSWORD.encode(), base64.b64encode(PASSWORD.encode())):
        assert not any(secret in text for text in texts)


def test_a_sender_of_the_target_that_is_not_allowed(house):
    server, daemon = house
    before = server.connections
    answer = send(daemon, "strict", target="shop", **{"from": "target"})
    assert answer.status == 424 and "shop@shop.example.org" in answer.text and "senders" in answer.json()["remedy"]
    assert server.connections == before


def test_a_target_without_mail_settings(house):
    answer = send(house[1], "default", target="other", **{"from": "target"})
    assert answer.status == 424 and "names no mail server" in answer.json()["detail"] and answer.json()["remedy"]


def test_the_same_network_is_nothing_to_do(house):
    result = succeeded(send(house[1], "default", "mail.check", target="shop", network="target", **{"from": "target"}))
    assert result["vantage"]["network"] == "target"


@pytest.mark.skipif(not AM_ROOT, reason="a network namespace takes root")
def test_settings_of_a_target_in_another_network_are_tried_with_a_warning(house):
    server, _ = house
    environment = {"PATH": "/usr/bin:/bin", "SMTP_URL": f"smtp://127.0.0.1:{server.port}"}
    with Program("unshare", "-n", "sleep", "600", env=environment) as away:
        with mail_daemon({"default": profile(server.port)}, {"away": {"pid": away.pid}}) as daemon:
            own = os.readlink("/proc/self/ns/net")
            wait_until("the namespace", lambda: os.readlink(f"/proc/{away.pid}/ns/net") != own)
            result = succeeded(send(daemon, "default", target="away", **{"from": "target"}))
            assert "another network namespace" in result["warnings"][0]


@pytest.mark.skipif(not AM_ROOT, reason="a root folder of one's own takes root")
def test_the_target_s_own_resolver_files(house):
    """A target in a root folder of its own, whose hosts file alone knows the server's name."""
    server, _ = house
    root = pathlib.Path(tempfile.mkdtemp(prefix="e2e-root-"))
    root.chmod(0o755)
    try:
        (root / "etc").mkdir()
        (root / "etc" / "hosts").write_text("127.0.0.1 mail-of-the-target\n")
        (root / "etc" / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
        program = root / "sleeper"
        source = root / "sleeper.c"
        source.write_text("#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
        subprocess.run(["gcc", "-static", "-o", program, source], check=True, timeout=60)
        environment = {"SMTP_HOST": "mail-of-the-target", "SMTP_PORT": str(server.port), "PATH": "/usr/sbin:/usr/bin:/bin"}
        with Program("chroot", root, "/sleeper", env=environment) as inside:
            wait_until("the target to be in its root", lambda: os.readlink(f"/proc/{inside.pid}/root") == str(root))
            with mail_daemon({"default": profile(free_port())}, {"inside": {"pid": inside.pid}}) as daemon:
                result = succeeded(send(daemon, "default", target="inside", **{"from": "target"}))
                assert "mail-of-the-target: 127.0.0.1 (hosts file)" in result["resolution"]
                assert result["vantage"]["resolver"] == "target"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_names_by_the_profile_s_name_server(house):
    result = succeeded(send(house[1], "by-name"))
    assert "relay.test: 127.0.0.1 (DNS 127.0.0.1, holds for 77 s" in result["resolution"][0]


def test_mail_exchangers_in_their_order(house):
    """The first does not answer; the second takes it."""
    result = succeeded(send(house[1], "by-mx", to=["a@test.example.org"]))
    assert result["resolution"][:2] == ["test.example.org MX 10 first.test", "test.example.org MX 20 second.test"]
    assert [(one["address"], one["used"]) for one in result["addresses"]] == [("127.0.0.2", False), ("127.0.0.1", True)]


def test_a_domain_without_exchanger_is_its_own(house):
    result = succeeded(send(house[1], "by-bare-mx"))
    assert "has no mail exchanger" in result["resolution"][0]


@pytest.mark.parametrize(
    "name, detail, hint",
    [("null-mx", "takes no mail", "takes no mail at all"), ("no-name", "no such name as nothing.test", "DNS: no such name"), ("no-address", "has no address", "no address")],
)
def test_names_that_lead_nowhere(house, name, detail, hint):
    _, result = failed(send(house[1], name))
    assert result["stage"] == "resolve" and detail in result["verdict"] and hint in result["hint"]
