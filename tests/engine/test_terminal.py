"""In a real terminal: the first screen, resizing, keys, and what is left when it closes."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import ALONE, User, docker, sessions_of, up, wait_until
from terminals import COLUMNS, PROMPT, QUESTIONS, ROWS, terminal

from confined_claude.signals import RESET


@pytest.mark.parametrize("how", ["copied sign-in", "API key", "yolo"])
def test_the_first_screen_is_the_prompt(make_user: Callable[..., User], place: Path, how: str) -> None:
    user = make_user(**({"ANTHROPIC_API_KEY": ""} if how == "copied sign-in" else {}))
    if how == "copied sign-in":
        user.sign_in()
    project = user.folder(place / "project")
    with terminal(user, project, "confined-claude", "run", *(["--yolo"] if how == "yolo" else [])) as opened:
        opened.wait_for(PROMPT)
        screen = opened.wait_for("There is no git repository here.")
        if how == "yolo":
            screen = opened.wait_for("bypass permissions on")
        assert not [question for question in QUESTIONS if question in screen]
        assert str(project) in screen
        assert "▎ confined-claude: There is no git repository here." in screen
        assert ("bypass permissions on" in screen) is (how == "yolo")
        opened.send("hello from the keyboard")
        opened.wait_for("hello from the keyboard")
        opened.send("\r")
        opened.wait_for("FAKE ANSWER: hello from the keyboard")
        opened.send("/exit")
        opened.wait_for("/exit")
        opened.send("\r")
        assert opened.wait_for_end() == 0
    # What was said before Claude took the screen is said again, and below Claude's own line how to continue.
    before, closing = opened.everything.split("confined-claude: This session has ended.")
    assert "There is no git repository here." in closing
    options, session = re.findall(r"claude (\S* ?)--resume ([0-9a-f-]{36})", before)[-1]
    assert f" confined-claude {'--yolo ' if options else ''}--resume {session}\r\n" in closing
    assert sessions_of(project) == []
    with terminal(user, project, "confined-claude", "--resume", session) as opened:
        opened.wait_for("FAKE ANSWER: hello from the keyboard")


def test_control_without_a_sign_in_the_first_screen_is_not_the_prompt(
    make_user: Callable[..., User], place: Path
) -> None:
    user = make_user(ANTHROPIC_API_KEY="")
    with terminal(user, user.folder(place / "project"), "confined-claude") as opened:
        assert PROMPT not in opened.wait_for("Welcome to Claude Code")


def test_resizing_arrives(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "shell") as opened:
        opened.wait_for("claude@")
        opened.send("stty size\r")
        opened.wait_for(f"{ROWS} {COLUMNS}")
        opened.child.setwinsize(33, 77)
        opened.send("until stty size | grep 77; do sleep .1; done\r")
        opened.wait_for("\n33 77")


def test_a_link_is_shown_where_a_browser_would_open(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "shell") as opened:
        opened.wait_for("claude@")
        opened.send("$BROWSER 'https://example.invalid/?a=1&b='$(printf '\\033')c; echo code $?\r")
        opened.wait_for("code 0\n")
        link = "https://example.invalid/?a=1&b=c"
        assert f"\x1b]8;;{link}\x1b\\{link}\x1b]8;;\x1b\\" in opened.everything
        opened.send("$BROWSER https://example.invalid 2>&1 | cat; $BROWSER file:///etc/passwd; echo code $?\r")
        assert "Open this link in your browser: https://example.invalid" in opened.wait_for("code 2")


def test_keys_arrive_at_once(user: User, project: Path) -> None:
    """Each byte below a space, above all Ctrl-P, which the docker command holds back by default."""
    script = "import os, tty; tty.setraw(0); print('ready', end='\\r\\n', flush=True)\n"
    script += "while key := os.read(0, 1): print(f'<{key[0]}>', end=' ', flush=True)"
    with terminal(user, project, "confined-claude", "shell", "--", "python3", "-c", script) as opened:
        opened.wait_for("ready")
        for byte in range(1, 32):
            opened.send(chr(byte))
            opened.wait_for(f"<{byte}>")
        opened.send("\x00é")
        opened.wait_for("<0> <195> <169>")


def test_ctrl_c_interrupts_claude_and_not_the_session(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude") as opened:
        opened.wait_for(PROMPT)
        opened.send("SLEEP: 60")
        opened.wait_for("SLEEP: 60")
        opened.send("\r")
        opened.wait_for("esc to interrupt")
        opened.send("\x03")
        opened.wait_for("esc to interrupt", gone=True)
        assert sessions_of(project)
        opened.wait_for(PROMPT)


def test_ctrl_z_goes_on_at_once_as_no_shell_could_bring_the_session_back(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude") as opened:
        opened.wait_for(PROMPT)
        for word in ("once", "twice"):
            before = opened.everything.count("is suspended")
            opened.send("\x1a")
            wait_until(lambda before=before: opened.read() and opened.everything.count("is suspended") > before)
            # Drawn anew: until then the screen has the prompt from before.
            wait_until(lambda: opened.read() and PROMPT in opened.everything.rpartition("is suspended")[2])
            opened.send(word)
            opened.wait_for(word)


def test_a_command_that_stops_goes_on_in_the_foreground(user: User, project: Path) -> None:
    """By the terminal's Ctrl-Z, by itself, and as it reads without being in the foreground; its exit code stays."""
    with terminal(user, project, "confined-claude", "shell", "--", "sh", "-c", "echo ready; sleep 600") as opened:
        opened.wait_for("ready")
        opened.send("\x1a")
        time.sleep(1)
        opened.send("\x03")
        assert opened.wait_for_end() == 130
    lost = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
    lost += "os.tcsetpgrp(0, os.getppid()); print('got', input('ask'), flush=True); os._exit(7)"
    with terminal(user, project, "confined-claude", "shell", "--", "python3", "-c", lost) as opened:
        opened.wait_for("ask")
        opened.send("words\r")
        opened.wait_for("got words")
        assert opened.wait_for_end() == 7


