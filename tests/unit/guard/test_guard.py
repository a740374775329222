"""A project under guard from the start of a session to its review, whatever ends it, and with others beside it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import containers
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.guard import review
from confined_claude.guard.findings import Finding
from confined_claude.guard.guard import Guard, plan_dry_run
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.guards import guarded
from confined_claude.guard.records import locked
from confined_claude.guard.review import Review
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..conftest import full_disk, tree
from ..guarding import EVIL, HOOK, git, made_repository, put


class Place:
    """A project with a repository in which sessions start, as far as the guard has to do with them."""

    def __init__(self, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.home = host.home
        self.workspace = Workspace(host, Project(root))
        self.running: set[str] = set()  # keys of sessions
        self.started: list[Guard] = []
        monkeypatch.setattr(containers, "may_exist", self.running.__contains__)

    def put(self, path: str, content: str = "x\n") -> Path:
        return put(self.root / path, content)

    def start(self, settings: Settings | None = None, name: str = "made-up") -> Guard:
        one = Guard(self.workspace._replace(settings=settings or Settings()), secrets.token_hex(8))
        one.begin()
        with one.scanning(name):
            pass
        self.started.append(one)
        return one

    def session(self, *works: Callable[[], object], **settings: Any) -> list[Finding]:
        """What a session leaves that does this."""
        one = self.start(Settings(**settings))
        for work in works:
            work()
        return one.finish()

    def leave(self, path: str, content: str = "x\n") -> list[Finding]:
        """What a session leaves that writes one file."""
        return self.session(lambda: self.put(path, content))

    def findings(self) -> list[Finding]:
        """The open findings on record."""
        with locked(self.workspace.state) as records:
            return records.findings()

    def reviewed(self) -> list[str]:
        """The paths of the findings in a review."""
        return [finding.path for finding in review.review(self.workspace).findings]

    def on_record(self) -> list[str]:
        return [path.name for path in self.workspace.state.path.glob("*.session")]

    def pinned(self, one: Guard) -> set[str]:
        return {str(mount.source.relative_to(self.root)) for mount in one.mounts if mount.pin and mount.read_only}

    def everything(self) -> tuple[object, object]:
        return tree(self.root), tree(self.home)


def in_git(place: Place, *words: str) -> Callable[[], object]:
    return lambda: git(place.root, *words)


@pytest.fixture
def place(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place(made_repository(tmp_path / "project"), host, monkeypatch)
    place.put("Makefile", "all:\n")
    place.put("tasks.py")
    yield place
    for one in place.started:
        one.close()


# Start and end


def test_a_session_that_does_nothing_leaves_nothing(place: Place) -> None:
    before = git(place.root, "status", "--porcelain")
    one = place.start()
    assert (place.root / ".git/commondir").read_text() == ".\n"
    assert len(place.on_record()) == 1
    assert git(place.root, "status", "--porcelain") == before
    assert one.finish() == []
    assert place.on_record() == []
    assert not (place.root / ".git/commondir").exists()
    assert not (place.root / "__pycache__").exists()
    assert os.listdir(place.workspace.state.path) == ["lock"]


def test_what_a_session_leaves_is_recorded_and_red_stops_the_next(place: Place) -> None:
    one = place.start()
    one.session = "confined-claude-project-2"
    place.put(".envrc")
    place.put("Makefile", "evil:\n")
    found = one.finish()
    assert [(finding.path, finding.red, finding.session) for finding in found] == [
        (".envrc", True, "confined-claude-project-2"),
        ("Makefile", False, "confined-claude-project-2"),
    ]
    assert place.findings() == found
    for _ in range(2):
        with pytest.raises(ReviewNeeded) as caught:
            place.start()
        assert caught.value.exit_code == 4
        assert ".envrc" in caught.value.message
        assert "Makefile" not in caught.value.message
        assert "confined-claude review" in caught.value.hint
    assert place.on_record() == []
    assert not (place.root / ".git/commondir").exists()


def test_many_red_things_are_named_in_part_and_printably(place: Place) -> None:
    one = place.start()
    for number in range(5):
        put(place.root / f"\x1b[3{number}m\n" / ".envrc")
    one.finish()
    with pytest.raises(ReviewNeeded, match="and 2 more") as caught:
        place.start()
    assert caught.value.message.isprintable()


def test_yellow_stops_nothing_and_stays_open(place: Place) -> None:
    place.leave("Makefile", "changed:\n")
    assert place.session() == []
    assert [finding.path for finding in place.findings()] == ["Makefile"]


def test_what_an_interrupted_session_left_is_found_by_the_next(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    one = place.start()
    place.put(".envrc")
    one.close()
    assert (place.root / ".git/commondir").exists()
    with pytest.raises(ReviewNeeded, match=r"\.envrc"):
        place.start()
    assert place.on_record() == []
    assert not (place.root / ".git/commondir").exists()
    assert ".envrc" in capfd.readouterr().err


def test_a_session_interrupted_before_it_started_is_forgotten(place: Place) -> None:
    one = Guard(place.workspace, "0123")
    one.begin()
    place.put(".envrc")
    one.close()
    found = review.review(place.workspace)
    assert found == Review([], [])
    assert place.on_record() == []
    assert not (place.root / ".git/commondir").exists()


def test_a_session_that_outlives_its_process_is_scanned_and_stays_on_record(place: Place) -> None:
    one = place.start()
    place.put("Makefile", "evil:\n")
    one.close()
    place.running.add(one.key)
    assert place.reviewed() == ["Makefile"]
    assert place.on_record() == [f"{one.key}.session"]
    assert (place.root / ".git/commondir").exists()
    place.put("later/.envrc")
    place.running.clear()
    assert place.reviewed() == ["later/.envrc", "Makefile"]
    assert place.on_record() == []


def test_what_a_container_does_while_it_is_asked_whether_it_runs_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last moment may be the one in which it is asked for."""
    one = place.start()
    one.close()

    def may_exist(_key: str) -> bool:
        place.put(".envrc")
        return False

    monkeypatch.setattr(containers, "may_exist", may_exist)
    assert place.reviewed() == [".envrc"]


