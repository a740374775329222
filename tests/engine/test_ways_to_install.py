"""The whole product by pipx, uv and pip, each in an empty HOME: from the repository, and from what it builds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import GITCONFIG, REPOSITORY, SYSTEM_PATH, User
from scaffolds import SCAFFOLD, commit_all, files

from confined_claude.commands import completion, installers

# They share the tools, and what is built.
pytestmark = pytest.mark.xdist_group("ways to install")

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Tools:
    """The directory with pipx, uv and build, and the environment in which they are called."""

    bin: Path
    environ: dict[str, str]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    place = tmp_path_factory.mktemp("tools")
    # Behind a proxy that looks into TLS, the system's authorities count.
    found = str(AUTHORITIES) if AUTHORITIES.exists() else ""
    environ = {"PATH": f"{place}/bin:{SYSTEM_PATH}", "SSL_CERT_FILE": found, "PIP_CERT": found}
    environ = {name: value for name, value in environ.items() if value}
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [place / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "pipx", "uv", "build"]
    subprocess.run(pip, check=True, env={**environ, "HOME": str(place)}, stderr=subprocess.DEVNULL)
    return Tools(place / "bin", environ)


@pytest.fixture(scope="module")
def built(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What can be installed: the repository, and the wheel and the sdist that are built from it."""
    place = tmp_path_factory.mktemp("built")
    environ = {**tools.environ, "HOME": str(place)}
    command = [tools.bin / "python", "-m", "build", "--outdir", place, REPOSITORY]
    subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = place.glob("*.whl"), place.glob("*.tar.gz")
    return {"repository": REPOSITORY, "wheel": wheel, "sdist": sdist}


UNINSTALL = {
    "pipx": "pipx uninstall confined-claude",
    "uv": "uv tool uninstall confined-claude",
    "pip": "{home}/.local/bin/pip uninstall --yes confined-claude",
}
WAYS = {
    "pipx": "pipx install --include-deps {}",
    "uv": "uv tool install --with-executables-from invoke,copier {}",
    "pip": "python3 -m venv {home}/.local && {home}/.local/bin/pip install {}",
}


@pytest.mark.parametrize("case", [("pipx", "wheel"), ("uv", "repository"), ("pip", "sdist")], ids=" ".join)
def test_each_way_gives_the_whole_product(
    make_user: Callable[..., User], place: Path, tools: Tools, built: dict[str, Path], case: tuple[str, str]
) -> None:
    way, what = case
    home = make_user(is_new=True).home
    (home / ".gitconfig").write_text(GITCONFIG)
    user = User(home, home / ".local/bin", variables=make_user().variables)
    done = subprocess.run(
        WAYS[way].format(built[what], home=home),
        shell=True,
        env={**tools.environ, "HOME": str(home)},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    project = place / "made"
    made = user.run("confined-claude", "init", str(project), cwd=place)
    assert made.returncode == 0, made.stderr
    commit_all(user, project)
    assert user.run("confined-claude", "update", cwd=project).stdout == "The scaffold is up to date.\n"
    assert set(files(project)) == SCAFFOLD
    assert "Run Claude Code" in user.run("inv", "--list", cwd=project).stdout
    examined = user.run("confined-claude", "doctor", cwd=project).stdout
    assert "confined-claude and inv are this installation's" in examined
    # A start is another's image: nothing is missing of what it is built from.
    answered = user.run("inv", "run", "--", "-p", "hello", cwd=project)
    assert answered.stdout == "FAKE ANSWER: hello\n", answered.stderr
    # No module that a session puts into the project is imported.
    (project / "platformdirs.py").write_text("raise SystemExit('imported')")
    planted = user.run("confined-claude", "config", cwd=project, PYTHONPATH=str(project))
    assert (planted.returncode, "imported" in planted.stderr) == (0 if way == "pipx" else 2, False)
    (project / "platformdirs.py").unlink()

    # What the manual says about completion, and about removing all of it.
    manual = (REPOSITORY / "docs/guides/install.md").read_text()
    lines = re.findall(r"^    (mkdir -p .*|\(confined-claude .*)$", manual, re.MULTILINE)
    assert len(lines) == 4
    assert user.run("sh", "-e", "-c", "\n".join(lines), cwd=place).returncode == 0
    made = [path for path in home.rglob("*confined-claude*") if path.suffix in (".zsh", ".fish") and path.is_file()]
    bash = home / ".local/share/bash-completion/completions/confined-claude"
    scripts = {path.read_text() for path in (*made, bash) if "venv" not in str(path)}
    assert scripts >= {completion.script(shell) for shell in completion.SHELLS}
    assert user.run("confined-claude", "eject", "--yes", cwd=project).returncode == 0
    without_images = {"DOCKER_HOST": "unix:///nonexistent.sock"}  # those of this engine are in use by other tests
    cleaned = user.run("confined-claude", "clean-global", "--all", "--yes", cwd=place, **without_images)
    assert cleaned.returncode == 0, cleaned.stderr
    assert not (home / ".local/share/confined-claude/template.bundle").exists()
    assert [line for line in manual.splitlines() if UNINSTALL[way].rpartition("/")[2].replace(" --yes", "") in line]
    command = UNINSTALL[way].format(home=home)
    environ = {**tools.environ, "HOME": str(home)}
    subprocess.run(command, shell=True, env=environ, cwd=place, check=True, capture_output=True)
    (remove,) = re.findall(r"^    (rm -rf .*)$", manual, re.MULTILINE)
    assert user.run("sh", "-e", "-c", remove, cwd=place).returncode == 0
    of_the_tools = {".cache", "pipx", "uv"}
    left = [path for path in home.rglob("*confined[-_]claude*") if of_the_tools.isdisjoint(path.parts)]
    assert {path.name for path in left} <= {bash.name, "confined-claude.fish", ".confined-claude.zsh"}, left


def test_the_hints_of_doctor_are_the_options_that_expose_inv() -> None:
    assert {installer.option for installer in installers._INSTALLERS} == {
        command.removesuffix(" {}") for way, command in WAYS.items() if way != "pip"
    }
    manual = (REPOSITORY / "docs/guides/install.md").read_text() + (REPOSITORY / "README.md").read_text()
    assert all(manual.count(installer.option) == 2 for installer in installers._INSTALLERS)


def test_the_sdist_has_the_repository(built: dict[str, Path]) -> None:
    listed = subprocess.run(["tar", "tzf", built["sdist"]], check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    inside = {name.partition("/")[2] for name in listed}
    assert {"copier.yml", "template/tasks.py", "install.sh", "confined_claude/template.bundle"} <= inside
