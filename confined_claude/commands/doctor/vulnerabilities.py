"""Versions of the engine's parts with published container escapes or bypasses of authorization.

Sources, which name the first fixed versions:

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
from typing import Any, NamedTuple

RUNC, CONTAINERD, DOCKER = "runc", "containerd", "Engine"
_RUNTIME = re.compile(r"^OCI Runtime \((\w+)\): \1 version (\S+)", re.MULTILINE)


class Vulnerability(NamedTuple):
    """A vulnerability of ``component``. ``fixed`` are the first versions without it, one for each series.

    Only an engine with the kind ``plugins`` of plug-ins in its ``docker info`` has it; with any plug-ins if empty.
    """

    component: str
    name: str
    fixed: tuple[str, ...]
    plugins: str = ""


VULNERABILITIES = (
    Vulnerability(RUNC, "CVE-2024-21626", ("1.1.12",)),
    Vulnerability(RUNC, "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ("1.2.8", "1.3.3", "1.4.0")),
    Vulnerability(CONTAINERD, "CVE-2020-15257", ("1.3.9", "1.4.3")),
    Vulnerability(DOCKER, "CVE-2026-41567, CVE-2026-41568, CVE-2026-42306", ("29.5.1",)),
    Vulnerability(DOCKER, "CVE-2024-41110", ("23.0.15", "25.0.6", "26.1.5", "27.1.1"), "Authorization"),
    Vulnerability(DOCKER, "CVE-2026-34040", ("29.3.1",), "Authorization"),
)


def known_vulnerabilities(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (component, its version, names) for each part of an engine with known vulnerabilities.

    ``version`` and ``info`` are the engine's answers. A part whose version cannot be read is skipped.
    """
    plugins = info.get("Plugins") or {}
    for name, its_version in components(version).items():
        found = [
            known.name
            for known in VULNERABILITIES
            if known.component == name
            and (not known.plugins or plugins.get(known.plugins))
            and not _is_fixed(its_version, known.fixed)
        ]
        if found:
            yield name.replace(DOCKER, "Docker"), its_version, ", ".join(found)


def components(version: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of an engine's parts by name. Podman's runtime has a page of them."""
    listed = [part for part in version.get("Components") or () if isinstance(part, Mapping)]
    found = {str(part.get("Name")): str(part.get("Version") or "") for part in listed}
    for runtime, its_version in _RUNTIME.findall("\n".join(f"{name}: {text}" for name, text in found.items())):
        found[runtime] = its_version
    return found


def _is_fixed(version: str, fixed: tuple[str, ...]) -> bool:
    """Return whether ``version`` is at or after the first fixed one of its series, or of the newest, or unreadable."""
    if (mine := _numbers(version)) is None:
        return True
    known = [numbers for numbers in map(_numbers, fixed) if numbers]
    return mine >= max(known) or any(mine[:2] == numbers[:2] and mine >= numbers for numbers in known)


def _numbers(version: str) -> tuple[int, int, int] | None:
    """Return the three numbers of a version; a release candidate comes just before its release."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?([-~]?(?:rc|beta|alpha))?", version)
    if not found:
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0) - bool(found[4])
