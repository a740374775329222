"""A program of the tests' own in place of the docker command."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from confined_claude.engine import command

SECONDS = 10
# `run` is the sidecar and `start` the session's attached command: each does what the test has put into the file of its
# name, and so do the other verbs. `rm` ends the sidecar.
PROGRAM = """\
#!/bin/sh
cd "${0%/*}"
echo "$@" >>calls
case "$1 $*" in
    run*) echo $$ >pid; . ./run ;;
    rm*identity*) rm -f container ;;
    rm*) kill $(cat pid) 2>/dev/null ;;
    *) [ ! -e "$1" ] || . "./$1" ;;
esac
"""
LIVE = "echo ready; exec cat end"


class FakeDocker:
    """What replaces the docker command, with its files in ``directory``; ``started`` are the sidecars."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[bytes]] = []
        directory.mkdir()
        program = directory / "engine"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        os.mkfifo(directory / "end")
        # As long as this is open, a sidecar that reads from there lives.
        self.life = os.open(directory / "end", os.O_RDWR)
        self.does(LIVE)
        self.does("echo identity", "create")
        self.does("exit 0", "start")
        self.does("echo '{}'", "info")
        self.does("echo '{}'", "version")
        self.does(r"printf '1 create\n2 start\n3 oom\n'", "events")

    def does(self, script: str, verb: str = "run") -> None:
        (self.directory / verb).write_text(script)

    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text(errors="replace").splitlines()

    def end(self) -> None:
        """End the sidecar that waits for its session's end."""
        self.started[-1].terminate()
        self.started[-1].wait(SECONDS)

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(SECONDS)
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
        os.close(self.life)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    made = FakeDocker(tmp_path / "docker")
    monkeypatch.setattr(command, "program", lambda: str(made.directory / "engine"))
    run = command.run

    def run_sidecar(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        made.started.append(run(arguments))
        return made.started[-1]

    monkeypatch.setattr(command, "run", run_sidecar)
    yield made
    made.close()


def until(true: Callable[[], object]) -> None:
    """Wait for what comes soon, with nothing that would tell."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)
