"""stack.dump of Go programs that serve their profiles: goroutines as the program tells them, and whatever goes wrong."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from harness import ROOT, Daemon, Program, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("go"), reason="takes Go")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """With a symbol table, and without: then memory leads to no goroutines."""
    folder = tmp_path_factory.mktemp("go")
    for name, flags in {"usual": [], "stripped": ["-ldflags=-s -w"]}.items():
        argv = ["go", "build", *flags, "-o", folder / name, ROOT / "tests/e2e/go/profiled.go"]
        subprocess.run(argv, check=True, timeout=300, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "GO111MODULE": "off"})
    return folder


class Profiled(Program):
    def __init__(self, program, way="usual", many=3):
        super().__init__(program, way, str(many), stdout=subprocess.PIPE)
        self.port = int(self.popen.stdout.readline())
        assert self.popen.stdout.readline() == b"ready\n"

    def stop(self):
        super().stop()
        self.popen.stdout.close()


def functions(thread):
    return [frame.get("function", "") for frame in thread["frames"]]


def seen(thread):
    return thread["name"], thread["state"], thread.get("created_by"), thread.get("locked_to_thread"), functions(thread)


def test_a_stripped_program_tells_its_goroutines_itself(programs):
    with Profiled(programs / "stripped") as app, Daemon(app.pid) as daemon:
        run = daemon.run("stack.dump").json()
        result = run["result"]
        assert result["mode"] == "go" and result["runtime"].startswith("Go 1."), result["verdict"]
        process = result["processes"][0]
        assert process["goroutines_from"] == f"http://127.0.0.1:{app.port}/debug/pprof/goroutine?debug=2"
        assert process["goroutines"] == len(result["threads"]) and "error" not in process, process
        assert result["paused_us"] > 0

        by_start = {t["name"]: t for t in result["threads"]}
        main = by_start["main.main"]
        assert main["id"] == "goroutine 1" and main["state"] == "select (no cases)" and not main["running"], main
        assert main["frames"][0]["kind"] == "go" and main["frames"][0]["file"].endswith("/profiled.go"), main
        working = [t for t in result["threads"] if t["name"] == "main.work"]
        assert len(working) == 3
        for thread in working:
            assert thread["state"] == "chan receive" and thread["created_by"] == "main.main", thread
            assert functions(thread) == ["main.waitForOrder", "main.takeOrder", "main.work"]
            assert [f.get("inlined", False) for f in thread["frames"]] == [False, True, False]
        pinned = by_start["main.pinned"]
        assert pinned["locked_to_thread"] is True, pinned
        # The one that wrote the answer is nobody's but ours.
        assert not any("writeGoroutineStacks" in f for t in result["threads"] for f in functions(t))

        assert [a["name"] for a in run["artifacts"]] == ["goroutines.txt"]
        kept = daemon.get(run["artifacts"][0]["href"]).text
        assert kept.startswith("goroutine ") and "main.waitForOrder(" in kept

        text = daemon.run("stack.dump", headers={"Accept": "text/plain"}).text
        assert re.search(r'"main.pinned" goroutine \d+, chan receive, locked to thread\n', text), text
        assert "main.takeOrder  at " in text and "(inlined)" in text
        folded = daemon.run("stack.dump?format=folded").text
        assert re.search(r"main\.work;main\.work \(profiled.go:\d+\);main\.takeOrder \(.*\) 3\n", folded), folded
        grouped = daemon.run("stack.dump", {"group": True}).json()["result"]["threads"]
        assert [t["count"] for t in grouped if t["name"] == "main.work"] == [3]
        both = daemon.run("stack.dump", {"mode": "all"}).json()["result"]
        assert {"go", "native"} <= {f["kind"] for t in both["threads"] for f in t["frames"]}
        assert app.popen.poll() is None


def test_memory_comes_first_and_one_consistent_picture_from_the_program(programs):
    with Profiled(programs / "usual") as app, Daemon(app.pid) as daemon:
        least = daemon.run("stack.dump").json()["result"]
        assert least["processes"][0]["goroutines_from"] == "memory"
        whole = daemon.run("stack.dump", {"pause": "all"}).json()["result"]
        assert whole["processes"][0]["goroutines_from"].startswith("http://127.0.0.1:")
        told, read = ({t["id"]: seen(t) for t in result["threads"]} for result in (whole, least))
        both = read.keys() & told.keys()
        assert {"main.main", "main.work", "main.pinned"} <= {told[ident][0] for ident in both}
        for ident in both:
            assert read[ident] == told[ident]
        nobody = daemon.run("stack.dump", {"pause": "none"}).json()["result"]
        assert nobody["processes"][0]["goroutines_from"] == "memory" and nobody["paused_us"] == 0

        dry = daemon.run("stack.dump?dry_run=true&pause=all").json()
        assert dry["ready"] and f"net/http/pprof, which is looked for on 127.0.0.1:{app.port}" in dry["verdict"], dry
        assert "else from its memory" in dry["verdict"]
        assert "goroutines from its memory" in daemon.run("stack.dump?dry_run=true").json()["verdict"]
        python = daemon.run("stack.dump?dry_run=true&mode=python").json()
        assert not python["ready"] and "runs Go" in python["detail"], python


def test_a_program_that_listens_on_all_addresses_is_asked_on_loopback(programs):
    with Profiled(programs / "stripped", "everywhere") as app, Daemon(app.pid) as daemon:
        process = daemon.run("stack.dump").json()["result"]["processes"][0]
        assert process["goroutines_from"] == f"http://127.0.0.1:{app.port}/debug/pprof/goroutine?debug=2", process


@pytest.mark.parametrize(
    "way, why",
    {
        "unauthorized": "asks who is there (401)",
        "redirects": "answered 302",
        "hangs": "did not answer in time",
        "none": "answered 404",
        "elsewhere": "answered 404",
        "tls": "speaks TLS",
    }.items(),
)
def test_what_does_not_serve_profiles_gives_threads_and_the_reason(programs, way, why):
    with Profiled(programs / "stripped", way) as app, Daemon(app.pid) as daemon:
        answer = daemon.run("stack.dump")
        assert answer.status == 200, answer
        result = answer.json()["result"]
        assert result["mode"] == "native" and f"127.0.0.1:{app.port} {why}" in result["verdict"], result["verdict"]
        assert any(f.startswith("runtime.") for t in result["threads"] for f in functions(t))
        asked = daemon.run("stack.dump", {"mode": "go"})
        assert asked.status == 424 and "net/http/pprof on a loopback address" in asked.json()["remedy"], asked
        nobody = daemon.run("stack.dump", {"pause": "none"}).json()["result"]
        assert "pause=none asks no endpoint" in nobody["verdict"]


def test_what_the_program_says_is_hostile(programs):
    with Profiled(programs / "stripped", "lies") as app, Daemon(app.pid) as daemon:
        answer = daemon.run("stack.dump")
        [thread] = answer.json()["result"]["threads"]
        assert thread["id"] == "goroutine 7" and "file" not in thread["frames"][0], thread
        text = daemon.run("stack.dump", headers={"Accept": "text/plain"}).text
        assert "goroutine 7" in text and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), text


def test_a_stopped_program_is_not_asked(programs):
    for kind, mode in (("stripped", "native"), ("usual", "go")):
        with Profiled(programs / kind) as app, Daemon(app.pid) as daemon:
            os.kill(app.pid, signal.SIGSTOP)
            try:
                wait_until("stopped", lambda: "T (stopped)" in open(f"/proc/{app.pid}/status").read())
                result = daemon.run("stack.dump", {"pause": "all"}).json()["result"]
                assert result["mode"] == mode, result["verdict"]
                where = result["verdict"] if mode == "native" else result["processes"][0]["no_profiles"]
                assert "it is stopped, and answers nobody" in where, result
            finally:
                os.kill(app.pid, signal.SIGCONT)


def test_many_goroutines_are_counted_where_telling_them_would_hold_the_program(programs):
    config = {"hatches": {"stack.dump": {"max_pause": "50ms"}}}
    with Profiled(programs / "stripped", "usual", 4000) as app, Daemon(app.pid, config) as daemon:
        result = daemon.run("stack.dump").json()["result"]
        process = result["processes"][0]
        assert process["goroutines_from"].endswith("?debug=1") and result["paused_us"] == 0, result["verdict"]
        [working] = [t for t in result["threads"] if t["name"] == "main.work"]
        assert working["goroutines"] == 4000 and functions(working)[0] == "main.waitForOrder", working
        assert process["goroutines"] > 4000 and re.match(r"The stacks of 40\d\d threads were read;", result["verdict"]), result["verdict"]
        assert "main.main" in {t["name"] for t in result["threads"]}
        assert not any("writeGoroutine" in f for t in result["threads"] for f in functions(t))
        text = daemon.run("stack.dump", headers={"Accept": "text/plain"}).text
        assert re.search(r'"main.work" group \d+, 4000 goroutines stand here\n', text), text
        assert re.search(r"main\.work;.* 4000\n", daemon.run("stack.dump?format=folded").text)
        grouped = daemon.run("stack.dump", {"group": True}).json()["result"]["threads"]
        assert [t["count"] for t in grouped if t["name"] == "main.work"] == [4000]
    with Profiled(programs / "usual", "usual", 4000) as app, Daemon(app.pid, config) as daemon:
        result = daemon.run("stack.dump", {"pause": "all"}).json()["result"]
        assert result["processes"][0]["goroutines_from"] == "memory"
        assert "longer than the pause budget of 50 ms" in result["processes"][0]["no_profiles"]


def test_the_configuration_may_say_where(programs):
    with Profiled(programs / "usual", "elsewhere") as app:
        address = f"http://127.0.0.1:{app.port}/admin/debug/pprof/"
        with Daemon(app.pid, {"plugins": {"stack": {"pprof": {"demo": address}}}}) as daemon:
            process = daemon.run("stack.dump").json()["result"]["processes"][0]
            assert process["goroutines_from"] == address + "goroutine?debug=2", process
            assert daemon.run("stack.dump", {"pause": "none"}).json()["result"]["processes"][0]["goroutines_from"] == "memory"
        with Daemon(app.pid, {"plugins": {"stack": {"pprof": {"demo": "http://127.0.0.1:1/"}}}}) as daemon:
            process = daemon.run("stack.dump").json()["result"]["processes"][0]
            assert process["goroutines_from"] == "memory" and "does not listen on port 1," in process["no_profiles"]
