"""A repository or scaffold that a session makes is no project of its own before its user has accepted it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.commands.review import lines
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.guard import enclosing, review
from confined_claude.guard.moved import carry_over
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.state import boundaries, projects
from confined_claude.state.current import current_project
from confined_claude.state.store import records_of
from confined_claude.workspace import Workspace

from ..guarding import HOOK, git, made_repository, put
from .test_guard import Place, place

__all__ = ["place"]


@pytest.fixture
def root_of(monkeypatch: pytest.MonkeyPatch, host: Host) -> Callable[[Path], Path]:
    """The project of which a start in a directory is a session."""

    def find(directory: Path) -> Path:
        monkeypatch.chdir(directory)
        return current_project(host).root

    return find


def made(directory: Path, name: str) -> None:
    """What makes a directory a project of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    if name == "git":
        git(directory, "init", "--quiet")
    elif name == "worktree":
        directory.rmdir()
        git(directory.parent, "worktree", "add", "--quiet", str(directory))
    else:
        put(directory / name)


KINDS = ("git", "worktree", ".git", ".hg/hgrc", ".jj/x", ".confined-claude/config.toml")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_session_makes_counts_after_a_review_has_accepted_it(
    place: Place, root_of: Callable[[Path], Path], kind: str
) -> None:
    inner = place.root / "part"
    place.session(lambda: made(inner, kind))
    assert root_of(inner) == place.root
    found = review.review(place.workspace)
    assert found.made == ("part",)
    assert "Sessions made these projects of their own: part." in lines(found, [])
    assert review.accept_path(place.workspace, "part") == "part"
    assert root_of(inner) == inner
    review.accept(place.workspace, found.findings)
    place.session()  # a later one finds it there
    assert review.review(place.workspace).made == ()
    assert root_of(inner) == inner


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_host_makes_before_or_after_a_session_counts_at_once(
    place: Place, root_of: Callable[[Path], Path], kind: str
) -> None:
    made(place.root / "before", kind)
    place.session()
    made(place.root / "after", kind)
    assert root_of(place.root / "before") == place.root / "before"
    assert root_of(place.root / "after") == place.root / "after"


@pytest.mark.parametrize("kind", KINDS)
def test_what_appears_while_a_session_runs_or_is_not_looked_through_is_taken_for_its_work(
    place: Place, root_of: Callable[[Path], Path], kind: str
) -> None:
    made(place.root / "before", kind)
    one = place.start()
    made(place.root / "part", kind)
    assert root_of(place.root / "before") == place.root / "before"
    assert root_of(place.root / "part") == place.root
    assert root_of(place.root) == place.root
    one.close()  # the tool is killed
    assert root_of(place.root / "part") == place.root
    assert review.review(place.workspace).made == ("part",)  # which looks through it
    assert root_of(place.root / "part") == place.root


def test_what_is_accepted_while_a_session_runs_stays_so(place: Place, root_of: Callable[[Path], Path]) -> None:
    place.session(lambda: made(place.root / "part", "git"))
    one = place.start()
    review.accept_made(place.workspace, ["part"])
    assert root_of(place.root / "part") == place.root / "part"
    one.finish()
    assert root_of(place.root / "part") == place.root / "part"


def test_filling_a_directory_that_was_none_makes_one(place: Place, root_of: Callable[[Path], Path]) -> None:
    (place.root / "part/.git").mkdir(parents=True)
    (place.root / "other/.confined-claude/venvs").mkdir(parents=True)

    def fill() -> None:
        put(place.root / "part/.git/HEAD", "ref: refs/heads/main\n")
        put(place.root / "other/.confined-claude/config.toml")

    place.session(fill)
    assert review.review(place.workspace).made == ("other", "part")
    assert root_of(place.root / "part") == root_of(place.root / "other") == place.root


def test_what_a_session_takes_away_for_a_while_that_an_earlier_one_made_does_not_count_for_that(
    place: Place, root_of: Callable[[Path], Path]
) -> None:
    place.session(lambda: made(place.root / "part", "git"))
    one, other = place.start(), place.start()
    shutil.rmtree(place.root / "part")
    other.finish()
    made(place.root / "part", "git")
    assert root_of(place.root / "part") == place.root
    one.finish()
    assert root_of(place.root / "part") == place.root
    assert review.review(place.workspace).made == ("part",)


