"""The settings, and who may set what.

Defaults < the user's config file < the project's config file < environment < flags. A clone brings
the project's files along, so they may only narrow what a session gets, unless the user trusts them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import dockerfile
from .errors import ConfinedError, ReviewNeeded
from .fs import safefs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "CONFINED_CLAUDE_"
_CONFIG = "config.toml"

# A path from the project's root, `*` for any part of a name. What guards the rest cannot be named.
_PATTERN = r"(?!\.confined-claude(/|$)|\.git(/|$)|\*+(/|$))(?!(.*/)?\.\.?(/|$))[^/\s,]([^,\n]*[^,\s])?"
_PORT = r"(?!0)[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# The last part of a name is never a number: no address in any notation passes for one.
_HOST = rf"(\*\.)?({_LABEL}\.)*(?![0-9]+(:|$)|0[xX])({_LABEL})(:({_PORT}))?"
# Debian's policy, section 5.6.7; but to apt-get a hyphen at the end means to remove the package.
_PACKAGE = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]"

ONE, MANY, LEAST = "one", "many", "least"


def _setting(
    default: Any,
    allowed: str,
    pattern: str,
    *,
    narrow: tuple[str, ...] | None = (),
    wide: tuple[str, ...] = (),
    widens: str = "",
    kind: str = ONE,
    never: tuple[str, ...] = (),
    numbers: bool = False,
) -> Any:
    """A setting: its default, its values in words and as a pattern, and what a project may do with it.

    ``narrow`` are the values that a project may ask for, from the narrowest on; None is any. What
    else it asks for ``widens`` its confinement, with that consequence, but for what it ``never``
    gets. ``wide`` are values that everything narrow is surely narrower than. A setting of ``kind``
    MANY is a list; one of LEAST is a limit, and the lowest of all that are set counts. Where its
    values are ``numbers``, they need no quotes in a file.
    """
    meaning = {
        "allowed": allowed,
        "pattern": pattern,
        "narrow": narrow,
        "wide": wide,
        "widens": widens,
        "kind": kind,
        "never": never,
        "numbers": numbers,
    }
    return field(default=default, metadata=meaning)


@dataclass(frozen=True)
class Settings:
    """One session's settings. README.md has the table for users."""

    claude_config: str = _setting("shared", "shared or project", "shared|project", narrow=("project",))
    caches: str = _setting("shared", "shared or project", "shared|project", narrow=("project",))
    claude_version: str = _setting(
        "latest",
        "latest, or a version like 2.1.330",
        r"[0-9A-Za-z][0-9A-Za-z.-]*",
        widens="an image with that version of Claude Code is built and used, with whatever holes it may have",
    )
    packages: tuple[str, ...] = _setting(
        (),
        "a list of Debian packages",
        _PACKAGE,
        kind=MANY,
        widens="the image of its sessions has these Debian packages; they are installed as root while it is built",
    )
    sudo: str = _setting(
        "apt",
        "apt, full or off",
        "apt|full|off",
        narrow=("off",),
        never=("full",),
    )
    plugin_scripts: str = _setting(
        "off",
        "off or on",
        "off|on",
        narrow=("off",),
        never=("on",),
    )
    network: str = _setting(
        "internet",
        "internet, allowlist, none, open, or docker:NAME",
        r"internet|allowlist|none|open|docker:[0-9A-Za-z][0-9A-Za-z_.-]*",
        narrow=("none", "allowlist"),
        wide=("open",),
        widens="sessions reach your local network and this machine's services, or whatever is in that Docker network",
    )
    allow: tuple[str, ...] = _setting(
        (),
        "a list of host, *.domain or host:port",
        _HOST,
        kind=MANY,
        widens="sessions reach these hosts when the network is an allowlist, and can send them what they know",
    )
    host_ports: tuple[str, ...] = _setting(
        (),
        "a list of ports of this machine",
        _PORT,
        kind=MANY,
        numbers=True,
        widens="sessions reach the services that listen at these ports of this machine",
    )
    ports: tuple[str, ...] = _setting(
        (),
        "a list of ports of the session",
        _PORT,
        kind=MANY,
        numbers=True,
        widens="what a session serves at these ports is on this machine's loopback, for its browsers and users",
    )
    pids: tuple[str, ...] = _setting(
        ("4096",), "a number of processes and threads", r"[1-9][0-9]{0,6}", narrow=None, kind=LEAST, numbers=True
    )
    memory: tuple[str, ...] = _setting(
        ("75%",),
        "an amount like 8g or 512m, or a share like 50%",
        r"[1-9][0-9]{0,6}[mgMG]|([1-9][0-9]?|100)%",
        narrow=None,
        kind=LEAST,
    )
    cpus: tuple[str, ...] = _setting(
        ("100%",),
        "a number like 2 or 1.5, or a share like 50%",
        r"(?![0.]+$)[0-9]{1,4}(\.[0-9]{1,2})?|([1-9][0-9]?|100)%",
        narrow=None,
        kind=LEAST,
        numbers=True,
    )
    git: str = _setting(
        "guarded",
        "guarded, isolated or open",
        "guarded|isolated|open",
        narrow=("isolated",),
        widens="sessions may change git's settings and hooks, which your machine runs; you are told only afterwards",
    )
    protect: tuple[str, ...] = _setting(
        (), "a list of paths in the project, * in a name", _PATTERN, narrow=None, kind=MANY
    )
    writable: tuple[str, ...] = _setting(
        (),
        "a list of paths in the project, * in a name",
        _PATTERN,
        kind=MANY,
        widens="sessions may change these files, which your machine runs; you are told only afterwards",
    )


