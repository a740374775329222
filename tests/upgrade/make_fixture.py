#!/usr/bin/env python3
"""Make 0.1.tar.gz: what version 0.1 leaves on a machine. README.md beside this file says what is in it.

usage: make_fixture.py [COMMIT]

Installs the code of COMMIT (that of version 0.1 if missing) and uses it as its user would: the real commands,
engine and client, a fake API, made-up names and secrets. Needs root, and nothing else of the user's running.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from helpers import LABEL, REPOSITORY, SYSTEM_PATH, User, docker, running_api, sessions_of, wait_until

COMMIT = "e970b1c"
# What is in the fixture has the paths of its projects in it, and names made from them.
ROOT = Path("/tmp/confined-claude-upgrade-0.1")
ARCHIVE = Path(__file__).with_name("0.1.tar.gz")
GITCONFIG = "[user]\n\tname = Made Up\n\temail = made-up@example.invalid\n[init]\n\tdefaultBranch = main\n"
USER_CONFIG = 'memory = "50%"\nprotect = ["deploy/*.sh"]\n'
# One finding of each kind; those of a session that could not be looked through are in another project.
KINDS = """
echo 'export X=1' >.envrc
printf 'all:\\n\\techo changed\\n' >Makefile
ln -s /nowhere/made-up out
git init -q --template= sub && git -C sub config core.fsmonitor ./monitor && ln -s /nowhere/made-up sub/.git/link
mkdir pointer && echo 'gitdir: /nowhere/made-up' >pointer/.git
git update-index --add --cacheinfo "160000,$(git rev-parse HEAD),linked"
echo >setid && chmod 4600 setid
mkfifo pipe
mkdir -p node_modules/made-up && echo '//' >node_modules/made-up/index.js
"""

CLIENTS_OWN = ("attachment", "api-request", "api-request-blob", "api-request-shape")


class Maker:
    """A user of version 0.1 in ROOT."""

    def __init__(self, user: User) -> None:
        self.user = user

    def run(self, project: Path, *words: str, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        done = self.user.run(*words, cwd=project, **extra)
        if done.returncode != code:
            sys.exit(f"{project}: {words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def shell(self, project: Path, script: str, network: str = "none") -> subprocess.CompletedProcess[str]:
        words = ("confined-claude", "shell", "--network", network, "--", "sh", "-euc", script)
        # No allowlist reaches the fake API's network.
        return self.run(project, *words, ANTHROPIC_BASE_URL="")

    def ask(self, project: Path, *words: str) -> None:
        """A question to Claude Code, which the fake API answers."""
        done = self.run(project, "confined-claude", "run", "--", "-p", *words)
        if not done.stdout.startswith("FAKE ANSWER"):
            sys.exit(f"{project}: {words} was answered with {done.stdout}{done.stderr}")

    def repository(self, name: str) -> Path:
        """A project with one commit."""
        project = ROOT / "projects" / name
        project.mkdir(parents=True)
        self.run(project, "git", "init", "--quiet", "--template=")
        (project / "main.py").write_text("print('made up')\n")
        (project / "Makefile").write_text("all:\n\techo first\n")
        for words in (["add", "--all"], ["commit", "--quiet", "--message=first"]):
            self.run(project, "git", *words)
        return project

    def scaffolded(self, name: str, *, config: str = "", dockerfile: str = "") -> Path:
        """A project with a copy of the template, and lines of its own in that."""
        project = self.repository(name)
        self.run(project, "copier", "copy", "--defaults", str(ROOT / "template"), ".")
        for file, text in (("config.toml", config), ("Dockerfile", dockerfile)):
            path = project / ".confined-claude" / file
            path.write_text(path.read_text() + text)
        for words in (["add", "--all"], ["commit", "--quiet", "--message=scaffold"]):
            self.run(project, "git", *words)
        return project

    def trust(self, project: Path) -> None:
        shown = self.run(project, "confined-claude", "trust", code=4)
        found = re.search(r"--hash (\w+)", shown.stderr)
        assert found, shown.stderr
        self.run(project, "confined-claude", "trust", "--hash", found[1])

    # The projects

    def template(self, source: Path) -> None:
        """A repository with the template of this version, without all else."""
        template = ROOT / "template"
        shutil.copytree(source / "template", template / "template")
        shutil.copy(source / "copier.yml", template)
        self.run(template, "git", "init", "--quiet", "--template=")
        for words in (["add", "--all"], ["commit", "--quiet", "--message=0.1"], ["tag", "v0.1.0"]):
            self.run(template, "git", *words)

    def app(self) -> None:
        """The scaffold, a conversation, findings of both colours, one restored, and what an allowlist refused."""
        project = self.scaffolded("app")
        self.ask(project, "the first question in app")
        self.ask(project, "--continue", "the second question in app")
        self.shell(project, "echo x >~/venvs/made-up; echo x >~/.local/bin/made-up; echo export Y=1 >.envrc")
        self.run(project, "confined-claude", "review", "--restore", ".envrc")
        self.shell(project, "echo 'export X=1' >.envrc; printf 'all:\\n\\techo changed\\n' >Makefile")
        self.run(project, "confined-claude", "review", code=4)
        for cache in ("pip", "npm"):
            (self.user.home / f".local/share/confined-claude/shared/{cache}-cache/made-up").write_text("x\n")

    def refused(self) -> None:
        project = self.repository("refused")
        script = "curl -s https://refused.example.invalid http://refused.example.invalid:8080 || true"
        self.shell(project, script, "allowlist")

    def kinds(self) -> None:
        self.shell(self.repository("kinds"), KINDS)

    def deep(self) -> None:
        """What could not be looked through."""
        project = self.repository("deep")
        self.shell(project, f"mkdir -p {'d/' * 105}")

    def isolated(self) -> None:
        """A session's commits in a copy of the repository, and Claude's config of this project alone."""
        narrowed = 'git = "isolated"\nclaude_config = "project"\ncaches = "project"\n'
        project = self.scaffolded("isolated", config=narrowed)
        self.ask(project, "the first question in isolated")
        self.shell(project, "git checkout -q -b topic; echo x >new; git add new; git commit -qm 'made inside'")

    def trusted(self) -> None:
        """Trust given twice: the second time for what the first would not have allowed."""
        project = self.scaffolded("trusted", config='allow = ["first.example.invalid"]\n')
        self.trust(project)
        time.sleep(1.1)  # which of them is the last one is told by their times
        with (project / ".confined-claude/config.toml").open("a") as config:
            config.write("host_ports = [5432]\n")
        self.trust(project)
        self.shell(project, "true")

    def image(self) -> str:
        """Trust given to a Dockerfile, and an image built by it; returns the image's id."""
        project = self.scaffolded("image", dockerfile="ARG BASE\nFROM ${BASE}\nENV MADE_UP=1\n")
        self.trust(project)
        self.run(project, "confined-claude", "build")
        name = self.shell(project, "echo $MADE_UP").stdout
        assert name == "1\n", name
        labels = ("--filter", "label=confined-claude.on")
        return docker("images", "--no-trunc", "--format", "{{.ID}}", *labels).split()[0]

    def half_cleaned(self) -> None:
        """What a clean leaves that is killed; most of it is removed afterwards."""
        project = self.repository("half")
        self.shell(project, "mkdir ~/venvs/made-up; cd ~/venvs/made-up; seq 60000 | xargs touch")
        words = ("confined-claude", "clean", "--yes")
        tool = subprocess.Popen(words, cwd=project, env=self.user.environ(), stdin=subprocess.DEVNULL)
        wait_until(lambda: list(project.glob(".confined-claude/.removed-*/*/made-up")))
        tool.send_signal(signal.SIGKILL)
        tool.wait()
        _, *others = project.glob(".confined-claude/.removed-*/*/made-up/*")
        for path in others:
            path.unlink()

    def cut(self) -> None:
        """The records of a session whose tool and container are gone; what another one left is accepted meanwhile."""
        project = self.repository("cut")
        self.ask(project, "the first question in cut")
        script = """
            touch begun
            while [ ! -e go ]; do sleep 0.1; done
            curl -s https://cut.example.invalid
            mkdir .vscode; echo '{}' >.vscode/tasks.json; touch done; sleep 300
        """
        words = ("confined-claude", "shell", "--network", "allowlist", "--", "sh", "-c", script)
        environ = self.user.environ(ANTHROPIC_BASE_URL="")
        tool = subprocess.Popen(words, cwd=project, env=environ, stdin=subprocess.DEVNULL)
        wait_until((project / "begun").exists)
        self.shell(project, "echo 'export X=1' >.envrc")
        self.run(project, "confined-claude", "review", "--accept")
        (project / "go").touch()
        wait_until((project / "done").exists)
        time.sleep(2)  # the sidecar writes what it has refused
        tool.send_signal(signal.SIGKILL)
        tool.wait()
        docker("rm", "--force", *sessions_of(project))
        (records,) = (self.user.home / ".local/state/confined-claude/projects").glob("cut-*")
        sidecars = ("ps", "--all", "--quiet", "--filter", f"label={LABEL}.project={records.name}")
        wait_until(lambda: not docker(*sidecars))
        for name in ("begun", "go", "done"):
            (project / name).unlink()


