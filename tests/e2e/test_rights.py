"""Least privilege: hatchd as a user without a name, beside targets of another user, with exactly these capabilities.

The capabilities are those of systemd/hatchd.service and docs/install.md; each is taken away in turn. What a container
gives, file capabilities on the program, is tried too.
"""

import contextlib
import ctypes
import errno
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

from harness import AM_ROOT, BUILD, ROOT, SANITIZED, Daemon, Demo, open_to_all, wait_until
from test_stack_signal import FAULTHANDLER, Printing

pytestmark = pytest.mark.skipif(not AM_ROOT, reason="other users take root")

OWN, OTHER = 61001, 61002  # without a name
NUMBERS = {"dac_read_search": 2, "kill": 5, "sys_ptrace": 19, "checkpoint_restore": 40}  # linux/capability.h
DOCUMENTED = re.search(r"^AmbientCapabilities=(.*)$", (ROOT / "systemd/hatchd.service").read_text(), re.M)[1].lower().replace("cap_", "").split()


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The parts of hatchd that this takes, where every user can reach them."""
    folder = tmp_path_factory.mktemp("hatchd")
    open_to_all(folder)
    for part, names in {"bin": ["hatchd", "hatchctl", "hatchd-demo"], "libexec": ["hatchd-worker"], "plugins": ["stack.so"]}.items():
        (folder / part).mkdir()
        for name in names:
            shutil.copy2(BUILD / part / name, folder / part / name)
    return folder


@pytest.fixture(scope="module")
def targets(programs):
    """Of another user: a plain one, one whose program only that user can read, and one with a deleted library."""
    private = programs / "private"
    private.mkdir(mode=0o700)
    shutil.copy2(programs / "bin/hatchd-demo", private / "hidden")
    (private / "hidden").chmod(0o500)
    libraries = programs / "libraries"
    libraries.mkdir()
    libc = re.search(r"libc\.so\.6 => (\S+)", subprocess.run(["ldd", programs / "bin/hatchd-demo"], capture_output=True, text=True, check=True).stdout)[1]
    shutil.copy2(libc, libraries / "libc.so.6")
    for path in (private, private / "hidden"):
        os.chown(path, OTHER, OTHER)
    with contextlib.ExitStack() as ends:
        identity = {"user": OTHER, "group": OTHER, "extra_groups": []}

        def start(binary, **options):
            return ends.enter_context(Demo(binary=binary, **identity, **options)).pid

        pids = {
            "plain": start(programs / "bin/hatchd-demo"),
            "hidden": start(private / "hidden"),
            "deleted": start(programs / "bin/hatchd-demo", env={**os.environ, "LD_LIBRARY_PATH": str(libraries)}),
        }
        shutil.rmtree(libraries)
        yield pids


class Unprivileged(Daemon):
    """hatchd as OWN; `before` is the command that starts it, such as setpriv with what it takes away."""

    def __init__(self, programs, pids, before):
        self.programs, self.before = programs, before
        super().__init__({name: {"pid": pid} for name, pid in pids.items()}, start=False)
        own = self.folder / "own"
        own.mkdir()
        os.chown(own, OWN, OWN)
        self.socket = str(own / "hatchd.sock")
        self.config["listen"][0]["unix"] = self.socket
        self.config["runs"]["directory"] = str(own / "runs")
        self.file.write_text(json.dumps(self.config))
        self.file.chmod(0o644)
        self.start()

    def start(self):
        with open(self.log_file, "ab") as log:
            self.popen = subprocess.Popen(
                [*self.before, self.programs / "bin/hatchd", "serve", "--config", self.file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait_ready()

    def dump(self, target):
        """(the answer, the names of functions of the program and of libraries)"""
        answer = self.run("stack.dump", {"target": target})
        if answer.status != 200:
            return answer.json(), set(), set()
        frames = [frame for thread in answer.json()["result"]["threads"] for frame in thread["frames"] if "function" in frame]
        own = {frame["function"] for frame in frames if "demo::" in frame["function"]}
        return answer.json(), own, {frame["function"] for frame in frames if frame["module"].startswith("libc")}

    def held(self):
        """{process: its permitted capabilities}; none of them is inheritable or ambient, and no right can come back."""
        found = {}
        for process in self.at_rest():
            status = process.status()
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", process
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16), process
            if process.pid != self.pid:
                assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0, process
            assert set(status["Uid"].split()) == {str(OWN)}, process
            assert os.stat(f"/proc/{process.pid}/environ").st_uid == 0, f"{process} can be read by its own user"
            found["hatchd" if process.pid == self.pid else process.title] = process.capabilities()
        return found


def numbers(names):
    return {NUMBERS[name] for name in names}


def as_unit(capabilities):
    """How systemd starts it: ambient capabilities, a bounding set of the same, no-new-privileges."""
    held = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", f"--reuid={OWN}", f"--regid={OWN}", "--clear-groups", "--inh-caps", held, "--ambient-caps", held, "--bounding-set", held, "--no-new-privs"]


def test_with_the_documented_capabilities_every_stack_of_another_user(programs, targets):
    with Unprivileged(programs, targets, as_unit(DOCUMENTED)) as daemon:
        for target in targets:
            answer, own, libraries = daemon.dump(target)
            assert answer.get("state") == "succeeded" and own and libraries, (target, answer)
        held = daemon.held()
        assert held["hatchd: front"] == set()
        assert held["hatchd: targets"] == numbers(["sys_ptrace", "dac_read_search"])
        assert held["hatchd: plugin stack"] == numbers(["sys_ptrace", "dac_read_search", "checkpoint_restore", "kill"])
        assert held["hatchd"] <= numbers(DOCUMENTED)


def test_without_sys_ptrace_it_says_so(programs, targets):
    with Unprivileged(programs, targets, as_unit([name for name in DOCUMENTED if name != "sys_ptrace"])) as daemon:
        answer, _, _ = daemon.dump("plain")
        assert answer["code"] == "rights-missing" and answer["status"] == 424, answer
        assert answer["missing"] == [f"CAP_SYS_PTRACE, or the user id {OTHER} with the group id {OTHER}"], answer
        assert "AmbientCapabilities=" in answer["remedy"], answer


def test_without_dac_read_search_files_that_only_the_target_may_read_have_no_names(programs, targets):
    with Unprivileged(programs, targets, as_unit([name for name in DOCUMENTED if name != "dac_read_search"])) as daemon:
        assert daemon.dump("plain")[1], "what everybody may read has them"
        answer, own, libraries = daemon.dump("hidden")
        assert answer["state"] == "succeeded" and not own and libraries, answer


def test_without_checkpoint_restore_deleted_libraries_have_no_names(programs, targets):
    with Unprivileged(programs, targets, as_unit([name for name in DOCUMENTED if name != "checkpoint_restore"])) as daemon:
        assert daemon.dump("plain")[2]
        # Behind a frame of a library without its unwind tables a stack goes on by frame pointers alone, which the demo
        # has not: what shows is the thread that computes, when it is met in the program itself.
        def the_program_alone():
            answer, own, libraries = daemon.dump("deleted")
            assert answer["state"] == "succeeded" and not libraries, answer
            return own

        wait_until("a function of the program", the_program_alone)


def test_without_kill_signals_to_other_users_are_refused(programs, tmp_path):
    with Printing(tmp_path, "/usr/bin/python3", "-c", FAULTHANDLER, user=OTHER, group=OTHER, extra_groups=[]) as program:
        for kept, works in ((DOCUMENTED, True), ([name for name in DOCUMENTED if name != "kill"], False)):
            with Unprivileged(programs, {"shop": program.pid}, as_unit(kept)) as daemon:
                answer = daemon.run("stack.signal", {"target": "shop"}).json()
                if works:
                    assert answer.get("state") == "succeeded" and "count_stock" in answer["result"]["output"], answer
                else:
                    assert answer["code"] == "rights-missing" and answer["missing"] == ["CAP_KILL"], answer
                    assert "CAP_KILL" in answer["remedy"], answer
                    assert daemon.run("stack.dump", {"target": "shop"}).status == 200, "looking takes no signal"


def test_every_documented_capability_has_its_test():
    """The table of docs/install.md is the unit's set; what is missing without each is a test of this file."""
    table = re.findall(r"^\| `CAP_(\w+)` \|", (ROOT / "docs/install.md").read_text(), re.M)
    assert {name.lower() for name in table} == set(DOCUMENTED) == set(NUMBERS)
    assert all(any(test.startswith(f"test_without_{name}_") for test in globals()) for name in DOCUMENTED)


