"""The template that comes with the tool is the one of this repository, and every version of it remains."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from confined_claude.commands.template import Versions

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "confined_claude/template.bundle"
make_bundle = runpy.run_path(str(ROOT / "scripts/make_bundle.py"))["update"]


def tags(bundle: Path) -> dict[str, str]:
    listed = subprocess.run(["git", "ls-remote", "--tags", bundle], check=True, capture_output=True, text=True).stdout
    return {tag: commit for commit, _, tag in (line.partition("\trefs/tags/") for line in listed.splitlines())}


def test_the_newest_version_is_that_of_the_repository(tmp_path: Path) -> None:
    bundle = Path(shutil.copy(BUNDLE, tmp_path))
    newest = make_bundle(bundle, ROOT)
    assert tags(bundle) == tags(BUNDLE), "Run scripts/make_bundle.py, which adds the version."
    assert Versions().newest == newest
    assert Versions().tags == set(tags(BUNDLE)) >= {"v0.1.0"}


def test_versions_are_added_and_none_changes(tmp_path: Path) -> None:
    root, bundle = tmp_path / "root", tmp_path / "bundle"
    (root / "template").mkdir(parents=True)

    def add(text: str, *release: str) -> str:
        (root / "copier.yml").write_text(text)
        before = tags(bundle) if bundle.exists() else {}
        made: str = make_bundle(bundle, root, *release)
        assert before.items() <= tags(bundle).items()
        return made

    assert [add("1", "0.9.0"), add("2"), add("2"), add("3")] == ["v0.9.0", *["v0.9.0.post1"] * 2, "v0.9.0.post2"]
    assert [add("3", "0.10.0"), add("3"), add("4")] == ["v0.10.0", "v0.10.0", "v0.10.0.post1"]
    with pytest.raises(ValueError, match="already"):
        add("5", "0.9.0")
    again = tmp_path / "again"
    (root / "copier.yml").write_text("1")
    make_bundle(again, root, "0.9.0")
    assert tags(again)["v0.9.0"] == tags(bundle)["v0.9.0"]
