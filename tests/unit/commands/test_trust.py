"""What a project asks for is allowed by its very content, and shown before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.commands import trust as command
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import SPECS
from confined_claude.settings.files import ProjectFiles
from confined_claude.state import trust
from confined_claude.state.store import records_of

from ..conftest import full_disk
from ..guarding import put

WIDE = 'git = "open"\n'
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nRUN make it\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    put(tmp_path / "project/.confined-claude/config.toml", WIDE)
    return Project(tmp_path / "project")


def files(config: str = WIDE, dockerfile: str = "") -> ProjectFiles:
    return ProjectFiles(Path("anywhere"), config, dockerfile)


def explain(project: Project, host: Host) -> tuple[str, list[str]]:
    """The hash of the project's files, and what the command prints of them."""
    found = ProjectFiles.read(project.scaffold)
    return trust.digest_of(found), command.explain(records_of(host, project.id), found)


DIGEST = trust.digest_of(files())


def is_trusted(project: Project, host: Host, found: ProjectFiles) -> bool:
    return trust.is_trusted(records_of(host, project.id), found)


def allow(project: Project, host: Host, digest: str) -> None:
    trust.allow(records_of(host, project.id), ProjectFiles.read(project.scaffold), digest)


def folder_of(project: Project, host: Host) -> Path:
    return host.state / "projects" / project.id / "trusted"


def test_nothing_is_trusted_at_first_and_asking_makes_nothing(project: Project, host: Host) -> None:
    assert not is_trusted(project, host, files())
    assert explain(project, host)[1]
    assert not host.state.exists()


def test_what_is_allowed_is_trusted_and_nothing_else(project: Project, host: Host, tmp_path: Path) -> None:
    digest, lines = explain(project, host)
    assert digest == DIGEST
    assert lines[0] == f"{project.scaffold} asks for more than the defaults:"
    assert lines[1].startswith("  git = 'open': sessions may change git's settings and hooks")
    allow(project, host, digest)
    assert is_trusted(project, host, files())
    assert explain(project, host) == (digest, [])
    assert not is_trusted(project, host, files(WIDE + " "))
    assert not is_trusted(Project(tmp_path / "other"), host, files())


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_other_text_is_not_trusted(text: str, project: Project, host: Host) -> None:
    allow(project, host, DIGEST)
    assert is_trusted(project, host, files(text)) == (text == WIDE)


@pytest.mark.parametrize("digest", ["", "0", hashlib.sha256(b"other").hexdigest(), "../x"])
def test_the_hash_of_another_content_allows_nothing(digest: str, project: Project, host: Host) -> None:
    with pytest.raises(ReviewNeeded, match=DIGEST):
        allow(project, host, digest)
    assert not is_trusted(project, host, files())


def test_a_file_that_changed_since_it_was_shown_is_not_allowed(project: Project, host: Host) -> None:
    digest, _ = explain(project, host)
    (project.scaffold / "config.toml").write_text('writable = [".vscode"]')
    with pytest.raises(ReviewNeeded):
        allow(project, host, digest)
    assert not folder_of(project, host).exists()


@pytest.mark.parametrize("text", ["", 'network = "none"\n', 'protect = ["x"]\n', None])
def test_what_asks_for_nothing_needs_no_trust(text: str | None, project: Project, host: Host) -> None:
    if text is None:
        (project.scaffold / "config.toml").unlink()
    else:
        (project.scaffold / "config.toml").write_text(text)
    assert explain(project, host) == (trust.digest_of(files(text or "")), [])


def test_a_change_is_shown_against_what_was_allowed_last(project: Project, host: Host) -> None:
    for number, text in enumerate((WIDE, WIDE + '# x\nwritable = ["a"]\n')):
        (project.scaffold / "config.toml").write_text(text)
        digest, _ = explain(project, host)
        allow(project, host, digest)
        os.utime(folder_of(project, host) / digest, (number, number))
    (project.scaffold / "config.toml").write_text(WIDE + '# \x7fy\nwritable = ["a"]\n'.replace("\x7f", "\\u009b"))
    _, lines = explain(project, host)
    at = lines.index("It has changed since you last allowed it:")
    assert lines[at + 1 :] == ["  -# x", "  +# \\u009by"]


