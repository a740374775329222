"""What a session does to git's files: it cannot, or it is told before the host's git obeys it."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from pathlib import Path

import pytest
from attacks import REVIEW, Attack, Field, table
from helpers import PATIENCE, User, docker, sessions_of, wait_until

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
    Attack(
        "the commondir of a worktree elsewhere",
        f"{evil('.c')}; echo PROJECT/.c > .git/worktrees/elsewhere/commondir",
        "cd ../elsewhere && git status",
        ("red .c/config",),
        before="git worktree add -q ../elsewhere",
    ),
    Attack(
        "the directory of a worktree elsewhere",
        f"{evil('.c')}; cd .git/worktrees; mv elsewhere e && cp -r e elsewhere; echo PROJECT/.c > elsewhere/commondir",
        "cd ../elsewhere && git status",
        ("red .c/config",),
        before="git worktree add -q ../elsewhere",
    ),
    Attack("a hard link", f"ln .git/config c || exit; {fsmonitor('c')}; cat c > .git/config", STATUS),
    Attack(
        "hooks in a folder that the host's settings name",
        hook("scripts/hooks"),
        COMMIT,
        before="git config core.hooksPath scripts/hooks; mkdir -p scripts/hooks",
    ),
    Attack(
        "settings in a file that the host's settings include",
        fsmonitor("etc/git.inc"),
        STATUS,
        before="git config include.path ../etc/git.inc; mkdir etc; echo > etc/git.inc",
    ),
]

SCRIPT = "printf '#!/bin/sh\\ntouch CANARY\\n' >"
KEPT += [
    Attack(
        "settings below .git that its settings include",
        fsmonitor(".git/extra"),
        STATUS,
        before="git config include.path extra; echo > .git/extra",
    ),
    Attack(
        "hooks below .git that its settings name",
        hook(".git/own"),
        COMMIT,
        before="git config core.hooksPath .git/own; mkdir .git/own",
    ),
    Attack(
        "a monitor below .git",
        f"{SCRIPT} .git/monitor",
        STATUS,
        before="printf '#!/bin/sh\n' > .git/monitor; chmod +x .git/monitor; git config core.fsmonitor .git/monitor",
    ),
    Attack(
        "a monitor behind the name of an interpreter",
        f"{SCRIPT} script.sh",
        STATUS,
        before="echo > script.sh; git config --global core.fsmonitor 'sh script.sh'",
    ),
    Attack(
        "a hook that is a link to a script",
        f"{SCRIPT} tools/check",
        COMMIT,
        before="mkdir tools; printf '#!/bin/sh\n' > tools/check; chmod +x tools/check;"
        "ln -s ../../tools/check .git/hooks/pre-commit",
    ),
    Attack(
        "the user's settings, which are kept in the project",
        fsmonitor("dotfiles/gitconfig"),
        STATUS,
        before="mkdir dotfiles; mv ~/.gitconfig dotfiles/gitconfig; ln -s $PWD/dotfiles/gitconfig ~/.gitconfig",
    ),
    Attack(
        "what the user's settings include from their own directory",
        fsmonitor("dots/inc"),
        STATUS,
        before="mkdir -p dots ~/.config/git; echo > dots/inc; mv ~/.gitconfig ~/.config/git/config;"
        "ln -s $PWD/dots ~/.config/git/dots; git config -f ~/.config/git/config include.path dots/inc",
    ),
    Attack(
        "a text conversion behind the name of an interpreter",
        f"{SCRIPT} t/x.sh; echo y > file",
        "git diff",
        before="mkdir t; echo cat > t/x.sh; echo 'file diff=x' > .gitattributes;"
        "git config diff.x.textconv 'sh ./t/x.sh'",
    ),
    Attack(
        "hooks that config.worktree names",
        hook("own"),
        COMMIT,
        before="git config extensions.worktreeConfig true; git config --worktree core.hooksPath own; mkdir own",
    ),
    Attack(
        "hooks that an included file of the tree names",
        hook("own"),
        COMMIT,
        before="git config include.path ../shared; git config -f shared core.hooksPath own; mkdir own",
    ),
]


def misplace(path: str, repository: str = ".", index: str = ".git", options: str = "") -> str:
    """Shell words that put a file with the text of a hook into an index at a path that git refuses."""
    place = path.replace("../", "xx/").replace(".git/", "xgit/").replace("//", "/x")
    return f"""
        mkdir -p $(dirname {repository}/{place}); printf '#!/bin/sh\\ntouch CANARY\\n' > {repository}/{place}
        chmod +x {repository}/{place}; git -C {repository} add {place}; rm {repository}/{place}; {options}
        python3 -c '
import glob, hashlib
for name in glob.glob("{index}/*index*"):
    file = open(name, "r+b")
    rest, end = (data := file.read())[:-20].replace(b"{place}", b"{path}"), data[-20:]
    file.seek(0)
    file.write(rest + (end if "shared" in name else hashlib.sha1(rest).digest()))'"""


REBUILT = "rm -f .git/index .git/sharedindex.*; git reset -q"

