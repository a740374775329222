"""scripts/host.sh and tests/run on machines that lack something: a PATH of the test's own, with made-up tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pexpect
import pytest
from helpers import REPOSITORY, SYSTEM_PATH

FAILING_APT = "#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n"
ROOT = "#!/bin/sh\necho 0\n"
# As it does for a user who is in no list of them.
NAMELESS = "#!/bin/sh\n[ $1 = -u ] || echo 'id: cannot find name for user ID 1234' >&2\necho 1234\n"
BASE = "debian:bookworm-slim"
# An engine that has the images in a file, and reaches the registry that is a file.
ENGINE = """#!/bin/sh
echo "$*" >>"$HOME/asked"
case $1 in
    image) grep -qx "$3" "$HOME/images" ;;
    pull) [ -e "$HOME/registry" ] ;;
    import) [ "$(cat "$4")" = archive ] && [ ! -e "$HOME/full" ] || { echo "no space left" >&2; exit 1; } ;;
esac
"""
SOURCES = """#!/bin/sh
[ "$1" = indextargets ] || exit 100
cat <<END
http://mirror/debian/|bookworm|bookworm|main|Debian
http://mirror/debian/|bookworm|bookworm|contrib|Debian
http://mirror/debian/|bookworm|bookworm|main|Debian
http://mirror/security/|bookworm-security|bookworm-security|main|Debian
http://mirror/other/|bookworm|bookworm|main|Other
http://mirror/debian/|trixie|trixie|main|Debian
END
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with all that this machine has but an engine, git and ways to install them, for a user without a name."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for place in SYSTEM_PATH.split(":"):
        for tool in Path(place).glob("*") if Path(place).is_dir() else ():
            if (
                tool.name not in ("docker", "dockerd", "git", "sudo", "apt-get")
                and not (directory / tool.name).exists()
            ):
                (directory / tool.name).symlink_to(tool)
    put(directory, "id", NAMELESS)
    return directory


def put(tools: Path, name: str, text: str) -> None:
    (tools / name).unlink(missing_ok=True)
    (tools / name).write_text(text)
    (tools / name).chmod(0o755)


