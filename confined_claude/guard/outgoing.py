"""What a session asks to push: taken into a repository of our own, checked, described, and pushed from there.

The host's git works in that repository alone, which no session writes, with the settings of the user and the machine.
It has what the remote has. The objects of a session are in a directory beside it, which goes with the request.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from typing import IO

from ..errors import ConfinedError
from ..fs.directory import Location
from ..host import Host, clean_path, gitconfig_text
from ..state.store import read_json, write_json
from ..workspace import Workspace, data_of
from .push_failures import CannotPush, GitError
from .push_request import HEADS, Change, Finding, Request, Update
from .push_rules import PushRules

WAITING_SECONDS = 600.0  # for a person's answer
_DIRECTORY, _REQUEST, _OPEN, _ANSWER = "pushes", "request.json", "open", "answer.json"
_MAX_PACK = 256 << 20
_TRANSFER_SECONDS = _NETWORK_SECONDS = 300.0
_LOCAL_SECONDS = 60.0
_CHUNK = 1 << 16
_MAX_PRINTED, _MAX_ERROR = 8 << 20, 1 << 14  # the same tree at many places makes a small pack print without end
_REMOTE = "recorded"
_TIPS = ("--not", f"--remotes={_REMOTE}")
_DEFAULT = "refs/default/HEAD"  # of the remote: what its default branch names
_COMPARED = ("-r", "-z", "--no-renames", "--ignore-submodules=none")
_NOWHERE = "/"  # where git and what it starts run: they take nothing from the project, where the session writes
# In place of whatever the user's own settings have: nothing runs but what reaches the remote.
_SETTINGS = """core.hooksPath=/dev/null core.fsmonitor=false core.attributesFile=/dev/null core.bigFileThreshold=16m
    core.packedGitWindowSize=32m core.packedGitLimit=256m gc.auto=0 maintenance.auto=false push.followTags=false
    push.gpgSign=false push.recurseSubmodules=no fetch.recurseSubmodules=no pack.threads=1 log.showSignature=false
    log.showRoot=true i18n.logOutputEncoding=UTF-8 protocol.file.allow=never protocol.ext.allow=never""".split()
# Of the caller's environment what leads git to another repository, see `git rev-parse --local-env-vars`.
_ELSEWHERE = """GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_CONFIG
    GIT_COMMON_DIR GIT_NAMESPACE GIT_PREFIX GIT_GRAFT_FILE GIT_SHALLOW_FILE GIT_INTERNAL_SUPER_PREFIX""".split()
# What reads a session's objects: so many KB of addresses and two minutes, where the system can limit them.
_MEMORY = "2097152"
_LIMITED = ("/bin/sh", "-c", 'ulimit -v "$0" 2>/dev/null; ulimit -t 120; exec "$@"')
_NOT_RUN = (126, 127)  # what the shell ends with if it finds no git, or none that it may run
_NO_QUESTION = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never"}
_DAMAGED = "its content is damaged, or git's checks refuse it"
_INCOMPLETE = "it lacks objects that the remote does not have: `git fetch --prune` outside, then push again"


class Outgoing:
    """A request of a session of the project ``project_id``, kept in ``place``.

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

    # What git does

    def receive(self, source: BufferedIOBase) -> None:
        """Take the objects of the session from the pack that ``source`` has to its end, and check each of them.

        Raises CannotPush, and ConfinedError where this machine cannot keep them.
        """
        self._make_repository()
        quarantine = self._place.at("objects")
        quarantine.at("pack").make().close()
        size, printed = 0, b""
        words = [*_LIMITED, _MEMORY, *self._words("index-pack", "--stdin", "--fsck-objects")]
        try:
            started = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a session makes it as long as it likes
                env={**_environment(), "GIT_OBJECT_DIRECTORY": str(quarantine.path)},
                cwd=_NOWHERE,
                start_new_session=True,
            )
        except OSError as error:
            raise CannotPush(f"git does not run: {error.strerror}") from None
        with started as git, _killed_after(git, _TRANSFER_SECONDS):
            try:
                size = _copy(source, git)
                if git.stdout is not None:
                    with git.stdout as names:  # closed early, it ends what prints more
                        printed = names.read(_MAX_ERROR)
                git.wait()
            except OSError:  # the session sends nothing more
                _kill(git)
        if size > _MAX_PACK:
            raise CannotPush(f"it is larger than {_MAX_PACK >> 20} MB")
        if git.returncode in _NOT_RUN:
            raise CannotPush("git does not run")
        # Beside the pack's name it prints which .gitmodules it cannot check: the remote may have one as another file.
        if git.returncode or printed.count(b"\n") != 1:
            raise CannotPush("it takes too long" if git.returncode == -signal.SIGKILL else _DAMAGED)

    def _make_repository(self) -> None:
        """Make what is missing of it. Without all of its settings git would look for the remote at a path."""
        kind = "sha1" if self._size == len(hashlib.sha1(usedforsecurity=False).hexdigest()) else "sha256"
        settings = [
            ("core.repositoryformatversion", "1"),
            ("core.bare", "true"),
            ("extensions.partialClone", _REMOTE),
            *([("extensions.objectFormat", kind)] if kind == "sha256" else []),
            (f"remote.{_REMOTE}.url", self.request.url),
            (f"remote.{_REMOTE}.promisor", "true"),
            (f"remote.{_REMOTE}.partialCloneFilter", "blob:none"),
            (f"remote.{_REMOTE}.followRemoteHEAD", "never"),  # it would look like a branch of this name
        ]
        text = gitconfig_text(tuple(settings)).encode()
        with self._repository.make() as directory:
            if directory.read("config") == text:
                return
            for name in ("objects", "refs"):
                self._repository.at(name).make().close()
            directory.write("HEAD", b"ref: refs/heads/main\n")
            directory.write("config", text)  # at last: with it the repository is whole

    def examine(self, workspace: Workspace) -> list[Change]:
        """Return what the request does to the remote as that is now.

        Raises CannotPush for what cannot be pushed, and ConfinedError where this machine cannot keep what is fetched.
        """
        self._make_repository()
        # A pattern, as an empty remote has no HEAD.
        heads = (f"+{HEADS}*:refs/remotes/{_REMOTE}/*", f"+HEAD*:{_DEFAULT}*")
        self._git("fetch", "--quiet", "--no-tags", "--prune", "--no-write-fetch-head", _REMOTE, *heads)
        rules = PushRules(workspace.settings.protect)
        return [self._change(update, rules) for update in self.request.updates]

    def _change(self, update: Update, rules: PushRules) -> Change:
        new = update.new
        is_branch = update.ref.startswith(HEADS)
        kind = self._tried("cat-file", "-t", new)
        if kind is None:
            raise CannotPush(_INCOMPLETE)
        named = self._tried("rev-parse", "--verify", "--quiet", f"{new}^{{commit}}")
        if named is None or (is_branch and kind.strip() != "commit"):
            raise CannotPush("it names something that is not a commit")
        if self._tried("rev-list", "--objects", "--quiet", new, *_TIPS) is None:
            raise CannotPush(_INCOMPLETE)
        old = self._tip(f"refs/remotes/{_REMOTE}/{update.name}") if is_branch else ""
        if old and self._tried("merge-base", "--is-ancestor", old, new) is None:
            raise CannotPush("the remote has commits that it lacks, and pushes are never forced")
        walked = self._git("rev-list", "--boundary", new, *_TIPS, is_local=True).split()
        known = next((name[1:] for name in walked if name.startswith("-")), "")
        # It has no boundary where there are no new commits, and where all of the history is new.
        nothing = self._git("hash-object", "-t", "tree", "--stdin", is_local=True).strip()
        base = old or (known or nothing if walked else new)
        # Another branch of the remote may have them already: this one gains them all the same.
        gained = ("--not", old) if old else _TIPS
        logged = self._git("log", "-z", "--format=%h %s", new, *gained, is_local=True)
        changed = self._git("diff-tree", *_COMPARED, "--numstat", base, new, is_local=True)
        files = tuple(tuple(record.split("\t", 2)) for record in changed.split("\0") if record)
        # What one commit adds and a later one takes away is published all the same, and can be pushed by itself next.
        touched = self._git("log", *_COMPARED, "-c", "--name-only", "--format=", new, *_TIPS, is_local=True).split("\0")
        passing = tuple(sorted({*filter(None, touched)} - {path for *_, path in files}))
        # A forge runs what the commit has, and the one that a new branch starts from may be old, or another branch's.
        default = self._tip(_DEFAULT) or nothing
        words = (*_COMPARED, "--name-only", default, new)
        others = "" if old else self._git("diff-tree", *words, is_local=True)
        findings = [
            *rules.findings(path for *_, path in files),
            *rules.findings(passing, "in an earlier commit alone"),
            *(found for found in rules.findings(others.split("\0"), "other than in the default branch") if found.asks),
        ]
        unique: dict[str, Finding] = {}
        for finding in findings:
            unique.setdefault(finding.path, finding)
        commits = tuple(filter(None, logged.split("\0")))
        return Change(update, old, commits, files, passing, tuple(unique.values()))

    def _tip(self, ref: str) -> str:
        """Return what a full reference names; empty if there is none. It is taken for nothing but a reference."""
        return (self._tried("show-ref", "--verify", "--hash", ref) or "").strip()

    def push(self, tell: Callable[[str], object]) -> dict[str, str]:
        """Push exactly what was asked for, and return for each reference why that failed, nothing if it did not.

        ``tell`` tells the user what git says then.
        """
        results = {}
        for update in self.request.updates:
            try:
                self._git("push", "--quiet", "--no-verify", "--no-thin", _REMOTE, f"{update.new}:{update.ref}")
                results[update.ref] = ""
            except CannotPush as error:
                results[update.ref] = error.told
                tell(error.reason)
        return results

    def _tried(self, *words: str) -> str | None:
        """Return what git prints; None if it fails."""
        try:
            return self._git(*words, is_local=True)
        except CannotPush:
            return None

    def _git(self, *words: str, is_local: bool = False) -> str:
        """Return what git prints. Raises GitError if it fails, and CannotPush."""
        environ = {**_environment(), "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{self._place.at("objects").path}"'}
        environ |= {} if self._asks else _NO_QUESTION
        with tempfile.TemporaryFile() as errors:
            try:
                git = subprocess.Popen(
                    [*((*_LIMITED, _MEMORY) if is_local else ()), *self._words(*words)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environ,
                    cwd=_NOWHERE,
                    start_new_session=not self._asks,  # without a terminal nothing of it can ask
                )
            except OSError as error:
                raise CannotPush(f"git does not run: {error.strerror}") from None
            printed = _printed(git, _LOCAL_SECONDS if is_local else _NETWORK_SECONDS)
            if len(printed) > _MAX_PRINTED:
                raise CannotPush("it is more than can be shown")
            if git.returncode:
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MAX_ERROR))
                said = errors.read() if git.returncode != -signal.SIGKILL else None
                raise GitError(words[0], said, is_local=is_local)
        return os.fsdecode(printed)

    def _words(self, *words: str) -> list[str]:
        settings = (word for setting in _SETTINGS for word in ("-c", setting))
        return ["git", f"--git-dir={self._repository.path}", *settings, *words]


