"""README's picture of a session is what a terminal shows.

With CONFINED_CLAUDE_WRITE_PICTURE=1 it is written anew. What Claude answers there is made up, all else is real.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

from helpers import REPOSITORY, Api, User
from rich.console import Console
from rich.text import Text
from terminals import COLUMNS, PROMPT, terminal

PICTURE = REPOSITORY / "docs/session.svg"
ASKED = "Set up direnv for this project."
COMMAND = "printf 'export APP_ENV=development\\n' >.envrc && printf 'test:\\n\\tpytest\\n' >Makefile"
OPEN, REMARKS = "Open beyond the defaults", "Remarks from its start:"
# The lines of every picture's end, the one in the repository included.
CLOSING = (
    "This session has left 1 file that your machine runs by itself (red) and 1 that",
    "red .envrc",
    "new; used by your shell, on entering the directory",
    "first seen after the session confined-claude-my-project of ",
    "yellow Makefile; used by make and other build tools",
    "No session starts here until you have reviewed what is red with `confined-claude review`.",
    "To continue this conversation: confined-claude --yolo --resume ",
)
SAYS = "Done: .envrc sets APP_ENV whenever you enter the directory, and `make test` runs the tests."


def drawn(lines: list[Text]) -> str:
    """Lines of a terminal as an SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for before, line in zip([Text(), *lines], lines, strict=False):
        if before.plain.strip() or line.plain.strip():  # one empty line stands for several
            console.print(line, no_wrap=True, overflow="crop")
    svg = console.export_svg(title="confined-claude", unique_id="session")
    # The picture asks no other machine for its font.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def as_anywhere(lines: list[Text]) -> list[Text]:
    """Lines without what only the tests' network adds, nor the heading of remarks that has none left."""
    kept = [line for line in lines if OPEN not in line.plain]
    followed = zip(kept, [*kept[1:], Text()], strict=True)
    return [line for line, after in followed if REMARKS not in line.plain or after.plain.startswith("    ")]


def words(svg: str) -> str:
    return " ".join(re.sub(r"<[^>]*>|&#160;", " ", svg).split())


def test_the_picture_in_the_readme_shows_a_session(make_user: Callable[..., User], place: Path, api: Api) -> None:
    user = make_user(*((12345, 12345) if os.geteuid() == 0 else ()), ANTHROPIC_API_KEY="")
    user.sign_in()
    seen = user.home / ".claude.json"
    seen.write_text('{"hasSeenAutoDefaultNotice": true}')
    user.own(seen)
    script = json.dumps({ASKED: {"command": COMMAND, "says": SAYS}})
    subprocess.run(["docker", "exec", "-i", api.container, "tee", "/tmp/script"], input=script.encode(), check=True)
    # A session's name is the engine's, and others work in a `my-project`: this one's is as long as that.
    project = user.folder(place / f"my{secrets.token_hex(4)}")
    user.git(project, "init", "--quiet")
    prompt = f"~/{project.name} $"
    with terminal(user, project, "bash", "--norc", "-i", rows=60, PS1=f"{prompt} ") as opened:
        opened.wait_for(prompt)
        opened.send("confined-claude --yolo\r")
        opened.wait_for(PROMPT)
        opened.type(ASKED)
        opened.wait_for(SAYS[:30])
        lines = opened.lines()
        opened.type("/exit")
        opened.wait_for("To continue this conversation")
        opened.wait_for(prompt)
        closing = opened.lines()
        opened.send("exit\r")
        opened.wait_for_end()
    # Claude clears its screen when it ends, so the picture has what was there before, then what came after it.
    first = next(number for number, line in enumerate(closing) if "confined-claude: This session" in line.plain)
    svg = drawn(as_anywhere([*lines, Text(), *closing[first:]])).replace(str(project), "~/my-project")
    svg = svg.replace(project.name, "my-project")
    if os.environ.get("CONFINED_CLAUDE_WRITE_PICTURE"):
        PICTURE.write_text(svg)
    for shown in (words(svg), words(PICTURE.read_text())):
        assert [line for line in (ASKED, SAYS[:30], *CLOSING) if line not in shown] == []
        assert [line for line in (OPEN, REMARKS, "confined-claude-test") if line in shown] == []
