"""Work with git in a session whose user or repository has settings that are made for the host."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest
from helpers import GITCONFIG, User, docker, own_name

from confined_claude.session.privileges import CAPABILITIES


@pytest.fixture
def repository(user: User, place: Path) -> Path:
    """A project with a commit, of a user whom git knows."""
    return user.repository(user.folder(own_name(place)), {".gitignore": ".confined-claude/\n", "file": "a\n"})


def inside(user: User, project: Path, script: str) -> tuple[str, str]:
    """What a script prints in a guarded session that it ends well, and what is said beside that."""
    done = user.run("confined-claude", "shell", "--", "sh", "-euc", script, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_large_files_are_stored_as_pointers_and_pushed_with_their_objects(user: User, repository: Path) -> None:
    (user.home / ".gitconfig").write_text(f'{GITCONFIG}[filter "lfs"]\n\tprocess = git-lfs filter-process\n')
    (repository / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    script = """
        head -c 100000 /dev/zero >big.bin; git add .; git commit -qm big; git show :big.bin | head -1
        git status --porcelain; git worktree add -q wt; wc -c <wt/big.bin
        git init -q --bare remote; git push -q "file://$PWD/remote" main >/dev/null
        find remote/lfs/objects -type f | wc -l
    """
    said, _ = inside(user, repository, script)
    assert said.splitlines() == ["version https://git-lfs.github.com/spec/v1", "100000", "1"]


def test_what_goes_through_a_filter_that_is_not_inside_is_refused(user: User, repository: Path) -> None:
    own = '[filter "strip"]\n\tclean = nbstripout\n\tsmudge = cat\n'
    (user.home / ".gitconfig").write_text(GITCONFIG + own)
    user.git(repository, "config", "filter.crypt.clean", '"git-crypt" clean')
    user.git(repository, "config", "filter.here.clean", "tr a b")
    (repository / ".gitattributes").write_text("*.ipynb filter=strip\n*.key filter=crypt\n*.txt filter=here\n")
    script = """
        for name in a.ipynb a.key; do echo secret >$name; ! git add $name || exit; done
        echo a >a.txt; git add a.txt; git show :a.txt; git commit -qm other; git ls-files
    """
    said, beside = inside(user, repository, script)
    assert said.splitlines() == ["b", ".gitignore", "a.txt", "file"]
    assert (
        "git passes a.ipynb through the filter strip, which this session does not have: git add the file outside."
        in beside
    )
    assert "fatal: a.key: clean filter 'crypt' failed" in beside
    # The control: without what the session is told, git takes them as they are.
    plain = 'git() { env -u GIT_CONFIG_COUNT GIT_CONFIG_NOSYSTEM=1 git.distrib -c safe.directory=\\* "$@"; }'
    said, _ = inside(user, repository, f"{plain}; git add a.ipynb a.key; git show :a.ipynb :a.key")
    assert said == "secret\nsecret\n"


def test_no_variable_that_a_session_is_given_has_a_filter_passed_over(user: User, repository: Path) -> None:
    (user.home / ".gitconfig").write_text(f'{GITCONFIG}[filter "crypt"]\n\tclean = git-crypt clean\n')
    user.write(user.home / ".config/git/attributes", "*.key filter=crypt\n")
    user.write(repository / "own/git/attributes", "*.key -filter\n")
    passing = ("GIT_ATTR_NOSYSTEM=1", f"XDG_CONFIG_HOME={repository}/own")
    user.write(repository / "dev.env", "\n".join((*passing, "FINE=1")))
    user.write(user.home / ".config/confined-claude/config.toml", 'env_file = ["dev.env"]\n')
    said, beside = inside(user, repository, "echo $FINE; echo secret >a.key; ! git add a.key; git ls-files '*.key'")
    assert said == "1\n"
    assert "git passes a.key through the filter crypt" in beside
    for variable in passing:  # the control: with the variable git takes the file as it is
        script = f"export {variable}; git add a.key; git show :a.key; git rm -q --cached a.key"
        added, _ = inside(user, repository, script)
        assert added == "secret\n"


PROGRAMS = """
[commit]
    gpgSign = true
    template = /nowhere/template
[tag]
    gpgSign = true
[diff]
    external = /nowhere/difft
[diff "pdf"]
    textconv = /nowhere/pdftotext
[merge]
    tool = meld
[merge "own"]
    driver = /nowhere/merge %A %O %B
[core]
    editor = /nowhere/editor
    fsmonitor = /nowhere/monitor
    pager = /nowhere/delta