def test_a_shell_has_its_jobs(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "shell") as opened:
        opened.wait_for("claude@")
        opened.send("sh -c 'echo go; exec sleep 600'\r")
        opened.wait_for("\ngo")
        opened.send("\x1a")
        opened.wait_for("Stopped")
        opened.send("fg\r")
        opened.wait_for("fg\nsh -c")
        # From then on the key is the command's; before, it would be the shell's.
        wait_until(lambda: re.search(r"\+\S* +sleep 600", docker("top", up(project)[0], "-eo", "pid,stat,args")))
        opened.send("\x03")
        opened.send("echo code $?; exit 6\r")
        opened.wait_for("code 130")
        assert opened.wait_for_end() == 6


# On a busy machine modules are still being imported: the tool dies of the key, which shells call 130, too.
INTERRUPTED = (130, -signal.SIGINT)


# It takes some 0.3 s until the key is the container's, and as long again until the command has it.
@ALONE
@pytest.mark.parametrize("first", [0.2, 0.23, 0.26, 0.29])
def test_ctrl_c_ends_a_session_that_starts_at_once_and_without_a_word(
    place: Path, make_user: Callable[..., User], first: float
) -> None:
    user = make_user(CONFINED_CLAUDE_NETWORK="internet")
    project = user.folder(place / "project")
    user.run("git", "init", "--quiet", cwd=project)  # without a repository there would be a remark
    lost: list[float] = []
    for moment in (first + 0.12 * step for step in range(7)):
        with terminal(user, project, "confined-claude", "shell", "--", "sleep", "600") as opened:
            until = time.monotonic() + moment
            while (left := until - time.monotonic()) > 0:
                opened.read(left)
            opened.send("\x03")
            # For a millisecond, while the container's first process starts, nobody takes it: people press it again.
            try:
                assert opened.wait_for_end(60) in INTERRUPTED, (moment, opened.everything)
            except AssertionError:
                assert not lost, (moment, opened.everything)
                lost.append(moment)
                opened.send("\x03")
                assert opened.wait_for_end() in INTERRUPTED, (moment, opened.everything)
                continue
            printed = opened.everything.replace(RESET.decode(), "")
            said = [line for line in printed.splitlines() if "You are root" not in line]
            assert "".join(said).strip() in ("", "^C"), moment
            assert sessions_of(project) == []


