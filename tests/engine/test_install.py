"""install.sh, as a new user meets it: an empty HOME, an environment with nothing in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import ALONE, REPOSITORY, SYSTEM_PATH, User, docker, up, wait_until
from terminals import terminal

COMMANDS = ("confined-claude", "inv", "invoke", "copier")
COMPLETION = {
    "bash": ".local/share/bash-completion/completions/confined-claude",
    "zsh": ".local/share/confined-claude/completion.zsh",
    "fish": ".config/fish/completions/confined-claude.fish",
}
START_UP = (".bashrc", ".zshrc", ".profile", ".config/fish/config.fish")
INSTALL = str(REPOSITORY / "install.sh")
# The images of this engine are in use by other tests: they uninstall without one.
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent.sock"}


def readme_commands() -> str:
    return (REPOSITORY / "README.md").read_text()


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in paths}


@pytest.fixture
def newcomer(make_user: Callable[..., User], place: Path) -> User:
    """Someone who has nothing installed, in a HOME of their own."""
    user = make_user(is_new=True)
    return User(user.home, user.home / ".local/bin", user.uid, user.gid, user.variables)


@pytest.fixture
def settled(newcomer: User, installed: Path) -> User:
    """A newcomer for whom pip has no work: the packages are there, copied from the one installation of all tests."""
    venv = ".local/share/confined-claude/venv"
    before, now = installed.parents[1] / venv, newcomer.home / venv
    shutil.copytree(before, now, symlinks=True)
    for command in now.glob("bin/*"):
        if not command.is_symlink():
            command.write_text(command.read_text().replace(str(before), str(now)))
    return newcomer


def test_one_command_from_the_readme_ends_with_claude_answering(newcomer: User, place: Path) -> None:
    assert "\n    ./install.sh ../my-project\n" in readme_commands()
    done = newcomer.run("./install.sh", str(place / "my-project"), "--", "-p", "hello", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "FAKE ANSWER: hello\n"
    assert (place / "my-project/tasks.py").is_file()
    for command in COMMANDS:
        assert (newcomer.home / ".local/bin" / command).is_symlink()
    assert {name for name, path in COMPLETION.items() if (newcomer.home / path).is_file()} == set(COMPLETION)
    assert f'    source "{newcomer.home / COMPLETION["zsh"]}"\n' in done.stderr
    assert not any((newcomer.home / name).exists() for name in START_UP)
    # The command's interpreter ignores what the environment has for Python.
    (place / "platformdirs.py").write_text("raise SystemExit('imported')")
    assert newcomer.run("confined-claude", "config", cwd=place / "my-project", PYTHONPATH=str(place)).returncode == 0

    # Nothing is installed that runs in every start of Python.
    assert not list((newcomer.home / ".local/share/confined-claude/venv/lib").glob("python3*/site-packages/*.pth"))

    # Then what the README says comes next.
    listed = newcomer.run("inv", "--list", cwd=place / "my-project")
    assert "Run Claude Code" in listed.stdout

    before = state_of(newcomer.home / ".local")
    again = newcomer.run(INSTALL, cwd=place)
    assert again.returncode == 0
    assert again.stderr == "confined-claude: Ready. Run confined-claude in a project's directory.\n"
    assert state_of(newcomer.home / ".local") == before

    # A link of an installation that was made with another Python is ours as well.
    link = newcomer.home / COMPLETION["fish"]
    target = link.readlink()
    link.unlink()
    link.symlink_to(str(target).replace("python3", "python2"))
    (place / "my-project/tasks.py").write_text((place / "my-project/tasks.py").read_text() + "# mine\n")
    third = newcomer.run(INSTALL, str(place / "my-project"), "--", "-p", "once more", cwd=place)
    assert third.stdout == "FAKE ANSWER: once more\n"
    assert link.readlink() == target
    assert (place / "my-project/tasks.py").read_text().endswith("# mine\n")


def test_what_is_the_users_own_stays_and_the_line_for_path_is_given(newcomer: User, place: Path) -> None:
    own = [newcomer.home / name for name in (".local/bin/inv", COMPLETION["zsh"], *START_UP)]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    # Nor is anything written where somebody's link leads; and completion that cannot be had ends nothing.
    fish = newcomer.home / COMPLETION["fish"]
    fish.parent.mkdir(parents=True)
    fish.symlink_to(newcomer.home / "nowhere")
    (newcomer.home / ".local/share/bash-completion").write_text("in the way")
    done = newcomer.run(INSTALL, cwd=place, PATH=SYSTEM_PATH)
    assert done.returncode == 0, done.stderr
    for path in (own[0], own[1], fish):
        assert f"{path} is not from this installer and stays as it is" in done.stderr
    bash = newcomer.home / COMPLETION["bash"]
    assert f"{bash} cannot be created: bash will not complete confined-claude." in done.stderr
    line = re.search(r"export PATH=.*", done.stderr)
    assert line
    shown = newcomer.run("sh", "-c", f"{line[0]}; command -v confined-claude", cwd=place, PATH=SYSTEM_PATH)
    assert shown.stdout.strip() == str(newcomer.home / ".local/bin/confined-claude")
    newcomer.run(INSTALL, "--uninstall", "--yes", cwd=place, **NO_ENGINE)
    assert {path.read_text() for path in own} == {"mine"}
    assert fish.is_symlink()
    assert not (newcomer.home / "nowhere").exists()


def test_uninstall_takes_all_it_made_and_asks_before_it_deletes_data(settled: User, place: Path) -> None:
    # Relative folders in variables count as unset.
    relative = {f"XDG_{name}_HOME": "relative" for name in ("DATA", "STATE", "CONFIG")}
    installed = settled.run(INSTALL, str(place / "p"), "--", "-p", "hello", cwd=place, **relative)
    assert installed.returncode == 0, installed.stderr
    assert {name for name, path in COMPLETION.items() if (settled.home / path).is_file()} == set(COMPLETION)
    data = settled.home / ".local/share/confined-claude"
    before = state_of(settled.home)
    # A yes to the engine is none to this, nor is a variable.
    for words in (("--uninstall",), ("--with-engine", "--uninstall")):
        unasked = settled.run(INSTALL, *words, cwd=place, assume_yes="1", **NO_ENGINE, **relative)
        assert unasked.returncode == 2
        assert "Nothing was removed. There is no terminal to ask on." in unasked.stderr
    assert state_of(settled.home) == before
    kept = settled.run(INSTALL, "--uninstall", "--yes", cwd=place, **NO_ENGINE, **relative)
    assert kept.returncode == 0, kept.stderr
    assert "Images stay." in kept.stderr
    assert f"Kept: {data}" in kept.stderr
    assert {path.name for path in data.iterdir()} == {"shared", "projects"}
    assert list((settled.home / ".local/bin").iterdir()) == []
    assert not (settled.home / ".local/share/bash-completion").exists()
    assert not (settled.home / ".config/fish").exists()

    # --yes leaves the data, and asks nothing at a terminal either.
    with terminal(settled, place, INSTALL, "--uninstall", "--yes", **NO_ENGINE, **relative) as shown:
        shown.wait_for("It stays.")
        assert shown.wait_for_end() == 0
    assert "[y/N]" not in shown.everything
    command = ["script", "-qec", f"{INSTALL} --uninstall", "/dev/null"]
    environ = settled.environ(**NO_ENGINE, **relative)
    question = subprocess.run(
        command, env=environ, cwd=place, input="y\ny\n", capture_output=True, text=True, timeout=900, check=True
    )
    assert question.stdout.count("[y/N]") == 2
    named, asked, removed = (question.stdout.index(word) for word in ("Your data is in", "Remove the", "Uninstalled."))
    assert named < asked < question.stdout.index("Delete your data as well?") < removed
    left = [path for path in settled.home.rglob("*") if path.is_file() or path.is_symlink()]
    assert left == []
    assert set(place.iterdir()) == {settled.home, place / "p"}


def built(place: Path, tag: str) -> str:
    """The id of an image of this test's own, with all the labels of the tool's."""
    (place / "Dockerfile").write_text(f"FROM confined-claude:latest\nLABEL confined-claude-test={place.name}-{tag}\n")
    docker("build", "--quiet", "--tag", f"confined-claude:{tag}", str(place))
    return docker("image", "inspect", "--format", "{{.Id}}", f"confined-claude:{tag}").strip()


@ALONE
def test_uninstall_concerns_this_users_images_alone(settled: User, place: Path) -> None:
    mine, anothers = (f"{place.name.lower().strip('_')}-{who}" for who in ("mine", "anothers"))
    assert settled.run(INSTALL, cwd=place).returncode == 0
    own = built(place, mine)
    built(place, anothers)
    state = settled.home / ".local/state/confined-claude"
    state.mkdir(parents=True, exist_ok=True)
    (state / "images.json").write_text(json.dumps([own]))
    before = set(docker("images", "--format", "{{.Repository}}:{{.Tag}}").split())
    done = settled.run(INSTALL, "--uninstall", "--yes", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "1 image that you have built, " in done.stderr
    assert before - set(docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == {f"confined-claude:{mine}"}
    docker("rmi", f"confined-claude:{anothers}")


def test_uninstall_names_running_sessions_and_what_nobody_has_fetched(settled: User, place: Path) -> None:
    assert settled.run(INSTALL, cwd=place).returncode == 0
    project = settled.folder(place / f"p{place.name.lower().strip('_')}")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    settled.run("git", "init", "--quiet", "--initial-branch", "main", cwd=project)
    commit = ["commit", "--quiet", "--allow-empty", "--message", "x"]
    assert settled.run("git", *identity, *commit, cwd=project).returncode == 0
    words = ["shell", "--git", "isolated", "--", "git", *identity, *commit]
    assert settled.run("confined-claude", *words, cwd=project).returncode == 0

    with settled.running("confined-claude", "shell", "--", "sleep", "600", cwd=project):
        name = wait_until(lambda: up(project))[0]
        refused = settled.run(INSTALL, "--uninstall", "--yes", cwd=place)
        assert refused.returncode == 2
        assert f"Sessions are still running: {name}.\nEnd them first" in refused.stderr
        settled.run("confined-claude", "stop", "--all", cwd=place)
    # A person reads of the loss before anything is asked, and loses nothing by a no.
    lost = f"{project}: This also discards commits that were never fetched, on main."
    before = state_of(settled.home)
    with terminal(settled, place, INSTALL, "--uninstall") as shown:
        shown.wait_for("Remove the installation? [y/N]")
        assert lost in " ".join(shown.everything.split())
        shown.send("n\n")
        assert shown.wait_for_end() == 0
    assert state_of(settled.home) == before
    done = settled.run(INSTALL, "--uninstall", "--yes", cwd=place)
    assert (done.returncode, "discards" in done.stderr) == (0, False), done.stderr  # the data stays
    assert settled.run(INSTALL, cwd=place).returncode == 0
    told = re.search("To fetch them first: (.*)", shown.everything)
    assert told is not None
    fetched = settled.run("sh", "-c", told[1].rstrip("\r"), cwd=place)
    assert "Fetched confined/main" in fetched.stdout, fetched.stderr


@pytest.mark.parametrize("words", [("--nope",), ("one", "two"), ("--", "-p"), ("--yes",)])
def test_wrong_usage(newcomer: User, place: Path, words: tuple[str, ...]) -> None:
    done = newcomer.run(INSTALL, *words, cwd=place)
    assert done.returncode == 2
    assert not (newcomer.home / ".local").exists()


def test_the_scaffold_is_what_is_committed_not_what_is_being_edited(settled: User, template: Path, place: Path) -> None:
    clone = place / "clone"
    shutil.copytree(template, clone)
    shim = (clone / "template/tasks.py").read_text()
    (clone / "template/tasks.py").write_text("dirty\n")
    (clone / "template/more.py").write_text("dirty\n")
    project = place / "my-project"
    done = settled.run(str(clone / "install.sh"), str(project), "--", "-p", "hello", cwd=place)
    assert done.stdout == "FAKE ANSWER: hello\n", done.stderr
    assert (project / "tasks.py").read_text() == shim
    assert not (project / "more.py").exists()
    assert (
        "_src_path: ~/.local/share/confined-claude/template.bundle\n" in (project / ".copier-answers.yml").read_text()
    )


@pytest.mark.parametrize("project", ["my-project", ".", "tests", "new/../other", str(REPOSITORY / "new")])
def test_a_project_in_the_clone_of_the_tool_is_refused_with_a_hint(installed: Path, project: str) -> None:
    done = User(installed.parent.parent, installed).run("./install.sh", project, cwd=REPOSITORY)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        f"confined-claude: {REPOSITORY / project} is inside {REPOSITORY}, the clone of Confined Claude.",
        "Choose a directory elsewhere, for instance one beside it.",
    ]
    assert not (REPOSITORY / "my-project").exists()


@pytest.mark.parametrize(
    "name", [".confined-claude", ".copier-answers.yml", "tasks.py", ".confined-claude/.gitignore", ".confined-claude/x"]
)
def test_a_clone_with_a_link_in_the_scaffolds_way_is_refused(
    user: User, installed: Path, place: Path, name: str
) -> None:
    regular = User(installed.parent.parent, installed, variables=user.variables)
    target = regular.folder(place / "outside")
    (target / "file").write_text("precious")
    link = place / "clone" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(target if name == ".confined-claude" else target / "file")
    done = regular.run(INSTALL, str(place / "clone"), "--", "-p", "hello", cwd=place)
    assert done.returncode == 2
    assert f"{link} is a link" in done.stderr
    assert {path.name: path.read_text() for path in target.iterdir()} == {"file": "precious"}


@pytest.mark.parametrize("name", ["home-itself", "file", "nowhere", "a\udcff", "made/for/nothing\udcff"])
def test_a_folder_that_can_be_no_project_is_refused_before_anything_is_installed(
    newcomer: User, place: Path, name: str
) -> None:
    (place / "file").write_text("precious")
    (place / "nowhere").symlink_to("missing")
    if name == "a\udcff":
        (place / name).mkdir()
    folder = newcomer.home if name == "home-itself" else place / name
    before = [set(os.listdir(path)) for path in (place, folder) if path.is_dir()]
    done = newcomer.run(INSTALL, os.fspath(folder), "--", "-p", "hello", cwd=place)
    assert done.returncode == 2
    assert not (newcomer.home / ".local").exists()
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert [set(os.listdir(path)) for path in (place, folder) if path.is_dir()] == before


@pytest.mark.parametrize("value", ["", "relative/home"])
def test_a_home_that_is_none_is_refused(newcomer: User, place: Path, value: str) -> None:
    environ = {**newcomer.environ(), "HOME": value}
    for words in ((), ("--uninstall",)):
        done = subprocess.run(
            [INSTALL, *words], env=environ, cwd=place, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 2
    assert [path for path in place.iterdir() if path != newcomer.home] == []


@pytest.mark.parametrize("ignored_before", [False, True])
def test_a_project_that_was_used_before_gets_the_whole_scaffold(
    user: User, installed: Path, place: Path, ignored_before: bool
) -> None:
    regular = User(installed.parent.parent, installed, variables=user.variables)
    project = regular.folder(place / "project")

    def git(*words: str) -> str:
        return regular.git(project, *words)

    git("init", "--quiet")
    used = regular.run("confined-claude", "shell", "--", "sh", "-c", "mkvenv x && touch ~/.local/bin/y", cwd=project)
    assert (used.returncode, git("status", "--porcelain")) == (0, ""), used.stderr
    if ignored_before:
        (project / ".confined-claude/.gitignore").write_text("*\n")
    copied = regular.run("copier", "copy", "--defaults", "--vcs-ref", "HEAD", str(REPOSITORY), ".", cwd=project)
    assert copied.returncode == 0, copied.stderr
    done = regular.run(INSTALL, str(project), "--", "-p", "hello", cwd=place)
    assert done.stdout == "FAKE ANSWER: hello\n", done.stderr
    git("add", "--all")
    names = ("config.toml", "config.schema.json", "Dockerfile")
    scaffold = {".copier-answers.yml", "tasks.py", *(f".confined-claude/{name}" for name in names)}
    assert set(git("ls-files").split()) == scaffold
    assert (project / ".confined-claude/venvs/x").is_dir()
    # And without the scaffold, by install.sh alone.
    git("rm", "--quiet", "-r", "--force", ".")
    again = regular.run(INSTALL, str(project), "--", "-p", "again", cwd=place)
    assert again.stdout == "FAKE ANSWER: again\n", again.stderr
    git("add", "--all")
    assert set(git("ls-files").split()) == scaffold


def test_help_names_every_option(newcomer: User, place: Path) -> None:
    done = newcomer.run(INSTALL, "--help", cwd=place)
    for word in ("PROJECT", "--with-engine", "--uninstall"):
        assert word in done.stdout


@pytest.fixture
def bare_path(place: Path) -> Path:
    """A PATH without docker, sudo and apt-get, but with all else."""
    folder = place / "bare"
    folder.mkdir()
    for directory in SYSTEM_PATH.split(":"):
        for tool in Path(directory).glob("*") if Path(directory).is_dir() else ():
            if tool.name not in ("docker", "dockerd", "sudo", "apt-get") and not (folder / tool.name).exists():
                (folder / tool.name).symlink_to(tool)
    return folder


def test_no_engine_and_no_way_to_install_one_says_what_to_do(newcomer: User, place: Path, bare_path: Path) -> None:
    done = newcomer.run(INSTALL, cwd=place, PATH=str(bare_path))
    assert done.returncode == 3
    assert "no Docker engine" in done.stderr
    assert "docker.io" in done.stderr
    assert "usermod -aG docker" in done.stderr
    assert not (newcomer.home / ".local").exists()


@pytest.mark.root
def test_without_a_terminal_sudo_is_never_used_unasked(
    make_user: Callable[..., User], place: Path, bare_path: Path
) -> None:
    user = make_user(12345, 12345)
    for name in ("sudo", "apt-get"):
        (bare_path / name).write_text(f"#!/bin/sh\ntouch {place}/used\n")
        (bare_path / name).chmod(0o755)
    place.chmod(0o777)
    done = user.run(INSTALL, cwd=place, PATH=str(bare_path))
    assert done.returncode == 3
    assert not (place / "used").exists()
    # The control: with the yes given, it is.
    user.run(INSTALL, "--with-engine", cwd=place, PATH=str(bare_path))
    assert (place / "used").exists()


@pytest.mark.root
def test_no_permission_on_the_engine_says_how_to_join(make_user: Callable[..., User], place: Path) -> None:
    user = make_user(12345, 12345, is_new=True)
    done = user.run(INSTALL, cwd=place, docker_group=False)
    assert done.returncode == 3
    assert "no permission" in done.stderr
    assert "usermod -aG docker" in done.stderr
    assert os.listdir(user.home) == []