DIVERGED = """
    git switch -qc topic; echo t > t; git add t; git commit -qm t
    git switch -q main; echo m > m; git add m; git commit -qm m; git switch -q topic
"""
STRATEGY = f"mkdir git-merge-x; {SCRIPT} git-merge-x/y; chmod +x git-merge-x/y"

OBJECT = "f=.git/objects/$(git rev-parse HEAD:.envrc | sed 's,..,&/,');"

TOLD = [
    Attack(
        "a stash that git notes in a hook",
        "git commit -q --allow-empty -m 'x; touch CANARY #'\n"
        "echo 'ref: refs/heads/../../../hooks/pre-commit' > .git/refs/stash",
        f"echo y > file; git add file; git stash; {COMMIT}",
        ("red .git/refs/stash",),
        before="printf '#!/bin/sh\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit",
        undone="rm .git/refs/stash",
    ),
    Attack(
        "a branch outside",
        "echo 'ref: refs/heads/../../../../outside/canary' > .git/HEAD",
        COMMIT,
        ("red .git/HEAD",),
        undone="echo 'ref: refs/heads/main' > .git/HEAD",
    ),
    Attack(
        "settings below .git that its settings include, and that are missing",
        fsmonitor(".git/extra"),
        STATUS,
        ("red .git/extra",),
        before="git config include.path extra",
    ),
    Attack(
        "a link on the way to a hook",
        f"mkdir e; {SCRIPT} e/check; chmod +x e/check; rm tools; ln -s e tools",
        COMMIT,
        ("red tools",),
        before="mkdir real; printf '#!/bin/sh\n' > real/check; chmod +x real/check; ln -s real tools;"
        "ln -s ../../tools/check .git/hooks/pre-commit",
        undone="rm tools; ln -s real tools",
    ),
    Attack(
        "hooks that the user's settings name, in a nested repository",
        f"git init -q sub; {hook('sub/.mine')}",
        f"cd sub && {COMMIT}",
        ("red sub/.mine/pre-commit",),
        before="git config --global core.hooksPath .mine",
    ),
    Attack(
        "hooks that the settings of a nested repository name",
        hook("sub/own"),
        f"cd sub && {COMMIT}",
        ("red sub/own/pre-commit",),
        before="git init -q sub; git -C sub config core.hooksPath own",
    ),
    Attack(
        "an index with a path outside",
        misplace("../outside/canary"),
        "git restore .",
        ("red .git/index: ../outside/canary",),
        undone=REBUILT,
    ),
    Attack(
        "an index with a hook",
        misplace(".git/hooks/pre-commit"),
        f"git checkout -- .; {COMMIT}",
        ("red .git/index: .git/hooks/pre-commit",),
        undone=REBUILT,
    ),
    Attack(
        "a compressed index with a path outside",
        misplace("src/../../outside/canary", options="git update-index --index-version 4"),
        "mkdir -p src; git checkout-index -a -f",
        ("red .git/index: src/../../outside/canary",),
        undone=REBUILT,
    ),
    Attack(
        "a shared index with a path outside",
        misplace("../outside/canary", options="git update-index --split-index"),
        "git restore .",
        ("red .git/index: ../outside/canary",),
        undone=REBUILT,
    ),
    Attack(
        "a worktree's index with a path outside",
        f"git worktree add -q wt; {misplace('../../outside/canary', 'wt', '.git/worktrees/wt')}",
        "cd wt && git restore .",
        ("red .git/worktrees/wt/index: ../../outside/canary",),
        undone="rm -rf .git/worktrees/wt wt",
    ),
    Attack(
        "a submodule's index with a path outside",
        misplace("../../outside/canary", "sub", ".git/modules/sub"),
        "git -C sub restore .",
        ("red .git/modules/sub/index: ../../outside/canary",),
        before=SUBMODULE,
        undone="rm .git/modules/sub/index; git -C sub reset -q",
    ),
    Attack(
        "a nested repository's index with a path outside",
        f"git init -q sub; {misplace('../../outside/canary', 'sub', 'sub/.git')}",
        "git -C sub restore .",
        ("red sub/.git/index: ../../outside/canary",),
        undone="rm -rf sub",
    ),
    Attack(
        "hooks in a missing folder that the host's settings name",
        hook("scripts/hooks"),
        COMMIT,
        ("red scripts/hooks/pre-commit",),
        before="git config core.hooksPath scripts/hooks",
    ),
    Attack(
        "G07 a submodule's pointer",
        f"{evil('.e')}; echo gitdir: ../.e > sub/.git",
        STATUS,
        ("red sub/.git", "red .e/config"),
        before=SUBMODULE,
        undone="echo gitdir: ../.git/modules/sub > sub/.git; rm -rf .e",
    ),
    Attack(
        "G08 a gitlink",
        f"{NESTED}; git add sub",
        STATUS,
        ("red .git/index: sub", "red sub/.git/config"),
        undone="git rm -qf --cached sub; rm -rf sub",
    ),
    Attack(
        "a gitlink in a split index",
        f"{NESTED}; git add sub; git update-index --split-index",
        STATUS,
        ("red .git/index: sub", "red sub/.git/config"),
        undone="git rm -qf --cached sub; rm -rf sub .git/sharedindex.*",
    ),
    Attack(
        "a gitlink in a compressed index",
        f"{NESTED}; git add sub; git update-index --index-version 4",
        STATUS,
        ("red .git/index: sub", "red sub/.git/config"),
        undone="git rm -qf --cached sub; rm -rf sub",
    ),
    Attack(
        "a gitlink in an index of 300 MB",
        f"""{NESTED}; git add sub; python3 -c '
file = open(".git/index", "r+b"); file.seek(-20, 2)
file.write(b"XXXX" + (300 << 20).to_bytes(4, "big")); file.truncate(file.tell() + (300 << 20) + 20)'""",
        STATUS,
        ("red .git/index",),
        undone="rm .git/index; rm -rf sub",
    ),
    Attack("G09 a nested repository", NESTED, "git -C sub status", ("red sub/.git/config",)),
    Attack("G10 a bare repository", evil("docs"), "cd docs && git --work-tree=.. status", ("red docs/config",)),
    Attack(
        "a repository where there was none",
        f"git init -q inner; {hook('inner/.git/hooks')}",
        f"cd inner && {COMMIT}",
        ("red inner/.git/hooks/pre-commit",),
    ),
    Attack(
        "config.worktree where there was none",
        fsmonitor(".git/config.worktree"),
        STATUS,
        ("red .git/config.worktree",),
        before="git config extensions.worktreeConfig true",
    ),
    Attack(
        "info/attributes where there was none",
        "mkdir -p .git/info; echo '* filter=x' > .git/info/attributes",
        "echo y > file; git add file",
        ("red .git/info/attributes",),
        before="git config --global filter.x.clean 'touch CANARY; cat'",
    ),
    Attack(
        "a worktree's commondir",
        f"git worktree add -q wt; {evil('.c')}; echo ../../../.c > .git/worktrees/wt/commondir",
        "cd wt && git status",
        ("red .git/worktrees/wt/commondir",),
        undone="rm -rf .c .git/worktrees/wt wt",
    ),
    Attack(
        "the commondir of a worktree that was there",
        f"{evil('.c')}; echo ../../../.c > .git/worktrees/wt/commondir",
        "cd wt && git status",
        ("red .git/worktrees/wt/commondir", "red .c/config"),
        before="git worktree add -q wt",
    ),
    Attack(
        "a worktree's own settings",
        f"git worktree add -q wt; {fsmonitor('.git/worktrees/wt/config.worktree')}",
        "cd wt && git status",
        ("red .git/worktrees/wt/config.worktree",),
        before="git config extensions.worktreeConfig true",
    ),
    Attack(
        "a worktree of another repository",
        f"{evil('.e')}; mkdir wt; echo gitdir: ../.e > wt/.git",
        "cd wt && git status",
        ("red wt/.git", "red .e/config"),
    ),
    Attack(
        "a new submodule's commondir",
        f"{evil('.c')}; mkdir -p sub .git/modules/x; cp .git/HEAD .git/modules/x;"
        "echo gitdir: ../.git/modules/x > sub/.git; echo ../../../.c > .git/modules/x/commondir",
        "cd sub && git status",
        ("red .git/modules/x/commondir", "red .c/config"),
    ),
    Attack(
        "a repository inside a submodule's",
        f"git init -q --bare .git/modules/x; {evil('.git/modules/x/e')}; mkdir sub;"
        "echo gitdir: ../.git/modules/x/e > sub/.git",
        "cd sub && git status",
        ("red .git/modules/x/e/config",),
    ),
    Attack(
        "a repository among a submodule's objects",
        f"git init -q --bare .git/modules/x; {evil('.git/modules/x/objects/e')}; mkdir sub;"
        "echo gitdir: ../.git/modules/x/objects/e > sub/.git",
        "cd sub && git status",
        ("red sub/.git",),
    ),
    Attack(
        "a remote in .git/remotes",
        f"git init -q --bare .git/objects/e; {hook('.git/objects/e/hooks', 'pre-receive')};"
        "mkdir -p .git/remotes; echo URL: PROJECT/.git/objects/e > .git/remotes/origin",
        "git push origin main",
        ("red .git/remotes/origin",),
    ),
    Attack(
        "a remote in .git/branches",
        f"git init -q --bare .git/objects/e; {hook('.git/objects/e/hooks', 'pre-receive')};"
        "mkdir -p .git/branches; echo PROJECT/.git/objects/e > .git/branches/origin",
        "git push origin main",
        ("red .git/branches/origin",),
    ),
    Attack(
        "a rebase that goes on",
        "echo 'exec touch CANARY' >> .git/rebase-merge/git-rebase-todo",
        "git rebase --continue",
        ("red .git/rebase-merge/git-rebase-todo",),
        before="GIT_SEQUENCE_EDITOR='sed -i 1ibreak' git rebase -q -i HEAD~1",
    ),
    Attack(
        "the strategy of a rebase",
        f"{STRATEGY}; echo x/y > .git/rebase-merge/strategy",
        "git rebase --continue",
        ("red .git/rebase-merge/strategy",),
        before=f"{DIVERGED} GIT_SEQUENCE_EDITOR='sed -i 1ibreak' git rebase -q -i main",
        undone="git rebase --abort",
    ),
    Attack(
        "the strategy of a cherry-pick that nobody has begun",
        f"{STRATEGY}; mkdir .git/sequencer; git rev-parse HEAD | tee .git/sequencer/head > .git/sequencer/abort-safety;"
        "printf 'pick %s x\\npick %s x\\n' $(git rev-parse main main) > .git/sequencer/todo;"
        "printf '[options]\\n\\tstrategy = x/y\\n' > .git/sequencer/opts",
        "git cherry-pick --continue",
        ("red .git/sequencer/opts",),
        before=DIVERGED,
        undone="rm -rf .git/sequencer",
    ),
    Attack(
        "the options of an am",
        "git switch -q main; echo a > file; git commit -qam a; git format-patch -q -1 -o .git/p;"
        "git format-patch -q -1 --start-number 2 -o .git/p topic; echo b > file; git commit -qam b; git am -q .git/p/*;"
        """printf " '--build-fake-ancestor=CANARY'" > .git/rebase-apply/apply-opt""",
        "git am --skip",
        ("red .git/rebase-apply/apply-opt",),
        before=DIVERGED,
        undone="git am --abort",
    ),
    Attack(
        "a conflict of rerere outside",
        "id=$(git rev-parse HEAD); mkdir -p .git/rr-cache/$id; touch .git/rr-cache/$id/preimage;"
        "printf '%s\\t../outside/secret\\0' $id > .git/MERGE_RR",
        f"echo secret > OUTSIDE/secret; {COMMIT}; grep -q secret .git/rr-cache/*/postimage || rm OUTSIDE/secret",
        ("red .git/MERGE_RR",),
    ),
    Attack(
        "a filter of secrets taken away",
        "rm .gitattributes",
        "echo secret > a.key; git add a.key; ! git show :a.key | grep secret || touch CANARY",
        ("yellow .gitattributes",),
        before="git config --global filter.x.clean 'tr a-z x'; echo '*.key filter=x' > .gitattributes",
    ),
    Attack(
        "a secret that is ignored no longer",
        "echo '*.log' > .gitignore",
        "git add -A; ! git ls-files --error-unmatch .env || touch CANARY",
        ("yellow .gitignore",),
        before="printf '*.log\n.env\n' > .gitignore; echo secret > .env",
    ),
    Attack(
        "the hook of a nested repository taken away",
        "rm sub/.git/hooks/pre-commit",
        "git -C sub commit -q --allow-empty -m x && touch CANARY",
        ("red sub/.git/hooks/pre-commit",),
        before="git init -q sub; printf '#!/bin/sh\nexit 1\n' > sub/.git/hooks/pre-commit;"
        "chmod +x sub/.git/hooks/pre-commit",
    ),
    Attack(
        "an object that has another content than its name says",
        f"{OBJECT} rm -f $f; "
        """python3 -c '
import sys, zlib
text = b"touch CANARY\\n"
open(sys.argv[1], "wb").write(zlib.compress(b"blob %d\\0" % len(text) + text))' $f""",
        "git switch -q old; git switch -q main; . ./.envrc",
        ("red main:.envrc",),
        before="git branch old; echo : > .envrc; git add .envrc; git commit -qm envrc",
        undone=f"{OBJECT} rm -f $f; git hash-object -w .envrc",
    ),
    Attack(
        "the hook of a nested repository that was switched off",
        "chmod +x sub/.git/hooks/pre-commit",
        f"cd sub && {COMMIT}",
        ("red sub/.git/hooks/pre-commit",),
        before="git init -q sub; printf '#!/bin/sh\ntouch CANARY\n' > sub/.git/hooks/pre-commit;"
        "chmod -x sub/.git/hooks/pre-commit",
    ),
    Attack(
        "a change that git status passes over",
        "git update-index --assume-unchanged file; echo evil > file",
        "git status --porcelain | grep -q file || touch CANARY",
        ("yellow .git/index: file",),
        undone="git update-index --no-assume-unchanged file",
    ),
    Attack(
        "a secret that the repository's own list ignores no longer",
        ": > .git/info/exclude",
        "git add -A; ! git ls-files --error-unmatch .env || touch CANARY",
        ("yellow .git/info/exclude",),
        before="mkdir -p .git/info; echo .env > .git/info/exclude; echo secret > .env",
    ),
    Attack(
        "another version of a protected file in a commit",
        "id=$(echo 'touch CANARY' | git hash-object -w --stdin); git update-index --cacheinfo 100644,$id,.envrc;"
        "git commit -qm x",
        "git checkout -q -- .; . ./.envrc",
        ("yellow main:.envrc",),
        before="echo : > .envrc; git add .envrc; git commit -qm envrc",
        undone="git reset -q --hard HEAD~1",
    ),
    Attack(
        "a hook manager's file on a branch",
        "git switch -qc topic; mkdir .husky; echo 'touch CANARY' > .husky/pre-commit; chmod +x .husky/pre-commit;"
        "git add .husky; git commit -qm x; git switch -q main",
        f"git merge -q topic; {COMMIT}",
        ("yellow topic:.husky/pre-commit",),
        before="git config core.hooksPath .husky",
        undone="git branch -qD topic",
    ),
    Attack(
        "a module that the settings of a nested repository run, behind a thousand harmless ones",
        """printf '[branch "b%s"]\\nrebase = true\\n' $(seq 1500) | cat - sub/.git/config > c
        cat c > sub/.git/config; rm c; echo 'import os; os.system("touch CANARY")' > sub/monitor.py""",
        "git -C sub status",
        ("red sub/monitor.py",),
        before="git init -q sub; git -C sub config core.fsmonitor 'python3 -m monitor'; : > sub/monitor.py",
    ),
    Attack(
        "a link where git appends",
        "rm .git/logs/HEAD; ln -s CANARY .git/logs/HEAD",
        COMMIT,
        ("red .git/logs/HEAD",),
    ),
    Attack(
        "a link where git writes",
        "rm -f .git/COMMIT_EDITMSG; ln -s CANARY .git/COMMIT_EDITMSG",
        COMMIT,
        ("red .git/COMMIT_EDITMSG",),
    ),
    Attack(
        "a link where git keeps packs",
        "rm -rf .git/objects/pack; ln -s OUTSIDE .git/objects/pack",
        "git gc -q",
        ("red .git/objects/pack",),
    ),
]


