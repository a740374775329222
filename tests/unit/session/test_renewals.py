"""What is lent, and what signs in, is renewed while a session runs, with commands of our own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import source
from confined_claude.claude.carried import Carried
from confined_claude.claude.host_settings import KEY_HELPER
from confined_claude.claude.sign_in import VALUE_VARIABLE, Chosen
from confined_claude.claude.source import KEY, Source
from confined_claude.egress.sidecar import Sidecar
from confined_claude.guard import beside
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session.given import Given, gather
from confined_claude.session.launch import SERVERS_VARIABLE
from confined_claude.session.lent import NOT_LENDABLE, Lent
from confined_claude.session.renewals import Renewals
from confined_claude.state import projects
from confined_claude.state.store import records_of, state_of

from ..guarding import put
from .test_given import Place
from .test_launch import planned

LENT = """
[secrets.T]
command = "cat {file}"
always = true
lend = {{hosts = ["a.example"]}}
[secrets.U]
variable = "SOURCE"
always = true
lend = {{hosts = ["b.example"]}}
"""
LONG = "s3cret" * 1400
AGAIN = "Try that command yourself, then start again."


class Told(Sidecar):
    """A sidecar that keeps what it is told to lend."""

    def __init__(self) -> None:
        self.lines: list[list[dict[str, Any]]] = []
        self.is_reached = True

    def lend(self, lent: bytes) -> bool:
        self.lines.append(json.loads(lent))
        return self.is_reached


@pytest.fixture
def here(host: Host, tmp_path: Path) -> Place:
    place = Place(host, tmp_path / "project")
    place.environ["SOURCE"] = "another-s3cret"
    return place


def refuse(value: str) -> None:
    raise AssertionError(value)


def test_the_command_of_a_lent_secret_runs_again_and_the_sidecar_has_its_newer_value(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("first-s3cret")
    monkeypatch.setattr(source, "_SECRET_SECONDS", 0.05)
    workspace = here.workspace(LENT.format(file=file))
    given, sidecar = gather(workspace), Told()
    assert set(given.sources) == {given.lent[0].placeholder}, "a variable prints nothing newer"
    with Renewals(workspace, Chosen("", {}), given, sidecar) as renewals:
        assert renewals
        file.write_text("second-s3cret")
        deadline = time.monotonic() + 30
        while not sidecar.lines and time.monotonic() < deadline:
            renewals.look(refuse)
            time.sleep(0.01)
        file.unlink()
        while not list(renewals.failures) and time.monotonic() < deadline:
            renewals.look(refuse)
            time.sleep(0.01)
        (line,), (failure,) = sidecar.lines, renewals.failures
    assert [one["value"] for one in line] == ["second-s3cret", "another-s3cret"]
    assert [one["placeholder"] for one in line] == [one.placeholder for one in given.lent]
    assert failure == "No credential from the secret T: it ended with 1. The session had the one from before."


@pytest.mark.parametrize("written", ["a project", "a mount", "elsewhere"])
@pytest.mark.parametrize("kind", ["lent", "sign-in", "program"])
def test_no_command_runs_again_once_a_session_can_write_where_it_leads(
    here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, written: str
) -> None:
    tools, other = tmp_path / "tools", tmp_path / "other"
    for directory in (tools, other):
        directory.mkdir()
    script = put(tools / "get-token", "#!/bin/sh\necho first-s3cret\n")
    script.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/get-it").symlink_to(script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(source, "_SECRET_SECONDS", 0.05)
    environ = {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1"}
    monkeypatch.setattr(source, "_LEAST_SECONDS", 0.05)
    config = LENT.replace("cat {file}", str(script)).format() if kind == "lent" else ""
    workspace, sidecar = here.workspace(config), Told()
    command = str(script) if kind == "sign-in" else ("get-it",)
    chosen = Chosen(KEY_HELPER, {}, None if kind == "lent" else Source(KEY_HELPER, command, KEY, environ))
    given, handed = gather(workspace), list[str]()
    with Renewals(workspace, chosen, given, sidecar) as renewals:
        renewals.with_credential(planned(workspace.project.root, workspace.host), [])
        state, host = state_of(workspace.host), workspace.host
        project = Project(tools if written == "a project" else other)
        projects.remember(records_of(host, project.id), project.root)
        if written == "a mount":
            beside.remember(records_of(host, project.id), [tools])
        assert projects.projects(state), "the other session's project is known from here on"
        script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-on-the-host\necho second-s3cret\n")
        deadline = time.monotonic() + 30
        while not (failures := list(renewals.failures)) and not handed and not sidecar.lines:
            assert time.monotonic() < deadline
            renewals.look(handed.append)
            time.sleep(0.01)
    told = [*handed, *(one["value"] for line in sidecar.lines for one in line[:1])]
    if written == "elsewhere":  # the control
        assert (told, failures) == (["second-s3cret"], [])
        return
    name = "the secret T" if kind == "lent" else KEY_HELPER
    assert failures == [
        f"No credential from {name}: it runs what is in {tools}, where sessions can write, so it is not run. "
        "The session had the one from before."
    ]
    assert told == []
    assert not (tmp_path / "ran-on-the-host").exists()


def test_only_what_a_header_can_hold_is_lent_and_only_what_is_new_is_told(here: Place) -> None:
    workspace = here.workspace(LENT.format(file="/dev/null").split("[secrets.U]")[1].join(["[secrets.U]", ""]))
    given, sidecar = gather(workspace), Told()
    (one,) = given.lent
    with Renewals(workspace, Chosen("", {}), given, sidecar) as renewals:
        assert renewals, "what does not reach the sidecar is to be told again"
        assert not Renewals(workspace, Chosen("", {}), None, sidecar), "the control"
        for value in ("newer-s3cret", "newer-s3cret", "short", "two words of it", "line\r\nbreak: s3cret", ""):
            renewals.lend(one.placeholder, value)
        renewals.lend("another-placeholder", "no-s3cret-of-it")
    assert [line[0]["value"] for line in sidecar.lines] == ["newer-s3cret", one.placeholder]


def test_what_cannot_be_lent_and_what_has_not_reached_the_sidecar_is_told_at_the_end(here: Place) -> None:
    workspace = here.workspace(LENT.format(file="/dev/null").split("[secrets.U]")[1].join(["[secrets.U]", ""]))
    given, sidecar = gather(workspace), Told()
    (one,) = given.lent
    with Renewals(workspace, Chosen("", {}), given, sidecar) as renewals:
        for value in ("short", LONG):
            renewals.lend(one.placeholder, value)
            (said,) = renewals.failures
            assert said == (
                "A newer value of U cannot be lent: it is not one word of 8 to 8192 characters. "
                "The session had the one from before."
            )
        sidecar.is_reached = False
        renewals.lend(one.placeholder, "newer-s3cret")
        renewals.look(refuse)
        assert [each["value"] for line in sidecar.lines for each in line] == ["newer-s3cret"] * 2
        (said,) = renewals.failures
        assert said.startswith("What was renewed last has not reached the session's sidecar.")
        sidecar.is_reached = True
        for _ in range(3):
            renewals.look(refuse)
        assert len(sidecar.lines) == 3, "once it is there, it is not sent again"
        assert list(renewals.failures) == []


@pytest.mark.parametrize(
    ("line", "value", "said"),
    [
        ("echo s3cret-of-a-helper", "s3cret-of-a-helper", ()),
        ("echo s3cret", None, (f"What apiKeyHelper prints {NOT_LENDABLE}",)),
        (f"echo {LONG}", None, (f"What apiKeyHelper prints {NOT_LENDABLE}",)),
        ("exit 3", None, ("No credential from apiKeyHelper: it ended with 3.", AGAIN)),
    ],
)
def test_the_session_has_a_placeholder_for_what_a_helper_prints(
    here: Place, line: str, value: str | None, said: tuple[str, ...]
) -> None:
    workspace, sidecar, notes = here.workspace(), Told(), list[str]()
    mine = Lent((("api.example", 443),), "x-api-key", "placeholder", "placeholder", KEY_HELPER)
    run = Source(KEY_HELPER, line, KEY, {})
    chosen = Chosen(KEY_HELPER, {}, run, is_lent=True, placeholder="placeholder")
    launch = planned(workspace.project.root, workspace.host, carried=Carried(servers=f'{{"X": "{value}"}}'))
    with Renewals(workspace, chosen, Given(lent=(mine,)), sidecar) as renewals:
        found = renewals.with_credential(launch, notes).secrets
    assert found[VALUE_VARIABLE] == "placeholder"
    assert found[SERVERS_VARIABLE] == '{"X": "placeholder"}' if value else launch.secrets[SERVERS_VARIABLE]
    assert [line[0]["value"] for line in sidecar.lines] == ([value] if value else [])
    assert tuple(notes) == said
    with Renewals(workspace, chosen._replace(is_lent=False, placeholder=""), None, sidecar) as renewals:
        given = renewals.with_credential(launch, []).secrets[VALUE_VARIABLE]
    assert given == ("" if line == "exit 3" else line.split()[1]), "the control"
