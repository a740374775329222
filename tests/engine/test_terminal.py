"""In a real terminal: the first screen, resizing, keys, and what is left when it closes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from helpers import User, sessions_of, wait_until

pytestmark = pytest.mark.timeout(300)

PROMPT = "❯"
QUESTIONS = ("Choose the text style", "Select login method", "Do you trust", "custom API key", "Yes, I accept")


@contextlib.contextmanager
def terminal(user: User, cwd: Path, *words: str, **extra: str) -> Iterator[Any]:
    command, *arguments = user.command(*words)
    child = pexpect.spawn(
        command, arguments, cwd=str(cwd), env=user.environ(**extra), dimensions=(40, 100), encoding="utf-8", timeout=60
    )
    try:
        yield child
    finally:
        child.kill(signal.SIGTERM)
        child.expect(pexpect.EOF)
        child.close()


def first_screen(child: Any) -> str:
    """Everything drawn until the prompt stands and half a second of quiet has passed."""
    child.expect(PROMPT)
    seen = child.before + child.after
    with contextlib.suppress(pexpect.TIMEOUT):
        while True:
            seen += child.read_nonblocking(65536, 0.5)
    return seen


@pytest.mark.parametrize("how", ["copied sign-in", "API key", "yolo"])
def test_the_first_screen_is_the_prompt(make_user: Callable[..., User], place: Path, how: str) -> None:
    user = make_user(**({"ANTHROPIC_API_KEY": ""} if how == "copied sign-in" else {}))
    if how == "copied sign-in":
        user.sign_in()
    project = user.folder(place / "project")
    user.run("git", "init", "--quiet", cwd=project)
    with terminal(user, project, "confined-claude", "run", *(["--yolo"] if how == "yolo" else [])) as child:
        seen = first_screen(child)
        assert not [question for question in QUESTIONS if question.lower().replace(" ", "") in seen.lower().replace(" ", "")]
        assert ("bypass" in seen) is (how == "yolo")
        child.send("hello from the keyboard")
        child.send("\r")
        child.expect("FAKE.{0,20}ANSWER")
        child.send("/exit\r")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    assert sessions_of(project) == []


def test_control_without_a_sign_in_the_first_screen_is_not_the_prompt(make_user: Callable[..., User], place: Path) -> None:
    user = make_user(ANTHROPIC_API_KEY="")
    with terminal(user, user.folder(place / "project"), "confined-claude") as child:
        child.expect("Welcome to Claude Code")


def test_resizing_arrives(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "shell") as child:
        child.expect(r"\$ ")
        child.sendline("stty size")
        child.expect("40 100")
        child.setwinsize(33, 77)
        time.sleep(0.5)
        child.sendline("stty size")
        child.expect("33 77")


def test_keys_arrive_at_once(user: User, project: Path) -> None:
    """Ctrl-C, Ctrl-Z and above all Ctrl-P, which the docker command holds back by default."""
    with terminal(user, project, "confined-claude", "shell", "--", "sh", "-c", "stty raw -echo; echo ready; od -An -c -w1 -v") as child:
        child.expect("ready")
        for key, shown in (("\x03", "003"), ("\x1a", "032"), ("\x10", "020"), ("\x11", "021"), ("é", "303")):
            child.send(key)
            child.expect(shown, timeout=10)


def test_ctrl_c_interrupts_claude_and_not_the_session(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude") as child:
        first_screen(child)
        child.send("SLEEP: 60")
        child.send("\r")
        time.sleep(2)
        child.send("\x03")
        child.expect("(?i)interrupted", timeout=20)
        assert sessions_of(project)


def test_unicode_and_colours_pass(user: User, project: Path) -> None:
    script = r"printf 'grüße 漢字 🎉 \033[38;2;1;2;3mX\033[0m\n'"
    with terminal(user, project, "confined-claude", "shell", "--", "sh", "-c", script) as child:
        child.expect_exact("grüße 漢字 🎉 \x1b[38;2;1;2;3mX\x1b[0m")


def test_inv_has_the_terminal_too(user: User, template: Path, place: Path) -> None:
    made = place / "made"
    assert user.run("copier", "copy", "--defaults", str(template), str(made), cwd=place).returncode == 0
    with terminal(user, made, "inv", "run") as child:
        first_screen(child)
        child.send("/exit\r")
        child.expect(pexpect.EOF)


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_the_tool_leaves_no_container(user: User, project: Path, ending: signal.Signals) -> None:
    with terminal(user, project, "confined-claude", "shell") as child:
        child.expect(r"\$ ")
        assert sessions_of(project)
        child.kill(ending)
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 128 + ending
        assert sessions_of(project) == []


def test_a_closed_terminal_leaves_no_container_even_when_the_session_ignores_it(user: User, project: Path) -> None:
    stubborn = "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done"
    command, *arguments = user.command("confined-claude", "shell", "--", "sh", "-c", stubborn)
    child = pexpect.spawn(command, arguments, cwd=str(project), env=user.environ(), encoding="utf-8", timeout=60)
    child.expect("ready")
    os.close(child.fd)  # the window is gone, and nobody waits
    started = time.monotonic()
    wait_until(lambda: not sessions_of(project), 15)
    wait_until(lambda: not child.isalive(), 10)
    assert time.monotonic() - started < 15


def test_what_answers_late_is_not_typed_into_the_users_shell(user: User, project: Path) -> None:
    """A session can make the terminal send text; what it did not read must not reach the shell."""
    with terminal(user, project, "sh", "-c", "stty -echo; confined-claude shell -- sh -c 'echo asking; sleep 2'; echo back; cat") as child:
        child.expect("asking")
        child.send("rm -rf precious\r")
        child.expect("back")
        child.send("typed afterwards\r")
        child.expect("typed afterwards")
        assert "precious" not in child.before
