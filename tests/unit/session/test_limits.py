"""What a session may take of the machine, in the arguments of ``docker create``."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.session.limits import arguments, missing
from confined_claude.settings import Settings
from confined_claude.state.facts import EngineFacts

GIB = 1 << 30
MACHINE = EngineFacts(memory=16 * GIB, cpus=8)

amounts = st.builds("{}{}".format, st.integers(1, 9_999_999), st.sampled_from("mMgG"))
shares = st.builds("{}%".format, st.integers(1, 100))
memories = st.lists(amounts | shares, min_size=1, max_size=3).map(tuple)
numbers = st.builds("{}.{:02}".format, st.integers(0, 9999), st.integers(1, 99))
cpus = st.lists(numbers | shares, min_size=1, max_size=3).map(tuple)
pids = st.lists(st.integers(1, 9_999_999).map(str), min_size=1, max_size=3).map(tuple)
machines = st.builds(EngineFacts()._replace, memory=st.integers(1 << 20, 1 << 43), cpus=st.integers(1, 1024))


def limits(settings: Settings, facts: EngineFacts = MACHINE) -> dict[str, str]:
    words = list(arguments(settings, facts))
    assert len(words) % 2 == 0
    return {flag: value for flag, value in pairwise(words) if flag.startswith("--")}


def bytes_of(value: str, whole: int) -> int:
    number = int(value[:-1])
    return {"%": whole * number // 100, "m": number * 2**20, "g": number * 2**30}[value[-1].lower()]


def cpus_of(value: str, whole: int) -> float:
    return whole * int(value[:-1]) / 100 if value.endswith("%") else float(value)


def test_by_default_there_is_room_for_the_machine_itself() -> None:
    assert limits(Settings()) == {
        "--pids-limit": "4096",
        "--memory": str(12 * GIB),
        "--memory-swap": str(12 * GIB),
        "--shm-size": str(2 * GIB),
    }


@pytest.mark.parametrize(
    ("memory", "taken"),
    [
        (("8g",), 8 * GIB),
        (("8G",), 8 * GIB),
        (("512m",), 512 << 20),
        (("50%",), 8 * GIB),
        (("75%", "4g"), 4 * GIB),
        (("4g", "75%"), 4 * GIB),
        (("25%", "8g", "50%"), 4 * GIB),
        (("1m",), 64 << 20),  # what a session cannot live without
    ],
)
def test_the_lowest_amount_of_memory_counts(memory: tuple[str, ...], taken: int) -> None:
    assert limits(Settings(memory=memory))["--memory"] == str(taken)


@pytest.mark.parametrize("memory", ["100%", "16g", "9999999g"])
def test_all_of_the_memory_is_no_limit(memory: str) -> None:
    assert "--memory" not in limits(Settings(memory=(memory,)))


@pytest.mark.parametrize(
    ("cpus", "taken"),
    [(("2",), "2.00"), (("1.5",), "1.50"), (("50%",), "4.00"), (("50%", "3"), "3.00"), (("0.01",), "0.10")],
)
def test_the_lowest_number_of_processors_counts(cpus: tuple[str, ...], taken: str) -> None:
    assert limits(Settings(cpus=cpus))["--cpus"] == taken


@pytest.mark.parametrize("cpus", ["100%", "8", "64"])
def test_all_of_the_processors_are_no_limit(cpus: str) -> None:
    assert "--cpus" not in limits(Settings(cpus=(cpus,)))


@given(memory=memories, cpus=cpus, pids=pids, facts=machines)
def test_no_limit_is_more_than_any_that_is_set_or_than_the_machine(
    memory: tuple[str, ...], cpus: tuple[str, ...], pids: tuple[str, ...], facts: EngineFacts
) -> None:
    found = limits(Settings(memory=memory, cpus=cpus, pids=pids), facts)
    assert found["--pids-limit"] == str(max(64, min(map(int, pids))))
    lowest = min(bytes_of(value, facts.memory) for value in memory)
    if "--memory" in found:
        assert int(found["--memory"]) == max(lowest, 64 << 20) < facts.memory
        assert found["--memory-swap"] == found["--memory"]
    else:
        assert max(lowest, 64 << 20) >= facts.memory
    fewest = min(cpus_of(value, facts.cpus) for value in cpus)
    if "--cpus" in found:
        assert 0.1 <= float(found["--cpus"]) <= facts.cpus
        assert float(found["--cpus"]) <= max(fewest, 0.1) + 0.005
    else:
        assert fewest >= facts.cpus


@pytest.mark.parametrize(
    ("shm", "taken"), [(("2g",), 2 * GIB), (("2g", "64m"), 64 << 20), (("50%",), 8 * GIB), (("1m",), 1 << 20)]
)
def test_the_lowest_size_of_shared_memory_counts(shm: tuple[str, ...], taken: int) -> None:
    assert limits(Settings(shm=shm))["--shm-size"] == str(taken)


# What the kernel cannot limit


@pytest.mark.parametrize(
    ("facts", "flags", "named"),
    [
        (EngineFacts(limits_pids=False), {"--memory", "--memory-swap", "--cpus"}, ["pids"]),
        (EngineFacts(limits_memory=False), {"--pids-limit", "--cpus"}, ["memory"]),
        (EngineFacts(limits_swap=False), {"--pids-limit", "--memory", "--cpus"}, []),
        (EngineFacts(limits_cpus=False), {"--pids-limit", "--memory", "--memory-swap"}, ["cpus"]),
    ],
)
def test_what_the_kernel_cannot_limit_is_left_out_and_named(
    facts: EngineFacts, flags: set[str], named: list[str]
) -> None:
    settings = Settings(cpus=("0.5",))
    assert set(limits(settings, facts)) == flags | {"--shm-size"}
    assert missing(settings, facts) == named


def test_a_limit_of_processors_that_nobody_set_is_not_missed() -> None:
    nothing = EngineFacts(limits_pids=False, limits_memory=False, limits_swap=False, limits_cpus=False)
    assert set(limits(Settings(), nothing)) == {"--shm-size"}
    assert missing(Settings(), nothing) == ["pids", "memory"]
    assert missing(Settings(cpus=("100%", "2")), nothing) == ["pids", "memory", "cpus"]
    assert missing(Settings(), EngineFacts()) == []
