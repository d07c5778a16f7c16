#!/usr/bin/env python3
"""Measures hatchd's HTTP front beside nginx and a Go net/http server that give the same answer, then event streams and
runs. See README.md."""

import argparse
import asyncio
import ipaddress
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; server_tokens off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    {listen}
    location = /livez {{
      default_type "text/plain; charset=utf-8";
      add_header Cache-Control no-store; add_header X-Content-Type-Options nosniff; add_header X-Robots-Tag noindex;
      add_header Hatchd-Request-Id $request_id;
      return 200 "ok\\n";
    }}
  }}
}}
"""

GO = """
package main

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/livez", func(w http.ResponseWriter, r *http.Request) {
		var id [16]byte
		rand.Read(id[:])
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Robots-Tag", "noindex")
		h.Set("Hatchd-Request-Id", hex.EncodeToString(id[:]))
		w.Write([]byte("ok\\n"))
	})
	panic(http.ListenAndServe(os.Args[1], nil))
}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status(pid, *names):
    lines = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return [int(lines[name].split()[0]) for name in names]


def cpu_seconds(pids):
    """utime + stime of the processes, in seconds."""
    total = 0
    for pid in pids:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Server:
    """One program that listens on `port`; `pids()` are the processes that answer."""

    def __init__(self, name, port, argv):
        self.name, self.port = name, port
        self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # hatchd answers before it has read its plugins, which must not be measured with the rest.
        path = "/readyz" if name == "hatchd" else "/livez"
        end = time.monotonic() + 30
        while not answers_well(port, path):
            if self.popen.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{name} does not listen")
            time.sleep(0.05)
        self.serving = self.pids()

    def pids(self):
        if self.name == "hatchd":
            return [p for p in children(self.popen.pid) if b"front" in pathlib.Path(f"/proc/{p}/cmdline").read_bytes()]
        return children(self.popen.pid) if self.name == "nginx" else [self.popen.pid]

    def memory(self):
        rss, pss = zip(*(status(pid, "Rss", "Pss") for pid in self.serving))
        return sum(rss) / 1024, sum(pss) / 1024

    def stop(self):
        self.popen.terminate()
        self.popen.wait(20)


# ---- many clients ----------------------------------------------------------------------------------------------------


