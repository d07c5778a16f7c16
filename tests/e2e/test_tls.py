"""TCP beyond loopback: TLS, or nothing but health and metrics. The certificate changes without a restart."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from harness import AM_ROOT, BUILD, HATCHCTL, HATCHD, TOKEN, Daemon, free_port, wait_until


def make_certificate(folder, name, *more):
    """NAME.pem and NAME.key for localhost."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate), *more], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


class TlsDaemon(Daemon):
    """A daemon whose one TCP listener speaks TLS, on every address."""

    def __init__(self, targets, config=None):
        super().__init__(targets, config, tcp=True, start=False)
        self.certificate, self.key = make_certificate(self.folder, "first")
        self.config["listen"][1] = {"tcp": f"0.0.0.0:{self.port}"}
        self.config["tls"] = {"certificate": str(self.certificate), "key": str(self.key)}
        self.file.write_text(json.dumps(self.config, indent=2))
        self.start()

    def secure(self, certificate=None):
        context = ssl.create_default_context(cafile=str(certificate or self.certificate))
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=context)

    def connection(self, tcp=False, timeout=60):
        return self.secure() if tcp else super().connection(False, timeout)


def install(daemon, name):
    """Another certificate in the place of the first, taken over by SIGHUP."""
    certificate, key = make_certificate(daemon.folder, name)
    certificate.replace(daemon.certificate)
    key.replace(daemon.key)
    before = len(daemon.log())
    daemon.popen.send_signal(signal.SIGHUP)
    wait_until("the certificate to be taken over", lambda: "is taken over" in daemon.log()[before:])


def bearer(token=TOKEN):
    return {"Authorization": f"Bearer {token}"}


def test_hatches_over_tls(demo):
    with TlsDaemon(demo.pid) as daemon:
        assert daemon.get("/v1/hatches", tcp=True).status == 401
        answer = daemon.get("/v1/hatches/stack.dump", headers=bearer(), tcp=True)
        assert answer.status == 200 and f"https://localhost:{daemon.port}" in answer.json()["curl"], answer
        assert daemon.run("stack.dump", headers=bearer(), tcp=True).json()["state"] == "succeeded"
        # As the client of everybody: curl, with the certificate and without it.
        command = ["curl", "-sS", "-H", f"Authorization: Bearer {TOKEN}", f"https://localhost:{daemon.port}/v1/targets"]
        good = subprocess.run([*command, "--cacert", str(daemon.certificate)], capture_output=True, text=True, timeout=60, check=False)
        assert good.returncode == 0 and json.loads(good.stdout)["targets"][0]["name"] == "demo", good
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 60  # not trusted


def test_hatchctl_over_tls(demo):
    with TlsDaemon(demo.pid) as daemon:
        token = daemon.folder / "token.header"
        token.write_text(f"Authorization: Bearer {TOKEN}\n")
        token.chmod(0o600)
        command = [HATCHCTL, "--url", f"https://localhost:{daemon.port}", "--token-file", str(token), "targets"]
        known = {**os.environ, "SSL_CERT_FILE": str(daemon.certificate)}
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and "demo" in done.stdout, done
        known.pop("SSL_CERT_FILE")
        assert subprocess.run(command, env=known, capture_output=True, timeout=60, check=False).returncode == 4


def test_plain_http_to_a_port_of_tls_is_told_so(demo):
    with TlsDaemon(demo.pid) as daemon:
        plain = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
        plain.request("GET", "/v1/hatches", headers=bearer())
        answer = plain.getresponse()
        assert answer.status == 400 and b"https://" in answer.read()
        plain.close()
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as noise:
            noise.sendall(b"\0\1\2\3")
            assert noise.recv(100) == b""


def test_a_new_certificate_is_for_new_connections_and_old_ones_go_on(demo):
    with TlsDaemon(demo.pid) as daemon:
        old = daemon.secure()
        old.request("GET", "/v1/targets", headers=bearer())
        assert old.getresponse().read()
        install(daemon, "second")
        with contextlib.closing(daemon.secure()) as new:
            new.request("GET", "/v1/targets", headers=bearer())
            assert new.sock.getpeercert()["subject"] == ((("commonName", "second"),),)
            assert new.getresponse().status == 200
        old.request("GET", "/v1/targets", headers=bearer())
        assert old.getresponse().status == 200
        assert old.sock.getpeercert()["subject"] == ((("commonName", "first"),),)
        old.close()

        # One that does not fit its key is not taken over.
        make_certificate(daemon.folder, "third")[0].replace(daemon.certificate)
        daemon.popen.send_signal(signal.SIGHUP)
        wait_until("the log to say why not", lambda: "/tls/key: does not belong to the certificate" in daemon.log())
        with contextlib.closing(daemon.secure()) as still, pytest.raises(ssl.SSLError):
            still.request("GET", "/livez")  # it trusts the third, and meets the second


