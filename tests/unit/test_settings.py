"""The settings: who wins, who may only narrow, and what each mistake says."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.settings import SPECS, Kind, Settings, dockerfile
from confined_claude.settings.files import ProjectFiles
from confined_claude.settings.resolution import resolve

from .conftest import as_plain_user

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NARROW = (
    ("network", "none"),
    ("network", "allowlist"),
    ("claude_config", "project"),
    ("caches", "project"),
    ("git", "isolated"),
    ("sudo", "off"),
    ("plugin_scripts", "off"),
    ("yolo", "off"),
)
DEFAULT = {name: spec.default for name, spec in SPECS.items()}
LIMITS = {"pids": "100", "memory": "2g", "cpus": "1.5", "shm": "1g"}
WIDER = (
    'network = "open"',
    'network = "docker:host"',
    'network = "docker:bridge"',
    'packages = ["hello"]',
    'allow = ["example.com"]',
    "host_ports = [5432]",
    'ports = ["8000"]',
    'claude_version = "2.1.0"',
    'claude_version = "next"',
    'base = "debian:12"',
    'git = "open"',
    'writable = [".vscode"]',
)


DOCKERFILE = "ARG BASE\nFROM ${BASE}\nRUN make it\n"


def never_trusted(_files: ProjectFiles) -> bool:
    return False


class Files:
    """The config files, the project's Dockerfile, and a way to load them."""

    def __init__(self, directory: Path) -> None:
        self.scaffold = directory / "scaffold"
        self.scaffold.mkdir(exist_ok=True)
        self.user, self.project = directory / "user.toml", self.scaffold / "config.toml"
        self.dockerfile = self.scaffold / "Dockerfile"

    def load(
        self,
        user: str | None = None,
        project: str | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str | None] | None = None,
        trusted: Callable[[ProjectFiles], bool] = never_trusted,
    ) -> Settings:
        for path, text in ((self.user, user), (self.project, project)):
            if text is not None:
                path.write_text(text)
        return resolve(self.user, ProjectFiles.read(self.scaffold), environ or {}, flags or {}, trusted).settings

    def error(
        self,
        user: str | None = None,
        project: str | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str | None] | None = None,
        *,
        code: int = 2,
    ) -> ConfinedError:
        with pytest.raises(ConfinedError) as caught:
            self.load(user, project, environ, flags)
        assert caught.value.exit_code == code
        assert caught.value.hint
        return caught.value


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# Who wins


def test_missing_and_empty_files_set_nothing(files: Files) -> None:
    assert files.load() == Settings()
    assert files.load(user="", project="# nothing\n") == Settings()


def test_each_source_wins_over_those_before_it(files: Files) -> None:
    assert files.load(user='network = "docker:user"').network == "docker:user"
    assert files.load(project='network = "none"').network == "none"
    environ = {"CONFINED_CLAUDE_NETWORK": "docker:environment"}
    assert files.load(environ=environ).network == "docker:environment"
    assert files.load(environ=environ, flags={"network": "docker:flag"}).network == "docker:flag"
    assert files.load(environ=environ, flags={"network": None}).network == "docker:environment"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("claude_config", "project"),
        ("caches", "project"),
        ("claude_version", "2.1.330"),
        ("base", "debian"),
        ("base", "debian@sha256:" + "0f" * 32),
        ("base", "registry.example:5000/team/debian_12.1:bookworm-slim"),
        ("network", "docker:my_net.1"),
        ("network", "allowlist"),
        ("network", "open"),
        ("sudo", "full"),
        ("plugin_scripts", "on"),
        ("git", "open"),
    ],
)
def test_every_setting_can_come_from_the_user_the_environment_and_a_flag(name: str, value: str, tmp_path: Path) -> None:
    expected = Settings(**{name: value})
    assert Files(tmp_path).load(environ={f"CONFINED_CLAUDE_{name.upper()}": value}) == expected
    assert Files(tmp_path).load(flags={name: value}) == expected
    assert Files(tmp_path).load(user=f'{name} = "{value}"') == expected


