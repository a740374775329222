"""The image: what is in it, and that it is built once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import User, docker

from confined_claude.image.recipe import image_chain
from confined_claude.settings import Settings

TOOLS = {
    "claude --version": r"\d+\.\d+\.\d+ \(Claude Code\)",
    "node --version": r"v22\.",
    "npm --version": r"\d+\.",
    "python3 --version": r"Python 3\.",
    "pip --version": r"pip ",
    "git --version": r"git version",
    "curl --version": r"curl ",
    "wget --version": r"GNU Wget",
    "jq --version": r"jq-",
    "rg --version": r"ripgrep",
    "gcc --version": r"gcc",
    "make --version": r"GNU Make",
    "nano --version": r"GNU nano",
    "vim --version": r"VIM - Vi IMproved",
}


@pytest.fixture
def online(user: User) -> User:
    """A user whose sessions have the engine's plain network, to reach the package registries."""
    return User(user.home, user.bin, user.uid, user.gid, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def shell(user: User, project: Path, script: str) -> str:
    done = user.run("confined-claude", "shell", "--", "bash", "-c", script, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_promised_is_in_it(user: User, project: Path) -> None:
    said = shell(user, project, "\n".join(f"echo '== {tool}'; {tool} 2>&1" for tool in TOOLS))
    answers = dict(re.findall(r"== (.*)\n([^=]*)", said))
    for tool, pattern in TOOLS.items():
        assert re.search(pattern, answers[tool]), f"{tool}: {answers[tool]!r}"


def test_the_environment_inside(user: User, project: Path) -> None:
    said = shell(user, project, "echo $LANG; echo $PATH; echo $EDITOR; locale charmap")
    assert said.splitlines()[0] == "C.UTF-8"
    assert said.splitlines()[1].split(":")[0] == "/home/claude/.local/bin"
    assert said.splitlines()[2:] == ["nano", "UTF-8"]


def test_no_docs_caches_or_uids_are_in_it(user: User, project: Path) -> None:
    said = shell(
        user, project,
        "find /usr/share/man /usr/share/info /var/lib/apt/lists /var/cache -type f | wc -l; "
        "find /usr/share/doc -type f ! -name copyright | wc -l; "
        "find /home /opt /usr /etc -xdev -uid +999 ! -uid 65534 | wc -l; grep -c :claude: /etc/passwd || true",
    )  # fmt: skip
    assert said.split() == ["0", "0", "0", "0"]


def test_virtual_environments_belong_to_the_project_and_last(online: User, project: Path) -> None:
    said = shell(
        online, project, "lsvenvs; mkvenv web; . ~/venvs/web/bin/activate; pip install -q six; python -c 'import six'"
    )
    assert "no virtual environments yet" in said
    assert (project / ".confined-claude/venvs/web/pyvenv.cfg").exists()
    said = shell(online, project, "lsvenvs; ~/venvs/web/bin/python -c 'import six; print(six.__name__)'; diskuse")
    assert re.search(r"^web +Python 3\.", said, re.MULTILINE)
    assert "six" in said.splitlines()
    assert re.search(r"venvs +\d", said)


def test_tools_installed_by_pip_and_npm_for_the_user_last(online: User, project: Path) -> None:
    shell(
        online,
        project,
        "pip install -q --user pyjokes && npm install -g --silent semver && pyjoke >/dev/null && semver 1.2.3",
    )
    assert shell(online, project, "pyjoke >/dev/null; semver 1.2.3").strip() == "1.2.3"


def test_the_host_authorities_are_trusted_inside(online: User, project: Path) -> None:
    """By curl, Python, Node and git alike; the package registries' own names come from their clients."""
    script = """
        url=$(npm config get registry)
        curl -fsS -o /dev/null "$url"
        python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "$url"
        node -e 'require("https").get(process.argv[1], r => process.exit(+(r.statusCode >= 400)))' "$url"
        git ls-remote "$url" 2>&1 | grep -ci certificate || true
    """
    assert shell(online, project, f"set -e; {script}").strip() == "0"


def test_nothing_to_build_is_quick_and_silent(user: User, project: Path) -> None:
    done = user.run("confined-claude", "build", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_base_that_cannot_be_had_is_told_with_its_setting(user: User, project: Path) -> None:
    missing = "confined-claude.invalid/debian:12"
    done = user.run("confined-claude", "build", cwd=project, CONFINED_CLAUDE_BASE=missing)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    fetching, what, hint = done.stderr.splitlines()[-3:]
    assert fetching == f"confined-claude: Fetching the base image {missing}."
    assert missing in what
    assert "setting `base`" in hint


def test_the_image_keeps_within_its_budget(installed: Path) -> None:
    name = image_chain(Settings(), {}, "").name
    assert int(docker("image", "inspect", "--format", "{{.Size}}", name)) <= 1_100_000_000
