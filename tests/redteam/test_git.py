"""What a session does to git's files: it cannot, or it is told before the host's git obeys it."""

from __future__ import annotations

import pytest
from attacks import Attack, Field, controls, table

pytestmark = pytest.mark.timeout(120)

RUNS = "touch CANARY;:"
STATUS = "git status"
COMMIT = "git commit -q --allow-empty -m x"


def hook(folder: str, name: str = "pre-commit") -> str:
    """Shell words that plant a hook."""
    return f"mkdir -p {folder}; printf '#!/bin/sh\\ntouch CANARY\\n' > {folder}/{name}; chmod +x {folder}/{name}"


def fsmonitor(file: str) -> str:
    """Shell words that make git's settings in ``file`` run a command."""
    return f"git config -f {file} core.fsmonitor '{RUNS}'"


def evil(folder: str) -> str:
    """Shell words for a git folder of the session's own, whose settings run a command."""
    return (
        f"git init -q --bare {folder}; git config -f {folder}/config core.bare false; {fsmonitor(folder + '/config')}"
    )


# A folder that git takes settings from instead of those of the repository.
COMMON = (
    f"mkdir -p .c && cp -r .git/config .git/HEAD .c && ln -s ../.git/objects ../.git/refs .c; {fsmonitor('.c/config')}"
)
NESTED = f"git init -q sub; git -C sub commit -q --allow-empty -m x; {fsmonitor('sub/.git/config')}"
SUBMODULE = """
    git init -q ../lib; git -C ../lib commit -q --allow-empty -m x
    git submodule --quiet add "$PWD/../lib" sub; git commit -qm sub
"""

KEPT = [
    Attack("G01 a hook", hook(".git/hooks"), COMMIT),
    Attack("G02 a setting", f"git config core.fsmonitor '{RUNS}'", STATUS),
    Attack("G03 .git replaced", f"mv .git .g && cp -a .g .git; {hook('.git/hooks')}", COMMIT),
    Attack(
        "G03 .git exchanged",
        f"cp -a .git .g; {hook('.g/hooks')}\n"
        """python3 -c 'import ctypes; ctypes.CDLL(None).renameat2(-100, b".git", -100, b".g", 2)'""",
        COMMIT,
    ),
    Attack("G04 hooks replaced", f"mv .git/hooks .git/h || rm -rf .git/hooks; {hook('.git/hooks')}", COMMIT),
    Attack("G05 commondir", f"{COMMON}; echo ../.c > .git/commondir", STATUS),
    Attack("G06 a submodule's setting", fsmonitor(".git/modules/sub/config"), STATUS, before=SUBMODULE),
    Attack("G06 a submodule's hook", hook(".git/modules/sub/hooks"), f"cd sub && {COMMIT}", before=SUBMODULE),
    Attack(
        "G06 a submodule's commondir",
        f"{evil('.c')}; echo ../../../.c > .git/modules/sub/commondir",
        STATUS,
        before=SUBMODULE,
    ),
    Attack(
        "G06 a submodule's folder",
        f"mv .git/modules/sub .git/m && cp -r .git/m .git/modules/sub; {fsmonitor('.git/modules/sub/config')}",
        STATUS,
        before=SUBMODULE,
    ),
    Attack(
        "config.worktree",
        fsmonitor(".git/config.worktree"),
        STATUS,
        before="git config extensions.worktreeConfig true; git config --worktree a.b c",
    ),
    Attack(
        "info/attributes",
        "echo '* filter=x' > .git/info/attributes",
        "echo y > file; git add file",
        before="git config --global filter.x.clean 'touch CANARY; cat'; echo > .git/info/attributes",
    ),
    Attack("a hard link", f"ln .git/config c || exit; {fsmonitor('c')}; cat c > .git/config", STATUS),
]

