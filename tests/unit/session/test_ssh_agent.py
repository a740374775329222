"""The ssh agent of a session: what it has, and which messages reach it. OpenSSH's own agent is behind it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from confined_claude.egress.relay import Relay
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.session import ssh_agent
from confined_claude.session.ssh_agent import SshAgent

from ..waiting import until

pytestmark = pytest.mark.timeout(120)

FAILURE, SUCCESS, KEYS = 5, 6, 12
LIST, SIGN, ADD, REMOVE, REMOVE_ALL, ADD_CARD, LOCK, ADD_BOUND, EXTENSION = 11, 13, 17, 18, 19, 20, 22, 25, 27


def text(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


@dataclass
class Ground:
    """A user with keys and known hosts, whose ssh has no other settings than these."""

    home: Path
    place: Location

    def key(self, name: str) -> Path:
        path = self.home / ".ssh" / name
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return path

    def know(self, host: str, name: str) -> None:
        public = self.key(f"of-{name}").with_suffix(".pub").read_text().split()
        with (self.home / ".ssh/known_hosts").open("a") as file:
            file.write(f"{host} {public[0]} {public[1]}\n")

    def configure(self, text: str) -> None:
        (self.home / ".ssh/config").write_text(text)

    @contextlib.contextmanager
    def agent(self, *entries: str) -> Iterator[SshAgent]:
        with (
            SshAgent(entries or ("git@forge.example",), self.place.at("agent")) as agent,
            Relay(self.place.at("relay"), (), {ssh_agent.SOCKET: agent.serve}, agent.files),
        ):
            yield agent

    def connect(self, place: str = "relay") -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        fd = os.open(self.place.at(place).path, os.O_PATH)
        try:
            sock.connect(f"/proc/self/fd/{fd}/agent")
        finally:
            os.close(fd)
        return sock

    def ask(self, message: bytes, place: str = "relay", sock: socket.socket | None = None) -> bytes:
        """The answer to one message: at the session's socket, or at the agent's own for the control."""
        with sock or self.connect(place) as one:
            one.sendall(text(message))
            (size,) = struct.unpack(">I", one.recv(4, socket.MSG_WAITALL))
            return one.recv(size, socket.MSG_WAITALL)

    def keys(self, place: str = "relay") -> int:
        answer = self.ask(bytes([LIST]), place)
        assert answer[0] == KEYS
        return int(struct.unpack(">I", answer[1:5])[0])


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    ground = Ground(home, Location(tmp_path, ("state",)))
    # ssh asks the system for the home directory: its settings are all named here.
    real = ssh_agent._run

    def run(words: list[str], what: str, *more: object) -> str:
        if words[:2] == ["ssh", "-G"]:
            words = ["ssh", "-F", str(home / ".ssh/config"), *words[1:]]
        return real(words, what, *more)

    monkeypatch.setattr(ssh_agent, "_run", run)
    monkeypatch.setenv("HOME", str(home))
    ground.key("mine")
    ground.know("forge.example", "forge")
    ground.configure(
        f"Host *\n  IdentityFile {home}/.ssh/mine\n  UserKnownHostsFile {home}/.ssh/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
    )
    return ground


def public(ground: Ground) -> bytes:
    """The public key as messages have it."""
    import base64

    return base64.b64decode((ground.home / ".ssh/mine.pub").read_text().split()[1])


def sign_request(key: bytes) -> bytes:
    return bytes([SIGN]) + text(key) + text(b"anything") + struct.pack(">I", 0)


def test_the_session_has_the_keys_for_the_named_host_alone(ground: Ground) -> None:
    with ground.agent() as agent:
        assert ground.keys() == 1
        assert set(agent.files) == {"known_hosts", "ssh_config"}
        known = agent.files["known_hosts"].decode()
        assert known.startswith("forge.example ssh-ed25519 ")
        assert (ground.place.at("relay").path / "known_hosts").read_text() == known
        assert "HostKeyAlias forge.example" in agent.files["ssh_config"].decode()
        assert agent.lines() == []
    assert not ground.place.at("agent").path.exists()
    assert not ground.place.at("relay").path.exists()


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (ADD, b""),
        (ADD_BOUND, b""),
        (REMOVE, b""),
        (REMOVE_ALL, b""),
        (ADD_CARD, text(b"/x.so") + text(b"")),
        (LOCK, text(b"x")),
        (EXTENSION, text(b"query")),
        (EXTENSION, text(b"session-bind@openssh.com.evil")),
        (LIST, b"x"),
        (1, b""),
        (255, b""),
    ],
)
def test_other_messages_do_not_reach_the_agent(ground: Ground, kind: int, rest: bytes) -> None:
    with ground.agent():
        assert ground.ask(bytes([kind]) + rest) == bytes([FAILURE])
        assert ground.keys() == 1


def test_at_the_agents_own_socket_the_keys_could_be_deleted(ground: Ground) -> None:
    """The control: what the session is kept from works where it cannot go."""
    with ground.agent():
        assert ground.ask(bytes([REMOVE_ALL]), "agent") == bytes([SUCCESS])
        assert ground.keys() == 0


def test_nothing_is_signed_without_a_bound_connection(ground: Ground) -> None:
    with ground.agent() as agent:
        assert ground.ask(sign_request(public(ground))) == bytes([FAILURE])
        assert agent.lines() == []
        # The control: the same agent signs with a key that is not bound.
        words = ["ssh-add", "-q", str(ground.home / ".ssh/mine")]
        subprocess.run(
            words, cwd=ground.place.at("agent").path, env={**os.environ, "SSH_AUTH_SOCK": "agent"}, check=True
        )
        assert ground.ask(sign_request(public(ground)))[0] == 14
        assert agent.lines() == ["Your ssh keys have signed 1 time, for git@forge.example."]


@pytest.mark.parametrize("sent", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0", b"\0\0\0\x05ab", b""])
def test_what_is_no_message_ends_the_connection(ground: Ground, sent: bytes) -> None:
    with ground.agent():
        with ground.connect() as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        assert ground.keys() == 1


def test_many_connections_at_once_wait_in_line(ground: Ground) -> None:
    with ground.agent():
        many = [ground.connect() for _ in range(100)]
        for sock in many:
            sock.close()
        assert ground.keys() == 1


def test_an_agent_that_is_dead_ends_the_connection(ground: Ground) -> None:
    with ground.agent():
        (ground.place.at("agent").path / "agent").unlink()
        # It may end before anything is sent.
        with ground.connect() as sock, contextlib.suppress(ConnectionError):
            sock.sendall(text(bytes([LIST])))
            assert sock.recv(1) == b""


def test_the_agent_is_gone_with_the_session(ground: Ground) -> None:
    def agents() -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and (entry / "cwd").resolve() == ground.place.at("agent").path:
                    found.append((entry / "comm").read_text())
        return found

    with ground.agent():
        assert agents()
    until(lambda: not agents())


def test_other_ports_and_names_of_the_users_settings(ground: Ground) -> None:
    ground.know("[ssh.other.example]:443", "other")
    with (ground.home / ".ssh/config").open("a") as file:
        file.write("Host other\n  HostName ssh.other.example\n  Port 443\n")
    with ground.agent("git@other", "git@forge.example") as agent:
        assert ground.keys() == 1
        config = agent.files["ssh_config"].decode()
    assert "Host other\n  HostName ssh.other.example\n  HostKeyAlias other\n" in config
    assert "  Port 443\n" in config


def test_a_key_of_a_host_that_is_revoked_is_none(ground: Ground) -> None:
    known = ground.home / ".ssh/known_hosts"
    _, *key = known.read_text().split()
    ground.know("forge.example", "second")
    with known.open("a") as file:
        file.write(f"@revoked * {' '.join(key)}\n")
    with ground.agent() as agent:
        lines = agent.files["known_hosts"].decode().splitlines()
    assert len(lines) == 1  # the control: the other one stays
    assert key[1] not in lines[0]


@pytest.mark.parametrize(
    ("entry", "config", "said"),
    [
        ("git@unknown.example", "", "knows no key of the host unknown.example"),
        ("git@forge.example", "IdentityFile /nowhere\nIdentitiesOnly yes\n", "no key file for git@forge.example"),
    ],
)
def test_what_cannot_be_is_told(ground: Ground, entry: str, config: str, said: str) -> None:
    known = (ground.home / ".ssh/config").read_text().split("\n", 2)[2]
    ground.configure(f"{config}Host *\n{known}" if config else (ground.home / ".ssh/config").read_text())
    with pytest.raises(ConfinedError, match=said), ground.agent(entry):
        pass
    assert not ground.place.at("agent").path.exists()


def test_a_key_with_a_passphrase_needs_a_terminal(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", ground.home / ".ssh/mine"], check=True)
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    with pytest.raises(ConfinedError, match=r"cannot add .*mine"), ground.agent():
        pass
