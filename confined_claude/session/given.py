"""What a session is given by name: variables, and files that only its user can read.

Imported only where a setting names something. Values are text as ``os.fsdecode`` makes it, so any bytes but NUL.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ..claude import choosing
from ..claude.host_settings import writable_by_sessions
from ..claude.source import SECRET, Renewal, Source
from ..errors import ConfinedError
from ..project import CONTAINER_HOME
from ..settings import variables
from ..text import repr_without
from ..workspace import Workspace
from . import handover, named_files
from . import lent as lending
from .lent import Lent, lend

if TYPE_CHECKING:
    from ..settings.secrets import Secret

_MOST_FILE_BYTES = 1 << 20


class Given(NamedTuple):
    """Variables by name, files by their path in the session, and lines on what is not among them, and why.

    Of the secrets in ``lent`` they have the placeholders. ``sources`` has the commands that print some of those, by
    their placeholders.
    """

    variables: Mapping[str, str] = MappingProxyType({})
    files: Mapping[str, bytes] = MappingProxyType({})
    remarks: tuple[str, ...] = ()
    lent: tuple[Lent, ...] = ()
    sources: Mapping[str, Source] = MappingProxyType({})

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """All (host, port) pairs that something is lent to."""
        return tuple(sorted({host for one in self.lent for host in one.hosts}))

    @property
    def lends_sign_in(self) -> bool:
        """Whether Claude's own sign-in is among what is lent."""
        return any(not one.word for one in self.lent)

    @property
    def git_settings(self) -> tuple[tuple[str, str], ...]:
        """What git is told of these hosts."""
        return tuple(lending.git_settings(self.lent))

    def hide(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return ``environ`` as a session may see it: with placeholders by their names, and wherever a value is."""
        placeholders = {one.placeholder for one in self.lent}
        environ = {name: self.hide_in(text) for name, text in environ.items()}
        return {**environ, **{name: text for name, text in self.variables.items() if text in placeholders}}

    def hide_in(self, text: str) -> str:
        """Return ``text`` with placeholders in the place of what is lent."""
        return lending.hide(text, self.lent)

    @property
    def message(self) -> bytes:
        """The line that tells a sidecar what it lends; empty if that is nothing."""
        return lending.message(self.lent) if self.lent else b""

    def renewals(self, workspace: Workspace) -> Iterator[tuple[str, Renewal]]:
        """Yield the placeholders of what commands print, each with what runs its command again."""
        values = {one.placeholder: one.value for one in self.lent}
        for placeholder, source in self.sources.items():
            yield placeholder, choosing.renewal(source, workspace.host, workspace.written, values[placeholder])

    def __repr__(self) -> str:
        return repr_without(self, "variables", "files")


def gather(workspace: Workspace, *, runs_commands: bool = True) -> Given:
    """Return what the settings of ``workspace`` give to a session; of one name the last counts.

    Unless it ``runs_commands``, what they would print is empty. Raises ConfinedError for what cannot be had, is empty
    or too large.
    """
    settings, host = workspace.settings, workspace.host
    places = tuple(writable_by_sessions(host, workspace.written))
    from_files, left_out = _from_files(settings.env_file, workspace.project.root, places)
    from_environment, missing = _from_environment(settings.env, host.environ)
    wanted = [workspace.secrets[name] for name in dict.fromkeys(settings.secrets)]
    given = _from_secrets(wanted, workspace, places, runs_commands=runs_commands) if wanted else Given()
    found = {**from_files, **from_environment, **given.variables}
    for message in _too_large(found):
        raise ConfinedError(message, "Give less, or give what is large as a file: a secret with as_file.")
    return given._replace(variables=found, remarks=(*left_out, *missing))


def _from_files(entries: Iterable[str], root: Path, places: tuple[Path, ...]) -> tuple[dict[str, str], list[str]]:
    """Return the variables in files, none of which is in ``places``, and lines on those that are left out."""
    found: dict[str, str] = {}
    left_out: list[str] = []
    for entry in entries:
        text = named_files.read(variables.located(entry, root), places, _MOST_FILE_BYTES)
        lines = os.fsdecode(text.removeprefix(codecs.BOM_UTF8))
        for name, value in variables.parse_file(lines, entry).items():
            if problem := variables.problem(name):
                left_out.append(f"{name} in {entry} is left out: {problem}.")
            else:
                found[name] = value
    return found, left_out


def _from_environment(entries: Iterable[str], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that entries set, or take from ``environ``, and lines on those that are missing there."""
    found: dict[str, str] = {}
    missing: list[str] = []
    for entry in entries:
        name, sign, value = entry.partition("=")
        if sign or name in environ:
            found[name] = value if sign else environ[name]
        else:
            missing.append(f"{name} is not set in your environment, so the session does not have it.")
    return found, missing


def _from_secrets(
    wanted: Sequence[Secret], workspace: Workspace, places: tuple[Path, ...], *, runs_commands: bool
) -> Given:
    """Return the variables and files that have the secrets ``wanted``, or placeholders for those that are lent."""
    from . import secrets

    environ = workspace.host.environ
    values = secrets.values(wanted, workspace.host, workspace.project.root, places, runs_commands=runs_commands)
    lent = {secret.name: lend(secret, values[secret.name]) for secret in wanted if secret.lend is not None}
    values.update((name, one.placeholder.encode()) for name, one in lent.items())
    sources = {
        lent[secret.name].placeholder: Source(f"the secret {secret.name}", secret.place, SECRET, environ)
        for secret in wanted
        if secret.lend is not None and secret.source == "command"
    }
    found: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for secret in wanted:
        if secret.path:
            path = secret.path.replace("~", str(CONTAINER_HOME), 1)
            handover.refuse_overlap(path, files, "another secret is there")
            files[path] = values[secret.name]
        if secret.variable:
            found[secret.variable] = os.fsdecode(values[secret.name].rstrip(b"\r\n"))
    return Given(found, files, (), tuple(lent.values()), sources)


def _too_large(found: Mapping[str, str]) -> Iterator[str]:
    sizes = {name: len(os.fsencode(f"{name}={value}")) for name, value in found.items()}
    for name, size in sizes.items():
        if size > variables.MOST_BYTES:
            yield f"The variable {name} has {size} bytes with its name, and Linux takes {variables.MOST_BYTES}."
    if sum(sizes.values()) > variables.MOST_IN_ALL:
        yield f"The variables have {sum(sizes.values())} bytes together, and there is room for {variables.MOST_IN_ALL}."
