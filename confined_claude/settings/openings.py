"""What is open beyond the defaults, said in one line by ``config`` and at the start of a session. Pure."""

from __future__ import annotations

from ..text import escape
from .specs import SPECS, Settings


def line(settings: Settings) -> str:
    """Return the line that names what is open beyond the defaults, without secrets; empty if nothing is."""
    found = []
    for name, spec in SPECS.items():
        value = getattr(settings, name)
        if spec.is_opening and not spec.is_harmless(value):
            shown = spec.masked(value)
            found.append(f"{name} = {shown if isinstance(shown, str) else ', '.join(shown)}")
    return escape(f"Open beyond the defaults: {'; '.join(found)}.") if found else ""
