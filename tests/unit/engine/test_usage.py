"""What containers take, by either version of cgroups and by an engine's statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine import usage
from confined_claude.engine.usage import Usage

from ..guarding import put


def test_usage_is_read_from_either_version_of_cgroups(tmp_path: Path) -> None:
    one, two, three = "a" * 64, "b" * 64, "c" * 64
    new, old = tmp_path / "new", tmp_path / "old"
    cgroup = new / f"system.slice/docker-{one}.scope"
    put(cgroup / "memory.current", "3000\n")
    put(cgroup / "memory.stat", "anon 1\ninactive_file 1000\n")
    put(cgroup / "cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    put(old / f"memory/docker/{two}/memory.usage_in_bytes", "3000\n")
    put(old / f"memory/docker/{two}/memory.stat", "inactive_file 7\ntotal_inactive_file 1000\n")
    put(old / f"cpuacct/docker/{two}/cpuacct.usage", "2500000000\n")
    assert usage.of_container(one, new) == usage.of_container(two, old) == Usage(2000, 2.5)
    assert usage.of_container(two, new) is usage.of_container(three, old) is None
    put(cgroup / "memory.current", "max\n")
    assert usage.of_container(one, new) is None


@pytest.mark.parametrize("name", ["inactive_file", "total_inactive_file"])
def test_usage_is_read_from_an_engines_answer(name: str) -> None:
    answer = {
        "memory_stats": {"usage": 3000, "stats": {name: 1000}},
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
    }
    assert usage.of_answer(answer) == Usage(2000, 2.5)


@pytest.mark.parametrize(
    "answer", [{}, {"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}, {"memory_stats": None}]
)
def test_an_answer_without_numbers_is_none(answer: dict[str, Any]) -> None:
    assert usage.of_answer(answer) is None
