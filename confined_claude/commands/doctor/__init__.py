"""``doctor``: everything that a session needs, looked at without changing any of it.

A problem is what keeps sessions from starting; a warning is what makes them less safe, or not work to the end.
"""

from __future__ import annotations

from ...host import Host


def doctor(host: Host, *, as_json: bool) -> int:
    """Print the result of every check; return 1 if one is a problem, else 0."""
    from . import examination, lines

    found = examination.examine(host)
    print(lines.as_json(found) if as_json else "\n".join(lines.as_text(found)))
    return lines.exit_code(found)
