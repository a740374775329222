"""What a session does about the rules that its own start has set, and to what its start could do for that."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import Field
from helpers import docker
from probes import INTERNET, background, confined, containers, plain

pytestmark = pytest.mark.root

NET_ADMIN, SETPCAP = 1 << 12, 1 << 8
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
OWN_STATUS = ("cat", "/proc/self/status")
# What changes the rules, or the network that they are for.
CHANGES = {
    "flush": "nft flush ruleset",
    "delete": "nft delete table inet confined_claude",
    "insert": "nft insert rule inet confined_claude output accept",
    "look": "nft list ruleset",
    "forward": "echo 1 >/proc/sys/net/ipv4/ip_forward",
    "a namespace": "unshare -n nft flush ruleset",
    "namespaces": "unshare -Urn nft flush ruleset",
    "that of the first process": "nsenter -t 1 -n nft flush ruleset",
    "back into the bounding set": "setpriv --bounding-set=+net_admin nft flush ruleset",
    "ambient": "setpriv --inh-caps=+net_admin --ambient-caps=+net_admin nft flush ruleset",
    "the entrypoint again": "/opt/confined-claude/init/entrypoint --rules '' $(id -u):$(id -g) / true",
    "a mark": "python3 -c 'import socket; socket.socket().setsockopt(1, 36, 1)'",
}
# A program that everybody runs with root's rights, and one with a capability of its own.
PROGRAMS = """
    cp /usr/bin/python3.11 PROJECT/setuid && chown 0:0 PROJECT/setuid && chmod 4755 PROJECT/setuid
    cp /usr/sbin/nft PROJECT/capable && chmod 755 PROJECT/capable
    python3 -c 'import os; os.setxattr("PROJECT/capable", "security.capability",
                                       bytes.fromhex("0100000200100000") + bytes(12))'
"""
RUN = {
    # nft itself refuses to run with the rights of its owner.
    "setuid": 'PROJECT/setuid -c \'import os; os.setuid(0); os.execv("/usr/sbin/nft", ["nft", "list", "ruleset"])\'',
    "capable": "PROJECT/capable list ruleset",
}


def capabilities(status: str) -> dict[str, int]:
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {name: int(lines[name], 16) for name in CAPABILITIES}


@contextlib.contextmanager
def session(field: Field) -> Iterator[str]:
    """A session with a package helper, by its container's name; its rules are the same at the end."""
    with background(field, ["sleep", "300"], **INTERNET) as (_, name):
        assert containers(field, "sidecar") == []
        before = rules(name)
        assert "policy drop" in before
        yield name
        assert rules(name) == before


def rules(name: str) -> str:
    """The rules in a container; only `docker exec -u 0` can look."""
    return docker("exec", "--user", "0", name, "nft", "list", "ruleset")


def succeeded(scripts: dict[str, str], *words: str) -> list[str]:
    """Those of ``scripts`` that succeed, run by ``words``."""
    done = {
        name: subprocess.run([*words, script], check=False, capture_output=True) for name, script in scripts.items()
    }
    return [name for name in done if done[name].returncode == 0]


def test_no_process_of_a_session_can_have_what_set_the_rules(field: Field) -> None:
    """Not the package helper either, which is root."""
    with session(field) as name:
        pids = docker("top", name, "-eo", "pid").split()[1:]
        found = {pid: Path(f"/proc/{pid}/status").read_text() for pid in pids}
        assert {status.split("Uid:\t")[1].split()[0] for status in found.values()} == {"0", str(field.user.uid)}
        for status in found.values():
            assert {
                kind: value & (NET_ADMIN | SETPCAP) for kind, value in capabilities(status).items()
            } == dict.fromkeys(CAPABILITIES, 0)
        # The control: the container is configured with both.
        held = capabilities(docker("exec", "--user", "0", name, *OWN_STATUS))
        assert held["CapEff"] & (NET_ADMIN | SETPCAP) == NET_ADMIN | SETPCAP


