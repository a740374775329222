"""What keeps a client from working with its config is put right: damaged files, and locks dated in the future."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from ..errors import system_error
from ..fs.directory import Directory
from ..fs.lock import lock_directory, remove_locks_of_the_future
from ..text import parse_json
from .credentials import CREDENTIALS, LIMIT_BYTES
from .onboarding import BACKUPS, GLOBAL_STATE, LEGACY_STATE, STATE_LOCK

_BACKUP = f"{GLOBAL_STATE}.backup."
# The client keeps five.
_MOST_BACKUPS = 10


def restore(config: Directory) -> Iterator[str]:
    """Rename files in ``config`` that no client can use, and yield what to say of them. Raises ConfinedError.

    With them it would wait for ever, fail, or begin with a question. The newest good backup of Claude's takes the place
    of a damaged global state, which is kept where the client (2.1.332) keeps such files itself.
    """
    remove_locks_of_the_future(config)
    yield from _make_room_for_credentials(config)
    if config.exists(LEGACY_STATE):
        aside = _rename_aside(config, LEGACY_STATE)
        yield f"{config.path / LEGACY_STATE} would hide {GLOBAL_STATE}, and is now {aside}."
    yield from _restore_state(config)


def _make_room_for_credentials(config: Directory) -> Iterator[str]:
    if not config.exists(CREDENTIALS) or config.is_link(CREDENTIALS):
        return
    if config.is_file(CREDENTIALS) and config.stat(CREDENTIALS).st_size <= LIMIT_BYTES:
        return
    yield f"{config.path / CREDENTIALS} has no credentials in it, and is now {_rename_aside(config, CREDENTIALS)}."


def _rename_aside(config: Directory, name: str) -> str:
    """Rename a file of ``config``, and return its new name. Raises ConfinedError."""
    aside = f"{name}.{_now_ms()}"
    try:
        config.rename(name, aside)
    except OSError as error:
        raise system_error("rename", config.path / name, error) from None
    return aside


def _restore_state(config: Directory) -> Iterator[str]:
    if not _is_damaged(config):
        return
    with lock_directory(config, STATE_LOCK) as is_held:
        if not is_held or not _is_damaged(config):
            return
        found = _newest_backup(config)
        try:
            kept = _set_aside(config)
            if found is not None:
                config.write(GLOBAL_STATE, found[1])
        except OSError as error:
            raise system_error("restore", config.path / GLOBAL_STATE, error) from None
    damaged = f"{config.path / GLOBAL_STATE} was damaged, and is now {kept}."
    if found is None:
        yield f"{damaged} There is no backup of it: Claude begins with a new one."
    else:
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(found[0] / 1000))
        yield f"{damaged} Claude's backup of {moment} is in its place."


def _set_aside(config: Directory) -> str:
    """Rename the global state, and return its new name, from ``config`` on. Raises OSError."""
    name = f"{GLOBAL_STATE}.corrupted.{_now_ms()}"
    with contextlib.suppress(OSError), config.make(BACKUPS) as backups:  # a session may have put a file there
        config.rename(GLOBAL_STATE, name, backups)
        return f"{BACKUPS}/{name}"
    config.rename(GLOBAL_STATE, name)
    return name


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_damaged(config: Directory) -> bool:
    """Return whether there is a global state that no client can use. A link is left to the client."""
    if not config.exists(GLOBAL_STATE) or config.is_link(GLOBAL_STATE):
        return False
    if not config.is_file(GLOBAL_STATE):
        return True
    content = config.read(GLOBAL_STATE)
    if content is not None and not content.strip():  # which the client takes for a new one
        return _newest_backup(config) is not None
    try:
        # What cannot be read, or is huge, may be good.
        return content is not None and not isinstance(json.loads(content), dict)
    except ValueError:
        return True
    except RecursionError:  # deeper than can be read here
        return False


def _newest_backup(config: Directory) -> tuple[int, bytes] | None:
    """Return when Claude made its newest backup that can be used (milliseconds since 1970), and its content."""
    with config.child_or_none(BACKUPS) as backups:
        if backups is None:
            return None
        made = []
        for name in backups.names():
            with contextlib.suppress(ValueError):
                if name.startswith(_BACKUP) and 0 < (moment := int(name.removeprefix(_BACKUP))) < 10**14:
                    made.append((moment, name))
        for moment, name in sorted(made, reverse=True)[:_MOST_BACKUPS]:
            content = backups.read(name)
            if content is not None and isinstance(parse_json(content), dict):
                return moment, content
    return None
