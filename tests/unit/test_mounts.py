"""What of this machine a session sees beside its project: how entries are read, bound and refused."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from pathlib import Path

import pytest

import confined_claude
from confined_claude.engine.mount import Mount
from confined_claude.errors import ConfinedError
from confined_claude.fs.identity import status_without_links
from confined_claude.host import Host
from confined_claude.project import CONTAINER_HOME, CONTAINER_LINKS, Project, hides_the_containers, refusal
from confined_claude.project.mounts import HostMount, bind
from confined_claude.session.host_facts import HostFacts
from confined_claude.session.mounts import around_repositories, plan_mounts
from confined_claude.session.remarks import remarks
from confined_claude.settings import SPECS, Settings
from confined_claude.settings.files import ProjectFiles
from confined_claude.workspace import Workspace

from .conftest import as_plain_user
from .guarding import put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work/project"
    root.mkdir(parents=True)
    return root


def bound(root: Path, host: Host, *entries: str) -> list[tuple[str, str, bool]]:
    return [(str(one.source), str(one.target), one.writable) for one in bind(entries, root, host)]


def refused(root: Path, host: Host, *entries: str) -> str:
    with pytest.raises(ConfinedError) as caught:
        bind(entries, root, host)
    assert caught.value.hint
    return caught.value.message


# How it is written


@pytest.mark.parametrize(
    "entry",
    ["~", "~/data", "../lib:rw", "./x", "x y", "/srv/a:/b:ro", "/srv/a:/b", "/a:rw", "/Ünï/日本", "/a:/b c:rw", ".env"],
)
def test_an_entry_is_a_source_with_a_target_and_a_mode(entry: str) -> None:
    assert SPECS["mounts"].allows(entry)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " /a",
        "/a ",
        ":/a",
        "/a:b",
        "/a:",
        "/a:/b:rx",
        "/a:ro:rw",
        "/a:/b:/c",
        "/a\n/b",
        "/a\0",
        "~root/x",
        "/a,b",
        "/a:",
    ],
)
def test_what_could_be_meant_in_two_ways_is_no_entry(entry: str) -> None:
    assert not SPECS["mounts"].allows(entry)


def test_a_mount_is_at_its_own_path_and_read_only_unless_it_says_otherwise(root: Path, host: Host) -> None:
    for name in ("data", "models", "work/lib"):
        (root.parent.parent / name).mkdir(exist_ok=True)
    (host.home / "notes").mkdir(parents=True)
    file = put(root.parent.parent / "file.txt")
    data, lib = root.parent.parent / "data", root.parent / "lib"
    assert bound(
        root, host, str(data), "../lib:rw", f"{file}:/x/file", "~/notes", f"{root}/../../models:/models:ro"
    ) == [
        (str(data), str(data), False),
        (str(lib), str(lib), True),
        (str(file), "/x/file", False),
        (f"{host.home}/notes", f"{host.home}/notes", False),
        (str(root.parent.parent / "models"), "/models", False),
    ]


def test_what_is_bound_is_known_by_its_device_and_inode(root: Path, host: Host, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (mount,) = bind(["../../data"], root, host)
    status = (tmp_path / "data").stat()
    assert mount == HostMount(tmp_path / "data", tmp_path / "data", False, True, (status.st_dev, status.st_ino))


def test_the_same_entry_twice_counts_once(root: Path, host: Host, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert len(bind(["../../data", f"{tmp_path}/data:ro"], root, host)) == 1


def test_what_is_below_a_directory_that_others_may_only_search_can_be_mounted(root: Path, host: Host) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:  # pytest's own is closed even to a search
        Path(parent, "open").mkdir()
        Path(parent).chmod(0o711)
        found = as_plain_user(lambda: bound(Path("/srv/project"), host, f"{parent}/open"))
        assert found == [(f"{parent}/open", f"{parent}/open", False)]
        Path(parent).chmod(0o700)
        if os.geteuid() == 0:
            with pytest.raises(ConfinedError, match="Permission denied"):
                as_plain_user(lambda: bound(Path("/srv/project"), host, f"{parent}/open"))


# What is refused


@pytest.mark.parametrize("made", ["data -> secret", "a -> secret, a/b", "secret/link -> ../secret, secret/link/b"])
def test_a_link_in_any_part_of_the_way_is_refused(made: str, root: Path, host: Host, tmp_path: Path) -> None:
    link, _, path = made.partition(", ")
    name, _, target = link.partition(" -> ")
    (tmp_path / "secret/b").mkdir(parents=True)
    (tmp_path / name).symlink_to(target)
    message = refused(root, host, str(tmp_path / (path or name)))
    assert f"{tmp_path / name} is a link, to {tmp_path / 'secret'}" in message
    assert bound(root, host, str(tmp_path / "secret"))  # the control


def test_a_link_that_comes_between_two_looks_is_seen_as_another_file(tmp_path: Path) -> None:
    """What the engine binds by its path is compared with what was here: see the entrypoint."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "secret/b").mkdir(parents=True)
    before = status_without_links(tmp_path / "a/b")
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "a").symlink_to("secret")
    assert (tmp_path / "a/b").stat().st_ino != before.st_ino
    with pytest.raises(OSError, match="Not a directory"):
        status_without_links(tmp_path / "a/b")