def test_however_the_block_ends_findings_are_reported_and_the_record_ends(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), guarded(place.workspace, "0123") as one:
        assert place.on_record() == ["0123.session"]
        with one.scanning("made-up"):
            pass
        place.put(".envrc", "evil\x1b[2J\n")
        raise KeyboardInterrupt
    output = capfd.readouterr().err
    assert "1 file that your machine runs by itself (red)" in output
    assert "+evil\\x1b[2J" in output
    assert place.on_record() == []


def test_a_session_whose_container_outlives_the_block_stays_on_record(place: Place) -> None:
    place.running.add("0123")
    with pytest.raises(KeyboardInterrupt), guarded(place.workspace, "0123") as one:
        with one.scanning("made-up"):
            pass
        raise KeyboardInterrupt
    assert place.on_record() == ["0123.session"]
    place.running.clear()
    place.put(".envrc")
    assert place.reviewed() == [".envrc"]


def test_a_scan_that_fails_stops_the_start(place: Place) -> None:
    one = Guard(place.workspace, "0123")
    one.begin()
    done = []
    with full_disk(10), pytest.raises(ConfinedError, match="Cannot write"), one.scanning("made-up"):
        done.append("the block")
    assert done == ["the block"]
    assert one.finish() == []


def test_an_error_of_the_preparation_wins_over_one_of_the_scan(place: Place) -> None:
    one = Guard(place.workspace, "0123")
    one.begin()
    with full_disk(10), pytest.raises(ZeroDivisionError), one.scanning("made-up"):
        raise ZeroDivisionError
    one.finish()


def test_what_is_pinned_and_has_another_name_is_reported_when_it_changes_through_that(place: Place) -> None:
    place.put(".envrc")
    os.link(place.root / ".envrc", place.root / "other")
    assert [finding.path for finding in place.session(lambda: (place.root / "other").write_text("evil"))] == [".envrc"]


# Others beside it


def test_what_was_made_for_sessions_goes_with_the_last_one(place: Place) -> None:
    one, two = place.start(), place.start()
    made = [place.root / ".git/commondir", place.root / "__pycache__"]
    one.finish()
    assert all(path.exists() for path in made)
    two.finish()
    assert not any(path.exists() for path in made)


def test_what_was_made_is_removed_only_if_it_is_as_it_was_made(place: Place) -> None:
    one = place.start()
    place.put("__pycache__/x")
    (place.root / ".git/commondir").write_text("..\n")
    one.finish()
    assert (place.root / "__pycache__/x").exists()
    assert (place.root / ".git/commondir").read_text() == "..\n"


