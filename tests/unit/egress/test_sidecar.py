"""A session's sidecar while it runs, with programs of our own in place of the engine and its containers."""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from confined_claude import signals
from confined_claude.egress import sidecar as module
from confined_claude.egress.network import SidecarPlan
from confined_claude.egress.sidecar import Sidecar
from confined_claude.engine import attached, labels
from confined_claude.errors import ConfinedError, EngineError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.workspace import Workspace

from ..fake_engine import LIVE, SECONDS, FakeEngine, docker
from ..waiting import until
from .test_blocked import ONE, text_of

__all__ = ["docker"]
CONFIG = '{"allow": []}'
ARGUMENTS = ("--name", "a-name", "--label", f"{labels.KIND}={labels.SIDECAR}", "--interactive", "an:image", "a", "b")
PLAIN = SidecarPlan("a-name", "an:image", ARGUMENTS)
PORT = "driver failed programming external connectivity: Bind for 127.0.0.1:5173 failed: port is already allocated"


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.05)
    monkeypatch.setattr(module, "_FAILING_SECONDS", SECONDS)


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
    return SidecarPlan("a-name", "an:image", ARGUMENTS, must_exist_first=True, directory=directory, config=CONFIG)


def config_of(plan: SidecarPlan) -> Path:
    assert plan.directory is not None
    return plan.directory.path / "config.json"


def is_gone(docker: FakeEngine) -> bool:
    return docker.started[0].poll() is not None


# Start


def test_a_session_without_a_sidecar_has_nothing_to_wait_for(workspace: Workspace) -> None:
    with Sidecar(None, workspace, "key") as one:
        one.start()
        one.wait_until_made()
        one.wait_until_started()
        one.check()
        one.lend(b"nothing")
        one.configure("{}")
        assert (one.output, one.has_config) == (None, False)


def test_a_sidecar_is_started_with_what_it_is_given_and_waited_for(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        sidecar.wait_until_started()
        assert not sidecar.has_config
    assert docker.calls() == ["make a-name", "join sidecar", "run sidecar", "rm a-name"]
    assert json.loads((docker.directory / "make.body").read_text())["Cmd"] == ["a", "b"]


def test_what_it_reads_is_there_before_it_and_private(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan
) -> None:
    docker.does(f"cat {config_of(shared)} >seen; {LIVE}")
    with Sidecar(shared, workspace, "key") as one:
        one.start()
        one.wait_until_started()
        assert one.has_config
        assert config_of(shared).stat().st_mode & 0o077 == 0
        assert config_of(shared).parent.stat().st_mode & 0o077 == 0
    assert (docker.directory / "seen").read_text() == shared.config


def test_what_it_lends_reaches_it_in_whole_lines_though_it_does_not_read_for_a_while(
    docker: FakeEngine, workspace: Workspace
) -> None:
    lines = [letter * (1 << 20) + b"\n" for letter in (b"1", b"2")]
    docker.does("while [ ! -e go ]; do sleep .02; done; cat >seen")
    seen = docker.directory / "seen"
    with Sidecar(PLAIN, workspace, "key", b"0\n") as one:
        one.start()
        one.wait_until_started()
        begin = time.monotonic()
        assert [one.lend(line) for line in lines] == [False, False]
        assert time.monotonic() - begin < SECONDS, "the terminal does not wait for it"
        (docker.directory / "go").touch()
        until(lambda: one.lend(lines[1]))
        until(lambda: seen.read_bytes().endswith(lines[1]))
    found = seen.read_bytes().splitlines(keepends=True)
    assert [line[:1] for line in found] == [b"0", b"1", b"2"]
    assert found[1:] == lines


def test_nobody_has_to_know_that_one_which_has_ended_lends_nothing_more(
    docker: FakeEngine, workspace: Workspace
) -> None:
    docker.does("true")
    with Sidecar(PLAIN, workspace, "key", b"0\n") as one:
        one.start()
        one.wait_until_started()
        until(lambda: one.lend(b"1\n" * (1 << 20)))


def test_while_it_runs_it_is_not_started_again(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.start()
        sidecar.wait_until_started()
        sidecar.start()
    assert len(docker.started) == 1


def test_one_that_failed_is_started_again(docker: FakeEngine, sidecar: Sidecar) -> None:
    made = (docker.directory / "make").read_text()
    docker.does("echo 'No such image' >&2; exit 4", "make")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError, match="No such image"):
            sidecar.wait_until_started()
        docker.does(made, "make")
        sidecar.start()
        sidecar.wait_until_started()
    assert len(docker.started) == 1


def test_one_that_the_engine_has_made_too_late_is_made_anew(docker: FakeEngine, sidecar: Sidecar) -> None:
    """Its name is taken, and stays so until that one is removed."""
    made = (docker.directory / "make").read_text()
    in_use = 'Conflict. The container name "/a-name" is already in use by container "y".'
    docker.does(f"[ -e removed ] || {{ echo '{in_use}' >&2; exit 9; }}; {made}", "make")
    docker.does("touch removed", "rm")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
    assert docker.calls().count("make a-name") == 2
    assert len(docker.started) == 1


def test_one_that_has_ended_without_a_session_is_started_again(docker: FakeEngine, sidecar: Sidecar) -> None:
    """As while an image is built: it waits for a minute."""
    docker.does("exit 1")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        until(lambda: sidecar.output is not None and sidecar.output.has_ended)
        docker.does(LIVE)
        sidecar.start()
        sidecar.wait_until_started()
        assert sidecar.receive()
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
    ("reason", "hint"),
    [
        (PORT, "the setting `ports`"),
        ("listen tcp4 127.0.0.1:80: bind: address already in use", "`ports`"),
        ("network bridge not found", '"docker:NAME"'),
        ("something else", "the engine's own log"),
        ("netavark: nftables error: unable to execute nft: No such file", "apt-get install nftables"),
    ],
)
@pytest.mark.parametrize("doing", ["make", "run"])
def test_what_the_engine_refuses_is_reported_with_its_reason_and_a_hint(
    doing: str, reason: str, hint: str, docker: FakeEngine, sidecar: Sidecar
) -> None:
    (docker.directory / "says").write_text(reason)
    docker.does("cat says >&2; exit 1", doing)
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError) as caught:
            sidecar.wait_until_started()
    what = "create the container" if doing == "make" else "start a-name"
    assert caught.value.message == f"The engine could not {what}: {reason}."
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("printed", "hint"),
    [
        ("the engine's kernel does not accept these nf_tables rules", '"allowlist", "none" or "open"'),
        ("something else", "the engine's own log"),
    ],
)
def test_a_sidecar_that_fails_is_reported_with_its_reason_and_a_hint(
    printed: str, hint: str, docker: FakeEngine, sidecar: Sidecar
) -> None:
    (docker.directory / "says").write_text(f"{printed}\nmore\n")
    docker.does("cat says >&2; exit 1")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError) as caught:
            sidecar.check()
    assert caught.value.message == f"The session's network could not be set up: {printed}"
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("printed", ["", " \n"])
def test_a_sidecar_that_fails_without_a_word_is_reported_too(
    printed: str, docker: FakeEngine, sidecar: Sidecar
) -> None:
    (docker.directory / "says").write_text(printed)
    docker.does("cat says >&2; exit 1")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError, match="it gave no reason"):
            sidecar.check()


