"""Many attacks in one container, what came of each, and the services of the test's own at which they aim."""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from attacks import Field
from elsewhere import elsewhere
from helpers import TEST_LABEL, User, docker, sessions_of, sidecars_of, wait_until

IMAGE = "confined-claude:latest"
# Addresses of this machine that lead nowhere: of a link alone, and the tests' own.
_NOT_OURS = ("127.", "::1", "fe80", "198.51.100.")
# As users of the tool have it, and without the fake API that other networks do not reach.
INTERNET = {"CONFINED_CLAUDE_NETWORK": "internet", "ANTHROPIC_BASE_URL": ""}
# Where the session's container cannot be trusted with the rules.
BY_SIDECAR = {**INTERNET, "CONFINED_CLAUDE_SUDO": "full"}
OPEN = {**INTERNET, "CONFINED_CLAUDE_NETWORK": "open"}
NONE = {**INTERNET, "CONFINED_CLAUDE_NETWORK": "none"}

# Runs each script of the JSON object in its argument, and prints one JSON line for each.
_RUNNER = """
import json, subprocess, sys
for name, script in json.loads(sys.argv[1]).items():
    words = ["bash", "-c", script]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=500, start_new_session=True)
        code, said = done.returncode, done.stdout
    except subprocess.TimeoutExpired as expired:
        code, said = 1000, expired.stdout or b""
    print("STEP " + json.dumps([name, code, said.decode("utf-8", "replace")]), flush=True)
"""

# Connects to each [kind, host, port, own port] of the JSON list in its argument, all at once.
_PROBER = """
import contextlib, errno, json, os, socket, struct, sys, threading
what, tag = json.loads(sys.argv[1]), sys.argv[2]
found = {}
def probe(kind, host, port, own):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if kind == "icmp":
        sock = socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        data = struct.pack("!BBHHH", 8, 0, 0xF7FE, 0, 1)
    else:
        sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        data = f"{tag} {host}".encode()
    with sock:
        sock.settimeout(10 if kind == "tcp" else 2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if own:
            sock.bind(("", own))
        sock.connect((host, port))
        for _ in range(0 if kind == "tcp" else 4):  # a datagram may be lost
            sock.send(data)
            with contextlib.suppress(TimeoutError):
                return "open" if sock.recv(100) else "empty"
        return "open" if sock.recv(100) else "empty"
def note(kind, host, port, own):
    try:
        result = probe(kind, host, port, own)
    except TimeoutError:
        result = "silent"
    except socket.gaierror:
        result = "no such name"
    except OSError as error:
        result = errno.errorcode.get(error.errno, str(error))
    found[f"{kind} {host}:{port}"] = result
threads = [threading.Thread(target=note, args=target) for target in what]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(found))
"""

# Answers at a TCP and a UDP port of all addresses, and prints the port and then what comes.
_SERVER = """
import selectors, socket, sys
def bound(kind, port):
    try:
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    except OSError:
        sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("", port))
    return sock
while True:
    tcp = bound(socket.SOCK_STREAM, int(sys.argv[1]))
    try:
        udp = bound(socket.SOCK_DGRAM, tcp.getsockname()[1])
        break
    except OSError:
        tcp.close()
tcp.listen(100)
print(tcp.getsockname()[1], flush=True)
selector = selectors.DefaultSelector()
selector.register(tcp, selectors.EVENT_READ)
selector.register(udp, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is tcp:
            client, who = tcp.accept()
            with client:
                client.sendall(b"pong")
            print("tcp", who[0], flush=True)
        else:
            said, sent_to, _, who = udp.recvmsg(100, 100)
            # From the very address that was asked, on whatever device.
            udp.sendmsg([b"pong"], [(level, kind, data[:16] + bytes(4)) for level, kind, data in sent_to], 0, who)
            print("udp", who[0], said.decode(), flush=True)
"""

# What the kernel says where something is closed: at once, and not by letting one wait.
REFUSALS = {errno.errorcode[number] for number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM)}
REFUSALS |= {"EADDRNOTAVAIL", "no such name"}  # without IPv6, and for host.docker.internal


