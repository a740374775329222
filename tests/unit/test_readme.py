"""The manual, which is README.md and docs/: its tables and commands against the code they speak of."""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from confined_claude import command_line, environment, errors, tasks
from confined_claude.guard.rule_table import RULES, SAFEGUARDS
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session import privileges
from confined_claude.session.mounts import plan_mounts
from confined_claude.settings import SPECS, Kind
from confined_claude.settings.specs import OF_FLAG
from confined_claude.workspace import Workspace

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MANUAL = "\n".join(page.read_text() for page in PAGES)
README_LINES = 150
NO_SOURCE = 28  # files of which no source was read
NONE = "–"  # noqa: RUF001 - the manual's dash
SECURITY = (ROOT / "SECURITY.md").read_text()


def table(text: str, first_heading: str) -> list[list[str]]:
    """The rows of the table whose first heading is ``first_heading``, without back quotes."""
    lines = text.replace("`", "").split(f"| {first_heading} |", 1)[1].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_every_setting_is_in_the_table_as_it_is() -> None:
    expected = []
    for name, spec in SPECS.items():
        default = spec.default if isinstance(spec.default, str) else ", ".join(spec.default)
        anything = "less" if spec.kind is Kind.LIMIT else "any"
        free = anything if spec.is_free else ", ".join(spec.narrow)
        expected.append([name, spec.values, default or NONE, free or NONE, spec.variable])
    assert table(MANUAL, "Setting") == expected


def test_every_mode_of_the_network_is_explained() -> None:
    modes = {row[0] for row in table(MANUAL, "network")} - {"docker:NAME"}
    assert modes == set(SPECS["network"].scale)


def test_every_mount_is_in_the_table_and_nothing_else() -> None:
    home = Path("/home/someone")
    share = home / ".local/share/confined-claude"
    host = Host(1, 1, home, {}, share, home / ".local/state/confined-claude", home / ".config/confined-claude")
    project = Project(home / "work")
    mounts = [
        (
            f"{mount.source}/".replace(f"{project.root}/", "").replace(str(home), "~").replace(project.id, "ID"),
            mount.target,
        )
        for mount in plan_mounts(Workspace(host, project))
    ]
    (first, _), *others = mounts
    rows = table(MANUAL, "Host")
    assert first == ""
    assert rows[0][0] == "the project's directory"
    assert others == [(source, target) for source, target in rows[1:]]


def test_every_task_is_shown_and_every_command_shown_is_a_task() -> None:
    shown = set(re.findall(r"^    confined-claude ([a-z]\S*)", MANUAL, re.MULTILINE))
    assert shown == set(tasks.ns.task_names)


def test_the_variables_that_sign_in_are_named() -> None:
    for name in (*environment.SIGN_IN, "ANTHROPIC_BASE_URL"):
        assert f"`{name}`" in MANUAL


def test_the_pages_made_from_the_code_are_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "scripts/make_docs.py"))
    codes = {getattr(errors, name) for name in ("USAGE", "ENGINE", "REVIEW", "INTERRUPTED", "READER_GONE")}
    assert codes < set(made["EXIT_CODES"])
    for name, make in made["MADE"].items():
        assert (ROOT / name).read_text() == make(), "Run `tests/run docs`, which makes the page anew."


def test_the_capabilities_are_named_in_security() -> None:
    named = re.search(r"It holds ((?:`[A-Z_]+`[, and]*)+);", SECURITY.replace("\n", " "))
    assert named
    assert set(re.findall(r"`([A-Z_]+)`", named[1])) == set(privileges.CAPABILITIES)


def test_every_rule_of_the_guard_is_in_securitys_table() -> None:
    expected = [
        [
            rule.runs,
            " ".join(rule.patterns),
            ("red" if rule.red else "yellow") + (", removed too" if rule.keeps else ""),
        ]
        for rule in RULES
    ]
    assert table(SECURITY, "What acts on it") == expected
    assert table(SECURITY, "What it does") == [[rule.keeps, " ".join(rule.patterns)] for rule in SAFEGUARDS]


def test_every_file_of_a_rule_has_its_source() -> None:
    """An address, or the word that none was read: that is so for few files, and for ever fewer."""
    page = (ROOT / "docs/rules.md").read_text()
    sections = dict(re.findall(r"^## (.+)\n\n((?:.+\n)+)", page, re.MULTILINE))
    none_read = 0
    for rule in (*RULES, *SAFEGUARDS):
        rows = re.findall(
            r"^\| (`.*`) \| (.*) \|$", sections.pop(rule.runs or rule.keeps[0].upper() + rule.keeps[1:]), re.MULTILINE
        )
        assert sorted(file for files, _ in rows for file in re.findall(r"`(.*?)`", files)) == sorted(rule.patterns)
        for files, source in rows:
            assert re.fullmatch(r"<https://[\w.-]+/\S*>|this project|none read", source), source
            none_read += files.count("`") // 2 if source == "none read" else 0
    assert sections == {}
    assert none_read <= NO_SOURCE


