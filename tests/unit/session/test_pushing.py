"""Pushes that a session asks for: git with the session's helper, the host's answer, and a forge of the tests' own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from forge import Forge, forge, helper
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.commands import requests
from confined_claude.commands.catalogue import COMMANDS
from confined_claude.egress.relay import Relay
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.guard import outgoing
from confined_claude.guard.push_addresses import agree
from confined_claude.guard.push_failures import CannotPush
from confined_claude.guard.push_request import Request
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session import pushing
from confined_claude.session.git import plan_git
from confined_claude.settings import Settings
from confined_claude.state import projects
from confined_claude.state.store import records_of
from confined_claude.state.written import leave_out_of_path
from confined_claude.workspace import Workspace, data_of

from ..waiting import SECONDS, has_ended, until

pytestmark = pytest.mark.timeout(600)

CLIENT = """#!{python}
import sys
from confined_claude.container.git import remote
remote.GIT, remote.SOCKET = "git", "{socket}"
sys.exit(remote.main(sys.argv[1:]))
"""
NUMBERS = itertools.count()
WHO = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")


@dataclass
class Ground:
    """A project whose repository has a remote, and a session in it."""

    forge: Forge
    url: str
    host: Host
    root: Path
    place: Path
    told: list[str] = field(default_factory=list)
    pushes: pushing.Pushes | None = None

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.host, Project(self.root), Settings(push="ask"))

    def environ(self, *, settings: Settings | None = None) -> dict[str, str]:
        """What git in the session has of the host: the helper, and what it is told."""
        told = plan_git(self.host, self.root, settings or Settings(push="ask"))
        base = {
            "HOME": str(self.place),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PYTHONPATH": str(REPO),
        }
        return {**base, "PATH": f"{self.place}:{os.environ['PATH']}", **told.variables}

    def git(self, *words: str) -> str:
        """Work in the project, as the session or its user."""
        done = subprocess.run(
            ["git", *WHO, *words], cwd=self.root, env=self.environ(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, name: str = "file", content: str = "", subject: str = "A change") -> str:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content or f"{next(NUMBERS)}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", subject)
        return self.git("rev-parse", "HEAD")

    @contextlib.contextmanager
    def session(self, push: str = "ask") -> Iterator[pushing.Pushes]:
        workspace = self.workspace._replace(settings=Settings(push=push))
        urls = plan_git(self.host, self.root, workspace.settings).pushes
        with (
            pushing.Pushes(workspace, "key", urls, self.told.append) as pushes,
            Relay(workspace.relays.at("key"), (), {pushing.SOCKET: pushes.serve}),
        ):
            yield pushes

    @contextlib.contextmanager
    def pushing(self, *words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """`git push` of the session, which waits."""
        with subprocess.Popen(
            ["git", "push", *words],
            cwd=self.root,
            env={**self.environ(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            yield process

    def push(self, *words: str, **more: str) -> tuple[int, str]:
        with self.pushing(*words, **more) as process:
            printed, _ = process.communicate(timeout=SECONDS)
            return process.returncode, printed

    def must_push(self, *words: str) -> None:
        code, printed = self.push(*words)
        assert code == 0, printed

    def waiting(self) -> bool:
        return any(self.workspace.requests.path.glob("*/*/open"))

    def wait(self) -> None:
        until(self.waiting)

    def raw(self, line: bytes, pack: bytes = b"") -> str:
        """Send the host what no git would; return its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SECONDS)
            sock.connect(str(self.place / "run/push"))
            with contextlib.suppress(OSError):
                sock.sendall(line + b"\n" + pack)
                sock.shutdown(socket.SHUT_WR)
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while data := sock.recv(1 << 16):
                    said += data
            return said.decode()

    def asked(self, updates: Any, url: str = "") -> bytes:
        return json.dumps({"url": url or self.url, "updates": updates}).encode()

    def pack(self, *objects: str) -> bytes:
        words = ["git", "pack-objects", "--stdout", "-q"]
        return subprocess.run(
            words, input="\n".join([*objects, ""]).encode(), cwd=self.root, stdout=subprocess.PIPE, check=True
        ).stdout


REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def ground(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with tempfile.TemporaryDirectory() as short, forge(tmp_path / "forge") as served:
        (tmp_path / "forge").mkdir()
        url = served.make("app.git")
        (host.home / ".gitconfig").write_text(helper(served))
        for name, value in {"HOME": str(host.home), "GIT_CONFIG_NOSYSTEM": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(pushing, "_PAUSE_SECONDS", 0.05)
        root = tmp_path / "project"
        ground = Ground(served, url, host._replace(environ=dict(os.environ)), root, Path(short))
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", root], check=True)
        subprocess.run(["git", "-C", root, "remote", "add", "origin", url], check=True)
        client = ground.place / "git-remote-confined-claude"
        client.write_text(CLIENT.format(python=sys.executable, socket=ground.place / "run/push"))
        client.chmod(0o755)
        (ground.place / "run").symlink_to(ground.workspace.relays.at("key").path)
        projects.remember(ground.workspace.state, root)
        agree(ground.workspace.state, url)
        ground.commit(subject="First")
        subprocess.run(["git", "-C", root, "push", "--quiet", "origin", "main"], check=True)
        yield ground


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, ground: Ground, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Answers what waits, as its user at a terminal; returns what that showed."""

    def run(letter: str) -> str:
        ground.wait()
        monkeypatch.setattr(requests.sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
        monkeypatch.setattr(requests, "ask", lambda _question, letters: letter if letter in letters else letters[-1])
        capsys.readouterr()
        COMMANDS["requests"].body(ground.host)
        return capsys.readouterr().out

    return run


Answer = Callable[[str], str]


def test_a_push_that_its_user_agrees_to_is_made_by_the_host(ground: Ground, answer: Answer) -> None:
    new = ground.commit("src/file", "a\nb\n", "Add a file")
    with ground.session() as pushes:
        with ground.pushing("origin", "main") as process:
            shown = answer("y")
            printed = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0, printed
        assert "`confined-claude requests` in another terminal" in printed
        assert pushes.made == [f"Pushed main ({new[:10]}) to {ground.url}."]
    assert ground.forge.refs("app.git") == {"refs/heads/main": new}
    assert ground.git("rev-parse", "origin/main") == new  # as after any push
    assert f"asks for a push to {ground.url}" in shown
    assert "1 commit:" in shown
    assert "Add a file" in shown
    assert "src/file +2 -0" in shown
    assert f"\nTo {ground.url}:\n  main (" in shown.split("src/file")[1]  # again, right above the question
    assert len(ground.told) == 1
    assert not ground.workspace.requests.at("key").path.exists()


def test_without_the_setting_a_push_has_the_sessions_own_rights_alone(ground: Ground) -> None:
    ground.commit()
    environ = ground.environ(settings=Settings())
    done = subprocess.run(
        ["git", "push", "origin", "main"], cwd=ground.root, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 128
    assert "could not read Username" in done.stderr


def test_a_refused_push_leaves_a_message_and_an_exit_code(ground: Ground, answer: Answer) -> None:
    before = ground.forge.refs("app.git")
    ground.commit()
    with ground.session(), ground.pushing("origin", "main") as process:
        answer("n")
        printed = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1
    assert "the user has refused it" in printed
    assert ground.forge.refs("app.git") == before


def test_a_push_that_nobody_answers_is_refused(ground: Ground, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setattr(pushing, "WAITING_SECONDS", 0.2)
    ground.commit()
    with ground.session():
        code, printed = ground.push("origin", "main")
    assert (code, "nobody has answered" in printed) == (1, True)


def test_what_waits_is_only_shown_without_a_terminal(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.commit()
    with ground.session(), ground.pushing("origin", "main") as process:
        ground.wait()
        with pytest.raises(ReviewNeeded):
            requests.requests(ground.host)
        assert process.poll() is None
        process.kill()
    assert "A change" in capsys.readouterr().out


def test_nothing_waits(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    requests.requests(ground.host)
    assert capsys.readouterr().out == "No session asks for anything.\n"


def test_branches_that_the_user_has_named_are_pushed_without_a_question(ground: Ground) -> None:
    ground.git("switch", "--quiet", "--create", "agent/fix")
    new = ground.commit()
    with ground.session("agent/*"):
        ground.must_push("origin", "agent/fix")
        ground.must_push("origin", "agent/fix")  # up to date
    assert ground.forge.refs("app.git")["refs/heads/agent/fix"] == new


@pytest.mark.parametrize(
    ("branch", "file", "why"),
    [
        ("main", "src/x", ""),
        ("agent/x", ".github/workflows/x.yml", "yellow: .github/workflows/x.yml"),
        ("agent/x", ".gitlab-ci.yml", "yellow: .gitlab-ci.yml"),
        ("agent/x", ".vscode/tasks.json", "red: .vscode/tasks.json"),
    ],
)
def test_what_no_pattern_names_and_what_runs_by_itself_is_asked_for(
    ground: Ground, answer: Answer, branch: str, file: str, why: str
) -> None:
    ground.git("switch", "--quiet", "-C", branch)
    ground.commit(file)
    with ground.session("agent/*"), ground.pushing("origin", branch) as process:
        shown = answer("n")
        process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert why in shown


def test_tags_and_several_branches_at_once(ground: Ground, answer: Answer) -> None:
    ground.git("tag", "--annotate", "--message=x", "v1")
    ground.git("branch", "other")
    ground.commit()
    with ground.session(), ground.pushing("origin", "main", "other", "v1") as process:
        answer("y")
        printed = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, printed
    assert set(ground.forge.refs("app.git")) == {"refs/heads/main", "refs/heads/other", "refs/tags/v1"}


def test_the_first_push_to_an_empty_remote(ground: Ground, answer: Answer) -> None:
    url = ground.forge.make("empty.git")
    subprocess.run(["git", "-C", ground.root, "remote", "add", "empty", url], check=True)
    with ground.session(), ground.pushing("empty", "main") as process:
        assert "First" in answer("y")
        assert process.wait(SECONDS) == 0
    assert ground.forge.refs("empty.git") == {"refs/heads/main": ground.git("rev-parse", "main")}


def test_attributes_that_the_remote_has_are_checked_too(ground: Ground) -> None:
    """git's checks ask for these files of each directory that a push changes, of no other."""
    for place in ("", "src/", "src/a b/"):
        ground.commit(f"{place}.gitattributes", f"{place.strip('/') or '*'} text\n")
    ground.commit(".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = https://forge.example/x\n')
    subprocess.run(["git", "-C", ground.root, "push", "--quiet", "origin", "main"], check=True)
    ground.commit("src/a b/file")
    ground.git("rm", "--quiet", "src/.gitattributes")
    new = ground.commit()
    with ground.session("agent/*") as pushes:
        ground.must_push("origin", "HEAD:agent/x")
        assert not pushes.failed
    assert ground.forge.refs("app.git")["refs/heads/agent/x"] == new


@pytest.mark.parametrize("place", ["", "src/a b/"])
@pytest.mark.parametrize("passes", [False, True], ids=["stays", "passes"])
@pytest.mark.parametrize(
    ("name", "content"),
    [(".gitattributes", "* text\n"), (".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = https://forge.example/x\n')],
)
def test_a_file_of_the_remote_can_be_renamed_to_one_that_is_checked(
    ground: Ground, name: str, content: str, *, passes: bool, place: str
) -> None:
    """git lists its content as known, and leaves it out; its checks ask for it in each new directory."""
    ground.commit(f"{place}example", content)
    subprocess.run(["git", "-C", ground.root, "push", "--quiet", "origin", "main"], check=True)
    ground.commit()
    ground.git("mv", f"{place}example", f"{place}{name}")
    new = ground.commit()
    if passes:
        ground.commit("other")
        ground.git("mv", f"{place}{name}", f"{place}example")
        new = ground.commit()
    listed = ground.git("rev-list", "--objects", "HEAD", "--not", "--remotes=origin")
    assert ground.git("rev-parse", f"HEAD:{place}{'example' if passes else name}") not in listed
    with ground.session("agent/*") as pushes:
        ground.must_push("origin", "HEAD:agent/x")
        assert not pushes.failed
    assert ground.forge.refs("app.git")["refs/heads/agent/x"] == new


def test_a_remote_that_is_ahead_is_not_overwritten(ground: Ground, answer: Answer) -> None:
    theirs = ground.commit(subject="Theirs")
    subprocess.run(["git", "-C", ground.root, "push", "--quiet", "origin", "main"], check=True)
    ground.git("reset", "--quiet", "--hard", "HEAD~")
    ground.git("update-ref", "refs/remotes/origin/main", "HEAD")  # as if the session had not heard of it
    ground.commit("other", subject="Ours")
    with ground.session(), ground.pushing("origin", "main") as process:
        shown = answer("y")
        printed = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1
    assert "pushes are never forced" in shown
    assert "pushes are never forced" in printed
    assert ground.forge.refs("app.git") == {"refs/heads/main": theirs}


# Attacks of the session


@pytest.mark.parametrize("is_known", [False, True], ids=["control", "known"])
@pytest.mark.parametrize("push", ["ask", "agent/*"])
def test_a_program_that_a_session_of_another_project_has_put_on_path_is_not_run(
    ground: Ground, answer: Answer, monkeypatch: pytest.MonkeyPatch, push: str, is_known: bool
) -> None:
    other, canary = ground.root.with_name("other"), ground.place / "canary"
    (other / "bin").mkdir(parents=True)
    planted = other / "bin/git"
    # The session's own git finds it, too.
    lines = f'case "$1" in --git-dir=*) touch {canary};; esac', f'exec {shutil.which("git")} "$@"'
    planted.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    planted.chmod(0o755)
    ground.git("switch", "--quiet", "--create", "agent/fix")
    ground.commit()
    monkeypatch.chdir(ground.root)
    monkeypatch.setenv("PATH", f"{other / 'bin'}:{os.environ['PATH']}")
    leave_out_of_path(ground.host, ground.root)  # as a start does
    if is_known:  # since then
        projects.remember(records_of(ground.host, Project(other).id), other)
    with ground.session(push), ground.pushing("origin", "agent/fix") as process:
        if push == "ask":
            ground.wait()
            assert canary.exists() != is_known  # by the side that receives
            canary.unlink(missing_ok=True)
            monkeypatch.setenv("PATH", f"{other / 'bin'}:{os.environ['PATH']}")
            answer("y")
        assert process.wait(SECONDS) == 0
    assert canary.exists() != is_known


def is_asked_for(ground: Ground, answer: Answer, refspec: str, letter: str = "n") -> str:
    """What is shown of a push that is asked for though its branch is named; empty if it passes."""
    with ground.session("agent/*"), ground.pushing("origin", refspec) as process:
        while process.poll() is None:
            if ground.waiting():
                shown = answer(letter)
                process.communicate(timeout=SECONDS)
                return shown
            time.sleep(0.02)
        assert process.returncode == 0, process.stdout
    return ""


WORKFLOW, PLAIN = ".github/workflows/trivy.yml", "src/trivy.yml"


@pytest.mark.parametrize("file", [WORKFLOW, PLAIN])
def test_a_branch_that_is_named_like_a_commit_hides_nothing(ground: Ground, answer: Answer, file: str) -> None:
    """git takes `x-g` and an id for that commit, as `git describe` prints it."""
    new = ground.commit(file)
    assert bool(is_asked_for(ground, answer, f"{new}:refs/heads/agent/x-g{new}")) == (file == WORKFLOW)
    assert ground.git("rev-parse", f"refs/remotes/recorded/agent/x-g{new}") == new  # the control


@pytest.mark.parametrize("file", [WORKFLOW, PLAIN])
def test_what_one_commit_adds_and_the_next_removes_is_shown(ground: Ground, answer: Answer, file: str) -> None:
    evil = ground.commit(file, subject="Evil")
    (ground.root / file).unlink()
    clean = ground.commit()
    shown = is_asked_for(ground, answer, f"{clean}:refs/heads/agent/a", "y")
    assert bool(shown) == (file == WORKFLOW)
    if shown:
        assert f"1 file only in earlier commits, which are published too:\n    {file}\n" in shown
        assert f"yellow: {file}" in shown
        assert "in an earlier commit alone)" in shown
    # It is at the remote now, and there is no new commit; a forge runs what is in it all the same.
    again = is_asked_for(ground, answer, f"{evil}:refs/heads/agent/b")
    assert (f"yellow: {file}" in again) == (file == WORKFLOW)
    assert ("refs/heads/agent/b" in ground.forge.refs("app.git")) == (file == PLAIN)


def test_what_a_branch_gains_is_shown_though_another_one_of_the_remote_has_it(ground: Ground, answer: Answer) -> None:
    new = ground.commit(subject="Pushed before")
    assert is_asked_for(ground, answer, f"{new}:refs/heads/agent/a") == ""
    shown = is_asked_for(ground, answer, f"{new}:refs/heads/main")
    assert "1 commit:" in shown
    assert "Pushed before" in shown


@pytest.mark.parametrize("file", [WORKFLOW, PLAIN])
def test_a_new_branch_from_an_old_commit_is_compared_with_the_default_branch(
    ground: Ground, answer: Answer, file: str
) -> None:
    old = ground.commit(file)
    ground.commit(file)
    subprocess.run(["git", "-C", ground.root, "push", "--quiet", "origin", "main"], check=True)
    shown = is_asked_for(ground, answer, f"{old}:refs/heads/agent/old")
    assert ("other than in the default branch" in shown) == (file == WORKFLOW)


@pytest.mark.parametrize("name", [".vscode", "conf"])
def test_a_link_in_the_place_of_a_directory_is_asked_for(ground: Ground, answer: Answer, name: str) -> None:
    (ground.root / name).symlink_to("src")
    new = ground.commit("src/tasks.json")
    assert ("red: .vscode" in is_asked_for(ground, answer, f"{new}:refs/heads/agent/x")) == (name == ".vscode")


@pytest.mark.parametrize("kind", ["tree", "blob", "commit"])
def test_a_tag_of_something_that_is_no_commit_is_refused(ground: Ground, answer: Answer, kind: str) -> None:
    new = ground.commit()
    object_ = {"tree": f"{new}^{{tree}}", "blob": f"{new}:file", "commit": new}[kind]
    ground.git("tag", "--annotate", "--message=x", "v1", object_)
    with ground.session(), ground.pushing("origin", "v1") as process:
        shown = answer("y")
        printed = process.communicate(timeout=SECONDS)[0]
    assert ("it names something that is not a commit" in shown) == (kind != "commit")
    assert ("refs/tags/v1" in ground.forge.refs("app.git")) == (kind == "commit"), printed


@pytest.mark.parametrize("half", ["", "[core]\n\tbare = true\n\trepositoryformatversion = 0\n", "[core]\n\tba", None])
def test_a_repository_that_is_half_made_is_made_again(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, half: str | None
) -> None:
    """Without the remote in its settings git takes the name for that of a directory, which a session can make."""
    ground.git("switch", "--quiet", "--create", "agent/fix")
    canary, trap = ground.place / "canary", ground.root / "recorded"
    subprocess.run(["git", "clone", "--quiet", "--bare", ground.root, trap], check=True)
    hook = trap / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    monkeypatch.chdir(ground.root)
    (ground.root / ".gitignore").write_text("recorded\n")
    ground.commit()
    with ground.session("agent/*"):
        ground.must_push("origin", "agent/fix")
        (config,) = ground.host.data.rglob("pushes/*/config")
        if half is None:
            config.unlink()
        else:
            config.write_text(half)
        new = ground.commit()
        ground.must_push("origin", "agent/fix")
    assert ground.forge.refs("app.git")["refs/heads/agent/fix"] == new
    assert not canary.exists()
    subprocess.run(["git", "push", "--quiet", "recorded", "HEAD:refs/heads/control"], check=True)
    assert canary.exists()


def test_git_itself_takes_no_directory_for_a_remote(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(ground.forge.root / "app.git")
    new = ground.git("rev-parse", "main")
    request = Request.parse(ground.asked([["refs/heads/x", new]], path))
    assert request is not None
    place = ground.workspace.requests.at("key", "1")
    place.make().close()
    asked = outgoing.Outgoing(ground.host, ground.workspace.project.id, place, request, asks=False)
    with pytest.raises(CannotPush, match="transport 'file' not allowed"):
        asked.examine(ground.workspace)
    monkeypatch.setattr(outgoing, "_SETTINGS", [word for word in outgoing._SETTINGS if "protocol" not in word])
    assert asked.examine(ground.workspace)  # the control


def test_what_git_starts_is_not_in_the_project(ground: Ground, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = ground.place / "seen"
    helper = (
        (ground.host.home / ".gitconfig").read_text().replace("f() { ", f"f() {{ pwd >>{seen}; echo $PWD >>{seen}; ")
    )
    (ground.host.home / ".gitconfig").write_text(helper)
    monkeypatch.chdir(ground.root)
    monkeypatch.setenv("PWD", str(ground.root))
    ground.commit()
    with ground.session("agent/*"), ground.pushing("origin", "main") as process:
        answer("y")
        assert process.wait(SECONDS) == 0
    assert set(seen.read_text().split()) == {"/"}
    subprocess.run(["git", "ls-remote", ground.url], check=True, stdout=subprocess.DEVNULL)
    assert str(ground.root) in seen.read_text()  # the control


@pytest.mark.parametrize("count", [1, 4000])
def test_a_pack_for_which_git_has_many_warnings_is_read_to_its_end(ground: Ground, count: int) -> None:
    new = ground.commit()
    stream = "".join(f"tag v{number}\nfrom {new}\ndata 0\n" for number in range(count))  # none has a tagger
    subprocess.run(["git", "fast-import", "--quiet"], cwd=ground.root, input=stream.encode(), check=True)
    assert "tagger" not in ground.git("cat-file", "-p", "v0")
    tags = ground.git("for-each-ref", "--format=%(objectname)", "refs/tags").split()
    packed = ground.pack(new, *ground.git("rev-parse", f"{new}^{{tree}}", f"{new}:file").split(), *tags)
    with ground.session("agent/*"):
        assert ground.raw(ground.asked([["refs/heads/agent/x", new]]), packed) == "ok refs/heads/agent/x\n"


@pytest.mark.parametrize("shell", ["/bin/sh", "/missing/sh"])
def test_where_git_cannot_be_run_the_content_is_not_called_damaged(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    new = ground.commit()
    packed, asked = ground.pack(new), ground.asked([["refs/heads/agent/x", new]])
    with ground.session("agent/*"):
        monkeypatch.setenv("PATH", "/missing")
        monkeypatch.setattr(outgoing, "_LIMITED", (shell, *outgoing._LIMITED[1:]))
        assert "git does not run" in ground.raw(asked, packed)


def test_a_session_that_sends_by_the_drop_is_cut_off(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_TRANSFER_SECONDS", 0.5)
    new = ground.commit()
    started = time.monotonic()
    with ground.session("agent/*"), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(ground.place / "run/push"))
        sock.sendall(ground.asked([["refs/heads/agent/x", new]]) + b"\nPACK" + b"\0\0\0\2\0\0\0\1")
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 300:
                sock.sendall(b"\x80")
                time.sleep(0.1)
        assert b"it takes too long" in sock.recv(1 << 16)
    assert time.monotonic() - started < 150


def test_a_token_in_an_address_is_not_shown() -> None:
    def shown(url: str) -> str:
        return Request(url, ()).shown_url

    assert shown("https://someone:made-up@forge.example/x") == "https://***@forge.example/x"
    assert shown("https://made-up@token@forge.example/x@y") == "https://***@forge.example/x@y"
    assert shown("https://forge.example/x@y") == "https://forge.example/x@y"
    assert shown("git@forge.example:x") == "git@forge.example:x"
    assert shown("ssh://git@forge.example:22/x") == "ssh://git@forge.example:22/x"
    assert shown("https://forge.example:8443/x@y") == "https://forge.example:8443/x@y"
    assert shown("https://[::1]:8443/x") == "https://[::1]:8443/x"
    assert shown("ssh://someone:made-up@forge.example/x") == "ssh://***@forge.example/x"
    assert shown("HTTPS://someone:made-up@forge.example/x") == "HTTPS://***@forge.example/x"
    assert shown("https://forge.example/x?private_token=made-up") == "https://forge.example/x?***"
    assert shown("https://forge.example/x#made-up") == "https://forge.example/x?***"
    assert shown("https://someone:made/up@forge.example/x") == "https://***@forge.example/x"
    assert shown("https://someone:made?up@forge.example/x") == "https://***?***"


@pytest.mark.parametrize("push", ["ask", "agent/*"])
def test_a_token_in_the_users_own_settings_is_told_to_nobody(ground: Ground, answer: Answer, push: str) -> None:
    token, (scheme, _, place) = "made-up-token", ground.forge.address.partition("://")
    (ground.host.home / ".gitconfig").write_text(
        f'[url "{scheme}://{token}@{place}/"]\n\tinsteadOf = {ground.forge.address}/\n'
    )
    ground.commit()
    shown = ""
    with ground.session(push) as pushes:
        with ground.pushing("origin", "HEAD:refs/heads/agent/x") as process:
            if push == "ask":
                shown = answer("y")
            printed = process.communicate(timeout=SECONDS)[0]
        shown += "\n".join(pushes.failed)
    assert process.returncode == 1
    assert "has no sign-in for the remote" in printed
    assert "could not read Password" in shown
    assert token not in shown + printed
    words = ["git", "ls-remote", ground.url]
    environ = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    control = subprocess.run(words, env=environ, check=False, capture_output=True, text=True)
    assert f"could not read Password for '{scheme}://{token}@" in control.stderr


@pytest.mark.parametrize("push", ["ask", "agent/*"])
def test_what_the_remote_says_against_a_push_is_told(ground: Ground, answer: Answer, push: str) -> None:
    hook = ground.forge.root / "app.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho No pushes today >&2\nexit 1\n")
    hook.chmod(0o755)
    ground.commit()
    with ground.session(push), ground.pushing("origin", "HEAD:refs/heads/agent/x") as process:
        if push == "ask":
            assert "No pushes today" in answer("y")
        printed = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1
    assert "the remote rejects it: " in printed
    assert "No pushes today" in printed


@pytest.mark.parametrize("push", ["ask", "agent/*"])
def test_what_this_machine_cannot_keep_is_told_to_its_user_and_not_to_the_session(ground: Ground, push: str) -> None:
    data = data_of(ground.host, ground.workspace.project.id).at("pushes").path
    shutil.rmtree(data, ignore_errors=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("No directory can be made here.\n")
    ground.commit()
    with ground.session(push) as pushes:
        code, printed = ground.push("origin", "HEAD:refs/heads/agent/x")
    assert code == 1
    assert "your machine cannot keep it" in printed
    assert str(data) not in printed
    assert len(pushes.failed) == 1
    assert str(data) in pushes.failed[0]


def test_what_git_has_started_ends_with_it(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    started = ground.place / "started"
    (ground.host.home / ".gitconfig").write_text(f'[credential]\n\thelper = "!echo $$ >{started}; exec sleep 300; :"\n')
    ground.commit()
    with ground.session("agent/*"):
        for seconds in (1.0, 5.0, 25.0, 100.0):  # git may not have come to that yet
            monkeypatch.setattr(outgoing, "_NETWORK_SECONDS", seconds)
            code, printed = ground.push("origin", "HEAD:refs/heads/agent/x")
            assert (code, "it takes too long" in printed) == (1, True)
            if started.exists() and started.read_text():
                break
    pid = int(started.read_text())
    until(lambda: has_ended(pid))


def test_an_address_that_is_no_text_is_refused_and_leaves_nothing(ground: Ground) -> None:
    with ground.session():
        line = b'{"url": "https://x/\\ud800", "updates": [["refs/heads/x", "%b"]]}' % (b"1" * 40)
        assert "not a remote that the repository had" in ground.raw(line)
        assert not any(ground.workspace.requests.at("key").path.glob("*"))


@pytest.mark.parametrize("words", [("--force", "origin", "main"), ("origin", ":main"), ("origin", "+main")])
def test_nothing_is_forced_or_deleted(ground: Ground, words: tuple[str, ...]) -> None:
    ground.git("commit", "--quiet", "--amend", "--message=Other")
    before = ground.forge.refs("app.git")
    with ground.session():
        code, printed = ground.push(*words)
    assert code == 1, printed
    assert ground.forge.refs("app.git") == before
    # With the user's own rights it would be.
    subprocess.run(["git", "-C", ground.root, "push", "--quiet", "-f", "origin", "main"], check=True)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x" * (1 << 15),
        b"[" * 5000,
        b'{"url": "%(url)s"}',
        b'{"url": "%(url)s", "updates": []}',
        b'{"url": "%(url)s", "updates": [["refs/heads/x", "%(new)s"]], "force": true}',
        b'{"url": "%(url)s", "updates": [["refs/heads/x", "main"]]}',
        b'{"url": "%(url)s", "updates": [["refs/heads/x", "%(new)s"], ["refs/heads/x", "%(new)s"]]}',
        b'{"url": "%(url)s", "updates": {"refs/heads/x": "%(new)s"}}',
        *(
            b'{"url": "%(url)s", "updates": [["' + ref + b'", "%(new)s"]]}'
            for ref in (
                b"+refs/heads/main",
                b"refs/heads/../x",
                b"refs/heads/-x",
                b"refs/heads/a:b",
                b"refs/notes/x",
                b"HEAD",
                b"refs/heads/x.lock",
                b"refs/heads/\\u001b[2Jx",
                b"refs/heads/\\u202ex",
                b"refs/heads/\\ud800",
                b"refs/heads/" + b"x" * 300,
                b"refs/heads/refs/tags/v1",
                b"refs/tags/refs/heads/main",
            )
        ),
        b'{"url": "%(url)s", "updates": [["refs/heads/main", "' + b"0" * 40 + b'"]]}',
        b'{"url": "%(url)s", "updates": [["refs/heads/main", "' + b"0" * 64 + b'"]]}',
    ],
)
def test_what_is_no_request_is_not_even_looked_at(ground: Ground, line: bytes) -> None:
    new = ground.git("rev-parse", "main").encode()
    line = line.replace(b"%(url)s", ground.url.encode()).replace(b"%(new)s", new)
    with ground.session():
        assert ground.raw(line) == ""
        assert not ground.waiting()
        sound = b'{"url": "%b", "updates": [["refs/heads/x", "%b"]]}' % (ground.url.encode(), new[:-1] + b"0")
        assert "damaged" in ground.raw(sound)  # the control: it is read to its end


REQUEST = {"url": "https://forge.example/x", "updates": [["refs/heads/x", "1" * 40]]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["refs/heads/x", "1" * 40, "refs/tags/.."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "updates", "x"]), inner),
    max_leaves=12,
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_session_sends_is_a_sound_request_or_none(line: bytes) -> None:
    assert Request.parse(json.dumps(REQUEST).encode()) is not None  # the control
    found = Request.parse(line)
    for update in found.updates if found is not None else ():
        words = ["git", "check-ref-format", update.ref]
        assert subprocess.run(words, check=False).returncode == 0
        assert re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", update.new)


@given(st.from_regex(r"refs/(heads|tags)/[^\x00-\x20~^:?*\[\\]{1,30}", fullmatch=True))
def test_every_name_that_is_taken_is_one_of_gits(ref: str) -> None:
    line = json.dumps({**REQUEST, "updates": [[ref, "1" * 40]]}).encode()
    if Request.parse(line) is not None:
        assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0


def test_only_the_remotes_of_the_start_are_pushed_to(ground: Ground) -> None:
    ground.commit()
    other = ground.forge.make("other.git")
    with ground.session():
        ground.git("remote", "set-url", "origin", other)
        evil = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.confined-claude::{other}.pushInsteadOf"}
        code, printed = ground.push("origin", "main", **evil, GIT_CONFIG_VALUE_0=other)
    assert code == 1
    assert "not a remote that the repository had" in printed
    assert ground.forge.refs("other.git") == {}


@pytest.mark.parametrize("how", ["agreed", "for another project", "a remote", "pushurl", "another repository"])
def test_an_address_that_a_session_has_chosen_is_asked_for_once(ground: Ground, answer: Answer, how: str) -> None:
    """What an earlier session has left counts as recorded at the start; the first row is the control."""
    other = ground.forge.make("other.git")
    if how == "another repository":  # as unpacked from an archive
        shutil.rmtree(ground.root / ".git")
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", ground.root], check=True)
        ground.commit()
    ground.git("remote", "add", "other", ground.url if how == "pushurl" else other)
    if how == "pushurl":
        ground.git("config", "remote.other.pushurl", other)
    if how in ("agreed", "for another project"):
        records = ground.workspace.state if how == "agreed" else ground.workspace.state.parent.at("other-project")
        agree(records, other)
    new = ground.git("rev-parse", "HEAD")
    with ground.session("agent/*"):
        for number, name in enumerate(("agent/one", "agent/two")):
            with ground.pushing("other", f"HEAD:refs/heads/{name}") as process:
                if how != "agreed" and not number:
                    ground.wait()
                    assert ground.forge.refs("other.git") == {}
                    assert f"\nTo {other}, the first push to this address:\n" in answer("y")
                assert process.wait(SECONDS) == 0
    assert ground.forge.refs("other.git") == dict.fromkeys(("refs/heads/agent/one", "refs/heads/agent/two"), new)


def test_a_refused_push_agrees_to_no_address(ground: Ground, answer: Answer) -> None:
    ground.git("remote", "add", "other", ground.forge.make("other.git"))
    with ground.session("agent/*"):
        for _ in range(2):
            with ground.pushing("other", "HEAD:refs/heads/agent/x") as process:
                assert "the first push to this address" in answer("n")
                assert process.wait(SECONDS) == 1


EVIL = """
[core]
    sshCommand = touch {canary}
    hooksPath = {hooks}
    fsmonitor = touch {canary}
    gitProxy = touch {canary}
    alternateRefsCommand = touch {canary}
[credential]
    helper = "!touch {canary}"
[url "{other}"]
    insteadOf = {url}
    pushInsteadOf = {url}
[remote "origin"]
    receivepack = touch {canary}
    push = +refs/heads/*:refs/heads/*
    pushurl = {other}
[remote "recorded"]
    pushurl = {other}
[push]
    pushOption = evil
    recurseSubmodules = on-demand
    followTags = true
[uploadpack]
    packObjectsHook = touch {canary}
[include]
    path = {hooks}/more
"""


def test_no_setting_and_no_hook_of_the_session_takes_part(ground: Ground, answer: Answer) -> None:
    """All of it is obeyed by git in the project: the control says so for the hook and the address."""
    canary, hooks, other = ground.place / "canary", ground.place / "hooks", ground.forge.make("other.git")
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (hooks / name).chmod(0o755)
    new = ground.commit()
    environ = ground.environ()
    with (
        ground.session(),
        subprocess.Popen(
            ["git", "push", "origin", "main"], cwd=ground.root, env=environ, stderr=subprocess.PIPE
        ) as process,
    ):
        ground.wait()
        text = EVIL.format(canary=canary, hooks=hooks, other=other, url=ground.url)
        with (ground.root / ".git/config").open("a") as file:
            file.write(text)
        answer("y")
        assert process.wait(SECONDS) == 0
    assert ground.forge.refs("app.git") == {"refs/heads/main": new}
    assert ground.forge.refs("other.git") == {}
    assert not canary.exists()
    subprocess.run(["git", "-C", ground.root, "push", "--quiet", "origin", "main"], check=False)
    assert canary.exists()


def test_what_was_shown_is_what_is_pushed(ground: Ground, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session moves its branch, and damages its objects, between the request and the yes."""
    new = ground.commit(subject="Harmless")
    with ground.session(), ground.pushing("origin", "main") as process:
        ground.wait()
        ground.commit(subject="Evil")
        loose = ground.root / ".git/objects" / new[:2] / new[2:]
        loose.chmod(0o644)
        loose.write_bytes(
            (ground.root / ".git/objects" / (evil := ground.git("rev-parse", "HEAD"))[:2] / evil[2:]).read_bytes()
        )
        shown = answer("y")
        assert process.wait(SECONDS) == 0
    assert "Harmless" in shown
    assert "Evil" not in shown
    assert ground.forge.refs("app.git") == {"refs/heads/main": new}
    assert ground.forge.git("app.git", "log", "-1", "--format=%s", "main") == "Harmless"


def test_escape_codes_are_shown_as_text(ground: Ground, answer: Answer) -> None:
    ground.commit("src/\x1b[8mfile\n+9 -9", subject="\x1b[2JHidden\u202e")
    with ground.session(), ground.pushing("origin", "main") as process:
        shown = answer("n")
        process.communicate(timeout=SECONDS)
    assert "\\x1b[2JHidden\\u202e" in shown
    assert "src/\\x1b[8mfile\\n+9 -9 +1 -0" in shown
    assert "\x1b" not in shown


def malformed(ground: Ground, kind: str) -> tuple[str, bytes]:
    """A commit that git's checks object to, or whose objects are not all there, and its pack."""

    def hashed(type_: str, content: bytes) -> str:
        words = ["git", "hash-object", "-w", "--literally", "-t", type_, "--stdin"]
        return (
            subprocess.run(words, input=content, cwd=ground.root, stdout=subprocess.PIPE, check=True)
            .stdout.decode()
            .strip()
        )

    blob = hashed("blob", b"x")
    name = {"dotgit": b".git", "missing": b"file", "twice": b"file"}.get(kind, b"file")
    entry = b"100644 " + name + b"\0" + bytes.fromhex(blob)
    tree = hashed("tree", entry * (2 if kind == "twice" else 1))
    who = b"x <x> 1 +0000" if kind != "author" else b"x"
    text = b"tree " + tree.encode() + b"\nauthor " + who + b"\ncommitter x <x> 1 +0000\n\nx\n"
    commit = hashed("commit", text)
    return commit, ground.pack(commit, tree, *([] if kind == "missing" else [blob]))


@pytest.mark.parametrize("kind", ["sound", "dotgit", "twice", "author", "missing"])
def test_malformed_objects_are_refused(ground: Ground, answer: Answer, kind: str) -> None:
    commit, pack = malformed(ground, kind)
    with ground.session("agent/*"):
        said = ground.raw(ground.asked([["refs/heads/agent/x", commit]]), pack)
    if kind == "sound":
        assert said == "ok refs/heads/agent/x\n"
    else:
        assert said.startswith("error refs/heads/agent/x ")
        assert "lacks objects" in said if kind == "missing" else "damaged" in said
        assert "refs/heads/agent/x" not in ground.forge.refs("app.git")


@pytest.mark.parametrize("name", [".gitmodules", ".gitattributes", "plain"])
def test_what_the_remote_has_as_another_file_is_checked_as_what_it_becomes(ground: Ground, name: str) -> None:
    """Else a session could push it in two steps: the content as any file, then a directory that names it."""
    evil = '[submodule "x"]\n\tpath = x\n\turl = -oProxyCommand=x\n' if name == ".gitmodules" else "x " * 2000 + "\n"
    ground.commit("notes", evil)
    blob = ground.git("rev-parse", "HEAD:notes")
    with ground.session("agent/*"):
        ground.must_push("origin", "HEAD:agent/x")
        entry = f"100644 blob {blob}\t{name}\n".encode()
        made = subprocess.run(["git", "mktree"], input=entry, cwd=ground.root, stdout=subprocess.PIPE, check=True)
        tree = made.stdout.decode().strip()
        commit = ground.git("commit-tree", "-m", "x", "-p", "HEAD", tree)
        said = ground.raw(ground.asked([["refs/heads/agent/x", commit]]), ground.pack(commit, tree))
        _, printed = ground.push("origin", f"{commit}:refs/heads/agent/y")  # with the content
    assert ("damaged" in said) == (name != "plain"), said
    assert ("damaged" in printed) == (name != "plain"), printed


def test_a_pack_that_is_cut_off_too_large_or_none_is_refused(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, pack = malformed(ground, "sound")
    line = ground.asked([["refs/heads/x", commit]])
    with ground.session():
        for broken in (b"", b"x" * 100_000, pack[:-1], pack[:-30]):
            assert "damaged" in ground.raw(line, broken)
        monkeypatch.setattr(outgoing, "_MAX_PACK", 1 << 20)
        (ground.root / "large").write_bytes(os.urandom(2 << 20))
        blob = ground.git("hash-object", "-w", "large")
        assert "larger than 1 MB" in ground.raw(line, ground.pack(blob))
        assert not ground.waiting()
    assert not ground.workspace.requests.at("key").path.exists()


def test_a_small_pack_with_a_file_at_more_places_than_can_be_shown_is_refused(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "_MEMORY", "524288")
    objects = [ground.git("rev-parse", "main:file")]
    mode = "100644 blob"
    for _ in range(10):
        entries = "".join(f"{mode} {objects[-1]}\t{name}\n" for name in "abcdefghij")
        made = subprocess.run(
            ["git", "mktree"], input=entries.encode(), cwd=ground.root, stdout=subprocess.PIPE, check=True
        )
        objects.append(made.stdout.decode().strip())
        mode = "040000 tree"
    objects.append(ground.git("commit-tree", "-m", "Bomb", objects[-1]))
    with ground.session("agent/*") as pushes:
        said = ground.raw(ground.asked([["refs/heads/agent/x", objects[-1]]]), ground.pack(*objects))
    assert "out of memory" in str(pushes.failed) or "more than can be shown" in said
    assert said.startswith("error refs/heads/agent/x ")
    assert "refs/heads/agent/x" not in ground.forge.refs("app.git")


def test_an_object_of_another_kind_becomes_no_branch(ground: Ground, answer: Answer) -> None:
    blob = ground.git("rev-parse", "main:file")
    with ground.session("agent/*"):
        said = ground.raw(ground.asked([["refs/heads/agent/x", blob]]), ground.pack(blob))
    assert "it names something that is not a commit" in said


def test_a_flood_waits_in_line_and_leaves_nothing(ground: Ground, answer: Answer) -> None:
    new = ground.commit()
    with ground.session(), ground.pushing("origin", "main") as process:
        ground.wait()
        flood = [socket.socket(socket.AF_UNIX) for _ in range(100)]
        for sock in flood:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.connect(str(ground.place / "run/push"))
        assert len(list(ground.workspace.requests.at("key").path.iterdir())) == 1
        for sock in flood:
            sock.close()
        answer("y")
        assert process.wait(SECONDS) == 0
    assert ground.forge.refs("app.git") == {"refs/heads/main": new}


def test_a_newer_push_takes_the_place_of_one_whose_git_is_gone(ground: Ground, answer: Answer) -> None:
    ground.commit(subject="Old")
    with ground.session():
        with ground.pushing("origin", "main") as process:
            ground.wait()
            process.kill()
        new = ground.commit(subject="New")
        with ground.pushing("origin", "main") as process:
            until((ground.workspace.requests.at("key", "2").path / "open").exists)
            assert "New" in answer("y")
            assert process.wait(SECONDS) == 0
    assert ground.forge.refs("app.git") == {"refs/heads/main": new}


def test_what_is_agreed_to_when_git_has_given_up_is_pushed_and_not_asked_for_again(
    ground: Ground, answer: Answer
) -> None:
    new = ground.commit()
    with ground.session() as pushes:
        with ground.pushing("origin", "main") as process:
            ground.wait()
            process.kill()
        answer("y")
        ground.must_push("origin", "main")
        assert pushes.made == [f"Pushed main ({new[:10]}) to {ground.url}."]
    assert ground.forge.refs("app.git") == {"refs/heads/main": new}


def test_only_addresses_of_other_machines_become_requests(ground: Ground) -> None:
    def told(*urls: str) -> tuple[str, ...]:
        (ground.root / ".git/config").write_text(
            "".join(f'[remote "r{number}"]\n\t{url}\n' for number, url in enumerate(urls))
        )
        return plan_git(ground.host, ground.root, Settings(push="ask")).pushes

    assert told("url = https://a.example/x", "url = git@b.example:y", "url = /srv/x", "url = ext::touch x") == (
        "https://a.example/x",
        "git@b.example:y",
    )
    assert told("url = https://a.example/x\n\tpushurl = ssh://b.example/y") == ("ssh://b.example/y",)


def test_a_password_that_only_a_person_knows_is_told(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that asks in a window is started for nothing that no person has begun."""
    canary, window = ground.place / "canary", ground.place / "window"
    window.write_text(f"#!/bin/sh\ntouch {canary}\n")
    window.chmod(0o755)
    (ground.host.home / ".gitconfig").write_text(f"[core]\n\taskPass = {window}\n")
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(window))
    ground.git("switch", "--quiet", "--create", "agent/fix")
    ground.commit()
    with ground.session("agent/*"):
        code, printed = ground.push("origin", "agent/fix")
    assert code == 1
    assert "has no sign-in for the remote" in printed
    assert not canary.exists()
    subprocess.run(["git", "ls-remote", ground.url], check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert canary.exists()  # the control


def test_the_answer_of_a_session_that_is_over_goes_nowhere(ground: Ground, answer: Answer) -> None:
    ground.commit()
    with ground.session(), ground.pushing("origin", "main") as process:
        ground.wait()
        found = outgoing.Outgoing.waiting(
            ground.host, ground.workspace.project.id, ground.workspace.requests.at("key", "1")
        )
        assert found is not None
        assert found.claim()
        assert not found.claim()
        process.kill()
    found.answer({})
    with pytest.raises((ConfinedError, OSError)):
        found.answered()
