"""The images: when they are built, with which builder and on what, and what a failing build says."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import ALONE, PATIENCE, SYSTEM_PATH, User, builder_variables, docker, sessions_of, wait_until

from confined_claude.engine.images import Images
from confined_claude.host import Host
from confined_claude.image.inventory import Inventory
from confined_claude.image.recipe import BASE, image_chain
from confined_claude.settings import Settings

pytestmark = ALONE

OLDER = "2.1.329"
CLIENT_STEP = r"step \d+/\d+: RUN npm install"
NO_SUCH_VERSION = {"CONFINED_CLAUDE_CLAUDE_VERSION": "0.0.0-none"}
LAYER_NAMES = (
    *("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=confined-claude.on"),
    "confined-claude",
)
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nRUN echo made >/etc/made\n# By mistake:\nUSER nobody\nENTRYPOINT []\n"


def layers(image: str) -> list[str]:
    return list(json.loads(docker("image", "inspect", image))[0]["RootFS"]["Layers"])


def image_names() -> set[str]:
    return set(docker("images", "--format", "{{.Repository}}:{{.Tag}}", "confined-claude").split())


def remove(names: set[str]) -> None:
    """By name, as an image with a layer on it cannot go by its id."""
    for name in names:
        docker("rmi", "--force", name)


@pytest.fixture(scope="module", autouse=True)
def built_on_the_base(installed: Path, ground: Path) -> None:
    """The image is made from the base that is there, as another of its name may have come since it was built."""
    name = image_chain(Settings(), {}).name
    if layers(name)[:1] != layers(BASE):
        environ = {"HOME": str(installed.parents[1]), "PATH": SYSTEM_PATH}
        subprocess.run([installed / "confined-claude", "rebuild"], env=environ, cwd=ground, check=True, timeout=900)
    docker("tag", name, "confined-claude:latest")


@pytest.fixture
def same_image(installed: Path) -> Iterator[str]:
    """The name of the image that is there; what was put at it is gone afterwards."""
    name = image_chain(Settings(), {}).name
    before = docker("image", "inspect", "--format", "{{.Id}}", name).strip()
    yield name
    now = docker("image", "inspect", "--format", "{{.Id}}", name).strip()
    docker("tag", before, name)
    docker("tag", before, "confined-claude:latest")
    if now != before:
        docker("rmi", now, check=False)


def test_another_claude_code_is_one_layer_and_running_sessions_keep_theirs(
    user: User, project: Path, same_image: str
) -> None:
    ours = layers(same_image)
    with user.running("confined-claude", "shell", "--", "sleep", "300", cwd=project):
        wait_until(lambda: sessions_of(project))
        done = user.run("confined-claude", "rebuild", "--claude", OLDER, cwd=project)
        assert done.returncode == 0, done.stderr
        theirs = layers(same_image)
        assert (theirs[:-1], theirs[-1] == ours[-1]) == (ours[:-1], False)
        assert user.run("confined-claude", "--", "--version", cwd=project).stdout == f"{OLDER} (Claude Code)\n"
        inside = user.run("confined-claude", "exec", "--session", "1", "--", "claude", "--version", cwd=project)
        assert OLDER not in inside.stdout
    older = docker("image", "inspect", "--format", "{{.Id}}", same_image).strip()
    assert_known(user, same_image, older)
    with user.running("confined-claude", "shell", "--", "sleep", "300", cwd=project) as running:
        wait_until(lambda: sessions_of(project))
        newest = user.run("confined-claude", "rebuild", "--claude", "latest", cwd=project)
        assert newest.returncode == 0, newest.stderr
        assert layers(same_image)[:-1] == ours[:-1]
        assert OLDER not in user.run("confined-claude", "--", "--version", cwd=project).stdout
        # This user has built the one before, and a session uses it still; it goes with that.
        assert docker("image", "inspect", "--format", "{{.Id}}", older).strip() == older
        user.run("confined-claude", "stop", cwd=project)
        running.wait(PATIENCE)
    assert docker("image", "inspect", older, check=False).strip() in ("", "[]")


@pytest.fixture
def other_image(user: User) -> Iterator[str]:
    """The name of the image with another version of Claude Code; not there yet, and gone afterwards."""
    before = image_names()
    latest = docker("image", "inspect", "--format", "{{.Id}}", "confined-claude:latest").strip()
    yield OLDER
    docker("tag", latest, "confined-claude:latest")
    remove(image_names() - before)


@pytest.mark.usefixtures("other_image")
def test_the_image_is_made_from_the_base_that_the_user_names(user: User, project: Path) -> None:
    name = f"confined-claude-test:{uuid.uuid4().hex[:8]}"
    before = image_names()
    docker("tag", BASE, name)
    try:
        done = user.run("confined-claude", "build", cwd=project, CONFINED_CLAUDE_BASE=name)
        assert done.returncode == 0, done.stderr
    finally:
        docker("rmi", name)
    assert "the setting base has changed" in done.stderr
    (made,) = image_names() - before
    assert layers(made)[:1] == layers(BASE)


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
    done = [process.communicate(timeout=900) for process in started]
    assert [process.returncode for process in started] == [0, 0], done
    assert [out for out, _ in done] == [f"{other_image} (Claude Code)\n"] * 2
    errors = sorted((error for _, error in done), key=len)
    assert errors[0] == "confined-claude: Another start is building the image; waiting for it.\n"
    assert re.search(CLIENT_STEP, errors[1])
    assert "The image is built" in errors[1]
    theirs = layers("confined-claude:latest")
    assert theirs[:-1] == ours[:-1]
    assert theirs[-1] != ours[-1]


def test_a_failing_build_says_where_and_keeps_the_image(user: User, project: Path) -> None:
    before = docker("images", "--quiet", "--no-trunc", "confined-claude:latest")
    done = user.run("confined-claude", "--", "--version", cwd=project, **NO_SUCH_VERSION)
    assert_failed_at_the_client(done)
    assert docker("images", "--quiet", "--no-trunc", "confined-claude:latest") == before


def assert_failed_at_the_client(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert re.search(f"failed at {CLIENT_STEP}", done.stderr)
    assert "No matching version found" in done.stderr
    log = Path(re.search(r"The whole log is in (\S+)\.", done.stderr)[1])  # type: ignore[index]
    assert re.search(r"\b1/\d+", log.read_text())
    assert "No matching version found" in log.read_text()
    assert len(done.stderr.split("failed at")[1].splitlines()) <= 24


@pytest.mark.usefixtures("same_image")
def test_the_progress_bar_in_a_terminal(user: User, project: Path) -> None:
    # Of a layer that is in no cache: such a step is over before it is drawn.
    command = " ".join(user.command("confined-claude", "rebuild", "--claude", OLDER))
    # script(1) gives it a terminal.
    done = user.run("script", "-qec", command, "/dev/null", cwd=project)
    assert done.returncode == 0, done.stdout
    assert "Building the image" in done.stdout
    assert re.search(r"\d+/\d+", done.stdout)
    assert re.search(r"0:00:\d\d", done.stdout)
    assert "npm install" in done.stdout


def test_the_image_builds_with_buildkit_too(user: User, project: Path, other_image: str, place: Path) -> None:
    buildkit = builder_variables("buildkit", user, place)
    version = {"CONFINED_CLAUDE_CLAUDE_VERSION": other_image}
    done = user.run("confined-claude", "--", "--version", cwd=project, timeout=900, **buildkit, **version)
    assert done.stdout == f"{other_image} (Claude Code)\n", done.stderr
    assert re.search(CLIENT_STEP, done.stderr)
    (log,) = (user.home / ".local/state/confined-claude/logs").iterdir()
    assert "DONE" in log.read_text()  # BuildKit's word; the classic builder has none
    assert_known(user, "confined-claude:latest", docker("images", "-q", "--no-trunc", "confined-claude:latest").strip())
    failed = user.run("confined-claude", "--", "--version", cwd=project, **buildkit, **NO_SUCH_VERSION)
    assert_failed_at_the_client(failed)


def assert_known(user: User, name: str, identity: str) -> None:
    """The image of that name is the one that the user has built, with what is in it and what its layers take."""
    host = Host.current()._replace(home=user.home, state=user.home / ".local/state/confined-claude")
    inventory = Inventory(Images(), host)
    (image,) = inventory.own()
    assert (image.id, name in image.names) == (identity, True)
    assert inventory.claude_version(image.id) == OLDER
    assert image.size == int(docker("image", "inspect", "--format", "{{.Size}}", identity))
    assert len(image.layers) == len(layers(identity))
    assert 0 < dict(image.layers)["\n".join(layers(identity))] < image.size / 2


def test_rebuild_starts_from_scratch(user: User, project: Path, other_image: str) -> None:
    version = {"CONFINED_CLAUDE_CLAUDE_VERSION": other_image}
    first = layers("confined-claude:latest")
    before = image_names()
    packages = {"CONFINED_CLAUDE_PACKAGES": "hello", **version}
    assert user.run("confined-claude", "build", cwd=project, **packages).returncode == 0
    (name,) = set(docker(*LAYER_NAMES).split()) - before
    done = user.run("confined-claude", "rebuild", cwd=project, **version)
    assert done.returncode == 0, done.stderr
    second = layers("confined-claude:latest")
    assert first[0] == second[0]  # the base
    assert not set(first[1:]) & set(second[2:])
    # What was built on the one before is not used any more.
    assert name not in image_names()
    assert user.run("confined-claude", "shell", "--", "hello", cwd=project, **packages).stdout == "Hello, world!\n"
    assert layers(name)[:-1] == second
    assert f"{other_image} " in user.run("confined-claude", "--", "--version", cwd=project, **version).stdout


# Layers


@pytest.fixture(params=["classic", "buildkit"])
def builder(request: pytest.FixtureRequest, user: User, place: Path) -> dict[str, str]:
    return builder_variables(request.param, user, place)


@pytest.fixture
def new_layers() -> Iterator[Callable[[], set[str]]]:
    """Gives the names of the layers that this test has built; they are gone afterwards."""
    before = set(docker(*LAYER_NAMES).split())

    def new() -> set[str]:
        return set(docker(*LAYER_NAMES).split()) - before

    yield new
    remove(new())


def test_packages_of_the_user_are_a_layer_that_projects_share(
    user: User, project: Path, place: Path, new_layers: Callable[[], set[str]], builder: dict[str, str]
) -> None:
    other = user.folder(place / "other")
    assert user.run("confined-claude", "shell", "--", "hello", cwd=project).returncode == 127
    user.write(user.home / ".config/confined-claude/config.toml", 'packages = ["hello"]\n')
    done = user.run("confined-claude", "shell", "--", "hello", cwd=project, **builder)
    assert (done.returncode, done.stdout) == (0, "Hello, world!\n"), done.stderr
    assert "Building the image with these packages: hello." in done.stderr
    (name,) = new_layers()
    below = docker("image", "inspect", "--format", '{{index .Config.Labels "confined-claude.on"}}', name).strip()
    assert layers(name)[:-1] == layers(below)
    done = user.run("confined-claude", "shell", "--", "hello", cwd=other, CONFINED_CLAUDE_PACKAGES="hello,hello")
    assert done.stdout == "Hello, world!\n"
    assert "Building" not in done.stderr
    assert new_layers() == {name}
    look = ("shell", "--", "sh", "-c", "find /var/lib/apt/lists /var/cache -type f | wc -l; id -u")
    assert user.run("confined-claude", *look, cwd=project).stdout.split() == ["0", str(user.uid)]


def without_names() -> set[str]:
    """The images that no name leads to, but for those others are made of."""
    return set(docker("images", "--quiet", "--no-trunc", "--filter", "dangling=true").split())


def test_a_package_that_debian_has_not_is_told_with_its_setting(
    user: User, project: Path, builder: dict[str, str]
) -> None:
    before = without_names()
    missing = {"CONFINED_CLAUDE_PACKAGES": "no-such-thing"}
    done = user.run("confined-claude", "shell", "--", "true", cwd=project, **builder, **missing)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "Unable to locate package no-such-thing" in done.stderr
    assert "correct the setting `packages`. The whole log is in " in done.stderr.splitlines()[-1]
    # What the classic builder keeps of it would keep the image below as well; the user is shown it, and removes it.
    is_classic = builder["DOCKER_BUILDKIT"] == "0"
    cleaned = user.run("confined-claude", "clean-global", "--yes", cwd=project).stdout
    assert ("1 image that nothing uses" in cleaned) == is_classic
    assert without_names() <= before  # an interrupted run may have left the same one, which goes as well


def test_a_projects_dockerfile_waits_for_trust_and_is_a_layer_then(
    user: User, project: Path, new_layers: Callable[[], set[str]]
) -> None:
    def start() -> subprocess.CompletedProcess[str]:
        return user.run("confined-claude", "shell", "--", "sh", "-c", "cat /etc/made; id -u", cwd=project)

    def trust(*words: str) -> subprocess.CompletedProcess[str]:
        return user.run("confined-claude", "trust", *words, cwd=project)

    dockerfile = project / ".confined-claude/Dockerfile"
    assert "made" not in start().stdout
    user.write(dockerfile, DOCKERFILE)
    for task in ("shell", "build", "rebuild"):
        done = user.run("confined-claude", task, cwd=project)
        assert done.returncode == 4
        assert "Dockerfile" in done.stderr
    assert new_layers() == set()
    asked = trust()
    assert asked.returncode == 4
    assert "  RUN echo made >/etc/made" in asked.stdout.splitlines()
    digest = re.search(r"--hash (\w+)", asked.stderr)[1]  # type: ignore[index]
    assert trust("--hash", digest).returncode == 0
    done = start()
    assert (done.returncode, done.stdout) == (0, f"made\n{user.uid}\n"), done.stderr
    assert "Building the image with this project's Dockerfile." in done.stderr
    assert len(new_layers()) == 1
    assert start().stderr == ""

    user.write(dockerfile, DOCKERFILE.replace("echo made", "echo changed"))
    assert start().returncode == 4
    assert "  +RUN echo changed >/etc/made" in trust().stdout.splitlines()
    user.write(dockerfile, DOCKERFILE)
    assert start().returncode == 0
    user.write(dockerfile, "FROM debian\n")
    assert start().returncode == 2
