"""Work in the background, and a wait for it that a signal ends."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from confined_claude import signals
from confined_claude.background import Background, Unfinished

SECONDS = 10


def test_work_goes_on_after_a_wait_that_a_signal_has_ended() -> None:
    going_on = threading.Event()
    work = Background(lambda: going_on.wait(SECONDS))
    with signals.handled(), pytest.raises(SystemExit), signals.interruptible():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        work.result(SECONDS)
    assert not work.is_done
    with pytest.raises(Unfinished):
        work.result(0)
    going_on.set()
    assert work.result(SECONDS)
    assert work.is_done