KEYS = """~ ~/.ssh ~/.gnupg ~/.aws ~/.config ~/.config/gh ~/.docker ~/.local ~/.local/share ~/.cargo
    ~/.mozilla ~/.cache ~/.cache/huggingface ~/snap/firefox ~/.local/share/containers""".split()
FILES = """~/.ssh/id_ed25519 ~/.netrc ~/.git-credentials ~/.bashrc ~/.npmrc ~/.claude.json ~/.bash_history
    ~/.cache/huggingface/token ~/.databrickscfg""".split()


def test_a_file_is_not_mounted_writable(root: Path, host: Host, tmp_path: Path) -> None:
    put(tmp_path / "tool")
    for mode in (":rw", ":/data/tool:rw"):
        assert "tool writable: it is a file" in refused(root, host, f"../../tool{mode}")
    assert bound(root, host, "../../tool:ro")  # the control


@pytest.mark.parametrize("mode", ["", ":ro", ":rw", ":/data:ro"])
@pytest.mark.parametrize("path", [*KEYS, *FILES])
def test_keys_settings_and_programs_of_the_user_are_refused(path: str, mode: str, root: Path, host: Host) -> None:
    if path in FILES:
        put(host.home / path[2:])
    else:
        (host.home / path[2:]).mkdir(parents=True, exist_ok=True)
    for spelled in (path, path.replace("~", f"/{host.home}"), path.replace("~", f"/.././/{host.home}")):
        assert "No session may see" in refused(root, host, f"{spelled}{mode}")


def test_the_tools_own_places_and_what_holds_them_are_refused(root: Path, host: Host) -> None:
    for place in (host.data, host.state, host.config, host.claude_config):
        place.mkdir(parents=True, exist_ok=True)
        for spelled in (f"{place}:/x", f"/{place}:/x"):
            message = refused(root, host, spelled)
            assert "Confined Claude" in message or "keys of yours" in message
    other = host.state / "projects/other-01234567"
    other.mkdir(parents=True)
    for spelled in (f"{other}:/x", f"/{other}:/x"):
        assert "No session may see" in refused(root, host, spelled)


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/usr", "/etc/passwd", "/var/lib", "/proc", "/dev", "/run", "/sys", "/home", "/tmp"]
)
def test_the_system_is_refused_wherever_it_would_be_inside(path: str, root: Path, host: Host) -> None:
    for spelled in (path, f"/{path}", f"/{path}/", f"//..{path}"):
        assert "No session may see" in refused(root, host, f"{spelled}:/data")


ADDRESSES = {
    "DOCKER_HOST": "unix://{}",
    "SSH_AUTH_SOCK": "{}",
    "TMUX": "{},4711,0",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path={},guid=1",
}


@pytest.mark.parametrize("variable", ADDRESSES)
def test_sockets_at_which_one_acts_as_the_user_are_refused(
    variable: str, root: Path, host: Host, tmp_path: Path
) -> None:
    place = put(tmp_path / "place/x").parent
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(place / "s"))
    there = host._replace(environ={**host.environ, variable: ADDRESSES[variable].format(place / "s")})
    assert "acts as you" in refused(root, there, str(place))
    assert "neither a directory nor a regular file" in refused(root, there, f"{place}/s:/s")
    assert bound(root, host, str(place))  # the control


def test_the_directory_of_tmux_is_refused_wherever_the_start_is_called_from(
    root: Path, host: Host, tmp_path: Path
) -> None:
    place = put(tmp_path / f"tmux-{os.getuid()}/default").parent
    there = host._replace(environ={**host.environ, "TMUX_TMPDIR": str(tmp_path)})
    assert "acts as you" in refused(root, there, str(place))
    assert bound(root, host, str(place))  # the control