# Each must fail in a session, and leave nothing behind.
WRITES = """
    echo '[a]' >> .git/config
    : > .git/config
    ln -sf /tmp/x .git/config
    mv .git/config .git/c
    rm -f .git/config
    cp --remove-destination .git/HEAD .git/config
    ln .git/config c
    chmod 777 .git/config
    touch .git/hooks/x
    mkdir .git/hooks/x
    rm -rf .git/hooks
    mv .git/hooks .git/h
    mv .git .g
    rm .git/commondir || ! test -e .git/commondir
    mv .git/commondir x
    : > .git/commondir
    git config a.b c
    git config --unset core.bare
    git remote add x https://example.invalid/
"""


def tried(copy: str = "") -> str:
    """Shell words that try all WRITES, each after ``copy``, and say which have worked."""
    lines = [line.strip() for line in WRITES.strip().splitlines()]
    return "\n".join(
        f"{copy or ':'}; sh -c {shlex.quote(line)} 2>/dev/null && echo {shlex.quote(line)}" for line in lines
    )


def digest(folder: Path) -> str:
    """Of every name, kind, mode and content below ``folder``."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)}|{path.lstat().st_mode}|".encode())
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


@pytest.mark.parametrize("attack", table(KEPT))
def test_a_session_cannot_plant(repository: Field, attack: Attack) -> None:
    repository.assert_kept(attack)
    assert not (repository.project / ".git/commondir").exists()


@pytest.mark.parametrize("attack", table(TOLD))
def test_what_a_session_plants_is_told_before_it_runs(repository: Field, attack: Attack) -> None:
    repository.assert_told(attack)


@pytest.mark.parametrize("attack", table(KEPT + TOLD))
def test_without_the_guard_it_runs(repository: Field, attack: Attack) -> None:
    repository.assert_works_unguarded(attack)


def test_a_session_cannot_change_settings_and_hooks_by_any_call(repository: Field) -> None:
    before = digest(repository.project / ".git")
    done = repository.session(tried())
    assert done.stdout == ""
    assert done.stderr == ""
    assert digest(repository.project / ".git") == before
    # The control: without the guard each of them does what it says.
    repository.unguarded(
        f"{{ {tried('cd PROJECT; rm -rf /tmp/c; cp -a . /tmp/c; cd /tmp/c; echo . > .git/commondir')}; }} > worked"
    )
    assert (repository.project / "worked").read_text().splitlines() == [
        line.strip() for line in WRITES.strip().splitlines()
    ]


@pytest.fixture
def worktree(field: Field) -> Field:
    """A project that is a linked worktree of a repository outside it."""
    field.prepare(
        "git init -q ../main && cd ../main && git commit -q --allow-empty -m x && git worktree add -qf PROJECT"
    )
    return field


WORKTREE = [
    Attack("G15 its .git", f"{evil('.e')}; echo gitdir: .e > .git", STATUS, ("red .e/config",)),
    Attack("G15 its .git replaced", f"{evil('.e')}; rm -f .git; mv .e .git", STATUS, ("red .e/config",)),
    Attack("its commondir", f"{evil('.e')}; echo PROJECT/.e > ../main/.git/worktrees/project/commondir", STATUS,
           ("red .e/config",)),
    Attack("its repository's hooks", hook("../main/.git/hooks"), COMMIT),
    Attack("its repository's settings", fsmonitor("../main/.git/config"), STATUS),
    Attack("what its repository's settings include", fsmonitor("../main/.git/extra"), STATUS,
           before="git config include.path extra; echo > ../main/.git/extra"),
]  # fmt: skip


@pytest.mark.parametrize("attack", table(WORKTREE))
def test_a_session_in_a_worktree_cannot_plant(worktree: Field, attack: Attack) -> None:
    worktree.assert_kept(attack)


@pytest.mark.parametrize("attack", table(WORKTREE))
def test_without_the_guard_it_runs_in_a_worktree(worktree: Field, attack: Attack) -> None:
    worktree.assert_works_unguarded(attack, worktree.project.parent / "main/.git")


def sources(project: Path) -> list[str]:
    """What is mounted into the project's only session."""
    name = wait_until(lambda: sessions_of(project))[0]
    return [mount["Source"] for mount in json.loads(docker("inspect", "--format", "{{json .Mounts}}", name))]


