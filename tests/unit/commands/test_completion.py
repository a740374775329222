"""What TAB is offered, from the command line as far as it is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude import command_line, tasks
from confined_claude.commands import completion

from ..test_cli import COMMAND, Run, directory, home, run  # noqa: F401 - fixtures

TASKS = set(tasks.ns.task_names)
FLAGS = {"--help", "--list", "--version", "--yolo", "--shell", "--rebuild"}
OF_SHELL = set(
    """--allow --dry-run --env --env-file --git --gpus --here --host-ports --mount --network --ports --profile --push
    --runtime --secrets --sign-in --ssh-agent --sudo""".split()
)
OF_RUN = {"--yolo", *OF_SHELL}
NETWORKS = {"internet", "allowlist", "none", "open"}
FILES: set[str] = set()  # nothing: the shell's own are offered


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command line of a shell that asks: without a flag, Invoke's tasks have none."""
    monkeypatch.setattr(sys, "argv", ["confined-claude", "--complete"])


def offered(*words: str) -> set[str]:
    *typed, word = words
    now = command_line.rewrite(typed) if typed else []
    return {name for name, _ in completion.answers(tasks.ns, now, word, FLAGS)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], TASKS),
        (["r"], TASKS),
        (["-"], FLAGS),
        (["--y"], FLAGS),
        (["run", ""], OF_RUN),
        (["run", "--net"], OF_RUN),
        (["shell", "--"], OF_SHELL),
        (["--yolo", ""], OF_SHELL),
        (["--network", "none", ""], OF_RUN - {"--network"}),
        (["--network", ""], NETWORKS),
        (["--continue", ""], FILES),
        (["--shell", ""], OF_SHELL),
        (["run", "--yolo", "--git", "open", ""], OF_RUN - {"--yolo", "--git"}),
        (["run", "--network", ""], NETWORKS),
        (["run", "--network", "a"], NETWORKS),
        (["run", "--network", "=", "a"], NETWORKS),
        (["run", "--network", "="], NETWORKS),
        (["run", "--network="], {f"--network={name}" for name in NETWORKS}),
        (["run", "--sudo", ""], {"apt", "full", "off"}),
        (["run", "--gpus", ""], {"none", "all"}),
        (["run", "--git", ""], {"guarded", "isolated", "open"}),
        (["run", "--host-ports", ""], FILES),
        (["review", "--restore", ""], FILES),
        (["build", ""], {"--here"}),
        (["run", "--", ""], FILES),
        (["run", "--", "--"], FILES),
        (["--", "-"], FILES),
        (["run", "--yolo", "--", "--network", ""], FILES),
        (["nosuch", ""], FILES),
        (["--version", ""], FILES),
        (["--help", ""], TASKS),
        (["--help", "run", ""], FILES),
    ],
)
def test_what_is_offered(words: list[str], expected: set[str]) -> None:
    assert offered(*words) == expected


def test_every_task_can_be_completed_with_all_its_flags() -> None:
    for context in tasks.ns.to_contexts():
        assert context.name
        assert offered(context.name, "-") == {name for name in context.flags if name.startswith("--")}


@given(st.lists(st.text(max_size=8) | st.sampled_from(["run", "--network", "--", "=", "--yolo", ""]), min_size=1))
def test_whatever_is_typed_there_is_an_answer(words: list[str]) -> None:
    assert isinstance(offered(*words), set)


def test_a_line_of_help_stands_beside_each_in_one_line(run: Run) -> None:  # noqa: F811
    done = run("--complete", "--", "confined-claude", "")
    lines = dict(line.split("\t") for line in done.stdout.splitlines())
    assert set(lines) == TASKS
    assert lines["run"] == "Run Claude Code, confined, in this project"
    done = run("--complete", "--", "confined-claude", "run", "--sudo", "")
    assert done.stdout.splitlines() == [
        "apt\tinstall and remove Debian packages",
        "full\teverything, as root",
        "off\tnothing",
    ]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_of_each_shell_is_printed(shell: str, run: Run) -> None:  # noqa: F811
    done = run("--print-completion-script", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path(completion.__file__).with_name(f"confined-claude.{shell}").read_text()
    assert "command confined-claude --complete -- " in done.stdout


def test_there_is_none_for_another_shell(run: Run) -> None:  # noqa: F811
    done = run("--print-completion-script", "tcsh")
    assert done.returncode == 2
    assert "bash, fish, zsh" in done.stderr


def test_an_answer_takes_nothing_of_a_session() -> None:
    script = (
        "import sys; from confined_claude import program;"
        "sys.argv[:] = ['confined-claude', '--complete', '--', 'confined-claude', 'run', '']; program.run();"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert "--network" in done.stdout
    for module in ("confined_claude.session.supervisor", "confined_claude.settings.files", "docker", "rich"):
        assert f"'{module}'" not in done.stderr


def test_the_command_itself_answers(tmp_path: Path) -> None:
    words = [COMMAND, "--complete", "--", "confined-claude", "run", "--network", ""]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == NETWORKS
