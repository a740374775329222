"""What a session finds empty: by name and by path, but for what git holds as it is; and what looks like a secret."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.guard import hiding, pins, repository, secret_look
from confined_claude.guard.guard import GuardPlan, plan
from confined_claude.guard.guarded_project import GuardedProject
from confined_claude.guard.hiding import Hidden, find
from confined_claude.guard.records import Record
from confined_claude.host import Host
from confined_claude.project import SCAFFOLD, Project
from confined_claude.settings import SPECS, Settings
from confined_claude.workspace import Workspace

from ..conftest import as_plain_user
from ..guarding import commit, git, made_repository, put

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"  # gitleaks:allow


@pytest.fixture(autouse=True)
def with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine cuts no look for secrets short."""
    monkeypatch.setattr(secret_look, "_MAX_SECONDS", 60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made_repository(tmp_path / "project")


def found(root: Path, *patterns: str) -> Hidden:
    return find(root, patterns, repository.find(root), passed=(SCAFFOLD, *pins.virtual_environments(root)))


def hidden(root: Path, *patterns: str) -> list[str]:
    seen = found(root, *patterns)
    return sorted((*seen.files, *(f"{path}/" for path in seen.directories)))


# What matches


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (".env*", [".env", ".env.local", "a/b/.ENV"]),
        (".env", [".env", "a/b/.ENV"]),
        ("*.pem", ["deploy/keys/x.pem", "y.pem"]),
        ("deploy/keys/", ["deploy/keys/"]),
        ("deploy/keys", ["deploy/keys/"]),
        ("keys/", ["deploy/keys/"]),
        ("deploy/*/x.pem", ["deploy/keys/x.pem"]),
        ("deploy/*.pem", []),
        ("y.pem/", []),
        ("b", ["a/b/"]),
        ("nothing", []),
        ("app/[id]/x.key", ["app/[id]/x.key"]),
        ("app/[*/x.key", ["app/[id]/x.key"]),
        ("[id]", ["app/[id]/"]),
        ("app/?d/x.key", []),
    ],
)
def test_a_name_matches_anywhere_and_a_path_from_the_root(pattern: str, expected: list[str], root: Path) -> None:
    for path in (
        ".env",
        ".env.local",
        "a/b/.ENV",
        "deploy/keys/x.pem",
        "y.pem",
        "env",
        "app/[id]/x.key",
        "app/id/x.key",
        "app/i/x.key",
    ):
        put(root / path)
    assert hidden(root, pattern) == expected


def test_a_directory_hides_what_is_in_it_as_a_whole(root: Path) -> None:
    for path in ("secrets/a", "secrets/b/.env", "secrets/b/c/d"):
        put(root / path)
    assert hidden(root, "secrets/", ".env") == ["secrets/"]


def test_packages_environments_git_and_our_own_files_are_left_out(root: Path) -> None:
    for path in ("node_modules/a/x.pem", ".venv/lib/x.pem", "venv/pyvenv.cfg", "venv/x.pem", ".git/x.pem",
                 ".confined-claude/x.pem", "sub/.git/x.pem", "lib/site-packages/certifi/x.pem"):  # fmt: skip
        put(root / path)
    put(root / "sub/x.pem")
    assert hidden(root, "*.pem", ".g*", "node_modules/") == ["sub/x.pem"]
    # Where nothing hides the environments, as in what is mounted read-only, they are looked through.
    whole = find(root, ("*.pem",), None).files
    assert sorted(whole) == [".confined-claude/x.pem", ".venv/lib/x.pem", "sub/x.pem", "venv/x.pem"]


def test_a_link_hides_what_it_leads_to_in_the_project_and_nothing_elsewhere(root: Path, tmp_path: Path) -> None:
    put(root / "config/real")
    put(tmp_path / "outside/x")
    for name, target in (
        (".env", "config/real"),
        (".env.out", "../outside/x"),
        (".env.gone", "nowhere"),
        (".env.git", ".git/config"),
    ):
        (root / name).symlink_to(target)
    assert hidden(root, ".env*") == ["config/real"]


