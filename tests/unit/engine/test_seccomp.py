"""The seccomp profile: what its generator makes of Docker's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seccomp_profile import derived

from confined_claude.engine import command

PROFILE = json.loads((Path(command.__file__).parent / "seccomp/profile.json").read_text())
ALLOW = "SCMP_ACT_ALLOW"


def allowed(profile: dict[str, Any]) -> set[str]:
    """The names of the calls that are allowed, with whatever arguments."""
    return {name for rule in profile["syscalls"] if rule["action"] == ALLOW for name in rule["names"]}


def test_the_profile_is_the_generators() -> None:
    assert derived(PROFILE) == PROFILE


def test_sockets_are_of_four_families_and_nothing_else_makes_any() -> None:
    rules = [rule for rule in PROFILE["syscalls"] if "socket" in rule["names"]]
    assert [(rule["names"], [(one["index"], one["value"], one["op"]) for one in rule["args"]]) for rule in rules] == [
        (["socket"], [(0, family, "SCMP_CMP_EQ")]) for family in (1, 2, 10, 16)
    ]
    assert not {"socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register"} & allowed(PROFILE)
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"


def test_what_takes_a_capability_or_another_processor_is_left_out() -> None:
    mine, other = {"names": ["mine", "socketcall"], "action": ALLOW}, {"names": ["other"], "action": ALLOW}
    rules: list[dict[str, Any]] = [
        {**mine, "includes": {"minKernel": "4.8"}},
        {**other, "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {**other, "includes": {"arches": ["s390x"]}},
        {"names": ["clone"], "action": ALLOW, "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]}},
        {"names": ["socket", "io_uring_setup"], "action": ALLOW},
    ]
    architectures = [{"architecture": "SCMP_ARCH_X86_64"}, {"architecture": "SCMP_ARCH_S390X"}]
    made = derived({**PROFILE, "archMap": architectures, "syscalls": rules})
    assert made["archMap"] == architectures[:1]
    assert made["syscalls"][:2] == [
        {"names": ["mine"], "action": ALLOW, "includes": {"minKernel": "4.8"}},
        {"names": ["clone"], "action": ALLOW},
    ]
    assert made["syscalls"][2:] == PROFILE["syscalls"][-5:]