def shorten(conversation: Path) -> None:
    """Take out of one of the client's conversations what is the client's own: prompts, tools, requests."""
    lines = [json.loads(line) for line in conversation.read_text().splitlines()]
    kept = [line for line in lines if line["type"] not in CLIENTS_OWN]
    last = None
    for line in kept:
        line.pop("requestRef", None)
        if "parentUuid" in line:
            line["parentUuid"], last = last, line["uuid"]
    conversation.write_text("".join(f"{json.dumps(line)}\n" for line in kept))


def pack() -> None:
    """Write ARCHIVE: what is in ROOT, in the order of names, owned by nobody in particular."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with (
        ARCHIVE.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(ROOT.rglob("*")):
            archive.add(path, path.relative_to(ROOT), recursive=False, filter=plain)


def main() -> None:
    commit = sys.argv[1] if len(sys.argv) > 1 else COMMIT
    os.umask(0o022)
    ROOT.mkdir()
    scratch = Path(tempfile.mkdtemp(prefix="confined-claude-upgrade-"))
    image = ""
    try:
        archived = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True)
        source = scratch / "source"
        source.mkdir()
        subprocess.run(["tar", "-x"], cwd=source, input=archived.stdout, check=True)
        environ = {"HOME": str(scratch), "PATH": SYSTEM_PATH}
        subprocess.run([source / "install.sh"], env=environ, cwd=scratch, check=True)
        home = ROOT / "home"
        (home / ".config/confined-claude").mkdir(parents=True)
        (home / ".gitconfig").write_text(GITCONFIG)
        (home / ".config/confined-claude/config.toml").write_text(USER_CONFIG)
        with running_api() as api:
            user = User(home, scratch / ".local/bin", variables=api.variables)
            credentials = user.sign_in(token="sk-ant-oat01-made-up-of-0.1")
            (home / ".claude/CLAUDE.md").write_text("made-up memory\n")
            maker = Maker(user)
            maker.template(source)
            maker.app()
            maker.refused()
            maker.kinds()
            maker.deep()
            maker.isolated()
            maker.half_cleaned()
            maker.trusted()
            image = Maker(replace(user, variables={})).image()
            maker.run(ROOT / "projects/app", "confined-claude", "status")
            maker.cut()
        # From here on a session can only be signed in by the copy.
        credentials.unlink()
        for conversation in home.rglob("*.jsonl"):
            shorten(conversation)
        pack()
    finally:
        if image:
            docker("image", "rm", "--force", image)
        shutil.rmtree(ROOT)
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
