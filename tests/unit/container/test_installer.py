"""What plugins need from npm: when it is installed and how, by an npm that only notes what it is asked for."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.container.plugins import installer

from ..conftest import tree

SCRIPT = Path(installer.__file__).with_name("with-plugins")
NEEDS = {"name": "x", "dependencies": {"dep": "1.0.0"}}
NPM = """#!/bin/sh
echo "$(basename "$(dirname "$PWD")") $*" >>"$ASKED"
cat
[ -z "$BREAKS" ] || { mkdir -p node_modules/half; printf "$BREAKS" >&2; exit 1; }
[ -z "$LASTS" ] || { mkdir -p node_modules/half; sleep 60; }
[ -n "$DOES_NOTHING" ] || mkdir -p node_modules/dep
"""


class Config:
    """A Claude config with plugins, and an npm beside it."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.path = directory / "config"
        self.asked = directory / "asked"
        self._capfd = capfd
        self.path.mkdir()

    def plugin(self, name: str = "one", package: Any = NEEDS, *, market: str = "shop") -> Path:
        directory = self.path / "plugins/cache" / market / name / "1.0.0"
        directory.mkdir(parents=True)
        text = package if isinstance(package, bytes) else json.dumps(package).encode()
        (directory / "package.json").write_bytes(text)
        return directory

    def run(self) -> tuple[list[str], list[str]]:
        """What npm was asked for, by plugin, and what was said."""
        self.asked.unlink(missing_ok=True)
        assert installer.main([str(self.path)]) == 0
        said = self._capfd.readouterr()
        assert said.out == ""
        return self.asked.read_text().splitlines() if self.asked.exists() else [], said.err.splitlines()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Config:
    made = Config(tmp_path, capfd)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/npm").write_text(NPM)
    (tmp_path / "bin/npm").chmod(0o755)
    monkeypatch.setattr(installer, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(installer, "is_offline", lambda: False)
    monkeypatch.setenv("ASKED", str(made.asked))
    monkeypatch.chdir(tmp_path)  # and back again, at the end
    return made


INSTALLING = "confined-claude: Installing the npm packages that the plugin one@shop needs."
NOT_INSTALLED = "confined-claude: The npm packages that the plugin one@shop needs are not installed: "
GOES_ON = "confined-claude: The session goes on without them; the next session tries again."


# When there is nothing to do


@pytest.mark.parametrize(
    "package",
    [
        {},
        {"dependencies": {}},
        {"dependencies": None},
        {"devDependencies": {"x": "1"}},
        [],
        7,
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"dependencies": 1%s}' % (b"0" * 10_000),
    ],
)
def test_a_plugin_that_needs_nothing_gets_nothing(package: Any, config: Config) -> None:
    config.plugin(package=package)
    before = tree(config.path)
    assert config.run() == ([], [])
    assert tree(config.path) == before


def test_without_plugins_there_is_nothing_to_do(config: Config) -> None:
    assert config.run() == ([], [])
    config.path.rmdir()
    assert config.run() == ([], [])


def test_modules_that_came_with_the_plugin_or_are_a_link_stay(config: Config, tmp_path: Path) -> None:
    (config.plugin("one") / "node_modules").mkdir()
    linked = config.plugin("two")
    (tmp_path / "elsewhere").mkdir()
    (linked / "node_modules").symlink_to(tmp_path / "elsewhere")
    (linked / installer.UNFINISHED).write_text("")
    before = tree(tmp_path)
    assert config.run() == ([], [])
    assert tree(tmp_path) == before


def test_a_plugin_that_is_no_longer_installed_gets_nothing(config: Config) -> None:
    (config.plugin() / ".orphaned_at").write_text("1")
    assert config.run() == ([], [])


@pytest.mark.parametrize("depth", range(5))
def test_no_link_is_followed(depth: int, config: Config, tmp_path: Path) -> None:
    directory = config.plugin()
    place = directory.parents[depth - 1] if depth else directory
    outside = tmp_path / "outside"
    place.rename(outside)
    place.symlink_to(outside)
    before = tree(tmp_path)
    assert config.run() == ([], [])
    assert tree(tmp_path) == before


# How it is installed


@pytest.mark.parametrize(
    ("lock", "words"),
    [("package-lock.json", "ci"), ("npm-shrinkwrap.json", "ci"), ("yarn.lock", "install --no-package-lock")],
)
def test_a_lock_file_is_kept_to(lock: str, words: str, config: Config) -> None:
    directory = config.plugin()
    (directory / lock).write_text("{}")
    (asked,), said = config.run()
    assert asked.startswith(f"one {words} --")
    assert {"--omit=dev", "--no-audit", "--no-fund", "--fetch-retries=1"} < set(asked.split())
    assert said == [INSTALLING]
    assert not (directory / installer.UNFINISHED).exists()
    assert config.run() == ([], [])