def test_nothing_in_a_session_changes_its_rules(field: Field) -> None:
    """By the agent, by a command of `exec` or `docker exec`, by programs with more rights, and by the helper's root."""
    plain(field, {"make": PROGRAMS})
    attacks = {name: field.text(script) for name, script in {**CHANGES, **RUN}.items()}
    assert confined(field, attacks, **INTERNET).succeeded(list(attacks)) == {}
    with session(field) as name:
        by_tool = field.user.command("env", "-i", *(f"{key}={value}" for key, value in field.user.environ().items()))
        own = [*by_tool, str(field.user.bin / "confined-claude"), "exec", "--session", name, "--"]
        for words in (own, ["docker", "exec", name]):
            status = subprocess.run([*words, *OWN_STATUS], check=True, capture_output=True, text=True).stdout
            assert all(value == 0 for kind, value in capabilities(status).items() if kind != "CapBnd")
            assert "NoNewPrivs:\t1" in status
            assert succeeded(attacks, *words, "sh", "-c") == []
        # As the helper's root is, were it taken over.
        root = ["docker", "exec", "--user", "0", name]
        helper = [*root, "setpriv", "--bounding-set=-net_admin,-setpcap", "--inh-caps=-all"]
        assert docker(*helper[1:], "id", "-u").strip() == "0"
        its = capabilities(docker(*helper[1:], *OWN_STATUS))
        (pid,) = docker("exec", name, "pgrep", "-nf", "[p]ackages.helper [0-9]").split()
        assert its == capabilities(docker("exec", name, "cat", f"/proc/{pid}/status"))
        assert succeeded(attacks, *helper, "sh", "-c") == []
        # The control, and the exception: root by the engine's own word.
        assert succeeded({"look": CHANGES["look"]}, *root, "sh", "-c") == ["look"]


def test_programs_with_more_rights_have_them_elsewhere(field: Field) -> None:
    """The control of these: a plain container, with new privileges."""
    own = {name: f"setpriv --reuid 12345 --clear-groups {script}" for name, script in RUN.items()}
    done = plain(field, {"make": PROGRAMS, **own}, "--cap-add", "NET_ADMIN")
    assert list(done.succeeded(list(RUN))) == list(RUN)


def test_who_a_user_is_in_the_container_decides_nothing_for_exec(field: Field) -> None:
    """Root in the container, were it taken over, could give the agent's name root's uid."""
    with session(field) as name:
        docker("exec", "--user", "0", name, "sed", "-i", "s/^claude:x:[0-9]*:/claude:x:0:/", "/etc/passwd")
        done = field.user.run("confined-claude", "exec", "--session", name, "--", *OWN_STATUS, cwd=field.project)
        assert done.returncode == 0, done.stderr
        assert f"Uid:\t{field.user.uid}\t" in done.stdout
        assert capabilities(done.stdout)["CapEff"] == 0
        assert docker("exec", name, "id", "-u").strip() == "0"  # the control


@pytest.mark.parametrize("missing", ["NET_ADMIN", "SETPCAP", ""])
def test_a_session_whose_rules_cannot_be_set_does_not_start(field: Field, missing: str) -> None:
    names = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "NET_ADMIN", "SETPCAP"} - {missing}
    options = [word for name in sorted(names) for word in ("--cap-add", name)]
    command = ["12345:12345", str(field.project), "touch", str(field.project / "ran")]
    mount = ("--volume", f"{field.project}:{field.project}")
    words = ["docker", "run", "--rm", "--cap-drop", "ALL", *options, *mount, "confined-claude:latest"]
    done = subprocess.run(
        [*words, "--rules", "closed=10.0.0.0/8 closed=fc00::/7", *command], check=False, capture_output=True
    )
    ran = (field.project / "ran").exists()
    assert (done.returncode == 0, ran) == ((False, False) if missing else (True, True)), done.stderr
    if missing:
        assert done.returncode == 3
        assert {"NET_ADMIN": b"the engine's kernel does not accept", "SETPCAP": b"could change its own network rules"}[
            missing
        ] in done.stderr
