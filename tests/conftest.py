"""What the tests share: the tool installed as a user does it, and a fake API on a network with no way out."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import API_KEY, REPOSITORY, SYSTEM_PATH, Api, User, own_name, running_api, wait_until

SHARED = "CONFINED_CLAUDE_TESTS"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that this process may not do, and count them so."""
    may = {"root": os.geteuid() == 0, "mount": _may_mount()}
    refused = [item for item in items if any(item.get_closest_marker(name) and not may[name] for name in may)]
    if refused:
        config.hook.pytest_deselected(items=refused)
        items[:] = [item for item in items if item not in refused]


def _may_mount() -> bool:
    """Return whether this process has CAP_SYS_ADMIN, as root has it outside of most containers."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return bool(effective >> 21 & 1)


def pytest_sessionstart() -> None:
    """However the tests are started, in the background maybe: what they start heeds signals as a shell's jobs do."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory that all processes of this run share, unless tests/run has: root's no more than the users'."""
    if hasattr(config, "workerinput"):
        return
    if SHARED not in os.environ:
        directory = tempfile.mkdtemp(prefix="confined-claude-tests-", dir="/tmp")
        config.add_cleanup(lambda: shutil.rmtree(directory))
        os.environ[SHARED] = str(Path(directory).resolve())  # for the other processes
    Path(os.environ[SHARED]).chmod(0o755)


def first_of_all(directory: Path, make: Callable[[], None]) -> None:
    """Call ``make``, which makes ``directory``, in the first process of this run that wants it; the others wait."""
    with open(f"{directory}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            try:
                make()
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise


@pytest.fixture(scope="session")
def ground() -> Path:
    """A directory every user may enter, the same in all processes of this run; pytest's own is root's alone."""
    return Path(os.environ[SHARED])


@pytest.fixture
def place(ground: Path) -> Path:
    """A fresh folder of this test's own that every user may enter."""
    folder = Path(tempfile.mkdtemp(dir=ground))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def full_disk(place: Path) -> Iterator[Path]:
    """A folder on a file system of 64 KiB."""
    folder = place / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(folder)], check=True)
    yield folder
    # What ends in the background may hold on to it for a moment.
    wait_until(lambda: subprocess.run(["umount", str(folder)], check=False).returncode == 0)


@pytest.fixture(scope="session")
def installed(ground: Path) -> Path:
    """The directory with the commands, after install.sh in an empty HOME and an empty environment."""
    home = ground / "install"

    def install() -> None:
        home.mkdir()
        environ = {"HOME": str(home), "PATH": SYSTEM_PATH}
        subprocess.run([REPOSITORY / "install.sh"], env=environ, cwd=ground, check=True, timeout=1200)

    first_of_all(home, install)
    return home / ".local/bin"


@pytest.fixture(scope="session")
def api(installed: Path) -> Iterator[Api]:
    with running_api() as found:
        yield found


@pytest.fixture
def make_user(place: Path, installed: Path, api: Api) -> Callable[..., User]:
    """Makes users with an empty HOME whose sessions reach the fake API; by default signed in by API key.

    The HOME of one who is not new has what the installation knows of the engine, so that it is not tried for each anew.
    """

    def make(uid: int = os.getuid(), gid: int = os.getgid(), *, is_new: bool = False, **variables: str) -> User:
        home = place / f"home-{uid}-{uuid.uuid4().hex[:4]}"
        user = User(home, installed, uid, gid, {"ANTHROPIC_API_KEY": API_KEY, **api.variables, **variables})
        user.folder(home)
        if is_new:
            return user
        state = home / ".local/state/confined-claude"
        for folder in (state.parents[1], state.parent, state):
            user.folder(folder)
        state.chmod(0o700)
        user.own(shutil.copy(installed.parents[1] / state.relative_to(home) / "engines.json", state))
        return user

    return make


@pytest.fixture
def plain_user(make_user: Callable[..., User]) -> User:
    """Nobody special: not root, where the tests can act as others."""
    return make_user(12345, 12345) if os.geteuid() == 0 else make_user()


@pytest.fixture
def user(make_user: Callable[..., User]) -> User:
    return make_user()


@pytest.fixture
def project(place: Path, user: User) -> Path:
    """An empty directory of ``user``'s; no other has its name, which its sessions are called after."""
    return user.folder(own_name(place))


@pytest.fixture(scope="session")
def template(ground: Path) -> Path:
    """This repository as a git repository with every change committed, tagged as a later and an older version.

    ``v0.0.1`` has another tasks.py, has a .gitignore in the scaffold and an older config.toml. Its answers do
    not say that they are ours.
    """
    clone = ground / "template"
    first_of_all(clone, lambda: make_template(clone))
    return clone


def make_template(clone: Path) -> None:
    ignored = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(REPOSITORY, clone, ignore=ignored)
    environ = {"PATH": SYSTEM_PATH, "HOME": str(clone.parent)}
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "init.defaultBranch=main"]

    def commit(tag: str) -> None:
        for words in (["add", "--all"], ["commit", "--quiet", "--message", tag], ["tag", tag]):
            subprocess.run([*git, *words], cwd=clone, check=True, env=environ)

    subprocess.run([*git, "init", "--quiet"], cwd=clone, check=True, env=environ)
    scaffold = clone / "template/.confined-claude"
    answers = clone / "template/{{ _copier_conf.answers_file }}.jinja"
    now = {path: path.read_text() for path in (clone / "template/tasks.py", scaffold / "config.toml.jinja", answers)}
    (clone / "template/tasks.py").write_text('"""An older shim."""\nfrom confined_claude.tasks import ns\n')
    (scaffold / ".gitignore").write_text("/venvs/\n/local-bin/\n")
    (scaffold / "config.toml.jinja").write_text("# older\n")
    answers.write_text(now[answers].removesuffix("confined_claude_scaffold: true\n"))
    assert answers.read_text() != now[answers]
    commit("v0.0.1")
    (scaffold / ".gitignore").unlink()
    for path, text in now.items():
        path.write_text(text)
    commit("v99.0.0")
