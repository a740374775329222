"""What a session's container may do, and its root: as arguments of ``docker create``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..settings import ENGINE, Settings
from ..state.facts import EngineFacts

# CHOWN, SETUID and SETGID let the entrypoint prepare HOME and drop to the caller; with the other two the package
# helper installs packages, and a host root's session works in directories of other users. No other uid has any.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
# What the real sudo takes beyond them.
SUDO_CAPABILITIES = ("AUDIT_WRITE",)


def arguments(settings: Settings, engine: EngineFacts) -> Iterator[str]:
    """Yield what the container and its root may do; nobody else in it gets anything."""
    yield from ("--cap-drop", "ALL")
    yield from _added(CAPABILITIES)
    if settings.runtime != ENGINE:
        yield from ("--runtime", settings.runtime)
    if settings.gpus == "all":
        # Podman's API does nothing with Docker's word for them.
        yield from ("--device", "nvidia.com/gpu=all") if engine.podman else ("--gpus", "all")
    if settings.sudo == "full":
        yield from _added(SUDO_CAPABILITIES)
    else:
        yield from ("--security-opt", "no-new-privileges")
    yield from engine.isolation


def _added(capabilities: tuple[str, ...]) -> Iterator[str]:
    for capability in capabilities:
        yield from ("--cap-add", capability)
