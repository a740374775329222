"""What goes wrong: one line what, one line what to do, the right exit code, nothing lost, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import PATIENCE, User, docker, sessions_of, wait_until


def assert_error(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2, done.stderr
    for word in words:
        assert word in done.stderr


def test_no_engine_by_inv(user: User, template: Path, place: Path) -> None:
    made = place / "made"
    assert user.run("copier", "copy", "--defaults", str(template), str(made), cwd=place).returncode == 0
    done = user.run("inv", "run", cwd=made, DOCKER_HOST="unix:///nonexistent.sock")
    assert_error(done, 3, "does not answer", "systemctl start docker")


@pytest.mark.root
def test_no_permission_on_the_engine(make_user: Callable[..., User], place: Path) -> None:
    user = make_user(12345, 12345)
    done = user.run("confined-claude", cwd=user.folder(place / "project"), docker_group=False)
    assert_error(done, 3, "no permission", "usermod -aG docker")


def test_an_unknown_network_leaves_nothing(user: User, project: Path) -> None:
    done = user.run("confined-claude", "run", "--network", "docker:nope-nope", cwd=project)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert sessions_of(project) == []


def test_a_command_that_does_not_exist(user: User, project: Path) -> None:
    done = user.run("confined-claude", "shell", "--", "no-such-command", cwd=project)
    assert done.returncode == 127
    assert "no-such-command" in done.stderr
    assert sessions_of(project) == []


@pytest.mark.root
def test_a_full_disk_while_copying_the_settings(user: User, project: Path, full_disk: Path) -> None:
    settings = user.folder(user.home / ".claude") / "settings.json"
    settings.write_text('{"x": "' + "x" * 100_000 + '"}')
    done = user.run("confined-claude", "--", "-p", "hello", cwd=project, XDG_DATA_HOME=str(full_disk))
    assert_error(done, 2, "No space left on device", "disk space")
    assert sessions_of(project) == []
    # With room again the next start copies them.
    subprocess.run(["mount", "-o", "remount,size=8m", str(full_disk)], check=True)
    shown = ("shell", "--", "sh", "-c", "cat ~/.claude/settings.json")
    done = user.run("confined-claude", *shown, cwd=project, XDG_DATA_HOME=str(full_disk))
    assert "x" * 100_000 in done.stdout, done.stderr


def test_a_signal_without_a_terminal_leaves_nothing(user: User, project: Path) -> None:
    with user.running("confined-claude", "--", "-p", "SLEEP: 60", cwd=project) as session:
        wait_until(lambda: sessions_of(project))
        session.terminate()
        assert session.wait(PATIENCE) == 128 + signal.SIGTERM
        assert sessions_of(project) == []


@pytest.mark.parametrize("moment", [0.1, 0.2, 0.3, 0.4, 0.5, 1.0])
def test_ctrl_c_without_a_terminal_ends_the_session_at_any_moment(user: User, project: Path, moment: float) -> None:
    command = ("confined-claude", "shell", "--", "sleep", "600")
    with user.running(*command, cwd=project, new_session=True) as session:
        time.sleep(moment)
        os.killpg(session.pid, signal.SIGINT)
        code = session.wait(PATIENCE)
        assert session.stdout is not None
        said = session.stdout.read()
        # Before its own first line runs, Python says itself what has ended it, and the earlier the more.
        is_early = "Fatal Python error: init_import_site" in said
        assert code in (130, -signal.SIGINT) or (is_early and code == 1)
        assert "Traceback" not in said or is_early or (code == -signal.SIGINT and "in main" not in said), said
        assert sessions_of(project) == []


def test_the_engines_end_of_a_session_is_told_by_its_exit_code(user: User, project: Path) -> None:
    with user.running("confined-claude", "shell", "--", "sleep", "600", cwd=project) as session:
        name = wait_until(lambda: sessions_of(project))[0]
        wait_until(lambda: "sleep" in docker("top", name, check=False))
        docker("kill", name)
        assert session.wait(PATIENCE) == 137
        assert sessions_of(project) == []
