"""Who is calling, as the kernel and the tokens say; and what keeps a browser from being turned against hatchd."""

import json
import pathlib
import subprocess

import pytest

from harness import AM_ROOT, TOKEN, Daemon, token_entry

needs_root = pytest.mark.skipif(not AM_ROOT, reason="only root can become others")


def as_somebody(daemon, path, uid=4999, groups=()):
    """Status and body of a GET by another user."""
    command = ["curl", "-sS", "--unix-socket", daemon.socket, "-w", "\n%{http_code}", f"http://localhost{path}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, user=uid, group=uid, extra_groups=list(groups)
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@needs_root
def test_peers_by_user_group_and_supplementary_group(demo):
    peers = [{"user": "4998", "role": "viewer"}, {"group": "8100", "role": "operator"}]
    with Daemon(demo.pid, {"access": {"peers": peers}}) as daemon:
        assert as_somebody(daemon, "/v1/hatches", uid=4998)[0] == 200
        assert as_somebody(daemon, "/v1/hatches", groups=[8100, 8200])[0] == 200
        assert as_somebody(daemon, "/v1/hatches", groups=list(range(9000, 9100)) + [8100])[0] == 200  # more than fit at once
        status, problem = as_somebody(daemon, "/v1/hatches", groups=[8200])
        assert status == 403 and problem["code"] == "role-missing" and "viewer" in problem["detail"]
        # hatchd's own processes are nobody, whatever their groups: a captured plugin gains nothing by calling.
        front = daemon.process("hatchd: front").status()["Uid"].split()[0]
        status, problem = as_somebody(daemon, "/v1/hatches", uid=int(front), groups=[8100])
        assert status == 403 and "call as another user" in problem["remedy"], problem


@needs_root
def test_the_login_names_the_person_behind_sudo(demo):
    with Daemon(demo.pid) as daemon:
        command = ["curl", "-sS", "--unix-socket", daemon.socket, "-X", "POST", "http://localhost/v1/hatches/stack.dump"]

        def log_in():
            pathlib.Path("/proc/self/loginuid").write_text("65534")

        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, preexec_fn=log_in)
        except subprocess.SubprocessError:
            pytest.skip("this kernel or container lets nobody set a login uid")
        caller = json.loads(done.stdout)["caller"]
        assert caller["name"] == "root" and caller["login"] == "nobody", caller


def test_wrong_tokens_are_limited_and_right_ones_are_not(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        wrong = {"Authorization": "Bearer hatchd_wrong"}
        answers = [daemon.get("/v1/hatches", headers=wrong, tcp=True) for _ in range(14)]
        assert answers[0].status == 401 and "bearer" in answers[0].headers["www-authenticate"].lower()
        assert answers[-1].status == 429 and answers[-1].json()["code"] == "rate" and int(answers[-1].headers["retry-after"]) >= 1
        assert daemon.get("/v1/hatches", headers={"Authorization": f"Bearer {TOKEN}"}, tcp=True).status == 200
        assert daemon.get("/v1/hatches", headers=wrong).status == 401  # by the socket it is another source
        assert daemon.get("/livez", headers=wrong, tcp=True).status == 200


def test_a_scope_hides_what_a_role_refuses(demo):
    tokens = [
        token_entry("hatchd_scoped", "operator", "scoped", hatches=["mail.*"]),
        token_entry("hatchd_elsewhere", "admin", "elsewhere", targets=["other"]),
        token_entry("hatchd_metrics", "metrics", "scraper"),
        token_entry("hatchd_old", "admin", "old", expires="2020-01-01"),
    ]
    with Daemon(demo.pid, {"access": {"tokens": tokens}}) as daemon:

        def ask(token, method="GET", path="/v1/hatches/stack.dump"):
            answer = daemon.ask(method, path, headers={"Authorization": f"Bearer hatchd_{token}"})
            return answer.status, answer.json().get("code")

        run = daemon.run("stack.dump").json()["id"]
        for token in ("scoped", "elsewhere"):
            assert ask(token, path=f"/v1/runs/{run}") == (404, "run-unknown")
            assert ask(token, "DELETE", f"/v1/runs/{run}") == (404, "run-unknown")
        assert ask("scoped") == (404, "hatch-unknown") == ask("scoped", "POST")
        assert ask("elsewhere", path="/v1/targets/demo") == (404, "target-unknown")
        assert ask("metrics") == (403, "role-missing") == ask("metrics", "POST")
        assert ask("old") == (401, "unauthenticated")


def test_anonymous_callers_only_where_they_are_configured(demo):
    with Daemon(demo.pid, tcp=True) as daemon:
        assert daemon.get("/v1/hatches", tcp=True).status == 401
    with Daemon(demo.pid, {"access": {"anonymous": "viewer"}}, tcp=True) as daemon:
        assert daemon.get("/v1/hatches", tcp=True).status == 200
        assert daemon.get("/v1/hatches", headers={"Authorization": "Bearer wrong"}, tcp=True).status == 401
        run = daemon.run("stack.dump", tcp=True).json()
        assert run["caller"]["via"] == "anonymous", run


BROWSERS = [
    {"Origin": "https://evil.example.org"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", BROWSERS)
def test_no_page_of_another_site_has_an_effect_whatever_its_visitor_may(daemon, headers):
    headers = {**headers, "Authorization": f"Bearer {TOKEN}"}
    before = len(daemon.get("/v1/runs").json()["runs"])
    for path in ("/v1/hatches/stack.dump", "/stack.dump"):
        answer = daemon.ask("POST", path, "", {"Content-Type": "application/x-www-form-urlencoded", **headers}, tcp=True)
        assert answer.status == 403 and "cross-site" in answer.text, answer
    assert daemon.ask("DELETE", "/v1/runs/x", headers=headers, tcp=True).status == 403
    assert len(daemon.get("/v1/runs").json()["runs"]) == before
    assert daemon.get("/v1/hatches", headers=headers, tcp=True).status == 200  # it may ask, and does not get to see the answer


def test_its_own_page_has_and_no_answer_carries_a_cors_header(daemon):
    own = {"Origin": f"http://127.0.0.1:{daemon.port}", "Sec-Fetch-Site": "same-origin", "Authorization": f"Bearer {TOKEN}"}
    answers = [daemon.run("stack.dump", headers=own, tcp=True), daemon.get("/v1/hatches", headers=own, tcp=True)]
    assert [a.status for a in answers] == [200, 200]
    asked = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
    answers += [daemon.ask("OPTIONS", "/v1/hatches/stack.dump", headers=asked, tcp=True), daemon.get("/livez", headers=asked, tcp=True)]
    assert answers[2].status in (401, 405)
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")], answer
