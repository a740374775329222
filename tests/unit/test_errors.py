"""Failures in words: what happened, what to do, and the exit code that belongs to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from invoke import Exit

from confined_claude.errors import ConfinedError, EngineError, system_error
from confined_claude.tasks import _reported


def test_a_failure_has_a_message_a_hint_and_a_code() -> None:
    error = ConfinedError("It broke.", "Fix it.")
    assert (error.message, error.hint, error.exit_code) == ("It broke.", "Fix it.", 2)
    assert str(error) == "It broke.\nFix it."
    assert str(ConfinedError("It broke.")) == "It broke."


def test_a_failure_of_the_engine_has_its_own_code() -> None:
    error = EngineError("No engine.", "Get one.")
    assert isinstance(error, ConfinedError)
    assert error.exit_code == 3


def test_a_task_ends_with_message_and_code_instead_of_a_traceback() -> None:
    for error in (ConfinedError("It broke.", "Fix it."), EngineError("No engine.")):
        with pytest.raises(Exit) as caught, _reported():
            raise error
        assert caught.value.message == f"confined-claude: {error}"
        assert caught.value.code == error.exit_code


def test_a_failure_of_the_system_is_reported_with_the_file_it_is_about(tmp_path: Path) -> None:
    with pytest.raises(Exit) as caught, _reported():
        (tmp_path / "missing").read_text()
    assert caught.value.message
    first, *more = caught.value.message.splitlines()
    assert first.rstrip(".") == f"confined-claude: No such file or directory: {tmp_path}/missing"
    assert len(more) == 1
    assert caught.value.code == 2


def test_ctrl_c_ends_without_a_word_and_with_the_shells_code() -> None:
    with pytest.raises(Exit) as caught, _reported():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert not caught.value.message


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), _reported():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "file system"),
        (errno.EIO, "Check what is there"),
    ],
)
def test_each_failure_of_the_system_has_a_hint(number: int, words: str) -> None:
    error = system_error("write to", Path("/some/place"), OSError(number, os.strerror(number)))
    assert error.message == f"Cannot write to /some/place: {os.strerror(number)}."
    assert words in error.hint
    assert error.exit_code == 2


def test_a_failure_of_the_system_without_a_number_has_its_text() -> None:
    assert system_error("use", Path("/x"), OSError("odd")).message == "Cannot use /x: odd."
