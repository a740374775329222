"""How a command of `exec` begins in a session: container/init/enter.c, compiled as in the image."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from .test_container_files import CONTEXT

SOURCE = CONTEXT / "init/enter.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("enter") / "enter"
    (words,) = re.findall(r"&& (cc .*) -o init/enter init/enter.c", (CONTEXT / "Dockerfile").read_text())
    subprocess.run([*words.split(), "-o", str(made), str(SOURCE)], check=True)
    return made


def run(program: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, env=environ, cwd="/")


def test_the_command_has_the_umask_the_directory_and_its_arguments(program: Path, tmp_path: Path) -> None:
    done = run(program, "027", str(tmp_path), "sh", "-c", 'umask; pwd; echo "$1"', "sh", "two words")
    assert done.stdout.splitlines() == ["0027", str(tmp_path.resolve()), "two words"], done.stderr
    assert f"PWD={tmp_path.resolve()}" in run(program, "027", str(tmp_path), "env").stdout.splitlines()


@pytest.mark.parametrize("directory", ["", "/missing"])
def test_without_its_directory_it_starts_where_the_session_does(program: Path, directory: str) -> None:
    done = run(program, "022", directory, "pwd")
    assert (done.stdout, done.stderr, done.returncode) == ("/\n", "", 0)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"TERM": "linux"}, "TERM=linux"),
        ({"TERM": "made-up"}, "TERM=xterm-256color"),
        ({"TERM": "x" * 5000}, "TERM=xterm-256color"),
        ({"TERM": ""}, "TERM="),
        ({}, ""),
    ],
)
def test_its_terminal_is_one_that_the_image_knows(program: Path, environ: dict[str, str], line: str) -> None:
    lines = run(program, "022", "", "env", **environ).stdout.splitlines()
    assert [found for found in lines if found.startswith("TERM=")] == ([line] if line else [])


def test_what_cannot_be_run_has_the_codes_of_a_shell(program: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch(mode=0o600)
    missing, refused = run(program, "022", "", "no-such-command"), run(program, "022", "", str(plain))
    assert (missing.returncode, refused.returncode) == (127, 126)
    for name in ("", f"{plain}/below"):
        shell = subprocess.run(["sh", "-c", '"$0"', name], capture_output=True, check=False)
        assert run(program, "022", "", name).returncode == shell.returncode == 127
    assert missing.stderr == "no-such-command: No such file or directory\n"
    assert refused.stderr == f"{plain}: Permission denied\n"
    assert run(program, "022", "").returncode == 2


@pytest.mark.root
def test_no_capability_reaches_the_command(program: Path) -> None:
    """As Podman gives them: in all sets, to a user that is not root."""
    held = "+chown,+setuid,+net_admin"
    user = ["setpriv", "--reuid", "12345", "--clear-groups", f"--inh-caps={held}", f"--ambient-caps={held}"]
    with program.open("rb") as file:  # nobody else may enter its directory
        at = f"/proc/self/fd/{file.fileno()}"

        def sets(*words: str) -> Sequence[int]:
            status = subprocess.run(
                [*user, *words, "cat", "/proc/self/status"],
                capture_output=True,
                text=True,
                check=True,
                pass_fds=[file.fileno()],
            ).stdout
            return [int(found, 16) for found in re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\t(\w+)", status)]

        assert sets(at, "022", "") == [0, 0, 0, 0]
        control = sets()
    assert len(control) == 4
    assert all(control)
