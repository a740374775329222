"""TAB in the real shells, as install.sh leaves them, and in a project that would like to run something."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from helpers import PATIENCE, User

SHELLS = ("bash", "zsh", "fish")
PROMPT = "ready> "
# Ctrl-T shows what is on the line.
START = {
    "bash": (
        ["bash", "--noprofile", "--norc", "-i"],
        """
        . /usr/share/bash-completion/bash_completion
        bind 'set bell-style none'
        bind -x '"\\C-t": echo "LINE[$READLINE_LINE]"'
        PS1='{prompt}'
        """,
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """
        unsetopt beep
        show() {{ zle -I; print -r -- "LINE[$BUFFER]" }}
        zle -N show
        bindkey '^T' show
        source {data}/completion.zsh
        PS1='{prompt}'
        """,
    ),
    "fish": (
        ["fish", "--interactive"],
        """
        set -g fish_greeting
        bind \\ct 'echo "LINE["(commandline)"]"'
        function fish_prompt; printf '{prompt}'; end
        """,
    ),
}


class Line:
    """The command line of an interactive shell."""

    def __init__(self, shell: str, user: User, cwd: Path) -> None:
        words, text = START[shell]
        rc = cwd / f".rc.{shell}"
        rc.write_text(text.format(prompt=PROMPT, data=user.home / ".local/share/confined-claude"))
        environ = {**user.environ(), "TERM": "dumb"}
        self._process = pexpect.spawn(
            words[0], words[1:], cwd=str(cwd), env=environ, timeout=PATIENCE, encoding="utf-8", dimensions=(50, 200)
        )
        self._process.sendline(f"source {rc}; echo begi''n")
        self._process.expect("begin")
        self._process.expect(PROMPT)

    def completed(self, typed: str) -> str:
        """What is on the line after ``typed`` and TAB."""
        self._process.send(typed + "\t")
        self._process.send("\x14")
        self._process.expect(r"LINE\[([^\r\n]*)\]")
        line = str(self._process.match.group(1))
        self._process.send("\x15")
        return line

    def run(self, command: str) -> str:
        """What ``command`` prints."""
        self._process.sendline(f"{command}; echo en''d")
        self._process.expect("end\r\n")
        return str(self._process.before)

    def close(self) -> None:
        self._process.close(force=True)


@contextlib.contextmanager
def line(shell: str, user: User, cwd: Path) -> Iterator[Line]:
    opened = Line(shell, user, cwd)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def newcomer(installed: Path) -> User:
    """Whoever ran install.sh, and has done nothing else."""
    return User(installed.parent.parent, installed)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_tasks_flags_and_values(shell: str, newcomer: User, place: Path) -> None:
    (place / "a-file-there").write_text("")
    with line(shell, newcomer, place) as typed:
        for given, expected in (
            ("confined-claude bloc", "confined-claude blocked "),
            ("confined-claude run --net", "confined-claude run --network "),
            ("confined-claude run --yolo --hos", "confined-claude run --yolo --host-ports "),
            ("confined-claude run --network allo", "confined-claude run --network allowlist "),
            ("confined-claude shell --network=allo", "confined-claude shell --network=allowlist "),
            ("confined-claude --yol", "confined-claude --yolo "),
            ("confined-claude --yolo --sud", "confined-claude --yolo --sudo "),
            # Behind the hyphens it is Claude's: files.
            ("confined-claude run -- a-fi", "confined-claude run -- a-file-there "),
            ("confined-claude run -- --net", "confined-claude run -- --net"),
        ):
            assert typed.completed(given) == expected


HOSTILE = (
    "confined_claude invoke json re os sitecustomize usercustomize pathlib contextlib dataclasses settings".split()
)


@pytest.fixture
def hostile(place: Path) -> Path:
    """A project full of what would leave a mark if it were run, imported or expanded."""
    directory = place / "hostile"
    directory.mkdir()
    (directory / "mark").mkdir()
    plant = f"open({str(directory)!r} + '/mark/' + __name__, 'w').close()\n"
    for name in HOSTILE:
        (directory / f"{name}.py").write_text(plant)
    (directory / "tasks.py").write_text(plant + "from invoke import task\n@task\ndef planted(c):\n    pass\n")
    (directory / "invoke.yaml").write_text("tasks: {collection_name: planted}\nrun: {shell: ./confined-claude}\n")
    for name in ("confined-claude", "python3", "python"):
        (directory / name).write_text(f"#!/bin/sh\n: >{directory}/mark/{name}\n")
        (directory / name).chmod(0o755)
    for name in ("$(touch mark\\expanded)", "`touch mark\\expanded`", ";touch mark\\expanded"):
        (directory / name).write_text("")
    return directory


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_runs_nothing_of_the_project(shell: str, newcomer: User, hostile: Path) -> None:
    mark = hostile / "mark"
    with line(shell, newcomer, hostile) as typed:
        assert typed.completed("confined-claude bloc") == "confined-claude blocked "
        typed.completed("./confined-claude bloc")
        typed.completed("confined-claude run --network $(touch mark/typed) --gi")
        typed.completed("confined-claude run -- \\$")
        typed.completed("confined-claude run -- ")
    assert list(mark.iterdir()) == []


def test_tab_of_inv_does_run_the_projects_tasks(newcomer: User, hostile: Path) -> None:
    """The control; and Invoke's own completion is for who trusts a project."""
    with line("bash", newcomer, hostile) as typed:
        typed.run('eval "$(cd /; inv --print-completion-script bash)"')
        assert list((hostile / "mark").iterdir()) == []
        typed.completed("inv plan")
    assert (hostile / "mark/tasks").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_that_is_printed_works_as_well(shell: str, newcomer: User, place: Path) -> None:
    other = User(place, newcomer.bin)
    (place / ".local/share/confined-claude").mkdir(parents=True)
    (place / ".local/share/confined-claude/completion.zsh").write_text("")
    with line(shell, other, place) as typed:
        assert typed.completed("confined-claude bloc") == "confined-claude bloc"
        source = " | source" if shell == "fish" else ""
        printed = f"confined-claude --print-completion-script {shell}"
        typed.run(printed + source if source else f'eval "$({printed})"')
        assert typed.completed("confined-claude bloc") == "confined-claude blocked "


def test_zsh_finds_the_script_in_a_directory_of_its_own_kind(newcomer: User, place: Path) -> None:
    directory = place / "site-functions"
    directory.mkdir()
    script = newcomer.run("confined-claude", "--print-completion-script", "zsh", cwd=place).stdout
    (directory / "_confined-claude").write_text(script)
    (place / ".local/share/confined-claude").mkdir(parents=True)
    text = f"fpath=({directory} $fpath)\nautoload -Uz compinit\ncompinit -u\n"
    (place / ".local/share/confined-claude/completion.zsh").write_text(text)
    with line("zsh", User(place, newcomer.bin), place) as typed:
        assert typed.completed("confined-claude bloc") == "confined-claude blocked "
        assert typed.completed("confined-claude upd") == "confined-claude update "
