"""The user's own setup follows the host's, within bounds, and never what a session wrote itself."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.claude import setup
from confined_claude.claude.carried import HostSetup
from confined_claude.claude.setup import Setup
from confined_claude.errors import ConfinedError
from confined_claude.fs.directory import Directory
from confined_claude.host import Host
from confined_claude.workspace import shared_data

from ..conftest import as_plain_user, full_disk, host_below, mode_of, tree
from .test_credentials import put

NESTED = {
    "CLAUDE.md": b"# me",
    "keybindings.json": b"{}",
    "agents/nested/a.md": b"agent",
    "commands/c.md": b"command",
    "output-styles/o.md": b"style",
    "rules/r.md": b"rule",
    "skills/s/SKILL.md": b"skill",
    "themes/t.json": b"{}",
}


class Place:
    """A host's Claude config, and the container's one that follows it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.theirs = host.home / ".claude"
        self.location = shared_data(host).at("claude-config")
        self.inside = self.location.path
        self.theirs.mkdir(exist_ok=True)

    @property
    def setup(self) -> Setup:
        return Setup(self.location, self.host, HostSetup(self.host))

    def start(self, mode: str = "follow", scripts: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Do what a start does, and return what it says."""
        setup.make(self.location, self.host)
        return Setup(self.location, self.host, HostSetup(self.host), scripts).bring(mode)

    def files(self) -> dict[str, bytes]:
        paths = [path for path in self.inside.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.inside)): path.read_bytes() for path in paths}

    def left_out(self) -> dict[str, str]:
        return self.setup.offer().left_out


@pytest.fixture
def place(host: Host) -> Place:
    return Place(host)


# What is copied


def test_the_setup_is_copied_private_and_the_hosts_stays_as_it_is(place: Place) -> None:
    for name, content in {**NESTED, "settings.json": b'{"model": "x"}'}.items():
        put(place.theirs / name, content)
    before = tree(place.theirs)
    place.start()
    assert place.files() == {**NESTED, "settings.json": b'{"model": "x"}'}
    assert all(mode_of(path) == (0o700 if path.is_dir() else 0o600) for path in place.inside.rglob("*"))
    assert tree(place.theirs) == before


def test_nothing_else_of_the_hosts_config_is_copied(place: Place) -> None:
    for name in ("history.jsonl", "projects/p/s.jsonl", "plugins/x", ".claude.json", ".credentials.json",
                 "settings.local.json", "sessions/1.key", "CLAUDE.md.bak", "hooks/unused.sh"):  # fmt: skip
        put(place.theirs / name, b"private")
    place.start()
    assert place.files() == {}


def test_a_script_stays_executable_for_its_owner_alone(place: Place) -> None:
    put(place.theirs / "skills/s/run.sh", b"#!/bin/sh\n")
    place.start()
    assert mode_of(place.inside / "skills/s/run.sh") == 0o600
    (place.theirs / "skills/s/run.sh").chmod(0o4755)
    place.start()
    assert mode_of(place.inside / "skills/s/run.sh") == 0o700


@pytest.mark.parametrize(
    "name",
    """.env .env.local prod.env server.key id_ed25519 id_rsa.pub cert.pem .netrc .npmrc credentials.json
    .credentials.json secrets.yaml api_key.txt service-account-1.json .ssh .aws""".split(),
)
def test_what_looks_like_a_secret_is_never_copied(name: str, place: Place) -> None:
    put(place.theirs / "skills/s/SKILL.md", b"skill")
    put(place.theirs / "skills/s" / name, b"secret")
    (place.theirs / "skills/s/harmless.md").symlink_to(name)
    place.start()
    assert place.files() == {"skills/s/SKILL.md": b"skill"}
    assert "looks like a secret" in place.left_out()[f"skills/s/{name}"]


def test_a_private_key_by_any_name_is_never_copied(place: Place) -> None:
    put(place.theirs / "skills/s/notes.md", b"\n-----BEGIN OPENSSH PRIVATE KEY-----\nmade up")
    put(place.theirs / "skills/s/about.md", b"A key begins with -----BEGIN OPENSSH PRIVATE KEY-----")
    place.start()
    assert list(place.files()) == ["skills/s/about.md"]
    records = tree(place.host.state)
    place.start()
    assert tree(place.host.state) == records  # nor looked at again
    put(place.theirs / "skills/s/notes.md", b"harmless now")
    place.start()
    assert place.files()["skills/s/notes.md"] == b"harmless now"


def test_the_memory_brings_what_it_imports_from_the_config(place: Place) -> None:
    put(place.theirs / "CLAUDE.md", f"""See @docs/one.md, @~/.claude/docs/two.md and @{place.theirs}/docs/three.md
        but not `@docs/code.md`, @someone, @~/outside.md, @projects/p.md
        ```
        @docs/block.md
        ```""".encode())  # fmt: skip
    for name in ("two", "three", "code", "block", "five"):
        put(place.theirs / f"docs/{name}.md", name.encode())
    put(place.theirs / "docs/one.md", b"@four.md")
    put(place.theirs / "docs/four.md", b"@../CLAUDE.md")
    put(place.theirs / "projects/p.md", b"private")
    put(place.host.home / "outside.md", b"outside")
    place.start()
    assert {name for name in place.files() if name != "CLAUDE.md"} == {
        f"docs/{name}.md" for name in ("one", "two", "three", "four")
    }
    assert b"@/home/claude/.claude/docs/three.md" in place.files()["CLAUDE.md"]
    assert "@~/outside.md" in place.left_out()


# Links, sizes and kinds


def test_links_are_followed_in_the_config_and_nowhere_else(place: Place, tmp_path: Path) -> None:
    put(tmp_path / "dotfiles/me.md", b"# me")
    put(tmp_path / "dotfiles/skill/SKILL.md", b"skill")
    put(place.theirs / "mine/agents/a.md", b"agent")
    put(place.theirs / "projects/p/talk.jsonl", b"private")
    (place.theirs / "CLAUDE.md").symlink_to(tmp_path / "dotfiles/me.md")
    (place.theirs / "agents").symlink_to("mine/agents")
    (place.theirs / "skills").mkdir()
    (place.theirs / "skills/absolute").symlink_to(place.theirs / "mine/agents")
    (place.theirs / "skills/out").symlink_to(tmp_path / "dotfiles/skill")
    (place.theirs / "skills/above").symlink_to("../../.ssh")
    (place.theirs / "skills/talks").symlink_to("../projects")
    place.start()
    assert place.files() == {"agents/a.md": b"agent", "skills/absolute/a.md": b"agent"}
    assert not any(path.is_symlink() for path in place.inside.rglob("*"))
    assert set(place.left_out()) == {"CLAUDE.md", "skills/out", "skills/above", "skills/talks"}
    assert str(tmp_path / "dotfiles/me.md") in place.left_out()["CLAUDE.md"]


@pytest.mark.timeout(120)
def test_loops_of_links_end(place: Place) -> None:
    put(place.theirs / "skills/a/SKILL.md", b"skill")
    (place.theirs / "skills/a/up").symlink_to("..")
    (place.theirs / "skills/a/home").symlink_to(place.theirs)
    (place.theirs / "skills/self").symlink_to("self")
    (place.theirs / "settings.json").symlink_to("settings.json")
    place.start()
    assert place.files()["skills/a/SKILL.md"] == b"skill"
    assert len(list(place.inside.rglob("*"))) < 20


@pytest.mark.timeout(120)
def test_what_is_no_file_is_left_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place.theirs / "agents/a.md", b"agent")
    os.mkfifo(place.theirs / "agents/fifo")
    os.mkfifo(place.theirs / "CLAUDE.md")
    os.mkfifo(place.theirs / "settings.json")
    (place.theirs / "agents/nowhere").symlink_to("missing")
    (place.theirs / "agents/device").symlink_to("/dev/zero")
    monkeypatch.chdir(place.theirs / "agents")  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        place.start()
    assert place.files() == {"agents/a.md": b"agent"}
    assert len(place.left_out()) == 5


def test_a_skill_that_is_too_large_is_left_out_whole_and_a_large_file_alone(place: Place) -> None:
    put(place.theirs / "skills/small/SKILL.md", b"skill")
    for name, size in (("huge", 1 << 40), ("large", (4 << 20) + 1)):
        with open(place.theirs / "skills/small" / name, "wb") as file:
            file.truncate(size)
    for number in range(5):
        put(place.theirs / f"skills/heavy/{number}", b"x" * (4 << 20))
    for number in range(501):
        put(place.theirs / f"skills/many/{number}", b"")
    place.start()
    assert place.files() == {"skills/small/SKILL.md": b"skill"}
    assert set(place.left_out()) == {"skills/small/huge", "skills/small/large", "skills/heavy", "skills/many"}


def test_all_together_are_bounded_and_the_memory_comes_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confined_claude.claude.offer._ALL_FILES", 3)
    for name in ("skills/a/S.md", "skills/b/S.md", "skills/c/S.md", "CLAUDE.md"):
        put(place.theirs / name, b"x")
    place.start()
    assert set(place.files()) == {"skills/a/S.md", "skills/b/S.md", "CLAUDE.md"}
    assert set(place.left_out()) == {"skills/c"}


def test_what_may_not_be_read_is_left_out(plain_folder: Path) -> None:
    def work() -> tuple[list[str], list[str]]:
        place = Place(host_below(plain_folder))
        for name in ("CLAUDE.md", "agents/a.md", "rules/r.md", "rules/secret.md", "themes/t.json"):
            put(place.theirs / name, b"x")
        for name, mode in (("CLAUDE.md", 0), ("agents", 0), ("rules/secret.md", 0), ("themes", 0o600)):
            (place.theirs / name).chmod(mode)
        place.start()
        place.start()
        return sorted(place.files()), sorted(place.left_out())

    copied, left_out = as_plain_user(work)
    assert copied == ["rules/r.md"]
    assert left_out == ["agents", "themes/t.json"]


# Following


def test_what_changes_on_the_host_follows_and_what_goes_there_goes(place: Place) -> None:
    for name, content in NESTED.items():
        put(place.theirs / name, content)
    place.start()
    put(place.theirs / "CLAUDE.md", b"# me, again")
    put(place.theirs / "skills/new/SKILL.md", b"new")
    shutil.rmtree(place.theirs / "skills/s")
    shutil.rmtree(place.theirs / "themes")
    place.start()
    changed = {**NESTED, "CLAUDE.md": b"# me, again", "skills/new/SKILL.md": b"new"}
    assert place.files() == {
        name: text for name, text in changed.items() if name not in ("skills/s/SKILL.md", "themes/t.json")
    }
    assert not (place.inside / "skills/s").exists()


def test_what_a_session_wrote_stays_whatever_the_host_does(place: Place) -> None:
    for name in ("agents/changed.md", "agents/changed-and-gone.md", "agents/deleted.md"):
        put(place.theirs / name, b"host")
    place.start()
    put(place.inside / "agents/changed.md", b"inside")
    put(place.inside / "agents/changed-and-gone.md", b"inside")
    put(place.inside / "agents/own.md", b"own")
    (place.inside / "agents/deleted.md").unlink()
    for number in range(3):
        put(place.theirs / "agents/changed.md", b"host, later %d" % number)
        put(place.theirs / "agents/deleted.md", b"host, later %d" % number)
        put(place.theirs / "agents/own.md", b"host's own %d" % number)
        (place.theirs / "agents/changed-and-gone.md").unlink(missing_ok=True)
        place.start()
        assert place.files() == {
            "agents/changed.md": b"inside",
            "agents/changed-and-gone.md": b"inside",
            "agents/own.md": b"own",
        }
    shutil.rmtree(place.theirs / "agents")
    place.start()
    assert len(place.files()) == 3


def test_settings_are_copied_on_the_first_start_only(place: Place) -> None:
    put(place.theirs / "settings.json", {"model": "first"})
    place.start()
    (place.inside / "settings.json").unlink()
    put(place.theirs / "settings.json", {"model": "second"})
    place.start()
    assert place.files() == {}


def test_settings_that_come_after_the_first_start_are_not_copied(place: Place) -> None:
    place.start()
    put(place.theirs / "settings.json", {"model": "late"})
    put(place.theirs / "CLAUDE.md", b"late")
    place.start()
    assert place.files() == {"CLAUDE.md": b"late"}


def test_once_copies_once_and_off_never(place: Place) -> None:
    put(place.theirs / "CLAUDE.md", b"first")
    put(place.theirs / "settings.json", {"model": "first"})
    place.start("off")
    assert place.files() == {}
    place.start("once")
    first = place.files()
    assert set(first) == {"CLAUDE.md", "settings.json"}
    put(place.theirs / "CLAUDE.md", b"second")
    place.start("once")
    assert place.files() == first
    place.start()
    assert place.files()["CLAUDE.md"] == b"second"


def test_scripts_of_what_is_allowed_come_with_their_directory_and_go_when_it_is_not_any_more(place: Place) -> None:
    for name in ("hooks/check.py", "hooks/lib/helper.py", "one.sh", "other.sh", "CLAUDE.md"):
        put(place.theirs / name, name.encode())
    place.start()
    assert set(place.files()) == {"CLAUDE.md"}
    place.start(scripts=("hooks/check.py", "one.sh"))
    assert set(place.files()) == {"CLAUDE.md", "hooks/check.py", "hooks/lib/helper.py", "one.sh"}
    place.start(scripts=("one.sh",))
    assert set(place.files()) == {"CLAUDE.md", "one.sh"}


def test_scripts_that_are_needed_later_come_also_where_the_rest_is_copied_once(place: Place) -> None:
    put(place.theirs / "CLAUDE.md", b"first")
    put(place.theirs / "hooks/check.py", b"hook")
    place.start("once")
    put(place.theirs / "CLAUDE.md", b"second")
    place.start("once", scripts=("hooks/check.py",))
    assert place.files() == {"CLAUDE.md": b"first", "hooks/check.py": b"hook"}


def test_what_is_left_out_is_said_once(place: Place) -> None:
    (place.theirs / "CLAUDE.md").symlink_to("/etc/hostname")
    assert "`confined-claude setup`" in place.start()[0]
    assert place.start() == ()
    put(place.theirs / "agents/a.md", b"new")
    assert place.start() == ()
    put(place.theirs / "agents/.env", b"new")
    assert len(place.start()) == 1


def test_the_record_of_a_config_that_is_gone_goes(place: Place) -> None:
    other = shared_data(place.host).at("other")
    setup.make(other, place.host)
    shutil.rmtree(other.path)
    place.start()
    assert len(list((place.host.state / "setup").glob("*.json"))) == 1


def test_a_config_of_version_0_1_keeps_what_it_has(place: Place) -> None:
    put(place.inside / "CLAUDE.md", b"copied by 0.1")
    put(place.inside / "agents/same.md", b"same")
    put(place.theirs / "CLAUDE.md", b"changed since")
    put(place.theirs / "agents/same.md", b"same")
    put(place.theirs / "agents/new.md", b"new")
    put(place.theirs / "settings.json", {"model": "x"})
    place.start("once")
    assert set(place.files()) == {"CLAUDE.md", "agents/same.md"}
    place.start()
    kept = {"CLAUDE.md": b"copied by 0.1", "agents/same.md": b"same", "agents/new.md": b"new"}
    assert place.files() == kept
    put(place.theirs / "agents/same.md", b"follows from now on")
    place.start()
    assert place.files() == {**kept, "agents/same.md": b"follows from now on"}


@pytest.mark.parametrize("changed", [False, True], ids=["as copied", "changed inside"])
def test_hooks_that_version_0_1_copied_without_their_scripts_go_unless_a_session_changed_them(
    place: Place, changed: bool
) -> None:
    hooks = {"Stop": [{"hooks": [{"type": "command", "command": "python3 ~/.claude/hooks/check.py"}]}]}
    put(place.theirs / "settings.json", {"hooks": hooks, "model": "x"})
    put(place.inside / "settings.json", {"hooks": {**hooks, "Odd": []} if changed else hooks, "model": "mine"})
    place.start()
    kept = json.loads((place.inside / "settings.json").read_bytes())
    assert (kept["model"], "hooks" in kept) == ("mine", changed)
    # What a session puts there later stays, the same or not.
    put(place.inside / "settings.json", {"hooks": hooks})
    place.start()
    assert json.loads((place.inside / "settings.json").read_bytes()) == {"hooks": hooks}


def test_announcements_of_the_users_do_not_take_the_place_of_a_sessions(place: Place) -> None:
    put(place.theirs / "settings.json", {"companyAnnouncements": ["Look."], "model": "x"})
    place.start()
    assert json.loads((place.inside / "settings.json").read_bytes()) == {"model": "x"}
    assert "companyAnnouncements" in place.setup.settings.left_out


def test_a_config_made_anew_gets_everything_again(place: Place) -> None:
    put(place.theirs / "CLAUDE.md", b"# me")
    put(place.theirs / "settings.json", {"model": "x"})
    place.start()
    shutil.rmtree(place.inside)
    place.start()
    assert set(place.files()) == {"CLAUDE.md", "settings.json"}


def test_a_host_whose_config_is_out_of_reach_takes_nothing_away(place: Place) -> None:
    put(place.theirs / "CLAUDE.md", b"# me")
    place.start()
    place.theirs.rename(place.theirs.with_name("elsewhere"))
    place.start()
    assert place.files() == {"CLAUDE.md": b"# me"}


def test_without_a_change_nothing_is_read_or_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        put(place.theirs / f"skills/{number}/SKILL.md", b"skill")
        put(place.theirs / f"skills/{number}/run.py", b"pass")
    place.start()
    before = tree(place.inside), tree(place.host.state)
    read: list[str] = []
    real = Directory.read

    def counted(self: Directory, name: str, limit: int = 16 << 20) -> bytes | None:
        read.append(name)
        return real(self, name, limit)

    monkeypatch.setattr(Directory, "read", counted)
    place.start()
    assert len(read) <= 3  # the record, the settings, the memory
    assert (tree(place.inside), tree(place.host.state)) == before


def test_a_record_of_a_newer_version_is_refused(place: Place) -> None:
    place.start()
    (record,) = (place.host.state / "setup").glob("*.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "version": 2}))
    with pytest.raises(ConfinedError, match="newer version"):
        place.start()


# What a session leaves in the way


def test_links_in_the_config_are_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside / "a.md", b"the user's")
    put(place.theirs / "agents/a.md", b"first")
    put(place.theirs / "rules/r.md", b"first")
    put(place.theirs / "CLAUDE.md", b"first")
    place.start()
    shutil.rmtree(place.inside / "agents")
    (place.inside / "agents").symlink_to(outside)
    (place.inside / "CLAUDE.md").unlink()
    (place.inside / "CLAUDE.md").symlink_to(outside / "a.md")
    put(place.theirs / "agents/a.md", b"second")
    put(place.theirs / "CLAUDE.md", b"second")
    put(place.theirs / "rules/r.md", b"second")
    place.start()
    shutil.rmtree(place.theirs / "agents")
    place.start()
    assert (outside / "a.md").read_bytes() == b"the user's"
    assert (place.inside / "rules/r.md").read_bytes() == b"second"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_place_of_a_copy_stays(make: Callable[[Path], None], place: Place) -> None:
    put(place.theirs / "CLAUDE.md", b"first")
    put(place.theirs / "skills/s/SKILL.md", b"first")
    place.start()
    (place.inside / "CLAUDE.md").unlink()
    shutil.rmtree(place.inside / "skills/s")
    make(place.inside / "CLAUDE.md")
    make(place.inside / "skills/s")
    put(place.theirs / "CLAUDE.md", b"second")
    put(place.theirs / "skills/s/SKILL.md", b"second")
    place.start()
    assert not (place.inside / "CLAUDE.md").is_file()


def test_many_sessions_at_once_make_one_whole_config(place: Place) -> None:
    names = [f"{number}.md" for number in range(30)]
    for name in names:
        put(place.theirs / "agents" / name, name.encode() * 1000)
    put(place.theirs / "settings.json", {"model": "x"})
    results: list[object] = []

    def start() -> None:
        try:
            place.start()
            results.append(len(place.files()))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [31] * 8
    assert os.listdir(place.inside.parent) == [place.inside.name]


def test_a_session_that_writes_meanwhile_loses_nothing(place: Place) -> None:
    """A session rewrites its own file again and again while starts follow a host that changes the same one."""
    put(place.theirs / "agents/a.md", b"host 0")
    place.start()
    target, is_over = place.inside / "agents/a.md", threading.Event()
    put(target, b"inside")

    def write() -> None:
        while not is_over.is_set():
            put(target.with_suffix(".new"), b"inside")
            target.with_suffix(".new").rename(target)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(30):
            put(place.theirs / "agents/a.md", b"host %d" % number)
            place.start()
            assert target.read_bytes() == b"inside"
    finally:
        is_over.set()
        writer.join()


def test_a_full_disk_is_a_clear_error_and_the_next_start_goes_on(place: Place) -> None:
    put(place.theirs / "agents/a.md", b"a" * 100)
    put(place.theirs / "skills/s/SKILL.md", b"s" * 5000)
    put(place.theirs / "settings.json", {"model": "x"})
    place.start("off")
    with full_disk(after=1000), pytest.raises(ConfinedError) as caught:
        place.start()
    assert str(place.inside) in caught.value.message
    place.start()
    assert (place.inside / "skills/s/SKILL.md").stat().st_size == 5000
    assert "settings.json" in place.files()


# Anything at all

NAMES = st.sampled_from(["a", "b", ".env", "id_rsa", "x.md"])
TREES = st.recursive(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(["../a", "..", ".", "/etc/passwd", "a/b", "../../../outside", "../../../../home/outside"]),
        st.just(None),
    ),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def grow(path: Path, node: Any) -> None:
    """Make at ``path`` a file of bytes, a link of text, a FIFO of None, or a directory."""
    if isinstance(node, bytes):
        path.write_bytes(node)
    elif isinstance(node, str):
        path.symlink_to(node)
    elif node is None:
        os.mkfifo(path)
    else:
        path.mkdir()
        for name, inner in node.items():
            grow(path / name, inner)


@given(
    host=st.dictionaries(st.sampled_from(["skills", "agents", "CLAUDE.md", "rules"]), TREES, max_size=4),
    later=st.dictionaries(st.sampled_from(["skills", "agents", "CLAUDE.md", "rules"]), TREES, max_size=4),
    inside=st.dictionaries(st.sampled_from(["skills", "agents", "CLAUDE.md", "rules"]), TREES, max_size=3),
)
def test_whatever_the_trees_hold_only_files_of_the_config_come_in_and_nothing_of_a_sessions_is_lost(
    host: dict[str, Any], later: dict[str, Any], inside: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("trees")
    place = Place(host_below(folder))
    outside = put(folder / "outside", b"not to be copied")
    place.theirs.rmdir()
    grow(place.theirs, host)
    place.inside.mkdir(parents=True)
    for name, node in inside.items():
        grow(place.inside / name, node)
    there = {str(path.relative_to(place.inside)) for path in place.inside.rglob("*")}
    theirs = {path.read_bytes() for path in place.theirs.rglob("*") if path.is_file()}  # what equals that is a copy
    own = {name: text for name, text in place.files().items() if text not in theirs}
    for tree_of_host in (host, later):
        shutil.rmtree(place.theirs)
        grow(place.theirs, tree_of_host)
        before = tree(place.theirs)
        place.start()
        assert tree(place.theirs) == before
        now = place.files()
        assert {name: now.get(name) for name in own} == own
        new = {name: text for name, text in now.items() if name not in there and not _has_link(place.inside, name)}
        assert not any(name.endswith((".env", "id_rsa")) for name in new)
        assert outside not in new.values()
    shutil.rmtree(folder)


def _has_link(root: Path, name: str) -> bool:
    path = root / name
    return any(part.is_symlink() for part in (path, *path.parents) if root in part.parents)


def test_looking_through_200_skills_is_quick(place: Place) -> None:
    for number in range(200):
        for name in ("SKILL.md", "run.py", "reference.md"):
            put(place.theirs / f"skills/{number}/{name}", b"x" * 2000)
    place.start()
    times = []
    for _ in range(5):
        begun = time.process_time()
        place.start()
        times.append(time.process_time() - begun)
    assert min(times) < 0.15  # about 0.01 s on an idle machine


def test_another_claude_config_of_the_host_is_the_one_followed(place: Place, tmp_path: Path) -> None:
    put(tmp_path / "named/CLAUDE.md", b"named")
    put(place.theirs / "CLAUDE.md", b"default")
    place.host = place.host._replace(environ={"CLAUDE_CONFIG_DIR": str(tmp_path / "named")})
    place.start()
    assert place.files() == {"CLAUDE.md": b"named"}
