"""What a session is for. Without it, all of the other tests could be passed by a container that starts nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attacks import Field
from helpers import LABEL, PATIENCE, User, docker, wait_until
from probes import INTERNET, NONE, OPEN, Service, background, confined, containers, settle, volumes, volumes_of

pytestmark = pytest.mark.root

GIT = """
    set -e; cd PROJECT; git init -q 2>/dev/null || true
    echo 1 >file; git add file; git commit -qm one
    git checkout -qb side; echo 2 >other; git add other; git commit -qm two
    git checkout -q main; echo 3 >third; git add third; git commit -qm three; git merge -q --no-edit side
    git checkout -qb more; echo 4 >file; git commit -qam four; git rebase -q main
    git checkout -q main; git merge -q more
    echo 5 >file; git stash -q; [ "$(cat file)" = 4 ]; git stash pop -q; [ "$(cat file)" = 5 ]; git checkout -q file
    git tag v1; [ "$(git describe --tags)" = v1 ]; git status --porcelain | { ! grep -q .; }; git fsck 2>&1
    git diff --quiet v1; git worktree add -q ../other-tree 2>/dev/null || true; [ "$(git log --oneline | wc -l)" = 5 ]
"""
HERE = {
    "git": GIT,
    "names": '[ "$(whoami)" = claude ] && [ "$HOME" = /home/claude ] && python3 -c "import getpass; getpass.getuser()"',
    "home": "mkdir -p ~/.cache/x ~/.config/x && touch ~/x ~/.cache/x/y ~/.config/x/y ~/.local/share/x && cd ~/workspace"
    " && [ $(pwd -P) = PROJECT ]",
    "temporary": "mktemp && mktemp -d",
    "files": "mkdir ~/venvs/m && cd ~/venvs/m && mkdir -p a/b && ln -s a link && mkfifo pipe && npm init -y >/dev/null"
    " && python3 -c 'import tempfile; tempfile.mkstemp(dir=\".\")' && umask 0 && touch open && chmod 2777 a"
    " && touch ~/.cache/pip/x ~/.local/bin/x",
    "claude": "claude --version",
}
# A package of Debian's, one of Python's and one of JavaScript's, each small and with nothing to build.
FETCHED = {
    "apt": "sudo apt-get update -qq && sudo apt-get install -y hello && hello",
    "pip": "mkvenv v && ~/venvs/v/bin/pip install -q iniconfig && ~/venvs/v/bin/python -c 'import iniconfig'",
    "pip for the user": "pip install -q --user iniconfig && python3 -c 'import iniconfig'",
    "npm": "mkdir -p /tmp/n && cd /tmp/n && npm init -y >/dev/null && npm install is-number"
    " && node -e 'require(\"is-number\")'",
    "npm for the user": "npm install -g is-number && ls ~/.local/lib/node_modules/is-number/package.json",
}


@pytest.fixture
def network(listener: Service) -> Callable[[str], dict[str, str]]:
    """The variables of a session in a mode, whose API is the test's own."""

    def variables(mode: str) -> dict[str, str]:
        given = {"internet": INTERNET, "open": OPEN, "none": NONE}.get(mode)
        api = f"http://localhost:{listener.port}"
        return given or {"CONFINED_CLAUDE_NETWORK": "allowlist", "ANTHROPIC_BASE_URL": api}

    return variables


@pytest.mark.parametrize(
    ("mode", "ids"),
    [
        ("internet", (0, 0)),
        ("internet", (33, 33)),
        ("allowlist", (501, 20)),
        ("open", (1000, 1000)),
        ("none", (12345, 12345)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}:{value[1]}",
)
def test_what_people_do_works(
    field: Field,
    make_user: Callable[..., User],
    network: Callable[[str], dict[str, str]],
    mode: str,
    ids: tuple[int, int],
) -> None:
    """U01-U04, R13: and all that it makes is the caller's, also where packages were installed."""
    user = make_user(*ids)
    (user.home / ".gitconfig").write_text((field.user.home / ".gitconfig").read_text())
    user.own(user.home / ".gitconfig")
    field = Field(user, user.folder(field.project.parent / "own"), field.outside)
    field.prepare("git init -q")
    steps = {**HERE, **(FETCHED if mode != "none" else {})}
    done = confined(field, steps, **network(mode))
    failed = {name: done[name].said for name in steps if done[name].code}
    assert failed == {}
    assert field.host("git log --oneline | wc -l && git status --porcelain").stdout.strip() == "5"
    folders = (field.project, user.home)
    assert {path.lstat().st_uid for folder in folders for path in folder.rglob("*")} == {user.uid}
    settle(field)


@pytest.mark.parametrize("mode", ["internet", "allowlist"])
def test_a_clean_session_leaves_nothing(repository: Field, network: Callable[[str], dict[str, str]], mode: str) -> None:
    """U07."""
    before = sorted(path for path in repository.project.rglob("*"))
    work = "git log --oneline; ls -la; cat file; echo y >>file; git checkout -q file; python3 -c 'print(1)'; git status"
    done = repository.session(work, **network(mode))
    assert (done.returncode, done.stderr) == (0, "")
    new = {path for path in repository.project.rglob("*") if path not in before}
    assert {path.relative_to(repository.project).parts[0] for path in new} <= {".confined-claude", ".git"}
    assert repository.host("git status --porcelain --ignored=no").stdout == ""
    assert {path.lstat().st_uid for path in repository.project.rglob("*")} == {repository.user.uid}
    assert repository.review().returncode == 0
    waiting = ["sh", "-c", "until [ -e go ]; do sleep 0.1; done; rm go"]
    with background(repository, waiting, **network(mode)) as (tool, name):
        used = volumes_of(name, *containers(repository, "sidecar"))
        assert bool(used) == (mode == "allowlist")
        (repository.project / "go").touch()
        assert tool.wait(PATIENCE) == 0
    settle(repository)
    assert containers(repository, "session") + containers(repository, "sidecar") == []
    assert docker("network", "ls", "--quiet", "--filter", f"label={LABEL}") == ""
    wait_until(lambda: not used & volumes())  # the engine removes a container first, then its volumes
    # The control: one that is not clean is told.
    assert "red" in repository.session("echo x >.envrc", **network(mode)).stderr
