"""The tour: what a user does with an engine, step by step. Each step returns a word for the table, or fails."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helpers import API_KEY, REPOSITORY, User, docker, wait_until

from confined_claude.image.recipe import LATEST, image_chain
from confined_claude.settings import Settings

from .kinds import Kind
from .machine import UID, Machine

_API_PORT = 8787
# Who sees what of the process that asks; and what can be reached.
_SELF = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t\\n' ' '; echo; id -u; id -g"
# Outside is where the session's apt has its packages from.
_REACH = """
outside=$(apt-get update --print-uris | head -n 1 | cut -d "'" -f 2)
for place in "$outside" {0}; do
    curl -fs -o /dev/null -m 10 "$place" && case $place in {0}) echo inside ;; *) echo outside ;; esac
done
true
"""
_OURS = ("--filter", "label=confined-claude")


@dataclass(frozen=True)
class Someone(User):
    """A user of a machine of the tests' own."""

    machine: Machine = field(default_factory=lambda: Machine(0, "", ""))

    def command(self, *words: str, docker_group: bool = True) -> list[str]:  # noqa: ARG002 - it has no other group
        inside = shlex.join(self.machine.words(*words, uid=self.uid, directory="HERE"))
        return ["sh", "-c", "exec " + inside.replace("--wdns=HERE", '--wdns="$PWD"')]


@dataclass(frozen=True)
class Tour:
    """One engine with its user and an empty project; ``lan`` is the address of a server in the machine's network."""

    kind: Kind
    user: Someone
    project: Path
    lan: str

    def tool(self, *words: str, code: int = 0) -> str:
        """Run the tool and return what it prints, after what it says."""
        done = self.user.run("confined-claude", *words, cwd=self.project)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr + done.stdout

    def shell(self, script: str, *options: str, code: int = 0) -> list[str]:
        """Run a script in a session, and return the lines that it prints."""
        return self.tool("shell", *options, "--", "sh", "-c", script, code=code).splitlines()

    def own(self, *words: str, check: bool = True) -> str:
        """What the engine's own command prints."""
        return self.user.machine.run(*self.kind.command, *words, uid=self.kind.uid, check=check, **self.kind.variables)


def doctor(tour: Tour) -> str:
    """No problem is found."""
    checks = json.loads(tour.tool("doctor", "--json"))["checks"]
    (mode,) = [check["what"] for check in checks if check["name"] == "mode"]
    assert ("rootless" in mode, "Podman" in mode) == (tour.kind.is_rootless, tour.kind.is_podman), mode
    return "yes"


def run(tour: Tour) -> str:
    """The real client answers a prompt, in the default network."""
    said = tour.tool("run", "--", "-p", "hello")
    assert said.endswith("FAKE ANSWER: hello\n"), said
    return "yes"


def none(tour: Tour) -> str:
    """There is no network; what a session makes is the user's, and its exit code is returned."""
    lines = tour.shell(
        f"{_SELF}; echo made >made; sed 1,2d /proc/net/dev | cut -d: -f1 | xargs; exit 7", "--network", "none", code=7
    )
    assert lines[-1] == "lo", lines
    return "yes"


def owner(tour: Tour) -> str:
    """What a session has made belongs to its user."""
    status = (tour.project / "made").stat()
    assert (status.st_uid, status.st_gid) == (UID, UID), status
    return "yes"


def privileges(tour: Tour) -> str:
    """The session has the user's ids and no capability, or is its own namespace's root; system calls are filtered."""
    first, uid, gid = tour.shell(_SELF, "--network", "none")[-3:]
    assert re.search(r"NoNewPrivs: 1 Seccomp: 2 $", first), first
    capabilities = int(first.split()[1], 16)
    if tour.kind.is_rootless and not tour.kind.is_podman:
        assert (uid, gid, capabilities) == ("0", "0", 0xCB), (first, uid, gid)
        return "uid 0, five capabilities"
    assert (uid, gid, capabilities) == (str(UID), str(UID), 0), (first, uid, gid)
    return "yours, none"


def _reached(tour: Tour, network: str) -> list[str]:
    lines = tour.shell(_REACH.format(tour.lan), "--network", network)
    return [line for line in lines if line in ("outside", "inside")]


def internet(tour: Tour) -> str:
    """The internet is reached, the local network is not."""
    reached = _reached(tour, "internet")
    assert reached == ["outside"], reached
    return "yes"


def open_(tour: Tour) -> str:
    """The control: with nothing closed the local network is reached."""
    reached = _reached(tour, "open")
    assert reached == ["outside", "inside"], reached
    return "yes"


def allowlist(tour: Tour) -> str:
    """What is allowed is reached through the proxy, and nothing else."""
    reached = _reached(tour, "allowlist")
    assert reached == ["outside"], reached
    blocked = tour.tool("blocked")
    assert tour.lan.partition(":")[0] in blocked, blocked
    return "yes"


@contextlib.contextmanager
def _running(tour: Tour) -> Iterator[str]:
    """Have a session during the block; yield its name."""
    with tour.user.running("confined-claude", "shell", "--", "sleep", "600", cwd=tour.project):
        try:
            yield wait_until(lambda: next(iter(_sessions(tour)), {}).get("name"))
        finally:
            tour.tool("stop", "--all")


def _sessions(tour: Tour) -> list[dict[str, object]]:
    return [each for each in json.loads(tour.tool("status", "--json"))["sessions"] if each["state"] == "running"]


