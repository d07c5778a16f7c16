"""The Debian packages: built from this build, installed, used, upgraded and purged in a throw-away root.

The root is an overlay over this machine's own in a mount namespace: quick, and every package that ours depend on is
there. systemd is not its first process, so the daemon is started as the unit says, by setpriv(1).
"""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from harness import AM_ROOT, BUILD, HATCHCTL, HATCHD, ROOT, SANITIZED, Demo, call, wait_until

pytestmark = [
    pytest.mark.skipif(not AM_ROOT, reason="a root of its own takes root"),
    pytest.mark.skipif(SANITIZED, reason="nobody installs a sanitized build"),
]
NAMES = ["hatch-sdk-dev", "hatchd", "hatchd-plugin-mail", "hatchd-plugin-queue-celery", "hatchd-plugin-queue-rabbitmq", "hatchd-plugin-queue-redis", "python3-hatchkit"]


class Root:
    """The throw-away root. What is written in it is in memory and goes with the process that holds the namespace."""

    def __init__(self, folder):
        self.path = folder / "root"
        script = f"""set -e
            mount -t tmpfs -o mode=0755 tmpfs {folder}
            mkdir {folder}/root {folder}/upper {folder}/work
            mount -t overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work overlay {folder}/root
            for part in proc dev sys; do mount --rbind /$part {folder}/root/$part; done
            for part in run tmp; do mount -t tmpfs -o mode=1777 tmpfs {folder}/root/$part; done
            # A tree below one of those.
            [ -e {folder}/root{ROOT} ] || {{ mkdir -p {folder}/root{ROOT}; mount --bind {ROOT} {folder}/root{ROOT}; }}
            echo ready; exec cat"""
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout.readline() == "ready\n"

    def command(self, *command):
        enter = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "chroot", self.path]
        return [str(word) for word in (*enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", *command)]

    def run(self, *command, **options):
        return call(*self.command(*command), **options)

    def put(self, name, text):
        self.run("sh", "-c", f"mkdir -p $(dirname {name}); cat > {name}", input=text)

    def install(self, *files):
        for file in files:
            with open(file, "rb") as stream:
                subprocess.run(self.command("sh", "-c", f"cat > /tmp/{file.name}"), stdin=stream, check=True, timeout=60)
        self.run("dpkg", "--force-unsafe-io", "--force-confold", "--no-triggers", "--install", *(f"/tmp/{file.name}" for file in files))

    def close(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait(10)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = Root(tmp_path_factory.mktemp("root"))
    yield made
    made.close()


class Service:
    """hatchd in the root as its unit starts it: the same user, groups, capabilities and folders."""

    def __init__(self, root, prefix="/usr"):
        unit = root.run("cat", f"{prefix}/lib/systemd/system/hatchd.service")
        say = dict(re.findall(r"^(\w+)=(.*)$", unit, re.M))
        for key, place in (("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log"), ("RuntimeDirectory", "/run")):
            root.run("install", "-d", "-o", say["User"], "-g", say["Group"], "-m", say.get(key + "Mode", "0755"), f"{place}/{say[key]}")
        held = say["AmbientCapabilities"].lower().replace("cap_", "+").replace(" ", ",")
        command = root.command(
            "setpriv", "--reuid", say["User"], "--regid", say["Group"], "--groups", f"{say['Group']},{say['SupplementaryGroups'].replace(' ', ',')}",
            "--inh-caps", f"-all,{held}", "--ambient-caps", f"-all,{held}", "--bounding-set", f"-all,{held}", "--no-new-privs",
            *say["ExecStart"].split(),
        )  # fmt: skip
        self.root = root
        self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.log = ""
        self.wait_for("serving")

    def wait_for(self, text):
        for line in self.popen.stdout:
            self.log += line
            if text in line:
                return
        raise AssertionError(f"hatchd ended without {text!r}:\n{self.log}")

    def stop(self):
        self.popen.send_signal(signal.SIGTERM)
        self.log += self.popen.communicate(timeout=30)[0]
        assert self.popen.returncode == 0, self.log


def test_lintian_finds_no_error(packages):
    assert sorted(packages) == NAMES
    # One of each kind: the plugins' packages are made by one rule, and `./dev package` looks at all.
    some = [packages[name] for name in ("hatchd", "hatchd-plugin-mail", "hatch-sdk-dev", "python3-hatchkit")]
    found = call("lintian", "--fail-on", "none", "--allow-root", *some)
    assert not re.findall("^E: .*", found, re.M), found


def test_what_each_package_needs(packages):
    def depends(name):
        return call("dpkg-deb", "--field", packages[name], "Depends")

    for name in NAMES[2:6]:
        assert "hatchd (= " in depends(name)
    assert "libc-ares2" in depends("hatchd-plugin-mail") and "libhiredis" in depends("hatchd-plugin-queue-redis")
    assert not re.search("hiredis|rabbitmq|libc-ares", depends("hatchd")), "what takes a library of its own is a package of its own"


def test_install_use_upgrade_and_purge(packages, root, tmp_path):
    # -- install
    root.install(packages["hatchd"], packages["hatchd-plugin-mail"], packages["hatch-sdk-dev"], packages["python3-hatchkit"])
    assert root.run("stat", "-c", "%U:%G %a", "/etc/hatchd", "/run/hatch-app").split("\n")[:2] == ["root:hatchd 750", "root:hatch-app 3770"]
    assert root.run("setpriv", "--reuid=hatchd", "--regid=hatchd", "--clear-groups", "hatchd", "check").endswith("ok\n")
    root.run("test", "-L", "/etc/systemd/system/multi-user.target.wants/hatchd.service")  # enabled
    root.run("systemd-analyze", "verify", "--man=no", "hatchd.service", "hatchd.socket", "hatchd@web.service")
    root.run("pkg-config", "--exists", "hatch-sdk", "hatch-shared")
    root.run("hatchd", "plugin", "new", "/tmp/mine")
    root.run("/usr/bin/python3", "-c", "import hatchkit")
    for page in ("man8/hatchd.8", "man1/hatchctl.1", "man5/hatchd.json.5"):
        assert "hatchd" in root.run("zcat", f"/usr/share/man/{page}.gz")
    assert "_hatchctl" in root.run("cat", "/usr/share/bash-completion/completions/hatchctl")

    # -- use: an operator reads the stacks of root's process through a daemon that is not root
    root.run("useradd", "--groups", "hatch-operators", "e2e-operator")
    root.run("useradd", "e2e-stranger")
    with Demo() as demo:
        root.put("/etc/hatchd/hatchd.json.d/10-e2e.json", json.dumps({"targets": {"demo": {"pid": demo.pid}}}))
        service = Service(root)
        assert "the users of the configuration do not exist" not in service.log

        def operator(*words, user="e2e-operator"):
            return root.command("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "hatchctl", *words)

        assert "accept_orders" in call(*operator("run", "stack.dump"))
        strange = subprocess.run(operator("run", "stack.dump", user="e2e-stranger"), capture_output=True, text=True, timeout=60, check=False)
        assert strange.returncode in (3, 4) and strange.stdout == "", strange
        wait_until("the audit to have it", lambda: "e2e-operator" in root.run("hatchctl", "audit"))

        # -- reload
        root.put("/etc/hatchd/hatchd.json.d/20-e2e.json", json.dumps({"targets": {"second": {"pid": demo.pid}}}))
        os.kill(service.popen.pid, signal.SIGHUP)
        service.wait_for("the configuration is taken over")
        assert "second" in call(*operator("targets"))

        # -- upgrade: what the administrator wrote and what was run stay
        edited = root.run("cat", "/etc/hatchd/hatchd.json") + "// mine\n"
        root.put("/etc/hatchd/hatchd.json", edited)
        newer = tmp_path / "newer"
        call("dpkg-deb", "--raw-extract", packages["hatchd"], newer)
        control = newer / "DEBIAN/control"
        control.write_text(re.sub("^Version: .*", "Version: 99.0-1", control.read_text(), flags=re.M))
        with open(newer / "etc/hatchd/hatchd.json", "a") as shipped:
            shipped.write("// the maintainer's next one\n")
        upgraded = tmp_path / "hatchd_99.0-1_all.deb"
        call("dpkg-deb", "--root-owner-group", "-Znone", "--build", newer, upgraded)
        root.run("dpkg", "--purge", "hatchd-plugin-mail")  # of exactly the older version
        root.install(upgraded)
        assert root.run("dpkg-query", "-W", "-f", "${Version}", "hatchd") == "99.0-1"
        assert root.run("cat", "/etc/hatchd/hatchd.json") == edited
        assert "stack.dump" in call(*operator("runs")), "it serves on until it is restarted"
        service.stop()
        service = Service(root)
        assert "stack.dump" in call(*operator("runs")), "runs survive the upgrade"
        service.stop()
        assert demo.popen.poll() is None

    # -- remove keeps, purge does not
    root.run("dpkg", "--remove", "hatchd")
    assert root.run("cat", "/etc/hatchd/hatchd.json") == edited
    root.run("test", "-d", "/var/lib/hatchd/runs")
    root.run("dpkg", "--purge", "hatchd")
    left = root.run("sh", "-c", "ls -d /etc/hatchd /var/lib/hatchd /var/log/hatchd /run/hatchd /usr/lib/hatchd /etc/systemd/system/*/hatchd* 2>/dev/null || true")
    assert left == "", left


# ---- from source --------------------------------------------------------------------------------------------------------


def test_from_source_step_by_step(tmp_path):
    """The table of docs/install.md, but for what takes systemd as the first process."""
    table = (ROOT / "docs/install.md").read_text().partition("## From source")[2]
    steps = {name: command.replace("sudo ", "").replace("build/release", str(BUILD)) for name, command in re.findall(r"^\| ([a-z ]+) \| `(.*)` \|$", table, re.M)}
    root = Root(tmp_path)
    try:
        for name in ("install", "users and folders"):
            root.run("bash", "-ec", steps[name])
        root.run("/usr/local/bin/hatchd", "check")
        assert root.run("systemd-analyze", "verify", "--man=no", "/usr/local/lib/systemd/system/hatchd.service") == ""
        with Demo() as demo:
            root.put("/etc/hatchd/hatchd.json.d/10-e2e.json", json.dumps({"targets": {"demo": {"pid": demo.pid}}}))
            service = Service(root, "/usr/local")
            try:
                assert "accept_orders" in root.run("/usr/local/bin/hatchctl", "run", "stack.dump")
            finally:
                service.stop()
    finally:
        root.close()


# ---- man pages --------------------------------------------------------------------------------------------------------


def options_of(help_text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", "\n".join(line for line in help_text.splitlines() if line.startswith("  -"))))


def commands_of(help_text):
    return re.findall(r"^  ([a-z]+) +\S", help_text.partition("Subcommands:\n")[2].partition("\n\n")[0], re.M)


@pytest.mark.parametrize("program, page", [(HATCHD, "hatchd.8"), (HATCHCTL, "hatchctl.1")])
def test_man_pages_name_every_command_and_option(program, page):
    text = (ROOT / "docs/man" / page).read_text()
    top = call(program, "--help")
    todo = [[command] for command in commands_of(top)]
    missing = options_of(top) - set(re.findall(r"Fl Fl ([a-z-]+)", text))
    while todo:
        command = todo.pop()
        if not re.search(rf"\bCm {command[0]}\b", text) or not all(re.search(rf"\b{word}\b", text) for word in command):
            missing.add(" ".join(command))
        said = call(program, *command, "--help")
        missing |= options_of(said) - set(re.findall(r"Fl Fl ([a-z-]+)", text))
        todo += [[*command, below] for below in commands_of(said)]
    assert not missing, f"docs/man/{page} says nothing of {sorted(missing)}"


def test_the_page_of_the_configuration_has_every_key():
    page = call("python3", ROOT / "packaging/keys.py", ROOT / "docs/man/hatchd.json.5.in", ROOT / "config/hatchd.schema.json")
    for key in ("listen[].unix", "targets.NAME.pidfile", "access.tokens[].sha256", "runs.keep.age", "hatches.NAME.timeout"):
        assert f"\n.It Cm {key}".replace("-", "\\-") in page, key
    if shutil.which("mandoc"):
        for name, text in (("5", page), ("8", (ROOT / "docs/man/hatchd.8").read_text()), ("1", (ROOT / "docs/man/hatchctl.1").read_text())):
            assert call("mandoc", "-T", "lint", "-W", "error", input=text) == "", name
