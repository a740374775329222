"""What a clone or a session does so that the next start mounts, reads or writes elsewhere."""

from __future__ import annotations

import hashlib

import pytest
from attacks import REVIEW, SECRET, Field
from helpers import PATIENCE, docker, sessions_of, wait_until

OWN_FOLDERS = [".confined-claude", ".confined-claude/venvs", ".confined-claude/local-bin"]


@pytest.fixture
def field(private: Field) -> Field:
    return private


def assert_untouched(field: Field) -> None:
    assert field.escaped() == ["key"]
    assert (field.outside / "key").read_text() == f"{SECRET}\n"


@pytest.mark.parametrize("name", [*OWN_FOLDERS, ".confined-claude/local-bin/.lib", ".confined-claude/config.toml"])
def test_a_clone_cannot_have_other_folders_mounted(field: Field, name: str) -> None:
    """M01, M02."""
    field.prepare(f"mkdir -p $(dirname {name}); ln -s OUTSIDE {name}")
    done = field.session(
        "cat ~/.local/bin/key ~/.local/lib/key ~/venvs/key; touch ~/.local/bin/x ~/.local/lib/x ~/venvs/x"
    )
    assert done.returncode == 2, done.stderr
    assert "is a link" in done.stderr
    assert SECRET not in done.stdout
    assert_untouched(field)
    # The control: the engine follows it.
    shown = docker("run", "--rm", "--volume", f"{field.project / name}:/x", "--entrypoint", "cat",
                   "confined-claude:latest", "/x/key")  # fmt: skip
    assert shown.strip() == SECRET


def test_a_session_cannot_have_other_folders_mounted_in_the_next(field: Field) -> None:
    """M03."""
    folder = "PROJECT/.confined-claude"
    swap = f"for f in venvs local-bin local-bin/.lib; do rm -rf {folder}/$f; ln -s OUTSIDE {folder}/$f; done"
    own = "rm -rf ~/.local/bin/.lib; ln -s OUTSIDE ~/.local/bin/.lib"
    field.session(f"{swap}; {own}")
    assert not (field.project / ".confined-claude/venvs").is_symlink()
    done = field.session("cat ~/.local/bin/key ~/.local/lib/key ~/venvs/key; touch ~/.local/lib/x ~/venvs/x")
    assert SECRET not in done.stdout
    assert_untouched(field)
    field.unguarded(swap)  # the control
    assert (field.project / ".confined-claude/venvs/key").read_text().strip() == SECRET


SWAPPING = """
import ctypes, os
os.chdir("/home/claude/.local/bin")
os.path.islink(".x") or os.symlink("OUTSIDE", ".x")
libc = ctypes.CDLL(None)
open("PROJECT/on", "w")
while not os.path.exists("PROJECT/go"):
    for _ in range(1000):
        libc.renameat2(-100, b".lib", -100, b".x", 2)
"""


def test_a_running_session_cannot_have_other_folders_mounted_in_another(field: Field) -> None:
    """What is mounted is looked at before the engine does so; meanwhile another session may swap it."""
    words = ("confined-claude", "shell", "--", "python3", "-c", field.text(SWAPPING))
    with field.user.running(*words, cwd=field.project) as session:
        wait_until((field.project / "on").exists)
        starts = (field.session("cat ~/.local/lib/key; touch ~/.local/lib/x").stdout for _ in range(20))
        got = any(SECRET in said for said in starts)
        field.prepare("touch go")
        session.communicate(timeout=PATIENCE)
    assert not got
    assert_untouched(field)


def test_a_link_for_the_sign_in_is_replaced_not_followed(field: Field) -> None:
    """M04."""
    field.session("cd ~/.claude; for f in .credentials.json .claude.json settings.json; do ln -sf OUTSIDE/key $f; done")
    config = field.user.home / ".local/share/confined-claude/shared/claude-config"
    assert (config / ".credentials.json").is_symlink()
    file = field.user.sign_in()
    (file.parent / "settings.json").write_text("{}")
    (field.user.home / ".claude.json").write_text("{}")
    field.user.run("confined-claude", "--", "-p", "hi", cwd=field.project, ANTHROPIC_API_KEY="")
    assert "accessToken" in (config / ".credentials.json").read_text()
    assert_untouched(field)
    # The control: a plain copy follows it.
    field.prepare(f"ln -sf OUTSIDE/key {config}/x; cp {file} {config}/x")
    assert SECRET not in (field.outside / "key").read_text()


