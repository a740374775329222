"""What the tests share: the tool installed as a user does it, and a fake API on a network with no way out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import API_KEY, REPOSITORY, SYSTEM_PATH, Api, User, running_api


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only root can act as other users; elsewhere those tests are left out, and counted so."""
    if os.geteuid() == 0:
        return
    for_root = [item for item in items if item.get_closest_marker("root")]
    config.hook.pytest_deselected(items=for_root)
    items[:] = [item for item in items if item not in for_root]


def pytest_sessionstart() -> None:
    """However the tests are started, in the background maybe: what they start heeds signals as a shell's jobs do."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder every user may enter, as pytest's own is root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="confined-claude-tests-", dir="/tmp")).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(ground: Path) -> Path:
    """A fresh folder of this test's own that every user may enter."""
    folder = Path(tempfile.mkdtemp(dir=ground))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def installed(ground: Path) -> Path:
    """The folder with the commands, after install.sh in an empty HOME and an empty environment."""
    home = ground / "install"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": SYSTEM_PATH}
    subprocess.run([REPOSITORY / "install.sh"], env=environ, cwd=ground, check=True, timeout=1200)
    return home / ".local/bin"


@pytest.fixture(scope="session")
def api(installed: Path) -> Iterator[Api]:
    with running_api() as found:
        yield found


@pytest.fixture
def make_user(place: Path, installed: Path, api: Api) -> Callable[..., User]:
    """Makes users with an empty HOME whose sessions reach the fake API; by default signed in by API key."""

    def make(uid: int = os.getuid(), gid: int = os.getgid(), **variables: str) -> User:
        home = place / f"home-{uid}-{uuid.uuid4().hex[:4]}"
        user = User(home, installed, uid, gid, {"ANTHROPIC_API_KEY": API_KEY, **api.variables, **variables})
        user.folder(home)
        return user

    return make


@pytest.fixture
def user(make_user: Callable[..., User]) -> User:
    return make_user()


@pytest.fixture
def project(place: Path, user: User) -> Path:
    """An empty folder of ``user``'s."""
    return user.folder(place / "project")


@pytest.fixture(scope="session")
def template(ground: Path) -> Path:
    """This repository as a git repository with every change committed, tagged as a later and an older version.

    ``v0.0.1`` has another tasks.py, has a .gitignore in the scaffold and an older config.toml. Its answers do
    not say that they are ours.
    """
    clone = ground / "template"
    ignored = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(REPOSITORY, clone, ignore=ignored)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "init.defaultBranch=main"]

    def commit(tag: str) -> None:
        for words in (["add", "--all"], ["commit", "--quiet", "--message", tag], ["tag", tag]):
            subprocess.run([*git, *words], cwd=clone, check=True, env={"PATH": SYSTEM_PATH, "HOME": str(ground)})

    subprocess.run([*git, "init", "--quiet"], cwd=clone, check=True, env={"PATH": SYSTEM_PATH, "HOME": str(ground)})
    scaffold = clone / "template/.confined-claude"
    answers = clone / "template/{{ _copier_conf.answers_file }}.jinja"
    now = {path: path.read_text() for path in (clone / "template/tasks.py", scaffold / "config.toml", answers)}
    (clone / "template/tasks.py").write_text('"""An older shim."""\nfrom confined_claude.tasks import ns\n')
    (scaffold / ".gitignore").write_text("/venvs/\n/local-bin/\n")
    (scaffold / "config.toml").write_text("# older\n")
    answers.write_text(now[answers].removesuffix("confined_claude_scaffold: true\n"))
    assert answers.read_text() != now[answers]
    commit("v0.0.1")
    (scaffold / ".gitignore").unlink()
    for path, text in now.items():
        path.write_text(text)
    commit("v99.0.0")
    return clone
