"""stack.signal: what a target prints of itself, and all the cases in which nothing may be sent."""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest

from harness import DEMO, ROOT, Daemon, Program, wait_until

FAULTHANDLER = """
import faulthandler, signal, sys, threading, time
faulthandler.register(signal.SIGUSR1, all_threads=True)
def count_stock():
    time.sleep(1000)
threading.Thread(target=count_stock, daemon=True).start()
print("ready", flush=True)
def serve_orders():
    time.sleep(1000)
serve_orders()
"""
CRY = """
import os, signal, sys, time
def cry(*_):
    ruler = "=" * 49
    sys.stderr.write(f"\\nMainThread\\n{ruler}\\n  File \\"worker.py\\", line 7, in consume\\n{ruler}\\nLOCAL VARIABLES\\n{ruler}\\n{{'api_key': 'sk-very-secret'}}\\n\\n\\n")
    sys.stderr.flush()
signal.signal(signal.SIGUSR1, cry)
print("ready", flush=True)
time.sleep(1000)
"""


class Printing(Program):
    """A program whose standard output and error are files, once it says that it is ready."""

    def __init__(self, folder, *argv, **options):
        self.out, self.err = folder / "out", folder / "err"
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            super().__init__(*argv, **{"stdout": out, "stderr": err, **options})
        wait_until("it to be ready", lambda: "ready" in self.out.read_text() or self.popen.poll() is not None, 60)
        assert self.popen.poll() is None, self.err.read_text()


def signalled(daemon, **params):
    return daemon.run("stack.signal", params)


def alive(program):
    return program.popen.poll() is None


def test_faulthandler_prints_and_is_parsed(tmp_path):
    with Printing(tmp_path, sys.executable, "-c", FAULTHANDLER) as program, Daemon(program.pid) as daemon:
        program.err.write_text("older lines\n")
        answer = signalled(daemon)
        assert answer.status == 200, answer
        result = answer.json()["result"]
        assert result["signal"] == "SIGUSR1" and result["source"] == str(program.err)
        assert "most recent call first" in result["output"] and "older lines" not in result["output"]
        functions = [[f["function"] for f in t["frames"]] for t in result["threads"]]
        assert any("count_stock" in f for f in functions) and any(f[0] == "serve_orders" for f in functions), functions
        assert result["threads"][0]["frames"][0]["line"] > 0
        assert alive(program)
        # A second one brings the second print alone.
        again = signalled(daemon).json()["result"]
        assert again["output"].count("serve_orders") == 1
        text = daemon.form("/stack.signal").text
        assert "serve_orders" in text


