"""Choosing among the sessions there are, and knowing whose they are."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError, EngineError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session import listing as running
from confined_claude.session.listing import Session

HERE, ELSEWHERE = Project(Path("/p/my-app")), Project(Path("/q/my-app"))


def session(name: str, project: Project = HERE, *, is_up: bool = True) -> Session:
    return Session(name, name, "image", 0.0, is_up, project.id, project.root, "key", "1000:1000", True)


ONE, TWO = session("confined-claude-my-app"), session("confined-claude-my-app-2")
OTHER = session("confined-claude-my-app-3", ELSEWHERE)


def test_the_only_session_of_a_project_needs_no_choice() -> None:
    assert running.choose([OTHER, ONE], HERE, None) is ONE


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("1", ONE), ("2", TWO), (ONE.name, ONE), (TWO.name, TWO), (OTHER.name, OTHER)],
)
def test_a_session_is_chosen_by_its_number_here_or_its_name_anywhere(wanted: str, chosen: Session) -> None:
    assert running.choose([ONE, TWO, OTHER], HERE, wanted) is chosen


@pytest.mark.parametrize("wanted", ["3", "0", "-1", "", "x", "confined-claude-my-app-9", "²", "\u0661"])
def test_what_is_no_session_is_refused_with_those_there_are(wanted: str) -> None:
    with pytest.raises(ConfinedError) as caught:
        running.choose([ONE, TWO, OTHER], HERE, wanted)
    assert repr(wanted) in caught.value.message
    assert caught.value.hint == f"Running: {ONE.name}, {TWO.name}."


def test_several_are_listed_instead_of_guessed() -> None:
    with pytest.raises(ConfinedError) as caught:
        running.choose([ONE, TWO, OTHER], HERE, None)
    assert caught.value.message == "2 sessions run in this project."
    assert f"{ONE.name}, {TWO.name}." in caught.value.hint
    assert OTHER.name not in caught.value.hint


def test_one_that_is_only_being_made_is_no_choice() -> None:
    with pytest.raises(ConfinedError, match="No session runs"):
        running.choose([session(ONE.name, is_up=False)], HERE, None)


def test_outside_any_project_a_name_is_enough_and_a_number_is_not() -> None:
    assert running.choose([ONE], None, ONE.name) is ONE
    with pytest.raises(ConfinedError, match="no running session"):
        running.choose([ONE], None, "1")


@pytest.mark.parametrize("slug", ["my-app", "x", "a-2"])
@pytest.mark.parametrize("number", [1, 2, 10, 100])
def test_the_number_is_the_end_of_the_name(slug: str, number: int) -> None:
    project = Project(Path("/p") / slug)
    ending = "" if number == 1 else f"-{number}"
    assert running.number(session(f"confined-claude-{slug}{ending}", project)) == number


def listed(**changed: object) -> dict[str, object]:
    """A container as the engine lists it."""
    known = {"confined-claude.project": "p-1", "confined-claude.path": "/a,b\n=c", "confined-claude.ports": "80,8080"}
    known |= {"confined-claude.profile": "work", "confined-claude.sign-in": "lent"}
    found = {"Id": "id", "Names": ["/o/link", "/n"], "Image": "i:1", "Created": 1795479540, "State": "running"}
    return {**found, "Labels": known, **changed}


@pytest.mark.parametrize("name", ["Id", "Names", "Image", "Created", "State", "Labels"])
@pytest.mark.parametrize("value", [None, [], "x", 7])
def test_an_answer_of_the_engine_that_makes_no_sense_is_an_error_or_a_session(
    name: str, value: object, host: Host
) -> None:
    with contextlib.suppress(EngineError):
        assert isinstance(running._session(listed(**{name: value}), host), Session)
    with pytest.raises(EngineError):
        running._session({}, host)


def test_a_session_has_what_its_labels_say(host: Host) -> None:
    found = running._session(listed(), host)
    assert (found.name, found.path, found.is_up, found.is_orphaned) == ("n", Path("/a,b\n=c"), True, True)
    assert (found.since, found.ports, found.key, found.network) == (1795479540.0, ("80", "8080"), "", "")
    assert (found.profile, found.sign_in) == ("work", "lent")


@pytest.mark.parametrize("labels", [{}, {"confined-claude.enter": "1"}])
def test_one_of_an_earlier_version_is_known_for_exec(labels: dict[str, str], host: Host) -> None:
    found = listed()
    assert running._session({**found, "Labels": labels}, host).has_enter is bool(labels)