def test_without_any_capability_the_targets_of_the_same_user(programs, targets):
    with Demo(binary=programs / "bin/hatchd-demo", user=OWN, group=OWN, extra_groups=[]) as same:
        with Unprivileged(programs, {**targets, "same": same.pid}, as_unit([])) as daemon:
            assert daemon.dump("plain")[0]["code"] == "rights-missing"
            answer, own, _ = daemon.dump("same")
            assert answer.get("state") == "succeeded" and own, answer
            assert set(map(frozenset, daemon.held().values())) == {frozenset()}


# ---- a captured front ---------------------------------------------------------------------------------------------------


class Captured:
    """Makes system calls in a process, by ptrace(2), as whoever took it over would: under its filter and its fence."""

    REGISTERS = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs".split()
    CALLS = {"open": 2, "socket": 41, "kill": 62, "unlink": 87, "mkdir": 83, "execve": 59, "ptrace": 101, "process_vm_readv": 310, "fork": 57}
    SEIZE, INTERRUPT, SINGLESTEP, GETREGS, SETREGS, DETACH = 0x4206, 0x4207, 9, 12, 13, 17

    def __init__(self, pid):
        self.pid = pid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.ask(self.SEIZE)
        self.ask(self.INTERRUPT)
        os.waitpid(pid, 0)
        self.saved = self.registers()

    def ask(self, request, data=None):
        assert self.libc.ptrace(request, self.pid, None, data) == 0, os.strerror(ctypes.get_errno())

    def registers(self):
        raw = (ctypes.c_ulonglong * len(self.REGISTERS))()
        self.ask(self.GETREGS, raw)
        return dict(zip(self.REGISTERS, raw))

    def call(self, name, *arguments):
        """What the call says: 0 or more, or an errno's name. Texts are put below its stack."""
        place = self.saved["rsp"] - 65536
        numbers = []
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            for argument in arguments:
                if isinstance(argument, str):
                    memory.seek(place)
                    memory.write(argument.encode() + b"\0")
                    argument, place = place, place + 4096
                numbers.append(argument & (1 << 64) - 1)
        numbers += [0] * (6 - len(numbers))
        # It was stopped in a system call: the instruction for the next one is right behind it. No restart of the old one.
        wanted = {**self.saved, **dict(zip("rdi rsi rdx r10 r8 r9".split(), numbers))}
        wanted.update(rax=self.CALLS[name], orig_rax=(1 << 64) - 1, rip=self.saved["rip"] - 2)
        self.ask(self.SETREGS, (ctypes.c_ulonglong * len(self.REGISTERS))(*wanted.values()))
        self.ask(self.SINGLESTEP)
        os.waitpid(self.pid, 0)
        result = ctypes.c_longlong(self.registers()["rax"]).value
        return result if result >= 0 else errno.errorcode[-result]

    def release(self):
        self.ask(self.SETREGS, (ctypes.c_ulonglong * len(self.REGISTERS))(*self.saved.values()))
        self.ask(self.DETACH)


