"""``doctor``: check everything that a session needs, without changing any of it.

A problem keeps sessions from starting; a warning makes them less safe, or may end them early.
"""

from __future__ import annotations

from ...host import Host


def doctor(host: Host, *, as_json: bool) -> int:
    """Print the result of every check; return 1 if one is a problem, else 0."""
    from . import examination, results

    report = examination.examine(host)
    print(results.as_json(report) if as_json else "\n".join(results.as_text(report)))
    return results.exit_code(report)