def test_why_the_engine_cannot_start_a_session_is_reported_in_a_terminal(
    make_user: Callable[..., User], place: Path
) -> None:
    user = make_user(CONFINED_CLAUDE_NETWORK="docker:there-is-no-such-network")
    with terminal(user, user.folder(place / "project"), "confined-claude", "shell", "--", "true") as opened:
        assert opened.wait_for_end() == 3
        said = " ".join(opened.everything.split())
        assert "could not start" in said
        assert "there-is-no-such-network not found" in said


def test_unicode_and_colours_pass(user: User, project: Path) -> None:
    script = r"printf 'grüße 漢字 🎉 \033[38;2;1;2;3mX\033[0m\n'"
    with terminal(user, project, "confined-claude", "shell", "--", "sh", "-c", script) as opened:
        assert opened.wait_for_end() == 0
        assert "grüße 漢字 🎉 \x1b[38;2;1;2;3mX\x1b[0m" in opened.everything


@pytest.mark.root
@pytest.mark.parametrize("uid", [0, 12345])
def test_root_and_only_root_learns_what_it_is_inside(make_user: Callable[..., User], place: Path, uid: int) -> None:
    user = make_user(uid, uid)
    with terminal(user, user.folder(place / "project"), "confined-claude", "shell", "--", "id", "-u") as opened:
        assert opened.wait_for_end() == 0
        assert ("You are root" in opened.everything) is (uid == 0)


def test_inv_has_the_terminal_too(user: User, template: Path, place: Path) -> None:
    made = place / "made"
    assert user.run("copier", "copy", "--defaults", str(template), str(made), cwd=place).returncode == 0
    with terminal(user, made, "inv", "run") as opened:
        opened.wait_for(PROMPT)
        opened.type("/exit")
        assert opened.wait_for_end() == 0


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_the_tool_leaves_no_container(user: User, project: Path, ending: signal.Signals) -> None:
    with terminal(user, project, "confined-claude") as opened:
        opened.wait_for(PROMPT)
        assert sessions_of(project)
        opened.child.kill(ending)
        assert opened.wait_for_end() == 128 + ending
        assert sessions_of(project) == []


def test_a_closed_terminal_leaves_no_container_even_when_the_session_ignores_it(user: User, project: Path) -> None:
    stubborn = "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done"
    with terminal(user, project, "confined-claude", "shell", "--", "sh", "-c", stubborn) as opened:
        opened.wait_for("ready")
        os.close(opened.child.child_fd)  # the window is gone
        wait_until(lambda: not sessions_of(project))
        wait_until(lambda: not opened.child.isalive())


def test_what_is_left_in_the_terminal_is_not_run_by_the_users_shell(user: User, project: Path) -> None:
    """A session can make the terminal send text: what it did not read must not reach the shell."""
    user_shell = (
        "stty -echo; confined-claude shell -- sh -c 'echo asking; until [ -e go ]; do sleep .1; done';"
        " echo back; read line; echo got $line"
    )
    with terminal(user, project, "sh", "-c", user_shell) as opened:
        opened.wait_for("asking")
        opened.send("rm -rf precious\r")
        (project / "go").touch()
        opened.wait_for("back")
        opened.send("typed afterwards\r")
        assert "got typed afterwards" in opened.wait_for("got")
