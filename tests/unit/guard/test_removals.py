"""What protected something and is gone, or weaker, is reported; what goes with ordinary work is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from confined_claude.guard import report, review
from confined_claude.guard.contents import HASHED, UNHASHED
from confined_claude.guard.findings import Finding, audit
from confined_claude.guard.rule_table import RULES, SAFEGUARDS, Rule
from confined_claude.guard.rules import Matcher, rules_for
from confined_claude.guard.snapshot import TOO_LONG, Item, Kind, Snapshot
from confined_claude.guard.verdicts import Context
from confined_claude.settings import Settings

from ..guarding import HOOK, Scanned, commit, git, git_directory, only, put
from .test_guard import Place, in_git, place

__all__ = ["place"]
# A line that each of the files has that protect by their lines.
LINES = {
    ".npmrc": "ignore-scripts=true",
    ".gitattributes": "*.key filter=git-crypt diff=git-crypt",
    ".gitignore": "/.env",
    "pip.conf": "require-hashes = true",
}
EVERY = "deny hooks filter=x ignore-scripts require-hashes .env integrity"


def colours(findings: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.path, finding.red) for finding in findings]


def path_of(pattern: str) -> str:
    return pattern.strip("/").replace("*", "x") + ("/x" if pattern.endswith("/") else "")


@pytest.mark.parametrize(
    "rule", [one for one in (*RULES, *SAFEGUARDS) if one.keeps], ids=lambda rule: rule.runs or rule.keeps
)
def test_the_removal_of_each_file_that_protects_is_reported(rule: Rule, tmp_path: Path) -> None:
    matcher = Matcher(rules_for((), ()))
    for pattern in rule.patterns:
        path = path_of(pattern)
        if matcher.rule_of(path.split("/")) != rule:
            continue
        before = Snapshot()
        before.add(path, Kind.FILE, EVERY.encode())
        place = "/".join(matcher.place_of(path.split("/")))
        for there in (True, False):
            found = audit(
                before,
                Snapshot(),
                Context("/p", matcher),
                is_directory=lambda asked, place=place, there=there: asked == place and there,
            )
            assert [(one.path, one.red, rule.keeps in one.why) for one in found] == [(path, rule.red, True)] * there


@pytest.mark.parametrize(("path", "line"), LINES.items())
def test_a_line_that_is_gone_is_named(path: str, line: str, tmp_path: Path) -> None:
    put(tmp_path / "project" / path, f"# {line}\nfund=false\n{line}\n")
    scanned = Scanned(tmp_path / "project")
    put(tmp_path / "project" / path, f"# {line}\nfund=true\n")
    assert f"without '{line}'" in only(scanned.findings()).why
    put(tmp_path / "project" / path, f"fund=true\n{line}\n")
    assert [finding.why for finding in scanned.findings()] == ([] if path == ".gitignore" else ["changed"])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("*.pyc\n.env\n", "*.pyc\n", "without '.env'"),
        ("*.pyc\n.env\n", ".env\nbuild\n", None),
        (".env*\n", ".env*\n!.env.live\n", "without '!.env.live'"),
        ("*.pyc\n", "", None),
        (".env\n", "#" * (1 << 17), "too large"),
        ("".join(f"{name}.key\n" for name in range(9)), "", "and more"),
    ],
)
def test_what_is_ignored_no_longer_is_reported_if_it_may_be_secret(
    before: str, after: str, words: str | None, tmp_path: Path
) -> None:
    put(tmp_path / "project/.gitignore", before)
    scanned = Scanned(tmp_path / "project")
    put(tmp_path / "project/.gitignore", after)
    reasons = [finding.why for finding in scanned.findings()]
    assert reasons == [] if words is None else words in only(scanned.findings()).why


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        ("package-lock.json", '{"integrity": "sha512-x"}'),
        ("requirements.txt", "a==1 --hash=sha256:x\n"),
        ("go.sum", "a v1 h1:x=\n"),
        ("yarn.lock", f"resolved x#{'a' * 40}\n"),
    ],
)
def test_a_lock_file_is_reported_if_it_goes_or_loses_its_hashes(name: str, hashed: str, tmp_path: Path) -> None:
    path = put(tmp_path / "project/sub" / name, hashed)
    scanned = Scanned(tmp_path / "project")
    assert scanned.snapshot.items[f"sub/{name}"].digest == HASHED
    put(path, "more\n" * 100_000 + hashed)
    assert scanned.findings() == []
    put(path, "a==1\n")
    assert "no hashes any more" in only(scanned.findings()).why
    path.unlink()
    assert colours(scanned.findings()) == [(f"sub/{name}", False)]
    assert Scanned(path.parent.parent).snapshot.items == {}
    put(path, "a==1\n")
    assert Scanned(path.parent.parent).snapshot.items[f"sub/{name}"].digest == UNHASHED


def test_a_directory_that_goes_takes_its_files_along(tmp_path: Path) -> None:
    root = tmp_path / "project"
    for name in (".npmrc", "package-lock.json", ".github/workflows/ci.yml", ".gitignore"):
        put(root / "app" / name, EVERY)
    scanned = Scanned(root)
    (root / "app").rename(root / "web")
    assert scanned.red() == []
    assert {finding.path.partition("/")[0] for finding in scanned.findings()} == {"web"}
    (root / "web").rename(root / "app")
    shutil.rmtree(root / "app/.github")
    assert colours(scanned.findings()) == [("app/.github/workflows/ci.yml", False)]
    shutil.rmtree(root / "app")
    assert scanned.findings() == []


def test_settings_that_deny_less_are_red(tmp_path: Path) -> None:
    root = tmp_path / "project"
    path = put(root / "sub/.claude/settings.local.json", '{"permissions": {"deny": ["Read(.env)"], "allow": ["a"]}}')
    scanned = Scanned(root)
    put(path, '{"permissions": {"deny": ["Read(.env)", "b"], "allow": ["a", "c"]}}')
    assert scanned.red() == []
    put(path, '{"permissions": {"deny": [], "allow": ["a"]}}')
    assert scanned.red() == ["sub/.claude/settings.local.json: changed"]
    path.unlink()
    assert len(scanned.red()) == 1


def test_a_nested_repository_that_checks_less_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "project"
    git_directory(root / "sub/.git", "[core]\n\thooksPath = own\n[commit]\n\tgpgSign = true\n[user]\n\tname = x\n")
    put(root / "sub/.git/hooks/pre-commit", HOOK)
    scanned = Scanned(root)
    (root / "sub/.git/hooks/pre-commit").unlink()
    put(root / "sub/.git/config", "[core]\n\tbare = false\n")
    red, yellow = scanned.findings()
    assert (red.path, red.red, yellow.path, yellow.red) == ("sub/.git/hooks/pre-commit", True, "sub/.git/config", False)
    assert yellow.why == "no longer sets core.hookspath, commit.gpgsign"
    (root / "sub/.git/config").unlink()
    assert [finding.why for finding in scanned.findings() if not finding.red] == [yellow.why]
    shutil.rmtree(root / "sub/.git")
    assert scanned.findings() == []


def test_a_scan_that_is_cut_short_tells_of_no_removals() -> None:
    before, after = Snapshot({".npmrc": Item(Kind.FILE, "1")}), Snapshot()
    context = Context("/p", Matcher(rules_for((), ())))
    after.add("sub", Kind.UNSEEN, TOO_LONG.encode())
    assert colours(audit(before, after, context)) == [("sub", True)]
    after = Snapshot()
    after.add("sub", Kind.UNSEEN, b"Permission denied")
    before.items["sub/.npmrc"] = Item(Kind.FILE, "1")
    assert colours(audit(before, after, context, is_directory=lambda _: True)) == [("sub", True), (".npmrc", False)]


def test_what_the_user_opened_may_go(tmp_path: Path) -> None:
    put(tmp_path / "project/.npmrc", EVERY)
    scanned = Scanned(tmp_path / "project")
    (tmp_path / "project/.npmrc").unlink()
    assert report.name(scanned.findings()) == ".npmrc (removed)"
    put(tmp_path / "project/.npmrc", EVERY)
    scanned = Scanned(tmp_path / "project", Settings(writable=(".npmrc",)))
    (tmp_path / "project/.npmrc").unlink()
    assert scanned.findings() == []


# With branches


FILES = (".npmrc", ".github/workflows/ci.yml", "package-lock.json", "sub/.gitignore", "CODEOWNERS")


@pytest.fixture
def at_work(place: Place) -> Place:
    """A project with files that protect, and a branch without them."""
    git(place.root, "branch", "bare")
    for name in FILES:
        place.put(name, EVERY)
    place.put("sub/main.py")
    commit(place.root)
    git(place.root, "branch", "other")
    return place


def remove(at_work: Place, directory: str = ".") -> Callable[[], None]:
    return lambda: [(at_work.root / directory / name).unlink() for name in FILES] and None


def test_a_switch_to_a_branch_without_them_is_no_news(at_work: Place) -> None:
    at_work.put("sub/kept")
    assert at_work.session(in_git(at_work, "switch", "-q", "bare")) == []
    assert not (at_work.root / ".npmrc").exists()
    assert at_work.session(in_git(at_work, "switch", "-q", "main")) == []


@pytest.mark.parametrize("work", ["removed", "removed and committed", "switched, and an untracked one removed"])
def test_what_is_removed_otherwise_is_news(work: str, at_work: Place) -> None:
    at_work.put("sub/.npmrc", EVERY)  # which no branch has
    works: dict[str, tuple[Callable[[], object], ...]] = {
        "removed": (remove(at_work),),
        "removed and committed": (remove(at_work), lambda: commit(at_work.root)),
        "switched, and an untracked one removed": (
            in_git(at_work, "switch", "-q", "bare"),
            (at_work.root / "sub/.npmrc").unlink,
            lambda: at_work.put("sub/x"),
        ),
    }
    found = at_work.session(*works[work])
    assert sorted(finding.path for finding in found) == (["sub/.npmrc"] if "switched" in work else sorted(FILES))
    assert not any(finding.red for finding in found)


def test_a_worktree_that_goes_or_switches_is_no_news(at_work: Place) -> None:
    tree = ".claude/worktrees/f"
    assert at_work.session(in_git(at_work, "worktree", "add", "-q", "--detach", tree, "main")) == []
    assert at_work.session(in_git(at_work, "-C", tree, "switch", "-q", "bare")) == []
    assert at_work.session(in_git(at_work, "-C", tree, "switch", "-q", "other")) == []
    assert len(at_work.session(remove(at_work, tree))) == len(FILES)
    git(at_work.root / tree, "checkout", "-q", ".")
    assert at_work.session(in_git(at_work, "worktree", "remove", "--force", tree)) == []


# The review


def test_what_is_removed_can_be_restored_accepted_or_put_right(at_work: Place) -> None:
    at_work.put(".husky/pre-commit", HOOK).chmod(0o755)
    at_work.session(remove(at_work), lambda: shutil.rmtree(at_work.root / ".github"))
    for path in FILES:
        assert "is as it was before" in review.restore(at_work.workspace, path)
        assert (at_work.root / path).read_text() == EVERY
    assert at_work.reviewed() == []
    at_work.session(remove(at_work))
    assert sorted(at_work.reviewed()) == sorted(FILES)
    at_work.put(".npmrc", EVERY)
    shutil.rmtree(at_work.root / "sub")
    assert sorted(at_work.reviewed()) == sorted({*FILES} - {".npmrc", "sub/.gitignore"})
    two = at_work.start()
    review.accept(at_work.workspace, review.review(at_work.workspace).findings)
    assert at_work.reviewed() == two.finish() == []


def test_a_removed_program_is_one_again(tmp_path: Path, place: Place) -> None:
    git_directory(place.root / "sub/.git")
    hook = put(place.root / "sub/.git/hooks/pre-commit", HOOK)
    hook.chmod(0o755)
    assert colours(place.session(hook.unlink)) == [("sub/.git/hooks/pre-commit", True)]
    review.restore(place.workspace, "sub/.git/hooks/pre-commit")
    assert hook.stat().st_mode & 0o111
    assert place.reviewed() == []
