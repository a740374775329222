"""Facts about the host: its directories, and the harmless part of the user's git configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError
from confined_claude.host import SAFE_GIT_KEYS, Host, gitconfig_text, time_zone
from confined_claude.session.git import plan_git
from confined_claude.settings import Settings
from confined_claude.system import APP
from confined_claude.text import rooted

from .conftest import as_plain_user

XDG = ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\"'\\#;= \t\n[]$`!"))


@pytest.fixture
def gitconfig(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes the user's global git configuration."""

    def write(text: str) -> Path:
        path = host.home / ".gitconfig"
        path.write_text(text)
        return path

    return write


def told(host: Host) -> tuple[tuple[str, str], ...]:
    """What git in a session is told of the configuration; a user without an account has nothing else that says it."""
    return plan_git(host._replace(uid=4_000_000), host.home / "no repository", Settings()).settings


def git(file: Path, *words: str) -> str:
    """What git reads from a config file."""
    return subprocess.run(["git", "config", "-f", file, "-z", *words], capture_output=True, check=True).stdout.decode()


# The user's configuration


def test_identity_and_safe_settings_are_taken_in_their_order(host: Host, gitconfig: Callable[[str], Path]) -> None:
    gitconfig(
        '[User]\n\tEmail = a@example.invalid\n\tname = Ann "A" Other\n'
        "[init]\n\tdefaultBranch = trunk\n[pull]\n\trebase = true\n"
    )
    assert told(host) == (
        ("user.email", "a@example.invalid"),
        ("user.name", "Ann A Other"),
        ("init.defaultbranch", "trunk"),
        ("pull.rebase", "true"),
    )


def test_what_could_run_or_leak_is_left_out(host: Host, gitconfig: Callable[[str], Path]) -> None:
    gitconfig(
        """[user]
        name = Ann
        signingkey = ABCDEF
    [credential]
        helper = store --file /home/ann/.secret
    [core]
        sshCommand = ssh -i /home/ann/.ssh/key
        hooksPath = /home/ann/hooks
        fsmonitor = /home/ann/monitor
        editor = vim
        excludesFile = ~/.gitignore
    [alias]
        st = !rm -rf /
    [url "https://token:fake@example.invalid/"]
        insteadOf = https://example.invalid/
    [http]
        proxy = http://user:fake@proxy
        extraHeader = Authorization: fake
    [gpg]
        program = /home/ann/gpg
    [filter "x"]
        clean = run-me
    [merge]
        tool = x
    [diff]
        external = run-me
    [user "name"]
        name = nested
    """
    )
    refused = ("filter.x.clean", "/opt/confined-claude/git/no-filter x %f"), ("filter.x.smudge", "cat")
    assert told(host) == (("user.name", "Ann"), *refused)


def test_the_safe_keys_name_no_command_path_or_credential() -> None:
    risky = (
        "credential",
        "command",
        "path",
        "editor",
        "pager",
        "program",
        "helper",
        "hook",
        "fsmonitor",
        "alias",
        "url",
        "proxy",
        "key",
    )
    assert not [key for key in SAFE_GIT_KEYS if any(word in key for word in risky)]
    assert all(key == key.lower() and key.count(".") == 1 for key in SAFE_GIT_KEYS)


def test_included_files_count(host: Host, gitconfig: Callable[[str], Path]) -> None:
    (host.home / "work.inc").write_text("[user]\n\tname = Included\n\tpassword = fake\n")
    gitconfig("[include]\n\tpath = work.inc\n")
    assert told(host) == (("user.name", "Included"),)


def test_values_of_several_lines_and_letters_come_whole(host: Host, gitconfig: Callable[[str], Path]) -> None:
    gitconfig('[user]\n\tname = "Zoë\\nline\\t\\"two\\" \\\\ # ; "\n\temail\n')
    assert told(host) == (("user.name", 'Zoë\nline\t"two" \\ # ; '),)


def test_bytes_that_are_no_text_do_no_harm(host: Host) -> None:
    (host.home / ".gitconfig").write_bytes(b"[user]\n\tname = Zo\xeb\n")
    assert told(host) == (("user.name", "Zo\ufffd"),)


