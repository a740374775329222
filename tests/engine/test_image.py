"""The image: what is in it, when it is built, and what a failing build says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, User, docker

pytestmark = pytest.mark.timeout(600)

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
}
OLDER = "2.1.329"


@pytest.fixture
def online(user: User) -> User:
    """A user whose sessions have the engine's plain network, to reach the package registries."""
    return User(user.home, user.bin, user.uid, user.gid, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def shell(user: User, project: Path, script: str) -> str:
    done = user.run("confined-claude", "shell", "--", "bash", "-c", script, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def layers(image: str) -> list[str]:
    return list(json.loads(docker("image", "inspect", image))[0]["RootFS"]["Layers"])


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


@pytest.mark.parametrize(
    ("words", "code"), [("", 2), ("-x", 2), ("a/b", 2), ("../x", 2), (".hidden", 2), ("--help", 0)]
)
def test_mkvenv_refuses_what_is_no_name(user: User, project: Path, words: str, code: int) -> None:
    done = user.run("confined-claude", "shell", "--", "sh", "-c", f"mkvenv {words}", cwd=project)
    assert done.returncode == code
    assert done.stderr


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


@pytest.fixture
def other_image(user: User) -> Iterator[str]:
    """The name of the image with another version of Claude Code; not there yet, and gone afterwards."""
    before = set(docker("images", "--quiet", "--no-trunc", "confined-claude").split())
    latest = docker("image", "inspect", "--format", "{{.Id}}", "confined-claude:latest").strip()
    yield OLDER
    docker("tag", latest, "confined-claude:latest")
    for image in set(docker("images", "--quiet", "--no-trunc", "confined-claude").split()) - before:
        docker("rmi", "--force", image)


def test_two_first_runs_build_once_and_only_the_claude_layer(user: User, place: Path, other_image: str) -> None:
    version = {"CONFINED_CLAUDE_CLAUDE_VERSION": other_image}
    ours = layers("confined-claude:latest")
    folders = [user.folder(place / name) for name in ("one", "two")]
    started = [
        subprocess.Popen(
            user.command("confined-claude", "--", "--version"),
            cwd=folder, env=user.environ(**version), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for folder in folders
    ]  # fmt: skip
    done = [process.communicate(timeout=500) for process in started]
    assert [process.returncode for process in started] == [0, 0], done
    assert [out for out, _ in done] == [f"{other_image} (Claude Code)\n"] * 2
    errors = sorted((error for _, error in done), key=len)
    assert errors[0] == "confined-claude: Another start is building the image; waiting for it.\n"
    assert "step 18/21" in errors[1]
    assert "The image is built" in errors[1]
    theirs = layers("confined-claude:latest")
    assert theirs[:-1] == ours[:-1]
    assert theirs[-1] != ours[-1]


def test_a_failing_build_says_where_and_keeps_the_image(user: User, project: Path) -> None:
    before = docker("images", "--quiet", "--no-trunc", "confined-claude:latest")
    done = user.run("confined-claude", "--", "--version", cwd=project, CONFINED_CLAUDE_CLAUDE_VERSION="0.0.0-none")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "failed at Step 18/21 : RUN npm install" in done.stderr
    assert "No matching version found" in done.stderr
    log = Path(re.search(r"The whole log is in (\S+)\.", done.stderr)[1])  # type: ignore[index]
    text = log.read_text()
    assert "Step 1/21" in text
    assert "No matching version found" in text
    tail = done.stderr.split("failed at")[1].splitlines()
    assert len(tail) <= 24
    assert docker("images", "--quiet", "--no-trunc", "confined-claude:latest") == before


def test_the_progress_bar_in_a_terminal(user: User, project: Path, other_image: str) -> None:
    command = " ".join(user.command("confined-claude", "build"))
    # script(1) gives it a terminal.
    done = user.run("script", "-qec", command, "/dev/null", cwd=project, CONFINED_CLAUDE_CLAUDE_VERSION=other_image)
    assert done.returncode == 0, done.stdout
    assert "Building the image" in done.stdout
    assert re.search(r"\d+/21", done.stdout)
    assert re.search(r"0:00:\d\d", done.stdout)
    assert "npm install" in done.stdout


def test_the_dockerfile_builds_with_buildkit_too(installed: Path, place: Path) -> None:
    """With the certificates the classic build used, as this machine may need them."""
    client = buildkit_client()
    context = place / "context"
    shutil.copytree(REPOSITORY / "confined_claude/container", context)
    python = installed.parent / "share/confined-claude/venv/bin/python"
    code = f"""
from pathlib import Path
from confined_claude.certificates import extra_certificates
for number, text in enumerate(extra_certificates({{}})):
    Path({str(context)!r}, "ca", f"host-{{number}}.crt").write_text(text)
"""
    subprocess.run([python, "-c", code], check=True)
    base = next(
        name for name in ("debian:bookworm-slim", "confined-claude-base:bookworm") if docker("images", "-q", name)
    )
    name = f"confined-claude-test:{uuid.uuid4().hex[:8]}"
    environ = {"PATH": os.environ["PATH"], "HOME": str(place), "DOCKER_BUILDKIT": "1"}
    try:
        built = subprocess.run(
            [client, "build", "--build-arg", f"BASE={base}", "--tag", name, str(context)],
            env=environ, capture_output=True, text=True, timeout=580, check=False,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr[-2000:]
        assert "DONE" in built.stderr  # BuildKit's word; the classic builder has none
        version = docker("run", "--rm", name, "1000:1000", "/tmp/x", "claude", "--version")
        assert "(Claude Code)" in version
    finally:
        docker("rmi", "--force", name, check=False)


def buildkit_client() -> str:
    """A docker command that can drive BuildKit: with buildx, or of a version that had it built in."""
    for client in ("docker", "/usr/bin/docker"):
        has_buildx = subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0
        version = subprocess.run(
            [client, "version", "--format", "{{.Client.Version}}"], capture_output=True, text=True, check=False
        ).stdout
        if has_buildx or int(version.partition(".")[0] or 99) < 23:
            return client
    raise AssertionError("no docker command here can drive BuildKit; install docker-buildx")


def test_rebuild_starts_from_scratch(user: User, project: Path, other_image: str) -> None:
    version = {"CONFINED_CLAUDE_CLAUDE_VERSION": other_image}
    first = layers("confined-claude:latest")
    done = user.run("confined-claude", "rebuild", cwd=project, **version)
    assert done.returncode == 0, done.stderr
    second = layers("confined-claude:latest")
    assert first[0] == second[0]  # the base
    assert not set(first[1:]) & set(second[2:])
    assert f"{other_image} " in user.run("confined-claude", "--", "--version", cwd=project, **version).stdout
