"""mail.send and mail.check against small servers, each wrong in its own way: the right stage, verdict and hint, in time."""

import base64
import concurrent.futures
import json
import pathlib
import re
import time

import pytest

from harness import Daemon, free_port, wait_until
from mail import PASSWORD, Smtp, drip, drop, failed, flood, hang, mail_daemon, profile, send, succeeded


def echo_password(server, connection, line):
    """Repeats what it was sent, as it came and decoded."""
    sent = line.split(b" ")[-1].strip()
    decoded = base64.b64decode(sent + b"===").replace(b"\0", b" ") if sent else b""
    return b"535 5.7.8 Error: authentication failed: %s (%s) %s\r\n" % (sent, decoded, PASSWORD.encode())


def one_refused(server, connection, line):
    return b"550 5.1.1 <x>: no such user here\r\n" if b"gone@" in line else b"250 2.1.5 Ok\r\n"


AUTH = {"user": "shop", "password": PASSWORD, "cleartext_auth": True}

# name: (the server, what its profile has besides, expected stage, in the verdict, in the hint)
WRONG = {
    "refuses": (lambda: Smtp({b"RCPT": b"550 5.1.1 <x>: no such user\r\n"}), {}, "rcpt", "550 5.1.1", "does not know the recipient"),
    "relay": (lambda: Smtp({b"RCPT": b"554 5.7.1 <x>: Relay access denied\r\n"}), {}, "rcpt", "Relay access denied", "relay access denied:"),
    "greylists": (
        lambda: Smtp({b"RCPT": b"451 4.7.1 Greylisted, try again in 300 seconds\r\n"}), {}, "rcpt", "451 4.7.1", "greylisted.*try again in 300 s",
    ),
    "greylists-in-words": (lambda: Smtp({b"RCPT": b"450 4.7.1 come back later\r\n"}), {}, "rcpt", "450", "greylisted.*in some minutes"),
    "sender": (lambda: Smtp({b"MAIL": b"553 5.7.1 not owned by user\r\n"}), {}, "mail", "553 5.7.1", "may not send as hatch@example.org"),
    "rate": (lambda: Smtp({b"MAIL": b"421 4.7.0 too many mails, try again in 10 minutes\r\n"}), {}, "mail", "421", "limits how much.*10 min"),
    "spam": (lambda: Smtp({b"MESSAGE": b"554 5.7.1 spam\r\n"}), {}, "data", "554 5.7.1", "refused the message itself"),
    "size": (lambda: Smtp(offers=[b"SIZE 100"]), {}, "mail", "up to 100 bytes", "raise the server's limit"),
    "too-big": (lambda: Smtp({b"MESSAGE": b"552 5.3.4 too big\r\n"}), {}, "data", "552 5.3.4", "too large"),
    "blocked": (lambda: Smtp(banner=b"554 5.7.1 you are on a list\r\n"), {}, "banner", "554", "block list"),
    "wants-login": (lambda: Smtp({b"MAIL": b"530 5.7.0 Authentication required\r\n"}), {}, "mail", "530", "wants a user and a password"),
    "hangs-at-once": (lambda: Smtp(banner=hang), {}, "banner", "did not answer in time", "says nothing"),
    "hangs-after-data": (lambda: Smtp({b"MESSAGE": hang}), {}, "data", "did not answer in time", "may be delivered all the same"),
    "hangs-after-mail": (lambda: Smtp({b"MAIL": hang}), {}, "mail", "did not answer in time", "stopped answering"),
    "drops-at-once": (lambda: Smtp(banner=drop), {}, "banner", "closed the connection", "hung up at once"),
    "drops-after-rcpt": (lambda: Smtp({b"RCPT": drop}), {}, "rcpt", "closed the connection", "hung up"),
    "drops-after-data": (lambda: Smtp({b"MESSAGE": drop}), {}, "data", "closed the connection", "may be delivered"),
    "endless-reply": (lambda: Smtp({b"EHLO": flood(b"250-and another thing\r\n")}), {}, "ehlo", "more than 200 lines", "hostile"),
    "endless-line": (lambda: Smtp(banner=flood(b"2" * 50)), {}, "banner", "a line of more than 4096 bytes", "hostile"),
    "binary": (lambda: Smtp(banner=b"\x00\xff\x1b[2J\x9b31m\x07\r\n"), {}, "banner", "no SMTP", "does not speak SMTP"),
    "http": (lambda: Smtp(banner=b"HTTP/1.1 400 Bad Request\r\n\r\n"), {}, "banner", "HTTP/1.1 400", "does not speak SMTP"),
    "drips": (lambda: Smtp(banner=drip(b"2")), {}, "banner", "did not answer in time", "."),
    "drips-in-data": (lambda: Smtp({b"DATA": drip(b"354-more\r\n")}), {}, "data", "did not answer in time", "."),
    "no-starttls": (lambda: Smtp(), {"tls": "starttls"}, "tls", "does not offer STARTTLS", "STARTTLS is missing"),
    "plain-port": (lambda: Smtp(), {"tls": "implicit"}, "tls", "clear text", "set tls to starttls"),
    "no-clear-password": (lambda: Smtp(offers=[b"AUTH PLAIN"]), {**AUTH, "cleartext_auth": False}, "auth", "not encrypted", "cleartext_auth"),
    "no-mechanism": (lambda: Smtp(offers=[b"AUTH GSSAPI"]), AUTH, "auth", "GSSAPI", "mechanism"),
    "wrong-password": (
        lambda: Smtp({b"AUTH": echo_password}, offers=[b"AUTH PLAIN"]), AUTH, "auth", "535 5.7.8", "user or password is wrong",
    ),
    "asks-forever": (lambda: Smtp({b"AUTH": b"334 \r\n334 \r\n334 \r\n334 \r\n334 \r\n334 \r\n334 \r\n334 \r\n"}, offers=[b"AUTH PLAIN"]),
                     AUTH, "auth", "again and again", "."),
    "utf8": (lambda: Smtp(), {"from": "grün@example.org"}, "mail", "SMTPUTF8", "ASCII"),
}  # fmt: skip