def test_what_another_session_can_replace_is_not_mounted(place: Place) -> None:
    one = place.start()
    place.put(".envrc")
    two = place.start()
    assert ".envrc" not in place.pinned(two)
    assert "tasks.py" in place.pinned(one)
    one.finish()
    two.finish()


def test_a_session_beside_another_has_the_same_pins(place: Place) -> None:
    one = place.start()
    two = place.start()
    assert place.pinned(two) == place.pinned(one) >= {".git/config", ".git/hooks", "tasks.py"}


def test_what_is_new_since_the_first_of_sessions_that_overlap_is_reported_once(place: Place) -> None:
    one = place.start()
    place.put("a/.envrc")
    assert [finding.path for finding in place.leave("b/.envrc")] == ["a/.envrc", "b/.envrc"]
    place.put("c/.envrc")
    assert [finding.path for finding in one.finish()] == ["c/.envrc"]  # the others are known by now
    assert place.reviewed() == ["a/.envrc", "b/.envrc", "c/.envrc"]


def restored(place: Place, path: str) -> None:
    assert path in [finding.path for finding in place.findings()]
    review.restore(place.workspace, path)


def test_what_is_restored_is_reported_when_a_session_beside_it_brings_it_back(place: Place) -> None:
    one = place.start()
    evil = place.put(".envrc", "evil")
    two = place.start()
    one.finish()
    restored(place, ".envrc")
    three = place.start()
    evil.write_text("evil")
    assert [finding.path for finding in two.finish()] == [".envrc"]
    restored(place, ".envrc")
    evil.write_text("evil")
    assert [finding.path for finding in three.finish()] == [".envrc"]


def test_sessions_that_overlap_cannot_pass_a_file_between_them(place: Place) -> None:
    one = place.start()
    evil = place.put(".envrc", "evil")
    two = place.start()
    evil.rename(place.root / "src/notes")  # where it does not matter
    assert one.finish() == []
    (place.root / "src/notes").rename(evil)
    assert [finding.path for finding in two.finish()] == [".envrc"]


def test_two_sessions_that_start_at_once_have_one_baseline(place: Place) -> None:
    one, two = (Guard(place.workspace, key) for key in ("0123", "4567"))
    place.started += one, two
    one.begin()
    two.begin()
    with one.scanning("one"):
        pass
    evil = place.put(".envrc", "evil")
    with two.scanning("two"):
        pass
    assert [finding.path for finding in one.finish()] == [".envrc"]
    restored(place, ".envrc")
    evil.write_text("evil")
    assert [(finding.path, finding.session) for finding in two.finish()] == [(".envrc", "two")]


@pytest.mark.parametrize("is_over", [True, False])
def test_a_baseline_outlives_the_process_of_its_session(place: Place, is_over: bool) -> None:
    one = place.start()
    evil = place.put(".envrc", "evil")
    two = place.start()
    one.close()  # killed
    place.running.add(one.key)
    evil.rename(place.root / "src/notes")
    if is_over:
        place.running.clear()
        assert place.reviewed() == []
    (place.root / "src/notes").rename(evil)
    assert [finding.path for finding in two.finish()] == [".envrc"]


def test_a_review_changes_the_baseline_of_the_sessions_that_run(place: Place) -> None:
    place.leave("Makefile", "left:\n")
    one = place.start()
    for name in ("accepted", "put back"):
        two = place.start()
        place.put(f"{name}/Makefile", name)
        two.finish()
    review.accept(place.workspace, [finding for finding in place.findings() if finding.path == "accepted/Makefile"])
    restored(place, "put back/Makefile")
    restored(place, "Makefile")  # to what there was before `one`
    assert place.session() == []
    place.put("accepted/Makefile", "again")
    (finding,) = one.finish()
    assert (finding.path, finding.before) == ("accepted/Makefile", b"accepted")
    assert place.on_record() == []
    assert not list(place.workspace.state.path.glob("*.before"))


# What stays open


def test_what_is_put_right_by_hand_is_closed(place: Place) -> None:
    one = place.start()
    place.put(".envrc")
    place.put("Makefile", "evil:\n")
    place.put("b/.envrc")
    one.finish()
    (place.root / ".envrc").unlink()
    place.put("Makefile", "all:\n")
    assert place.reviewed() == ["b/.envrc"]
    (place.root / "b/.envrc").unlink()
    assert place.session() == []
    assert place.findings() == []


