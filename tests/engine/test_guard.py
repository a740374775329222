"""Ordinary work under guard: everything works, nothing is left, and nothing red is reported."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import PATIENCE, User, sessions_of, wait_until


def files(folder: Path) -> set[str]:
    """The paths below ``folder``, homes and scaffolds left out."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {
        str(path) for path in paths if ".confined-claude" not in path.parts and not path.parts[0].startswith("home-")
    }


@pytest.fixture
def repository(project: Path, user: User) -> Path:
    """A project with one commit, and a hook that names a program of the host."""
    user.repository(project, {"main.py": "print('hi')\n"})
    hook = project / ".git/hooks/pre-commit"
    hook.write_text("#!/nowhere/on/this/host\n")
    hook.chmod(0o755)
    return project


def inside(user: User, project: Path, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return user.run("confined-claude", "shell", *flags, "--", "sh", "-euc", script, cwd=project)


def assert_unnoticed(done: subprocess.CompletedProcess[str]) -> None:
    """It went well, and the tool had nothing to say."""
    assert (done.returncode, done.stderr) == (0, "")


def make_worktree(repository: Path, user: User) -> Path:
    user.git(repository, "worktree", "add", "-q", "-b", "side", "../tree")
    return repository.parent / "tree"


def make_submodule(repository: Path, user: User) -> Path:
    whole = user.folder(repository.parent / "whole")
    user.git(whole, "init", "--quiet")
    user.git(whole, "submodule", "--quiet", "add", str(repository), "libs/part")
    user.git(whole, "commit", "--quiet", "--message=with a part")
    return whole


def make_part(repository: Path, user: User) -> Path:
    return make_submodule(repository, user) / "libs/part"


KINDS: dict[str, Callable[[Path, User], Path]] = {
    "repository": lambda repository, _user: repository,
    "worktree": make_worktree,
    "with a submodule": make_submodule,
    "submodule": make_part,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_can_commit(repository: Path, user: User, kind: str) -> None:
    """And leaves nothing but that."""
    project = KINDS[kind](repository, user)
    before = files(repository.parent)
    assert_unnoticed(inside(user, project, "git status --short; echo x > new; git add new; git commit -qm second"))
    assert user.git(project, "log", "-1", "--format=%s") == "second\n"
    assert user.git(project, "status", "--porcelain") == ""
    changed = {path for path in files(repository.parent) ^ before if ".git" not in Path(path).parts}
    assert changed == {str((project / "new").relative_to(repository.parent))}
    assert user.run("confined-claude", "review", cwd=project).stdout == "There is nothing to review.\n"


def test_a_session_can_commit_in_a_submodule(repository: Path, user: User) -> None:
    project = make_submodule(repository, user)
    script = "cd libs/part; echo x > new; git add new; git commit -qm inner; cd ../..; git add -A; git commit -qm outer"
    assert_unnoticed(inside(user, project, script))
    assert user.git(project / "libs/part", "log", "-1", "--format=%s") == "inner\n"
    assert user.git(project, "status", "--porcelain") == ""


def test_a_subdirectory_alone_leaves_the_repository_around_it_alone(repository: Path, user: User) -> None:
    project = user.folder(repository / "part")
    assert_unnoticed(inside(user, project, "test ! -e ../.git; echo x > new", "--here"))
    assert user.git(repository, "status", "--porcelain") == "?? part/\n"


def test_the_ways_of_git(repository: Path, user: User) -> None:
    """Branch, merge, rebase, stash, tag, worktree, gc and a push by URL."""
    origin = user.folder(repository / "origin.git")
    user.git(origin, "init", "--quiet", "--bare")
    script = f"""
        git checkout -qb topic; echo 1 > a; git add a; git commit -qm a
        git checkout -q main; echo 2 > b; git add b; git commit -qm b
        git merge -q --no-edit topic; git checkout -q topic; git rebase -q main
        echo 3 >> a; git stash -q; git stash pop -q; git commit -qam c; git tag v1
        git worktree add -q deep/tree -b third; (cd deep/tree; echo 4 > d; git add d; git commit -qm d)
        git gc -q; git push -q {origin} main topic v1; git fsck --no-progress
    """
    done = inside(user, repository, script)
    assert_unnoticed(done)
    assert user.git(origin, "log", "-1", "--format=%s", "topic") == "c\n"
    assert user.git(repository / "deep/tree", "log", "-1", "--format=%s") == "d\n"


@pytest.mark.parametrize(
    "command", ["git config a.b c", "git remote add x https://example.invalid/x", "git branch -m x"]
)
def test_what_cannot_be_set_says_why_and_what_to_do(repository: Path, user: User, command: str) -> None:
    before = (repository / ".git/config").read_bytes()
    done = inside(user, repository, f"{command}")
    assert done.returncode != 0
    assert "cannot change .git/config, because git on your machine obeys it" in done.stderr
    assert "git -c NAME=VALUE" in done.stderr
    assert (repository / ".git/config").read_bytes() == before


def test_a_checkout_leaves_what_is_read_only_and_says_so(repository: Path, user: User) -> None:
    user.git(repository, "checkout", "-q", "-b", "other")
    (repository / ".envrc").write_text("first\n")
    user.git(repository, "add", ".envrc")
    user.git(repository, "commit", "-q", "-m", "an .envrc", "--no-verify")
    (repository / ".envrc").write_text("second\n")
    (repository / "main.py").write_text("second\n")
    user.git(repository, "commit", "-q", "-am", "another", "--no-verify")
    done = inside(user, repository, "git checkout -q other~1; cat main.py")
    assert done.stdout == "print('hi')\n"
    assert ".envrc" in done.stderr
    assert (repository / ".envrc").read_text() == "second\n"


def test_a_push_that_cannot_note_its_upstream_still_pushes(repository: Path, user: User) -> None:
    origin = user.folder(repository.parent / "origin.git")
    user.git(origin, "init", "--quiet", "--bare")
    user.git(repository, "clone", "--quiet", "--bare", str(repository), "inner.git")
    user.git(repository, "remote", "add", "origin", str(repository / "inner.git"))
    done = inside(user, repository, "echo x > new; git add new; git commit -qm second; git push -qu origin main")
    assert done.returncode == 0
    assert "git -c NAME=VALUE" in done.stderr
    assert user.git(repository / "inner.git", "log", "-1", "--format=%s", "main") == "second\n"


def test_ordinary_work_gives_nothing_red(repository: Path, user: User) -> None:
    """Sources, packages, environments, build files: what there is to say of it is yellow."""
    (repository / "package.json").write_text('{"name": "x", "version": "1.0.0"}\n')
    (repository / "lib").mkdir()
    (repository / "lib/package.json").write_text('{"name": "lib", "version": "1.0.0", "bin": "cli.js"}\n')
    (repository / "lib/cli.js").write_text("#!/usr/bin/env node\n")
    script = """
        npm install --silent --offline ./lib; python3 -m venv env; mkvenv tools >/dev/null
        mkdir -p src/app; echo x > src/app/tasks.py; ln -s app src/link; mv main.py src/; touch -d 2001-01-01 src/app
        mkdir -p .claude; echo '{"permissions": {"allow": ["Bash(ls)"]}}' > .claude/settings.local.json
        echo 'all:' > Makefile; git init -q other; echo x > CLAUDE.md; git add Makefile src; git commit -qm work
    """
    done = inside(user, repository, script)
    assert done.returncode == 0
    assert " red " not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    listed = user.run("confined-claude", "review", cwd=repository).stdout
    for path in ("Makefile", "env", "node_modules", "src/app/tasks.py"):
        assert f"yellow  {path}" in listed, listed
    assert_unnoticed(inside(user, repository, "true"))  # which yellow does not hold up


def test_a_worktree_brings_no_news_unless_it_differs(repository: Path, user: User) -> None:
    for name in (".envrc", "sub/.envrc", ".vscode/tasks.json", "Makefile", "package.json", "setup.py"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text('{"scripts": 1}\n')
    user.git(repository, "add", "--all")
    user.git(repository, "commit", "--quiet", "--no-verify", "--message=tools")
    assert_unnoticed(inside(user, repository, "git worktree add -q -b f .claude/worktrees/f"))
    assert_unnoticed(inside(user, repository, "git worktree add -q -b g .claude/worktrees/g f"))
    # The control: what differs is reported.
    done = inside(user, repository, "echo evil >> .claude/worktrees/f/sub/.envrc")
    assert "red     .claude/worktrees/f/sub/.envrc" in done.stderr


def test_the_hosts_virtual_environment_is_hidden_and_the_sessions_own_is_kept(repository: Path, user: User) -> None:
    host = repository / ".venv/bin"
    host.mkdir(parents=True)
    (host / "python").write_text("the host's\n")
    assert_unnoticed(inside(user, repository, "test ! -e .venv/bin; mkdir .venv/bin; echo mine > .venv/bin/python"))
    assert (host / "python").read_text() == "the host's\n"
    assert inside(user, repository, "cat .venv/bin/python").stdout == "mine\n"


def test_what_was_made_for_the_sessions_goes_with_the_last_of_them(repository: Path, user: User) -> None:
    made = repository / ".git/commondir"
    with user.running("confined-claude", "shell", "--", "sh", "-c", "cat; mv .git x", cwd=repository) as first:
        wait_until(lambda: sessions_of(repository) and made.exists())
        assert_unnoticed(inside(user, repository, "true"))
        assert made.exists()
        assert first.stdin is not None
        first.stdin.close()
        first.stdin = None
        assert first.wait(PATIENCE) != 0
    assert not made.exists()


def test_what_an_allowlist_refused_is_in_the_report_at_the_end(user: User, project: Path) -> None:
    refused = "curl --silent https://refused.example.invalid; true"
    done = user.run("confined-claude", "shell", "--network", "allowlist", "--", "sh", "-c", refused, cwd=project)
    assert done.returncode == 0, done.stderr
    closing = "This session has ended.\n  1 connection was refused: `confined-claude blocked` shows them.\n"
    assert done.stderr.endswith(f"confined-claude: {closing}")
    listed = user.run("confined-claude", "blocked", cwd=project)
    assert "refused.example.invalid:443" in listed.stdout


BRANCHES = """
    git switch -q -c other; echo b > .envrc; echo b > .husky/new; git rm -q .husky/gone; echo b > main.py
    git add -A; git commit -qm other; git switch -q main; git switch -q -c side; echo s > s; git add s; git commit -qm s
    git switch -q main
"""
# Each from the branch main and back to it, in one session: with the git of the PATH, and by its absolute path.
SWITCHES = """
    show() { git status --porcelain; git branch --show-current; cat main.py .envrc; }
    git switch -q other; show
    echo n > n; git add -A; git commit -qm n; git show --name-only --format= HEAD
    /usr/bin/git checkout -q side; git merge -q --no-edit other; show
    git reset -q --hard HEAD~1; git rebase -q other; show
    git stash -q; git switch -q main; show
"""
SHOWN = """other
b
a
n
side
b
a
side
b
a
main
print('hi')
a
"""


def test_a_branch_with_other_protected_files_can_be_switched_to_merged_and_left(repository: Path, user: User) -> None:
    """What git cannot write stays as it is; git has nothing to say of it, and commits nothing of it."""
    user.run("sh", "-euc", "mkdir .husky; echo a > .envrc; echo a > .husky/gone; git add -A; git commit -qnm protected",
             cwd=repository)  # fmt: skip
    assert user.run("sh", "-euc", f"git config core.hooksPath none; {BRANCHES}", cwd=repository).returncode == 0
    plain = inside(user, repository, "! /usr/bin/git.distrib merge -q other; git status --porcelain | wc -l")
    assert "unable to unlink old '.envrc'" in plain.stderr  # the control: half of the branch is there
    user.run("sh", "-euc", "git checkout -qf; git clean -fdq", cwd=repository)
    done = inside(user, repository, SWITCHES)
    assert done.stdout == SHOWN, done.stderr
    assert "The session cannot change .envrc, .husky/new" in done.stderr
    assert "not as in the branch" not in done.stderr  # it has left them as they were
    assert user.git(repository, "status", "--porcelain") == ""
    done = inside(user, repository, "git switch -q other")
    assert (
        "2 protected files are not as in the branch: .envrc, .husky/new. `git status` shows the difference"
        in done.stderr
    )
    assert user.git(repository, "status", "--porcelain") == " M .envrc\n D .husky/new\n?? .husky/gone\n"
    assert (repository / ".envrc").read_text() == "a\n"
    user.git(repository, "restore", ".envrc", ".husky/new")
    user.git(repository, "clean", "-fdq")
    user.git(repository, "switch", "-q", "main")
    assert (repository / ".envrc").read_text() == "a\n"


def test_a_submodule_that_a_session_adds_is_reported_plainly(repository: Path, user: User) -> None:
    script = "git init -q lib; git -C lib commit -q --allow-empty -m x; git -C lib branch -m main;"
    add = "git -c protocol.file.allow=always submodule --quiet add"
    script += f"{add} ./lib part; cd part; {add} ../lib inner; git -C inner log -1 --format=%s"
    done = inside(user, repository, script)
    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr
    assert "To put it into .git/config, run `git submodule init` outside." in done.stderr
    report = done.stderr.partition("This session has left")[2]
    assert report.startswith(" 4 files that your tools may run (yellow): "), done.stderr
    assert ".gitmodules" in report
    assert user.run("confined-claude", "shell", "--", "true", cwd=repository).returncode == 0
    user.git(repository, "submodule", "--quiet", "init", "part")
    assert user.git(repository, "submodule", "status").endswith("part (heads/main)\n")
