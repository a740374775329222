"""What sidecars refused: collected over sessions, bounded, printed; whatever is in the files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.commands import blocked as command
from confined_claude.egress.blocked import Blocked, blocked, collect
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.workspace import Workspace

CONFIG = Path("/home/me/config.toml")
ONE = {
    "host": "pypi.example",
    "port": 443,
    "reason": "name",
    "first": "2026-01-02T03:04:05+00:00",
    "last": "2026-01-02T03:04:05+00:00",
    "count": 1,
}
KNOWN = Blocked("pypi.example", 443, "name", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00", 1)


@pytest.fixture
def workspace(host: Host, tmp_path: Path) -> Workspace:
    return Workspace(host, Project(tmp_path / "app"))


@pytest.fixture
def directory(workspace: Workspace) -> Path:
    """Where the sidecars of the project's sessions have their directories."""
    path = workspace.host.state / "projects" / workspace.project.id / "egress"
    path.mkdir(parents=True)
    return path


def text_of(*entries: Any) -> str:
    return json.dumps({"version": 1, "blocked": list(entries), "others": 0})


def running(directory: Path, key: str, content: str = text_of(ONE)) -> Path:
    """The directory of a session that began long ago; return what its sidecar wrote."""
    (directory / key).mkdir()
    (directory / key / "config.json").write_text("{}")
    (directory / key / "blocked.json").write_text(content)
    os.utime(directory / key, (1, 1))
    return directory / key / "blocked.json"


def lines(*entries: Blocked) -> list[str]:
    return list(command.lines(entries, CONFIG))


# Collected


def test_without_any_session_there_is_nothing(workspace: Workspace) -> None:
    assert blocked(workspace) == []
    collect(workspace, "")
    assert not workspace.host.state.exists()


def test_what_runs_and_what_is_over_count_alike(directory: Path, workspace: Workspace) -> None:
    running(directory, "one")
    assert blocked(workspace) == [KNOWN]
    collect(workspace, "")
    assert os.listdir(directory) == ["one.blocked"]
    assert blocked(workspace) == [KNOWN]


def test_the_same_is_one_and_the_latest_comes_first(directory: Path, workspace: Workspace) -> None:
    later = {**ONE, "first": "2026-02-01T00:00:00+00:00", "last": "2026-02-03T00:00:00+00:00", "count": 4}
    running(directory, "one", text_of(ONE, {**ONE, "port": 80}))
    collect(workspace, "")
    running(directory, "two", text_of(later, {**ONE, "reason": "address", "last": "2026-01-09T00:00:00+00:00"}))
    found = blocked(workspace)
    assert [(entry.port, entry.reason, entry.times) for entry in found] == [
        (443, "name", 5),
        (443, "address", 1),
        (80, "name", 1),
    ]
    assert (found[0].first, found[0].last) == (ONE["first"], later["last"])


def test_another_projects_are_its_own(directory: Path, tmp_path: Path, host: Host) -> None:
    running(directory, "one")
    assert blocked(Workspace(host, Project(tmp_path / "other"))) == []


# Bounded


def test_sessions_that_run_are_left_alone(directory: Path, workspace: Workspace) -> None:
    for key in ("one", "two", "begins"):
        running(directory, key)
    os.utime(directory / "begins")  # its record is still to come
    (directory.parent / "two.session").touch()
    collect(workspace, "one")
    assert sorted(os.listdir(directory)) == ["begins", "one.blocked", "two"]
    assert sorted(os.listdir(directory / "two")) == ["blocked.json", "config.json"]


def test_a_session_to_which_nothing_was_refused_leaves_nothing(directory: Path, workspace: Workspace) -> None:
    running(directory, "one").unlink()
    os.utime(directory / "one", (1, 1))
    collect(workspace, "")
    assert os.listdir(directory) == []


