"""``setup``: what it shows, decides and takes again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from confined_claude.claude import approvals
from confined_claude.claude.carried import HostSetup
from confined_claude.commands import setup as command
from confined_claude.errors import ConfinedError, EngineError, ReviewNeeded
from confined_claude.host import Host
from confined_claude.image import programs
from confined_claude.state.store import state_of

from ..claude.test_setup import Place, put


@pytest.fixture
def place(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    monkeypatch.setattr(programs, "missing", lambda _image, _wanted, _directory: frozenset({"uvx"}))
    place = Place(host)
    put(host.home / ".claude.json", {"mcpServers": {name: {"command": name} for name in ("npx", "uvx", "/opt")}})
    put(place.theirs / "agents/a.md", b"first")
    put(place.theirs / "settings.json", {"model": "first", "sandbox": {"enabled": True}})
    return place


def shown(place: Place, capsys: pytest.CaptureFixture[str], **options: object) -> list[str]:
    given = {"allow": [], "refuse": [], "refresh": False, "shows_note": False, "sure": False, **options}
    command.setup(place.host, **given)  # type: ignore[arg-type]
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_it_shows_what_is_carried_what_waits_and_what_is_left_out_with_the_reason(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.theirs / "skills").mkdir()
    (place.theirs / "skills/out").symlink_to("/etc")
    lines = shown(place, capsys)
    assert "1 in agents/: 1 file, 5 bytes" in lines
    assert "waiting  npx: runs `npx`" in lines
    assert "uvx is not in the session: install it there, or set `packages`" in lines
    assert "left out /opt: runs `/opt`" in lines
    assert "it names /opt, which is not in the session" in lines
    assert "skills/out: it is a link to /etc, outside of the Claude config" in lines
    assert "settings.json, sandbox: the container is the sandbox" in lines


def test_without_an_image_it_says_that_programs_are_not_known(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> frozenset[str]:
        raise EngineError("no image", "")

    monkeypatch.setattr(programs, "missing", fail)
    assert any("is not known" in line for line in shown(place, capsys))


@pytest.mark.parametrize(
    ("network", "allow", "said"),
    [
        ("internet", "", ""),
        ("allowlist", "mcp.example.com:8443", 'it needs `allow = ["mcp.example.com"]`'),
        ("allowlist", "", 'it needs `allow = ["mcp.example.com"]`'),
        ("allowlist", "mcp.example.com", ""),
        ("allowlist", "*.example.com:443", ""),
        ("allowlist", "*.com.example,example.com", 'it needs `allow = ["mcp.example.com"]`'),
        ("none", "", "has no network"),
    ],
)
def test_a_server_elsewhere_that_the_network_does_not_reach_is_named(
    place: Place, capsys: pytest.CaptureFixture[str], network: str, allow: str, said: str
) -> None:
    url = {"type": "http", "url": "https://mcp.example.com/mcp"}
    put(place.host.home / ".claude.json", {"mcpServers": {"remote": url}})
    place.host = place.host._replace(
        environ={"CONFINED_CLAUDE_NETWORK": network, **({"CONFINED_CLAUDE_ALLOW": allow} if allow else {})}
    )
    lines = shown(place, capsys)
    following = lines[lines.index("waiting  remote: talks to https://mcp.example.com") + 1]
    assert said in following if said else following == "Not carried over:"


def test_names_are_allowed_and_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(place, capsys, allow=["npx"], refuse=["uvx"])
    assert [line.split()[0] for line in lines if ": runs" in line] == ["allowed", "refused", "left"]
    assert [line.split()[0] for line in shown(place, capsys, allow=["all"]) if ": runs" in line][:2] == ["allowed"] * 2
    for name in ("nobody", "/opt"):
        with pytest.raises(ConfinedError, match=name):
            shown(place, capsys, allow=[name])


def test_at_a_terminal_it_asks_once_about_each(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["l", "y", "n"])
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question.split(":", maxsplit=1)[0])
        return next(answers)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    shown(place, capsys)
    shown(place, capsys)
    shown(place, capsys)
    assert asked == ["npx", "uvx", "npx"]
    decided = approvals.decisions(state_of(place.host))
    assert [decided[item.digest] for item in HostSetup(place.host).items if not item.problem] == [False, True]


def test_refresh_shows_the_difference_takes_the_hosts_side_and_loses_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    put(place.theirs / "agents/b.md", b"first")
    place.start()
    assert "Sessions have your settings as they are" in shown(place, capsys, refresh=True)[0]
    put(place.inside / "settings.json", {"model": "inside"})
    put(place.inside / "agents/a.md", b"inside")
    (place.inside / "agents/b.md").unlink()
    put(place.theirs / "settings.json", {"model": "second"})
    with pytest.raises(ReviewNeeded):
        shown(place, capsys, refresh=True)
    assert {"-inside", "+first", "agents/b.md (deleted inside)", '-{"model": "inside"}', '+{"model": "second"}'} <= {
        line.strip() for line in capsys.readouterr().out.splitlines()
    }
    assert place.files()["agents/a.md"] == b"inside"
    overview = shown(place, capsys)
    assert any("yours differ from what sessions have" in line for line in overview)
    assert "agents/b.md (deleted)" in overview
    shown(place, capsys, refresh=True, sure=True)
    now = place.files()
    assert (json.loads(now["settings.json"]), now["agents/a.md"], now["agents/b.md"]) == (
        {"model": "second"}, b"first", b"first",
    )  # fmt: skip
    kept = {name.split("/", 2)[2]: text for name, text in now.items() if name.startswith("backups/setup-")}
    assert kept == {"agents/a.md": b"inside", "settings.json": b'{"model": "inside"}'}
    put(place.theirs / "agents/a.md", b"follows again")
    place.start()
    assert place.files()["agents/a.md"] == b"follows again"


def test_the_note_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(place, capsys, shows_note=True)[0] == "# Where you work: a container of Confined Claude"