def joined(tour: Tour) -> str:
    """``exec`` has the session's ids and nothing more, and its command's exit code."""
    with _running(tour):
        lines = tour.tool("exec", "--", "sh", "-c", f"{_SELF}; exit 9", code=9).splitlines()
        assert int(lines[-3].split()[1], 16) == (0xCB if tour.kind.is_rootless and not tour.kind.is_podman else 0), (
            lines
        )
        (found,) = _sessions(tour)
        memory = found["memory_bytes"]
        assert memory is None or 1 << 20 < int(str(memory)) < 1 << 30, found
        assert (memory is None) == (tour.kind.is_rootless and _has_no_cgroups()), found
        tour.tool("stop")
        assert not _sessions(tour)
    return "yes"


def _has_no_cgroups() -> bool:
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def packages(tour: Tour) -> str:
    """``sudo apt-get`` installs a package, and any other use of it is refused."""
    lines = tour.shell(
        "sudo apt-get update -qq && sudo apt-get install -qq hello >&2 && hello; sudo id && echo root; true"
    )
    assert "Hello, world!" in lines, lines[-20:]
    if not (tour.kind.is_rootless and not tour.kind.is_podman):
        assert "root" not in lines, lines[-20:]
    return "yes"


def dry_run(tour: Tour) -> str:
    """What a dry run prints can be pasted, but for the secrets."""
    printed = tour.tool("shell", "--network", "internet", "--dry-run", "--", "sh", "-c", "id -u; exit 7")
    script = "\n".join(line for line in printed.splitlines() if "<secrets.tar" not in line)
    done = tour.user.run("bash", "-c", script, cwd=tour.project)
    expected = "0" if tour.kind.is_rootless and not tour.kind.is_podman else str(UID)
    assert (done.returncode, expected in done.stdout.splitlines()) == (7, True), done.stdout + done.stderr
    # Podman cannot remove a sidecar before the session that has joined it; the tool does that afterwards.
    for name in tour.own("ps", "--all", "--quiet", *_OURS).split() if tour.kind.is_podman else ():
        tour.own("rm", "--force", name)
    return "yes"


def review(tour: Tour) -> str:
    """What the machine may run is reported, keeps the next session from starting, and can be accepted."""
    said = tour.shell("echo 'touch /tmp/x' >.envrc")
    assert any(".envrc" in line for line in said), said
    tour.tool("shell", "--", "true", code=4)
    assert ".envrc" in tour.tool("review", "--accept", ".envrc")
    tour.tool("shell", "--network", "none", "--", "true")
    return "yes"


def end(tour: Tour) -> str:
    """Nothing is left in the engine."""
    wait_until(lambda: tour.own("ps", "--all", "--quiet", *_OURS) + tour.own("volume", "ls", "--quiet") == "")
    return "yes"


Step = Callable[[Tour], str]
STEPS: dict[str, Step] = {
    "`doctor`": doctor,
    "Claude Code answers": run,
    "`none`": none,
    "`internet`": internet,
    "`open`": open_,
    "`allowlist`": allowlist,
    "files are yours": owner,
    "ids and capabilities": privileges,
    "`exec`, `status`, `stop`": joined,
    "`sudo apt-get`": packages,
    "`--dry-run`, pasted": dry_run,
    "`review`": review,
    "nothing is left": end,
}


@contextlib.contextmanager
def local_server(address: str) -> Iterator[str]:
    """Have a web server at an address of this machine during the block; yield its place."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.0 200 OK\r\n\r\nlocal")

    with socketserver.ThreadingTCPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{address}:{server.server_address[1]}"
        server.shutdown()


def save_images(directory: Path) -> Path:
    """Put this machine's image of sessions, by its names, and its base into a file that every user may read."""
    archive = directory / "images.tar"
    name = image_chain(Settings(), {}).name
    docker("tag", name, LATEST)  # other tests may have made another the latest
    subprocess.run(["docker", "save", "-o", str(archive), name, LATEST, "debian:bookworm-slim"], check=True)
    archive.chmod(0o644)
    return archive


def install(machine: Machine, home: Path) -> Path:
    """Install the tool on a machine, as a user does, and return the directory with its commands."""
    shutil.copytree(
        REPOSITORY / "confined_claude", home / "clone/confined_claude", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, home / "clone")
    certificates = {"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
    machine.run("python3", "-m", "venv", str(home / "venv"))
    machine.run(str(home / "venv/bin/pip"), "install", "--quiet", str(home / "clone"), **certificates)
    return home / "venv/bin"


@contextlib.contextmanager
def toured(kind: Kind, inside: Machine, commands: Path, place: Path, log: Path) -> Iterator[Tour]:
    """Have a tour of an engine that runs on a machine, during the block. ``place`` is shared with that."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=place))
    project = Path(tempfile.mkdtemp(prefix="tour-", dir=home))
    variables = {
        **kind.variables,
        "ANTHROPIC_API_KEY": API_KEY,
        "ANTHROPIC_BASE_URL": f"http://localhost:{_API_PORT}",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    user = Someone(home, commands, UID, UID, variables, machine=inside)
    user.own(home, project)
    inside.start("python3", str(REPOSITORY / "tests/fake_api.py"), "--port", str(_API_PORT), log=log)
    with local_server(inside.gateway) as lan:
        yield Tour(kind, user, project, lan)
