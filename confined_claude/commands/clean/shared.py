"""The cleanup of what all projects share, and of the images that nothing uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from ...claude import tokens
from ...engine.images import Images
from ...errors import EngineError
from ...fs.directory import Location
from ...fs.removal import Leftover
from ...host import Host
from ...image.inventory import ImageInventory, Inventory
from ...session import listing
from ...state import liveness, locks, profiles
from ...state.store import LOGS, state_of
from ...text import counted
from ...workspace import CACHES, CLAUDE_CONFIG, LENT_CONFIG, PROFILES, shared_data
from . import sidecars, trash
from .confirm import refuse_while_running
from .plan import Item, Plan

_CONFIGS = (CLAUDE_CONFIG, LENT_CONFIG)


class SharedCleanup(NamedTuple):
    """The data of all projects. Its memory is Claude's own config."""

    host: Host

    def plan(self, *, everything: bool) -> Plan:
        shared = shared_data(self.host)
        data = list(_existing(*map(shared.at, CACHES), state_of(self.host).at(LOGS)))
        if os.path.lexists(self.host.template):
            data.append(Item(f"{self.host.template}, which `init` and `update` put there", (_template(self.host),)))
        data += (*sidecars.items(self.host), *trash.items(*trash.outside_projects(self.host)))
        notes: tuple[str, ...] = ()
        inventory, images = self._images()
        if inventory is None:
            notes = ("The engine does not answer, so images are left out: see `confined-claude doctor`.",)
        if images.removable:
            names = ", ".join(name for image in images.removable for name in image.names or (image.id[7:19],))
            text = f"{counted(len(images.removable), 'image')} that nothing uses: {names}"
            data.append(Item(text, bytes=images.freed_bytes))
        return Plan(
            "What all projects share",
            "Claude's own config of all profiles: sign-in, settings, plugins, and the prompts typed in all projects",
            tuple(data),
            tuple(_existing(*map(shared.at, _CONFIGS), _profiles(self.host))) if everything else (),
            notes=notes,
        )

    def delete(self, *, memory: bool) -> Leftover:
        with self._without_sessions():
            shared, state = shared_data(self.host), state_of(self.host)
            left = trash.move(
                shared,
                *(shared.at(name) for name in (*CACHES, *(_CONFIGS if memory else ()))),
            )
            left += trash.move(state, state.at(LOGS))
            left += trash.move(_template(self.host).parent, _template(self.host))
            if memory:
                left += trash.move(Location(self.host.data), _profiles(self.host))
                profiles.forget(self.host)
                tokens.forget_gone(self.host)
        # Nothing that a session starts with is in the trash, so sessions may start from here on.
        inventory, images = self._images()
        if inventory is not None:
            try:
                inventory.remove(images.removable)
            except EngineError as error:
                left += Leftover(1, "images", error.message)
        return left + sidecars.remove(self.host) + trash.empty(*trash.outside_projects(self.host))

    def refuse_while_used(self) -> None:
        with self._without_sessions():
            pass

    def _images(self) -> tuple[Inventory | None, ImageInventory]:
        """Return the inventory, and what it has of our images; None and none if the engine does not answer."""
        try:
            inventory = Inventory(Images(), self.host)
            return inventory, inventory.look()
        except EngineError:
            return None, ImageInventory()

    @contextlib.contextmanager
    def _without_sessions(self) -> Iterator[None]:
        """Keep sessions from starting during the block. Raises ConfinedError if one may be running."""
        with locks.held_alone(state_of(self.host)) as alone:
            refuse_while_running(
                lambda: [found.name for found in listing.sessions(self.host) if found.is_up],
                on_record=not alone or any(True for _ in liveness.keys_without_owner(state_of(self.host))),
                is_alive=not alone,
                hint="End all with `confined-claude stop --all`, and try again.",
            )
            yield


def _template(host: Host) -> Location:
    return Location(host.template.parent.parent, (host.template.parent.name, host.template.name))


def _profiles(host: Host) -> Location:
    return Location(host.data, (PROFILES,))


def _existing(*locations: Location) -> Iterator[Item]:
    for location in locations:
        if os.path.lexists(location.path):
            yield Item(f"{location.path}/", (location,))