def test_the_repository_one_stands_in_has_no_say(
    host: Host, gitconfig: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gitconfig("[user]\n\tname = Ann\n")
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    subprocess.run(["git", "config", "user.name", "Planted"], cwd=repository, check=True)
    subprocess.run(["git", "config", "user.email", "planted@example.invalid"], cwd=repository, check=True)
    monkeypatch.chdir(repository)
    assert told(host) == (("user.name", "Ann"),)


def test_the_users_two_files_come_after_the_machines_own(
    host: Host, gitconfig: Callable[[str], Path], tmp_path: Path
) -> None:
    gitconfig("[user]\n\tname = Ann\n")
    (tmp_path / "system").write_text("[user]\n\temail = everybody@example.invalid\n")
    (host.home / ".config/git").mkdir(parents=True)
    (host.home / ".config/git/config").write_text("[user]\n\tname = Before\n\temail = ann@example.invalid\n")
    host = host._replace(environ={"GIT_CONFIG_SYSTEM": str(tmp_path / "system")})
    names = ("email", "everybody"), ("name", "Before"), ("email", "ann"), ("name", "Ann")
    assert told(host) == tuple(
        (f"user.{key}", f"{value}@example.invalid" if key == "email" else value) for key, value in names
    )


@pytest.mark.parametrize("content", [None, "", "[user\nname", "\0"])
def test_a_missing_or_broken_configuration_gives_nothing(
    content: str | None, host: Host, gitconfig: Callable[[str], Path]
) -> None:
    if content is not None:
        gitconfig(content)
    assert told(host) == ()


def test_a_host_without_git_gives_nothing(
    host: Host, gitconfig: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    gitconfig("[user]\n\tname = Ann\n")
    host = host._replace(environ={"PATH": str(tmp_path)})
    assert told(host) == ()


# The file for the session


@given(name=PRINTABLE, email=PRINTABLE)
def test_git_reads_back_what_was_written(name: str, email: str, tmp_path: Path) -> None:
    file = tmp_path / "gitconfig"
    file.write_text(gitconfig_text((("user.name", name), ("user.email", email))), encoding="utf-8", newline="")
    assert git(file, "--get", "user.name") == f"{name}\0"
    assert git(file, "--get", "user.email") == f"{email}\0"
    assert git(file, "--list", "--name-only") == "safe.directory\0user.name\0user.email\0"


@pytest.mark.parametrize(
    "value",
    [
        'x"\n[core]\n\tsshCommand = "run-me',
        "x\n[alias]\n\tst = !run-me",
        "x\\",
        '\\"',
        "#",
        "  x  ",
        "\r",
        "a\rb",
        "\b",
    ],
)
def test_no_value_becomes_another_setting(value: str, tmp_path: Path) -> None:
    file = tmp_path / "gitconfig"
    file.write_text(gitconfig_text((("user.name", value),)), newline="")
    assert git(file, "--get", "user.name") == f"{value}\0"
    assert git(file, "--list", "--name-only") == "safe.directory\0user.name\0"


def test_the_last_of_several_values_wins_as_before(tmp_path: Path) -> None:
    file = tmp_path / "gitconfig"
    file.write_text(gitconfig_text((("user.name", "first"), ("user.email", "e"), ("user.name", "last"))))
    assert git(file, "--get", "user.name") == "last\0"


def test_a_project_of_another_owner_is_safe_inside(tmp_path: Path) -> None:
    file = tmp_path / "gitconfig"
    file.write_text(gitconfig_text(()))
    assert git(file, "--list") == "safe.directory\n*\0"


def test_what_the_user_has_reaches_the_session_unchanged(
    host: Host, gitconfig: Callable[[str], Path], tmp_path: Path
) -> None:
    gitconfig('[user]\n\tname = "Zoë \\"Z\\" \\\\ # x"\n\temail = z@example.invalid\n[color]\n\tui = auto\n')
    file = tmp_path / "gitconfig"
    file.write_text(gitconfig_text(told(host)))
    for key in ("user.name", "user.email", "color.ui"):
        assert git(file, "--get", key) == git(host.home / ".gitconfig", "--get", key)


# The host itself


def test_the_directories_follow_the_xdg_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    host = Host.current()
    assert host.data == tmp_path / "d/confined-claude"
    assert host.state == tmp_path / "s/confined-claude"
    assert host.user_config_file == tmp_path / "c/confined-claude/config.toml"


def test_two_slashes_in_front_are_one_in_all_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", *XDG, "CLAUDE_CONFIG_DIR", "GIT_CONFIG_GLOBAL"):
        monkeypatch.setenv(name, f"//made-up/{name}")
    host = Host.current()
    found = (host.home, host.data, host.state, host.config, host.claude_config, *host.git_files)
    assert [path for path in found if path.anchor != "/"] == []


def test_the_directories_are_in_the_home_directory_by_default() -> None:
    host = Host.current()
    home = Path(os.environ["HOME"])
    assert (host.home, host.claude_config) == (home, home / ".claude")
    assert host.data == home / ".local/share/confined-claude"
    assert host.state == home / ".local/state/confined-claude"
    assert host.config == home / ".config/confined-claude"
    assert (host.uid, host.gid) == (os.getuid(), os.getgid())


@given(st.dictionaries(st.sampled_from(XDG), st.sampled_from(["", "/a", "/a/", "relative", " ", "~/x", "//a/../b"])))
def test_the_directories_are_those_of_platformdirs(given_ones: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given_ones.items():
            patch.setenv(name, value)
        found = Host.current()
        named = (platformdirs.user_data_dir, platformdirs.user_state_dir, platformdirs.user_config_dir)
        assert (found.data, found.state, found.config) == tuple(Path(rooted(ask(APP))) for ask in named)


@pytest.mark.root
def test_a_user_without_a_home_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    with pytest.raises(ConfinedError, match="HOME") as caught:
        as_plain_user(Host.current)
    assert caught.value.hint


def test_the_environment_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host.current()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-fake")
    assert "ANTHROPIC_API_KEY" not in host.environ


@pytest.mark.parametrize(("value", "expected"), [("/srv/claude", "/srv/claude"), ("", None)])
def test_claudes_config_is_where_the_host_says(
    value: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", value)
    host = Host.current()
    assert host.claude_config == (Path(expected) if expected else host.home / ".claude")


# The time zone


@pytest.mark.parametrize(
    ("localtime", "timezone", "variable", "expected"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", "Etc/UTC\n", "", "Europe/Berlin"),
        ("../usr/share/zoneinfo/Etc/GMT-3", None, "", "Etc/GMT-3"),
        ("/var/db/timezone/zoneinfo/America/Argentina/Ushuaia", None, "", "America/Argentina/Ushuaia"),
        (None, "Asia/Tokyo\n", "", "Asia/Tokyo"),
        ("/elsewhere/file", "Asia/Tokyo", "", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/../x y", None, "", ""),
        (None, "/etc/passwd", "", ""),
        (None, None, "", ""),
        ("/usr/share/zoneinfo/Europe/Berlin", None, "America/Lima", "America/Lima"),
        ("/usr/share/zoneinfo/Europe/Berlin", None, "CET-1CEST,M3.5.0,M10.5.0/3", "CET-1CEST,M3.5.0,M10.5.0/3"),
        ("/usr/share/zoneinfo/Europe/Berlin", None, ":/etc/localtime", "Europe/Berlin"),
        ("/usr/share/zoneinfo/Europe/Berlin", None, "/etc/localtime", "Europe/Berlin"),
    ],
)
def test_the_time_zone(
    tmp_path: Path, localtime: str | None, timezone: str | None, variable: str, expected: str
) -> None:
    if localtime is not None:
        (tmp_path / "localtime").symlink_to(localtime)
    if timezone is not None:
        (tmp_path / "timezone").write_text(timezone)
    assert time_zone({"TZ": variable}, tmp_path) == expected


def test_git_is_asked_once_also_when_that_began_early(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$*\" >>'{tmp_path}/asked'\nprintf 'file:/x\\0user.name\\n%s\\0' \"$1\"\n")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    asking = host._replace(environ={"PATH": path})
    asking.ask_git()
    for _ in range(2):
        assert [variable.value for variable in asking.git_config] == ["config"]
    assert len((tmp_path / "asked").read_text().splitlines()) == 1