@pytest.mark.parametrize(("value", "ignored"), [(None, "true"), ("off", "true"), ("", "true"), ("on", "false")])
def test_scripts_run_only_where_the_setting_says_so(
    value: str | None, ignored: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("CONFINED_CLAUDE_PLUGIN_SCRIPTS", value)
    config.plugin()
    assert f"--ignore-scripts={ignored}" in config.run()[0][0].split()


@pytest.mark.parametrize(
    ("links", "proxy", "expected"), [(["lo"], "", True), (["lo"], "http://x", False), (["lo", "eth0"], "", False)]
)
def test_a_session_is_offline_without_a_link_and_a_proxy(
    links: list[str], proxy: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer.os, "listdir", {"/sys/class/net": links}.__getitem__)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert installer.is_offline() is expected


def test_offline_npm_takes_what_it_has(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "is_offline", lambda: True)
    config.plugin()
    assert "--offline" in config.run()[0][0].split()


@pytest.mark.parametrize("name", ["package.json", "package-lock.json"])
def test_what_was_installed_for_something_else_is_brought_up_to_date(name: str, config: Config) -> None:
    directory = config.plugin()
    config.run()
    (directory / name).write_text(json.dumps({**NEEDS, "version": "2.0.0"}))
    assert len(config.run()[0]) == 1
    assert config.run() == ([], [])


def test_what_is_unfinished_is_made_anew(config: Config) -> None:
    directory = config.plugin()
    (directory / "node_modules/half").mkdir(parents=True)
    (directory / installer.UNFINISHED).write_text("")
    assert len(config.run()[0]) == 1
    assert sorted(path.name for path in (directory / "node_modules").iterdir()) == [installer.STAMP.name, "dep"]


def test_every_version_of_every_plugin_has_its_own(config: Config) -> None:
    directory = config.plugin("one")
    shutil.copytree(directory, directory.with_name("2.0.0"))
    config.plugin("two")
    config.plugin("one", market="other")
    asked, said = config.run()
    assert sorted(line.split()[0] for line in asked) == ["one", "one", "one", "two"]
    assert len(said) == 4


# Plugins of a marketplace that is a directory


def market(config: Config, directory: Path, source: str = "./one") -> Path:
    """A marketplace with the plugin ``one``, known under the name of the shop; return the plugin's directory."""
    (directory / ".claude-plugin").mkdir(parents=True)
    document = {"plugins": [{"name": "one", "source": source}, {"name": "two", "source": {"source": "url"}}, 7, {}]}
    (directory / ".claude-plugin/marketplace.json").write_text(json.dumps(document))
    known = {"shop": {"source": {"source": "directory", "path": str(directory)}}, "x": 7, "y": {"source": []}}
    (config.path / "plugins").mkdir(exist_ok=True)
    (config.path / "plugins/known_marketplaces.json").write_text(json.dumps(known))
    (directory / "one").mkdir()
    (directory / "one/package.json").write_text(json.dumps(NEEDS))
    return directory / "one"


def test_a_plugin_of_a_folder_in_the_config_is_served_there_and_once(config: Config) -> None:
    cached = config.plugin("one")
    shutil.copytree(cached, cached.with_name("2.0.0"))
    other = config.plugin("two")
    directory = market(config, config.path / "mine")
    asked, said = config.run()
    assert len(asked) == len(said) == 2
    assert (directory / "node_modules").exists()
    assert (other / "node_modules").exists()
    assert not (cached / "node_modules").exists()
    assert config.run() == ([], [])


def test_one_that_is_not_installed_is_not_served(config: Config) -> None:
    market(config, config.path / "mine")
    assert config.run() == ([], [])


@pytest.mark.parametrize("source", ["./one", "../config/../outside/one", "../../etc", "/etc", "\0"])
def test_a_plugin_outside_the_config_is_left_alone(source: str, config: Config, tmp_path: Path) -> None:
    config.plugin("one")
    inside = source.startswith("..")
    market(config, config.path / "mine" if inside else tmp_path / "outside", source)
    (tmp_path / "outside/one").mkdir(parents=True, exist_ok=True)
    (tmp_path / "outside/one/package.json").write_text(json.dumps(NEEDS))
    before = tree(tmp_path)
    assert config.run() == ([], [])
    assert tree(tmp_path) == before


# What goes wrong


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "npm error code E404\\nnpm error 404 Not Found - GET http://x/y - Not found\\nnpm error 404\\n",
            "404 Not Found - GET http://x/y - Not found.",
        ),
        (
            "npm warn old\\nnpm ERR! code X\\nnpm ERR! errno -2\\nnpm ERR! network it is away.\\n"
            "npm ERR! A complete log of this run can be found in: /x/y.log\\n",
            "network it is away (npm's log is /x/y.log).",
        ),
        ("npm error a\\033[2J\\007\\377b\\n", "a?[2J??b."),
        ("", "npm ended with exit code 1."),
        (f"npm error {'x' * 1000}\\n", f"{'x' * 300}."),
    ],
)
def test_a_failure_names_the_plugin_and_the_reason_and_never_counts_as_done(
    output: str, reason: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = config.plugin()
    monkeypatch.setenv("BREAKS", output or " ")
    for _ in range(2):
        asked, said = config.run()
        assert len(asked) == 1
        # What cannot be shown is as many question marks as Python makes of it.
        assert said == [INSTALLING, NOT_INSTALLED + reason.replace("??b", said[1][-4:-1]), GOES_ON]
    monkeypatch.delenv("BREAKS")
    assert config.run()[1] == [INSTALLING]
    assert not (directory / "node_modules/half").exists()
    assert config.run() == ([], [])


def test_an_npm_that_does_nothing_has_failed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config.plugin()
    monkeypatch.setenv("DOES_NOTHING", "1")
    assert config.run()[1] == [INSTALLING, f"{NOT_INSTALLED}npm installed nothing.", GOES_ON]


def test_a_failure_of_one_does_not_keep_others_from_theirs(config: Config) -> None:
    (config.plugin("one") / "package-lock.json").mkdir()
    config.plugin("two")
    asked, said = config.run()
    assert [line.split()[0] for line in asked] == ["two"]
    assert f"{NOT_INSTALLED}its package-lock.json cannot be read (Is a directory)." in said


@pytest.mark.parametrize("name", ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"])
@pytest.mark.parametrize("kind", ["fifo", "link", "huge", "directory"])
def test_files_that_are_none_are_told_and_npm_never_sees_them(
    name: str, kind: str, config: Config, tmp_path: Path
) -> None:
    directory = config.plugin()
    (tmp_path / "secret").write_text(json.dumps(NEEDS))
    (directory / name).unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(directory / name)
    elif kind == "link":
        (directory / name).symlink_to(tmp_path / "secret")
    elif kind == "directory":
        (directory / name).mkdir()
    else:
        with open(directory / name, "wb") as sparse:
            sparse.truncate(1 << 40)
    asked, said = config.run()
    assert asked == []
    assert any(line.startswith(f"{NOT_INSTALLED}its {name} ") for line in said)
    assert said[-1] == GOES_ON


def test_npm_is_ended_with_all_it_started_when_it_takes_too_long(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = config.plugin()
    monkeypatch.setenv("LASTS", "1")
    monkeypatch.setattr(installer, "PLUGIN_SECONDS", 0.2)
    assert config.run()[1] == [INSTALLING, f"{NOT_INSTALLED}npm took longer than 0 seconds.", GOES_ON]
    assert (directory / installer.UNFINISHED).exists()


def test_all_of_them_together_have_an_end(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config.plugin()
    monkeypatch.setattr(installer, "TOTAL_SECONDS", 0.0)
    assert config.run() == ([], [f"{NOT_INSTALLED}the others took too long.", GOES_ON])


def test_there_is_an_end_to_how_many_are_looked_at(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "MOST_PLUGINS", 2)
    for name in "abc":
        config.plugin(name)
    assert len(config.run()[0]) == 2


def test_a_name_reaches_the_terminal_without_its_control_characters(config: Config) -> None:
    config.plugin("o\x1b[2J\nne")
    assert config.run()[1] == ["confined-claude: Installing the npm packages that the plugin o?[2J?ne@shop needs."]


def test_a_folder_that_cannot_be_written_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config.plugin()

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installer, "write", full)
    assert config.run() == ([], [INSTALLING, f"{NOT_INSTALLED}No space left on device.", GOES_ON])


def test_ctrl_c_ends_it_and_what_is_left_does_not_count(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = config.plugin()

    def interrupted(*_arguments: Any) -> None:
        (directory / "node_modules").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(installer, "run", interrupted)
        assert installer.main([str(config.path)]) == 130
    config.run()
    assert (directory / "node_modules/dep").exists()


@given(content=st.binary(max_size=200))
def test_whatever_is_in_the_files_of_a_plugin_there_is_an_answer(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_bytes(content)
    assert isinstance(installer.table(tmp_path / "package.json"), dict)


# One at a time


WAITING = "confined-claude: Waiting for another session, which is installing npm packages for plugins."


def held(config: Config) -> int:
    """The turn, as another session has it."""
    fd = os.open(config.path / "plugins", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_a_session_waits_for_another_and_then_does_not_do_it_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = config.plugin()
    fd = held(config)

    def the_other() -> None:
        (directory / "node_modules").mkdir()
        (directory / installer.STAMP).touch()
        os.close(fd)

    def heard(line: str) -> None:
        say(line)
        other.start()

    say, other = installer.say, threading.Timer(0.05, the_other)
    monkeypatch.setattr(installer, "say", heard)
    assert config.run() == ([], [WAITING])
    other.join()


def test_what_failed_for_another_while_one_waited_is_not_tried_again(config: Config) -> None:
    directory = config.plugin()
    (directory / "node_modules").mkdir()
    mark = directory / installer.UNFINISHED
    mark.write_bytes(b"failed\n")
    os.utime(mark, (time.time() + 60,) * 2)
    assert config.run() == ([], [f"{NOT_INSTALLED}another session just tried and failed.", GOES_ON])
    # Only ended in the middle, or a while ago: it is tried.
    mark.write_bytes(b"")
    assert len(config.run()[0]) == 1


def test_waiting_has_an_end(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config.plugin()
    monkeypatch.setattr(installer, "TOTAL_SECONDS", 0.05)
    fd = held(config)
    asked, said = config.run()
    os.close(fd)
    assert asked == []
    assert said[0] == WAITING
    assert said[1].endswith(" not installed: another session has not finished installing it.")


# Whether it has to look at all


@pytest.fixture
def look(config: Config, tmp_path: Path) -> Callable[..., bool]:
    """Whether the script before Claude Code has the program look; the command gets its words and its input."""
    script = tmp_path / "plugins/with-plugins"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    (tmp_path / "__main__.py").write_text("import sys\nprint('looked', sys.argv[1:], sys.stdin.read())\n")

    def start(*words: str) -> bool:
        command = ["echo", *words] if words else ["sh", "-c", 'cat; echo "$@"; exit 7', "sh", "a  b", ""]
        done = subprocess.run(
            ["sh", script, config.path, *command],
            input="input\n",
            capture_output=True,
            text=True,
            check=False,
        )
        if not words:
            assert (done.returncode, done.stdout) == (7, "input\na  b \n")
        assert done.stderr in ("", f"looked ['plugins.installer', '{config.path}'] \n")
        return bool(done.stderr)

    return start


def test_at_nearly_every_start_the_program_is_not_even_started(config: Config, look: Callable[..., bool]) -> None:
    assert not look()
    directory = config.plugin()
    assert look()
    config.run()
    assert not look()
    past = time.time() - 100
    for path in directory.rglob("*"):
        os.utime(path, (past, past))
    assert not look()
    (directory / "package-lock.json").write_text("{}")
    assert look()
    (directory / "package-lock.json").unlink()
    (directory / installer.UNFINISHED).write_text("")
    assert look()
    (directory / installer.UNFINISHED).unlink()
    (directory / installer.STAMP).unlink()
    assert not look()


def test_a_marketplace_in_the_config_is_looked_at(config: Config, tmp_path: Path, look: Callable[..., bool]) -> None:
    file = config.path / "plugins/known_marketplaces.json"
    file.parent.mkdir()
    source: dict[str, Any] = {"shop": {"source": {"source": "git"}, "installLocation": f"{config.path}/plugins/x"}}
    file.write_text(json.dumps(source, indent=2))
    assert not look()
    source["shop"]["source"] = {"source": "directory", "path": f"{tmp_path}/elsewhere"}
    file.write_text(json.dumps(source, indent=2))
    assert not look()
    source["shop"]["source"]["path"] = f"{config.path}/mine"
    file.write_text(json.dumps(source, indent=2))
    assert look()
    file.unlink()
    os.mkfifo(file)
    assert not look()


@pytest.mark.parametrize("word", ["plugin", "plugins", "--version", "-v", "--help", "-h"])
def test_what_needs_no_plugin_does_not_wait_for_one(word: str, config: Config, look: Callable[..., bool]) -> None:
    config.plugin()
    assert not look(word)


def test_ctrl_c_meanwhile_ends_the_start(config: Config, tmp_path: Path, look: Callable[..., bool]) -> None:
    config.plugin()
    (tmp_path / "__main__.py").write_text("raise SystemExit(130)")
    script = ["sh", tmp_path / "plugins/with-plugins", config.path, "echo", "started"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    (tmp_path / "__main__.py").write_text("raise SystemExit(1)")
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "started\n")
