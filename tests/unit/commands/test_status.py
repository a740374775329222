"""What `status` finds out, and how it is shown: as text and as JSON."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from confined_claude import console
from confined_claude.commands.accounts import Account
from confined_claude.commands.status import collector
from confined_claude.commands.status.collector import StatusCollector
from confined_claude.commands.status.document import document
from confined_claude.commands.status.model import Data, KnownProject, Problem, SessionUsage, Status
from confined_claude.commands.status.text import Line, lines, table
from confined_claude.commands.status.view import rich_text
from confined_claude.engine.image import Image
from confined_claude.engine.usage import Usage
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Location
from confined_claude.fs.usage import Size
from confined_claude.guard.findings import Finding
from confined_claude.guard.records import FindingCounts, Record, count_findings, locked
from confined_claude.guard.snapshot import Kind
from confined_claude.host import Host
from confined_claude.image import inventory
from confined_claude.image.inventory import ImageInventory, Inventory
from confined_claude.project import Project
from confined_claude.session.listing import Session
from confined_claude.session.mounts import plan_mounts
from confined_claude.settings import Settings
from confined_claude.state import profiles, projects
from confined_claude.state.profiles import Profile
from confined_claude.state.projects import Known
from confined_claude.state.store import records_of
from confined_claude.workspace import Workspace

from ..conftest import PLAIN_ID, as_plain_user, host_below
from ..engine.answering import answering
from ..guarding import put

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs/status.schema.json").read_text())
HOME = Path("/home/someone")
HOST = Host(1000, 1000, HOME, {}, HOME, HOME, HOME)
NOW = time.mktime((2026, 11, 24, 15, 0, 0, 0, 0, -1))
HOSTILE = "a\nb\x1b[31m[bold]x[/bold]\u202e"


def session(name: str = "confined-claude-demo", **changed: Any) -> Session:
    demo = Project(HOME / "demo")
    ids = (demo.id, demo.root, "1" * 16, "1000:1000")
    made = Session("0" * 64, name, "confined-claude:abc", NOW - 3600, True, *ids, True)
    return made._replace(**changed)


def image(digit: str, name: str, version: str, size: int, *, is_used: bool = False) -> Image:
    return Image(f"sha256:{digit * 64}", (name,), {}, 0.0, ((digit, size),), is_used, version)


def everything() -> Status:
    """Return a status with something of everything."""
    demo = Project(HOME / "demo")
    gone = Known("gone-00000000", HOME / "go ne", NOW - 86400 * 30)
    used = image("a", "confined-claude:abc", "2.1.330", 1_040_000_000, is_used=True)
    return Status(
        time=NOW,
        project=demo,
        data=(
            Data("venvs", Location(demo.root, (".confined-claude", "venvs")), "clean", Size(120_000_000)),
            Data("records", Location(HOME / ".local/state/x", (demo.id,)), "clean --all", Size(8192)),
        ),
        shared=(
            Data(
                "pip-cache", Location(HOME / ".local/share/x/pip-cache"), "clean-global", Size(3_000_000, unreadable=1)
            ),
        ),
        sessions=(
            SessionUsage(session(), "2.1.330", Usage(312_000_000, 3725.2)),
            SessionUsage(session("confined-claude-demo-2", is_up=False)),
            SessionUsage(session("confined-claude-left", has_owner=False), "", Usage(1_000_000, 2.0), 12.4),
            SessionUsage(session("confined-claude-cut", has_owner=False, is_up=False)),
        ),
        images=ImageInventory((used,), (), 500_000, (image("b", "confined-claude:def", "2.1.331", 2_000_000_000),)),
        projects=(
            KnownProject(Known(demo.id, demo.root, NOW - 60), True, Size(120_008_192), FindingCounts(1, 2, 1, 3)),
            KnownProject(gone, False, Size(4096)),
            KnownProject(Known("odd-11111111", HOME / HOSTILE, NOW), True, Size(0, is_cut_off=True)),
            KnownProject(Known("broken-22222222", None, NOW), False, Size(4096)),
        ),
        problems=(),
        accounts=(
            Account(Profile("default", HOME / ".claude"), Location(HOME), HOST, "credentials", "me@x.invalid", False),
            Account(Profile("work", HOME / HOSTILE), Location(HOME), HOST, "ANTHROPIC_API_KEY", "", True),
        ),
    )


def text(found: Status, width: int | None = None, height: int | None = None) -> str:
    return "\n".join(line.text for line in lines(found, HOME, width, height))


def known(host: Host, name: str = "demo") -> Project:
    """Make a project of this host's that exists and is known."""
    root = host.home / name
    root.mkdir()
    projects.remember(records_of(host, Project(root).id), root)
    return Project(root)


