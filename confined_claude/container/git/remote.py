"""git-remote-confined-claude: has the user's machine push what the session's git is told to, once its user agrees.

    git.remote REMOTE URL

It is a remote helper of git, see gitremote-helpers(7), for URLs like `confined-claude::https://HOST/PATH`. It sends one
line of JSON, {"url": URL, "updates": [[REFERENCE, OBJECT], ...]}, and a pack with what the remote is not known to
have. The answers are lines: `say TEXT`, then for each reference `ok REFERENCE` or `error REFERENCE REASON`.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import IO

GIT = "/usr/bin/git.distrib"
SOCKET = "/run/confined-claude-ports/push"
_CHECKED = (b".gitattributes", b".gitmodules")
_GONE = "this session can no longer ask for pushes; start a new one"
_Stream = int | IO[bytes] | None


def _started(*words: str, stdout: _Stream, stdin: _Stream = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a git that reads the objects as they are, and is silent about errors; return its process."""
    words = (GIT, "--no-replace-objects", *words)
    return subprocess.Popen(words, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)


def _git(*words: str) -> list[str]:
    """Return the lines that git prints; none if it fails."""
    with _started(*words, stdout=subprocess.PIPE) as git:
        printed, _ = git.communicate()
    return printed.decode("utf-8", "replace").splitlines() if git.returncode == 0 else []


class Remote:
    """The remote ``name``, whose branches are those that the session has last heard of."""

    def __init__(self, name: str, url: str) -> None:
        self._name, self._url = name, url
        prefix = f"refs/remotes/{name}/"
        listed = _git("for-each-ref", "--format=%(objectname) %(refname) %(symref)", prefix)
        found = (line.split(" ") for line in listed)
        self.known = {ref.replace(prefix, "refs/heads/", 1): oid for oid, ref, target in found if not target}

    def push(self, pushes: Sequence[tuple[str, str]]) -> Iterator[str]:
        """Yield git's answer for each pair of a source and a reference."""
        updates = []
        for source, ref in pushes:
            found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", source.lstrip("+")) if source else []
            if source.startswith("+") or not found:
                yield f"error {ref} {'forced pushes are refused' if source else 'deletions are refused'}"
            else:
                updates.append([ref, found[0]])
        if updates:
            yield from self._ask(updates)

    def _ask(self, updates: list[list[str]]) -> Iterator[str]:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(SOCKET)
            except OSError:
                yield from (f"error {ref} {_GONE}" for ref, _ in updates)
                return
            left = {ref for ref, _ in updates}
            try:
                sock.sendall(json.dumps({"url": self._url, "updates": updates}).encode() + b"\n")
                self._send_pack(sock, [oid for _, oid in updates])
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the answer says why
            for line in _answers(sock):
                kind, _, rest = line.partition(" ")
                if kind == "say":
                    print(f"confined-claude: {rest}", file=sys.stderr, flush=True)
                else:
                    left.discard(rest.partition(" ")[0])
                    yield line
            yield from (f"error {ref} {_GONE}" for ref in left)

    def _send_pack(self, sock: socket.socket, objects: list[str]) -> None:
        walk = ("rev-list", "--objects", *objects, "--not", f"--remotes={self._name}")
        words = [GIT, "pack-objects", "--stdout", "--delta-base-offset", "--quiet"]
        packing = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=sock.fileno())
        with contextlib.suppress(BrokenPipeError), packing:  # it has said why it ended
            if packing.stdin is not None:
                _started(*walk, stdout=packing.stdin).wait()
                packing.stdin.writelines(_checked(walk))


def _checked(walk: Sequence[str]) -> Iterator[bytes]:
    """Yield a line for each file that git asks for to check it, as a directory that is pushed names it so.

    The remote may have it already, under any name, and git then leaves it out of what it lists.
    """
    trees = (*walk, "--filter=blob:none", "--no-object-names")
    with (
        _started(*trees, stdout=subprocess.PIPE) as walking,
        _started("cat-file", "--batch", "--buffer", stdin=walking.stdout, stdout=subprocess.PIPE) as git,
    ):
        while git.stdout is not None and (about := git.stdout.readline().split()):
            oid, kind, *size = about  # without a size it is missing
            content = git.stdout.read(int(size[0]) + 1) if size else b""
            if kind == b"tree" and any(name in content.lower() for name in _CHECKED):
                for name, file in re.findall(rb"(?s)[0-7]+ ([^\0]+)\0(.{%d})" % (len(oid) // 2), content):
                    if name.lower() in _CHECKED:
                        yield file.hex().encode() + b"\n"


def _answers(sock: socket.socket) -> Iterator[str]:
    """Yield the lines that come, to their end, or until git is gone, which says nothing while it waits."""
    rest = b""
    while sys.stdin not in select.select([sock, sys.stdin], [], [])[0]:
        try:
            data = sock.recv(1 << 16)
        except OSError:
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)


def main(words: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    remote = Remote(*words[:2])
    is_trial = False
    pushes: list[tuple[str, str]] = []
    for line in sys.stdin:
        command, _, rest = line.rstrip("\n").partition(" ")
        answer: list[str] = []
        if command == "capabilities":
            answer = ["option", "push", ""]
        elif command == "option":
            is_known = rest.startswith("dry-run ")
            is_trial = rest == "dry-run true" if is_known else is_trial
            answer = ["ok" if is_known else "unsupported"]
        elif command == "list":
            answer = [*(f"{oid} {ref}" for ref, oid in remote.known.items()), ""]
        elif command == "push":
            source, _, ref = rest.rpartition(":")
            pushes.append((source, ref))
        elif not command and pushes:
            answer = [f"ok {ref}" for _, ref in pushes] if is_trial else list(remote.push(pushes))
            answer.append("")
            pushes = []
        elif not command:
            return 0
        if answer:
            print("\n".join(answer), flush=True)
    return 0
