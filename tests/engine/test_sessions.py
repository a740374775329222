"""Many sessions at once: found, joined and ended, in one project and in many."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from docker import APIClient
from helpers import ALONE, API_KEY, PATIENCE, User, docker, own_name, sessions_of, up, wait_until
from terminals import PROMPT, terminal

from confined_claude.project import Project

# How many start at once: all of DESIGN.md's goal is 100, see tests/bench.
AT_ONCE = int(os.environ.get("CONFINED_CLAUDE_AT_ONCE", "32"))


@contextlib.contextmanager
def sessions(user: User, *projects: Path, command: str = "sleep 300") -> Iterator[list[subprocess.Popen[str]]]:
    """One session in each of ``projects`` that runs ``command``, all of them up."""
    with contextlib.ExitStack() as stack:
        started = []
        for count, project in enumerate(projects):
            words = ("confined-claude", "shell", "--", "sh", "-c", command)
            started.append(stack.enter_context(user.running(*words, cwd=project)))
            before = projects[:count].count(project)
            wait_until(lambda before=before, project=project: len(up(project)) > before)  # type: ignore[misc]
        yield started


def test_folders_of_one_name_are_two_projects(user: User, place: Path) -> None:
    first, second = (user.folder(place / name / own_name(place).name) for name in ("one", "two"))
    user.own(place / "one", place / "two")
    with sessions(user, first, second):
        for project in (first, second):
            done = user.run("confined-claude", "exec", "--", "pwd", "-P", cwd=project)
            assert done.stdout.strip() == str(project), done.stderr
        done = user.run("confined-claude", "stop", cwd=second)
        name = f"confined-claude-{Project(first).slug}"
        assert done.stdout == f"Stopped {name}-2.\n"
        assert up(first) == [name]
        assert sessions_of(second) == []


def test_exec_joins_as_the_sessions_user_and_returns_its_exit_code(plain_user: User, place: Path) -> None:
    user = plain_user
    project = user.folder(place / "project")
    with sessions(user, project):
        script = "whoami; id -u; pwd; echo $HOME; touch made; grep NoNewPrivs /proc/self/status; exit 7"
        done = user.run("confined-claude", "exec", "--", "sh", "-c", script, cwd=project)
        expected = ["claude", str(user.uid), str(project), "/home/claude", "NoNewPrivs:\t1"]
        assert (done.stdout.splitlines(), done.returncode) == (expected, 7), done.stderr
        assert (project / "made").stat().st_uid == user.uid
        piped = user.run("confined-claude", "exec", "--", "cat", cwd=project, input="two\nlines\n")
        assert piped.stdout == "two\nlines\n"


def test_exec_has_what_the_session_may_not_change_read_only_too(user: User, project: Path) -> None:
    (project / ".envrc").write_text("# mine\n")
    attack = "echo evil >.envrc; mv .confined-claude gone; echo x >.confined-claude/config.toml; true"
    with sessions(user, project):
        done = user.run("confined-claude", "exec", "--", "sh", "-c", attack, cwd=project)
        assert done.stderr.count("Read-only file system") == 2, done.stderr
        assert "busy" in done.stderr
        control = user.run("confined-claude", "exec", "--", "sh", "-c", "echo fine >mine", cwd=project)
        assert control.returncode == 0
    assert (project / ".envrc").read_text() == "# mine\n"
    assert (project / "mine").read_text() == "fine\n"


def test_claude_is_signed_in_through_exec_and_no_secret_shows(user: User, project: Path) -> None:
    with sessions(user, project, command="sleep 300; :"):
        done = user.run("confined-claude", "exec", "--", "claude", "-p", "hello", cwd=project)
        assert done.stdout == "FAKE ANSWER: hello\n", done.stderr
        words = ("confined-claude", "exec", "--", "sh", "-c", "echo $ANTHROPIC_API_KEY >key; sleep 600")
        with user.running(*words, cwd=project):
            wait_until(lambda: API_KEY in (project / "key").read_text() if (project / "key").exists() else False)
            (name,) = up(project)
            shown = (
                docker("inspect", name)
                + subprocess.run(["ps", "axww"], check=True, capture_output=True, text=True).stdout
            )
            with contextlib.closing(APIClient(version="auto")) as engine:
                for identity in engine.inspect_container(name)["ExecIDs"] or ():
                    shown += json.dumps(engine.exec_inspect(identity))
            assert "sleep 600" in shown
            assert API_KEY not in shown


def test_exec_and_stop_list_the_sessions_instead_of_guessing(user: User, project: Path, place: Path) -> None:
    nothing = user.run("confined-claude", "exec", "--", "true", cwd=project)
    assert nothing.returncode == 2
    assert "No session runs in this project.\n`confined-claude status` shows" in nothing.stderr
    with sessions(user, project, project):
        names = sorted(up(project))
        first = f"confined-claude-{Project(project).slug}"
        numbers = [name.removeprefix(first).removeprefix("-") or "1" for name in names]
        for command in (("exec", "--", "true"), ("stop",)):
            done = user.run("confined-claude", *command, cwd=project)
            assert done.returncode == 2
            assert all(name in done.stderr for name in names), done.stderr
            assert len(done.stderr.splitlines()) == 2
        for wanted, name in [*zip(numbers, names, strict=True), (names[1], names[1])]:
            where = user.folder(place / "elsewhere") if wanted == name else project
            words = ("confined-claude", "exec", "--session", wanted, "--", "sh", "-c", f"echo {wanted} >/tmp/x")
            done = user.run(*words, cwd=where)
            assert done.returncode == 0, done.stderr
            assert docker("exec", name, "cat", "/tmp/x") == f"{wanted}\n"
        wrong = user.run("confined-claude", "exec", "--session", "99", "--", "true", cwd=project)
        assert (wrong.returncode, "no running session '99'" in wrong.stderr) == (2, True)
        assert user.run("confined-claude", "stop", "--session", numbers[1], cwd=project).returncode == 0
        assert len(up(project)) == 1
    assert user.run("confined-claude", "stop", cwd=project).stdout == "No session runs.\n"


def test_stop_of_all_and_of_one_is_neither(user: User, project: Path) -> None:
    done = user.run("confined-claude", "stop", "--all", "--session", "1", cwd=project)
    assert (done.returncode, "cannot be combined" in done.stderr) == (2, True)


def test_stop_all_ends_every_session_of_this_user_and_no_other(
    make_user: Callable[..., User], user: User, place: Path
) -> None:
    other = make_user()
    mine = [user.folder(own_name(place, name)) for name in ("one", "two")]
    theirs = other.folder(place / "theirs")
    with sessions(user, *mine), sessions(other, theirs):
        done = user.run("confined-claude", "stop", "--all", cwd=Path("/"))
        stopped = [f"Stopped confined-claude-{Project(project).slug}." for project in mine]
        assert sorted(done.stdout.splitlines()) == stopped
        assert [sessions_of(project) for project in mine] == [[], []]
        assert len(up(theirs)) == 1
        assert user.run("confined-claude", "stop", "--all", cwd=Path("/")).stdout == "No session runs.\n"


def test_stop_lets_claude_save_its_state(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "run") as opened:
        opened.wait_for(PROMPT)
        assert user.run("confined-claude", "stop", cwd=project).returncode == 0
        assert opened.wait_for_end() == 143
        assert "The session was stopped." in opened.everything
    state = json.loads((user.home / ".local/share/confined-claude/shared/claude-config/.claude.json").read_text())
    assert state["projects"][str(project)]["lastGracefulShutdown"] is True


def test_stop_ends_a_shell_at_its_prompt_without_waiting(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "shell") as opened:
        opened.wait_for("claude@")
        opened.send("echo up$((20+2))\r")
        opened.wait_for("up22")
        assert user.run("confined-claude", "stop", cwd=project).returncode == 0
        # bash ignores SIGTERM there: after that the engine would wait for 10 s and kill it.
        assert opened.wait_for_end() == 128 + signal.SIGHUP
    assert sessions_of(project) == []


def test_exec_has_a_terminal_when_there_is_one(user: User, project: Path) -> None:
    with sessions(user, project), terminal(user, project, "confined-claude", "exec") as opened:
        opened.wait_for("#")
        opened.send("PS1='now: '\r")
        opened.wait_for("\nnow:")  # at the start of a line, where a long one before it may have wrapped
        opened.send("tty; stty size; whoami\r")
        opened.wait_for("40 100")
        assert "/dev/pts/" in opened.screen
        opened.child.setwinsize(30, 90)
        opened.send("until stty size | grep 90; do sleep .1; done\r")
        opened.wait_for("\n30 90")
        opened.send("\x10")  # Ctrl-P: the last line again, at once
        opened.wait_for("30 90\nnow: until stty size")
        opened.send("\x15exit 5\r")  # Ctrl-U: an empty line
        assert opened.wait_for_end() == 5


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_exec_started_ends_with_it(user: User, project: Path, ending: signal.Signals) -> None:
    with sessions(user, project):
        name = up(project)[0]
        # A shell's own: what it has in the background does not heed SIGINT.
        script = "sleep 4321" if ending == signal.SIGINT else "sleep 4321 & sleep 4321"
        with user.running("confined-claude", "exec", "--", "sh", "-c", script, cwd=project) as process:
            wait_until(lambda: "sleep 4321" in docker("top", name))
            time.sleep(1.2)
            process.send_signal(ending)
            process.wait(PATIENCE)
            wait_until(lambda: "sleep 4321" not in docker("top", name))
        assert up(project) == [name]


# Stops what the tool runs in a session itself, which is its user's.
STOPPER = """
import contextlib, glob, os, signal
open("on", "w").close()
while True:
    for path in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            if b"CONFINED_CLAUDE_EXEC=" in open(path + "/cmdline", "rb").read():
                os.kill(int(path[6:]), signal.SIGSTOP)
                open("stopped", "w").close()
