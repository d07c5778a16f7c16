"""hatchd preflight and hatchctl preflight: what is missing is named, and once it is there the hatch is ready.

hatchd runs as an ordinary user here, beside targets that the kernel lets it look into, or not, for one reason each.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from harness import AM_ROOT, BUILD, HATCHCTL, HATCHD, Daemon, Demo, Program, wait_until
from test_zero_config import Zero

OK, FAILED, USAGE, NOT_ALLOWED, CANNOT_CONNECT = range(5)
ME, OTHER = 65533, 65532  # users without a name
YAMA = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")
YAMA = int(YAMA.read_text()) if YAMA.exists() else 0

as_root = pytest.mark.skipif(not AM_ROOT, reason="becoming another user takes root")


def become(uid, *capabilities):
    words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    if capabilities:
        names = ",".join("+" + name for name in capabilities)
        words += [f"--inh-caps={names}", f"--ambient-caps={names}"]
    return [*words, "--"]


SLEEP = ["/bin/sleep", "600"]
# PR_SET_DUMPABLE is 4 (prctl(2)).
UNDUMPABLE = ["/usr/bin/python3", "-c", "import ctypes, time; ctypes.CDLL(None).prctl(4, 0); time.sleep(600)"]


@pytest.fixture
def folder():
    """A short one, since the path of a Unix socket has 108 bytes at most; whoever uses it must leave it empty."""
    path = tempfile.mkdtemp(prefix="e2e-")
    if AM_ROOT:
        os.chown(path, ME, ME)
        os.chmod(path, 0o777)
    yield path
    left = os.listdir(path)
    shutil.rmtree(path)
    assert left == [], "preflight leaves nothing behind"


def preflight(folder, *arguments, prefix=(), program=HATCHD):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SUDO_", "HATCHD_"))}
    env.update(XDG_RUNTIME_DIR=folder, TMPDIR=folder)
    return subprocess.run(
        [*prefix, program, "preflight", *map(str, arguments)],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def checks_of(ran):
    """{hatch: its check} of an answer in JSON."""
    return {check["hatch"]: check for check in json.loads(ran.stdout)["checks"]}


def stack_of(folder, pid, *prefix):
    """What `hatchd preflight` says of stack.dump: exit code, whole answer, the check."""
    ran = preflight(folder, "--pid", pid, "--json", "stack.dump", prefix=prefix)
    assert ran.stdout, ran
    return ran.returncode, json.loads(ran.stdout), checks_of(ran)["stack.dump"]


def settled(target, name):
    """A target that has become what it is to be: past setpriv, unshare and the interpreter's start."""
    process = pathlib.Path(f"/proc/{target.pid}")
    wait_until(f"{target.pid} to be {name}", lambda: (process / "comm").read_text().strip() == name)
    wait_until(f"{target.pid} to sleep", lambda: "nanosleep" in (process / "wchan").read_text())


# Each target; which right is missing for a hatchd of the user ME; what grants it.
CASES = {
    "root's": (SLEEP, "CAP_SYS_PTRACE", "user ids", become(ME, "sys_ptrace")),
    "another user's": (
        [*become(OTHER), *SLEEP],
        f"CAP_SYS_PTRACE, or the user id {OTHER} with the group id {OTHER}",
        "user ids",
        become(OTHER),
    ),
    "undumpable": ([*become(ME), *UNDUMPABLE], "CAP_SYS_PTRACE", "not dumpable", become(ME, "sys_ptrace")),
    "more capable": (
        [*become(ME, "net_bind_service"), *SLEEP],
        "CAP_SYS_PTRACE",
        "it has CAP_NET_BIND_SERVICE, which hatchd lacks",
        become(ME, "sys_ptrace"),
    ),
    "of another group": (
        ["setpriv", f"--reuid={ME}", f"--regid={OTHER}", "--clear-groups", "--", *SLEEP],
        f"CAP_SYS_PTRACE, or the group id {OTHER}",
        "group ids",
        ["setpriv", f"--reuid={ME}", f"--regid={OTHER}", "--clear-groups", "--"],
    ),
    "in a user namespace below": (
        ["unshare", "--user", "--map-root-user", *SLEEP],
        "CAP_SYS_PTRACE",
        "in another user namespace",
        become(ME, "sys_ptrace"),
    ),
}