@dataclass(frozen=True)
class ProjectFiles:
    """What a project asks for: its config file and its Dockerfile, each read once.

    What was checked, and trusted, is what is used. ``dockerfile`` is empty where it does nothing.
    """

    folder: Path
    config: str = ""
    dockerfile: str = ""

    @classmethod
    def read(cls, folder: Path) -> ProjectFiles:
        """The files in a project's scaffold; a missing one asks for nothing.

        Raises ConfinedError for one that cannot be read and for a Dockerfile that is none for a session.
        """
        file = folder / dockerfile.NAME
        return cls(folder, _read(folder / _CONFIG), dockerfile.checked(_read(file), file))

    def values(self) -> dict[str, Any]:
        """What the config file sets. Raises ConfinedError where that is none of the settings, or never a project's."""
        source = self.folder / _CONFIG
        values = _values(self.config, str(source))
        for item in fields(Settings):
            if (value := values.get(item.name)) in item.metadata["never"]:
                raise ConfinedError(
                    f"{source}: a project cannot ask for {item.name} = {value!r}.",
                    f"If you want that, set it in your own config file, or with {PREFIX}{item.name.upper()}={value}.",
                )
        return values


@dataclass(frozen=True)
class Wish:
    """What a project asks for beyond the defaults, and what follows from it."""

    what: str
    consequence: str


@dataclass(frozen=True)
class Resolved:
    """The settings in force, and by name where each comes from, beginning with what counts least.

    A name is missing from ``sources`` where its default is in force; ``not_taken`` are those of the project's wishes
    that the user's own settings are narrower than.
    """

    settings: Settings
    sources: Mapping[str, tuple[str, ...]]
    not_taken: tuple[str, ...] = ()


def load(
    user_file: Path,
    project: ProjectFiles | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    is_trusted: Callable[[ProjectFiles], bool] = lambda _files: False,
) -> Settings:
    """The settings in force, see ``resolve``."""
    return resolve(user_file, project, environ, flags, is_trusted).settings


def resolve(
    user_file: Path | None,
    project: ProjectFiles | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    is_trusted: Callable[[ProjectFiles], bool] = lambda _files: False,
) -> Resolved:
    """The settings in force, and where they come from. A flag that is None was not given; a missing file sets nothing.

    ``project`` is None outside any project, and ``user_file`` to leave that out; ``is_trusted`` says whether the
    project's files may widen.

    Raises ConfinedError for a file that cannot be read or parsed, an unknown name, a value that
    is none, and ReviewNeeded for a project that asks for more than the defaults and is not trusted.
    """
    settings = Settings()
    sources: dict[str, tuple[str, ...]] = {}
    not_taken: tuple[str, ...] = ()

    def put(values: Mapping[str, Any], source: Callable[[str], str], *, adds: bool = False) -> None:
        nonlocal settings
        settings = replace(settings, **values)
        for name in values:
            before = sources.get(name, ()) if adds and _field(name).metadata["kind"] != ONE else ()
            sources[name] = (*before, source(name))

    if user_file is not None:
        put(_values(_read(user_file), str(user_file)), lambda _name: str(user_file))
    if project is not None:
        if (asked := wishes(project)) and not is_trusted(project):
            raise ReviewNeeded(
                f"{project.folder} asks for more than a project may give itself: "
                f"{', '.join(wish.what for wish in asked)}.",
                "If you want that, see what it means with `confined-claude trust`, and allow it there.",
            )
        values = project.values()
        taken = _taken(settings, values)
        not_taken = tuple(name for name in values if name not in taken and values[name] != getattr(settings, name))
        put(taken, lambda _name: str(project.folder / _CONFIG), adds=True)
    variables = {item.name: PREFIX + item.name.upper() for item in fields(Settings)}
    given = {name: _listed(name, environ[var]) for name, var in variables.items() if environ.get(var)}
    put(_checked(given, "the environment"), lambda name: variables[name])
    said = {name: _listed(name, value) for name, value in flags.items() if value is not None}
    put(_checked(said, "the command line"), lambda name: f"--{name.replace('_', '-')}")
    return Resolved(settings, sources, not_taken)


