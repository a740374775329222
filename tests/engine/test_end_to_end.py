"""The real Claude Code in the real image, driven through the installed commands, against the fake API."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import GITCONFIG, User, sessions_of
from relay import relayed

IDS = [
    pytest.param(0, 0),
    *[pytest.param(*ids, marks=pytest.mark.root) for ids in ((33, 33), (501, 20))],
]
NAMES = ["-x a:b,c", "two\nlines of 'quo\"te", "grüße trailing ", "A.Very_Odd--Name"]


def tree_hash(folder: Path) -> str:
    """Of every name, kind, mode, owner and content below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        digest.update(f"{path.relative_to(folder)}|{status.st_mode}|{status.st_uid}|{status.st_mtime_ns}".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in (folder, *folder.rglob("*"))}


@pytest.mark.root
@pytest.mark.parametrize(("uid", "gid"), IDS)
def test_a_project_from_copier_to_a_file_made_by_claude(
    make_user: Callable[..., User], template: Path, place: Path, uid: int, gid: int
) -> None:
    user = make_user(uid, gid)
    made = place / "my project"
    shared = place / "template"
    subprocess.run(["cp", "-r", str(template), str(shared)], check=True)
    subprocess.run(["chown", "-R", f"{uid}:{gid}", str(shared), str(place)], check=True)
    copied = user.run("copier", "copy", "--defaults", str(shared), str(made), cwd=place)
    assert copied.returncode == 0, copied.stderr

    prompt = "RUN: touch made-by-claude; whoami; id -u; id -g; echo $HOME; touch ~/.probe ~/.cache/probe; pwd -P"
    done = user.run("inv", "run", "--yolo", "--", "-p", prompt, cwd=made)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.strip().removeprefix("TOOL SAID: ").splitlines()
    assert said == ["claude", str(uid), str(gid), "/home/claude", str(made)]
    assert (made / "made-by-claude").is_file()
    assert owners(made) == {(uid, gid)}
    assert owners(user.home) == {(uid, gid)}
    assert sessions_of(made) == []


@pytest.mark.root
@pytest.mark.parametrize(("uid", "gid"), IDS)
def test_every_process_of_a_session_is_the_callers(
    make_user: Callable[..., User], place: Path, uid: int, gid: int
) -> None:
    user = make_user(uid, gid)
    folder = user.folder(place / "project")
    probe = "import getpass, os\nprint(getpass.getuser(), set(os.getgroups()) <= {os.getgid()}, os.environ['HOME'])\n"
    (folder / "probe.py").write_text(probe)
    script = """
        ps -eo uid=,gid=,args= | grep -v '[p]ackages.helper' | awk '{ print $1, $2 }' | sort -u
        python3 probe.py
        node -p 'os.userInfo().username'
        git config --global x.y z && git config x.y
        grep -E '^(CapEff|CapPrm|CapAmb|NoNewPrivs)' /proc/self/status
    """
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=folder)
    lines = done.stdout.split("\n")
    assert lines[0].split() == [str(uid), str(gid)], done.stdout + done.stderr
    assert lines[1:4] == ["claude True /home/claude", "claude", "z"]
    status = dict(line.split(":\t") for line in lines[4:] if line)
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapAmb"], 16) == 0
    if uid:
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


