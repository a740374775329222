"""What kind of engine it is, and when what is known of it still counts."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import containers
from confined_claude.errors import EngineError
from confined_claude.host import Host
from confined_claude.state.facts import EngineFacts, current_facts, from_answers
from confined_claude.state.store import state_of

from ..conftest import full_disk

INFO = {
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "MemTotal": 16 << 30,
    "NCPU": 8,
    "PidsLimit": True,
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
}
VERSION = {"Components": [{"Name": "Engine", "Version": "28.5.2"}, {"Name": "containerd"}]}
PODMAN = {"Components": [{"Name": "Podman Engine", "Version": "5.4.2"}]}
KNOWN = EngineFacts(memory=16 << 30, cpus=8, takes_seccomp=True)
PROFILE = Path(containers.__file__).parent / "seccomp/profile.json"


def test_an_ordinary_engine() -> None:
    assert from_answers(INFO, VERSION) == KNOWN
    assert KNOWN.isolation == ("--security-opt", f"seccomp={PROFILE}")


def test_podman_and_an_engine_with_a_profile_of_somebodys_get_none_of_ours() -> None:
    assert from_answers(INFO, PODMAN) == KNOWN._replace(podman=True, takes_seccomp=False)
    for option in ("name=seccomp,profile=/etc/docker/seccomp.json", "name=apparmor"):
        found = from_answers({**INFO, "SecurityOptions": [option]}, VERSION)
        assert found == KNOWN._replace(takes_seccomp=False)
        assert found.isolation == ()
    for name in ("default", "builtin", "unconfined"):
        assert from_answers({**INFO, "SecurityOptions": [f"name=seccomp,profile={name}"]}, VERSION) == KNOWN


@pytest.mark.parametrize("option", ["name=selinux", "name=selinux,profile=default"])
def test_an_engine_with_labels_keeps_containers_out_of_that_and_relabels_nothing(option: str) -> None:
    found = from_answers({**INFO, "SecurityOptions": [*INFO["SecurityOptions"], option]}, VERSION)  # type: ignore[misc]
    assert found == KNOWN._replace(labels_files=True)
    assert found.isolation == ("--security-opt", "label=disable", *KNOWN.isolation)


def test_a_rootless_engine() -> None:
    found = from_answers({**INFO, "SecurityOptions": [*INFO["SecurityOptions"], "name=rootless"]}, VERSION)  # type: ignore[misc]
    assert found == KNOWN._replace(rootless=True)
    assert "--userns" not in found.isolation


def test_podman_says_that_it_is_rootless_in_a_field_of_its_own_and_what_it_limits_for_its_user() -> None:
    found = from_answers({**INFO, "Rootless": True, "CgroupControllers": ["memory"]}, PODMAN)
    assert (found.rootless, found.keeps_ids, found.maps_caller_to_root) == (True, True, False)
    assert (found.limits_memory, found.limits_swap, found.limits_pids, found.limits_cpus) == (True, True, False, False)
    assert not from_answers({**INFO, "Rootless": False, "CgroupControllers": None}, PODMAN).rootless
    docker = from_answers({**INFO, "SecurityOptions": ["name=rootless"]}, VERSION)
    assert (docker.keeps_ids, docker.maps_caller_to_root) == (False, True)


def test_an_engine_that_remaps_users() -> None:
    found = from_answers({**INFO, "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]}, VERSION)
    assert found == KNOWN._replace(remaps_users=True)
    assert found.isolation[:2] == ("--userns", "host")


@pytest.mark.parametrize(
    ("told", "default", "is_foreign"),
    [
        *((name, name, False) for name in ("", "runc", "crun", "io.containerd.runc.v2")),
        *(("runsc", "runsc", True), ("kata", "kata", True), ("/usr/bin/crun", "crun", False), (None, "", False)),
        ("/usr/bin/krun", "krun", True),
    ],
)
def test_the_runtime_that_an_engine_takes_by_default(told: str | None, default: str, is_foreign: bool) -> None:
    found = from_answers({**INFO, "DefaultRuntime": told}, VERSION)
    assert found == KNOWN._replace(default_runtime=default)
    assert (found.has_foreign_runtime("engine"), found.has_foreign_runtime("runsc")) == (is_foreign, True)


def test_a_kernel_with_the_older_cgroups_that_does_not_count_swap() -> None:
    found = from_answers({**INFO, "SwapLimit": False, "CgroupVersion": "1"}, VERSION)
    assert found == KNOWN._replace(limits_swap=False)


def test_a_rootless_engine_that_was_given_no_cgroups() -> None:
    nothing = dict.fromkeys(["PidsLimit", "MemoryLimit", "SwapLimit", "CpuCfsQuota"], False)
    found = from_answers({**INFO, **nothing, "SecurityOptions": ["name=rootless"], "CgroupDriver": "none"}, VERSION)
    assert not (found.limits_pids or found.limits_memory or found.limits_swap or found.limits_cpus)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"SecurityOptions": None, "MemTotal": 0, "NCPU": None},
        {"SecurityOptions": [], "MemTotal": None, "NCPU": 0},
        {"SecurityOptions": [7, None, "name=rootless-not", "rootless"]},
        {"host": {"arch": "amd64"}, "version": {}},  # as another engine's command answers
    ],
)
def test_what_an_engine_does_not_say_is_taken_as_usual(info: dict[str, Any]) -> None:
    assert from_answers(info, info) == EngineFacts()


# What is kept


class Asked:
    """An engine that counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0
        self.answers = True

    def info(self) -> Mapping[str, Any]:
        self.times += 1
        if not self.answers:
            raise EngineError("It does not answer.")
        return INFO


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(containers, "info", made.info)
    monkeypatch.setattr(containers, "version", lambda: VERSION)
    return made