"""


def test_work_goes_on_without_programs_of_the_host(user: User, repository: Path) -> None:
    with (repository / ".git/config").open("a") as file:
        file.write(PROGRAMS)
    (repository / ".gitattributes").write_text("*.pdf diff=pdf\nfile merge=own\n")
    script = """
        echo b >>file; echo x >x.pdf; git add x.pdf; git diff; git diff --cached x.pdf | tail -1
        git commit -qam two; git tag -m t t; git switch -qc other HEAD~1; sed -i 1i0 file; git commit -qam three
        git merge -q --no-edit main >/dev/null; cat file; git log -p --format= -1 -- x.pdf | tail -1
    """
    said, beside = inside(user, repository, script)
    difference = ["diff --git a/file b/file", "--- a/file", "+++ b/file", "@@ -1 +1,2 @@", " a", "+b"]
    assert said.splitlines()[:6] == difference, said + beside
    assert "nowhere" not in beside
    assert said.splitlines()[6:] == ["+x", "0", "a", "b", "+x"], said


def test_who_commits_is_the_same_as_on_the_host(user: User, repository: Path) -> None:
    settings = f'[includeIf "gitdir:{repository.parent}/"]\n\tpath = work.inc\n'
    (user.home / ".gitconfig").write_text(settings)
    (user.home / "work.inc").write_text("[user]\n\tname = Work\n")
    (user.home / ".config/git").mkdir(parents=True)
    (user.home / ".config/git/config").write_text(GITCONFIG)
    script = "git commit -q --allow-empty -m x; git log -1 '--format=%an <%ae>, %cn <%ce>'"
    on_host = user.run("git", "var", "GIT_AUTHOR_IDENT", cwd=repository).stdout.rpartition(" ")[0].rpartition(" ")[0]
    assert on_host == "Work <test@example.invalid>"
    assert inside(user, repository, script)[0] == f"{on_host}, {on_host}\n"
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=repository, GIT_AUTHOR_NAME="Ann")
    assert done.stdout == f"Ann <test@example.invalid>, {on_host}\n"


@pytest.fixture
def layer() -> Iterator[str]:
    """An image on top of the sessions', with settings of git for the machine."""
    name = f"confined-claude-test:{uuid.uuid4().hex[:8]}"
    text = "FROM confined-claude:latest\nUSER root\nRUN git config --system alias.words log\n"
    run(["docker", "build", "--quiet", "--tag", name, "-"], input=text, text=True, check=True, capture_output=True)
    yield name
    docker("rmi", name)


def test_settings_of_a_layer_for_all_users_stay(layer: str) -> None:
    words = ["run", "--rm", "--network", "none", "--cap-drop", "ALL", "--user", "0"]
    words += [word for name in CAPABILITIES for word in ("--cap-add", name)]
    told = "CONFINED_CLAUDE_GITCONFIG=[user]\nname = Ann\n"
    script = "git config alias.words; git config user.name; git config filter.lfs.process"
    said = docker(*words, "--env", told, layer, "1000:1000", "/", "sh", "-c", script)
    assert said.splitlines() == ["log", "Ann", "git-lfs filter-process"]


@pytest.mark.parametrize("branch", ["main", "work"])
def test_what_fetch_names_takes_over_what_an_isolated_session_has_done(
    user: User, repository: Path, branch: str
) -> None:
    script = f"git switch -qC {branch}; echo b >>file; echo n >new; git add -A; git commit -qm two; echo later >>new"
    done = user.run("confined-claude", "shell", "--git", "isolated", "--", "sh", "-c", script, cwd=repository)
    assert done.returncode == 0, done.stderr
    fetched = user.run("confined-claude", "fetch", cwd=repository).stdout
    merged = user.run("git", "merge", f"confined/{branch}", cwd=repository)
    assert merged.returncode  # the control: the files are in its way
    says, _, command = fetched.partition(" To go on there: ")
    assert says == f"Fetched confined/{branch}. Your files are there already."
    assert user.run("sh", "-c", command, cwd=repository).returncode == 0
    assert user.git(repository, "log", "-1", "--format=%s %D", "--decorate=short").startswith(f"two HEAD -> {branch}")
    assert user.git(repository, "status", "--short") == " M new\n"


def test_a_branch_that_has_gone_on_outside_is_to_be_merged(user: User, repository: Path) -> None:
    script = "git commit -q --allow-empty -m inside"
    user.run("confined-claude", "shell", "--git", "isolated", "--", "sh", "-c", script, cwd=repository)
    user.git(repository, "commit", "--quiet", "--allow-empty", "--message", "outside")
    fetched = user.run("confined-claude", "fetch", cwd=repository).stdout
    assert fetched == "Fetched confined/main. To merge it: git merge confined/main\n"
