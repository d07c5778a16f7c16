"""mail.send through a real Postfix: STARTTLS, AUTH by Dovecot, delivery to a Maildir, arrival there and behind IMAP."""

import base64
import pathlib
import re

import pytest

from harness import AM_ROOT, wait_until
from mail import PASSWORD, Authority, Boxes, Dovecot, Postfix, failed, mail_daemon, profile, send, succeeded

pytestmark = pytest.mark.skipif(not AM_ROOT, reason="Postfix and Dovecot take root to start")

TO = "somebody@test.example.org"


@pytest.fixture(scope="module")
def house():
    authority = Authority()
    boxes = Boxes("box", "empty")
    dovecot = Dovecot(authority, boxes)
    postfix = Postfix(authority, boxes, dovecot)
    ca = str(authority.file)
    login = {"user": "shop", "password": PASSWORD, "ca": ca, "step_timeout": "15s"}
    imap = {"user": "shop", "password": PASSWORD, "ca": ca, "timeout": "30s"}
    maildir = {"maildir": str(boxes["box"]), "timeout": "30s"}
    profiles = {
        "plain": profile(postfix.port, tls="none", step_timeout="15s"),
        "starttls": profile(postfix.port, tls="starttls", **login, arrival=maildir),
        "implicit": profile(postfix.tls_port, "smtps", **login),
        "imap": profile(postfix.port, tls="starttls", **login, arrival={"imap": f"imap://127.0.0.1:{dovecot.port}", **imap, "remove": True}),
        "imaps": profile(postfix.port, tls="starttls", **login, arrival={"imap": f"imaps://127.0.0.1:{dovecot.tls_port}", **imap}),
        "imap-wrong": profile(postfix.port, tls="starttls", **login, arrival={"imap": f"imaps://127.0.0.1:{dovecot.tls_port}", **imap, "password": "wrong"}),
        "nowhere": profile(postfix.port, tls="starttls", **login, arrival={"maildir": "/nonexistent/box"}),
        "late": profile(postfix.port, tls="starttls", **login, arrival={"maildir": str(boxes["empty"]), "timeout": "1s"}),
        "wrong": profile(postfix.port, tls="starttls", **{**login, "password": "not it"}),
        "stranger": profile(postfix.port, to=["a@elsewhere.example"], step_timeout="15s"),
        **{f"auth-{name}": profile(postfix.port, tls="starttls", **login, auth=name) for name in ("plain", "login", "scram-sha-256")},
    }  # fmt: skip
    # The Maildir's owner: what Postfix delivers, nobody else may read.
    with mail_daemon(profiles, users={"plugins": "nobody"}) as daemon:
        try:
            yield postfix, boxes["box"], daemon
        except BaseException:
            print(postfix.log(), dovecot.log())
            raise
    postfix.close()
    dovecot.close()
    boxes.close()
    authority.close()


def arrived(result):
    assert result["stage"] == "arrived" and result["arrival"]["seen"] is True, result
    assert result["arrival"]["after_ms"] >= 0 and "arrived" in result["verdict"]
    hops = result["arrival"]["received"]
    assert hops and "by mail.test" in hops[0] and result["queue_id"] in hops[0], hops


def test_plain_to_a_maildir(house):
    postfix, _, daemon = house
    result = succeeded(send(daemon, "plain", to=[TO]))
    assert result["stage"] == "accepted" and result["tls"] is None
    assert re.fullmatch("[0-9A-Za-z]+", result["queue_id"])
    wait_until("Postfix's log to have the queue id", lambda: result["queue_id"] in postfix.log())
    assert "PIPELINING" in result["capabilities"]["offered"] and result["capabilities"]["max_size"] == 10240000


