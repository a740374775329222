"""Pushes that a session asks for: received, and made with the user's own rights once that is allowed.

A session reaches this by one socket, see container/git/remote.py. One request is answered after the other.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Collection
from io import BufferedReader

from ..errors import ConfinedError
from ..fs.removal import remove_place
from ..guard.outgoing import WAITING_SECONDS, Outgoing
from ..guard.push_addresses import is_agreed
from ..guard.push_failures import CannotPush, GitError
from ..guard.push_request import Request, Update
from ..settings.specs import ASK
from ..text import escape
from ..workspace import Workspace

SOCKET = "push"
_MAX_LINE = 1 << 14
_SECONDS = 20.0  # for each piece of a request
_PAUSE_SECONDS = 0.5
_PUSHING_SECONDS = 600.0
_MAX_NOTED, _MAX_FAILED = 20, 3
_COMMAND = "confined-claude requests"


class Pushes:
    """Answers the session ``key`` of ``workspace``, which may ask for pushes to the ``urls`` recorded at its start.

    ``tell`` tells the user that one waits. ``made`` says at the end what was pushed,
    ``failed`` why the first pushes failed that did.
    """

    def __init__(self, workspace: Workspace, key: str, urls: Collection[str], tell: Callable[[str], None]) -> None:
        self.made: list[str] = []
        self.failed: list[str] = []
        self._workspace = workspace
        self._location = workspace.requests.at(key)
        self._urls = urls
        self._tell = tell
        self._is_over = threading.Event()
        self._number = 0
        self._pushed: set[tuple[str, Update]] = set()

    def __enter__(self) -> Pushes:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        remove_place(self._location)

    def serve(self, listener: socket.socket) -> None:
        """Answer what connects to ``listener`` until that is closed."""
        while listener.fileno() >= 0 and not self._is_over.is_set():
            try:
                client, _ = listener.accept()
                client.settimeout(_SECONDS)
                with client, client.makefile("rb") as source:
                    self._answer(client, source, listener)
            except (OSError, ValueError, ConfinedError):  # it is closed, or the session or the disk has failed
                pass
            self._is_over.wait(_PAUSE_SECONDS)  # a flood of them costs this machine little

    def _answer(self, client: socket.socket, source: BufferedReader, listener: socket.socket) -> None:
        request = Request.parse(source.readline(_MAX_LINE))
        if request is None:
            return
        if request.url not in self._urls:
            refused = request.refused("this is not a remote that the repository had when the session started")
            _say(client, refused)
            return
        self._number += 1
        place = self._location.at(str(self._number))
        place.make().close()
        workspace = self._workspace
        try:
            outgoing = Outgoing(workspace.host, workspace.project.id, place, request, asks=False)
            outgoing.receive(source)
            if all((request.url, update) in self._pushed for update in request.updates):
                results = request.refused("")  # its git had given up before the answer came
            else:
                results = self._passed(outgoing) or self._asked(outgoing, client, listener)
        except CannotPush as error:
            results = request.refused(error.told)
            if isinstance(error, GitError):
                self._add(error.reason)
        except ConfinedError as error:
            results = request.refused("your machine cannot keep it")
            self._fail(escape(error.message))
        finally:
            remove_place(place)
        self._note(request, results)
        _say(client, results)

    def _passed(self, outgoing: Outgoing) -> dict[str, str]:
        """Push what needs no question, and return the answer; nothing if it needs one."""
        wanted = self._workspace.settings.push
        if wanted == ASK or not is_agreed(self._workspace.state, outgoing.request.url):
            return {}
        changes = outgoing.examine(self._workspace)
        return outgoing.push(self._add) if all(change.may_pass(wanted) for change in changes) else {}

    def _asked(self, outgoing: Outgoing, client: socket.socket, listener: socket.socket) -> dict[str, str]:
        """Wait for the answer of a person, who is asked elsewhere, and return it."""
        outgoing.wait()
        minutes = int(WAITING_SECONDS / 60)
        asks = f"asks for a push to {outgoing.request.shown_url}"
        self._tell(f"The session {asks}: `{_COMMAND}` in another terminal shows it, and answers.")
        said = f"The user is asked, by `{_COMMAND}` in another terminal. This waits up to {minutes} minutes for that."
        client.sendall(f"say {said}\n".encode())
        deadline = time.monotonic() + WAITING_SECONDS
        while (results := outgoing.answered()) is None:
            time.sleep(_PAUSE_SECONDS)
            late = time.monotonic() - deadline
            is_replaced = _has_gone(client) and select.select([listener], [], [], 0)[0]
            if (late > 0 or is_replaced or self._is_over.is_set()) and outgoing.claim():
                return outgoing.request.refused(f"nobody has answered for {minutes} minutes")
            if late > _PUSHING_SECONDS:  # somebody has agreed
                return outgoing.request.refused("it is not known whether it was pushed")
        return results

    def _add(self, words: str) -> None:
        self._fail(f"A push without a question: {escape(words)}.")

    def _fail(self, line: str) -> None:
        if len(self.failed) < _MAX_FAILED:
            self.failed.append(line)

    def _note(self, request: Request, results: dict[str, str]) -> None:
        for update in request.updates:
            if results[update.ref] or (request.url, update) in self._pushed:
                continue
            self._pushed.add((request.url, update))
            if len(self.made) < _MAX_NOTED:
                self.made.append(f"Pushed {escape(update.name)} ({update.new[:10]}) to {request.shown_url}.")


def _say(client: socket.socket, results: dict[str, str]) -> None:
    lines = (f"{f'error {ref} {escape(why)}' if why else f'ok {ref}'}\n" for ref, why in results.items())
    client.sendall("".join(lines).encode())


def _has_gone(client: socket.socket) -> bool:
    """Return whether the session waits no more for an answer. It has nothing more to send."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))
