"""How long `confined-claude status` takes with many known projects and running sessions.

    python tests/bench/status.py

Needs an engine and the image. All it makes is in a HOME of its own, and goes at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confined_claude.engine import labels
from confined_claude.host import APP, Host
from confined_claude.project import Project
from confined_claude.state.projects import remember
from confined_claude.state.store import records_of

PROJECTS = 1000
SESSIONS = 50
RUNS = 7
IMAGE = "confined-claude:latest"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def host_in(home: Path) -> Host:
    """The host of someone with this HOME."""
    places = (home / ".local/share" / APP, home / ".local/state" / APP, home / ".config" / APP)
    return Host(os.getuid(), os.getgid(), home, {}, *places)


def make_projects(host: Host, number: int) -> list[Project]:
    """Known projects, each with a virtual environment of a few files and a command."""
    made = []
    for count in range(number):
        project = Project(host.home / f"work/project-{count}")
        packages = project.scaffold / "venvs/main/lib/python3/site-packages/package"
        commands = project.scaffold / "local-bin"
        for folder in (packages, commands):
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(b"x" * 5000)
        remember(records_of(host, project.id), project.root)
        made.append(project)
    return made


@contextlib.contextmanager
def sessions(host: Host, projects: list[Project], number: int) -> Iterator[list[str]]:
    """Containers that are sessions by their labels, for the time of the block; gives their ids."""
    mark = uuid.uuid4().hex[:8]

    def start(count: int) -> str:
        project = projects[count % len(projects)]
        name = f"confined-claude-bench-{mark}-{count}"
        worn = {
            labels.KIND: labels.SESSION,
            labels.OWNER: host.owner,
            labels.PROJECT: project.id,
            labels.PATH: str(project.root),
            labels.KEY: uuid.uuid4().hex[:16],
            labels.NAME: name,
        }
        words = [word for key, value in worn.items() for word in ("--label", f"{key}={value}")]
        command = ["docker", "run", "--detach", "--rm", "--init", "--network", "none", "--name", name, *words]
        done = subprocess.run(
            [*command, "--entrypoint", "sleep", IMAGE, "3600"], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(start, count) for count in range(number)]
    made = [future.result() for future in started if not future.exception()]
    try:
        for future in started:
            future.result()
        yield made
    finally:
        if made:
            subprocess.run(["docker", "rm", "--force", *made], capture_output=True, check=False)


def seconds(home: Path, *words: str) -> float:
    """How long the command takes with this HOME, in the middle of some runs."""
    command = [str(Path(sys.executable).with_name("confined-claude")), "status", *words]
    environ = {"HOME": str(home), "PATH": SYSTEM_PATH}
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, env=environ, cwd=home / "work/project-0", capture_output=True, check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="confined-claude-bench-") as folder:
        host = host_in(Path(folder).resolve())
        projects = make_projects(host, PROJECTS)
        with sessions(host, projects, SESSIONS):
            for words in ((), ("--json",)):
                figure = {"what": " ".join(["status", *words]), "projects": PROJECTS, "sessions": SESSIONS}
                print(json.dumps({**figure, "seconds": round(seconds(host.home, *words), 3)}))


if __name__ == "__main__":
    main()
