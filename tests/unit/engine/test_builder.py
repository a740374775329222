"""What is read from the two builders' output, and how ``docker build`` is called."""

from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import builder
from confined_claude.engine.builder import Step, Transcript
from confined_claude.image.recipe import Recipe

from ..waiting import has_ended, until
from .conftest import Program

CLASSIC = """\
DEPRECATED: The legacy builder is deprecated and will be removed in a future release.
Sending build context to Docker daemon  10.24kB
Step 1/3 : FROM debian
 ---> 1a163189b65e
Step 2/3 : RUN echo fine
 ---> Running in c4003f05f64a
fine
Removing intermediate container c4003f05f64a
 ---> 176dbf283953
Step 3/3 : RUN echo this way; exit 7
 ---> Running in 00f0fb09ff88

this way
Removing intermediate container 00f0fb09ff88
The command '/bin/sh -c echo this way; exit 7' returned a non-zero code: 7
"""
BUILDKIT = """\
#0 building with "default" instance using docker driver

#1 [internal] load remote build context
#1 DONE 0.0s

#3 [internal] load metadata for docker.io/library/debian:latest
#3 DONE 0.0s

#4 [1/3] FROM docker.io/library/debian
#4 sha256:46704b560f129da12cd1084c3ede7e78feaf9d972f6503e84657f6eef471817f
#4 CACHED

#5 [2/3] RUN echo fine
#5 0.042 fine
#5 DONE 0.1s

#6 [3/3] RUN echo this way; exit 7
#6 0.049 this way
#6 ERROR: executor failed running [/bin/sh -c echo this way; exit 7]: exit code: 7
------
 > [3/3] RUN echo this way; exit 7:
0.049 this way
------
ERROR: failed to solve: executor failed running [/bin/sh -c echo this way; exit 7]: exit code: 7
"""
STEPS = [Step(1, 3, "FROM debian"), Step(2, 3, "RUN echo fine"), Step(3, 3, "RUN echo this way; exit 7")]


def read(text: str) -> tuple[Transcript, list[Step | str]]:
    transcript = Transcript()
    parts = [part for line in text.splitlines() if (part := transcript.add(line)) is not None]
    return transcript, parts


@pytest.mark.parametrize(
    "text",
    [
        CLASSIC,
        BUILDKIT,
        re.sub("The command .*", 'Error: building at STEP "RUN x": while running runtime: exit status 7', CLASSIC),
    ],
    ids=["classic", "buildkit", "podman"],
)
def test_steps_their_output_and_a_failure_are_read_alike(text: str) -> None:
    transcript, parts = read(text.replace("docker.io/library/", ""))
    assert [part for part in parts if isinstance(part, Step)] == STEPS
    assert [part for part in parts if part in ("fine", "this way")] == ["fine", "this way"]
    where, why, *output = transcript.failure().splitlines()
    assert where == "failed at step 3/3: RUN echo this way; exit 7"
    assert why == "It ended with exit code 7."
    assert output == ["  this way"]


def test_the_images_that_steps_of_the_classic_builder_came_to_are_known() -> None:
    assert read(CLASSIC)[0].images == ["1a163189b65e", "176dbf283953"]
    assert read(BUILDKIT)[0].images == []


def test_the_last_twenty_lines_of_the_failing_step_are_reported() -> None:
    lines = [f"line {number:03}" for number in range(50)]
    classic = "\n".join(["Step 1/2 : FROM x", "early", "Step 2/2 : RUN make", *lines, "It failed."])
    buildkit = "\n".join(["#1 [1/2] FROM x", "#2 [2/2] RUN make", *(f"#2 1.5 {line}" for line in lines), "It failed."])
    for text in (classic, buildkit):
        output = read(text)[0].failure().splitlines()[2:]
        assert [line.strip() for line in output] == lines[-20:] if text is buildkit else lines[-19:]


def test_of_steps_at_the_same_time_the_one_that_failed_is_reported() -> None:
    text = """\
#4 [a 1/2] FROM x
#5 [b 2/2] RUN fails
#6 [a 2/2] RUN goes on
#5 0.1 because
#6 0.2 meanwhile
#5 [b 2/2] RUN fails
#5 ERROR: exit code: 1
#7 [c 1/1] RUN later
#6 CANCELED
ERROR: failed to solve: exit code: 1
"""
    transcript, parts = read(text)
    assert sum(isinstance(part, Step) for part in parts) == 3
    expected = ["failed at step 2/2: RUN fails", "It ended with exit code 1.", "  because"]
    assert transcript.failure().splitlines() == expected