def test_an_empty_variable_and_those_of_others_set_nothing(files: Files) -> None:
    environ = {"CONFINED_CLAUDE_NETWORK": "", "CONFINED_CLAUDE_NETWROK": "", "NETWORK": "none", "network": "none"}
    assert files.load(environ={**environ, "CONFINED_CLAUDE_TIMING": "1"}) == Settings()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("netwrok", "network"), ("Network", "network"), ("host-ports", "host_ports"), ("ram", ""), ("quux", "")],
)
def test_a_misspelt_name_is_an_error_with_the_nearest_one(wrong: str, right: str, files: Files) -> None:
    error = files.error(user=f'{wrong} = "none"')
    assert f"{files.user}: {wrong}" in error.message
    assert error.hint == (f"Did you mean {right}?" if right else f"There are: {', '.join(SPECS)}.")
    variable = f"CONFINED_CLAUDE_{wrong.upper().replace('-', '_')}"
    if right and variable != SPECS[right].variable:
        error = files.error(user="", environ={variable: "none"})
        assert variable in error.message
        assert error.hint == f"Did you mean {SPECS[right].variable}?"


def test_a_variable_like_no_settings_is_an_error_with_all_of_them(files: Files) -> None:
    error = files.error(environ={"CONFINED_CLAUDE_XYZZY": "1"})
    assert "CONFINED_CLAUDE_XYZZY" in error.message
    assert "CONFINED_CLAUDE_WRITABLE." in error.hint


def test_a_file_as_windows_editors_write_it(files: Files) -> None:
    files.user.write_bytes(b'\xef\xbb\xbfnetwork = "none"\r\nprotect = [\r\n  "a",\r\n]\r\n')
    assert files.load() == Settings(network="none", protect=("a",))
    files.user.write_bytes(b"\xef\xbb\xbf")
    assert files.load() == Settings()


# What a project may


@pytest.mark.parametrize(("name", "value"), NARROW)
def test_a_project_may_narrow(name: str, value: str, files: Files) -> None:
    assert files.load(project=f'{name} = "{value}"') == Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "users", "asked", "expected"),
    [
        ("network", "open", "allowlist", "allowlist"),
        ("network", "open", "none", "none"),
        ("network", "docker:wide", "none", "none"),
        ("network", "allowlist", "none", "none"),
        ("network", "allowlist", "allowlist", "allowlist"),
        ("network", "none", "allowlist", "none"),
        # It may be one with no way out at all.
        ("network", "docker:mine", "allowlist", "docker:mine"),
        ("sudo", "full", "off", "off"),
        ("plugin_scripts", "on", "off", "off"),
        ("git", "open", "isolated", "isolated"),
    ],
)
def test_a_project_gets_the_narrower_of_its_value_and_the_users(
    name: str, users: str, asked: str, expected: str, files: Files
) -> None:
    assert getattr(files.load(user=f'{name} = "{users}"', project=f'{name} = "{asked}"'), name) == expected


@pytest.mark.parametrize(("name", "value"), NARROW)
def test_a_projects_default_does_not_undo_the_users_narrowing(name: str, value: str, files: Files) -> None:
    user, project = f'{name} = "{value}"', f'{name} = "{DEFAULT[name]}"'
    assert getattr(files.load(user=user, project=project), name) == value


@pytest.mark.parametrize("name", LIMITS)
def test_a_projects_limits_come_in_addition_to_the_users(name: str, files: Files) -> None:
    value = LIMITS[name]
    assert getattr(files.load(project=f'{name} = "{value}"'), name) == (*DEFAULT[name], value)
    assert getattr(files.load(user=f'{name} = "{value}"'), name) == (value, value)
    # Also where it says what the default is: the user may have more.
    assert getattr(files.load(project=f'{name} = "{DEFAULT[name][0]}"'), name) == (value, *DEFAULT[name])
    assert getattr(files.load(flags={name: value}), name) == (value,)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(("name", "value"), [("sudo", "full"), ("plugin_scripts", "on")])