STATE, DATA = ".local/state/confined-claude", ".local/share/confined-claude"


@pytest.mark.parametrize(
    "name",
    [
        STATE,
        f"{STATE}/projects",
        f"{DATA}/shared",
        f"{DATA}/shared/claude-config",
    ],
)
@pytest.mark.parametrize("network", ["internet", "allowlist"])
def test_a_link_for_the_tools_own_folders_is_refused(field: Field, name: str, network: str) -> None:
    """M07."""
    field.prepare(f"mkdir -p $(dirname ~/{name}); rm -rf ~/{name}; ln -s OUTSIDE ~/{name}")
    for words in (("shell", "--", "touch", "/home/claude/.claude/x"), ("review",)):
        done = field.user.run("confined-claude", *words, cwd=field.project, CONFINED_CLAUDE_NETWORK=network)
        assert "Traceback" not in done.stderr
        assert done.returncode == 2 or (words == ("review",) and name.startswith(DATA)), done.stderr
    assert_untouched(field)


def test_a_link_for_gitignore_is_left_alone(field: Field) -> None:
    """M08; the control is in M04."""
    field.prepare("ln -s OUTSIDE/key .gitignore")
    assert field.session("true").returncode == 0
    field.review()
    assert_untouched(field)


def test_a_session_without_a_configuration_of_git_and_claude_makes_none(field: Field) -> None:
    """M13: the engine makes a folder of root's for what is to be mounted and is missing."""
    (field.user.home / ".gitconfig").unlink()
    assert field.session("true").returncode == 0
    assert sorted(path.name for path in field.user.home.iterdir()) == [".local"]
    made = [field.project, *field.project.rglob("*"), *field.user.home.rglob("*")]
    assert {path.lstat().st_uid for path in made} == {field.user.uid}


READS = """
    ln -s OUTSIDE/key link; ln -s /proc/1/root/OUTSIDE/key link2
    cat OUTSIDE/key link link2 /proc/1/root/OUTSIDE/key
    cat PROJECT/../outside/key /proc/self/root/OUTSIDE/key /proc/1/cwd/../outside/key
    ls OUTSIDE .. /home /root; mount --bind / /mnt; ls /mnt; cat /dev/sd* /dev/vd* | head -c 1
"""


def test_a_session_reads_nothing_beside_the_project(field: Field) -> None:
    """M15."""
    done = field.session(READS)
    assert SECRET not in done.stdout
    assert "key" not in done.stdout.split()
    assert field.unguarded(READS, field.outside).count(SECRET) >= 4  # the control: there with a careless mount


def test_a_project_widens_its_confinement_only_by_a_persons_hash(field: Field) -> None:
    """M16."""
    config = field.project / ".confined-claude/config.toml"
    field.user.folder(config.parent)
    open_network = {"CONFINED_CLAUDE_NETWORK": ""}

    def start() -> int:
        return field.session("test -e /sys/class/net/docker0", **open_network).returncode

    def trust(*words: str) -> tuple[int, str]:
        done = field.user.run("confined-claude", "trust", *words, cwd=field.project)
        return done.returncode, done.stdout + done.stderr

    def asks(text: str) -> str:
        config.write_text(text)
        field.user.own(config)
        return hashlib.sha256(text.encode()).hexdigest()

    digest = asks('network = "docker:host"\n')
    assert start() == REVIEW
    assert sessions_of(field.project) == []
    code, said = trust()
    assert code == REVIEW
    assert f"--hash {digest}" in said
    assert "docker:host" in said
    assert trust("--hash", "0" * 64)[0] == REVIEW
    assert start() == REVIEW
    assert trust("--hash", digest)[0] == 0
    assert start() == 0  # the host's own network: what was asked for, and the control

    second = asks('network = "docker:host"\ngit = "open"\n')
    assert start() == REVIEW
    code, said = trust("--hash", digest)
    assert code == REVIEW
    assert '+git = "open"' in said
    assert second in said
    asks('mounts = ["/:/h"]\n')
    assert start() == 2
    # A session cannot change the file, nor what is trusted.
    asks("")
    done = field.session(f"echo 'network = \"docker:host\"' > .confined-claude/config.toml; ls -d {field.user.home}")
    assert done.stdout == ""
    assert config.read_text() == ""
