"""What differs on macOS and in WSL, as far as Linux can show it: no test here has run there."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude import system
from confined_claude.engine import failures
from confined_claude.engine.context import DEFAULT_ADDRESS, address_in_use
from confined_claude.engine.failures import unreachable
from confined_claude.errors import EngineError

from . import conftest
from .test_readme import ROOT
from .test_structure import MODULES

# What Python has on Linux and not on macOS, by the module that has it.
LINUX_ONLY = {
    "os": """copy_file_range eventfd getrandom getresgid getresuid getxattr listxattr memfd_create pidfd_open pipe2
        posix_fadvise posix_fallocate removexattr sched_getaffinity sched_getparam sched_getscheduler sched_setaffinity
        sched_setparam sched_setscheduler setns setresgid setresuid setxattr splice unshare O_DIRECT O_LARGEFILE
        O_NOATIME O_PATH O_RSYNC O_TMPFILE P_PIDFD PIDFD_NONBLOCK""".split(),
    "signal": "sigtimedwait sigwaitinfo pidfd_send_signal SIGRTMIN SIGRTMAX SIGPOLL SIGPWR SIGSTKFLT SIGCLD".split(),
    "select": "epoll EPOLLIN EPOLLOUT EPOLLERR EPOLLHUP EPOLLET EPOLL_CLOEXEC".split(),
    "socket": """AF_ALG AF_CAN AF_NETLINK AF_PACKET AF_TIPC SOCK_CLOEXEC SOCK_NONBLOCK SO_PEERCRED SO_BINDTODEVICE
        SO_MARK TCP_USER_TIMEOUT MSG_CMSG_CLOEXEC""".split(),
    "resource": "prlimit RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING".split(),
    "fcntl": "F_ADD_SEALS F_GET_SEALS F_SETPIPE_SZ F_GETPIPE_SZ F_NOTIFY F_SETLEASE F_OFD_SETLK".split(),
    "time": "CLOCK_BOOTTIME CLOCK_TAI".split(),
}
# Those that are used where they are there, with something else in their place.
ASKED_FOR = {
    ("fs.copying", "copy_file_range"),
    ("fs.removal", "O_PATH"),
    ("egress.local_networks", "AF_NETLINK"),
    ("timing", "CLOCK_BOOTTIME"),
}
ON_MACOS = """
import importlib, json, sys, types
names, modules, extra = json.loads(sys.argv[1])
# The standard library's own, which know where they are.
import asyncio, concurrent.futures, multiprocessing, selectors, shutil, socket, ssl, subprocess, tempfile
import urllib.request
sys.platform = "darwin"
sys.modules["_scproxy"] = types.ModuleType("_scproxy")
for module, its in names.items():
    of = importlib.import_module(module)
    for name in its:
        if hasattr(of, name):
            delattr(of, name)
exec(extra)
for name in modules:
    importlib.import_module(f"confined_claude.{name}" if name else "confined_claude")
from confined_claude import system
assert system.IS_MAC and not system.IS_LINUX
"""


def imported_on_macos(extra: str = "") -> subprocess.CompletedProcess[str]:
    """Import every module of the library, and run ``extra`` before, without what only Linux has."""
    words = json.dumps([LINUX_ONLY, [name for name in MODULES if name != "cli"], extra])
    return subprocess.run([sys.executable, "-c", ON_MACOS, words], capture_output=True, text=True, check=False)


def test_every_module_can_be_imported_without_what_only_linux_has() -> None:
    done = imported_on_macos()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("call", ["os.memfd_create('x')", "os.sched_getaffinity(0)", "signal.sigtimedwait"])
def test_control_a_call_at_import_would_be_found(call: str) -> None:
    assert "AttributeError" in imported_on_macos(f"import os, signal; {call}").stderr


def test_what_only_linux_has_is_used_where_something_else_can_take_its_place() -> None:
    names = {name for its in LINUX_ONLY.values() for name in its}
    used = {
        (module, node.attr)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in LINUX_ONLY
        if node.attr in names
    }
    assert used == ASKED_FOR


def test_the_systems_are_told_apart_in_one_module() -> None:
    asking = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.platform", "os.name", "platform.system")
    }
    assert asking <= {"system", "commands.doctor.machine"}  # which asks for the names of Python's own directories


# Directories


@pytest.mark.parametrize("is_mac", [False, True])
def test_directories_are_in_the_same_places_everywhere(
    is_mac: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "IS_MAC", is_mac)
    expected = (".local/share", ".local/state", ".config")
    assert system.directories(tmp_path, {}) == tuple(tmp_path / path / "confined-claude" for path in expected)
    given = {"XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "relative"}
    assert system.directories(tmp_path, given)[0] == Path("/d/confined-claude")
    assert system.directories(tmp_path, given)[1] == tmp_path / ".local/state/confined-claude"


def test_what_version_0_1_has_on_macos_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = tmp_path / "Library/Application Support/confined-claude"
    earlier.mkdir(parents=True)
    assert earlier not in system.directories(tmp_path, {})
    monkeypatch.setattr(system, "IS_MAC", True)
    assert system.directories(tmp_path, {"XDG_DATA_HOME": "/d"}) == (earlier, earlier, earlier)


@pytest.mark.parametrize("has_earlier", [False, True])
@pytest.mark.parametrize("is_mac", [False, True])
@pytest.mark.parametrize("names", ["", "DATA", "STATE CONFIG"])
def test_the_installer_has_the_same_directories(
    is_mac: bool, has_earlier: bool, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a ``uname`` that says which system it is."""
    monkeypatch.setattr(system, "IS_MAC", is_mac)
    user, programs = tmp_path / "home", tmp_path / "bin"
    programs.mkdir()
    (programs / "uname").write_text(f"#!/bin/sh\necho {'Darwin' if is_mac else 'Linux'}\n")
    (programs / "uname").chmod(0o755)
    if has_earlier:
        (user / "Library/Application Support/confined-claude").mkdir(parents=True)
    environ = {f"XDG_{name}_HOME": str(tmp_path / name) for name in names.split()}
    expected = system.directories(user, environ)
    for directory in expected:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "kept").touch()
    environ |= {"HOME": str(user), "PATH": f"{programs}:{os.environ['PATH']}"}
    command = ["bash", str(ROOT / "install.sh"), "--uninstall", "--yes"]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    data, state, config = expected
    assert f"This removes the installation in {data}/venv," in done.stderr
    assert f"Your data is in {data}, {state} and {config}: " in done.stderr


