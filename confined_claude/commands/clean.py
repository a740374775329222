"""``clean`` and ``clean-global``: what sessions have made is shown, asked about, and deleted.

Never while a session uses it. Under the lock that a start needs as well, what is to go is only moved out of the way,
which takes no time; it is deleted afterwards. What a clean that was cut off has left, the next one deletes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..console import plain
from ..engine import command as client
from ..engine import labels
from ..errors import ConfinedError, EngineError
from ..fs import disk, safefs
from ..fs.disk import Size
from ..fs.safefs import Left, Place
from ..guard import isolation, records
from ..guard.records import Records
from ..host import Host
from ..image import build as image
from ..image import inventory as kept_images
from ..image.inventory import Stored
from ..project import IGNORED, IGNORED_BEFORE, SCAFFOLD, Project
from ..session import claude_history as history
from ..session import listing as running
from ..session.claude_history import Whose
from ..state import locks as shared
from ..state import projects as known
from ..state import store as state
from ..workspace import current_project

if TYPE_CHECKING:
    from ..engine.sdk import Engine

_MADE = ("venvs", "local-bin")
_IGNORE = ".gitignore"
_CACHES = ("pip-cache", "npm-cache")
_CONFIG = "claude-config"
_PROJECTS = "projects"
_LOGS = "logs"
_LOCK = "lock"
# States of a container that uses nothing.
_AT_REST = ("created", "exited", "dead")
_NOTHING = "Nothing was deleted."


@dataclass(frozen=True)
class Item:
    """Something to delete, in words for people: what the places take, and ``bytes`` beside."""

    text: str
    places: tuple[Place, ...] = ()
    bytes: int = 0


@dataclass(frozen=True)
class Found:
    """What there is to delete: ``data`` after one question, and ``memory``, which nobody can make again, after two.

    ``title`` and ``memory_title`` say whose it is, ``losses`` are lines on what goes with the memory.
    """

    title: str
    memory_title: str
    data: tuple[Item, ...] = ()
    memory: tuple[Item, ...] = ()
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """The project to clean. ``root`` is None if nobody knows it any more, ``is_there`` whether it still is a folder."""

    id: str
    root: Path | None
    is_there: bool

    @property
    def name(self) -> str:
        return self.id if self.root is None else str(self.root)


@dataclass(frozen=True)
class Options:
    """``everything`` includes the memory; ``dry_run`` only shows; ``sure`` asks nothing."""

    everything: bool = False
    dry_run: bool = False
    sure: bool = False


def clean(host: Host, word: str | None, options: Options) -> None:
    """Clean the current project, or the known one that ``word`` names.

    Raises ConfinedError where a session uses it, where there is nobody to ask, and for what could not be deleted.
    """
    _refuse_without_answer(options)
    target = target_of(host, word)
    if not options.dry_run:
        _refuse_while_used(target, list(_keys(target, host)))
    found = look(target, host, everything=options.everything)
    if not target.is_there and not options.everything:
        print(f"{plain(target.name)} is gone. `clean --all` forgets what is kept of it.")
    _carry_out(found, options, lambda memory: delete(target, host, memory=memory))


def clean_global(host: Host, options: Options) -> None:
    """Clean what all projects share. Raises ConfinedError as ``clean`` does."""
    _refuse_without_answer(options)
    if not options.dry_run:
        with _alone(host):
            pass
    found = look_global(host, everything=options.everything)
    _carry_out(found, options, lambda memory: delete_global(host, memory=memory))


# Showing and asking


def _refuse_without_answer(options: Options) -> None:
    if not (options.dry_run or options.sure or (sys.stdin.isatty() and sys.stdout.isatty())):
        raise ConfinedError(
            f"{_NOTHING} There is no terminal to ask on.", "Say --yes to delete without being asked, or --dry-run."
        )


def _carry_out(found: Found, options: Options, delete: Callable[[bool], Left]) -> None:
    """Show what is ``found``, ask about it, and ``delete`` it, with the memory or without."""
    if not (found.data or found.memory):
        print("There is nothing to clean.")
        return
    sizes = _sizes((*found.data, *found.memory))
    data, memory = sizes[: len(found.data)], sizes[len(found.data) :]
    wanted = not options.dry_run
    if found.data:
        _show(found.title, found.data, data)
        if wanted and not (options.sure or console.confirmed("Delete this?")):
            print(_NOTHING)
            return
    forgotten = wanted and bool(found.memory)
    if found.memory:
        _show(found.memory_title, found.memory, memory, found.losses)
        if wanted and not (options.sure or console.confirmed("Forget this too? Nobody can bring it back.")):
            forgotten = False
    if not wanted:
        return
    if not (found.data or forgotten):
        print(_NOTHING)
        return
    left = delete(forgotten)
    if left.number:
        more = f", and {left.number - 1} more" if left.number > 1 else ""
        raise ConfinedError(
            f"Not all could be deleted: {plain(left.first)}{more}: {left.reason}.",
            "All else is deleted. Put that right, and clean again.",
        )
    print(f"Deleted {disk.in_words(sum([*data, *(memory if forgotten else ())], Size()))}.")
    if found.memory and not forgotten:
        print("What is remembered is kept.")


def _sizes(items: Sequence[Item]) -> list[Size]:
    found = disk.measured({number: item.places for number, item in enumerate(items)})
    return [sum(found[number], Size(item.bytes)) for number, item in enumerate(items)]


def _show(title: str, items: Sequence[Item], sizes: Sequence[Size], more: Iterable[str] = ()) -> None:
    print(plain(f"{title}:"))
    shown = [disk.in_words(size) for size in sizes]
    width = max(map(len, shown))
    for item, size in zip(items, shown, strict=True):
        print(plain(f"  {size:>{width}}  {item.text}"))
    for line in more:
        print(plain(f"  {line}"))


# One project


def target_of(host: Host, word: str | None) -> Target:
    """The current project, or the known one that ``word`` names. Raises ConfinedError."""
    if word is None:
        here = current_project(host)
        return Target(here.id, here.root, is_there=True)
    found = known.find(word, host)
    root = found.root
    if root is None or Project(root).id != found.id:
        return Target(found.id, None, is_there=False)
    # A folder by another name, now that a link stands there, is another project.
    is_there = root.is_dir() and os.path.realpath(root) == str(root)
    if is_there:
        Project(root).check_links()
    return Target(found.id, root, is_there)


def look(target: Target, host: Host, *, everything: bool) -> Found:
    """What there is of a project. Nothing is changed."""
    data: list[Item] = []
    if target.is_there and target.root is not None:
        data += _in_project(target.root)
    data += _left_over(host)
    found = Found(f"Of {target.name}", f"What is remembered of {target.name}", tuple(data))
    if not everything:
        return found
    memory = list(_remembered(target, host))
    return Found(found.title, found.memory_title, found.data, tuple(memory), tuple(_losses(target, host)))


def _in_project(root: Path) -> Iterator[Item]:
    place = Place(root, (SCAFFOLD,))
    with _opened_or_none(Place(root, (SCAFFOLD,))) as folder:
        if folder < 0:
            return
        if _is_only_ours(folder):
            yield Item(f"{SCAFFOLD}/", (place,))
            return
        for name in _MADE:
            if safefs.exists(folder, name):
                yield Item(f"{SCAFFOLD}/{name}/", (Place(root, (SCAFFOLD, name)),))
        yield from _left_in(place, folder)


def _is_only_ours(folder: int) -> bool:
    """Whether in the scaffold's open folder there is nothing but what the tool itself has made."""
    others = set(os.listdir(folder)).difference(_MADE, safefs.are_aside(folder))
    return not others or (others == {_IGNORE} and safefs.read(folder, _IGNORE) in (IGNORED, IGNORED_BEFORE))


