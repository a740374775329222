"""The build context: its programs parse, its Dockerfile suits every builder, and nobody's uid is in it."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import subprocess
from pathlib import Path

import pytest

from confined_claude.image.recipe import CONTEXT, shared

TEXTS = {name: content.decode() for name, content in shared("latest", ()).files.items()}
FILES = sorted(TEXTS)
COMMANDS = [name for name in FILES if TEXTS[name].startswith("#!")]
SCRIPTS = [name for name in COMMANDS if TEXTS[name].startswith("#!/bin/sh\n")]
PYTHON = [name for name in FILES if name.endswith(".py") or "python3" in TEXTS[name].partition("\n")[0]]
# It has a fixed answer, which is a failure.
ANSWER = "image/policy-rc.d"
DOCKERFILE = TEXTS["Dockerfile"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions as (name, rest), without comments and with lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in found]


def copied(source: str) -> list[str]:
    """The files of the context that a source of a COPY stands for."""
    return [name for name in FILES if fnmatch.fnmatch(name, source) or (source[-1] == "/" and name.startswith(source))]


def copies() -> dict[str, str]:
    """Where each file of the context is copied to."""
    found = {}
    for name, rest in instructions():
        if name in ("COPY", "ADD"):
            *sources, target = rest.split()
            for source in sources:
                start = source if source.endswith("/") else f"{source.rpartition('/')[0]}/"
                for file in copied(source):
                    found[file] = target + file.removeprefix(start) if target.endswith("/") else target
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str) -> None:
    run = subprocess.run(["sh", "-n", CONTEXT / name], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("name", PYTHON)
def test_a_program_parses_for_the_images_python(name: str) -> None:
    ast.parse(TEXTS[name], feature_version=(3, 11))  # Debian bookworm's


def test_what_is_run_by_name_says_how_and_lets_nobodys_modules_in() -> None:
    assert set(COMMANDS) - set(SCRIPTS) == {"bin/sudo"}
    assert TEXTS["bin/sudo"].startswith("#!/usr/bin/python3 -IS\n")


def test_git_goes_through_the_script_exactly_for_the_commands_that_it_names() -> None:
    cases = re.findall(r"^    ([a-z][a-z |-]+)\)", TEXTS["git/explained"], re.MULTILINE)
    listed = re.search(r"explained\[\] = \{(.*?)\}", TEXTS["git/git.c"], re.DOTALL)
    assert listed is not None
    assert {name for case in cases for name in case.split(" | ")} == set(re.findall(r'"(.+?)"', listed[1]))


def test_what_only_makes_a_package_of_the_whole_is_no_part_of_the_image() -> None:
    assert "__init__.py" not in FILES
    assert not [name for name in FILES if "__pycache__" in name or name.endswith(".pyc")]


def test_there_are_the_scripts_that_users_are_promised() -> None:
    assert {"init/entrypoint", "image/install-node", "bin/mkvenv", "bin/lsvenvs", "bin/diskuse"} <= set(SCRIPTS)


def test_no_package_may_start_a_service() -> None:
    assert copies()[ANSWER] == "/usr/sbin/policy-rc.d"
    assert subprocess.run(["sh", CONTEXT / ANSWER, "x", "start"], check=False).returncode == 101


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != ANSWER])
def test_a_script_stops_at_the_first_failure(name: str) -> None:
    assert re.search(r"^set -eu$", TEXTS[name], re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 2), ([""], 2), (["-h"], 0), (["--help"], 0), (["-x"], 2), (["a/b"], 2), (["../x"], 2), ([".hidden"], 2)],
)
def test_mkvenv_says_how_it_is_used(words: list[str], code: int) -> None:
    run = subprocess.run(["sh", CONTEXT / "bin/mkvenv", *words], capture_output=True, text=True, check=False)
    assert run.returncode == code
    assert "mkvenv" in run.stderr
    assert run.stdout == ""


def test_every_copied_path_is_in_the_context() -> None:
    for name, rest in instructions():
        if name in ("COPY", "ADD"):
            for source in rest.split()[:-1]:
                assert copied(source), source


def test_every_file_of_the_context_is_installed() -> None:
    assert set(FILES) - set(copies()) == {"Dockerfile"}


def test_every_installed_script_can_be_executed_whatever_the_contexts_modes() -> None:
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")
    for name in COMMANDS:
        directory, _, script = copies()[name].rpartition("/")
        changed = rf"chmod 0?755 [^&]*({re.escape(f'{directory}/{script}')}|\b{script}|\b{re.escape(name)})(\s|$)"
        assert re.search(changed, runs) or f"sh {copies()[name]}" in runs, name


def test_no_program_of_the_image_can_be_changed_by_its_sessions() -> None:
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")
    assert "cd /opt/confined-claude && chmod -R u=rwX,go=rX ." in runs
    modules = [name for name in FILES if name.endswith(".py")]
    assert {copies()[name] for name in modules} == {f"/opt/confined-claude/{name}" for name in modules}


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_a_program_imports_only_its_own_group_and_the_systems_packages(name: str) -> None:
    """They are started by a directory, below which each group is a package of its own."""
    for node in ast.walk(ast.parse(TEXTS[name])):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1, ast.unparse(node)
        names = [alias.name for alias in getattr(node, "names", [])] + [getattr(node, "module", None) or ""]
        assert not any(module.startswith("confined_claude") for module in names)


def test_the_entrypoint_is_the_copied_one() -> None:
    (entrypoint,) = [rest for name, rest in instructions() if name == "ENTRYPOINT"]
    assert json.loads(entrypoint) == [copies()["init/entrypoint"]]


def test_the_dockerfile_needs_no_buildkit() -> None:
    assert not re.search(r"^#\s*(syntax|escape|check)\s*=", DOCKERFILE, re.MULTILINE | re.IGNORECASE)
    classic = {
        "ARG",
        "FROM",
        "LABEL",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "ENTRYPOINT",
        "WORKDIR",
        "CMD",
        "SHELL",
        "VOLUME",
        "EXPOSE",
    }
    assert {name for name, _ in instructions()} <= classic
    for name, rest in instructions():
        assert "<<" not in rest, rest
        if name in ("RUN", "COPY", "FROM"):
            assert not rest.startswith("--"), rest


def test_the_claude_layer_comes_last_and_nothing_before_it_knows_the_version() -> None:
    names = [f"{name} {rest}" for name, rest in instructions()]
    version = next(number for number, line in enumerate(names) if line.startswith("ARG CLAUDE_VERSION"))
    assert [line.split()[0] for line in names[version + 1 :]].count("RUN") == 1
    assert not [line for line in names[:version] if "CLAUDE_VERSION" in line]
    assert not [line for line in names[version:] if line.startswith(("COPY", "ADD"))]


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("image/ca/")])
def test_nobodys_uid_is_in_the_image(name: str) -> None:
    text = "\n".join(line for line in TEXTS[name].splitlines() if not line.lstrip().startswith("#"))
    named = [
        r"\b(useradd|adduser|groupadd|addgroup|usermod)\b",
        r"\bchown\s+\S*[0-9]",
        r"--re[ug]id[ =]?\"?[0-9]",
        r"^USER\s+[0-9]",
        r":x:[1-9]",
        r":x:0:[1-9]",
        r"\b(uid|gid|UID|GID)=[0-9]",
        r"--chown",
    ]
    found = [pattern for pattern in named if re.search(pattern, text, re.MULTILINE)]
    assert found == []


def test_no_secret_is_taken_by_the_build() -> None:
    arguments = {rest.split("=")[0] for name, rest in instructions() if name == "ARG"}
    assert arguments == {"BASE", "DEBIAN_FRONTEND", "CLAUDE_VERSION", "CLAUDE_ASKED"}


def test_the_session_is_set_up_as_promised() -> None:
    environment = " ".join(rest for name, rest in instructions() if name == "ENV")
    variables = dict(pair.split("=", 1) for pair in environment.split())
    assert variables["LANG"] == "C.UTF-8"
    assert variables["PATH"].split(":")[0] == "/home/claude/.local/bin"
    assert variables["CLAUDE_CONFIG_DIR"] == "/home/claude/.claude"
    assert variables["DISABLE_AUTOUPDATER"] == "1"
    store = "/etc/ssl/certs/ca-certificates.crt"
    for name in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"):
        assert variables[name] == store


def test_the_question_about_bypassing_permissions_is_answered() -> None:
    name = "image/managed-settings.json"
    assert json.loads(TEXTS[name])["skipDangerousModePermissionPrompt"] is True
    assert copies()[name] == "/etc/claude-code/managed-settings.json"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("root:x:0:\nstaff:x:50:\n", "root:x:0:\nstaff:x:50:\nclaude:x:1000:\ngroup-7:x:7:\n"),
        ("root:x:0:\nstaff:x:50:", "root:x:0:\nstaff:x:50:\nclaude:x:1000:\ngroup-7:x:7:\n"),
        ("root:x:0:\nstaff:x:1000:a,b", "root:x:0:\nstaff:x:1000:a,b\ngroup-7:x:7:\n"),
        ("staff:x:7:\nusers:x:1000:", "staff:x:7:\nusers:x:1000:"),
        ("damaged", "damaged\nclaude:x:1000:\ngroup-7:x:7:\n"),
        ("", "claude:x:1000:\ngroup-7:x:7:\n"),
    ],
    ids=["usual", "no end", "no end and there", "both there", "damaged", "empty"],
)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_group_has_a_line_of_its_own_however_the_file_ends(
    shell: str, before: str, after: str, tmp_path: Path
) -> None:
    file = tmp_path / "group"
    file.write_text(before)
    function = re.search(r"^name_group\(\) {\n.*?^}$", TEXTS["init/entrypoint"], re.MULTILINE | re.DOTALL)
    assert function
    script = f"set -eu\n{function[0].replace('/etc/group', str(file))}\nname_group claude 1000\nname_group group-7 7\n"
    subprocess.run([shell, "-c", script], check=True)
    assert file.read_text() == after