def facts(host: Host, address: str) -> EngineFacts:
    return current_facts(state_of(host), address)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return listening(tmp_path / "engine.sock")


def listening(path: Path) -> str:
    """The address of an engine's socket at ``path``, which is another's each time."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path.with_suffix(".new")))
    path.with_suffix(".new").replace(path)
    return f"unix://{path}"


def file(host: Host) -> Path:
    return host.state / "engine.json"


def changed(host: Host, **parts: Any) -> None:
    file(host).write_text(json.dumps(json.loads(file(host).read_text()) | parts))


def test_an_engine_is_asked_once(engine: Asked, address: str, host: Host) -> None:
    assert [facts(host, address) for _ in range(3)] == [KNOWN] * 3
    assert engine.times == 1
    assert file(host).stat().st_mode & 0o077 == 0


def test_an_engine_that_was_started_again_is_asked_again(
    engine: Asked, address: str, host: Host, tmp_path: Path
) -> None:
    facts(host, address)
    listening(tmp_path / "engine.sock")
    facts(host, address)
    assert engine.times == 2


def test_an_engine_that_was_started_again_behind_the_same_socket_is_asked_again(
    engine: Asked, address: str, host: Host, tmp_path: Path
) -> None:
    """As systemd keeps a socket: `systemctl restart docker` leaves it as it is."""
    pid = tmp_path / "docker.pid"
    for number in ("7", "8"):
        pid.with_suffix(".new").write_text(number)
        pid.with_suffix(".new").replace(pid)
        for _ in range(2):
            facts(host, address)
    assert engine.times == 2
    # That file shows it for a day; without one nothing does, and the answer counts for minutes.
    changed(host, asked=time.time() - 3600)
    facts(host, address)
    assert engine.times == 2
    pid.unlink()
    facts(host, address)
    changed(host, asked=time.time() - 300)
    facts(host, address)
    assert engine.times == 3
    changed(host, asked=time.time() - 3600)
    facts(host, address)
    assert engine.times == 4


@pytest.mark.parametrize("name", [".config/docker/daemon.json", ".config/containers/containers.conf"])
def test_an_engine_that_is_configured_otherwise_is_asked_again(
    name: str, engine: Asked, address: str, host: Host, tmp_path: Path
) -> None:
    facts(host, address)
    configuration = tmp_path / "home" / name
    configuration.parent.mkdir(parents=True)
    configuration.write_text("{}")
    for _ in range(2):
        facts(host, address)
    assert engine.times == 2


def test_podman_has_to_pass_a_check_for_each_place(
    engine: Asked, address: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(*words: str, record: bool = True) -> int:
        made: list[object] = []
        places = [Path(word) for word in words]
        current_facts(state_of(host), address, lambda *_answers: made.append(1), places, record=record)
        return len(made)

    assert [checks("/a"), checks("/b")] == [1, 0]  # the control: Docker refuses to mount what it lacks
    monkeypatch.setattr(containers, "version", lambda: PODMAN)
    changed(host, asked=0)
    assert [checks("/a"), checks("/a"), checks("/b"), checks("/a", "/b"), checks()] == [1, 0, 1, 0, 0]
    assert [checks("/b", "/c"), checks("/c")] == [1, 0]
    assert checks("/d", record=False) == 0
    assert checks("/d") == 1
    assert checks("/a-project") == 1
    assert "a-project" not in (host.state / "engine.json").read_text()  # `eject` does not look there


def test_another_engine_is_asked(engine: Asked, address: str, host: Host, tmp_path: Path) -> None:
    facts(host, address)
    facts(host, listening(tmp_path / "other.sock"))
    assert engine.times == 2


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:2376", "npipe:////./pipe/docker", "unix:///nowhere/x.sock", ""])
def test_an_engine_that_cannot_be_told_from_another_is_asked_each_time(address: str, engine: Asked, host: Host) -> None:
    assert [facts(host, address) for _ in range(2)] == [KNOWN] * 2
    assert engine.times == 2


@pytest.mark.parametrize("age", [25 * 3600.0, -60.0])
def test_what_is_old_or_from_the_future_does_not_count(age: float, engine: Asked, address: str, host: Host) -> None:
    facts(host, address)
    changed(host, asked=time.time() - age)
    facts(host, address)
    assert engine.times == 2


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "7", "{}", '"x"', "\0", '{"identity": []}', "[" * 100_000],
    ids=lambda content: content[:20].encode("unicode_escape").decode(),
)
def test_what_is_broken_does_not_count(content: str, engine: Asked, address: str, host: Host) -> None:
    facts(host, address)
    file(host).write_text(content)
    assert facts(host, address) == KNOWN
    assert facts(host, address) == KNOWN
    assert engine.times == 2


@pytest.mark.parametrize("parts", [{"facts": {}}, {"facts": None}, {"asked": "now"}, {"asked": None}, {"version": 1}])
def test_what_is_incomplete_does_not_count(parts: dict[str, Any], engine: Asked, address: str, host: Host) -> None:
    facts(host, address)
    changed(host, **parts)
    assert facts(host, address) == KNOWN
    assert engine.times == 2


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_does_not_count(kind: str, engine: Asked, address: str, host: Host, tmp_path: Path) -> None:
    facts(host, address)
    good = file(host).rename(tmp_path / "good")
    {"link": lambda: file(host).symlink_to(good), "pipe": lambda: os.mkfifo(file(host)), "folder": file(host).mkdir}[
        kind
    ]()
    assert facts(host, address) == KNOWN
    assert engine.times == 2


def test_facts_that_cannot_be_kept_are_known_all_the_same(engine: Asked, address: str, host: Host) -> None:
    host.state.mkdir(parents=True)
    with full_disk():
        assert facts(host, address) == KNOWN
    assert list(host.state.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_state_folder_that_is_none_is_no_error_here(
    kind: str, engine: Asked, address: str, host: Host, tmp_path: Path
) -> None:
    host.state.parent.mkdir(parents=True)
    host.state.symlink_to(tmp_path) if kind == "link" else host.state.touch()
    assert facts(host, address) == KNOWN


def test_an_engine_that_does_not_answer_is_an_error_and_nothing_is_kept(
    engine: Asked, address: str, host: Host
) -> None:
    engine.answers = False
    with pytest.raises(EngineError):
        facts(host, address)
    assert not file(host).exists()
