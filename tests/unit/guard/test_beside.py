"""What a session writes beside its project is guarded as that is, and shared with the sessions that write it too."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confined_claude.engine import containers
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.guard import beside, review
from confined_claude.guard.guard import Guard
from confined_claude.guard.guards import Guards, guarded
from confined_claude.guard.records import locked
from confined_claude.guard.recovery import recover_beside
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.project.mounts import bind
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..guarding import EVIL, git, made_repository, put


class Ground:
    """Two projects, and a library that sessions of both write."""

    def __init__(self, place: Path, host: Host) -> None:
        self.host = host
        self.library = made_repository(place / "library")
        put(self.library / ".envrc", "use nix\n")
        self.one, self.two = (
            Workspace(host, Project(made_repository(place / name)), Settings(mounts=("../library:rw",)))
            for name in ("one", "two")
        )

    def writable(self, workspace: Workspace) -> tuple[beside.WritableMount, ...]:
        mounts = bind(workspace.settings.mounts, workspace.project.root, self.host)
        return tuple(beside.writable(workspace, mounts))

    def session(self, workspace: Workspace, *works: Callable[[], object]) -> None:
        with self.guarded(workspace) as guards:
            with guards.scanning("made-up"):
                pass
            for work in works:
                work()

    def guarded(self, workspace: Workspace) -> Guards:
        return guarded(workspace, secrets.token_hex(8), writable=self.writable(workspace))  # type: ignore[return-value]

    def on_record(self, root: Path) -> list[str]:
        state = self.one._replace(project=Project(root)).state.path
        return sorted(path.suffix for path in state.glob("*.session")) if state.exists() else []


@pytest.fixture
def ground(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setattr(containers, "may_exist", lambda _key: False)
    yield Ground(tmp_path, host)


def test_what_a_session_leaves_beside_its_project_is_reported_by_its_path(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.session(
        ground.one,
        lambda: put(ground.library / ".vscode/tasks.json"),
        lambda: put(ground.one.project.root / "Makefile"),
    )
    said = capsys.readouterr().err
    assert f"red     {ground.library}/.vscode/tasks.json" in said
    assert "yellow  Makefile" in said
    assert said.count("This session has left") == 1


def test_clones_of_what_a_session_sees_are_no_news_anywhere(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    one, docs = ground.one.project.root, made_repository(ground.library.with_name("docs"))
    workspace = ground.one._replace(settings=Settings(mounts=("../library:rw", "../docs")))
    ground.session(
        workspace,
        lambda: git(one, "clone", "--quiet", str(docs), "docs"),
        lambda: git(ground.library, "clone", "--quiet", str(one), "copy"),
    )
    assert "origin" not in capsys.readouterr().err
    ground.session(ground.one, lambda: git(one, "clone", "--quiet", str(docs), "more"))
    assert f"remote.origin.url is '{docs}', where the session saw nothing of your machine" in capsys.readouterr().err


def test_a_new_program_on_the_path_is_red_there_too(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    put(ground.library / "bin/tool")
    ground.host = ground.host._replace(environ={**ground.host.environ, "PATH": f"/usr/bin:{ground.library}/bin"})
    one = ground.one._replace(host=ground.host)
    ground.session(one, lambda: put(ground.library / "bin/git", "#!/bin/sh\n").chmod(0o755))
    assert f"red     {ground.library}/bin/git" in capsys.readouterr().err


def test_what_stands_there_is_pinned_where_the_session_has_it(ground: Ground) -> None:
    mounts = ("../library:/library:rw",)
    workspace = ground.one._replace(settings=Settings(mounts=mounts))
    with ground.guarded(workspace) as guards:
        pinned = {mount.target: mount.source for mount in guards.mounts if mount.pin and mount.read_only}
        assert pinned["/library/.envrc"] == ground.library / ".envrc"
        assert pinned["/library/.git/config"] == ground.library / ".git/config"
        assert pinned[f"{ground.one.project.root}/.git/config"] == ground.one.project.root / ".git/config"
        status = (ground.library / ".envrc").stat()
        assert dict(guards.bound())["/library/.envrc"] == (status.st_dev, status.st_ino)
        assert not any(place.startswith(str(ground.one.project.root)) for place, _ in guards.bound())


def test_red_there_stops_every_start_that_writes_there_until_it_is_reviewed(ground: Ground) -> None:
    ground.session(ground.one, lambda: put(ground.library / ".vscode/tasks.json"))
    there = beside.workspace_at(ground.one, ground.library)
    for workspace in (ground.one, ground.two):
        with pytest.raises(ReviewNeeded, match=f"{ground.library}/.vscode/tasks.json"):
            ground.session(workspace)
        assert ground.on_record(workspace.project.root) == []  # nothing half-started
    with pytest.raises(ReviewNeeded, match=r"\.vscode/tasks\.json"):
        Guard(there, "0123").begin()
    ground.session(ground.one._replace(settings=Settings()))  # one that does not is none of its business
    found = review.review(ground.one).findings
    assert [finding.path for finding in found] == [f"{ground.library}/.vscode/tasks.json"]
    assert [finding.path for finding in review.review(there).findings] == [".vscode/tasks.json"]
    assert [finding.path for finding in review.review(ground.two).findings] == [finding.path for finding in found]
    review.accept(ground.one, found)
    ground.session(ground.two)


@pytest.mark.parametrize("way", ["accept", "restore"])
def test_a_review_in_the_project_closes_what_is_open_beside_it(ground: Ground, way: str) -> None:
    ground.session(ground.one, lambda: put(ground.library / ".vscode/tasks.json"))
    path = f"{ground.library}/.vscode/tasks.json"
    if way == "accept":
        assert review.accept_path(ground.one, path) == path
    else:
        assert review.restore(ground.one, path).startswith(f"{path} is removed, and kept in ")
    assert (ground.library / ".vscode/tasks.json").exists() == (way == "accept")
    assert review.review(ground.one).findings == []
    ground.session(ground.one)


def test_sessions_that_share_it_share_the_baseline(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """What one changes while another starts is not there before for that one."""
    with ground.guarded(ground.one) as first:
        with first.scanning("first"):
            pass
        put(ground.library / ".vscode/tasks.json")
        with ground.guarded(ground.two) as second, second.scanning("second"):
            pass
        assert f"{ground.library}/.vscode/tasks.json" in capsys.readouterr().err


def test_what_another_session_could_replace_there_is_not_mounted(ground: Ground) -> None:
    """The first has the file not pinned, as it came later: it could be a link by the time that the second is bound."""
    with ground.guarded(ground.one) as first:
        with first.scanning("first"):
            pass
        put(ground.library / ".vscode/tasks.json")
        with ground.guarded(ground.two) as second:
            assert str(ground.library / ".envrc") in {mount.target for mount in second.mounts}
            assert str(ground.library / ".vscode") not in {mount.target for mount in second.mounts}


def test_what_an_interrupted_session_left_there_is_found(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    guards = Guards(ground.one, "0123", tuple, ground.writable(ground.one))
    guards.begin(lambda: None)
    with guards.scanning("made-up"):
        pass
    put(ground.library / ".git/modules/x/config", EVIL)
    for guard in guards._guards:
        guard.close()
    recover_beside(ground.one, "A session that was interrupted")
    assert "A session that was interrupted has left" in capsys.readouterr().err
    assert ground.on_record(ground.library) == []


def test_who_joins_an_interrupted_session_owns_it_there_too(ground: Ground) -> None:
    guards = Guards(ground.one, "0123", tuple, ground.writable(ground.one))
    guards.begin(lambda: None)
    assert list(beside.take_over(ground.one, "0123")) == []  # it has an owner
    for guard in guards._guards:
        guard.close()
    (owner,) = beside.take_over(ground.one, "0123")
    with owner, locked(beside.workspace_at(ground.one, ground.library).state) as records:
        assert [session.has_owner for session in records.sessions()] == [True]


def test_a_start_that_fails_leaves_no_record_anywhere(ground: Ground) -> None:
    (ground.library / ".git/hooks").rename(ground.library / "hooks")
    (ground.library / ".git/hooks").symlink_to("../hooks")
    with pytest.raises(ConfinedError, match="is a link, which cannot be guarded"):
        ground.session(ground.one)
    assert ground.on_record(ground.one.project.root) == ground.on_record(ground.library) == []
    assert not (ground.one.project.root / ".git/commondir").exists()


def test_the_records_are_those_of_the_project_that_it_is(ground: Ground) -> None:
    """Code without mounts reads them, and a session of the library itself counts as one beside it."""
    with ground.guarded(ground.one):
        there = Workspace(ground.host, Project(ground.library))
        with locked(there.state) as records:
            (session,) = records.sessions()
            assert ".envrc" in session.record.pinned
            assert session.has_owner


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("library/.git:rw", "git's own"),
        ("library/.git/hooks:rw", "git's own"),
        ("library/.vscode:rw", "editor"),
        ("library/sub/.github/workflows:rw", "GitHub"),
        ("library/node_modules/x:rw", "installed packages"),
        ("library/env/lib:rw", "installed packages"),
    ],
)
def test_what_acts_by_its_place_is_not_mounted_writable(entry: str, why: str, ground: Ground) -> None:
    for directory in (".vscode", "sub/.github/workflows", "node_modules/x", "env/lib", ".git/hooks"):
        (ground.library / directory).mkdir(parents=True, exist_ok=True)
    put(ground.library / "env/pyvenv.cfg")
    with pytest.raises(ConfinedError, match=why):
        ground.writable(ground.one._replace(settings=Settings(mounts=(f"../{entry}",))))
    assert ground.writable(ground.one._replace(settings=Settings(mounts=(f"../{entry[:-1]}o",)))) == ()  # the control


def mounted(ground: Ground, entry: str, root: Path | None = None) -> list[Path]:
    workspace = ground.one._replace(settings=Settings(mounts=(entry,)))
    workspace = workspace if root is None else workspace._replace(project=Project(root))
    return [place.workspace.project.root for place in ground.writable(workspace)]


@pytest.mark.parametrize("made", [".git", ".confined-claude/config.toml", "records"])
def test_a_part_of_another_project_is_not_mounted_writable(made: str, ground: Ground, tmp_path: Path) -> None:
    """What is left there would be in none of its reports."""
    other = tmp_path / "other"
    put(other / "src/deep/x")
    assert mounted(ground, "../other/src/deep:rw") == [other / "src/deep"]  # the control
    if made == "records":
        ground.session(ground.one._replace(project=Project(other), settings=Settings()))
    elif made == ".git":
        made_repository(other)
    else:
        put(other / made)
    with pytest.raises(ConfinedError, match=f"it is part of {other}"):
        mounted(ground, "../other/src/deep:rw")
    assert mounted(ground, "../other/src/deep:ro") == []
    assert mounted(ground, "../other:rw") == [other]
    made_repository(other / "src/deep")
    assert mounted(ground, "../other/src/deep:rw") == [other / "src/deep"]  # a project of its own


def test_a_part_of_what_the_project_is_in_as_well_is_mounted_writable(ground: Ground, tmp_path: Path) -> None:
    """Nobody could mount all of that beside it."""
    around = made_repository(tmp_path / "around")
    for name in ("app", "lib"):
        put(around / name / "x")
    assert mounted(ground, "../lib:rw", around / "app") == [around / "lib"]
    with pytest.raises(ConfinedError, match=f"it is part of {around}"):
        mounted(ground, "../around/lib:rw")
