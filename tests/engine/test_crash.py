"""What is killed in the middle: noticed by the next command, ended or joined, and nothing lost or left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ALONE, LABEL, PATIENCE, User, contents, docker, sessions_of, sidecars_of, up, wait_until
from own_engine import OwnEngine, own_engine
from relay import DROP, PASS, SWALLOW, relayed
from terminals import PROMPT, terminal

RECORDS = ".local/state/confined-claude/projects"


def cut_off(user: User, project: Path, *words: str, **variables: str) -> str:
    """The name of a session of ``project`` whose tool was killed; it goes on."""
    before = set(up(project))
    tool = subprocess.Popen(
        ["confined-claude", *(words or ("shell", "--", "sleep", "300"))],
        cwd=project,
        env=user.environ(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (name,) = wait_until(lambda: set(up(project)) - before)
    # The command itself, not the entrypoint, which has it among its arguments and may still wait for the network.
    wait_until(
        lambda: "sleep 300" in [line.split(None, 1)[1] for line in docker("top", name, "-eo", "pid,args").splitlines()]
    )
    tool.kill()
    tool.wait(PATIENCE)
    assert name in up(project)
    return name


@pytest.mark.parametrize("network", ["", "internet", "allowlist"])
def test_a_killed_tool_leaves_a_session_that_the_next_start_ends(user: User, project: Path, network: str) -> None:
    variables = {"CONFINED_CLAUDE_NETWORK": network} if network else {}
    name = cut_off(user, project, **variables)
    done = user.run("confined-claude", "shell", "--", "echo", "hello", cwd=project)
    assert done.stdout == "hello\n"
    assert f"Ended the session {name}, whose terminal was gone." in done.stderr
    assert sessions_of(project) == []
    wait_until(lambda: not sidecars_of(project))
    again = user.run("confined-claude", "shell", "--", "true", cwd=project)
    assert again.stderr == ""


def test_another_projects_session_is_reported_and_goes_on(user: User, project: Path, place: Path) -> None:
    name = cut_off(user, project)
    other = user.folder(place / "other")
    done = user.run("confined-claude", "shell", "--", "echo", "hello", cwd=other)
    assert done.stdout == "hello\n"
    assert f"The session {name} in {project} is still running, but its terminal is gone." in done.stderr
    assert up(project) == [name]
    stopped = user.run("confined-claude", "stop", "--session", name, cwd=other)
    assert stopped.stdout == f"Stopped {name}.\n"
    assert sessions_of(project) == []


def test_at_a_terminal_a_cut_off_claude_is_joined_and_goes_on_where_it_was(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "run") as opened:
        opened.wait_for(PROMPT)
        opened.type("what was said before")
        opened.wait_for("FAKE ANSWER: what was said before")
        (name,) = up(project)
        opened.child.kill(signal.SIGKILL)
        opened.wait_for_end()
    assert up(project) == [name]
    with terminal(user, project, "confined-claude", "run") as joined:
        joined.wait_for("Join it?")
        joined.send("\r")
        joined.wait_for("FAKE ANSWER: what was said before")
        joined.type("and now")
        joined.wait_for("FAKE ANSWER: and now")
        assert user.run("confined-claude", "exec", "--", "true", cwd=project).returncode == 0
        joined.type("/exit")
        assert joined.wait_for_end() == 0
    assert sessions_of(project) == []
    assert user.run("confined-claude", "shell", "--", "true", cwd=project).stderr == ""


def test_at_a_terminal_one_may_say_no(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "shell") as opened:
        opened.wait_for("claude@")
        opened.send("echo up$((20+2))\r")
        opened.wait_for("up22")
        opened.child.kill(signal.SIGKILL)
        opened.wait_for_end()
    (name,) = up(project)
    with terminal(user, project, "confined-claude", "shell", "--", "hostname") as asked:
        asked.wait_for("Join it?")
        asked.send("n\r")
        assert asked.wait_for_end() == 0
        assert f"Ended the session {name}" in asked.everything
    assert sessions_of(project) == []


@pytest.mark.parametrize(("next_command", "which"), [("start", 2), ("clean", 2), ("stop", 2), ("start", 1)])
def test_a_container_that_never_started_is_removed(
    user: User, project: Path, place: Path, next_command: str, which: int
) -> None:
    """The tool is killed between creating and starting it: the sidecar's is the first, the session's the second."""
    tools: list[subprocess.Popen[str]] = []
    started: list[str] = []

    def kill_at_start(line: str) -> str:
        path = line.split()[1]
        if not path.endswith("/start"):
            return PASS
        started.append(path)
        if len(started) < which:
            return PASS
        # Before there is a record of it, what is left goes later: see test_clean.py.
        wait_until(lambda: tools and [path for path in contents(user.home / RECORDS) if path.endswith(".session")])
        tools[0].kill()
        return DROP

    words = ("confined-claude", "shell", "--", "true")
    with relayed(user.folder(place / "relay"), kill_at_start) as (address, _):
        network = {"CONFINED_CLAUDE_NETWORK": "internet"}
        with user.running(*words, cwd=project, DOCKER_HOST=address, **network) as tool:
            tools.append(tool)
            assert tool.wait(PATIENCE) == -signal.SIGKILL
    left = sessions_of(project)
    assert len(left) == 1 or which == 1
    assert up(project) == []
    if next_command == "start":
        done = user.run("confined-claude", "run", "--", "-p", "hello", cwd=project)
        assert all(f"Removed what was left of the session {name}" in done.stderr for name in left)
    else:
        options = ("--all", "--yes") if next_command == "clean" else ()
        done = user.run("confined-claude", next_command, *options, cwd=project)
    assert done.returncode == 0, done.stderr
    is_clean(user, project)


def is_clean(user: User, project: Path) -> None:
    """Nothing is left of any session of this project's."""
    assert sessions_of(project) == []
    wait_until(lambda: not sidecars_of(project))
    assert not (project / ".git/commondir").exists()
    assert [path for path in contents(user.home / RECORDS) if path.endswith((".session", ".before", ".unseen"))] == []


