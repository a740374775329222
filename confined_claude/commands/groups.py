"""How help lists the commands."""

from __future__ import annotations

# What follows the options of each, where anything does.
ARGUMENTS = {
    "run": "[ARGUMENTS of claude]",
    "shell": "[-- COMMAND]",
    "exec": "[-- COMMAND]",
    "init": "[DIRECTORY]",
    "export": "devcontainer",
}
GROUPS = {
    "Daily work": ("run", "shell", "exec", "fetch", "status", "stop"),
    "Safety": ("review", "trust", "setup", "requests", "blocked", "config"),
    "Housekeeping": tuple("init update export login doctor build rebuild clean clean-global eject".split()),
}