def test_a_project_never_gets_what_is_the_users_alone_to_allow(
    name: str, value: str, trusted: bool, files: Files
) -> None:
    with pytest.raises(ConfinedError, match=f"a project cannot ask for {name} = '{value}'") as caught:
        files.load(project=f'{name} = "{value}"', trusted=lambda _files: trusted)
    assert not isinstance(caught.value, ReviewNeeded)
    assert f"CONFINED_CLAUDE_{name.upper()}={value}" in caught.value.hint
    assert str(files.project) in caught.value.message
    with pytest.raises(ConfinedError, match="a project cannot ask"):
        ProjectFiles.read(files.scaffold).requests()


@pytest.mark.parametrize("asked", WIDER)
def test_a_project_may_not_grant_itself_more(asked: str, files: Files) -> None:
    error = files.error(project=asked, code=4)
    name, _, value = asked.partition(" = ")
    assert str(files.scaffold) in error.message
    assert f"{name} = " in error.message
    assert value.strip('"[]') in error.message
    assert [bool(request.consequence) for request in ProjectFiles.read(files.scaffold).requests()] == [True]
    assert "confined-claude trust" in error.hint


@pytest.mark.parametrize("asked", WIDER)
def test_a_project_that_is_trusted_gets_more_and_only_by_this_very_text(asked: str, files: Files) -> None:
    (name, value) = tomllib.loads(asked).popitem()
    expected = tuple(map(str, value)) if isinstance(value, list) else value

    def trusted(found: ProjectFiles) -> bool:
        return found.config == asked

    assert getattr(files.load(project=asked, trusted=trusted), name) == expected
    with pytest.raises(ReviewNeeded):
        files.load(project=f"{asked} ", trusted=trusted)


def test_trust_is_not_asked_for_what_needs_none(files: Files) -> None:
    def trusted(_files: ProjectFiles) -> bool:
        raise AssertionError

    text = 'network = "none"\ngit = "isolated"\nprotect = ["a"]\nwritable = []\nclaude_version = "latest"\n'
    assert files.load(project=text, trusted=trusted) == Settings(network="none", git="isolated", protect=("a",))


def test_a_project_may_not_repeat_what_the_user_granted(files: Files) -> None:
    files.error(user='network = "docker:mine"', project='network = "docker:mine"', code=4)


def test_what_a_project_protects_comes_in_addition(files: Files) -> None:
    assert files.load(user='protect = ["mine"]', project='protect = ["its"]').protect == ("mine", "its")
    assert files.load(project="protect = []").protect == ("mine",)


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.kind is Kind.LIST])
def test_lists_come_from_toml_and_with_commas_from_environment_and_flags(name: str, tmp_path: Path) -> None:
    # Any two that every list takes.
    first, second = next(two for two in (("80", "443"), ("a.x", "b.c"), ("a@x", "b@c")) if SPECS[name].allows(two[1]))
    expected = Settings(**{name: (first, second)})
    assert Files(tmp_path).load(environ={f"CONFINED_CLAUDE_{name.upper()}": f"{first},{second}"}) == expected
    assert Files(tmp_path).load(flags={name: f"{first},{second}"}) == expected
    assert Files(tmp_path).load(user=f'{name} = ["{first}", "{second}"]') == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('push = "ask"', "ask"),
        ('push = ["agent/*"]', "agent/*"),
        ('push = ["agent/*", "docs"]', "agent/*,docs"),
    ],
)
def test_pushes_are_a_word_or_a_list_of_branches(files: Files, text: str, expected: str) -> None:
    assert files.load(user=text).push == expected
    assert files.load(flags={"push": expected}).push == expected
    assert files.load(user=text, project='push = "never"').push == "never"
    files.error(project=text)