@as_root
@pytest.mark.parametrize("what", CASES)
def test_what_is_missing_and_then_granted(what, folder):
    command, missing, why, granted = CASES[what]
    if YAMA:  # being the same user is not enough
        missing = missing.partition(", or")[0]
        granted = become(ME, "sys_ptrace")
    with Program(*command) as target:
        settled(target, "python3" if what == "undumpable" else "sleep")
        code, answer, check = stack_of(folder, target.pid, *become(ME))
        assert code == NOT_ALLOWED and not answer["ready"], answer
        assert check["is"] == "not ready" and check["code"] == "rights-missing", check
        assert check["missing"] == [missing] and why in check["detail"], check
        assert answer["judged_as"]["uid"] == ME and answer["judged_as"]["capabilities"] == []
        remedies = answer["remedies"]
        assert remedies["prompt"] == f"sudo hatchd --pid {target.pid}\n"
        assert "\nAmbientCapabilities=" in remedies["systemd"] and "CAP_SYS_PTRACE" in remedies["systemd"]
        assert "shareProcessNamespace: true\n" in remedies["kubernetes"] and "SYS_PTRACE]" in remedies["kubernetes"]
        if f"user id {OTHER}" in missing:
            assert f"# User={OTHER}\n# Group={OTHER}\n" in remedies["systemd"]
            assert f"# runAsUser: {OTHER}\n" in remedies["kubernetes"]

        code, answer, check = stack_of(folder, target.pid, *granted)
        assert code == OK and answer["ready"], (answer, check)
        assert check["is"] == "ready" and check["missing"] == [], check
        assert answer["remedies"] == {"prompt": None, "systemd": None, "kubernetes": None, "kernel": None}


@as_root
def test_a_process_of_the_same_user(folder):
    with Program(*become(ME), *SLEEP) as target:
        settled(target, "sleep")
        code, answer, check = stack_of(folder, target.pid, *become(ME))
        if YAMA == 0:
            assert code == OK and check["is"] == "ready", check
        elif YAMA == 3:
            assert check["missing"] == ["kernel.yama.ptrace_scope below 3"], check
        else:
            assert code == NOT_ALLOWED and check["missing"][0].startswith("CAP_SYS_PTRACE"), check
            assert f"kernel.yama.ptrace_scope is {YAMA}" in check["detail"], check
            assert (answer["remedies"]["kernel"] is not None) == (YAMA == 1)


@as_root
@pytest.mark.skipif(YAMA == 3, reason="Yama forbids it to everybody")
def test_hatchd_in_a_user_namespace_of_its_own(folder):
    """All capabilities there, and none of them counts outside (user_namespaces(7))."""
    with Program(*become(ME), *SLEEP) as target, tempfile.TemporaryDirectory(prefix="e2e-") as own:
        settled(target, "sleep")
        # Nobody's there is what root's is outside, so configuration and plugin are ME's.
        shutil.copy(BUILD / "plugins" / "stack.so", own)
        config = pathlib.Path(own, "hatchd.json")
        plugin = {"path": own + "/stack.so", "capabilities": ["sys_ptrace", "dac_read_search", "checkpoint_restore"]}
        config.write_text(json.dumps({"targets": {"app": {"pid": target.pid}}, "plugins": {"stack": plugin}}))
        for path in (own, own + "/stack.so", config):
            os.chown(path, ME, ME)
        ask = ["--config", config, "--json", "stack.dump"]
        fenced = preflight(folder, *ask, prefix=[*become(ME), "unshare", "--user", "--map-root-user"])
        check = checks_of(fenced)["stack.dump"]
        assert fenced.returncode == NOT_ALLOWED and check["missing"] == ["the target's user namespace"], check
        remedies = json.loads(fenced.stdout)["remedies"]
        assert remedies["systemd"] == "[Service]\nPrivateUsers=no\n" and "hostUsers" in remedies["kubernetes"]
        outside = preflight(folder, *ask, prefix=become(ME) if YAMA == 0 else become(ME, "sys_ptrace"))
        assert outside.returncode == OK and checks_of(outside)["stack.dump"]["is"] == "ready", outside


