"""Runs a git command that changes the work tree, and keeps git's hands off what is mounted read-only in it.

Git cannot replace such a file, and ends half-way. So for the command it is out of a sparse checkout, git's own means
for files that are not its own: the index takes what a branch has, and the file stays as it is. What differs afterwards
has two bits in the index that make git leave it alone, skip-worktree and assume-unchanged: the way back works, and
no commit takes the file for changed. The two together are the mark by which the host knows them, see guard/marks.py.
A conflict in such a file could not be written either: git gets what the file has not, so that nothing is lost, and the
host's git shows the difference.

In a sparse checkout git overwrites files that it does not track, which it otherwise refuses to do: they are put back.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

GIT = "/usr/bin/git.distrib"
_MOUNTS = Path("/proc/self/mountinfo")
_WITH_VALUE = frozenset(("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--exec-path"))
_EXPECTED = ("-c", "sparse.expectFilesOutsideOfPatterns=true")
_OPTIONS = ("core.sparseCheckout=true", "core.sparseCheckoutCone=false", "index.sparse=false")
_SPARSE = (*_EXPECTED, *(word for option in _OPTIONS for word in ("-c", option)))
# Of a file that both sides change, take theirs (B) in place of ours (A), unless the file is that; see gitattributes(5).
_DRIVER = "confined-claude"
_MERGE = "cmp -s %B %P || cat %B >%A; printf '%%s\\n' %P >>\"$CONFINED_CLAUDE_CONFLICTS\""
_FORCED = frozenset(("-f", "--force", "--hard", "--discard-changes"))  # then git overwrites untracked files anyway
_OURS = "# confined-claude: for one command\n"
_SKIP, _ASSUME = "skip-worktree", "assume-unchanged"
_MAX_NAMED = 3


@dataclass(frozen=True)
class Entry:
    """What the index has at a path: the tag of ``git ls-files -v``, and mode and object."""

    tag: str
    content: str

    @property
    def is_marked(self) -> bool:
        return self.tag == "s"

    @property
    def is_skipped(self) -> bool:
        return self.tag in "Ss"

    @property
    def is_unmerged(self) -> bool:
        return self.tag in "Mm"


def mount_points(top: str, mounts: str) -> dict[str, bool]:
    """Return the mount points below ``top``, by path from there, each with whether it is read-only; none if none is.

    ``mounts`` is the content of /proc/self/mountinfo, see proc(5). Those in .git are git's own matter.
    """
    found = {}
    for line in mounts.split("\n"):
        place, options = (line.split(" ") + [""] * 6)[4:6]
        place = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), os.fsencode(place)))
        if place.startswith(f"{top}/") and "\n" not in place:
            path = place[len(top) + 1 :]
            if path.split("/")[0] != ".git":
                found[path] = "ro" in options.split(",")
    return found if any(found.values()) else {}


def patterns(points: Mapping[str, bool], directories: frozenset[str]) -> str:
    """Return the lines of a sparse-checkout file that leave what is read-only out, and what is writable in it in.

    ``directories`` are those of the mount ``points`` that are no files.
    """
    return "".join(
        f"{'!' if is_read_only else ''}{pattern(path)}{'/' if path in directories else ''}\n"
        for path, is_read_only in sorted(points.items())
    )


def pattern(path: str) -> str:
    """Return a path from the top as a pattern of gitignore(5)."""
    return "/" + re.sub(r"([\\*?\[ ])", r"\\\1", path)


def attributes(points: Mapping[str, bool], directories: frozenset[str]) -> str:
    """Return the lines of a file of attributes by which conflicts in what is read-only are resolved."""
    lines = []
    for path, is_read_only in sorted(points.items()):
        escaped = re.sub(r"([\\*?\[])", r"\\\1", f"/{path}") + ("/**" if path in directories else "")
        quoted = re.sub(r'([\\"])', r"\\\1", escaped)
        lines.append(f'"{quoted}" {f"merge={_DRIVER}" if is_read_only else "!merge"}\n')
    return "".join(lines)


class WorkTree:
    """The work tree that the command concerns, whose root is ``top``, with the mount ``points`` below it."""

    def __init__(self, top: str, git_directory: str, points: Mapping[str, bool]) -> None:
        self._top = Path(top)
        self._git_directory = f"{git_directory}/"
        self._points = points
        self._file = Path(git_directory) / "info/sparse-checkout"
        self._environ = {**os.environ, "GIT_DIR": git_directory, "GIT_WORK_TREE": top}
        self._paths = [f":(top,literal){path}" for path, is_read_only in points.items() if is_read_only]
        self._is_sparse = self._git("config", "--type=bool", "core.sparseCheckout") == "true\n"

    def _git(self, *words: str, stdin: str = "") -> str:
        """Return what a git command prints; nothing if it fails."""
        done = subprocess.run(
            [GIT, *_EXPECTED, *words],
            input=os.fsencode(stdin),
            capture_output=True,
            check=False,
            env=self._environ,
            cwd=self._top,
        )
        return "" if done.returncode else os.fsdecode(done.stdout)

    def _is_kept(self, path: str) -> bool:
        """Return whether a path is read-only: the nearest mount point decides."""
        while path:
            if path in self._points:
                return self._points[path]
            path = path.rpartition("/")[0]
        return False

    def entries(self) -> dict[str, Entry]:
        """Return what the index has of what is read-only."""
        found = {}
        for line in self._git("ls-files", "-v", "-s", "-z", "--", *self._paths).split("\0"):
            content, _, path = line[2:].partition("\t")
            if self._is_kept(path):
                # The user's own sparse checkout takes one bit of a mark away.
                found[path] = Entry("s" if line[0] == "h" and self._is_sparse else line[0], content)
        return found

    def changed(self) -> set[str]:
        """Return the paths whose file is not as in the index, of those that git does not leave alone."""
        words = ("diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--name-only", "-z", "--")
        return set(filter(self._is_kept, self._git(*words, *self._paths).split("\0")))

    def set_bit(self, bit: str, paths: Iterable[str], *, on: bool) -> None:
        """Set or clear a bit of entries of the index."""
        if stdin := "".join(f"{path}\0" for path in paths):
            self._git("update-index", f"--{bit}" if on else f"--no-{bit}", "-z", "--stdin", stdin=stdin)

    def leave_alone(self, entries: Mapping[str, Entry]) -> None:
        """Have git not look at the files of ``entries``."""
        self.set_bit(_SKIP, (path for path, entry in entries.items() if not entry.is_unmerged), on=True)

    @contextlib.contextmanager
    def sparse(self) -> Iterator[tuple[str, ...]]:
        """Leave what is read-only out of the checkout for the block; yield the options for git."""
        before = self._file.read_bytes() if self._file.is_file() else b""
        if before.startswith(_OURS.encode()):  # another command's
            before = b""
        wanted = os.fsdecode(before).rstrip("\n") if before and self._is_sparse else "/*"
        directories = frozenset(path for path in self._points if (self._top / path).is_dir())
        try:
            self._file.parent.mkdir(exist_ok=True)
            self._file.write_bytes(os.fsencode(f"{_OURS}{wanted}\n{patterns(self._points, directories)}"))
            yield _SPARSE
        finally:
            if before:
                self._file.write_bytes(before)
            else:
                self._file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def conflicts(self) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Have git resolve conflicts in what is read-only during the block.

        Yields the options for git, and a list that has the paths of these conflicts afterwards.
        """
        own = self._git("config", "--type=path", "core.attributesFile").rstrip("\n")
        file = Path(own) if own else _user_config() / "attributes"
        directories = frozenset(path for path in self._points if (self._top / path).is_dir())
        met: list[str] = []
        with tempfile.TemporaryDirectory() as directory:
            place, log = Path(directory) / "attributes", Path(directory) / "conflicts"
            lines = file.read_bytes() if file.is_file() else b""
            place.write_bytes(lines + os.fsencode("\n" + attributes(self._points, directories)))
            os.environ["CONFINED_CLAUDE_CONFLICTS"] = str(log)
            options = (f"core.attributesFile={place}", f"merge.{_DRIVER}.driver={_MERGE}")
            yield tuple(word for option in options for word in ("-c", option)), met
            met += dict.fromkeys(os.fsdecode(log.read_bytes()).splitlines() if log.is_file() else ())

    @contextlib.contextmanager
    def untracked(self) -> Iterator[list[str]]:
        """Put back at the end of the block what git does not track, if it was overwritten.

        Yields a list that has then the paths that were put back.
        """
        restored: list[str] = []
        listed = self._git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
        # A git directory in the tree under another name is git's to write.
        kept = (path for path in listed if path and not self._is_kept(path))
        names = [path for path in kept if not f"{self._top}/{path}".startswith(self._git_directory)]
        if not names:
            yield restored
            return
        place = Path(tempfile.mkdtemp(prefix=".untracked-", dir=self._top))
        (place / ".gitignore").write_text("*\n", encoding="utf-8")  # so that no stash takes it
        saving = place / "files"
        try:
            for name in names:
                (saving / name).parent.mkdir(parents=True, exist_ok=True)
                _keep(self._top / name, saving / name)
            yield restored
        finally:
            for name in names:
                saved, there = saving / name, self._top / name
                if os.path.lexists(saved) and os.path.lexists(there) and not _is_same(saved, there):
                    shutil.move(saved, there)
                    restored.append(name)
            shutil.rmtree(place, ignore_errors=True)

    def mark(self, before: Mapping[str, Entry], changed: set[str]) -> list[str]:
        """Mark what differs now; return the paths that stay as they are although the branch has something else.

        ``before`` and ``changed`` are as they were before the command, whose user may have set one bit or the other.
        """
        after = {path: entry for path, entry in self.entries().items() if not entry.is_unmerged}
        own = {path: entry for path, entry in before.items() if path in after and entry.tag in "Sh"}
        self.set_bit(_SKIP, after, on=False)
        self.set_bit(_ASSUME, after, on=False)
        differ = self.changed() & after.keys()
        # What the user has changed is still that if the branch has the same as the one before.
        edited = {path for path in changed & differ if before[path].content == after[path].content}
        marked = differ - edited - own.keys()
        skipped = {path for path, entry in own.items() if entry.is_skipped}
        self.set_bit(_SKIP, marked | skipped, on=True)
        self.set_bit(_ASSUME, marked | own.keys() - skipped, on=True)
        return sorted(marked)

    def left(self, before: Mapping[str, Entry]) -> list[str]:
        """Return the files that the branch before had, and this one has not; git ignores them for this session."""
        after = self.entries()
        left = sorted(path for path in before.keys() - after.keys() if os.path.lexists(self._top / path))
        file = _user_config() / "ignore"
        lines = os.fsdecode(file.read_bytes()).splitlines() if file.is_file() else []
        kept = [line for line in lines if line not in set(map(pattern, after))]
        kept += [line for line in map(pattern, left) if line not in kept]
        if kept != lines:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(os.fsencode("".join(f"{line}\n" for line in kept)))
        return left