def test_a_path_is_found_behind_links_on_its_way(root: Path, tmp_path: Path) -> None:
    put(root / "infra/deploy/keys/x.pem")
    put(root / "infra/deploy/[1]/x.pem")
    put(root / "infra/deploy/1/x.pem")
    put(tmp_path / "outside/keys/x.pem")
    links = {"deploy": "to", "to": "infra/deploy", "out": "../outside", "self": "self", "top": "."}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "one").symlink_to("infra/deploy/[1]")
    assert hidden(root, "Deploy/keys/") == ["infra/deploy/keys/"]
    assert hidden(root, "deploy/*/*.pem", "out/keys/x.pem", "self/x", "top/x") == [
        *("infra/deploy/1/x.pem", "infra/deploy/[1]/x.pem", "infra/deploy/keys/x.pem")
    ]
    assert hidden(root, "one/x.pem") == ["infra/deploy/[1]/x.pem"]


def test_what_restricts_sessions_is_not_hidden_and_is_named(root: Path, host: Host) -> None:
    """Else a clone could bring a setting that takes from its user what Claude Code's own settings refuse."""
    for path in ("settings.json", "settings.local.json", "agents/x.md", "notes.json"):
        put(root / ".claude" / path)
    put(root / "api/.claude/settings.local.json")
    seen = planned(root, host, "*.json", ".claude/", "settings.local.json").hidden
    assert seen is not None
    kept = (".claude/settings.json", ".claude/settings.local.json", "api/.claude/settings.local.json")
    assert (seen.kept, seen.files, seen.directories) == (kept, (".claude/notes.json",), (".claude/agents",))
    assert "may say what sessions must not do" in " ".join(seen.notes())
    assert hidden(root, ".claude/agents/") == [".claude/agents/"]  # the control


def test_what_leads_to_the_repository_stays_as_it_is(root: Path) -> None:
    put(root / "sub/.git", "gitdir: ../elsewhere\n")
    put(root / ".gitconfig")
    assert hidden(root, ".git*") == [".gitconfig"]


@pytest.mark.parametrize("mode", [0o111, 0o000, 0o300, 0o444])
def test_a_directory_that_is_closed_is_hidden_whole(mode: int) -> None:
    """A session could close it, for the next to open it again."""

    def seen() -> list[str]:
        root = Path(parent, "project")
        for path in ("deploy/keys/.env", "deploy/.env", "src/.env"):
            put(root / path)
        (root / "deploy").chmod(mode)
        try:
            return hidden(root, ".env", "nothing/")
        finally:
            (root / "deploy").chmod(0o755)

    with tempfile.TemporaryDirectory(dir="/tmp") as parent:  # pytest's own is closed to others
        Path(parent).chmod(0o777)
        expected = ["deploy/.env", "deploy/keys/"] if mode == 0o444 else ["deploy/"]
        assert as_plain_user(seen) == [*expected, "src/.env"]


def test_what_nobody_may_look_through_is_an_error_at_the_root_and_left_where_it_is_anothers() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        Path(parent).chmod(0o755)
        put(Path(parent, "database/.env"))
        Path(parent, "database").chmod(0o700)
        if os.geteuid() == 0:  # its owner is another, so no session opens it
            assert as_plain_user(lambda: hidden(Path(parent), ".env")) == []
            with pytest.raises(ConfinedError, match="cannot be searched"):
                as_plain_user(lambda: find(Path(parent, "database"), (".env",), None))
        assert hidden(Path(parent), ".env") == ["database/.env"]  # the control


@pytest.mark.parametrize("name", [".env", "other"])
def test_a_link_to_itself_or_to_a_closed_place_is_no_error(name: str) -> None:
    def seen() -> list[str]:
        root = Path(parent, "project")
        put(root / "x/.env")
        put(root / "closed/inner/y")
        (root / name).symlink_to(name)
        (root / f"a/{name}").parent.mkdir()
        (root / f"a/{name}").symlink_to("/root/x/y" if os.geteuid() else "/nowhere")
        (root / f"x/{name}.2").symlink_to("../closed/inner/y")
        (root / "closed").chmod(0)
        try:
            return hidden(root, ".env*")
        finally:
            (root / "closed").chmod(0o755)

    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        Path(parent).chmod(0o777)
        assert as_plain_user(seen) == ["closed/", "x/.env"]


