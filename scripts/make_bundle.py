#!/usr/bin/env python3
"""Keep the template as the tool carries it: confined_claude/template.bundle, a git repository of the scaffold alone.

``make_bundle.py`` adds a commit if copier.yml or template/ have changed, tagged as a successor of the newest version
there, ``v0.2.0.post1``: copier takes no pre-releases by itself, and projects made of what is not yet released can be
updated. ``make_bundle.py VERSION`` adds the commit of a release. Nothing that was there changes, and the same content
gives the same commits.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "confined_claude/template.bundle"
SOURCES = ("copier.yml", "template")
_MADE_BY = {"NAME": "Confined Claude", "EMAIL": "confined-claude@example.invalid", "DATE": "2026-01-01T00:00:00+0000"}
_SETTINGS = ("core.autocrlf=false", "core.fileMode=false", "pack.threads=1")


class Repository:
    """A temporary git repository; ``git`` reads no settings of this machine."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": directory}
        made_by = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in _MADE_BY.items()}
        self._environ = {"PATH": os.environ["PATH"], **nowhere, **made_by}
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        """Return what git prints. Raises CalledProcessError."""
        settings = (word for setting in _SETTINGS for word in ("-c", setting))
        command = ["git", *settings, "-C", self._directory, *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=self._environ).stdout.strip()


def update(bundle: Path, root: Path, release: str = "") -> str:
    """Bring ``bundle`` up to date with the template in ``root``; return the tag of its newest commit.

    With ``release`` that is the tag of this version. Raises ValueError if the bundle has that version already.
    """
    with tempfile.TemporaryDirectory() as directory:
        repository = Repository(directory)
        git = repository.git
        if bundle.exists():
            git("fetch", "--quiet", str(bundle), "refs/*:refs/*", "--update-head-ok")
        git("--work-tree", str(root), "add", "--all", "--", *SOURCES)
        tree, newest = git("write-tree"), git("for-each-ref", "--format=%(objectname)", "refs/heads/main")
        tags = git("tag", "--list").split()
        tag = f"v{release}" if release else _successor(tags)
        if release and tag in tags:
            raise ValueError(f"{bundle} has {tag} already.")
        if newest and not release and git("rev-parse", f"{newest}^{{tree}}") == tree:
            return git("tag", "--points-at", newest)
        parent = ("-p", newest) if newest else ()
        commit = git("commit-tree", tree, *parent, "-m", tag)
        git("update-ref", "refs/heads/main", commit)
        git("tag", tag, commit)
        git("bundle", "create", "--quiet", str(bundle), "HEAD", "main", "--tags")
        return tag


def _successor(tags: list[str]) -> str:
    """Return the tag after the newest of ``tags``, which are of releases and of what followed them."""
    numbers = [tuple(map(int, re.findall(r"\d+", tag))) for tag in tags]
    *version, post = max((*found, 0)[:4] for found in numbers)
    return f"v{'.'.join(map(str, version))}.post{post + 1}"


if __name__ == "__main__":
    print(update(BUNDLE, ROOT, *sys.argv[1:2]))
