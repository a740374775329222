"""A HOME of the benchmark's own, in which everything is measured; it goes at the end, with what was started in it."""

from __future__ import annotations

import compileall
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from confined_claude.host import Host
from confined_claude.image.recipe import image_chain
from confined_claude.settings import Settings
from confined_claude.system import APP

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# Root's sessions are others than a user's: with the default network they have a sidecar. So root measures as this user.
_USER = 12345
# What takes longer hangs.
_SECONDS = 300
SHIM = REPOSITORY / "template/tasks.py"
BARE_TASKS = "from invoke import task\n\n\n@task\ndef nothing(_context):\n    pass\n"


@dataclass(frozen=True)
class Place:
    """Someone's HOME with a project that has the scaffold's tasks, and a directory with a tasks file of nobody's."""

    home: Path
    uid: int = field(default_factory=lambda: os.geteuid() or _USER)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def project(self) -> Path:
        return self.home / f"bench-{self.mark}"

    @property
    def bare(self) -> Path:
        return self.home / "bare"

    @property
    def host(self) -> Host:
        """The host of someone with this HOME."""
        places = (self.home / ".local/share" / APP, self.home / ".local/state" / APP, self.home / ".config" / APP)
        return Host(self.uid, self.uid if _is_root() else os.getgid(), self.home, {}, *places)

    @property
    def image(self) -> str:
        return image_chain(Settings(), {}, "").name

    def give(self) -> None:
        """Make everything in HOME the user's."""
        if _is_root():
            subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", str(self.home)], check=True)

    def environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": SYSTEM_PATH, **variables}

    def start(
        self,
        command: Sequence[str],
        cwd: Path | None = None,
        terminal: int | None = None,
        *,
        stdin: int = subprocess.DEVNULL,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.Popen[bytes]:
        """Start a command as the user, with pipes or at the ``terminal`` with this file descriptor."""
        other = self.uid if _is_root() else None
        return subprocess.Popen(
            command,
            env=self.environ(variables),
            cwd=cwd or self.project,
            user=other,
            group=other,
            extra_groups=[_engine_group()] if _is_root() else None,
            stdin=stdin if terminal is None else terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.PIPE if terminal is None else terminal,
            start_new_session=terminal is not None,
        )

    def run(self, command: Sequence[str], cwd: Path | None = None) -> bytes:
        """Run a command to its end and return what it prints. Raises RuntimeError with its errors if it fails."""
        return finish(self.start(command, cwd))

    def seconds(self, command: Sequence[str], cwd: Path | None = None) -> float:
        """Return how long a command takes, from its start to its end."""
        began = time.perf_counter()
        self.run(command, cwd)
        return time.perf_counter() - began


def finish(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for the end of a process with pipes, and return what it prints.

    Raises RuntimeError with its errors if it fails, or takes longer than ``_SECONDS``.
    """
    try:
        printed, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=60)
        raise RuntimeError(f"{_words(process)} has not ended after {_SECONDS} s") from None
    if process.returncode:
        said = " ".join(errors.decode(errors="replace")[-500:].split())
        raise RuntimeError(f"{_words(process)} ended with {process.returncode}: {said}")
    return printed


def _words(process: subprocess.Popen[bytes]) -> str:
    return textwrap.shorten(shlex.join(map(str, process.args)), 200)  # type: ignore[arg-type]


def compile_package(package: Path) -> None:
    """Compile the modules of a package, as pip does when it installs one.

    The user of the benchmark may not write there, and Python would compile what has changed at every start. Raises
    RuntimeError.
    """
    if not compileall.compile_dir(package, quiet=1, force=True):
        raise RuntimeError(f"the modules in {package} cannot be compiled")


@contextlib.contextmanager
def made() -> Iterator[Place]:
    """Make the place, and the image if that is missing, for the block."""
    home = Path(tempfile.mkdtemp(prefix="confined-claude-bench-")).resolve()
    place = Place(home)
    try:
        for directory, tasks in ((place.project, SHIM.read_text()), (place.bare, BARE_TASKS)):
            directory.mkdir()
            (directory / "tasks.py").write_text(tasks)
        place.give()
        compile_package(REPOSITORY / "confined_claude")
        place.run(own("build"))
        yield place
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _is_root() -> bool:
    return os.geteuid() == 0


def _engine_group() -> int:
    return Path("/var/run/docker.sock").stat().st_gid


def own(*words: str) -> list[str]:
    """Return a command line of this installation's ``confined-claude``."""
    return [str(BIN / "confined-claude"), *words]


def inv(*words: str) -> list[str]:
    """Return a command line of this installation's ``inv``."""
    return [str(BIN / "inv"), *words]
