"""Which directory is a project, what it is called, and which directories are refused."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.project import Project, check_new, find, refusal

from .conftest import as_plain_user, host_below, tree
from .guarding import put

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def project_at(path: Path, *, scaffold: bool = True) -> Path:
    (path / ".confined-claude" if scaffold else path).mkdir(parents=True)
    return path


# Names and ids


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("a:b", "a-b"),
        ("a,b", "a-b"),
        ("a b", "a-b"),
        ("-x", "x"),
        ("--", "project"),
        ("a\nb", "a-b"),
        ("日本語", "project"),
        ("Übung 7", "bung-7"),
        ("My.Proj_2", "my-proj-2"),
        ("a---b", "a-b"),
        ("x" * 255, "x" * 40),
        ("x" * 39 + "-y", "x" * 39),
    ],
)
def test_slug_of_an_odd_name(name: str, slug: str, tmp_path: Path, host: Host) -> None:
    directory = tmp_path / name
    directory.mkdir()
    found = find(directory, host)
    assert found.root == directory
    assert found.slug == slug


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_slug_is_always_lower_case_words_with_single_hyphens(name: str) -> None:
    slug = Project(Path("/srv") / name).slug
    assert SLUG.fullmatch(slug)
    assert len(slug) <= 40


def test_slug_of_the_root_directory() -> None:
    assert Project(Path("/")).slug == "project"


def test_id_is_slug_and_hash_of_the_path() -> None:
    path = Path("/srv/a b/Übung")
    digest = hashlib.sha256(str(path).encode()).hexdigest()
    assert Project(path).id == f"bung-{digest[:8]}"


def test_same_name_at_another_path_is_another_project() -> None:
    one, other = Project(Path("/srv/one/app")), Project(Path("/srv/other/app"))
    assert one.slug == other.slug
    assert one.id != other.id


def test_names_with_the_same_slug_are_different_projects() -> None:
    assert Project(Path("/srv/a:b")).id != Project(Path("/srv/a,b")).id


def test_a_project_reached_through_a_link_is_the_same_project(tmp_path: Path, host: Host) -> None:
    real = project_at(tmp_path / "real")
    link = tmp_path / "link"
    link.symlink_to(real)
    assert find(link, host) == find(real, host)
    assert find(link, host).root == real


# Which directory


def test_a_directory_without_scaffold_is_a_project_itself(tmp_path: Path, host: Host) -> None:
    directory = tmp_path / "a/b"
    directory.mkdir(parents=True)
    assert find(directory, host).root == directory


def test_a_directory_below_a_scaffold_belongs_to_that_project(tmp_path: Path, host: Host) -> None:
    root = project_at(tmp_path / "app")
    deep = root / "src/deep"
    deep.mkdir(parents=True)
    assert find(deep, host).root == root


@pytest.mark.parametrize("below", ["", "src", "src/deep"])
@pytest.mark.parametrize(
    "name", [".git/HEAD", ".git", ".hg/store/x", ".jj/repo/x", ".sl/x", ".confined-claude/config.toml"]
)
def test_the_nearest_repository_or_scaffold_is_the_project(tmp_path: Path, host: Host, name: str, below: str) -> None:
    put(tmp_path / "app/.confined-claude/config.toml")
    put(tmp_path / "app/.git/HEAD")
    inner = tmp_path / "app/trees/feature"
    put(inner / name)
    (inner / below).mkdir(parents=True, exist_ok=True)
    assert find(inner / below, host).root == inner
    assert find(inner.parent, host).root == tmp_path / "app"
    assert find(inner / below, host, alone=True).root == inner / below


@pytest.mark.parametrize("name", [".git/", ".git/x", ".confined-claude/venvs/x", ".confined-claude/.gitignore", ".hg"])
def test_what_is_no_repository_and_what_a_start_has_made_is_passed_over(tmp_path: Path, host: Host, name: str) -> None:
    put(tmp_path / "app/.git/config")
    inner = tmp_path / "app/part"
    put(inner / name / "x" if name.endswith("/") else inner / name)
    if name.endswith("/"):
        (inner / name / "x").unlink()
    assert find(inner, host).root == tmp_path / "app"


def test_a_link_named_git_ends_the_search_and_is_the_guards_matter(tmp_path: Path, host: Host) -> None:
    put(tmp_path / "app/.git/config")
    (tmp_path / "app/part").mkdir()
    (tmp_path / "app/part/.git").symlink_to("nowhere")
    assert find(tmp_path / "app/part", host).root == tmp_path / "app/part"


def test_where_no_one_has_put_anything_the_outermost_start_counts(tmp_path: Path, host: Host) -> None:
    project_at(tmp_path / "app")
    inner = project_at(tmp_path / "app/part")
    assert find(inner, host).root == tmp_path / "app"
    assert find(inner, host, alone=True).root == inner


def test_a_repository_that_cannot_be_a_project_leaves_the_directory_itself(host: Host) -> None:
    put(host.home / ".git/HEAD")
    inner = host.home / "code/app/src"
    inner.mkdir(parents=True)
    assert find(inner, host).root == inner
    project_at(inner.parent)  # by a start
    assert find(inner, host).root == inner.parent
    with pytest.raises(ConfinedError, match="home directory"):
        find(host.home, host)


def test_what_is_a_sessions_is_passed_over(tmp_path: Path, host: Host) -> None:
    put(tmp_path / "app/.git/HEAD")
    mark = put(tmp_path / "app/part/.git/HEAD").parent
    assert find(mark.parent, host, is_a_sessions=mark.__eq__).root == tmp_path / "app"


def test_a_scaffold_in_a_refused_directory_is_passed_over(host: Host) -> None:
    (host.home / ".confined-claude").mkdir()
    inner = host.home / "code/app"
    inner.mkdir(parents=True)
    assert find(inner, host).root == inner
    with_scaffold = project_at(host.home / "code/scaffolded")
    (with_scaffold / "src").mkdir()
    assert find(with_scaffold / "src", host).root == with_scaffold


def test_a_missing_directory_is_a_clear_error(tmp_path: Path, host: Host) -> None:
    with pytest.raises(ConfinedError, match="gone: No such file") as caught:
        find(tmp_path / "gone", host)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_directory_that_may_not_be_entered_is_a_clear_error(plain_folder: Path) -> None:
    def work() -> None:
        host = host_below(plain_folder)
        inner = plain_folder / "locked/inner"
        inner.mkdir(parents=True)
        inner.parent.chmod(0)
        find(inner, host)

    with pytest.raises(ConfinedError, match="Permission denied") as caught:
        as_plain_user(work)
    assert "permission" in caught.value.hint


def test_a_name_that_is_not_utf8_is_refused_in_printable_words(tmp_path: Path, host: Host) -> None:
    directory = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\x1b[31m"))
    directory.mkdir()
    with pytest.raises(ConfinedError, match="UTF-8") as caught:
        find(directory, host)
    assert caught.value.exit_code == 2
    assert caught.value.message.isprintable()


# Refused directories


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/usr/bin", "/var", "/tmp", "/proc", "/dev", "/sys", "/home"])
def test_a_directory_of_the_system_is_refused(path: str, host: Host) -> None:
    with pytest.raises(ConfinedError, match="cannot be a project") as caught:
        find(Path(path), host)
    assert caught.value.exit_code == 2
    assert "own directory" in caught.value.hint


@pytest.mark.parametrize(
    "path",
    ["/var/lib/containers/x", "/var/lib/snapd", "/var/snap/x", "/var/lib/libvirt/images", "/var/spool/mail", "/snap/x"],
)
def test_where_engines_and_the_system_keep_data_is_refused(path: str, host: Host) -> None:
    assert refusal(Path(path), host) == "it is part of the system"


@pytest.mark.parametrize(
    "path", ["/etc/x", "/usr/lib/x/y", "/boot/efi", "/opt/confined-claude/x", "/run/confined-claude", "/root", "/Users"]
)
def test_directories_inside_the_system_are_refused(path: str, host: Host) -> None:
    assert refusal(Path(path), host)


@pytest.mark.parametrize(
    "path",
    [
        "/etcetera/x",
        "/srv/app",
        "/opt/app",
        "/usr/local/src/app",
        "/var/www/html",
        "/home/someone",
        "/tmp/x",
        "/mnt/disk/app",
        "/run/media/me/disk/app",
    ],
)
def test_ordinary_directories_are_not_refused(path: str, host: Host) -> None:
    assert refusal(Path(path), host) == ""


@pytest.mark.parametrize("path", ["/run", "/run/user/1000", "/var/lib/docker"])
def test_directories_with_the_engines_socket_or_data_are_refused(path: str, host: Host) -> None:
    assert refusal(Path(path), host)


@pytest.fixture
def bare_home(host: Host, tmp_path: Path) -> Host:
    """A host whose home directory holds none of the directories that are refused for themselves."""
    away = tmp_path / "away"
    environ = {"CLAUDE_CONFIG_DIR": str(away / "claude")}
    return host._replace(environ=environ, data=away / "data", state=away / "state", config=away / "config")


def test_the_home_directory_and_all_that_hold_it_are_refused(tmp_path: Path, bare_home: Host) -> None:
    deep = tmp_path / "users/me"
    deep.mkdir(parents=True)
    host = bare_home._replace(home=deep)
    for path in (deep, deep.parent):
        with pytest.raises(ConfinedError, match="home directory"):
            find(path, host)
    beside = tmp_path / "users/you"
    beside.mkdir()
    assert find(beside, host).root == beside


def test_the_home_directory_behind_a_link_is_refused(tmp_path: Path, bare_home: Host) -> None:
    named = tmp_path / "named"
    named.symlink_to(bare_home.home)
    for path, home in ((bare_home.home, named), (named, bare_home.home), (named, named)):
        with pytest.raises(ConfinedError, match="home directory"):
            find(path, bare_home._replace(home=home))


@pytest.mark.parametrize("directory", ["data", "state", "config", "claude_config"])
def test_own_directories_what_holds_them_and_what_is_inside_are_refused(
    directory: str, host: Host, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere" / directory
    moved = host._replace(
        environ={"CLAUDE_CONFIG_DIR": str(elsewhere)} if directory == "claude_config" else {},
        **({} if directory == "claude_config" else {directory: elsewhere}),
    )
    inside = elsewhere / "shared/deep"
    inside.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(inside)
    for path in (inside, elsewhere, elsewhere.parent, link):
        with pytest.raises(ConfinedError, match="sign-in and records"):
            find(path, moved)
    beside = tmp_path / "elsewhere-too"
    beside.mkdir()
    assert find(beside, moved).root == beside


def test_the_default_claude_config_is_refused(host: Host) -> None:
    directory = host.home / ".claude/projects"
    directory.mkdir(parents=True)
    for path in (directory, directory.parent):
        with pytest.raises(ConfinedError, match="sign-in"):
            find(path, host)


@pytest.mark.parametrize(
    "path",
    [
        "/home/claude",
        "/home/claude/.claude",
        "/home/claude/.claude/x",
        "/home/claude/venvs",
        "/home/claude/.cache/pip",
        "/home/claude/.local/bin",
    ],
)
def test_the_containers_own_directories_are_refused(path: str, host: Host) -> None:
    assert refusal(Path(path), host)


@pytest.mark.parametrize("path", ["/home/claude/workspace", "/home/claude/app", "/home/claude2/.claude"])
def test_other_directories_below_the_containers_home_are_fine(path: str, host: Host) -> None:
    assert refusal(Path(path), host) == ""


@pytest.mark.parametrize(
    "path",
    """bin .ssh .ssh/keys .gnupg .aws .config .config/autostart .local .local/bin .local/share .local/lib/python3.11
    .kube .docker .cargo .cargo/registry/src go go/bin go/src .nvm/versions/node .pyenv/shims .rbenv .deno/bin .bun
    .npm-global/lib .oh-my-zsh/custom .config/systemd/user .local/share/applications .local/share/nvim/site
    Library Library/LaunchAgents .vscode-server .gradle/init.d snap/firefox/common/.mozilla snap/firefox/common/x
    snap snap/x snap/x/current/y snap/x/12/y snap/x/common snap/x/common/.config/y .local/share/docker
    .local/share/containers/storage .local/share/flatpak .local/share/TelegramDesktop .local/share/python_keyring
    .local/share/atuin .local/share/kwalletd .local/share/direnv/allow .local/share/gh/extensions .local/share/claude
    .cache .cache/huggingface .cache/pip .cache/pre-commit/repo .cache/ms-playwright .cache/mozilla .ollama .cloudflared
    .fly .tsh .pulumi .kaggle .databricks .railway .cf .bashrc.d .bash_completion.d .zshrc.d .zinit/plugins .fzf/bin
    .librewolf .1password .android .local/share/com.vercel.cli .local/state/nix""".split(),
)
def test_directories_with_keys_settings_or_programs_are_refused(path: str, bare_home: Host, tmp_path: Path) -> None:
    (bare_home.home / path).mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(bare_home.home / path)
    for place in (bare_home.home / path, link):
        with pytest.raises(ConfinedError, match="cannot be a project: keys of yours"):
            find(place, bare_home)


@pytest.mark.parametrize(
    "path",
    """.dotfiles dots bin/tool .local/src/app .local/share/chezmoi .local/share/yadm/repo.git config ssh/x go/src/x
    go/x cargo Library/Developer/app .cache/x .cache/yay/app .cache/huggingface/hub .ollama/models .local/state/x
    snapshots snap/x/common/project snap/x/common/project/.hidden""".split(),
)
def test_other_directories_of_the_home_are_fine(path: str, bare_home: Host) -> None:
    assert refusal(bare_home.home / path, bare_home) == ""


@pytest.mark.parametrize(
    "path", ["Library/Application Support/Firefox", "Library/Application Support", "Library/Group Containers/x"]
)
def test_directories_of_macos_with_a_blank_in_their_name_are_refused(path: str, bare_home: Host) -> None:
    assert "keys of yours" in refusal(bare_home.home / path, bare_home)


@pytest.mark.parametrize(
    ("variable", "inner"),
    [("XDG_DATA_HOME", "keyrings"), ("XDG_DATA_HOME", ""), ("XDG_STATE_HOME", "nix/x"), ("XDG_CACHE_HOME", "pip")],
)
def test_where_variables_have_these_directories_is_refused(
    variable: str, inner: str, bare_home: Host, tmp_path: Path
) -> None:
    for base in (tmp_path / "base", f"/{tmp_path}/./base/"):
        host = bare_home._replace(environ={**bare_home.environ, variable: str(base)})
        assert "keys of yours" in refusal(tmp_path / "base" / inner, host)
        assert refusal(tmp_path / "base/app", host) == ""


def test_what_is_there_is_named_and_the_variable_that_it_is_from(bare_home: Host, tmp_path: Path) -> None:
    environ = {
        "CARGO_HOME": f"{tmp_path}/cargo",
        "XDG_DATA_HOME": f"{tmp_path}/data",
        "GNUPGHOME": f"{tmp_path}/a/keys",
    }
    host = bare_home._replace(environ={**bare_home.environ, **environ})
    (tmp_path / "dots").mkdir()
    (host.home / ".fly").symlink_to(tmp_path / "dots")
    told = {
        host.home / ".ssh/inner": "~/.ssh",
        host.home / "bin": "~/bin",
        host.home / "snap/firefox/common/x": "~/snap",
        tmp_path / "cargo/x": f"{tmp_path}/cargo (CARGO_HOME)",
        tmp_path / "data": f"{tmp_path}/data (XDG_DATA_HOME)",
        tmp_path / "data/keyrings/x": f"{tmp_path}/data/keyrings (XDG_DATA_HOME)",
        tmp_path / "a": f"{tmp_path}/a/keys (GNUPGHOME)",
        tmp_path / "dots/x": "~/.fly",
    }
    begin = "keys of yours, or settings and programs that you use, are there: "
    assert {path: refusal(path, host).removeprefix(begin) for path in told} == told


@pytest.mark.parametrize("path", ["x/current/y", "x/3/y", "firefox/common/y", "x/common", "x/common/y"])
def test_a_link_in_the_place_of_snap_is_as_good_as_that(path: str, bare_home: Host, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / path).mkdir(parents=True)
    (bare_home.home / "snap").symlink_to(tmp_path / "elsewhere")
    assert ("~/snap" in refusal(tmp_path / "elsewhere" / path, bare_home)) == (path != "x/common/y")


@pytest.mark.parametrize("others", [0, 3000])
def test_a_link_is_found_in_a_home_with_any_number_of_entries(others: int, bare_home: Host, tmp_path: Path) -> None:
    for number in range(others):
        put(bare_home.home / f"x{number}")
    (tmp_path / "keys").mkdir()
    (bare_home.home / ".fly").symlink_to(tmp_path / "keys")
    assert "keys of yours" in refusal(tmp_path / "keys", bare_home)


def test_the_config_directory_by_its_variable_is_refused(bare_home: Host, tmp_path: Path) -> None:
    host = bare_home._replace(environ={**bare_home.environ, "XDG_CONFIG_HOME": str(tmp_path / "settings")})
    assert "keys of yours" in refusal(tmp_path / "settings/nvim", host)


@pytest.mark.parametrize("name", ["CARGO_HOME", "GNUPGHOME", "NVM_DIR", "DOCKER_CONFIG"])
def test_where_a_variable_has_keys_or_programs_is_refused(bare_home: Host, tmp_path: Path, name: str) -> None:
    host = bare_home._replace(environ={**bare_home.environ, name: str(tmp_path / "elsewhere")})
    assert "keys of yours" in refusal(tmp_path / "elsewhere/inner", host)
    assert refusal(tmp_path / "elsewhere/inner", bare_home) == ""


@pytest.mark.parametrize("name", [".config/nvim", ".vim", ".oh-my-zsh", ".config"])
def test_what_the_home_links_to_as_such_a_directory_is_refused(bare_home: Host, tmp_path: Path, name: str) -> None:
    root = tmp_path / "src/mine"
    (root / "lua").mkdir(parents=True)
    assert refusal(root, bare_home) == ""
    link = bare_home.home / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(root)
    assert "keys of yours" in refusal(root, bare_home)
    assert "keys of yours" in refusal(root / "lua", bare_home)
    assert refusal(root.parent, bare_home) == ""  # in which it is protected


def with_path(host: Host, path: str) -> Host:
    return host._replace(environ={**host.environ, "PATH": path})


def test_a_directory_on_the_callers_path_is_refused(bare_home: Host, tmp_path: Path) -> None:
    (tmp_path / "tools/app/bin").mkdir(parents=True)
    (tmp_path / "link").symlink_to("tools")
    for entry in (tmp_path / "tools", tmp_path / "link"):
        with pytest.raises(ConfinedError, match="it is on your PATH"):
            find(tmp_path / "tools", with_path(bare_home, f"/usr/bin:{entry}"))
        assert find(tmp_path / "tools/app", with_path(bare_home, f"/usr/bin:{entry}"))
    # What is inside the project is reported instead.
    assert find(tmp_path / "tools/app", with_path(bare_home, f"{tmp_path}/tools/app/bin:./node_modules/.bin"))


@pytest.mark.parametrize("path", [".:/usr/bin", "/usr/bin:", "/usr/bin::/bin", "./:/bin"])
def test_no_directory_is_a_project_while_the_current_one_is_on_path(path: str, host: Host, tmp_path: Path) -> None:
    with pytest.raises(ConfinedError, match="PATH names the current directory") as caught:
        find(project_at(tmp_path / "app"), with_path(host, path))
    assert "Take that entry out" in caught.value.hint


def test_a_claude_config_that_is_a_link_loop_is_no_traceback(tmp_path: Path, host: Host) -> None:
    (host.home / ".claude").symlink_to(host.home / ".claude")
    root = project_at(tmp_path / "app")
    try:
        assert find(root, host).root == root
    except ConfinedError as error:
        assert ".claude" in error.message


# Links


def assert_link_refused(root: Path, link: Path, host: Host) -> None:
    with pytest.raises(ConfinedError) as caught:
        find(root, host)
    assert str(link) in caught.value.message
    assert "link" in caught.value.message
    assert "remove it" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("target", ["/", "inside", "missing"])
@pytest.mark.parametrize(
    "name", ["", "config.toml", "venvs", "local-bin", ".gitignore", "answers.yml", "anything", "local-bin/.lib"]
)
def test_a_link_in_the_scaffold_is_refused(name: str, target: str, tmp_path: Path, host: Host) -> None:
    root = tmp_path / "app"
    (root / "inside").mkdir(parents=True)
    link = root / ".confined-claude" / name
    link.parent.mkdir(exist_ok=True, parents=True)
    link.symlink_to(root / target)
    assert_link_refused(root, link, host)


def test_links_deeper_in_venvs_and_among_the_commands_are_fine(tmp_path: Path, host: Host) -> None:
    root = project_at(tmp_path / "app")
    for name, target in (("venvs/dev/bin/python", "/usr/bin/python3"), ("local-bin/tool", "../venvs/dev/bin/tool")):
        link = root / ".confined-claude" / name
        link.parent.mkdir(parents=True)
        link.symlink_to(target)
    assert find(root, host).root == root


def test_a_scaffold_that_is_a_file_is_a_clear_error(tmp_path: Path, host: Host) -> None:
    root = project_at(tmp_path / "app", scaffold=False)
    (root / ".confined-claude").write_text("not a directory")
    with pytest.raises(ConfinedError, match="Not a directory"):
        find(root, host)


def test_a_scaffold_that_cannot_be_listed_is_a_clear_error(plain_folder: Path) -> None:
    def work() -> None:
        host = host_below(plain_folder)
        root = project_at(plain_folder / "app")
        (root / ".confined-claude").chmod(0)
        find(root, host)

    with pytest.raises(ConfinedError, match="Permission denied"):
        as_plain_user(work)


def test_a_scaffold_that_leads_nowhere_is_refused_from_a_directory_below(tmp_path: Path, host: Host) -> None:
    root = tmp_path / "app"
    (root / "src").mkdir(parents=True)
    link = root / ".confined-claude"
    link.symlink_to(root / "missing")
    assert_link_refused(root / "src", link, host)


# A directory that is to become a project


@pytest.mark.parametrize("name", ["app", "app/in/it", "new", "new/in/it", "app/../new", "link", "link/new"])
def test_a_directory_that_can_become_a_project_is_left_as_it_is(tmp_path: Path, host: Host, name: str) -> None:
    project_at(tmp_path / "app")
    (tmp_path / "link").symlink_to("app")
    before = tree(tmp_path)
    check_new(tmp_path / name, host)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["home", "home/.claude/new", "/etc", "/etc/new", "a\udcff", "file", "file/new", "nowhere"]
)
def test_a_directory_that_cannot_become_a_project_is_refused_with_nothing_made(
    tmp_path: Path, host: Host, name: str
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "nowhere").symlink_to("missing")
    before = tree(tmp_path)
    with pytest.raises(ConfinedError) as caught:
        check_new(tmp_path / name, host)
    assert caught.value.hint
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["link", "link/new"])
def test_a_link_into_a_directory_that_may_not_be_entered_is_refused(plain_folder: Path, name: str) -> None:
    def work() -> None:
        (plain_folder / "closed/app").mkdir(parents=True)
        (plain_folder / "link").symlink_to("closed/app")
        (plain_folder / "closed").chmod(0)
        check_new(plain_folder / name, host_below(plain_folder))

    with pytest.raises(ConfinedError) as caught:
        as_plain_user(work)
    assert caught.value.hint


@pytest.mark.parametrize("name", [".", "new", ".confined-claude"])
def test_a_directory_that_cannot_be_written_is_refused(plain_folder: Path, name: str) -> None:
    def work() -> None:
        host = host_below(plain_folder)
        root = project_at(plain_folder / "app")
        (root / name if (root / name).exists() else root).chmod(0o555)
        check_new(root / "new" if name == "new" else root, host)

    with pytest.raises(ConfinedError, match="Cannot write to"):
        as_plain_user(work)
