"""``setup``: which parts of the user's own Claude setup sessions have, which not and why, and the decisions on them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from ..claude import approvals
from ..claude.approvals import Item
from ..claude.carried import HostSetup
from ..claude.note import note
from ..claude.offer import Offer
from ..claude.setup import Change, Setup
from ..console import ask, confirmed, show
from ..egress import endpoints
from ..environment import HOST_GATEWAY
from ..errors import ConfinedError, EngineError, ReviewNeeded
from ..fs.usage import Size, in_words
from ..host import Host
from ..image import programs
from ..image.recipe import image_chain
from ..settings import Settings
from ..state.current import current_project
from ..state.store import state_of
from ..text import counted, diff, escape
from ..workspace import Workspace

_ALL = "all"
_MOST_LINES = 40


def setup(
    host: Host, *, allow: Sequence[str], refuse: Sequence[str], refresh: bool, shows_note: bool, sure: bool
) -> None:
    """Show what sessions here have of the user's setup of Claude, and decide on hooks and MCP servers.

    ``allow`` and ``refuse`` name some of these, or "all"; otherwise a person at a terminal is asked about those that
    wait. ``refresh`` takes the host's settings again, and what a session changed, without a question if ``sure``;
    ``shows_note`` only prints what the agent is told. Raises ConfinedError, and ReviewNeeded where nobody can be asked.
    """
    workspace = Workspace.load_leniently(host, current_project(host))
    host, root = workspace.host, workspace.project.root  # the host as its profile sees it
    if shows_note:
        has_repository = (root / ".git").exists()
        print(note(workspace.settings, root, has_repository=has_repository) or 'agent_note is "off".\n', end="")
        return
    theirs, state = HostSetup(host, root), state_of(host)
    if allow or refuse:
        named = dict.fromkeys(allow, True) | dict.fromkeys(refuse, False)
        approvals.decide(state, dict(_named(theirs.items, named)))
    followed = Setup(workspace.claude_config, host, theirs, theirs.carried(state).scripts)
    if refresh:
        _refresh(followed, sure=sure)
        return
    decided = approvals.decisions(state)
    missing = _missing(workspace, theirs.items)
    show("\n".join(lines(workspace.settings, followed, decided, missing)))
    waiting = [item for item in theirs.items if not item.problem and item.digest not in decided]
    if waiting and sys.stdin.isatty():
        _decide(host, waiting)


def lines(
    settings: Settings, followed: Setup, decided: dict[str, bool], missing: frozenset[str] | None
) -> Iterator[str]:
    """Yield what is carried over, what not and why. ``missing`` are programs that sessions lack, None if unknown."""
    offer, theirs = followed.offer(), followed.theirs
    yield escape(f'Your Claude setup in {theirs.paths.config}, in sessions here (setup = "{settings.setup}"):')
    yield f"  {_summary(offer)}"
    changes = followed.changes()
    if theirs.settings:
        differ = any(change.offered is None for change in changes)
        again = "; yours differ from what sessions have: see `confined-claude setup --refresh`" if differ else ""
        yield f"  settings.json, copied at the first start{again}"
    if theirs.items:
        yield "Hooks and MCP servers, each as you allow it:"
        for item in theirs.items:
            yield escape(f"  {_status(item, decided):8} {item.name}: {item.what}")
            if item.problem:
                yield escape(f"           {item.problem}")
            elif missing is not None and item.program in missing:
                yield escape(f"           {item.program} is not in the session: install it there, or set `packages`")
            elif needed := _unreachable(item, settings):
                yield escape(f"           {needed}")
        if missing is None:
            yield "  It is not known whether sessions have their programs: there is no image yet, or no engine."
    left_out = {
        **offer.left_out,
        **{f"settings.json, {name}": text for name, text in followed.settings.left_out.items()},
    }
    if left_out:
        yield "Not carried over:"
        yield from (escape(f"  {path}: {reason}") for path, reason in _shortened(left_out))
    if changed := [change for change in changes if change.offered is not None]:
        yield "Changed inside, so these stay as they are there (`confined-claude setup --refresh` takes yours):"
        yield from (
            escape(f"  {change.path}{' (deleted)' * (change.inside is None)}") for change in changed[:_MOST_LINES]
        )
    yield "Sign-ins to MCP servers stay on your machine: sign in to them inside, with /mcp."


def _unreachable(item: Item, settings: Settings) -> str:
    """Return why a session's network does not reach what an item talks to; empty if it may, or if it talks to none."""
    url = item.inside.get("url")
    if not isinstance(url, str) or settings.network not in ("none", "allowlist"):
        return ""
    if (urlsplit(url).hostname or HOST_GATEWAY) == HOST_GATEWAY:
        return ""
    if settings.network == "none":
        return "the session has no network to reach it"
    needed = endpoints.host_of(url)
    if not needed or endpoints.is_allowed(needed, settings.allow):
        return ""
    return f'with network = "allowlist" it needs `allow = ["{needed}"]`'


