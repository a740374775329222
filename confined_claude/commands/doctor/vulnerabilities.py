"""Versions of the engine's parts with published ways out of a container, or around who may use the engine.

Sources, with the first versions that are mended:

- runc, CVE-2024-21626: https://github.com/opencontainers/runc/security/advisories/GHSA-xr7r-f8xq-vfvv
- runc, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: https://github.com/opencontainers/runc/releases/tag/v1.3.3
  and https://github.com/opencontainers/runc/releases/tag/v1.2.8
- containerd, CVE-2020-15257 (for containers in the host's network):
  https://github.com/containerd/containerd/security/advisories/GHSA-36xw-fx78-c5r4
- Docker, CVE-2026-41567, CVE-2026-41568, CVE-2026-42306 (`docker cp` with a hostile container):
  https://github.com/moby/moby/security/advisories/GHSA-x86f-5xw2-fm2r, GHSA-vp62-88p7-qqf5, GHSA-rg2x-37c3-w2rh
- Docker with authorization plug-ins, CVE-2024-41110, CVE-2026-34040:
  https://github.com/moby/moby/security/advisories/GHSA-v23v-6jw2-98fq, GHSA-x744-4wpc-v9h2
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RUNC, CONTAINERD, DOCKER = "runc", "containerd", "Engine"


@dataclass(frozen=True)
class Hole:
    """A hole in ``component``, mended in the versions ``fixed``, the first of each series.

    ``plugins`` are those of ``docker info`` without which there is none.
    """

    component: str
    name: str
    fixed: tuple[str, ...]
    plugins: str = ""


HOLES = (
    Hole(RUNC, "CVE-2024-21626", ("1.1.12",)),
    Hole(RUNC, "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ("1.2.8", "1.3.3", "1.4.0")),
    Hole(CONTAINERD, "CVE-2020-15257", ("1.3.9", "1.4.3")),
    Hole(DOCKER, "CVE-2026-41567, CVE-2026-41568, CVE-2026-42306", ("29.5.1",)),
    Hole(DOCKER, "CVE-2024-41110", ("23.0.15", "25.0.6", "26.1.5", "27.1.1"), "Authorization"),
    Hole(DOCKER, "CVE-2026-34040", ("29.3.1",), "Authorization"),
)


def known_holes(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(component, its version, the holes' names) for each part of an engine with known holes.

    ``version`` and ``info`` are the engine's answers. A part without a version that can be read is passed over.
    """
    plugins = info.get("Plugins") or {}
    for name, its_version in components(version).items():
        found = [
            hole.name
            for hole in HOLES
            if hole.component == name
            and (not hole.plugins or plugins.get(hole.plugins))
            and not _is_fixed(its_version, hole.fixed)
        ]
        if found:
            yield name.replace(DOCKER, "Docker"), its_version, ", ".join(found)


def components(version: Mapping[str, Any]) -> dict[str, str]:
    """The versions of an engine's parts, by name."""
    listed = version.get("Components") or ()
    return {str(part.get("Name")): str(part.get("Version") or "") for part in listed if isinstance(part, Mapping)}


def _is_fixed(version: str, fixed: tuple[str, ...]) -> bool:
    """Whether ``version`` is at least the first mended one of its series, or of the newest; also if it is none."""
    if (mine := _numbers(version)) is None:
        return True
    known = [numbers for numbers in map(_numbers, fixed) if numbers]
    return mine >= max(known) or any(mine[:2] == numbers[:2] and mine >= numbers for numbers in known)


def _numbers(version: str) -> tuple[int, int, int] | None:
    """The three numbers of a version; a release candidate is one less than its release."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?([-~]?(?:rc|beta|alpha))?", version)
    if not found:
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0) - bool(found[4])