def test_what_was_there_before_is_closed_by_its_removal_too(place: Place) -> None:
    place.put("a/.envrc")
    place.leave("a/.envrc", "evil")
    (place.root / "a/.envrc").unlink()
    assert place.reviewed() == []


def test_what_only_a_setting_names_stays_open_without_that_setting(place: Place) -> None:
    one = place.start(Settings(protect=("deploy.sh",)))
    place.put("deploy.sh", "evil")
    one.finish()
    assert place.reviewed() == ["deploy.sh"]
    (place.root / "deploy.sh").unlink()
    assert place.reviewed() == []


def test_the_first_of_several_sessions_and_what_was_before_it_count(place: Place) -> None:
    for name, content in (("first", "b:\n"), ("second", "c:\n")):
        one = place.start(name=name)
        place.put("Makefile", content)
        assert [finding.path for finding in one.finish()] == ["Makefile"]
    (finding,) = place.findings()
    assert (finding.before, finding.after, finding.session) == (b"all:\n", b"c:\n", "first")
    place.leave("Makefile", "all:\n")
    assert place.reviewed() == []


def test_red_stays_red_when_it_changes_to_less(place: Place) -> None:
    one, two = place.start(), place.start(Settings(writable=(".envrc",)))
    place.put(".envrc", "evil")
    one.finish()
    place.put(".envrc", "more")
    two.finish()
    assert [(finding.red, finding.after) for finding in place.findings()] == [(True, b"more")]


def test_what_is_accepted_is_closed_until_it_changes(place: Place) -> None:
    place.leave("Makefile", "mine:\n")
    review.accept(place.workspace, review.review(place.workspace).findings)
    assert place.findings() == []
    assert place.session() == []
    two = place.start()
    place.put("Makefile", "evil:\n")
    assert [(finding.path, finding.before) for finding in two.finish()] == [("Makefile", b"mine:\n")]


def test_only_what_was_seen_is_accepted(place: Place) -> None:
    place.leave("Makefile", "seen:\n")
    seen = place.findings()
    two = place.start()
    place.put("Makefile", "unseen:\n")
    two.finish()
    review.accept(place.workspace, seen)
    assert [finding.after for finding in place.findings()] == [b"unseen:\n"]


def test_what_is_accepted_while_a_session_runs_is_not_reported_again(place: Place) -> None:
    one, two = place.start(), place.start()
    place.put(".envrc", "mine")
    one.finish()
    review.accept(place.workspace, place.findings())
    assert two.finish() == []
    assert place.findings() == []
    (place.root / ".envrc").unlink()
    assert [finding.path for finding in place.leave(".envrc", "mine")] == [".envrc"]  # accepted was that one, not this


def test_what_changes_after_it_was_accepted_is_reported(place: Place) -> None:
    one, two = place.start(), place.start()
    place.put(".envrc", "mine")
    one.finish()
    review.accept(place.workspace, place.findings())
    place.put(".envrc", "evil")
    assert [finding.after for finding in two.finish()] == [b"evil"]


def test_the_review_before_an_update_refuses_while_red(place: Place) -> None:
    review.refuse_while_red(place.workspace)
    place.leave(".envrc")
    with pytest.raises(ReviewNeeded):
        review.refuse_while_red(place.workspace)
    assert [finding.red for finding in review.review(place.workspace).findings] == [True]


# Restore


def removed(place: Place, path: str, message: str) -> bytes:
    """The content of what was removed, from where the message says it is kept."""
    assert message.startswith(f"{path} is removed, and kept in ")
    assert not os.path.lexists(place.root / path)
    return Path(message.rpartition(" kept in ")[2]).read_bytes()


def test_what_is_too_large_to_be_kept_is_not_removed(place: Place) -> None:
    def plant() -> None:
        with open(place.root / "-large", "wb") as file:
            file.truncate((16 << 20) + 1)

    place.session(plant)
    with pytest.raises(ConfinedError, match="-large is not removed: it is too large"):
        review.restore(place.workspace, "./-large")
    assert (place.root / "-large").stat().st_size > 16 << 20
    os.truncate(place.root / "-large", 3)
    assert removed(place, "-large", review.restore(place.workspace, "./-large")) == bytes(3)