@pytest.fixture
def collect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Status]:
    """Collects a status in a project, or in the home directory, on a machine without an engine."""
    monkeypatch.setenv("PATH", "")

    def collect(host: Host, current: Project | None = None) -> Status:
        monkeypatch.chdir(host.home if current is None else current.root)
        return StatusCollector(without_engine(host)).collect()

    return collect


def without_engine(host: Host) -> Host:
    return host._replace(environ={"DOCKER_HOST": os.environ["DOCKER_HOST"], "PATH": ""})


Collect = Callable[..., Status]


# What is collected


def test_without_an_engine_the_rest_is_known(host: Host, collect: Collect) -> None:
    demo = known(host)
    put(demo.scaffold / "venvs/main/file", b"x" * 100_000)
    put(host.data / "projects" / demo.id / "claude-config/file", b"x" * 5000)
    put(host.data / "shared/pip-cache/file", b"x" * 50_000)
    put(host.state / "logs/build.log", b"x" * 5000)
    found = collect(host, demo)
    assert found.sessions is found.images is None
    assert [problem.about for problem in found.problems] == ["engine"]
    assert [(data.name, data.removed_by) for data in found.data] == [
        ("venvs", "clean"),
        ("claude-config", "clean --all"),
        ("records", "clean --all"),
    ]
    assert [(data.name, data.removed_by) for data in found.shared] == [
        ("pip-cache", "clean-global"),
        ("logs", "clean-global"),
    ]
    (entry,) = found.projects
    assert entry.exists
    assert entry.size.bytes == sum(data.size.bytes for data in found.data) > 100_000
    assert "Not known." in text(found)