@as_root
def test_a_proc_that_hides_others(folder):
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]
    with Program(*SLEEP) as target:
        settled(target, "sleep")
        alone = preflight(folder, "--pid", target.pid, prefix=[*hidden, *become(ME)])
        assert alone.returncode == USAGE and "hidepid, which hides it" in alone.stderr and "sudo hatchd --pid" in alone.stderr, alone
        code, _, check = stack_of(folder, target.pid, *hidden, *become(ME, "sys_ptrace"))
        assert code == OK and check["is"] == "ready", check
        config = pathlib.Path(folder, "hatchd.json")
        config.write_text(json.dumps({"targets": {"app": {"pid": target.pid}}, "listen": [{"unix": folder + "/none.sock"}]}))
        os.chown(config, ME, ME)
        os.chmod(folder, 0o755)
        try:
            ran = preflight(folder, "--config", config, "--json", "stack.dump", prefix=[*hidden, *become(ME)])
        finally:
            config.unlink()
        check = checks_of(ran)["stack.dump"]
        assert check["missing"] == ["CAP_SYS_PTRACE, or a /proc without hidepid"], (check, ran)
        assert "AmbientCapabilities=" in json.loads(ran.stdout)["remedies"]["systemd"]


@as_root
def test_as_text(folder):
    with Program(*SLEEP) as target:
        settled(target, "sleep")
        ran = preflight(folder, "--pid", target.pid, "stack.dump", prefix=become(ME))
    assert ran.returncode == NOT_ALLOWED, ran
    assert ran.stderr == f"No daemon answers for that process: one is started to be asked, as the user id {ME}.\n"
    head, *lines = ran.stdout.splitlines()
    assert head.endswith(f"as the user id {ME}, without capabilities."), head
    assert lines[1].split() == ["TARGET", "HATCH", "IS", "WHAT", "IS", "MISSING"]
    assert lines[2].split() == ["sleep", "stack.dump", "not", "ready", "CAP_SYS_PTRACE"]
    assert len([line for line in lines if line.startswith("sleep ")]) == 1, "only what was asked for"
    for part in ("at a prompt", "systemd", "Kubernetes"):
        assert ran.stdout.count(f"remedy: {part}") == 1, ran.stdout
    assert f"  sudo hatchd --pid {target.pid}\n" in ran.stdout


@as_root
def test_a_daemon_warns_at_its_start(folder):
    with Program(*SLEEP) as target, Zero(target.pid, folder, uid=ME) as zero:
        settled(target, "sleep")
        assert "warning: the kernel refuses to look into" in zero.log() and "missing: CAP_SYS_PTRACE\n" in zero.log()
        assert f"remedy: sudo hatchd --pid {target.pid}; as a service: systemd: " in zero.log()
        # Whoever asks about that process asks this daemon.
        asked = preflight(folder, "--pid", target.pid, "--json", "stack.dump", prefix=become(ME))
        assert asked.stderr == "" and json.loads(asked.stdout)["judged_as"]["pid"] == zero.pid, asked
        assert asked.returncode == NOT_ALLOWED and checks_of(asked)["stack.dump"]["missing"] == ["CAP_SYS_PTRACE"]


@as_root
def test_one_hatch_by_every_way_says_the_same(folder):
    """Run, dry run and hatchd exec: the same exit status, the same right, the same first remedy."""
    with Program(*SLEEP) as target, Zero(target.pid, folder, uid=ME) as zero:
        settled(target, "sleep")
        ran = zero.ctl("run", "stack.dump")
        dry = zero.ctl("run", "stack.dump", "--dry-run")
        alone = subprocess.run(
            [*become(ME), HATCHD, "exec", "stack.dump", "--pid", str(target.pid)], capture_output=True, text=True, timeout=60, check=False
        )
        said = {"run": ran.stderr, "dry": dry.stdout, "exec": alone.stderr}
        assert [one.returncode for one in (ran, dry, alone)] == [NOT_ALLOWED] * 3, (ran, dry, alone)
        for way, text in said.items():
            assert "\nmissing: CAP_SYS_PTRACE\n" in text, (way, text)
            sudo = "exec stack.dump --pid" if way == "exec" else "--pid"
            assert f"\nremedy: sudo hatchd {sudo} {target.pid}; as a service: systemd: " in text, (way, text)


def test_a_daemon_says_nothing_where_nothing_is_missing(demo, folder):
    with Zero(demo.pid, folder) as zero:
        assert "warning" not in zero.log(), zero.log()


def test_no_such_process(folder):
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    ran = preflight(folder, "--pid", gone.pid)
    assert ran.returncode == USAGE and str(gone.pid) in ran.stderr and ran.stdout == "", ran


# ---- a daemon with a configuration ------------------------------------------------------------------------------------

