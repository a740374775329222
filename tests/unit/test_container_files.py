"""The build context: its scripts parse, its Dockerfile suits every builder, and nobody's uid is in it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from confined_claude.image import CONTEXT

SCRIPTS = sorted(path.name for path in CONTEXT.iterdir() if path.is_file() and path.read_bytes().startswith(b"#!"))
FILES = sorted(path.relative_to(CONTEXT).as_posix() for path in CONTEXT.rglob("*") if path.is_file())
DOCKERFILE = (CONTEXT / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions as (name, rest), without comments and with lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in found]


def copies() -> dict[str, str]:
    """Where each path of the context is copied to."""
    found = {}
    for name, rest in instructions():
        if name in ("COPY", "ADD"):
            *sources, target = rest.split()
            for source in sources:
                found[source] = target + source if target.endswith("/") and not source.endswith("/") else target
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str) -> None:
    run = subprocess.run(["sh", "-n", CONTEXT / name], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert (CONTEXT / name).read_text().startswith("#!/bin/sh\n")


def test_there_are_the_scripts_that_users_are_promised() -> None:
    assert {"entrypoint", "install-node", "mkvenv", "lsvenvs", "diskuse"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_stops_at_the_first_failure(name: str) -> None:
    assert re.search(r"^set -eu$", (CONTEXT / name).read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 2), ([""], 2), (["-h"], 0), (["--help"], 0), (["-x"], 2), (["a/b"], 2), (["../x"], 2), ([".hidden"], 2)],
)
def test_mkvenv_says_how_it_is_used(words: list[str], code: int) -> None:
    run = subprocess.run(["sh", CONTEXT / "mkvenv", *words], capture_output=True, text=True, check=False)
    assert run.returncode == code
    assert "mkvenv" in run.stderr
    assert run.stdout == ""


def test_every_copied_path_is_in_the_context() -> None:
    for source in copies():
        assert (CONTEXT / source).exists(), source


def test_every_file_of_the_context_is_installed() -> None:
    copied = copies()
    folders = tuple(source for source in copied if source.endswith("/"))
    left = [name for name in FILES if name not in copied and not name.startswith(folders)]
    assert left == ["Dockerfile"]


def test_every_installed_script_can_be_executed_whatever_the_contexts_modes() -> None:
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")
    for name in SCRIPTS:
        target = copies()[name]
        assert re.search(rf"chmod 0?755 [^&]*{re.escape(target)}(\s|$)", runs) or f"sh {target}" in runs, name


def test_the_entrypoint_is_the_copied_one() -> None:
    (entrypoint,) = [rest for name, rest in instructions() if name == "ENTRYPOINT"]
    assert json.loads(entrypoint) == [copies()["entrypoint"]]


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


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("ca/")])
def test_nobodys_uid_is_in_the_image(name: str) -> None:
    text = "\n".join(line for line in (CONTEXT / name).read_text().splitlines() if not line.lstrip().startswith("#"))
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
    assert arguments == {"BASE", "DEBIAN_FRONTEND", "CLAUDE_VERSION"}


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
    assert json.loads((CONTEXT / "managed-settings.json").read_text()) == {"skipDangerousModePermissionPrompt": True}
    assert copies()["managed-settings.json"] == "/etc/claude-code/managed-settings.json"
