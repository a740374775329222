"""Which files of a push are asked for, by their paths."""

from __future__ import annotations

import pytest

from confined_claude.guard.push_request import shown
from confined_claude.guard.push_rules import PushRules

RULES = PushRules(("kept",))


@pytest.mark.parametrize(
    ("path", "asks"),
    [
        (".github/workflows/x.yml", True),
        # What a forge runs, though another rule comes first in a review.
        *(
            (f".github/workflows/{name}.yml", True)
            for name in ("trivy", "compose", "docker-compose", "mkdocs", "serverless")
        ),
        *((f".github/actions/x/{name}", True) for name in ("Dockerfile", "package.json", "setup.py")),
        (".gitlab/package.json", True),
        (".GitHub/Workflows/Trivy.yml", True),
        ("compose.yml", False),
        ("x/package.json", False),
        # Links and submodules in the place of a directory.
        (".vscode", True),
        ("x/.vscode", True),
        (".github", True),
        (".github/workflows", True),
        (".VsCode", True),
        ("conf", False),
        ("kept", True),
        ("kept/x", True),
        ("src/x", False),
    ],
)
def test_red_files_and_those_of_a_forge_are_asked_for(path: str, *, asks: bool) -> None:
    assert any(finding.asks for finding in RULES.findings([path])) == asks


def test_a_finding_that_is_red_stays_red_where_a_forge_runs_it_too() -> None:
    (finding,) = PushRules((".github/workflows",)).findings([".github/workflows/x.yml"], "more")
    assert finding.red
    assert finding.runs.endswith(", more")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("fix \u00e9 \u4e2d", "fix \u00e9 \u4e2d"),
        ("a\u2800\u3164b", "a\\u2800\\u3164b"),
        ("\u05d0 \u0627", "\\u05d0 \\u0627"),
        ("\x1b[2J\u202e", "\\x1b[2J\\u202e"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "\u2026"),
        ("\u4e2d" * 101, "\u4e2d" * 100 + "\u2026"),
        ("\u2800" * 5000, "\\u2800" * 33 + "\u2026"),
    ],
)
def test_what_is_shown_is_seen_and_short(text: str, seen: str) -> None:
    assert shown(text) == seen
