"""What a dry run prints is what a shell understands, and steers no terminal."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from confined_claude.session.dry_run import quote

SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
@given(
    word=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("'\"$`\\\n!\udcff")
    )
)
@example(word="it's\na\\b\x1b[31m\x9b\u202e$HOME`id`")
@example(word="")
def test_a_word_is_one_for_the_shell_and_printable(word: str, shell: str) -> None:
    quoted = quote(word)
    assert quoted.isprintable()
    printed = subprocess.run([shell, "-c", f"printf %s {quoted}"], capture_output=True, check=True).stdout
    assert printed == os.fsencode(word)
