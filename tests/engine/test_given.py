"""Variables and secrets by name in a real session: they arrive as they are, `exec` has them, and nothing shows them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import User, contents, docker, own_name, sessions_of, sidecars_of, up, wait_until

# This process's own: another test may show it among the processes of this machine.
MARK = f"made-up-value-{uuid.uuid4().hex[:8]}"
ODD = f'{MARK}\'s "quotes" $HOME `id`\n\nlines \\ \udcff\t=x\n'
LARGE = MARK + "x" * 100_000
LARGEST = (MARK.encode() + bytes(range(256)) * 4096)[: 1 << 20]
CONFIG = f"""
env = ["ODD", "LARGE", "LITERAL={MARK} in the config file"]
env_file = ["dev.env"]
[secrets.FROM_COMMAND]
command = "printf '{MARK} of a command\\n'"
always = true
[secrets.AS_FILE]
file = "~/netrc"
as_file = "~/.config/tokens/netrc"
always = true
[secrets.LARGEST]
command = "cat ~/largest"
as_file = "/run/secrets/largest"
always = true
"""
NAMES = ("FROM_COMMAND", "FROM_FILE", "LARGE", "LITERAL", "ODD")


@pytest.fixture
def given(plain_user: User, place: Path) -> tuple[User, Path]:
    """A user whose config file gives variables and a secret to sessions, and a project."""
    user = plain_user
    project = user.folder(own_name(place))
    user.write(user.home / ".config/confined-claude/config.toml", CONFIG)
    user.write(user.home / "netrc", f"machine x password {MARK}\n")
    user.write(user.home / "largest", "").write_bytes(LARGEST)
    user.write(project / "dev.env", f"FROM_FILE='{MARK} of a file'\n")
    user.variables.update(ODD=ODD, LARGE=LARGE)
    return user, project


def variables(file: Path) -> dict[str, str]:
    pairs = (os.fsdecode(entry).partition("=") for entry in file.read_bytes().split(b"\0")[:-1])
    return {name: value for name, _, value in pairs}


@contextlib.contextmanager
def session(user: User, project: Path, script: str) -> Iterator[str]:
    """A session that runs ``script`` and then waits, by its name."""
    words = ("confined-claude", "shell", "--", "sh", "-c", f"{script}; touch ready; exec sleep 600")
    with user.running(*words, cwd=project) as process:
        wait_until(lambda: (project / "ready").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        (name,) = up(project)
        yield name


def test_what_is_given_arrives_as_it_is_and_shows_nowhere_else(given: tuple[User, Path]) -> None:
    user, project = given
    inside = "env -0 >has; cp /run/secrets/largest .; "
    inside += "cd ~/.config/tokens; (stat -c '%a %u %U' netrc .; cat netrc) >$OLDPWD/file; cd $OLDPWD"
    with session(user, project, inside) as name:
        has = variables(project / "has")
        assert has["ODD"] == ODD
        assert has["LARGE"] == LARGE
        assert has["LITERAL"] == f"{MARK} in the config file"
        assert has["FROM_COMMAND"] == f"{MARK} of a command"
        assert has["FROM_FILE"] == f"{MARK} of a file"
        assert (project / "file").read_text() == f"400 12345 claude\n755 12345 claude\nmachine x password {MARK}\n"
        assert (project / "largest").read_bytes() == LARGEST
        # A command that joins has the session's, not its own terminal's; a plain `docker exec` has none.
        joined = user.run(
            "confined-claude", "exec", "--", "sh", "-c", "env -0 >joined", cwd=project, ODD="another", NEW="1"
        )
        assert joined.returncode == 0, joined.stderr
        theirs = variables(project / "joined")
        assert {name: theirs[name] for name in NAMES} == {name: has[name] for name in NAMES}
        assert "NEW" not in theirs
        assert theirs["ANTHROPIC_API_KEY"] == has["ANTHROPIC_API_KEY"], "its sign-in too"
        assert MARK not in docker("exec", name, "env")
        # The first process has none: they come after it. The file with them is the session's to read alone.
        assert MARK not in docker("exec", name, "cat", "/proc/1/environ")
        mode = docker("exec", name, "stat", "-c", "%a %u %g", "/run/confined-claude/variables")
        assert mode == "440 0 12345\n"
        for path in (project / "has", project / "joined", project / "file", project / "largest"):
            path.unlink()
        shown = {
            "inspect": docker("inspect", name),
            "processes": subprocess.run(["ps", "axww"], check=True, capture_output=True, text=True).stdout,
            "log": docker("logs", name, check=False),
            "image": docker("history", "--no-trunc", "confined-claude:latest"),
            "status": user.run("confined-claude", "status", "--json", cwd=project).stdout,
            "config": user.run("confined-claude", "config", cwd=project).stdout,
            "dry run": user.run("confined-claude", "run", "--dry-run", cwd=project).stdout,
            **contents(*(user.home / ".local" / name / "confined-claude" for name in ("share", "state"))),
        }
        assert {where for where, text in shown.items() if MARK in text} == set()
        assert "ODD=***" in shown["dry run"]
        assert "LITERAL=***" in shown["config"]
        # The control: where it has to be, it is found in the same way.
        assert MARK in docker("exec", name, "cat", "/run/confined-claude/variables")


def test_claude_and_its_hooks_have_them_and_the_sign_in_stays(given: tuple[User, Path]) -> None:
    user, project = given
    hook = {"hooks": [{"type": "command", "command": f"env -0 >{project}/hooked"}]}
    user.write(project / ".claude/settings.json", json.dumps({"hooks": {"SessionStart": [hook]}}))
    done = user.run("confined-claude", "--", "-p", "hello", cwd=project)
    assert done.stdout == "FAKE ANSWER: hello\n", done.stderr
    has = variables(project / "hooked")
    assert has["LARGE"] == LARGE
    assert has["FROM_COMMAND"] == f"{MARK} of a command"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('env = ["LD_PRELOAD=/x"]', "LD_PRELOAD=***: it changes what the session's own programs do"),
        ('env_file = ["gone.env"]', "gone.env"),
        ('[secrets.X]\ncommand = "echo MARK; exit 3"\nalways = true', "X: `echo` ended with 3"),
        ('[secrets.X]\nvariable = "NOTHING"\nalways = true', "the variable NOTHING has nothing"),
        ('env_file = ["huge.env"]', "HUGE has 1000005 bytes"),
    ],
)
def test_what_cannot_be_given_ends_the_start_and_nothing_has_begun(
    config: str, said: str, user: User, project: Path
) -> None:
    user.write(user.home / ".config/confined-claude/config.toml", config.replace("MARK", MARK))
    words = ("confined-claude", "shell", "--network", "allowlist", "--", "true")
    if "huge.env" in config:
        user.write(project / "huge.env", f"HUGE={'x' * 1_000_000}\n")
    before = list(project.iterdir())
    done = user.run(*words, cwd=project)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert MARK not in done.stderr
    assert (sessions_of(project), sidecars_of(project), list(project.iterdir())) == ([], [], before)
