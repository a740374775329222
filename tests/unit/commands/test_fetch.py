"""What ``fetch`` says where git fails, whatever that prints, and whom it waits for.

The rest is in tests/engine and tests/redteam.
"""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from confined_claude.commands import fetch as module
from confined_claude.engine import containers
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.guard import beside, isolation, repository
from confined_claude.guard.isolation import Unfetched
from confined_claude.guard.records import Record, locked
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.workspace import Workspace

from ..guarding import commit, git, made_repository, put


@pytest.fixture
def one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy of a repository has something to fetch."""
    made_repository(tmp_path)
    put(tmp_path / "copies/1/objects/x")
    waiting = Unfetched(("main",), tmp_path, Location(tmp_path, ("copies", "1")), "main")
    copies = SimpleNamespace(unfetched=[waiting])
    monkeypatch.setattr(module, "current_project", lambda _host: None)
    workspace = SimpleNamespace(project=SimpleNamespace(root=tmp_path))
    monkeypatch.setattr(module.Workspace, "load_leniently", lambda *_: workspace)
    for name, value in (("review", copies), ("Branches", SimpleNamespace(changed=dict))):
        monkeypatch.setattr(module.guard_review, name, lambda _workspace, value=value: value)
    monkeypatch.setattr(module, "undisturbed", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.usefixtures("one_copy")
def test_without_git_that_is_what_is_said(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfinedError, match=r"^git is missing\."):
        module.fetch(host)


@pytest.mark.usefixtures("one_copy")
def test_the_last_words_of_git_are_the_reason_and_no_more_of_it_is_held(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "#!/bin/sh\nhead -c 32000000 /dev/zero | tr '\\0' x >&2\nprintf '\\nfatal: no\\033[31m\\n' >&2\nexit 128\n"
    put(tmp_path / "bin/git", script).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    tracemalloc.start()
    try:
        with pytest.raises(ConfinedError, match=r"^git could not fetch: fatal: no\S*31m") as caught:
            module.fetch(host)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert "\033" not in caught.value.message
    assert f"the commits stay in {tmp_path}/copies/1" in caught.value.hint
    assert os.listdir(tmp_path / "copies") == ["1"]


@pytest.mark.parametrize("is_beside", [False, True])
@pytest.mark.parametrize("is_isolated", [False, True])
def test_a_session_counts_that_can_write_the_repository(
    *,
    is_isolated: bool,
    is_beside: bool,
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It could lead what git writes elsewhere, by links in the repository."""
    root = made_repository(tmp_path / "project")
    put(root / "x")
    commit(root)
    workspace = Workspace(host, Project(root))
    current = made_repository(tmp_path / "current") if is_beside else root
    if is_beside:  # sessions of another project write the repository
        around = Workspace(host, Project(current))
        beside.remember(around.state, [root])
        workspace = beside.workspace_at(around, root)
    with locked(workspace.state) as records:
        found = repository.find(root)
        assert found is not None
        plan = isolation.plan_copy(found, workspace.data.at(isolation.DIRECTORY), records)
        isolation.make_copy(plan, records)
        owner = records.begin("k" * 16, Record(is_isolated=is_isolated))
    git(root, "--git-dir", str(plan.mount.source), "commit", "--quiet", "--allow-empty", "--message", "work")
    monkeypatch.chdir(current)
    monkeypatch.setattr(containers, "containers", lambda _wanted: [])
    with contextlib.closing(owner):
        if is_isolated:
            module.fetch(host)
            assert "Fetched confined/main." in capsys.readouterr().out
        else:
            with pytest.raises(
                ConfinedError, match=r"^Nothing was fetched into .*/project\. A session is starting or ending\."
            ):
                module.fetch(host)
