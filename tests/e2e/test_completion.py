"""hatchctl completion: what a Tab does in a real bash, zsh and fish."""

import os
import shutil
import subprocess

import pytest

from harness import BIN, HATCHCTL, Daemon, Terminal, wait_until
from test_broken_plugins import path_of

SHELLS = [shell for shell in ("bash", "zsh", "fish")]
# How the shell starts without anybody's own settings, and what to type so that it knows.
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='ready> '; source <(hatchctl completion bash)\n"),
    "zsh": (["zsh", "-f", "-i"], "PS1='ready> '; bindkey -e; autoload -Uz compinit; compinit -u -D; source <(hatchctl completion zsh)\n"),
    "fish": (
        ["fish", "--no-config", "-i"],
        "function fish_prompt; echo 'ready> '; end; hatchctl completion fish | source\n",
    ),
}


@pytest.fixture(scope="module")
def complete(demo):
    """A daemon with two targets, and a function: what becomes of a line when Tab is pressed."""
    targets = {"demo": {"pid": demo.pid}, "workshop": {"pidfile": "/nonexistent/pid"}}
    config = {"plugins": {"probe": {"path": path_of("probe"), "profiles": {"default": {"password": "x"}}}}}
    with Daemon(targets, config) as daemon:

        def press_tab(shell, line, folder):
            out = folder / "line"
            out.unlink(missing_ok=True)
            env = {
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "HOME": str(folder),
                "XDG_CONFIG_HOME": str(folder),
                "XDG_DATA_HOME": str(folder),
                "HATCHD_SOCKET": daemon.socket,
                "LC_ALL": "C.UTF-8",
            }
            argv, setup = START[shell]
            with Terminal(*argv, env=env) as terminal:
                terminal.type(setup)
                terminal.expect(r"[lhmJ\n\r]ready> ")  # at the start of a line or behind a control sequence, not as typed
                terminal.type(line + "\t")
                # The line as the shell has it now, as words of another command.
                terminal.type("\x01echo \x05 > " + str(out) + "; echo\n")
                try:
                    wait_until("the line", lambda: out.exists() and out.read_text().endswith("\n"))
                except AssertionError as error:
                    raise AssertionError(f"{error}: {terminal.text!r}") from None
                terminal.type("exit\n")
            return out.read_text().strip()

        press_tab.daemon = daemon
        yield press_tab


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "typed, line",
    [
        ("hatchctl desc", "hatchctl describe"),
        ("hatchctl describe stack.du", "hatchctl describe stack.dump"),
        ("hatchctl -t work", "hatchctl -t workshop"),
        ("hatchctl --json targets wor", "hatchctl --json targets workshop"),
        ("hatchctl run stack.dump pau", "hatchctl run stack.dump pause="),
        ("hatchctl run stack.dump pause=le", "hatchctl run stack.dump pause=least"),
        ("hatchctl run stack.dump pause=all format=fol", "hatchctl run stack.dump pause=all format=folded"),
        ("hatchctl runs --state cra", "hatchctl runs --state crashed"),
        ("hatchctl hatches --js", "hatchctl hatches --json"),
    ],
)
def test_tab(complete, shell, typed, line, tmp_path):
    assert shutil.which(shell), f"{shell} is not installed (./dev test does that)"
    assert complete(shell, typed, tmp_path) == line


def candidates(daemon, *words):
    said = subprocess.run(
        [HATCHCTL, "__complete", "--socket", daemon.socket, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0 and said.stderr == "", said
    return dict(line.partition("\t")[::2] for line in said.stdout.splitlines())


def test_what_the_shells_ask(complete):
    daemon = complete.daemon
    commands = candidates(daemon, "")
    assert {"hatches", "describe", "run", "targets", "runs", "show", "follow", "cancel", "completion"} <= set(commands)
    assert commands["hatches"] and not any(word.startswith("_") for word in commands)
    hatches = {(hatch["id"], hatch["title"]) for hatch in daemon.get("/v1/hatches").json()["hatches"]}
    offered = candidates(daemon, "describe", "")  # a hatch of several kinds once
    assert set(offered) == {id for id, _ in hatches} and set(offered.items()) <= hatches
    assert "probe.console" not in candidates(daemon, "run", ""), "it is off"
    assert set(candidates(daemon, "run", "probe.echo", "yes=")) == {"yes=true", "yes=false"}
    assert set(candidates(daemon, "-t", "")) == {"demo", "workshop"}
    run = daemon.run("probe.output").json()["id"]
    assert candidates(daemon, "show", run[:20])[run] == "probe.output, succeeded"
    assert run not in candidates(daemon, "cancel", "")


def test_nothing_disturbs_a_shell(tmp_path):
    for words in (["run", ""], ["--socket"], ["run", "--no-such-option", ""], ["show", "x\x01"], []):
        said = subprocess.run(
            [HATCHCTL, "__complete", *words],
            env={**os.environ, "HATCHD_SOCKET": str(tmp_path / "none.sock")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert said.returncode == 0 and said.stderr == "", said


def test_a_shell_that_is_not_known():
    wrong = subprocess.run([HATCHCTL, "completion", "csh"], capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2 and "bash" in wrong.stderr and wrong.stdout == ""
