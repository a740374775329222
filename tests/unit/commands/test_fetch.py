"""What ``fetch`` says where git fails, whatever that prints: the rest is in tests/engine and tests/redteam."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from confined_claude.commands import fetch as module
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.guard.isolation import Unfetched
from confined_claude.host import Host

from ..guarding import put


@pytest.fixture(autouse=True)
def one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy of a repository has something to fetch."""
    put(tmp_path / "copies/1/objects/x")
    waiting = Unfetched(("main",), tmp_path, Location(tmp_path / "copies", ("1",)), "main")
    copies = SimpleNamespace(unfetched=[waiting])
    monkeypatch.setattr(module, "current_project", lambda _host: None)
    monkeypatch.setattr(module.Workspace, "load_leniently", lambda *_: None)
    for name, value in (("refuse_while_red", None), ("review", copies), ("Branches", None)):
        monkeypatch.setattr(module.guard_review, name, lambda _workspace, value=value: value)


def test_without_git_that_is_what_is_said(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfinedError, match=r"^git is missing\."):
        module.fetch(host)


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
    assert "git fsck" in caught.value.hint
    assert os.listdir(tmp_path / "copies") == ["1"]
