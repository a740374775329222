"""The settings: who wins, who may only narrow, and what each mistake says."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.settings import Settings, load, wishes

from .conftest import as_plain_user

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NARROW = {"network": "none", "claude_config": "project", "caches": "project", "git": "isolated"}
DEFAULT = {"network": "open", "claude_config": "shared", "caches": "shared", "git": "guarded"}
WIDER = (
    'network = "docker:host"',
    'network = "docker:bridge"',
    'claude_version = "2.1.0"',
    'claude_version = "next"',
    'git = "open"',
    'writable = [".vscode"]',
)


class Files:
    """The two config files and a way to load them."""

    def __init__(self, folder: Path) -> None:
        self.user, self.project = folder / "user.toml", folder / "project.toml"

    def load(
        self,
        user: str | None = None,
        project: str | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str | None] | None = None,
        trusted: Callable[[str], bool] = lambda _text: False,
    ) -> Settings:
        for path, text in ((self.user, user), (self.project, project)):
            if text is not None:
                path.write_text(text)
        return load(self.user, self.project, environ or {}, flags or {}, trusted)

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


def test_without_files_the_defaults_are_in_force(files: Files) -> None:
    assert files.load() == Settings(
        claude_config="shared",
        caches="shared",
        claude_version="latest",
        network="open",
        git="guarded",
        protect=(),
        writable=(),
    )


def test_empty_files_set_nothing(files: Files) -> None:
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
        ("network", "docker:my_net.1"),
        ("git", "open"),
    ],
)
def test_every_setting_can_come_from_the_user_the_environment_and_a_flag(name: str, value: str, tmp_path: Path) -> None:
    expected = Settings(**{name: value})
    assert Files(tmp_path).load(environ={f"CONFINED_CLAUDE_{name.upper()}": value}) == expected
    assert Files(tmp_path).load(flags={name: value}) == expected
    assert Files(tmp_path).load(user=f'{name} = "{value}"') == expected


def test_an_empty_variable_and_those_of_others_set_nothing(files: Files) -> None:
    environ = {"CONFINED_CLAUDE_NETWORK": "", "CONFINED_CLAUDE_COLOUR": "red", "NETWORK": "none", "network": "none"}
    assert files.load(environ=environ) == Settings()


# What a project may


@pytest.mark.parametrize("name", NARROW)
def test_a_project_may_narrow(name: str, files: Files) -> None:
    assert files.load(project=f'{name} = "{NARROW[name]}"') == Settings(**{name: NARROW[name]})


def test_a_project_may_narrow_what_the_user_widened(files: Files) -> None:
    assert files.load(user='network = "docker:wide"', project='network = "none"').network == "none"


@pytest.mark.parametrize("name", NARROW)
def test_a_projects_default_does_not_undo_the_users_narrowing(name: str, files: Files) -> None:
    user, project = f'{name} = "{NARROW[name]}"', f'{name} = "{DEFAULT[name]}"'
    assert getattr(files.load(user=user, project=project), name) == NARROW[name]


@pytest.mark.parametrize("asked", WIDER)
def test_a_project_may_not_grant_itself_more(asked: str, files: Files) -> None:
    error = files.error(project=asked, code=4)
    name, _, value = asked.partition(" = ")
    assert str(files.project) in error.message
    assert f"{name} = " in error.message
    assert value.strip('"[]') in error.message
    assert "confined-claude trust" in error.hint


@pytest.mark.parametrize("asked", WIDER)
def test_a_project_that_is_trusted_gets_more_and_only_by_this_very_text(asked: str, files: Files) -> None:
    (name, value) = tomllib.loads(asked).popitem()
    expected = tuple(value) if isinstance(value, list) else value
    assert getattr(files.load(project=asked, trusted=asked.__eq__), name) == expected
    with pytest.raises(ReviewNeeded):
        files.load(project=f"{asked} ", trusted=asked.__eq__)


def test_trust_is_not_asked_for_what_needs_none(files: Files) -> None:
    def trusted(_text: str) -> bool:
        raise AssertionError

    text = 'network = "none"\ngit = "isolated"\nprotect = ["a"]\nwritable = []\nclaude_version = "latest"\n'
    assert files.load(project=text, trusted=trusted) == Settings(network="none", git="isolated", protect=("a",))


def test_a_project_may_not_repeat_what_the_user_granted(files: Files) -> None:
    files.error(user='network = "docker:mine"', project='network = "docker:mine"', code=4)


def test_what_a_project_protects_comes_in_addition(files: Files) -> None:
    assert files.load(user='protect = ["mine"]', project='protect = ["its"]').protect == ("mine", "its")
    assert files.load(project="protect = []").protect == ("mine",)


def test_lists_come_from_toml_and_with_commas_from_the_environment(files: Files) -> None:
    expected = Settings(protect=("a/b", "*.x"), writable=(".vscode",))
    assert files.load(user='protect = ["a/b", "*.x"]\nwritable = [".vscode"]') == expected
    files.user.unlink()
    environ = {"CONFINED_CLAUDE_PROTECT": "a/b,*.x", "CONFINED_CLAUDE_WRITABLE": ".vscode"}
    assert files.load(environ=environ) == expected


def test_the_wishes_of_a_project_have_their_values_and_consequences(files: Files) -> None:
    text = "\n".join((WIDER[0], WIDER[-1], 'caches = "project"', 'protect = ["x"]'))
    files.project.write_text(text)
    told, found = wishes(files.project)
    assert told == text
    assert [(wish.name, wish.value) for wish in found] == [("network", "'docker:host'"), ("writable", "'.vscode'")]
    assert all(wish.consequence for wish in found)
    files.project.unlink()
    assert wishes(files.project) == ("", ())


def test_the_user_may_take_back_a_projects_narrowing(files: Files) -> None:
    assert files.load(project='network = "none"', environ={"CONFINED_CLAUDE_NETWORK": "open"}).network == "open"
    assert files.load(flags={"network": "open"}).network == "open"


@given(
    asked=st.dictionaries(
        st.sampled_from(sorted(DEFAULT)),
        st.sampled_from(["open", "none", "shared", "project", "docker:x", "isolated", "guarded", ""]),
    ),
    users=st.sampled_from(["open", "none", "docker:users"]),
)
def test_no_project_file_gives_more_than_the_user_has(asked: dict[str, str], users: str, tmp_path: Path) -> None:
    files = Files(tmp_path)
    text = "".join(f'{name} = "{value}"\n' for name, value in asked.items())
    try:
        settings = files.load(user=f'network = "{users}"\ncaches = "project"\ngit = "isolated"', project=text)
    except ConfinedError:
        return
    assert settings.network in (users, "none")
    assert settings.caches == "project"
    assert settings.git == "isolated"


# Mistakes


@pytest.mark.parametrize("file", ["user", "project"])
def test_an_unknown_name_in_a_file(file: str, files: Files) -> None:
    error = files.error(**{file: 'netwrok = "none"'})
    assert str(getattr(files, file)) in error.message
    assert "netwrok" in error.message
    assert "network" in error.hint


def test_an_unknown_flag(files: Files) -> None:
    assert "sudo" in files.error(flags={"sudo": "full"}).message


@pytest.mark.parametrize("value", ["1", "true", '["none"]', "{ none = true }", "1.5", "2026-01-01", '["a", "b"]'])
@pytest.mark.parametrize("file", ["user", "project"])
def test_a_value_of_the_wrong_type(file: str, value: str, files: Files) -> None:
    error = files.error(**{file: f"network = {value}"})
    assert "network" in error.message
    assert str(getattr(files, file)) in error.message
    assert "open, none, or docker:NAME" in error.hint


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
        ("git", "closed"),
    ],
)
def test_a_value_that_is_none_of_the_settings(name: str, value: str, files: Files) -> None:
    assert repr(value) in files.error(flags={name: value}).message
    if value:
        error = files.error(environ={f"CONFINED_CLAUDE_{name.upper()}": value})
        assert "the environment" in error.message
        assert name in error.message


@pytest.mark.parametrize("name", ["protect", "writable"])
@pytest.mark.parametrize(
    "value",
    ["", "/etc", " a", "a ", "../a", "a/../b", "a/..", ".", "./a", ".git", ".git/config", ".confined-claude/x"]  # noqa: RUF005
    + ["*", "**", "*/x", "a\\nb", "a,b"],
)
def test_a_path_that_leads_out_or_opens_the_guard_itself_is_none(name: str, value: str, files: Files) -> None:
    error = files.error(user=f'{name} = ["fine", "{value}"]')
    assert f"{name} cannot be" in error.message
    assert "a list of paths in the project" in error.hint


@pytest.mark.parametrize("value", ['"a"', "[1]", '[["a"]]', "{}", "true"])
def test_what_is_no_list_of_paths(value: str, files: Files) -> None:
    assert "protect cannot be" in files.error(user=f"protect = {value}").message


@pytest.mark.parametrize("file", ["user", "project"])
@pytest.mark.parametrize("content", [b'network = "none', b"network none", b'network = "none"\nnetwork = "open"', b"{}"])
def test_a_file_that_is_not_toml(file: str, content: bytes, files: Files) -> None:
    path: Path = getattr(files, file)
    path.write_bytes(content)
    error = files.error()
    assert f"{path} is not valid TOML" in error.message
    assert "Correct" in error.hint


@pytest.mark.parametrize("file", ["user", "project"])
def test_a_file_that_is_no_text(file: str, files: Files) -> None:
    path: Path = getattr(files, file)
    path.write_bytes(b"network = \xff\xfe")
    error = files.error()
    assert f"Cannot read {path}" in error.message
    assert "UTF-8" in error.message


@pytest.mark.parametrize("file", ["user", "project"])
def test_a_huge_file(file: str, files: Files) -> None:
    path: Path = getattr(files, file)
    with open(path, "wb") as sparse:
        sparse.truncate(1 << 40)
    assert f"Cannot read {path}" in files.error().message


def test_outside_a_project_there_is_no_project_file(files: Files) -> None:
    files.user.write_text('caches = "project"')
    assert load(files.user, None, {}, {}) == Settings(caches="project")


@pytest.mark.parametrize("file", ["user", "project"])
def test_a_folder_in_place_of_a_file(file: str, files: Files) -> None:
    path: Path = getattr(files, file)
    path.mkdir()
    assert f"Cannot read {path}" in files.error().message


@pytest.mark.parametrize("file", ["user", "project"])
def test_a_file_that_may_not_be_read(file: str, plain_folder: Path) -> None:
    files = Files(plain_folder)
    path: Path = getattr(files, file)

    def work() -> None:
        path.write_text("")
        path.chmod(0)
        files.load()

    with pytest.raises(ConfinedError, match="Permission denied") as caught:
        as_plain_user(work)
    assert str(path) in caught.value.message
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
        assert settings.network in ("open", "none")


def test_deeply_nested_toml_is_a_clear_error(files: Files) -> None:
    files.error(project="x = " + "[" * 5000 + "]" * 5000)


@pytest.mark.timeout(10)
def test_a_fifo_in_place_of_a_file_does_not_hang(files: Files) -> None:
    os.mkfifo(files.project)
    files.error()