def test_a_clone_cannot_choose_what_is_mounted(worktree: Field) -> None:
    """G16. The control: its own .git names a folder that names it in turn, and is mounted."""
    repository = worktree
    with repository.user.running("confined-claude", "shell", "--", "sleep", "600", cwd=repository.project):
        assert str(repository.project.parent / "main/.git") in sources(repository.project)
    repository.prepare("mkdir ../secret; echo ref: x > ../secret/HEAD; echo gitdir: ../secret > .git")
    done = repository.session("true")
    assert done.returncode == 2
    assert "does not point back to this project" in done.stderr
    assert sessions_of(repository.project) == []
    with repository.user.running(
        "confined-claude", "shell", "--git", "open", "--", "sleep", "600", cwd=repository.project
    ):
        assert str(repository.project.parent / "secret") not in sources(repository.project)


def unpacked(place: str) -> str:
    """Shell words that make what an archive can leave in a home directory: at ``place`` a repository of ``nice``."""
    return f"""mkdir -p {place}/objects {place}/refs nice; echo ref: refs/heads/main >{place}/HEAD
        printf '[core]\\n\\tworktree = %s/nice\\n' "$PWD" >{place}/config; echo gitdir: ../{place} >nice/.git"""


AROUND = unpacked(".")
AROUND_AS_WORKTREE = f"""{AROUND}; mkdir -p worktrees/x; echo ../.. >worktrees/x/commondir
    echo ../../nice/.git >worktrees/x/gitdir; echo gitdir: ../worktrees/x >nice/.git"""


