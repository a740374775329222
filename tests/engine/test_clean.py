"""``clean`` and ``clean-global`` beside real sessions, with the real client's history, cut off and in races."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ALONE, PATIENCE, User, docker, sidecars_of, up, wait_until
from terminals import terminal

from confined_claude.claude.names import directory_name
from confined_claude.commands.clean import Options, clean
from confined_claude.egress.network_parts import sidecar_name
from confined_claude.engine.images import Images
from confined_claude.engine.labels import KEY, KIND, OWNER, PROJECT, SIDECAR
from confined_claude.host import Host
from confined_claude.image.inventory import Inventory
from confined_claude.project import Project
from confined_claude.session import strays

CLEAN = ("confined-claude", "clean", "--yes")
GLOBAL = ("confined-claude", "clean-global", "--yes")
# What a session has must stay as long as it runs.
WORK = """
for folder in ~/venvs ~/.local/bin ~/.cache/pip ~/.cache/npm/_cacache ~/.claude; do echo x >$folder/mark || exit 5; done
test -s ~/.claude/.claude.json || exit 6
sleep 0.4
for folder in ~/venvs ~/.local/bin ~/.cache/pip ~/.cache/npm/_cacache ~/.claude; do rm $folder/mark || exit 7; done
"""


def host_of(user: User) -> Host:
    """What the tool knows of the user, as far as these tests need it in this process."""
    data, state = user.home / ".local/share/confined-claude", user.home / ".local/state/confined-claude"
    return Host.current()._replace(uid=user.uid, data=data, state=state)


@contextlib.contextmanager
def session(user: User, project: Path) -> Iterator[subprocess.Popen[str]]:
    """A session that runs until the end of the block."""
    with user.running("confined-claude", "shell", "--", "sleep", "300", cwd=project) as tool:
        wait_until(lambda: up(project))
        try:
            yield tool
        finally:
            user.run("confined-claude", "stop", "--all", cwd=project)


def shared(user: User) -> Path:
    return user.home / ".local/share/confined-claude/shared"


def ask(user: User, project: Path, *words: str) -> str:
    done = user.run("confined-claude", "--", "-p", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_cleaned_while_a_session_uses_it(user: User, project: Path, place: Path) -> None:
    other = user.folder(place / "other")
    nowhere = f"unix://{place}/none.sock"
    user.run("confined-claude", "shell", "--", "sh", "-c", "echo x >~/venvs/x", cwd=other)
    with session(user, project) as tool:
        (name,) = up(project)
        for words in (CLEAN, (*CLEAN, "--all"), GLOBAL, (*GLOBAL, "--all")):
            done = user.run(*words, cwd=project)
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert name in done.stderr
            assert "confined-claude stop" in done.stderr
        done = user.run(*CLEAN, "--all", cwd=other)
        assert done.returncode == 0, done.stderr
        assert list(other.iterdir()) == []
        assert (project / ".confined-claude/venvs").is_dir()
        # It goes on without the tool that started it, and perhaps without an engine that says so.
        tool.kill()
        tool.wait(PATIENCE)
        assert user.run(*CLEAN, cwd=project).returncode == 2
        assert user.run(*GLOBAL, cwd=project).returncode == 2
        for words in (CLEAN, GLOBAL):
            done = user.run(*words, cwd=project, DOCKER_HOST=nowhere)
            assert done.returncode == 3
            assert "may still run" in done.stderr
        assert up(project) == [name]
        (command,) = re.findall("`(confined-claude stop .*)`", user.run(*CLEAN, cwd=project).stderr)
        assert user.run(*command.split(), cwd=project).returncode == 0
    done = user.run(*CLEAN, "--all", cwd=project)
    assert done.returncode == 0, done.stderr
    assert list(project.iterdir()) == []
    # With no session on record there is none, whatever the engine could say.
    assert user.run(*GLOBAL, cwd=project, DOCKER_HOST=nowhere).returncode == 0


def test_claude_begins_anew_and_another_projects_history_goes_on(user: User, place: Path) -> None:
    one, two = user.folder(place / "one"), user.folder(place / "two")
    for project in (one, two):
        ask(user, project, "hello")
        assert "AFTER 1 MESSAGES" in ask(user, project, "--continue", "and?")
    done = user.run(*CLEAN, "--all", cwd=one)
    assert done.returncode == 0, done.stderr
    assert "1 conversation," in done.stdout
    # Claude's own list of what there is of a project.
    purge = ("confined-claude", "shell", "--", "claude", "purge")
    assert f"No Claude Code project data found for {one}" in user.run(*purge, str(one), "--dry-run", cwd=two).stderr
    assert f"Purge plan for {two}" in user.run(*purge, str(two), "--dry-run", cwd=two).stdout
    assert "MESSAGES" not in ask(user, one, "--continue", "and?")
    assert "AFTER 2 MESSAGES" in ask(user, two, "--continue", "and?")


def test_of_two_projects_that_claude_calls_the_same_only_one_is_forgotten(user: User, place: Path) -> None:
    one, two = user.folder(place / "a-b/c"), user.folder(place / "a/b-c")
    user.own(one.parent, two.parent)
    for project in (one, two):
        ask(user, project, f"hello from {project.name}")
    # As earlier versions kept them.
    folder = shared(user) / "claude-config/projects" / directory_name(one)
    folder.mkdir()
    for project in (one, two):
        own = shared(user).parent / "projects" / Project(project).id / "conversations" / folder.name
        for transcript in own.glob("*.jsonl"):
            transcript.rename(folder / transcript.name)
    assert len(list(folder.glob("*.jsonl"))) == 2
    done = user.run(*CLEAN, "--all", cwd=one)
    assert done.returncode == 0, done.stderr
    (left,) = folder.glob("*.jsonl")
    assert "hello from b-c" in left.read_text()
    assert "AFTER 1 MESSAGES" in ask(user, two, "--continue", "and?")
    assert not list(folder.glob("*.jsonl"))
    done = user.run(*CLEAN, "--all", "--project", str(two), cwd=one)
    assert done.returncode == 0, done.stderr
    assert not list(shared(user).parent.glob("projects/*"))


def test_the_questions_at_a_terminal(user: User, project: Path) -> None:
    user.run("confined-claude", "shell", "--", "sh", "-c", "echo x >~/venvs/x", cwd=project)
    done = user.run("confined-claude", "clean", cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    first, second = "Delete this? [y/N]", "Delete this too? It cannot be restored. [y/N]"
    for asked, is_there in ([(first, "n")], True), ([(first, "y"), (second, "n")], False), ([(second, "y")], False):
        with terminal(user, project, "confined-claude", "clean", "--all") as screen:
            for question, answer in asked:
                screen.wait_for(question)
                screen.send(f"{answer}\r")
            assert screen.wait_for_end() == 0
        assert (project / ".confined-claude").exists() is is_there
    done = user.run("confined-claude", "clean", "--all", "--dry-run", cwd=project)
    assert done.stdout == "There is nothing to clean.\n"


def test_a_clean_that_is_killed_is_finished_by_the_next(user: User, project: Path) -> None:
    script = "mkdir ~/venvs/x; cd ~/venvs/x; seq 60000 | xargs touch"
    scaffold = project / ".confined-claude"
    for _ in range(10):  # it may be faster than its end
        user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project)
        with user.running(*CLEAN, "--all", cwd=project) as tool:
            wait_until(lambda tool=tool: list(scaffold.glob(".removed-*/x")) or tool.poll() is not None)  # type: ignore[misc]
            tool.kill()
            tool.wait(PATIENCE)
        if left := list(scaffold.glob(".removed-*/x/*")):
            break
    assert left
    done = user.run(*CLEAN, "--all", cwd=project)
    assert done.returncode == 0, done.stderr
    assert not scaffold.exists()
    assert list((user.home / ".local").rglob(".removed-*")) == []


def test_many_cleans_at_once(user: User, project: Path) -> None:
    script = "for i in 1 2 3 4 5; do mkdir ~/venvs/$i; cd ~/venvs/$i; seq 2000 | xargs touch; done"
    user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project)
    with contextlib.ExitStack() as stack:
        tools = [stack.enter_context(user.running(*CLEAN, "--all", cwd=project)) for _ in range(4)]
        ended = [(tool.communicate(timeout=PATIENCE)[0], tool.returncode) for tool in tools]
    assert [code for _, code in ended] == [0] * 4, ended
    assert list(project.iterdir()) == []
    assert list((user.home / ".local").rglob(".removed-*")) == []


@pytest.mark.parametrize("words", [(*CLEAN, "--all"), (*GLOBAL, "--all")], ids=["clean", "clean-global"])
def test_a_session_that_starts_at_the_same_moment_loses_nothing(
    words: tuple[str, ...], user: User, project: Path
) -> None:
    cleaned = rounds = 0
    while rounds < 4 or (not cleaned and rounds < 20):  # which of them comes first is for the machine to say
        rounds += 1
        with user.running("confined-claude", "shell", "--", "sh", "-c", WORK, cwd=project) as starting:
            while starting.poll() is None:
                done = user.run(*words, cwd=project)
                assert done.returncode in (0, 2), done.stderr
                cleaned += done.returncode == 0
            output = starting.communicate(timeout=PATIENCE)[0]
            assert starting.returncode == 0, output
    assert cleaned
    assert user.run(*CLEAN, "--all", cwd=project).returncode == 0
    assert list(project.iterdir()) == []


@ALONE
def test_of_images_only_what_was_built_here_and_nothing_uses(user: User, project: Path, place: Path) -> None:
    host = host_of(user)
    user.run("confined-claude", "shell", "--", "true", cwd=project)
    # The tool's name only for the one that is not this user's: other users' `status` looks into those.
    repositories = ("confined-claude-test", "confined-claude-test", "confined-claude")
    names = [f"{repository}:test-{uuid.uuid4().hex[:8]}" for repository in repositories]
    unused, used, others = names
    container = ""
    try:
        for name in names:
            (place / "Dockerfile").write_text(f"FROM confined-claude:latest\nENV X={name}\n")
            label = f"confined-claude.owner={host.owner}"
            docker("build", "--network", "none", "--tag", name, "--label", label, str(place))
            if name != others:
                Inventory(Images(), host).note_built(docker("inspect", "--format", "{{.Id}}", name).strip())
        container = docker("create", "--label", "confined-claude-test=1", used).strip()
        shown = user.run("confined-claude", "clean-global", "--dry-run", cwd=project).stdout
        assert unused in shown
        assert used not in shown
        assert others not in shown
        before = docker("images", "--quiet", "--no-trunc", unused)
        done = user.run(*GLOBAL, cwd=project)
        assert done.returncode == 0, done.stderr
        assert docker("images", "--all", "--quiet", "--no-trunc", unused) == ""
        assert before
        assert docker("images", "--quiet", used)
        assert docker("images", "--quiet", others)
    finally:
        docker("rm", "--force", container or "none", check=False)
        docker("image", "rm", *names, check=False)


def test_a_sidecar_of_a_start_that_was_killed_early_is_removed(
    user: User, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no record of it, and so no start looks for it."""
    owned = host_of(user)
    key = uuid.uuid4().hex[:16]
    name = sidecar_name(key)
    marks = {KIND: SIDECAR, PROJECT: Project(project).id, KEY: key}
    shared = [word for mark in marks.items() for word in ("--label", "=".join(mark))]
    try:
        for each, owner in ((name, owned.owner), (f"{name}-others", "0" * 12)):
            docker("create", "--name", each, *shared, "--label", f"{OWNER}={owner}", "confined-claude:latest")
        # The engine may be about to start it.
        assert user.run(*CLEAN, cwd=project).stdout == "There is nothing to clean.\n"
        assert sidecars_of(project) == [f"{name}-others", name]
        monkeypatch.setattr(strays, "STARTING_SECONDS", -60)  # as if it were older
        monkeypatch.chdir(project)
        clean(owned, None, Options(sure=True))
        assert "1 container that never started" in capsys.readouterr().out
        assert sidecars_of(project) == [f"{name}-others"]
    finally:
        docker("rm", "--force", name, f"{name}-others", check=False)


def test_shared_data_is_made_anew(user: User, project: Path) -> None:
    ask(user, project, "hello")
    done = user.run(*GLOBAL, "--all", cwd=project)
    assert done.returncode == 0, done.stderr
    assert os.listdir(shared(user)) == []
    assert ask(user, project, "again") == "FAKE ANSWER: again\n"