@pytest.mark.parametrize(
    "words", [("-p", "hello  two spaces"), ("-p", "--", "-starts-with-a-dash"), ("-p", 'a "quoted" $HOME\n* line')]
)
def test_arguments_reach_claude_untouched(user: User, project: Path, words: tuple[str, ...]) -> None:
    done = user.run("confined-claude", "run", "--", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"FAKE ANSWER: {words[-1]}\n"
    assert done.stderr == ""


def test_bare_command_and_old_flags_run_claude(user: User, project: Path) -> None:
    assert "FAKE ANSWER: one" in user.run("confined-claude", "--", "-p", "one", cwd=project).stdout
    yolo = user.run("confined-claude", "--yolo", "--", "-p", "RUN: touch by-yolo", cwd=project)
    assert yolo.returncode == 0
    assert (project / "by-yolo").exists()
    assert user.run("confined-claude", "--shell", "--", "true", cwd=project).returncode == 0


def test_without_yolo_nothing_is_done_unasked(user: User, project: Path) -> None:
    user.run("confined-claude", "--", "-p", "--permission-mode", "default", "RUN: touch unasked", cwd=project)
    assert not (project / "unasked").exists()


def test_a_question_through_a_pipe(user: User, project: Path) -> None:
    done = user.run("confined-claude", "run", "--", "-p", input="what is in the pipe\n", cwd=project)
    assert done.stdout == "FAKE ANSWER: what is in the pipe\n"


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_much_binary_data_through_pipes(user: User, project: Path, way: str) -> None:
    """Both ways, outputs apart, with the exit code; also where the docker command has to reach the engine."""
    data = os.urandom(20 << 20)
    script = "echo to one >&2; cat; echo the other >&2; exit 7"
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(relayed(None))[0] if way == "tcp" else ""
        done = subprocess.run(
            user.command("confined-claude", "shell", "--", "sh", "-c", script),
            cwd=project,
            env=user.environ(DOCKER_HOST=address),
            input=data,
            capture_output=True,
            check=False,
            timeout=900,
        )
    assert (done.stdout == data, done.returncode) == (True, 7), done.stderr
    assert done.stderr.endswith(b"to one\nthe other\n")
    assert sessions_of(project) == []


def test_json_output_parses(user: User, project: Path) -> None:
    done = user.run("confined-claude", "--", "-p", "hi", "--output-format", "json", cwd=project)
    answer = json.loads(done.stdout)
    assert (answer["result"], answer["is_error"]) == ("FAKE ANSWER: hi", False)


@pytest.mark.parametrize("code", [0, 1, 2, 42, 130, 255])
def test_exit_codes_come_back(user: User, project: Path, code: int) -> None:
    assert user.run("confined-claude", "shell", "--", "sh", "-c", f"exit {code}", cwd=project).returncode == code


def test_an_api_error_is_claudes_own_exit_code(user: User, project: Path) -> None:
    done = user.run("confined-claude", "--", "-p", "FAIL: 403", cwd=project, CLAUDE_CODE_MAX_RETRIES="0")
    assert done.returncode == 1
    assert "403" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_any_folder_name(user: User, place: Path, name: str) -> None:
    folder = user.folder(place / name)
    done = user.run("confined-claude", "--yolo", "--", "-p", "RUN: touch 'file in it'; pwd", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"TOOL SAID: {folder}\n".replace("trailing \n", "trailing\n")
    assert (folder / "file in it").exists()


def test_the_workspace_path_works(user: User, project: Path) -> None:
    (project / "file").write_text("here")
    done = user.run("confined-claude", "shell", "--", "cat", "/home/claude/workspace/file", cwd=project)
    assert done.stdout == "here"


def test_continue_never_finds_another_projects_session(user: User, place: Path) -> None:
    one, two = user.folder(place / "one"), user.folder(place / "two")
    user.run("confined-claude", "--", "-p", "the secret of one", cwd=one)
    other = user.run("confined-claude", "--", "-p", "--continue", "and?", cwd=two)
    assert other.stdout == "FAKE ANSWER: and?\n"
    # The control: in its own project it is found.
    same = user.run("confined-claude", "--", "-p", "--continue", "and?", cwd=one)
    assert same.stdout.startswith("FAKE ANSWER: and? AFTER")


def test_a_session_that_changes_nothing_leaves_no_trace(user: User, project: Path) -> None:
    user.sign_in()
    (user.home / ".claude/settings.json").write_text("{}")
    (user.home / ".claude.json").write_text("{}")
    (user.home / ".gitconfig").write_text(GITCONFIG)
    user.run("git", "init", "--quiet", cwd=project)
    claude, json_file = tree_hash(user.home / ".claude"), (user.home / ".claude.json").stat()
    done = user.run("confined-claude", "--", "-p", "hello", cwd=project, ANTHROPIC_API_KEY="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert user.run("git", "status", "--porcelain", "--ignored=no", cwd=project).stdout == ""
    assert tree_hash(user.home / ".claude") == claude
    assert (user.home / ".claude.json").stat().st_mtime_ns == json_file.st_mtime_ns
    assert sessions_of(project) == []


def test_git_works_inside_with_the_hosts_name_and_nothing_else_of_its_config(user: User, project: Path) -> None:
    (user.home / ".gitconfig").write_text(
        '[user]\nname = "Ada \\"L\\" Lovelace"\nemail = ada@example.invalid\n[init]\ndefaultBranch = trunk\n'
        "[core]\nfsmonitor = /host/path\n[credential]\nhelper = store\n"
        '[url "https://token@example.invalid/"]\ninsteadOf = https://example.invalid/\n'
    )
    script = "git init -q . && git commit -q --allow-empty -m x && git log --format='%an <%ae> %D' && git config --list"
    done = user.run("confined-claude", "shell", "--", "sh", "-c", script, cwd=project)
    assert 'Ada "L" Lovelace <ada@example.invalid> HEAD -> trunk' in done.stdout
    for hidden in ("fsmonitor", "credential", "insteadof", "token"):
        assert hidden not in done.stdout.lower()