def _left_over(host: Host) -> Iterator[Item]:
    """What a clean that was cut off has left."""
    for place in _asides(host):
        with _opened_or_none(place) as folder:
            yield from _left_in(place, folder)


def _left_in(place: Place, folder: int) -> Iterator[Item]:
    """What a clean that was cut off has left in ``place``, whose handle is ``folder``."""
    if names := safefs.are_aside(folder) if folder >= 0 else []:
        places = tuple(Place(place.base, (*place.parts, name)) for name in names)
        yield Item(f"{place.path}/.removed-*/, left by an earlier clean", places)


def _asides(host: Host) -> tuple[Place, ...]:
    """Where what is to be deleted waits for it, the projects' own folders aside."""
    return Place(host.data), Place(host.data, ("shared",)), state.place(host)


def _remembered(target: Target, host: Host) -> Iterator[Item]:
    if target.root is not None:
        try:
            kept = history.look(host.data, ("shared", _CONFIG), _whose(target.root, host))
        except OSError as error:
            raise safefs.cannot("use", host.data / "shared" / _CONFIG, error) from None
        if not kept.is_empty:
            number = f"{_counted(kept.conversations, 'conversation')}, {_counted(kept.prompts, 'prompt')}"
            yield Item(f"{number}, Claude's memory and settings of it", kept.folders, kept.bytes)
    for place, text in (
        (Place(host.data, (_PROJECTS, target.id)), "its own data"),
        (state.place(host, _PROJECTS, target.id), "records, findings and approvals"),
    ):
        if os.path.lexists(place.path):
            yield Item(f"{place.path}/, {text}", (place,))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _whose(root: Path, host: Host) -> Whose:
    found = known.projects(host)
    others = tuple(other.root for other in found if other.root is not None and other.root != root)
    return Whose(root, others, frozenset(other.id for other in found if other.root is None))


