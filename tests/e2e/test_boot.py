"""The package under systemd as the first process: installed, configured, reloaded, killed, hung, upgraded and purged the
way docs/install.md tells it, beside a service of another user. The container is systemd-nspawn's, over an overlay of
this machine's own root, with a network of its own."""

import contextlib
import pathlib
import subprocess

import pytest

from harness import AM_ROOT, SANITIZED, wait_until

pytestmark = [
    pytest.mark.skipif(not AM_ROOT, reason="a container takes root"),
    pytest.mark.skipif(SANITIZED, reason="nobody installs a sanitized build"),
]

BOOT = """set -e
mount -t tmpfs -o mode=0755 tmpfs {folder}
mkdir {folder}/root {folder}/upper {folder}/work
mount -t overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work overlay {folder}/root
rm -f {folder}/root/etc/machine-id {folder}/root/usr/sbin/policy-rc.d
touch {folder}/root/etc/machine-id
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe -D {folder}/root \
    --boot systemd.show_status=0 systemd.unit=basic.target"""

SHOP = """[Service]
User=games
ExecStart=/usr/bin/python3 -c "import time; time.sleep(1e6)"
"""
UNITS = ("hatchd@shop", "hatchd@web")


class Machine:
    def __init__(self, folder):
        self.popen = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", BOOT.format(folder=folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.leader = None
        with contextlib.suppress(AssertionError):
            wait_until("systemd to run", self.runs, 60)
        if not self.leader:
            self.popen.kill()
            pytest.skip("systemd-nspawn boots nothing here: " + self.popen.communicate()[0][-500:])

    def runs(self):
        # unshare has become nspawn, whose child is the first process in there.
        children = pathlib.Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        for child in children:
            if pathlib.Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                self.leader = child
                if self.ask("systemctl is-active basic.target").stdout == "active\n":
                    return True
                self.leader = None
        return self.popen.poll() is not None

    def ask(self, script):
        """What a shell in there says to it."""
        enter = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "env", "-i"]
        environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        return subprocess.run([*enter, *environment, "bash", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)

    def sh(self, script):
        done = self.ask(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}\n" + self.ask("journalctl -u 'hatchd*' --no-pager -n 40").stdout
        return done.stdout.strip()

    def put(self, name, text):
        self.sh(f"mkdir -p $(dirname {name}); cat > {name} << 'THE-END'\n{text}\nTHE-END")

    def install(self, file):
        with open(file, "rb") as stream:
            subprocess.run(["nsenter", "-t", self.leader, "-m", "-r", "-w", "dd", f"of=/root/{file.name}", "status=none"], stdin=stream, check=True)
        self.sh(f"dpkg --force-unsafe-io --force-confold --install /root/{file.name}")

    def show(self, unit, what):
        return self.sh(f"systemctl show {unit} -p {what} --value")

    def close(self):
        self.popen.terminate()  # an orderly power-off
        try:
            self.popen.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()


@pytest.fixture(scope="module")
def machine(tmp_path_factory, packages):
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        for name in ("shop", "web"):
            made.put(f"/etc/systemd/system/{name}.service", SHOP)
        made.sh("systemctl daemon-reload && systemctl start shop web")
        made.install(packages["hatchd"])
        yield made
    finally:
        made.close()


def configure(machine, targets):
    machine.put("/etc/hatchd/hatchd.json.d/targets.json", '{"targets": %s}' % targets)


def test_from_zero_to_the_first_stack_dump(machine):
    assert machine.sh("systemctl is-enabled hatchd; systemctl is-active hatchd") == "enabled\nactive"
    assert machine.show("hatchd", "StatusText") == "Serving 0 targets on 1 listener"
    configure(machine, '{"shop": {"unit": "shop.service"}}')
    machine.sh("hatchd check && systemctl reload hatchd")
    wait_until("the target", lambda: machine.show("hatchd", "StatusText") == "Serving 1 target on 1 listener")
    machine.sh("useradd alice && usermod -aG hatch-operators alice")
    dump = machine.sh("runuser -u alice -- hatchctl run stack.dump")
    assert "time.sleep" in dump or "<module>" in dump, dump
    refused = machine.ask("useradd bob; runuser -u bob -- hatchctl run stack.dump")
    assert refused.returncode != 0 and "hatch-operators" in refused.stdout + refused.stderr, refused


def test_a_refused_reload_keeps_what_is_there_and_says_so(machine):
    configure(machine, '{"shop": {"unti": "shop.service"}}')
    assert machine.ask("hatchd check").returncode != 0
    machine.sh("systemctl reload hatchd")
    wait_until("the refusal", lambda: machine.show("hatchd", "StatusText").startswith("The old configuration stays"))
    assert "did you mean" in machine.sh("journalctl -u hatchd --no-pager")
    assert "shop" in machine.sh("hatchctl targets")
    configure(machine, '{"shop": {"unit": "shop.service"}}')
    machine.sh("systemctl reload hatchd")
    wait_until("the target", lambda: machine.show("hatchd", "StatusText").startswith("Serving 1 target"))


def test_killed_and_hung_it_is_started_again_and_the_app_does_not_notice(machine):
    shop = machine.show("shop", "MainPID")
    before = machine.show("hatchd", "MainPID")
    machine.sh(f"kill -KILL {before}")
    wait_until("another hatchd", lambda: machine.show("hatchd", "MainPID") not in ("0", before) and machine.show("hatchd", "ActiveState") == "active")
    machine.put("/etc/systemd/system/hatchd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2")
    machine.sh("systemctl daemon-reload && systemctl restart hatchd")
    hung = machine.show("hatchd", "MainPID")
    machine.sh(f"kill -STOP {hung}")
    wait_until("the watchdog", lambda: machine.show("hatchd", "MainPID") not in ("0", hung) and machine.show("hatchd", "ActiveState") == "active", 60)
    assert "Watchdog timeout" in machine.sh("journalctl -u hatchd --no-pager")
    machine.sh("rm /etc/systemd/system/hatchd.service.d/watchdog.conf; systemctl daemon-reload; systemctl restart hatchd")
    assert "stack.dump" in machine.sh("hatchctl runs"), "the history is there"
    assert machine.show("shop", "MainPID") == shop


def test_callers_wait_at_the_socket_of_socket_activation(machine):
    machine.sh("systemctl stop hatchd && systemctl start hatchd.socket")
    assert machine.show("hatchd", "ActiveState") == "inactive"
    assert "shop" in machine.sh("hatchctl targets"), "the call starts it"
    assert machine.show("hatchd", "ActiveState") == "active"
    machine.sh("systemctl stop hatchd.socket; systemctl restart hatchd")


@pytest.mark.parametrize("rights", ["observe-only", "full", "same-user"])
def test_each_set_of_rights(machine, rights):
    machine.sh(f"sed 's/www-data/games/' /usr/share/hatchd/rights/{rights}.conf > /etc/systemd/system/hatchd.service.d/rights.conf")
    machine.sh("systemctl daemon-reload && systemctl restart hatchd")
    try:
        assert "<module>" in machine.sh("hatchctl run stack.dump")
        status = machine.sh(f"grep -E '^(Uid|CapBnd|NoNewPrivs)' /proc/{machine.show('hatchd', 'MainPID')}/status")
        assert "NoNewPrivs:\t1" in status
        if rights == "same-user":
            assert "CapBnd:\t0000000000000000" in status and machine.sh("id -u games") in status
    finally:
        machine.sh("rm /etc/systemd/system/hatchd.service.d/rights.conf; systemctl daemon-reload; systemctl restart hatchd")


def test_instances_serve_one_unit_and_go_with_the_package(machine, packages):
    for unit in UNITS:
        machine.sh(f"systemctl enable --now {unit}")
    assert "<module>" in machine.sh("hatchctl --socket /run/hatchd-units/shop/hatchd.sock run stack.dump")
    units = ("hatchd", *UNITS)
    before = [machine.show(unit, "MainPID") for unit in units]
    runs = machine.sh("hatchctl runs | wc -l")
    machine.install(packages["hatchd"])
    after = [machine.show(unit, "MainPID") for unit in units]
    assert "0" not in after and not set(before) & set(after), "an upgrade restarts all of them"
    assert machine.sh("hatchctl runs | wc -l") == runs
    assert machine.sh("systemctl show hatchd -p NRestarts --value") == "0"

    machine.sh("dpkg --purge hatchd")
    assert machine.ask("pgrep -a hatchd").stdout == ""
    left = machine.sh("ls -d /etc/hatchd /etc/systemd/system/*.wants/hatchd* /var/lib/hatchd* /var/log/hatchd* /run/hatchd* 2> /dev/null; true")
    assert left == ""
    assert machine.sh("systemctl is-active shop web") == "active\nactive"
    assert machine.sh("systemctl --failed --no-legend --plain | grep hatch; true") == ""
