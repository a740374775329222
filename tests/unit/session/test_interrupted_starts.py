"""A start that ends at any moment, by a signal or with its terminal, leaves nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import confined_claude
from confined_claude.egress import sidecar
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session.start import start
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..fake_engine import FakeEngine, docker
from ..waiting import until

__all__ = ["docker"]
MOMENTS = 20
PACKAGE = Path(confined_claude.__file__).parent
WATCHED = tuple(str(PACKAGE / name) for name in ("session/", "egress/sidecar.py", "engine/", "signals.py"))


class Moments:
    """Counts the lines that run, and calls ``interrupt`` before the one with the number ``chosen``."""

    def __init__(self, chosen: int, interrupt: Callable[[], None]) -> None:
        self.count = 0
        self._chosen = chosen
        self._interrupt = interrupt

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        if event == "line":
            self.count += 1
            if self.count == self._chosen:
                sys.settrace(None)
                self._interrupt()
        return self.trace


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def open_terminal() -> Callable[[], None]:
    """Get a terminal of this process's own; return what closes it."""
    os.setsid()
    window, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(terminal, fd)
    os.close(terminal)
    sys.stdin, sys.stderr = os.fdopen(0), os.fdopen(2, "w")
    return lambda: os.close(window)


def interrupted(workspace: Workspace, how: str, moment: int) -> tuple[int, int]:
    """Start a session in a process of its own; return its exit code, and how many lines have run."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            moments = Moments(moment, open_terminal() if how == "terminal" else hang_up)
            sys.settrace(moments.trace)
            try:
                code = start(workspace, ["claude"], needs_sign_in=False)
            except SystemExit as end:
                code = int(str(end.code))
            finally:
                sys.settrace(None)
                os.write(writing, str(moments.count).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading) as pipe:
        count = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(count or 0)


def is_running(pid: Path) -> bool:
    try:
        os.kill(int(pid.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


@pytest.mark.parametrize("how", ["signal", "terminal"])
def test_a_start_that_ends_at_any_moment_leaves_nothing(
    how: str, host: Host, tmp_path: Path, docker: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of the package are the moments: every so many of them, from one end to the other."""
    monkeypatch.setattr(sidecar, "TOGETHER_SECONDS", 0.05)
    container, pid = docker.directory / "container", docker.directory / "pid"
    docker.does("""touch container; echo '{"Id": "identity"}'""", "create")
    docker.does("rm -f container", "command")  # what has ended by itself, the engine removes
    docker.does("""[ ! -e container ] && echo '[]' || echo '[{"Id": "identity"}]'""", "ps")
    project = Project(tmp_path / "app")
    project.scaffold.mkdir(parents=True)
    host = host._replace(uid=os.getuid(), gid=os.getgid(), environ={"DOCKER_HOST": "tcp://localhost:1"})
    workspace = Workspace(host, project, Settings(network="internet"))
    code, lines = interrupted(workspace, how, -1)
    assert (code, lines > 200) == (0, True)
    ends = set()
    for moment in range(1, lines, lines // MOMENTS):
        code, _ = interrupted(workspace, how, moment)
        ends.add(code)
        assert not container.exists(), moment
        with contextlib.suppress(FileNotFoundError):
            until(lambda: not is_running(pid))
        assert list(host.state.rglob("*.session")) == [], moment
    assert ends <= {-signal.SIGHUP, 128 + signal.SIGHUP, 0}
    assert 128 + signal.SIGHUP in ends
