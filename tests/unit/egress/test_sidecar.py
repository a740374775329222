"""A session's sidecar while it runs, with a program of our own in place of the docker command."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from confined_claude.egress import sidecar as companion
from confined_claude.egress.network import Sidecar
from confined_claude.egress.sidecar import Companion
from confined_claude.engine import command as client
from confined_claude.errors import ConfinedError, EngineError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session.supervisor import _companion as place
from confined_claude.state import store as state

from .test_blocked import ONE, text_of

SECONDS = 10
# `run` is the sidecar: it does what the test has put into the file `does`. `rm` ends it.
ENGINE = """\
#!/bin/sh
cd "${0%/*}"
echo "$@" >>calls
case $1 in
    run) echo $$ >pid; . ./does ;;
    rm) kill $(cat pid) 2>/dev/null ;;
esac
"""
LIVE = "echo ready; exec cat end >/dev/null"
PORT = "docker: Error response from daemon: Bind for 127.0.0.1:5173 failed: port is already allocated."


class Engine:
    """What the companion has in place of an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        program = folder / "engine"
        program.write_text(ENGINE)
        program.chmod(0o755)
        os.mkfifo(folder / "end")
        # As long as this is open, a sidecar that reads from there lives.
        self.life = os.open(folder / "end", os.O_RDWR)

    def does(self, script: str) -> None:
        (self.folder / "does").write_text(script)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def end(self) -> None:
        """What ends every sidecar that waits for its session's end."""
        self.started[-1].terminate()
        self.started[-1].wait(SECONDS)

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(SECONDS)
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
        os.close(self.life)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    folder = tmp_path / "engine"
    folder.mkdir()
    made = Engine(folder)
    monkeypatch.setattr(client, "program", lambda: str(folder / "engine"))
    monkeypatch.setattr(companion, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(companion, "_TOGETHER_SECONDS", 0.05)
    run = client.run

    def running(arguments: Sequence[str], stdin: bytes) -> subprocess.Popen[bytes]:
        made.started.append(run(arguments, stdin))
        return made.started[-1]

    monkeypatch.setattr(client, "run", running)
    made.does(LIVE)
    yield made
    made.close()


PLAIN = Sidecar("a-name", ("--name", "a-name", "an:image"), given='{"a": 1}\n')


@pytest.fixture
def shared(host: Host) -> Sidecar:
    """A sidecar that shares a folder with the host."""
    folder = state.place(host, "projects", "app-01234567", "egress", "key")
    return Sidecar("a-name", ("--name", "a-name", "an:image"), first=True, folder=folder, config='{"allow": []}')


def config_of(sidecar: Sidecar) -> str:
    return (folder_of(sidecar) / "config.json").read_text()


def folder_of(sidecar: Sidecar) -> Path:
    assert sidecar.folder is not None
    return sidecar.folder.path


def until(true: Callable[[], object]) -> None:
    """Wait for what comes soon, with nothing that would tell."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Start


def test_a_session_without_a_sidecar_has_nothing_to_wait_for() -> None:
    with Companion() as one:
        one.start(None)
        one.wait_until_ready()
        one.check()
        one.supervise(str)
        assert not one.has_folder


def test_a_sidecar_is_started_with_what_it_is_given_and_waited_for(engine: Engine) -> None:
    engine.does("cat >given; " + LIVE)
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        one.wait_until_ready()
        assert not one.has_folder
    assert (engine.folder / "given").read_text() == PLAIN.given
    assert engine.calls()[0] == "run --name a-name an:image"


def test_it_is_out_of_reach_of_the_terminals_ctrl_c(engine: Engine) -> None:
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        assert os.getsid(engine.started[0].pid) != os.getsid(0)


def test_what_it_reads_is_there_before_it_and_private(engine: Engine, shared: Sidecar) -> None:
    engine.does(f"cat {folder_of(shared)}/config.json >seen; {LIVE}")
    with Companion() as one:
        one.start(shared)
        one.wait_until_ready()
        assert one.has_folder
    assert (engine.folder / "seen").read_text() == shared.config
    assert (folder_of(shared) / "config.json").stat().st_mode & 0o077 == 0
    assert folder_of(shared).stat().st_mode & 0o077 == 0


def test_while_it_runs_it_is_not_started_again(engine: Engine) -> None:
    with Companion() as one:
        one.start(PLAIN)
        one.start(PLAIN)
        one.wait_until_ready()
        one.start(PLAIN)
    assert len(engine.started) == 1


def test_one_that_failed_is_started_again(engine: Engine) -> None:
    engine.does("echo 'No such image' >&2; exit 125")
    with Companion() as one:
        one.start(PLAIN)
        with pytest.raises(EngineError, match="No such image"):
            one.wait_until_ready()
        engine.does(LIVE)
        one.start(PLAIN)
        one.wait_until_ready()
    assert len(engine.started) == 2


@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_a_folder_with_a_link_on_the_way_is_refused(
    engine: Engine, shared: Sidecar, tmp_path: Path, above: int
) -> None:
    link = folder_of(shared).parents[above]
    link.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    with Companion() as one, pytest.raises(ConfinedError, match="is a link"):
        one.start(shared)
    assert engine.started == []
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Failures


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        (PORT, "the setting `ports`"),
        ("docker: Error response from daemon: listen tcp4 127.0.0.1:80: bind: address already in use.", "`ports`"),
        ("the engine's kernel does not take these rules of nf_tables", '"allowlist", "none" or "open"'),
        ("docker: Error response from daemon: network bridge not found.", '"docker:NAME"'),
        ("docker: something else", "the engine's own log"),
    ],
)
def test_a_sidecar_that_fails_is_told_with_its_reason_and_a_cure(said: str, cure: str, engine: Engine) -> None:
    (engine.folder / "says").write_text(f"WARNING: no swap limit\n{said}\nRun 'docker run --help'\n")
    engine.does("cat says >&2; exit 125")
    with Companion() as one:
        one.start(PLAIN)
        with pytest.raises(EngineError) as caught:
            one.wait_until_ready()
    assert caught.value.message == f"The session's network could not be made: {said}"
    assert cure in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("said", ["", "WARNING: x\n", " \n"])
def test_a_sidecar_that_fails_without_a_word_is_told_too(said: str, engine: Engine) -> None:
    (engine.folder / "says").write_text(said)
    engine.does("cat says >&2; exit 1")
    with Companion() as one:
        one.start(PLAIN)
        with pytest.raises(EngineError, match="it gave no reason"):
            one.wait_until_ready()


def test_what_it_says_steers_no_terminal(engine: Engine) -> None:
    engine.does(r"printf 'evil\033[2J\007\233\n' >&2; exit 1")
    with Companion() as one:
        one.start(PLAIN)
        with pytest.raises(EngineError) as caught:
            one.wait_until_ready()
    assert caught.value.message.isprintable()


def test_a_failure_after_it_was_ready_is_found_by_looking(engine: Engine) -> None:
    engine.does("echo ready; read -r line <end; echo no kernel >&2; exit 1")
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        one.check()  # it still serves a session
        os.write(engine.life, b"\n")
        with pytest.raises(EngineError, match="no kernel"):
            until(one.check)


# End


@pytest.mark.parametrize("has_session", [True, False])
def test_what_does_not_end_by_itself_is_removed(has_session: bool, engine: Engine) -> None:
    if has_session:
        engine.does(LIVE.replace("ready;", "ready; echo joined;"))
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        if has_session:
            one.supervise(str)
    assert engine.started[0].poll() is not None
    assert "rm --force --volumes a-name" in engine.calls()


def test_it_is_gone_also_after_a_failure(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        raise ZeroDivisionError
    assert engine.started[0].poll() is not None


def test_what_ends_with_its_session_is_left_to_that(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion, "_TOGETHER_SECONDS", SECONDS)
    engine.does("echo ready; echo joined; exec sleep 0.2")
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        one.supervise(str)
        assert engine.started[0].stdout is not None
        engine.started[0].stdout.peek()  # it is said before the session's command starts
    assert [call for call in engine.calls() if call.startswith("rm")] == []


def test_one_that_no_session_has_joined_is_not_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion, "_TOGETHER_SECONDS", 60 * SECONDS)
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        one.supervise(str)
    assert "rm --force --volumes a-name" in engine.calls()


def test_one_that_is_only_being_made_is_removed_when_it_is_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    remove = client.remove

    def too_early(name: str) -> None:
        tries.append(name)
        if len(tries) > 2:
            remove(name)

    monkeypatch.setattr(client, "remove", too_early)
    monkeypatch.setattr(companion, "_AGAIN_SECONDS", 0.001)
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
    assert set(tries) == {"a-name"}
    assert len(tries) > 2
    assert engine.started[0].poll() is not None


def test_one_that_nothing_removes_is_given_up_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    monkeypatch.setattr(client, "remove", tries.append)
    monkeypatch.setattr(companion, "_AGAIN_SECONDS", 0)
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
    assert len(tries) == 50
    assert engine.started[0].poll() is None


# While it runs


def test_a_sidecar_that_dies_is_said_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    is_said = threading.Event()
    monkeypatch.setattr(companion, "say", lambda text: (said.append(text), is_said.set()))
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        one.supervise(str)
        engine.end()
        assert is_said.wait(SECONDS)
    (line,) = said
    assert "network is closed" in line
    assert line.endswith("\r")  # the terminal is in raw mode


def test_one_that_ends_just_before_its_session_is_no_news(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    looked = threading.Event()
    monkeypatch.setattr(companion, "say", said.append)
    monkeypatch.setattr(companion, "_TOGETHER_SECONDS", SECONDS)
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        poll = engine.started[0].poll

        def seen() -> int | None:
            code = poll()
            if code is not None:
                looked.set()
            return code

        monkeypatch.setattr(engine.started[0], "poll", seen)
        before = set(threading.enumerate())
        one.supervise(str)
        (watcher,) = set(threading.enumerate()) - before
        engine.end()
        assert looked.wait(SECONDS)
    watcher.join(SECONDS)
    assert said == []


def test_changed_settings_reach_the_sidecar_and_wrong_ones_do_not(engine: Engine, shared: Sidecar) -> None:
    refused, refreshed = threading.Event(), threading.Event()
    answers: list[str | Exception] = [shared.config, '{"allow": ["a"]}']

    def current() -> str:
        answer = answers[-1]
        if isinstance(answer, Exception):
            refused.set()
            raise answer
        refreshed.set()
        return answer

    with Companion() as one:
        one.start(shared)
        one.wait_until_ready()
        one.supervise(current)
        until(lambda: config_of(shared) == '{"allow": ["a"]}')
        for wrong in (ConfinedError("wrong"), OSError("gone")):
            refused.clear()
            answers.append(wrong)
            assert refused.wait(SECONDS)
            assert config_of(shared) == '{"allow": ["a"]}'
        answers.append('{"allow": ["b"]}')
        until(lambda: config_of(shared) == '{"allow": ["b"]}')


def test_settings_that_stay_are_not_written_again(engine: Engine, shared: Sidecar) -> None:
    times = threading.Semaphore(0)

    def current() -> str:
        times.release()
        return shared.config

    with Companion() as one:
        one.start(shared)
        one.wait_until_ready()
        before = (folder_of(shared) / "config.json").stat()
        one.supervise(current)
        assert all(times.acquire(timeout=SECONDS) for _ in range(3))
        assert (folder_of(shared) / "config.json").stat() == before


def test_a_sidecar_without_a_folder_has_no_settings_to_follow(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    looks = threading.Semaphore(0)
    with Companion() as one:
        one.start(PLAIN)
        one.wait_until_ready()
        monkeypatch.setattr(engine.started[0], "poll", looks.release)
        one.supervise(lambda: asked.append("") or "")
        assert all(looks.acquire(timeout=SECONDS) for _ in range(3))
    assert asked == []


# What it leaves


def test_when_both_are_gone_what_was_refused_is_kept(engine: Engine, host: Host, tmp_path: Path) -> None:
    project = Project(tmp_path / "app")
    shared = state.place(host, "projects", project.id, "egress", "key")
    sidecar, folder = Sidecar("a-name", ("an:image",), folder=shared, config="{}"), shared.path
    with place(project, host, "key") as one:
        one.start(sidecar)
        one.wait_until_ready()
        (folder / "blocked.json").write_text(text_of(ONE))
    assert os.listdir(folder.parent) == ["key.blocked"]
    assert json.loads((folder.parent / "key.blocked").read_text())["blocked"] == [ONE]
