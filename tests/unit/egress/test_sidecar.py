"""A session's sidecar while it runs, with programs of our own in place of the engine and the docker command."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from confined_claude.egress import sidecar as module
from confined_claude.egress.network import SidecarPlan
from confined_claude.egress.sidecar import Sidecar
from confined_claude.engine import containers
from confined_claude.errors import ConfinedError, EngineError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.workspace import Workspace

from ..fake_engine import LIVE, SECONDS, FakeEngine, docker
from .test_blocked import ONE, text_of

__all__ = ["docker"]
CONFIG = '{"allow": []}'
PLAIN = SidecarPlan("a-name", ("--name", "a-name", "an:image"))
REMARKS = """\
WARNING: no swap limit
Resource limits are not supported and ignored on cgroups V1 rootless systems
time="2026-11-29T11:18:03Z" level=error msg="Removing container ce74: it has dependent containers"
"""
PORT = "docker: Error response from daemon: Bind for 127.0.0.1:5173 failed: port is already allocated."


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.05)


@pytest.fixture
def workspace(host: Host, tmp_path: Path) -> Workspace:
    return Workspace(host, Project(tmp_path / "app"))


@pytest.fixture
def sidecar(docker: FakeEngine, workspace: Workspace) -> Sidecar:
    """One that has not been started."""
    return Sidecar(PLAIN, workspace, "key")


@pytest.fixture
def shared(workspace: Workspace) -> SidecarPlan:
    """A sidecar that shares a directory with the host."""
    directory = workspace.egress.at("key")
    return SidecarPlan(
        "a-name", ("--name", "a-name", "an:image"), must_exist_first=True, directory=directory, config=CONFIG
    )


def config_of(plan: SidecarPlan) -> Path:
    assert plan.directory is not None
    return plan.directory.path / "config.json"


def is_gone(docker: FakeEngine) -> bool:
    return docker.started[0].poll() is not None


# Start


def test_a_session_without_a_sidecar_has_nothing_to_wait_for(workspace: Workspace) -> None:
    with Sidecar(None, workspace, "key") as one:
        one.start()
        one.wait_until_ready()
        one.check()
        one.configure("{}")
        assert (one.output, one.has_config) == (None, False)


def test_a_sidecar_is_started_with_what_it_is_given_and_waited_for(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        sidecar.wait_until_ready()
        assert not sidecar.has_config
    assert docker.calls()[0] == "run --name a-name an:image"


def test_it_is_out_of_reach_of_the_terminals_ctrl_c(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        assert os.getsid(docker.started[0].pid) != os.getsid(0)


def test_what_it_reads_is_there_before_it_and_private(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan
) -> None:
    docker.does(f"cat {config_of(shared)} >seen; {LIVE}")
    with Sidecar(shared, workspace, "key") as one:
        one.start()
        one.wait_until_ready()
        assert one.has_config
        assert config_of(shared).stat().st_mode & 0o077 == 0
        assert config_of(shared).parent.stat().st_mode & 0o077 == 0
    assert (docker.directory / "seen").read_text() == shared.config


def test_while_it_runs_it_is_not_started_again(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.start()
        sidecar.wait_until_ready()
        sidecar.start()
    assert len(docker.started) == 1


def test_one_that_failed_is_started_again(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("echo 'No such image' >&2; exit 125")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError, match="No such image"):
            sidecar.wait_until_ready()
        docker.does(LIVE)
        sidecar.start()
        sidecar.wait_until_ready()
    assert len(docker.started) == 2


@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_a_directory_with_a_link_on_the_way_is_refused(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan, tmp_path: Path, above: int
) -> None:
    link = config_of(shared).parent.parents[above]
    link.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    with Sidecar(shared, workspace, "key") as one, pytest.raises(ConfinedError, match="is a link"):
        one.start()
    assert docker.started == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Failures


@pytest.mark.parametrize(
    ("printed", "hint"),
    [
        (PORT, "the setting `ports`"),
        ("docker: Error response from daemon: listen tcp4 127.0.0.1:80: bind: address already in use.", "`ports`"),
        ("the engine's kernel does not take these rules of nf_tables", '"allowlist", "none" or "open"'),
        ("docker: Error response from daemon: network bridge not found.", '"docker:NAME"'),
        ("docker: something else", "the engine's own log"),
        ("Error: netavark: nftables error: unable to execute nft: No such file", "apt-get install nftables"),
    ],
)
def test_a_sidecar_that_fails_is_reported_with_its_reason_and_a_hint(
    printed: str, hint: str, docker: FakeEngine, sidecar: Sidecar
) -> None:
    (docker.directory / "says").write_text(f"{REMARKS}{printed}\nRun 'docker run --help'\n")
    docker.does("cat says >&2; exit 125")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError) as caught:
            sidecar.wait_until_ready()
    assert caught.value.message == f"The session's network could not be made: {printed}"
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("printed", ["", "WARNING: x\n", " \n"])
def test_a_sidecar_that_fails_without_a_word_is_reported_too(
    printed: str, docker: FakeEngine, sidecar: Sidecar
) -> None:
    (docker.directory / "says").write_text(printed)
    docker.does("cat says >&2; exit 1")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError, match="it gave no reason"):
            sidecar.wait_until_ready()


def test_what_it_prints_steers_no_terminal(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does(r"printf 'evil\033[2J\007\233\n' >&2; exit 1")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError) as caught:
            sidecar.wait_until_ready()
    assert caught.value.message.isprintable()


def test_a_failure_after_it_was_ready_is_found_by_looking(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("echo ready; read -r line <end; echo no kernel >&2; exit 1")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        sidecar.check()  # it still serves a session
        os.write(docker.life, b"\n")
        docker.started[0].wait(SECONDS)
        with pytest.raises(EngineError, match="no kernel"):
            sidecar.check()


def test_its_container_is_waited_for_without_what_it_prints(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("[ -e there ] || exit 4", "inspect")
    docker.does("sleep 0.05; touch there; " + LIVE)
    with sidecar:
        sidecar.start()
        sidecar.wait_until_made()
        assert (docker.directory / "there").exists()
        assert docker.calls().count("inspect a-name") > 1


def test_a_container_that_never_comes_is_reported_with_its_reason(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("exit 4", "inspect")
    docker.does("echo no bridge >&2; exit 125")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError, match="no bridge"):
            sidecar.wait_until_made()


def test_one_that_ends_before_it_is_ready_is_reported_by_looking(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("echo no kernel >&2; exit 1")
    with sidecar:
        sidecar.start()
        docker.started[0].wait(SECONDS)
        with pytest.raises(EngineError, match="no kernel"):
            sidecar.receive()


# While it runs


def test_its_output_ends_when_it_does(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        assert sidecar.receive()
        docker.end()
        assert not sidecar.receive()


def test_a_configuration_is_written_when_it_changes(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan
) -> None:
    with Sidecar(shared, workspace, "key") as one:
        one.start()
        one.wait_until_ready()
        before = config_of(shared).stat()
        one.configure(CONFIG)
        assert config_of(shared).stat() == before
        one.configure('{"allow": ["a"]}')
        assert config_of(shared).read_text() == '{"allow": ["a"]}'


# End


@pytest.mark.parametrize("has_session", [True, False])
def test_what_does_not_end_by_itself_is_removed(has_session: bool, docker: FakeEngine, sidecar: Sidecar) -> None:
    if has_session:
        docker.does(LIVE.replace("ready;", "ready; echo joined;"))
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
    assert is_gone(docker)
    assert "rm a-name" in docker.calls()


def test_it_is_gone_also_after_a_failure(docker: FakeEngine, sidecar: Sidecar) -> None:
    with pytest.raises(ZeroDivisionError), sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        raise ZeroDivisionError
    assert is_gone(docker)


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen while it ran", "seen at the end"])
def test_what_ends_with_its_session_is_left_to_that(
    is_seen: bool, docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", SECONDS)
    docker.does("echo ready; echo joined; touch said; exec sleep 0.2")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        while not (docker.directory / "said").exists():  # it is printed before the session's command starts
            time.sleep(0.002)
        if is_seen:
            sidecar.receive()
    assert [call for call in docker.calls() if call.startswith("rm")] == []


def test_one_that_no_session_has_joined_is_not_waited_for(
    docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 60 * SECONDS)
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
    assert "rm a-name" in docker.calls()


def test_one_that_is_only_being_made_is_removed_when_it_is_there(
    docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    remove = containers.remove

    def too_early(name: str) -> None:
        tries.append(name)
        if len(tries) > 2:
            remove(name)

    monkeypatch.setattr(containers, "remove", too_early)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.001)
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
    assert set(tries) == {"a-name"}
    assert len(tries) > 2
    assert is_gone(docker)


def test_one_that_nothing_removes_is_given_up_on(
    docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    monkeypatch.setattr(containers, "remove", tries.append)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0)
    with sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
    assert len(tries) == 50
    assert not is_gone(docker)


def test_when_both_are_gone_what_was_refused_is_collected(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan
) -> None:
    with Sidecar(shared, workspace, "key") as one:
        one.start()
        one.wait_until_ready()
        (config_of(shared).parent / "blocked.json").write_text(text_of(ONE))
    assert os.listdir(workspace.egress.path) == ["key.blocked"]
    assert json.loads((workspace.egress.path / "key.blocked").read_text())["blocked"] == [ONE]


# What it lends


def test_it_learns_what_it_lends_by_its_standard_input(docker: FakeEngine, workspace: Workspace) -> None:
    (docker.directory / "run").write_text("head -n 1 >first; echo ready; head -n 1 >second; exec cat end")
    with Sidecar(PLAIN, workspace, "key", b"one value\n") as sidecar:
        sidecar.start()
        sidecar.wait_until_ready()
        assert (docker.directory / "first").read_text() == "one value\n"
        sidecar.lend(b"another\n")
        deadline = time.monotonic() + SECONDS
        while not (second := docker.directory / "second").exists() or second.read_text() != "another\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "value" not in (docker.directory / "calls").read_text()
    sidecar.lend(b"too late\n")