def test_where_something_listens_in_what_is_mounted_is_known(root: Path, host: Host) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:  # a socket's path has at most 107 bytes
        place = put(Path(os.path.realpath(parent), "a b/x")).parent
        with socket.socket(socket.AF_UNIX) as taken, socket.socket(socket.AF_UNIX) as listening:
            taken.bind(f"{place}/other")
            listening.bind(f"{place}/d b")
            listening.listen()
            (mount,) = bind([str(place)], root, host)
            assert mount.sockets == (f"{place}/d b",)
            facts = HostFacts(mounts=(mount,))
            said = " ".join(remarks(Workspace(host, Project(root), Settings()), facts))
            assert f"the session can reach them: {place}/d b." in said
        (mount,) = bind([str(place)], root, host)
        assert mount.sockets == ()  # the control


def test_what_holds_keys_elsewhere_is_refused(root: Path, host: Host, tmp_path: Path) -> None:
    (tmp_path / "keys/gnupg").mkdir(parents=True)
    there = host._replace(environ={**host.environ, "GNUPGHOME": f"{tmp_path}/keys/gnupg"})
    for name in ("keys", "keys/gnupg"):
        assert "keys of yours" in refused(root, there, str(tmp_path / name))
        assert bound(root, host, str(tmp_path / name))  # the control


@pytest.mark.parametrize(
    "target",
    """/ /bin /boot /dev/x /etc/x /home /home/claude /home/claude/.claude /home/claude/workspace/x /home/claude/.cargo
    /home/claude/.cargo/registry/cache/x /home/claude/.gradle/x /home/claude/go /home/claude/go/pkg/x /lib32/x /mnt /opt
    /opt/confined-claude/x /proc/x /root /root/.bashrc /root/x /run/x /sbin /srv /sys/x /tmp /usr /usr/games
    /usr/include/x /usr/local /usr/local/bin /usr/local/sbin /usr/local/sbin/x /usr/local/share/ca-certificates
    /usr/local/etc/x /usr/src /usr/x /var /var/backups /var/cache/apt /var/lib/apt/lists /var/lib/dpkg
    /var/lib/dpkg/info /var/lib/x /var/spool/cron /var/tmp/x /var/www""".split(),
)
def test_nothing_can_be_in_the_place_of_what_the_container_has(
    target: str, root: Path, host: Host, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for spelled in (target, f"/{target}", f"//..{target}"):
        assert "the container has its own" in refused(root, host, f"../../data:{spelled}")
    assert bound(root, host, "../../data:/home/claude/data")  # the control


def test_nothing_is_mounted_below_what_the_image_and_a_session_have_in_the_home_directory(
    root: Path, host: Host, tmp_path: Path
) -> None:
    """A link there leads to the shared downloads: the engine would make the place for a mount in them, as root."""
    home = str(CONTAINER_HOME)
    dockerfile = (Path(confined_claude.__file__).parent / "container/Dockerfile").read_text()
    (made,) = re.findall(r"RUN cd /home/claude && d=(?s:.*?)\n[^ ]", dockerfile)
    links = {f"{home}/{link}" for link in re.findall(r"ln -s \$d/\S+ (\S+)", made)}
    assert links == set(CONTAINER_LINKS)
    named = {*links, *re.findall(rf"{home}/[^\s\"':]+", dockerfile)}
    named |= {f"{home}/{word}" for word in re.findall(r" ((?:\.|go/)[\w./]+)", made)}
    mounted = {mount.target for mount in plan_mounts(Workspace(host, Project(root), Settings()))} - {str(root)}
    (tmp_path / "data").mkdir()
    for place in named | mounted:
        for target in (place, f"{place}/x"):
            assert "the container has its own" in refused(root, host, f"../../data:{target}")


@pytest.mark.parametrize(
    "target",
    """/data /home/me/x /home/claude/x /home/claude/go/src/x /media/x /mnt/x /models /opt/x /srv/x /tmp/x
    /usr/local/src/x /usr/src/app
    /var/www/html /workspace""".split(),
)
def test_other_places_are_free(target: str, root: Path, host: Host, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert bound(root, host, f"../../data:{target}") == [(str(tmp_path / "data"), target, False)]


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/root/.profile", True),
        ("/root/.x/y", True),
        ("/root/x", False),
        ("/var/lib/jenkins/x", False),
        ("/usr/local/src/x", False),
    ],
)
def test_at_its_own_path_only_what_root_starts_with_is_in_the_way(path: str, refused: bool) -> None:
    assert hides_the_containers(Path(path), Path(path)) == refused


