"""What ``update`` reads of a project before copier does anything, and that it waits for who writes there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude.commands.init import init
from confined_claude.commands.update import update
from confined_claude.engine import containers, labels
from confined_claude.errors import ConfinedError, EngineError, ReviewNeeded
from confined_claude.guard import records
from confined_claude.guard.findings import Finding
from confined_claude.guard.snapshot import Kind
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.state import projects
from confined_claude.state.store import records_of

from ..guarding import commit, git, made_repository, put


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the answers file in an empty project, which is the current directory."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project / ".copier-answers.yml"


def test_a_pipe_or_an_endless_file_in_place_of_the_answers_is_named(answers: Path, host: Host) -> None:
    os.mkfifo(answers)
    with pytest.raises(ConfinedError, match="not a regular file"):
        update(host)
    answers.unlink()
    answers.symlink_to("/dev/zero")
    with pytest.raises(ConfinedError, match="not a regular file"):
        update(host)
    # The control: a file of another template is read, and is none of this one.
    answers.unlink()
    answers.write_text("_commit: v1\n")
    with pytest.raises(ConfinedError, match="no scaffold that copier made"):
        update(host)


# Where sessions write


@pytest.fixture
def scaffolded(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a repository with the scaffold, which is committed. An engine says that nothing runs."""
    monkeypatch.setattr(containers, "containers", lambda _wanted: [])
    root = made_repository(tmp_path / "outer/project")
    monkeypatch.chdir(root)
    init(host, None, defaults=True)
    commit(root)
    return root


@contextlib.contextmanager
def session(host: Host, root: Path) -> Iterator[str]:
    """A session of the project at ``root`` that is on record, and has an owner within the block."""
    location = records_of(host, Project(root).id)
    projects.remember(location, root)
    key = secrets.token_hex(8)
    with records.locked(location) as kept:
        owner = kept.begin(key, records.Record())
    try:
        yield key
    finally:
        owner.close()
        with records.locked(location) as kept:
            kept.end(key)


def test_a_session_that_runs_refuses_the_update_and_so_runs_nothing_on_the_host(
    scaffolded: Path, host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = made_repository(scaffolded / "n")
    git(scaffolded, "add", "n")
    git(scaffolded, "commit", "--quiet", "--message", "x")
    git(nested, "config", "filter.e.clean", f"touch {tmp_path}/ran; cat")
    put(nested / ".git/info/attributes", "* filter=e\n")
    put(nested / "src/main.py", "print[]\n")  # as long as before: only its content tells
    with session(host, scaffolded), pytest.raises(ConfinedError) as caught:
        update(host)
    assert caught.value.message == "Nothing was updated. A session is starting or ending."
    assert caught.value.hint
    assert not (tmp_path / "ran").exists()
    # The control: git does run it, and nothing else stood in the way.
    git(scaffolded, "status", "--porcelain")
    assert (tmp_path / "ran").exists()
    git(nested, "checkout", "--quiet", ".")
    capsys.readouterr()
    update(host)
    assert capsys.readouterr().out == "The scaffold is up to date.\n"


def test_a_session_counts_that_writes_where_git_works_and_no_other(
    scaffolded: Path, host: Host, tmp_path: Path
) -> None:
    linked, far = tmp_path / "linked", made_repository(tmp_path / "project-2")
    git(scaffolded, "worktree", "add", "--quiet", str(linked))
    inner = made_repository(scaffolded / "src/inner")
    put(scaffolded / ".git/info/exclude", "/src/inner\n")
    for root in (linked, scaffolded.parent, inner):
        with session(host, root), pytest.raises(ConfinedError, match="A session is starting or ending"):
            update(host)
    with session(host, far):
        update(host)


def test_a_linked_worktree_waits_for_sessions_of_all_that_write_its_repository(
    scaffolded: Path, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked, third = tmp_path / "linked", tmp_path / "third"
    for tree in (linked, third):
        git(scaffolded, "worktree", "add", "--quiet", str(tree))
    monkeypatch.chdir(linked)
    for root in (scaffolded, scaffolded.parent, third):
        with session(host, root), pytest.raises(ConfinedError, match="A session is starting or ending"):
            update(host)
    update(host)


def test_a_session_without_its_terminal_is_named_with_what_ends_it(
    scaffolded: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    location, key = records_of(host, Project(scaffolded).id), "0123456789abcdef"
    with records.locked(location) as kept:
        kept.begin(key, records.Record()).close()
    container = {"Names": ["/confined-claude-x"], "State": "running", "Labels": {labels.KEY: key}}
    monkeypatch.setattr(containers, "containers", lambda _wanted: [container])
    with pytest.raises(ConfinedError) as caught:
        update(host)
    assert caught.value.message == "Nothing was updated. Still running: confined-claude-x."
    assert caught.value.hint == (
        "End it with `confined-claude stop --session confined-claude-x`, or wait for its end, and update again."
    )
    monkeypatch.setattr(containers, "containers", failing)
    with pytest.raises(EngineError, match="A session may still run"):
        update(host)
    # The control: it is over, and the engine says so.
    monkeypatch.setattr(containers, "containers", lambda _wanted: [])
    update(host)


def failing(_wanted: object) -> list[object]:
    raise EngineError("There is no answer.", "Start it.")


def test_what_is_red_in_another_worktree_of_the_repository_refuses_the_update_until_it_is_put_right(
    scaffolded: Path, host: Host, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    git(scaffolded, "worktree", "add", "--quiet", str(linked))
    hook = scaffolded / ".git/hooks/pre-commit"
    location = records_of(host, Project(linked).id)
    projects.remember(location, linked)
    finding = Finding(str(hook), Kind.GIT_FILE, True, "git", "a hook", None, None, "", "0" * 64)
    put(hook, "#!/bin/sh\n")
    with records.locked(location) as kept:
        kept.save_findings([finding])
    with pytest.raises(ReviewNeeded) as caught:
        update(host)
    assert str(hook) in caught.value.message
    assert f"cd {linked} && confined-claude review --here" in caught.value.hint
    hook.unlink()
    update(host)
