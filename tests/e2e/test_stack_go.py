"""stack.dump of a real Go program: goroutines read from its memory, and what a stripped one still gives."""

import platform
import re
import shutil
import signal
import subprocess

import pytest

import npm
from harness import ROOT, Daemon, Program, assert_untouched, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("go"), reason="takes Go")

# The function that each goroutine was started with: its state, and functions on its stack, innermost first.
GOROUTINES = {
    "main.holdLock": ("sleep", ["time.Sleep", "main.holdLock"]),
    "main.wantLock": ("semacquire", ["main.wantLock"]),
    "main.accept": ("IO wait", ["internal/poll.(*FD).Accept", "main.accept"]),
    "main.deep": ("chan receive", ["main.waitForOrder", "main.takeOrder", "main.serve"] + ["main.deep"] * 51),
    "main.choose": ("select", ["main.choose"]),
    "main.main.func1": ("select (no cases)", ["main.main.func1"]),
    "main.main": ("select (no cases)", ["main.main"]),
}
BUILDS = {
    "usual": [],
    "no debug information": ["-ldflags=-w"],
    "position independent": ["-buildmode=pie"],
    "stripped": ["-ldflags=-s -w"],
}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("go")
    built = {}

    def of(kind):
        if kind not in built:
            built[kind] = folder / kind.replace(" ", "-")
            argv = ["go", "build", *BUILDS[kind], "-o", built[kind], ROOT / "tests/e2e/go/shop.go"]
            subprocess.run(argv, check=True, timeout=300, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "GO111MODULE": "off"})
        return built[kind]

    return of


class Shop(Program):
    """Spins in one goroutine and waits in the others."""

    def __init__(self, program):
        super().__init__(program, "spin", stdout=subprocess.PIPE)
        assert self.popen.stdout.readline() == b"ready\n"

    def stop(self):
        super().stop()
        self.popen.stdout.close()


def functions(thread):
    return [frame.get("function", "") for frame in thread["frames"]]


def in_order(wanted, found):
    rest = iter(found)
    return all(one in rest for one in wanted)


@pytest.mark.parametrize("kind", ["usual", "no debug information", "position independent"])
def test_goroutines_with_states_and_stacks(build, kind):
    with Shop(build(kind)) as shop, Daemon(shop.pid) as daemon:

        def spinning():  # the scheduler may have its turn just then
            answer = daemon.run("stack.dump")
            assert answer.status == 200, answer
            threads = answer.json()["result"]["threads"]
            return answer.json()["result"] if any(t["name"] == "main.spin" and t["state"] == "running" for t in threads) else None

        result = wait_until("main.spin to run", spinning)
        assert result["mode"] == "go" and result["runtime"].startswith("Go 1."), result["runtime"]
        by_start = {t["name"]: t for t in result["threads"]}
        for name, (state, stack) in GOROUTINES.items():
            thread = by_start[name]
            assert thread["state"] == state and thread["id"].startswith("goroutine "), thread
            assert in_order(stack, functions(thread)), (name, functions(thread))
        main = by_start["main.main"]
        assert main["id"] == "goroutine 1" and main["frames"][0]["file"].endswith("/shop.go") and main["frames"][0]["kind"] == "go"
        source = (ROOT / "tests/e2e/go/shop.go").read_text().splitlines()
        assert "select {}" in source[main["frames"][0]["line"] - 1]
        deep = by_start["main.deep"]["frames"]
        inlined = {f["function"]: source[f["line"] - 1] for f in deep if f.get("inlined")}
        assert "waitForOrder() + 1" in inlined["main.takeOrder"] and "takeOrder() * 2" in inlined["main.serve"], inlined
        called = next(f for f in deep if f["function"] == "main.deep")
        assert "return serve()" in source[called["line"] - 1] and not called.get("inlined"), called
        spin = by_start["main.spin"]
        assert spin["running"], spin
        assert spin.get("error") or functions(spin)[0] == "main.spin", spin
        assert not any(f.startswith("runtime.go") for t in result["threads"] for f in functions(t))
        assert result["processes"][0]["goroutines"] == len(result["threads"]) == len(GOROUTINES) + 1
        assert by_start["main.holdLock"]["created_by"] == "main.main" and "created_by" not in main
        assert_untouched(shop.pid)
        assert shop.popen.poll() is None


def test_nobody_is_stopped_for_goroutines_that_wait(build):
    with Shop(build("usual")) as shop, Daemon(shop.pid) as daemon:
        result = daemon.run("stack.dump", {"pause": "none"}).json()["result"]
        assert result["mode"] == "go" and result["paused_us"] == 0
        stacks = {t["name"]: functions(t) for t in result["threads"]}
        assert in_order(GOROUTINES["main.deep"][1], stacks["main.deep"])