def test_events_over_tls(demo):
    with TlsDaemon(demo.pid) as daemon:
        with contextlib.closing(daemon.secure()) as connection:
            connection.request("POST", "/v1/hatches/stack.dump", "", {"Accept": "text/event-stream", **bearer()})
            assert b"event: result" in connection.getresponse().read()


REFUSED = [
    ({}, "beyond loopback TLS is required"),
    ({"tls": False}, "beyond loopback TLS is required"),
    ({"tls": True}, "needs certificate and key"),
]


@pytest.mark.parametrize("more, told", REFUSED)
def test_beyond_loopback_nothing_starts_without_tls(demo, more, told):
    daemon = Daemon(demo.pid, start=False)
    try:
        daemon.config["listen"].append({"tcp": f"0.0.0.0:{free_port()}", **more})
        daemon.file.write_text(json.dumps(daemon.config))
        ended = subprocess.run([HATCHD, "--config", str(daemon.file)], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 78 and told in ended.stderr, ended
    finally:
        daemon.close()


def test_beyond_loopback_a_listener_for_probes_alone_needs_no_tls(demo):
    port = free_port()
    with Daemon(demo.pid, start=False) as daemon:
        daemon.config["listen"].append({"tcp": f"0.0.0.0:{port}", "only": ["health", "metrics"], "anonymous": "metrics"})
        daemon.file.write_text(json.dumps(daemon.config))
        daemon.start()
        daemon.port = port
        assert daemon.get("/livez", tcp=True).status == 200
        refused = daemon.get("/v1/hatches", tcp=True)
        assert refused.status == 404 and refused.json()["code"] == "route-unknown", refused


def test_hatchd_does_not_start_with_a_key_that_cannot_be_used(demo):
    daemon = Daemon(demo.pid, tcp=True, start=False)
    try:
        certificate, key = make_certificate(daemon.folder, "mine")
        _, other = make_certificate(daemon.folder, "other")
        cases = [(key, 0o644, "can be read by everybody"), (other, 0o600, "does not belong to the certificate")]
        for file, mode, told in cases:
            file.chmod(mode)
            daemon.config["tls"] = {"certificate": str(certificate), "key": str(file)}
            daemon.file.write_text(json.dumps(daemon.config))
            for command in ([HATCHD, "--config"], [HATCHD, "check", "--config"]):
                ended = subprocess.run([*command, str(daemon.file)], capture_output=True, text=True, timeout=60, check=False)
                assert ended.returncode != 0 and "/tls/key" in ended.stderr and told in ended.stderr, ended
    finally:
        daemon.close()


@pytest.mark.skipif(not AM_ROOT, reason="takes a front of another user")
def test_an_installation_where_only_root_may_look(demo, tmp_path):
    """The front reads nothing of it any more when it has lowered its rights."""
    place = tmp_path / "closed"
    for part, name in (("bin", "hatchd"), ("libexec", "hatchd-worker"), ("libexec", "hatchd-tls.so")):
        (place / part).mkdir(parents=True, exist_ok=True)
        shutil.copy2(BUILD / part / name, place / part / name)
    place.chmod(0o700)

    class Closed(TlsDaemon):
        program = str(place / "bin/hatchd")

    with Closed(demo.pid) as daemon:
        assert daemon.get("/livez", tcp=True).status == 200
        install(daemon, "second")
        assert daemon.get("/livez", tcp=True).status == 200


def test_an_installation_without_the_part_that_speaks_tls_says_so(demo, tmp_path):
    for part, name in (("bin", "hatchd"), ("libexec", "hatchd-worker")):
        (tmp_path / part).mkdir()
        shutil.copy2(BUILD / part / name, tmp_path / part / name)
    command = [str(tmp_path / "bin/hatchd"), "check", "--config"]
    with Daemon(demo.pid, tcp=True, start=False) as daemon:
        plain = subprocess.run([*command, str(daemon.file)], capture_output=True, text=True, timeout=60, check=False)
        assert "tls" not in plain.stderr, plain
        certificate, key = make_certificate(daemon.folder, "mine")
        daemon.config["tls"] = {"certificate": str(certificate), "key": str(key)}
        daemon.file.write_text(json.dumps(daemon.config))
        ended = subprocess.run([*command, str(daemon.file)], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode != 0 and "hatchd-tls.so is neither in" in ended.stderr and "install hatchd whole" in ended.stderr, ended