def request(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def answers_well(port, path):
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(request(path))
            return client.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def addresses():
    """Loopback and the machine's own: no source may have all of hatchd's places for itself."""
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    networks = {}  # one of each, as hatchd counts them (http/peer.cpp): by address, or by 64 bits of it
    for address in ["127.0.0.1", *own]:
        ip = ipaddress.ip_address(address)
        networks.setdefault(int(ip) >> 64 if ip.version == 6 else ip, address)
    return list(networks.values())


ADDRESSES = addresses()
ANY = ["0.0.0.0", "[::]"] if any(":" in address for address in ADDRESSES) else ["0.0.0.0"]


class IdleClients:
    """So many connections that have asked once and are kept, in a process of its own: each is a descriptor."""

    def __init__(self, port, count):
        self.to, far = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self.to.close()
            try:
                self.hold(far, port, count)
            finally:
                os._exit(0)
        far.close()
        said = self.to.recv(4096).decode()
        if said != "all there":
            raise SystemExit(f"an idle client was refused: {said or 'its process ended'}")

    @staticmethod
    def hold(far, port, count):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        clients = []
        for i in range(count):
            address = ADDRESSES[i % len(ADDRESSES)]
            client = socket.create_connection((address, port), 30, source_address=(address, 0))
            client.sendall(request("/livez"))
            clients.append(client)
            answer = client.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200"):
                far.sendall(f"the {i + 1}th: ".encode() + answer[:200])
                return
        far.sendall(b"all there")
        far.recv(1)
        kept = 0
        for client in clients:
            client.setblocking(False)
            try:
                kept += client.recv(1) != b""
            except BlockingIOError:
                kept += 1
        far.sendall(str(kept).encode())

    def kept(self):
        """How many the server still holds; then they leave."""
        self.to.sendall(b"?")
        answer = int(self.to.recv(64))
        self.close()
        return answer

    def close(self):
        self.to.close()
        os.waitpid(self.pid, 0)


def wrk(server, seconds, connections=64):
    """Requests a second, latencies in ms, and CPU time of the server in us a request."""
    script = "done = function(s, l, r) io.write(string.format('@%d %d %d %d %d\\n', s.requests, s.duration, l:percentile(50), l:percentile(99), s.errors.status + s.errors.read + s.errors.write + s.errors.timeout)) end"
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        before = cpu_seconds(server.serving)
        ran = subprocess.run(
            ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "-s", file.name, f"http://127.0.0.1:{server.port}/livez"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        used = cpu_seconds(server.serving) - before
    line = next(line for line in ran.stdout.splitlines() if line.startswith("@"))
    requests, micros, p50, p99, errors = map(int, line[1:].split())
    if errors:
        raise SystemExit(f"{server.name}: {errors} requests went wrong")
    return {"rps": requests / micros * 1e6, "p50": p50 / 1e3, "p99": p99 / 1e3, "cpu": used / requests * 1e6}


def front_table(servers, idle, seconds, rounds):
    rows = {server.name: {"busy": [], "among": []} for server in servers}
    for server in servers:
        rows[server.name]["memory"] = server.memory()
    for _ in range(rounds):
        for server in servers:
            rows[server.name]["busy"].append(wrk(server, seconds))
    clients = {server.name: IdleClients(server.port, idle) for server in servers}
    for server in servers:
        rows[server.name]["memory idle"] = server.memory()
    for _ in range(rounds):
        for server in servers:
            rows[server.name]["among"].append(wrk(server, seconds))
    for server in servers:
        rows[server.name]["kept"] = clients[server.name].kept()

    def median(name, where, what):
        return statistics.median(run[what] for run in rows[name][where])

    def ratio(name, other):
        """Round by round, so that what else the machine does weighs on both."""
        pairs = zip(rows[name]["busy"], rows[other]["busy"])
        return f"{statistics.median(one['cpu'] / two['cpu'] for one, two in pairs):.2f}"

    print(f"\n64 busy clients, then the same among {idle:,} idle ones; medians of {rounds} rounds of {seconds} s\n")
    print("| server | req/s | p50 ms | p99 ms | CPU us/req | x nginx | x Go | among idle: CPU us/req | p50 ms | p99 ms | kept | RSS / PSS MB at start | with idle | KB a client |")
    print("| --- " * 14 + "|")
    for server in servers:
        name = server.name
        cpu = median(name, "busy", "cpu")
        ratios = [ratio(name, other) if other in rows else "" for other in ("nginx", "go")]
        rss, pss = rows[name]["memory"]
        rss_idle, pss_idle = rows[name]["memory idle"]
        print(
            f"| {name} | {median(name, 'busy', 'rps'):,.0f} | {median(name, 'busy', 'p50'):.2f} | {median(name, 'busy', 'p99'):.1f} | {cpu:.1f} | {ratios[0]} | {ratios[1]} "
            f"| {median(name, 'among', 'cpu'):.1f} | {median(name, 'among', 'p50'):.2f} | {median(name, 'among', 'p99'):.1f} | {rows[name]['kept']:,} "
            f"| {rss:.1f} / {pss:.1f} | {rss_idle:.1f} / {pss_idle:.1f} | {(rss_idle - rss) * 1024 / idle:.1f} |"
        )


# ---- runs ------------------------------------------------------------------------------------------------------------


def ask(client, method, path, body=b"", more=""):
    """One request on a kept connection: status, head, body."""
    kind = "Content-Type: application/json\r\n" if body else ""
    client.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    head, _, rest = answer.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(rest) < length:
        rest += client.recv(65536)
    return int(head.split()[1]), head, rest


def local(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def tree_cpu(pid):
    """CPU of a process and its children, also of those that have ended (cutime, cstime), in seconds."""
    total = 0
    for each in [pid, *children(pid)]:
        stat = pathlib.Path(f"/proc/{each}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        total += sum(map(int, fields[11:15]))
    return total / TICK


def machine(folder):
    """What the machine takes for a fork, a page fault and a system call: machine.cpp beside this."""
    program = f"{folder}/machine"
    subprocess.run(["c++", "-std=c++20", "-O2", "-o", program, str(pathlib.Path(__file__).with_name("machine.cpp"))], check=True)
    return json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def empty_hatch(hatchd, path, count, floor):
    print(f"\nan empty hatch, {count} runs, each a process of its own and recorded on {pathlib.Path(path).parent}\n")
    print("| | min ms | p50 ms | p99 ms | p50, times a bare fork | CPU of the whole tree, ms a run |\n| --- | --- | --- | --- | --- | --- |")
    for name, pause in (("one every 50 ms", 0.05), ("one after the other", 0)):
        client = local(path)
        times = []
        for i in range(count + 20):
            if i == 20:
                before = tree_cpu(hatchd.popen.pid)
            began = time.perf_counter()
            got, _, body = ask(client, "POST", "/v1/hatches/probe.echo")
            times.append((time.perf_counter() - began) * 1e3)
            if got != 200:
                raise SystemExit(body.decode())
            time.sleep(pause)
        used = (tree_cpu(hatchd.popen.pid) - before) / count * 1e3
        times = sorted(times[20:])
        middle = statistics.median(times)
        print(f"| {name} | {times[0]:.2f} | {middle:.2f} | {times[int(count * 0.99)]:.2f} | {middle * 1e3 / floor['fork_exit_wait_us']:.1f} | {used:.2f} |")


async def one_run(path, results, refused):
    began = time.perf_counter()
    while True:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"POST /v1/hatches/probe.echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        if not answer.startswith((b"HTTP/1.1 429", b"HTTP/1.1 503")):
            break
        refused.append(1)
        await asyncio.sleep(0.05)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode())
    results.append((time.perf_counter() - began) * 1e3)


def many_runs(hatchd, path, count):
    results, refused = [], []
    before, front = tree_cpu(hatchd.popen.pid), cpu_seconds(hatchd.serving)
    began = time.perf_counter()

    async def all_of_them():
        await asyncio.gather(*(one_run(path, results, refused) for _ in range(count)))

    asyncio.run(all_of_them())
    wall = time.perf_counter() - began
    results.sort()
    print(f"\n{count} clients that want a run at the same moment (who is refused by 429 or 503 asks again after 50 ms)\n")
    print("| wall ms | p50 ms | p99 ms | refused | CPU of the front, ms a run | of the whole tree | front RSS MB |\n" + "| --- " * 7 + "|")
    print(
        f"| {wall * 1e3:.0f} | {statistics.median(results):.0f} | {results[int(count * 0.99) - 1]:.0f} | {len(refused)} "
        f"| {(cpu_seconds(hatchd.serving) - front) / count * 1e3:.2f} | {(tree_cpu(hatchd.popen.pid) - before) / count * 1e3:.2f} | {hatchd.memory()[0]:.1f} |"
    )


def event_streams(hatchd, path, count):
    """Everybody follows one run; then it is cancelled, and everybody shall hear of it."""
    client = local(path)
    got, head, body = ask(client, "POST", "/v1/hatches/broken.slow", b"{}", "Prefer: respond-async\r\n")
    if got != 202:
        raise SystemExit(body.decode())
    run = json.loads(body)["id"]
    memory, before = hatchd.memory()[0], cpu_seconds(hatchd.serving)
    streams = []
    for _ in range(count):
        stream = local(path)
        stream.settimeout(30)
        stream.sendall(request(f"/v1/runs/{run}/events", "Accept: text/event-stream\r\n"))
        streams.append(stream)
    heard = [stream.recv(65536) for stream in streams]
    if not all(answer.startswith(b"HTTP/1.1 200") for answer in heard):
        raise SystemExit("a stream was refused: " + next(a for a in heard if not a.startswith(b"HTTP/1.1 200")).decode())
    attached, opened = hatchd.memory()[0], cpu_seconds(hatchd.serving)
    began = time.perf_counter()
    ask(client, "DELETE", f"/v1/runs/{run}")
    for i, stream in enumerate(streams):
        while b"event: result" not in heard[i]:
            piece = stream.recv(65536)
            if not piece:
                raise SystemExit("a stream ended without the result")
            heard[i] += piece
    told = time.perf_counter() - began
    used = cpu_seconds(hatchd.serving)
    print(f"\n{count:,} event streams of one run\n")
    print("| opening each, CPU us | front RSS MB | KB a stream | cancelling it until all know, ms | CPU us a stream |\n" + "| --- " * 5 + "|")
    print(
        f"| {(opened - before) / count * 1e6:.0f} | {attached:.1f} | {(attached - memory) * 1024 / count:.1f} | {told * 1e3:.0f} | {(used - opened) / count * 1e6:.0f} |"
    )
    for stream in streams:
        stream.close()


# ---- putting it together ---------------------------------------------------------------------------------------------


def hatchd_config(folder, build, port, runs):
    fixtures = build / "fixtures"
    config = {
        "listen": [{"unix": f"{folder}/hatchd.sock"}, *({"tcp": f"{address}:{port}", "only": ["health"]} for address in ANY)],
        "targets": {"self": {"pid": os.getpid()}},
        "access": {"peers": [{"user": "root", "role": "admin"}]},
        "runs": {"directory": f"{folder}/runs", "concurrency": runs},
        "plugins": {"probe": {"path": f"{fixtures}/probe.so", "colour": "green", "profiles": {"default": {"password": "x"}}}, "slow": {"path": f"{fixtures}/slow.so"}},
        "hatches": {"probe.echo": {"concurrency": runs}},
    }
    if os.geteuid() != 0:
        import pwd

        config["access"]["peers"].append({"user": pwd.getpwuid(os.geteuid()).pw_name, "role": "admin"})
    file = folder / "hatchd.json"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="with bin/hatchd and fixtures/ (default: build/release)")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--only", choices=["front", "runs"])
    options = parser.parse_args()
    # A connection is a descriptor in its server. hatchd gives three quarters of its own to connections (front/front.cpp),
    # and leaves places to sources that are not there yet (http/listener.cpp).
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sources = len(ADDRESSES)
    room = hard // 4 * 3 * sources // (sources + 1) - 128
    if room < options.idle:
        options.idle = room
        print(f"the limit of descriptors is {hard}: {room} idle clients", file=sys.stderr)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with it
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hatchd-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    servers = []
    try:
        port = free_port()
        hatchd = Server("hatchd", port, [str(options.build / "bin" / "hatchd"), "serve", "--config", str(hatchd_config(folder, options.build, port, options.runs))])
        servers.append(hatchd)
        if options.only != "runs":
            if shutil.which("nginx") and shutil.which("wrk"):
                port = free_port()
                (folder / "nginx.conf").write_text(NGINX.format(folder=folder, listen=" ".join(f"listen {address}:{port} backlog=1024;" for address in ANY)))
                servers.append(Server("nginx", port, ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]))
            else:
                sys.exit("install nginx-light and wrk")
            if shutil.which("go"):
                port = free_port()
                (folder / "main.go").write_text(GO)
                environment = {**os.environ, "GOCACHE": f"{folder}/cache", "GO111MODULE": "off"}
                subprocess.run(["go", "build", "-o", f"{folder}/server", f"{folder}/main.go"], check=True, env=environment)
                servers.append(Server("go", port, [f"{folder}/server", f":{port}"]))
            else:
                print("no Go: install golang-go for its column", file=sys.stderr)
            front_table(servers, options.idle, options.seconds, options.rounds)
        if options.only != "front":
            floor = machine(folder)
            print("\nthis machine: " + ", ".join(f"{what} {took}" for what, took in floor.items()))
            empty_hatch(hatchd, f"{folder}/hatchd.sock", 200, floor)
            many_runs(hatchd, f"{folder}/hatchd.sock", options.runs)
            event_streams(hatchd, f"{folder}/hatchd.sock", options.streams)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
