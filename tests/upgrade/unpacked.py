"""What version 0.1 left on a machine, laid where it was made."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Its records have the paths of its projects in them, and names made from them, so it is the same everywhere.
ROOT = Path("/tmp/confined-claude-upgrade-0.1")
ARCHIVE = Path(__file__).with_name("0.1.tar.gz")
HOME = ROOT / "home"
PROJECTS = ROOT / "projects"
STATE = HOME / ".local/state/confined-claude"
DATA = HOME / ".local/share/confined-claude"
# How the copied credentials sign in; there are no others.
TOKEN = "sk-ant-oat01-made-up-of-0.1"


@contextlib.contextmanager
def unpacked() -> Iterator[None]:
    """A fresh copy until the end of the block; processes that want one wait for each other."""
    lock = os.open(f"{ROOT}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ROOT.exists():  # of tests that were killed
            shutil.rmtree(ROOT)
        ROOT.mkdir(mode=0o755)
        try:
            subprocess.run(["tar", "-xpzf", ARCHIVE, "--no-same-owner"], cwd=ROOT, check=True)
            _identify()
            yield
        finally:
            shutil.rmtree(ROOT)
    finally:
        os.close(lock)


def records(project: str) -> Path:
    """The records of the project with this name."""
    (found,) = (STATE / "projects").glob(f"{project}-????????")
    return found


def _identify() -> None:
    """Give records of sessions the inodes that their files have on this disk."""
    for path in (STATE / "projects").glob("*/*"):
        if path.suffix in (".session", ".unseen"):
            record = json.loads(path.read_text())
            root = Path(json.loads((path.parent / "project.json").read_text())["root"])
            for name in record["kept"]:
                with contextlib.suppress(FileNotFoundError):
                    status = (root / name).lstat()
                    record["kept"][name] = [status.st_dev, status.st_ino]
            path.write_text(json.dumps(record))