@dataclass(frozen=True)
class Outcome:
    """The exit code of an attack, and what it printed."""

    code: int
    said: str


@dataclass(frozen=True)
class Outcomes:
    """What came of several attacks; ``code`` and ``told`` are the session's own exit code and stderr."""

    steps: Mapping[str, Outcome]
    code: int = 0
    told: str = ""

    def __getitem__(self, name: str) -> Outcome:
        assert name in self.steps, f"it did not get to {name!r}: {self.told}"
        return self.steps[name]

    def succeeded(self, names: Sequence[str]) -> dict[str, str]:
        """Those of ``names`` that ended with 0, and what they printed."""
        return {name: self[name].said for name in names if self[name].code == 0}


def steps_of(output: str) -> dict[str, Outcome]:
    lines = (json.loads(line.removeprefix("STEP ")) for line in output.splitlines() if line.startswith("STEP "))
    return {name: Outcome(code, said) for name, code, said in lines}


def runner(field: Field, steps: Mapping[str, str]) -> list[str]:
    return ["python3", "-c", _RUNNER, json.dumps({name: field.text(script) for name, script in steps.items()})]


def confined(field: Field, steps: Mapping[str, str], *flags: str, **variables: str) -> Outcomes:
    """Each of ``steps`` in one session."""
    words = ("confined-claude", "shell", *flags, "--", *runner(field, steps))
    done = field.user.run(*words, cwd=field.project, **variables)
    return Outcomes(steps_of(done.stdout), done.returncode, done.stderr)


def plain(field: Field, steps: Mapping[str, str], *options: str, network: str = "none") -> Outcomes:
    """Each of ``steps`` in one plain container with the project, as root, as simple scripts do."""
    made = docker(*plain_words(field, *options, network=network), *runner(field, steps)[1:], check=False)
    return Outcomes(steps_of(made))


def plain_words(field: Field, *options: str, network: str = "none") -> list[str]:
    return [
        *("run", "--rm", "--label", TEST_LABEL, "--network", network, "--user", "0:0"),
        *("--volume", f"{field.project}:{field.project}", "--workdir", str(field.project)),
        *(*options, "--entrypoint", "python3", IMAGE),
    ]


@dataclass(frozen=True)
class Target:
    """Where to connect to. ``own`` is the port to connect from, if that matters."""

    kind: str
    host: str
    port: int = 0
    own: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.host}:{self.port}"


def probe_words(targets: Sequence[Target], tag: str = "probe") -> list[str]:
    given = [[target.kind, target.host, target.port, target.own] for target in targets]
    return ["python3", "-c", _PROBER, json.dumps(given), tag]


def probed(output: str) -> dict[str, str]:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    assert lines, output
    return dict(json.loads(lines[-1]))


def probe(field: Field, targets: Sequence[Target], *flags: str, tag: str = "probe", **variables: str) -> dict[str, str]:
    """What comes of connecting to ``targets`` from one session."""
    words = ("confined-claude", "shell", *flags, "--", *probe_words(targets, tag))
    done = field.user.run(*words, cwd=field.project, **variables)
    assert done.stdout, done.stderr
    return probed(done.stdout)


@dataclass(frozen=True)
class Service:
    """Something that answers with TCP and UDP at ``port``, and its log."""

    port: int
    log: Path

    def got(self, tag: str) -> bool:
        """Whether a datagram with that tag has come."""
        return any(tag in line.split() for line in self.log.read_text().splitlines())

    @property
    def connections(self) -> int:
        return sum(line.startswith("tcp") for line in self.log.read_text().splitlines())


@contextlib.contextmanager
def service(folder: Path, *around: str, port: int = 0) -> Iterator[Service]:
    """A service on all addresses of this machine, or of where ``around`` leads."""
    log = folder / f"service-{secrets.token_hex(4)}"
    with log.open("w") as file:
        server = subprocess.Popen([*around, sys.executable, "-c", _SERVER, str(port)], stdout=file)
    try:
        wait_until(lambda: log.read_text().endswith("\n") or server.poll() is not None)
        yield Service(int(log.read_text().split()[0]), log)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