def _kill(git: subprocess.Popen[bytes]) -> None:
    """Kill ``git``, and what it has started if that is a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        if git.returncode is None and os.getpgid(git.pid) == git.pid:
            os.killpg(git.pid, signal.SIGKILL)
    git.kill()


@contextlib.contextmanager
def _killed_after(git: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, _kill, (git,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _printed(git: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Return what ``git`` prints, to its end or until it is too much; it is killed after ``seconds``."""
    with git, _killed_after(git, seconds):
        printed = git.stdout.read(_MAX_PRINTED + 1) if git.stdout is not None else b""
        if len(printed) > _MAX_PRINTED:
            _kill(git)
        git.wait()
    return printed


def _copy(source: BufferedIOBase, git: subprocess.Popen[bytes]) -> int:
    """Copy ``source`` to ``git``, which may have enough or be killed meanwhile; return how many bytes that are.

    What is too large is no more than a little larger: ``git`` is killed then.
    """
    size = 0
    sink: IO[bytes] | None = git.stdin
    if sink is not None:
        with contextlib.suppress(BrokenPipeError), sink:
            while size <= _MAX_PACK and (chunk := source.read1(_CHUNK)):
                size += len(chunk)
                if size > _MAX_PACK:
                    _kill(git)
                sink.write(chunk)
                sink.flush()  # it fails as soon as nothing reads it
    return size


def _environment() -> dict[str, str]:
    clean_path()
    given = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return {**given, "LC_ALL": "C.UTF-8", "PWD": _NOWHERE}
