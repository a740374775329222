"""``build`` and ``rebuild``: the image of the current project's sessions, or the shared one."""

from __future__ import annotations

from .. import project
from ..engine.images import Images
from ..errors import ConfinedError
from ..host import Host
from ..image.build import RebuildOptions, ensure
from ..image.recipe import image_chain
from ..session.planning import listening_engine
from ..settings.files import parse_words
from ..settings.resolution import resolve
from ..settings.specs import LATEST
from ..state import sight
from ..state.current import current_directory
from ..state.facts import current_facts
from ..state.store import state_of
from ..workspace import Workspace


def build(host: Host) -> None:
    """Build the image if it is missing. Raises EngineError if that fails, and ConfinedError for wrong settings."""
    _build(host, RebuildOptions())


def rebuild(host: Host, *, pull: bool, claude: str | None) -> None:
    """Build the image from scratch, on a newer base if ``pull``; or only its Claude Code, in the version ``claude``.

    Raises as ``build`` does.
    """
    if claude is not None:
        parse_words({"claude_version": claude}, "the command line")
    _build(host, RebuildOptions(everything=claude is None, base=pull, claude=claude))


def _build(host: Host, rebuild: RebuildOptions) -> None:
    if project.refusal(current_directory().resolve(), host):  # the shared image can be built anywhere
        settings, dockerfile = resolve(host.user_config_file, None, host.environ, {}).settings, ""
    else:
        workspace = Workspace.current(host)
        settings, dockerfile = workspace.settings, workspace.files.dockerfile
    if rebuild.claude not in (None, settings.claude_version) and settings.claude_version != LATEST:
        raise ConfinedError(
            f"The setting claude_version is {settings.claude_version}, so sessions have that version.",
            "Change it there; see `confined-claude config` for where it is set.",
        )
    address = listening_engine(host)
    current_facts(state_of(host), address, lambda info, version: sight.check(host, address, info, version))
    ensure(Images(), image_chain(settings, host.environ, dockerfile), host, rebuild)