TOLD = [
    Attack(
        "G07 a submodule's pointer",
        f"{evil('.e')}; echo gitdir: ../.e > sub/.git",
        STATUS,
        ("sub/.git", ".e/config"),
        before=SUBMODULE,
    ),
    Attack(
        "G08 a gitlink",
        f"{NESTED}; git add sub",
        STATUS,
        (".git/index: sub", "sub/.git/config"),
        undone="git rm -q --cached sub; rm -rf sub",
    ),
    Attack(
        "a gitlink in a split index",
        f"{NESTED}; git add sub; git update-index --split-index",
        STATUS,
        (".git/index: sub",),
        undone="git rm -q --cached sub; rm -rf sub .git/sharedindex.*",
    ),
    Attack(
        "a gitlink in a compressed index",
        f"{NESTED}; git add sub; git update-index --index-version 4",
        STATUS,
        (".git/index: sub",),
        undone="git rm -q --cached sub; rm -rf sub",
    ),
    Attack(
        "a gitlink in an index of 300 MB",
        f"""{NESTED}; git add sub; python3 -c '
file = open(".git/index", "r+b"); file.seek(-20, 2)
file.write(b"XXXX" + (300 << 20).to_bytes(4, "big")); file.truncate(file.tell() + (300 << 20) + 20)'""",
        STATUS,
        (".git/index",),
        undone="rm .git/index; rm -rf sub",
    ),
    Attack("G09 a nested repository", NESTED, "git -C sub status", ("sub/.git/config",)),
    Attack("G10 a bare repository", evil("docs"), "cd docs && git --work-tree=.. status", ("docs/config",)),
    Attack(
        "a repository where there was none",
        f"git init -q inner; {hook('inner/.git/hooks')}",
        f"cd inner && {COMMIT}",
        ("inner/.git/hooks/pre-commit",),
    ),
    Attack(
        "config.worktree where there was none",
        fsmonitor(".git/config.worktree"),
        STATUS,
        (".git/config.worktree",),
        before="git config extensions.worktreeConfig true",
    ),
    Attack(
        "info/attributes where there was none",
        "mkdir -p .git/info; echo '* filter=x' > .git/info/attributes",
        "echo y > file; git add file",
        (".git/info/attributes",),
        before="git config --global filter.x.clean 'touch CANARY; cat'",
    ),
    Attack(
        "a worktree's commondir",
        f"git worktree add -q wt; {evil('.c')}; echo ../../../.c > .git/worktrees/wt/commondir",
        "cd wt && git status",
        (".git/worktrees/wt/commondir",),
        undone="rm -rf .c .git/worktrees/wt wt",
    ),
    Attack(
        "a worktree's own settings",
        f"git worktree add -q wt; {fsmonitor('.git/worktrees/wt/config.worktree')}",
        "cd wt && git status",
        (".git/worktrees/wt/config.worktree",),
        before="git config extensions.worktreeConfig true",
    ),
    Attack(
        "a worktree of another repository",
        f"{evil('.e')}; mkdir wt; echo gitdir: ../.e > wt/.git",
        "cd wt && git status",
        ("wt/.git", ".e/config"),
    ),
    Attack(
        "a new submodule's commondir",
        f"{evil('.c')}; mkdir -p sub .git/modules/x; cp .git/HEAD .git/modules/x; echo ../../../.c > .git/modules/x/commondir;"
        "echo gitdir: ../.git/modules/x > sub/.git",
        "cd sub && git status",
        (".git/modules/x/commondir",),
    ),
    Attack(
        "a repository inside a submodule's",
        f"git init -q --bare .git/modules/x; {evil('.git/modules/x/e')}; mkdir sub; echo gitdir: ../.git/modules/x/e > sub/.git",
        "cd sub && git status",
        ("sub/.git",),
    ),
    Attack(
        "a repository among a submodule's objects",
        f"git init -q --bare .git/modules/x; {evil('.git/modules/x/objects/e')}; mkdir sub;"
        "echo gitdir: ../.git/modules/x/objects/e > sub/.git",
        "cd sub && git status",
        ("sub/.git",),
    ),
    Attack(
        "a remote in .git/remotes",
        f"git init -q --bare .git/objects/e; {hook('.git/objects/e/hooks', 'pre-receive')};"
        "mkdir -p .git/remotes; echo URL: PROJECT/.git/objects/e > .git/remotes/origin",
        "git push origin main",
        (".git/remotes/origin",),
    ),
    Attack(
        "a remote in .git/branches",
        f"git init -q --bare .git/objects/e; {hook('.git/objects/e/hooks', 'pre-receive')};"
        "mkdir -p .git/branches; echo PROJECT/.git/objects/e > .git/branches/origin",
        "git push origin main",
        (".git/branches/origin",),
    ),
    Attack(
        "a rebase that goes on",
        "echo 'exec touch CANARY' >> .git/rebase-merge/git-rebase-todo",
        "git rebase --continue",
        (".git/rebase-merge/git-rebase-todo",),
        before="GIT_SEQUENCE_EDITOR='sed -i 1ibreak' git rebase -q -i HEAD~1",
    ),
    Attack(
        "a link where git appends",
        "rm .git/logs/HEAD; ln -s CANARY .git/logs/HEAD",
        COMMIT,
        (".git/logs/HEAD",),
    ),
    Attack(
        "a link where git writes",
        "rm -f .git/COMMIT_EDITMSG; ln -s CANARY .git/COMMIT_EDITMSG",
        COMMIT,
        (".git/COMMIT_EDITMSG",),
    ),
    Attack(
        "a link where git keeps packs",
        "rm -rf .git/objects/pack; ln -s OUTSIDE .git/objects/pack",
        "git gc -q",
        (".git/objects/pack",),
    ),
    Attack(
        "hooks in a folder that the host's settings name",
        hook("scripts/hooks"),
        COMMIT,
        ("scripts/hooks/pre-commit",),
        before="git config core.hooksPath scripts/hooks",
    ),
    Attack(
        "settings in a file that the host's settings include",
        fsmonitor("etc/git.inc"),
        STATUS,
        ("etc/git.inc",),
        before="git config include.path ../etc/git.inc; mkdir etc; echo > etc/git.inc",
    ),
]


@pytest.mark.parametrize("attack", table(KEPT))
def test_a_session_cannot_plant(repository: Field, attack: Attack) -> None:
    repository.assert_kept(attack)
    assert not (repository.project / ".git/commondir").exists()


@pytest.mark.parametrize("attack", table(TOLD))
def test_what_a_session_plants_is_told_before_it_runs(repository: Field, attack: Attack) -> None:
    repository.assert_told(attack)


@pytest.mark.parametrize("attack", controls(KEPT + TOLD))
def test_without_the_guard_it_runs(repository: Field, attack: Attack) -> None:
    repository.assert_works_unguarded(attack)
