"""`status` with a real engine: what it says of real sessions, at a terminal, in a pipe, and to programs."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers import ALONE, PATIENCE, REPOSITORY, User, docker, up, wait_until
from terminals import terminal

from confined_claude.engine import usage
from confined_claude.engine.images import Images
from confined_claude.host import Host
from confined_claude.image.inventory import Inventory

SCHEMA = json.loads((REPOSITORY / "docs/status.schema.json").read_text())


@contextlib.contextmanager
def session(user: User, project: Path) -> Iterator[subprocess.Popen[str]]:
    """A session that is up and has some memory to itself."""
    script = "x = bytearray(50_000_000); import time; time.sleep(300)"
    with user.running("confined-claude", "shell", "--", "python3", "-c", script, cwd=project) as tool:
        (name,) = wait_until(lambda: up(project))
        wait_until(lambda: "python3" in docker("top", name))
        yield tool


def as_json(user: User, cwd: Path, code: int = 0, **extra: str) -> Any:
    done = user.run("confined-claude", "status", "--json", cwd=cwd, **extra)
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    return found


def test_what_runs_and_what_it_takes(user: User, project: Path, make_user: Callable[..., User]) -> None:
    (project / "Makefile").write_text("all:\n")
    user.own(project / "Makefile")
    make = "echo 'all: evil' >Makefile; mkdir -p ~/venvs/main; head -c 300000 /dev/urandom >~/venvs/main/file"
    user.run("confined-claude", "shell", "--", "sh", "-c", make, cwd=project)
    with session(user, project):
        wait_until(lambda: (as_json(user, project)["sessions"][0]["memory_bytes"] or 0) > 50_000_000)
        found = as_json(user, project)
        (running,) = found["sessions"]
        assert running["state"] == "running"
        assert (running["name"], running["path"]) == (up(project)[0], str(project))
        assert 50_000_000 < running["memory_bytes"] < 500_000_000
        assert running["cpu_seconds"] > 0
        assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", running["claude_version"])
        assert found["project"]["path"] == str(project)
        sizes = {item["name"]: item["bytes"] for item in found["project"]["data"]}
        assert 300_000 <= sizes["venvs"] < 400_000
        assert "claude-config" in {item["name"] for item in found["shared"]}
        (known,) = found["projects"]
        assert (known["path"], known["exists"], known["findings"]["yellow"]) == (str(project), True, 1)
        assert known["bytes"] == sum(sizes.values())

        done = user.run("confined-claude", "status", cwd=project)
        assert running["name"] in done.stdout
        assert "confined-claude clean-global" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr

        # What the kernel says and what the engine says, of which only one is asked.
        of_kernel = usage.of_container(running["id"])
        of_engine = Images().usage([running["id"], "0" * 64])[running["id"]]
        assert of_kernel is None or abs(of_kernel.memory - of_engine.memory) < 20_000_000
        assert of_engine.cpu_seconds > 0

        # Whoever keeps other records has other sessions.
        assert as_json(make_user(), project)["sessions"] == []
    assert as_json(user, project)["sessions"] == []


@ALONE
def test_images_with_what_they_share_counted_once(user: User, project: Path, place: Path) -> None:
    host = Host.current()._replace(uid=user.uid, state=user.home / ".local/state/confined-claude")
    # Only this user's records make them the tool's: with its name, other users' `status` would look into them, too.
    made = [f"confined-claude-test:{uuid.uuid4().hex[:8]}" for _ in range(2)]
    label = f"confined-claude.owner={host.owner}"
    try:
        for below, name in zip(["confined-claude:latest", made[0]], made, strict=True):
            dockerfile = f"FROM {below}\nUSER root\nRUN head -c 3000000 /dev/urandom >/{name[-8:]}\n"
            (place / "Dockerfile").write_text(dockerfile)
            docker("build", "--network", "none", "--tag", name, "--label", label, str(place))
            Inventory(Images(), host).note_built(docker("inspect", "--format", "{{.Id}}", name).strip())
        found = as_json(user, project)["images"]
        first, second = (next(item for item in found["images"] if item["names"] == [name]) for name in made)
        assert second["bytes"] - first["bytes"] == 3_000_000
        # What they share with the image below, which is another's, stays in any case.
        assert (found["bytes"], found["free_bytes"]) == (second["bytes"], 6_000_000)
        assert not first["is_used"]
        package = "/usr/local/lib/node_modules/@anthropic-ai/claude-code/package.json"
        content = docker("run", "--rm", "--network", "none", "--entrypoint", "cat", made[0], package)
        assert first["claude_version"] == second["claude_version"] == json.loads(content)["version"]

        container = docker("create", "--label", "confined-claude-test=1", made[0]).strip()
        try:
            found = as_json(user, project)["images"]
            assert found["free_bytes"] == 3_000_000
            assert [item["is_used"] for item in found["images"]] == [True, False]
        finally:
            docker("rm", container)
    finally:
        docker("image", "rm", *reversed(made), check=False)
    found = as_json(user, project)["images"]
    assert (found["images"], found["bytes"], found["free_bytes"]) == ([], 0, 0)
    # The one that its sessions use, which install.sh has built for another.
    names = {name for item in found["others"] for name in item["names"]}
    assert "confined-claude:latest" in names
    shown = user.run("confined-claude", "status", cwd=project).stdout
    assert "Built by another user or elsewhere; `docker rmi NAME` removes one:" in shown


def test_a_session_whose_tool_was_killed_is_shown_with_what_ends_it(user: User, project: Path) -> None:
    with session(user, project) as tool:
        (name,) = up(project)
        tool.kill()
        tool.wait(PATIENCE)
        assert [item["state"] for item in as_json(user, project)["sessions"]] == ["left behind"]
        shown = user.run("confined-claude", "status", cwd=project).stdout
        assert f"{name}: its terminal is gone." in shown
        assert "1 session not scanned yet" in shown
        (command,) = re.findall(r"`(confined-claude stop .*)` ends it", shown)
        assert user.run(*command.split(), cwd=project).stdout == f"Stopped {name}.\n"
    assert as_json(user, project)["sessions"] == []


def test_a_live_view_follows_and_ends_with_ctrl_c(user: User, project: Path) -> None:
    with terminal(user, project, "confined-claude", "status", "--watch") as opened:
        opened.wait_for("No session runs.")
        with session(user, project):
            (name,) = up(project)
            opened.wait_for(name)
            opened.wait_for("cpu 0 %")
        opened.wait_for("No session runs.")
        opened.send("\x03")
        assert opened.wait_for_end() == 0
    assert opened.everything.count("\x1b[?1049h") == opened.everything.count("\x1b[?1049l") == 1
    assert opened.everything.rindex("\x1b[?25h") > opened.everything.rindex("\x1b[?25l")
    assert "Traceback" not in opened.everything


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1", "COLUMNS": "40"}, {"TERM": "dumb"}])
def test_at_a_terminal(user: User, project: Path, variables: dict[str, str]) -> None:
    with terminal(user, project, "confined-claude", "status", **variables) as opened:
        assert opened.wait_for_end() == 0
        assert "confined-claude clean-global" in opened.screen
    assert ("\x1b[" in opened.everything) is ("TERM" not in variables)
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", opened.everything) is None or "NO_COLOR" not in variables