PROBE = {
    "plugins": {
        "probe": {
            "path": str(BUILD / "fixtures" / "probe.so"),
            "profiles": {"default": {"password": "hunter2-secret"}, "second": {"password": "another-secret"}},
        },
        "files": {"path": str(BUILD / "fixtures" / "files.so")},
    }
}


@pytest.fixture(scope="module")
def house():
    with Demo() as shop, Program("/bin/true") as gone:
        gone.popen.wait()
        targets = {"shop": {"pid": shop.pid}, "gone": {"pid": gone.pid}}
        with Daemon(targets, {**PROBE, "access": {"require_reason": ["observe", "act"]}}) as daemon:
            yield daemon


def test_each_target_and_hatch_of_a_running_daemon(house):
    ran = house.ctl("preflight", "--json")
    answer = json.loads(ran.stdout)
    found = {(check["target"], check["hatch"]): check for check in answer["checks"]}
    assert found["shop", "stack.dump"]["is"] == "ready"
    away = found["gone", "stack.dump"]
    assert away["is"] == "not ready" and away["code"] == "target-gone", away
    assert ran.returncode == FAILED and answer["ready"] is False, "a target that is gone is no question of rights"
    assert answer["judged_as"]["pid"] == house.pid
    # What its own dry run says; what has none, says so; what it declares and has not is told.
    assert found[None, "probe.fail"]["is"] == "ready" and found[None, "probe.fail"]["detail"] is None
    assert found[None, "probe.output"]["detail"] == "it has no dry run of its own"
    # mail has no profile here, and a console no session.
    assert found[None, "mail.send"]["is"] == "off" and "profiles" in found[None, "mail.send"]["remedy"]
    assert all(check["is"] in ("ready", "not ready", "off", "untried") for check in answer["checks"])
    assert answer["remedies"]["systemd"] is None, "no right is missing"
    before = house.get("/v1/runs").json()["runs"]
    assert before == [], "a dry run is no run"


def test_one_target_and_one_hatch(house):
    one = house.ctl("preflight", "-t", "shop", "stack.dump")
    assert one.returncode == OK and "stack.dump" in one.stdout and "gone" not in one.stdout, one
    assert one.stdout.count("\n") == 4, one.stdout
    assert house.ctl("preflight", "no.such").returncode == USAGE
    assert house.ctl("preflight", "-t", "nobody").returncode == USAGE


def test_parameters_without_a_default_are_a_persons(house):
    ran = house.ctl("preflight", "files.mark", "--json")
    check = checks_of(ran)["files.mark"]
    assert ran.returncode == OK and check["is"] == "untried" and check["detail"] == "it takes path", check
    assert check["remedy"] == "hatchctl run files.mark --dry-run path=…", check


def test_hatchd_asks_the_daemon_of_the_configuration(house, folder):
    ran = preflight(folder, "--config", house.file, "-t", "shop", "--json", "stack.dump")
    assert ran.returncode == OK and ran.stderr == "", ran
    assert json.loads(ran.stdout)["judged_as"]["pid"] == house.pid


def test_without_a_daemon_its_configuration_is_tried(demo, folder):
    daemon = Daemon(demo.pid, PROBE, start=False)
    try:
        ran = preflight(folder, "--config", daemon.file, "stack.dump", "probe.fail")
        assert ran.returncode == OK and f"No daemon answers for {daemon.file}: one is started to be asked, as " in ran.stderr, ran
        lines = [line.split() for line in ran.stdout.splitlines()]
        assert ["demo", "stack.dump", "ready"] in lines and ["-", "probe.fail", "profile=second", "ready"] in lines, ran
        assert not (daemon.folder / "runs").exists() and not os.path.exists(daemon.socket), "nothing of the real one is touched"
        daemon.file.write_text('{"targets": {"demo": {"pdi": 1}}}')
        wrong = preflight(folder, "--config", daemon.file)
        assert wrong.returncode == 78 and "/targets/demo/pdi" in wrong.stderr and "hatchd check" in wrong.stderr, wrong
    finally:
        daemon.close()


@as_root
def test_who_may_not_ask(demo):
    with Daemon(demo.pid) as daemon:
        ran = subprocess.run(
            [*become(ME), HATCHCTL, "--socket", daemon.socket, "preflight"], capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == NOT_ALLOWED and "role-missing" in ran.stderr, ran
