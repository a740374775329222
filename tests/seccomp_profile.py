"""Make the seccomp profile of sessions from Docker's default one.

    python tests/seccomp_profile.py DEFAULT.json >confined_claude/engine/seccomp/profile.json

DEFAULT.json is seccomp/default.json of https://github.com/moby/profiles.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What work needs: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Not among them are AF_VSOCK, which leads to a hypervisor
# whatever the network is, and AF_ALG.
FAMILIES = (1, 2, 10, 16)
# Claude Code exists for these.
ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
# They make sockets of any family: a filter does not see which.
UNSEEN = {"socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register"}
ENOSYS = 38


def derived(default: dict[str, Any]) -> dict[str, Any]:
    """Return the profile for containers without the capabilities that open more system calls."""
    return {
        **{name: default[name] for name in ("defaultAction", "defaultErrnoRet")},
        "archMap": [entry for entry in default["archMap"] if entry["architecture"] in ARCHITECTURES.values()],
        "syscalls": [*_rules(default["syscalls"]), *_sockets()],
    }


def _rules(rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for rule in rules:
        includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
        names = [name for name in rule["names"] if name != "socket" and name not in UNSEEN]
        arches = includes.get("arches", ARCHITECTURES)
        if names and "caps" not in includes and not set(ARCHITECTURES).isdisjoint(arches):
            # No session has these capabilities, or runs on other processors.
            assert set(excludes) <= {"caps", "arches"} and set(ARCHITECTURES).isdisjoint(excludes.get("arches", ()))
            kept = {name: value for name, value in rule.items() if name not in ("names", "excludes", "comment")}
            yield {"names": names, **kept}


def _sockets() -> Iterator[dict[str, Any]]:
    for family in FAMILIES:
        argument = {"index": 0, "value": family, "op": "SCMP_CMP_EQ"}
        yield {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [argument]}
    yield {"names": ["socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}


if __name__ == "__main__":
    print(json.dumps(derived(json.loads(Path(sys.argv[1]).read_text())), indent=1))
