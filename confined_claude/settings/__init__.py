"""The settings and who may set what: defaults < the user's file < the project's files < environment < flags.

A clone brings the project's files along, so they may only narrow what a session gets, unless the user trusts them.
"""

from .specs import PREFIX, SPECS, Kind, Settings, Spec, Value

__all__ = ["PREFIX", "SPECS", "Kind", "Settings", "Spec", "Value"]
