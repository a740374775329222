"""The image: what goes into it, whether it is there, and building it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import environment, safefs
from .certificates import extra_certificates
from .console import BuildProgress, plain, say
from .errors import EngineError
from .host import Host
from .settings import Settings

if TYPE_CHECKING:
    from .engine import Engine

REPOSITORY = "confined-claude"
BASE = ("debian", "bookworm-slim")
SUITE = "bookworm"
# Stands in for the base where no image registry can be reached.
LOCAL_BASE = "confined-claude-base:bookworm"

CONTEXT = Path(__file__).parent / "container"
_EXECUTABLE = frozenset({"entrypoint", "git", "install-node", "mkvenv", "lsvenvs", "diskuse"})
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
# The builder's words about its own containers, which would hide what the step says.
_CHATTER = (" --->", "Removing intermediate container")
_TAIL = 20
_LOGS_KEPT = 10


@dataclass(frozen=True)
class Recipe:
    """Everything that goes into an image, but for the base and the packages' own versions."""

    claude_version: str
    certificates: tuple[str, ...]

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The build context, by path."""
        files = {path.relative_to(CONTEXT).as_posix(): path for path in sorted(CONTEXT.rglob("*")) if path.is_file()}
        context = {name: path.read_bytes() for name, path in files.items()}
        for number, text in enumerate(self.certificates):
            context[f"ca/host-{number}.crt"] = text.encode()
        return context

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change when anything of the recipe does."""
        digest = hashlib.sha256(self.claude_version.encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:12]

    @property
    def name(self) -> str:
        return f"{REPOSITORY}:{self.fingerprint}"

    def context(self) -> IO[bytes]:
        """The build context as a tar archive; the same recipe always gives the same bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o755 if name in _EXECUTABLE else 0o644
                archive.addfile(entry, io.BytesIO(content))
        buffer.seek(0)
        return buffer


def recipe(settings: Settings, host: Host) -> Recipe:
    return Recipe(settings.claude_version, extra_certificates(host.environ))


def ensure(engine: Engine, settings: Settings, host: Host, *, fresh: bool = False) -> str:
    """The name of the image in force, built first if it is missing (or in any case: ``fresh``).

    Of two that need it at once, one builds and the other waits. Raises EngineError when the
    build fails; the image that was there before stays.
    """
    wanted = recipe(settings, host)
    if not fresh and engine.has_image(wanted.name):
        return wanted.name
    with _build_lock(host, wanted):
        if fresh or not engine.has_image(wanted.name):
            _build(engine, wanted, host, fresh=fresh)
    return wanted.name


@contextlib.contextmanager
def _build_lock(host: Host, wanted: Recipe) -> Iterator[None]:
    with safefs.open_folder(host.state, "locks") as folder:
        lock = os.open(f"image-{wanted.fingerprint}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is building the image; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _build(engine: Engine, wanted: Recipe, host: Host, *, fresh: bool) -> None:
    """Build ``wanted`` with progress on the terminal and everything in a log file."""
    log_path, log = _open_log(host)
    replaced = engine.image_id(wanted.name)
    with log:
        base = _base(engine, log)
        proxies = environment.proxies(host.environ)
        lines = engine.build(
            wanted.context(),
            wanted.name,
            {"BASE": base, "CLAUDE_VERSION": wanted.claude_version, **proxies},
            fresh=fresh,
            # A proxy on this machine's loopback is out of reach from any other network.
            host_network=any(environment.is_loopback(url) for url in proxies.values()),
        )
        _follow(lines, log, log_path)
    engine.tag(wanted.name, REPOSITORY, "latest")
    if replaced and replaced != engine.image_id(wanted.name):
        engine.remove_image_if_unused(replaced)


def _follow(lines: Iterator[str], log: IO[str], log_path: Path) -> None:
    """Show and log a build's output. Raises EngineError with the failing step and its last lines."""
    step, tail = "the start", deque[str](maxlen=_TAIL)
    with BuildProgress() as progress:
        try:
            for text in map(plain, lines):
                log.write(text)
                for line in filter(None, map(str.rstrip, text.splitlines())):
                    if found := _STEP.match(line):
                        step = line
                        tail.clear()
                        progress.step(int(found[1]), int(found[2]), found[3])
                    elif not line.startswith(_CHATTER):
                        tail.append(line)
                        progress.line(line)
        except EngineError as error:
            log.write(f"\n{error}\n")
            output = "".join(f"\n  {line}" for line in tail)
            raise EngineError(
                f"Building the image failed at {step}\n{error.message}{output}", f"The whole log is in {log_path}."
            ) from None


def _open_log(host: Host) -> tuple[Path, IO[str]]:
    """A new log file in the state folder; the oldest ones go."""
    name = time.strftime("build-%Y%m%d-%H%M%S") + f"-{os.getpid()}.log"
    folder = host.state / "logs"
    with safefs.open_folder(host.state, "logs") as handle:
        for old in sorted(entry for entry in os.listdir(handle) if entry.startswith("build-"))[: 1 - _LOGS_KEPT]:
            with contextlib.suppress(OSError):
                os.unlink(old, dir_fd=handle)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=handle)
    return folder / name, open(file, "w", encoding="utf-8", errors="replace", buffering=1)


def _base(engine: Engine, log: IO[str]) -> str:
    """The name of the base image: Debian's own, or one made here from Debian's packages."""
    name, tag = BASE
    if engine.has_image(f"{name}:{tag}"):
        return f"{name}:{tag}"
    say(f"Fetching the base image {name}:{tag}.")
    try:
        engine.pull(name, tag)
    except EngineError as error:
        log.write(f"{error}\n")
        unreachable = error
    else:
        return f"{name}:{tag}"
    if engine.has_image(LOCAL_BASE):
        return LOCAL_BASE
    if shutil.which("mmdebstrap") is None:
        raise EngineError(
            unreachable.message,
            "Check the network, or install mmdebstrap: the base is then made from Debian packages.",
        )
    say("No image registry can be reached: making the base from Debian packages with mmdebstrap.")
    _make_base(engine, log)
    return LOCAL_BASE


def _make_base(engine: Engine, log: IO[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # mmdebstrap drops its privileges, or maps its uid, and must still get in.
        Path(folder).chmod(0o755)
        archive = Path(folder, "base.tar")
        no_docs = f"--dpkgopt={CONTEXT / 'dpkg-no-docs'}"
        command = ["mmdebstrap", "--variant=minbase", no_docs, SUITE, str(archive), *_debian_mirrors()]
        made = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
        if made.returncode:
            raise EngineError(
                f"mmdebstrap could not make the base image (exit code {made.returncode}).", f"See {log.name}."
            )
        engine.import_image(archive, LOCAL_BASE, "confined-claude=base")


def _debian_mirrors() -> list[str]:
    """The mirrors APT on this host uses for the base's suite, as sources lines.

    Empty where the host is no Debian of that suite; mmdebstrap then takes its own default.
    """
    fields = "$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(RELEASE)"
    try:
        answer = subprocess.run(
            ["apt-get", "indextargets", "--format", fields, "Identifier: Packages"],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    sources = dict.fromkeys(
        f"deb {uri} {release} main"
        for uri, codename, component, origin, release in (
            line.split("|") for line in answer.stdout.splitlines() if line.count("|") == fields.count("|")
        )
        if origin == "Debian" and codename.startswith(SUITE) and component == "main"
    )
    return list(sources)
