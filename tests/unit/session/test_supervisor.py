"""A session from its creation to its end under the supervisor, with programs of our own in place of the engine."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from confined_claude.egress import sidecar as sidecar_module
from confined_claude.errors import EngineError
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session import strays, telling
from confined_claude.session import supervisor as module
from confined_claude.session.attachment import Attachment
from confined_claude.session.start import start
from confined_claude.settings import Settings
from confined_claude.workspace import Workspace

from ..fake_engine import SECONDS, FakeEngine, docker

__all__ = ["docker"]
LIVES = "until [ -e over ]; do sleep 0.01; done"
RUNS_JOINED = f"until [ -e joined ]; do sleep 0.01; done; touch runs; {LIVES}"


class Trial:
    """One session and all that has to do with it."""

    def __init__(self, workspace: Workspace, docker: FakeEngine) -> None:
        self.workspace = workspace
        self.docker = docker
        self.built: list[str] = []
        self.said: list[str] = []

    def run(self) -> int:
        return start(self.workspace, ["claude"], needs_sign_in=False)

    def ends(self) -> None:
        (self.docker.directory / "over").touch()

    def calls(self, *verbs: str) -> list[str]:
        """What the engine was asked so far of these kinds, and about what."""
        return [call for call in self.docker.calls() if call.split()[0] in verbs]

    def ending(self) -> list[str]:
        """How the container was ended."""
        return [call for call in self.calls("stop", "rm") if call.endswith(" identity")]


@pytest.fixture
def session(host: Host, tmp_path: Path, docker: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Trial:
    project = Project(tmp_path / "app")
    project.scaffold.mkdir(parents=True)
    host = host._replace(uid=os.getuid(), gid=os.getgid(), environ={"DOCKER_HOST": "tcp://localhost:1"})
    made = Trial(Workspace(host, project, Settings(network="internet")), docker)
    monkeypatch.setattr("confined_claude.state.sight.check", lambda *_arguments: None)  # test_interrupted_starts has it
    monkeypatch.setattr(
        "confined_claude.image.build.ensure", lambda _engine, chain, _host: made.built.append(chain.name)
    )
    monkeypatch.setattr(module, "say", made.said.append)
    monkeypatch.setattr(telling, "say", made.said.append)
    monkeypatch.setattr(module, "TOGETHER_SECONDS", 0.05)
    monkeypatch.setattr(sidecar_module, "TOGETHER_SECONDS", 0.05)
    for name in ("event_loop", "supervisor"):
        monkeypatch.setattr(f"confined_claude.session.{name}.SETTLING_SECONDS", 60)
    return made


def soon(session: Trial, call: Callable[[], object]) -> None:
    """Call ``call`` once the session's command runs."""

    def wait() -> None:
        while not (session.docker.directory / "runs").exists():
            threading.Event().wait(0.002)
        call()

    threading.Thread(target=wait, daemon=True).start()


# From start to end


