"""settings.dump of real processes: what is shown to whom, what is masked, what an upgrade has replaced, what changed."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

from harness import AM_ROOT, BUILD, ROOT, Daemon, Program, TOKEN, token_entry, wait_until

SECRET = "hunter2-Vb9xQ"
TARGET = """
import ctypes, os, socket, sys, tempfile, time
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(7)
client = socket.create_connection(listener.getsockname())
door = socket.socket(socket.AF_UNIX); door.bind(os.path.join(sys.argv[1], "door.sock")); door.listen()
guest = socket.socket(socket.AF_UNIX); guest.connect(door.getsockname()); host = door.accept()[0]
deleted = tempfile.TemporaryFile(dir=sys.argv[1]); deleted.write(b"x" * 5000); deleted.flush()
named = open(os.path.join(sys.argv[1], "esc\\x1b[31m\\nline"), "a")
library = ctypes.CDLL(os.path.join(sys.argv[1], "libshop.so.1.2"))
os.umask(0o027)
print(listener.getsockname()[1], flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def target(**options):
    folder = tempfile.mkdtemp(prefix="e2e-settings-")
    os.chmod(folder, 0o755)
    library = subprocess.run(["gcc", "-print-file-name=libm.so.6"], check=True, capture_output=True, text=True).stdout.strip()
    shutil.copy(library, os.path.join(folder, "libshop.so.1.2"))
    environment = {"PATH": os.environ["PATH"], "DB_PASSWORD": SECRET, "APP_MODE": "production", "HOSTILE": "a\x1b[2Jb"}
    argv = ["/usr/bin/python3", "-c", TARGET, folder, "--api-key", SECRET, "--workers=3"]
    with Program(*argv, env=environment, stdout=subprocess.PIPE, **options) as program:
        program.folder = pathlib.Path(folder)
        program.port = int(program.popen.stdout.readline())
        try:
            yield program
        finally:
            program.popen.stdout.close()
            shutil.rmtree(folder, ignore_errors=True)


def daemon_for(pid):
    tokens = [token_entry(TOKEN, "operator")] + [token_entry(f"{TOKEN}-{role}", role, name=role) for role in ("viewer", "admin")]
    return Daemon(pid, {"access": {"peers": [{"user": "root", "role": "admin"}], "tokens": tokens}}, tcp=True)


@pytest.fixture(scope="module")
def shop():
    with target() as program, daemon_for(program.pid) as daemon:
        daemon.shop = program
        yield daemon


def dump(daemon, role="operator", **params):
    token = TOKEN if role == "operator" else f"{TOKEN}-{role}"
    return daemon.run("settings.dump", params, {"Authorization": f"Bearer {token}"}, tcp=True)


def result(daemon, role="operator", **params):
    answer = dump(daemon, role, **params)
    assert answer.status == 200, answer
    return answer.json()["result"]


def test_a_viewer_sees_names_an_operator_values_and_nobody_the_secret(shop):
    seen = dump(shop, "viewer")
    names = seen.json()["result"]
    assert names["environment"] == {"APP_MODE": None, "DB_PASSWORD": None, "HOSTILE": None, "PATH": None}
    assert names["command_line"][0] == "/usr/bin/python3" and names["command_line"][-3:] == ["--api-key", None, "--workers"]
    assert "production" not in seen.text and SECRET not in seen.text

    refused = dump(shop, "viewer", values=True)
    assert refused.status == 403 and "operator" in refused.text

    seen = dump(shop, values=True)
    values = seen.json()["result"]
    assert values["environment"]["APP_MODE"] == "production" and values["environment"]["DB_PASSWORD"] == "******"
    assert values["command_line"][-3:] == ["--api-key", "******", "--workers=3"]
    assert SECRET not in seen.text


def test_what_the_kernel_knows(shop):
    program = shop.shop
    found = result(shop)
    assert found["process"]["pid"] == program.pid and found["process"]["umask"] == "0027"
    assert found["process"]["executable"] == os.path.realpath("/usr/bin/python3")
    assert found["process"]["working_directory"] == os.getcwd() and not found["process"]["executable_deleted"]
    soft = re.search(r"Max open files +(\d+)", pathlib.Path(f"/proc/{program.pid}/limits").read_text()).group(1)
    assert found["limits"]["open_files"]["soft"] == soft and found["limits"]["cpu_time"]["unit"] == "seconds"
    permitted = int(re.search(r"CapPrm:\s+(\S+)", pathlib.Path(f"/proc/{program.pid}/status").read_text()).group(1), 16)
    assert len(found["capabilities"]["permitted"]) == bin(permitted).count("1")
    assert ("sys_ptrace" in found["capabilities"]["permitted"]) == bool(permitted >> 19 & 1)
    assert found["namespaces"]["net"] == {"inode": os.stat("/proc/self/ns/net").st_ino, "same_as_hatchd": True}
    assert found["runtime"] == {"kind": "python", "version": f"{sys.version_info[0]}.{sys.version_info[1]}"}
    assert found["time"]["zone"] and found["cgroup"]


def test_descriptors_and_sockets_with_what_they_are(shop):
    program = shop.shop
    found = result(shop, sections=["descriptors", "sockets"])
    assert set(found) >= {"descriptors", "sockets"} and "environment" not in found
    opened = {entry["fd"]: entry for entry in found["descriptors"]["open"]}
    assert set(opened) == {int(fd) for fd in os.listdir(f"/proc/{program.pid}/fd")}
    assert found["descriptors"]["count"] == len(opened) == sum(found["descriptors"]["by_kind"].values())
    deleted = [entry for entry in opened.values() if entry.get("deleted")]
    assert [entry["bytes"] for entry in deleted] == [5000]
    of_unix = [entry for entry in found["sockets"] if entry["protocol"] == "unix"]
    [guest] = [entry for entry in of_unix if entry.get("peer") == f"{program.folder}/door.sock"]
    [host] = [entry for entry in of_unix if entry["state"] == "CONNECTED" and entry.get("local") == f"{program.folder}/door.sock"]
    assert host["peer"] == f"socket {guest['inode']}" and "local" not in guest, of_unix
    sockets = {entry["state"]: entry for entry in found["sockets"] if entry["protocol"] == "tcp"}
    assert sockets["LISTEN"]["local"] == f"127.0.0.1:{program.port}" and sockets["LISTEN"]["protocol"] == "tcp"
    assert sockets["ESTABLISHED"]["peer"] == f"127.0.0.1:{program.port}"
    # A client that waits to be accepted stands in the listener's queue.
    assert sockets["LISTEN"]["receive_queue"] == 1


def test_hostile_names_move_no_cursor(shop):
    text = shop.run("settings.dump?format=text", {"values": True}).text
    assert "HOSTILE" in text and "esc" in text
    assert "\x1b" not in text and "\nline" not in text


def test_a_library_that_an_upgrade_replaced_asks_for_a_restart(shop):
    library = shop.shop.folder / "libshop.so.1.2"

    def shown():
        found = result(shop, sections=["libraries"])
        return found, next(entry for entry in found["libraries"] if entry["path"].startswith(str(library)))

    assert shown()[1] == {"name": library.name, "path": str(library), "version": "1.2"}
    shutil.copy(library, str(library) + ".new")
    os.replace(str(library) + ".new", library)
    found, entry = shown()
    assert entry["restart_needed"] and entry["deleted"] and "replaced on disk" in found["verdict"]


def test_what_has_changed_since_an_earlier_run():
    with target() as program, daemon_for(program.pid) as daemon:
        first = dump(daemon, values=True).json()["id"]
        unchanged = result(daemon, values=True, diff=first)
        assert unchanged["changes"] == [] and "0 changes" in unchanged["verdict"]
        with socket.create_connection(("127.0.0.1", program.port)):
            wait_until("the connection in the queue", lambda: result(daemon)["sockets"][0].get("receive_queue") == 2)
            changed = result(daemon, values=True, diff=first)
        assert [change["name"].split(".")[0] for change in changed["changes"]] == ["sockets"]
        assert "1 to receive" in changed["changes"][0]["was"] and "2 to receive" in changed["changes"][0]["now"]

        refused = dump(daemon, diff="01J0000000000000000000000Z")
        assert refused.status == 424
        assert "no dump of run 01J0000000000000000000000Z is kept" in refused.text
        assert dump(daemon, diff="../../etc/passwd").status == 422


def test_what_is_different_in_another_target(shop):
    other = {"PATH": os.environ["PATH"], "DB_PASSWORD": "another-secret-9Qz", "APP_MODE": "staging", "ONLY_THERE": "x"}
    with Program("/bin/sleep", "600", env=other) as second:
        tokens = [token_entry(TOKEN, "operator"), token_entry(f"{TOKEN}-narrow", "operator", name="narrow", targets=["web"])]
        targets = {"web": {"pid": shop.shop.pid}, "worker": {"pid": second.pid}}
        with Daemon(targets, {"access": {"peers": [{"user": "root", "role": "admin"}], "tokens": tokens}}, tcp=True) as daemon:
            refused = dump(daemon, target="web", diff_target="worker")
            assert refused.status == 424 and "run settings.dump for it" in refused.json()["detail"]
            assert refused.json()["remedy"] == "hatchctl run settings.dump -t worker" and refused.json()["missing"], refused
            there = dump(daemon, target="worker", values=True).json()["id"]
            found = result(daemon, target="web", diff_target="worker", values=True)
            assert found["compared_with"] == there and f"differences to worker as run {there} saw it " in found["verdict"]
            assert f"saw it {found['compared_age']} ago (a fresh one: hatchctl run settings.dump -t worker values=true)" in found["verdict"]
            differences = {each["name"]: each for each in found["differences"]}
            assert (differences["environment.APP_MODE"]["there"], differences["environment.APP_MODE"]["here"]) == ("staging", "production")
            assert differences["environment.ONLY_THERE"] == {"name": "environment.ONLY_THERE", "there": "x"}
            assert "environment.PATH" not in differences and "another-secret" not in json.dumps(found)

            # A dump of some sections has nothing to say of the others.
            dump(daemon, target="worker", sections=["limits"])
            found = result(daemon, target="web", diff_target="worker")
            assert "of its limits alone" in found["verdict"] and {each["name"].split(".")[0] for each in found["differences"]} <= {"limits"}

            # Who may not see that target learns nothing of it.
            for token, name in ((f"{TOKEN}-narrow", "worker"), (TOKEN, "nobody")):
                hidden = daemon.run("settings.dump", {"target": "web", "diff_target": name}, {"Authorization": f"Bearer {token}"}, tcp=True)
                assert hidden.status == 404 and hidden.json()["code"] == "target-unknown", hidden


@pytest.mark.skipif(not shutil.which("javac"), reason="takes a JDK")
def test_a_jvm_is_asked_for_its_properties_and_flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings-java")
    subprocess.run(["javac", "-d", folder, ROOT / "tests/e2e/java/Shop.java"], check=True, timeout=120)
    argv = ["java", "-Xmx64m", "-XX:+UseSerialGC", "-Dshop.mode=live=yes", f"-Dshop.db.password={SECRET}", "-cp", folder, "Shop", "0"]
    config = {"plugins": {"settings": {"capabilities": ["setuid", "setgid", "kill"]}}}
    out = folder / "out"
    with open(out, "wb") as output, Program(*argv, stdout=output, cwd="/") as jvm, Daemon(jvm.pid, config) as daemon:
        wait_until("the shop to open", lambda: "ready" in out.read_text(), 60)

        def runtime(**params):
            answer = daemon.run("settings.dump", {"sections": ["runtime"], **params})
            assert answer.status == 200, answer
            assert SECRET not in answer.text
            return answer.json()["result"]["runtime"]

        unasked = runtime(values=True)
        assert "act=true" in unasked["attach"] and "properties" not in unasked
        assert not pathlib.Path(f"/tmp/.java_pid{jvm.pid}").exists()
        names = runtime(act=True)
        assert names["properties"]["java.vm.name"] is None and names["properties"]["shop.mode"] is None
        shown = runtime(values=True)  # it is open now
        assert shown["properties"]["shop.mode"] == "live=yes" and shown["properties"]["java.class.path"] == str(folder)
        assert shown["properties"]["shop.db.password"] == "******" and shown["properties"]["line.separator"] == "\n"
        assert "-XX:MaxHeapSize=67108864" in shown["flags"] and "-XX:+UseSerialGC" in shown["flags"]
        assert "Full thread dump" not in out.read_text()
        pathlib.Path(f"/tmp/.java_pid{jvm.pid}").unlink(missing_ok=True)


@pytest.mark.skipif(not shutil.which("node"), reason="takes Node.js")
def test_node_is_asked_for_its_config_where_its_inspector_is_open():
    script = "setInterval(() => {}, 1000); console.log('ready')"
    for options in (["--inspect=127.0.0.1:0"], []):
        with Program("node", *options, "-e", script, stdout=subprocess.PIPE) as node:
            assert node.popen.stdout.readline() == b"ready\n"
            with Daemon(node.pid) as daemon:
                answer = daemon.run("settings.dump", {"sections": ["runtime"]})
                assert answer.status == 200, answer
                runtime = answer.json()["result"]["runtime"]
            node.popen.stdout.close()
            assert runtime["kind"] == "node"
            if options:
                expected = subprocess.run(["node", "-p", "JSON.stringify([process.config, process.versions])"], capture_output=True, check=True)
                assert [runtime["config"], runtime["versions"]] == json.loads(expected.stdout)
            else:
                assert "it is not open" in runtime["inspector"] and "config" not in runtime


def test_reveal_is_for_admins_goes_into_an_artifact_and_into_the_audit(shop):
    assert dump(shop, reveal=["DB_PASSWORD"]).status == 403
    answer = dump(shop, "admin", reveal=["DB_PASSWORD", "NOT_SET"])
    run = answer.json()
    assert SECRET not in answer.text and "not set: NOT_SET" in run["result"]["verdict"]
    path = f"/v1/runs/{run['id']}/artifacts/revealed.json"
    assert json.loads(shop.get(path).body) == {"DB_PASSWORD": SECRET}
    for role, status in (("viewer", 403), ("admin", 200)):
        assert shop.get(path, headers={"Authorization": f"Bearer {TOKEN}-{role}"}, tcp=True).status == status
    [begun] = wait_until("the audit to have it", lambda: shop.get(f"/v1/audit?run={run['id']}&event=begin").json()["audit"])
    assert begun["params"]["reveal"] == ["DB_PASSWORD", "NOT_SET"] and begun["caller"]["name"] == "admin", begun


def test_log_writes_what_was_answered(shop):
    result(shop, values=True, log=True, sections=["environment"])
    wait_until("the dump in the log", lambda: "APP_MODE" in shop.log())
    assert SECRET not in shop.log()


def test_wrong_sections_and_processes_are_refused_by_name(shop):
    refused = dump(shop, sections=["enviroment"])
    assert refused.status == 424 and 'no section "enviroment"; there are process, command_line' in refused.json()["detail"]
    assert "is none of the 1 process" in dump(shop, pid=1).text


def test_a_target_that_has_ended(tmp_path):
    with target() as program, daemon_for(program.pid) as daemon:
        program.stop()
        assert dump(daemon).status in (404, 409, 500, 503)


@pytest.mark.skipif(not AM_ROOT, reason="takes another user's process")
def test_without_rights_what_everybody_may_see_is_not_taken_for_an_answer():
    with target() as program:
        asked = subprocess.run(
            ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
            + [str(BUILD / "bin" / "hatchd"), "exec", "settings.dump", "--pid", str(program.pid)],
            capture_output=True,
            text=True,
        )
    assert asked.returncode == 3, asked
    assert "CAP_SYS_PTRACE" in asked.stdout + asked.stderr and "systemd" in asked.stdout + asked.stderr
