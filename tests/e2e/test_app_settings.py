"""from=target by the app's own settings: what Django has, as hatchkit shows it, where the environment says nothing or else."""

import json
import os
import pathlib
import shutil
import tempfile

import pytest

from harness import AM_ROOT, Program, free_port, wait_until
from mail import PASSWORD, Smtp, profile
from queues import Redis
from test_app import APPS, PACKAGE, alive

from harness import Daemon

pytestmark = pytest.mark.skipif(not AM_ROOT, reason="a folder that is shared with hatchd's plugins takes their group")

SECRET = "secret-of-redis"


@pytest.fixture(scope="module")
def servers():
    smtp = Smtp({b"AUTH": b"235 2.7.0 Ok\r\n"}, offers=[b"PIPELINING", b"AUTH PLAIN"])
    with Redis("--requirepass", SECRET) as redis:
        yield smtp, redis
    smtp.close()


@pytest.fixture(scope="module")
def house(servers):
    """A hatchd, and start(settings, environment), which starts the app anew: its socket is in a folder that its plugins share."""
    smtp, redis = servers
    profiles = {
        "default": profile(free_port(), cleartext_auth=True, senders=["*@shop.example.org"]),
        "same": {**profile(smtp.port, cleartext_auth=True, user="shop", password=PASSWORD), "senders": ["*@shop.example.org"]},
    }
    queues = {"app": {"kind": "redis"}, "same": {"kind": "redis", "url": f"redis://:{SECRET}@127.0.0.1:{redis.port}/0"}}
    config = {"plugins": {"mail": {"profiles": profiles}, "queue": {"profiles": queues}}, "hatches": {"mail.send": {"cooldown": "0s"}}}
    folder = tempfile.mkdtemp(prefix="e2e-app-settings-")
    os.chmod(folder, 0o755)
    apps = []

    def start(settings, **environment):
        while apps:
            apps.pop().stop()
        place = os.path.join(folder, "hatches")
        shutil.rmtree(place, ignore_errors=True)
        os.mkdir(place)
        os.chown(place, 0, int(group))
        os.chmod(place, 0o750)
        names = {"HATCH_DIR": place, "HATCH_PEERS": group, "PYTHONPATH": f"{PACKAGE}:{APPS}", "PYTHONDONTWRITEBYTECODE": "1"}
        names |= {"SITE_LOG": os.path.join(folder, "log"), "SITE_MAIL": folder, "PATH": os.environ["PATH"], "SITE_SETTINGS": json.dumps(settings)}
        apps.append(Program("/usr/bin/python3", "-c", f"import shop_site, time; time.sleep(600) # {folder}", env={**names, **environment}))
        assert alive(pathlib.Path(folder), 1) == [apps[0].pid]
        wait_until("the target", lambda: daemon.get("/v1/targets/shop").json()["state"] == "up")
        return apps[0].pid

    try:
        with Daemon({"shop": {"cmdline": f".*time.sleep.* # {folder}", "user": "root"}}, config) as daemon:
            daemon.run("mail.check", {"profile": "default"})
            group = daemon.process("hatchd: plugin mail").status()["Gid"].split()[0]
            yield daemon, start
    finally:
        for app in apps:
            app.stop()
        shutil.rmtree(folder, ignore_errors=True)


def mail_settings(smtp, **more):
    return {
        "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": smtp.port, "EMAIL_HOST_USER": "shop", "EMAIL_HOST_PASSWORD": PASSWORD,
        "DEFAULT_FROM_EMAIL": "Shop <shop@shop.example.org>", **more,
    }  # fmt: skip


WISH = {"target": "shop", "from": "target"}


