"""This process's signals and terminal while a container has them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_AGAIN_SECONDS = 0.001
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# What undoes all that a session can do to the terminal, without clearing it. Control sequences of xterm (ctlseqs),
# kitty (keyboard and graphics protocols), ghostty and the Linux console; terminals ignore those that they do not know,
# or print some of their letters. A full reset (RIS) would clear the screen, a soft one (DECSTR) does not cover much.
_OFF = (
    *(1, 4, 5, 6, 9, 38, 40, 42, 44, 45, 47, 66, 69, 80, 1045, 1047),  # cursor keys, reverse video, origin, margins, …
    *(1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016),  # mouse and focus
    *(1050, 1051, 1052, 1053, 1060, 1061),  # keyboards of other machines
    *(2001, 2002, 2003, 2004, 2005, 2006, 2026, 2031, 2033, 2048, 5522, 7727, 7786, 9001),  # paste, reports, Win32 keys
)
_PLAIN_KEYS = b"\x1b[<99u\x1b[=0u"  # kitty's; the main and the alternate screen have their own
_ASCII = b"\x1b(B\x1b)B\x0f"
RESET = b"".join(
    (
        b"\x18\x1b\\",  # end an unfinished sequence, or a string such as a title
        b"\x1b\x03\x1b<\x1b[4i\x1b[?4i",  # out of the Tektronix and VT52 modes, and back from the printer
        _ASCII,
        # Leaving the alternate screen moves the cursor, so it is saved before. Only there can its keys be set.
        b"\x1b7\x1b[?1049h" + _PLAIN_KEYS + b"\x1b[?1049l\x1b8",
        # Soft reset. It forgets where the cursor was when the alternate screen was entered, so it comes after that.
        b"\x1b[!p",
        # From here to where the cursor is restored, what some terminal might print does no harm: it comes first.
        b"\x1b7",
        _PLAIN_KEYS,
        b"\x1b%G\x1b F\x1b*B\x1b+B",  # UTF-8, control characters of 7 bits, character sets
        b"\x1b_Ga=d\x1b\\",  # images, which may cover text
        b"\x1b]8;;\x1b\\",  # a link
        b"\x1b]R\x1b\\",  # the Linux console's palette
        b"".join(b"\x1b]%d\x1b\\" % colour for colour in (104, 105, 110, 111, 112, 113, 114, 117, 119)),
        b"\x1b[>4m\x1b[>m\x1b[>f\x1b>",  # xterm's modifyOtherKeys and the like, the keypad
        b"\x1b[?7h\x1b[?8h\x1b[?25h\x1b[0 q\x1b[?5W",  # wrap, repeat of keys, cursor and its shape, tabs
        b"\x1b[2l\x1b[3l\x1b[4l\x1b[20l\x1b[12h",  # keyboard not locked, no codes shown, replace, newlines, no echo
        b"\x1b[?69l\x1b[r",  # margins
        b"".join(b"\x1b[?%dl" % mode for mode in _OFF),
        b"\x1b8",
        _ASCII,
        b"\x1b[0m\x1b#5",  # no attributes, a line of single width
        b"\x1b[J",  # what is after the cursor: lines of double width, what a killed program has drawn there
    )
)


class Signals:
    """The signals that end this process, from ``handled`` on: how they reach it.

    They wait in a queue, so that none comes between the steps of what must be done whole: a container and its id, the
    locks of the subprocess module. Where this process only waits or looks, in a block of ``interruptible``, one raises
    SystemExit at once. Only the first one ends this process: a closed window often hangs up twice, and the way out must
    not be disturbed.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._queue: deque[int] = deque()
        self._is_interruptible = False

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle the signal ``number``."""
        self._queue.append(number)
        if self._is_interruptible:
            self.check()

    def take(self) -> int | None:
        """Return the signal that has waited longest, which is the caller's to handle; None if there is none."""
        return self._queue.popleft() if self._queue else None

    def leave(self, number: int) -> None:
        """Raise SystemExit for the signal ``number``, unless another one has done so before."""
        if self._code is None:
            self._code = 128 + number
            raise SystemExit(self._code)

    def check(self) -> None:
        """Raise SystemExit for a signal that waits, unless another one has done so before."""
        while (number := self.take()) is not None:
            self.leave(number)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let signals raise SystemExit during the block, those that have waited at its begin."""
        self.check()
        is_leaving, was_interruptible = self._code is not None, self._is_interruptible
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = was_interruptible
        # What the handler raises in a callback of the import system is swallowed.
        if self._code is not None and not is_leaving:
            raise SystemExit(self._code)

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """Let signals wait during the block; they raise at its end, and when the function that it yields is called.

        Where they wait outside the block as well, neither raises.
        """
        was_interruptible = self._is_interruptible
        self._is_interruptible = False
        try:
            yield self.check if was_interruptible else lambda: None
        finally:
            self._is_interruptible = was_interruptible
        if was_interruptible:
            self.check()


_handling: list[Signals] = []  # one within the other, the innermost last


@contextlib.contextmanager
def handled() -> Iterator[Signals]:
    """Handle the signals that end this process, during the block. One that still waits at its end raises SystemExit.

    What is ignored stays ignored: by nohup, or in a background job.
    """
    signals = Signals()
    with contextlib.ExitStack() as stack:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.enter_context(handler(number, signals.receive))
        _handling.append(signals)
        stack.callback(_handling.remove, signals)
        yield signals
        signals.check()


def interruptible() -> contextlib.AbstractContextManager[object]:
    """Return the block of ``Signals.interruptible`` where ``handled`` is in force; elsewhere signals raise anyway."""
    return _handling[-1].interruptible() if _handling else contextlib.nullcontext()


def held() -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Return the block of ``Signals.held`` where ``handled`` is in force; elsewhere signals raise all the same."""
    return _handling[-1].held() if _handling else contextlib.nullcontext(lambda: None)


