"""The attacks that SECURITY.md compares: what a typical script's container lets through, and what a session does.

Each is tried for real in both. The typical one is ``docker run -v $PWD:/w -v ~/.claude:/root/.claude``: root, the
engine's plain network and the engine's defaults, with the same image.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks import Field
from helpers import docker, wait_until
from probes import (
    IMAGE,
    INTERNET,
    Outside,
    Service,
    Target,
    address_of,
    background,
    gateway,
    neighbour,
    plain_words,
    probe_words,
    probed,
)

BEGIN, END = "<!-- comparison -->\n", "<!-- /comparison -->\n"
_TOKEN = "sk-ant-made-up-for-the-comparison"


@dataclass
class Tried:
    """A container of one of the two kinds, with the project and the user's HOME, for attacks to be tried in."""

    field: Field
    confined: bool
    listener: Service
    internet: Outside

    @property
    def claude(self) -> Path:
        return self.field.user.home / ".claude"

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The end of ``script``, run by the agent."""
        if self.confined:
            return self.field.session(script, **{**INTERNET, **variables})
        words = [*self._plain()[:-3], "--entrypoint", "sh", IMAGE, "-c", self.field.text(script)]
        return subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=900)

    def reaches(self, target: Target) -> bool:
        script = probe_words([target])
        done = self.run(" ".join(map(_quoted, script)))
        return probed(done.stdout)[str(target)] == "open"

    @contextlib.contextmanager
    def running(self, script: str) -> Iterator[str]:
        """The name of a container that runs ``script``, with a token in the way its kind is given one."""
        if self.confined:
            with background(self.field, ["sh", "-c", script], **INTERNET, ANTHROPIC_AUTH_TOKEN=_TOKEN) as (_, name):
                yield name
            return
        name = f"confined-claude-test-{secrets.token_hex(4)}"
        options = [word for word in self._plain()[1:-3] if word != "--rm"]
        docker("run", "--detach", "--name", name, *options, "--env", f"ANTHROPIC_AUTH_TOKEN={_TOKEN}",
               "--entrypoint", "sh", IMAGE, "-c", self.field.text(script))  # fmt: skip
        try:
            yield name
        finally:
            docker("rm", "--force", name)

    def _plain(self) -> list[str]:
        return plain_words(self.field, "--volume", f"{self.claude}:/root/.claude", network="bridge")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _root_on_the_host(tried: Tried) -> bool:
    tried.run("cp /usr/bin/id s; chown 0:0 s; chmod 4755 s || sudo chmod 4755 s")
    file = tried.field.project / "s"
    return file.stat().st_uid == 0 and bool(file.stat().st_mode & 0o4000)


def _file_of_roots(tried: Tried) -> bool:
    tried.run("touch f")
    return (tried.field.project / "f").stat().st_uid != tried.field.user.uid


def _hook(tried: Tried) -> bool:
    field = tried.field
    field.prepare("git init -q 2>/dev/null; mkdir -p .git/hooks")
    tried.run("printf '#!/bin/sh\\ntouch CANARY\\n' >.git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit")
    field.host("git commit -q --allow-empty -m x")
    return (field.outside / "canary").exists()


def _moved_git(tried: Tried) -> bool:
    field = tried.field
    field.prepare("git init -q")
    tried.run("mv .git .g && cp -a .g .git && printf '[core]\\nfsmonitor = touch OUTSIDE/moved\\n' >>.git/config")
    field.host("git status")
    return (field.outside / "moved").exists()


def _sign_in(tried: Tried) -> bool:
    done = tried.run('cat "${CLAUDE_CONFIG_DIR:-x}/.credentials.json" /root/.claude/.credentials.json')
    return "sk-ant-ort01" in done.stdout


def _hosts_claude(tried: Tried) -> bool:
    tried.run("echo '{\"hooks\": 1}' >/root/.claude/settings.json; echo '{\"hooks\": 1}' >~/.claude/settings.json")
    return (tried.claude / "settings.json").exists()


def _token(tried: Tried) -> bool:
    with tried.running("sleep 600") as name:
        return _TOKEN in docker("inspect", name)


def _other_session(tried: Tried) -> bool:
    other = tried.field.user.folder(tried.field.project.parent / "other")
    serve = "python3 -c \"import socket\ns = socket.create_server(('', 5000)); s.accept()[0].send(b'pong')\"; sleep 600"
    another = Tried(Field(tried.field.user, other, tried.field.outside), tried.confined, tried.listener, tried.internet)
    with another.running(serve) as name:
        wait_until(lambda: "1388 " in docker("exec", name, "cat", "/proc/net/tcp"))
        return tried.reaches(Target("tcp", address_of(name), 5000))


def _neighbour(tried: Tried) -> bool:
    with neighbour() as (_, address, port):
        return tried.reaches(Target("tcp", address, port))


def _raw(tried: Tried) -> bool:
    return tried.run("python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'").returncode == 0


def _device(tried: Tried) -> bool:
    return tried.run("mknod /tmp/x b 8 0 || sudo mknod /tmp/x b 8 0").returncode == 0


def _forks(tried: Tried) -> bool:
    """By what the engine was told: test_limits.py tries it, with less than what a machine has."""
    with tried.running("sleep 600") as name:
        limit = json.loads(docker("inspect", name))[0]["HostConfig"]["PidsLimit"]
    return not limit or limit <= 0


def _memory(tried: Tried) -> bool:
    with tried.running("sleep 600") as name:
        return not json.loads(docker("inspect", name))[0]["HostConfig"]["Memory"]


def _log(tried: Tried) -> bool:
    with tried.running("head -c 20000 /dev/zero | tr '\\0' x; touch logged; sleep 600") as name:
        wait_until((tried.field.project / "logged").exists)
        path = docker("inspect", "--format", "{{.LogPath}}", name).strip()
        return bool(path) and bool(docker("logs", name))


def _sudo(tried: Tried) -> bool:
    return tried.run("sudo apt-get update -qq && sudo apt-get install -y -qq hello && hello").returncode == 0


def _internet(tried: Tried) -> bool:
    return tried.reaches(Target("tcp", tried.internet.address, tried.internet.service.port))


@dataclass(frozen=True)
class Row:
    what: str
    works: Callable[[Tried], bool]


ATTACKS = (
    Row("Leave a program in the project that runs as root on the host (setuid)", _root_on_the_host),
    Row("Leave files in the project that are not yours", _file_of_roots),
    Row("Plant a git hook that your next commit runs", _hook),
    Row("Move `.git` away, and put one with a monitor in its place that `git status` runs", _moved_git),
    Row("Write into the host's `~/.claude`: a hook, say", _hosts_claude),
    Row("Read the refresh token of the sign-in", _sign_in),
    Row("See the token in `docker inspect`", _token),
    Row("Reach a service of the host that listens on all addresses",
        lambda tried: tried.reaches(Target("tcp", gateway(), tried.listener.port))),
    Row("Reach another container of the engine's", _neighbour),
    Row("Reach the port of another session", _other_session),
    Row("Reach a machine in the local network (10.0.0.0/8)",
        lambda tried: tried.reaches(Target("tcp", tried.internet.private[0], tried.internet.service.port))),
    Row("Reach a link-local address, as cloud metadata has (169.254.0.0/16)",
        lambda tried: tried.reaches(Target("tcp", tried.internet.private[4], tried.internet.service.port))),
    Row("Open raw sockets, to forge packets and ARP", _raw),
    Row("Make device nodes", _device),
    Row("Start processes without end", _forks),
    Row("Take all memory", _memory),
    Row("Fill the disk with the engine's log", _log),
)  # fmt: skip
# What is no attack: it has to work in both.
USES = (
    Row("`sudo apt-get install`", _sudo),
    Row("Reach the internet", _internet),
)


def table(found: Iterable[tuple[Row, bool, bool]]) -> str:
    """The Markdown of SECURITY.md."""
    lines = ["| What a session tries | A plain container | Confined Claude |", "|---|---|---|"]
    lines += [f"| {row.what} | {_word(plainly)} | {_word(confined)} |" for row, plainly, confined in found]
    return "\n".join(lines) + "\n"


def _word(works: bool) -> str:
    return "works" if works else "refused"


def put(path: Path, text: str) -> None:
    """Put ``text`` between the marks."""
    content = path.read_text()
    before, _, rest = content.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}{text}{END}{after}")


def between(path: Path) -> str:
    return path.read_text().partition(BEGIN)[2].partition(END)[0]
