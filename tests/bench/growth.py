"""How figures grow: many sessions at once, a large repository in ``isolated``, many versions of the image."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confined_claude.engine.images import Images
from confined_claude.image.inventory import Inventory
from confined_claude.project import Project
from confined_claude.state.store import records_of

from .figures import Figure, Item, Missing, Series
from .memory import kilobytes
from .place import Place, finish, own
from .starts import repeat

AT_ONCE = (1, 10, 50, 200)
MEGABYTES = (10, 100, 1_000, 10_000)
IMAGES = (1, 5, 10, 20)
_MEGABYTE = 1 << 20
_BLOCK = 64
# Of memory and of disk, this stays free.
_ROOM_MEGABYTES = 3_000
_EACH_SESSION_MEGABYTES = 60
_IMAGE_MEGABYTES = 5


def sessions(place: Place) -> Iterator[Item]:
    """Start sessions at once; none may fail, and nothing may be left over.

    Measures until each one runs, what they take in memory while all of them wait, and until all have ended.
    """
    before = _things()
    found: dict[int, tuple[float, float, float, float, float]] = {}
    for number in AT_ONCE:
        if _available() < number * _EACH_SESSION_MEGABYTES + _ROOM_MEGABYTES:
            yield Missing(f"{number} sessions at once", "this machine has too little memory left")
            break
        found[number] = _at_once(place, number)
    left = _things() - before
    left |= {str(path) for path in (records_of(place.host, Project(place.project).id).path / "sessions").glob("*")}
    if left:
        raise RuntimeError(f"{len(left)} left over: {', '.join(sorted(left))[:300]}")
    sizes = tuple(map(float, found))
    what = (
        ("until a session runs (median)", "s"),
        ("until all sessions run", "s"),
        ("until all sessions have ended", "s"),
        ("memory of the tool for all sessions (PSS)", "MB"),
        ("memory of everything for all sessions", "MB"),
    )
    for (name, unit), values in zip(what, zip(*found.values(), strict=True), strict=True):
        yield Series(name, "sessions at once", unit, sizes, values)
    yield Figure("sessions at once, none failing, nothing left over", (max(sizes),), "", 100, 200, at_least=True)


def _at_once(place: Place, number: int) -> tuple[float, float, float, float, float]:
    free, began = _available(), time.time()
    command = own("shell", "--", "sh", "-c", "date +%s.%N; exec cat")
    started = [place.start(command, stdin=subprocess.PIPE) for _ in range(number)]
    try:
        with ThreadPoolExecutor(number) as pool:
            lines = list(pool.map(lambda process: process.stdout.readline(), started))
        for line, process in zip(lines, started, strict=True):
            if not line:
                finish(process)  # raises with what it says
        up = time.time() - began
        own_memory = sum(kilobytes(process.pid) for process in started) / 1024
        memory = free - _available()
        ending = time.time()
        for process in started:
            process.stdin.close()  # type: ignore[union-attr]
            process.stdin = None  # communicate() would use it
        for process in started:
            finish(process)
        ended = time.time() - ending
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
    middle = statistics.median(float(line) - began for line in lines)
    return middle, up, ended, own_memory, max(memory, 0.1)


def _available() -> float:
    """Return how much memory is left for new processes, in MB."""
    found = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _things() -> set[str]:
    """Return the names of all that sessions make in the engine."""
    commands = (
        ("ps", "--all", "--filter", "label=confined-claude", "--format", "container {{.Names}}"),
        ("network", "ls", "--format", "network {{.Name}}"),
        ("volume", "ls", "--format", "volume {{.Name}}"),
    )
    printed = (subprocess.run(["docker", *words], check=True, capture_output=True, text=True) for words in commands)
    return {line for each in printed for line in each.stdout.splitlines()}


def isolated(place: Place) -> Iterator[Item]:
    """Start sessions on copies of repositories of growing size: a first one, which copies, and a second one."""
    project = place.home / "isolated"
    pack = project / ".git/objects/pack/large.pack"
    pack.parent.mkdir(parents=True)
    block = os.urandom(_BLOCK * _MEGABYTE)
    sizes, first, second = [], [], []
    try:
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        for megabytes in MEGABYTES:
            if shutil.disk_usage(project).free / _MEGABYTE < 2 * megabytes + _ROOM_MEGABYTES:
                yield Missing(f"git = isolated with {megabytes:,} MB", "this machine has too little disk left")
                break
            with pack.open("ab") as file:
                while (left := megabytes * _MEGABYTE - file.tell()) > 0:
                    file.write(block[:left])
            place.give()
            line = own("run", "--git", "isolated", "--", "--version")
            first.append(place.seconds(line, project))
            second.append(place.seconds(line, project))
            sizes.append(float(megabytes))
            place.run(own("clean", "--all", "--yes"), project)
    finally:
        shutil.rmtree(project)
    yield Series("first start with git = isolated", "MB of .git", "s", tuple(sizes), tuple(first))
    yield Series("next start with git = isolated", "MB of .git", "s", tuple(sizes), tuple(second))


def images(place: Place) -> Iterator[Item]:
    """Measure ``status`` and ``clean-global`` beside a growing number of versions of the image, and the disk."""
    made: list[str] = []
    status, clean, disk = [], [], []
    try:
        for number in IMAGES:
            while len(made) < number:
                made.append(_version_of_the_image(place, len(made)))
            status.append(statistics.median(repeat(3, lambda: place.seconds(own("status")))))
            clean.append(statistics.median(repeat(3, lambda: place.seconds(own("clean-global", "--dry-run")))))
            disk.append(_own_bytes(place) / 1e6)
        place.run(own("clean-global", "--yes"))
        if left := [tag for tag in made if _has(tag)]:
            raise RuntimeError(f"clean-global has left {', '.join(left)}")
    finally:
        for tag in made:
            subprocess.run(["docker", "rmi", tag], capture_output=True, check=False)
    sizes = tuple(map(float, IMAGES))
    yield Series("status with more versions of the image", "versions of the image", "s", sizes, tuple(status))
    yield Series(
        "clean-global --dry-run with more versions of the image", "versions of the image", "s", sizes, tuple(clean)
    )
    yield Series("disk with more versions of the image", "versions of the image", "MB", sizes, tuple(disk))


def _version_of_the_image(place: Place, number: int) -> str:
    """Make an image of this user's own with a layer of its own, and return its name."""
    tag = f"confined-claude:bench-{place.mark}-{number}"
    size = _IMAGE_MEGABYTES * 1_000_000
    dockerfile = f"FROM {place.image}\nUSER root\nRUN head -c {size} /dev/urandom >/version-{number}\nUSER claude\n"
    build = ["docker", "build", "--quiet", "--force-rm", "--tag", tag, "-"]
    done = subprocess.run(build, input=dockerfile.encode(), capture_output=True, check=True)
    with _as_the_user(place):
        Inventory(Images(), place.host).note_built(done.stdout.decode().split()[-1])
    return tag


@contextlib.contextmanager
def _as_the_user(place: Place) -> Iterator[None]:
    """Give the user what the block makes in HOME."""
    try:
        yield
    finally:
        place.give()


def _own_bytes(place: Place) -> int:
    """Return what the user's images take on the disk, as ``status`` says."""
    found = json.loads(place.run(own("status", "--json")))
    return int(found["images"]["bytes"])


def _has(tag: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode == 0