# What git has


def test_what_git_holds_as_it_is_is_reported_and_not_hidden(root: Path) -> None:
    for path in (".env.example", "keys/public.pem", "keys/private.pem"):
        put(root / path, path)
    git(root, "add", ".env.example", "keys/public.pem")
    seen = found(root, ".env*", "keys/")
    assert (seen.files, seen.directories, seen.held) == (("keys/private.pem",), (), (".env.example", "keys/public.pem"))
    (note,) = seen.notes()
    assert note.startswith(f"Named in `hide`: {root}/.env.example, {root}/keys/public.pem. Not hidden, because")


def test_a_tracked_file_with_changes_that_git_does_not_hold_is_hidden(root: Path) -> None:
    put(root / ".env", "PASSWORD=\n")
    commit(root)
    put(root / ".env", "PASSWORD=secret\n")
    seen = found(root, ".env")
    assert (seen.files, seen.held, seen.changed) == ((".env",), (), (".env",))
    assert "sees an emptied file" in " ".join(seen.notes())


def test_a_session_cannot_put_a_file_into_the_index_and_have_it_shown(root: Path) -> None:
    """It knows another content only."""
    put(root / ".env", "PASSWORD=secret\n")
    other = git(root, "hash-object", "-w", "src/main.py").strip()
    git(root, "update-index", "--add", "--cacheinfo", f"100644,{other},.env")
    assert found(root, ".env").files == (".env",)
    git(root, "add", "-f", ".env")  # the control: so does who can read it
    assert found(root, ".env").files == ()


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_the_history_holds_is_hidden_and_named(object_format: str, packed: bool, tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "--quiet", f"--object-format={object_format}")
    for path in (".env", "keys/x.pem", "keys/other.pem", "empty.env"):
        put(root / path, "" if "empty" in path else f"PASSWORD={path}\n")
    commit(root)
    git(root, "rm", "-rq", "--cached", ".")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "gone")
    put(root / "keys/other.pem", "PASSWORD=another\n")
    put(root / "new.env", "PASSWORD=new\n")
    if packed:
        git(root, "repack", "-adq")
    seen = found(root, "*.env", "keys/")
    assert sorted(seen.paths) == [".env", "empty.env", "keys", "new.env"]
    assert list(seen.stored) == [".env", "keys/x.pem"]
    (note,) = seen.notes()
    assert f"{root}/.env, {root}/keys/x.pem. Hidden, but the session can read the same content" in note


def test_no_more_is_looked_up_in_the_history_than_a_start_has_time_for(root: Path) -> None:
    for number in range(150):
        put(root / f"keys/{number}.pem", f"{number}\n")
    put(root / "large.pem", "x" * 70_000)
    commit(root)
    git(root, "rm", "-rq", "--cached", "keys", "large.pem")
    looked_up = set(found(root, "*.pem", "keys/").stored) | {"large.pem"}
    assert len(looked_up) in (100, 101)  # the large file may be among the first hundred, and is passed over


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_every_version_of_an_index_is_read(version: str, root: Path) -> None:
    put(root / "a/.env", "x\n")
    git(root, "update-index", "--index-version", version)
    git(root, "add", "--all")
    assert found(root, ".env").held == ("a/.env",)


def test_an_index_in_doubt_shows_nothing(root: Path) -> None:
    put(root / ".env")
    git(root, "add", ".env")
    index = root / ".git/index"
    index.write_bytes(index.read_bytes()[:-40])
    assert found(root, ".env").files == (".env",)
    assert find(root, [".env"], None).files == (".env",)


# Bounds