def test_what_was_there_is_put_back_in_the_same_file(place: Place) -> None:
    (place.root / "Makefile").chmod(0o755)
    place.session(
        lambda: place.put("Makefile", "evil, and longer\n"), lambda: place.put(".git/config", EVIL), git="open"
    )
    before = (place.root / "Makefile").stat()
    assert review.restore(place.workspace, "./Makefile") == "Makefile is as it was before"
    assert review.restore(place.workspace, ".git/config") == ".git/config is as it was before"
    after = (place.root / "Makefile").stat()
    assert (place.root / "Makefile").read_text() == "all:\n"
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert git(place.root, "config", "--list", "--local")
    assert place.findings() == []


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
def test_what_did_not_exist_is_removed_and_stays_on_record(
    path: str, make: Callable[[Path], object], content: bytes, place: Place
) -> None:
    place.session(lambda: make(place.root / path), git="open")
    shown = path.replace("\n", "\\n")
    done = review.restore(place.workspace, shown)
    assert removed(place, shown, done) == content
    assert place.findings() == []


def test_a_file_that_runs_as_its_owner_does_so_no_more(place: Place) -> None:
    place.session(lambda: place.put("tool").chmod(0o6755), git="open")
    assert "tool no longer has setuid or setgid" in review.restore(place.workspace, "tool")
    assert stat.S_IMODE((place.root / "tool").stat().st_mode) == 0o755
    assert place.findings() == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("pipe", os.mkfifo),
        ("env", lambda path: put(path / "pyvenv.cfg")),
        ("Makefile", lambda path: [path.unlink(), path.symlink_to("/home/someone")]),
    ],
)
def test_what_is_not_known_well_enough_is_not_touched(path: str, make: Callable[[Path], object], place: Place) -> None:
    place.session(lambda: make(place.root / path), git="open")
    with pytest.raises(ConfinedError, match="cannot be restored") as caught:
        review.restore(place.workspace, path)
    assert "--accept" in caught.value.hint
    assert os.path.lexists(place.root / path)
    assert path in [finding.path for finding in place.findings()]


@pytest.mark.parametrize("path", ["nothing", "", ".", "Makefile/x", "/etc/passwd", "\x1b[31m"])
def test_what_is_not_among_the_findings_is_not_touched(path: str, place: Place) -> None:
    place.session()
    with pytest.raises(ConfinedError, match="not among the findings") as caught:
        review.restore(place.workspace, path)
    assert caught.value.message.isprintable()


def test_a_directory_that_is_a_link_by_now_is_not_followed(place: Place, tmp_path: Path) -> None:
    place.put("sub/Makefile")
    place.session(lambda: place.put("sub/.envrc"), lambda: place.put("sub/Makefile", "evil"), git="open")
    outside = tmp_path / "outside"
    (place.root / "sub").rename(outside)
    (place.root / "sub").symlink_to(outside)
    for path in ("sub/.envrc", "sub/Makefile"):
        with pytest.raises(ConfinedError, match="Cannot restore"):
            review.restore(place.workspace, path)
    assert sorted(os.listdir(outside)) == [".envrc", "Makefile"]
    assert (outside / "Makefile").read_text() == "evil"


def test_a_link_where_the_file_was_is_replaced_and_not_followed(place: Place, tmp_path: Path) -> None:
    place.session(lambda: place.put("Makefile", "evil"), git="open")
    target = put(tmp_path / "target", "mine")
    (place.root / "Makefile").unlink()
    (place.root / "Makefile").symlink_to(target)
    review.restore(place.workspace, "Makefile")
    assert target.read_text() == "mine"
    assert not (place.root / "Makefile").is_symlink()
    assert (place.root / "Makefile").read_text() == "all:\n"


# The ways of git


def test_with_open_git_nothing_of_git_is_pinned_but_all_of_it_is_reported(place: Place) -> None:
    one = place.start(Settings(git="open"))
    assert not [path for path in place.pinned(one) if path.startswith(".git")]
    place.put(".git/config", EVIL)
    assert [(finding.path, finding.red) for finding in one.finish()] == [(".git/config", True)]