def test_starttls_login_and_arrival(house):
    _, box, daemon = house
    answer = send(daemon, "starttls", to=[TO], msg="Grüße\n.\n", subject="ünï")
    result = succeeded(answer)
    arrived(result)
    assert result["tls"]["verified"] is True and result["tls"]["mode"] == "starttls"
    assert result["mechanism"] == "SCRAM-SHA-256"
    assert not any("AUTH" in line for line in result["capabilities_before_tls"]["offered"])
    assert any(line.startswith("AUTH") for line in result["capabilities"]["offered"])
    run = answer.json()["id"]
    messages = [path.read_bytes() for path in (box / "new").iterdir()]
    (mine,) = [m for m in messages if b"X-Hatchd-Run: " + run.encode() in m]
    assert b"Auto-Submitted: auto-generated" in mine
    body = b"".join(base64.b64decode(line) for line in mine.split(b"\n\n", 1)[1].split())
    assert body.startswith("Grüße\r\n.\r\n".encode())


@pytest.mark.parametrize("name", ["auth-plain", "auth-login", "auth-scram-sha-256"])
def test_every_mechanism(house, name):
    result = succeeded(send(house[2], name, "mail.check", to=[TO]))
    assert result["mechanism"] == name[5:].upper() and result["stage"] == "rcpt"


def test_tls_at_once(house):
    result = succeeded(send(house[2], "implicit", to=[TO]))
    assert result["tls"]["mode"] == "implicit" and result["tls"]["verified"] is True


@pytest.mark.parametrize("name", ["imap", "imaps"])
def test_arrival_behind_imap(house, name):
    _, box, daemon = house
    answer = send(daemon, name, to=[TO])
    arrived(succeeded(answer))
    left = [p for part in ("new", "cur") for p in (box / part).iterdir() if answer.json()["id"].encode() in p.read_bytes()]
    assert len(left) == (0 if name == "imap" else 1), "remove takes it away"


@pytest.mark.parametrize("name, trouble", [("imap-wrong", "LOGIN"), ("nowhere", "/nonexistent/box"), ("late", "not there after")])
def test_a_mailbox_that_cannot_tell(house, name, trouble):
    result = succeeded(send(house[2], name, to=[TO]))
    assert result["partial"] is True and result["stage"] == "accepted" and trouble in result["arrival"]["trouble"], result["arrival"]
    assert "not known" in result["verdict"] and result["queue_id"] in result["hint"]


def test_a_maildir_of_somebody_else(house):
    postfix, box, _ = house
    profiles = {"default": profile(postfix.port, tls="none", step_timeout="15s", arrival={"maildir": str(box), "timeout": "30s"})}
    with mail_daemon(profiles) as daemon:
        result = succeeded(send(daemon, "default", to=[TO]))
    assert result["partial"] is True and "may not read" in result["arrival"]["trouble"]


def test_a_wrong_password(house):
    _, result = failed(send(house[2], "wrong", to=[TO]))
    assert result["stage"] == "auth" and result["reply"].startswith("535 5.7.8") and "wrong" in result["hint"]


def test_relay_access_denied(house):
    _, result = failed(send(house[2], "stranger"))
    assert result["stage"] == "rcpt" and result["refused"][0]["code"] == 554 and result["refused"][0]["status"] == "5.7.1"
    assert result["hint"].startswith("relay access denied")


def test_one_of_two_recipients(house):
    result = succeeded(send(house[2], "starttls", to=[TO, "nobody@test.example.org"]))
    arrived(result)
    assert result["partial"] is True and result["accepted"] == [TO]
    assert result["refused"][0]["address"] == "nobody@test.example.org" and result["refused"][0]["code"] == 554


def test_check_leaves_nothing_behind(house):
    postfix, _, daemon = house
    answer = send(daemon, "starttls", "mail.check", to=[TO])
    assert succeeded(answer)["stage"] == "rcpt"
    assert answer.json()["id"] not in postfix.log()


def test_the_password_is_nowhere(house):
    _, _, daemon = house
    texts = [daemon.log().encode()]
    for name in ("starttls", "wrong", "auth-plain", "auth-login", "imaps"):
        texts.append(send(daemon, name, to=[TO]).body)
        texts.append(daemon.ask("POST", "/mail.send", {"profile": name, "to": [TO]}, {"Accept": "text/plain"}).body)
    texts += [path.read_bytes() for path in pathlib.Path(daemon.folder, "runs").rglob("*") if path.is_file()]
    for secret in (PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), base64.b64encode(b"\0shop\0" + PASSWORD.encode())[4:-4]):
        assert not any(secret in text for text in texts)
