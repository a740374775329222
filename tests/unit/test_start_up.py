"""Listing and completing the tasks stays fast: the heavy packages are imported where they are used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from confined_claude import tasks
from confined_claude.commands.catalogue import COMMANDS

HEAVY = {
    "docker",
    "rich",
    "copier",
    "requests",
    "urllib3",
    "certifi",
    "platformdirs",
    "tomllib",
    "confined_claude.fs.directory",
    "confined_claude.engine.sdk",
}


def imported_by(statements: str) -> set[str]:
    """The modules that these statements bring in, in an interpreter of their own."""
    script = f"import json, sys\n{statements}\njson.dump(sorted(sys.modules), sys.stderr)"
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize("module", ["confined_claude.tasks", "confined_claude.command_line", "confined_claude.program"])
def test_importing_brings_in_nothing_heavy(module: str) -> None:
    modules = imported_by(f"import {module}")
    assert module in modules
    assert modules & HEAVY == set()


def test_importing_the_command_leaves_no_time_for_a_ctrl_c_before_it_is_heeded() -> None:
    ours = {module for module in imported_by("import confined_claude.cli") if module.startswith("confined_claude")}
    assert ours == {"confined_claude", "confined_claude.cli"}


@pytest.mark.parametrize("words", [["--list"], ["--complete", "--", "confined-claude "]])
def test_answering_without_a_session_brings_in_nothing_heavy(words: list[str]) -> None:
    called = f"sys.argv[:] = {['confined-claude', *words]}; program.run()"
    modules = imported_by(f"from confined_claude import program; {called}")
    assert "invoke" in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "has_flags"),
    [
        ("", False),
        ("--list", False),
        ("-l", False),
        ("run", False),
        ("claude.run status", False),
        ("run -- --version", False),
        ("run --yolo", True),
        ("any-other-name --yolo -- fix", True),
        ("-c other run", True),
        ("--help run", True),
        ("--complete -- inv run --", True),
    ],
)
def test_invoke_builds_the_flags_of_tasks_only_for_a_command_line_that_has_some(
    words: str, has_flags: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It builds and copies them for all tasks, at every call."""
    monkeypatch.setattr(sys, "argv", ["inv", *words.split()])
    found = {context.name: set(context.flags) for context in tasks.ns.to_contexts()}
    assert set(found) == set(COMMANDS)
    expected = {name: set(command.options) if has_flags else set() for name, command in COMMANDS.items()}
    assert found == expected


def test_inv_lists_the_tasks_without_the_settings(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "template/tasks.py", tmp_path)
    listing = f"""
import os
from invoke.main import program
os.chdir({str(tmp_path)!r})
sys.argv[:] = ["inv", {{}}]
try:
    program.run()
except SystemExit:
    pass"""
    assert not {"confined_claude.settings", "confined_claude.signals"} & imported_by(listing.format("'--list'"))
    assert "confined_claude.settings" in imported_by(listing.format("'--help', 'run'"))  # the control


def test_a_plain_command_line_does_without_invoke() -> None:
    modules = imported_by(
        "from confined_claude import cli; sys.argv[:] = ['confined-claude', 'config', '--json']; cli.run()"
    )
    assert "confined_claude.commands.config" in modules
    assert not {"invoke", "unittest.mock", "importlib.metadata"} & modules


def test_what_a_start_goes_through_brings_in_no_sdk() -> None:
    start = "confined_claude.command_line", "confined_claude.commands.run", "confined_claude.engine.command"
    modules = imported_by(f"import {', '.join(start)}")
    assert "confined_claude.session.launch" in modules
    assert (
        modules & {"docker", "rich", "copier", "requests", "confined_claude.engine.sdk", "invoke", "tarfile"} == set()
    )
    # A dataclass compiles its methods at each import, with half of the standard library's tools for that.
    assert modules & {"dataclasses", "inspect", "ast", "zlib", "string"} == set()


def test_what_only_some_starts_need_is_not_imported_by_all_of_them() -> None:
    modules = imported_by("import confined_claude.commands.run, confined_claude.session.supervisor")
    # OpenSSL comes with the scan, beside the engine's work; programs are started in the background, or by few.
    assert not {"hashlib", "_hashlib", "csv", "subprocess", "locale"} & modules
    assert "_hashlib" in imported_by("import confined_claude.guard.scan")  # the control


def test_what_a_start_goes_through_compiles_few_patterns() -> None:
    """Each takes 0.1 to 3 ms, as much as a module."""
    script = """
import re
compiled, ours = re.compile, 0
def compile(pattern, flags=0):
    global ours
    ours += sys._getframe(1).f_globals["__name__"].startswith("confined_claude")
    return compiled(pattern, flags)
re.compile = compile
import confined_claude.commands.run, confined_claude.session.supervisor
sys.modules[f"{ours} patterns"] = re
"""
    (found,) = (name for name in imported_by(script) if name.endswith(" patterns"))
    assert 0 < int(found.split()[0]) < 10


def test_the_public_authorities_are_found_without_the_import_of_certifi() -> None:
    asked = "from confined_claude.image import certificates; certificates.extra_certificates({})"
    assert not {"certifi", "importlib.resources", "zipfile"} & imported_by(asked)
    assert "certifi" in imported_by(f"{asked}; import certifi")  # the control


def test_what_judges_a_session_is_not_imported_before_the_engine_works() -> None:
    modules = imported_by("import confined_claude.commands.run, confined_claude.session.supervisor")
    assert not {f"confined_claude.{name}" for name in ("guard.verdicts", "guard.scan", "image.inventory")} & modules


@pytest.mark.parametrize("command", ["status.collector", "clean.shared", "uninstall"])
def test_what_only_asks_for_images_does_without_the_sdk(command: str) -> None:
    modules = imported_by(f"import confined_claude.commands.{command}; from confined_claude.image import inventory")
    assert "confined_claude.engine.images" in modules
    assert not {"docker", "requests", "dataclasses", "tarfile", "confined_claude.engine.sdk"} & modules


def test_joining_a_session_imports_nothing_that_only_a_start_needs() -> None:
    command = "import confined_claude.command_line, confined_claude.commands.execute"
    modules = imported_by(command)
    # These come while the engine answers.
    assert not {f"confined_claude.session.{name}" for name in ("join", "attachment", "event_loop")} & modules
    modules = imported_by(f"{command}, confined_claude.session.join")
    assert not {f"confined_claude.{name}" for name in ("session.attachment", "engine.streams")} & modules
    assert not {"subprocess", "shutil", "random"} & modules  # it starts no program
    assert not {"dataclasses", "inspect", "ast", "csv", "textwrap", "shlex", "hashlib"} & modules
    assert (
        not {f"confined_claude.{name}" for name in ("workspace", "settings", "environment", "engine.mount")} & modules
    )