def test_the_log_of_the_configuration_is_read_too(tmp_path):
    log = tmp_path / "shop.log"
    log.write_text("older lines\n")
    program = FAULTHANDLER.replace("all_threads=True", f"all_threads=True, file=open({str(log)!r}, 'a')")
    with Program(sys.executable, "-c", program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shop:
        assert shop.popen.stdout.readline() == b"ready\n"
        with Daemon({"shop": {"pid": shop.pid, "log": {"file": str(log)}}}) as daemon:
            answer = signalled(daemon)
            assert answer.status == 200, answer
            result = answer.json()["result"]
            assert result["source"] == str(log) and "older lines" not in result["output"]
            assert any(f["function"] == "count_stock" for t in result["threads"] for f in t["frames"])
            assert alive(shop)
        with Daemon(shop.pid) as daemon:
            answer = signalled(daemon)
            assert answer.status == 424 and "targets.NAME.log.file" in answer.json()["remedy"], answer
        shop.popen.stdout.close()
        shop.popen.stderr.close()


def test_a_signal_that_would_kill_is_not_sent(tmp_path):
    sleeper = "import time; print('ready', flush=True); time.sleep(1000)"
    with Printing(tmp_path, sys.executable, "-c", sleeper) as program, Daemon(program.pid) as daemon:
        for wanted in ("auto", "USR1", "USR2"):
            answer = signalled(daemon, signal=wanted)
            assert answer.status == 424 and "would kill this process" in answer.json()["detail"], answer
            dry = daemon.run("stack.signal", {"signal": wanted, "dry_run": True})
            assert dry.status == 200 and dry.json()["ready"] is False, dry
        assert signalled(daemon, signal="QUIT").status == 424
        assert alive(program) and program.err.read_text() == ""


def test_output_that_nobody_else_can_read_is_said_before_anything_is_sent():
    program = subprocess.Popen([sys.executable, "-c", FAULTHANDLER], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert program.stdout.readline() == b"ready\n"
        with Daemon(program.pid) as daemon:
            answer = signalled(daemon)
            assert answer.status == 424 and "standard error is a pipe" in answer.json()["detail"], answer
            assert "StandardError=append:" in answer.json()["remedy"]
            os.set_blocking(program.stderr.fileno(), False)
            assert program.stderr.read() is None
    finally:
        program.kill()
        program.communicate()


def test_what_is_no_runtime_of_ours_is_left_alone(tmp_path):
    with Printing(tmp_path, DEMO) as demo, Daemon(demo.pid) as daemon:
        answer = signalled(daemon, signal="USR1")  # which it catches
        assert answer.status == 424 and "not known" in answer.json()["detail"], answer
        assert alive(demo)


def test_local_variables_of_a_celery_worker_are_left_out(tmp_path):
    script = tmp_path / "celery"
    script.write_text(CRY)
    with Printing(tmp_path, sys.executable, script, "worker") as program, Daemon(program.pid) as daemon:
        answer = signalled(daemon)
        assert answer.status == 200, answer
        assert "worker.py" in answer.json()["result"]["output"]
        assert "sk-very-secret" in program.err.read_text() and "sk-very-secret" not in answer.text
        refused = signalled(daemon, signal="QUIT")
        assert refused.status == 424 and "SIGQUIT ends it" in refused.json()["detail"]
        assert alive(program)


def test_the_child_of_a_celery_worker_is_refused(tmp_path):
    script = tmp_path / "celery"
    script.write_text("import os\nif os.fork():\n    os.wait()\nelse:\n    exec(compile(open(__file__ + '.child').read(), 'child', 'exec'))\n")
    (tmp_path / "celery.child").write_text(CRY.replace('print("ready"', 'print("ready", os.getpid()'))
    with Printing(tmp_path, sys.executable, script, "worker") as program:
        child = int(program.out.read_text().split()[1])
        try:
            with Daemon(child) as daemon:
                answer = signalled(daemon)
                assert answer.status == 424 and "child of a Celery worker" in answer.json()["detail"], answer
                assert program.err.read_text() == ""
        finally:
            os.kill(child, 9)


@pytest.mark.skipif(not shutil.which("javac"), reason="takes a JDK")
def test_a_jvm_prints_to_its_standard_output(tmp_path):
    subprocess.run(["javac", "-d", tmp_path, ROOT / "tests/e2e/java/Shop.java"], check=True, timeout=120)
    with Printing(tmp_path, "java", "-cp", tmp_path, "Shop") as program, Daemon(program.pid) as daemon:
        answer = signalled(daemon)
        assert answer.status == 200, answer
        result = answer.json()["result"]
        assert result["signal"] == "SIGQUIT" and result["source"] == str(program.out)
        by_name = {t["name"]: t for t in result["threads"]}
        assert by_name["stock-waiter"]["waiting_on"].endswith('held by "stock-holder"')
        assert alive(program)
    with contextlib.suppress(OSError):
        os.unlink(f"/tmp/.java_pid{program.pid}")


@pytest.mark.skipif(not shutil.which("go"), reason="takes Go")
def test_a_go_program_is_never_sent_a_signal(tmp_path):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GO111MODULE": "off"}
    source = tmp_path / "main.go"
    source.write_text('package main\nimport "time"\nfunc main() { println("ready"); time.Sleep(time.Hour) }\n')
    subprocess.run(["go", "build", "-o", tmp_path / "shop", source], check=True, timeout=300, env=env)
    program = subprocess.Popen([tmp_path / "shop"], stderr=subprocess.PIPE)
    try:
        assert program.stderr.readline() == b"ready\n"
        with Daemon(program.pid) as daemon:
            answer = signalled(daemon, signal="QUIT")
            assert answer.status == 424 and "Go program" in answer.json()["detail"], answer
        assert program.poll() is None
    finally:
        program.kill()
        program.communicate()
