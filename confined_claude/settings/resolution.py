"""The settings in force, and where each comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfinedError, ReviewNeeded
from .files import CONFIG, ProjectFiles, parse_words, read_user_file, unknown
from .spec import PREFIX, Kind, Value
from .specs import OF_FLAG, OTHER_VARIABLES, SPECS, Settings

if TYPE_CHECKING:
    from .secrets import Secret


class Resolved(NamedTuple):
    """The settings in force, and by name where each comes from, beginning with what counts least.

    A name is missing from ``sources`` if its default is in force. ``not_taken`` names the project's values that do
    not count because the user's own are narrower. ``secrets`` are those that the user has defined, by name.
    """

    settings: Settings
    sources: Mapping[str, tuple[str, ...]]
    not_taken: tuple[str, ...] = ()
    secrets: Mapping[str, Secret] = MappingProxyType({})


def resolve(
    user_file: Path | None,
    project: ProjectFiles | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    is_trusted: Callable[[ProjectFiles], bool] = lambda _files: False,
) -> Resolved:
    """Return the settings in force, and where they come from.

    ``user_file`` and ``project`` may be left out; a missing file sets nothing, nor does a flag that is None.
    ``is_trusted`` returns whether the project's files may widen what a session gets.

    Raises ConfinedError for a file that cannot be read or parsed, an unknown name or variable and an invalid value, and
    ReviewNeeded for a project that asks for more than the defaults and is not trusted.
    """
    taken = _Taken()
    secrets: Mapping[str, Secret] = {}
    if user_file is not None:
        own, secrets = read_user_file(user_file)
        taken.take(own, lambda _name: str(user_file))
    if project is not None:
        if (requests := project.requests()) and not is_trusted(project):
            raise ReviewNeeded(
                f"{project.scaffold} asks for more than a project may give itself: "
                f"{', '.join(request.what for request in requests)}.",
                "`confined-claude trust` shows what that means, and allows it if you agree.",
            )
        taken.take_projects(project)
    _refuse_unknown(environ)
    variables = {name: environ[spec.variable] for name, spec in SPECS.items() if environ.get(spec.variable)}
    taken.take(parse_words(variables, "the environment"), lambda name: SPECS[name].variable)
    given = {OF_FLAG.get(name, name): text for name, text in flags.items() if text is not None}
    taken.take(parse_words(given, "the command line"), lambda name: SPECS[name].flag)
    taken.refuse_undefined(secrets, user_file)
    return Resolved(Settings(**taken.values), taken.sources, tuple(taken.not_taken), secrets)


class _Taken:
    """What has been taken of the settings' values, on top of the defaults; the attributes are as in Resolved."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {name: spec.default for name, spec in SPECS.items()}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.not_taken: list[str] = []

    def take(self, found: Mapping[str, Value], source: Callable[[str], str]) -> None:
        """Put the user's own values in the place of those before; entries of a way into the session come on top."""
        for name, value in found.items():
            is_added = SPECS[name].kind is Kind.WAY
            self.values[name] = self.values[name] + value if is_added else value
            self.sources[name] = (*(self.sources.get(name, ()) if is_added else ()), source(name))

    def take_projects(self, project: ProjectFiles) -> None:
        """Take the values of a ``project`` that has nothing to ask for, or the user's trust."""
        source = str(project.scaffold / CONFIG)
        for name, value in project.values().items():
            spec = SPECS[name]
            if spec.kind is not Kind.CHOICE:
                self.values[name] += value
                self.sources[name] = (*self.sources.get(name, ()), source)
            # A project cannot undo what the user narrowed. What is wider than the defaults has the user's trust.
            elif not spec.is_harmless(value) or spec.is_narrower(value, self.values[name]):
                self.values[name], self.sources[name] = value, (source,)
            elif value != self.values[name]:
                self.not_taken.append(name)

    def refuse_undefined(self, secrets: Mapping[str, Secret], user_file: Path | None) -> None:
        """Raise ConfinedError for a secret that is named and not among ``secrets``, which ``user_file`` defines."""
        for name in set(self.values["secrets"]).difference(secrets):
            # A user's file with tables names what it defines alone.
            places = [source for source in self.sources["secrets"] if not (secrets and source == str(user_file))]
            raise ConfinedError(
                f"There is no secret {name}, which is named by {' and '.join(places)}.",
                f"Define it in {user_file or 'your own config file'}, in a table [secrets.{name}], or take it out.",
            )


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise ConfinedError for a variable with the prefix that no setting has: what it should narrow stays wide."""
    known = {*OTHER_VARIABLES, *(spec.variable for spec in SPECS.values())}
    for name in environ:
        if name.startswith(PREFIX) and environ[name] and name not in known:
            message = f"No setting has the variable {name}."
            raise unknown(message, name.removeprefix(PREFIX), lambda spec: spec.variable)