@pytest.mark.parametrize("path", ["/var/lib/dpkg/info", "/var/lib/apt", "/usr/local/sbin", "/usr/local/sbin/x"])
def test_what_the_containers_root_trusts_is_no_source_and_no_project_either(path: str, host: Host) -> None:
    assert refusal(Path(path), host) == "it is part of the system"


@pytest.mark.parametrize(
    "entries",
    [
        [".", ""],
        ["sub:ro"],
        ["..:ro"],
        [".:/copy:ro"],
        ["../lib:PROJECT/lib"],
        ["../lib", "../lib:/lib2:rw"],
        ["../lib:rw", "../lib/inner:ro"],
        ["../lib/inner:rw", "../lib:ro"],
        ["../lib:/x", "../other:/x"],
        ["../lib:/x", "../other:/x/y"],
        ["/PROJECT"],
        ["../lib:/PROJECT/lib"],
        ["../lib:/x", "../other://x/y"],
        ["../lib:rw", "/PROJECT/../lib/inner:ro"],
    ],
)
def test_mounts_that_overlap_are_refused(entries: list[str], root: Path, host: Host) -> None:
    for name in ("lib/inner", "other", "project/sub"):
        (root.parent / name).mkdir(parents=True)
    message = refused(root, host, *(entry.replace("PROJECT", str(root)) for entry in entries if entry))
    assert "overlaps with" in message


def test_what_is_gone_is_named(root: Path, host: Host) -> None:
    assert refused(root, host, "../gone/away:rw") == f"Cannot mount {root.parent}/gone/away: No such file or directory."
    os.mkfifo(root.parent / "fifo")
    assert "neither a directory nor a regular file" in refused(root, host, "../fifo")
    put(root.parent / "file")
    assert re.search("file/x: Not a directory", refused(root, host, "../file/x"))


# What a project asks for


def asked(root: Path, entry: str) -> str:
    (request,) = ProjectFiles(root / ".confined-claude", f'mounts = ["{entry}"]').requests()
    assert request.consequence
    return request.what


def test_what_a_project_asks_for_is_shown_with_its_real_place(
    root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(host.home))
    library = root.parent / "library"
    assert asked(root, "../library:rw").endswith(f"which is {library}, missing")
    library.mkdir()
    assert asked(root, "../library:rw").endswith(f"which is {library} (writable)")
    assert asked(root, "../library:/x").endswith(f"which is {library} at /x (read-only)")


@pytest.mark.parametrize(
    "entry",
    ["~/.ssh", "/etc", "/", "~", "../link", ".", "/HOME/.ssh", "//etc", "//", "/HOME", "../x://opt/confined-claude"],
)
def test_what_no_session_may_see_cannot_even_be_allowed(
    entry: str, root: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(host.home))
    (host.home / ".ssh").mkdir(parents=True)
    (root.parent / "link").symlink_to(host.home / ".ssh")
    (root.parent / "x").mkdir()
    with pytest.raises(ConfinedError, match=r"No session may see|is a link|overlaps|Nothing can be mounted"):
        asked(root, entry.replace("HOME", str(host.home)))


@pytest.mark.parametrize(
    ("repository", "other", "file", "around"),
    [
        ("/srv/app/.git", "/srv/other", "", ["/srv/app"]),
        ("/root/app/.git", "/srv/other", "", ["/root/app"]),
        ("/srv/linked/.git/modules/lib", "/srv/other", "", []),  # in the project
        ("/srv/app/.git", "/srv/app", "", []),
        ("/srv/app/.git", "/srv/app/data", "", ["/srv/app"]),
        ("/srv/a/b/.git", "/srv/a", "", []),
        ("/srv/app/.git", "/srv/other", "/srv/app/keys/one", []),
        *((f"{place}/x.git", "/srv/other", "", []) for place in ("/tmp", "/home", "/root", "/opt", CONTAINER_HOME)),
    ],
)
def test_what_is_around_a_repository_is_empty_unless_something_else_is_there(
    repository: str, other: str, file: str, around: list[str], host: Host
) -> None:
    root = Path("/srv/linked")
    mounts = (
        *plan_mounts(Workspace(host, Project(root), Settings())),
        Mount(Path(repository), (), repository),
        Mount(Path(other), (), other, pin=True),
    )
    assert list(around_repositories(mounts, root, [file] * bool(file))) == around
