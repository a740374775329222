"""``inv release`` in a clone: what it needs, what it makes, and that it changes nothing otherwise."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import GITCONFIG, SYSTEM_PATH, User
from scaffolds import ANSWERS, copier, files

BIN = Path(sys.executable).parent  # the developer's own


@pytest.fixture
def developer(place: Path) -> User:
    (place / ".gitconfig").write_text(GITCONFIG)
    return User(place, BIN, variables={"PATH": f"{BIN}:{SYSTEM_PATH}"})


@pytest.fixture
def clone(place: Path, template: Path) -> Path:
    """A clone of this repository, at version 99.0.0."""
    return Path(shutil.copytree(template, place / "clone"))


def state(developer: User, clone: Path) -> list[str]:
    return [developer.git(clone, *words) for words in (("log", "--oneline"), ("tag",), ("status", "--porcelain"))]


def test_a_release_is_what_was_checked_dated_tagged_and_built(developer: User, clone: Path, place: Path) -> None:
    log = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n#### Sessions\n\n- Something.\n"
    (clone / "CHANGELOG.md").write_text(log)
    developer.git(clone, "commit", "--quiet", "--all", "--message", "x")
    checks = "test -e copier.yml && touch ../checked"
    done = developer.run("inv", "release", "100.0.0", "--checks", checks, cwd=clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "checked").exists()
    log, tags, changes = state(developer, clone)
    assert "Version 100.0.0" in log.splitlines()[0]
    assert changes == ""
    assert "v100.0.0" in tags.split()
    assert "## [Unreleased]\n\n## [100.0.0] - 20" in (clone / "CHANGELOG.md").read_text()
    assert {path.name for path in (clone / "dist").iterdir()} == {
        "confined_claude-100.0.0.tar.gz",
        "confined_claude-100.0.0-py3-none-any.whl",
    }
    # The wheel's template has that version, and is the same as the clone's.
    with zipfile.ZipFile(clone / "dist/confined_claude-100.0.0-py3-none-any.whl") as wheel:
        wheel.extract("confined_claude/template.bundle", place)
    made = {}
    for name, source in (("by-wheel", place / "confined_claude/template.bundle"), ("by-clone", clone)):
        copier(developer, "copy", "--defaults", str(source), name, cwd=place)
        made[name] = files(place / name)
        assert "_commit: v100.0.0\n" in made[name].pop(ANSWERS)
    assert made["by-wheel"] == made["by-clone"]


@pytest.mark.parametrize(
    ("version", "checks", "reason"),
    [
        ("99.0.0", "true", "There is v99.0.0 already."),
        ("100", "true", "no version like 1.2.3"),
        ("100.0.0", "false", "non-zero exit status 1"),
        ("100.0.0", "echo >>README.md", "The checks have changed files"),
        ("100.0.0", "dirty", "changes that are not committed"),
        ("100.0.0", "no entry", "no entry under Unreleased"),
    ],
)
def test_nothing_is_released_while_something_is_wrong(
    developer: User, clone: Path, version: str, checks: str, reason: str
) -> None:
    if checks == "dirty":
        (clone / "more").touch()
    if checks == "no entry":
        (clone / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [99.0.0]\n\n- Old.\n")
        developer.git(clone, "commit", "--quiet", "--all", "--message", "x")
    before = state(developer, clone)
    done = developer.run("inv", "release", version, "--checks", checks, cwd=clone)
    assert done.returncode == 1
    assert reason in done.stdout
    developer.git(clone, "checkout", "README.md")  # the checks' own
    assert state(developer, clone) == before
    assert not (clone / "dist").exists()


@pytest.mark.parametrize("step", ["commit", "tag", "dist"])
def test_a_release_that_fails_at_its_last_steps_leaves_nothing(developer: User, clone: Path, step: str) -> None:
    """A hook refuses the commit, no key signs the tag, and a file is where dist/ belongs."""
    hook = clone / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755 if step == "commit" else 0o644)
    developer.git(clone, "config", "advice.ignoredHook", "false")
    if step == "tag":
        developer.git(clone, "config", "tag.gpgSign", "true")
        developer.git(clone, "config", "gpg.program", "false")
    if step == "dist":
        (clone / "dist").write_text("in the way\n")
    before = state(developer, clone)
    done = developer.run("inv", "release", "100.0.0", "--checks", "true", cwd=clone)
    assert (done.returncode, "Traceback" in done.stdout) == (1, False), done.stdout
    assert "Nothing is released" in done.stdout
    assert state(developer, clone) == before
    assert (clone / "dist").exists() is (step == "dist")
