"""What a session asks to push: taken into a repository of our own, checked, described, and pushed from there.

The host's git works in that repository alone, which no session writes, with the settings of the user and the machine.
It has what the remote has. The objects of a session are in a directory beside it, which goes with the request.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import signal
import subprocess
import tempfile
import threading
import time
from typing import IO, BinaryIO

from ..errors import ConfinedError
from ..fs.directory import Location
from ..host import Host, gitconfig_text
from ..state.store import read_json, write_json
from ..text import strip_controls
from ..workspace import Workspace, data_of
from .push_request import HEADS, Change, Request, Update
from .rules import Matcher, rules_for

WAITING_SECONDS = 600.0  # for a person's answer
_DIRECTORY, _REQUEST, _OPEN, _ANSWER = "pushes", "request.json", "open", "answer.json"
_MAX_PACK = 256 << 20
_TRANSFER_SECONDS = _NETWORK_SECONDS = 300.0
_LOCAL_SECONDS = 60.0
_CHUNK = 1 << 16
_MAX_PRINTED, _MAX_ERROR = 8 << 20, 1 << 14  # the same tree at many places makes a small pack print without end
_REMOTE = "recorded"
_TIPS = ("--not", f"--remotes={_REMOTE}")
_CI = ".github/workflows/"  # of the rule for what a forge runs by itself
# In place of whatever the user's own settings have: nothing runs but what reaches the remote.
_SETTINGS = """core.hooksPath=/dev/null core.fsmonitor=false core.attributesFile=/dev/null core.bigFileThreshold=16m
    core.packedGitWindowSize=32m core.packedGitLimit=256m gc.auto=0 maintenance.auto=false push.followTags=false
    push.gpgSign=false push.recurseSubmodules=no fetch.recurseSubmodules=no pack.threads=1 log.showSignature=false
    i18n.logOutputEncoding=UTF-8""".split()
# Of the caller's environment what leads git to another repository, see `git rev-parse --local-env-vars`.
_ELSEWHERE = """GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_CONFIG
    GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX GIT_GRAFT_FILE GIT_SHALLOW_FILE GIT_INTERNAL_SUPER_PREFIX""".split()
# What reads a session's objects: so many KB of addresses and two minutes, where the system can limit them.
_MEMORY = "2097152"
_LIMITED = ("/bin/sh", "-c", 'ulimit -v "$0" 2>/dev/null; ulimit -t 120; exec "$@"')
_DAMAGED = "what it holds is damaged, or git's checks object to it"
_INCOMPLETE = "it lacks objects that the remote does not have: `git fetch --prune` outside, then push again"


class Outgoing:
    """A request of a session of the project ``project_id``, kept in ``place``; its errors are ConfinedErrors.

    If ``asks``, git may ask the person at the terminal for a password.
    """

    def __init__(self, host: Host, project_id: str, place: Location, request: Request, *, asks: bool) -> None:
        self.request = request
        self._place = place
        self._asks = asks
        self._size = len(request.updates[0].new)
        digest = hashlib.sha256(f"{request.url}\0{self._size}".encode()).hexdigest()[:12]
        self._repository = data_of(host, project_id).at(_DIRECTORY, digest)

    @classmethod
    def waiting(cls, host: Host, project_id: str, place: Location) -> Outgoing | None:
        """Return the request in ``place`` that waits for an answer; None if there is none any more."""
        with contextlib.suppress(OSError, ConfinedError), place.open() as directory:
            found = read_json(directory, _REQUEST, dict)
            if found and directory.exists(_OPEN) and found.pop("until") > time.time():
                request = Request(found["url"], tuple(Update(*each) for each in found["updates"]))
                return cls(host, project_id, place, request, asks=True)
        return None

    # The request and its answer

    def wait(self) -> None:
        """Let the request wait for an answer from now on."""
        updates = [(each.ref, each.new) for each in self.request.updates]
        with self._place.open() as directory:
            until = time.time() + WAITING_SECONDS
            write_json(directory, _REQUEST, {"url": self.request.url, "updates": updates, "until": until})
            directory.write(_OPEN, b"")

    def claim(self) -> bool:
        """Return whether nobody else answers the request; from then on only the caller may."""
        with contextlib.suppress(OSError), self._place.open() as directory:
            directory.unlink(_OPEN)
            return True
        return False

    def answer(self, results: dict[str, str]) -> None:
        """Leave the answer: for each reference why it was not pushed, nothing if it was."""
        with contextlib.suppress(OSError), self._place.open() as directory:  # the session may be over
            write_json(directory, _ANSWER, results)

    def answered(self) -> dict[str, str] | None:
        """Return the answer, if there is one."""
        with self._place.open() as directory:
            return read_json(directory, _ANSWER, dict)

    def refused(self, reason: str) -> dict[str, str]:
        """Return the answer that nothing of it is pushed; with an empty ``reason`` that all of it is."""
        return {each.ref: reason for each in self.request.updates}

    # What git does

    def receive(self, source: BinaryIO) -> None:
        """Take the objects of the session from the pack that ``source`` has to its end, and check each of them."""
        self._make_repository()
        quarantine = self._place.at("objects")
        quarantine.at("pack").make().close()
        words = self._words("index-pack", "--stdin", "--fsck-objects", f"--max-input-size={_MAX_PACK}")
        environ = {**_environment(), "GIT_OBJECT_DIRECTORY": str(quarantine.path)}
        deadline = time.monotonic() + _TRANSFER_SECONDS
        with subprocess.Popen(
            [*_LIMITED, _MEMORY, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
        ) as git:
            try:
                _copy(source, git.stdin, deadline)
                git.stdin = None  # it is closed
                error = git.communicate(timeout=_LOCAL_SECONDS)[1]
            except (OSError, subprocess.TimeoutExpired):
                git.kill()
                raise ConfinedError("it takes too long") from None
        if git.returncode:
            is_large = b"maximum allowed size" in error
            raise ConfinedError(f"it is larger than {_MAX_PACK >> 20} MB" if is_large else _DAMAGED)

    def _make_repository(self) -> None:
        with self._repository.make() as directory:
            if directory.exists("config"):
                return
            kind = "sha1" if self._size == len(hashlib.sha1(usedforsecurity=False).hexdigest()) else "sha256"
            self._git("init", "--quiet", "--bare", "--template=", f"--object-format={kind}", is_local=True)
            settings = [
                ("core.repositoryformatversion", "1"),
                ("core.bare", "true"),
                ("extensions.partialClone", _REMOTE),
                *([("extensions.objectFormat", kind)] if kind == "sha256" else []),
                (f"remote.{_REMOTE}.url", self.request.url),
                (f"remote.{_REMOTE}.promisor", "true"),
                (f"remote.{_REMOTE}.partialCloneFilter", "blob:none"),
            ]
            directory.write("config", gitconfig_text(tuple(settings)).encode())

    def examine(self, workspace: Workspace) -> list[Change]:
        """Return what the request does to the remote as that is now. Raises ConfinedError for what cannot be pushed."""
        heads = f"+{HEADS}*:refs/remotes/{_REMOTE}/*"
        self._git("fetch", "--quiet", "--no-tags", "--prune", "--no-write-fetch-head", _REMOTE, heads)
        matcher = Matcher(rules_for(workspace.settings.protect, ()))
        return [self._change(update, matcher) for update in self.request.updates]

    def _change(self, update: Update, matcher: Matcher) -> Change:
        new = update.new
        kind = self._tried("cat-file", "-t", new)
        if kind is None:
            raise ConfinedError(_INCOMPLETE)
        if kind.strip() != "commit" and (update.ref.startswith(HEADS) or kind.strip() != "tag"):
            raise ConfinedError("it names something that is no commit")
        if self._tried("rev-list", "--objects", "--quiet", new, *_TIPS) is None:
            raise ConfinedError(_INCOMPLETE)
        tip = f"refs/remotes/{_REMOTE}/{update.name}"
        old = (self._tried("rev-parse", "--verify", "--quiet", tip) or "").strip()
        if old and self._tried("merge-base", "--is-ancestor", old, new) is None:
            raise ConfinedError("the remote has commits there that it has not, and nothing is ever forced")
        walked = self._git("rev-list", "--boundary", new, *_TIPS, is_local=True).split()
        known = next((name[1:] for name in walked if name.startswith("-")), "")
        # It has no boundary where there are no new commits, and where all of the history is new.
        base = old or known or self._git("hash-object", "-t", "tree", "--stdin", is_local=True).strip()
        if not walked:
            base = base if old else new
        logged = self._git("log", "-z", "--format=%h %s", new, *_TIPS, is_local=True)
        options = ("-r", "-z", "--numstat", "--no-renames", "--ignore-submodules=none")
        changed = self._git("diff-tree", *options, base, new, is_local=True)
        files = tuple(tuple(record.split("\t", 2)) for record in changed.split("\0") if record)
        rules = [(path, rule) for *_, path in files if (rule := matcher.rule_of(path.split("/"))) is not None]
        asks = any(rule.red or _CI in rule.patterns for _, rule in rules) or not update.ref.startswith(HEADS)
        found = tuple((path, rule.runs, rule.red) for path, rule in rules)
        return Change(update, old, tuple(filter(None, logged.split("\0"))), files, found, asks)

    def push(self) -> dict[str, str]:
        """Push exactly what was asked for, and return for each reference why that failed, nothing if it did not."""
        results = {}
        for update in self.request.updates:
            try:
                self._git("push", "--quiet", "--no-verify", "--no-thin", _REMOTE, f"{update.new}:{update.ref}")
                results[update.ref] = ""
            except ConfinedError as error:
                results[update.ref] = error.message
        return results

    def _tried(self, *words: str) -> str | None:
        """Return what git prints; None if it fails."""
        try:
            return self._git(*words, is_local=True)
        except ConfinedError:
            return None

    def _git(self, *words: str, is_local: bool = False) -> str:
        """Return what git prints. Raises ConfinedError with the last words of it if it fails."""
        environ = {**_environment(), "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{self._place.at("objects").path}"'}
        environ |= {} if self._asks else {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
        with tempfile.TemporaryFile() as errors:
            try:
                git = subprocess.Popen(
                    [*((*_LIMITED, _MEMORY) if is_local else ()), *self._words(*words)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environ,
                    start_new_session=not self._asks,  # without a terminal nothing of it can ask
                )
            except OSError as error:
                raise ConfinedError(f"git does not run: {error.strerror}") from None
            printed = _printed(git, _LOCAL_SECONDS if is_local else _NETWORK_SECONDS)
            if len(printed) > _MAX_PRINTED:
                raise ConfinedError("it is more than can be shown")
            if git.returncode:
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MAX_ERROR))
                reason = "it takes too long" if git.returncode == -signal.SIGKILL else _last_words(errors.read())
                raise ConfinedError(f"git {words[0]} fails: {reason}")
        return os.fsdecode(printed)

    def _words(self, *words: str) -> list[str]:
        settings = (word for setting in _SETTINGS for word in ("-c", setting))
        return ["git", f"--git-dir={self._repository.path}", *settings, *words]


def _printed(git: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Return what ``git`` prints, to its end or until it is too much; it is killed after ``seconds``."""
    timer = threading.Timer(seconds, git.kill)
    timer.start()
    with git:
        try:
            printed = git.stdout.read(_MAX_PRINTED + 1) if git.stdout is not None else b""
            if len(printed) > _MAX_PRINTED:
                git.kill()
            git.wait()
        finally:
            timer.cancel()
    return printed


def _copy(source: BinaryIO, sink: IO[bytes] | None, deadline: float) -> None:
    """Copy to the end of ``source``, which a session may keep open, and close ``sink``, which may have enough."""
    with contextlib.suppress(BrokenPipeError), sink or io.BytesIO() as open_sink:
        while chunk := source.read(_CHUNK):
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, "the session takes too long")
            open_sink.write(chunk)


def _environment() -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return {**given, "LC_ALL": "C.UTF-8", "GIT_DEFAULT_REF_FORMAT": "files"}


def _last_words(error: bytes) -> str:
    lines = [line.strip() for line in strip_controls(error.decode("utf-8", "replace")).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("!", "remote:", "fatal:", "error:"))]
    return " · ".join((told or lines)[-3:])[-400:] or "it does not say why"
