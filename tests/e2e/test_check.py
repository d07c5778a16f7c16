"""`hatchd check`: everything that is wrong, at once and at its place; `hatchd config show`: what it comes to."""

import json
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from harness import AM_ROOT, BUILD, HATCHD, ROOT, Daemon, token_entry
from test_tls import make_certificate

PROBE = str(BUILD / "fixtures" / "probe.so")


def check(file, *options):
    command = [HATCHD, "check", "--config", str(file), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder():
    """A folder that everybody may look into, which those of pytest are not."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="e2e-hatchd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def write(folder, config):
    file = folder / "hatchd.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
    file.chmod(0o644)
    return file


def test_all_faults_of_the_text_come_at_once(folder):
    file = write(
        folder,
        """{
  // a comment
  "lisen": [],
  "targets": { "web": { "unitt": "web.service" } },
  "access": { "read_only": "yes",
    "tokens": [ { "name": "a", "sha256": "12", "role": "boss" } ] },
  "plugins": { "mine": { "path": "mine.so", "capabilities": ["sys_ptrase"] } },
  "grace": "ten seconds",
}""",
    )
    done = check(file)
    assert done.returncode == 1 and done.stdout == ""
    places = {line.split(": ")[0] + ": " + line.split(": ")[1] for line in done.stderr.splitlines()}
    wanted = {"3: /lisen", "4: /targets/web/unitt", "5: /access/read_only", "6: /access/tokens/0/role", "6: /access/tokens/0/sha256"}
    wanted |= {"7: /plugins/mine/path", "7: /plugins/mine/capabilities/0", "8: /grace"}
    assert {f"{file}:{place}" for place in wanted} <= places, done.stderr
    for near in ('"listen"', '"unit"', '"sys_ptrace"'):
        assert f"did you mean {near}" in done.stderr, done.stderr


def test_what_the_configuration_names_and_the_machine_does_not_have(folder):
    gone = folder / "gone.so"
    certificate, key = make_certificate(folder, "mine")
    other = make_certificate(folder, "other")[1]
    config = {
        "listen": [{"unix": str(folder / "s"), "group": "no-such-group"}],
        "targets": {"web": {"unit": "web.service"}},
        "access": {
            "peers": [{"user": "no-such-user", "role": "admin"}, {"group": "no-such-group", "role": "viewer"}],
            "tokens": [token_entry("x", "viewer", hatches=["probe.ekko", "probe.*"], targets=["wep", "web*"])],
        },
        "tls": {"certificate": str(certificate), "key": str(other)},
        "plugins": {"probe": {"path": PROBE}, "stakc": {}},
        "hatches": {"probe.ecko": {"enabled": True}, "probe.echo": {"enabled": True}, "app.anything": {"enabled": True}},
    }
    done = check(write(folder, config))
    assert done.returncode == 1
    told = done.stderr
    for at in [
        "/listen/0/group: there is no group",
        "/access/peers/0/user: does not exist",
        "/access/peers/1/group: does not exist",
        '/access/tokens/0/hatches/0: no enabled plugin has the hatch "probe.ekko"; did you mean "probe.echo"?',
        '/access/tokens/0/targets/0: there is no target "wep"; did you mean "web"?',
        "/tls/key: does not belong to the certificate",
        '/plugins/stakc: no packaged plugin has this name, and it has no "path"; did you mean "stack"?',
        '/hatches/probe.ecko: no enabled plugin has the hatch "probe.ecko"; did you mean "probe.echo"?',
    ]:
        assert at in told, told
    assert len(told.splitlines()) == 8, told
    assert all(line.startswith(f"{folder / 'hatchd.json'}:") for line in told.splitlines()), told

    # A plugin that is not there, and one whose settings its own schema refuses.
    done = check(write(folder, {"plugins": {"gone": {"path": str(gone)}, "probe": {"path": PROBE, "color": "red"}}}))
    assert done.returncode == 1 and f"/plugins/gone/path: {gone}: ENOENT" in done.stderr, done.stderr
    assert "/plugins/probe" in done.stderr and 'did you mean "colour"' in done.stderr, done.stderr
    config = {"tls": {"certificate": str(certificate), "key": str(key)}, "plugins": {"probe": {"path": PROBE}}}
    assert check(write(folder, config)).returncode == 0


@pytest.mark.skipif(not AM_ROOT, reason="only root can become another user")
def test_profiles_of_mail_and_queue_that_do_not_fit(folder):
    """Every fault of every profile, at its place, with what would be right."""
    file = write(
        folder,
        """{ "plugins": {
  "mail": { "profiles": {
    "web": { "url": "http://mail.example.org", "from": "a@example.org", "to": ["b@example.org"] },
    "typo": { "url": "smtp://mail.example.org", "form": "a@example.org", "to": ["b@example.org"] },
    "open": { "url": "smtp://mail.example.org", "from": "a@example.org", "tls": "sometimes" },
    "port": { "url": "smtp://me:hunter2@mail.example.org:65536", "from": "a@example.org", "to": ["b@example.org"] },
    "inbox": { "url": "smtp://h", "from": "a@b", "to": ["c@d"], "arrival": { "imap": "imaps://h:0" } } } },
  "queue": { "profiles": {
    "stream": { "kind": "kafka" },
    "kindless": { "broker": "redis://h" },
    "typo": { "kind": "celery", "brokr": "redis://h" },
    "web": { "kind": "celery", "broker": "http://user:hunter2@h" },
    "number": { "kind": "redis", "url": 5 },
    "hurry": { "kind": "rabbitmq", "url": "amqp://h", "timeout": "soon" },
    "port": { "kind": "celery", "broker": "sentinel://a:26379;sentinel://b:70000", "result": "redis://h:0" } } } } }""",
    )
    done = check(file)
    assert done.returncode == 1
    wanted = {
        "3: /plugins/mail/profiles/web/url": "smtp",
        "4: /plugins/mail/profiles/typo/form": 'did you mean "from"',
        "4: /plugins/mail/profiles/typo/from": "is required",
        "5: /plugins/mail/profiles/open/to": "is required",
        "5: /plugins/mail/profiles/open/tls": "starttls",
        "6: /plugins/mail/profiles/port/url": "a port from 1 to 65535",
        "7: /plugins/mail/profiles/inbox/arrival/imap": "a port from 1 to 65535",
        "9: /plugins/queue/profiles/stream/kind": 'no plugin serves "kafka"; there are: celery, rabbitmq, redis',
        "10: /plugins/queue/profiles/kindless/kind": "is required; there are: celery, rabbitmq, redis",
        "11: /plugins/queue/profiles/typo/brokr": 'did you mean "broker"',
        "12: /plugins/queue/profiles/web/broker": "amqp",
        "13: /plugins/queue/profiles/number/url": "must be a string",
        "14: /plugins/queue/profiles/hurry/timeout": "30s",
        "15: /plugins/queue/profiles/port/broker": "a port from 1 to 65535",
        "15: /plugins/queue/profiles/port/result": "a port from 1 to 65535",
    }
    lines = [line for line in done.stderr.splitlines() if line.startswith(str(file))]
    for place, remedy in wanted.items():
        [line] = [line for line in lines if line.startswith(f"{file}:{place}: ")]
        assert remedy in line, line
    assert len(lines) == len(wanted) and "hunter2" not in done.stderr, done.stderr


def test_files_that_the_user_of_the_service_cannot_read(folder):
    file = write(folder, {})
    more = folder / "hatchd.json.d"
    more.mkdir(mode=0o755)
    (more / "10-secret.json").write_text("{}")
    (more / "10-secret.json").chmod(0o600)
    assert check(file).returncode == 0
    done = check(file, "--user", "nobody")
    assert done.returncode == 1 and "10-secret.json: cannot be read: EACCES" in done.stderr, done.stderr
    assert check(file, "--user", "no-such-user").returncode == 2


def test_what_is_shown_is_masked_says_where_it_comes_from_and_loads_as_the_same(folder):
    secret = "swordfish-1234"
    write(folder, {"plugins": {"mail": {"profiles": {"default": {"url": f"smtp://me:{secret}@host"}}}}, "grace": "7s"})
    more = folder / "hatchd.json.d"
    more.mkdir(mode=0o755)
    (more / "a.json").write_text('{"runs": {"keep": {"count": 3}},\n"access": {"tokens": [%s]}}' % json.dumps(token_entry("x", "viewer")))
    show = [HATCHD, "config", "show", "--config"]
    first = subprocess.run([*show, str(folder / "hatchd.json")], capture_output=True, text=True, timeout=60, check=True).stdout
    assert secret not in first
    assert f"/runs/keep/count  {more / 'a.json'}:1" in first and f"/access/tokens/0/name  {more / 'a.json'}:2" in first
    assert "/runs/keep/age  default" in first
    again = folder / "again" / "hatchd.json"
    again.parent.mkdir(mode=0o755)
    again.write_text(first)
    second = subprocess.run([*show, str(again)], capture_output=True, text=True, timeout=60, check=True).stdout
    assert second.split("// Where")[0] == first.split("// Where")[0]


def test_the_schema_that_is_shipped_is_the_one_that_is_printed():
    printed = subprocess.run([HATCHD, "config", "schema"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed == (ROOT / "config" / "hatchd.schema.json").read_text()


def test_a_configuration_that_others_can_write_starts_nothing(demo):
    daemon = Daemon(demo.pid, start=False)
    try:
        for path, mode, bit in [(daemon.file, 0o602, "o+w"), (daemon.file, 0o620, "g+w"), (daemon.folder, 0o777, "g+w, o+w")]:
            before = path.stat().st_mode & 0o7777
            path.chmod(mode)
            ended = subprocess.run([HATCHD, "--config", str(daemon.file)], capture_output=True, text=True, timeout=60, check=False)
            assert ended.returncode == 78 and f"{path} belongs to" in ended.stderr and f"({bit})" in ended.stderr, ended
            path.chmod(before)
    finally:
        daemon.close()