@pytest.mark.parametrize("network", ["none", "internet", "allowlist"])
def test_a_hangup_that_comes_twice_leaves_nothing(user: User, project: Path, network: str) -> None:
    """A shell passes on what it gets, so a closed window hangs up twice."""
    user.run("git", "init", "--quiet", cwd=project)
    words = ("confined-claude", "shell", "--", "sleep", "300")
    for pause in (0.0, 0.001, 0.002, 0.005, 0.01):
        with user.running(*words, cwd=project, CONFINED_CLAUDE_NETWORK=network) as tool:
            (name,) = wait_until(lambda: up(project))
            wait_until(lambda name=name: "sleep" in docker("top", name))  # type: ignore[misc]
            tool.send_signal(signal.SIGHUP)
            time.sleep(pause)
            tool.send_signal(signal.SIGHUP)
            assert tool.wait(PATIENCE) == 129
            assert "Traceback" not in tool.communicate()[0]
        is_clean(user, project)


def test_a_closed_window_with_a_shell_in_it_leaves_nothing(user: User, project: Path) -> None:
    user.run("git", "init", "--quiet", cwd=project)
    for seconds in (0.3, 0.6, 1.0, 2.0):
        network = {"CONFINED_CLAUDE_NETWORK": "internet", "PS1": "outside> "}
        with terminal(user, project, "bash", "--norc", "-i", **network) as opened:
            opened.wait_for("outside>")
            opened.send("confined-claude shell\r")
            time.sleep(seconds)
            os.close(opened.child.child_fd)  # the window is gone
            wait_until(lambda opened=opened: not opened.child.isalive())  # type: ignore[misc]
        # The tool may be at the very beginning, when nothing shows of it yet.
        wait_until(lambda: not working_in(project))
        is_clean(user, project)