def _user_config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "git"


def _keep(path: Path, saved: Path) -> None:
    with contextlib.suppress(OSError):
        try:
            os.link(path, saved, follow_symlinks=False)
        except OSError:  # another mount
            shutil.copy2(path, saved, follow_symlinks=False)


def _is_same(saved: Path, there: Path) -> bool:
    one, other = saved.lstat(), there.lstat()
    is_copy = (one.st_size, one.st_mtime_ns, one.st_mode) == (other.st_size, other.st_mtime_ns, other.st_mode)
    return is_copy or (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev)


def command_at(words: list[str]) -> int:
    """Return where in the words after ``git`` the command is."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _WITH_VALUE else 1
    return at


def work_tree(options: list[str]) -> WorkTree | None:
    """Return the work tree that a command with git's general ``options`` concerns; None if nothing in it is kept."""
    words = [GIT, *options, "rev-parse", "--show-toplevel", "--absolute-git-dir"]
    done = subprocess.run(words, capture_output=True, check=False)
    top, _, git_directory = os.fsdecode(done.stdout).removesuffix("\n").partition("\n")
    points = {} if done.returncode else mount_points(top, os.fsdecode(_MOUNTS.read_bytes()))
    return WorkTree(top, git_directory, points) if points else None


def run(words: list[str]) -> int:
    """Run git, and return its exit code. Signals of the terminal reach it as well, and are its to handle."""
    with subprocess.Popen([GIT, *words]) as git:
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: git.terminate())
        code = git.wait()
    return code if code >= 0 else 128 - code


