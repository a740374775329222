"""What is lent, and what signs in, is renewed while a session runs, with commands of our own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import source
from confined_claude.claude.host_settings import KEY_HELPER
from confined_claude.claude.sign_in import VALUE_VARIABLE, Chosen
from confined_claude.claude.source import KEY, Source
from confined_claude.egress.sidecar import Sidecar
from confined_claude.host import Host
from confined_claude.session.given import Given, gather
from confined_claude.session.lent import Lent
from confined_claude.session.renewals import Renewals

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
AGAIN = "Try that command yourself, then start again."


class Told(Sidecar):
    """A sidecar that keeps what it is told to lend."""

    def __init__(self) -> None:
        self.lines: list[list[dict[str, Any]]] = []

    def lend(self, lent: bytes) -> None:
        self.lines.append(json.loads(lent))


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
        deadline = time.monotonic() + 10
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


def test_only_what_a_header_can_hold_is_lent_and_only_what_is_new_is_told(here: Place) -> None:
    workspace = here.workspace(LENT.format(file="/dev/null").split("[secrets.U]")[1].join(["[secrets.U]", ""]))
    given, sidecar = gather(workspace), Told()
    (one,) = given.lent
    with Renewals(workspace, Chosen("", {}), given, sidecar) as renewals:
        assert not renewals, "no command, so nothing to look for"
        for value in ("newer-s3cret", "newer-s3cret", "short", "two words of it", "line\r\nbreak: s3cret", ""):
            renewals.lend(one.placeholder, value)
        renewals.lend("another-placeholder", "no-s3cret-of-it")
    assert [line[0]["value"] for line in sidecar.lines] == ["newer-s3cret", one.placeholder]


@pytest.mark.parametrize(
    ("line", "value", "said"),
    [
        ("echo s3cret-of-a-helper", "s3cret-of-a-helper", ()),
        ("echo s3cret", None, ("What apiKeyHelper prints cannot be lent: it is shorter than 8 characters.",)),
        ("exit 3", None, ("No credential from apiKeyHelper: it ended with 3.", AGAIN)),
    ],
)
def test_the_session_has_a_placeholder_for_what_a_helper_prints(
    here: Place, line: str, value: str | None, said: tuple[str, ...]
) -> None:
    workspace, sidecar, notes = here.workspace(), Told(), list[str]()
    mine = Lent((("api.example", 443),), "x-api-key", "placeholder", "placeholder", KEY_HELPER)
    run = Source(KEY_HELPER, line, KEY, {})
    chosen = Chosen(KEY_HELPER, {}, run, placeholder="placeholder")
    launch = planned(workspace.project.root, workspace.host)
    with Renewals(workspace, chosen, Given(lent=(mine,)), sidecar) as renewals:
        assert renewals.with_credential(launch, notes).secrets[VALUE_VARIABLE] == "placeholder"
    assert [line[0]["value"] for line in sidecar.lines] == ([value] if value else [])
    assert tuple(notes) == said
    with Renewals(workspace, chosen._replace(placeholder=None), None, sidecar) as renewals:
        given = renewals.with_credential(launch, []).secrets[VALUE_VARIABLE]
    assert given == ("" if line == "exit 3" else line.split()[1]), "the control"
