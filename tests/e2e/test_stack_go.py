"""stack.dump of a real Go program: goroutines read from its memory, and what a stripped one still gives."""

import re
import shutil
import signal
import subprocess

import pytest

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


def test_a_limit_of_frames_and_both_kinds_together(build):
    with Shop(build("usual")) as shop, Daemon(shop.pid) as daemon:
        deep = daemon.run("stack.dump", {"max_frames": 5}).json()["result"]["threads"]
        assert all(len(t["frames"]) <= 5 for t in deep) and any(t.get("truncated") for t in deep)
        both = daemon.run("stack.dump", {"mode": "all"})
        assert both.status == 200 and {"go", "native"} <= {f["kind"] for t in both.json()["result"]["threads"] for f in t["frames"]}
