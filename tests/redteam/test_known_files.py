"""What a session does to have a file of its own taken for one that was there before it."""

from __future__ import annotations

import shlex

from attacks import REVIEW, Field

EVIL = "touch CANARY"
FORGED_TREE = """
import os, subprocess, zlib
def git(*words, data=None):
    return subprocess.run(["git", *words], input=data, capture_output=True, check=True).stdout.decode().strip()
blob, tree = git("hash-object", "-w", "evil"), git("rev-parse", "main^{tree}")
entry = b"100644 .autoenv\\0" + bytes.fromhex(blob)
path = f".git/objects/{tree[:2]}/{tree[2:]}"
os.chmod(path, 0o644)
open(path, "wb").write(zlib.compress(b"tree %d\\0" % len(entry) + entry))
"""


def commit(branch: str, path: str) -> str:
    """Shell words that commit a file of the session's on a branch, and leave nothing of it in the work tree."""
    return f"git switch -qc {branch}; mkdir -p {path}; cp evil {path}/.envrc; git add -f {path}; " + (
        f"git commit -qm {branch}; git switch -q main"
    )


# A tip that no session may make up, and how the file gets from there into the work tree.
FORGE = [
    commit("a", "a"),
    f"{commit('b', 'b')}; git pack-refs --all",
    f"{commit('c', 'c')}; git update-ref refs/remotes/origin/c c; git update-ref -d refs/heads/c",
    f"{commit('d', 'd')}; git update-ref refs/heads/known d; git update-ref -d refs/heads/d",
    f"{commit('f', 'f')}; git rev-parse f > .git/refs/heads/forged; git update-ref -d refs/heads/f",
    f"{commit('e', 'e')}; git replace main e",  # git takes the one for the other from here on
]
BRING = [f"git checkout -q {tip} -- {tip[-1]}" for tip in ("a", "b", "origin/c")]
BRING += ["git checkout -q known -- d", "git checkout -q main -- e", "git checkout -q forged -- f"]
PLANTED = [f"{name}/.envrc" for name in "abcdef"]
BEFORE = "git switch -qc known && echo : > .envrc && git add .envrc && git commit -qm known && git switch -q main"


def test_a_tip_that_a_session_makes_up_vouches_for_nothing(repository: Field) -> None:
    repository.prepare(BEFORE)
    # The control: a branch that was there before brings its file without a word.
    done = repository.session("git switch -q known; git switch -q main; git checkout -q known -- .envrc")
    assert (done.returncode, "left" in done.stderr) == (0, False), done.stderr
    repository.prepare("git rm -qf .envrc")
    forge = "\n".join(["set -e", f"echo {shlex.quote(EVIL)} > evil", *FORGE])
    done = repository.session(forge)
    assert (done.returncode, ".git/refs/replace/" in done.stderr) == (0, True), done.stderr
    done = repository.session("\n".join(["set -e", *BRING]))
    assert done.returncode == 0, done.stderr
    review = repository.review()
    assert review.returncode == REVIEW
    listed = {" ".join(line.split()) for line in review.stdout.splitlines()}
    assert [path for path in PLANTED if f"red {path}" not in listed] == [], done.stderr
    repository.host(". ./a/.envrc")  # the control: what is reported does run
    assert repository.escaped() == ["canary"]


def test_an_object_that_is_not_what_its_name_says_vouches_for_nothing(repository: Field) -> None:
    forge = f"echo {shlex.quote(EVIL)} > evil; python3 -c {shlex.quote(FORGED_TREE)}; cp evil .autoenv"
    done = repository.session(forge)
    assert "red     .autoenv" in done.stderr
    repository.host(". ./.autoenv")
    assert repository.escaped() == ["canary"]