def _status(item: Item, decided: dict[str, bool]) -> str:
    if item.problem:
        return "left out"
    return {True: "allowed", False: "refused", None: "waiting"}[decided.get(item.digest)]


def _summary(offer: Offer) -> str:
    """Return how many entries of each kind there are."""
    entries = {tuple(path.split("/")[:2]) for path in offer.files}
    count = Counter(entry[0] for entry in entries)
    kinds = [f"{count[name]} in {name}/" if rest else name for name, *rest in sorted(entries)]
    files = counted(len(offer.files), "file")
    return f"{', '.join(dict.fromkeys(kinds)) or 'nothing to copy'}: {files}, {in_words(Size(offer.bytes))}"


def _shortened(found: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield from list(found.items())[:_MOST_LINES]
    if len(found) > _MOST_LINES:
        yield "…", f"{len(found) - _MOST_LINES} more"


def _missing(workspace: Workspace, items: Sequence[Item]) -> frozenset[str] | None:
    """Return which programs of ``items`` a session lacks; None if that cannot be found out without a build."""
    wanted = sorted({item.program for item in items if item.program and not item.problem})
    if not wanted:
        return frozenset()
    chain = image_chain(workspace.settings, workspace.host.environ, workspace.files.dockerfile)
    try:
        return programs.missing(chain.name, wanted, workspace.scaffold.at("local-bin").path)
    except EngineError:
        return None


def _named(items: Sequence[Item], named: dict[str, bool]) -> Iterator[tuple[str, bool]]:
    """Yield the hash of each item named, and whether it is allowed. Raises ConfinedError for a name of nothing."""
    for name, is_allowed in named.items():
        found = [item for item in items if name in (item.name, _ALL)]
        if not found:
            raise ConfinedError(
                f"There is no hook or MCP server {name}.", "See their names with `confined-claude setup`."
            )
        if blocked := next((item for item in found if item.problem and is_allowed and name != _ALL), None):
            raise ConfinedError(
                f"{name} cannot be in a session: {blocked.problem}.", "Change it on your machine first."
            )
        yield from ((item.digest, is_allowed) for item in found if not item.problem)


def _decide(host: Host, waiting: Sequence[Item]) -> None:
    """Ask the person at the terminal about each of ``waiting``, and record the answers."""
    print("What you allow is in every session from the next start on, with the secrets that it names.")
    for item in waiting:
        answer = ask(escape(f"{item.name}: {item.what}\n  Allow it? [y]es, [n]o, [l]ater: "), "ynl")
        if answer != "l":
            approvals.decide(state_of(host), {item.digest: answer == "y"})


def _refresh(followed: Setup, *, sure: bool) -> None:
    """Show what differs from the host, and take the host's side if the user agrees. Raises ReviewNeeded."""
    changes = followed.changes()
    if not changes:
        print("Sessions have your settings as they are, and what you keep beside them.")
        return
    show("\n".join(line for change in changes for line in _difference(change)))
    if not sure and not sys.stdin.isatty():
        raise ReviewNeeded("Nothing is taken: there is no terminal to ask on.", "Use --refresh --yes.")
    if sure or confirmed("Take all of it from your machine?"):
        kept = followed.take(changes)
        print(f"Taken.{f' What was there before is in {kept} of the config.' if kept else ''}")


def _difference(change: Change) -> Iterator[str]:
    yield escape(f"{change.path}{' (deleted inside)' * (change.inside is None)}")
    before = (change.inside or b"").decode("utf-8", "replace").splitlines()
    yield from (f"  {escape(line)}" for line in diff(before, change.host.decode("utf-8", "replace").splitlines()))