@contextlib.contextmanager
def neighbour(*options: str) -> Iterator[tuple[str, str, int]]:
    """Another container on the engine's default bridge with a service: its (name, address, port)."""
    name = f"confined-claude-test-{secrets.token_hex(4)}"
    docker("run", "--detach", "--name", name, "--label", TEST_LABEL, *options,
           "--entrypoint", "python3", IMAGE, "-c", _SERVER, "4711")  # fmt: skip
    try:
        wait_until(lambda: docker("logs", name).strip())
        yield name, address_of(name), 4711
    finally:
        docker("rm", "--force", name)


def address_of(container: str) -> str:
    return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", container).strip()


@dataclass(frozen=True)
class Outside:
    """A made-up internet: a network namespace, with an address out there and some that are never out there."""

    service: Service
    address: str
    private: tuple[str, ...]


@contextlib.contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    """Needs root, and iproute2. Routes to single addresses lead there, which are gone afterwards."""

    def addresses_of(number: int) -> list[str]:
        private = (f"{start}.{200 + number}.1" for start in ("10.213", "100.64", "172.31", "192.168", "169.254"))
        return [f"203.0.113.{130 + number}", *private, f"198.18.{number}.1"]

    with elsewhere(addresses_of) as there, service(folder, *there.around) as served:
        address, *never_out_there = there.addresses
        yield Outside(served, address, tuple(never_out_there))


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses but for the loopback's, and its IPv6 ones but for those of a link."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = ioctl(sock.fileno(), 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
                found.append(socket.inet_ntoa(answer[20:24]))
    interfaces = Path("/proc/net/if_inet6")
    for line in interfaces.read_text().splitlines() if interfaces.exists() else ():
        found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])))
    return [address for address in found if not address.startswith(_NOT_OURS)]


def gateway() -> str:
    """This machine's address on the engine's default bridge."""
    return docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge").strip() or next(
        address for address in own_addresses() if address.startswith("172.")
    )


@contextlib.contextmanager
def background(
    field: Field, command: Sequence[str], *flags: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A session that runs ``command``, from when that is so on: the tool, and its container's name."""
    tool = (field.project / "started", f'touch {field.project}/started; exec "$@"')
    words = ("confined-claude", "shell", *flags, "--", "sh", "-c", tool[1], "sh", *command)
    with field.user.running(*words, cwd=field.project, new_session=True, **variables) as process:
        wait_until(lambda: tool[0].exists() or process.poll() is not None)
        assert process.poll() is None, process.stdout and process.stdout.read()
        tool[0].unlink()
        yield process, containers(field, "session")[0]


def containers(field: Field, kind: str) -> list[str]:
    """The names of the containers of a kind, session or sidecar, that belong to the field's project."""
    return sessions_of(field.project) if kind == "session" else sidecars_of(field.project)


def volumes_of(*names: str) -> set[str]:
    """The names of the volumes that containers use."""
    mounts = (mount for found in json.loads(docker("inspect", *names)) for mount in found["Mounts"])
    return {mount["Name"] for mount in mounts if mount["Type"] == "volume"}


def volumes() -> set[str]:
    """The names of the engine's volumes, other sessions' included."""
    return set(docker("volume", "ls", "--quiet").split())


def settle(field: Field) -> None:
    """Return when nothing of the project's sessions is left; fails the test if something stays."""
    wait_until(lambda: not containers(field, "session") and not containers(field, "sidecar"))


def settings_file(user: User, text: str) -> Path:
    """The user's own config file, with ``text`` in it."""
    for folder in (".config", ".config/confined-claude"):
        user.folder(user.home / folder)
    file = user.home / ".config/confined-claude/config.toml"
    file.write_text(text)
    user.own(file)
    return file
