"""Sidecars that never started: which of them are nobody's, and what removes them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from confined_claude.commands import clean, uninstall
from confined_claude.commands.clean import Options
from confined_claude.commands.doctor import records as doctor
from confined_claude.engine import labels
from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session import orphans, strays
from confined_claude.state import liveness
from confined_claude.state.store import records_of
from confined_claude.workspace import Workspace

from ..fake_engine import FakeEngine, docker

__all__ = ["docker"]
# Lists the sidecars, and other containers where those are asked for.
LIST = """case $2 in *confined-claude=sidecar*) cat sidecars ;; *) cat sessions ;; esac"""


def listed(identity: str, **changes: Any) -> dict[str, Any]:
    """A container as the engine lists it: by default a sidecar that was made two minutes ago."""
    marks = {labels.KEY: f"key-of-{identity}", labels.PROJECT: "app-01234567"}
    made = {"Id": identity, "Names": [f"/{identity}"], "Image": "", "State": "created", "Labels": marks}
    return {**made, "Created": int(time.time()) - 120, **changes}


def there_are(docker: FakeEngine, *sidecars: dict[str, Any], sessions: tuple[dict[str, Any], ...] = ()) -> None:
    for name, found in (("sidecars", sidecars), ("sessions", sessions)):
        (docker.directory / name).write_text(json.dumps(found))
    docker.does(LIST, "ps")
    # What is removed is listed no more.
    docker.does("[ $1 != stray ] || echo '[]' >sidecars", "rm")


def removed(docker: FakeEngine) -> list[str]:
    return [call for call in docker.calls() if call.startswith("rm ")]


@pytest.mark.parametrize(
    ("changes", "is_stray"),
    [
        ({}, True),
        ({"State": "exited"}, True),
        ({"State": "running"}, False),
        ({"State": "paused"}, False),
        ({"Created": time.time() + 3600}, False),
    ],
)
def test_only_what_does_not_run_and_has_had_its_time_is_nobodys(
    changes: dict[str, Any], is_stray: bool, docker: FakeEngine, host: Host
) -> None:
    there_are(docker, listed("stray", **changes))
    assert strays.sidecars(host) == (["stray"] if is_stray else [])


def test_a_sidecar_is_its_sessions_while_that_is_there_or_about_to_be(docker: FakeEngine, host: Host) -> None:
    there_are(docker, listed("one"), listed("two"), sessions=(listed("session", Labels=listed("two")["Labels"]),))
    assert strays.sidecars(host) == ["one"]
    with records_of(host, "app-01234567").make() as records:
        records.write(f"key-of-one{liveness.SUFFIX}", b"")
        owner = liveness.own(records, "key-of-one")
    assert strays.sidecars(host) == []
    owner.close()
    assert strays.sidecars(host) == ["one"]


@pytest.mark.parametrize("is_global", [False, True])
def test_clean_lists_it_and_removes_it(
    *,
    is_global: bool,
    docker: FakeEngine,
    host: Host,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path / "app")
    there_are(docker, listed("stray"))

    def clean_up(**options: bool) -> str:
        if is_global:
            clean.clean_global(host, Options(**options))
        else:
            clean.clean(host, None, Options(**options))
        return capsys.readouterr().out

    assert "1 container that never started" in clean_up(dry_run=True)
    with pytest.raises(ConfinedError, match="There is no terminal"):
        clean_up()
    assert removed(docker) == []
    assert "1 container that never started" in clean_up(sure=True)
    assert removed(docker) == ["rm stray"]
    assert clean_up(sure=True) == "There is nothing to clean.\n"


def test_a_start_that_finds_another_one_cut_off_removes_it(docker: FakeEngine, host: Host, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    workspace = Workspace(host, Project(tmp_path / "app"))
    there_are(docker, listed("stray"))
    assert orphans.recover_interrupted(workspace) is None
    assert not (docker.directory / "calls").exists(), "while no record tells of one, the engine is not asked"
    with records_of(host, "other-01234567").make() as records:
        records.write(f"key{liveness.SUFFIX}", b"")
    assert orphans.recover_interrupted(workspace) is None
    assert removed(docker) == ["rm stray"]


def test_the_uninstaller_removes_it(docker: FakeEngine, host: Host) -> None:
    there_are(docker, listed("stray"))
    assert list(uninstall.images(host)) == []
    assert removed(docker) == ["rm stray"]


def test_doctor_tells_of_it(docker: FakeEngine, host: Host) -> None:
    there_are(docker, listed("stray"))
    (found,) = doctor.sessions(host)
    assert (found.status, found.what) == ("warning", "1 sidecar that never started")
    there_are(docker)
    (found,) = doctor.sessions(host)
    assert found.what == "0 running, nothing left behind"