def test_what_is_gone_again_is_forgotten(place: Place) -> None:
    place.session(lambda: made(place.root / "part", ".git"))
    (place.root / "part/.git").unlink()
    place.session()
    assert review.review(place.workspace).made == ()
    assert os.listdir(place.workspace.state.path) == ["lock"]


def test_sessions_of_an_earlier_version_have_made_nothing_that_was_there_by_their_baseline(
    place: Place, root_of: Callable[[Path], Path]
) -> None:
    made(place.root / "before", "git")
    one = place.start()
    (place.workspace.state.path / "boundaries.json").unlink()
    made(place.root / "part", "git")
    one.finish()
    assert root_of(place.root / "before") == place.root / "before"
    assert root_of(place.root / "part") == place.root


def test_in_a_project_that_is_moved_it_waits_all_the_same(place: Place, root_of: Callable[[Path], Path]) -> None:
    put(place.root / ".confined-claude/.gitignore")
    place.session(lambda: made(place.root / "part", "git"))
    projects.remember(place.workspace.state, place.root)
    moved = place.root.rename(place.root.with_name("moved"))
    assert root_of(moved / "part") == moved
    new = place.workspace._replace(project=Project(moved))
    carry_over(place.workspace.state, new.state, place.workspace.data, new.data)
    projects.remember(new.state, moved)
    assert root_of(moved / "part") == moved
    assert review.review(new).made == ("part",)


def test_damaged_records_are_an_error_that_names_the_file(place: Place, root_of: Callable[[Path], Path]) -> None:
    place.session(lambda: made(place.root / "part", "git"))
    (place.workspace.state.path / "boundaries.json").write_text("[]")
    with pytest.raises(ConfinedError, match=r"boundaries\.json is damaged"):
        root_of(place.root / "part")


# What is open in the projects around


def test_what_is_red_around_a_project_stops_a_start_in_it_until_it_is_put_right(place: Place, host: Host) -> None:
    inner = made_repository(place.root / "inner")
    workspace = Workspace(host, Project(inner))
    enclosing.refuse_while_red(workspace)
    (finding,) = place.leave("inner/.git/hooks/pre-commit", HOOK)
    with pytest.raises(ReviewNeeded) as caught:
        enclosing.refuse_while_red(workspace)
    assert str(place.root / finding.path) in caught.value.message
    assert f"cd {place.root} && confined-claude review --here" in caught.value.hint
    enclosing.refuse_while_red(place.workspace)  # its own findings are the guard's matter
    (place.root / finding.path).unlink()
    enclosing.refuse_while_red(workspace)


def test_what_an_interrupted_session_around_a_project_has_left_stops_a_start_as_well(place: Place, host: Host) -> None:
    inner = made_repository(place.root / "inner")
    place.start().close()
    put(inner / ".git/hooks/pre-commit", HOOK)
    before = place.everything()
    with pytest.raises(ReviewNeeded):
        enclosing.refuse_while_red(Workspace(host, Project(inner)))
    assert place.everything()[0] == before[0]


def test_what_is_red_in_a_directory_that_was_a_project_of_its_own_counts_where_its_caller_stands(
    place: Place, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = place.root / "part"
    (part / ".confined-claude").mkdir(parents=True)  # by a start of an earlier version
    earlier = Place(part, host, monkeypatch)
    earlier.leave(".envrc")
    with pytest.raises(ReviewNeeded, match=f"{part}/.envrc"):
        enclosing.refuse_while_red(place.workspace._replace(directory=part))
    enclosing.refuse_while_red(place.workspace)
    review.accept(earlier.workspace, earlier.findings())
    enclosing.refuse_while_red(place.workspace._replace(directory=part))


def test_boundaries_are_read_from_the_projects_around_alone(place: Place, host: Host) -> None:
    place.session(lambda: made(place.root / "part", "git"))
    assert boundaries.is_a_sessions(host, place.root / "part/.git")
    assert not boundaries.is_a_sessions(host._replace(state=host.state / "other"), place.root / "part/.git")
    assert records_of(host, Project(place.root).id).path.is_dir()
