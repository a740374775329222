"""What is said when a session is over, and when nothing is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from confined_claude.host import Host
from confined_claude.session import YOLO
from confined_claude.session.closing import closing_lines
from confined_claude.session.launch import Launch
from confined_claude.workspace import Workspace

from ..guarding import put
from .test_launch import place, planned

SINCE = 1_800_000_000.0
ID = "aa6c0f87-48fb-4867-ad01-15184805c813"
CONTINUE = ["To continue this conversation:", f"  confined-claude --resume {ID}"]


@pytest.fixture
def workspace(host: Host, tmp_path: Path) -> Workspace:
    root = tmp_path / "app"
    root.mkdir()
    return place(root, host)


def launch_of(workspace: Workspace, *command: str, terminal: bool = True) -> Launch:
    launch = planned(workspace.project.root, workspace.host, command=command)
    return launch._replace(terminal=terminal)


def hold_conversation(workspace: Workspace, when: float, session: str = ID) -> None:
    file = put(workspace.conversations.path / "-any-place" / f"{session}.jsonl")
    os.utime(file, (when, when))


def said(
    workspace: Workspace,
    *command: str,
    notes: tuple[str, ...] = (),
    meanwhile: tuple[str, ...] = (),
    terminal: bool = True,
) -> list[str]:
    return list(closing_lines(workspace, launch_of(workspace, *command, terminal=terminal), notes, meanwhile, SINCE))


def test_what_was_to_be_said_while_claude_had_the_screen_comes_first(workspace: Workspace) -> None:
    assert said(workspace, "claude", notes=("at its start",), meanwhile=("meanwhile",)) == [
        "meanwhile",
        "Remarks from its start:",
        "  at its start",
    ]


def test_a_conversation_can_be_continued(workspace: Workspace) -> None:
    assert said(workspace, "claude") == []
    hold_conversation(workspace, SINCE - 1)
    assert said(workspace, "claude") == []
    hold_conversation(workspace, SINCE + 1)
    assert said(workspace, "claude", "--model", "opus") == CONTINUE
    assert said(workspace, "claude", YOLO) == [CONTINUE[0], f"  confined-claude --yolo --resume {ID}"]


def test_a_profile_that_was_chosen_for_this_session_is_named(workspace: Workspace) -> None:
    hold_conversation(workspace, SINCE + 1)
    in_work = workspace._replace(flags={"profile": "work", "network": None})
    assert said(in_work, "claude") == [CONTINUE[0], f"  confined-claude --profile work --resume {ID}"]


def test_of_several_conversations_claude_shows_the_list(workspace: Workspace) -> None:
    hold_conversation(workspace, SINCE + 1)
    hold_conversation(workspace, SINCE + 2, ID.replace("a", "b"))
    assert said(workspace, "claude") == [CONTINUE[0], "  confined-claude --resume"]


@pytest.mark.parametrize("name", ["$(touch canary)", "x; touch canary", f"{ID} --yolo", f"{ID}\n", "", ID[1:]])
def test_what_a_session_names_a_file_is_never_part_of_the_command(workspace: Workspace, name: str) -> None:
    hold_conversation(workspace, SINCE + 1, name)
    assert said(workspace, "claude") == []
    hold_conversation(workspace, SINCE + 1)
    assert said(workspace, "claude") == CONTINUE


def test_what_was_said_at_the_start_is_said_again_where_claude_had_the_screen(workspace: Workspace) -> None:
    hold_conversation(workspace, SINCE + 1)
    assert said(workspace, "claude", notes=("One.", "Two."))[1:] == ["  One.", "  Two.", *CONTINUE]
    for command in (("bash",), ("claude", "-p", "x"), ("claude", "--version")):
        assert said(workspace, *command, notes=("One.",)) == []
    assert said(workspace, "claude", notes=("One.",), terminal=False) == []


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "1 connection was refused: `confined-claude blocked` shows them."),
        (3, "3 connections were refused: `confined-claude blocked` shows them."),
    ],
)
def test_what_an_allowlist_refused_is_counted_for_this_session_alone(
    workspace: Workspace, count: int, line: str
) -> None:
    entry = {"host": "a", "port": 1, "reason": "name", "first": "", "last": "", "count": count}
    directory = workspace.egress.path
    for key in (launch_of(workspace, "bash").key, "another"):
        put(directory / f"{key}.blocked", json.dumps({"blocked": [entry]}))
    assert said(workspace, "bash", terminal=False) == [line]