def check(name: str, value: str) -> None:
    """Raise ConfinedError if a setting of that name cannot have that value."""
    _checked({name: value}, "the command line")


def wishes(project: ProjectFiles) -> tuple[Wish, ...]:
    """What a project's files ask for beyond the defaults. Raises ConfinedError as ``values`` does."""
    asked = project.values()
    found = []
    for item in fields(Settings):
        value = asked.get(item.name, item.default)
        narrow = item.metadata["narrow"]
        if value != item.default and narrow is not None and value not in narrow:
            shown = ", ".join(map(repr, value)) if item.metadata["kind"] == MANY else repr(value)
            found.append(Wish(f"{item.name} = {shown}", item.metadata["widens"]))
    if project.dockerfile:
        found.append(Wish(dockerfile.NAME, dockerfile.WIDENS))
    return tuple(found)


def _listed(name: str, value: str) -> str | list[str]:
    """A value from the environment or the command line, where commas stand between a list's entries."""
    is_list = any(item.name == name and item.metadata["kind"] == MANY for item in fields(Settings))
    return value.split(",") if is_list else value


def _read(path: Path) -> str:
    return safefs.read_config(path) or ""


def _values(text: str, source: str) -> dict[str, Any]:
    try:
        return _checked(tomllib.loads(text), source)
    except (ValueError, RecursionError) as error:  # also of a number that is too long to be told
        raise ConfinedError(f"{source} is not valid TOML: {error}.", "Correct that line, or remove the file.") from None


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """``values`` with lists as tuples and numbers as text.

    Raises ConfinedError for an unknown name and for a value that is none.
    """
    known = {item.name: item.metadata for item in fields(Settings)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfinedError(f"Unknown setting in {source}: {name}.", f"The settings are: {', '.join(known)}.")
        meaning = known[name]
        many, numbers = meaning["kind"] == MANY, meaning["numbers"]
        entries = value if many and isinstance(value, list) else [None if many else value]
        texts = [str(entry) if numbers and type(entry) in (int, float) else entry for entry in entries]
        if not all(isinstance(text, str) and re.fullmatch(meaning["pattern"], text) for text in texts):
            quotes = "" if numbers else ", each in quotes" if many else ", in quotes"
            raise ConfinedError(f"{source}: {name} cannot be {value!r}.", f"It is {meaning['allowed']}{quotes}.")
        checked[name] = texts[0] if meaning["kind"] == ONE else tuple(texts)
    return checked


def _field(name: str) -> Field[Any]:
    return next(item for item in fields(Settings) if item.name == name)


def _taken(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a project's ``values`` is taken over ``settings``.

    A project cannot undo what the user narrowed: its wish for a default is not taken, nor one for
    what may be wider than what is in force; what it lists comes in addition, and so do its limits.
    """
    taken = dict(values)
    for name, wish in values.items():
        item, current = _field(name), getattr(settings, name)
        if item.metadata["kind"] != ONE:
            taken[name] = (*current, *wish)
        elif not _is_narrower(item, wish, current) if wish in item.metadata["narrow"] else wish == item.default:
            del taken[name]
    return taken


def _is_narrower(item: Field[Any], wish: str, current: str) -> bool:
    """Whether ``wish``, one of the values that narrow, is surely no wider than ``current``.

    With a value that has no place in the order (a network of the user's own) only the narrowest is sure.
    """
    narrow = item.metadata["narrow"]
    order = (*narrow, item.default, *item.metadata["wide"])
    return wish == narrow[0] or (current in order and order.index(wish) <= order.index(current))
