"""The ``confined-claude`` command as a user starts it, in an empty environment and without an engine."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import REPOSITORY
from invoke import Parser

from confined_claude import __version__, cli, command_line, tasks
from confined_claude.commands import groups
from confined_claude.commands.catalogue import passthrough
from confined_claude.errors import READER_GONE
from confined_claude.settings import SPECS

from .conftest import tree

COMMAND = Path(sysconfig.get_path("scripts"), "confined-claude")

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the command is started: a directory that may be a project."""
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def command(directory: Path, home: Path) -> Run:
    """The installed command in a process of its own; an engine is neither on PATH nor at the address given."""

    def start(*words: str, cwd: Path = directory, **environ: str) -> Done:
        base = {"HOME": str(home), "PATH": str(home / "bin"), "DOCKER_HOST": f"unix://{home}/none.sock"}
        return subprocess.run(
            [COMMAND, *words],
            cwd=cwd,
            env={**base, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


@pytest.fixture
def run(directory: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The same in this process, which takes a tenth of the time."""
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setenv("PATH", str(home / "bin"))

    def start(*words: str, cwd: Path = directory, **environ: str) -> Done:
        monkeypatch.chdir(cwd)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["confined-claude", *words])
        capfd.readouterr()
        code = cli.run()
        return Done(words, code, *capfd.readouterr())

    return start


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with this code and two short lines of its own on stderr."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("confined-claude: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2
    for word in words:
        assert word in done.stderr


# Command lines


def test_a_list_may_be_given_in_several_flags() -> None:
    words = "run --allow a.com --ports 80 --allow=b.org,c.org -- --allow d.org".split()
    parsed = command_line.parse(words)
    assert parsed is not None
    assert SPECS["allow"].entries(str(parsed[1]["allow"])) == ["a.com", "b.org", "c.org"]
    assert parsed[1]["ports"] == "80"
    assert command_line.parse("run --network none --network open".split()) is None


@pytest.mark.parametrize(
    "words",
    [
        "run",
        "run --yolo --network none",
        "run --network=open --dry-run -- --continue --yolo",
        "run --allow a.com,*.b.org:8443 --host-ports 80 -- x",
        "run --network=a=b",
        "shell --dry-run -- ls -l --network none",
        "exec --session 2 -- make",
        "exec --session status",
        "status --json",
        "status --watch --json",
        "clean --project ../other --yes",
        "clean-global --all",
        "rebuild --pull --claude 2.1.3",
        "review --restore a/b",
        "trust --hash 0123",
        "doctor",
    ],
)
def test_a_plain_command_line_means_what_invoke_makes_of_it(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["inv", *words.split()])
    parsed = command_line.parse(words.split())
    assert parsed is not None
    command, flags = parsed
    (context,) = Parser(contexts=tasks.ns.to_contexts()).parse_argv(words.split())
    assert command.name == context.name
    # Without a flag the command has its own defaults.
    values = context.as_kwargs or command.flags
    assert {**command.flags, **flags} == values


@pytest.mark.parametrize(
    "words",
    [
        "",
        "run --help",
        "run --unknown",
        "run --network",
        "run --network --yolo",
        "run --network=",
        "run --yolo=1",
        "run --no-yolo",
        "run --network none --network open",
        "run --net none",
        "run fix",
        "run status",
        "shell --yolo",
        "status -h",
        "--list",
        "nothing",
        "clean_global",
    ],
)
def test_what_is_not_plain_is_left_to_invoke(words: str) -> None:
    assert command_line.parse(words.split()) is None


@pytest.mark.parametrize(
    ("words", "current"),
    [
        ([], ["run"]),
        (["--", "-p", "hello"], ["run", "--", "-p", "hello"]),
        (["--yolo"], ["run", "--yolo"]),
        (["--yolo", "--", "--yolo"], ["run", "--yolo", "--", "--yolo"]),
        (["--shell"], ["shell"]),
        (["--shell", "--", "ls", "-l"], ["shell", "--", "ls", "-l"]),
        (["--clean"], ["clean"]),
        (["--clean-global", "--yes"], ["clean-global", "--yes"]),
        (["--rebuild"], ["rebuild"]),
        (["run", "--yolo", "--", "x"], ["run", "--yolo", "--", "x"]),
        (["shell"], ["shell"]),
        (["--version"], ["--version"]),
        (["--help"], ["--help"]),
        (["--list"], ["--list"]),
        (["--help=run"], ["--help=run"]),
        (["-h"], ["-h"]),
        (["nosuch"], ["nosuch"]),
        # Claude's own words.
        (["--continue"], ["run", "--", "--continue"]),
        (["-c"], ["run", "--", "-c"]),
        (["--resume", "status"], ["run", "--", "--resume", "status"]),
        (["--model", "opus", "--yolo"], ["run", "--", "--model", "opus", "--yolo"]),
        (["-p", "hello"], ["run", "--", "-p", "hello"]),
        (["fix the bug"], ["run", "--", "fix the bug"]),
        (["fix\nit", "--", "x"], ["run", "--", "fix\nit", "--", "x"]),
        ([""], ["run", "--", ""]),
        (["-e"], ["run", "--", "-e"]),
        (["--dry"], ["run", "--", "--dry"]),
        (["--yolo", "-c"], ["run", "--yolo", "--", "-c"]),
        (["--yolo", "fix it", "--help"], ["run", "--yolo", "--", "fix it", "--help"]),
        (["run", "--continue"], ["run", "--", "--continue"]),
        (["run", "--yolo", "--model=opus"], ["run", "--yolo", "--", "--model=opus"]),
        (["run", "--help"], ["run", "--help"]),
        (["--network", "none", "-p", "x"], ["run", "--network", "none", "--", "-p", "x"]),
        (["--network=none", "--dry-run", "x y"], ["run", "--network=none", "--dry-run", "--", "x y"]),
        (["--allow", "--weird", "-c"], ["run", "--allow", "--weird", "--", "-c"]),
        (["--host-ports", "1"], ["run", "--host-ports", "1"]),
        # The other tasks take none of them.
        (["shell", "--yolo"], ["shell", "--yolo"]),
        (["build", "a b"], ["build", "a b"]),
    ],
)
def test_our_tasks_and_options_come_first_and_the_rest_is_claudes(words: list[str], current: list[str]) -> None:
    assert command_line.rewrite(words) == current


def test_every_option_of_run_is_known_with_or_without_a_value() -> None:
    options = ["--allow", "--git", "--host-ports", "--network", "--ports", "--sudo"]
    for option in options:
        assert command_line.rewrite(["run", option, "--", "-c"])[:3] == ["run", option, "--"]
    assert command_line.rewrite(["--yolo", "--dry-run", "-c"]) == ["run", "--yolo", "--dry-run", "--", "-c"]


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["confined-claude"], []),
        (["confined-claude", "run", "--yolo"], []),
        (["confined-claude", "run", "--"], []),
        (["confined-claude", "run", "--", "-p", "a  b", "", "$(id)", "ü\n"], ["-p", "a  b", "", "$(id)", "ü\n"]),
        (["confined-claude", "run", "--", "a", "--", "b"], ["a", "--", "b"]),
        (["inv", "run", "--yolo", "--", "--yolo", "run"], ["--yolo", "run"]),
    ],
)
def test_what_follows_the_two_hyphens_is_passed_word_by_word(words: list[str], passed: list[str]) -> None:
    assert passthrough(words) == passed


# Answers


def test_version(command: Run, tmp_path: Path) -> None:
    before = tree(tmp_path)
    done = command("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"confined-claude {__version__}", "")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("flag", ["--help", "--list"])
def test_help_and_list_show_every_task_with_a_line_of_help(flag: str, run: Run, tmp_path: Path) -> None:
    before = tree(tmp_path)
    done = run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    for task in tasks.ns.task_names:
        lines = [line for line in done.stdout.splitlines() if line.split()[:1] == [task]]
        assert len(lines) == 1
        assert len(lines[0].split()) > 3
    assert tree(tmp_path) == before


def test_help_explains_the_usage_and_only_flags_that_do_something(run: Run) -> None:
    shown = run("--help").stdout
    assert shown.startswith("Usage: confined-claude [OPTIONS] [ARGUMENTS of claude]\n")
    assert "TASK [OPTIONS] [-- ARGUMENTS]" in shown
    options = set(re.findall(r"--[a-z-]+", shown.split("\nOptions:")[1])) - {"--help-TASK"}
    assert options == set(command_line.OWN_FLAGS)


def test_every_task_is_in_one_group_of_the_help() -> None:
    assert sorted(name for group in groups.GROUPS.values() for name in group) == sorted(tasks.ns.task_names)


def test_the_examples_of_the_help_are_command_lines(run: Run) -> None:
    shown = run("--help", COLUMNS="80").stdout.split("Examples:\n")[1].split("\n\n")[0]
    examples = [shlex.split(line.split("   ")[0])[1:] for line in shown.splitlines()]
    assert len(examples) > 5
    for words in examples:
        task, *rest = command_line.rewrite(words)
        assert task in ("run", "shell")
        assert not rest or rest[0] in ("--", "--yolo", "--network")


@pytest.mark.parametrize("words", [("--help",), ("--help", "run"), ("--help", "clean-global")])
def test_help_wraps_at_words_in_60_columns(words: tuple[str, ...], command: Run) -> None:
    quoted = " ".join((str(COMMAND), *words))
    done = subprocess.run(
        ["script", "-qec", f"stty cols 60; {quoted}", "/dev/null"], capture_output=True, text=True, check=True
    )
    assert max(map(len, done.stdout.splitlines())) <= 60


@pytest.mark.parametrize("words", [("run", "--help"), ("--help", "run")])
def test_help_of_a_task_explains_its_flags(words: tuple[str, ...], command: Run) -> None:
    done = command(*words)
    assert done.returncode == 0
    assert "--yolo" in done.stdout
    assert "--dangerously-skip-" in done.stdout
    assert "run -- --continue" in done.stdout
    text = "".join(done.stdout.split())
    for spec in SPECS.values():
        if spec.has_flag:
            assert {*spec.scale} <= spec.meanings.keys()
            assert "".join(f"{spec.flag}=VALUE {spec.explanation}".split()) in text
    assert "guarded(default):useit" in text


def test_completion_offers_the_tasks(run: Run) -> None:
    done = run("--complete", "--", "confined-claude ")
    assert done.returncode == 0
    assert {"run", "shell", "build", "rebuild", "blocked"} <= set(done.stdout.split())


# Wrong usage


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("nosuch",), "nosuch"),
        (("run", "extra"), "extra"),
        (("run", "--network"), "--network needs a value."),
        (("run", "--host-ports"), "--host-ports needs a value."),
        (("shell", "--yolo"), "shell has no option --yolo."),
        (("--help", "nosuch"), "nosuch"),
        (("--list", "nosuch"), "nosuch"),
        (("--print-completion-script", "nosuch"), "is one of bash"),
    ],
)
def test_wrong_usage_is_reported_with_exit_code_2(words: tuple[str, ...], named: str, run: Run) -> None:
    assert_refused(run(*words), 2, named, "confined-claude --help")


@pytest.mark.parametrize(
    ("words", "near", "for_claude"),
    [
        (("statsu",), "Did you mean confined-claude status?", "confined-claude -- statsu "),
        (("help", "run"), "Did you mean confined-claude --help?", "confined-claude -- help run "),
        (("version",), "Did you mean confined-claude --version?", "confined-claude -- version "),
        (("mcp", "add", "a b"), "", "confined-claude -- mcp add 'a b' "),
        (("--yolo", "explain"), "", "confined-claude -- explain "),
        (("run", "--network", "none", "fix", "it"), "", "confined-claude -- fix it "),
    ],
)
def test_an_unknown_word_is_explained(words: tuple[str, ...], near: str, for_claude: str, run: Run) -> None:
    assert_refused(run(*words), 2, near, for_claude)


@pytest.mark.parametrize(
    ("words", "what", "instead"),
    [
        (
            ("shell", "make", "test"),
            "'make' is neither an argument of shell nor a task",
            "confined-claude shell -- make test",
        ),
        (("exec", "--session", "2", "ls"), "'ls' is neither", "A command comes after --: confined-claude exec -- ls"),
        (("config", "network", "none"), "'network' is neither an argument of config", "confined-claude --help config"),
        (("run", "hello"), "There is no task 'hello'.\n", "For claude: confined-claude -- hello "),
        (("build", "statsu"), "'statsu' is neither", "Did you mean confined-claude status?"),
    ],
)
def test_a_word_that_a_task_does_not_take_is_explained(
    words: tuple[str, ...], what: str, instead: str, run: Run
) -> None:
    assert_refused(run(*words), 2, what, instead)


@pytest.mark.parametrize(
    ("words", "installed_by"),
    [
        ("uninstall", ("installed", "Run `./install.sh --uninstall` in the clone of Confined Claude.")),
        ("--uninstall --yes", ("uv-receipt.toml", "clean-global --all`    The tool, after that: `uv tool uninstall ")),
        ("uninstall --help", ("none", "clean-global --all`    The tool, after that: `pip uninstall confined-claude`")),
    ],
)
def test_who_wants_to_uninstall_is_told_how(
    words: str, installed_by: tuple[str, str], run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, command = installed_by
    (home / mark).touch()
    monkeypatch.setattr("sys.prefix", str(home))
    assert_refused(run(*words.split()), 2, "does not uninstall itself", command)


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ("clean -x", "No idea what '-x' is!", "For all tasks: inv --list"),
        ("run -p hello", "No idea what 'hello' is!", "For claude: inv run -- -p hello    For all tasks: inv --list"),
        ("run --yolo --model opus it", "No idea what '--model'", "For claude: inv run --yolo -- --model opus it "),
        ("run --network none hello", "No idea what 'hello'", "For claude: inv run --network none -- hello "),
        ("run --network", "--network needs a value.", "inv --help TASK"),
        ("run build -x", "No idea what '-x' is!", "For all tasks: inv --list"),
        ("run --memory 4g", "`memory` has no flag", "CONFINED_CLAUDE_MEMORY=VALUE"),
        ("shell --memory=4g", "`memory` has no flag", "CONFINED_CLAUDE_MEMORY=VALUE"),
        ("run --continue --yolo", "--yolo comes after '--continue'", "Put it first."),
        ("--continue", "No idea what '--continue' is!", "For claude: inv run -- --continue "),
        ("--yolo", "No idea what '--yolo' is!", "For claude: inv run --yolo "),
        ("'fix it'", "No idea what 'fix it' is!", "For claude: inv run -- 'fix it' "),
    ],
)
def test_a_command_line_that_inv_cannot_parse_is_explained(
    words: str, what: str, hint: str, directory: Path, home: Path
) -> None:
    (directory / "tasks.py").symlink_to(REPOSITORY / "template/tasks.py")
    assert_refused(inv(words, directory, home), 1, what, hint)


def inv(words: str, directory: Path, home: Path) -> Done:
    environ = {"HOME": str(home), "PATH": str(home / "bin")}
    command = [COMMAND.with_name("inv"), *shlex.split(words)]
    return subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)


_LISTED = "For all tasks: inv --list    For the options of one: inv --help TASK\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runn", f"No idea what 'runn' is!\n{_LISTED}"),
        ("-e mytsk", f"No idea what 'mytsk' is!\n{_LISTED}"),
        ("--no-dedupe mytsk", f"No idea what 'mytsk' is!\n{_LISTED}"),
        ("mytask --memory 4g", "No idea what '--memory' is!\n"),
        ("mytask 'fix it'", "No idea what 'fix it' is!\n"),
        ("run mytask --yolo", "No idea what '--yolo' is!\n"),
    ],
)
def test_what_inv_says_of_other_peoples_tasks_has_nothing_of_claude(
    words: str, said: str, directory: Path, home: Path
) -> None:
    (directory / "tasks.py").write_text(
        "from invoke import task\nfrom confined_claude.tasks import ns\n\n"
        "@task\ndef mytask(context):\n    pass\n\nns.add_task(mytask)\n"
    )
    done = inv(words, directory, home)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("--network", "none", "shell"), "confined-claude shell --network none"),
        (("--network=none", "shell", "--", "ls"), "confined-claude shell --network=none"),
        (("--yolo", "status"), "confined-claude status --yolo"),
    ],
)
def test_a_task_after_options_does_not_follow_a_run(words: tuple[str, ...], first: str, run: Run) -> None:
    assert_refused(run(*words), 2, "comes after options", f"Put it first: {first}\n")


@pytest.mark.parametrize(
    ("words", "flag", "claudes"),
    [
        (("--continue", "--yolo"), "--yolo comes after '--continue'", "confined-claude -- --continue --yolo"),
        (("fix it", "--network=none"), "--network comes after 'fix it'", "confined-claude -- 'fix it' --network=none"),
        (("run", "-p", "x", "--sudo", "off"), "--sudo comes after '-p'", "confined-claude -- -p x --sudo off"),
        (("--yollo",), "no option --yollo. Did you mean --yolo?", "confined-claude -- --yollo"),
        (("--netwrok=none", "-p", "x"), "Did you mean --network?", "confined-claude -- --netwrok=none -p x"),
    ],
)
def test_an_option_of_run_is_not_given_to_claude(words: tuple[str, ...], flag: str, claudes: str, run: Run) -> None:
    assert_refused(run(*words), 2, flag, f"For claude: {claudes}\n")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--memory", "lots"), "memory"),
        (("--memory=4g", "-p", "x"), "memory"),
        (("run", "--network", "none", "--claude-config", "project"), "claude_config"),
        (("--hide", "x", "--", "more"), "hide"),
        (("shell", "--cpus", "2"), "cpus"),
        (("build", "--base", "x"), "base"),
    ],
)
def test_a_setting_that_has_no_flag_is_not_given_to_claude(words: tuple[str, ...], name: str, run: Run) -> None:
    assert_refused(run(*words), 2, f"The setting `{name}` has no flag", f"CONFINED_CLAUDE_{name.upper()}=VALUE")


@pytest.mark.parametrize(
    "words",
    [
        ("--model", "x"),
        ("--", "--memory", "4g"),
        ("-p", "--memory"),
        ("run", "--", "--hide"),
        ("--", "-c", "--yolo"),
        ("-p", "x", "--", "--yolo"),
        ("--network", "none", "--resume", "status"),
        # Its options that are most like some of run's.
        *(
            (f"--{name}",)
            for name in ("agent", "settings", "tools", "file", "allowed-tools", "resume", "model", "print")
        ),
    ],
)
def test_what_is_meant_for_claude_reaches_it_whatever_it_is_called(words: tuple[str, ...], run: Run) -> None:
    """As far as the engine, which is missing."""
    assert run(*words).returncode == 3


def test_wrong_usage_ends_the_process_with_exit_code_2(command: Run) -> None:
    assert_refused(command("nosuch"), 2, "nosuch", "confined-claude --help")


# What is refused before an engine is asked


def test_a_refusal_ends_the_process_with_exit_code_2(command: Run, home: Path) -> None:
    assert_refused(command(cwd=home), 2, str(home), "home directory", "project's own directory")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("run",), ("--yolo",), ("shell",), ("--shell",)])
def test_a_link_in_the_scaffold_is_refused_whatever_the_task(words: tuple[str, ...], run: Run, directory: Path) -> None:
    (directory / ".confined-claude").mkdir()
    (directory / ".confined-claude/venvs").symlink_to("/")
    assert_refused(run(*words), 2, ".confined-claude/venvs is a link")


def test_a_broken_config_of_the_project_is_reported(run: Run, directory: Path) -> None:
    (directory / ".confined-claude").mkdir()
    (directory / ".confined-claude/config.toml").write_text("network none")
    assert_refused(run(), 2, "config.toml is not valid TOML")


def test_a_project_that_asks_for_more_is_reported(run: Run, directory: Path) -> None:
    (directory / ".confined-claude").mkdir()
    (directory / ".confined-claude/config.toml").write_text('network = "docker:host"')
    assert_refused(run(), 4, "network = 'docker:host'", "confined-claude trust")


@pytest.mark.parametrize("task", ["run", "shell", "build", "rebuild"])
def test_a_broken_config_of_the_user_is_reported_by_every_task(task: str, run: Run, home: Path) -> None:
    file = home / ".config/confined-claude/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("caches = 7")
    assert_refused(run(task), 2, f"{file}: caches cannot be 7")


@pytest.mark.parametrize("words", [("--watch",), ("--watch", "--json")])
def test_a_live_view_needs_a_terminal_and_is_no_json(words: tuple[str, ...], run: Run) -> None:
    assert_refused(run("status", *words), 2)


def test_a_wrong_value_is_reported_from_flag_and_environment(run: Run) -> None:
    assert_refused(run("run", "--network", "lan"), 2, "the command line", "'lan'", "open, or docker:NAME.\n")
    assert_refused(
        run("--allow", "https://a.org,b.org"), 2, "allow cannot be 'https://a.org,b.org'", "host:port, without"
    )
    assert_refused(run(CONFINED_CLAUDE_NETWORK="lan"), 2, "the environment", "'lan'")


@pytest.mark.parametrize("words", [("run",), ("shell", "--network", "open"), ("-p", "x")])
def test_allow_without_an_allowlist_is_an_error(words: tuple[str, ...], run: Run) -> None:
    task, *rest = command_line.rewrite(list(words))
    assert_refused(run(task, "--allow", "github.com", *rest), 2, "--allow opens hosts", "Add --network allowlist")


def test_a_directory_that_is_gone_is_reported(directory: Path, home: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-euc", 'rmdir "$PWD"; exec "$0" run', COMMAND],
        cwd=directory,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "DOCKER_HOST": f"unix://{home}/none.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not directory.exists()
    assert done.returncode == 2
    assert done.stderr.startswith("confined-claude: ")
    assert "Traceback" not in done.stderr


# Without an engine


def test_what_was_refused_is_reported_without_an_engine_and_nothing_is_made(run: Run, tmp_path: Path) -> None:
    before = tree(tmp_path)
    done = run("blocked")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing was refused to this project's sessions.\n", "")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("task", ["run", "shell", "build", "rebuild"])
def test_a_missing_engine_is_reported_with_exit_code_3_and_nothing_is_made(task: str, run: Run, tmp_path: Path) -> None:
    before = tree(tmp_path)
    assert_refused(run(task), 3, "no Docker engine", "apt-get install docker.io")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["a:b", "a,b", "a b", "-x", "a\nb", "日本語"])
def test_a_project_of_an_odd_name_gets_as_far_as_the_engine(name: str, run: Run, tmp_path: Path) -> None:
    odd = tmp_path / name
    odd.mkdir()
    assert_refused(run(cwd=odd), 3, "no Docker engine")


def test_a_status_without_an_engine_has_the_rest_and_exit_code_3(run: Run) -> None:
    done = run("status", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["sessions"], found["images"], found["projects"]) == (3, None, None, [])


def test_a_missing_engine_ends_the_process_with_exit_code_3(command: Run) -> None:
    assert_refused(command("--yolo", "--", "-p", "hello"), 3, "no Docker engine")


# Nothing of the project runs


def test_no_code_and_no_invoke_config_of_the_project_is_loaded(command: Run, directory: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    planted = f"open({str(marker)!r}, 'a').write(__file__)\n"
    modules = "tasks invoke docker rich requests confined_claude sitecustomize usercustomize json"
    for name in modules.split():
        (directory / f"{name}.py").write_text(planted)
    for name in ("invoke.yaml", "invoke.json", ".confined-claude-invoke.yaml", "confined-claude-invoke.yaml"):
        (directory / name).write_text("{broken: [")
    assert command("--list").returncode == 0
    assert_refused(command("run"), 3)
    assert not marker.exists()


def test_the_users_config_for_inv_does_not_apply(command: Run, home: Path) -> None:
    for name in (".invoke.yaml", ".invoke.json"):
        (home / name).write_text("{broken: [")
    assert command("--list", INVOKE_TASKS_AUTO_DASH_NAMES="nonsense", INVOKE_RUN_ECHO="true").returncode == 0


# Streams


def shell(script: str, directory: Path, home: Path) -> Done:
    """The command in a line of bash, as ``$C``."""
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "C": str(COMMAND), "DOCKER_HOST": f"unix://{home}/none.sock"}
    return subprocess.run(
        ["bash", "-c", script], cwd=directory, env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words", ["--list", "--help run", "config", "config --json", "--complete -- 'confined-claude '"]
)
def test_a_reader_of_the_output_may_stop(words: str, directory: Path, home: Path) -> None:
    done = shell(f"set -o pipefail; $C {words} | true", directory, home)
    assert (done.returncode, done.stderr) == (READER_GONE, "")


@pytest.mark.parametrize("words", ["--version", "config", "--complete -- 'confined-claude '"])
def test_a_full_disk_for_the_output_is_reported(words: str, directory: Path, home: Path) -> None:
    assert_refused(shell(f"$C {words} >/dev/full", directory, home), 2, "No space left on device")


@pytest.mark.parametrize("words", ["config", "clean --dry-run", "doctor", "status"])
def test_a_name_outside_the_locale_is_printed_escaped(words: str, directory: Path, home: Path) -> None:
    odd = directory / "ü 日本"
    (odd / ".confined-claude/venvs/x").mkdir(parents=True)
    done = shell(f"PYTHONIOENCODING=ascii $C {words}", odd, home)
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert done.stdout


@pytest.mark.parametrize("value", ["relative", "./x"])
@pytest.mark.parametrize("words", ["status", "config", "run"])
def test_a_home_that_is_no_absolute_path_is_reported(words: str, value: str, directory: Path, home: Path) -> None:
    assert_refused(shell(f"HOME={value} $C {words}", directory, home), 2, "HOME")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [("--version", 0), ("config", 0), ("run", 3), ("nosuch", 2)])
def test_closed_streams_do_no_harm(words: str, code: int, closed: str, directory: Path, home: Path) -> None:
    done = shell(f"$C {words} {closed}", directory, home)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("entry", ["", "/x", "lib", "{directory}", "{directory}/lib"])
def test_a_python_path_into_the_project_is_refused(entry: str, command: Run, directory: Path) -> None:
    (directory / ".confined-claude").mkdir()
    (directory / "docs").mkdir()
    done = command("config", cwd=directory / "docs", PYTHONPATH=entry.format(directory=directory))
    is_refused = entry not in ("", "/x")
    assert (done.returncode == 2 and "PYTHONPATH" in done.stderr) is is_refused, done.stderr
    assert len(done.stderr.splitlines()) == 2 * is_refused
    # A second entry, which is empty: the current directory.
    done = command("config", cwd=directory / "docs", PYTHONPATH=f"/x:{entry.format(directory=directory)}")
    assert (done.returncode == 2) is (entry != "/x")


def test_an_isolated_interpreter_ignores_the_python_path(directory: Path, home: Path) -> None:
    (directory / "platformdirs.py").write_text(f"open({str(directory / 'canary')!r}, 'w')\n")
    environ = {"HOME": str(home), "PATH": str(home), "PYTHONPATH": f".:{directory}"}
    words = [sys.executable, "-I", COMMAND, "config"]
    done = subprocess.run(words, cwd=directory, env=environ, check=True, capture_output=True)
    assert done.stderr == b""
    assert not (directory / "canary").exists()
    subprocess.run([sys.executable, "-c", "import platformdirs"], cwd=directory, env=environ, check=True)  # the control
    assert (directory / "canary").exists()


@pytest.mark.parametrize("version", ["a b", "-x", "", "1;2", "../1"])
def test_what_is_no_version_of_claude_code_is_refused(version: str, run: Run) -> None:
    assert_refused(run("rebuild", f"--claude={version}"), 2, "claude_version")


def test_a_version_beside_the_one_in_the_settings_is_refused(run: Run) -> None:
    done = run("rebuild", "--claude", "2.1.200", CONFINED_CLAUDE_CLAUDE_VERSION="2.1.300")
    assert_refused(done, 2, "claude_version is 2.1.300")
