"""Acting as a user of the installed tool: own HOME, own uid, an environment with nothing of the machine's."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from confined_claude.project import Project

REPOSITORY = Path(__file__).resolve().parent.parent
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABEL = "confined-claude"
SIGN_IN_HOST = "platform.claude.com"
TEST_LABEL = "confined-claude-test=1"
API_KEY = "sk-ant-api03-made-up-0123456789abcdefghij"
# For what affects or takes the whole engine: tests/run has only tests beside it that need none.
ALONE = pytest.mark.alone
GITCONFIG = "[user]\nname = Test\nemail = test@example.invalid\n"
FAR_FUTURE_MS = 4102444800000  # 2100-01-01
# What does not come in that time does not come, on however busy a machine. Nothing is proved by less.
PATIENCE = 120
_held: list[socket.socket] = []


def docker(*arguments: str, check: bool = True) -> str:
    """What the docker command prints."""
    return subprocess.run(
        ["docker", *arguments], check=check, capture_output=True, text=True, errors="replace", timeout=600
    ).stdout


def take(what: str, numbers: Sequence[int]) -> int:
    """One of ``numbers`` of a kind that no other process of the tests has, for as long as this process runs."""
    for number in random.SystemRandom().sample(numbers, len(numbers)):
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0confined-claude-tests-{what}-{number}")
        except OSError:
            held.close()
        else:
            _held.append(held)
            return number
    raise AssertionError(f"no {what} is left")


def free_port() -> int:
    """A port at which nothing listens, and which no other test is given; nor does the kernel give it to anybody."""
    while True:
        port = take("port", range(20_000, 30_000))
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def own_name(place: Path, prefix: str = "p") -> Path:
    """A path in ``place``, a directory of pytest's own, with a name that no other test's project has."""
    return place / f"{prefix}{place.name[-8:]}"


def sessions_of(project: Path) -> list[str]:
    """The names of the containers, running or not, that belong to ``project``."""
    return _names("--all", **{LABEL: "session", f"{LABEL}.path": str(project)})


def up(project: Path) -> list[str]:
    """The names of the containers that run and belong to ``project``."""
    return _names(**{LABEL: "session", f"{LABEL}.path": str(project)})


def sidecars_of(project: Path) -> list[str]:
    return _names("--all", **{LABEL: "sidecar", f"{LABEL}.project": Project(project).id})


def _names(*options: str, **labels: str) -> list[str]:
    filters = (word for label in labels.items() for word in ("--filter", "label=" + "=".join(label)))
    return docker("ps", *options, "--format", "{{.Names}}", *filters).split()


def contents(*directories: Path) -> dict[str, str]:
    """What the files below ``directories`` hold, by path, while sessions may make and remove some."""
    found = {}
    for directory in directories:
        for path, _, names in os.walk(directory):
            for name in names:
                with contextlib.suppress(OSError):
                    found[f"{path}/{name}"] = Path(path, name).read_text(errors="replace")
    return found


def text_of(path: Path) -> str:
    """What a file holds that may not be there yet, or not for a moment."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What ``condition`` gives once it is true; fails the test after ``seconds``.

    Most of the time nobody asks: each question to the engine takes a processor that what is waited for needs as well.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if result := condition():
            return result
        now = time.monotonic()
        assert now < deadline, f"still not so after {seconds} s"
        time.sleep(max(0.05, 3 * (now - asked)))