@pytest.mark.parametrize("script", [AROUND, AROUND_AS_WORKTREE, unpacked(".ssh")], ids=range(3))
def test_an_archive_cannot_have_the_home_directory_mounted(script: str, user: User) -> None:
    """G16. The control: the same in a directory that may be seen is mounted."""
    for commands, mounted in ((script, None), (unpacked("elsewhere.git"), user.home / "elsewhere.git")):
        subprocess.run(["sh", "-ec", commands], cwd=user.home, check=True)
        project = user.folder(user.home / "nice")
        done = user.run("confined-claude", "shell", "--", "sh", "-c", "cat /proc/mounts", cwd=project)
        if mounted is None:
            assert done.returncode == 2, done.stderr
            assert "contains this project" in done.stderr or "no session may see" in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            assert f" {mounted} " in done.stdout


# After the host has replaced .git/config: a file of another inode, and one of the inode that was kept.
SPARE = "cp .git/config .git/spare", "mv .git/spare .git/config"
REUSED = (
    "inode=$(stat -c %i .git/config); cp .git/config /tmp/c",
    "for n in $(seq 999); do cp /tmp/c .git/n$n; [ $(stat -c %i .git/n$n) != $inode ] || break; done;"
    "mv .git/n$n .git/config; rm -f .git/n*",
)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(*SPARE, id="another inode"),
        pytest.param(*REUSED, id="the same inode"),
    ],
)
def test_a_setting_of_the_hosts_ends_the_protection_and_that_is_told(repository: Field, first: str, then: str) -> None:
    """G17."""
    plant = f"printf '[core]\\nfsmonitor = \"{RUNS}\"\\n'"
    script = f"{first}; {plant} | tee -a .git/spare /tmp/c; touch on; until [ -e go ]; do sleep .1; done; {then}"
    words = ("confined-claude", "shell", "--", "sh", "-c", repository.text(script))
    config = repository.project / ".git/config"
    inode = config.stat().st_ino
    with repository.user.running(*words, cwd=repository.project) as session:
        wait_until((repository.project / "on").exists)
        repository.prepare("git config a.b c; touch go")
        said, _ = session.communicate(timeout=PATIENCE)
    assert "fsmonitor" in config.read_text()
    assert config.stat().st_ino != inode  # the tool holds on to that
    assert "red     .git/config" in said
    assert "core.fsmonitor; it was replaced on your machine" in said
    assert repository.session("true").returncode == REVIEW
    repository.review("--restore", ".git/config")
    repository.host(STATUS)
    assert repository.escaped() == []


