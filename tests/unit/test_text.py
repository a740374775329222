"""Text from elsewhere neither steers the terminal nor looks like something else."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.console import say, wrapped
from confined_claude.text import all_folded, escape, folded, normal_path, parse_json, strip_controls, wrap


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("näme", "näme"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("\udcff", r"\udcff"),
        ("right\u202eleft\u200b", r"right\u202eleft\u200b"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("//", "/"),
        ("//a", "/a"),
        ("///a//b/", "/a/b"),
        ("//../a/./b/..", "/a"),
        ("a//b", "a/b"),
        ("../a", "../a"),
        ("", "."),
    ],
)
def test_a_path_has_one_spelling_by_its_names(path: str, normal: str) -> None:
    assert normal_path(path) == normal


def test_lines_wrap_at_words_and_commands_stay_together() -> None:
    text = "confined-claude: Look at it with `confined-claude review` and start again.\n  second line"
    assert wrap(text, 40).splitlines() == [
        "confined-claude: Look at it with",
        "  `confined-claude review` and start",
        "  again.",
        "  second line",
    ]
    assert wrap("    see /a/very-long-path/that-is-one-word", 20).splitlines() == [
        "    see",
        "      /a/very-long-path/that-is-one-word",
    ]
    assert wrap("short    stays", 20) == "short    stays"
    assert wrap("Run: one command    Or: another one", 20).splitlines() == ["Run: one command", "  Or: another one"]


@given(st.text(st.characters(exclude_characters="\0")), st.integers(1, 100))
def test_wrapping_loses_nothing(text: str, width: int) -> None:
    assert "".join(wrap(text, width).split()) == "".join(text.split())


def test_the_output_of_a_program_keeps_its_lines_and_nothing_that_steers() -> None:
    assert strip_controls("\x1b[1;31mred\x1b[0m\tone\r\ntwo\x1b]0;title\x07") == "red one \ntwo ]0;title "


@given(st.text(st.characters() | st.sampled_from("\udcff\\")))
def test_no_text_steers(text: str) -> None:
    assert escape(text).isprintable()
    assert strip_controls(text).replace("\n", "").isprintable()
    assert wrapped(text, io.StringIO()).replace("\n", "").isprintable()


def test_a_message_keeps_its_lines_also_for_a_terminal_in_raw_mode(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\x1b[2J\n  two")
    say("one\r\x07\n  two\r")
    assert capsys.readouterr().err == ("confined-claude: one\\x1b[2J\n  two\nconfined-claude: one\\r\\x07\r\n  two\r\n")


@pytest.mark.parametrize(
    ("content", "value"),
    [(b'{"a": [1]}', {"a": [1]}), (b"", None), (None, None), (b"\xff", None), ("{", None), ("[" * 100_000, None)],
)
def test_what_is_no_json_is_nothing(content: bytes | str | None, value: object) -> None:
    assert parse_json(content) == value


@pytest.mark.parametrize("names", [[], ["A"], ["A.py", "b", "-C"], ["A", "Stra\u00dfe", "I\u0307"], ["\udcff", "X"]])
def test_many_names_are_folded_as_each_is(names: list[str]) -> None:
    assert all_folded(names) == [folded(name) for name in names]