def test_a_session_is_created_attached_to_and_over(session: Trial, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    session.workspace = session.workspace._replace(settings=Settings(network="open"))
    session.docker.does("printf out; printf err >&2", "command")
    assert session.run() == 0
    asked = [call.split()[0] for call in session.calls("create", "attach", "wait", "start", "stop", "rm", "events")]
    assert asked == ["create", "attach", "wait", "start"]
    assert "local network" in session.said[0]  # a note of the launch's
    assert capfdbinary.readouterr() == (b"out", b"err")


@pytest.mark.parametrize("code", [1, 7, 137])
def test_an_exit_code_is_the_commands_and_the_engine_has_removed_the_container(code: int, session: Trial) -> None:
    session.docker.does(f"exit {code}", "command")
    assert session.run() == code
    assert session.ending() == []
    assert any("all the memory" in line for line in session.said) is (code == 137)


def test_a_missing_image_is_built_and_the_session_starts(session: Trial) -> None:
    session.docker.does("""mkdir first && { echo 'No such image' >&2; exit 4; }; echo '{"Id": "sidecar"}'""", "make")
    session.docker.does("""mkdir once && { echo 'No such image' >&2; exit 4; }; echo '{"Id": "identity"}'""", "create")
    assert session.run() == 0
    assert len(session.built) == 1
    assert len(session.calls("make")) == 2
    assert len(session.docker.started) == 1


def test_what_the_engine_refuses_twice_is_reported_and_leaves_nothing(session: Trial) -> None:
    session.docker.does("echo 'It does not want to' >&2; exit 1", "create")
    with pytest.raises(EngineError, match="It does not want to"):
        session.run()
    assert session.calls("start") == []
    assert session.docker.started[0].poll() is not None


def test_without_a_snapshot_there_is_no_session(session: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_project: object, _since: object = None) -> NoReturn:
        raise OSError("the disk is full")

    monkeypatch.setattr(GuardedProject, "scan", fail)
    with pytest.raises(OSError, match="full"):
        session.run()
    assert session.ending() == ["rm identity"]
    assert session.calls("start") == []


def test_a_container_that_did_not_start_is_an_error_of_the_engine_with_its_reason(session: Trial) -> None:
    session.docker.does("echo network x not found >&2; exit 4", "start")
    with pytest.raises(EngineError, match="could not start confined-claude-app: network x not found"):
        session.run()
    assert session.ending() == ["rm identity"]


def test_a_container_whose_id_never_came_is_removed(session: Trial) -> None:
    """The window is closed, and the engine's answer makes no sense."""
    session.docker.does(f"touch container; kill -HUP {os.getpid()}; echo ended >&2; exit 1", "create")
    session.docker.does("""[ ! -e container ] && echo '[]' || echo '[{"Id": "identity"}]'""", "ps")
    with pytest.raises(SystemExit) as error:
        session.run()
    assert error.value.code == 129
    assert not (session.docker.directory / "container").exists()
    assert session.calls("start") == []


def test_a_connection_to_the_engine_that_breaks_ends_the_session(session: Trial) -> None:
    session.docker.does("touch runs; exec sleep 60", "command")
    soon(session, session.docker.break_off)
    with pytest.raises(EngineError, match="connection to the engine broke"):
        session.run()
    assert session.ending() == ["rm identity"]


def test_a_session_that_an_engine_may_have_left_running_is_not_said_to_have_ended(session: Trial) -> None:
    """As with Podman, or Docker with live-restore: the engine goes away, and its containers do not."""
    session.docker.does("touch runs; exec sleep 60", "command")
    soon(session, lambda: (Path(session.docker.address).unlink(), session.docker.break_off()))
    with pytest.raises(EngineError) as caught:
        session.run()
    assert caught.value.message.endswith("The session confined-claude-app could not be ended, and may go on.")
    assert "`confined-claude run` joins or ends it" in caught.value.hint
    assert session.ending() == []


def test_a_session_that_is_killed_with_its_engine_keeps_its_exit_code(session: Trial) -> None:
    session.docker.does("exit 137", "command")
    session.docker.does("echo gone >&2; exit 1", "events")
    assert session.run() == 137


@pytest.mark.parametrize(
    ("code", "action", "is_stopped"),
    [
        *((143, "stop", True), (129, "stop", True), (137, "kill 9", True), (143, "kill 15", True)),
        *((143, "die", False), (143, "kill 2", False), (1, "stop", False)),
    ],
)
def test_a_session_that_was_stopped_says_so(code: int, action: str, is_stopped: bool, session: Trial) -> None:
    name, _, number = action.partition(" ")
    event = {"Action": name, "Actor": {"Attributes": {"signal": number} if number else {}}, "timeNano": 1}
    session.docker.does(f"echo '{json.dumps(event)}'", "events")
    session.docker.does(f"exit {code}", "command")
    assert session.run() == code
    assert ("The session was stopped." in session.said) is is_stopped


def test_output_that_nobody_reads_ends_the_session(session: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    session.docker.does("while echo more; do sleep 0.01; done", "command")
    reading, writing = os.pipe()
    os.close(reading)
    before = os.dup(1)
    os.dup2(writing, 1)
    try:
        with pytest.raises(BrokenPipeError):
            session.run()
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writing)
    assert session.ending() == ["rm identity"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("moment", ["start", "command"])
def test_a_signal_ends_the_session(number: signal.Signals, moment: str, session: Trial) -> None:
    """Without a grace period, as it may not take signals yet."""
    session.docker.does("touch runs; exec sleep 60" if moment == "command" else "touch runs; sleep 5", moment)
    soon(session, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as error:
        session.run()
    assert error.value.code == 128 + number
    assert session.ending() == ["rm identity"]
    assert session.docker.started[0].poll() is not None


def test_a_ctrl_c_is_the_sessions(session: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("event_loop", "supervisor"):
        monkeypatch.setattr(f"confined_claude.session.{name}.SETTLING_SECONDS", 0)
    wait_for = Attachment.wait_for

    def tell_and_wait_for(self: Attachment, *arguments: Any) -> int:  # from here on a Ctrl-C is not the start's
        (session.docker.directory / "runs").touch()
        return wait_for(self, *arguments)

    monkeypatch.setattr(Attachment, "wait_for", tell_and_wait_for)
    session.docker.does(LIVES, "command")
    session.docker.does("touch over", "kill")
    soon(session, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert session.run() == 0
    assert session.calls("kill") == ["kill identity"]
    assert session.ending() == []


def test_what_no_socket_can_do_in_a_virtual_machine_is_refused_before_anything_is_made(session: Trial) -> None:
    session.workspace = session.workspace._replace(settings=Settings(ssh_agent=("git@forge.example",)))
    session.docker.does("""echo '{"KernelVersion": "6.10.14-linuxkit"}'""", "info")
    with pytest.raises(EngineError, match="in a virtual machine, where `ssh_agent` cannot work"):
        session.run()
    assert session.calls("create", "make") == []


# The sidecar


def test_a_sidecar_that_dies_is_reported_once(session: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    session.docker.does("echo joined; touch joined; exec cat end")
    session.docker.does(RUNS_JOINED, "command")
    monkeypatch.setattr(telling, "say", lambda text: (session.said.append(text), "closed" in text and session.ends()))
    soon(session, session.docker.end)
    session.run()
    (line,) = session.said
    assert "network is closed" in line


def test_one_that_an_earlier_start_has_left_is_removed_meanwhile(
    session: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "STARTING_SECONDS", 0.05)
    stray = {"Id": "stray", "State": "created", "Created": 1, "Labels": {}}
    session.docker.does(f"case $2 in *=sidecar*) echo '{json.dumps([stray])}' ;; *) echo '[]' ;; esac", "ps")
    session.docker.does("[ $1 != stray ] || touch over", "rm")
    session.docker.does(LIVES, "command")
    assert session.run() == 0
    assert session.calls("rm")[0] == "rm stray"


def test_one_that_ends_just_before_its_session_is_no_news(session: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER_SECONDS", SECONDS)
    session.docker.does("echo joined; touch joined; exec cat end")
    session.docker.does(RUNS_JOINED, "command")
    soon(session, lambda: (session.docker.end(), session.ends()))
    assert session.run() == 0
    assert session.said == []


def test_why_the_network_failed_is_the_error_of_a_session_that_could_not_join_it(
    session: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar_module, "_FAILING_SECONDS", SECONDS)
    session.docker.does("echo no kernel >&2; exit 1")
    session.docker.does("exit 3", "command")
    with pytest.raises(EngineError, match="no kernel"):
        session.run()


def test_changed_settings_reach_the_sidecar_and_wrong_ones_do_not(
    session: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's file is changed while the session runs, the second time to what is wrong."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.01)
    host = session.workspace.host
    host.config.mkdir(parents=True)
    host.user_config_file.write_text('network = "allowlist"')
    session.workspace = Workspace.load(host, session.workspace.project)
    session.docker.does("touch runs; " + LIVES, "command")
    seen = []

    def allowed() -> list[str]:
        (file,) = session.workspace.egress.path.glob("*/config.json")
        return [name for name in ("one.example", "two.example") if name in file.read_text()]

    def change() -> None:
        for text, wanted in (
            ('allow = ["one.example"]', ["one.example"]),
            ("allow = wrong", ["one.example"]),
            ('allow = ["two.example"]', ["two.example"]),
        ):
            new = host.config / "new"  # in one step: an empty file allows nothing
            new.write_text(f'network = "allowlist"\n{text}')
            new.replace(host.user_config_file)
            threading.Event().wait(0.1)
            for _ in range(SECONDS * 100):
                if allowed() == wanted:
                    break
                threading.Event().wait(0.01)
            seen.append(allowed() == wanted)
        session.ends()

    soon(session, change)
    assert session.run() == 0
    assert seen == [True, True, True]