def test_two_sessions_at_once_cannot_help_each_other(repository: Field) -> None:
    """G18: without pins in the second, its rename would take away those of the first."""
    attack = f"mv .git/hooks .git/h; mv .git .g; {hook('.git/hooks')}"
    words = ("confined-claude", "shell", "--", "sh", "-c")
    first = repository.text(f"touch on; until [ -e go ]; do sleep .1; done; {attack}")
    with repository.user.running(*words, first, cwd=repository.project) as session:
        wait_until((repository.project / "on").exists)
        second = repository.session(f"{attack}; touch go")
        said, _ = session.communicate(timeout=PATIENCE)
    assert said.count("busy") == second.stderr.count("busy") == 2, said + second.stderr
    repository.host(COMMIT)
    assert repository.escaped() == []


def test_what_one_session_plants_while_another_runs_is_told_by_the_one(repository: Field) -> None:
    words = ("confined-claude", "shell", "--", "sh", "-c", "touch on; until [ -e go ]; do sleep .1; done")
    with repository.user.running(*words, cwd=repository.project) as session:
        wait_until((repository.project / "on").exists)
        done = repository.session(NESTED)
        repository.prepare("touch go")
        session.communicate(timeout=PATIENCE)
    assert "red     sub/.git/config" in done.stderr
    assert repository.session("true").returncode == REVIEW