# Engines


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home directory with a path that is short enough for a socket's; what listens there is no engine."""
    monkeypatch.setattr(conftest._guard, "active", False)
    made = Path(tempfile.mkdtemp(dir="/tmp"))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(made / "run"))
    yield made
    shutil.rmtree(made)


def listening(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (".docker/run/docker.sock", "Docker Desktop"),
        (".docker/desktop/docker.sock", "Docker Desktop for Linux"),
        (".orbstack/run/docker.sock", "OrbStack"),
        (".colima/default/docker.sock", "Colima"),
        (".lima/docker/sock/docker.sock", "Lima"),
        (".rd/docker.sock", "Rancher Desktop"),
        ("run/docker.sock", "Docker, rootless"),
        ("run/podman/podman.sock", "Podman, rootless"),
    ],
)
def test_an_engine_that_listens_elsewhere_is_named_and_not_taken(home: Path, path: str, name: str) -> None:
    with listening(home / path):
        error = unreachable("no such file")
        assert error.hint.startswith(f"{name} listens at {home / path}: ")
        assert error.hint.endswith(f" or set DOCKER_HOST=unix://{home / path}.")
        assert address_in_use({"HOME": str(home)}) == DEFAULT_ADDRESS
    (home / path).unlink()
    (home / path).touch()  # nothing listens there any more
    assert "listens" not in unreachable("no such file").hint


@pytest.mark.parametrize("is_wsl", [False, True])
@pytest.mark.parametrize("has_docker", [False, True])
def test_in_wsl_docker_desktop_may_be_what_does_not_run(
    home: Path, has_docker: bool, is_wsl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "IS_WSL", is_wsl)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/docker" if has_docker and name == "docker" else None)
    hint = unreachable("connect: no such file or directory").hint
    assert ("tart Docker Desktop on Windows and turn on its WSL integration" in hint) is is_wsl
    assert ("systemctl start docker" if has_docker else "apt-get install docker.io") in hint


@pytest.mark.parametrize(
    ("release", "is_wsl"),
    [("5.15.167.4-microsoft-standard-WSL2", True), ("4.4.0-19041-Microsoft", True), ("6.1.0-41-amd64", False)],
)
def test_wsl_is_known_by_its_kernel(release: str, is_wsl: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", release, "x", "x86_64")))
    assert runpy.run_path(str(system.__file__))["IS_WSL"] is is_wsl


def test_of_several_the_first_in_their_order_is_named(home: Path) -> None:
    with listening(home / ".colima/default/docker.sock"), listening(home / ".orbstack/run/docker.sock"):
        assert unreachable("x").hint.startswith("OrbStack ")
        with listening(home / "run/docker.sock"):
            assert unreachable("x").hint.startswith("Docker, rootless ")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("desktop-linux", ".docker/run/docker.sock"),
        ("orbstack", ".orbstack/run/docker.sock"),
        ("colima", ".colima/default/docker.sock"),
        ("colima-work", ".colima/work/docker.sock"),
        ("lima-docker", ".lima/docker/sock/docker.sock"),
    ],
)
def test_the_context_that_each_of_them_makes_is_followed(home: Path, name: str, path: str) -> None:
    written(home, name, f"unix://{home / path}")
    assert address_in_use({}) == f"unix://{home / path}"


def test_a_pipe_of_windows_is_refused_with_what_to_do_in_wsl(home: Path) -> None:
    written(home, "desktop-windows", "npipe:////./pipe/dockerDesktopWindowsEngine")
    with pytest.raises(EngineError, match="a Windows pipe") as caught:
        address_in_use({})
    assert "WSL integration" in caught.value.hint


def written(home: Path, name: str, address: str) -> None:
    """Write a context of the docker command, and make it the current one, as these engines do."""
    directory = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    directory.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": address, "SkipTLSVerify": False}}}
    (directory / "meta.json").write_text(json.dumps(meta))
    (home / ".docker/config.json").write_text(json.dumps({"auths": {}, "credsStore": "x", "currentContext": name}))
