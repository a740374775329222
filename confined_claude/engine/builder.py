"""Image builds by ``docker build``: with BuildKit where the docker command has it, else with the classic builder.

Both read the same arguments, and so does ``podman build``; only what they print differs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from . import command

_TAIL = 20
_MOST_OF_A_LINE = 1 << 16  # what an image runs may print without a line's end


class _Format(NamedTuple):
    """How a builder prints a step, a line of its output and its failure. A ``key`` is that of one of several steps."""

    step: re.Pattern[str]
    output: re.Pattern[str]
    failure: re.Pattern[str]


# "Step 2/9 : RUN make", then what that puts out, between lines about the builder's own containers.
_CLASSIC = _Format(
    re.compile(r"(?P<key>)(?i:step) (?P<number>\d+)/(?P<total>\d+) ?: (?P<what>.*)"),
    re.compile(r"(?P<key>)(?P<text>(?! --->|Removing intermediate container).*)"),
    re.compile(r"(?!)"),
)
# "#7 [2/9] RUN make" or "#7 [stage 2/9] RUN make", then "#7 0.123 output" with the seconds since the step's start.
_BUILDKIT = _Format(
    re.compile(r"#(?P<key>\d+) \[(?:\S+ )?(?P<number>\d+)/(?P<total>\d+)\] (?P<what>.*)"),
    re.compile(r"#(?P<key>\d+) \d+\.\d+ ?(?P<text>.*)"),
    re.compile(r"#(?P<key>\d+) ERROR"),
)
# A command that failed, which the step has shown already, and its exit code.
_EXIT_CODE = re.compile(r".*(?:exit code:|non-zero code:|exit status) (\d+)")
_CLASSIC_IMAGE = re.compile(r" ---> ([0-9a-f]{12})")


class Step(NamedTuple):
    """A step of a build, as the builder counts them."""

    number: int
    total: int
    what: str

    def __str__(self) -> str:
        return f"step {self.number}/{self.total}: {self.what}"


class Transcript:
    """What a builder prints, line by line: the steps, and what each of them puts out.

    ``images`` are the ids of the images that the classic builder's steps resulted in.
    """

    def __init__(self) -> None:
        self.images: list[str] = []
        self._formats: tuple[_Format, ...] = (_CLASSIC, _BUILDKIT)  # until the first step tells which
        self._steps: dict[str, tuple[Step, deque[str]]] = {}
        self._current = ""
        self._last = "it gave no reason"

    def add(self, line: str) -> Step | str | None:
        """Return the step that begins with ``line``, or the output of a step in it; None for anything else."""
        if not line.strip():
            return None
        self._last = line
        self.images += _CLASSIC_IMAGE.findall(line)
        for form in self._formats:
            if found := form.step.match(line):
                self._formats = (form,)
                # BuildKit repeats the name of a step that goes on after another's output.
                return None if form is _BUILDKIT and found["key"] in self._steps else self._begin(found)
            if (found := form.output.match(line)) and found["key"] in self._steps:
                self._steps[found["key"]][1].append(found["text"])
                return found["text"]
            if found := form.failure.match(line):
                self._current, self._formats = found["key"], ()  # what follows is about that
        return None

    def _begin(self, found: re.Match[str]) -> Step:
        self._current = found["key"]
        step = Step(int(found["number"]), int(found["total"]), found["what"])
        self._steps[self._current] = step, deque(maxlen=_TAIL)
        return step

    def failure(self) -> str:
        """Return where the build failed, why, and the last lines that the step put out."""
        step, output = self._steps.get(self._current, ("the start", ()))
        why = _EXIT_CODE.sub(r"It ended with exit code \1.", self._last)
        return "\n".join([f"failed at {step}", why, *(f"  {line}" for line in output if line != self._last)])


def build(
    context: bytes,
    name: str,
    arguments: Mapping[str, str],
    *,
    labels: Mapping[str, str],
    fresh: bool,
    host_network: bool,
    podman: bool = False,
    on_line: Callable[[str], None],
) -> int:
    """Build an image from a tar archive of its context, and return the docker command's exit code.

    ``on_line`` gets each line that the builder prints. ``fresh`` ignores cached layers, ``podman`` is as for
    ``command.words``. Raises EngineError if the docker command is missing.
    """
    words = [
        *(*command.words(podman=podman), "build", "--force-rm", "--tag", name),
        *(["--no-cache"] if fresh else []),
        *(["--network", "host"] if host_network else []),
        # By name alone: the password of a proxy does not show in `ps`.
        *(word for argument in arguments for word in ("--build-arg", argument)),
        *(word for label, value in labels.items() for word in ("--label", f"{label}={value}")),
    ]
    environ = {
        **command.environment(),
        "BUILDKIT_PROGRESS": "plain",
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        **arguments,
    }
    # buildx keeps its state, which builder the user has chosen too, in a directory that may not be writable.
    with (
        tempfile.TemporaryDirectory(prefix="confined-claude-") as state,
        subprocess.Popen(
            [*words, _unpacked(context, Path(state)) if podman else "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environ, "BUILDX_CONFIG": state},
            start_new_session=True,
        ) as process,
    ):
        try:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(b"" if podman else context)
            while process.stdout is not None and (line := process.stdout.readline(_MOST_OF_A_LINE)):
                on_line(line.decode("utf-8", "replace").rstrip("\n"))
        except BaseException:
            # The engine ends a build whose client is gone, and that may be a plugin: a child of the docker command.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode


def _unpacked(context: bytes, directory: Path) -> str:
    """Put the files of a context into ``directory`` and return its path: Podman takes no archive from a pipe."""
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        for entry in archive:
            path = directory / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if file := archive.extractfile(entry):
                path.write_bytes(file.read())
                path.chmod(entry.mode)
    return str(directory)
