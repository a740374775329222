"""The repositories and scaffolds in a project that its sessions have made, each of which would end the project there.

A session could otherwise choose in which project, and so with which settings and whose findings, the next one starts.
One counts once its user has accepted it in a review of the project around it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..fs.directory import Directory
from ..fs.spelling import as_listed
from ..host import Host
from ..project import Project
from ..text import folded
from .projects import moved_from
from .store import read_json, records_of, state_of, write_json

FILE = "boundaries.json"
BASELINE = ".before"  # the suffix of what there was before a session, which is on record until it is looked through


class Boundaries(NamedTuple):
    """Paths below a project's root, such as ``sub/.git``.

    ``before`` has those that there were before the sessions on record; None if an earlier version started them.
    ``made`` are those that sessions have made and nobody has accepted.
    """

    before: frozenset[str] | None = None
    made: frozenset[str] = frozenset()

    def at_a_start(self, there: Iterable[str]) -> Boundaries:
        """Return what is known once a session starts where these are ``there``, and none is on record."""
        return self._replace(before=frozenset(there) - self.made)

    def after(self, before: Iterable[str], found: Iterable[str], root: Path) -> Boundaries:
        """Return what is known once a session is over, with what it has left in the project at ``root``.

        ``before`` counts where none is recorded.
        """
        made = self.made | (frozenset(found) - (frozenset(before) if self.before is None else self.before))
        return self._replace(made=frozenset(name for name in made if os.path.lexists(root / name)))

    def accept(self, names: Iterable[str]) -> Boundaries:
        """Return what is known once the user has accepted ``names``, also while sessions run."""
        accepted = frozenset(names)
        return Boundaries(None if self.before is None else self.before | accepted, self.made - accepted)


def read(records: Directory) -> Boundaries:
    """Return what a project's ``records`` have. Raises ConfinedError if they are damaged."""
    return read_json(records, FILE, _decode) or Boundaries()


def save(records: Directory, boundaries: Boundaries) -> None:
    """Put ``boundaries`` into a project's ``records``. Raises ConfinedError."""
    if boundaries != read(records):
        before = None if boundaries.before is None else sorted(boundaries.before)
        value = {"before": before, "made": sorted(boundaries.made)}
        write_json(records, FILE, value if boundaries != Boundaries() else {})


def is_a_sessions(host: Host, mark: Path) -> bool:
    """Return whether a session has made ``mark``, as far as is known, and nobody has accepted that.

    It is the absolute path of a repository or a scaffold. What is new while sessions of a project around it are not
    over, or not looked through yet, counts as theirs. Raises ConfinedError for damaged records.
    """
    for root in mark.parents:
        project = Project(root)
        location = records_of(host, project.id)
        if os.path.lexists(project.scaffold) and (old := moved_from(state_of(host), project)) is not None:
            location = records_of(host, Project(old).id)  # until the first start there
        try:
            with location.open() as records:
                # First: a session that ends meanwhile has put down what it made.
                is_open = root != mark.parent and any(name.endswith(BASELINE) for name in records.names())
                known = read(records)
        except OSError:
            continue
        name = str(mark.relative_to(root))
        if _is_among(known.made, name, root) or (is_open and not _is_among(known.before or (), name, root)):
            return True
    return False


def _is_among(names: Collection[str], name: str, root: Path) -> bool:
    """Return whether ``name`` is one of ``names`` below ``root``, or another spelling that finds the same."""
    others = (one for one in names if folded(one) == folded(name))
    return name in names or any(as_listed(root / one) == as_listed(root / name) for one in others)


def _decode(value: Any) -> Boundaries:
    before = value["before"]
    return Boundaries(None if before is None else frozenset(map(str, before)), frozenset(map(str, value["made"])))
