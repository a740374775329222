"""What git in a session is told: compared with what git on the host says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from confined_claude.host import Host, gitconfig_text
from confined_claude.session.git import SessionGit, plan_git
from confined_claude.settings import Settings

WORK = "[user]\n\tname = Work\n\temail = work@example.invalid\n"
HOME = "[user]\n\tname = Home\n\temail = home@example.invalid\n"


@pytest.fixture
def root(tmp_path: Path, host: Host) -> Path:
    """A repository, in ~/src, on the branch work/x."""
    root = host.home / "src/Project [1]"
    subprocess.run(["git", "init", "--quiet", "--initial-branch=work/x", root], check=True, env=variables(host))
    put(host.home / ".gitconfig", HOME)
    put(host.home / "work.inc", WORK)
    return root


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def variables(host: Host, **more: str) -> dict[str, str]:
    return {"HOME": str(host.home), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", **host.environ, **more}


def git(host: Host, root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True, env=variables(host))


def who(root: Path, environ: Mapping[str, str]) -> list[str]:
    """Who commits in the repository, as git says."""
    return [
        subprocess.run(["git", "var", name], cwd=root, env=environ, capture_output=True, text=True, check=False)
        .stdout.rpartition(" ")[0]
        .rpartition(" ")[0]
        for name in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
    ]


def inside(host: Host, root: Path, told: SessionGit, tmp_path: Path) -> list[str]:
    """Who commits in a session, where git has nothing of the host but what it is told and the repository itself."""
    put(tmp_path / "etc", gitconfig_text(told.settings))
    (tmp_path / "nobody").mkdir(exist_ok=True)
    environ = {"HOME": str(tmp_path / "nobody"), "PATH": os.environ["PATH"], "GIT_CONFIG_SYSTEM": str(tmp_path / "etc")}
    return who(root, {**environ, **told.variables})


def includes(condition: str, path: str = "~/work.inc") -> Callable[[Host, Path], None]:
    return lambda host, _: put(host.home / ".gitconfig", f'{HOME}[includeIf "{condition}"]\n\tpath = {path}\n')


def remote(address: str, condition: str) -> Callable[[Host, Path], None]:
    def prepare(host: Host, root: Path) -> None:
        git(host, root, "remote", "add", "origin", address)
        includes(f"hasconfig:remote.*.url:{condition}")(host, root)

    return prepare


def in_repository(text: str) -> Callable[[Host, Path], None]:
    def prepare(_: Host, root: Path) -> None:
        with (root / ".git/config").open("a") as file:
            file.write(text)

    return prepare


def xdg(host: Host, _: Path) -> None:
    put(host.home / ".config/git/config", WORK)
    put(host.home / ".gitconfig", "[color]\n\tui = auto\n")


def linked(host: Host, root: Path) -> None:
    git(host, root, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--allow-empty", "--message=x")
    git(host, root, "worktree", "add", "--quiet", "-b", "other", "linked")
    includes("gitdir:**/worktrees/linked")(host, root)


WORKS = [
    includes("gitdir:~/src/"),
    includes("gitdir:~/src/**/.git"),
    includes("gitdir:src/"),
    includes("gitdir:./src/"),
    includes("gitdir/i:~/SRC/"),
    includes("gitdir:Project \\\\[1]/"),
    includes("gitdir:~/s?c/P*/.git"),
    includes("gitdir:~/[r-t]rc/*/.git", "work.inc"),
    includes("onbranch:work/"),
    includes("onbranch:work/[!a-w]"),
    includes("onbranch:work/**"),
    remote("https://example.invalid/work/x.git", "https://example.invalid/**"),
    remote("git@work.invalid:x/y", "git@work.invalid:*/*"),
    in_repository(WORK),
    in_repository("[include]\n\tpath = ~/work.inc\n"),
    in_repository("[include]\n\tpath = ../own.inc\n[author]\n\tname = Author\n"),
    in_repository("[user]\n\tname = Before\n[include]\n\tpath = ~/work.inc\n[user]\n\tname = After\n"),
    in_repository('[includeIf "onbranch:work/x"]\n\tpath = ~/work.inc\n'),
    xdg,
]
NOTHING = [
    includes("gitdir:~/other/"),
    includes("gitdir:~/SRC/"),
    includes("gitdir:~/src/*"),
    includes("onbranch:work"),
    includes("onbranch:*"),
    includes("none:x"),
    remote("https://example.invalid/work/x.git", "https://example.invalid/*"),
]


@pytest.mark.parametrize("prepare", WORKS + NOTHING)
def test_who_commits_is_the_same_as_on_the_host(
    prepare: Callable[[Host, Path], None], host: Host, root: Path, tmp_path: Path
) -> None:
    host = host._replace(uid=os.getuid(), environ={"GIT_CONFIG_NOSYSTEM": "1"})
    before = who(root, variables(host))
    prepare(host, root)
    on_host = who(root, variables(host))
    assert (on_host != before) == (prepare in WORKS)
    assert inside(host, root, plan_git(host, root, Settings()), tmp_path) == on_host


def test_who_commits_in_a_linked_worktree_is_the_same(host: Host, root: Path, tmp_path: Path) -> None:
    host = host._replace(environ={"GIT_CONFIG_NOSYSTEM": "1"})
    linked(host, root)
    for place in (root, root / "linked"):
        assert inside(host, place, plan_git(host, place, Settings()), tmp_path) == who(place, variables(host))
    assert who(root, variables(host)) != who(root / "linked", variables(host))


@pytest.mark.parametrize(
    "environ",
    [
        {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.invalid"},
        {"GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.invalid"},
        {"EMAIL": "e@example.invalid"},
        {"XDG_CONFIG_HOME": "/nowhere"},
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.NAME", "GIT_CONFIG_VALUE_0": "V"},
        {"GIT_CONFIG_PARAMETERS": "'user.email'='p@example.invalid' 'author.name'='P Q'"},
        {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "include.path",
            "GIT_CONFIG_VALUE_0": "~/work.inc",
            "GIT_CONFIG_PARAMETERS": "'user.name'='Last'",
        },
    ],
)
@pytest.mark.parametrize("text", [HOME, "", "[user]\n\tuseConfigOnly = true\n", "[committer]\n\temail = c@c.invalid\n"])
def test_what_the_environment_and_the_account_say_counts_as_on_the_host(
    environ: dict[str, str], text: str, host: Host, root: Path, tmp_path: Path
) -> None:
    put(host.home / ".gitconfig", text)
    host = host._replace(uid=os.getuid(), environ={**environ, "GIT_CONFIG_NOSYSTEM": "1"})
    on_host = who(root, variables(host))
    assert inside(host, root, plan_git(host, root, Settings()), tmp_path) == on_host


def test_a_bare_repository_at_the_root_is_told(host: Host, tmp_path: Path) -> None:
    """In a session git would take the root for a work tree."""
    bare = host.home / "project/.bare"
    git(host, tmp_path, "init", "--quiet", "--bare", str(bare))
    put(bare.parent / ".git", "gitdir: ./.bare\n")
    assert any("is bare" in line for line in plan_git(host, bare.parent, Settings()).remarks)
    git(host, bare, "config", "core.bare", "false")
    assert not any("is bare" in line for line in plan_git(host, bare.parent, Settings()).remarks)


def test_a_work_tree_elsewhere_is_told(host: Host, root: Path) -> None:
    """In a guarded session git takes the project for it; in others it looks for it, finds none, and says so."""

    def told(kind: str, top: Path = root) -> bool:
        return any("by core.worktree" in line for line in plan_git(host, top, Settings(git=kind)).remarks)

    assert not told("guarded")
    git(host, root, "commit", "--quiet", "--allow-empty", "--message=one")
    git(host, root, "worktree", "add", "--quiet", "../linked")
    git(host, root, "config", "core.worktree", str(root))
    assert not told("guarded")
    git(host, root, "config", "core.worktree", str(host.home / "www"))
    assert [told("guarded"), told("isolated"), told("open")] == [True, False, False]
    assert not told("guarded", root.parent / "linked")  # which git takes for its own work tree


# Programs


def told(host: Host, root: Path, *lines: str, settings: Settings | None = None, own: str = "") -> SessionGit:
    """What git is told where the repository's settings have ``lines``, and the host's have ``own``."""
    in_repository("".join(lines))(host, root)
    with (host.home / ".gitconfig").open("a") as file:
        file.write(own)
    return plan_git(host._replace(environ={"GIT_CONFIG_NOSYSTEM": "1"}), root, settings or Settings())


PLAIN = {"filter.x.required": "true", "filter.x.smudge": "cat"}


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("[commit]\n\tgpgSign = true\n", {"commit.gpgsign": "false"}),
        ("[diff]\n\texternal = /opt/difft\n", {"diff.external": "/opt/confined-claude/git/plain-diff"}),
        ('[diff "x"]\n\ttextconv = pdftotext\n', {"diff.x.textconv": "cat"}),
        ('[merge "x"]\n\tdriver = npm-merge %A\n', {"merge.x.driver": "git merge-file --marker-size=%L %A %O %B"}),
        ('[core]\n\tpager = delta\n\teditor = \\"/My Editor\\" -w\n', {"core.pager": "less", "core.editor": "nano"}),
        ("[core]\n\tpager = less -FRX\n\teditor = /usr/bin/nano\n\tfsmonitor = true\n", {}),
        ("[commit]\n\ttemplate = /home/me/template\n", {"commit.template": ""}),
        ("[commit]\n\ttemplate = .template\n[merge]\n\ttool = meld\n[pager]\n\tlog = false\n", {}),
        ('[filter "x"]\n\tclean = sed s/a/b/\n[filter "lfs"]\n\tclean = git-lfs clean -- %f\n', PLAIN),
        ('[filter "x"]\n\tclean = \\"git-crypt\\" clean\n', PLAIN),
        ('[filter "x"]\n\tclean = x\n\tsmudge = y\n\trequired = false\n', {"filter.x.required": "true"}),
        ('[filter "x"]\n\tprocess = x\n', {"filter.x.required": "true"}),
        ('[filter "x"]\n\tclean =\n\tsmudge = y\n', {}),
        ("[core]\n\tfsmonitor = .git/monitor\n[diff]\n\texternal = ./difft\n", {}),
    ],
)
def test_settings_of_the_repository_that_name_programs_of_the_host(
    text: str, overrides: dict[str, str], host: Host, root: Path
) -> None:
    assert dict(told(host, root, text).overrides[1:]) == overrides


def test_a_password_in_the_address_of_a_remote_is_not_in_what_the_engine_shows(host: Host, root: Path) -> None:
    plain, secret = "https://forge.example/x", "https://someone:made-up@forge.example/x"
    text = "".join(f'[remote "{name}"]\n\turl = {url}\n' for name, url in (("secret", secret), ("plain", plain)))
    found = told(host, root, text, settings=Settings(push="ask"))
    assert "made-up" not in str(found.variables)

    def pushed_to(name: str, **more: str) -> str:
        environ = {**variables(host), **found.variables, **more}
        words = ("git", "remote", "get-url", "--push", name)
        return subprocess.run(words, cwd=root, env=environ, capture_output=True, text=True, check=True).stdout.strip()

    assert [pushed_to(name) for name in ("secret", "plain")] == [secret, f"confined-claude::{plain}"]
    both = [pushed_to(name, **found.secrets) for name in ("secret", "plain")]
    assert both == [f"confined-claude::{secret}", f"confined-claude::{plain}"]
    assert SessionGit(pushes=(plain,)).secrets == {}


@pytest.mark.parametrize("settings", [Settings(packages=("git-delta",)), Settings(base="debian:trixie-slim")])
def test_a_session_has_the_programs_that_its_packages_name_and_maybe_filters(
    settings: Settings, host: Host, root: Path
) -> None:
    text = "[core]\n\tpager = delta\n\teditor = hx\n[diff]\n\texternal = /opt/difft\n"
    found = told(host, root, text, '[filter "x"]\n\tclean = git-crypt clean\n', settings=settings)
    diff = {"diff.external": "/opt/confined-claude/git/plain-diff", "core.editor": "nano"}
    assert dict(found.overrides[1:]) == PLAIN | diff | ({} if settings.packages else {"core.pager": "less"})


@pytest.mark.parametrize("settings", [Settings(), Settings(packages=("jq",))])
@pytest.mark.parametrize("clean", ["missing-program", "false"])
def test_git_stores_nothing_unfiltered_where_a_filter_of_the_repository_fails(
    clean: str, settings: Settings, host: Host, root: Path
) -> None:
    put(root / ".gitattributes", "*.x filter=x\n")
    put(root / "a.x", "plain\n")

    def added(overrides: Iterable[tuple[str, str]]) -> int:
        options = [word for key, value in overrides for word in ("-c", f"{key}={value}")]
        words = ("git", *options, "add", "a.x")
        done = subprocess.run(words, cwd=root, env=variables(host), capture_output=True, check=False)
        git(host, root, "reset", "--quiet")
        return done.returncode

    found = told(host, root, f'[filter "x"]\n\tclean = {clean}\n', settings=settings)
    assert added(()) == 0  # the control
    assert added(found.overrides) != 0


def test_where_a_filter_of_the_repository_works_it_goes_both_ways(host: Host, root: Path) -> None:
    put(root / ".gitattributes", "*.x filter=x\n")
    put(root / "a.x", "plain\n")
    found = told(host, root, '[filter "x"]\n\tclean = sed s/plain/clean/\n')
    options = [word for key, value in found.overrides for word in ("-c", f"{key}={value}")]
    git(host, root, *options, "add", "a.x")
    (root / "a.x").unlink()
    git(host, root, *options, "checkout-index", "a.x")
    assert (root / "a.x").read_text() == "clean\n"


def test_a_name_from_a_repository_cannot_write_to_the_terminal(host: Host, root: Path) -> None:
    put(root / ".gitattributes", "*.x filter=x\x1b[2J\n")
    text = "[core]\n\trepositoryFormatVersion = 1\n"
    remarks = told(host, root, f'{text}[filter "x\x1b[2J"]\n\tclean = missing-program\n').remarks
    assert "the filter x\\x1b[2J:" in remarks[0]
    assert all(map(str.isprintable, remarks))


def test_a_filter_of_the_host_is_refused_and_named_where_it_is_used(host: Host, root: Path) -> None:
    own = '[filter "strip"]\n\tclean = nbstripout\n\tsmudge = cat\n[filter "b c"]\n\tsmudge = b\n\tprocess = b\n'
    own += '[filter "lfs"]\n\tclean = git-lfs clean -- %f\n'
    found = told(host, root, own=own)
    assert found.remarks == ()
    assert dict(found.overrides[1:]) == {"filter.strip.required": "true", "filter.b c.required": "true"}
    assert dict(found.settings[2:]) == {
        "filter.strip.clean": "/opt/confined-claude/git/no-filter strip %f",
        "filter.strip.smudge": "cat",
        "filter.b c.clean": "/opt/confined-claude/git/no-filter 'b c' %f",
        "filter.b c.smudge": "/opt/confined-claude/git/no-filter 'b c' %f",
    }
    put(root / ".gitattributes", "*.ipynb filter=strip\n")
    line = "git refuses to add files that go through the filter strip: it is not in this session."
    assert told(host, root).remarks == (line,)
    (root / ".gitattributes").unlink()
    put(host.home / ".config/git/attributes", "# filter\n*.ipynb filter=strip\n*.txt text\n")
    found = told(host, root)
    assert (found.attributes, found.remarks) == ("*.ipynb filter=strip\n", (line,))


@pytest.mark.parametrize("where", ["host", "repository"])
def test_unsigned_commits_are_told(where: str, host: Host, root: Path) -> None:
    text = "[commit]\n\tgpgSign = true\n"
    found = told(host, root, own=text) if where == "host" else told(host, root, text)
    assert found.remarks == ("Commits of this session are not signed: your keys are not in it.",)


@pytest.mark.parametrize(
    ("version", "extensions", "expected"),
    [
        (1, "refStorage = reftable", ("(refstorage): no git command works. The setting `base` can name a newer D", "")),
        (1, "objectFormat = sha256\n\tworktreeConfig = true", ("", "")),
        (1, "relativeWorktrees = true", ("`base` can name an image with a newer git", "(relativeworktrees): no git")),
        (0, "relativeWorktrees = true", ("", "")),  # git obeys no extension in version 0 that it does not know
    ],
)
def test_a_repository_of_a_newer_git_is_told(
    version: int, extensions: str, expected: tuple[str, str], host: Host, root: Path
) -> None:
    """With Debian 12 as base, and with Debian 13."""
    text = f"[core]\n\trepositoryFormatVersion = {version}\n[extensions]\n\t{extensions}\n"
    for settings, words in zip((Settings(), Settings(base="debian:trixie-slim")), expected, strict=True):
        found = told(host, root, text, settings=settings).remarks
        assert [words in line for line in found] == ([True] if words else [])