def test_what_is_collected_is_bounded_and_the_oldest_goes(directory: Path, workspace: Workspace) -> None:
    for number in range(105):
        path = directory / f"{number}.blocked"
        path.write_text(text_of(ONE))
        os.utime(path, (number, number))
    running(directory, "last")
    collect(workspace, "")
    assert len(os.listdir(directory)) == 100
    assert (directory / "last.blocked").exists()
    assert not (directory / "5.blocked").exists()
    assert (directory / "6.blocked").exists()


# Broken and hostile files


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "\0",
        "[]",
        "{}",
        "7",
        "null",
        '{"blocked": null}',
        '{"blocked": 7}',
        '{"blocked": "text"}',
        '{"blocked": {"host": 1}}',
        "[" * 100_000,
        text_of(None),
        text_of([]),
        text_of({}),
        text_of({**ONE, "port": "x"}),
        text_of({**ONE, "port": None}),
        text_of({**ONE, "count": float("inf")}),
        text_of({**ONE, "count": float("nan")}),
        f'{{"blocked": [{{"count": {"9" * 5000}}}]}}',
        text_of(ONE) + " " * (1 << 20),
    ],
    ids=lambda content: content[:40].encode("unicode_escape").decode(),
)
def test_a_broken_file_has_no_entries_and_hides_none(content: str, directory: Path, workspace: Workspace) -> None:
    running(directory, "broken", content)
    running(directory, "good")
    assert blocked(workspace) == [KNOWN]
    collect(workspace, "")
    assert sorted(os.listdir(directory)) == ["broken.blocked", "good.blocked"]
    assert blocked(workspace) == [KNOWN]


def test_what_stands_before_a_broken_entry_counts(directory: Path, workspace: Workspace) -> None:
    running(directory, "one", text_of(ONE, {}))
    assert blocked(workspace) == [KNOWN]


HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside),
    "pipe": lambda path, _: os.mkfifo(path),
    "directory": lambda path, _: path.mkdir(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_file_is_not_read_and_blocks_nothing(
    kind: str, directory: Path, workspace: Workspace, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text(text_of({**ONE, "host": "outside.example"}))
    written = running(directory, "hostile")
    written.unlink()
    HOSTILE[kind](written, outside)
    os.utime(directory / "hostile", (1, 1))
    HOSTILE[kind](directory / "planted.blocked", outside)
    running(directory, "good")
    assert blocked(workspace) == [KNOWN]
    collect(workspace, "")
    assert not (directory / "good").exists()
    assert not (directory / "hostile").exists()
    assert blocked(workspace) == [KNOWN]
    assert outside.read_text() == text_of({**ONE, "host": "outside.example"})


def test_what_is_no_sessions_directory_hides_nothing_and_blocks_nothing(
    directory: Path, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/blocked.json").write_text(text_of({**ONE, "host": "outside.example"}))
    (directory / "stray").touch()
    (directory / "link").symlink_to(tmp_path / "outside")
    (directory / "gone").symlink_to("nowhere")
    (directory / "deep/er").mkdir(parents=True)
    running(directory, "good")
    assert blocked(workspace) == [KNOWN]
    collect(workspace, "")
    assert (directory / "good.blocked").exists()
    assert os.listdir(tmp_path / "outside") == ["blocked.json"]


def test_a_link_in_place_of_all_of_it_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    running(tmp_path, "one")
    workspace.state.path.mkdir(parents=True)
    (workspace.state.path / "egress").symlink_to(tmp_path)
    assert blocked(workspace) == []
    collect(workspace, "")
    assert (tmp_path / "one/blocked.json").exists()


def test_what_is_in_the_files_steers_no_terminal(directory: Path, workspace: Workspace) -> None:
    evil = "a\x1b[2J\x07\r\nconfined-claude: All is well.\u202e\x9b"
    running(directory, "one", text_of({key: value if key in ("port", "count") else evil for key, value in ONE.items()}))
    shown = list(command.lines(blocked(workspace), CONFIG))
    assert len(shown) == 2
    assert all(line.isprintable() for line in shown)


def test_however_long_the_names_are_the_output_is_bounded(directory: Path, workspace: Workspace) -> None:
    running(directory, "one", text_of({**ONE, "host": "x" * 500_000}, ONE))
    assert all(len(line) < 1000 for line in command.lines(blocked(workspace), CONFIG))


@given(
    values=st.dictionaries(
        st.sampled_from(sorted(ONE)), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([])
    )
)
def test_whatever_an_entry_contains_there_are_lines(
    values: dict[str, Any], directory: Path, workspace: Workspace
) -> None:
    path = directory / "one.blocked"
    path.write_text(text_of({**ONE, **values}))
    assert all(line.isprintable() for line in command.lines(blocked(workspace), CONFIG))


# Printed


def test_nothing_is_reported_as_nothing() -> None:
    assert lines() == ["Nothing was refused to this project's sessions."]


def test_what_was_refused_is_reported_with_what_would_open_it() -> None:
    often = Blocked("a.example", 8443, "port", "2026-01-02T03:04:05+00:00", "2026-01-03T04:05:06+00:00", 7)
    local = Blocked("b.example", 443, "address", KNOWN.first, KNOWN.last, 1)
    assert lines(KNOWN, often, local) == [
        "Refused to this project's sessions (times in UTC):",
        "  pypi.example:443  once, last 2026-01-02 03:04; not in the allowlist",
        "  a.example:8443    7 times, last 2026-01-03 04:05, since 2026-01-02 03:04; allowed, but not at this port",
        "  b.example:443     once, last 2026-01-02 03:04; allowed, but it leads to your machine or a local network",
        f"To open what you know and want, in {CONFIG} (running sessions notice):",
        '  allow = ["pypi.example", "a.example:8443"]',
    ]


def test_where_no_entry_helps_none_is_shown() -> None:
    shown = lines(Blocked("10.0.0.1", 443, "address", "", "", 1), Blocked("?", 0, "malformed", "", "", 1))
    assert len(shown) == 3
    assert not [line for line in shown if "allow =" in line]


@pytest.mark.parametrize(
    ("port", "reason", "entry"),
    [
        (443, "name", "x.example"),
        (80, "name", "x.example"),
        (0, "dns", "x.example"),
        (22, "name", "x.example:22"),
        (443, "address", ""),
        (443, "malformed", ""),
        (443, "new", ""),
    ],
)
def test_the_entry_that_would_open_it(port: int, reason: str, entry: str) -> None:
    assert Blocked("x.example", port, reason, "", "", 1).entry == entry


@pytest.mark.parametrize("host", ["10.0.0.5", "fd00::1", "a b", "?", "", "*", "x" * 255, '"', "a,b", "http://x"])
@pytest.mark.parametrize("port", [0, 443, 22])
def test_what_no_entry_can_be_is_not_proposed(host: str, port: int) -> None:
    assert Blocked(host, port, "name", "", "", 1).entry == ""


def test_an_entry_is_shown_once() -> None:
    looked_up = Blocked("pypi.example", 0, "dns", KNOWN.first, KNOWN.last, 1)
    assert lines(KNOWN, looked_up)[-1] == '  allow = ["pypi.example"]'


def test_a_look_up_is_of_a_name_and_no_port(directory: Path, workspace: Workspace) -> None:
    running(directory, "one", text_of({**ONE, "reason": "dns", "port": 53}))
    assert [(entry.port, entry.entry) for entry in blocked(workspace)] == [(0, "pypi.example")]


def test_the_uses_of_what_is_lent_are_kept_beside_and_counted(directory: Path, workspace: Workspace) -> None:
    from confined_claude.egress.blocked import lent_in

    running(directory, "one")
    (directory / "one/lent.log").write_text("t GET a.example:443 /\nt GET a.example:443 /b\n")
    assert lent_in(workspace, "one")[0] == 0, "only once it is over"
    collect(workspace, "one")
    count, file = lent_in(workspace, "one")
    assert (count, file) == (2, directory / "one.lent")
    assert file.read_text().startswith("t GET")
    assert [entry.host for entry in blocked(workspace)] == ["pypi.example"]
    assert lent_in(workspace, "other")[0] == 0