def _losses(target: Target, host: Host) -> Iterator[str]:
    """What there is in the memory that a person may want first."""
    if not records.are_there(target.id, host):
        return
    with records.locked_by_id(target.id, host) as kept:
        try:
            number = len(kept.findings())
            unseen = sum(not alive for _, alive in kept.session_keys()) + sum(1 for _ in kept.unseen())
            if number or unseen:
                more = f", {_counted(unseen, 'session')} that nobody has looked through" if unseen else ""
                yield f"With it goes what is open to review: {_counted(number, 'finding')}{more}."
            for copy in isolation.waiting(Project(target.root), host, kept) if target.root is not None else ():
                yield f"With it go commits that nobody has fetched, on {', '.join(copy.branches)}."
                if target.is_there:
                    yield f"To fetch them first: {copy.command}"
        except ConfinedError as error:
            yield f"With it goes what cannot be read: {error.message}"


def delete(target: Target, host: Host, *, memory: bool) -> Left:
    """Delete what was made for a project, with the ``memory`` or without; gives what is left.

    Raises ConfinedError where a session uses it.
    """
    left = Left()
    with _held(target, host) as kept:
        _refuse_while_used(target, list(kept.session_keys()))
        if target.is_there and target.root is not None:
            left += _set_aside(Place(target.root, (SCAFFOLD,)), _MADE)
        if memory:
            left += _forget(target, host)
    if target.is_there and target.root is not None:
        left += _delete_aside(Place(target.root, (SCAFFOLD,)))
        _remove_scaffold(target, target.root, host)
    for place in _asides(host):
        left += _delete_aside(place)
    return left


def _forget(target: Target, host: Host) -> Left:
    left = Left()
    if target.root is not None:
        config = Place(host.data, ("shared", _CONFIG))
        with _opened_or_none(Place(host.data, ("shared",))) as folder:
            if folder >= 0:
                try:
                    with safefs.aside(folder) as aside:
                        found = history.forget(config.base, config.parts, _whose(target.root, host), aside)
                except OSError as error:
                    found = Left(1, "", error.strerror or str(error))
                left += _below(config.path, found)
    left += _set_aside(Place(host.data, (_PROJECTS,)), [target.id], Place(host.data))
    if left.number:  # as long as there is a record, it is known what there is to forget
        return left
    return left + _set_aside(state.place(host, _PROJECTS), [target.id], state.place(host))


def _remove_scaffold(target: Target, root: Path, host: Host) -> None:
    """Remove the scaffold's folder, if it is the tool's own and nobody needs it by now."""
    with _held(target, host) as kept, _opened_or_none(Place(root, (SCAFFOLD,))) as folder:
        is_used = any(alive for _, alive in kept.session_keys())
        if folder < 0 or is_used or not _is_only_ours(folder) or not set(os.listdir(folder)) <= {_IGNORE}:
            return
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_IGNORE, dir_fd=folder)
            try:
                with safefs.opened(root) as above:
                    os.rmdir(SCAFFOLD, dir_fd=above)
            except OSError:  # somebody has put something there
                safefs.write(folder, _IGNORE, IGNORED, mode=0o644)


# Who uses it


def _keys(target: Target, host: Host) -> Iterator[tuple[str, bool]]:
    if records.are_there(target.id, host):
        with records.locked_by_id(target.id, host) as kept:
            yield from kept.session_keys()


@contextlib.contextmanager
def _held(target: Target, host: Host) -> Iterator[Records]:
    """The project's records, held. If there were none, there are none afterwards."""
    with records.locked_by_id(target.id, host) as kept:
        try:
            yield kept
        finally:
            with _opened_or_none(state.place(host, _PROJECTS, target.id)) as folder:
                is_new = folder >= 0 and os.listdir(folder) == [_LOCK]
            if is_new:
                _set_aside(state.place(host, _PROJECTS), [target.id], state.place(host))
                _delete_aside(state.place(host))


def _refuse_while_used(target: Target, keys: Sequence[tuple[str, bool]]) -> None:
    """Raise ConfinedError if a session may use the project; ``keys`` are those on record, and whether alive."""
    wanted = {labels.KIND: labels.SESSION, labels.PROJECT: target.id}
    try:
        found = [line.split() for line in client.containers("{{.State}} {{.Names}}", wanted)]
    except EngineError as error:
        if keys:
            raise EngineError(
                f"{_NOTHING} A session may still run in this project: {error.message}",
                "Start the engine, and clean again.",
            ) from None
        return
    names = [name for state, name in found if state not in _AT_REST]
    if names:
        raise ConfinedError(
            f"{_NOTHING} In this project there runs {', '.join(names)}.",
            f"End it with `confined-claude stop --session {names[0]}`, and clean again.",
        )
    if any(alive for _, alive in keys):
        raise ConfinedError(
            f"{_NOTHING} A session of this project is just starting, or ending.", "Wait for it, and clean again."
        )