def in_system_call(pid):
    """Captured takes the instruction before the one where it is for the one that calls."""
    return int(pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0].replace("running", "-1")) >= 0


def has_landlock():
    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 2  # landlock_create_ruleset: which version?


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls are made by the registers of x86-64")
def test_a_captured_front_of_the_targets_user_reaches_neither_it_nor_its_files(programs):
    """Same user, no capability, no Yama: nothing but the front's own filter and fence is in the way."""
    secret = programs / "secret"
    secret.write_text("of the app")
    os.chown(secret, OWN, OWN)
    secret.chmod(0o600)
    with Demo(binary=programs / "bin/hatchd-demo", user=OWN, group=OWN, extra_groups=[]) as same:
        with Unprivileged(programs, {"same": same.pid}, as_unit([])) as daemon:
            waiting = daemon.process("hatchd: front").pid
            wait_until("the front to wait for something to do", lambda: in_system_call(waiting))
            front = Captured(waiting)
            try:
                # The filter.
                assert front.call("kill", same.pid, 9) == "EPERM"
                assert front.call("ptrace", 0x4206, same.pid, 0, 0) == "EPERM"
                assert front.call("process_vm_readv", same.pid, 0, 0, 0, 0, 0) == "EPERM"
                assert front.call("execve", "/usr/bin/env", 0, 0) == "EPERM"
                assert front.call("fork") == "EPERM"
                assert front.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0) == "EPERM"
                # The fence.
                if not has_landlock():
                    pytest.skip("this kernel has no Landlock: the filter holds, the fence is not there")
                memory, around = f"/proc/{same.pid}/mem", f"/proc/{same.pid}/root{secret}"
                opened = {path: front.call("open", str(path), os.O_RDWR) for path in (memory, secret, around)}
                read = {path: front.call("open", str(path), os.O_RDONLY) for path in (memory, secret, around, f"/proc/{same.pid}/environ")}
                assert set(opened.values()) == set(read.values()) == {"EACCES"}, (opened, read)
                assert front.call("unlink", str(secret)) == front.call("mkdir", str(programs / "bin/more"), 0o700) == "EACCES"
                # Its own work is as it was.
                assert front.call("mkdir", f"{daemon.config['runs']['directory']}/runs/made", 0o700) == 0
                assert front.call("open", "/etc/passwd", os.O_RDONLY) >= 0
            finally:
                front.release()
            assert daemon.run("stack.dump", {"target": "same"}).status == 200
        assert secret.read_text() == "of the app"
        assert same.popen.poll() is None