@pytest.mark.parametrize("text", ['"always"', '["yes"]', "true", "[]", '["a b"]', '["-x"]', '[["a"]]'])
def test_what_is_no_branch_is_refused(files: Files, text: str) -> None:
    assert "push cannot be" in files.error(user=f"push = {text}").message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host_ports = [5432, 80]", ("5432", "80")),
        ('ports = [8000, "80"]', ("8000", "80")),
        ("pids = 100", ("100",)),
        ("cpus = 2", ("2",)),
        ("cpus = 1.5", ("1.5",)),
    ],
)
def test_numbers_need_no_quotes(text: str, expected: tuple[str, ...], files: Files) -> None:
    assert getattr(files.load(user=text), text.split(maxsplit=1)[0]) == expected


def test_the_requests_of_a_project_have_their_values_and_consequences(files: Files) -> None:
    files.project.write_text("\n".join((WIDER[1], WIDER[-1], 'caches = "project"', 'protect = ["x"]', "pids = 10")))
    files.dockerfile.write_text(DOCKERFILE)
    found = ProjectFiles.read(files.scaffold).requests()
    assert [request.what for request in found] == ["network = 'docker:host'", "writable = '.vscode'", "Dockerfile"]
    assert all(request.consequence for request in found)
    files.project.unlink()
    files.dockerfile.unlink()
    assert ProjectFiles.read(files.scaffold).requests() == ()


def test_the_user_may_take_back_a_projects_narrowing(files: Files) -> None:
    assert files.load(project='network = "none"', environ={"CONFINED_CLAUDE_NETWORK": "open"}).network == "open"
    assert files.load(flags={"network": "open"}).network == "open"


NETWORKS = ("none", "allowlist", "internet", "open")
VALUES = "open none internet allowlist shared project docker:x isolated guarded apt off full on 100 50%".split()


@given(
    asked=st.dictionaries(
        st.sampled_from([name for name, spec in SPECS.items() if spec.kind is not Kind.LIST]),
        st.sampled_from(["", *VALUES]),
    ),
    users=st.sampled_from([*NETWORKS, "docker:users"]),
)
def test_no_project_file_gives_more_than_the_user_has(asked: dict[str, str], users: str, tmp_path: Path) -> None:
    files = Files(tmp_path)
    text = "".join(f'{name} = "{value}"\n' for name, value in asked.items())
    narrow = 'caches = "project"\ngit = "isolated"\nsudo = "off"\nplugin_scripts = "off"\npids = 50\n'
    try:
        settings = files.load(user=f'network = "{users}"\n{narrow}', project=text)
    except ConfinedError:
        return
    no_wider = NETWORKS[: NETWORKS.index(users) + 1] if users in NETWORKS else (users, "none")
    assert settings.network in no_wider
    assert (settings.caches, settings.git, settings.sudo) == ("project", "isolated", "off")
    assert settings.plugin_scripts == "off"
    assert "50" in settings.pids


# Mistakes


@pytest.mark.parametrize("file", ["user", "project"])
def test_an_unknown_name_in_a_file(file: str, files: Files) -> None:
    error = files.error(**{file: 'netwrok = "none"'})
    assert str(getattr(files, file)) in error.message
    assert "netwrok" in error.message
    assert "network" in error.hint


def test_an_unknown_flag(files: Files) -> None:
    assert "colour" in files.error(flags={"colour": "red"}).message


@pytest.mark.parametrize("value", ["1", "true", '["none"]', "{ none = true }", "1.5", "2026-01-01", '["a", "b"]'])
@pytest.mark.parametrize("file", ["user", "project"])
def test_a_value_of_the_wrong_type(file: str, value: str, files: Files) -> None:
    error = files.error(**{file: f"network = {value}"})
    assert "network" in error.message
    assert str(getattr(files, file)) in error.message
    assert "open, or docker:NAME, in quotes" in error.hint


