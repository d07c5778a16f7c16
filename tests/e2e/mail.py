"""Mail servers for the tests of mail.send and mail.check: small ones that misbehave on purpose, certificates for them, and
a real Postfix with Dovecot. All of them listen on loopback and live in a temporary folder."""

import contextlib
import datetime
import ipaddress
import os
import pathlib
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness import Daemon, free_port, wait_until

PASSWORD = "s3cr3t/Pass=wörd"  # nothing that hatchd says or keeps may hold it


# ---- certificates -----------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of its own, and certificates that are wrong in one way each."""

    def __init__(self, name="Test Authority"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="e2e-certificates-"))
        self.folder.chmod(0o755)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.build(self.name, self.name, self.key, self.key, days=3650, authority=True)
        self.file = self.folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.file.chmod(0o644)

    @staticmethod
    def build(subject, issuer, key, signer, days, names=(), authority=False):
        now = datetime.datetime.utcnow()
        end = now + datetime.timedelta(days=days, hours=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - datetime.timedelta(days=30))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            entries = []
            for name in names:
                with contextlib.suppress(ValueError):
                    entries.append(x509.IPAddress(ipaddress.ip_address(name)))
                    continue
                entries.append(x509.DNSName(name))
            builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
        return builder.sign(signer, hashes.SHA256())

    def issue(self, label, names=("localhost", "127.0.0.1"), days=100, self_signed=False, intermediate=None):
        """(certificate file, key file). `intermediate`: "sent" or "missing"."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
        pem = []
        if self_signed:
            leaf = self.build(subject, subject, key, key, days, names)
        elif intermediate:
            between_key = ec.generate_private_key(ec.SECP256R1())
            between_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Intermediate")])
            between = self.build(between_name, self.name, between_key, self.key, 1000, authority=True)
            leaf = self.build(subject, between_name, key, between_key, days, names)
            if intermediate == "sent":
                pem.append(between)
        else:
            leaf = self.build(subject, self.name, key, self.key, days, names)
        pem.insert(0, leaf)
        certificate, private = self.folder / f"{label}.pem", self.folder / f"{label}.key"
        certificate.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in pem))
        private.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return str(certificate), str(private)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- a mail server that does what it is told ------------------------------------------------------------------------


class Smtp:
    """Answers every command as `replies` says (bytes, or a function of connection and line), else as a server does.

    `tls`: certificate and key; STARTTLS is offered then. `implicit`: TLS from the first byte.
    """

    def __init__(self, replies=None, banner=b"220 mail.test ESMTP\r\n", offers=(b"PIPELINING", b"8BITMIME"), tls=None, implicit=False, address="127.0.0.1"):
        self.replies, self.banner, self.offers, self.implicit = replies or {}, banner, list(offers), implicit
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
            if not implicit:
                self.offers.append(b"STARTTLS")
        self.lines, self.messages, self.connections = [], [], 0
        self.closing = threading.Event()
        self.listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self.serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, connection):
        connection.settimeout(30)
        with contextlib.suppress(OSError, ValueError):
            if self.implicit:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.converse(connection)
        with contextlib.suppress(OSError):
            connection.close()

    def say(self, connection, what, line=b""):
        if callable(what):
            what = what(self, connection, line)
        if what:
            connection.sendall(what)
        return what

    def converse(self, connection):
        self.say(connection, self.banner)
        reader = connection.makefile("rb")
        encrypted = self.implicit
        while not self.closing.is_set():
            line = reader.readline(65536)
            if not line:
                return
            self.lines.append(line)
            verb = line.split(b" ")[0].strip().upper()
            if verb in self.replies:
                answer = self.say(connection, self.replies[verb], line)
                if verb == b"DATA" and answer and answer.startswith(b"354"):
                    self.take(connection, reader)
            elif verb in (b"EHLO", b"HELO"):
                offers = [o for o in self.offers if not (encrypted and o == b"STARTTLS")]
                lines = [b"mail.test"] + offers
                connection.sendall(b"".join(b"250%s%s\r\n" % (b" " if i == len(lines) - 1 else b"-", one) for i, one in enumerate(lines)))
            elif verb == b"STARTTLS":
                connection.sendall(b"220 2.0.0 go ahead\r\n")
                connection = self.context.wrap_socket(connection, server_side=True)
                reader, encrypted = connection.makefile("rb"), True
            elif verb == b"DATA":
                connection.sendall(b"354 go ahead\r\n")
                self.take(connection, reader)
            elif verb == b"QUIT":
                connection.sendall(b"221 2.0.0 bye\r\n")
                return
            else:
                connection.sendall(b"250 2.1.0 Ok\r\n")

    def take(self, connection, reader):
        message = b""
        while not message.endswith(b"\r\n.\r\n"):
            line = reader.readline(65536)
            if not line:
                return
            message += line
        self.messages.append(message)
        self.say(connection, self.replies.get(b"MESSAGE", b"250 2.0.0 Ok: queued as TEST1234\r\n"))

    def close(self):
        self.closing.set()
        # A thread that waits in accept() does not see close().
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def hang(server, connection, line):
    """Says nothing until the test is over or the other side has gone."""
    while not server.closing.wait(0.1):
        with contextlib.suppress(BlockingIOError):
            if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                return
    return


def drop(server, connection, line):
    connection.shutdown(socket.SHUT_RDWR)


def drip(text):
    """A byte now and then, never the whole of it in time."""

    def slowly(server, connection, line):
        for byte in text * 1000:
            if server.closing.wait(0.2):
                return
            connection.sendall(bytes([byte]))

    return slowly


def flood(piece):
    def endlessly(server, connection, line):
        while not server.closing.is_set():
            connection.sendall(piece * 100)

    return endlessly


# ---- the daemon with a profile for each server ------------------------------------------------------------------------


def profile(port, scheme="smtp", **more):
    return {
        "url": f"{scheme}://127.0.0.1:{port}",
        "from": "hatch@example.org",
        "to": ["oncall@example.org", "*@test.example.org"],
        "step_timeout": "2s",
        "connect_timeout": "2s",
        **more,
    }


def mail_daemon(profiles, targets=None, **more):
    """More is more of the configuration."""
    hatches = {"mail.send": {"cooldown": "0s", "concurrency": 20, "timeout": "60s"}, "mail.check": {"concurrency": 20, "timeout": "60s"}}
    return Daemon(targets or {}, {"plugins": {"mail": {"profiles": profiles}}, "hatches": hatches, **more})


def send(daemon, name, hatch="mail.send", **params):
    return daemon.run(hatch, {"profile": name, **params})


def failed(answer):
    """The run of an answer that says that mail does not leave: (problem, result)."""
    assert answer.status == 424, answer
    problem = answer.json()
    assert problem["code"] == "run-failed", answer
    return problem, problem["run"]["result"]


def succeeded(answer):
    assert answer.status == 200, answer
    return answer.json()["result"]


# ---- Postfix and Dovecot ------------------------------------------------------------------------------------------------


class Boxes:
    """Maildirs that Postfix fills as nobody, and that everybody may read."""

    def __init__(self, *names):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="e2e-mail-"))
        owner = pwd.getpwnam("nobody")
        self.uid, self.gid = owner.pw_uid, owner.pw_gid
        for name in names:
            for part in ("new", "cur", "tmp"):
                (self.folder / name / part).mkdir(parents=True)
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self.uid, self.gid)
            path.chmod(0o777)

    def __getitem__(self, name):
        return self.folder / name

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class MailServer:
    """A server with a folder of its own, ended by its pid. What it logged is printed when it does not come up."""

    def start(self, argv, what, condition):
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait_until(what, condition, 30)
        except AssertionError:
            print(self.log())
            self.close()
            raise

    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self):
        end(self.popen)
        shutil.rmtree(self.folder, ignore_errors=True)


class Postfix(MailServer):
    """A real Postfix with queue, data and configuration of its own; mail for anybody at @test.example.org goes into
    the Maildir "box". Authentication by a Dovecot, when one is given; it must be there before."""

    def __init__(self, authority, boxes, dovecot=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="e2e-postfix-"))
        self.folder.chmod(0o755)
        self.port, self.tls_port = free_port(), free_port()
        config, queue, data = (self.folder / name for name in ("config", "queue", "data"))
        for path in (config, queue, data):
            path.mkdir()
        shutil.chown(data, "postfix")
        certificate, key = authority.issue("postfix")
        main = {
            "compatibility_level": "3.6",
            "queue_directory": queue,
            "data_directory": data,
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "shlib_directory": "/usr/lib/postfix",
            "meta_directory": "/etc/postfix",
            "maillog_file": self.folder / "log",
            "maillog_file_prefixes": self.folder,
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "mail.test",
            "mydestination": "",
            "mynetworks": "192.0.2.0/24",
            "relay_domains": "",
            "virtual_mailbox_domains": "test.example.org",
            "virtual_mailbox_base": boxes.folder,
            "virtual_mailbox_maps": "static:box/",
            "virtual_uid_maps": f"static:{boxes.uid}",
            "virtual_gid_maps": f"static:{boxes.gid}",
            "virtual_minimum_uid": 1,
            "smtpd_recipient_restrictions": "check_recipient_access inline:{nobody@test.example.org=REJECT}, permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
            "smtpd_tls_cert_file": certificate,
            "smtpd_tls_key_file": key,
            "smtpd_tls_security_level": "may",
            "smtp_dns_support_level": "disabled",
            "smtpd_peername_lookup": "no",
            "local_recipient_maps": "",
            "alias_maps": "",
            **({"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": dovecot.auth_socket,
                "smtpd_tls_auth_only": "yes"} if dovecot else {}),
        }
        (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main.items()))
        services = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            f"127.0.0.1:{self.tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes",
            "pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr", "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce", "virtual unix - n n - - virtual",
            "error unix - - n - - error", "retry unix - - n - - error", "smtp unix - - n - - smtp",
            "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd",
        ]  # fmt: skip
        (config / "master.cf").write_text("\n".join(services) + "\n")
        subprocess.run(["postfix", "-c", config, "check"], check=True, capture_output=True, timeout=60)
        # Not "postfix start", which asks no leave to go into the background.
        self.start(["/usr/lib/postfix/sbin/master", "-c", config, "-d"], "Postfix to answer", lambda: answers(self.port))


class Dovecot(MailServer):
    """Checks passwords for Postfix and serves a Maildir by IMAP."""

    def __init__(self, authority, boxes):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="e2e-dovecot-"))
        self.folder.chmod(0o755)
        self.port, self.tls_port = free_port(), free_port()
        self.auth_socket = str(self.folder / "auth")
        certificate, key = authority.issue("dovecot")
        users = self.folder / "users"
        secret = subprocess.run(
            ["doveadm", "pw", "-s", "SCRAM-SHA-256", "-p", PASSWORD], check=True, capture_output=True, text=True, timeout=30
        ).stdout.strip()
        users.write_text(f"shop:{secret}:{boxes.uid}:{boxes.gid}::{self.folder}::\n")
        users.chmod(0o644)
        config = self.folder / "dovecot.conf"
        config.write_text(f"""
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = yes
auth_mechanisms = plain login scram-sha-256
mail_location = maildir:{boxes["box"]}
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = passwd-file
  args = {users}
}}
service auth {{
  unix_listener {self.auth_socket} {{
    mode = 0666
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = {self.tls_port}
    ssl = yes
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
        self.start(["dovecot", "-F", "-c", str(config)], "Dovecot to answer", lambda: answers(self.port) and os.path.exists(self.auth_socket))


def end(popen):
    popen.terminate()
    try:
        popen.wait(20)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as probe:
        probe.settimeout(2)
        return bool(probe.recv(1))
    return False