@pytest.mark.parametrize(
    "text", ["", "\n", CLASSIC.split("Step", maxsplit=1)[0] + "Error response from daemon: no such image"]
)
def test_a_build_that_fails_at_once_says_so(text: str) -> None:
    where, why = read(text)[0].failure().splitlines()
    assert where == "failed at the start"
    assert why == (text.splitlines()[-1] if text.strip() else "it gave no reason")


def test_output_that_looks_like_the_other_builders_is_output() -> None:
    _, parts = read("Step 1/1 : RUN docker build\n#5 [9/9] RUN x\n#5 0.1 out\n")
    assert parts == [Step(1, 1, "RUN docker build"), "#5 [9/9] RUN x", "#5 0.1 out"]
    _, parts = read("#1 [1/1] RUN docker build\n#1 0.1 Step 9/9 : RUN x\n")
    assert parts == [Step(1, 1, "RUN docker build"), "Step 9/9 : RUN x"]


# The docker command


def build(**options: Any) -> tuple[int, list[str]]:
    lines: list[str] = []
    defaults: dict[str, Any] = {"labels": {}, "fresh": False, "host_network": False, "on_line": lines.append}
    return builder.build(b"", "a:name", {}, **(defaults | options)), lines


def test_the_builder_gets_context_labels_and_arguments_and_no_secret_on_its_command_line(program: Program) -> None:
    program.does('cat >"$here/context"; echo "$HTTP_PROXY $BASE"; echo "to stderr" >&2')
    lines: list[str] = []
    arguments = {"BASE": "debian", "HTTP_PROXY": "http://me:secret@proxy:1"}
    code = builder.build(
        b"tar", "a:name", arguments, labels={"k": "v=w"}, fresh=True, host_network=True, on_line=lines.append
    )
    assert (code, lines) == (0, ["http://me:secret@proxy:1 debian", "to stderr"])
    assert (program.directory / "context").read_bytes() == b"tar"
    (call,) = program.calls()
    assert call == (
        "build --force-rm --tag a:name --no-cache --network host "
        "--build-arg BASE --build-arg HTTP_PROXY --label k=v=w -"
    )


def test_output_without_a_lines_end_takes_no_memory_for_it(program: Program) -> None:
    program.does("cat >/dev/null; head -c 32000000 /dev/zero | tr '\\0' x")
    size = 0

    def on_line(line: str) -> None:
        nonlocal size
        size += len(line)

    tracemalloc.start()
    try:
        assert build(on_line=on_line)[0] == 0
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert size == 32_000_000


def test_podman_gets_the_context_as_a_directory(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "podman").symlink_to(program.path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program.does('for last; do :; done; cd "$last" && ls -l Dockerfile bin/run | cut -c-10; cat bin/run; cat')
    context = Recipe("x", {"Dockerfile": b"FROM x\n", "bin/run": b"#!/bin/sh\n"}).context()
    lines: list[str] = []
    code = builder.build(
        context, "a:name", {}, labels={}, fresh=False, host_network=False, podman=True, on_line=lines.append
    )
    assert (code, lines) == (0, ["-rw-r--r--", "-rwxr-xr-x", "#!/bin/sh"])
    (call,) = program.calls()
    assert call.startswith("--url unix:///")
    assert not Path(call.rpartition(" ")[2]).exists()


def test_a_builder_of_the_users_own_is_not_used(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDX_BUILDER", "elsewhere")
    monkeypatch.setenv("BUILDKIT_PROGRESS", "tty")
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/s390x")
    monkeypatch.setenv("BUILDX_CONFIG", "/root/.docker/buildx")
    program.does('echo "${BUILDX_BUILDER-none} $BUILDKIT_PROGRESS ${DOCKER_DEFAULT_PLATFORM-none}"')
    assert build() == (0, ["none plain none"])
    program.does('touch "$BUILDX_CONFIG/current" && echo "$BUILDX_CONFIG"')
    code, (state,) = build()
    assert code == 0
    assert not Path(state).exists()


def test_a_failure_is_the_commands_exit_code(program: Program) -> None:
    program.does("exit 7")
    assert build()[0] == 7
    program.does("kill -9 $$")
    assert build()[0] == -9


def test_a_build_that_is_interrupted_ends_with_all_that_the_command_started(program: Program) -> None:
    program.does('sh -c \'echo $$ >"$0/pid"; echo on; exec sleep 60\' "$here"')

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(on_line=interrupt)
    pid = int((program.directory / "pid").read_text())
    until(lambda: has_ended(pid))
