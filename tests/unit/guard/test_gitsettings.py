"""The files that git's settings lead to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from confined_claude.guard.gitsettings import NamedFiles, named_files, places
from confined_claude.guard.repository import find
from confined_claude.host import GitVariable, Host

from ..guarding import HOOK, commit, git, made_repository, put


@pytest.fixture
def main(tmp_path: Path) -> Path:
    return made_repository(tmp_path / "main")


def named(root: Path, *user: tuple[str, str]) -> NamedFiles:
    return named_files(root, find(root), [GitVariable(key, value, root.parent) for key, value in user])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("core.hookspath", "hooks.d", ["hooks.d"]),
        ("core.hookspath", "{root}/hooks.d", ["hooks.d"]),
        ("core.hookspath", "nowhere", ["nowhere"]),
        ("core.hookspath", "../outside", []),
        ("core.hookspath", ".git/hooks", []),
        ("core.hookspath", "~nobody-of-that-name/x", ["~nobody-of-that-name/x"]),
        ("core.hookspath", "linked", ["linked", "hooks.d"]),
        ("include.path", "{root}/conf/git", ["conf/git"]),
        ("includeif.gitdir:x.path", "{root}/conf/git", ["conf/git"]),
        ("core.attributesfile", "conf/git", ["conf/git"]),
        ("alias.x", "!bin/tool --flag", ["bin/tool"]),
        ("alias.x", "-c core.pager=bin/tool log", ["bin/tool"]),
        ("filter.x.clean", "sh -c './bin/tool %f; bin/tool'", ["bin/tool"]),
        ("core.fsmonitor", "bin/text", ["bin/text"]),
        ("core.fsmonitor", "bin/missing", ["bin/missing"]),
        ("core.fsmonitor", "sh script.sh", ["script.sh"]),
        ("core.fsmonitor", "sh missing.sh", ["missing.sh"]),
        ("core.fsmonitor", "sh tool", ["tool"]),
        ("core.fsmonitor", "/usr/bin/env python3 'my script.py'", ["script.py", "my script.py"]),
        ("core.editor", "$PWD/bin/tool", ["PWD/bin/tool", "bin/tool"]),
        ("core.editor", "$(git rev-parse --show-toplevel)/bin/tool", ["bin/tool"]),
        ("diff.x.textconv", "sh ./bin/text", ["bin/text"]),
        ("mergetool.x.path", "bin/text", ["bin/text"]),
        # What is no program, or none of the project's.
        ("core.pager", "less -R", []),
        ("alias.x", "!tool", []),
        ("alias.x", "!cat bin/text", []),
        ("alias.x", "!cd src && pwd", []),
        ("alias.x", "log -- bin/tool tool", []),
        ("alias.x", "!git log --format='%h/%an' */x", []),
        ("core.fsmonitor", "sh src", []),
        ("core.fsmonitor", "a\0/b", []),
        ("core.fsmonitor", "/" + "x" * 5000 + " ./" + "y/" * 5000, []),
        ("user.name", "bin/tool", []),
        ("commit.template", "bin/tool", []),
        ("lfs.url", "https://example.com/x", []),
    ],
)
def test_what_the_users_settings_name_in_the_project_is_found(
    key: str, value: str, expected: list[str], main: Path
) -> None:
    put(main / "bin/tool").chmod(0o755)
    for name in ("hooks.d/x", "conf/git", "bin/text", "tool", "script.sh", "src/x", "my script.py"):
        put(main / name)
    (main / "linked").symlink_to("hooks.d")
    put(main.parent / "outside")
    found = named(main, (key, value.format(root=main) if "{root}" in value else value)).in_tree
    assert [path for path in found if len(path) < 5000] == [path for path in expected if path]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("core.hooksPath", "~nobody-here/hooks"),
        ("include.path", "~nobody-here/config"),
        ("core.fsmonitor", f"./{'x' * 300}"),
    ],
    ids=["hooks of nobody", "file of nobody", "name too long"],
)
def test_a_setting_that_leads_nowhere_is_no_error(key: str, value: str, main: Path) -> None:
    put(main / ".git/config", "[{}]\n\t{} = {}\n".format(*key.split("."), value))
    found = named(main, (key.lower(), value))
    assert all(str(path).endswith(value.removeprefix("./")) for path in (*found.in_tree, *found.in_git))


def test_what_the_repositorys_own_settings_name_is_found(main: Path) -> None:
    put(main / "hooks.d/x")
    put(main / ".git/inside")
    put(main / "beside")
    git(main, "config", "core.hooksPath", "hooks.d")
    git(main, "config", "include.path", "../beside")
    assert named(main).in_tree == ("hooks.d", "beside")
    put(main / ".git/config", "not git's")
    assert named(main) == NamedFiles()


def test_what_is_named_in_git_directories_is_found(main: Path) -> None:
    for key, value in (
        ("include.path", "extra"),
        ("core.hooksPath", ".git/hooks.d"),
        ("core.fsmonitor", ".git/monitor"),
    ):
        git(main, "config", "--add", key, value)
    found = named(main)
    assert [str(path.relative_to(main)) for path in found.in_git] == [".git/hooks.d", ".git/monitor", ".git/extra"]
    assert not found.in_tree


def test_hooks_in_a_directory_with_other_things_are_named_each(main: Path) -> None:
    git(main, "config", "core.hooksPath", ".")
    assert "pre-commit" in named(main).in_tree
    git(main, "config", "core.hooksPath", ".git")
    assert main / ".git/pre-commit" in named(main).in_git


def test_included_files_are_read(main: Path) -> None:
    git(main, "config", "include.path", "../one")
    put(main / "one", '[include]\n\tpath = conf/two\n[includeIf "onbranch:x"]\n\tpath = missing\n')
    put(main / "conf/two", "[core]\n\thooksPath = scripts/hooks\n[include]\n\tpath = ../one\n")
    assert named(main).in_tree == ("one", "conf/two", "scripts/hooks", "missing")
    assert "scripts/hooks" in named(main, ("include.path", str(main / "conf/two"))).in_tree


def test_the_settings_of_each_work_tree_are_read(main: Path) -> None:
    made_repository(main.parent / "lib")
    git(main, "submodule", "--quiet", "add", "../lib", "deps/lib", **{"remote.origin.url": str(main)})
    git(main, "worktree", "add", "--quiet", "-b", "other", ".claude/worktrees/other")
    git(main, "config", "extensions.worktreeConfig", "true")
    git(main, "config", "--worktree", "core.hooksPath", "mine")
    git(main / "deps/lib", "config", "core.hooksPath", "subs")
    git(main / ".claude/worktrees/other", "config", "--worktree", "core.hooksPath", "others")
    found = set(named(main).in_tree)
    assert {"mine", "deps/lib/subs", ".claude/worktrees/other/others"} <= found
    # From the linked worktree the main repository's files are seen.
    git(main, "config", "include.path", "extra")
    assert main / ".git/extra" in named(main / ".claude/worktrees/other").in_git


def test_the_settings_of_a_repository_above_are_read(main: Path) -> None:
    put(main / "packages/app/x")
    git(main, "config", "core.hooksPath", "packages/app/hooks")
    (main / ".git/hooks/pre-push").symlink_to("../../packages/app/tool")
    assert named(main / "packages/app").in_tree == ("hooks", "tool")


def test_a_hook_that_is_a_link_names_all_on_the_way(main: Path) -> None:
    put(main / "real/check", HOOK)
    (main / "scripts").symlink_to("real")
    (main / ".git/hooks/pre-commit").symlink_to("../../scripts/check")
    assert named(main).in_tree == ("scripts", "real/check")


def test_relative_paths_of_the_users_settings_are_named_in_every_work_tree(main: Path) -> None:
    user = [("core.hookspath", ".myhooks"), ("diff.x.textconv", "sh ./t/x.sh"), ("core.editor", "vim")]
    assert named(main, *user).anywhere == (".myhooks", "t/x.sh")


def test_settings_of_the_user_that_are_kept_in_the_project_are_named(main: Path) -> None:
    home = main.parent
    put(main / "dotfiles/gitconfig")
    (main / "current").symlink_to("dotfiles")
    (home / ".gitconfig").symlink_to("main/current/gitconfig")
    files = Host(0, 0, home, {"XDG_CONFIG_HOME": str(main / "xdg")}, home, home, home).git_files
    found = named_files(main, find(main), (), files).in_tree
    assert found == ("current", "dotfiles/gitconfig", "xdg/git/config", "xdg/git/attributes")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert {path.name for path in places(tmp_path / "a/x")} == {"a", "b"}


def test_ordinary_settings_name_nothing(main: Path) -> None:
    commit(put(main / "x").parent)
    user = [
        *(
            ("core.editor", "code --wait"),
            ("core.pager", "delta"),
            ("credential.helper", "store"),
            ("user.name", "a/b"),
        ),
        *(("alias.lg", "log --graph"), ("filter.lfs.clean", "git-lfs clean -- %f"), ("gpg.program", "/usr/bin/gpg")),
        *(("url.git@example.com:.insteadof", "https://example.com/"), ("core.excludesfile", "~/.gitignore")),
    ]
    assert named(main, *user)._replace(commands=()) == NamedFiles()


def test_relative_includes_of_the_users_settings_are_found_from_their_file(main: Path) -> None:
    """The control: from the home directory they would lead elsewhere."""
    home = main.parent
    put(home / ".gitconfig", "[include]\n\tpath = main/dots/git\n")
    put(main / "dots/git", "[include]\n\tpath = more\n")
    put(main / "dots/more", "[core]\n\thooksPath = hooks.d\n")
    host = Host(0, 0, home, {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}, home, home, home)
    assert host.git_config[-1] == GitVariable("core.hookspath", "hooks.d", main / "dots")
    assert {"dots/git", "dots/more", "hooks.d"} <= set(named_files(main, find(main), host.git_config).in_tree)


def test_the_settings_of_any_number_of_submodules_are_read(main: Path) -> None:
    for number in range(300):
        directory = main / f".git/modules/m{number:03}"
        put(directory / "HEAD", "ref: refs/heads/main\n")
        put(directory / "config", f"[core]\n\tworktree = {main}/m{number:03}\n\thooksPath = own\n")
    assert "m299/own" in named(main).in_tree
    assert len(named(main).in_tree) == 300


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"GIT_SSH_COMMAND": "./bin/tool -v"}, "bin/tool"),
        ({"GIT_SSH": "bin/tool"}, "bin/tool"),
        ({"GIT_EXTERNAL_DIFF": "sh ./script.sh"}, "script.sh"),
        ({"GIT_EDITOR": "./bin/tool"}, "bin/tool"),
        ({"EDITOR": "./bin/tool"}, "bin/tool"),
        ({"GIT_SEQUENCE_EDITOR": "./bin/tool"}, "bin/tool"),
        ({"GIT_PAGER": "./bin/tool"}, "bin/tool"),
        ({"GIT_ASKPASS": "{root}/bin/tool"}, "bin/tool"),
        ({"SSH_ASKPASS": "{root}/bin/tool"}, "bin/tool"),
        ({"GIT_PROXY_COMMAND": "./bin/tool"}, "bin/tool"),
        ({"GIT_TEMPLATE_DIR": "{root}/template"}, "template"),
        ({"GIT_EXEC_PATH": "{root}/libexec"}, "libexec"),
        ({"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "Core.hooksPath", "GIT_CONFIG_VALUE_0": "hooks.d"}, "hooks.d"),
        ({"GIT_CONFIG_COUNT": "x"}, ""),
        ({"GIT_CONFIG_PARAMETERS": "'core.hooksPath=hooks.d'"}, "hooks.d"),
        ({"GIT_CONFIG_PARAMETERS": "'Core.fsmonitor'='./bin/tool'"}, "bin/tool"),
        ({"GIT_CONFIG_PARAMETERS": "'"}, ""),
        ({"GIT_SSH_COMMAND": "ssh -v", "EDITOR": "vim", "PAGER": "less"}, ""),
    ],
)
def test_programs_that_the_environment_names_are_found(main: Path, environ: dict[str, str], found: str) -> None:
    environ = {name: value.format(root=main) for name, value in environ.items()}
    host = Host(0, 0, main.parent, environ, main, main, main)
    assert named_files(main, find(main), host.git_environment).in_tree == ((found,) if found else ())


def test_a_relative_file_of_settings_that_the_environment_names_is_found(
    main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(main)
    host = Host(0, 0, main.parent, {"GIT_CONFIG_GLOBAL": "dots/git"}, main, main, main)
    assert "dots/git" in named_files(main, find(main), (), host.git_files).in_tree


@pytest.mark.parametrize("key", ["alias.x", "core.hookspath"])
def test_no_number_of_harmless_settings_hides_others(key: str, main: Path) -> None:
    """A session may add them to the settings of a nested repository without a word."""
    value = {"alias.x": "!sh tools/x.sh", "core.hookspath": "tools/x.sh"}[key]
    harmless = [(f"branch.b{number}.rebase", "true") for number in range(2000)]
    found = named(main, *harmless, (key, value))
    assert found.in_tree == ("tools/x.sh",)
    assert [command for _, command in found.commands] == [value]


def test_no_number_of_included_files_takes_long(main: Path) -> None:
    for number in range(300):
        put(main / f"inc/{number}", "[a]\n" + "b\n" * 20_000)
    begun = time.process_time()
    named(main, *(("include.path", str(main / f"inc/{number}")) for number in range(300)))
    assert time.process_time() - begun < 5
