"""A status printed once, or kept up to date on a terminal."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...background import Background
from ...console import Progress
from ...errors import ConfinedError
from .collector import StatusCollector
from .document import document
from .model import Status
from .text import Line, lines

if TYPE_CHECKING:
    from rich.text import Text

_REFRESH_SECONDS = 2.0
_TICK_SECONDS = 0.1


def show(collector: StatusCollector, home: Path, *, as_json: bool) -> bool:
    """Print a status; return whether the engine could be asked."""
    with Progress("Adding up the sizes of directories") as progress:
        found = collector.collect(progress.show)
    if as_json:
        print(json.dumps(document(found), indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(rich_text(lines(found, home, console.width)), soft_wrap=True)
    else:
        print("\n".join(line.text for line in lines(found, home)))
    return found.sessions is not None


def watch(collector: StatusCollector, home: Path) -> None:
    """Show a status that is kept up to date, until Ctrl-C. Raises ConfinedError if there is no suitable terminal."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        raise ConfinedError(
            "There is no terminal for a live view.",
            "Leave out --watch; programs take `confined-claude status --json`.",
        )
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda received, _frame: ended.append(received))
    # If it were stopped, it would leave the terminal in a state that no shell expects.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    newest: Status | None = None
    drawn: object = None
    began, pending = time.monotonic(), Background(collector.collect)
    with Live("Collecting …", console=console, screen=True, auto_refresh=False) as live:
        while not ended:
            time.sleep(_TICK_SECONDS)
            if pending.is_done:
                newest = pending.result(0)
                if time.monotonic() >= began + _REFRESH_SECONDS:
                    began, pending = time.monotonic(), Background(collector.collect)
            if newest is not None and (newest, console.size) != drawn:
                drawn = (newest, console.size)
                live.update(rich_text(lines(newest, home, console.width, console.height)), refresh=True)
    if ended[0] != signal.SIGINT:
        raise SystemExit(128 + ended[0])


def rich_text(listed: Iterable[Line]) -> Text:
    """Return lines as rich's text, in which nothing is markup."""
    from rich.text import Text

    return Text("\n", overflow="fold").join(Text(line.text, line.style) for line in listed)