def working_in(directory: Path) -> list[int]:
    """The processes of this machine whose working directory this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == directory:
                found.append(int(process.name))
    return found


def test_what_is_to_ignore_a_hangup_does(user: User, project: Path) -> None:
    words = (
        "nohup",
        "confined-claude",
        "shell",
        "--",
        "sh",
        "-c",
        "touch begun; until [ -e go ]; do sleep .1; done; echo done >end",
    )
    with user.running(*words, cwd=project) as tool:
        wait_until((project / "begun").exists)
        tool.send_signal(signal.SIGHUP)
        (project / "go").touch()
        assert tool.wait(PATIENCE) == 0
    assert (project / "end").read_text() == "done\n"


@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_quit_leaves_nothing(user: User, project: Path, seconds: float) -> None:
    with user.running("confined-claude", "shell", "--", "sleep", "300", cwd=project) as tool:
        time.sleep(seconds)
        tool.send_signal(signal.SIGQUIT)
        tool.wait(PATIENCE)
    is_clean(user, project)


def test_stop_of_a_session_whose_tool_is_gone_reports_what_it_left_and_tidies(user: User, project: Path) -> None:
    user.run("git", "init", "--quiet", cwd=project)
    network = {"CONFINED_CLAUDE_NETWORK": "allowlist"}
    name = cut_off(user, project, "shell", "--", "sh", "-c", "echo evil >.envrc; sleep 300", **network)
    done = user.run("confined-claude", "stop", "--session", name, cwd=Path("/"))
    assert done.stdout == f"Stopped {name}.\n"
    assert f"The session {name} has left 1 file that your machine runs by itself (red)" in done.stderr
    assert ".envrc" in done.stderr
    is_clean(user, project)
    assert [path for path in (user.home / ".local/state").glob("*/projects/*/egress/*") if path.is_dir()] == []


@pytest.mark.root
def test_a_full_disk_before_the_session_begins_leaves_no_container(user: User, project: Path, full_disk: Path) -> None:
    for number in range(1500):
        (project / f"{'x' * 100}-{number}.mk").touch()
    done = user.run("confined-claude", "shell", "--", "true", cwd=project, XDG_STATE_HOME=str(full_disk))
    assert (done.returncode, "No space left on device" in done.stderr) == (2, True), done.stderr
    assert sessions_of(project) == []
    wait_until(lambda: not sidecars_of(project))


@pytest.mark.root
def test_a_full_disk_at_the_end_hides_no_finding(user: User, project: Path, full_disk: Path) -> None:
    script = "touch begun; while [ ! -e go ]; do sleep 0.1; done; seq 20000 >.envrc"
    state = {"XDG_STATE_HOME": str(full_disk)}
    with user.running("confined-claude", "shell", "--", "sh", "-c", script, cwd=project, **state) as tool:
        wait_until((project / "begun").exists)
        with contextlib.suppress(OSError):
            (full_disk / "filling").write_bytes(b"x" * 100_000)
        (project / "go").touch()
        said = tool.communicate(timeout=PATIENCE)[0]
    assert tool.returncode == 2
    assert ".envrc" in said
    assert "No space left on device" in said
    (full_disk / "filling").unlink()
    assert sessions_of(project) == []
    # The next start finds what is not on record yet.
    assert user.run("confined-claude", "shell", "--", "true", cwd=project, **state).returncode in (2, 4)


def test_a_container_whose_id_never_came_is_removed(user: User, project: Path, place: Path) -> None:
    """The connection breaks before the answer to a creation: the session's, or its sidecar's."""
    swallowed: list[str] = []
    wanted: list[bool] = []

    def swallow_one(line: str) -> str:
        if "/containers/create?name=confined-claude-" not in line or ["-net-" in line] != wanted or swallowed:
            return PASS
        swallowed.append(line)
        return SWALLOW

    with relayed(user.folder(place / "relay"), swallow_one) as (address, _):
        for network, is_sidecars in (("none", False), ("internet", False), ("internet", True), ("allowlist", True)):
            swallowed.clear()
            wanted[:] = [is_sidecars]
            variables = {"CONFINED_CLAUDE_NETWORK": network, "DOCKER_HOST": address}
            done = user.run("confined-claude", "shell", "--", "true", cwd=project, **variables)
            assert "Traceback" not in done.stderr
            assert sessions_of(project) == []
            assert sidecars_of(project) == []
            assert swallowed
    done = user.run("confined-claude", "shell", "--", "true", cwd=project, CONFINED_CLAUDE_NETWORK="internet")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_connection_to_the_engine_that_breaks_ends_the_session(user: User, project: Path, place: Path) -> None:
    with relayed(user.folder(place / "relay")) as (address, relay):
        with user.running("confined-claude", "shell", "--", "sleep", "300", cwd=project, DOCKER_HOST=address) as tool:
            (name,) = wait_until(lambda: up(project))
            wait_until(lambda: "sleep 300" in docker("top", name))
            relay.cut()
            assert tool.wait(PATIENCE) == 3
            # The answer to the start may be what is lost.
            assert "The connection to the engine broke" in tool.communicate()[0]
        assert sessions_of(project) == []


def test_a_stopped_tool_goes_on_as_after_sleep(user: User, project: Path) -> None:
    """Everything of a session stops at once, as when a laptop sleeps, and goes on later."""
    script = "for i in 1 2 3; do echo $i; done; until [ -e go ]; do sleep 0.1; done; for i in 4 5 6; do echo $i; done"
    with user.running(
        "confined-claude",
        "shell",
        "--",
        "sh",
        "-c",
        script,
        cwd=project,
        new_session=True,
        CONFINED_CLAUDE_NETWORK="internet",
    ) as tool:
        (name,) = wait_until(lambda: up(project))
        docker("pause", name)
        os.killpg(tool.pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(tool.pid, signal.SIGCONT)
        docker("unpause", name)
        (project / "go").touch()
        said = tool.communicate(timeout=PATIENCE)[0]
        assert (said.split()[-6:], tool.returncode) == (list("123456"), 0)
    assert sessions_of(project) == []


@pytest.fixture(scope="module")
def engine(installed: Path) -> Iterator[OwnEngine]:
    with own_engine() as made:
        made.copy_image()
        yield made


@ALONE
@pytest.mark.root
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_engine_that_starts_again_in_the_middle(
    user: User, project: Path, engine: OwnEngine, ending: signal.Signals
) -> None:
    mine = replace(user, variables={**user.variables, "CONFINED_CLAUDE_NETWORK": "none", "DOCKER_HOST": engine.address})
    labels = ("--filter", f"label={LABEL}.path={project}")
    words = ("confined-claude", "shell", "--", "sh", "-c", "echo planted >.envrc; echo kept >kept; sleep 300")
    with mine.running(*words, cwd=project) as tool:
        wait_until((project / "kept").exists)
        engine.end(ending)
        said = tool.communicate(timeout=PATIENCE)[0]
        assert tool.returncode not in (0, None)
        assert "Traceback" not in said
    away = mine.run("confined-claude", "run", cwd=project)
    assert (away.returncode, "does not answer" in away.stderr) == (3, True)
    engine.start()
    done = mine.run("confined-claude", "shell", "--", "cat", "kept", cwd=project)
    # What the session had left is still known, and waits for review.
    assert (done.returncode, ".envrc" in done.stderr) == (4, True), done.stdout + done.stderr
    accepted = mine.run("confined-claude", "review", "--accept", cwd=project)
    assert accepted.returncode == 0
    assert mine.run("confined-claude", "shell", "--", "cat", "kept", cwd=project).stdout == "kept\n"
    assert engine.docker("ps", "--all", "--quiet", *labels) == ""