def test_a_table_of_a_settings_name(files: Files) -> None:
    assert "network" in files.error(user="[network]\nmode = 1").message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", ""),
        ("network", "host"),
        ("network", "OPEN"),
        ("network", "none "),
        ("network", "none\n"),
        ("network", "docker:"),
        ("network", "docker:-x"),
        ("network", "docker:a b"),
        ("network", "docker:container:x"),
        ("caches", "none"),
        ("claude_config", "/home/someone/.claude"),
        ("claude_version", ""),
        ("claude_version", "-1"),
        ("claude_version", "1.0; touch x"),
        ("claude_version", "$(id)"),
        ("claude_version", "../../evil"),
        ("claude_version", "npm:other@1"),
        *(
            ("base", name)
            for name in ("", "-x", "Debian", "a b", "a:", "a:b:c", "a@sha256:0", "/a", "a/", "a//b", "a\n", "$(id)")
        ),
        ("git", "closed"),
        ("sudo", "on"),
        ("plugin_scripts", "apt"),
        *(
            ("packages", name)
            for name in ("x", "Hello", "-y", "a b", "a;b", "a=1", "a/b", "a:b", "$(id)", "hello-", "a\n")
        ),
        *(("pids", text) for text in ("0", "-1", "many", "1.5", "10000000", "50%")),
        *(("memory", text) for text in ("8", "0g", "-1g", "8t", "1.5g", "8 g", "0%", "101%", "8gb")),
        *(("cpus", text) for text in ("0", "0.0", "-1", "1.555", "101%", "0%", ".5", "1e3")),
    ],
)
def test_a_value_that_is_none_of_the_settings(name: str, value: str, files: Files) -> None:
    assert repr(value) in files.error(flags={name: value}).message
    if value:
        error = files.error(environ={f"CONFINED_CLAUDE_{name.upper()}": value})
        assert "the environment" in error.message
        assert name in error.message


@pytest.mark.parametrize("name", ["protect", "hide", "writable"])
@pytest.mark.parametrize(
    "value",
    ["", "/etc", " a", "a ", "../a", "a/../b", "a/..", ".", "./a", ".git", ".git/config", ".confined-claude/x"]  # noqa: RUF005
    + ["*", "**", "*/x", "*/**", "a**", "a/***", "a/**/", "a/**/b", "**/b", ".git/**", "a\\nb", "a,b"],
)
def test_a_path_that_leads_out_or_opens_the_guard_itself_is_none(name: str, value: str, files: Files) -> None:
    error = files.error(user=f'{name} = ["fine", "{value}"]')
    assert f"{name} cannot be" in error.message
    assert "paths in the project, * in a name" in error.hint
    assert ("** is no pattern: `ops/` is that directory with all that is in it" in error.hint) == ("**" in value)


@pytest.mark.parametrize("name", ["protect", "writable"])
def test_all_in_a_directory_may_be_named_as_in_version_0_1(name: str, files: Files) -> None:
    assert files.load(user=f'{name} = ["ops/**", "a/*/**"]') == Settings(**{name: ("ops/**", "a/*/**")})


def test_two_stars_hide_nothing(files: Files) -> None:
    assert "`ops/`" in files.error(user='hide = ["ops/**"]').hint