def run(tools: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": str(tools), "HOME": str(tools.parent)}
    return subprocess.run(words, env=environ, cwd=tools, capture_output=True, text=True, check=False, timeout=60)


def host_script(tools: Path, script: str) -> subprocess.CompletedProcess[str]:
    return run(tools, "bash", "-euo", "pipefail", "-c", f". {REPOSITORY}/scripts/host.sh; {script}")


def test_messages_wrap_at_words_for_a_terminal_and_lines_to_copy_stay() -> None:
    words, line = "some words of a message that is long, " * 3 + "and end here.", f"    source {'/directory' * 9}"
    script = f". {REPOSITORY}/scripts/host.sh; say '{words}' '{line}' short"
    child = pexpect.spawn("bash", ["-c", script], dimensions=(20, 60), encoding="utf-8", timeout=60)
    child.expect(pexpect.EOF)
    *message, to_copy, short = child.before.splitlines()
    assert " ".join(" ".join(message).split()) == f"confined-claude: {words}"
    assert len(message) > 2
    assert max(map(len, message)) <= 60
    assert (to_copy, short) == (f"confined-claude: {line}", "confined-claude: short")
    piped = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stderr
    assert piped.splitlines() == [f"confined-claude: {text}" for text in (words, line, "short")]


@pytest.mark.parametrize(("script", "code", "package"), [("apt_install x", 2, "x"), ("ensure_engine", 3, "docker.io")])
def test_an_apt_that_fails_is_told_after_its_reason(tools: Path, script: str, code: int, package: str) -> None:
    put(tools, "id", ROOT)
    put(tools, "apt-get", FAILING_APT)
    done = host_script(tools, f"{script}; echo went on")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[-3:] == [
        "E: Unable to locate package",
        f"confined-claude: apt-get could not install {package}; its reason is above.",
        "confined-claude: Fix that, or install it yourself, and start again.",
    ]


def test_a_source_that_is_out_of_reach_does_not_matter_if_the_package_is_had(tools: Path) -> None:
    put(tools, "id", ROOT)
    put(tools, "apt-get", '#!/bin/sh\n[ "$1" != update ]\n')
    assert host_script(tools, "apt_install x; echo went on").stdout == "went on\n"


def test_a_dockerd_that_does_not_start_has_its_log_named(tools: Path) -> None:
    """Without one of this test's own, which would write over the log of this machine's."""
    for name in ("docker", "dockerd"):
        put(tools, name, "#!/bin/sh\nexit 1\n")
    put(tools, "id", ROOT)
    put(tools, "apt-get", FAILING_APT)
    started = "start_engine() { engine_log=/var/log/dockerd.log; return 1; }"
    done = host_script(tools, f"{started}; ensure_engine")
    assert done.returncode == 3
    assert "/var/log/dockerd.log" in done.stderr
    assert "engine_log=/var/log/dockerd.log\n" in (REPOSITORY / "scripts/host.sh").read_text()


@pytest.mark.parametrize(("given", "advised"), [("", True), ("1", False)])
def test_with_engine_is_no_advice_where_it_was_given(tools: Path, given: str, advised: bool) -> None:
    done = host_script(tools, f"assume_yes={given}; how_to_install_engine")
    assert ("--with-engine" in done.stdout) == (advised and "apt-get" in done.stdout)


def test_podman_is_an_engine_where_there_is_no_docker_command(tools: Path) -> None:
    put(tools, "podman", '#!/bin/sh\necho "$*"\n')
    done = host_script(tools, "DOCKER_HOST=unix:///a/podman.sock; ensure_engine; engine image ls")
    assert (done.stdout, done.stderr) == ("--url unix:///a/podman.sock image ls\n", "")
    put(tools, "docker", "#!/bin/sh\necho docker\n")
    assert host_script(tools, "ensure_engine; engine image ls").stdout == "docker\n"


def test_a_user_without_a_name_is_told_without_a_word_of_ids_own(tools: Path) -> None:
    done = host_script(tools, "ensure_engine")
    assert done.returncode == 3
    assert "usermod -aG docker" in done.stderr
    assert "cannot find name" not in done.stderr


@pytest.fixture
def engine(tools: Path) -> Path:
    """The HOME of a root user with an engine that has no image, no registry, and mmdebstrap; it notes what is asked."""
    for name, text in (("docker", ENGINE), ("apt-get", SOURCES), ("id", ROOT)):
        put(tools, name, text)
    put(tools, "mmdebstrap", '#!/bin/sh\necho mmdebstrap "$*" >>"$HOME/asked"\necho archive\n')
    (tools.parent / "images").write_text("")
    return tools.parent


def asked(engine: Path) -> list[str]:
    """What was asked of the engine and of mmdebstrap, but for looking."""
    words = (engine / "asked").read_text().splitlines()
    return [line for line in words if not line.startswith("image inspect")]


def test_a_base_that_is_there_or_can_be_pulled_is_not_made(tools: Path, engine: Path) -> None:
    (engine / "registry").touch()
    assert host_script(tools, "ensure_base").stderr == ""
    assert asked(engine) == [f"pull --quiet {BASE}"]
    (engine / "asked").unlink()
    (engine / "images").write_text(BASE)
    assert host_script(tools, "ensure_base").stderr == ""
    assert asked(engine) == []


def test_without_a_registry_the_base_is_made_by_the_mirrors_of_this_host(tools: Path, engine: Path) -> None:
    done = host_script(tools, "ensure_base")
    assert done.returncode == 0
    assert done.stderr == (
        f"confined-claude: No image registry can be reached: making the base image {BASE} from Debian packages,"
        " with mmdebstrap.\n"
    )
    _, made, imported = asked(engine)
    assert made.endswith(
        " bookworm - deb http://mirror/debian/ bookworm main deb http://mirror/security/ bookworm-security main"
    )
    assert imported.startswith("import --change LABEL confined-claude=base ")
    assert imported.endswith(f" {BASE}")
    assert not Path(imported.split()[-2]).parent.exists()


def test_a_base_that_an_older_version_made_is_taken(tools: Path, engine: Path) -> None:
    (engine / "images").write_text("confined-claude-base:bookworm")
    assert host_script(tools, "ensure_base").stderr == ""
    assert asked(engine)[1:] == [f"tag confined-claude-base:bookworm {BASE}", "rmi confined-claude-base:bookworm"]


@pytest.mark.parametrize("tool", ["mmdebstrap", "docker"])
def test_a_base_that_cannot_be_made_is_told_after_its_reason(tool: str, tools: Path, engine: Path) -> None:
    if tool == "mmdebstrap":
        put(tools, tool, "#!/bin/sh\necho arch\necho 'no space left' >&2\nexit 1\n")
    else:
        (engine / "full").touch()
    done = host_script(tools, "ensure_base; echo went on")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[1:] == [
        "no space left",
        "confined-claude: The base image could not be made; the reason is above.",
        "confined-claude: Fix that, or name an image within reach in the setting `base`, and start again.",
    ]
    assert any(line.startswith("import") for line in asked(engine)) is (tool == "docker")


@pytest.mark.parametrize("words", [("unit", "--version"), ("--version",)])
def test_the_tests_name_what_they_need_and_cannot_install(tools: Path, words: tuple[str, ...]) -> None:
    done = run(tools, str(REPOSITORY / "tests/run"), *words)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "confined-claude: The tests need git.",
        "confined-claude: Install that (Debian, Ubuntu: apt-get install git) and start again.",
    ]