RIGHT = {
    "good": (lambda: Smtp(), {}),
    "no-pipelining": (lambda: Smtp(offers=[]), {}),
    "helo": (lambda: Smtp({b"EHLO": b"502 5.5.2 what?\r\n"}), {}),
    "utf8-good": (lambda: Smtp(offers=[b"SMTPUTF8", b"8BITMIME"]), {"from": "grün@example.org"}),
    "partly": (lambda: Smtp({b"RCPT": one_refused}), {}),
    "login": (lambda: Smtp({b"AUTH": b"235 2.7.0 Ok\r\n"}, offers=[b"AUTH PLAIN"]), AUTH),
    "xoauth2": (lambda: Smtp({b"AUTH": b"235 2.7.0 Ok\r\n"}, offers=[b"AUTH XOAUTH2 PLAIN"]), {"user": "shop", "token": "ya29.T0ken", "cleartext_auth": True}),
}


@pytest.fixture(scope="module")
def house():
    """{name: server} and one daemon with a profile for each."""
    servers = {name: made[0]() for name, made in {**WRONG, **RIGHT}.items()}
    profiles = {name: profile(server.port, **{**WRONG, **RIGHT}[name][1]) for name, server in servers.items()}
    profiles["nobody"] = profile(free_port())
    profiles["no-name"] = {**profile(25), "url": "smtp://mail.invalid", "dns": [f"127.0.0.1:{free_port()}"]}
    with mail_daemon(profiles) as daemon:
        yield servers, daemon
    for server in servers.values():
        server.close()


@pytest.fixture(scope="module")
def answers(house):
    """Every wrong server asked once, all at the same time; and how long each took."""
    _, daemon = house

    def ask(name):
        begin = time.monotonic()
        return send(daemon, name), time.monotonic() - begin

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return dict(zip(WRONG, pool.map(ask, WRONG)))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(answers, name):
    _, _, stage, verdict, hint = WRONG[name]
    answer, _ = answers[name]
    problem, result = failed(answer)
    assert result["stage"] == stage, answer
    assert verdict in result["verdict"], answer
    assert re.search(hint, result["hint"]), answer
    assert problem["remedy"] == result["hint"] and problem["detail"] == result["verdict"]
    assert not result["steps"][-1]["ok"] or stage in ("mail",), answer
    assert result["accepted"] == [] or stage == "data", answer
    assert not any(ord(c) < 32 and c != "\n" for c in json.dumps(result, ensure_ascii=False)), answer


def test_no_password_anywhere(house, answers):
    """Not in results, transcripts, logs, records or artifacts; neither as it is nor in base64."""
    _, daemon = house
    sent = base64.b64encode(b"\0shop\0" + PASSWORD.encode())
    texts = [answer.body for answer, _ in answers.values()]
    for name in ("login", "wrong-password", "xoauth2"):
        for suffix in ("", "?format=text"):
            texts.append(daemon.ask("POST", f"/v1/hatches/mail.send{suffix}", {"profile": name}).body)
    texts.append(daemon.log().encode())
    texts += [path.read_bytes() for path in pathlib.Path(daemon.folder, "runs").rglob("*") if path.is_file()]
    assert any(b"AUTH PLAIN ******" in text for text in texts)
    for secret in (PASSWORD.encode(), json.dumps(PASSWORD).strip('"').encode(), sent, base64.b64encode(PASSWORD.encode()), b"ya29.T0ken",
                   sent[8:-4], base64.b64encode(PASSWORD.encode()).strip(b"=")[:-1]):  # fmt: skip
        for text in texts:
            assert secret not in text, (secret, text[:3000])


