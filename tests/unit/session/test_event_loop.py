"""The loop in which the tool waits with a session: children, signals, file descriptors, timers."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from confined_claude import signals
from confined_claude.session import event_loop
from confined_claude.session.event_loop import EventLoop
from confined_claude.signals import Signals

from ..conftest import nothing_stays_open
from ..waiting import SECONDS


@pytest.fixture
def caught() -> Iterator[Signals]:
    with signals.handled() as found:
        yield found


@pytest.fixture
def loop(caught: Signals) -> Iterator[EventLoop]:
    with EventLoop(caught) as made:
        yield made


class Result:
    """An exit code that is there after some seconds."""

    def __init__(self, loop: EventLoop, seconds: float, code: int = 0) -> None:
        self._code: int | None = None
        loop.after(seconds, lambda: setattr(self, "_code", code))

    def __call__(self) -> int | None:
        return self._code


def never() -> None:
    return None


def ignored() -> bool:
    return False


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def code_of(error: pytest.ExceptionInfo[SystemExit]) -> object:
    return error.value.code


@pytest.mark.parametrize(("seconds", "code"), [(0, 0), (0, 7), (0.1, 137)])
def test_the_exit_code_is_waited_for(seconds: float, code: int, loop: EventLoop) -> None:
    assert loop.wait_for(Result(loop, seconds, code), ignored) == code


def test_a_signal_that_ends_nothing_has_its_call(loop: EventLoop) -> None:
    found: list[int] = []
    loop.at_signal(signal.SIGWINCH, lambda: found.append(1))
    loop.after(0.01, lambda: send(signal.SIGWINCH))
    assert loop.wait_for(lambda: 0 if found else None, ignored) == 0
    assert found == [1]


def test_signals_that_come_at_once_have_one_call(loop: EventLoop) -> None:
    calls: list[int] = []
    loop.at_signal(signal.SIGWINCH, lambda: calls.append(1))
    for _ in range(100):
        send(signal.SIGWINCH)
    assert loop.wait_for(Result(loop, 0.2), ignored) == 0
    assert calls == [1]


def test_what_can_be_read_is_and_so_is_its_end(loop: EventLoop) -> None:
    reading, writing = os.pipe()
    found: list[bytes] = []

    def read() -> None:
        found.append(os.read(reading, 100))
        if not found[-1]:
            loop.forget(reading)

    loop.when_readable(reading, read)
    loop.after(0.01, lambda: os.write(writing, b"text") and None)
    loop.after(0.03, lambda: os.close(writing))
    loop.wait_for(lambda: 0 if found[-1:] == [b""] else None, ignored)
    assert found == [b"text", b""]
    os.close(reading)


def test_timers_run_in_time_once_or_again_and_again(loop: EventLoop) -> None:
    once, again = [], []
    began = time.monotonic()
    loop.after(0.05, lambda: once.append(time.monotonic() - began))
    loop.every(0.01, lambda: again.append(0))
    loop.wait_for(lambda: 0 if once and len(again) > 3 else None, ignored)
    loop.wait_for(Result(loop, 0.1), ignored)
    assert len(once) == 1
    assert 0.05 <= once[0] < SECONDS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_ends_the_wait_and_is_the_exit_code(
    number: signal.Signals, caught: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_loop, "SETTLING_SECONDS", SECONDS)
    with pytest.raises(SystemExit) as error, EventLoop(caught) as loop:
        loop.after(0.01, lambda: send(number))
        loop.wait_for(never, lambda: True)  # what has only just started cannot take a Ctrl-C
    assert code_of(error) == 128 + number


def test_the_way_out_is_not_disturbed_by_a_second_signal(caught: Signals) -> None:
    with pytest.raises(SystemExit) as error, EventLoop(caught) as loop:
        loop.after(0.01, lambda: send(signal.SIGHUP))
        try:
            loop.wait_for(never, ignored)
        finally:
            send(signal.SIGHUP)
            send(signal.SIGTERM)
    send(signal.SIGINT)
    assert code_of(error) == 128 + signal.SIGHUP


def test_a_ctrl_c_is_the_sessions_where_that_takes_it(caught: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "SETTLING_SECONDS", 0)
    answers = [True, True, False]
    with pytest.raises(SystemExit) as error, EventLoop(caught) as loop:
        loop.every(0.02, lambda: send(signal.SIGINT))
        loop.wait_for(never, lambda: answers.pop(0))
    assert code_of(error) == 130
    assert answers == []


@pytest.mark.parametrize("moment", ["before the loop", "before the wait", "after the wait"])
def test_no_signal_is_lost_between_the_steps(moment: str) -> None:
    with pytest.raises(SystemExit) as error, signals.handled() as caught:
        if moment == "before the loop":
            send(signal.SIGTERM)
        with EventLoop(caught) as loop:
            if moment == "before the wait":
                send(signal.SIGTERM)
            loop.wait_for(lambda: 0, ignored)
        if moment == "after the wait":
            send(signal.SIGTERM)
    assert code_of(error) == 143


def test_a_signal_waits_for_a_block_that_it_may_interrupt(caught: Signals) -> None:
    reached = []
    send(signal.SIGTERM)
    with pytest.raises(SystemExit) as error, signals.interruptible():
        reached.append("block")
    assert (code_of(error), reached) == (143, [])
    with signals.interruptible():
        send(signal.SIGTERM)  # the first one has ended this process


def test_a_signal_interrupts_a_block_at_once(caught: Signals) -> None:
    reached = []
    with pytest.raises(SystemExit) as error, signals.interruptible():
        send(signal.SIGHUP)
        reached.append("rest of the block")
    assert (code_of(error), reached) == (129, [])


def test_what_the_import_system_swallows_arrives_at_the_end_of_the_block(caught: Signals) -> None:
    with pytest.raises(SystemExit) as error, signals.interruptible(), contextlib.suppress(SystemExit):
        send(signal.SIGTERM)
    assert code_of(error) == 143


def test_a_held_signal_arrives_at_the_end_of_the_block(caught: Signals) -> None:
    reached = []
    with pytest.raises(SystemExit) as error, signals.interruptible():
        with signals.held():
            with signals.held() as check:
                send(signal.SIGTERM)
                check()
            reached.append("inner end")
        reached.append("outer end")
    assert (code_of(error), reached) == (143, ["inner end"])


@pytest.mark.parametrize("pause", [0, 0.2], ids=["at once", "after a pause"])
def test_a_ctrl_c_that_python_swallows_comes_again(pause: float) -> None:
    """As in a callback of the import system, which the collection of an object calls as well."""
    script = """if True:
        import os, signal, sys, time, weakref
        from confined_claude import signals

        def press(_reference):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)

        def pausing(*words):
            signal.setitimer = set_timer
            set_timer(*words)
            time.sleep(float(sys.argv[1]))

        set_timer, signal.setitimer = signal.setitimer, pausing
        signals.raise_at_ctrl_c()
        try:
            reference = weakref.ref(signals.Signals(), press)
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
    """
    command = [sys.executable, "-c", script, str(pause)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled() as caught, EventLoop(caught) as loop:
            send(signal.SIGHUP)
            assert loop.wait_for(lambda: 0, ignored) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_all_is_as_before_afterwards() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    with nothing_stays_open(), signals.handled() as caught, EventLoop(caught) as loop:
        loop.wait_for(lambda: 0, ignored)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_raw_terminal_gives_its_keys_signals_up_when_asked_and_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    window, terminal = pty.openpty()
    with os.fdopen(window), os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(terminal)

        def local_modes() -> int:
            return int(termios.tcgetattr(terminal)[3])

        with signals.raw_terminal(wanted=True) as pass_keys:
            assert not local_modes() & (termios.ICANON | termios.ECHO)
            assert local_modes() & termios.ISIG
            pass_keys(True)
            assert not local_modes() & (termios.ICANON | termios.ECHO | termios.ISIG)
            pass_keys(False)
            assert local_modes() & (termios.ICANON | termios.ECHO | termios.ISIG) == termios.ISIG
        assert termios.tcgetattr(terminal) == before
        with signals.raw_terminal(wanted=False) as pass_keys:
            pass_keys(True)
            assert termios.tcgetattr(terminal) == before


def test_a_terminal_that_is_closed_is_no_error_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in ("before", "begin", "end"):
        window, terminal = pty.openpty()
        with os.fdopen(terminal) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            if moment == "before":
                os.close(window)
            with signals.raw_terminal(wanted=True) as pass_keys:
                if moment == "begin":
                    os.close(window)
                pass_keys(True)
                if moment == "end":
                    os.close(window)