HOSTS = (
    "example.com",
    "*.example.com",
    "a.b-c.example.com:443",
    "localhost",
    "x_y.example",
    "8.8.8.8.example:65535",
    "3com",
)
NO_HOSTS = (
    *(
        "",
        "*",
        "*.",
        "*:443",
        "a.*.com",
        "exa*mple.com",
        "**.example.com",
        ".example.com",
        "example..com",
        "example.com.",
    ),
    *("8.8.8.8", "8.8.8.8:53", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.0x1", "017700000001", "1.2.3.0X4"),
    *("::1", "[::1]", "[::1]:80", "fe80::1", "::ffff:1.2.3.4", "*.8.8.8", "a.1", "10.0.0.0/8"),
    *("https://example.com", "//example.com", "example.com/", "example.com/path", "user@example.com", "example.com?x"),
    *("example.com:", "example.com:0", "example.com:080", "example.com:65536", "example.com:99999", "example.com:x"),
    *(
        "example.com:443:443",
        "-a.com",
        "a-.com",
        "a b.com",
        " a.com",
        "a.com ",
        "ä.com",
        f"{'a' * 64}.com",
        "a.com:٤٤٣",
    ),
)


@pytest.mark.parametrize("value", HOSTS)
def test_a_host_that_may_be_allowed(value: str, files: Files) -> None:
    assert files.load(flags={"allow": value}).allow == (value,)


@pytest.mark.parametrize("value", NO_HOSTS)
def test_what_is_no_host_is_refused(value: str, files: Files) -> None:
    error = files.error(user=f'allow = ["fine.example", "{value}"]')
    assert "allow cannot be" in error.message
    assert "a list of host, *.domain or host:port, each in quotes, without https:// and without IP" in error.hint


@given(st.ip_addresses())
def test_no_address_passes_for_a_host(address: IPv4Address | IPv6Address) -> None:
    pattern = SPECS["allow"].pattern
    texts = [
        str(address),
        address.exploded,
        f"[{address}]",
        str(int(address)),
        hex(int(address)),
        oct(int(address))[2:],
    ]
    for text in texts:
        assert not re.fullmatch(pattern, text)
        assert not re.fullmatch(pattern, f"{text}:443")


@pytest.mark.parametrize("name", ["ports", "host_ports"])
@given(number=st.integers(-70000, 70000 * 2))
def test_a_port_is_a_number_from_1_to_65535(name: str, number: int) -> None:
    pattern = SPECS[name].pattern
    assert bool(re.fullmatch(pattern, str(number))) == (1 <= number <= 65535)
    assert not re.fullmatch(pattern, f"0{number}")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "pids = true",
            "pids = [1.0]",
            "pids = []",
            "memory = [8]",
            "pids = [[10]]",
            "pids = 1.0",
            "cpus = nan",
            "cpus = inf",
            "memory = 8",
        ),
        *("ports = [true]", "ports = 80", "ports = [80.0]", "host_ports = [[80]]"),
        *("packages = [10]", "protect = [10]", "claude_version = 2.10"),
    ],
)
def test_a_number_where_none_belongs(text: str, files: Files) -> None:
    assert f"{text.split(maxsplit=1)[0]} cannot be" in files.error(user=text).message


@pytest.mark.parametrize("name", ["pids", "network", "nothing"])
def test_a_number_of_thousands_of_digits_is_a_clear_error(name: str, files: Files) -> None:
    assert str(files.project) in files.error(project=f"{name} = 0x{'f' * 9000}").message


@pytest.mark.parametrize("value", ['"a"', "[1]", '[["a"]]', "{}", "true"])
def test_what_is_no_list_of_paths(value: str, files: Files) -> None:
    assert "protect cannot be" in files.error(user=f"protect = {value}").message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[env]\nTOKEN = "hunter2"', "a table"),
        ('env = "TOKEN=hunter2"', "a text"),
        ('env = [["TOKEN=hunter2"]]', "['a list']"),
        ('env = [{TOKEN = "hunter2"}]', "['a table']"),
        ('env = ["TO KEN=hunter2"]', "['"),
        ('[[env]]\nTOKEN = "hunter2"', "['a table']"),
    ],
)
def test_a_message_on_what_is_no_list_has_no_value(text: str, said: str, files: Files) -> None:
    message = files.error(user=text).message
    assert f"env cannot be {said}" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("file", ["user", "project"])
@pytest.mark.parametrize("content", [b'network = "none', b"network none", b'network = "none"\nnetwork = "open"', b"{}"])
def test_a_file_that_is_not_toml(file: str, content: bytes, files: Files) -> None:
    path: Path = getattr(files, file)
    path.write_bytes(content)
    error = files.error()
    assert f"{path} is not valid TOML" in error.message
    assert "Correct" in error.hint


def test_outside_a_project_there_is_no_project_file(files: Files) -> None:
    files.user.write_text('caches = "project"')
    assert resolve(files.user, None, {}, {}).settings == Settings(caches="project")


