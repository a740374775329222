"""What a session does to files that the host runs or obeys: it cannot, or it is told before they act."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from attacks import REVIEW, Attack, Field, table
from helpers import PATIENCE, REPOSITORY, SYSTEM_PATH, docker, sessions_of, wait_until
from terminals import terminal

SHELL = "touch CANARY"
HOOK = f"#!/bin/sh\n{SHELL}"
PYTHON = """import os; os.system("touch CANARY")"""
LIST = "inv --list"
# In the control: tasks of a user's own, which have nothing of the shim's.
NAIVE = "printf 'from invoke import task\\nimport tomllib\\n@task\\ndef run(c):\\n    c.run(\"true\")\\n' > tasks.py"


def puts(path: str, content: str) -> str:
    """Shell words that write a file, executable and with its folders."""
    return f"mkdir -p $(dirname {path}); printf '%s\\n' {shlex.quote(content)} > {path}; chmod +x {path}"


CACHE = f"""
    {puts("/tmp/e.py", PYTHON)}; mkdir -p __pycache__; python3 -c 'import py_compile, sys
py_compile.compile("/tmp/e.py", f"__pycache__/tasks.{{sys.implementation.cache_tag}}.pyc",
                   invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)'
"""

# With the shim of the template as tasks.py.
KEPT = [
    Attack("H01 tasks.py", puts("tasks.py", PYTHON), LIST),
    Attack("H01 tasks.py replaced", f"mv tasks.py x; rm -f tasks.py; {puts('tasks.py', PYTHON)}", LIST),
    Attack("H02 tasks.py's cache", CACHE, LIST, bare="rm -rf __pycache__"),
    Attack("H03 invoke.py", puts("invoke.py", PYTHON), LIST, ("red invoke.py",), bare=NAIVE),
    Attack(
        "H04 invoke.yaml",
        f"{puts('sh', HOOK)}; echo 'run: {{shell: PROJECT/sh}}' > invoke.yaml",
        "inv run",
        ("red invoke.yaml",),
        bare=NAIVE,
    ),
    Attack(
        "H04 invoke.json",
        f"{puts('sh', HOOK)}; echo '{{\"run\": {{\"shell\": \"PROJECT/sh\"}}}}' > invoke.json",
        "inv run",
        ("red invoke.json",),
        bare=NAIVE,
    ),
    Attack(
        "H05 modules of the same name",
        "; ".join(
            puts(name, PYTHON)
            for name in "tomllib.py hashlib.py docker.py rich.py confined_claude/__init__.py sitecustomize.py".split()
        ),
        "inv --list; inv review; confined-claude review; inv shell -- true; confined-claude shell -- true",
        bare=NAIVE,
    ),
    Attack(
        "PYTHONPATH into the project",
        "; ".join(puts(name, PYTHON) for name in "platformdirs.py confined_claude/__init__.py".split()),
        "; ".join(
            f"PYTHONPATH={path} {command}"
            for path in (":/x", ".")
            for command in ("inv --list", "inv review", "confined-claude review", "confined-claude shell -- true")
        ),
        bare="echo 'import platformdirs' > tasks.py",
    ),
]  # fmt: skip

DOTS = "mkdir -p dots ~/.config; echo > dots/rc; ln -s"
KEPT += [
    Attack(
        "the shell's start-up file, which is kept in the project",
        "rm -f dots/rc; echo 'touch CANARY' > dots/rc",
        "bash -ic true",
        before=f"{DOTS} $PWD/dots/rc ~/.bashrc",
    ),
    Attack(
        "a hook of Claude's on this machine, which is kept in the project",
        "rm -f dots/rc; echo 'touch CANARY' > dots/rc",
        "sh ~/.claude/hooks/check",
        before=f"mkdir -p ~/.claude/hooks; {DOTS} $PWD/dots/rc ~/.claude/hooks/check",
    ),
    Attack(
        "settings of a program, which are kept in the project",
        "mv dots dots2; mkdir -p dots; printf '[core]\\nfsmonitor = \"touch CANARY;:\"\\n' > dots/config",
        "git init -q inner; git -C inner status",
        before=f"{DOTS} $PWD/dots ~/.config/git; rm -f ~/.gitconfig; echo > dots/config",
    ),
]

TOLD = [
    Attack("H06 tasks below", puts("sub/tasks.py", PYTHON), "cd sub && inv --list", ("yellow sub/tasks.py",)),
    Attack(
        "tasks that are a package",
        puts("tasks/__init__.py", f"# invoke\n{PYTHON}"),
        LIST,
        ("red tasks/__init__.py",),
        before="rm -rf tasks.py",
    ),
    Attack("tasks where there are none", puts("tasks.py", PYTHON), LIST, ("red tasks.py",), before="rm tasks.py"),
    Attack("H11 .envrc", puts(".envrc", SHELL), ". ./.envrc", ("red .envrc",)),
    Attack("H11 .envrc below", puts("a/b/.envrc", SHELL), ". a/b/.envrc", ("red a/b/.envrc",)),
    Attack(
        ".envrc by a link", f"{puts('env.txt', SHELL)}; ln -s env.txt .envrc", ". ./.envrc", ("red .envrc",)
    ),
    Attack(
        "what .envrc links to", puts("env.txt", SHELL), ". ./.envrc", ("red .envrc",),
        before="> env.txt; ln -s env.txt .envrc", undone="> env.txt",
    ),
    Attack(
        "what .envrc links to by two links", puts("env.txt", SHELL), ". ./.envrc", ("red .envrc",),
        before="> env.txt; ln -s env.txt e; ln -s e .envrc", undone="> env.txt",
    ),
    Attack(
        "what a folder links to", puts("conf/hook", SHELL), "sh .claude/hooks/hook", ("red .claude/hooks/hook",),
        before="mkdir conf .claude; ln -s ../conf .claude/hooks", undone="rm conf/hook",
    ),
    Attack(
        "a hard link", f"echo '{SHELL}' >> other", ". ./.envrc", ("red .envrc",), before="> .envrc; ln .envrc other",
        undone="> other",
    ),
    Attack(
        "a debugger's file", puts(".pdbrc", PYTHON), "echo q | python3 -m pdb tasks.py", ("red .pdbrc",),
    ),
    Attack("H13 hooks of Claude", puts(".claude/settings.json", '{"hooks": {}}'), ":", ("red .claude/settings.json",)),
    Attack(
        "a link out", "ln -s CANARY notes", "echo x > notes", ("red notes",),
    ),
    Attack(
        "a repository where there is none", f"git init -q; {puts('.git/hooks/pre-commit', HOOK)}",
        "git commit -q --allow-empty -m x", ("red .git/hooks/pre-commit",),
    ),
    Attack(
        "a repository nobody may look into", f"git init -q sub; {puts('sub/.git/hooks/pre-commit', HOOK)}"
        + "; chmod 000 sub", "chmod 755 sub; cd sub && git commit -q --allow-empty -m x", ("red sub",),
        undone="chmod 755 sub; rm -rf sub",
    ),
    Attack(
        "a repository very deep",
        "d=$(printf 'd/%.0s' $(seq 120)); mkdir -p $d; git init -q $d; " + puts("$d/.git/hooks/pre-commit", HOOK),
        "cd $(printf 'd/%.0s' $(seq 120)) && git commit -q --allow-empty -m x",
        ("red " + "/".join("d" * 101),),
        undone="rm -rf d",
    ),
    Attack(
        "a huge file", f"{puts('.envrc', SHELL)}; truncate -s 20M .envrc", ". ./.envrc", ("red .envrc",),
        undone="rm .envrc",
    ),
    Attack("an old file", f"{puts('.envrc', SHELL)}; touch -r tasks.py .envrc", ". ./.envrc", ("red .envrc",)),
]  # fmt: skip
NO_CONTROL = ("H13 hooks of Claude",)  # nothing here obeys it

# What the host's tools act on, new in a session: each is reported.
NEW = (
    """.envrc .vscode/tasks.json .devcontainer/devcontainer.json .idea/workspace.xml .claude/hooks/x .mcp.json
    .pre-commit-config.yaml .husky/pre-commit .nvim.lua .exrc mise.toml .cargo/config.toml x.code-workspace
    .gdbinit .claude/scheduled_tasks.json .confined-claude/Dockerfile""".split(),
    ".github/workflows/x.yml .gitlab-ci.yml Makefile package.json setup.py conftest.py CLAUDE.md .gitmodules".split(),
)
# Likewise, but known to be missing in the rules: what obeys it is in the report of these tests.
NOT_YET = """.Rprofile .irbrc .pryrc .ghci .iex.exs .ocamlinit .pylintrc .bsp/x.json hie.yaml .tool-versions
    .eslintrc.json .prettierrc .stylelintrc mypy.ini .mypy.ini gradle.properties ansible.cfg tools/bazel
    .formatter.exs .php-cs-fixer.php""".split()


@pytest.fixture
def scaffold(field: Field) -> Field:
    """A project as copier makes it."""
    shutil.copytree(
        REPOSITORY / "template", field.project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.jinja")
    )
    field.user.own(*field.project.rglob("*"))
    return field


@pytest.mark.parametrize("attack", table(KEPT))
def test_a_session_cannot_make_the_tasks_run_its_own(scaffold: Field, attack: Attack) -> None:
    scaffold.assert_kept(attack)


@pytest.mark.parametrize("attack", table(TOLD))
def test_what_a_session_plants_is_told_before_it_runs(scaffold: Field, attack: Attack) -> None:
    scaffold.assert_told(attack)


@pytest.mark.parametrize("attack", table(attack for attack in KEPT + TOLD if attack.name not in NO_CONTROL))
def test_without_the_guard_it_runs(scaffold: Field, attack: Attack) -> None:
    scaffold.assert_works_unguarded(attack)


# H01, H07, H08, H09, H10: each of FILES is there, and each of these must fail for each.
FILES = """tasks.py .envrc .vscode/tasks.json .devcontainer/devcontainer.json .idea/workspace.xml .claude/settings.json
    .mcp.json .pre-commit-config.yaml .husky/pre-commit .confined-claude/config.toml""".split()
WRITES = (
    "echo x >> F; : > F; rm -f F; mv F x; ln -sf /tmp/x F; ln F hard; cp --remove-destination /etc/hostname F; "
    "chmod 777 F;"
    "touch F; truncate -s 1 F; mv $(dirname F) y; rm -rf $(dirname F)/*; mkdir F"
).split(";")


def tried(project: str) -> str:
    """Shell words that try WRITES on FILES and say which have worked."""
    calls = (
        call.replace("F", name) for name in FILES for call in WRITES if not ("dirname" in call and "/" not in name)
    )
    copy = "" if project == "." else f"cd /tmp; rm -rf c; cp -a {project} c; cd c;"
    return "\n".join(f"{copy} sh -c {shlex.quote(call)} 2>/dev/null && echo {shlex.quote(call)}" for call in calls)


def test_a_session_cannot_change_what_the_host_runs_by_any_call(scaffold: Field) -> None:
    for name in FILES:
        path = scaffold.project / name
        scaffold.user.folder(path.parent)
        path.write_text(path.read_text() if path.exists() else "# none\n" if path.suffix == ".toml" else "{}\n")
        scaffold.user.own(path)
    before = {name: (scaffold.project / name).read_bytes() for name in FILES}
    done = scaffold.session(tried("."))
    assert done.stdout == ""
    assert done.stderr == ""
    assert {name: (scaffold.project / name).read_bytes() for name in FILES} == before
    # The control: without the guard all of them can be had (but mkdir, which is no way to change a file).
    scaffold.unguarded(f"{{ {tried('PROJECT')}; }} > /tmp/worked; cp /tmp/worked PROJECT/worked")
    worked = (scaffold.project / "worked").read_text()
    for name in FILES:
        for call in WRITES[:-1]:
            assert call.replace("F", name).strip() in worked or ("dirname" in call and "/" not in name)


@pytest.mark.parametrize("name", [".confined-claude", ".claude", ".vscode"])
def test_a_session_cannot_replace_a_folder_of_what_the_host_runs(scaffold: Field, name: str) -> None:
    """H09, and the same where only what is in the folder is kept."""
    scaffold.prepare("mkdir .claude .vscode; echo '{}' | tee .claude/settings.json > .vscode/tasks.json")
    inode = (scaffold.project / name).stat().st_ino
    attack = f"mv {name} x; rm -rf {name}; ln -s OUTSIDE {name}"
    scaffold.session(attack)
    assert (scaffold.project / name).lstat().st_ino == inode
    scaffold.unguarded(attack)  # the control
    assert (scaffold.project / name).is_symlink()


def test_every_new_file_that_the_host_acts_on_is_told(field: Field) -> None:
    """H11, H13, H17; and nothing is left behind by a session that leaves nothing."""
    field.session("true")
    assert [path.name for path in field.project.iterdir()] == [".confined-claude"]
    done = field.session("; ".join(puts(name, '{"scripts": 1}') for names in NEW for name in names))
    assert "… and " in done.stderr  # more than are shown at once
    listed = [" ".join(line.split()) for line in field.review().stdout.splitlines()]
    for colour, names in zip(("red", "yellow"), NEW, strict=True):
        for name in names:
            known = name.startswith(".confined-claude/")  # read-only
            assert (f"{colour} {name}" in listed) is not known, name


def test_new_files_of_fewer_hosts_are_told(field: Field) -> None:
    field.session("; ".join(puts(name, "{ }") for name in NOT_YET))
    listed = field.review().stdout
    assert [name for name in NOT_YET if name not in listed] == []


def test_a_virtual_environment_of_the_hosts_is_out_of_reach(field: Field) -> None:
    """H14."""
    field.prepare("python3 -m venv --without-pip .venv; python3 -m venv --without-pip other")
    python, site = field.project / ".venv/bin/activate", field.project / ".venv/lib/x.pth"
    before = python.read_bytes()
    attack = "for v in .venv other; do mkdir -p $v/lib; echo x > $v/bin/activate; echo x > $v/lib/x.pth; done"
    field.session(f"mkdir -p .venv/bin other/bin; {attack}; rm -rf .venv")
    for folder in (".venv", "other"):
        assert (field.project / folder / "bin/activate").read_bytes() != b"x\n"
        assert not (field.project / folder / "lib/x.pth").exists()
    assert python.read_bytes() == before
    field.unguarded(attack)  # the control
    assert site.exists()
    assert python.read_bytes() == b"x\n"


def test_a_session_cut_off_is_looked_through_at_the_next_start(field: Field) -> None:
    """H20."""
    words = ("confined-claude", "shell", "--", "sh", "-c", f"{puts('.envrc', 'x')}; touch on; sleep 600")
    with field.user.running(*words, cwd=field.project) as session:
        wait_until((field.project / "on").exists)
        session.send_signal(signal.SIGKILL)
        session.wait(PATIENCE)
        try:
            again = field.session("true")
            reviewed = field.review()
        finally:
            docker("rm", "--force", *sessions_of(field.project), check=False)
    assert again.returncode == reviewed.returncode == REVIEW
    assert "red     .envrc" in reviewed.stdout
    assert field.review("--restore", ".envrc").returncode == 0
    assert field.session("true").returncode == 0


@pytest.mark.parametrize("starts_first", [True, False])
def test_what_one_session_plants_and_another_brings_back_is_told(field: Field, starts_first: bool) -> None:
    """The second starts once the first has planted it; the control is the one that starts first of all."""
    wait = "touch $0; while [ ! -e $0.on ]; do sleep 0.1; done"
    plant = puts(".envrc", SHELL)
    begin = ("confined-claude", "shell", "--", "sh", "-c")

    def wait_for(name: str) -> None:
        wait_until((field.project / name).exists)

    with contextlib.ExitStack() as stack:

        def start(name: str, script: str) -> subprocess.Popen[str]:
            session = stack.enter_context(field.user.running(*begin, script, name, cwd=field.project))
            wait_for(name)
            return session

        second = start("second", f"{wait}; {plant}") if starts_first else None
        first = start("first", f"{plant}; {wait}")
        second = second or start("second", f"{wait}; {plant}")
        (field.project / "first.on").touch()
        assert "red     .envrc" in first.communicate(timeout=PATIENCE)[0]
        assert field.review("--restore", ".envrc").returncode == 0
        assert not (field.project / ".envrc").exists()
        (field.project / "second.on").touch()
        assert "red     .envrc" in second.communicate(timeout=PATIENCE)[0]
    assert field.session("true").returncode == REVIEW


@pytest.mark.parametrize("folder", ["PROJECT/sub", "PROJECT"])
def test_a_place_that_could_not_be_looked_through_is_looked_through_once_it_can(field: Field, folder: str) -> None:
    field.session(f"{puts('sub/.envrc', 'x')}; chmod 000 {folder}")
    field.prepare(f"chmod 755 {folder}")
    assert field.session("true").returncode == REVIEW
    assert "red     sub/.envrc" in field.review().stdout


def test_a_flood_of_findings_hides_none(field: Field) -> None:
    done = field.session("for i in $(seq 700); do mkdir $i; echo x > $i/.envrc; done; mkdir z; echo x > z/.envrc")
    assert len(done.stderr.splitlines()) < 100
    assert "and 691 more" in done.stderr
    field.prepare("rm -rf [0-9]*")
    assert field.session("true").returncode == REVIEW
    assert "red     z/.envrc" in field.review().stdout


def test_names_that_a_command_takes_for_options_are_told(field: Field) -> None:
    plant = (
        "mkdir -p data; cd data; echo 'touch ../mark' >x; : >--checkpoint=1; mkdir -- '--checkpoint-action=exec=sh x'"
    )
    done = field.session(plant)
    for name in ("--checkpoint=1", "--checkpoint-action=exec=sh x"):
        assert f"data/{name}" in done.stderr
    field.host("cd data; tar cf ../all.tar *")  # the control: what is told happens
    assert (field.project / "mark").exists()
    field.prepare("rm -r data all.tar mark")
    assert "nothing to review" in field.review().stdout


SETID = "cp /bin/true {0}s; chmod 4755 {0}s"


@pytest.mark.root
@pytest.mark.parametrize("folder", ["local-bin", "venvs"])
def test_what_sessions_keep_for_themselves_is_out_of_others_reach(field: Field, folder: str) -> None:
    inside = {"local-bin": "/home/claude/.local/bin/", "venvs": "/home/claude/venvs/"}[folder]
    field.session(f"chmod 777 .confined-claude {inside}; {SETID.format(inside)}")
    file = field.project / ".confined-claude" / folder / "s"
    assert file.stat().st_mode & 0o4000
    field.unguarded(SETID.format(""))  # the control

    def reached(path: Path) -> bool:
        other = [
            "setpriv",
            "--reuid",
            "54321",
            "--regid",
            "54321",
            "--clear-groups",
            "sh",
            "-c",
            shlex.quote(str(path)),
        ]
        return subprocess.run(other, check=False, capture_output=True).returncode == 0

    assert (reached(file), reached(field.project / "s")) == (False, True)


def test_names_are_safe_to_print(field: Field) -> None:
    names = ["a\x1b]0;owned\x07", "two\nred     lines", "\u202egnp.exe", "\x9b31m", "\udcff", "\x1b[2J"]
    script = "\n".join(
        f"mkdir -p {folder}; echo 'x\x1b[2J' > {folder}/.envrc; ln -s '/\x1b[31m' {folder}/link"
        for folder in (shlex.quote(name) for name in names if "\udcff" not in name)
    )
    done = field.session(script + """\npython3 -c 'import os; os.mkdir(b"\\xff"); open(b"\\xff/.envrc", "w")'""")
    reviewed = field.review()
    refused = field.session("true")
    for text in (done.stderr, reviewed.stdout, refused.stderr):
        assert all(char.isprintable() or char == "\n" for char in text), text
    assert not any(line.startswith("red") for line in reviewed.stdout.splitlines())
    assert reviewed.stdout.count("/.envrc\n") == len(names)
    shown = next(line for line in reviewed.stdout.splitlines() if "two" in line and ".envrc" in line).split(maxsplit=1)[
        1
    ]
    field.review("--restore", shown)
    assert not (field.project / "two\nred     lines/.envrc").exists()


@pytest.mark.parametrize("name", ["bin", ".local/bin", ".ssh", ".config/autostart", ".cargo/bin", "tools"])
def test_directories_of_programs_keys_and_settings_are_no_projects(field: Field, name: str) -> None:
    place = field.user.folder(field.user.home / name)
    path = f"{field.user.bin}:{field.user.home}/tools:{SYSTEM_PATH}"
    words = ("confined-claude", "shell", "--", "sh", "-c", puts("git", field.text(HOOK)))
    done = field.user.run(*words, cwd=place, PATH=path)
    assert done.returncode == 2, done.stderr
    assert f"{place} cannot be a project" in done.stderr
    assert not (place / "git").exists()
    field.unguarded(f"cd {place}; {puts('git', HOOK)}", place)  # the control
    field.user.run("git", "status", cwd=field.project, PATH=f"{place}:{SYSTEM_PATH}")
    assert field.escaped() == ["canary"]


@pytest.mark.parametrize("directory", ["node_modules/.bin", "bin", "env/bin"])
@pytest.mark.parametrize("entry", ["./{}", "PROJECT/{}"])
def test_a_program_planted_on_the_callers_path_is_told_and_not_run(field: Field, directory: str, entry: str) -> None:
    path = f"{field.text(entry.format(directory))}:{field.user.bin}:{SYSTEM_PATH}"
    names = ("docker", "git", "ls")
    field.prepare(puts(f"{directory}/tool", "exit"))
    plant = "; ".join(puts(f"{directory}/{name}", HOOK) for name in names)
    done = field.session(f"echo >> {directory}/tool; {plant}", PATH=path)
    reviewed = field.review()
    again = field.session("true", PATH=path)
    for text in (done.stderr, reviewed.stdout):
        listed = [" ".join(line.split()) for line in text.splitlines()]
        assert {f"red {directory}/{name}" for name in names} <= set(listed)
        assert any(line.startswith("yellow ") and f"{directory}/tool" in line for line in listed)
    assert (reviewed.returncode, again.returncode) == (REVIEW, REVIEW)
    field.user.run("confined-claude", "review", "--accept", cwd=field.project, PATH=path)
    # The tool itself starts none of them; accepted or not, the user's shell does: the control.
    for words in (("shell", "--", "true"), ("status",), ("run", "--dry-run"), ("clean-global", "--dry-run")):
        assert field.user.run("confined-claude", *words, cwd=field.project, PATH=path).returncode == 0
    for words in (("stop",), ("exec", "--", "true"), ("doctor",)):  # there is no session
        field.user.run("confined-claude", *words, cwd=field.project, PATH=path)
    elsewhere = field.user.folder(field.user.home / "elsewhere")  # nor does it in another project
    for words in (("shell", "--", "true"), ("status",), ("requests",), ("clean-global", "--dry-run")):
        assert field.user.run("confined-claude", *words, cwd=elsewhere, PATH=path).returncode == 0
    assert field.escaped() == []
    field.user.run("sh", "-c", "ls", cwd=field.project, PATH=path)
    assert field.escaped() == ["canary"]


def test_a_session_cannot_conceal_the_report(field: Field) -> None:
    concealing = "printf '\\033[8m\\033[?1049h\\033[?25l\\033]0;title'"

    def shown(*words: str) -> tuple[str, str]:
        with terminal(field.user, field.project, *words) as opened:
            opened.wait_for_end()
            return opened.screen, opened.everything

    screen, everything = shown("confined-claude", "shell", "--", "sh", "-c", f"{puts('.envrc', 'x')}; {concealing}")
    assert "red     .envrc" in screen
    assert "\x1b[0m" in everything.partition("\x1b[8m")[2].partition("This session")[0]
    screen, everything = shown("sh", "-c", f"{concealing}; echo red .envrc")  # the control
    assert "red .envrc" in everything
    assert "red .envrc" not in screen


def test_a_fifo_anywhere_hangs_nothing(scaffold: Field) -> None:
    places = """.envrc docs/config docs/HEAD docs/index .git/HEAD .git/config .git/index .git/packed-refs .git/commondir
        .git/info/attributes .git/rebase-merge/git-rebase-todo .git/modules/x/config .git/modules/x/HEAD sub/.git
        .git/worktrees/x/commondir tasks/__init__.py package.json .gitmodules other/pyvenv.cfg""".split()
    made = scaffold.session(
        "; ".join(f"mkdir -p $(dirname {name}) docs/objects .git/objects; mkfifo {name}" for name in places)
    )
    assert made.returncode == 0, made.stderr
    assert ".envrc" in scaffold.review().stdout
    for words in (("trust",), ("shell", "--", "true"), ("review", "--accept"), ("shell", "--", "true")):  # each ends
        done = scaffold.user.run("confined-claude", *words, cwd=scaffold.project)
        assert "Traceback" not in done.stderr
    assert scaffold.host("timeout 1 cat .envrc").returncode == 124  # the control


@pytest.mark.parametrize("end", [("--accept",), ("--restore", ".envrc")])
def test_what_is_red_blocks_every_start_until_a_review(field: Field, end: tuple[str, ...]) -> None:
    field.session(puts(".envrc", SHELL))
    for words in (("shell", "--", "true"), ("run", "--", "-p", "hi"), ("--yolo", "--", "-p", "hi"), ("update",)):
        done = field.user.run("confined-claude", *words, cwd=field.project)
        assert done.returncode == REVIEW, done.stderr
        assert ".envrc" in done.stderr
    assert sessions_of(field.project) == []
    closed = field.review(*end)
    assert closed.returncode == 0, closed.stdout + closed.stderr
    assert (field.project / ".envrc").exists() is ("--accept" in end)
    assert field.session("true").returncode == 0
    # What was accepted is so as it is: another content is another matter.
    field.session(f"rm -f .envrc; {puts('a/.envrc', 'y')}")
    assert field.session("true").returncode == REVIEW
