"""Commands that are run in a container beside its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import EngineError
from . import api
from .api import MISSING, UNLIMITED, Answer
from .containers import KILLED
from .failures import NOT_UNDERSTOOD, refused

_MARK = "CONFINED_CLAUDE_EXEC"
# Runs as the session's own user, who may signal its own processes. What the command starts inherits the mark.
_SIGNAL_SCRIPT = """
for file in /proc/[0-9]*/environ; do
    tr '\\0' '\\n' <"$file" 2>/dev/null | grep -qxF "$1" || continue
    pid=${file#/proc/}
    kill -s "$2" "${pid%/environ}" 2>/dev/null
done
true
"""
# Runs as the session's own user. No reader ever finds the file missing, or half of it.
_REPLACE = 'PATH=/usr/bin:/bin; umask 277 && rm -f "$1.new" && cat >"$1.new" && mv -f "$1.new" "$1"'
# What the entrypoint does for a session's own command: the umask, and a terminal that the image knows.
_ENTER = "/opt/confined-claude/init/enter"
# The same for the images of 0.1, which do not have that.
_PREPARE = """
umask "$1"
[ -z "$2" ] || cd -- "$2" 2>/dev/null
shift 2
for place in /etc/terminfo /lib/terminfo /usr/share/terminfo; do
    [ ! -e "$place/${TERM%"${TERM#?}"}/$TERM" ] || exec "$@"
done
[ -z "$TERM" ] || export TERM=xterm-256color
exec "$@"
"""
# For a command in a session they are JSON, so ASCII: Ctrl-^ four times, a key that is hardly ever typed even once.
_NO_EXEC_DETACH = "ctrl-^,ctrl-^,ctrl-^,ctrl-^"
# A session may stop the tool's own commands in it, or have them print without end: they are its user's.
_OWN_SECONDS, _MOST_PRINTED = 5.0, 1 << 16


def prepare_command(
    identity: str,
    command: Sequence[str],
    *,
    user: str,
    umask: int,
    mark: str,
    variables: Mapping[str, str],
    directory: str = "",
    terminal: bool,
    has_enter: bool,
) -> str:
    """Prepare a command in a container that runs, with ``variables``, and return its id for ``run_command``.

    It starts in ``directory``, if that is there. ``user`` is as for ``_as_user``. ``send_to_marked`` finds it by
    ``mark``: the engine has no way to signal it. ``has_enter`` means that the image has container/init/enter.c.
    Raises EngineError.
    """
    words = (f"{umask:03o}", directory, *command)
    options = _by(user, _ENTER, *words) if has_enter else _as_user(user, "/bin/sh", "-c", _PREPARE, "sh", *words)
    return _prepare(
        identity,
        options,
        AttachStdin=True,
        Tty=terminal,
        DetachKeys=_NO_EXEC_DETACH,
        # The engine reports none of them.
        Env=[f"{name}={value}" for name, value in {_MARK: mark, **variables}.items()],
    )


def run_command(identity: str, *, terminal: bool) -> Answer:
    """Run what ``prepare_command`` has prepared, and return the stream of its input and output. Raises EngineError."""
    path, body = f"/exec/{identity}/start", {"Detach": False, "Tty": terminal}
    return api.begin("POST", path, body=body, is_stream=True, seconds=UNLIMITED).checked("run the command")


def exit_code_of_command(identity: str) -> int | None:
    """Return the exit code of a command in a container; None while it runs. Raises EngineError."""
    answer = api.ask("GET", f"/exec/{identity}/json")
    if answer.status == MISSING:  # it went with its container
        return KILLED
    found = answer.checked("tell how the command ended").json()
    if not isinstance(found, dict):
        raise refused("tell how the command ended", NOT_UNDERSTOOD)
    return None if found.get("Running") or found.get("ExitCode") is None else int(found["ExitCode"])


def send_to_marked(identity: str, mark: str, signal: str, *, user: str) -> bool:
    """Send a signal (``INT``) to what ``run_command`` started with this mark. Return False if the container is gone."""
    try:
        _run(identity, ("/bin/sh", "-c", _SIGNAL_SCRIPT, "sh", f"{_MARK}={mark}", signal), user=user)
    except EngineError:
        return False
    return True


def replace_file(identity: str, path: str, content: str, *, user: str) -> None:
    """Replace a file of ``user``'s in a container that runs, by a pipe. Raises EngineError."""
    words = ("/bin/sh", "-c", _REPLACE, "sh", path)
    code, printed = _run(identity, words, user=user, stdin=content.encode())
    if code != 0:
        raise refused("replace a file in the session", printed or "it takes too long")


def _run(identity: str, words: Sequence[str], *, user: str, stdin: bytes = b"") -> tuple[int | None, str]:
    """Run a short command in a container; return its exit code, None if it does not end, and what it prints.

    Raises EngineError.
    """
    prepared = _prepare(identity, _as_user(user, *words), AttachStdin=bool(stdin))
    with run_command(prepared, terminal=False) as answer:
        answer.socket.settimeout(_OWN_SECONDS)
        if stdin:
            answer.send(stdin)
        printed = answer.head(_MOST_PRINTED, _OWN_SECONDS).decode("utf-8", "replace")
    return exit_code_of_command(prepared), "".join(filter(str.isprintable, printed))


def _prepare(identity: str, options: Mapping[str, Any], **more: Any) -> str:
    body = {"AttachStdout": True, "AttachStderr": True, **options, **more}
    made = api.ask("POST", f"/containers/{identity}/exec", body=body).checked("run the command").json()
    return str(made["Id"])


def _as_user(user: str, *command: str) -> dict[str, Any]:
    """Return what makes a command in a container one of ``user`` (uid:gid) without capabilities."""
    # Podman would leave it the container's.
    return _by(user, "/usr/bin/setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--", *command)


def _by(user: str, *words: str) -> dict[str, Any]:
    """Return what makes a command in a container one of ``user`` (uid:gid)."""
    # By name, as in sessions of 0.1, the container's root could say who that is.
    return {"Cmd": words, **({"User": user} if user else {})}
