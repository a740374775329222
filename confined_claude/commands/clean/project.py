"""The cleanup of a project: of what its sessions have made, and of what is remembered about it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...claude import history, tokens
from ...claude.history import ProjectScope
from ...egress.network_parts import sidecar_name
from ...engine import containers, labels
from ...errors import ConfinedError, system_error
from ...fs.directory import Directory, Location
from ...fs.removal import Leftover, trash_in
from ...guard import isolation, records
from ...guard.records import FindingCounts, Records
from ...host import Host
from ...project import IGNORED, IGNORED_BEFORE, SCAFFOLD, Project
from ...project.boundaries import IN_SCAFFOLD
from ...state import projects
from ...state.current import current_project
from ...state.profiles import DEFAULT
from ...state.store import LOCK, records_of, state_of
from ...text import counted
from ...workspace import CONVERSATIONS, LENT_CONFIG, data_of, in_profile, profile_names, scaffold_of, shared_config
from . import sidecars, trash
from .confirm import refuse_while_running
from .plan import Item, Plan

_IGNORE = ".gitignore"
# States of a container that uses nothing.
_AT_REST = ("created", "exited", "dead")


class ProjectCleanup(NamedTuple):
    """A project to be cleaned.

    ``root`` is None if its record cannot be read; ``exists`` says whether there still is a directory. ``files`` of
    the scaffold go as well, by their paths in the project.
    """

    host: Host
    id: str
    root: Path | None
    exists: bool
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, host: Host, word: str | None) -> ProjectCleanup:
        """Return the current project, or the known one with the id or directory ``word``. Raises ConfinedError."""
        if word is None:
            here = current_project(host)
            return cls(host, here.id, here.root, exists=True)
        found = projects.find(word, state_of(host))
        root = found.root
        if root is None or Project(root).id != found.id:
            return cls(host, found.id, None, exists=False)
        if found.exists:
            Project(root).check_links()
        return cls(host, found.id, root, found.exists)

    @property
    def _name(self) -> str:
        return self.id if self.root is None else str(self.root)

    @property
    def _scaffold(self) -> Location | None:
        return scaffold_of(self.root) if self.exists and self.root is not None else None

    @property
    def _records(self) -> Location:
        return records_of(self.host, self.id)

    def unfetched(self) -> list[isolation.Unfetched]:
        """Return the copies of the repository with commits that nobody has fetched. Raises ConfinedError."""
        if self.root is None:
            return []
        copies = data_of(self.host, self.id).at(isolation.DIRECTORY)
        with records.locked_if_exist(self._records) as kept:
            return [] if kept is None else isolation.unfetched(self.root, copies, kept)

    def _of_the_scaffold(self, scaffold: Location) -> list[Location]:
        return [Location(scaffold.base, tuple(file.split("/"))) for file in self.files]

    # What there is

    def plan(self, *, everything: bool) -> Plan:
        data = [
            *self._in_project(),
            *sidecars.items(self.host, self.id),
            *trash.items(*trash.outside_projects(self.host)),
        ]
        memory, losses = (tuple(self._memory()), tuple(self.losses())) if everything else ((), ())
        notes: tuple[str, ...] = ()
        if not (self.exists or everything):
            notes = (f"{self._name} is gone. `clean --all` deletes what is kept of it.",)
        return Plan(
            f"{'The scaffold, and what' if self.files else 'What'} sessions have made in {self._name}",
            f"Remembered about {self._name}",
            tuple(data),
            memory,
            losses,
            notes,
        )

    def _in_project(self) -> Iterator[Item]:
        if self._scaffold is None:
            return
        for file, location in zip(self.files, self._of_the_scaffold(self._scaffold), strict=True):
            yield Item(file, (location,))
        with self._scaffold.open_if_exists() as directory:
            if directory is None:
                return
            if _holds_nothing_else(directory):
                yield Item(f"{SCAFFOLD}/", (self._scaffold,))
                return
            for name in filter(directory.exists, IN_SCAFFOLD):
                yield Item(f"{SCAFFOLD}/{name}/", (self._scaffold.at(name),))
        yield from trash.items(self._scaffold)

    def _memory(self) -> Iterator[Item]:
        for name, config, own in self._configs():
            try:
                found = history.find(config, self._scope(), own)
            except OSError as error:
                raise system_error("use", config.path, error) from None
            if config.name == LENT_CONFIG:  # the conversations are those of the other one
                found = found._replace(conversations=0)
            if not found.is_empty:
                number = f"{counted(found.conversations, 'conversation')}, {counted(found.prompts, 'prompt')}"
                where = "" if name == DEFAULT else f", in the profile {name}"
                yield Item(f"{number}, Claude's memory and settings of it{where}", found.entries)
        for location, text in (
            (data_of(self.host, self.id), "its own data and conversations"),
            (self._records, "records, findings and approvals"),
        ):
            if os.path.lexists(location.path):
                yield Item(f"{location.path}/, {text}", (location,))

    def _configs(self) -> Iterator[tuple[str, Location, Location]]:
        """Yield the Claude configs that projects share, each with its profile's name and the project's conversations.

        There are none if the root is unknown.
        """
        if self.root is not None:
            data = data_of(self.host, self.id)
            for name in profile_names(self.host):
                config = shared_config(self.host, name)
                for each in (config, config.parent.at(LENT_CONFIG)):
                    yield name, each, in_profile(data, name).at(CONVERSATIONS)

    def losses(self) -> Iterator[str]:
        """Yield what a person may want to have first."""
        if not self._records.path.is_dir():
            return
        try:
            counts = records.count_findings(self._records)
            if counts != FindingCounts():
                unscanned = counts.unscanned
                more = f", {counted(unscanned, 'session')} not scanned yet" if unscanned else ""
                number = counted(counts.red + counts.yellow, "finding")
                yield f"This also discards findings that wait for a review: {number}{more}."
            for copy in self.unfetched():
                yield f"This also discards commits that were never fetched, on {', '.join(copy.branches)}."
                if self.exists:
                    yield f"To fetch them first: {copy.command}"
        except ConfinedError as error:
            yield f"This also discards what cannot be read: {error.message}"

    def _scope(self) -> ProjectScope:
        return history.scope_of(self.root or Path("/"), projects.projects(state_of(self.host)))

    # Deletion

    def delete(self, *, memory: bool) -> Leftover:
        left = Leftover()
        with self._locked() as kept:
            keys = kept.session_keys()
            self._refuse_while_used(keys)
            if self._scaffold is not None:
                left += trash.move(
                    self._scaffold, *map(self._scaffold.at, IN_SCAFFOLD), *self._of_the_scaffold(self._scaffold)
                )
            if memory:
                for key, _ in keys:  # nothing else will know of what a killed session has left in the engine
                    containers.remove(*containers.of_session(key), sidecar_name(key))
                left += self._forget()
        if self._scaffold is not None:
            left += trash.empty(self._scaffold)
            self._remove_scaffold(self._scaffold)
        return left + sidecars.remove(self.host, self.id) + trash.empty(*trash.outside_projects(self.host))

    def _forget(self) -> Leftover:
        left = Leftover()
        for _, config, own in self._configs():
            with config.parent.open_if_exists() as directory:
                if directory is not None:
                    try:
                        left += history.forget(config, self._scope(), directory, own)
                    except OSError as error:
                        left += Leftover.of(config.path, error)
        left += trash.move(Location(self.host.data), data_of(self.host, self.id))
        tokens.forget_gone(self.host)
        if left.number:  # as long as there is a record, the next clean knows what to delete
            return left
        return left + trash.move(state_of(self.host), self._records)

    def _remove_scaffold(self, scaffold: Location) -> None:
        """Remove the scaffold's directory if only the tool needed it, and no session needs it by now."""
        with self._locked() as kept, scaffold.open_if_exists() as directory:
            if directory is None or any(alive for _, alive in kept.session_keys()):
                return
            if not (_holds_nothing_else(directory) and {*directory.names()} <= {_IGNORE}):
                return
            with contextlib.suppress(OSError):
                with contextlib.suppress(FileNotFoundError):
                    directory.unlink(_IGNORE)
                try:
                    with Location(scaffold.base).open() as root:
                        root.rmdir(SCAFFOLD)
                except OSError:  # someone has put something there
                    directory.write(_IGNORE, IGNORED, mode=0o644)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Records]:
        """Hold the lock on the project's records. If there were none, there are none afterwards."""
        with records.locked(self._records) as kept:
            try:
                yield kept
            finally:
                with self._records.open_if_exists() as directory:
                    is_new = directory is not None and directory.names() == [LOCK]
                if is_new:
                    trash.move(state_of(self.host), self._records)
                    trash.empty(state_of(self.host))

    # Who uses it

    def refuse_while_used(self) -> None:
        keys: list[tuple[str, bool]] = []
        if self._records.path.is_dir():
            with records.locked(self._records) as kept:
                keys = kept.session_keys()
        self._refuse_while_used(keys)

    def _refuse_while_used(self, keys: Sequence[tuple[str, bool]]) -> None:
        """Raise ConfinedError if a session may use the project; ``keys`` are those on record, and whether alive."""
        refuse_while_running(
            self._running,
            on_record=bool(keys),
            is_alive=any(alive for _, alive in keys),
            hint="End it with `confined-claude stop --session {name}`, and try again.",
        )

    def _running(self) -> list[str]:
        """Return the names of the project's sessions, of any user. Raises EngineError."""
        wanted = {labels.KIND: labels.SESSION, labels.PROJECT: self.id}
        found = containers.containers(wanted)
        return [name for each in found if each["State"] not in _AT_REST for name in containers.names_of(each)]


def _holds_nothing_else(directory: Directory) -> bool:
    """Return whether the scaffold's directory holds nothing but what the tool itself has made."""
    others = set(directory.names()).difference(IN_SCAFFOLD, trash_in(directory))
    return not others or (others == {_IGNORE} and directory.read(_IGNORE) in (IGNORED, IGNORED_BEFORE))
