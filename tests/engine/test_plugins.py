"""What Claude Code's plugins need from npm: installed before it starts, once, without scripts, and never at its cost.

Plugins come from a marketplace by the real client, their dependencies from a registry in a container of its own.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers import TEST_LABEL, Api, User, docker, listens, sessions_of, text_of, wait_until

VERSIONS = ("1.0.0", "1.1.0")
# Serves what is in the folder beside it, a package's description at its name.
SERVER = """
import http.server, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        file = pathlib.Path("/registry", self.path.strip("/"))
        self.send_response(200 if file.is_file() else 404)
        self.end_headers()
        if file.is_file():
            self.wfile.write(file.read_bytes())
http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()
"""


def tarball(version: str) -> bytes:
    """The package ``dep``; its install script waits as long as there is a file ``hold``, and leaves marks."""
    script = (
        "const fs = require('fs'), at = process.env.INIT_CWD; fs.appendFileSync(at + '/count', 'x');"
        "const timer = setInterval(() => {"
        "  if (!fs.existsSync(at + '/hold')) { clearInterval(timer); fs.writeFileSync('ran', ''); }"
        "}, 100)"
    )
    package = {"name": "dep", "version": version, "scripts": {"postinstall": "node script.js"}}
    files = {
        "package.json": json.dumps(package),
        "index.js": f"module.exports = 'dep {version}'\n",
        "script.js": script,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


TARBALLS = {version: tarball(version) for version in VERSIONS}


def integrity(version: str) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(TARBALLS[version]).digest()).decode()


@pytest.fixture(scope="module")
def registry(api: Api, ground: Path) -> Iterator[str]:
    """The URL of a registry that has ``dep`` in two versions and nothing else, in the network of the API."""
    folder = Path(tempfile.mkdtemp(dir=ground))
    folder.chmod(0o755)
    name = f"{api.network}-npm"
    versions = {}
    for version, content in TARBALLS.items():
        (folder / f"dep-{version}.tgz").write_bytes(content)
        dist = {"tarball": f"http://{name}/dep-{version}.tgz", "integrity": integrity(version)}
        versions[version] = {"name": "dep", "version": version, "dist": dist, "hasInstallScript": True}
    document = {"name": "dep", "dist-tags": {"latest": VERSIONS[-1]}, "versions": versions}
    (folder / "dep").write_text(json.dumps(document))
    mount = f"type=bind,source={folder},target=/registry,readonly"
    try:
        docker("run", "--detach", "--name", name, "--label", TEST_LABEL, "--network", api.network, "--mount", mount,
               "--user", "0", "--entrypoint", "python3", "confined-claude:latest", "-c", SERVER)  # fmt: skip
        wait_until(lambda: listens(name, 80))
        yield f"http://{name}"
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


class Shop:
    """A user, a project of theirs, and plugins that they have."""

    def __init__(self, user: User, project: Path, registry: str) -> None:
        self.user, self.project, self.registry = user, project, registry
        self.config = user.home / ".local/share/confined-claude/shared/claude-config"

    def plugin(self, folder: Path, wanted: str = "^1.0.0", *, locked: str = "", dependency: str = "dep") -> Path:
        """A plugin that needs ``dep`` and tells, when a session starts, which one it has."""
        package: dict[str, Any] = {"name": folder.name, "version": "1.0.0", "dependencies": {dependency: wanted}}
        command = f"cd $CLAUDE_PLUGIN_ROOT && node -p \"require('dep')\" >{self.project}/{folder.name}.said 2>&1"
        hooks = {"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": command}]}]}}
        files = {
            ".claude-plugin/plugin.json": {"name": folder.name, "version": "1.0.0", "description": "x"},
            "hooks/hooks.json": hooks,
            "package.json": package,
        }
        if locked:
            source = f"{self.registry}/dep-{locked}.tgz"
            entry = {"version": locked, "resolved": source, "integrity": integrity(locked), "hasInstallScript": True}
            packages = {"": package, "node_modules/dep": entry}
            files["package-lock.json"] = {
                "name": folder.name, "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": packages,
            }  # fmt: skip
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        (folder / ".npmrc").write_text(f"registry={self.registry}/\n")
        return folder

    def cached(self, name: str, wanted: str = "^1.0.0", **more: str) -> Path:
        """The same where Claude Code keeps what it has installed."""
        folder = self.plugin(self.config / "plugins/cache/shop" / name / "1.0.0", wanted, **more)
        self.own()
        return folder

    def marketplace(self, folder: Path, **sources: str) -> None:
        """A marketplace of these plugins, each a git repository where its source is a URL."""
        plugins = [
            {
                "name": name,
                "source": {"source": "url", "url": source} if "://" in source else source,
                "description": "x",
            }
            for name, source in sources.items()
        ]
        document = {"name": folder.name, "owner": {"name": "x"}, "plugins": plugins}
        (folder / ".claude-plugin").mkdir(parents=True)
        (folder / ".claude-plugin/marketplace.json").write_text(json.dumps(document))
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.invalid"]
        for name, source in sources.items():
            for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
                if "://" in source:
                    subprocess.run([*git, *words], cwd=folder / name, check=True, env=self.user.environ())
        self.own()

    def own(self) -> None:
        owner = f"{self.user.uid}:{self.user.gid}"
        subprocess.run(["chown", "-R", owner, str(self.user.home), str(self.project)], check=True)

    def claude(self, *words: str, **variables: str) -> tuple[str, str]:
        """What ``claude`` answers and what stands on stderr, in a session that has to succeed."""
        done = self.user.run("confined-claude", "run", "--", *words, cwd=self.project, input="hello", **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, done.stderr

    def ask(self, **variables: str) -> str:
        """What stands on stderr of a session whose prompt, from stdin, is answered."""
        answer, said = self.claude("-p", **variables)
        assert answer == "FAKE ANSWER: hello\n"
        return said


ANYONE = 12345 if os.geteuid() == 0 else os.getuid()


@pytest.fixture
def shop(make_user: Callable[..., User], place: Path, registry: str) -> Shop:
    user = make_user(ANYONE, ANYONE if os.geteuid() == 0 else os.getgid())
    shop = Shop(user, user.folder(place / "project"), registry)
    shop.config.mkdir(parents=True, mode=0o700)
    shop.own()
    return shop


def test_plugins_of_a_marketplace_have_what_they_need_when_claude_starts(shop: Shop) -> None:
    market = shop.project / "market"
    for name in ("locked", "free"):
        shop.plugin(market / name, locked="1.0.0" if name == "locked" else "")
    shop.marketplace(market, **{name: f"file://{market}/{name}" for name in ("locked", "free")})
    script = (
        "claude plugin marketplace add ./market; for name in locked free; do claude plugin install $name@market; done"
    )
    done = shop.user.run("confined-claude", "shell", "--", "sh", "-euc", script, cwd=shop.project)
    assert done.returncode == 0, done.stdout + done.stderr
    cache = shop.config / "plugins/cache/market"
    assert list(cache.glob("*/*/node_modules")) == []

    said = shop.ask()
    assert sorted(said.splitlines()) == [
        f"confined-claude: Installing the npm packages that the plugin {name}@market needs."
        for name in ("free", "locked")
    ]
    # A lock file counts; without one it is the newest that suits.
    assert (shop.project / "locked.said").read_text() == "dep 1.0.0\n"
    assert (shop.project / "free.said").read_text() == "dep 1.1.0\n"
    # No script ran, and all of it is the user's.
    assert list(cache.rglob("ran")) == list(cache.rglob("count")) == []
    assert {path.lstat().st_uid for path in cache.rglob("*")} == {ANYONE}
    assert list(cache.rglob(".confined-claude-npm")) == []

    before = {path: path.lstat().st_mtime_ns for path in cache.rglob("node_modules/**/*")}
    assert shop.ask() == ""
    assert {path: path.lstat().st_mtime_ns for path in cache.rglob("node_modules/**/*")} == before


def test_a_plugin_that_is_run_where_its_marketplace_is_has_what_it_needs(shop: Shop) -> None:
    market = shop.config / "market"
    shop.plugin(market / "inside")
    shop.marketplace(market, inside="./inside")
    outside = shop.project / "other"
    shop.plugin(outside / "outside")
    shop.marketplace(outside, outside="./outside")
    script = """
        claude plugin marketplace add ~/.claude/market && claude plugin install inside@market
        claude plugin marketplace add ./other && claude plugin install outside@other
    """
    done = shop.user.run("confined-claude", "shell", "--", "sh", "-euc", script, cwd=shop.project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shop.ask() == "confined-claude: Installing the npm packages that the plugin inside@market needs.\n"
    assert (shop.project / "inside.said").read_text() == "dep 1.1.0\n"
    # What is in a project is the project's; and nobody uses the copies.
    assert "Cannot find module" in (shop.project / "outside.said").read_text()
    assert list(shop.config.rglob("node_modules")) == [market / "inside/node_modules"]
    assert shop.ask() == ""


def test_scripts_run_where_the_user_has_allowed_them_and_sessions_wait_for_one_another(shop: Shop) -> None:
    folder = shop.cached("slow", locked="1.0.0")
    hold = folder / "hold"
    hold.touch()
    files = [shop.project.parent / f"said-{number}" for number in range(3)]

    def ask(file: Path) -> str:
        words = ("sh", "-c", 'exec confined-claude run -- -p 2>"$0"', str(file))
        done = shop.user.run(*words, cwd=shop.project, input="hello", CONFINED_CLAUDE_PLUGIN_SCRIPTS="on")
        return done.stdout

    def saying(what: str) -> int:
        return sum(what in text_of(file) for file in files)

    for file in files:
        shop.user.write(file, "")
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, file) for file in files]
        wait_until(lambda: saying("Waiting for another session, which is installing npm packages") == 2)
        hold.unlink()
        assert [answer.result() for answer in answers] == ["FAKE ANSWER: hello\n"] * 3
    assert (folder / "node_modules/dep/ran").exists()
    assert (folder / "count").read_text() == "x"
    assert saying("Installing the npm packages that the plugin slow@shop needs") == 1


def test_a_session_that_ends_in_the_middle_leaves_nothing_that_counts(shop: Shop) -> None:
    folder = shop.cached("slow", locked="1.0.0")
    (folder / "hold").touch()
    with shop.user.running(
        "confined-claude", "run", "--", "-p", "x", cwd=shop.project, CONFINED_CLAUDE_PLUGIN_SCRIPTS="on"
    ):
        wait_until((folder / "count").exists)
    assert sessions_of(shop.project) == []
    assert (folder / "node_modules").exists()
    (folder / "node_modules/dep/index.js").write_text("half of")
    assert "Installing the npm packages that the plugin slow@shop needs" in shop.ask()
    assert "dep 1.0.0" in (folder / "node_modules/dep/index.js").read_text()


def test_what_cannot_be_had_is_told_and_the_session_goes_on(shop: Shop) -> None:
    folder = shop.cached("poor", dependency="nosuch")
    rich = shop.cached("rich")
    line = "confined-claude: Installing the npm packages that the plugin {}@shop needs."
    for others in ([line.format("rich")], []):  # it never counts as done
        installing, failed, last, *rest = shop.ask().splitlines()
        assert installing == line.format("poor")
        start = (
            "confined-claude: The npm packages that the plugin poor@shop needs are not installed: 404 Not Found - GET"
        )
        assert failed.startswith(start)
        assert last == "confined-claude: The session goes on without them; the next session tries again."
        assert rest == others
    assert (rich / "node_modules/dep").exists()
    shop.cached("poor")
    assert shop.ask() == "confined-claude: Installing the npm packages that the plugin poor@shop needs.\n"
    assert (folder / "node_modules/dep").exists()


def test_without_a_network_what_is_in_the_cache_is_installed_and_nothing_is_waited_for(shop: Shop) -> None:
    folder = shop.cached("plugin", locked="1.0.0")
    offline = {"CONFINED_CLAUDE_NETWORK": "none"}
    done = shop.user.run("confined-claude", "run", "--", "mcp", "list", cwd=shop.project, **offline)
    assert "The npm packages that the plugin plugin@shop needs are not installed" in done.stderr
    assert "only-if-cached" in done.stderr
    assert done.returncode == 0
    shop.ask()
    subprocess.run(["rm", "-r", str(folder / "node_modules")], check=True)
    done = shop.user.run("confined-claude", "run", "--", "mcp", "list", cwd=shop.project, **offline)
    # Behind the remark about the network.
    assert done.stderr.splitlines()[1:] == [
        "confined-claude: Installing the npm packages that the plugin plugin@shop needs."
    ]
    assert (folder / "node_modules/dep").exists()


def test_only_claude_itself_waits_for_plugins_and_not_where_it_manages_them(shop: Shop) -> None:
    folder = shop.cached("plugin")
    assert shop.user.run("confined-claude", "shell", "--", "true", cwd=shop.project).stderr == ""
    assert shop.claude("--version")[1] == shop.claude("plugin", "list")[1] == ""
    assert not (folder / "node_modules").exists()


def test_nothing_that_agents_leave_there_leads_out_of_the_config_or_holds_up_a_start(shop: Shop) -> None:
    precious = shop.plugin(shop.project / "precious")
    (precious / "node_modules").mkdir()
    (precious / "node_modules/file").write_text("mine")
    cache = shop.config / "plugins/cache/shop"
    for name in ("a-fifo", "huge", "fifo-lock", "fifo-npmrc", "b\x1b[2Jbell\x07\nline"):
        shop.cached(name, dependency="nosuch" if "\n" in name else "dep")
    for path in (cache / "a-fifo/1.0.0/package.json", cache / "fifo-lock/1.0.0/package-lock.json"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    (cache / "fifo-npmrc/1.0.0/.npmrc").unlink()
    os.mkfifo(cache / "fifo-npmrc/1.0.0/.npmrc")
    with open(cache / "huge/1.0.0/package.json", "wb") as sparse:
        sparse.truncate(1 << 40)
    # Where the project of the next session is; as seen from within.
    bare = shop.plugin(shop.project / "bare")
    (cache / "link").symlink_to(shop.project)
    (cache / "version").mkdir()
    (cache / "version/1.0.0").symlink_to(bare)
    linked = shop.cached("linked")
    (linked / "node_modules").symlink_to(precious / "node_modules")
    (linked / ".confined-claude-npm").write_text("")
    good = shop.cached("good")
    shop.own()
    said = shop.ask(CONFINED_CLAUDE_GIT="open")
    assert (good / "node_modules/dep").exists()
    assert sorted(path.name for path in precious.iterdir()) == sorted(
        [".claude-plugin", ".npmrc", "hooks", "node_modules", "package.json"]
    )
    assert [path.name for path in (precious / "node_modules").iterdir()] == ["file"]
    assert not (bare / "node_modules").exists()
    assert "\x1b" not in said
    assert "\x07" not in said
    for named in ("huge@shop", "fifo-lock@shop", "fifo-npmrc@shop", "b?[2Jbell??line@shop"):
        assert f"The npm packages that the plugin {named} needs are not installed" in said


def test_a_plugin_cannot_turn_scripts_on_by_itself(shop: Shop) -> None:
    """Neither by its .npmrc, nor with a git of its own."""
    folder = shop.cached("sly", f"git+file://{shop.project}/nowhere", dependency="dep")
    mark = folder / f"mark-{uuid.uuid4().hex}"
    program = folder / "git"
    program.write_text(f"#!/bin/sh\ntouch {mark.name}; touch {shop.project}/mark\n")
    program.chmod(0o755)
    inside = Path("/home/claude/.claude", program.relative_to(shop.config))
    (folder / ".npmrc").write_text(f"registry={shop.registry}/\nignore-scripts=false\ngit={inside}\n")
    other = shop.cached("other")
    (other / ".npmrc").write_text(f"registry={shop.registry}/\nignore-scripts=false\n")
    shop.own()
    assert "The npm packages that the plugin sly@shop needs are not installed" in shop.ask()
    assert not (shop.project / "mark").exists()
    assert (other / "node_modules/dep").exists()
    assert not (other / "count").exists()
    # The control: npm by itself obeys both.
    script = f"cd {inside.parent} && npm install; cd ../../other/1.0.0 && rm -r node_modules && npm install"
    shop.user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=shop.project)
    assert (shop.project / "mark").exists()
    assert (other / "count").exists()