# ---- the unit's filter of system calls ----------------------------------------------------------------------------------

# Loads the filter as systemd does for SystemCallFilter= with an allow list and SystemCallErrorNumber=EPERM, and for
# MemoryDenyWriteExecute=yes; then becomes the command.
FILTERED = """
import errno, os, seccomp, sys
count = int(sys.argv[1])
names, command = sys.argv[2 : 2 + count], sys.argv[2 + count :]
memory = seccomp.SyscallFilter(seccomp.ALLOW)
for call in ("mprotect", "pkey_mprotect"):
    memory.add_rule(seccomp.ERRNO(errno.EPERM), call, seccomp.Arg(2, seccomp.MASKED_EQ, 4, 4))
memory.add_rule(seccomp.ERRNO(errno.EPERM), "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, 6, 6))
memory.load()
allowed = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
for name in names:
    try:
        allowed.add_rule(seccomp.ALLOW, name)
    except RuntimeError:
        pass  # of another architecture
allowed.load()
os.execv(command[0], command)
"""


def calls_of(group):
    said = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in said.splitlines()[1:]]
    return {name for word in words if word and word[0] != "#" for name in (calls_of(word) if word[0] == "@" else [word])}


def allowed_by(*units):
    allowed = set()
    for unit in units:
        for tilde, words in re.findall(r"^SystemCallFilter=(~?)(.*)$", (ROOT / "systemd" / unit).read_text(), re.M):
            named = {name for word in words.split() for name in (calls_of(word) if word[0] == "@" else [word])}
            allowed = allowed - named if tilde else allowed | named
    return sorted(allowed)


@pytest.mark.skipif(SANITIZED, reason="sanitizers make calls of their own")
@pytest.mark.parametrize("rights", ["hatchd.service", "same-user.conf"])
def test_it_works_under_the_units_filter(programs, targets, rights):
    same_user = rights == "same-user.conf"
    names = allowed_by("hatchd.service", *(["rights/same-user.conf"] if same_user else []))
    filtered = ["/usr/bin/python3", "-c", FILTERED, str(len(names)), *names]
    with Demo(binary=programs / "bin/hatchd-demo", user=OWN, group=OWN, extra_groups=[]) as same:
        everybody = {**targets, "same": same.pid}
        with Unprivileged(programs, everybody, [*as_unit([] if same_user else DOCUMENTED), *filtered]) as daemon:
            for target in ["same"] if same_user else everybody:
                answer, own, libraries = daemon.dump(target)
                assert answer.get("state") == "succeeded" and own and libraries, (target, answer)
            assert "EPERM" not in daemon.log(), daemon.log()


# ---- file capabilities: how a container gives them to a user that is not root ------------------------------------------


@pytest.fixture
def endowed(programs):
    """Permitted without the effective bit, on a program that hatchd's user alone may run."""
    program = programs / "bin/hatchd"
    os.chown(program, 0, OWN)
    program.chmod(0o710)
    subprocess.run(["setcap", ",".join(f"cap_{name}" for name in DOCUMENTED) + "=p", program], check=True)
    yield programs
    subprocess.run(["setcap", "-r", program], check=True)
    program.chmod(0o755)


# As a container's runtime starts it. setpriv keeps its capabilities over the change of user, up to the next exec.
CONTAINER = ["setpriv", f"--reuid={OWN}", f"--regid={OWN}", "--clear-groups", "--inh-caps=-all"]


@pytest.mark.parametrize(
    "before, works",
    [
        ([*CONTAINER, "env"], True),
        ([*CONTAINER, "setpriv", "--no-new-privs"], False),
        ([*CONTAINER, "--bounding-set", "-all", "env"], False),
    ],
    ids=["all", "allowPrivilegeEscalation: false", "an empty bounding set"],
)
def test_file_capabilities(endowed, targets, before, works):
    with Unprivileged(endowed, targets, before) as daemon:
        answer, own, _ = daemon.dump("plain")
        held = daemon.held()
        assert held["hatchd: front"] == set()
        if works:
            assert answer.get("state") == "succeeded" and own, answer
            assert held["hatchd: plugin stack"] == numbers(["sys_ptrace", "dac_read_search", "checkpoint_restore", "kill"])
        else:  # it starts, and refuses what it cannot do
            assert answer["code"] == "rights-missing", answer
            assert set(map(frozenset, held.values())) == {frozenset()}


def test_nobody_else_gets_file_capabilities(endowed):
    with pytest.raises(PermissionError):
        subprocess.run([endowed / "bin/hatchd", "--version"], check=False, user=OTHER, group=OTHER, extra_groups=[])