def test_the_tool_runs_nothing_of_a_repository_that_is_poisoned_already(repository: Field) -> None:
    """G21."""
    repository.unguarded(
        f"{KEPT[1].script}; {hook('.git/hooks', 'post-index-change')}; git config alias.config '!touch CANARY'"
    )
    assert repository.escaped() == []
    for words in (
        ("shell", "--", "git", "status"),
        ("shell", "--git", "isolated", "--", "true"),
        ("review",),
        ("trust",),
    ):
        repository.user.run("confined-claude", *words, cwd=repository.project)
    assert repository.escaped() == []
    repository.host(STATUS)  # the control
    assert repository.escaped() == ["canary"]


POISON = f"""
    git config core.fsmonitor '{RUNS}'; git config core.sshCommand '{RUNS}'
    git config core.alternateRefsCommand '{RUNS}'
    git config uploadpack.packObjectsHook '{RUNS}'; git config core.hooksPath .git/hooks
    git config extensions.partialClone evil; git config remote.evil.promisor true; git config remote.evil.url PROJECT
    git config remote.evil.uploadpack '{RUNS}'
    {hook(".git/hooks", "pre-upload-pack")}; {hook(".git/hooks", "reference-transaction")}; {hook(".git/hooks")}
"""


def test_an_isolated_session_leaves_the_repository_as_it_is(repository: Field) -> None:
    """G22."""
    before = digest(repository.project / ".git")
    work = "git config a.b c && git switch -qc work && echo y > new && git add new && git commit -qm work"
    work += " && git rev-parse HEAD"
    done = repository.session(f"{work}; {POISON}", "--git", "isolated")
    assert digest(repository.project / ".git") == before
    # The next session goes on in the same copy.
    assert repository.session("git log -1 --format=%s; git config a.b", "--git", "isolated").stdout == "work\nc\n"
    reviewed = repository.review()
    assert reviewed.returncode == 0
    assert "commits on: work" in reviewed.stdout
    assert "on work: `confined-claude fetch` gets them." in done.stderr
    fetched = repository.user.run("confined-claude", "fetch", cwd=repository.project)
    way_on = "Your files are there already. To go on there: git checkout -b work && git reset confined/work"
    assert fetched.stdout == f"Fetched confined/work. {way_on}\n", fetched.stderr
    again = repository.user.run("confined-claude", "fetch", cwd=repository.project)
    assert again.stdout == "There is nothing to fetch.\n", again.stderr
    assert repository.host("git rev-parse refs/remotes/confined/work").stdout == done.stdout
    assert repository.escaped() == []
    # A fetch of commits whose objects are missing: git would ask the poisoned remote for them.
    broken = f"git switch -qC more && git commit -qm m --allow-empty; {POISON} find .git/objects -type f -delete"
    repository.session(broken, "--git", "isolated")
    refused = repository.user.run("confined-claude", "fetch", cwd=repository.project)
    assert "git could not fetch" in refused.stderr
    repository.session("rm -rf .git/* .git", "--git", "isolated")
    assert repository.escaped() == []
    assert repository.host("git fsck --strict && git log --oneline main").returncode == 0
    # The control: as its own repository the copy does run things.
    repository.unguarded(POISON)
    repository.host(STATUS)
    assert repository.escaped() == ["canary"]


