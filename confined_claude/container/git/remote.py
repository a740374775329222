"""git-remote-confined-claude: has the user's machine push what the session's git is told to, once its user agrees.

    git.remote REMOTE URL

It is a remote helper of git, see gitremote-helpers(7), for URLs like `confined-claude::https://HOST/PATH`. It sends one
line of JSON, {"url": URL, "updates": [[REFERENCE, OBJECT], ...]}, and a pack with what the remote is not known to
have. The answers are lines: `say TEXT`, then for each reference `ok REFERENCE` or `error REFERENCE REASON`.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

GIT = "/usr/bin/git.distrib"
SOCKET = "/run/confined-claude-ports/push"
_CHECKED = (b".gitattributes", b".gitmodules")
_GONE = "this session can no longer ask for pushes; start a new one"


def _printed(*words: str, stdin: bytes = b"") -> bytes:
    """Return what git prints of the objects as they are; nothing if it fails."""
    done = subprocess.run([GIT, "--no-replace-objects", *words], input=stdin, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def _git(*words: str) -> list[str]:
    """Return the lines that git prints; none if it fails."""
    return _printed(*words).decode("utf-8", "replace").splitlines()


class Remote:
    """The remote ``name``, whose branches are those that the session has last heard of."""

    def __init__(self, name: str, url: str) -> None:
        self._url = url
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
        revisions = "\n".join([*objects, *(f"^{oid}" for oid in self.known.values()), ""]).encode()
        listed = _printed("rev-list", "--objects", "--boundary", "--stdin", stdin=revisions).splitlines()
        lines = [line for line in listed if not line.startswith(b"-")]
        for boundary in (line[1:].decode() for line in listed if line.startswith(b"-")):
            lines += _checked(boundary)
        words = [GIT, "pack-objects", "--stdout", "--delta-base-offset", "--quiet"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=sock.fileno()) as packing:
            packing.communicate(b"\n".join([*lines, b""]))


def _checked(commit: str) -> Iterator[bytes]:
    """Yield the ids of the files in a commit, which the remote has, that are to be checked with their directories."""
    for entry in _printed("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        about, _, path = entry.partition(b"\t")
        if b" blob " in about and path.rpartition(b"/")[2].lower() in _CHECKED:
            yield about.split(b" ")[2]


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
