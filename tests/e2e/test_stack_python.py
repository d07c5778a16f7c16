"""stack.dump of CPython: what the interpreter itself says of its threads is what the dump says."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import textwrap

import pytest

from harness import AM_ROOT, HATCHD, Daemon, Program, assert_untouched, descendants, thread_states, wait_until

PYTHON = "/usr/bin/python3"

# Threads that wait for good, each in its own way. Their names and innermost functions are what is asked for.
PROGRAM = textwrap.dedent('''
    import asyncio, faulthandler, os, sys, threading, time

    lock = threading.Lock()
    lock.acquire()

    def descend(depth):
        if depth:
            return descend(depth - 1)
        time.sleep(1000)

    class Worker:
        def wait_for_lock(self):
            lock.acquire()

    def numbers():
        time.sleep(1000)
        yield 1

    def consume():
        for number in numbers():
            pass

    def call_c():
        sorted([2, 1], key=lambda number: time.sleep(1000))

    def long_line():
        value = (1 +
                 2 + max(
                     3, time.sleep(1000) or 4))

    async def wait_for(future):
        await future

    async def fetch(future):
        await wait_for(future)

    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(fetch(future))
        task.set_name("fetcher")
        await task

    def start(name, function, *arguments):
        threading.Thread(target=function, args=arguments, name=name, daemon=True).start()

    def spin():
        while True:
            pass

    start("deep", descend, 400)
    start("shallow", descend, 3)
    start("locker", Worker().wait_for_lock)
    start("consumer", consume)
    start("caller", call_c)
    start("liner", long_line)
    start("loop", asyncio.run, main())
    start("\\x1b[2J\\u202eevil\\nname", descend, 0)
    namespace = {"time": time}
    exec(compile("def " + "f" * 3000 + "(): time.sleep(1000)", "\\x1b]0;x\\x07.py", "exec"), namespace)
    start("hostile", namespace["f" * 3000])
    first = os.getpid()
    for argument in sys.argv[2:]:
        if argument == "spin":
            start("spinner", spin)
        if argument == "fork" and os.fork() == 0:
            start("child", descend, 1)
    if os.getpid() == first:  # a forked one says nothing: their words would mix
        print(first, flush=True)
    while os.read(int(sys.argv[1]), 1):
        faulthandler.dump_traceback(sys.stdout, all_threads=True)
        print("end", flush=True)
''')

INNERMOST = {
    "deep": "descend",
    "shallow": "descend",
    "locker": "Worker.wait_for_lock",
    "consumer": "numbers",
    "caller": "call_c.<locals>.<lambda>",
    "liner": "long_line",
    "loop": "EpollSelector.select",
}


class Snake(Program):
    """A Python program that has printed its pid."""

    def __init__(self, source, *arguments):
        self.folder = tempfile.TemporaryDirectory(prefix="e2e-python-")
        script = pathlib.Path(self.folder.name) / "program.py"
        script.write_text(source)
        reading, self.writing = os.pipe()
        super().__init__(PYTHON, "-u", script, reading, *arguments, stdout=subprocess.PIPE, pass_fds=[reading])
        os.close(reading)
        assert int(self.popen.stdout.readline()) == self.pid

    def stop(self):
        for process in descendants(self.pid):
            os.kill(process.pid, signal.SIGKILL)
        super().stop()
        self.popen.stdout.close()
        os.close(self.writing)
        self.folder.cleanup()

    def truth(self):
        """What faulthandler writes: for each thread (file, line, function), innermost first."""
        os.write(self.writing, b"t")
        lines = []
        while (line := self.popen.stdout.readline().decode()) != "end\n":
            lines.append(line)
        threads = []
        for line in lines:
            if "most recent call first" in line:
                threads.append([])
            frame = re.match(r'  File "(.*)", line (\d+) in (.*)$', line)
            if frame:
                threads[-1].append((frame[1], int(frame[2]), frame[3]))
        return threads


def dump(daemon, **parameters):
    answer = daemon.run("stack.dump", parameters)
    assert answer.status == 200, answer.text[:2000]
    return answer.json()["result"]


def by_name(result):
    return {thread["name"]: thread for thread in result["threads"]}


def settled(daemon):
    """Asks until every thread has come to where it waits."""

    def arrived():
        threads = by_name(dump(daemon))
        return all(
            name in threads
            and threads[name]["frames"]
            and threads[name]["frames"][0]["function"] == function
            and threads[name].get("waiting_on")
            for name, function in INNERMOST.items()
        )

    wait_until("all threads to wait where they should", arrived)
    return dump(daemon)


@pytest.fixture(scope="module")
def program():
    with Snake(PROGRAM) as started:
        yield started


@pytest.fixture(scope="module")
def python(program):
    with Daemon(program.pid) as daemon:
        settled(daemon)
        yield daemon


def test_threads_by_name_with_their_frames(python, program):
    result = dump(python)
    assert result["mode"] == "python" and result["runtime"].startswith("CPython 3."), result["verdict"]
    assert result["paused_us"] == 0 and "nobody was stopped" in result["verdict"]
    threads = by_name(result)
    for name, function in INNERMOST.items():
        frame = threads[name]["frames"][0]
        assert frame["function"] == function and frame["kind"] == "python" and frame["line"] > 0, frame
        assert threads[name]["id"] in thread_states(program.pid)
    assert threads["locker"]["waiting_on"] == "futex" and threads["loop"]["waiting_on"] == "epoll_wait"
    assert threads["MainThread"]["id"] == program.pid
    assert threads["deep"]["truncated"] and len(threads["deep"]["frames"]) == 256
    assert {thread["id"] for thread in result["threads"] if isinstance(thread["id"], int)} == set(
        thread_states(program.pid)
    )
    assert result["processes"][0]["gil_holder"] is None
    assert result["processes"][0]["threads_without_python"] == 0
    assert_untouched(program.pid)


def test_the_interpreter_tells_the_same(python, program):
    truth = sorted(program.truth())
    threads = [t for t in dump(python, max_frames=100)["threads"] if isinstance(t["id"], int)]
    # The main thread is busy telling; all others stand still.
    told = [stack for stack in truth if "faulthandler" not in stack[0][2] and len(stack) > 1]
    seen = sorted(
        [(frame["file"], frame["line"], frame["function"].split(".")[-1]) for frame in thread["frames"]]
        for thread in threads
        if thread["name"] not in ("MainThread", "hostile")
    )
    told = sorted(stack[:100] for stack in told if "ffff" not in stack[0][2])
    assert seen == told


def test_tasks_show_what_they_await(python):
    tasks = {t["name"]: t for t in dump(python)["threads"] if not isinstance(t["id"], int)}
    fetcher = tasks["fetcher"]
    assert fetcher["id"].startswith("asyncio task ") and "tid" not in fetcher
    assert [frame["function"] for frame in fetcher["frames"]] == ["wait_for", "fetch"]
    assert fetcher["waiting_on"] == "Future" and fetcher["state"] == "suspended"


def test_hostile_names_reach_no_terminal(python):
    answer = python.ask("POST", "/stack.dump")
    assert answer.status == 200 and "[2J" in answer.text and "evil" in answer.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", answer.text)
    hostile = by_name(dump(python))["hostile"]["frames"][0]
    assert hostile["function"].startswith("ffff") and len(hostile["function"]) < 2000
    assert "descend (" in python.ask("POST", "/stack.dump?format=folded").text


def test_both_kinds_of_frames_in_calling_order(python):
    result = dump(python, mode="all")
    assert result["mode"] == "all"
    for name, sleep in {"caller": "clock_nanosleep", "consumer": "clock_nanosleep"}.items():
        frames = by_name(result)[name]["frames"]
        kinds = [frame["kind"] for frame in frames]
        functions = [frame.get("function", "") for frame in frames]
        # Inside out: the system call, Python, native code of the interpreter, the thread's begin.
        assert kinds[0] == kinds[-1] == "native" and sleep in functions[:2], functions
        assert "clone" in functions[-1]
        assert functions.index(INNERMOST[name]) < functions.index("Thread.run")
        assert not any("_PyEval_EvalFrameDefault" in function for function in functions)
    between = by_name(result)["caller"]["frames"]
    inner = [f.get("function") for f in between].index("call_c.<locals>.<lambda>")
    outer = [f.get("function") for f in between].index("call_c")
    assert any(frame["kind"] == "native" for frame in between[inner + 1 : outer]), "sorted() stands between them"


def test_one_consistent_picture(python, program):
    result = dump(python, pause="all")
    assert result["mode"] == "python" and result["paused_us"] > 0
    assert by_name(result)["locker"]["waiting_on"] == "futex"
    assert by_name(result)["locker"]["frames"][0]["function"] == "Worker.wait_for_lock"
    assert_untouched(program.pid)


def test_equal_stacks_once():
    source = (
        "import threading, os, time\n"
        "def work(): time.sleep(1000)\n"
        "for i in range(57): threading.Thread(target=work, daemon=True).start()\n"
        "print(os.getpid(), flush=True); time.sleep(1000)\n"
    )
    with Snake(source) as pool, Daemon(pool.pid) as daemon:

        def crowd():
            return next((g for g in dump(daemon, group=True)["threads"] if g["count"] == 57), None)

        group = wait_until("57 threads at one place", crowd)
        assert len(set(group["ids"])) == len(set(group["names"])) == 57
        assert group["frames"][0]["function"] == "work"
        assert "57 threads here" in daemon.ask("POST", "/stack.dump?group=true").text


def test_who_holds_the_gil():
    with Snake(PROGRAM, "spin") as spinning, Daemon(spinning.pid) as daemon:
        settled(daemon)

        def seen():
            result = dump(daemon)
            spinner = by_name(result)["spinner"]
            return (
                spinner["holds_gil"]
                and spinner["frames"][0]["function"] == "spin"
                and result["processes"][0]["gil_holder"] == spinner["id"]
            )

        wait_until("the spinning thread to be seen with the GIL", seen)
        assert "holds the GIL" in daemon.ask("POST", "/stack.dump").text


def test_forked_workers_are_all_covered():
    tag = f"hatchd-prefork-{os.getpid()}"
    with Snake(PROGRAM, "fork", "fork", tag) as parent:
        wait_until("two forks, of which the second doubles both", lambda: len(descendants(parent.pid)) == 4)
        with Daemon({"web": {"cmdline": f".*{tag}", "user": "root" if AM_ROOT else os.getlogin()}}) as daemon:

            def children_seen():
                result = dump(daemon)
                mains = [t for t in result["threads"] if t["id"] == t["pid"]]
                workers = [t for t in result["threads"] if t["name"] == "child" and t["frames"]]
                return result if len(mains) == 4 and len(workers) == 3 else None

            result = wait_until("the threads of all four", children_seen)
            assert {p["pid"] for p in result["processes"]} == {p.pid for p in descendants(parent.pid)}
            assert all(p["mode"] == "python" for p in result["processes"])
            assert [p["pid"] for p in dump(daemon, processes="main")["processes"]] == [parent.pid]


@pytest.mark.parametrize("mode", ["jvm", "node", "go"])
def test_another_runtimes_mode_is_refused(python, mode):
    answer = python.run("stack.dump", {"mode": mode})
    assert answer.status == 424, answer
    problem = answer.json()
    assert "runs CPython" in problem["detail"] and "mode=auto" in problem["remedy"]


def test_python_is_refused_where_there_is_none(daemon):
    answer = daemon.run("stack.dump", {"mode": "python"})
    assert answer.status == 424 and "no such runtime" in answer.json()["detail"]


def test_a_stopped_target_is_read_and_stays_stopped(python, program):
    def is_stopped():
        return {state for _, state, _ in thread_states(program.pid).values()} == {"T"}

    os.kill(program.pid, signal.SIGSTOP)
    try:
        wait_until("it to be stopped", is_stopped)
        for pause in ("least", "all"):
            assert by_name(dump(python, pause=pause))["deep"]["frames"][0]["function"] == "descend"
            # A thread that a tracer lets go runs for as long as it takes to stop again.
            wait_until("it to be stopped still", is_stopped)
    finally:
        os.kill(program.pid, signal.SIGCONT)


def test_targets_that_end_and_frames_that_change_under_the_dump():
    """Threads that come, recurse and go all the time, in a process that ends in the middle: answers, and no crash."""
    source = textwrap.dedent('''
        import os, threading, time
        def down(n):
            return down(n - 1) if n else sum(i for i in range(50))
        def storm():
            while True:
                threads = [threading.Thread(target=down, args=(n,)) for n in range(8)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
        threading.Thread(target=storm, daemon=True).start()
        print(os.getpid(), flush=True)
        time.sleep(1000)
    ''')
    with Snake(source) as target, Daemon(target.pid) as daemon:
        functions = set()
        for _ in range(25):
            for thread in dump(daemon)["threads"]:
                functions |= {frame["function"] for frame in thread["frames"]}
        assert {"<module>", "storm"} <= functions
        # Whatever was seen is a name of the program or of threading, never something read from the wrong place.
        assert all(re.fullmatch(r"[\w.<>]+", function) for function in functions), functions
        run = daemon.start_run("stack.dump", {"mode": "all"})
        target.popen.kill()
        assert daemon.ended(run)["state"] in ("succeeded", "failed")
        assert daemon.run("stack.dump").status in (404, 409, 424)


@pytest.mark.skipif(not AM_ROOT, reason="takes a second user")
def test_without_rights_the_refusal_says_what_is_missing(program):
    command = [HATCHD, "exec", "stack.dump", "--pid", str(program.pid), "mode=python"]
    answer = subprocess.run(command, capture_output=True, text=True, user=65534, cwd="/")
    assert answer.returncode != 0
    assert "rights-missing" in answer.stderr + answer.stdout and "CAP_SYS_PTRACE" in answer.stderr + answer.stdout

