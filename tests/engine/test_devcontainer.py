"""``export devcontainer``, and the container that the editors' own command line starts by it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import User, docker, own_name, wait_until

pytestmark = pytest.mark.root

CLI = "@devcontainers/cli@0.89.0"
SCRIPT = """
id -u; pwd; echo theirs >made; grep CapEff /proc/self/status; touch .devcontainer/planted; mv .devcontainer gone
python3 -c 'import socket; print(socket.socket().connect_ex(("172.17.0.1", 1)))'; claude --version
"""


@pytest.fixture
def cli(place: Path) -> Path:
    """The command ``devcontainer``, from npm."""
    folder = place / "devcontainers"
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), CLI]
    # npm trusts its own list of CAs, and not the company's that the machine trusts.
    trusted = {"NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt"}
    subprocess.run(words, check=True, timeout=900, cwd=place, env=os.environ | trusted)
    return folder / "node_modules/.bin/devcontainer"


@pytest.fixture
def nobody(make_user: Callable[..., User]) -> User:
    """A user with a name, which editors ask for; sessions' rules need no sidecar for one who is not root."""
    return make_user(65534, 65534, CONFINED_CLAUDE_NETWORK="internet", ANTHROPIC_BASE_URL="")


@pytest.fixture
def directory(nobody: User, place: Path) -> Iterator[Path]:
    made = nobody.folder(own_name(place))
    yield made
    for name in docker("ps", "--all", "--quiet", "--filter", f"label=devcontainer.local_folder={made}").split():
        docker("rm", "--force", name)


def exported(user: User, directory: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return user.run("confined-claude", "export", *words, cwd=directory, **variables)


def test_what_an_editor_starts_is_as_a_session_is(nobody: User, directory: Path, cli: Path) -> None:
    done = exported(nobody, directory, "devcontainer")
    assert done.returncode == 0, done.stderr
    file = directory / ".devcontainer/devcontainer.json"
    assert f"Wrote {file}." in done.stdout
    assert "the guard: git's settings and hooks" in done.stdout
    assert file.stat().st_uid == nobody.uid

    words = ("--workspace-folder", str(directory))
    started = nobody.run(str(cli), "up", *words, cwd=directory)
    assert '"outcome":"success"' in started.stdout, started.stdout + started.stderr
    (name,) = docker("ps", "--quiet", "--filter", f"label=devcontainer.local_folder={directory}").split()
    wait_until(lambda: "sleep infinity" in docker("top", name))
    said = nobody.run(str(cli), "exec", *words, "sh", "-c", SCRIPT, cwd=directory)
    uid, where, capabilities, gateway, version = said.stdout.splitlines()
    assert (uid, where, capabilities.split()[1]) == ("65534", str(directory), "0" * 16)
    assert gateway == "113"  # it is there, and closed
    assert "Claude Code" in version
    assert (directory / "made").stat().st_uid == nobody.uid
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert json.loads(docker("inspect", name))[0]["HostConfig"]["PidsLimit"] == 4096
    # The control: without what the session has, the address answers.
    probe = "import socket; print(socket.socket().connect_ex(('172.17.0.1', 1)))"
    image = json.loads(file.read_text())["image"]
    assert docker("run", "--rm", "--entrypoint", "python3", image, "-c", probe) == "111\n"


def test_one_that_is_there_is_only_replaced_when_that_is_said(nobody: User, directory: Path) -> None:
    still = {"CONFINED_CLAUDE_NETWORK": "none"}  # its file has no networks of this machine, which other tests change
    file = nobody.folder(directory / ".devcontainer") / "devcontainer.json"
    file.write_text('{"image": "mine"}')
    nobody.own(file)
    done = exported(nobody, directory, "devcontainer", **still)
    assert (done.returncode, f"{file} is there with other content" in done.stderr) == (2, True)
    assert file.read_text() == '{"image": "mine"}'
    done = exported(nobody, directory, "devcontainer", "--force", **still)
    assert f"Replaced {file}." in done.stdout, done.stderr
    written = file.read_text()
    assert "confined-claude:" in written
    again = exported(nobody, directory, "devcontainer", **still)  # it is what this writes
    assert (again.returncode, file.read_text()) == (0, written), again.stderr
    # Nobody would serve its socket.
    agent = exported(nobody, directory, "devcontainer", CONFINED_CLAUDE_SSH_AGENT="git@forge.example", **still)
    assert (agent.returncode, file.read_text()) == (0, written), agent.stderr
    lent = exported(nobody, directory, "devcontainer", "--force", CONFINED_CLAUDE_SIGN_IN="lent", **still)
    assert "claude-config-lent" in file.read_text(), lent.stderr
    said = "a sign-in to Claude: sign_in"
    assert (said in lent.stdout, said in done.stdout) == (True, False)


def test_one_beside_it_counts_as_well(nobody: User, directory: Path) -> None:
    (directory / ".devcontainer.json").write_text("{}")
    assert exported(nobody, directory, "devcontainer").returncode == 2
    assert not (directory / ".devcontainer/devcontainer.json").exists()


def test_a_link_that_leads_elsewhere_is_not_followed(nobody: User, directory: Path, place: Path) -> None:
    elsewhere = nobody.folder(place / "elsewhere")
    (directory / ".devcontainer").symlink_to(elsewhere)
    done = exported(nobody, directory, "devcontainer", "--force")
    assert (done.returncode, "is a link" in done.stderr) == (2, True), done.stderr
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("nosuch",)])
def test_nothing_else_can_be_exported(nobody: User, directory: Path, words: tuple[str, ...]) -> None:
    done = exported(nobody, directory, *words)
    assert (done.returncode, "export devcontainer" in done.stderr) == (2, True)
    assert os.listdir(directory) == []
