"""A session's git push, which its user agrees to in another terminal, and this machine makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from forge import PASSWORD, USER, Forge, forge, helper
from helpers import GITCONFIG, PATIENCE, User, own_name, wait_until
from terminals import terminal


@pytest.fixture
def served(place: Path, user: User) -> Iterator[Forge]:
    root = user.folder(place / "forge")
    with forge(root) as found:
        yield found


@pytest.fixture
def repository(user: User, place: Path, served: Forge) -> Path:
    """A project with a commit that its remote has, of a user who may push there."""
    url = served.make("app.git")
    files = {".gitignore": ".confined-claude/\n", ".gitattributes": "* text=auto\n"}
    project = user.repository(user.folder(own_name(place)), files)
    (user.home / ".gitconfig").write_text(GITCONFIG + helper(served))
    user.git(project, "remote", "add", "origin", url)
    user.git(project, "push", "--quiet", "origin", "main")
    return project


@pytest.mark.parametrize(("network", "git"), [("internet", "guarded"), ("none", "isolated")])
def test_a_push_that_its_user_agrees_to(user: User, repository: Path, served: Forge, network: str, git: str) -> None:
    sign_in = f"{USER}:{PASSWORD}@" if git == "isolated" else ""
    user.git(repository, "remote", "set-url", "origin", f"{served.address.replace('://', f'://{sign_in}')}/app.git")
    script = "echo a >a; git add a; git commit -qm Two; git push origin main; echo code $?"
    script += "; git rev-parse HEAD origin/main | uniq | wc -l"
    words = ("confined-claude", "shell", "--push", "ask", "--network", network, "--git", git)
    with user.running(*words, "--", "sh", "-c", script, cwd=repository, ANTHROPIC_BASE_URL="") as session:
        requests = user.home / ".local/state/confined-claude/projects"
        wait_until(lambda: any(requests.glob("*/requests/*/*/open")) or session.poll() is not None)
        with terminal(user, repository.parent, "confined-claude", "requests") as asked:
            asked.wait_for("Push this")
            assert "Two" in asked.screen
            asked.send("y\r")
            asked.wait_for("is pushed")
        printed = session.communicate(timeout=PATIENCE)[0]
    assert "code 0\n1\n" in printed
    assert "Pushed main" in printed
    assert served.git("app.git", "log", "-1", "--format=%s", "main") == "Two"
    assert not any(requests.glob("*/requests/*"))


def test_by_default_a_push_has_only_the_sessions_own_rights(user: User, repository: Path) -> None:
    script = "git push origin main </dev/null; echo code $?; ls /run/confined-claude-ports"
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=repository)
    assert "code 128" in done.stdout
    assert "No such file" in done.stderr