@given(comment=st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\u202e\u2028\t")))
def test_what_is_shown_steers_no_terminal(comment: str, project: Project, host: Host) -> None:
    (project.scaffold / "config.toml").write_text(WIDE)
    allow(project, host, DIGEST)
    (project.scaffold / "config.toml").write_text(f"{WIDE}# {comment}\n")
    _, lines = explain(project, host)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("kind", ["content", "link", "fifo"])
@pytest.mark.timeout(120)
def test_what_is_kept_must_be_the_very_text(kind: str, project: Project, host: Host, tmp_path: Path) -> None:
    allow(project, host, DIGEST)
    kept = folder_of(project, host) / DIGEST
    kept.unlink()
    if kind == "content":
        kept.write_text("other")
    elif kind == "link":
        kept.symlink_to(put(tmp_path / "text", WIDE))
    else:
        os.mkfifo(kept)
    assert not is_trusted(project, host, files())
    assert explain(project, host)[1]


def test_a_file_that_is_no_toml_is_reported_and_not_allowed(project: Project, host: Host) -> None:
    (project.scaffold / "config.toml").write_text("git open")
    for ask in (
        lambda: explain(project, host),
        lambda: allow(project, host, trust.digest_of(files("git open"))),
    ):
        with pytest.raises(ConfinedError, match="not valid TOML"):
            ask()


def test_a_full_disk_allows_nothing(project: Project, host: Host) -> None:
    with full_disk(), pytest.raises(ConfinedError, match="Cannot write"):
        allow(project, host, DIGEST)
    assert not is_trusted(project, host, files())


# With places on this machine


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the entries of a setting name places on this machine, from the project's root."""

    def resolve(entry: str, root: Path) -> str:
        if entry == "bad":
            raise ConfinedError("No project may have that.", "Leave it out.")
        return os.path.realpath(root / entry)

    specs = {**SPECS, "writable": SPECS["writable"]._replace(resolve=resolve)}
    monkeypatch.setattr("confined_claude.settings.files.SPECS", specs)


@pytest.mark.usefixtures("leads")
def test_trust_shows_where_entries_lead_and_ends_when_they_lead_elsewhere(project: Project, host: Host) -> None:
    (project.scaffold / "config.toml").write_text('writable = ["data", "more"]')
    put(project.root / "data/x", "")
    digest, lines = explain(project, host)
    here = project.root.resolve()
    assert f"  writable = 'data', 'more', which is {here}/data and {here}/more: sessions may" in lines[1]
    allow(project, host, digest)
    assert explain(project, host) == (digest, [])
    (project.root / "more").symlink_to(put(host.home / "keys/id", "").parent)
    assert not is_trusted(project, host, ProjectFiles.read(project.scaffold))
    digest, lines = explain(project, host)
    assert lines[-3:] == [
        "It has changed since you last allowed it:", f"  -{here}/more", f"  +{host.home.resolve()}/keys"
    ]  # fmt: skip
    with pytest.raises(ReviewNeeded):
        allow(project, host, DIGEST)
    allow(project, host, digest)
    (project.root / "more").unlink()
    assert is_trusted(project, host, ProjectFiles.read(project.scaffold)), "what was allowed before is allowed again"


@pytest.mark.usefixtures("leads")
def test_a_place_that_no_project_may_have_is_allowed_to_nobody(project: Project, host: Host) -> None:
    (project.scaffold / "config.toml").write_text('writable = ["bad"]')
    found = ProjectFiles.read(project.scaffold)
    assert not is_trusted(project, host, found)
    for ask in (lambda: explain(project, host), lambda: allow(project, host, trust.digest_of(found))):
        with pytest.raises(ConfinedError, match="No project may have that"):
            ask()
    assert not folder_of(project, host).exists()


# With a Dockerfile


def test_without_a_dockerfile_the_hash_is_that_of_the_config_file(project: Project, host: Host) -> None:
    assert hashlib.sha256(WIDE.encode()).hexdigest() == DIGEST
    put(project.scaffold / "Dockerfile", "# nothing\n")
    assert explain(project, host)[0] == DIGEST


@pytest.mark.parametrize("config", ["", WIDE])
def test_a_dockerfile_is_shown_and_allowed_together_with_the_config_file(
    config: str, project: Project, host: Host
) -> None:
    (project.scaffold / "config.toml").write_text(config)
    put(project.scaffold / "Dockerfile", DOCKERFILE)
    digest, lines = explain(project, host)
    at = lines.index("The Dockerfile:")
    assert lines[at - 1].startswith("  Dockerfile: its commands run as root")
    assert lines[at + 1 :] == ["  ARG BASE", "  FROM ${BASE}", "  RUN make it"]
    allow(project, host, digest)
    assert explain(project, host) == (digest, [])
    assert is_trusted(project, host, files(config, DOCKERFILE))
    for other in (files(config), files(config, DOCKERFILE + " "), files(config + " ", DOCKERFILE)):
        assert not is_trusted(project, host, other)


def test_a_dockerfile_that_appears_changes_or_goes_asks_again(project: Project, host: Host) -> None:
    file = project.scaffold / "Dockerfile"
    put(file, DOCKERFILE)
    allow(project, host, explain(project, host)[0])
    file.write_text(DOCKERFILE.replace("make it", "make that"))
    changed = explain(project, host)[1]
    assert changed[-3:] == ["It has changed since you last allowed it:", "  -RUN make it", "  +RUN make that"]
    assert "The Dockerfile:" not in changed
    file.unlink()
    assert "  -RUN make it" in explain(project, host)[1]
    allow(project, host, DIGEST)
    os.utime(folder_of(project, host) / DIGEST, (1 << 40, 1 << 40))
    put(file, DOCKERFILE.replace("make it", "make those"))
    appeared = explain(project, host)[1]
    assert appeared[-2:] == ["  FROM ${BASE}", "  RUN make those"]
    assert not [line for line in appeared if "changed" in line]


@given(dockerfile=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_config_file_passes_for_one_with_a_dockerfile(dockerfile: str, project: Project, host: Host) -> None:
    put(project.scaffold / "Dockerfile", "")
    (project.scaffold / "config.toml").write_text(f"{WIDE}\0{dockerfile}")
    assert trust.digest_of(files(WIDE, dockerfile)) == trust.digest_of(files(f"{WIDE}\0{dockerfile}"))
    with pytest.raises(ConfinedError, match="not valid TOML"):
        explain(project, host)


def test_nothing_in_a_dockerfile_is_hidden_when_it_is_shown(project: Project, host: Host) -> None:
    put(project.scaffold / "Dockerfile", DOCKERFILE + "RUN \x1b[8mevil\x1b[0m \u202e\rRUN fine\n")
    _, lines = explain(project, host)
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[8mevil" in line for line in lines)


def test_a_dockerfile_that_is_none_is_reported_and_not_allowed(project: Project, host: Host) -> None:
    put(project.scaffold / "Dockerfile", "FROM debian\n")
    for ask in (lambda: explain(project, host), lambda: allow(project, host, DIGEST)):
        with pytest.raises(ConfinedError, match="is not based on the session image"):
            ask()
    assert not folder_of(project, host).exists()
