"""A project under guard from the start of a session to its review, whatever ends it, and with others beside it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from confined_claude.engine import command as docker
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.guard import review
from confined_claude.guard.findings import Finding
from confined_claude.guard.guard import Guard, guarded, plan_dry_run
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.records import locked
from confined_claude.guard.review import Review
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..conftest import full_disk, tree
from ..guarding import EVIL, HOOK, git, made_repository, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = made_repository(tmp_path / "project")
    put(path / "Makefile", "all:\n")
    put(path / "tasks.py")
    return path


@pytest.fixture
def workspace(root: Path, host: Host) -> Workspace:
    return Workspace(host, Project(root))


@pytest.fixture(autouse=True)
def running(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The keys of the sessions whose containers run."""
    keys: set[str] = set()
    monkeypatch.setattr(docker, "is_running", keys.__contains__)
    return keys


Start = Callable[..., Guard]


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Start]:
    """Starts a session, as far as the guard has to do with it."""
    started: list[Guard] = []

    def start(settings: Settings | None = None, name: str = "made-up") -> Guard:
        one = Guard(replace(workspace, settings=settings or Settings()), secrets.token_hex(8))
        one.begin()
        with one.scanning(name):
            pass
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


def found_now(workspace: Workspace) -> list[Finding]:
    with locked(workspace.state) as records:
        return records.findings()


def on_record(workspace: Workspace) -> list[str]:
    return [path.name for path in workspace.state.path.glob("*.session")]


def pinned(one: Guard, root: Path) -> set[str]:
    return {str(mount.source.relative_to(root)) for mount in one.mounts if mount.pin and mount.read_only}


# Start and end


def test_a_session_that_does_nothing_leaves_nothing(start: Start, root: Path, workspace: Workspace) -> None:
    before = git(root, "status", "--porcelain")
    one = start()
    assert (root / ".git/commondir").read_text() == ".\n"
    assert len(on_record(workspace)) == 1
    assert git(root, "status", "--porcelain") == before
    assert one.finish() == []
    assert on_record(workspace) == []
    assert not (root / ".git/commondir").exists()
    assert not (root / "__pycache__").exists()
    assert os.listdir(workspace.state.path) == ["lock"]


def test_what_a_session_leaves_is_recorded_and_red_stops_the_next(
    start: Start, root: Path, workspace: Workspace
) -> None:
    one = start()
    one.session = "confined-claude-project-2"
    put(root / ".envrc")
    put(root / "Makefile", "evil:\n")
    found = one.finish()
    assert [(finding.path, finding.red, finding.session) for finding in found] == [
        (".envrc", True, "confined-claude-project-2"),
        ("Makefile", False, "confined-claude-project-2"),
    ]
    assert found_now(workspace) == found
    for _ in range(2):
        with pytest.raises(ReviewNeeded) as caught:
            start()
        assert caught.value.exit_code == 4
        assert ".envrc" in caught.value.message
        assert "Makefile" not in caught.value.message
        assert "confined-claude review" in caught.value.hint
    assert on_record(workspace) == []
    assert not (root / ".git/commondir").exists()


def test_many_red_things_are_named_in_part_and_printably(start: Start, root: Path) -> None:
    one = start()
    for number in range(5):
        put(root / f"\x1b[3{number}m\n" / ".envrc")
    one.finish()
    with pytest.raises(ReviewNeeded, match="and 2 more") as caught:
        start()
    assert caught.value.message.isprintable()


def test_yellow_stops_nothing_and_stays_open(start: Start, root: Path, workspace: Workspace) -> None:
    one = start()
    put(root / "Makefile", "changed:\n")
    one.finish()
    assert start().finish() == []
    assert [finding.path for finding in found_now(workspace)] == ["Makefile"]