def test_the_mail_server_of_the_app(servers, house):
    """What the app has counts, not what it was started with; only the password comes from there."""
    smtp, _ = servers
    daemon, start = house
    pid = start(mail_settings(smtp), EMAIL_HOST="elsewhere.invalid", EMAIL_HOST_PASSWORD=PASSWORD)
    answer = daemon.run("mail.send", {"profile": "default", **WISH})
    assert answer.status == 200, answer
    result = answer.json()["result"]
    settings = {one["name"]: one for one in result["settings"]}
    for name, variable in {"host": "EMAIL_HOST", "port": "EMAIL_PORT", "user": "EMAIL_HOST_USER", "from": "DEFAULT_FROM_EMAIL"}.items():
        assert settings[name]["origin"] == f"{variable} of the app's settings (process {pid})", settings
    assert settings["password"] == {"name": "password", "value": "******", "origin": "EMAIL_HOST_PASSWORD"}
    assert any("filebased" in warning for warning in result["warnings"])  # the fixture's EMAIL_BACKEND
    assert result["mechanism"] == "PLAIN" and PASSWORD not in answer.text


def test_a_password_that_the_app_masks(servers, house):
    smtp, _ = servers
    daemon, start = house
    start(mail_settings(smtp))
    before = smtp.connections
    answer = daemon.run("mail.send", {"profile": "default", **WISH})
    assert answer.status == 424 and "EMAIL_HOST_PASSWORD, which it shows masked" in answer.json()["detail"], answer
    assert "environment variable EMAIL_HOST_PASSWORD" in answer.json()["remedy"] and smtp.connections == before
    result = daemon.run("mail.check", {"profile": "same", **WISH}).json()["result"]
    [password] = [one for one in result["settings"] if one["name"] == "password"]
    assert password["origin"] == "profile, for the same server and user"


def test_the_broker_of_the_app(servers, house):
    _, redis = servers
    daemon, start = house
    url = f"redis://:{SECRET}@127.0.0.1:{redis.port}/0"
    pid = start({"REDIS_URL": url})
    answer = daemon.run("queue.ping", {"profile": "app", **WISH})
    assert answer.status == 424 and "it shows no password" in answer.text and "REDIS_URL" in answer.text, answer
    answer = daemon.run("queue.ping", {"profile": "same", **WISH})
    origin = answer.json()["result"]["settings"]["url"]["origin"]
    assert answer.status == 200 and origin == f"profile, which fits REDIS_URL of the app's settings (process {pid})", answer
    pid = start({"REDIS_URL": url}, REDIS_URL=url)
    answer = daemon.run("queue.ping", {"profile": "app", **WISH})
    assert answer.status == 200 and answer.json()["result"]["settings"]["url"]["origin"] == f"REDIS_URL of process {pid}", answer
    assert SECRET not in answer.text


def test_a_dump_shows_what_the_app_has(servers, house):
    smtp, _ = servers
    daemon, start = house
    start(mail_settings(smtp, API_TOKEN="tok-3kfLw0Qz81"), EMAIL_HOST="elsewhere.invalid")
    runtime = daemon.run("settings.dump", {"sections": ["runtime"], "values": True}).json()["result"]["runtime"]
    assert runtime["kind"] == "python"
    assert runtime["settings"]["EMAIL_HOST"] == "127.0.0.1" and runtime["settings"]["EMAIL_PORT"] == smtp.port, runtime
    assert runtime["settings"]["API_TOKEN"] == runtime["settings"]["EMAIL_HOST_PASSWORD"] == "******"
    assert "settings" not in daemon.run("settings.dump", {"sections": ["runtime"]}).json()["result"]["runtime"], "names alone ask nobody"


def test_a_hatch_that_acts_is_not_run_on_the_way(house, tmp_path):
    """Whoever may look at settings may not therefore act."""
    daemon, start = house
    acted = tmp_path / "acted"
    start({}, SITE_ACTS=str(acted))
    runtime = daemon.run("settings.dump", {"sections": ["runtime"], "values": True}).json()["result"]["runtime"]
    assert "has the effect disrupt" in runtime["app"] and "settings" not in runtime, runtime
    daemon.run("mail.check", {"profile": "default", **WISH})
    assert not acted.exists()