def test_too_many_to_hide_are_an_error_that_names_the_way_out(root: Path) -> None:
    for number in range(301):
        put(root / f"keys/{number}.pem")
    with pytest.raises(ConfinedError, match="301 files and directories"):
        found(root, "*.pem")
    assert hidden(root, "keys/") == ["keys/"]


def test_a_tree_beyond_the_bounds_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(root / f"x/{number}")
    monkeypatch.setattr(hiding, "_MAX_ENTRIES", 20)
    with pytest.raises(ConfinedError, match="too much"):
        found(root, ".env")


def test_odd_things_are_no_error(root: Path) -> None:
    os.mkfifo(root / ".env")
    put(root / "a\nb/.env.x")
    put(Path(os.fsdecode(os.fsencode(root) + b"/\xff/.env.y")))
    deep = root
    for _ in range(120):
        deep /= "d"
    put(deep / ".env.z")
    assert len(hidden(root, ".env.*")) == 2


# As mounts


def planned(root: Path, host: Host, *patterns: str, running: tuple[Record, ...] = ()) -> GuardPlan:
    workspace = Workspace(host, Project(root), Settings(hide=patterns))
    return plan(GuardedProject(workspace), None, running)


def test_a_stand_in_takes_the_place_of_the_guards_own_mounts(root: Path, host: Host) -> None:
    put(root / ".envrc")
    mounts = [mount for mount in planned(root, host, ".env*").mounts if mount.target == f"{root}/.envrc"]
    assert [(mount.source, mount.read_only, mount.pin) for mount in mounts] == [
        (host.data / "stand-ins/file", True, True)
    ]
    assert [mount.source for mount in planned(root, host).mounts if mount.target == f"{root}/.envrc"] == [
        root / ".envrc"
    ]


def test_a_link_does_not_empty_what_is_protected(root: Path, host: Host) -> None:
    """A session could leave one, for the next to have no settings of Claude's that refuse something."""
    put(root / ".claude/settings.local.json")
    put(root / "config/real")
    put(root / ".envrc")
    for name, target in (
        (".env.z", ".claude/settings.local.json"),
        (".env.d", ".claude"),
        (".env.r", "config/real"),
        (".env.n", ".envrc"),
    ):
        (root / name).symlink_to(target)
    found = planned(root, host, ".env.*").hidden
    assert found is not None
    assert (found.files, found.directories) == (("config/real",), ())
    assert found.kept == (".claude", ".claude/settings.local.json", ".envrc")
    assert f"{root}/.claude/settings.local.json" in " ".join(found.notes())
    named = planned(root, host, ".env*").hidden  # the control: by its own name
    assert named is not None
    assert ".envrc" in named.files
    assert ".envrc" not in named.kept


def test_what_is_on_the_way_stays_in_its_place(root: Path, host: Host) -> None:
    """A session could move it to where the next does not look, into `node_modules` for instance."""
    put(root / "deploy/all/keys/x")
    put(root / "a/b/x.pem")
    pinned = {mount.target for mount in planned(root, host, "deploy/all/keys/", "*.pem").mounts if not mount.read_only}
    assert {f"{root}/deploy", f"{root}/deploy/all", f"{root}/a", f"{root}/a/b"} <= pinned
    # Another session could have put a link there.
    beside = planned(root, host, "deploy/all/keys/", running=(Record(),))
    assert not any(mount.target == f"{root}/deploy" for mount in beside.mounts)
    assert any(mount.target == f"{root}/deploy/all/keys" for mount in beside.mounts)


def test_what_a_session_beside_this_one_sees_is_named(root: Path, host: Host) -> None:
    put(root / ".env")
    put(root / "deploy/keys/x")
    patterns = (".env", "deploy/keys/")
    for others, seen in (
        ((), ()),
        ((Record(hidden=(".env", "deploy")),), ()),
        ((Record(hidden=(".env", "deploy/keys")), Record(hidden=(".env", "deploy/keys2"))), ("deploy/keys",)),
        ((Record(),), (".env", "deploy/keys")),
    ):
        found = planned(root, host, *patterns, running=others).hidden
        assert found is not None
        assert found.exposed == seen
        assert ("runs beside this one" in " ".join(found.notes())) == bool(seen)


