"""How long `confined-claude status` takes with many known projects and running sessions."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from confined_claude.engine import labels
from confined_claude.project import Project
from confined_claude.state.projects import remember
from confined_claude.state.store import records_of

from .figures import Figure, Series
from .place import Place, own
from .starts import repeat

PROJECTS = 1000
SESSIONS = 50


def status(place: Place, runs: int) -> Iterator[Figure | Series]:
    """Measure ``status`` with a growing number of projects, and with ``SESSIONS`` running sessions at the end."""
    made: list[Project] = []
    sizes, times = [], []

    def look() -> float:
        return place.seconds(own("status"), place.home / "work/project-0")

    for size in (1, 10, 100, PROJECTS):
        made += _projects(place, len(made), size)
        place.give()
        sizes.append(float(size))
        times.append(statistics.median(repeat(3, look)))
    yield Series("status with more projects", "projects", "s", tuple(sizes), tuple(times))
    with _sessions(place, made):
        found = repeat(runs, look)
    yield Figure(f"status, {PROJECTS:,} projects, {SESSIONS} sessions", tuple(found), "s", 0.6, 0.3, min(found))


def _projects(place: Place, first: int, last: int) -> list[Project]:
    """Make known projects, each with a virtual environment of a few files and a command."""
    made = []
    for number in range(first, last):
        project = Project(place.home / f"work/project-{number}")
        for name in ("venvs/main/lib/python3/site-packages/package", "local-bin"):
            directory = project.scaffold / name
            directory.mkdir(parents=True)
            (directory / "file").write_bytes(b"x" * 5000)
        remember(records_of(place.host, project.id), project.root)
        made.append(project)
    return made


@contextlib.contextmanager
def _sessions(place: Place, projects: list[Project]) -> Iterator[None]:
    """Run containers that are sessions by their labels, during the block."""

    def start(number: int) -> str:
        project = projects[number % len(projects)]
        name = f"confined-claude-bench-{place.mark}-{number}"
        worn = {
            labels.KIND: labels.SESSION,
            labels.OWNER: place.host.owner,
            labels.PROJECT: project.id,
            labels.PATH: str(project.root),
            labels.KEY: uuid.uuid4().hex[:16],
            labels.NAME: name,
        }
        words = [word for key, value in worn.items() for word in ("--label", f"{key}={value}")]
        command = ["docker", "run", "--detach", "--rm", "--init", "--network", "none", "--name", name, *words]
        return place.run([*command, "--entrypoint", "sleep", place.image, "3600"]).decode().strip()

    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(start, number) for number in range(SESSIONS)]
    made = [future.result() for future in started if not future.exception()]
    try:
        for future in started:
            future.result()
        yield
    finally:
        if made:
            subprocess.run(["docker", "rm", "--force", *made], capture_output=True, check=False)
