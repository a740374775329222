"""The sessions of this user: found by their labels in the engine, whether or not the tool that started them lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..engine import containers, labels
from ..engine.failures import SEE_LOG
from ..errors import ConfinedError, EngineError
from ..host import Host
from ..project import Project
from ..state import liveness
from ..state.current import current_project
from ..state.store import records_of
from ..system import APP

UP = ("running", "paused", "restarting")


class Session(NamedTuple):
    """A session's container. ``since`` is when it was created, in epoch seconds.

    ``user`` is the uid:gid of its processes, ``network`` is its setting, ``ports`` are those of this machine at which
    it is published, ``profile`` is its profile's name, ``sign_in`` the setting; they are empty for one that an older
    version started. ``is_up`` means that it runs, ``has_owner`` that the tool which started it does, ``has_variables``
    that `exec` takes some, ``has_enter`` that its image has what `exec` begins with.
    """

    id: str
    name: str
    image: str
    since: float
    is_up: bool
    project_id: str
    path: Path
    key: str
    user: str
    has_owner: bool
    network: str = ""
    ports: tuple[str, ...] = ()
    profile: str = ""
    has_variables: bool = False
    sign_in: str = ""
    has_enter: bool = False

    @property
    def is_orphaned(self) -> bool:
        """Whether the tool that would end it is gone."""
        return not self.has_owner


def sessions(host: Host) -> list[Session]:
    """Return this user's sessions, the oldest first, including those that are being created or are orphaned.

    Raises EngineError if the engine cannot be asked.
    """
    found = containers.containers({labels.KIND: labels.SESSION, labels.OWNER: host.owner})
    return sorted((_session(each, host) for each in found), key=lambda session: (session.since, session.name))


def _session(found: Mapping[str, Any], host: Host) -> Session:
    try:
        known: Mapping[str, str] = found["Labels"]
        project_id, key = known.get(labels.PROJECT, ""), known.get(labels.KEY, "")
        return Session(
            id=found["Id"],
            name=containers.names_of(found)[0],
            image=found["Image"],
            since=float(found["Created"]),
            is_up=found["State"] in UP,
            project_id=project_id,
            path=Path(known.get(labels.PATH, "")),
            key=key,
            user=known.get(labels.USER, ""),
            has_owner=liveness.has_owner(records_of(host, project_id), key),
            network=known.get(labels.NETWORK, ""),
            ports=tuple(entry.partition(":")[0] for entry in known.get(labels.PORTS, "").split(",") if entry),
            profile=known.get(labels.PROFILE, ""),
            has_variables=labels.VARIABLES in known,
            sign_in=known.get(labels.SIGN_IN, ""),
            has_enter=labels.ENTER in known,
        )
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise EngineError(f"The engine's list of containers cannot be read: {error!r}.", SEE_LOG) from None


def project_for(host: Host, wanted: str | None) -> Project | None:
    """Return the current project; None if there can be none, and a session is ``wanted`` by its name."""
    try:
        return current_project(host)
    except ConfinedError:
        if wanted is None:
            raise
        return None


def choose(found: Sequence[Session], here: Project | None, wanted: str | None) -> Session:
    """Return the session that runs in ``here``, or the ``wanted`` one: by its number there, or by its name anywhere.

    ``here`` is None where there can be no project. Raises ConfinedError if there is none, or more than one to choose
    from.
    """
    up = [session for session in found if session.is_up]
    own = [session for session in up if here is not None and session.project_id == here.id]
    if wanted is not None:
        chosen = [session for session in up if session.name == wanted]
        chosen += [session for session in own if wanted == str(number(session))]
        if not chosen:
            raise ConfinedError(f"There is no running session {wanted!r}.", _listed(own or up))
        return chosen[0]
    if not own:
        raise ConfinedError("No session runs in this project.", _listed(up))
    if len(own) > 1:
        raise ConfinedError(f"{len(own)} sessions run in this project.", f"Choose one with --session. {_listed(own)}")
    return own[0]


def number(session: Session) -> int:
    """Return the number at the end of a session's name; 1 for a name without."""
    slug = session.project_id.rpartition("-")[0]
    ending = session.name.removeprefix(f"{APP}-{slug}").removeprefix("-")
    return int(ending) if ending.isdecimal() else 1


def _listed(found: Sequence[Session]) -> str:
    if not found:
        return "`confined-claude status` shows what runs; `confined-claude run` starts a session."
    return "Running: " + ", ".join(session.name for session in found) + "."
