"""Mercurial and Jujutsu: what they obey is protected and reported as git's is, and what a clone has is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from confined_claude.guard.pins import Pins, plan_pins
from confined_claude.guard.rules import Matcher, rules_for
from confined_claude.project import Project

from ..guarding import EVIL, Scanned, git, git_directory, put
from .test_guard import Place, place

__all__ = ["place"]

HOOK = "[hooks]\npre-status = touch /tmp/ran\n"
# As `hg clone` of Mercurial 6.3 writes it.
CLONED = "# example\n[paths]\ndefault = https://example.com/a\n\n# my-fork = x\n\n[ui]\n# username = x\n"


def mercurial(root: Path, settings: str | None = None) -> Path:
    """A repository as `hg init` makes it, or `hg clone`."""
    put(root / ".hg/requires", "share-safe\n")
    put(root / ".hg/store/requires", "dotencode\nstore\n")
    if settings is not None:
        put(root / ".hg/hgrc", settings)
    return root


def jujutsu(root: Path) -> Path:
    """A repository as `jj git init --no-colocate` makes it."""
    git_directory(root / ".jj/repo/store/git")
    put(root / ".jj/repo/store/git_target", "git")
    put(root / ".jj/working_copy/type", "local")
    return root


def planned(root: Path) -> Pins:
    return plan_pins(Project(root), None, Matcher(rules_for((), ())))


def names(paths: tuple[Path, ...], root: Path) -> set[str]:
    return {os.path.relpath(path, root) for path in paths}


# What is protected


def test_mercurials_settings_are_pinned_also_where_they_are_missing(tmp_path: Path) -> None:
    mercurial(tmp_path)
    pins = planned(tmp_path)
    assert names(pins.read_only, tmp_path) == {".hg/requires"}
    assert names(pins.missing, tmp_path) == {".hg/hgrc", ".hg/hgrc-not-shared"}
    put(tmp_path / ".hg/hgrc", CLONED)
    put(tmp_path / ".hg/sharedpath", "/elsewhere")
    assert names(planned(tmp_path).read_only, tmp_path) == {".hg/requires", ".hg/hgrc", ".hg/sharedpath"}


def test_what_jujutsu_and_its_own_git_obey_is_pinned(tmp_path: Path) -> None:
    jujutsu(tmp_path)
    put(tmp_path / ".jj/repo/config.toml")
    pins = planned(tmp_path)
    store = ".jj/repo/store"
    assert names(pins.read_only, tmp_path) == {
        *(f"{store}/git/{name}" for name in ("config", "hooks")),
        f"{store}/git_target",
        ".jj/repo/config.toml",
    }
    assert names(pins.missing, tmp_path) == {f"{store}/git/commondir"}


@pytest.mark.parametrize("link", [".hg", ".hg/hgrc", ".jj", ".jj/repo", ".jj/repo/store/git"])
def test_no_link_is_pinned_or_followed(link: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    mercurial(jujutsu(root), CLONED)
    (root / link).rename(tmp_path / "away")
    (root / link).symlink_to(tmp_path / "away")
    pins = planned(root)
    assert all(os.path.realpath(path.parent) == str(path.parent) for path in (*pins.read_only, *pins.missing))
    assert not any(path.is_symlink() for path in pins.read_only)


def test_what_was_made_for_a_session_goes_with_it(place: Place) -> None:
    mercurial(place.root)
    git(place.root, "add", "--all")
    before = place.everything()[0]
    one = place.start()
    assert (place.root / ".hg/hgrc").read_bytes() == b""
    assert {".hg/hgrc", ".hg/hgrc-not-shared", ".hg/requires"} <= place.pinned(one)
    assert one.finish() == []
    assert {path: entry[3] for path, entry in before.items()} == {
        path: entry[3] for path, entry in place.everything()[0].items()
    }


# What is reported


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".hg/hgrc", HOOK),
        (".hg/hgrc", f"{CLONED}%include ../x\n"),
        (".hg/hgrc", f"{CLONED}[extensions]\nx = ../x.py\n"),
        (".hg/hgrc-not-shared", HOOK),
        (".hg/requires", "share-safe\nshared\n"),
        (".hg/requires", "relshared\n"),
        (".hg/sharedpath", "../evil/.hg"),
        (".sl/config", HOOK),
        (".jj/repo", "../../evil"),
        (".jj/repo/config.toml", "x"),
        (".jj/repo/store/git_target", "../../../evil"),
        (".jj/repo/store/git/config", EVIL),
        (".jj/repo/store/git/hooks/pre-push", "x"),
    ],
)
@pytest.mark.parametrize("where", ["", "vendor/x/"])
def test_what_leads_to_a_program_or_elsewhere_is_red(where: str, path: str, content: str, tmp_path: Path) -> None:
    root = tmp_path / "project"
    put(root / "file")
    if path.endswith(("git/config", "pre-push")):
        jujutsu(root / where)
    scanned = Scanned(root)
    put(root / where / path, content)
    assert [line.partition(":")[0] for line in scanned.red()] == [f"{where}{path}"]


@pytest.mark.parametrize("path", [".hg/hgrc", ".hg/requires", ".jj/repo/store/git_target"])
def test_a_change_of_one_that_was_there_is_red_whatever_it_says(path: str, tmp_path: Path) -> None:
    mercurial(jujutsu(tmp_path), CLONED)
    scanned = Scanned(tmp_path)
    put(tmp_path / path, CLONED if path != ".hg/hgrc" else CLONED.replace("example.com", "other.example"))
    assert [line.partition(":")[0] for line in scanned.red()] == [path]


def test_new_repositories_clones_and_workspaces_are_no_findings(tmp_path: Path) -> None:
    jujutsu(tmp_path)
    scanned = Scanned(tmp_path)
    mercurial(tmp_path / "one")
    mercurial(tmp_path / "two", CLONED)
    jujutsu(tmp_path / "three")
    put(tmp_path / "four/.jj/repo", "../../.jj/repo")
    put(tmp_path / "five/.jj/repo", str(tmp_path / ".jj/repo"))
    assert scanned.findings() == []