def test_with_isolated_git_the_copy_is_mounted_in_place_of_the_repository(place: Place) -> None:
    one = place.start(Settings(git="isolated"))
    (copied,) = [mount for mount in one.mounts if mount.target == str(place.root / ".git")]
    assert place.workspace.data.path in copied.source.parents
    assert (copied.source / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert not [path for path in place.pinned(one) if path.startswith(".git")]
    assert one.finish() == []


def project_of(place: Place, *, lenient: bool = False, **settings: Any) -> GuardedProject:
    return GuardedProject(place.workspace._replace(settings=Settings(**settings)), lenient=lenient)


def test_a_repository_that_cannot_be_guarded_is_refused_unless_git_is_open(place: Place) -> None:
    (place.root / ".git").rename(place.root / "elsewhere")
    (place.root / ".git").symlink_to("elsewhere")
    for git_setting in ("guarded", "isolated"):
        with pytest.raises(ConfinedError, match="is a link"):
            project_of(place, git=git_setting)
    assert project_of(place, git="open").repository is None
    assert project_of(place, lenient=True).repository is None


def test_tasks_that_are_a_package_have_a_rule_if_they_are_invokes(place: Place) -> None:
    (place.root / "tasks.py").unlink()
    place.put("tasks/__init__.py", "import other\n")
    of = ("tasks", "build.py")
    assert project_of(place).matcher.rule_of(of) is None
    place.put("tasks/__init__.py", "from invoke import task\n")
    rule = project_of(place).matcher.rule_of(of)
    assert rule is not None
    assert (rule.runs, rule.red) == ("inv", True)


# A dry run


@pytest.mark.parametrize("git_setting", ["guarded", "open", "isolated"])
def test_a_dry_run_comes_to_the_mounts_of_a_start_and_changes_nothing(git_setting: str, place: Place) -> None:
    place.put(".confined-claude/config.toml", "")
    place.workspace = place.workspace._replace(settings=Settings(git=git_setting))
    one = Guard(place.workspace, "interrupted")
    one.begin()
    one.close()
    before = place.everything()
    planned = plan_dry_run(place.workspace, "0123")
    assert place.everything() == before
    two = Guard(place.workspace, "0123")
    two.begin()
    assert planned.mounts == two.mounts
    two.finish()


def test_a_dry_run_is_refused_where_a_start_is(place: Place) -> None:
    plan_dry_run(place.workspace, "0123")
    one = place.start()
    place.put(".envrc")
    one.close()  # what it left is on no record yet
    before = place.everything()
    with pytest.raises(ReviewNeeded, match=r"\.envrc"):
        plan_dry_run(place.workspace, "0123")
    assert place.everything() == before
    (place.root / ".envrc").unlink()
    assert plan_dry_run(place.workspace, "0123").mounts


def test_a_dry_run_names_what_a_start_would_make_first(place: Place) -> None:
    planned = plan_dry_run(place.workspace._replace(settings=Settings(git="isolated")), "0123")
    assert planned.pins.read_only[0] == place.root / ".confined-claude"
    assert planned.pins.missing == (place.root / "__pycache__",)
    assert planned.copy is not None
    assert (planned.copy.is_new, planned.copy.original) == (True, place.root / ".git")
    assert planned.copy.mount.source.name == "0123"


# Protected files that a session's git leaves alone


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_protected_files_that_stayed_behind_are_reported_once(
    place: Place, is_interrupted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put(".envrc", "a\n")
    git(place.root, "add", "--all")
    git(place.root, "commit", "--quiet", "--message", "x")

    def switch() -> None:
        other = git(place.root, "hash-object", "src/main.py").strip()
        git(place.root, "update-index", "--cacheinfo", f"100644,{other},.envrc")
        for bit in ("skip-worktree", "assume-unchanged"):
            git(place.root, "update-index", f"--{bit}", ".envrc")

    if is_interrupted:
        one = place.start()
        switch()
        one.close()
    with guarded(place.workspace, "0123") as guards, guards.scanning("made-up"):
        if not is_interrupted:
            switch()
    said = capsys.readouterr().err
    assert said.count("1 protected file is not as in the branch: .envrc. `git status` shows the difference") == 1
    assert "MM .envrc" in git(place.root, "status", "--porcelain")
    with guarded(place.workspace, "4567") as guards, guards.scanning("made-up"):
        pass
    assert ".envrc" not in capsys.readouterr().err


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_whether_a_hook_can_be_executed_is_restored(mode: int, place: Place) -> None:
    hook = place.put("sub/.claude/hooks/check", HOOK)
    hook.chmod(mode)
    assert len(place.session(lambda: hook.chmod(mode ^ 0o111))) == 1
    review.restore(place.workspace, "sub/.claude/hooks/check")
    assert stat.S_IMODE(hook.stat().st_mode) == mode
    assert place.reviewed() == []