def test_what_it_prints_steers_no_terminal(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does(r"printf 'evil\033[2J\007\233\n' >&2; exit 1")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError) as caught:
            sidecar.check()
    assert caught.value.message.isprintable()


def test_a_failure_after_it_started_is_found_by_looking(
    docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.does("read -r line <end; echo no kernel >&2; exit 1")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        with monkeypatch.context() as patch:
            patch.setattr(module, "_FAILING_SECONDS", 0)
            sidecar.check()  # it still waits for a session
        os.write(docker.life, b"\n")
        docker.started[0].wait(SECONDS)
        with pytest.raises(EngineError, match="no kernel"):
            sidecar.check()


def test_its_container_is_waited_for_before_it_runs(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("read -r line <end", "run")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_made()
        assert docker.started == []
        os.write(docker.life, b"\n")
        sidecar.wait_until_started()
        assert len(docker.started) == 1


def test_a_container_that_never_comes_is_reported_with_its_reason(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("echo no bridge >&2; exit 1", "make")
    with sidecar:
        sidecar.start()
        with pytest.raises(EngineError, match="no bridge"):
            sidecar.wait_until_made()


def test_one_that_ends_before_it_has_a_session_is_reported_by_looking(docker: FakeEngine, sidecar: Sidecar) -> None:
    docker.does("echo no kernel >&2; exit 1")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        until(lambda: sidecar.output is not None and sidecar.output.has_ended)
        with pytest.raises(EngineError, match="no kernel"):
            sidecar.receive()


# While it runs


def test_its_output_ends_when_it_does(docker: FakeEngine, sidecar: Sidecar) -> None:
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        until(lambda: sidecar.receive() and sidecar.output is not None and sidecar.output.printed)
        docker.end()
        until(lambda: not sidecar.receive())


def test_a_configuration_is_written_when_it_changes(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan
) -> None:
    with Sidecar(shared, workspace, "key") as one:
        one.start()
        one.wait_until_started()
        before = config_of(shared).stat()
        one.configure(CONFIG)
        assert config_of(shared).stat() == before
        one.configure('{"allow": ["a"]}')
        assert config_of(shared).read_text() == '{"allow": ["a"]}'


# End


@pytest.mark.parametrize("has_session", [True, False])
def test_what_does_not_end_by_itself_is_removed(has_session: bool, docker: FakeEngine, sidecar: Sidecar) -> None:
    if not has_session:
        docker.does("exec cat end")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
    assert is_gone(docker)
    assert "rm a-name" in docker.calls()


def test_it_is_gone_also_after_a_failure(docker: FakeEngine, sidecar: Sidecar) -> None:
    with pytest.raises(ZeroDivisionError), sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        raise ZeroDivisionError
    assert is_gone(docker)


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen while it ran", "seen at the end"])
def test_what_ends_with_its_session_is_left_to_that(
    is_seen: bool, docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", SECONDS)
    docker.does("echo joined; sleep 0.2; touch over")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        select.select([sidecar.output], [], [], SECONDS)  # it is printed before the session's command starts
        if is_seen:
            sidecar.receive()
    assert (docker.directory / "over").exists()


def test_one_that_no_session_has_joined_is_not_waited_for(
    docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 60 * SECONDS)
    docker.does("exec cat end")
    with sidecar:
        sidecar.start()
        sidecar.wait_until_started()
    assert "rm a-name" in docker.calls()


@pytest.mark.parametrize("doing", ["make", "run"])
def test_one_that_the_engine_is_only_making_is_removed_when_it_is_there(
    doing: str, docker: FakeEngine, sidecar: Sidecar
) -> None:
    docker.does(f"sleep 0.1; {(docker.directory / doing).read_text()}", doing)
    with sidecar:
        sidecar.start()
    assert docker.calls()[-2:] == ["run sidecar", "rm a-name"]
    assert is_gone(docker)


def test_one_that_the_engine_takes_for_ever_to_make_is_given_up_on(
    docker: FakeEngine, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "_STARTING_SECONDS", 0.01)
    docker.does("read -r line <end", "make")
    with sidecar:
        sidecar.start()
        until((docker.directory / "make.body").exists)
    assert docker.calls()[-1] == "rm a-name"
    os.write(docker.life, b"\n")


def test_when_both_are_gone_what_was_refused_is_collected(
    docker: FakeEngine, workspace: Workspace, shared: SidecarPlan
) -> None:
    with Sidecar(shared, workspace, "key") as one:
        one.start()
        one.wait_until_started()
        (config_of(shared).parent / "blocked.json").write_text(text_of(ONE))
    assert os.listdir(workspace.egress.path) == ["key.blocked"]
    assert json.loads((workspace.egress.path / "key.blocked").read_text())["blocked"] == [ONE]


# What it lends


def test_it_learns_what_it_lends_by_its_standard_input(docker: FakeEngine, workspace: Workspace) -> None:
    docker.does("head -n 1 >first; head -n 1 >second; exec cat end")
    with Sidecar(PLAIN, workspace, "key", b"one value\n") as sidecar:
        sidecar.start()
        sidecar.wait_until_started()
        until(lambda: (first := docker.directory / "first").exists() and first.read_text() == "one value\n")
        sidecar.lend(b"another\n")
        until(lambda: (second := docker.directory / "second").exists() and second.read_text() == "another\n")
    assert "value" not in (docker.directory / "calls").read_text()
    sidecar.lend(b"too late\n")


@pytest.fixture
def slow(docker: FakeEngine, sidecar: Sidecar) -> Iterator[Sidecar]:
    """One that the engine takes a time to start, during the test."""
    docker.does("read -r line <end", "run")
    going_on = threading.Timer(2, os.write, (docker.life, b"\n"))
    with sidecar:
        sidecar.start()
        going_on.start()
        yield sidecar
        going_on.cancel()
        going_on.function(*going_on.args)


def test_ctrl_c_ends_the_wait_for_a_sidecar_that_is_to_lend(slow: Sidecar) -> None:
    interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with signals.handled():
        interrupt.start()
        with pytest.raises(SystemExit) as caught:
            slow.lend(b"a value\n")
    assert caught.value.code == 128 + signal.SIGINT


def test_a_sidecar_that_is_to_lend_is_not_waited_for_without_end(
    slow: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.1)
    with pytest.raises(EngineError, match="did not answer within"):
        slow.lend(b"a value\n")