def test_without_the_setting_nothing_is_looked_through(root: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiding, "walk", None)
    assert planned(root, host).hidden is None


def test_what_becomes_a_virtual_environment_during_a_start_is_hidden(
    root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session beside it can make any directory one at any moment: it is hidden whole then, or looked through."""
    put(root / "secrets/.env")
    for before, target in ((2, "secrets/.env"), (1, "secrets"), (0, "secrets")):  # looks at it until it is one
        looks = iter([*[()] * before, *[("secrets",)] * 9])
        monkeypatch.setattr(pins, "virtual_environments", lambda _root, looks=looks: next(looks))
        mounts = {mount.target: mount for mount in planned(root, host, ".env").mounts}
        assert mounts[f"{root}/{target}"].base == host.data


def test_the_stand_ins_are_empty_and_read_only(host: Host) -> None:
    for _ in range(2):
        hiding.make_stand_ins(host)
    place = host.data / "stand-ins"
    assert (place / "file").read_bytes() == b""
    assert [oct((place / name).stat().st_mode & 0o777) for name in ("file", "directory")] == ["0o444", "0o555"]


# What looks like a secret


def remark(root: Path) -> str:
    return "\n".join(secret_look.remarks(root))


SECRETS = {
    ".env": "PASSWORD=x\n",
    "api/.env.local": "x\n",
    "deploy/key.pem": KEY,
    "id_rsa": KEY,
    "credentials.json": "{}\n",
    "config/settings.yml": f"key: AKIA{'A' * 16}\n",
    "src/notes.txt": f"ghp_{'a' * 36}\n",
}
PUBLIC = ["certificate.pem", "src/tokens.py", "environment.yml", ".npmrc", "README.md", "monkey.txt"]


def test_what_looks_like_a_secret_is_counted_with_the_setting_that_hides_it(root: Path) -> None:
    for path, content in SECRETS.items():
        put(root / path, content)
    for path in PUBLIC:
        put(root / path, "-----BEGIN CERTIFICATE-----\n")
    line = remark(root)
    assert line.startswith(f"{len(SECRETS)} files look like secrets that sessions can read: ")
    entries = re.findall('"(.*?)"', line)
    assert set(entries) == {".env*", "*.pem", "id_rsa", "credentials.json", "config/settings.yml", "src/notes.txt"}
    assert set(SECRETS) <= {path.rstrip("/") for path in hidden(root, *entries)}


@pytest.mark.parametrize("path", SECRETS)
def test_one_is_one(path: str, root: Path) -> None:
    put(root / path, SECRETS[path])
    assert remark(root).startswith(f"1 file looks like a secret that sessions can read: {path}. ")


def test_what_git_holds_and_what_is_public_is_not_counted(root: Path) -> None:
    for path in PUBLIC:
        put(root / path, "-----BEGIN CERTIFICATE-----\n")
    for path in ("node_modules/x/.env", ".venv/.env", ".git/.env"):
        put(root / path)
    assert remark(root) == ""
    put(root / ".env.example", "PASSWORD=\n")
    assert remark(root)
    commit(root)
    assert remark(root) == ""


def test_names_cannot_steer_the_terminal(root: Path) -> None:
    put(root / "\x1b[2J/.env")
    assert "\x1b" not in remark(root)


def test_the_look_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_look, "_MAX_READ", 3)
    for number in range(50):
        put(root / f"{number}.json", "x" * 100_000 + KEY)
    put(root / "zz/.env")
    began = time.monotonic()
    assert remark(root) == ""
    assert time.monotonic() - began < 5


def test_the_setting_is_free_for_a_project_and_cannot_name_gits_own_files() -> None:
    spec = SPECS["hide"]
    assert spec.is_free
    for entry in (".git", ".git/config", ".confined-claude", "*", "**", "../x", "/etc", "a/../b"):
        assert not spec.allows(entry)
    for entry in (".env*", "*.pem", "deploy/keys/", "a b"):
        assert spec.allows(entry)
