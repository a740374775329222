"""What the unit tests share: a made-up host, a plain user, a full disk, and no engine within reach."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import resource
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from confined_claude.host import Host
from confined_claude.system import APP

Result = TypeVar("Result")

PLAIN_ID = 12345
ENGINE_PORTS = (2375, 2376)
ENGINE_SOCKETS = ("docker", "podman", "containerd")

# By default its tables are kept in a folder that pytest stumbles over.
set_hypothesis_home_dir(Path(__file__).parent / "__pycache__/hypothesis")
settings.register_profile(
    "unit",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """What is there by now stays: a collection of garbage, of which there are many, need not look through it."""
    gc.freeze()


class EngineReached(BaseException):
    """Not an Exception, so that nothing in the package takes it for an engine's failure."""


class Guard:
    """Sees every connection and every process of this interpreter; stops those that lead to an engine."""

    def __init__(self) -> None:
        self.active = False
        self.reached: list[str] = []

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and (what := reaches_engine(event, arguments)):
            self.reached.append(what)
            raise EngineReached(what)


def reaches_engine(event: str, arguments: tuple[Any, ...]) -> str:
    """What of an engine an audit event reaches for; empty if nothing."""
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple):
            return f"{address[0]}:{address[1]}" if address[1] in ENGINE_PORTS else ""
        path = os.fsdecode(address)
        return path if any(name in Path(path).name for name in ENGINE_SOCKETS) else ""
    if event == "os.system":
        words = os.fsdecode(arguments[0]).split()
    elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        program, listed = arguments[0], [os.fsdecode(word) for word in arguments[1]]
        words = [os.fsdecode(program) if program else "", *listed[:1]]
        if "-c" in listed:
            words += [word for script in listed[1:] for word in script.split()]
    else:
        return ""
    return " ".join(words) if any(Path(word).name == "docker" for word in words) else ""


_guard = Guard()
sys.addaudithook(_guard.watch)


@pytest.fixture(autouse=True)
def no_engine() -> Iterator[None]:
    """Fails the test that reaches for an engine, also when the package hides the failure."""
    _guard.reached.clear()
    _guard.active = True
    yield
    _guard.active = False
    if _guard.reached:
        pytest.fail(f"reached for a Docker engine: {', '.join(_guard.reached)}")


@pytest.fixture(autouse=True)
def nothing_of_this_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty HOME and no variables but PATH, for this process and those it starts."""
    # Most tests have no folder; making and removing one takes longer than they do.
    wants_folder = "tmp_path" in request.fixturenames
    tmp_path = request.getfixturevalue("tmp_path") if wants_folder else Path("/nonexistent/confined-claude-unit")
    # No test cuts off the power.
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    for name in list(os.environ):
        if name not in ("PATH", "TMPDIR") and not name.startswith("PYTEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


def host_below(folder: Path, uid: int = 1000, gid: int = 1000) -> Host:
    """A host with an empty environment whose HOME is in ``folder``."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return Host(
        uid=uid,
        gid=gid,
        home=home,
        environ={},
        data=home / ".local/share" / APP,
        state=home / ".local/state" / APP,
        config=home / ".config" / APP,
    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_below(tmp_path)


@pytest.fixture
def plain_folder() -> Iterator[Path]:
    """A folder of the user that ``as_plain_user`` acts as."""
    folder = Path(tempfile.mkdtemp(prefix="confined-claude-unit-")).resolve()
    if os.geteuid() == 0:
        os.chown(folder, PLAIN_ID, PLAIN_ID)
    yield folder
    for place, folders, _ in os.walk(folder):
        for name in folders:
            if not (path := Path(place, name)).is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)


def as_plain_user(work: Callable[[], Result]) -> Result:
    """What ``work`` gives or raises in a process without root's powers."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(PLAIN_ID, PLAIN_ID, PLAIN_ID)
                os.setresuid(PLAIN_ID, PLAIN_ID, PLAIN_ID)
            try:
                answer: tuple[bool, Any] = (True, work())
            except BaseException as error:
                answer = (False, error)
            with open(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    succeeded, result = pickle.loads(content)
    if not succeeded:
        raise result
    return result  # type: ignore[no-any-return]


@contextlib.contextmanager
def full_disk(after: int = 0) -> Iterator[None]:
    """No file of this process can grow beyond ``after`` bytes, root's included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def nothing_stays_open() -> Iterator[None]:
    """Fails the test if a file descriptor that is opened in the block is open after it."""
    gc.collect()  # what others have left is not closed meanwhile
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def tree(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below ``folder``: mode, inode, time of the last change and content, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found