@dataclass(frozen=True)
class Api:
    """A fake Messages API in a container of its own."""

    container: str
    network: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a user whose sessions talk to it, and to nothing else."""
        return {
            "ANTHROPIC_BASE_URL": f"http://{self.container}:8787",
            "CONFINED_CLAUDE_NETWORK": f"docker:{self.network}",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

    def log(self) -> str:
        """One JSON line for each request so far."""
        return docker("exec", self.container, "cat", "/tmp/requests")

    def headers(self, asked: str) -> dict[str, str]:
        """The sign-in headers of the request by which ``asked`` was answered; the client may send others as well."""
        lines = [json.loads(line) for line in self.log().splitlines()]
        answered = [line["headers"] for line in lines if line.get("asked") == asked and line["status"] == 200]
        return dict(answered[-1]) if answered else {}

    def tokens(self) -> list[str]:
        """The access token of each request so far that had one."""
        headers = [json.loads(line)["headers"] for line in self.log().splitlines()]
        return [found["authorization"].removeprefix("Bearer ") for found in headers if "authorization" in found]

    def serve_sign_ins(self) -> str:
        """Have it renew sign-ins as well, and return the certificate to trust for that; its log is /tmp/renewals."""
        make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout /tmp/key -out /tmp/certificate"
        make += f" -subj /CN={SIGN_IN_HOST} -addext subjectAltName=DNS:{SIGN_IN_HOST}"
        docker("exec", self.container, "sh", "-c", f"{make} && cat /tmp/certificate /tmp/key >/tmp/both")
        serve = "/fake_api.py --host 0.0.0.0 --port 443 --tls /tmp/both --log /tmp/renewals"
        docker("exec", "--detach", self.container, "python3", *serve.split())
        wait_until(lambda: listens(self.container, 443))
        return docker("exec", self.container, "cat", "/tmp/certificate")

    def revoke(self, token: str) -> None:
        """Have it refuse an access token from now on."""
        docker("exec", self.container, "sh", "-c", f"echo {token} >>/tmp/revoked")


def listens(container: str, port: int, *, on: str = "127.0.0.1") -> bool:
    """Whether something in a container, made of the image, takes connections at a port."""
    probe = f"import socket; socket.create_connection(('{on}', {port}), 20)"
    return "ok" in docker("exec", container, "sh", "-c", f'python3 -c "{probe}" && echo ok', check=False)


@contextlib.contextmanager
def running_api() -> Iterator[Api]:
    """Run a fake API, on a network with no way out, until the end of the block. Needs the image."""
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--internal", "--label", TEST_LABEL, name)
    try:
        mount = f"type=bind,source={REPOSITORY / 'tests/fake_api.py'},target=/fake_api.py,readonly"
        entry = ["--entrypoint", "python3", "confined-claude:latest", "/fake_api.py", "--host", "0.0.0.0"]
        docker("run", "--detach", "--name", name, "--label", TEST_LABEL, "--mount", mount,
               "--network", name, "--network-alias", SIGN_IN_HOST,
               *entry, "--log", "/tmp/requests")  # fmt: skip
        try:
            wait_until(lambda: listens(name, 8787))
            yield Api(name, name)
        finally:
            docker("rm", "--force", name)
    finally:
        docker("network", "rm", name)


@dataclass(frozen=True)
class User:
    """Someone with a uid:gid and a HOME, who runs the installed commands."""

    home: Path
    bin: Path
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    variables: dict[str, str] = field(default_factory=dict)
    groups: tuple[int, ...] = ()

    def environ(self, **extra: str) -> dict[str, str]:
        environ = {"HOME": str(self.home), "PATH": f"{self.bin}:{SYSTEM_PATH}", "TERM": "xterm-256color"}
        return {name: value for name, value in {**environ, **self.variables, **extra}.items() if value}

    def command(self, *words: str, docker_group: bool = True) -> list[str]:
        """``words`` as this user; of the groups only their own and the engine's."""
        if (self.uid, self.gid) == (os.getuid(), os.getgid()) and docker_group and not self.groups:
            return list(words)
        groups = [*self.groups, *([Path("/var/run/docker.sock").stat().st_gid] if docker_group else [])]
        options = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        return ["setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), *options, *words]

    def run(
        self,
        *words: str,
        cwd: Path,
        input: str | None = None,
        docker_group: bool = True,
        timeout: float = 900,
        **extra: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with pipes. ``extra`` are variables; an empty one unsets."""
        return subprocess.run(
            self.command(*words, docker_group=docker_group),
            cwd=cwd,
            env=self.environ(**extra),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextlib.contextmanager
    def running(
        self, *words: str, cwd: Path, new_session: bool = False, **extra: str
    ) -> Iterator[subprocess.Popen[str]]:
        """A command in the background, ended at the latest when the block is."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=cwd,
            env=self.environ(**extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=new_session,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)

    def git(self, directory: Path, *words: str) -> str:
        """What the host's git prints, with an identity and nothing of this machine's settings; it must succeed."""
        settings = ("user.name=Test", "user.email=test@example.invalid", "protocol.file.allow=always")
        given = (word for setting in settings for word in ("-c", setting))
        done = self.run("git", *given, *words, cwd=directory, GIT_CONFIG_NOSYSTEM="1")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def repository(self, directory: Path, files: Mapping[str, str] = MappingProxyType({})) -> Path:
        """``directory``, made a git repository with a commit "one" of ``files``; its owner's git knows who commits."""
        (self.home / ".gitconfig").write_text(GITCONFIG)
        self.git(directory, "init", "--quiet", "--initial-branch=main")
        for name, text in files.items():
            self.write(directory / name, text)
        self.git(directory, "add", "--all")
        self.git(directory, "commit", "--quiet", "--allow-empty", "--message=one")
        return directory

    def write(self, path: Path, text: str) -> Path:
        """Make a file of the user's, with the directories that lead to it."""
        for directory in reversed(path.parents):
            if not directory.exists():
                self.folder(directory)
        path.write_text(text)
        self.own(path)
        return path

    def own(self, *paths: Path) -> None:
        for path in paths:
            os.chown(path, self.uid, self.gid)

    def folder(self, path: Path) -> Path:
        """``path``, made and this user's own."""
        path.mkdir(parents=True, exist_ok=True)
        self.own(path)
        return path

    def sign_in(self, *, token: str = "sk-ant-oat01-made-up", expires: int = FAR_FUTURE_MS) -> Path:
        """Make-believe credentials of Claude Code in this user's HOME, put there by a rename as the client does."""
        folder = self.folder(self.home / ".claude")
        file = folder / ".credentials.json.tmp"
        oauth = {
            "accessToken": token,
            "refreshToken": "sk-ant-ort01-made-up",
            "expiresAt": expires,
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        }
        file.write_text(json.dumps({"claudeAiOauth": oauth, "mcpOAuth": {"server": {"token": "mcp-made-up"}}}))
        file.chmod(0o600)
        self.own(file)
        return file.rename(folder / ".credentials.json")


def builder_variables(builder: str, user: User, place: Path) -> dict[str, str]:
    """The variables with which a user's docker command takes that builder."""
    if builder == "classic":
        return {"DOCKER_BUILDKIT": "0"}
    tools = user.folder(place / "buildkit")
    (tools / "docker").symlink_to(buildkit_client())
    return {"DOCKER_BUILDKIT": "1", "PATH": f"{user.bin}:{tools}:{SYSTEM_PATH}"}


def buildkit_client() -> str:
    """A docker command that can drive BuildKit: with buildx, or of a version that has it built in."""
    for client in filter(None, (shutil.which("docker"), shutil.which("docker", path="/usr/bin"))):
        has_buildx = subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0
        version = subprocess.run(
            [client, "version", "--format", "{{.Client.Version}}"], capture_output=True, text=True, check=False
        ).stdout
        if has_buildx or int(version.partition(".")[0] or 99) < 23:
            return client
    raise AssertionError("no docker command here can drive BuildKit; install docker-buildx")
