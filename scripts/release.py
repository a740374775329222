#!/usr/bin/env python3
"""Release a version: ``release.py VERSION [CHECKS]``, on a clean tree, where CHECKS is a command that has to succeed.

Sets the version, dates the changelog, adds the template's version, builds dist/, commits and tags. Nothing is pushed,
and nothing is changed if anything fails.
"""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import make_bundle

ROOT = Path(__file__).resolve().parents[1]
CHECKS = "tests/run lint && tests/run docs && tests/run unit"
UNRELEASED = "## [Unreleased]\n"
VERSION_FILE, CHANGELOG = ROOT / "confined_claude/__init__.py", ROOT / "CHANGELOG.md"


def release(version: str, checks: str = CHECKS) -> None:
    """Release ``version`` once the command ``checks`` has succeeded. Raises ValueError, and CalledProcessError."""
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version):
        raise ValueError(f"{version} is no version like 1.2.3.")
    tags = [tag for tag in _git("tag", "--list", "v*").split() if re.fullmatch(r"v[0-9.]+", tag)]
    if newer := [tag for tag in tags if _numbers(tag) >= _numbers(version)]:
        raise ValueError(f"There is {newer[-1]} already.")
    if _git("status", "--porcelain"):
        raise ValueError("There are changes that are not committed.")
    log = CHANGELOG.read_text()
    before, _, after = log.partition(UNRELEASED)
    if not re.match(r"\s+(###+ .*\s+)*- ", after):
        raise ValueError("The changelog has no entry under Unreleased.")
    subprocess.run(checks, shell=True, check=True, cwd=ROOT)  # noqa: S602 - the developer's own command
    if _git("status", "--porcelain"):
        raise ValueError("The checks have changed files: look at them, and commit them first.")
    before_it = _git("rev-parse", "HEAD")
    try:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        CHANGELOG.write_text(f"{before}{UNRELEASED}\n## [{version}] - {today}\n{after}")
        VERSION_FILE.write_text(re.sub('(?<=__version__ = ").*(?=")', version, VERSION_FILE.read_text()))
        make_bundle.update(make_bundle.BUNDLE, ROOT, version)
        with tempfile.TemporaryDirectory() as built:
            _build(built)
            _git("commit", "--quiet", "--all", "--message", f"Version {version}")
            _git("tag", "--annotate", f"v{version}", "--message", f"Version {version}")
            shutil.copytree(built, ROOT / "dist", dirs_exist_ok=True)
    except BaseException:
        if _git("tag", "--list", f"v{version}"):
            _git("tag", "--delete", f"v{version}")
        _git("reset", "--quiet", "--hard", before_it)
        raise
    print(f"Released {version}: see dist/, and publish the commit with `git push --follow-tags`.")


def _build(into: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        python = f"{directory}/bin/python"
        for command in (
            [sys.executable, "-m", "venv", directory],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "build"],
            [python, "-m", "build", "--outdir", into, str(ROOT)],
        ):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()


def _numbers(tag: str) -> list[int]:
    return [int(number) for number in re.findall("[0-9]+", tag)]


if __name__ == "__main__":
    try:
        release(*sys.argv[1:])
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"Nothing is released: {error}")