def main(words: list[str]) -> int:
    """Run git with ``words``; return its exit code."""
    tree = work_tree(words[: command_at(words)])
    if tree is None:
        os.execv(GIT, [GIT, *words])  # noqa: S606
    before, changed = tree.entries(), tree.changed()
    tree.leave_alone(before)
    with contextlib.ExitStack() as stack:
        restored = [] if _FORCED.intersection(words) else stack.enter_context(tree.untracked())
        options, met = stack.enter_context(tree.conflicts())
        code = run([*options, *stack.enter_context(tree.sparse()), *words])
    kept = [*tree.mark(before, changed), *tree.left(before)]
    if kept and set(kept) != {path for path, entry in before.items() if entry.is_marked}:
        say(
            f"The session cannot change {named(kept)}: your machine runs such files by itself.",
            "They stay as they are, and git treats them as unchanged here. The user can add them to `writable`.",
        )
    if met:
        say(
            f"Both sides change {named(met)}, which the session cannot change: the file keeps one side, git the other.",
            "Nothing is lost. Tell the user: `git status` outside the session shows the difference.",
        )
    if restored:
        say(f"Left as before, because git did not track it: {named(restored)}. The branch has something else there.")
    return code


def named(paths: list[str]) -> str:
    """Return the first few of several paths, and how many more there are."""
    names = [path.encode("utf-8", "backslashreplace").decode() for path in paths[:_MAX_NAMED]]
    more = len(paths) - _MAX_NAMED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def say(*lines: str) -> None:
    """Print a message of the tool's own."""
    print("confined-claude:", "\n".join(lines), file=sys.stderr)
