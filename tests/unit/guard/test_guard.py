"""A project under guard from the start of a session to its review, whatever ends it, and with others beside it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.guard import review
from confined_claude.guard.findings import Finding
from confined_claude.guard.guard import Ground, Watch, watched
from confined_claude.guard.records import locked
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.settings import Settings

from ..conftest import full_disk
from ..guarding import EVIL, HOOK, git, made_repository, put


def nothing_runs(_key: str) -> bool:
    return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = made_repository(tmp_path / "project")
    put(path / "Makefile", "all:\n")
    put(path / "tasks.py")
    return path


Start = Callable[..., Watch]


@pytest.fixture
def start(root: Path, host: Host) -> Iterator[Start]:
    """Starts a session, as far as the guard has to do with it."""
    started: list[Watch] = []

    def begun(
        chosen: Settings | None = None, is_running: Callable[[str], bool] = nothing_runs, name: str = "made-up"
    ) -> Watch:
        one = Watch(Ground(Project(root), chosen or Settings()), host, secrets.token_hex(8))
        one.begin(is_running)
        with one.looking(name):
            pass
        started.append(one)
        return one

    yield begun
    for one in started:
        cut_off(one)


def cut_off(one: Watch) -> None:
    """What is left of a session whose process is killed."""
    try:
        os.close(one._handle)
    except OSError:
        return  # it has ended


@pytest.fixture
def ground(root: Path) -> Ground:
    return Ground(Project(root), Settings())


def kept_now(ground: Ground, host: Host) -> list[Finding]:
    with locked(ground.project, host) as kept:
        return kept.findings()


def on_record(ground: Ground, host: Host) -> list[str]:
    return [path.name for path in (host.state / "projects" / ground.project.id).glob("*.session")]


def pinned(one: Watch, root: Path) -> set[str]:
    return {str(mount.source.relative_to(root)) for mount in one.mounts if mount.pin and mount.read_only}


# Start and end


def test_a_session_that_does_nothing_leaves_nothing(start: Start, root: Path, ground: Ground, host: Host) -> None:
    before = git(root, "status", "--porcelain")
    one = start()
    assert (root / ".git/commondir").read_text() == ".\n"
    assert len(on_record(ground, host)) == 1
    assert git(root, "status", "--porcelain") == before
    assert one.finish() == []
    assert on_record(ground, host) == []
    assert not (root / ".git/commondir").exists()
    assert not (root / "__pycache__").exists()
    assert os.listdir(host.state / "projects" / ground.project.id) == ["lock"]


def test_what_a_session_leaves_is_kept_and_red_stops_the_next(
    start: Start, root: Path, ground: Ground, host: Host
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
    assert kept_now(ground, host) == found
    for _ in range(2):
        with pytest.raises(ReviewNeeded) as caught:
            start()
        assert caught.value.exit_code == 4
        assert ".envrc" in caught.value.message
        assert "Makefile" not in caught.value.message
        assert "confined-claude review" in caught.value.hint
    assert on_record(ground, host) == []
    assert not (root / ".git/commondir").exists()


def test_many_red_things_are_named_in_part_and_printably(start: Start, root: Path) -> None:
    one = start()
    for number in range(5):
        put(root / f"\x1b[3{number}m\n" / ".envrc")
    one.finish()
    with pytest.raises(ReviewNeeded, match="and 2 more") as caught:
        start()
    assert caught.value.message.isprintable()


def test_yellow_stops_nothing_and_stays_open(start: Start, root: Path, ground: Ground, host: Host) -> None:
    one = start()
    put(root / "Makefile", "changed:\n")
    one.finish()
    assert start().finish() == []
    assert [finding.path for finding in kept_now(ground, host)] == ["Makefile"]


def test_what_a_session_left_before_it_was_cut_off_is_looked_at_by_the_next(
    start: Start, root: Path, ground: Ground, host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    one = start()
    put(root / ".envrc")
    cut_off(one)
    assert (root / ".git/commondir").exists()
    with pytest.raises(ReviewNeeded, match=r"\.envrc"):
        start()
    assert on_record(ground, host) == []
    assert not (root / ".git/commondir").exists()
    assert ".envrc" in capfd.readouterr().err


def test_a_session_that_was_cut_off_before_it_started_is_forgotten(root: Path, ground: Ground, host: Host) -> None:
    one = Watch(ground, host, "0123")
    one.begin(nothing_runs)
    put(root / ".envrc")
    cut_off(one)
    found = review.look(ground, host, nothing_runs)
    assert found == review.Review([], [])
    assert on_record(ground, host) == []
    assert not (root / ".git/commondir").exists()


def test_a_killed_process_whose_container_runs_is_looked_at_and_stays_on_record(
    start: Start, root: Path, ground: Ground, host: Host
) -> None:
    one = start()
    put(root / "Makefile", "evil:\n")
    cut_off(one)
    found = review.look(ground, host, one.key.__eq__)
    assert [finding.path for finding in found.findings] == ["Makefile"]
    assert on_record(ground, host) == [f"{one.key}.session"]
    assert (root / ".git/commondir").exists()
    put(root / "later/.envrc")
    found = review.look(ground, host, nothing_runs)
    assert [finding.path for finding in found.findings] == ["later/.envrc", "Makefile"]
    assert on_record(ground, host) == []


def test_the_report_is_told_and_the_session_ended_however_the_block_ends(
    root: Path, ground: Ground, host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), watched(ground.project, Settings(), host, nothing_runs, key="0123") as one:
        assert (one.key, on_record(ground, host)) == ("0123", ["0123.session"])
        with one.looking("made-up"):
            pass
        put(root / ".envrc", "evil\x1b[2J\n")
        raise KeyboardInterrupt
    told = capfd.readouterr().err
    assert "1 thing that runs by itself (red)" in told
    assert "+evil\\x1b[2J" in told
    assert on_record(ground, host) == []


def test_a_look_that_fails_stops_the_start(root: Path, ground: Ground, host: Host) -> None:
    one = Watch(ground, host, "0123")
    one.begin(nothing_runs)
    done = []
    with full_disk(10), pytest.raises(ConfinedError, match="Cannot write"), one.looking("made-up"):
        done.append("the block")
    assert done == ["the block"]
    assert one.finish() == []


def test_a_failure_of_the_preparation_wins_over_that_of_the_look(root: Path, ground: Ground, host: Host) -> None:
    one = Watch(ground, host, "0123")
    one.begin(nothing_runs)
    with full_disk(10), pytest.raises(ZeroDivisionError), one.looking("made-up"):
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


def test_what_was_made_is_taken_away_only_if_it_is_as_it_was_made(start: Start, root: Path) -> None:
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


def test_a_session_beside_another_keeps_what_that_keeps(start: Start, root: Path) -> None:
    one = start()
    two = start()
    assert pinned(two, root) == pinned(one, root) >= {".git/config", ".git/hooks", "tasks.py"}


def test_each_session_tells_what_is_new_since_it_began(start: Start, root: Path) -> None:
    one = start()
    put(root / "a/.envrc")
    two = start()
    put(root / "b/.envrc")
    assert [finding.path for finding in two.finish()] == ["b/.envrc"]
    assert [finding.path for finding in one.finish()] == ["a/.envrc"]  # the other is known by now


# What stays open


def test_what_is_put_right_by_hand_is_closed(start: Start, root: Path, ground: Ground, host: Host) -> None:
    one = start()
    put(root / ".envrc")
    put(root / "Makefile", "evil:\n")
    put(root / "b/.envrc")
    one.finish()
    (root / ".envrc").unlink()
    put(root / "Makefile", "all:\n")
    assert [finding.path for finding in review.look(ground, host, nothing_runs).findings] == ["b/.envrc"]
    (root / "b/.envrc").unlink()
    assert start().finish() == []
    assert kept_now(ground, host) == []


def test_what_was_there_before_is_closed_by_its_removal_too(
    start: Start, root: Path, ground: Ground, host: Host
) -> None:
    put(root / "a/.envrc")
    one = start()
    put(root / "a/.envrc", "evil")
    one.finish()
    (root / "a/.envrc").unlink()
    assert review.look(ground, host, nothing_runs).findings == []


def test_what_only_a_setting_names_stays_open_without_that_setting(
    start: Start, root: Path, ground: Ground, host: Host
) -> None:
    one = start(Settings(protect=("deploy.sh",)))
    put(root / "deploy.sh", "evil")
    one.finish()
    assert [finding.path for finding in review.look(ground, host, nothing_runs).findings] == ["deploy.sh"]
    (root / "deploy.sh").unlink()
    assert review.look(ground, host, nothing_runs).findings == []


def test_of_several_changes_the_first_session_and_what_was_before_it_count(
    start: Start, root: Path, ground: Ground, host: Host
) -> None:
    for name, content in (("first", "b:\n"), ("second", "c:\n")):
        one = start(name=name)
        put(root / "Makefile", content)
        assert [finding.path for finding in one.finish()] == ["Makefile"]
    (finding,) = kept_now(ground, host)
    assert (finding.before, finding.after, finding.session) == (b"all:\n", b"c:\n", "first")
    one = start()
    put(root / "Makefile", "all:\n")
    one.finish()
    assert review.look(ground, host, nothing_runs).findings == []


def test_red_stays_red_when_it_changes_to_less(start: Start, root: Path, ground: Ground, host: Host) -> None:
    one, two = start(), start(Settings(writable=(".envrc",)))
    put(root / ".envrc", "evil")
    one.finish()
    put(root / ".envrc", "more")
    two.finish()
    assert [(finding.red, finding.after) for finding in kept_now(ground, host)] == [(True, b"more")]


def test_what_is_accepted_is_closed_until_it_changes(start: Start, root: Path, ground: Ground, host: Host) -> None:
    one = start()
    put(root / "Makefile", "mine:\n")
    one.finish()
    review.accept(ground, host, review.look(ground, host, nothing_runs).findings)
    assert kept_now(ground, host) == []
    assert start().finish() == []
    two = start()
    put(root / "Makefile", "evil:\n")
    assert [(finding.path, finding.before) for finding in two.finish()] == [("Makefile", b"mine:\n")]


def test_only_what_was_seen_is_accepted(start: Start, root: Path, ground: Ground, host: Host) -> None:
    one = start()
    put(root / "Makefile", "seen:\n")
    one.finish()
    seen = kept_now(ground, host)
    two = start()
    put(root / "Makefile", "unseen:\n")
    two.finish()
    review.accept(ground, host, seen)
    assert [finding.after for finding in kept_now(ground, host)] == [b"unseen:\n"]


def test_what_is_accepted_while_a_session_runs_is_not_told_by_it_again(
    start: Start, root: Path, ground: Ground, host: Host
) -> None:
    one, two = start(), start()
    put(root / ".envrc", "mine")
    one.finish()
    review.accept(ground, host, kept_now(ground, host))
    assert two.finish() == []
    assert kept_now(ground, host) == []
    (root / ".envrc").unlink()
    three = start()
    put(root / ".envrc", "mine")
    assert [finding.path for finding in three.finish()] == [".envrc"]  # accepted was that one, not this


def test_what_changes_after_it_was_accepted_is_told(start: Start, root: Path, ground: Ground, host: Host) -> None:
    one, two = start(), start()
    put(root / ".envrc", "mine")
    one.finish()
    review.accept(ground, host, kept_now(ground, host))
    put(root / ".envrc", "evil")
    assert [finding.after for finding in two.finish()] == [b"evil"]


def test_the_review_before_an_update_refuses_while_red(start: Start, root: Path, ground: Ground, host: Host) -> None:
    review.refuse_while_red(ground, host, nothing_runs)
    one = start()
    put(root / ".envrc")
    one.finish()
    with pytest.raises(ReviewNeeded):
        review.refuse_while_red(ground, host, nothing_runs)
    assert review.look(ground, host, nothing_runs).is_red


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


def test_what_was_there_is_put_back_in_the_same_file(start: Start, root: Path, ground: Ground, host: Host) -> None:
    (root / "Makefile").chmod(0o755)
    left(start, lambda: put(root / "Makefile", "evil, and longer\n"), lambda: put(root / ".git/config", EVIL))
    before = (root / "Makefile").stat()
    assert review.restore(ground, host, "./Makefile") == "Makefile is as it was before"
    assert review.restore(ground, host, ".git/config") == ".git/config is as it was before"
    after = (root / "Makefile").stat()
    assert (root / "Makefile").read_text() == "all:\n"
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert git(root, "config", "--list", "--local")
    assert kept_now(ground, host) == []


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
def test_what_was_not_there_is_removed_and_kept_aside(  # noqa: PLR0917
    path: str, make: Callable[[Path], object], content: bytes, start: Start, root: Path, ground: Ground, host: Host
) -> None:
    left(start, lambda: make(root / path))
    shown = path.replace("\n", "\\n")
    done = review.restore(ground, host, shown)
    assert removed(root, shown, done) == content
    assert kept_now(ground, host) == []


def test_a_file_that_runs_as_its_owner_does_so_no_more(start: Start, root: Path, ground: Ground, host: Host) -> None:
    left(start, lambda: put(root / "tool").chmod(0o6755))
    assert "nobody's rights" in review.restore(ground, host, "tool")
    assert stat.S_IMODE((root / "tool").stat().st_mode) == 0o755
    assert kept_now(ground, host) == []


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("pipe", os.mkfifo),
        ("nested/.git", lambda path: git(made_repository(path.parent), "status")),
        ("Makefile", lambda path: [path.unlink(), path.symlink_to("/home/someone")]),
    ],
)
def test_of_what_too_little_is_known_nothing_is_touched(  # noqa: PLR0917
    path: str, make: Callable[[Path], object], start: Start, root: Path, ground: Ground, host: Host
) -> None:
    left(start, lambda: make(root / path))
    with pytest.raises(ConfinedError, match="cannot be restored") as caught:
        review.restore(ground, host, path)
    assert "--accept" in caught.value.hint
    assert os.path.lexists(root / path)
    assert path in [finding.path for finding in kept_now(ground, host)]


@pytest.mark.parametrize("path", ["nothing", "", ".", "Makefile/x", "/etc/passwd", "\x1b[31m"])
def test_what_is_not_among_the_findings_is_not_touched(path: str, start: Start, ground: Ground, host: Host) -> None:
    left(start)
    with pytest.raises(ConfinedError, match="not among the findings") as caught:
        review.restore(ground, host, path)
    assert caught.value.message.isprintable()


def test_a_folder_that_is_a_link_by_now_is_not_followed(
    start: Start, root: Path, tmp_path: Path, ground: Ground, host: Host
) -> None:
    put(root / "sub/Makefile")
    left(start, lambda: put(root / "sub/.envrc"), lambda: put(root / "sub/Makefile", "evil"))
    outside = tmp_path / "outside"
    (root / "sub").rename(outside)
    (root / "sub").symlink_to(outside)
    for path in ("sub/.envrc", "sub/Makefile"):
        with pytest.raises(ConfinedError, match="Cannot restore"):
            review.restore(ground, host, path)
    assert sorted(os.listdir(outside)) == [".envrc", "Makefile"]
    assert (outside / "Makefile").read_text() == "evil"


def test_a_link_where_the_file_was_is_replaced_and_not_followed(
    start: Start, root: Path, tmp_path: Path, ground: Ground, host: Host
) -> None:
    left(start, lambda: put(root / "Makefile", "evil"))
    target = put(tmp_path / "target", "mine")
    (root / "Makefile").unlink()
    (root / "Makefile").symlink_to(target)
    review.restore(ground, host, "Makefile")
    assert target.read_text() == "mine"
    assert not (root / "Makefile").is_symlink()
    assert (root / "Makefile").read_text() == "all:\n"


# The ways of git


def test_with_open_git_nothing_of_git_is_kept_but_all_of_it_told(start: Start, root: Path) -> None:
    one = start(Settings(git="open"))
    assert not [path for path in pinned(one, root) if path.startswith(".git")]
    put(root / ".git/config", EVIL)
    assert [(finding.path, finding.red) for finding in one.finish()] == [(".git/config", True)]


def test_with_isolated_git_the_copy_stands_in_place_of_the_repository(start: Start, root: Path, host: Host) -> None:
    one = start(Settings(git="isolated"))
    (copied,) = [mount for mount in one.mounts if mount.target == str(root / ".git")]
    assert host.data in copied.source.parents
    assert (copied.source / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert not [path for path in pinned(one, root) if path.startswith(".git")]
    assert one.finish() == []


def test_a_repository_that_cannot_be_guarded_is_refused_unless_git_is_open(root: Path, host: Host) -> None:
    (root / ".git").rename(root / "elsewhere")
    (root / ".git").symlink_to("elsewhere")
    for chosen in (Settings(), Settings(git="isolated")):
        with pytest.raises(ConfinedError, match="is a link"):
            Ground(Project(root), chosen)
    assert Ground(Project(root), Settings(git="open")).repository is None
    assert Ground(Project(root), Settings(), forgiving=True).repository is None


def test_tasks_that_are_a_package_are_kept_if_they_are_invokes(root: Path) -> None:
    (root / "tasks.py").unlink()
    put(root / "tasks/__init__.py", "import other\n")
    of = ("tasks", "build.py")
    assert Ground(Project(root), Settings()).matcher.of(of, folder=False) is None
    put(root / "tasks/__init__.py", "from invoke import task\n")
    rule = Ground(Project(root), Settings()).matcher.of(of, folder=False)
    assert rule is not None
    assert (rule.runs, rule.red) == ("inv", True)