def test_nothing_takes_longer_than_its_bound(answers):
    """step_timeout is 2 s; the rest is patience for a loaded machine."""
    for name, (_, took) in answers.items():
        assert took < 45, (name, took)


def test_nobody_listens(house):
    _, result = failed(send(house[1], "nobody"))
    assert result["stage"] == "connect" and "refused" in result["verdict"]
    assert "nothing listens" in result["hint"]
    assert result["addresses"][0]["connected"] is False


def test_no_name_server(house):
    _, result = failed(send(house[1], "no-name"))
    assert result["stage"] == "resolve" and result["hint"].startswith("DNS:")


@pytest.mark.parametrize("name", ["good", "no-pipelining", "helo", "login", "xoauth2", "utf8-good"])
def test_what_is_right(house, name):
    servers, daemon = house
    result = succeeded(send(daemon, name, subject="Is it there?", msg="Line one\n.\n..two"))
    assert result["stage"] == "accepted" and result["accepted"] == ["oncall@example.org"] and result["refused"] == []
    assert result["queue_id"] == "TEST1234" and "queued as TEST1234" in result["reply"]
    assert [step["name"] for step in result["steps"] if not step["ok"]] == []
    assert "TEST1234" in result["verdict"]
    message = servers[name].messages[-1].decode()
    assert "Auto-Submitted: auto-generated\r\n" in message and "Is it there?" in message
    assert "\r\n..\r\n...two\r\n" in message, "dots are stuffed"
    assert message.count("\r\n.\r\n") == 1
    if name == "utf8-good":
        assert any(b"SMTPUTF8" in line for line in servers[name].lines if line.startswith(b"MAIL"))


def test_the_run_is_in_subject_and_header(house):
    servers, daemon = house
    answer = send(daemon, "good")
    run = answer.json()["id"]
    message = servers["good"].messages[-1].decode()
    assert f"Subject: [hatchd {run}] Test message" in message and f"X-Hatchd-Run: {run}" in message
    assert "asked hatchd on" in message and "X-Hatchd-Asked-By: " in message


def test_one_of_several_recipients_is_refused(house):
    result = succeeded(send(house[1], "partly", to=["oncall@example.org", "gone@test.example.org"]))
    assert result["partial"] is True and result["accepted"] == ["oncall@example.org"]
    assert result["refused"] == [{"address": "gone@test.example.org", "code": 550, "status": "5.1.1", "text": "<x>: no such user here"}]
    assert "refused 1 of 2" in result["verdict"] and result["queue_id"] == "TEST1234"


def test_check_sends_nothing(house):
    servers, daemon = house
    before = len(servers["good"].messages)
    result = succeeded(send(daemon, "good", "mail.check"))
    assert result["stage"] == "rcpt" and result["queue_id"] is None
    assert len(servers["good"].messages) == before
    assert servers["good"].lines[-2:] == [b"RSET\r\n", b"QUIT\r\n"]


def test_text_reads_like_a_transcript(house):
    answer = house[1].ask("POST", "/mail.send", {"profile": "good"}, {"Accept": "text/plain"})
    assert answer.status == 200 and answer.type == "text/plain"
    assert " ms  < 220 mail.test ESMTP" in answer.text and " ms  > MAIL FROM:<hatch@example.org>" in answer.text


@pytest.mark.parametrize(
    "params",
    [
        {"to": ["stranger@example.org"]},
        {"to": ["a@example.org\r\nRCPT TO:<b@example.org>"]},
        {"to": ["x@test.example.org>\r\nDATA"]},
        {"to": ["*@test.example.org"]},
        {"sender": "boss@example.org"},
        {"sender": "hatch@example.org>\r\nRCPT TO:<b@example.org"},
        {"to": [f"a{i}@test.example.org" for i in range(21)]},
        {"from": "target"},
        {"network": "target"},
    ],
    ids=str,
)
def test_what_is_not_allowed_reaches_no_server(house, params):
    servers, daemon = house
    before = servers["good"].connections
    for hatch in ("mail.send", "mail.check"):
        answer = send(daemon, "good", hatch, **params)
        assert answer.status == 424 and answer.json()["remedy"], answer
    assert servers["good"].connections == before


