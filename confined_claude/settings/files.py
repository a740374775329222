"""Config files as settings, and what a project's files ask for beyond the defaults."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfinedError
from ..fs.directory import read_config
from ..text import nearest
from . import dockerfile
from .spec import Kind, Spec, Value
from .specs import SPECS

if TYPE_CHECKING:
    from .secrets import Secret

CONFIG = "config.toml"


class WideningRequest(NamedTuple):
    """Something that a project asks for beyond the defaults, and its consequence."""

    what: str
    consequence: str


class ProjectFiles(NamedTuple):
    """What a project asks for: its config file and its Dockerfile, each read once.

    So what was checked, and trusted, is what is used. ``dockerfile`` is empty if it holds no instruction.
    """

    scaffold: Path
    config: str = ""
    dockerfile: str = ""

    @classmethod
    def read(cls, scaffold: Path) -> ProjectFiles:
        """Read the files of a project's scaffold; a missing one asks for nothing.

        Raises ConfinedError for a file that cannot be read and for a Dockerfile that no session can use.
        """
        file = scaffold / dockerfile.NAME
        return cls(scaffold, _read(scaffold / CONFIG), dockerfile.checked(_read(file), file))

    def values(self) -> dict[str, Value]:
        """Return what the config file sets. Raises ConfinedError for a mistake, and for what no project may have."""
        source = self.scaffold / CONFIG
        found = _toml(self.config, str(source))
        if isinstance(found.get("secrets"), dict):
            raise ConfinedError(
                f"{source}: a project cannot define a secret, only name one of yours.",
                'Define it in your own config file, and name it here: secrets = ["NAME"].',
            )
        values = _check(found, str(source))
        for name, value in values.items():
            spec = SPECS[name]
            if not spec.widens and not spec.is_harmless(value):
                raise ConfinedError(
                    f"{source}: a project cannot ask for {name} = {value!r}.",
                    f"If you want that, set it in your own config file, or with {spec.variable}={value}.",
                )
        return values

    def requests(self) -> tuple[WideningRequest, ...]:
        """Return what the files ask for beyond the defaults. Raises ConfinedError as ``values`` does."""
        values = self.values()
        found = []
        for name, spec in SPECS.items():
            if name in values and not spec.is_harmless(value := values[name]):
                text = repr(value) if isinstance(value, str) else ", ".join(map(repr, value))
                places = " and ".join(self._places(name, value))
                found.append(WideningRequest(f"{name} = {text}{places and f', which is {places}'}", spec.widens))
        if self.dockerfile:
            found.append(WideningRequest(dockerfile.NAME, dockerfile.WIDENS))
        return tuple(found)

    def places(self) -> tuple[str, ...]:
        """Return what the entries lead to that name a place on this machine, with links resolved as they are now.

        Raises ConfinedError as ``values`` does, and for a place that no project may ask for.
        """
        return tuple(place for name, value in self.values().items() for place in self._places(name, value))

    def _places(self, name: str, value: Value) -> list[str]:
        resolve = SPECS[name].resolve
        return [resolve(entry, self.scaffold.parent) for entry in value] if resolve is not None else []


def read_user_file(path: Path) -> tuple[dict[str, Value], dict[str, Secret]]:
    """Return what the user's config file sets, and the secrets that it defines; nothing if it is missing.

    Raises ConfinedError for a mistake.
    """
    values = _toml(_read(path), str(path))
    tables = values.get("secrets")
    if not isinstance(tables, dict):
        return _check(values, str(path)), {}
    from . import secrets  # few users have any

    defined = secrets.parse(tables, str(path))
    del values["secrets"]
    if always := [name for name, secret in defined.items() if secret.always]:
        values["secrets"] = always
    return _check(values, str(path)), defined


def parse_words(words: Mapping[str, str], source: str) -> dict[str, Value]:
    """Parse values from the environment or the command line, where a ``Spec`` says what separates a list's entries.

    Raises ConfinedError for an unknown name and for an invalid value.
    """
    lists = {name: spec for name, spec in SPECS.items() if spec.is_list}
    values = {name: lists[name].entries(text) if name in lists else text for name, text in words.items()}
    return _check(values, source, is_toml=False)


def unknown(message: str, name: str, shown: Callable[[Spec], str] = lambda spec: spec.name) -> ConfinedError:
    """Return the error for a ``name`` that no setting has, with the nearest one, each as it is ``shown``."""
    near = nearest(name.lower(), SPECS)
    hint = f"Did you mean {shown(SPECS[near])}?" if near else f"There are: {', '.join(map(shown, SPECS.values()))}."
    return ConfinedError(message, hint)


def _read(path: Path) -> str:
    return read_config(path) or ""


def _toml(text: str, source: str) -> dict[str, Any]:
    if not text:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        found = tomllib.loads(text)
        repr(found)  # raises for a number too long to be formatted, which no message could name
        return found
    except (ValueError, RecursionError) as error:
        raise ConfinedError(f"{source} is not valid TOML: {error}.", "Correct that line, or remove the file.") from None


def _check(values: Mapping[str, Any], source: str, *, is_toml: bool = True) -> dict[str, Value]:
    """Return ``values`` with lists as tuples and numbers as text. Errors are for a reader of TOML, or of plain words.

    Raises ConfinedError for an unknown name and for an invalid value.
    """
    checked: dict[str, Value] = {}
    for name, value in values.items():
        if name not in SPECS:
            raise unknown(f"Unknown setting in {source}: {name}.", name)
        spec = SPECS[name]
        is_list = spec.is_list
        if spec.is_joined and isinstance(value, list) and value and all(type(entry) is str for entry in value):
            value = ",".join(value)  # noqa: PLW2901
        # A limit may be a list as well, as `config` prints what the user and the project have set.
        takes_list = is_list or (spec.kind is Kind.LIMIT and value)
        entries: list[Any] = value if takes_list and isinstance(value, list) else [None if is_list else value]
        texts = [str(entry) if spec.is_number and type(entry) in (int, float) else entry for entry in entries]
        if not all(map(spec.allows, texts)):
            quotes = "" if spec.is_number or not is_toml else ", each in quotes" if is_list else ", in quotes"
            if entries is value:
                shown = [spec.shown(each) if isinstance(each, str) else _shown(each, spec) for each in entries]
                what = repr(shown) if is_toml else repr(",".join(shown))
            else:
                what = _shown(value, spec)
            without = ", without https:// and without IP addresses" if name == "allow" else ""
            if name in ("hide", "protect", "writable") and any("**" in str(text) for text in texts):
                without = ". ** is no pattern: `ops/` is that directory with all that is in it"
            raise ConfinedError(f"{source}: {name} cannot be {what}.", f"It is {spec.values}{quotes}{without}.")
        for text in filter(spec.problem, texts if is_list else ()):
            message = f"{source}: {name} cannot have {spec.shown(text)}: {spec.problem(text)}."
            raise ConfinedError(message, "Remove that entry.")
        checked[name] = texts[0] if spec.kind is Kind.CHOICE else tuple(texts)
    return checked


def _shown(value: Any, spec: Spec) -> str:
    """Return a value for a message: of one that should be a list, or a text in one, what it is, as it may be secret."""
    if not spec.is_list:
        return repr(value)
    kinds = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date or time")
