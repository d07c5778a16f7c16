"""GET /metrics: what it says, who may read it, and what a real Prometheus makes of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from harness import TOKEN, Daemon, Demo, Program, free_port, token_entry, wait_until
from test_broken_plugins import path_of

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# DESIGN section 4: each name with its labels.
CONTRACT = {
    "hatchd_build_info": {"version"},
    "hatchd_runs_total": {"hatch", "target", "state"},
    "hatchd_run_duration_seconds": {"hatch"},
    "hatchd_run_pause_seconds": {"hatch"},
    "hatchd_run_last_success_timestamp_seconds": {"hatch", "target", "profile"},
    "hatchd_target_up": {"target"},
    "hatchd_target_cpu_seconds_total": {"target"},
    "hatchd_target_resident_memory_bytes": {"target"},
    "hatchd_target_threads": {"target"},
    "hatchd_target_open_fds": {"target"},
    "hatchd_target_max_fds": {"target"},
    "hatchd_target_start_time_seconds": {"target"},
    "hatchd_queue_depth": {"profile", "queue"},
    "hatchd_http_requests_total": {"route", "method", "code"},
    "hatchd_plugin_restarts_total": {"plugin"},
    "hatchd_config_last_reload_successful": set(),
    "hatchd_config_last_reload_success_timestamp_seconds": set(),
}
SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$')


def samples(text):
    """{(name, frozenset of labels): value} of every line that is no comment."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        labels = dict(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        key = (match[1], frozenset(labels.items()))
        assert key not in found, f"twice: {line}"
        found[key] = float(match[3])
    return found


def scrape(daemon, **options):
    answer = daemon.get("/metrics", **options)
    assert answer.status == 200, answer
    return samples(answer.text)


def value(found, name, **labels):
    return found.get((name, frozenset(labels.items())))


CONFIG = {
    "plugins": {
        "slow": {"path": path_of("slow")},
        "measures": {"path": path_of("measures"), "profiles": {"default": {"kind": "fixture"}, "bulk": {"kind": "fixture"}}},
    },
    "access": {
        "tokens": [
            token_entry(TOKEN, "operator"),
            token_entry("hatchd_scraper-0123456789", "metrics", "scraper"),
            token_entry("hatchd_narrow-0123456789", "metrics", "narrow", hatches=["stack.*"], targets=["gone"]),
        ]
    },
}


@pytest.fixture(scope="module")
def metered(demo):
    """A daemon with a second port for scrapers, one target that is there and one that is not."""
    port = free_port()
    private = Daemon({"demo": {"pid": demo.pid}, "gone": {"pidfile": "/nonexistent/pid"}}, CONFIG, tcp=True, start=False)
    private.config["listen"].append({"tcp": f"127.0.0.1:{port}", "only": ["metrics"], "anonymous": "metrics"})
    private.file.write_text(json.dumps(private.config))
    private.metrics_port = port
    try:
        private.start()
        yield private
    finally:
        private.close()


def test_the_contract(metered):
    for text in (metered.get("/metrics").text, metered.get("/metrics", headers={"Accept": OPENMETRICS}).text):
        seen = {}
        for name, labels in samples(text):
            seen.setdefault(name, set()).update(name for name, _ in labels)
        for name, labels in CONTRACT.items():
            if name == "hatchd_queue_depth":
                continue  # nobody has looked yet
            if f"{name}_bucket" in seen:
                assert seen[f"{name}_bucket"] == labels | {"le"} and seen[f"{name}_sum"] == seen[f"{name}_count"] == labels
            else:
                assert seen[name] == labels, name
            family = name[: -len("_total")] if name.endswith("_total") and "# EOF" in text else name
            assert f"# HELP {family} " in text and f"# TYPE {family} " in text
        assert not any("pid" in labels for labels in seen.values())


