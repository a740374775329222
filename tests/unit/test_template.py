"""The template that comes with the tool is the one of this repository, and every version of it remains."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from copier import run_copy
from hypothesis import given, settings
from hypothesis import strategies as st

from confined_claude.commands.template import Versions
from confined_claude.settings import SPECS
from confined_claude.settings.files import ProjectFiles

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


def test_questions_fit_a_terminal_of_80_columns() -> None:
    """Copier puts a sign of two columns and a space before a question, and cuts off what does not fit."""
    questions = re.findall("^  help: (.+)$", (ROOT / "copier.yml").read_text(), re.MULTILINE)
    assert len(questions) == 5
    assert [question for question in questions if len(question) > 76] == []


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


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)
PACKAGES = st.lists(st.from_regex(SPECS["packages"].pattern, fullmatch=True), max_size=3)


@given(NAMES, st.booleans(), st.booleans(), st.sampled_from(["internet", "allowlist", "none"]), PACKAGES)
@settings(max_examples=8)
def test_whatever_the_directory_and_the_answers_the_config_says_what_was_answered(
    name: str, shim: bool, yolo: bool, network: str, packages: list[str]
) -> None:
    answers = {"shim": shim, "yolo": yolo, "network": network, "packages": "  ".join(packages), "devcontainer": yolo}
    data = {f"confined_claude_{question}": answer for question, answer in answers.items()}
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory, name)
        for _ in range(2):
            run_copy(str(BUNDLE), project, data, vcs_ref=Versions().newest, defaults=True, overwrite=True, quiet=True)
            assert [path.name for path in Path(directory).iterdir()] == [name]
            assert {path.name for path in project.iterdir()} == {
                *(".confined-claude", ".copier-answers.yml"),
                *(["tasks.py"] if shim else []),
            }
            found = ProjectFiles.read(project / ".confined-claude").values()
            assert found == {
                **({"yolo": "on"} if yolo else {}),
                **({"network": network} if network != "internet" else {}),
                **({"packages": tuple(packages)} if packages else {}),
            }
            kept = (project / ".copier-answers.yml").read_text()
            assert "packages" not in kept
            assert "devcontainer" not in kept


@pytest.mark.parametrize("name", ["Upper", "a", "-x", "x-", 'a"]\nsudo = "full', "a,b"])
def test_what_is_no_package_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the name of a Debian package"):
        run_copy(str(BUNDLE), tmp_path / "made", {"confined_claude_packages": name}, defaults=True, quiet=True)
    assert not (tmp_path / "made").exists()