def test_the_versions_of_many_new_images_are_no_reason_to_show_none(
    host: Host, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine:
        def tool_images(self, _is_wanted: object) -> list[Image]:
            return [image(digit, f"confined-claude:{digit}", "", 100, is_used=digit == "3") for digit in "123"]

        def layers_beside(self, _images: object) -> set[str]:
            return set()

        def file_in_image(self, _identity: str, _path: str) -> bytes:
            clock.now += 60
            return b'{"version": "2.1.9"}'

    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(inventory, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(collector, "Images", Engine)
    monkeypatch.setattr(collector.listing, "sessions", lambda _host: [])
    found = collect(host)
    assert "engine" not in [problem.about for problem in found.problems]
    assert found.images is not None
    assert [its.claude_version for its in found.images.others] == ["2.1.9", "", ""]  # the one that is used comes first


def test_where_there_can_be_no_project_the_rest_is_known(host: Host, collect: Collect) -> None:
    demo = known(host)
    found = collect(host)
    assert found.project is None
    assert "project" in [problem.about for problem in found.problems]
    assert [entry.known.root for entry in found.projects] == [demo.root]
    assert "cannot be a project" in text(found)


def test_known_projects_come_from_the_state_alone(host: Host, collect: Collect) -> None:
    demo, gone = known(host), known(host, "gone")
    put(demo.root / "other/.confined-claude/config.toml")
    put(host.data / "projects" / gone.id / "claude-config/file", b"x" * 50_000)
    gone.root.rmdir()
    status = collect(host)
    found = {entry.known.root: entry for entry in status.projects}
    assert {root: entry.exists for root, entry in found.items()} == {demo.root: True, gone.root: False}
    assert found[gone.root].size.bytes > 50_000
    assert f"confined-claude clean --all --project {gone.id}" in text(status)


def test_a_project_whose_data_is_elsewhere_is_not_gone(host: Host, collect: Collect) -> None:
    known(host)
    (found,) = collect(host._replace(data=host.home / "not/there")).projects
    assert found.exists


def test_a_project_that_became_a_link_is_gone(host: Host, collect: Collect) -> None:
    old, new = known(host, "old"), known(host, "new")
    old.root.rmdir()
    old.root.symlink_to(new.root)
    found = {entry.known.id: entry.exists for entry in collect(host).projects}
    assert found == {old.id: False, new.id: True}


def test_each_profile_is_listed_with_its_account_and_its_data(host: Host, collect: Collect) -> None:
    profiles.remember(host, profiles.find(host, "work"))
    work = host.data / "profiles/work/claude-config"
    put(work / ".credentials.json", json.dumps({"claudeAiOauth": {"accessToken": "t", "refreshToken": "r"}}))
    put(work / ".claude.json", json.dumps({"oauthAccount": {"emailAddress": "me@work.invalid"}}))
    found = collect(host, known(host))
    assert [(each.profile.name, each.in_words, each.is_current) for each in found.accounts] == [
        ("default", "not signed in", True),
        ("work", "me@work.invalid", False),
    ]
    assert [each.removed_by for each in found.shared if each.name == "profile work"] == ["clean-global --all"]


def test_what_an_interrupted_clean_left_is_listed(host: Host, collect: Collect) -> None:
    demo = known(host)
    places = [demo.scaffold, host.data, host.data / "shared", host.state]
    for place in places:
        put(place / ".removed-0123456789ab/x", b"x" * 50_000)
    found = collect(host, demo)
    left = [data for data in (*found.data, *found.shared) if data.name == "left by a clean"]
    assert [data.location.path.parent for data in left] == places
    assert all(data.size.bytes > 50_000 for data in left)


def test_records_that_cannot_be_read_are_reported(plain_folder: Path, collect: Collect) -> None:
    host = host_below(plain_folder)
    demo = known(host)
    directory = host.state / "projects"
    for path in (plain_folder, *plain_folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, PLAIN_ID, PLAIN_ID)
    (directory / demo.id).chmod(0)
    (entry,) = as_plain_user(lambda: collect(host)).projects
    assert (entry.known.id, entry.known.root, entry.exists) == (demo.id, None, False)
    directory.chmod(0)
    found = as_plain_user(lambda: collect(host))
    assert found.projects == ()
    assert "records" in {problem.about for problem in found.problems}
    assert str(directory) in text(found)


def test_what_a_session_put_in_the_place_of_our_directories_is_not_followed(host: Host, collect: Collect) -> None:
    demo = known(host)
    put(host.home / "large/file", b"x" * 1_000_000)
    put(demo.scaffold / "local-bin/tool", b"x" * 5000)
    (demo.scaffold / "venvs").symlink_to(host.home / "large")
    os.mkfifo(demo.scaffold / "local-bin/fifo")
    found = collect(host, demo)
    assert "project" in [problem.about for problem in found.problems]
    assert 5000 < found.projects[0].size.bytes < 100_000


def test_what_is_open_to_review_is_read_without_a_lock(host: Host) -> None:
    demo = known(host)
    records = records_of(host, demo.id)
    assert count_findings(records) == count_findings(records.at("missing")) == FindingCounts()
    red = Finding(".envrc", Kind.FILE, True, "your shell", "new", None, b"x", "", "1")
    yellow = red._replace(path="Makefile", red=False)
    with locked(records) as kept:
        kept.save_findings([red, yellow, yellow._replace(path="other")])
        with kept.begin("a" * 16, Record()):
            kept.begin("b" * 16, Record()).close()
            kept.mark_unscanned("b" * 16)
            assert count_findings(records) == FindingCounts(1, 2, 1)
        assert count_findings(records) == FindingCounts(1, 2, 2)
    put(host.state / "projects" / demo.id / "findings.json", "{")
    with pytest.raises(ConfinedError, match="damaged"):
        count_findings(records)


def test_damaged_records_of_one_project_hide_nothing_of_the_others(host: Host, collect: Collect) -> None:
    demo, broken = known(host), known(host, "broken")
    put(host.state / "projects" / broken.id / "findings.json", "{")
    put(host.state / "projects" / broken.id / "project.json", "{")
    found = collect(host, demo)
    assert {entry.known.id: entry.known.root for entry in found.projects} == {demo.id: demo.root, broken.id: None}
    assert "findings.json is damaged" in text(found)
    assert f"confined-claude clean --all --project {broken.id}" in text(found)
    jsonschema.validate(document(found), SCHEMA)


def test_sizes_are_measured_again_only_of_what_is_new(
    host: Host, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = known(host)
    monkeypatch.chdir(demo.root)
    put(demo.scaffold / "venvs/file", b"x" * 5000)
    again = StatusCollector(without_engine(host))
    first = again.collect()
    put(demo.scaffold / "venvs/file", b"x" * 500_000)
    assert again.collect().data == first.data
    other = known(host, "other")
    assert {entry.known.root for entry in again.collect().projects} == {demo.root, other.root}


def test_every_directory_that_is_mounted_is_counted(host: Host, collect: Collect) -> None:
    demo = known(host)
    for chosen in (Settings(), Settings(claude_config="project", caches="project")):
        for mount in plan_mounts(Workspace(host, demo, chosen)):
            if mount.parts:
                put(mount.source / "file", b"x" * 5000)
    put(host.state / "logs/file")
    found = collect(host, demo)
    counted = [data.location.path for data in (*found.data, *found.shared)]
    missing = [path for path in host.home.rglob("file") if not any(place in path.parents for place in counted)]
    assert missing == []


# JSON


def test_json_is_as_documented() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(document(everything()))), SCHEMA)
    nothing = Status(NOW, None, (), (), None, None, (), (Problem("engine", "It is gone."), Problem("project", "x")))
    jsonschema.validate(document(nothing), SCHEMA)


def test_the_schema_refuses_what_it_does_not_know() -> None:
    for change in ({"more": 1}, {"version": 2}, {"time": "today"}, {"sessions": [{"name": "x"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**document(everything()), **change}, SCHEMA)


def test_json_says_all_of_it() -> None:
    found = document(everything())
    assert [item["state"] for item in found["sessions"]] == ["running", "starting", "left behind", "left behind"]
    assert found["projects"][1]["forgotten_by"] == ["confined-claude", "clean", "--all", "--project", "gone-00000000"]
    assert found["projects"][2]["path"] == f"{HOME}/{HOSTILE}"
    assert not found["projects"][2]["is_whole"]
    assert found["projects"][0]["findings"] == {
        "red": 1, "yellow": 2, "older": 3, "sessions_to_look_through": 1,
    }  # fmt: skip


# Text


def test_the_text_as_it_is() -> None:
    shown = text(everything())
    assert shown.startswith(
        """\
Sessions
  confined-claude-demo    ~/demo  since today 14:00  Claude 2.1.330  memory 312.0 MB  cpu 1:02:05
  confined-claude-demo-2  ~/demo  since today 14:00                                                starting
  confined-claude-left    ~/demo  since today 14:00                  memory 1.0 MB    cpu 12 %     left behind
  confined-claude-cut     ~/demo  since today 14:00                                                left behind
  confined-claude-left: its terminal is gone.
    `confined-claude run` in ~/demo joins it.
    `confined-claude stop --session confined-claude-left` ends it.
  confined-claude-cut: it was interrupted; the next start removes the rest of it.

This project: ~/demo
  venvs    120.0 MB  .confined-claude/venvs
"""
    )
    for line in (
        "  pip-cache  at least 3.0 MB  ~/.local/share/x/pip-cache",
        "  default  me@x.invalid       config from ~/.claude",
        "  confined-claude:abc  Claude 2.1.330  1.0 GB  a container uses it",
        "  500.0 kB of it is in images that nothing uses.",
        "  Built by another user or elsewhere; `docker rmi NAME` removes one:",
        "  confined-claude:def  Claude 2.1.331  2.0 GB",
        "  ~/demo  1 red  2 yellow  1 session not scanned yet  3 older (review --all)",
        "  ~/go ne: gone; 4.1 kB are still stored. To delete them:",
        "    confined-claude clean --all --project gone-00000000",
        "  broken-22222222: its record cannot be read; 4.1 kB are still stored. To delete them:",
        "  confined-claude clean               deletes this project's venvs and local-bin: 120.0 MB",
        "  confined-claude clean --all         deletes its data and records too: 8.2 kB, and Claude's history of it",
        "  confined-claude clean-global        deletes caches and logs of all projects: at least 3.0 MB, "
        "and unused images: 500.0 kB",
        "  confined-claude clean-global --all  deletes Claude's own config too: 0 bytes",
    ):
        assert line in shown.splitlines()


def test_a_session_is_shown_with_its_network_and_ports() -> None:
    listed = session(network="allowlist", ports=("80", "8080"), profile="work")
    found = everything()._replace(sessions=(SessionUsage(listed), SessionUsage(session("old"))))
    shown = text(found).splitlines()[1:3]
    assert shown[0].endswith("  network allowlist, localhost:80, localhost:8080  profile work")
    assert shown[1] == "  old                   ~/demo  since today 14:00"
    as_json = document(found)
    jsonschema.validate(as_json, SCHEMA)
    assert [(each["network"], each["ports"]) for each in as_json["sessions"]] == [("allowlist", [80, 8080]), (None, [])]


@pytest.mark.parametrize("width", [None, 200, 80, 40, 20, 1])
def test_nothing_is_lost_however_narrow(width: int | None) -> None:
    shown = text(everything(), width)
    for word in (
        "confined-claude-demo-2", "confined-claude-cut", "~/demo", "2.1.330", "312.0 MB", "1:02:05", "12 %", "starting",
        "120.0 MB", "pip-cache", "confined-claude:abc", "500.0 kB", "1 red", "2 yellow", "~/go ne", "gone",
        "more than 0 bytes", "confined-claude clean-global", "confined-claude stop --session confined-claude-left",
    ):  # fmt: skip
        assert word.split()[-1] in shown, word
    if width is not None and width >= 80:
        assert max(map(len, shown.splitlines())) <= 140


def test_in_forty_columns_only_names_and_commands_are_longer() -> None:
    longer = [line for line in text(everything(), 40).splitlines() if len(line) > 40]
    allowed = r"confined-claude|docker rmi|To delete them|images that nothing|counts once|today"
    assert [line for line in longer if not re.search(allowed, line)] == []


@pytest.mark.parametrize("width", [None, 40])
def test_nothing_a_session_named_steers_the_terminal(width: int | None) -> None:
    odd = session(f"name{HOSTILE}", path=HOME / HOSTILE, has_owner=False)
    odd_image = image("1", HOSTILE, HOSTILE, 1)
    found = everything()._replace(
        sessions=(SessionUsage(odd, HOSTILE),),
        problems=(Problem("records", HOSTILE, HOSTILE),),
        images=ImageInventory((odd_image,), (), 0, (odd_image,)),
    )
    shown = text(found, width)
    assert all(line.isprintable() for line in shown.splitlines())
    assert "a\\nb\\x1b[31m[bold]x[/bold]\\u202e" in shown


def test_markup_stays_text() -> None:
    listed = [Line("[bold red]x[/]", "bold")]
    assert rich_text(listed).plain == "[bold red]x[/]"


def test_wide_characters_are_aligned() -> None:
    rows = list(table([("日本", "x"), ("abcd", "y")], None))
    assert [line.text for line in rows] == ["  日本  x", "  abcd  y"]


@pytest.mark.parametrize("height", [60, 49, 46])
def test_a_live_view_shortens_the_list_of_known_projects_alone(height: int) -> None:
    many = tuple(
        KnownProject(Known(f"p-{number:08}", HOME / f"p-{number}", NOW), True, Size(1)) for number in range(100)
    )
    shown = text(everything()._replace(projects=many), 120, height).splitlines()
    assert len(shown) <= height
    assert "  … and more: `confined-claude status` lists them all." in shown
    assert any(line.startswith("  confined-claude clean-global") for line in shown)
    assert len(text(everything()._replace(projects=many), 120).splitlines()) > 100


def test_an_engine_that_never_answers_is_given_up(
    host: Host, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(collector, "_ENGINE_SECONDS", 0.01)
    monkeypatch.setattr(collector.listing, "sessions", lambda _host: released.wait(60))
    (problem,) = collect(host, known(host)).problems
    released.set()
    assert (problem.about, problem.message) == ("engine", "The engine did not answer within 0 s.")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Screen(), io.StringIO()])
def test_a_bar_is_for_terminals_and_for_what_takes_long(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.Progress("[bold]Adding up") as adding:
        adding.show(1, 1000)
        assert stream.getvalue() == ""
        clock[0] = 0.6
        adding.show(3, 1000)
    assert ("3/1000\x1b[0m [bold]Adding up" in stream.getvalue()) is stream.isatty()


def test_each_image_says_what_needs_it() -> None:
    used, newest, old = (image(name, name, "", 1, is_used=name == "used") for name in ("used", "newest", "old"))
    shown = text(everything()._replace(images=ImageInventory((used, newest, old), (old,))))
    for line in ("used    1 byte  a container uses it", "newest  1 byte  for the next start", "old     1 byte  unused"):
        assert f"  {line}\n" in shown


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("installed", "./install.sh --uninstall"),
        ("pipx_metadata.json", "pipx uninstall confined-claude"),
        ("uv-receipt.toml", "uv tool uninstall confined-claude"),
        ("none", "pip uninstall confined-claude"),
    ],
)
def test_what_uninstalls_the_tool_is_what_has_installed_it(
    mark: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / mark).touch()
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert any(line.startswith(f"  {command}  ") for line in text(everything()).splitlines())


def test_what_is_known_of_the_images_is_not_asked_again_for_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many containers each list of them takes the engine long, and each image takes two requests."""
    host = host_below(tmp_path)
    held = {"Id": "c", "Names": ["/n"], "Created": 1, "State": "running", "Labels": {}, "ImageID": "7"}
    containers = [{**held, "Image": f"confined-claude:{tag}"} for tag in ("abc", "gone")]
    image = {"Id": "7", "RepoTags": ["confined-claude:abc"], "RootFS": {"Layers": []}, "Config": {}}
    answers: dict[bytes, Any] = {
        b"containers/json": containers,
        b"images/json": [image],
        b"images/confined-claude:gone/": None,
        b"/history": [{"Size": 9}],
        b"images/7/": image,
    }
    ok, missing = b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 404 Not Found\r\n\r\n"
    replies = {part: missing if said is None else ok + json.dumps(said).encode() for part, said in answers.items()}
    monkeypatch.setattr(Inventory, "claude_version", lambda _self, _identity, **_until: "2.1")
    monkeypatch.setattr(StatusCollector, "_usage_of", lambda _self, _containers: {})
    with answering(replies, tmp_path, monkeypatch) as asked:
        sessions, _ = StatusCollector(host)._ask_engine()
    assert [each.claude_version for each in sessions] == ["2.1", ""]
    lines = [request.partition(b" HTTP")[0].partition(b"?")[0] for request in asked]
    assert lines.count(b"GET /images/7/json") == 1
    assert (
        lines.count(b"GET /containers/json") == 3
    )  # the sessions, what uses images, and the same for one that is gone
    assert b"GET /images/confined-claude:abc/json" not in lines
