"""What something runs of the files of a push, by the rules for paths. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..text import folded
from .push_request import Finding
from .rule_table import RULES, Rule
from .rules import Matcher, rules_for

_CI = ".github/workflows/"  # of the rule for what a forge runs by itself


class PushRules:
    """The rules of a project that protects the paths ``protect``.

    A forge looks at the place of a file alone. So its rule counts beside the one that comes first in a review.
    """

    def __init__(self, protect: Iterable[str]) -> None:
        self._of_forge = Matcher(tuple(rule for rule in RULES if _CI in rule.patterns))
        self._all = Matcher(rules_for(protect, ()))

    def findings(self, paths: Iterable[str], note: str = "") -> Iterator[Finding]:
        """Yield what is found of ``paths`` from the project's root; ``note`` says more of all of them."""
        for path in filter(None, paths):
            for_forge, usual = _rule(self._of_forge, path), _rule(self._all, path)
            rule = usual if for_forge is None or (usual is not None and usual.red) else for_forge
            if rule is not None:
                runs = f"{rule.runs}, {note}" if note else rule.runs
                yield Finding(path, runs, rule.red, rule.red or for_forge is not None)


def _rule(matcher: Matcher, path: str) -> Rule | None:
    """Return the rule of a path, which may be that of a link or a submodule in the place of a directory."""
    *parents, name = map(folded, path.split("/"))
    return matcher.rule_of((*parents, name)) or matcher.find_link(name, parents)