def raise_at_ctrl_c() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on, unless it is ignored.

    Python swallows an exception that comes in a callback of its own, as during an import, or in a finalizer: it comes
    again a moment later.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    report = sys.unraisablehook

    def come_again(swallowed: Any) -> None:
        if isinstance(swallowed.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            report(swallowed)

    def interrupt(number: int, frame: FrameType | None) -> None:
        within = frame
        while within is not None:
            if within.f_code is come_again.__code__:  # what is raised there is lost for good
                signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
                return
            within = within.f_back
        signal.default_int_handler(number, frame)

    for number in (signal.SIGINT, signal.SIGALRM):
        signal.signal(number, interrupt)
    sys.unraisablehook = come_again


@contextlib.contextmanager
def handler(number: int, call: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signal ``number`` by ``call`` during the block."""
    before = signal.signal(number, call)
    try:
        yield
    finally:
        signal.signal(number, before)


def is_interactive() -> bool:
    """Return whether a person sits at both ends of this process."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def terminal_restored() -> Iterator[None]:
    """Restore the terminal at the end: its modes, what it shows, and no input, which the user's shell would run."""
    state = None
    if sys.stdin.isatty():
        # A closed terminal has nothing to restore.
        with contextlib.suppress(termios.error):
            state = termios.tcgetattr(sys.stdin.fileno())
    try:
        yield
    finally:
        reset_screen()
        if state is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, state)


def reset_screen() -> None:
    """Make the terminal, if output goes to one, show what is printed next, whatever a session has printed last.

    The cursor stays where it is, and what is above it. A dumb terminal, as in Emacs, has no state.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty() and os.environ.get("TERM") != "dumb":
            with contextlib.suppress(OSError):  # a closed terminal
                os.write(stream.fileno(), RESET)
            return


@contextlib.contextmanager
def raw_terminal(*, wanted: bool) -> Iterator[Callable[[bool], None]]:
    """Take the terminal's input byte for byte during the block, if ``wanted``; signals still come from its keys.

    Yields a function that makes those a session's too, or takes them back. Standard input must be the terminal.
    """
    raw: list[Any] = []
    if wanted:
        fd = sys.stdin.fileno()
        with contextlib.suppress(termios.error):  # a closed terminal
            state = termios.tcgetattr(fd)
            tty.setraw(fd, termios.TCSANOW)
            raw = termios.tcgetattr(fd)
    if not raw:
        yield lambda _: None
        return
    starting = [*raw]
    starting[tty.LFLAG] |= termios.ISIG
    _set_modes(fd, starting)
    try:
        yield lambda passed: _set_modes(fd, raw if passed else starting)
    finally:
        _set_modes(fd, state)


def _set_modes(fd: int, modes: list[Any]) -> None:
    with contextlib.suppress(termios.error):  # a closed terminal
        termios.tcsetattr(fd, termios.TCSANOW, modes)
