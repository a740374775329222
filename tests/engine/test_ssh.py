"""A session's ssh: with an agent that signs in at named hosts alone, and without one. The hosts are containers."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import TEST_LABEL, User, docker, own_name, wait_until

from confined_claude.image.recipe import BASE

IMAGE = "confined-claude-test-sshd"
DOCKERFILE = f"""
FROM {BASE}
RUN install="apt-get update && apt-get install -y --no-install-recommends git openssh-server" \\
 && {{ sh -c "$install" || {{ sleep 10; sh -c "$install"; }}; }} && mkdir /run/sshd \\
 && useradd --create-home --shell /bin/sh git && mkdir -m 700 /home/git/.ssh \\
 && git init -q --bare --initial-branch=main /home/git/app.git && chown -R git: /home/git
"""
SERVE = "cp /key /etc/ssh/own && chmod 600 /etc/ssh/own && exec /usr/sbin/sshd -D -e -h /etc/ssh/own"


@dataclass
class Hosts:
    """Two hosts that both let the user's key in, on a network of the test's own."""

    network: str
    named: str
    other: str
    path: str


@pytest.fixture(scope="module")
def image(installed: Path) -> str:
    """What hosts run, made once."""
    subprocess.run(["docker", "build", "--tag", IMAGE, "-"], input=DOCKERFILE.encode(), check=True, capture_output=True)
    return IMAGE


@pytest.fixture
def hosts(user: User, place: Path, image: str) -> Iterator[Hosts]:
    folder = user.folder(user.home / ".ssh")
    folder.chmod(0o700)
    keys = {name: place / name for name in ("named", "other")} | {"mine": folder / "id_ed25519"}
    for path in keys.values():
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        user.own(path)
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--internal", "--label", TEST_LABEL, name)
    # ssh asks the system where its user's home is, not HOME.
    ssh = user.folder(place / "bin") / "ssh"
    ssh.write_text('#!/bin/sh\nexec /usr/bin/ssh -o "UserKnownHostsFile=$HOME/.ssh/known_hosts" "$@"\n')
    ssh.chmod(0o755)
    path = f"{ssh.parent}:{user.environ()['PATH']}"
    hosts = Hosts(name, f"{name}-named.example", f"{name}-other.example", path)
    try:
        for which, alias in (("named", hosts.named), ("other", hosts.other)):
            docker(
                *("run", "--detach", "--name", f"{name}-{which}", "--label", TEST_LABEL, "--network", name),
                *("--network-alias", alias, "--volume", f"{keys[which]}:/key:ro"),
                *("--volume", f"{keys['mine'].with_suffix('.pub')}:/mine:ro", image, "sh", "-c"),
                f"install -o git -m 600 /mine /home/git/.ssh/authorized_keys && {SERVE}",
            )
            kind, public, *_ = keys[which].with_suffix(".pub").read_text().split()
            with (folder / "known_hosts").open("a") as file:
                file.write(f"{alias} {kind} {public}\n")
            wait_until(lambda which=which: "listening" in listening(f"{name}-{which}"))
        yield hosts
    finally:
        docker("rm", "--force", f"{name}-named", f"{name}-other", check=False)
        docker("network", "rm", name, check=False)


def listening(container: str) -> str:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=False)
    return done.stderr.lower()


@pytest.fixture
def repository(user: User, place: Path) -> Path:
    return user.repository(user.folder(own_name(place)))


def shell(user: User, project: Path, hosts: Hosts, script: str, *flags: str) -> str:
    network = {"CONFINED_CLAUDE_NETWORK": f"docker:{hosts.network}", "ANTHROPIC_BASE_URL": "", "PATH": hosts.path}
    done = user.run("confined-claude", "shell", *flags, "--", "sh", "-c", script, cwd=project, **network)
    return done.stdout + done.stderr


def test_git_signs_in_at_the_named_host_and_at_no_other(user: User, repository: Path, hosts: Hosts) -> None:
    script = f"""
        git push git@{hosts.named}:app.git main; echo named $?
        git fetch git@{hosts.named}:app.git; echo fetched $?
        ssh -o StrictHostKeyChecking=no git@{hosts.other} true; echo other $?
        ssh -o HostKeyAlias={hosts.named} -o StrictHostKeyChecking=no git@{hosts.other} true; echo alias $?
        ssh -v git@{hosts.named} true 2>&1 | grep -c 'Authenticated to'
        ssh-add -l | wc -l; ssh-add -D; ssh-add -l | wc -l
        echo data >f; ssh-add -L >pub; ssh-keygen -Y sign -n file -f pub f
        ls f.sig
    """
    said = shell(user, repository, hosts, script, "--ssh-agent", f"git@{hosts.named}")
    # The key is listed, and not deleted.
    assert "named 0\nfetched 0\nother 255\nalias 255\n1\n1\n1\n" in said, said
    assert "cannot access 'f.sig'" in said
    assert f"Your ssh keys have signed 3 times, for git@{hosts.named}." in said
    # The control: with the key itself the other host is as open.
    (repository / "key").write_bytes((user.home / ".ssh/id_ed25519").read_bytes())
    (repository / "key").chmod(0o600)
    script = f"ssh -i key -o StrictHostKeyChecking=no git@{hosts.other} true; echo other $?"
    assert "other 0\n" in shell(user, repository, hosts, script)


def test_without_an_agent_git_says_how_to_allow_it(user: User, repository: Path, hosts: Hosts) -> None:
    script = f"git fetch git@{hosts.named}:app.git; echo code $?; env | grep SSH_AUTH"
    said = shell(user, repository, hosts, script)
    assert 'ssh_agent = ["git@HOST"]' in said
    assert "token of narrow scope" in said
    assert "code 128" in said
    assert "SSH_AUTH" not in said
