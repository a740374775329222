"""Other runtimes of the engine: gVisor, one that gives containers another network, one that is missing; and GPUs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import PATIENCE, User, docker, own_name, up, wait_until
from own_engine import OwnEngine, own_engine

# In one process, as they share an engine.
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("runtimes")]

# A runtime that leaves containers in the engine's own network, from where there is a way out.
ASTRAY = """\
#!/usr/bin/python3
import json, os, sys
if "--bundle" in sys.argv:
    path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    config = json.load(open(path))
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [space for space in spaces if space["type"] != "network"]
    config["linux"].pop("sysctl", None)
    json.dump(config, open(path, "w"))
os.execv({runc!r}, [{runc!r}, *sys.argv[1:]])
"""
# What is sent out there is lost.
WAY_OUT = "ip link add out type veth peer name lost; ip address add 192.0.2.1/24 dev out; ip link set dev out up"
WAY_OUT += "; ip link set lost up; ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:01 dev out"
WAY_OUT += "; ip route add default via 192.0.2.2"
OTHERS = {"plain", "gvisor", "gvisor-host", "astray", "broken"}


@pytest.fixture(scope="module")
def engine(installed: Path, ground: Path) -> Iterator[OwnEngine]:
    astray, runc = ground / "astray", shutil.which("runc")
    astray.write_text(ASTRAY.format(runc=runc))
    astray.chmod(0o755)
    runsc = shutil.which("runsc")
    runtimes = {
        "plain": {"path": runc},
        "gvisor": {"path": runsc, "runtimeArgs": ["--network=none"]},
        "gvisor-host": {"path": runsc, "runtimeArgs": ["--network=host"]},
        "astray": {"path": str(astray)},
        "broken": {"path": str(ground / "there-is-none")},
    }
    (ground / "daemon.json").write_text(json.dumps({"runtimes": runtimes}))
    with own_engine(WAY_OUT, f"--config-file={ground}/daemon.json") as made:
        made.copy_image()
        yield made


@pytest.fixture
def someone(installed: Path, place: Path, engine: OwnEngine) -> User:
    variables = {"ANTHROPIC_API_KEY": "sk-made-up", "DOCKER_HOST": engine.address}
    user = User(place / "home", installed, variables=variables)
    user.folder(user.home)
    return user


@pytest.fixture
def directory(someone: User, place: Path) -> Path:
    return someone.folder(own_name(place))


def shell(user: User, project: Path, runtime: str, network: str, script: str) -> tuple[int, list[str], str]:
    """The exit code of a session that runs ``script``, its lines, and what is said."""
    words = ("confined-claude", "shell", "--runtime", runtime, "--network", network, "--", "sh", "-c", script)
    done = user.run(*words, cwd=project)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_gvisor_without_a_network(someone: User, directory: Path, engine: OwnEngine) -> None:
    script = "dmesg | grep -c gVisor; echo mine >file; id -u; grep -c : /proc/net/route; exit 7"
    assert shell(someone, directory, "gvisor", "none", script) == (7, ["1", "0", "0"], "")
    assert ((directory / "file").read_text(), (directory / "file").stat().st_uid) == ("mine\n", os.getuid())
    # The control: the engine's own has this machine's kernel.
    assert shell(someone, directory, "engine", "none", "uname -r")[1] == [os.uname().release]


def test_exec_and_stop_work_there(someone: User, directory: Path, engine: OwnEngine) -> None:
    words = ("confined-claude", "shell", "--runtime", "gvisor", "--network", "none", "--", "sh", "-c")
    with someone.running(*words, "touch runs; sleep 300", cwd=directory) as tool:
        wait_until((directory / "runs").exists)
        done = someone.run("confined-claude", "exec", "--", "sh", "-c", "uname -r; exit 5", cwd=directory)
        assert (done.returncode, done.stdout.strip() != os.uname().release) == (5, True), done.stderr
        assert someone.run("confined-claude", "stop", cwd=directory).returncode == 0
        tool.wait(PATIENCE)
    assert engine.docker("ps", "--all", "--quiet") == ""


@pytest.mark.parametrize(("runtime", "network"), [("gvisor", "allowlist"), ("gvisor-host", "internet")])
def test_rules_that_cannot_be_shown_to_hold_are_none(
    someone: User, directory: Path, engine: OwnEngine, runtime: str, network: str
) -> None:
    code, lines, said = shell(someone, directory, runtime, network, "touch ran")
    assert (code, lines) == (3, []), said
    # At once: nothing is waited for that cannot come.
    assert "The session's network is not as it should be: its runtime has a kernel of its own, " in said
    assert "With this runtime, only network = none and network = open work." in said
    assert "Start it again" not in said
    assert not (directory / "ran").exists()
    wait_until(lambda: engine.docker("ps", "--all", "--quiet") == "")


@pytest.mark.parametrize("network", ["none", "allowlist"])
def test_a_runtime_that_gives_a_session_another_network_is_found_out(
    someone: User, directory: Path, engine: OwnEngine, network: str
) -> None:
    code, lines, said = shell(someone, directory, "astray", network, "touch ran")
    assert (code, lines) == (3, []), said
    assert "The session's network is not as it should be: " in said
    assert not (directory / "ran").exists()
    wait_until(lambda: engine.docker("ps", "--all", "--quiet") == "")
    # The control: a container that proves nothing runs, and has that way out.
    words = ("run", "--rm", "--runtime", "astray", "--network", "none", "--entrypoint", "ls", "confined-claude:latest")
    assert "out" in engine.docker(*words, "/sys/class/net").split()


@pytest.mark.parametrize("network", ["none", "internet"])
def test_a_runtime_in_which_the_rules_hold_is_as_good_as_any(someone: User, directory: Path, network: str) -> None:
    script = """touch ran; python3 -c 'import socket; print(socket.socket().connect_ex(("172.17.0.1", 1)))'"""
    code, lines, said = shell(someone, directory, "plain", network, script)
    assert (code, lines) == (0, ["101" if network == "none" else "113"]), said
    # The control: the address is there, and closed.
    if network == "internet":
        assert shell(someone, directory, "plain", "open", script)[1] == ["111"]


def test_a_runtime_that_is_the_engines_default_has_to_prove_as_much(
    someone: User, directory: Path, engine: OwnEngine, ground: Path
) -> None:
    file = ground / "daemon.json"
    try:
        engine.take_by_default("gvisor", file)
        script = "dmesg | grep -c gVisor; touch ran"
        code, lines, said = shell(someone, directory, "engine", "allowlist", script)
        assert (code, lines, (directory / "ran").exists()) == (3, [], False), said
        assert "The session's network is not as it should be: " in said
        assert shell(someone, directory, "engine", "none", script) == (0, ["1"], "")
    finally:
        engine.take_by_default("runc", file)


def test_a_runtime_that_is_missing_is_said_before_anything_is_made(someone: User, directory: Path) -> None:
    code, lines, said = shell(someone, directory, "runsk", "none", "true")
    assert (code, lines) == (3, [])
    first, hint = said.splitlines()
    assert first.startswith("confined-claude: The engine has no runtime runsk; it has runc, ")
    assert set(first.rstrip(".").replace(",", "").split()) >= OTHERS
    assert "daemon.json" in hint
    assert list(directory.iterdir()) == []


def test_one_whose_program_is_missing_is_said_with_what_to_do(someone: User, directory: Path) -> None:
    code, lines, said = shell(someone, directory, "broken", "none", "true")
    assert (code, lines) == (3, [])
    assert "there-is-none: no such file or directory" in said
    assert "Install it on the engine's machine, correct its path" in " ".join(said.split())
    assert up(directory) == []


def test_doctor_lists_them(someone: User, directory: Path) -> None:
    def line(**variables: str) -> dict[str, str]:
        done = someone.run("confined-claude", "doctor", "--json", cwd=directory, **variables)
        return next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "runtimes")

    assert line()["what"].startswith("runc (its default), ")
    assert set(line()["what"].replace(",", "").split()) >= OTHERS
    assert line(CONFINED_CLAUDE_RUNTIME="gvisor")["what"].endswith("; sessions have gvisor")
    missing = line(CONFINED_CLAUDE_RUNTIME="runsk")
    assert (missing["status"], "no runtime runsk" in missing["what"]) == ("problem", True)


def test_gpus_are_asked_for_and_an_engine_without_says_so(user: User, project: Path) -> None:
    printed = user.run("confined-claude", "shell", "--gpus", "all", "--dry-run", "--", "true", cwd=project).stdout
    assert "    --gpus all" in printed
    assert "; gpus = all." in printed
    done = user.run("confined-claude", "shell", "--gpus", "all", "--", "touch", "ran", cwd=project)
    assert done.returncode == 3
    assert "could not select device driver" in done.stderr
    assert "The setting `gpus` needs a GPU on the engine's machine" in done.stderr
    assert up(project) == []
    assert docker("ps", "--all", "--quiet", "--filter", f"label=confined-claude.path={project}") == ""
    assert not (project / "ran").exists()


@pytest.mark.parametrize("asked", ['runtime = "gvisor"', 'gpus = "all"'])
def test_a_project_can_ask_for_neither(user: User, project: Path, asked: str) -> None:
    user.folder(project / ".confined-claude").joinpath("config.toml").write_text(f"{asked}\n")
    done = user.run("confined-claude", "shell", "--", "true", cwd=project)
    assert (done.returncode, "a project cannot ask for" in done.stderr) == (2, True), done.stderr
