"""How long the answer of a model takes to come through: from its first word to its last, in a session and outside.

The API is made up, the client is the real one. Its output is read where a user's program would read it: after the
session's network, the container and the tool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from .figures import Item, ratio
from .place import REPOSITORY, Place, finish, own
from .server import served
from .starts import docker_run, in_turn
from .work import outside

_PORT = 8787
_WORDS = 2_000
# In a second: some ten times as many as models write. At once they are as many as the client can take.
_RATE = 1_000
_AT_ONCE = 0


def streaming(place: Place, runs: int) -> Iterator[Item]:
    """Measure an answer with the default network and with a proxy; outside, and in a plain container."""
    if os.geteuid() != 0:
        print("The model's answer is measured with a network of its own, which needs root.", file=sys.stderr)
        return
    api = [sys.executable, str(REPOSITORY / "tests/fake_api.py"), "--host", "0.0.0.0", "--port", str(_PORT)]
    with served(_PORT, api) as address, outside(place) as start:
        variables = {
            "ANTHROPIC_BASE_URL": f"http://{address}:{_PORT}",
            "ANTHROPIC_API_KEY": "sk-ant-api03-made-up-0123456789abcdefghij",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

        def session(network: str, rate: int) -> float:
            return _seconds(place.start(own("run", "--network", network, "--", *_asked(rate)), variables=variables))

        def plain(rate: int) -> float:
            given = [word for item in variables.items() for word in ("--env", "=".join(item))]
            line = docker_run(place, "claude", *_asked(rate))
            return _seconds(place.start([*line[:2], *given, *line[2:]]))

        def without(rate: int) -> float:
            return _seconds(start(["claude", *_asked(rate)], **variables))

        paced = in_turn(
            runs,
            {
                "internet": lambda: session("internet", _RATE),
                "allowlist": lambda: session("allowlist", _RATE),
                "outside": lambda: without(_RATE),
            },
        )
        for name in ("internet", "allowlist"):
            yield ratio(f"the model's answer, {name} / outside", paced[name], paced["outside"], 1.05, 1.03)
        at_once = in_turn(
            runs,
            {
                "session": lambda: session("internet", _AT_ONCE),
                "docker run": lambda: plain(_AT_ONCE),
                "outside": lambda: without(_AT_ONCE),
            },
        )
        what = f"{_WORDS:,} words at once"
        yield ratio(f"{what}, docker run / outside", at_once["docker run"], at_once["outside"], None, None)
        yield ratio(f"{what}, internet / docker run", at_once["session"], at_once["docker run"], None, 1.05)


def _asked(rate: int) -> Sequence[str]:
    form = ("--output-format", "stream-json", "--include-partial-messages", "--verbose")
    return ("-p", f"STREAM: {_WORDS} AT {rate}", *form)


def _seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the time from the first word of the answer to the last one, as they are printed."""
    assert process.stdout is not None
    seen = [time.perf_counter() for line in process.stdout if b'"text_delta"' in line]
    finish(process)
    if len(seen) != _WORDS:
        raise RuntimeError(f"{len(seen)} words of {_WORDS} have come")
    return seen[-1] - seen[0]
