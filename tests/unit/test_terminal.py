"""What a session does to the terminal does not conceal what is printed after it."""

from __future__ import annotations

import os
import subprocess
import sys

import pyte
import pytest

REPORT = "red     .envrc"
# A session, and what is printed after it: after the terminal is restored, and without that.
RESTORED = "with signals.terminal_restored():\n    session()\n"
BARE = "session()\n"
SCRIPT = """
import os, sys
from confined_claude import signals
def session():
    os.write(1, b'before\\n' + bytes.fromhex({attack!r}))
{body}
print("\\n" + {report!r} + " " * 71 + "twice", file=sys.stderr)
"""


def printed(attack: bytes, body: str, term: str = "xterm-256color") -> bytes:
    """What a process prints on a terminal of 80 columns, of which only the two outputs are one."""
    ours, theirs = os.openpty()
    script = SCRIPT.format(attack=attack.hex(), body=body, report=REPORT)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={"TERM": term, "PATH": os.defpath},
    ) as process:
        os.close(theirs)
        found = b""
        try:
            while chunk := os.read(ours, 65536):
                found += chunk
        except OSError:  # Linux's way to say that it is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return found


def screen(text: bytes) -> pyte.Screen:
    shown = pyte.Screen(80, 10)
    pyte.ByteStream(shown).feed(text)
    return shown


@pytest.mark.parametrize(
    "attack",
    [b"\x1b]0;title", b"\x1b[4", b"\x1b[?7l", b"\x1b%@\x1b(0", b"\x1b[1;2r\x1b[10;1H"],
    ids=["unfinished title", "unfinished sequence", "no wrapping", "line drawing", "margins"],
)
def test_what_is_printed_after_a_session_can_be_read(attack: bytes) -> None:
    after, bare = screen(printed(attack, RESTORED)), screen(printed(attack, BARE))
    lines = [line.rstrip() for line in after.display]
    assert REPORT in lines
    assert "     twice" in lines  # the end of the same line
    assert after.display != bare.display  # the control


@pytest.mark.parametrize(
    ("attack", "undone"),
    [
        (b"\x1bPstring", b"\x1b\\"),
        (b"\x1b[8m", b"\x1b[0m"),
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?25l", b"\x1b[?25h"),
        (b"\x1b[?2026h", b"\x1b[?2026l"),
        (b"\x1b[?2l", b"\x1b<"),
        (b"\x1b[5i", b"\x1b[4i"),
        *((b"\x1b[?%dh" % mode, b"\x1b[?%dl" % mode) for mode in (1000, 1002, 1003, 1004, 1006, 2004)),
    ],
)
def test_a_mode_of_the_terminal_ends_with_the_session(attack: bytes, undone: bytes) -> None:
    during, _, report = printed(attack, RESTORED).partition(attack)[2].partition(undone)
    assert REPORT.encode() not in during
    assert REPORT.encode() in report
    assert undone not in printed(attack, BARE)  # the control


def test_an_ordinary_session_leaves_the_cursor_where_it_is() -> None:
    assert screen(printed(b"", RESTORED)).display == screen(printed(b"", BARE)).display


def test_nothing_is_printed_on_what_is_no_terminal() -> None:
    script = SCRIPT.format(attack="", body=RESTORED, report=REPORT)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_dumb_terminal_gets_no_control_sequences() -> None:
    assert b"\x1b" not in printed(b"", RESTORED, "dumb")