def test_known_series_stand_at_0(demo):
    with Daemon(demo.pid) as fresh:
        found = scrape(fresh)
        for state in ("succeeded", "failed", "cancelled", "timed-out", "crashed"):
            assert value(found, "hatchd_runs_total", hatch="stack.dump", target="demo", state=state) == 0
        assert value(found, "hatchd_run_last_success_timestamp_seconds", hatch="stack.dump", target="demo", profile="") == 0
        assert value(found, "hatchd_run_pause_seconds_count", hatch="stack.dump") == 0
        assert value(found, "hatchd_http_requests_total", route="/v1/runs/{id}", method="GET", code="200") == 0
        assert value(found, "hatchd_plugin_restarts_total", plugin="stack") == 0


def test_runs_are_counted_and_timed(metered):
    before = scrape(metered)
    began = time.time()
    assert metered.run("stack.dump", {"target": "demo", "pause": "all"}).status == 200
    after = scrape(metered)

    def grew(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    assert grew("hatchd_runs_total", hatch="stack.dump", target="demo", state="succeeded") == 1
    assert grew("hatchd_run_duration_seconds_count", hatch="stack.dump") == 1
    assert grew("hatchd_run_duration_seconds_sum", hatch="stack.dump") > 0
    assert grew("hatchd_run_duration_seconds_bucket", hatch="stack.dump", le="+Inf") == 1
    assert grew("hatchd_run_pause_seconds_count", hatch="stack.dump") == 1
    assert grew("hatchd_run_pause_seconds_sum", hatch="stack.dump") > 0
    last = value(after, "hatchd_run_last_success_timestamp_seconds", hatch="stack.dump", target="demo", profile="")
    assert began - 1 <= last <= time.time() + 1
    assert grew("hatchd_http_requests_total", route="/v1/hatches/{id}", method="POST", code="200") == 1

    run = metered.start_run("broken.slow")
    assert metered.ask("DELETE", f"/v1/runs/{run}").status in (200, 202)
    metered.ended(run)
    found = scrape(metered)
    assert value(found, "hatchd_runs_total", hatch="broken.slow", target="", state="cancelled") == 1
    assert metered.run("stack.dump", {"target": "demo", "dry_run": True}).status == 200
    assert scrape(metered)[("hatchd_runs_total", frozenset({"hatch": "stack.dump", "target": "demo", "state": "succeeded"}.items()))] == value(
        after, "hatchd_runs_total", hatch="stack.dump", target="demo", state="succeeded"
    ), "a dry run is no run"


def test_the_last_success_outlives_a_restart(demo):
    with Daemon(demo.pid) as private:
        labels = {"hatch": "stack.dump", "target": "demo", "profile": ""}
        assert private.run("stack.dump").status == 200
        last = value(scrape(private), "hatchd_run_last_success_timestamp_seconds", **labels)
        private.stop()
        private.start()
        found = scrape(private)
        assert value(found, "hatchd_run_last_success_timestamp_seconds", **labels) == last > 0
        assert value(found, "hatchd_runs_total", hatch="stack.dump", target="demo", state="succeeded") == 0


def test_targets(metered, demo):
    def seen():
        found = scrape(metered)
        return found if value(found, "hatchd_target_threads", target="demo") else None

    found = wait_until("numbers of the target", seen)
    status = dict(line.split(":", 1) for line in open(f"/proc/{demo.pid}/status", encoding="utf-8").read().splitlines())
    assert value(found, "hatchd_target_up", target="demo") == 1
    assert value(found, "hatchd_target_up", target="gone") == 0
    assert value(found, "hatchd_target_threads", target="gone") is None
    assert value(found, "hatchd_target_threads", target="demo") == int(status["Threads"])
    assert value(found, "hatchd_target_resident_memory_bytes", target="demo") > 1_000_000
    assert value(found, "hatchd_target_open_fds", target="demo") == len(os.listdir(f"/proc/{demo.pid}/fd"))
    limits = open(f"/proc/{demo.pid}/limits", encoding="utf-8").read()
    assert value(found, "hatchd_target_max_fds", target="demo") == int(re.search(r"Max open files\s+(\d+)", limits)[1])
    boot = int(re.search(r"btime (\d+)", open("/proc/stat", encoding="utf-8").read())[1])
    ticks = int(open(f"/proc/{demo.pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[19])
    started = boot + ticks / os.sysconf("SC_CLK_TCK")
    assert abs(value(found, "hatchd_target_start_time_seconds", target="demo") - started) < 2


def test_a_target_that_dies_is_down_within_a_scrape_or_two(demo):
    with Demo() as other, Daemon({"demo": {"pid": demo.pid}, "other": {"pid": other.pid}}) as private:
        wait_until("it to be up", lambda: value(scrape(private), "hatchd_target_up", target="other") == 1)
        other.stop()
        wait_until("it to be down", lambda: value(scrape(private), "hatchd_target_up", target="other") == 0)
        assert value(scrape(private), "hatchd_target_up", target="demo") == 1


def test_a_scrape_waits_for_nobody(demo):
    """`hatchd: targets` is stopped: the rest of the numbers still come, and those of targets are left out."""
    with Daemon(demo.pid) as private:
        looker = private.process("hatchd: targets")
        os.kill(looker.pid, signal.SIGSTOP)
        try:
            found = scrape(private, timeout=30)
        finally:
            os.kill(looker.pid, signal.SIGCONT)
        assert value(found, "hatchd_target_up", target="demo") is None
        assert value(found, "hatchd_runs_total", hatch="stack.dump", target="demo", state="failed") == 0
        wait_until("it to be seen again", lambda: value(scrape(private), "hatchd_target_up", target="demo") == 1)


def test_the_depth_of_a_queue_comes_from_a_result(metered):
    assert metered.run("queue.ping", {"profile": "bulk", "queue": 'a"b', "depth": 17}).status == 200
    wait_until("the depth", lambda: value(scrape(metered), "hatchd_queue_depth", profile="bulk", queue='a\\"b') == 17)
    assert metered.run("queue.ping", {"profile": "bulk", "queue": 'a"b', "depth": 4}).status == 200
    wait_until("the new depth", lambda: value(scrape(metered), "hatchd_queue_depth", profile="bulk", queue='a\\"b') == 4)
    found = scrape(metered)
    assert value(found, "hatchd_run_last_success_timestamp_seconds", hatch="queue.ping", target="", profile="bulk") > 0
    assert value(found, "hatchd_run_last_success_timestamp_seconds", hatch="queue.ping", target="", profile="default") == 0


def test_a_plugin_that_fell_and_is_started_again_is_counted(demo):
    with Daemon(demo.pid) as private:
        assert private.run("stack.dump").status == 200
        os.kill(private.process("hatchd: plugin stack").pid, signal.SIGKILL)
        wait_until("another run to succeed", lambda: private.run("stack.dump").status == 200)
        wait_until("it to be counted", lambda: value(scrape(private), "hatchd_plugin_restarts_total", plugin="stack") == 1)


def test_requests_by_route_never_by_path(metered):
    for path in ("/nowhere/1", "/nowhere/2", "/v1/runs/one", "/v1/runs/two"):
        assert metered.get(path).status == 404
    assert metered.ask("BREW", "/v1/runs").status in (400, 405, 501)
    found = scrape(metered)
    assert value(found, "hatchd_http_requests_total", route="other", method="GET", code="404") >= 2
    assert value(found, "hatchd_http_requests_total", route="/v1/runs/{id}", method="GET", code="404") >= 2
    assert not any("nowhere" in str(labels) or "BREW" in str(labels) for _, labels in found)


# ---- who may ----------------------------------------------------------------------------------------------------------


def bearer(token, **headers):
    return {"Authorization": f"Bearer {token}", **headers}


def test_it_takes_the_role_metrics(metered):
    assert metered.get("/metrics", tcp=True).status == 401
    assert metered.get("/metrics", headers=bearer("hatchd_scraper-0123456789"), tcp=True).status == 200
    assert metered.get("/v1/hatches", headers=bearer("hatchd_scraper-0123456789"), tcp=True).status == 403


def test_a_scope_hides_other_series(metered):
    text = metered.get("/metrics", headers=bearer("hatchd_narrow-0123456789"), tcp=True).text
    assert 'target="gone"' in text and 'target="demo"' not in text
    assert 'hatch="stack.dump"' in text and "broken.slow" not in text


def test_a_listener_for_scrapers_alone(metered):
    base = f"http://127.0.0.1:{metered.metrics_port}"
    with urllib.request.urlopen(base + "/metrics", timeout=30) as answer:
        assert answer.status == 200 and b"hatchd_build_info" in answer.read()
    for path in ("/v1/hatches", "/v1/targets", "/", "/livez", "/stack.dump", "/openapi.json"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(base + path, timeout=30)
        assert refused.value.code in (401, 404), path
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(base + "/v1/hatches/stack.dump", data=b"{}", timeout=30)
    assert refused.value.code in (401, 404)


# ---- what others make of it -------------------------------------------------------------------------------------------


def test_the_form_follows_accept(metered):
    plain = metered.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for accept in ("*/*", "text/plain", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"):
        assert metered.get("/metrics", headers={"Accept": accept}).headers["content-type"].startswith("text/plain")
    opened = metered.get("/metrics", headers={"Accept": OPENMETRICS + ",text/plain;q=0.5"})
    assert opened.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert opened.text.endswith("# EOF\n") and "# EOF" not in plain.text
    assert metered.get("/metrics", headers={"Accept": "image/png"}).status == 406
    assert metered.ask("HEAD", "/metrics").status == 200


def test_promtool_is_content(metered):
    metered.run("queue.ping", {"depth": 1})
    for hatch in ("stack.dump", "broken.slow"):
        metered.run(hatch, {"target": "demo", "dry_run": True})
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metered.get("/metrics").text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_openmetrics_parses_strictly(metered):
    """promtool reads only Prometheus' own form; the reference parser of OpenMetrics reads the other."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    assert metered.run("stack.dump", {"target": "demo"}).status == 200
    text = metered.get("/metrics", headers={"Accept": OPENMETRICS}).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in CONTRACT:
        if name != "hatchd_queue_depth":
            assert name.removesuffix("_total") in families, name
    assert families["hatchd_runs"].type == "counter"
    assert families["hatchd_run_duration_seconds"].type == "histogram"


def ask_prometheus(port, path, **query):
    url = f"http://127.0.0.1:{port}/api/v1/{path}?" + urllib.parse.urlencode(query)
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]


def test_a_prometheus_scrapes_it(metered, tmp_path):
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "hatchd", "static_configs": [{"targets": [f"127.0.0.1:{metered.metrics_port}"]}]}],
    }
    config["global"]["scrape_timeout"] = "900ms"
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    log = tmp_path / "log"
    with open(log, "wb") as out:
        server = Program(
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=out,
            stderr=out,
        )
    try:

        def scraped():
            assert server.popen.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                targets = ask_prometheus(port, "targets", state="active")["activeTargets"]
                return next((t for t in targets if t["health"] == "up"), None)
            return None

        try:
            wait_until("Prometheus to scrape", scraped, 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}\n{ask_prometheus(port, 'targets')}") from None
        assert metered.run("stack.dump", {"target": "demo"}).status == 200

        def query(expression):
            result = ask_prometheus(port, "query", query=expression)["result"]
            return float(result[0]["value"][1]) if result else None

        wait_until("the run to be seen", lambda: (query('hatchd_runs_total{hatch="stack.dump",target="demo",state="succeeded"}') or 0) >= 1, 60)
        # A scrape that comes too late, on a busy machine, leaves a gap of one interval.
        wait_until("a target that is up", lambda: query('hatchd_target_up{target="demo"}') == 1)
        wait_until("one that is not", lambda: query('hatchd_target_up{target="gone"}') == 0)
        wait_until("a quantile", lambda: query("histogram_quantile(0.9, sum by (le) (hatchd_run_duration_seconds_bucket))") is not None)
        types = {name: entry[0]["type"] for name, entry in ask_prometheus(port, "metadata").items()}
        assert types["hatchd_target_threads"] == "gauge" and types["hatchd_run_pause_seconds"] == "histogram"
        assert "counter" in (types.get("hatchd_runs_total"), types.get("hatchd_runs"))
    finally:
        server.stop()
