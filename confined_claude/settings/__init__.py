"""The settings and who may set what: defaults < the user's file < the project's files < environment < flags.

A clone brings the project's files along, so they may only narrow what a session gets, unless the user trusts them.
A way into a session (a variable, a directory, a secret) is a list whose ``Spec`` has the kind WAY: every source adds
entries, and a project's need trust. See ``Spec`` for what such an entry says of itself.
"""

from .spec import PREFIX, SEPARATOR, Kind, Spec, Value
from .specs import ENGINE, SPECS, Settings

__all__ = ["ENGINE", "PREFIX", "SEPARATOR", "SPECS", "Kind", "Settings", "Spec", "Value"]