def test_fetch_reads_no_other_repository_of_the_host(repository: Field) -> None:
    """A copy can lead git there by links and by what its files say; the next session would read what was fetched."""
    other = "OUTSIDE/other/.git"
    repository.prepare("git init -q OUTSIDE/other; cd OUTSIDE/other; echo private >x; git add x; git commit -qm x")
    lead = f"ln -s {other}/refs/heads .git/refs/heads/x; echo {other}/objects >.git/objects/info/alternates"
    repository.session(f"git commit -qm work --allow-empty; {lead}", "--git", "isolated")
    fetched = repository.user.run("confined-claude", "fetch", cwd=repository.project)
    assert fetched.returncode == 0, fetched.stderr
    assert (
        repository.host("git for-each-ref --format='%(refname)' refs/remotes").stdout == "refs/remotes/confined/main\n"
    )
    (copy,) = (repository.user.home / ".local/share/confined-claude/projects").glob("*/git/1")
    repository.host(f"git fetch -q {copy} '+refs/heads/*:refs/remotes/control/*'")  # the control
    assert repository.host("git show control/x/main:x").stdout == "private\n"


def test_fetch_names_what_acts_by_itself_on_the_branches_of_a_copy(repository: Field) -> None:
    work = "git switch -qc work; echo 'touch CANARY' > .envrc; git add .envrc; git commit -qm work; rm .envrc"
    repository.session(work, "--git", "isolated")
    fetched = repository.user.run("confined-claude", "fetch", cwd=repository.project)
    says = "confined/work changes what your machine runs by itself once it is merged or checked out: .envrc."
    assert says in fetched.stdout, fetched.stdout + fetched.stderr
    repository.host("git merge -q confined/work; . ./.envrc")  # the control
    assert repository.escaped() == ["canary"]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_session_does_not_say_that_a_worktree_elsewhere_is_its_own(repository: Field, guarded: bool) -> None:
    """With another place in ``gitdir``, the next session could lead it to other settings."""
    repository.prepare("git worktree add -q ../elsewhere")
    steps = ("echo PROJECT/x/.git > .git/worktrees/elsewhere/gitdir; mkdir -p x; cp ../elsewhere/.git x || :",
             f"{evil('.c')}; echo PROJECT/.c > .git/worktrees/elsewhere/commondir")  # fmt: skip
    for step in steps:
        repository.session(step) if guarded else repository.unguarded(step)
    repository.host("cd ../elsewhere && git status")
    assert (repository.escaped() == []) == guarded


def test_a_name_in_other_letters_is_told_as_well(field: Field) -> None:
    """Git on macOS and Windows takes .GIT for .git; here it does not, so there is no control."""
    done = field.session(f"mkdir x; {evil('x/.GIT')}")
    assert "red     x/.GIT/config" in done.stderr


@pytest.mark.parametrize("guarded", [True, False])
def test_hooks_that_the_repository_above_names_cannot_be_planted(field: Field, guarded: bool) -> None:
    above = field.project.parent
    field.prepare("git init -q .. && git -C .. config core.hooksPath project/own && mkdir own")
    attack = Attack("hooks of the repository above", hook("own"), COMMIT)
    if guarded:
        field.assert_kept(attack)
    else:
        field.assert_works_unguarded(attack, above)


def test_a_repository_that_is_none_for_a_moment_stays_protected(repository: Field) -> None:
    done = repository.session("mv .git/HEAD .git/H2")
    assert "red     .git/HEAD" in done.stderr
    assert repository.session("true").returncode == REVIEW
    repository.review("--accept")
    plant = fsmonitor(".git/config")
    assert repository.session(f"{plant}; mv .git/H2 .git/HEAD").returncode in (0, REVIEW)
    repository.host(STATUS)
    assert repository.escaped() == []
    # The control: without the guard the second session can do that.
    repository.unguarded("mv .git/HEAD .git/H2")
    repository.unguarded(f"{plant}; mv .git/H2 .git/HEAD")
    repository.host(STATUS)
    assert repository.escaped() == ["canary"]


def test_an_address_that_a_session_changes_is_told_with_the_old_one(repository: Field) -> None:
    repository.prepare("git init -q sub; git -C sub remote add origin https://example.invalid/a")
    done = repository.session("git -C sub remote set-url origin https://evil.invalid/a")
    assert "red     sub/.git/config" in done.stderr
    assert "remote.origin.url is 'https://evil.invalid/a' and was 'https://example.invalid/a'" in done.stderr
    repository.review("--restore", "sub/.git/config")
    assert repository.host("git -C sub remote get-url origin").stdout == "https://example.invalid/a\n"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_program_that_the_environment_names_in_place_of_gits_cannot_be_planted(
    repository: Field, guarded: bool
) -> None:
    repository.prepare("mkdir tools; echo '#!/bin/sh' > tools/diff; chmod +x tools/diff; echo y > file")
    plant = f"{SCRIPT} tools/diff"
    if guarded:
        assert "Read-only file system" in repository.session(plant, GIT_EXTERNAL_DIFF="./tools/diff").stderr
    else:
        repository.unguarded(plant)
    repository.host("GIT_EXTERNAL_DIFF=./tools/diff git diff")
    assert repository.escaped() == ([] if guarded else ["canary"])
