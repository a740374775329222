"""What describes one setting: its values, who may ask for them, and how each is parsed and shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

PREFIX = "CONFINED_CLAUDE_"
SEPARATOR = "\0"  # of the values of a flag that is given more than once: none of them can have it

Value = str | tuple[str, ...]
OF_FIELDS: list[Spec] = []  # those of the fields of Settings, in their order


class Kind(Enum):
    """How many values a setting holds, and what a project's value does to the user's."""

    CHOICE = "one value: a project may replace it with a narrower one"
    LIST = "a list: a project's entries are added"
    WAY = "a way into the session: the entries of every source are added"
    LIMIT = "a limit: a project's is added, and the lowest counts"


class Spec(NamedTuple):
    """Everything about one setting.

    ``values`` describes what it may be: one of ``scale``, which begins with the narrowest, or what matches
    ``pattern``. In a file one that ``is_joined`` may be a list of what has commas between it, and ``is_number`` allows
    numbers without quotes. One with ``help``, which explains it, is also a flag of ``run`` and ``shell``, with its own
    name or ``flag_name``; ``meanings`` explains each value where that is not obvious.

    A project may ask for what is narrower than the default; if ``is_free``, for anything. Anything else needs the
    user's trust and has the consequence ``widens``; without a consequence no project can have it. What is open beyond
    the defaults is said at the start, if it ``is_opening``.

    Of a list, ``split`` makes entries of the words of a flag or a variable, ``problem`` says what is wrong with an
    entry whoever asks for it (nothing if it is empty), and ``shown`` returns it without what may be a secret. An entry
    that leads somewhere on this machine has ``resolve``: it returns that place, for an entry and the project's root,
    with all links resolved. Trust shows it and is bound to it, so an entry that leads elsewhere later asks again. It
    raises ConfinedError for what no project may ask for.
    """

    default: Value
    values: str
    pattern: str = ""
    kind: Kind = Kind.CHOICE
    scale: tuple[str, ...] = ()
    is_joined: bool = False
    is_number: bool = False
    is_free: bool = False
    widens: str = ""
    is_opening: bool = False
    split: Callable[[str], list[str]] = lambda text: text.split(",")
    problem: Callable[[str], str] = lambda _entry: ""
    shown: Callable[[str], str] = lambda entry: entry
    resolve: Callable[[str, Path], str] | None = None
    flag_name: str = ""
    help: str = ""
    meanings: Mapping[str, str] = MappingProxyType({})
    name: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper()

    @property
    def has_flag(self) -> bool:
        return bool(self.help)

    @property
    def is_list(self) -> bool:
        return self.kind in (Kind.LIST, Kind.WAY)

    @property
    def parameter(self) -> str:
        """The name of the flag among those of a command."""
        return self.flag_name or self.name

    @property
    def flag(self) -> str:
        return f"--{self.parameter.replace('_', '-')}"

    @property
    def explanation(self) -> str:
        """What it is, with each value explained."""
        values = (f"{value}{' (default)' * (value == self.default)}: {text}" for value, text in self.meanings.items())
        return "; ".join((self.help, *values))

    @property
    def narrow(self) -> tuple[str, ...]:
        """What a project may ask for without trust, from the narrowest on."""
        return self.scale[: max(1, self.scale.index(self.default))] if self.default in self.scale else ()

    def field(self) -> Any:
        """Return the default of the field of ``Settings`` that this describes, and remember it as that field's."""
        OF_FIELDS.append(self)
        return self.default

    def entries(self, text: str) -> list[str]:
        """Return the entries of a list in the words of a flag or a variable."""
        return [entry for part in text.split(SEPARATOR) for entry in self.split(part)]

    def masked(self, value: Value) -> Value:
        """Return ``value`` without what may be a secret."""
        return value if isinstance(value, str) else tuple(map(self.shown, value))

    def allows(self, text: object) -> bool:
        """Return whether ``text`` is a valid value, or a valid entry of a list."""
        pattern = "|".join(filter(None, (*self.scale, self.pattern)))
        return isinstance(text, str) and re.fullmatch(pattern, text) is not None

    def is_harmless(self, value: Value) -> bool:
        """Return whether a project may ask for ``value`` without trust."""
        return self.is_free or value == self.default or value in self.narrow

    def is_narrower(self, value: Value, current: Value) -> bool:
        """Return whether ``value``, which a project may ask for, is certainly no wider than ``current``.

        Compared to a value outside the scale (the user's own Docker network) only the narrowest is certain.
        """
        is_narrowest = value in self.scale[:1]
        return is_narrowest or (value != self.default and current in self.scale[self.scale.index(value) :])