def test_what_an_interrupted_session_left_is_found_by_the_next(
    start: Start, root: Path, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    one = start()
    put(root / ".envrc")
    one.close()
    assert (root / ".git/commondir").exists()
    with pytest.raises(ReviewNeeded, match=r"\.envrc"):
        start()
    assert on_record(workspace) == []
    assert not (root / ".git/commondir").exists()
    assert ".envrc" in capfd.readouterr().err


def test_a_session_interrupted_before_it_started_is_forgotten(root: Path, workspace: Workspace) -> None:
    one = Guard(workspace, "0123")
    one.begin()
    put(root / ".envrc")
    one.close()
    found = review.review(workspace)
    assert found == Review([], [])
    assert on_record(workspace) == []
    assert not (root / ".git/commondir").exists()


def test_a_session_that_outlives_its_process_is_scanned_and_stays_on_record(
    start: Start, root: Path, workspace: Workspace, running: set[str]
) -> None:
    one = start()
    put(root / "Makefile", "evil:\n")
    one.close()
    running.add(one.key)
    assert [finding.path for finding in review.review(workspace).findings] == ["Makefile"]
    assert on_record(workspace) == [f"{one.key}.session"]
    assert (root / ".git/commondir").exists()
    put(root / "later/.envrc")
    running.clear()
    assert [finding.path for finding in review.review(workspace).findings] == ["later/.envrc", "Makefile"]
    assert on_record(workspace) == []


def test_what_a_container_does_while_it_is_asked_whether_it_runs_is_not_lost(
    start: Start, root: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last moment may be the one in which it is asked for."""
    one = start()
    one.close()

    def is_running(_key: str) -> bool:
        put(root / ".envrc")
        return False

    monkeypatch.setattr(docker, "is_running", is_running)
    assert [finding.path for finding in review.review(workspace).findings] == [".envrc"]


def test_however_the_block_ends_findings_are_reported_and_the_record_ends(
    root: Path, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), guarded(workspace, "0123") as one:
        assert (one.key, on_record(workspace)) == ("0123", ["0123.session"])
        with one.scanning("made-up"):
            pass
        put(root / ".envrc", "evil\x1b[2J\n")
        raise KeyboardInterrupt
    output = capfd.readouterr().err
    assert "1 thing that runs by itself (red)" in output
    assert "+evil\\x1b[2J" in output
    assert on_record(workspace) == []


def test_a_session_whose_container_outlives_the_block_stays_on_record(
    root: Path, workspace: Workspace, running: set[str]
) -> None:
    running.add("0123")
    with pytest.raises(KeyboardInterrupt), guarded(workspace, "0123") as one:
        with one.scanning("made-up"):
            pass
        raise KeyboardInterrupt
    assert on_record(workspace) == ["0123.session"]
    running.clear()
    put(root / ".envrc")
    assert [finding.path for finding in review.review(workspace).findings] == [".envrc"]


def test_a_scan_that_fails_stops_the_start(root: Path, workspace: Workspace) -> None:
    one = Guard(workspace, "0123")
    one.begin()
    done = []
    with full_disk(10), pytest.raises(ConfinedError, match="Cannot write"), one.scanning("made-up"):
        done.append("the block")
    assert done == ["the block"]
    assert one.finish() == []


def test_an_error_of_the_preparation_wins_over_one_of_the_scan(root: Path, workspace: Workspace) -> None:
    one = Guard(workspace, "0123")
    one.begin()
    with full_disk(10), pytest.raises(ZeroDivisionError), one.scanning("made-up"):
        raise ZeroDivisionError
    one.finish()


# Others beside it


def test_what_was_made_for_sessions_goes_with_the_last_one(start: Start, root: Path) -> None:
    one, two = start(), start()
    made = [root / ".git/commondir", root / "__pycache__"]
    one.finish()
    assert all(path.exists() for path in made)
    two.finish()
    assert not any(path.exists() for path in made)


def test_what_was_made_is_removed_only_if_it_is_as_it_was_made(start: Start, root: Path) -> None:
    one = start()
    put(root / "__pycache__/x")
    (root / ".git/commondir").write_text("..\n")
    one.finish()
    assert (root / "__pycache__/x").exists()
    assert (root / ".git/commondir").read_text() == "..\n"


def test_what_another_session_can_replace_is_not_mounted(start: Start, root: Path) -> None:
    one = start()
    put(root / ".envrc")
    two = start()
    assert ".envrc" not in pinned(two, root)
    assert "tasks.py" in pinned(one, root)
    one.finish()
    two.finish()


def test_a_session_beside_another_has_the_same_pins(start: Start, root: Path) -> None:
    one = start()
    two = start()
    assert pinned(two, root) == pinned(one, root) >= {".git/config", ".git/hooks", "tasks.py"}


def test_each_session_reports_what_is_new_since_it_started(start: Start, root: Path) -> None:
    one = start()
    put(root / "a/.envrc")
    two = start()
    put(root / "b/.envrc")
    assert [finding.path for finding in two.finish()] == ["b/.envrc"]
    assert [finding.path for finding in one.finish()] == ["a/.envrc"]  # the other is known by now


# What stays open


def test_what_is_put_right_by_hand_is_closed(start: Start, root: Path, workspace: Workspace) -> None:
    one = start()
    put(root / ".envrc")
    put(root / "Makefile", "evil:\n")
    put(root / "b/.envrc")
    one.finish()
    (root / ".envrc").unlink()
    put(root / "Makefile", "all:\n")
    assert [finding.path for finding in review.review(workspace).findings] == ["b/.envrc"]
    (root / "b/.envrc").unlink()
    assert start().finish() == []
    assert found_now(workspace) == []


def test_what_was_there_before_is_closed_by_its_removal_too(start: Start, root: Path, workspace: Workspace) -> None:
    put(root / "a/.envrc")
    one = start()
    put(root / "a/.envrc", "evil")
    one.finish()
    (root / "a/.envrc").unlink()
    assert review.review(workspace).findings == []


def test_what_only_a_setting_names_stays_open_without_that_setting(
    start: Start, root: Path, workspace: Workspace
) -> None:
    one = start(Settings(protect=("deploy.sh",)))
    put(root / "deploy.sh", "evil")
    one.finish()
    assert [finding.path for finding in review.review(workspace).findings] == ["deploy.sh"]
    (root / "deploy.sh").unlink()
    assert review.review(workspace).findings == []


def test_the_first_of_several_sessions_and_what_was_before_it_count(
    start: Start, root: Path, workspace: Workspace
) -> None:
    for name, content in (("first", "b:\n"), ("second", "c:\n")):
        one = start(name=name)
        put(root / "Makefile", content)
        assert [finding.path for finding in one.finish()] == ["Makefile"]
    (finding,) = found_now(workspace)
    assert (finding.before, finding.after, finding.session) == (b"all:\n", b"c:\n", "first")
    one = start()
    put(root / "Makefile", "all:\n")
    one.finish()
    assert review.review(workspace).findings == []


def test_red_stays_red_when_it_changes_to_less(start: Start, root: Path, workspace: Workspace) -> None:
    one, two = start(), start(Settings(writable=(".envrc",)))
    put(root / ".envrc", "evil")
    one.finish()
    put(root / ".envrc", "more")
    two.finish()
    assert [(finding.red, finding.after) for finding in found_now(workspace)] == [(True, b"more")]


def test_what_is_accepted_is_closed_until_it_changes(start: Start, root: Path, workspace: Workspace) -> None:
    one = start()
    put(root / "Makefile", "mine:\n")
    one.finish()
    review.accept(workspace, review.review(workspace).findings)
    assert found_now(workspace) == []
    assert start().finish() == []
    two = start()
    put(root / "Makefile", "evil:\n")
    assert [(finding.path, finding.before) for finding in two.finish()] == [("Makefile", b"mine:\n")]


def test_only_what_was_seen_is_accepted(start: Start, root: Path, workspace: Workspace) -> None:
    one = start()
    put(root / "Makefile", "seen:\n")
    one.finish()
    seen = found_now(workspace)
    two = start()
    put(root / "Makefile", "unseen:\n")
    two.finish()
    review.accept(workspace, seen)
    assert [finding.after for finding in found_now(workspace)] == [b"unseen:\n"]


def test_what_is_accepted_while_a_session_runs_is_not_reported_again(
    start: Start, root: Path, workspace: Workspace
) -> None:
    one, two = start(), start()
    put(root / ".envrc", "mine")
    one.finish()
    review.accept(workspace, found_now(workspace))
    assert two.finish() == []
    assert found_now(workspace) == []
    (root / ".envrc").unlink()
    three = start()
    put(root / ".envrc", "mine")
    assert [finding.path for finding in three.finish()] == [".envrc"]  # accepted was that one, not this


def test_what_changes_after_it_was_accepted_is_reported(start: Start, root: Path, workspace: Workspace) -> None:
    one, two = start(), start()
    put(root / ".envrc", "mine")
    one.finish()
    review.accept(workspace, found_now(workspace))
    put(root / ".envrc", "evil")
    assert [finding.after for finding in two.finish()] == [b"evil"]


def test_the_review_before_an_update_refuses_while_red(start: Start, root: Path, workspace: Workspace) -> None:
    review.refuse_while_red(workspace)
    one = start()
    put(root / ".envrc")
    one.finish()
    with pytest.raises(ReviewNeeded):
        review.refuse_while_red(workspace)
    assert [finding.red for finding in review.review(workspace).findings] == [True]


# Restore


def left(start: Start, *works: Callable[[], object]) -> None:
    one = start(Settings(git="open"))
    for work in works:
        work()
    one.finish()


def removed(root: Path, path: str, message: str) -> bytes:
    """The content of what was removed, from where the message says it is kept."""
    assert message.startswith(f"{path} is removed, and kept in ")
    assert not os.path.lexists(root / path)
    return Path(message.rpartition(" kept in ")[2]).read_bytes()


def test_what_was_there_is_put_back_in_the_same_file(start: Start, root: Path, workspace: Workspace) -> None:
    (root / "Makefile").chmod(0o755)
    left(start, lambda: put(root / "Makefile", "evil, and longer\n"), lambda: put(root / ".git/config", EVIL))
    before = (root / "Makefile").stat()
    assert review.restore(workspace, "./Makefile") == "Makefile is as it was before"
    assert review.restore(workspace, ".git/config") == ".git/config is as it was before"
    after = (root / "Makefile").stat()
    assert (root / "Makefile").read_text() == "all:\n"
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert git(root, "config", "--list", "--local")
    assert found_now(workspace) == []


@pytest.mark.parametrize(
    ("path", "make", "content"),
    [
        (".envrc", lambda path: put(path, b"\xff"), b"\xff"),
        (".git/hooks/pre-commit", lambda path: put(path, HOOK), HOOK.encode()),
        ("sub/.git", lambda path: put(path, "gitdir: ../x\n"), b"gitdir: ../x\n"),
        ("data", lambda path: path.symlink_to("/home/someone"), b"/home/someone"),
        (".git/logs/x", lambda path: path.symlink_to("/var"), b"/var"),
        ("two\nlines/.envrc", put, b"x\n"),
        ("x" * 255 + "/.envrc", put, b"x\n"),
        ("x" * 250 + ".mk", put, b"x\n"),
    ],
)
def test_what_did_not_exist_is_removed_and_stays_on_record(  # noqa: PLR0917
    path: str, make: Callable[[Path], object], content: bytes, start: Start, root: Path, workspace: Workspace
) -> None:
    left(start, lambda: make(root / path))
    shown = path.replace("\n", "\\n")
    done = review.restore(workspace, shown)
    assert removed(root, shown, done) == content
    assert found_now(workspace) == []


def test_a_file_that_runs_as_its_owner_does_so_no_more(start: Start, root: Path, workspace: Workspace) -> None:
    left(start, lambda: put(root / "tool").chmod(0o6755))
    assert "nobody's rights" in review.restore(workspace, "tool")
    assert stat.S_IMODE((root / "tool").stat().st_mode) == 0o755
    assert found_now(workspace) == []


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("pipe", os.mkfifo),
        ("nested/.git", lambda path: git(made_repository(path.parent), "status")),
        ("Makefile", lambda path: [path.unlink(), path.symlink_to("/home/someone")]),
    ],
)
def test_what_is_not_known_well_enough_is_not_touched(
    path: str, make: Callable[[Path], object], start: Start, root: Path, workspace: Workspace
) -> None:
    left(start, lambda: make(root / path))
    with pytest.raises(ConfinedError, match="cannot be restored") as caught:
        review.restore(workspace, path)
    assert "--accept" in caught.value.hint
    assert os.path.lexists(root / path)
    assert path in [finding.path for finding in found_now(workspace)]


@pytest.mark.parametrize("path", ["nothing", "", ".", "Makefile/x", "/etc/passwd", "\x1b[31m"])
def test_what_is_not_among_the_findings_is_not_touched(path: str, start: Start, workspace: Workspace) -> None:
    left(start)
    with pytest.raises(ConfinedError, match="not among the findings") as caught:
        review.restore(workspace, path)
    assert caught.value.message.isprintable()


def test_a_directory_that_is_a_link_by_now_is_not_followed(
    start: Start, root: Path, tmp_path: Path, workspace: Workspace
) -> None:
    put(root / "sub/Makefile")
    left(start, lambda: put(root / "sub/.envrc"), lambda: put(root / "sub/Makefile", "evil"))
    outside = tmp_path / "outside"
    (root / "sub").rename(outside)
    (root / "sub").symlink_to(outside)
    for path in ("sub/.envrc", "sub/Makefile"):
        with pytest.raises(ConfinedError, match="Cannot restore"):
            review.restore(workspace, path)
    assert sorted(os.listdir(outside)) == [".envrc", "Makefile"]
    assert (outside / "Makefile").read_text() == "evil"


def test_a_link_where_the_file_was_is_replaced_and_not_followed(
    start: Start, root: Path, tmp_path: Path, workspace: Workspace
) -> None:
    left(start, lambda: put(root / "Makefile", "evil"))
    target = put(tmp_path / "target", "mine")
    (root / "Makefile").unlink()
    (root / "Makefile").symlink_to(target)
    review.restore(workspace, "Makefile")
    assert target.read_text() == "mine"
    assert not (root / "Makefile").is_symlink()
    assert (root / "Makefile").read_text() == "all:\n"


# The ways of git


def test_with_open_git_nothing_of_git_is_pinned_but_all_of_it_is_reported(start: Start, root: Path) -> None:
    one = start(Settings(git="open"))
    assert not [path for path in pinned(one, root) if path.startswith(".git")]
    put(root / ".git/config", EVIL)
    assert [(finding.path, finding.red) for finding in one.finish()] == [(".git/config", True)]


def test_with_isolated_git_the_copy_is_mounted_in_place_of_the_repository(
    start: Start, root: Path, workspace: Workspace
) -> None:
    one = start(Settings(git="isolated"))
    (copied,) = [mount for mount in one.mounts if mount.target == str(root / ".git")]
    assert workspace.data.path in copied.source.parents
    assert (copied.source / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert not [path for path in pinned(one, root) if path.startswith(".git")]
    assert one.finish() == []


def project_of(workspace: Workspace, *, lenient: bool = False, **settings: str) -> GuardedProject:
    return GuardedProject(replace(workspace, settings=Settings(**settings)), lenient=lenient)  # type: ignore[arg-type]


def test_a_repository_that_cannot_be_guarded_is_refused_unless_git_is_open(root: Path, workspace: Workspace) -> None:
    (root / ".git").rename(root / "elsewhere")
    (root / ".git").symlink_to("elsewhere")
    for git_setting in ("guarded", "isolated"):
        with pytest.raises(ConfinedError, match="is a link"):
            project_of(workspace, git=git_setting)
    assert project_of(workspace, git="open").repository is None
    assert project_of(workspace, lenient=True).repository is None


def test_tasks_that_are_a_package_have_a_rule_if_they_are_invokes(root: Path, workspace: Workspace) -> None:
    (root / "tasks.py").unlink()
    put(root / "tasks/__init__.py", "import other\n")
    of = ("tasks", "build.py")
    assert project_of(workspace).matcher.rule_of(of) is None
    put(root / "tasks/__init__.py", "from invoke import task\n")
    rule = project_of(workspace).matcher.rule_of(of)
    assert rule is not None
    assert (rule.runs, rule.red) == ("inv", True)


# A dry run


@pytest.mark.parametrize("git_setting", ["guarded", "open", "isolated"])
def test_a_dry_run_comes_to_the_mounts_of_a_start_and_changes_nothing(
    git_setting: str, root: Path, host: Host, workspace: Workspace
) -> None:
    put(root / ".confined-claude/config.toml", "")
    workspace = replace(workspace, settings=Settings(git=git_setting))
    one = Guard(workspace, "interrupted")
    one.begin()
    one.close()
    before = tree(root), tree(host.home)
    planned = plan_dry_run(workspace, "0123")
    assert (tree(root), tree(host.home)) == before
    two = Guard(workspace, "0123")
    two.begin()
    assert planned.mounts == two.mounts
    two.finish()


def test_a_dry_run_is_refused_where_a_start_is(start: Start, root: Path, host: Host, workspace: Workspace) -> None:
    plan_dry_run(workspace, "0123")
    one = start()
    put(root / ".envrc")
    one.close()  # what it left is on no record yet
    before = tree(root), tree(host.home)
    with pytest.raises(ReviewNeeded, match=r"\.envrc"):
        plan_dry_run(workspace, "0123")
    assert (tree(root), tree(host.home)) == before
    (root / ".envrc").unlink()
    assert plan_dry_run(workspace, "0123").mounts


def test_a_dry_run_names_what_a_start_would_make_first(root: Path, workspace: Workspace) -> None:
    planned = plan_dry_run(replace(workspace, settings=Settings(git="isolated")), "0123")
    assert planned.pins.read_only[0] == root / ".confined-claude"
    assert planned.pins.missing == (root / "__pycache__",)
    assert planned.copy is not None
    assert (planned.copy.is_new, planned.copy.original, planned.copy.mount.source.name) == (
        True,
        root / ".git",
        "0123",
    )
