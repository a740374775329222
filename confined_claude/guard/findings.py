"""What changed in a project between two scans, and matters because the host could run it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from .snapshot import CUT_SHORT, Item, Kind, Snapshot, key_of

if TYPE_CHECKING:
    from .verdicts import Context, Verdict

# Later findings come without contents, each of which may be 64 KiB.
_MAX_CONTENT_BYTES = 8 << 20
# A yellow finding is older once this many sessions have ended after the one that left it.
OLDER_AFTER = 3


class Finding(NamedTuple):
    """A change that the host could run, or that could lead it astray.

    A ``red`` one acts by itself or at a routine command; ``runs`` is what would act, ``why`` what there is. ``before``
    and ``after`` are contents if they are not too large, with the digests of the whole (empty: there is nothing).
    ``session`` and ``since`` (epoch seconds) say which session left it, ``ended`` how many have ended after that one.
    """

    path: str
    kind: Kind
    red: bool
    runs: str
    why: str
    before: bytes | None
    after: bytes | None
    digest_before: str
    digest_after: str
    session: str = ""
    since: float = 0.0
    ended: int = 0

    @property
    def is_older(self) -> bool:
        """Whether it is only counted, unless someone asks for all: it is yellow, and nobody has acted on it."""
        return not self.red and self.ended >= OLDER_AFTER

    @property
    def key(self) -> str:
        """Its key in a snapshot."""
        return key_of(self.path, self.kind)


def audit(
    before: Snapshot,
    after: Snapshot,
    context: Context,
    *,
    unchanged: Iterable[str] = (),
    is_directory: Callable[[str], bool] = bool,
    session: str = "",
    since: float = 0.0,
) -> list[Finding]:
    """Return what is new, changed or removed in ``after`` and matters, red first, by path, with all contents.

    ``is_directory`` tells whether a path of the project is one after the session. ``unchanged`` are paths whose content
    no session can have changed, except where other files share it and in what is writable. ``session`` and ``since``
    are those of the findings.
    """
    from .verdicts import is_limit, judge, submodules  # not before the end of a session

    context = context._replace(scanned=frozenset(after.git_directories), reached=after.reached)
    context = context._replace(submodules=submodules(after, context))
    protected = tuple(f"{path}/" for path in unchanged)
    writable = tuple(f"{path}/" for path in context.writable)
    found = []
    for key, item in after.items.items():
        path = key.partition("\0")[0]
        old = before.items.get(key)
        if old is not None and (old.kind, old.digest) == (item.kind, item.digest) and not is_limit(item):
            continue
        is_protected = f"{path}/".startswith(protected) and not f"{path}/".startswith(writable)
        if is_protected and not (old is not None and old.shared):
            continue
        if verdict := judge(path, old, item, context):
            found.append(
                Finding(
                    path,
                    item.kind,
                    *verdict,
                    _content_before(before, path, old, item),
                    item.content,
                    "" if old is None else old.digest,
                    item.digest,
                    session,
                    since,
                )
            )
    found = _without_covered(found)
    for path, old, verdict in _removed(before, after, context, is_directory):
        found.append(Finding(path, old.kind, *verdict, old.content, b"", old.digest, "", session, since))
    return sorted(found, key=order)


def _content_before(before: Snapshot, path: str, old: Item | None, item: Item) -> bytes | None:
    """Return what was at a path, also of a file that is reached only now."""
    if old is None and item.kind == Kind.REACHED:
        old = before.items.get(path)
        return old.content if old is not None and old.kind == Kind.FILE else None
    return old.content if old is not None and old.kind == item.kind else None


def _removed(
    before: Snapshot, after: Snapshot, context: Context, is_directory: Callable[[str], bool]
) -> Iterator[tuple[str, Item, Verdict]]:
    """Yield what protected a directory that is still there, and is gone itself."""
    from .verdicts import judge_removed

    unseen = tuple(f"{key.partition(chr(0))[0]}/" for key, item in after.items.items() if item.kind == Kind.UNSEEN)
    if any(item.content in CUT_SHORT for item in after.items.values() if item.kind == Kind.UNSEEN):
        return  # it may be there all the same
    for key, old in before.items.items():
        if key in after.items or key.startswith(unseen):
            continue
        verdict = judge_removed(key, old, context)
        if verdict is not None and is_directory("/".join(context.matcher.place_of(key.split("/")))):
            yield key, old, verdict


def without_later_contents(findings: list[Finding]) -> list[Finding]:
    """Return the findings, the later ones without contents."""
    found, left = [], _MAX_CONTENT_BYTES
    for finding in findings:
        left -= len(finding.before or b"") + len(finding.after or b"")
        found.append(finding if left >= 0 else finding._replace(before=None, after=None))
    return found


def _without_covered(findings: list[Finding]) -> list[Finding]:
    """Return the findings without yellow ones that others cover.

    These are links in what is reported as a whole, as a virtual environment has several, and files that are reached.
    """
    whole = tuple(f"{finding.path}/" for finding in findings if finding.kind == Kind.PACKAGES)
    reached = {finding.path for finding in findings if finding.kind == Kind.REACHED}
    return [
        finding
        for finding in findings
        if finding.red
        or not (
            (finding.kind == Kind.LINK and finding.path.startswith(whole))
            or (finding.kind == Kind.FILE and finding.path in reached)
        )
    ]


def order(finding: Finding) -> tuple[bool, str]:
    """Return the sort key of findings: red first, then by path."""
    return not finding.red, finding.path