@pytest.mark.parametrize("file", ["user", "project"])
def test_a_file_that_may_not_be_read(file: str, plain_folder: Path) -> None:
    def work() -> None:
        files = Files(plain_folder)
        path: Path = getattr(files, file)
        path.write_text("")
        path.chmod(0)
        files.load()

    with pytest.raises(ConfinedError, match="Permission denied") as caught:
        as_plain_user(work)
    assert str(getattr(Files(plain_folder), file)) in caught.value.message
    assert "permission" in caught.value.hint


@given(content=st.binary())
def test_whatever_a_session_leaves_as_config_is_settings_or_a_clear_error(content: bytes, tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.project.write_bytes(content)
    try:
        settings = files.load()
    except ConfinedError as error:
        assert str(files.project) in error.message
    else:
        assert settings.network in ("internet", "allowlist", "none")


def test_deeply_nested_toml_is_a_clear_error(files: Files) -> None:
    files.error(project="x = " + "[" * 5000 + "]" * 5000)


@pytest.mark.timeout(120)
def test_a_fifo_in_place_of_a_file_does_not_hang(files: Files) -> None:
    os.mkfifo(files.project)
    files.error()


# The project's Dockerfile


@pytest.mark.parametrize("text", [None, "", "\n\n", "# ARG BASE\n  # FROM x\n\t\n"])
def test_a_dockerfile_of_comments_asks_for_nothing(text: str | None, files: Files) -> None:
    if text is not None:
        files.dockerfile.write_text(text)
    assert ProjectFiles.read(files.scaffold).dockerfile == ""
    assert files.load() == Settings()


@pytest.mark.parametrize(
    "text",
    [
        DOCKERFILE,
        DOCKERFILE.rstrip(),
        DOCKERFILE.replace("\n", "\r\n"),
        "# what for\n\narg  BASE=debian\n  from $BASE\n",
        DOCKERFILE + "COPY --from=debian /etc/issue /\nRUN echo \\\n  # why\n  FROM x\n",
    ],
)
def test_a_dockerfile_needs_trust_and_is_kept_to_the_letter(text: str, files: Files) -> None:
    files.dockerfile.write_bytes(text.encode())
    found = ProjectFiles.read(files.scaffold)
    assert found.dockerfile == text
    error = files.error(code=4)
    assert f"{files.scaffold} asks for more than a project may give itself: Dockerfile." in error.message
    assert files.load(trusted=found.__eq__) == Settings()


@pytest.mark.parametrize(
    "text",
    [
        "RUN true",
        "FROM debian\nRUN true",
        "FROM ${BASE}\nRUN true",
        "ARG BASE",
        "ARG BASE\nFROM debian",
        "ARG BASE\nFROM ${base}",
        "ARG BASE\nFROM ${BASE}-x",
        "ARG BASE\nFROM ${BASE} AS first",
        "ARG BASE\nFROM --platform=linux/arm64 ${BASE}",
        "ARG OTHER\nFROM ${BASE}",
        DOCKERFILE + "from debian",
        DOCKERFILE + "FROM \\\n debian",
        "FROM debian AS first\n" + DOCKERFILE,
        "\\",
    ],
)
def test_a_dockerfile_that_is_not_on_top_of_the_image_is_refused(text: str, files: Files) -> None:
    files.dockerfile.write_text(text)
    error = files.error()
    assert f"{files.dockerfile} is not based on the session image" in error.message
    assert "ARG BASE" in error.hint


@pytest.mark.parametrize("ending", ["RUN a \\", "RUN a \\\n\n# end\n", "RUN a \\  "])
def test_a_dockerfile_that_would_swallow_what_is_appended_is_refused(ending: str, files: Files) -> None:
    files.dockerfile.write_text(DOCKERFILE + ending)
    assert "ends in the middle of an instruction" in files.error().message


@given(content=st.binary() | st.text(st.sampled_from("ARG BSEFOM${}\\\n #x")).map(str.encode))
def test_whatever_a_session_leaves_as_dockerfile_is_one_or_a_clear_error(content: bytes, tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.dockerfile.write_bytes(content)
    try:
        found = ProjectFiles.read(files.scaffold)
    except ConfinedError as error:
        assert str(files.dockerfile) in error.message
    else:
        assert found.dockerfile in ("", content.decode())


# The scaffold

TEMPLATE = Path(__file__).resolve().parents[2] / "template/.confined-claude"
EXAMPLES = re.findall(r"^# (\w+ = .*)$", (TEMPLATE / "config.toml.jinja").read_text(), re.MULTILINE)
SCHEMA = json.loads((TEMPLATE / "config.schema.json").read_text())


def test_the_scaffold_as_it_comes_asks_for_nothing() -> None:
    text = re.sub("{%.*?%}", "", (TEMPLATE / "config.toml.jinja").read_text())
    settings = "\n".join(line for line in text.splitlines() if "{{" not in line and not line.startswith("yolo"))
    assert resolve(None, ProjectFiles(TEMPLATE, settings), {}, {}).settings == Settings()
    assert ProjectFiles.read(TEMPLATE).dockerfile == ""


def is_valid(text: str) -> bool:
    return jsonschema.Draft7Validator(SCHEMA).is_valid(tomllib.loads(text))


WORDS = [
    "",
    "none",
    "on",
    "off",
    "project",
    "8g",
    "50%",
    "graphviz",
    "a b",
    "*.example.com",
    "x:0",
    "../y",
    "A=1",
    "host",
]


@given(
    st.sampled_from([*SPECS, "nonsense"]),
    st.one_of(entries := st.sampled_from([*WORDS, 0, 1, 5432, 1.5, True, {}]), st.lists(entries, max_size=2)),
)
def test_the_schema_takes_what_the_tool_takes(name: str, value: object) -> None:
    text = f"{name} = {json.dumps(value)}"
    try:
        ProjectFiles(Path("/nowhere"), text).values()
    except ConfinedError as error:
        assert not is_valid(text) or "cannot have" in error.message  # a list of names is beyond a schema
    else:
        assert is_valid(text)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_scaffold_is_a_setting_and_says_if_it_needs_trust(example: str, tmp_path: Path) -> None:
    assert is_valid(example)
    asked = ProjectFiles(tmp_path, example).requests()
    assert bool(asked) == ("needs trust" in example)
    # The user's own, who may have allowed what a project then takes back.
    own = tmp_path / "user.toml"
    own.write_text('plugin_scripts = "on"\npush = "ask"\n[secrets.GH_TOKEN]\nvariable = "X"')
    settings = resolve(own, ProjectFiles(tmp_path, example), {}, {}, lambda _files: True).settings
    assert settings != resolve(own, None, {}, {}).settings


def test_every_setting_but_those_of_a_person_is_an_example_of_the_scaffold() -> None:
    named = {example.split()[0] for example in EXAMPLES}
    assert named == set(DEFAULT) - {
        "profile",
        "claude_version",
        "base",
        "setup",
        "ssh_agent",
        "writable",
        "runtime",
        "gpus",
    }


def test_the_scaffolds_dockerfile_is_one_once_it_is_uncommented(tmp_path: Path) -> None:
    _, _, example = (TEMPLATE / "Dockerfile").read_text().partition("\n\n")
    text = re.sub("^# ", "", example, flags=re.MULTILINE)
    assert text.startswith("ARG BASE")
    assert dockerfile.checked(text, tmp_path) == text


def test_a_secret_that_is_not_defined_is_sought_where_it_is_named(tmp_path: Path) -> None:
    user_file = tmp_path / "config.toml"
    for text, places in (
        ('[secrets.TOKEN]\nvariable = "X"\n', "--secrets"),
        ('[secrets.TOKEN]\nvariable = "X"\nalways = true\n', "--secrets"),
        ('secrets = ["OTHER"]\n', f"{user_file} and --secrets"),
    ):
        user_file.write_text(text)
        with pytest.raises(ConfinedError) as caught:
            resolve(user_file, None, {}, {"secrets": "OTHER"})
        assert caught.value.message == f"There is no secret OTHER, which is named by {places}."
