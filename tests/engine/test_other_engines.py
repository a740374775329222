"""Rootless Docker and rootless Podman, each taken on what is quick of the tour; see tests/engines for all of it.

And Podman, rootful, on a machine that has one of two directories.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import tour
from engines.kinds import KINDS
from engines.machine import Machine, machine
from engines.roots import root
from helpers import REPOSITORY

from confined_claude.engine import sight
from confined_claude.errors import EngineError

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.xdist_group("engines")]
PODMAN = next(kind for kind in KINDS if kind.is_podman and not kind.is_rootless)
ROOTLESS = [kind for kind in KINDS if kind.is_rootless]
# Of what they share the one is made while the other is.
STEPS = (
    tour.doctor,
    tour.run,
    tour.internet,
    tour.allowlist,
    tour.none,
    tour.owner,
    tour.privileges,
    tour.joined,
    tour.end,
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that the machine shares with this one, and that is no temporary file system."""
    directory = Path(tempfile.mkdtemp(prefix="confined-claude-engines-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def archive(installed: Path, place: Path) -> Path:
    """The image of sessions, as install.sh has built it here."""
    return tour.save_images(place)


@pytest.fixture(scope="module")
def debian(place: Path) -> Iterator[Machine]:
    """A machine with Debian 13."""
    needed = f". {REPOSITORY}/scripts/host.sh; assume_yes=1; have mmdebstrap || apt_install mmdebstrap"
    subprocess.run(["bash", "-euo", "pipefail", "-c", needed], check=True)
    with machine(root("trixie", place), [place, REPOSITORY], place) as made:
        yield made


@pytest.fixture(scope="module")
def commands(debian: Machine, place: Path) -> Path:
    """The tool, installed there."""
    home = place / "install"
    home.mkdir()
    return tour.install(debian, home)


@pytest.mark.parametrize("kind", ROOTLESS, ids=str)
def test_a_rootless_engine(kind: tour.Kind, debian: Machine, commands: Path, archive: Path, place: Path) -> None:
    log = place / f"{kind}.log"
    kind.begin(debian, log)
    kind.load(debian, archive)
    with tour.toured(kind, debian, commands, place, log) as made:
        for step in STEPS:
            step(made)


def test_podman_makes_a_directory_that_it_lacks_and_is_refused_for_that(
    debian: Machine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PODMAN.begin(debian, place / "podman.log")
    monkeypatch.setenv("DOCKER_HOST", f"unix:///proc/{debian.pid}/root{PODMAN.address}")
    content = b"made up"
    (place / "seen").mkdir()
    (place / "file").write_bytes(content)
    with tempfile.TemporaryDirectory(prefix="confined-claude-unseen-", dir="/var/tmp") as elsewhere:
        unseen = Path(elsewhere)
        with pytest.raises(EngineError, match=f"another machine: its {unseen} is not the one here"):
            sight.check(place / "file", content, [place / "seen", unseen], "o" * 12, looks_closer=True)
        assert debian.run("ls", "-d", str(unseen)).strip() == str(unseen)
        # The control: that it can be mounted says nothing.
        sight.check(place / "file", content, [place / "seen", unseen], "o" * 12)
    sight.check(place / "file", content, [place / "seen"], "o" * 12, looks_closer=True)
    assert debian.run(*PODMAN.command, "ps", "--all", "--quiet") == ""
