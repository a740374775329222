"""What the docker command is asked, and how its answers and failures are understood."""

from __future__ import annotations

import io
import tarfile

import pytest

from confined_claude.engine import command
from confined_claude.errors import EngineError

from .conftest import Program

TAKEN = """case $* in
create*--name*free*) echo an-id ;;
create*) echo 'Error response from daemon: Conflict. The name is already in use by container "x".' >&2; exit 1 ;;
ps*) echo name; echo name-2,other ;;
esac"""


def arguments(name: str) -> list[str]:
    return ["--name", name, "an:image"]


# The engine


@pytest.mark.parametrize(
    "script",
    [
        "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1",
        """echo '{"ServerErrors":["Cannot connect to the Docker daemon at unix:///x."]}'""",  # as 20.10 does
        "echo 'error during connect: dial tcp: no such host' >&2; exit 1",
        "echo 'failed to connect to the docker API at unix:///x' >&2; exit 1",
    ],
)
def test_an_engine_that_is_out_of_reach_is_one_error(script: str, program: Program) -> None:
    program.does(script)
    with pytest.raises(EngineError, match="The Docker engine does not answer") as caught:
        command.info()
    assert "systemctl start docker" in caught.value.hint


def test_no_permission_on_the_engine_is_named(program: Program) -> None:
    program.does("echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1")
    for ask in (command.info, command.version, lambda: command.containers("x", {})):
        with pytest.raises(EngineError, match="You have no permission to use the Docker engine"):
            ask()


@pytest.mark.parametrize("answer", ["", "[]", "null", "{", "[" * 100_000])
def test_an_answer_that_makes_no_sense_is_an_error(answer: str, program: Program) -> None:
    (program.directory / "answer").write_text(answer)
    program.does('cat "$here/answer"')
    for ask in (command.info, command.version):
        with pytest.raises(EngineError, match="it gave no reason"):
            ask()


def test_an_engine_that_hangs_is_given_up(program: Program) -> None:
    program.does("exec sleep 60")
    with pytest.raises(EngineError, match="did not answer within 1 s"):
        command.info(1)


def test_an_answer_comes_as_it_is(program: Program) -> None:
    program.does("""echo '{"NCPU": 4}'""")
    assert command.info() == command.version() == {"NCPU": 4}
    assert program.calls() == ["info --format {{json .}}", "version --format {{json .Server}}"]


# Creating


def test_a_name_that_is_taken_is_followed_by_the_next_free_one(program: Program) -> None:
    program.does(TAKEN.replace("*free*", "*name-3*"))
    assert command.create("name", arguments, {}) == ("an-id", "name-3")


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("no such image", "engine's own log"),
        ("write /x: no space left on device", "Free some disk space"),
        ("network abc not found", "docker network ls"),
    ],
)
def test_the_engines_own_reason_comes_with_a_hint(reason: str, hint: str, program: Program) -> None:
    program.does(f"echo 'WARNING: no swap' >&2; echo 'Error response from daemon: {reason}' >&2; exit 1")
    with pytest.raises(EngineError, match=f"could not create the container: .*{reason}\\.") as caught:
        command.create("name", arguments, {})
    assert hint in caught.value.hint


def test_private_files_are_put_in_for_the_containers_root_alone(program: Program) -> None:
    program.does('case $1 in create) echo an-id ;; cp) cat >"$here/archive" ;; esac')
    command.create("name", arguments, {"run/x": "export A=1\n"})
    assert program.calls()[1] == "cp - an-id:/"
    with tarfile.open(fileobj=io.BytesIO((program.directory / "archive").read_bytes())) as archive:
        (member,) = archive.getmembers()
        file = archive.extractfile(member)
        assert (member.name, member.mode, member.uid) == ("run/x", 0o600, 0)
        assert file is not None
        assert file.read() == b"export A=1\n"


def test_a_container_that_cannot_get_its_files_is_removed(program: Program) -> None:
    program.does("case $1 in create) echo an-id ;; cp) exit 1 ;; esac")
    with pytest.raises(EngineError, match="could not prepare the container"):
        command.create("name", arguments, {"run/x": ""})
    assert program.calls()[-1] == "rm --force --volumes an-id"


# Ending


def test_containers_that_are_gone_already_are_removed(program: Program) -> None:
    program.does("echo 'Error: No such container: a' >&2; echo 'Error: No such container: b' >&2; exit 1")
    command.remove("a", "b")
    assert program.calls() == ["rm --force --volumes a b"]
    command.remove()
    assert len(program.calls()) == 1


def test_a_removal_that_is_under_way_is_waited_for(program: Program) -> None:
    program.does(
        'test -e "$here/second" && { echo "Error: No such container: a" >&2; exit 1; }; : >"$here/second"\n'
        'test $1 = rm && { echo "Error: removal of container a is already in progress" >&2; exit 1; }'
    )
    command.remove("a")
    assert program.calls() == ["rm --force --volumes a"] * 2


def test_a_docker_command_that_the_terminal_kills_is_run_again(program: Program) -> None:
    """A closed window hangs up on everything in it, also on a command that is about to leave the terminal's reach."""
    program.does('mkdir "$here/once" 2>/dev/null && kill -HUP $$; exit 0')
    command.remove("a")
    assert program.calls() == ["rm --force --volumes a"] * 2


def test_a_removal_that_is_killed_again_and_again_is_an_error(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_STOP_SECONDS", 0)
    program.does("kill -HUP $$")
    with pytest.raises(EngineError, match="could not remove a: the docker command was killed"):
        command.remove("a")


def test_a_creation_that_is_killed_is_not_repeated_as_it_may_have_made_a_container(program: Program) -> None:
    program.does("kill -HUP $$")
    with pytest.raises(EngineError):
        command.create("name", arguments, {})
    assert len(program.calls()) == 1


def test_a_container_may_end_by_itself_first(program: Program) -> None:
    command.remove("a", "b", gracefully=True)
    assert program.calls() == ["stop -t 10 a b", "rm --force --volumes a b"]


def test_what_the_engine_does_not_remove_is_an_error(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_STOP_SECONDS", 0)
    program.does("echo 'Error response from daemon: device or resource busy' >&2; exit 1")
    with pytest.raises(EngineError, match=r"could not remove a: .*busy"):
        command.remove("a")


def test_an_engine_that_is_gone_is_not_asked_again_and_again(program: Program) -> None:
    program.does("echo 'Cannot connect to the Docker daemon at unix:///x.' >&2; exit 1")
    with pytest.raises(EngineError, match="does not answer"):
        command.remove("a")
    assert len(program.calls()) == 1
