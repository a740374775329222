"""What a session does to the terminal does not conceal what is printed after it."""

from __future__ import annotations

import os
import re
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


# pyte takes the character after the bracket for the end of the sequence.
SOFT_RESET = b"\x1b[!p"


def screen(text: bytes) -> pyte.Screen:
    shown = pyte.Screen(80, 10)
    pyte.ByteStream(shown).feed(text.replace(SOFT_RESET, b""))
    return shown


@pytest.mark.parametrize(
    "attack",
    [
        b"\x1b]0;title",
        b"\x1b[4",
        b"\x1b[?7l",
        b"\x1b%@\x1b(0",
        b"\x1b%@\x1b)0\x0e",
        b"\x1b[1;2r\x1b[10;1H",
        b"\x1b[7;9r\x1b[?6h",
        b"\x1b[4h" + b"x" * 40 + b"\x1b[40D",
        b"\x1b[3;1Hx\x1b[1;1H" + b"y" * 60 + b"\x1b[1;1H",
    ],
    ids=[
        "unfinished title",
        "unfinished sequence",
        "no wrapping",
        "line drawing",
        "line drawing by a shift",
        "margins",
        "origin",
        "insert mode",
        "text after the cursor",
    ],
)
def test_what_is_printed_after_a_session_can_be_read(attack: bytes) -> None:
    after, bare = screen(printed(attack, RESTORED)), screen(printed(attack, BARE))
    lines = [line.rstrip() for line in after.display]
    assert REPORT in lines
    assert "     twice" in lines  # the end of the same line
    assert after.display != bare.display  # the control


# What sets a mode, or hides text, and what undoes it: xterm's ctlseqs, the keyboard protocol of kitty, ghostty's modes.
UNDONE = [
    (b"\x1bPstring", b"\x1b\\"),
    (b"\x1b[8m", b"\x1b[0m"),
    (b"\x1b[?2l", b"\x1b<"),
    (b"\x1b[5i", b"\x1b[4i"),
    (b"\x1b[?5i", b"\x1b[?4i"),
    (b"\x1b[>31u", b"\x1b[<99u"),
    (b"\x1b[=31u", b"\x1b[=0u"),
    (b"\x1b[>4;2m", b"\x1b[>4m"),
    (b"\x1b[>1;2m", b"\x1b[>m"),
    (b"\x1b=", b"\x1b>"),
    (b"\x1b[5;9s", b"\x1b[?69l"),
    (b"\x1b[2;5r", b"\x1b[r"),
    (b"\x1b[3g", b"\x1b[?5W"),
    (b"\x1b[4 q", b"\x1b[0 q"),
    (b"\x1b G", b"\x1b F"),
    (b"\x1b*0", b"\x1b*B"),
    (b"\x1b+0", b"\x1b+B"),
    (b"\x1b)0\x0e", b"\x1b)B\x0f"),
    (b"\x1b#3", b"\x1b#5"),
    (b"\x1b_Ga=T,z=1;\x1b\\", b"\x1b_Ga=d\x1b\\"),
    (b"\x1b]8;;http://x\x1b\\", b"\x1b]8;;\x1b\\"),
    (b"\x1b]P7000000", b"\x1b]R\x1b\\"),
    (b"\x1b]4;7;#000\x1b\\", b"\x1b]104\x1b\\"),
    (b"\x1b]10;#000\x1b\\", b"\x1b]110\x1b\\"),
    (b"\x1b]11;#fff\x1b\\", b"\x1b]111\x1b\\"),
    (b"\x1b]12;#000\x1b\\", b"\x1b]112\x1b\\"),
    *((b"\x1b[%dh" % mode, b"\x1b[%dl" % mode) for mode in (2, 3, 4, 20)),
    (b"\x1b[12l", b"\x1b[12h"),
    *((b"\x1b[?%dl" % mode, b"\x1b[?%dh" % mode) for mode in (7, 8, 25)),
    *(
        (b"\x1b[?%dh" % mode, b"\x1b[?%dl" % mode)
        for mode in (
            *(1, 4, 5, 6, 9, 38, 42, 44, 45, 47, 66, 69, 80, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016),
            *(1045, 1047, 1049, 1050, 1051, 1052, 1053, 1060, 1061),
            *(2001, 2002, 2003, 2004, 2005, 2006, 2026, 2031, 2033, 2048, 5522, 7727, 7786, 9001),
        )
    ),
]


@pytest.fixture(scope="module")
def ends() -> dict[str, bytes]:
    """What is printed after a session, up to the report: with the terminal restored, and without."""
    return {body: printed(b"attack", body).partition(b"attack")[2].partition(REPORT.encode())[0]
            for body in (RESTORED, BARE)}  # fmt: skip


@pytest.mark.parametrize(("attack", "undone"), UNDONE, ids=lambda text: ascii(text)[2:-1])
def test_a_mode_of_the_terminal_ends_before_the_report(ends: dict[str, bytes], attack: bytes, undone: bytes) -> None:
    assert undone in ends[RESTORED]
    assert attack not in ends[RESTORED].partition(undone)[2]
    assert undone not in ends[BARE]  # the control


def test_nothing_that_ends_is_begun_again_at_the_end(ends: dict[str, bytes]) -> None:
    """The last word on each mode is the one that undoes it: the alternate screen is entered, and left."""
    modes = dict(re.findall(rb"\x1b\[(\??\d+)([hl])", ends[RESTORED]))
    assert {mode for mode, end in modes.items() if end == b"h"} == {b"?7", b"?8", b"?25", b"12"}
    assert ends[RESTORED].rindex(b"\x1b[?1049l") < ends[RESTORED].rindex(SOFT_RESET)  # which forgets the cursor


def test_the_cursor_of_an_alternate_screen_is_not_the_one_that_counts() -> None:
    """The screen that was there before is shown again, with the cursor where it was."""
    lines = b"one\r\ntwo\r\n"
    after = alternating(printed(lines + b"\x1b[?1049h\x1b[2J\x1b[9;9Hfull screen", RESTORED))
    assert [line.rstrip() for line in after.display][:4] == ["before", "one", "two", ""]
    assert REPORT in [line.rstrip() for line in after.display]


def alternating(text: bytes) -> pyte.Screen:
    """The screen after ``text``, of a terminal with an alternate one, which pyte has not: by its two screens."""
    main, other = pyte.Screen(80, 10), pyte.Screen(80, 10)
    current = main
    for part in re.split(rb"(\x1b\[\?1049[hl])", text.replace(SOFT_RESET, b"")):
        if part.startswith(b"\x1b[?1049"):
            if part.endswith(b"h") and current is main:
                main.save_cursor()
                other.reset()
                current = other
            elif part.endswith(b"l"):
                current = main
                saved = main.savepoints[-1:]
                main.restore_cursor()
                main.savepoints += saved  # which it keeps
        else:
            pyte.ByteStream(current).feed(part)
    return current


def test_an_ordinary_session_leaves_the_cursor_where_it_is() -> None:
    assert screen(printed(b"", RESTORED)).display == screen(printed(b"", BARE)).display


def test_nothing_is_printed_on_what_is_no_terminal() -> None:
    script = SCRIPT.format(attack="", body=RESTORED, report=REPORT)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_dumb_terminal_gets_no_control_sequences() -> None:
    assert b"\x1b" not in printed(b"", RESTORED, "dumb")