def test_the_same_as_the_runtimes_own_trace(build):
    """SIGQUIT ends a Go program with a trace: the goroutines of that, after ours."""
    program = subprocess.Popen([build("usual")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "ready\n"
    with Daemon(program.pid) as daemon:
        ours = {t["id"]: t for t in daemon.run("stack.dump").json()["result"]["threads"]}
    program.send_signal(signal.SIGQUIT)
    theirs = program.communicate(timeout=30)[1]
    compared = 0
    for block in theirs.split("\n\n"):
        lines = block.strip().splitlines()
        if not lines or not lines[0].startswith("goroutine ") or lines[0].startswith("goroutine 0 "):
            continue
        ident, _, state = lines[0].partition(" [")
        frames = [line.rpartition("(")[0] for line in lines[1:] if not line.startswith(("\t", "created by", "..."))]
        state = state.rstrip("]:").split(",")[0]
        if ident not in ours:
            assert all(f.startswith("runtime.") for f in frames), block  # the runtime's own
            continue
        mine = ours[ident]
        assert mine["state"] == state
        # This one shows what the runtime does inside, too, and what the compiler made of `go accept(l)`.
        told = [f for f in frames if not re.match(r"runtime\.[^A-Z]|main\.main\.func[234]$", f)]
        assert functions(mine) == told, (mine, frames)
        compared += 1
    assert compared >= len(GOROUTINES)


def test_a_stripped_program_gives_its_threads_with_names(build):
    with Shop(build("stripped")) as shop, Daemon(shop.pid) as daemon:
        result = daemon.run("stack.dump").json()["result"]
        assert result["mode"] == "native" and "symbol table" in result["verdict"]
        frames = [f for t in result["threads"] for f in t["frames"]]
        assert any(f["function"].startswith("runtime.") and f.get("inlined") and f["line"] > 0 for f in frames), frames

        def spinning():  # the scheduler may have its turn just then
            threads = daemon.run("stack.dump").json()["result"]["threads"]
            return any("main.spin" in functions(t) for t in threads)

        wait_until("main.spin on a thread", spinning)
        asked = daemon.run("stack.dump", {"mode": "go"})
        assert asked.status == 424 and "without -ldflags=-s" in asked.json()["remedy"], asked


GO_ENDS = {f"runtime.{name}" for name in ("goexit", "mcall", "mstart", "rt0_go", "morestack", "systemstack")}


def whole_threads_of_go(daemon):
    """The native threads of a stripped Go program: with whole stacks, and nobody was stopped for those that sleep."""
    result = daemon.run("stack.dump", {"mode": "native"}).json()["result"]
    asleep = [t for t in result["threads"] if not t["running"]]
    assert len(asleep) >= 3 and all(t.get("waiting_on") for t in asleep), asleep
    for thread in asleep:
        assert not thread["truncated"] and "error" not in thread, thread
        assert functions(thread)[-1] in GO_ENDS, functions(thread)
    return result


def test_a_stripped_program_is_read_by_gos_own_table_without_a_stop(build):
    with Program(build("stripped"), stdout=subprocess.PIPE) as shop:
        assert shop.popen.stdout.readline() == b"ready\n"
        with Daemon(shop.pid) as daemon:
            wait_until("all to sleep", lambda: "nobody was stopped" in whole_threads_of_go(daemon)["verdict"])
        shop.popen.stdout.close()


# What npm has of esbuild was built, stripped, by these. Debian has 1.19.
ESBUILD = {"0.18.20": "1.20", "0.23.1": "1.22", "0.25.12": "1.23", "0.28.2": "1.26"}


@pytest.mark.parametrize("version", ESBUILD)
def test_programs_of_newer_go(tmp_path, version):
    if platform.machine() != "x86_64":
        pytest.skip("takes x86-64")
    folder = npm.packages(f"npm-esbuild/{version}", {"@esbuild/linux-x64": version})
    program = folder / "node_modules" / "@esbuild" / "linux-x64" / "bin" / "esbuild"
    # It reads its standard input to see its end.
    with Program(program, "--serve=127.0.0.1:0", f"--servedir={tmp_path}", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as served:

        def settled(daemon):
            names = {name for t in daemon.run("stack.dump", {"mode": "native"}).json()["result"]["threads"] for name in functions(t)}
            return "runtime.netpoll" in names

        with Daemon(served.pid) as daemon:
            wait_until("it to wait for connections", lambda: settled(daemon))
            result = whole_threads_of_go(daemon)
            reads = next(t for t in result["threads"] if t.get("waiting_on") == "read")
            frames = {f["function"]: f for f in reads["frames"]}
            # The file's name shows that functions which were inlined are found, too.
            assert frames["internal/poll.(*FD).Read"]["file"].endswith("/fd_unix.go"), frames
            assert frames["syscall.Read"]["inlined"], frames
            asked = daemon.run("stack.dump", {"mode": "go"})
            assert asked.status == 424 and "without -ldflags=-s" in asked.json()["remedy"], asked
        served.popen.stdin.close()


def test_a_limit_of_frames_and_both_kinds_together(build):
    with Shop(build("usual")) as shop, Daemon(shop.pid) as daemon:
        deep = daemon.run("stack.dump", {"max_frames": 5}).json()["result"]["threads"]
        assert all(len(t["frames"]) <= 5 for t in deep) and any(t.get("truncated") for t in deep)
        both = daemon.run("stack.dump", {"mode": "all"})
        assert both.status == 200 and {"go", "native"} <= {f["kind"] for t in both.json()["result"]["threads"] for f in t["frames"]}
