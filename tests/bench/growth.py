"""How figures grow: many sessions at once, a large repository in ``isolated``, many versions of the image."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .figures import Series
from .place import Place, own
from .starts import repeat

AT_ONCE = (1, 5, 20, 50, 100)
MEGABYTES = (1, 10, 100, 1_000)
IMAGES = (1, 5, 10, 20)
_MEGABYTE = 1 << 20


def growth(place: Place) -> Iterator[Series]:
    """Measure one series after the other."""
    yield from sessions(place)
    yield isolated(place)
    yield images(place)


def sessions(place: Place) -> Iterator[Series]:
    """Start sessions at once; none may fail. Measure until each one runs, and until all have ended."""
    middle, everything = [], []
    for number in AT_ONCE:
        began = time.time()
        with ThreadPoolExecutor(number) as pool:
            lines = list(pool.map(lambda _: place.run(own("shell", "--", "date", "+%s.%N")), range(number)))
        everything.append(time.time() - began)
        middle.append(statistics.median(float(line) - began for line in lines))
    sizes = tuple(map(float, AT_ONCE))
    yield Series("until a session runs (median)", "sessions at once", "s", sizes, tuple(middle))
    yield Series("until all sessions have ended", "sessions at once", "s", sizes, tuple(everything))
    place.run(["sh", "-c", f'test -z "$(docker ps --all --quiet --filter label=confined-claude.path={place.project})"'])


def isolated(place: Place) -> Series:
    """Start sessions on copies of repositories of growing size."""
    times = []
    for megabytes in MEGABYTES:
        project = place.home / f"isolated-{megabytes}"
        (project / ".git/objects/pack").mkdir(parents=True)
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        with (project / ".git/objects/pack/large.tmp").open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(_MEGABYTE))
        place.give()
        times.append(place.seconds(own("run", "--git", "isolated", "--", "--version"), project))
        place.run(own("clean", "--all", "--yes"), project)
        shutil.rmtree(project)
    return Series("first start with git = isolated", "MB of .git", "s", tuple(map(float, MEGABYTES)), tuple(times))


def images(place: Place) -> Series:
    """Measure ``status`` beside a growing number of versions of the image."""
    made: list[str] = []
    times = []
    try:
        for number in IMAGES:
            while len(made) < number:
                tag = f"confined-claude:bench-{place.mark}-{len(made)}"
                dockerfile = f"FROM {place.image}\nLABEL bench={tag}\n".encode()
                build = ["docker", "build", "--quiet", "--tag", tag, "-"]
                subprocess.run(build, input=dockerfile, capture_output=True, check=True)
                made.append(tag)
            times.append(statistics.median(repeat(5, lambda: place.seconds(own("status")))))
    finally:
        if made:
            subprocess.run(["docker", "rmi", *made], capture_output=True, check=False)
    return Series("status", "versions of the image", "s", tuple(map(float, IMAGES)), tuple(times))