# What all projects share


def look_global(host: Host, *, everything: bool) -> Found:
    """What there is of shared data. Nothing is changed."""
    data = [Item(f"{place.path}/", (place,)) for place in _shared_data(host) if os.path.lexists(place.path)]
    data += _left_over(host)
    engine, stored = _images(host)
    if engine is None:
        console.say("The engine does not answer, so images are left out; `confined-claude doctor` says what is wrong.")
    if stored.removable:
        names = ", ".join(name for its in stored.removable for name in its.names or (its.id[7:19],))
        data.append(Item(f"{_counted(len(stored.removable), 'image')} that nothing uses: {names}", bytes=stored.freed))
    memory: list[Item] = []
    config = Place(host.data, ("shared", _CONFIG))
    if everything and os.path.lexists(config.path):
        memory.append(Item(f"{config.path}/", (config,)))
    return Found(
        "What all projects share",
        "Claude's own config: sign-in, settings, plugins, and every project's history",
        tuple(data),
        tuple(memory),
    )


def _shared_data(host: Host) -> Iterator[Place]:
    yield from (Place(host.data, ("shared", name)) for name in _CACHES)
    yield state.place(host, _LOGS)


def delete_global(host: Host, *, memory: bool) -> Left:
    """Delete what all projects share, with the ``memory`` or without; gives what is left.

    Raises ConfinedError while a session runs.
    """
    left = Left()
    with _alone(host):
        left += _set_aside(Place(host.data, ("shared",)), (*_CACHES, *([_CONFIG] if memory else [])))
        left += _set_aside(state.place(host), [_LOGS])
    # Nothing that a session starts with is among them, so sessions may start from here on.
    engine, stored = _images(host)
    if engine is not None:
        try:
            kept_images.remove(engine, stored.removable)
        except EngineError as error:
            left += Left(1, "images", error.message)
    for place in _asides(host):
        left += _delete_aside(place)
    return left


def _images(host: Host) -> tuple[Engine | None, Stored]:
    """The images of ours; none where the engine does not answer."""
    from ..engine.sdk import Engine

    try:
        engine = Engine.connect(host.environ)
        return engine, image.stored(engine, host)
    except EngineError:
        return None, Stored()


@contextlib.contextmanager
def _alone(host: Host) -> Iterator[None]:
    """Keep sessions from starting until the end of the block. Raises ConfinedError if one may run."""
    with shared.held_alone(host) as alone:
        try:
            names = [found.name for found in running.sessions(host) if found.is_up]
        except EngineError as error:
            if not alone or any(True for _ in records.without_owner(host)):
                raise EngineError(
                    f"{_NOTHING} A session may still run: {error.message}", "Start the engine, and clean again."
                ) from None
            names = []
        if names:
            raise ConfinedError(
                f"{_NOTHING} There runs {', '.join(names)}.",
                "End all with `confined-claude stop --all`, and clean again.",
            )
        if not alone:
            raise ConfinedError(f"{_NOTHING} A session is just starting, or ending.", "Wait for it, and clean again.")
        yield


# Folders


@contextlib.contextmanager
def _opened_or_none(place: Place) -> Iterator[int]:
    """A handle of a folder; -1 if there is none. Raises ConfinedError for what cannot be used."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(safefs.opened(place.base, *place.parts))
        except FileNotFoundError:
            folder = -1
        except OSError as error:
            if place.path.is_symlink():
                raise safefs.refuse_link(place.path) from None
            raise safefs.cannot("use", place.path, error) from None
        yield folder


def _set_aside(place: Place, names: Iterable[str], into: Place | None = None) -> Left:
    """Move what has one of ``names`` in ``place`` out of the way, there or ``into`` another; gives what stays."""
    left = Left()
    with _opened_or_none(place) as folder, contextlib.ExitStack() as stack:
        if folder < 0:
            return left
        target = folder if into is None else stack.enter_context(_opened_or_none(into))
        aside = stack.enter_context(safefs.aside(target))
        for name in names:
            try:
                safefs.set_aside(folder, name, aside)
            except FileNotFoundError:
                continue
            except OSError as error:
                left += _below(place.path, safefs.stays(name, error))
    return left


def _delete_aside(place: Place) -> Left:
    left = Left()
    with _opened_or_none(place) as folder:
        for name in safefs.are_aside(folder) if folder >= 0 else ():
            left += _below(place.path, safefs.remove_aside(folder, name))
    return left


def _below(folder: Path, left: Left) -> Left:
    return Left(left.number, str(folder / left.first), left.reason) if left.number else left
