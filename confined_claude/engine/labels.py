"""The labels by which the tool's containers and images are found in an engine; names are for people."""

from __future__ import annotations

# What it is: SESSION, SIDECAR or IMAGE; CHECK for what is there for a moment, see sight.py.
KIND = "confined-claude"
SESSION, SIDECAR, IMAGE, CHECK = "session", "sidecar", "image", "check"

PROJECT = f"{KIND}.project"
PATH = f"{KIND}.path"
# Whose a session's processes are in its container: uid:gid.
USER = f"{KIND}.user"
# The session's own, under which the guard keeps its record.
KEY = f"{KIND}.key"
# The container's name.
NAME = f"{KIND}.session"
# Its setting of this name, where its ports are published (HOST:SESSION,…), and its profile's name.
NETWORK, PORTS = f"{KIND}.network", f"{KIND}.ports"
PROFILE = f"{KIND}.profile"
# Its setting of this name: whether it is lent or given what signs it in.
SIGN_IN = f"{KIND}.sign-in"
# Set if it has variables, in a file of its own: see container/init/variables.c.
VARIABLES = f"{KIND}.variables"
# Set if its image has container/init/enter.c, as those of 0.1 do not.
ENTER = f"{KIND}.enter"
# See ``Host.owner``.
OWNER = f"{KIND}.owner"