"""


def test_a_session_cannot_hold_up_the_end_of_exec(user: User, project: Path) -> None:
    (project / "stopper").write_text(STOPPER)
    with user.running("confined-claude", "shell", "--", "python3", "stopper", cwd=project):
        wait_until((project / "on").exists)
        for _ in range(20):  # what ends the command may be done before it is seen
            with user.running("confined-claude", "exec", "--", "sleep", "4321", cwd=project) as process:
                wait_until(lambda: "sleep 4321" in docker("top", up(project)[0]))
                time.sleep(1.2)
                process.terminate()
                assert process.wait(PATIENCE) == 128 + signal.SIGTERM
            if (project / "stopped").exists():
                return
        pytest.fail("nothing was held up")


def running_in(name: str) -> list[str]:
    """The processes of a container, each with its arguments."""
    return [line.split(None, 1)[1] for line in docker("top", name, "-eo", "pid,args").splitlines()]


def test_ctrl_c_ends_a_command_that_has_closed_its_terminal(user: User, project: Path) -> None:
    closes = "exec sleep 4321 <&- >&- 2>&-"
    with sessions(user, project):
        with terminal(user, project, "confined-claude", "exec", "--", "sh", "-c", closes) as opened:
            wait_until(lambda: "sleep 4321" in running_in(up(project)[0]))
            time.sleep(4)
            opened.send("\x03")
            assert opened.wait_for_end() != 0
        wait_until(lambda: "sleep 4321" not in docker("top", up(project)[0]))


def test_exec_says_when_the_session_ends_under_it(user: User, project: Path) -> None:
    with sessions(user, project), user.running("confined-claude", "exec", "--", "sleep", "600", cwd=project) as joined:
        (name,) = up(project)
        wait_until(lambda: "sleep 600" in docker("top", name))
        assert user.run("confined-claude", "stop", cwd=project).returncode == 0
        assert f"The session {name} has ended." in joined.communicate(timeout=PATIENCE)[0]
        assert joined.returncode not in (0, None)


def test_bell_and_title_pass_untouched(user: User, project: Path) -> None:
    script = r"printf 'a\007b\033]0;a title\007c'"
    with terminal(user, project, "confined-claude", "shell", "--", "sh", "-c", script) as opened:
        assert opened.wait_for_end() == 0
        assert "a\x07b\x1b]0;a title\x07c" in opened.everything


@ALONE
def test_many_at_once_none_fails_and_nothing_is_left(make_user: Callable[..., User], place: Path) -> None:
    """Half of them in one project, the others each in one of its own; all of them on one Claude config."""
    user = make_user(ANTHROPIC_API_KEY="")
    user.sign_in()
    same = user.folder(place / "same")
    projects = [user.folder(place / f"p{number}") if number % 2 else same for number in range(AT_ONCE)]

    def ask(number: int) -> subprocess.CompletedProcess[str]:
        words = ("confined-claude", "run", "--", "-p", f"question {number}")
        return user.run(*words, cwd=projects[number], timeout=900)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    failed = [(done.returncode, done.stdout, done.stderr) for done in answers if done.returncode]
    assert not failed, failed[:3]
    assert [done.stdout for done in answers] == [f"FAKE ANSWER: question {number}\n" for number in range(AT_ONCE)]
    config = user.home / ".local/share/confined-claude/shared/claude-config"
    assert json.loads((config / ".claude.json").read_text())["hasCompletedOnboarding"] is True
    assert json.loads((config / ".credentials.json").read_text())["claudeAiOauth"]["accessToken"]
    assert not [path.name for path in config.iterdir() if path.suffix in (".lock", ".tmp") or "corrupt" in path.name]
    assert [sessions_of(project) for project in set(projects)] == [[]] * len(set(projects))
    records = user.home / ".local/state/confined-claude/projects"
    assert not [path for path in records.rglob("*") if path.suffix in (".session", ".before", ".unseen")]
