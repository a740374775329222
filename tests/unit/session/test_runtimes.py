"""Which runtimes an engine has, and what is said of one that it lacks. On an engine: tests/engine/test_runtimes.py."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from confined_claude.engine import containers
from confined_claude.errors import EngineError
from confined_claude.session import runtimes
from confined_claude.session.runtimes import names, refuse_missing, refuse_ways, shares_kernel
from confined_claude.settings import Settings
from confined_claude.state.facts import EngineFacts

INFO = {"DefaultRuntime": "runc", "Runtimes": {"zzz": {}, "io.containerd.runc.v2": {}, "runc": {}}}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "info", lambda: INFO)


def test_the_default_comes_first() -> None:
    assert names(INFO) == ["runc", "io.containerd.runc.v2", "zzz"]


@pytest.mark.parametrize("info", [{}, {"Runtimes": None}, {"Runtimes": [], "DefaultRuntime": "x"}])
def test_an_engine_that_does_not_tell_has_none(info: dict[str, Any]) -> None:
    assert names(info) == []


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("runtime", ["zzz", "runc", "io.containerd.runsc.v1"])
def test_one_that_is_there_or_that_the_engine_looks_up_itself_is_taken(runtime: str) -> None:
    refuse_missing(Settings(runtime=runtime), EngineFacts())


@pytest.mark.usefixtures("engine")
def test_one_that_is_missing_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(EngineError, match=r"no runtime runsc; it has runc, io\.containerd\.runc\.v2, zzz\."):
        refuse_missing(Settings(runtime="runsc"), EngineFacts())


def test_podman_would_not_heed_it() -> None:
    with pytest.raises(EngineError, match="would not heed"):
        refuse_missing(Settings(runtime="runsc"), EngineFacts(podman=True))


@pytest.mark.parametrize(("version", "is_refused"), [("5.3.2", True), ("5.4.0", False), ("5.10.1", False), ("", False)])
def test_a_podman_that_would_not_heed_gpus_is_refused(
    version: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "version", lambda: {"Version": version})
    refused = pytest.raises(EngineError, match=f"Podman {version} would not heed the setting `gpus`")
    with refused if is_refused else contextlib.nullcontext():
        refuse_missing(Settings(gpus="all"), EngineFacts(podman=True))
    refuse_missing(Settings(gpus="all"), EngineFacts())


def test_without_the_setting_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("info", "version"):
        monkeypatch.setattr(containers, name, lambda: pytest.fail("asked"))
    refuse_missing(Settings(), EngineFacts(podman=True))


HERE = EngineFacts(kernel=os.uname().release)
URLS = ["https://forge.example/x"]


@pytest.mark.parametrize(
    ("settings", "pushes", "named"),
    [
        (Settings(push="ask"), URLS, "`push`"),
        (Settings(ssh_agent=("git@forge.example",)), (), "`ssh_agent`"),
        (Settings(push="ask", ssh_agent=("git@forge.example",)), URLS, "`push` and `ssh_agent`"),
    ],
)
def test_what_needs_sockets_is_refused_where_the_engine_is_in_a_virtual_machine(
    settings: Settings, pushes: list[str], named: str
) -> None:
    in_one = HERE._replace(kernel="6.10.14-linuxkit")
    refuse_ways(settings, pushes, HERE)
    refuse_ways(Settings(push="ask"), (), in_one)  # there is nowhere to push to
    with pytest.raises(EngineError, match=f"The engine is in a virtual machine, where {named} cannot work"):
        refuse_ways(settings, pushes, in_one)


@pytest.mark.parametrize(
    ("is_wsl", "system", "is_shared"),
    [(False, "Docker Desktop", True), (True, "Docker Desktop", False), (True, "Debian GNU/Linux 12", True)],
)
def test_docker_desktop_in_wsl_has_this_kernel_in_another_system(
    is_wsl: bool, system: str, is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "IS_WSL", is_wsl)
    monkeypatch.setattr(containers, "info", lambda: {"OperatingSystem": system})
    assert shares_kernel(Settings(), HERE) is is_shared
    assert not shares_kernel(Settings(runtime="runsc"), HERE)
    assert not shares_kernel(Settings(), HERE._replace(default_runtime="runsc"))
    assert not shares_kernel(Settings(), HERE._replace(kernel="6.10.14-linuxkit"))
