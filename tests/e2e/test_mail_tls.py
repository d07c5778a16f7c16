"""What mail.check and mail.send say about certificates and TLS, against small servers with a wrong one each."""

import pytest

from mail import PASSWORD, Authority, Smtp, failed, mail_daemon, profile, send, succeeded


def inject(server, connection, line):
    """Text in the same packet, behind the answer and before the handshake: what somebody in between could do."""
    connection.sendall(b"220 2.0.0 go ahead\r\n250 2.0.0 injected\r\n")


@pytest.fixture(scope="module")
def house():
    authority, other = Authority(), Authority("Other Authority")
    issue = authority.issue
    # Every certificate by STARTTLS and by TLS at once.
    certificates = {
        "good": issue("good"),
        "expired": issue("expired", days=-3),
        "soon": issue("soon", days=5),
        "self-signed": issue("self-signed", self_signed=True),
        "wrong-name": issue("wrong-name", names=("mail.elsewhere.example",)),
        "no-name": issue("no-name", names=()),
        "chain": issue("chain", intermediate="sent"),
        "no-intermediate": issue("no-intermediate", intermediate="missing"),
        "stranger": other.issue("stranger"),
    }
    servers, profiles = {}, {}
    for name, files in certificates.items():
        for mode in ("starttls", "implicit"):
            servers[f"{name}-{mode}"] = server = Smtp(tls=files, implicit=mode == "implicit", offers=[b"PIPELINING", b"AUTH PLAIN"],
                                                      replies={b"AUTH": b"235 2.7.0 Ok\r\n"})  # fmt: skip
            profiles[f"{name}-{mode}"] = profile(server.port, tls=mode, ca=str(authority.file), user="shop", password=PASSWORD)
    auto = servers["self-signed-starttls"].port
    profiles["opportunistic"] = profile(auto)
    profiles["forced"] = profile(auto, tls="starttls", verify=False, user="shop", password=PASSWORD)
    profiles["by-name"] = {**profiles["wrong-name-starttls"], "server_name": "mail.elsewhere.example"}
    profiles["says-plain"] = profile(servers["good-implicit"].port, tls="none")
    profiles["no-ca"] = {**profiles["good-starttls"], "ca": "/nonexistent/ca.pem"}
    servers["injects"] = Smtp({b"STARTTLS": inject}, offers=[b"STARTTLS"])
    profiles["injects"] = profile(servers["injects"].port, ca=str(authority.file))
    servers["refuses-tls"] = Smtp({b"STARTTLS": b"454 4.7.0 TLS not available\r\n"}, offers=[b"STARTTLS"])
    profiles["refuses-tls"] = profile(servers["refuses-tls"].port)
    with mail_daemon(profiles) as daemon:
        yield servers, daemon
    for server in servers.values():
        server.close()
    authority.close()
    other.close()


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("name", ["good", "chain", "soon"])
def test_a_good_certificate(house, name, mode):
    servers, daemon = house
    result = succeeded(send(daemon, f"{name}-{mode}"))
    tls = result["tls"]
    assert tls["verified"] is True and tls["mode"] == mode and tls["version"].startswith("TLSv1.") and tls["cipher"], tls
    assert tls["matched_name"] == "127.0.0.1" and "Test Authority" in tls["trusted_root"]
    assert len(tls["chain"]) == (2 if name == "chain" else 1)
    leaf = tls["chain"][0]
    assert leaf["subject"] == f"CN={name}" and leaf["names"] == ["localhost", "127.0.0.1"]
    assert leaf["days_left"] == (5 if name == "soon" else 100) and leaf["not_after"].endswith("Z")
    assert leaf["key"] == "EC 256" and len(leaf["sha256"]) == 64
    assert ("ends in 5 days" in str(result.get("warnings"))) == (name == "soon")
    assert result["mechanism"] == "PLAIN"
    if mode == "starttls":
        assert "STARTTLS" in result["capabilities_before_tls"]["offered"] and "STARTTLS" not in result["capabilities"]["offered"]


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize(
    "name, why, hint",
    [
        ("expired", "expired", "has to be renewed"),
        ("self-signed", "self-signed", "signed by itself"),
        ("wrong-name", "is for mail.elsewhere.example, not for 127.0.0.1", "set server_name"),
        ("no-name", "is for no name at all", "server_name"),
        ("no-intermediate", "unable to get local issuer", "intermediate certificate of CN=Test Intermediate"),
        ("stranger", "unable to get local issuer", "trust it with the profile's ca"),
    ],
)
def test_a_bad_certificate_is_examined_and_gets_no_password(house, name, why, hint, mode):
    servers, daemon = house
    _, result = failed(send(daemon, f"{name}-{mode}"))
    assert result["stage"] == "tls" and why in result["verdict"] and hint in result["hint"], result
    tls = result["tls"]
    assert tls["verified"] is False and why in tls["error"] and tls["version"] and tls["cipher"]
    assert tls["chain"][0]["subject"] == f"CN={name}"
    assert (tls["chain"][0]["days_left"] < 0) == (name == "expired")
    assert tls["incomplete"] == (name in ("no-intermediate", "stranger"))
    assert any("does not verify" in warning for warning in result["warnings"])
    assert not any(line.startswith((b"AUTH", b"MAIL")) for line in servers[f"{name}-{mode}"].lines)


def test_without_credentials_a_bad_certificate_is_a_warning(house):
    result = succeeded(send(house[1], "opportunistic"))
    assert result["tls"]["verified"] is False and "does not verify" in result["warnings"][0]


def test_verify_false_goes_on(house):
    result = succeeded(send(house[1], "forced"))
    assert result["tls"]["verified"] is False and result["mechanism"] == "PLAIN"


def test_another_name_may_be_asked_for(house):
    result = succeeded(send(house[1], "by-name"))
    assert result["tls"]["verified"] is True and result["tls"]["server_name"] == "mail.elsewhere.example"


def test_text_behind_starttls_is_refused(house):
    _, result = failed(send(house[1], "injects"))
    assert result["stage"] == "tls" and "behind the answer to STARTTLS" in result["verdict"]
    assert "do not use this connection" in result["hint"]
    assert result["tls"] is None and house[0]["injects"].lines[-1] == b"STARTTLS\r\n"


def test_a_server_that_takes_starttls_back(house):
    _, result = failed(send(house[1], "refuses-tls"))
    assert result["stage"] == "tls" and "454" in result["verdict"] and "try again" in result["hint"]


def test_tls_at_once_where_the_profile_says_plain(house):
    _, result = failed(send(house[1], "says-plain"))
    assert result["stage"] == "banner" and "speaks TLS at once" in result["hint"] and "set tls to implicit" in result["hint"]


def test_an_authority_file_that_is_not_there(house):
    _, result = failed(send(house[1], "no-ca"))
    assert result["stage"] == "tls" and "/nonexistent/ca.pem" in result["verdict"]


def test_the_text_shows_the_certificate(house):
    answer = house[1].ask("POST", "/mail.check", {"profile": "good-starttls"}, {"Accept": "text/plain"})
    assert "CN=good" in answer.text and "verified for 127.0.0.1" in answer.text and "STARTTLS" in answer.text
