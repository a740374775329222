"""What the client in a session is told by managed settings and managed memory of the session's own. Pure.

The client (2.1.332) reads the drop-ins of /etc/claude-code/managed-settings.d and the memory /etc/claude-code/CLAUDE.md
at each of its starts. Of several announcements it shows one at random, with line breaks as they are, so there is one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..text import escape

# The entrypoint makes files of these, and takes them out of the session's environment. They are no place for a secret.
SETTINGS_VARIABLE = "CONFINED_CLAUDE_MANAGED_SETTINGS"
MEMORY_VARIABLE = "CONFINED_CLAUDE_MANAGED_MEMORY"
# From the root of the container. The client reads it again as soon as it changes.
NOTICE_FILE = "etc/claude-code/managed-settings.d/confined-claude-notice.json"
# The client leaves out longer tips.
_TIP_LENGTH = 500


def notice(lines: Sequence[str]) -> str:
    """Return managed settings that have the client show ``lines`` in place of its tips while it works, the last first.

    So a person sees in a running session what is to be said of it; an announcement stands in the first screen only.
    """
    text = " ".join(escape(line) for line in reversed(lines))[:_TIP_LENGTH]
    tip = {"id": f"notice-{len(lines)}", "text": text, "priority": 100, "cooldownSessions": 0}
    override = {"excludeDefault": True, "label": "confined-claude", "tips": [tip]}
    return json.dumps({"spinnerTipsEnabled": True, "spinnerTipsOverride": override}, ensure_ascii=False)


def variables(announcements: Sequence[str], note: str) -> dict[str, str]:
    """Return the variables with a session's managed settings and managed memory; without a text, not its variable.

    The ``announcements``, a line each, are for the person: they stand in the client's first screen. The ``note``, in
    Markdown, is for the agent, in every conversation.
    """
    found = {}
    if announcements:
        text = "\n".join(f"confined-claude: {escape(line)}" for line in announcements)
        found[SETTINGS_VARIABLE] = json.dumps({"companyAnnouncements": [text]}, ensure_ascii=False)
    if note:
        found[MEMORY_VARIABLE] = note
    return found