def test_a_caller_cannot_add_headers(house):
    servers, daemon = house
    answer = send(daemon, "good", subject="x\r\nBcc: all@example.org\r\n\r\nhello\r\n.\r\nMAIL FROM:<a@b>", msg="\r\n.\r\nQUIT\r\n")
    succeeded(answer)
    message = servers["good"].messages[-1].decode()
    assert "\nBcc" not in message and message.count("\r\n.\r\n") == 1 and "\r\n..\r\n" in message


def test_a_dry_run_connects_to_nobody(house):
    servers, daemon = house
    before = servers["good"].connections
    answer = daemon.run("mail.send", {"profile": "good", "dry_run": True})
    assert answer.status == 200 and answer.json()["ready"] is True
    answer = daemon.run("mail.send", {"profile": "good", "to": ["stranger@example.org"], "dry_run": True})
    assert answer.json()["ready"] is False and answer.json()["remedy"]
    assert servers["good"].connections == before


def test_cancelling_ends_the_run_at_once(house):
    _, daemon = house
    run = daemon.start_run("mail.send", {"profile": "hangs-after-mail"})
    wait_until("the run to be under way", lambda: daemon.record(run)["state"] == "running")
    daemon.ask("DELETE", f"/v1/runs/{run}")
    assert daemon.ended(run)["state"] in ("cancelled", "failed")


def test_ipv6_and_every_address_is_shown():
    try:
        server = Smtp(address="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    by_name = {**profile(0), "url": f"smtp://localhost:{server.port}"}
    profiles = {"literal": {**profile(0), "url": f"smtp://[::1]:{server.port}"}, "name": by_name, "ipv4": {**by_name, "addresses": "ipv4"}}
    with mail_daemon(profiles) as daemon:
        result = succeeded(send(daemon, "literal"))
        assert result["addresses"][0]["address"] == "::1" and result["addresses"][0]["local"] == "::1"
        # The hosts file may say one or both of localhost's addresses; whatever it says is tried.
        _, result = failed(send(daemon, "ipv4"))
        assert [one["address"] for one in result["addresses"]] == ["127.0.0.1"]
        answer = send(daemon, "name")
        tried = {one["address"]: one["connected"] for one in (answer.json().get("run") or answer.json())["result"]["addresses"]}
        assert tried.pop("127.0.0.1", False) is False and all(tried.values()), tried
    server.close()


def test_the_run_s_own_end_leaves_a_report():
    """The server hangs for longer than the whole run may take."""
    server = Smtp({b"RCPT": hang})
    with Daemon(
        {},
        {"plugins": {"mail": {"profiles": {"default": profile(server.port, step_timeout="60s")}}}, "hatches": {"mail.check": {"timeout": "4s"}}},
    ) as daemon:
        _, result = failed(daemon.run("mail.check"))
        assert result["stage"] == "rcpt" and "in time" in result["verdict"] and "timeout" in result["hint"], result
        assert [step["name"] for step in result["steps"]][:4] == ["resolve", "connect", "banner", "ehlo"]
    server.close()


def challenge(server, connection, line):
    """SCRAM that knows nothing: what it says must not be shown either."""
    nonce = base64.b64decode(line.split()[2]).split(b"r=")[1]
    first = b"r=" + nonce + b"Server,s=" + base64.b64encode(b"saltsaltsaltsalt") + b",i=4096"
    connection.sendall(b"334 " + base64.b64encode(first) + b"\r\n")
    connection.sendall(b"235 2.7.0 welcome\r\n")


def test_a_server_that_takes_any_password_is_told_from_the_right_one():
    server = Smtp({b"AUTH": challenge}, offers=[b"AUTH SCRAM-SHA-256 PLAIN"])
    with mail_daemon({"default": profile(server.port, **AUTH)}) as daemon:
        answer = daemon.run("mail.check")
        _, result = failed(answer)
        assert result["stage"] == "auth" and "without proving" in result["verdict"]
        assert "334 ******" in [line["text"] for line in result["transcript"]]
        assert base64.b64encode(b"saltsaltsaltsalt").decode() not in answer.text and "Server,s=" not in answer.text
    server.close()


def test_the_default_cooldown():
    server = Smtp()
    with Daemon({}, {"plugins": {"mail": {"profiles": {"default": profile(server.port)}}}}) as daemon:
        succeeded(daemon.run("mail.send"))
        answer = daemon.run("mail.send")
        assert answer.status == 429 and answer.json()["code"] == "cooldown" and answer.headers["retry-after"], answer
        succeeded(daemon.run("mail.check"))
        assert daemon.get("/v1/hatches/mail.send").json()["cooldown_ms"] == 10_000
    server.close()
