"""The table of what the host runs: every pattern matches what it says, and only there."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.guard.rule_table import RULES, SAFEGUARDS, Rule
from confined_claude.guard.rules import DEPENDENCY_DIRECTORIES, Matcher, rules_for

PATTERNS = [(rule, pattern) for rule in (*RULES, *SAFEGUARDS) for pattern in rule.patterns]
MATCHER = Matcher(RULES)
ALL = (*RULES, *SAFEGUARDS)


def rule_of(path: str, *patterns: str) -> bool:
    return Matcher((Rule("x", True, patterns),)).rule_of(path.split("/")) is not None


def parts(pattern: str, filled: str = "X1") -> list[str]:
    """The names of a path that a pattern speaks of."""
    return pattern.strip("/").replace("*", filled).split("/")


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.runs or rule.keeps)
def test_every_pattern_matches_a_path_made_from_it(rule: Rule) -> None:
    alone = Matcher((rule,))
    for pattern in rule.patterns:
        names = parts(pattern)
        below = [*names, "deep", "er"] if pattern.endswith("/") else names
        upper = [name.upper() for name in below]
        assert alone.rule_of(below) == alone.rule_of(upper) == rule, pattern
        nested = alone.rule_of(["sub", "folder", *below])
        assert nested == (None if pattern.startswith("/") and not matches_deeper(rule, names) else rule), pattern
        found = Matcher(ALL).rule_of(below)
        assert found is not None
        assert ALL.index(found) <= ALL.index(rule), pattern


def matches_deeper(rule: Rule, names: list[str]) -> bool:
    """Whether another pattern of the rule matches these names at any depth."""
    return any(parts(pattern) == names for pattern in rule.patterns if not pattern.startswith("/"))


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.runs or rule.keeps)
def test_a_file_is_no_directory_and_a_longer_name_is_another(rule: Rule) -> None:
    for pattern in rule.patterns:
        alone = Matcher((Rule(rule.runs, rule.red, (pattern,)),))
        names = parts(pattern)
        assert alone.rule_of(names, is_directory=True) == (alone.rules[0] if pattern.endswith("/") else None), pattern
        assert alone.rule_of(names) == (None if pattern.endswith("/") else alone.rules[0]), pattern
        if not pattern.endswith("*"):
            assert alone.rule_of([*names[:-1], f"{names[-1]}~"], is_directory=pattern.endswith("/")) is None, pattern


def test_no_pattern_is_there_twice() -> None:
    spelled = [pattern.lower() for _, pattern in PATTERNS]
    assert sorted(spelled) == sorted(set(spelled))


def test_every_rule_is_the_rule_of_something() -> None:
    deep = [["sub", *parts(pattern), *["x"] * pattern.endswith("/")] for _, pattern in PATTERNS]
    assert {Matcher(ALL).rule_of(names[at:]) for names in deep for at in (0, 1)} - {None} == set(ALL)


@pytest.mark.parametrize(
    ("path", "patterns", "matches"),
    [
        ("a", ("a",), True),
        ("x/y/A", ("a",), True),
        ("x/a", ("/a",), False),
        ("a", ("/A",), True),
        ("a/b/c", ("b/c",), True),
        ("a/b/c", ("/b/c",), False),
        ("b/c", ("/b/c",), True),
        ("b/x/c", ("b/c",), False),
        ("b.d/c", ("b*/c",), True),
        ("x/b.d/c", ("/b*/c",), False),
        ("ab", ("a*b",), True),
        ("a/b", ("a*b",), False),
        ("a\nb", ("a*b",), True),
        ("ax", ("ab*", "ax*"), True),
        ("xb", ("*ab", "*xb", "*cb"), True),
        ("bab", ("c*", "*c", "*a*"), True),
        ("bob", ("c*", "*c", "*a*"), False),
        ("dir/any/where", ("dir/",), True),
        ("x/dir/any", ("dir/",), True),
        ("x/dir/any", ("/dir/",), False),
        ("dir", ("dir/",), False),
        ("directory/x", ("dir/",), False),
        ("a", (), False),
        ("a[b]", ("a[b]*",), True),
        ("ab", ("a[b]*",), False),
        ("app/[id]/x", ("app/[id]/x",), True),
        ("app/i/x", ("app/[id]/x",), False),
        ("a?/b/x", ("a?*/b/",), True),
    ],
)
def test_what_a_pattern_matches(path: str, patterns: tuple[str, ...], matches: bool) -> None:
    assert rule_of(path, *patterns) == matches


@pytest.mark.parametrize(
    ("path", "runs", "red"),
    [
        ("tasks.py", "inv", True),
        ("sub/tasks.py", "inv, run in that directory", False),
        (".vscode/extensions.json", "VS Code, which offers to install what it names", False),
        (".vscode/settings.json", "your editor, on opening the directory", True),
        (".vscode/makefile", "your editor, on opening the directory", True),
        (".cursor/mcp.json", "Claude Code or another agent with MCP servers", True),
        (".claude/rules/x.md", "an agent on your machine, as its instructions", False),
        (".claude/skills/Makefile", "Claude Code on your machine", True),
    ],
)
def test_the_first_rule_that_matches_is_the_rule_of_a_path(path: str, runs: str, red: bool) -> None:
    rule = MATCHER.rule_of(path.split("/"))
    assert rule is not None
    assert (rule.runs, rule.red) == (runs, red)


@pytest.mark.parametrize(
    "path",
    """README.md src/main.py main.js index.html LICENSE .gitignore .dockerignore package-lock.json yarn.lock poetry.lock
    .editorconfig .prettierignore docs/claude.html tests/test_x.py .env.example requirements.txt vscode/x env/x
    claude.json .claude/todo.txt .github/ISSUE_TEMPLATE.md .config/other""".split(),
)
def test_ordinary_files_have_no_rule(path: str) -> None:
    assert MATCHER.rule_of(path.split("/")) is None


@pytest.mark.parametrize(
    ("name", "parents", "red"),
    [
        (".envrc", ("a",), True),
        (".vscode", (), True),
        (".claude", ("a",), True),
        (".github", (), True),
        (".circleci", (), False),
        (".config", ("x", "y"), True),
        ("mise", (".config",), True),
        ("makefile", (), False),
        ("src", (), None),
        ("settings.json", (), None),
        ("__pycache__", (), True),
        ("__pycache__", ("sub",), None),
    ],
)
def test_a_link_has_the_rule_of_what_it_may_stand_for(name: str, parents: tuple[str, ...], red: bool | None) -> None:
    rule = MATCHER.find_link(name, parents)
    assert (rule and rule.red) == red


@pytest.mark.parametrize("protect", ["deploy", "deploy/", "/deploy/", "deploy/**"])
def test_what_is_protected_may_be_a_file_or_a_directory_from_the_root(protect: str) -> None:
    matcher = Matcher(rules_for([protect], []))
    for path, red in (("deploy", True), ("deploy/x/y", True), ("sub/deploy", None), ("deployed", None)):
        rule = matcher.rule_of(path.split("/"))
        assert (rule and rule.red) == red, path


def test_what_is_opened_is_yellow_also_in_what_is_protected() -> None:
    matcher = Matcher(rules_for(["deploy", "conf/*.d"], ["deploy/log", ".vscode/**", "conf/*.d/x"]))
    reds = {path: matcher.rule_of(path.split("/")) for path in ("deploy/log/a", "deploy/a", ".vscode/a", ".envrc")}
    reds |= {path: matcher.rule_of(path.split("/")) for path in ("conf/A.d/x", "conf/A.d/y")}
    assert {path: rule and rule.red for path, rule in reds.items()} == {
        "deploy/log/a": False,
        "deploy/a": True,
        ".vscode/a": False,
        ".envrc": True,
        "conf/A.d/x": False,
        "conf/A.d/y": True,
    }


def test_without_own_patterns_the_table_is_all() -> None:
    assert rules_for((), ())[-len(ALL) :] == ALL
    assert len(rules_for(["a"], ["b"])) == len(rules_for((), ())) + 2


names = st.text("aB.*[?\n\udcff", min_size=1, max_size=4)


@given(
    path=st.lists(names, min_size=1, max_size=4),
    pattern=st.lists(names, min_size=1, max_size=3),
    is_directory=st.booleans(),
)
def test_whatever_the_names_are_a_matcher_answers(path: list[str], pattern: list[str], is_directory: bool) -> None:
    matcher = Matcher((Rule("x", True, ("/".join(pattern), "/".join(pattern) + "/")),))
    found = matcher.rule_of(path, is_directory=is_directory)
    if "*" not in "".join(pattern):
        lower, wanted = [name.lower() for name in path], [name.lower() for name in pattern]
        ends = [lower[:end] for end in range(len(wanted), len(path) + 1)]
        assert (found is not None) == any(names[len(names) - len(wanted) :] == wanted for names in ends)


@given(name=names, pattern=names)
def test_a_name_has_the_rule_of_a_pattern_that_fits_it_and_no_other(name: str, pattern: str) -> None:
    found = Matcher((Rule("x", True, (pattern,)),)).find(name.lower(), (), is_directory=False)
    low = pattern.lower()
    assert (found is not None) == bool(re.fullmatch(re.escape(low).replace("\\*", "(?s:.*)"), name.lower()))


def test_dependency_directories_are_lower_case_names() -> None:
    assert all(name == name.lower() and "/" not in name for name in DEPENDENCY_DIRECTORIES)