def test_every_link_leads_somewhere() -> None:
    for page in (*PAGES, ROOT / "SECURITY.md", ROOT / "ARCHITECTURE.md"):
        for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", page.read_text()):
            linked = page.parent / target if target else page
            assert linked.is_file(), f"{page}: {target}"
            headings = re.findall(r"^#+ (.*)", linked.read_text(), re.MULTILINE)
            anchors = {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, f"{page}: {target}{anchor}"


def test_the_readme_stays_short_and_leads_to_every_page() -> None:
    text = PAGES[0].read_text()
    assert len(text.splitlines()) <= README_LINES
    linked = {ROOT / target for target in re.findall(r"\]\(([^)#:]+)\)", text)}
    assert set(PAGES[1:]) <= linked


def test_the_site_leads_to_every_page_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    sections = [next(iter(section.values())) for section in nav]
    listed = [page for pages in sections for page in ([pages] if isinstance(pages, str) else pages)]
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}
    of_the_root = {page.name for page in ROOT.glob("*.md")} - {"README.md"}
    assert len(listed) == len(set(listed))
    assert set(listed) == {"index.md", *pages, *of_the_root}


def test_the_image_has_what_the_manual_lists() -> None:
    listed = re.search(r"Python 3 with pip and venv, (.*?);", MANUAL.replace("\n", " "))
    assert listed
    dockerfile = (ROOT / "confined_claude/container/Dockerfile").read_text()
    for package in listed[1].split(", "):
        assert re.search(rf"\b{package}\b", dockerfile), package
    for package in ("python3-pip", "python3-venv", "tini"):
        assert package in dockerfile


def shown(text: str) -> list[list[str]]:
    """The words of each command of ours that a page shows, in a block or in a sentence."""
    lines = re.findall(r"^    +((?:confined-claude|inv)(?= |$).*)", text, re.MULTILINE)
    lines += re.findall(r"`((?:confined-claude|inv)(?: [^`]*)?)`", text)
    commands = []
    for line in lines:
        words = shlex.split(re.sub(r"\[[^]]*\]", "", line), comments=True)  # [OPTIONS]
        for _, part in itertools.groupby(words, "&&".__ne__):
            command = list(part)
            if command[0] in ("confined-claude", "inv"):
                commands.append(command)
    return commands


def fault(program: str, *words: str) -> str:
    """What is wrong with a command line; empty if nothing is."""
    parsed = command_line.parse(command_line.rewrite(list(words)) if program == "confined-claude" else words)
    if parsed is None:
        return "no command line"
    command, values = parsed
    settings = {name: SPECS[OF_FLAG[name]] for name in values if command.name in ("run", "shell") and name in OF_FLAG}
    for name, spec in settings.items():
        value = str(values[name])
        entries = spec.entries(value) if spec.is_list else [value]
        if not all(map(spec.allows, entries)):
            return f"{value} is no value of {name}"
    return ""


def test_the_command_lines_shown_are_valid() -> None:
    # Without a task of the product; `bench` is this repository's own.
    others = {("inv",), ("inv", "--list"), ("inv", "bench"), ("confined-claude", "--help")}
    commands = [words for words in shown(MANUAL) if tuple(words[:2]) not in others]
    assert len([words for words in commands if words[0] == "inv"]) > 2
    assert len(commands) > 80
    assert [(words, wrong) for words in commands if (wrong := fault(*words))] == []


@pytest.mark.parametrize(
    "line",
    [
        "confined-claude run --network nonsense",
        "confined-claude --network nonsense",
        "confined-claude shell --ports 99999 -- true",
        "confined-claude run --allow github.com,https://github.com",
        "confined-claude review --nonsense",
        "confined-claude nonsense",
        "inv run --nonsense",
        "inv shell --network nonsense",
        "inv --yolo",
    ],
)
def test_control_a_command_line_with_a_mistake_would_be_found(line: str) -> None:
    assert [bool(fault(*words)) for words in shown(f"    {line}  # as here\n")] == [True]
    assert [bool(fault(*words)) for words in shown(f"Say `{line}` there.")] == [True]


def test_what_was_tried_with_repositories_is_a_test() -> None:
    rows = table((ROOT / "docs/guides/repositories.md").read_text(), "Work")
    tests = "\n".join(path.read_text() for path in (ROOT / "tests/engine").glob("*.py"))
    assert len(rows) >= 10
    assert [row for row in rows if f"def {row[2]}(" not in tests] == []
