"""``login``: a sign-in of the container's own, or back to that of this machine."""

from __future__ import annotations

import contextlib
import getpass
import re
import sys
from collections.abc import Sequence

from .. import environment, signals
from ..claude import choosing, tokens
from ..claude.config import ClaudeConfig
from ..claude.sign_in import CREDENTIALS_KIND, OAUTH_TOKEN, TOKEN_KIND, Chosen
from ..console import say
from ..errors import ConfinedError
from ..host import Host
from ..session import CLAUDE
from ..session.start import start
from ..settings.specs import GIVEN, LENT
from ..state.current import current_project
from ..workspace import Workspace
from . import accounts
from .config import resolve_here

# What `claude setup-token` makes (2.1.332).
_TOKEN = re.compile(r"sk-ant-oat01-[A-Za-z0-9_-]{8,512}")
_TOKEN_BYTES = 1 << 12
_CHECK = ("-p", "--max-turns", "1", "Reply with these words and nothing else: the token works")


def login(host: Host, *, token: bool, from_host: bool) -> int:
    """Sign sessions in and return an exit code.

    By default with `claude auth login` in a container; with ``token`` by one of `claude setup-token`, run there, or
    from standard input; with ``from_host`` by this machine's sign-in again. Raises ConfinedError.
    """
    if token and from_host:
        raise ConfinedError("--token and --from-host cannot be combined.", "Leave out one of them.")
    if from_host:
        return _return_to_host(host)
    workspace = Workspace.current(host)
    is_lent = workspace.settings.sign_in == LENT
    workspace = workspace._replace(settings=workspace.settings._replace(sign_in=GIVEN))
    if is_lent and not token:
        raise ConfinedError(
            "A sign-in of the sessions' own cannot be lent, and the setting sign_in here is lent.",
            '`confined-claude login --token` has one that can; or use sign_in = "given".',
        )
    return _with_token(workspace) if token else _inside(workspace)


def _inside(workspace: Workspace) -> int:
    if not signals.is_interactive():
        raise ConfinedError(
            "Signing in needs a terminal.", "Without one, `confined-claude login --token` reads a token from its input."
        )
    if code := _run(workspace, ("auth", "login")):
        return code
    sign_in, end = ClaudeConfig(workspace.claude_config, workspace.host, Chosen("", {})).look()
    if sign_in.kind != CREDENTIALS_KIND or end is not None:  # a copy has an end, an own one renews itself
        say("There is no new sign-in.")
        return 1
    tokens.store_token(workspace.host, workspace.claude_config.path, "")
    print("Signed in. This sign-in belongs to the sessions: they renew it, and your machine's own never replaces it.")
    print("`confined-claude login --from-host` returns to your machine's sign-in.")
    _tell_what_comes_first(workspace, "")
    return 0


def _with_token(workspace: Workspace) -> int:
    if sys.stdin.isatty():
        say("To give up, use `confined-claude stop` in another window: `claude setup-token` takes no Ctrl-C.")
        if code := _run(workspace, ("setup-token",)):
            return code
        text = getpass.getpass("The token that it printed (it does not show as you paste it): ")
    else:
        text = sys.stdin.read(_TOKEN_BYTES)
    token = "".join(text.split())  # a terminal breaks its line
    if not _TOKEN.fullmatch(token):
        raise ConfinedError(
            "That is not a token of `claude setup-token`.", "It begins with sk-ant-oat01-; copy all of it."
        )
    bare = _bare(workspace)
    print("Claude answers with it:", flush=True)
    code = start(
        workspace,
        (CLAUDE, *_CHECK),
        needs_sign_in=True,
        sign_in=Chosen(TOKEN_KIND, {**bare, OAUTH_TOKEN: token}),
    )
    if code:
        say("The token does not work here: see above. It is not stored.")
        return code
    tokens.store_token(workspace.host, workspace.claude_config.path, token)
    print(f"The token is stored in {tokens.path(workspace.host)}, which only you can read, and signs sessions in.")
    print("`confined-claude login --from-host` deletes it.")
    _tell_what_comes_first(workspace, TOKEN_KIND)
    return 0


def _return_to_host(host: Host) -> int:
    here = None
    with contextlib.suppress(ConfinedError):
        here = current_project(host)
    found = accounts.in_force(host, here, resolve_here(host)[0].settings)
    had_token = bool(tokens.stored(found.host, found.config.path))
    if had_token:
        tokens.store_token(found.host, found.config.path, "")
        print("The token is deleted.")
    try:
        ClaudeConfig(found.config, found.host, Chosen("", {})).return_to_host()
    except ConfinedError as error:
        if not had_token:
            raise
        say(error.message)
        return 0
    print("Sessions use your machine's sign-in again.")
    return 0


def _run(workspace: Workspace, words: Sequence[str]) -> int:
    """Run Claude Code with ``words`` in a session that nothing else signs in."""
    return start(workspace, (CLAUDE, *words), needs_sign_in=False, sign_in=Chosen("", _bare(workspace)))


def _bare(workspace: Workspace) -> dict[str, str]:
    """Return the environment without sign-ins, but with where requests go: a gateway may be the only way."""
    gateway = ("ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS")
    environ = choosing.find(workspace.host, workspace.written, workspace.claude_config).environ
    return {name: value for name, value in environ.items() if not environment.is_of_sign_in(name) or name in gateway}


def _tell_what_comes_first(workspace: Workspace, wanted: str) -> None:
    chosen = choosing.find(workspace.host, workspace.written, workspace.claude_config)
    if chosen.kind != wanted:
        say(f"Sessions still sign in by {chosen.kind}, which comes first. Remove that to use the new sign-in.")
