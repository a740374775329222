"""Browsers in a session, with the packages that the manual names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, User, docker

pytestmark = [pytest.mark.timeout(1500), pytest.mark.xdist_group("network")]

INTERNET = {"CONFINED_CLAUDE_NETWORK": "internet", "ANTHROPIC_BASE_URL": ""}
PAGE = "<h1>hello</h1><script>document.title = 'it ' + 'runs'</script>"
# What the page shows to Playwright, with this browser, headless and in a window.
PLAYWRIGHT = """
const { chromium } = require('playwright');
(async () => {
  for (const headless of [true, false]) {
    const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', headless });
    const page = await browser.newPage();
    await page.goto('http://localhost:8123/page.html');
    console.log(await page.title(), await page.textContent('h1'));
    await browser.close();
  }
})();
"""


@pytest.fixture
def browsers(plain_user: User, place: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A project, and the variables with which its sessions have the packages of the manual."""
    page = (REPOSITORY / "docs/guides/packages.md").read_text()
    (packages,) = re.findall(r"^    packages = (.*chromium.*)$", page, re.MULTILINE)
    given = {"CONFINED_CLAUDE_PACKAGES": ",".join(json.loads(packages))}
    project = plain_user.folder(place / "browsers")
    yield project, given
    planned = plain_user.run("confined-claude", "shell", "--dry-run", cwd=project, **INTERNET, **given).stdout
    found = re.search(r"^# image: +(\S+)$", planned, re.MULTILINE)
    assert found
    docker("image", "rm", "--force", found[1])


def test_chromium_and_playwright_run(plain_user: User, browsers: tuple[Path, dict[str, str]]) -> None:
    project, packages = browsers
    (project / "page.html").write_text(PAGE)
    (project / "look.js").write_text(PLAYWRIGHT)
    script = """set -e
        python3 -m http.server --bind 127.0.0.1 8123 >/dev/null 2>&1 &
        npm install --silent playwright
        timeout 120 chromium --headless --no-sandbox --screenshot=page.png http://localhost:8123/page.html 2>/dev/null
        timeout 120 xvfb-run node look.js
        npx playwright install-deps --dry-run chromium"""
    words = ["confined-claude", "shell", "--", "sh", "-c", script]
    done = plain_user.run(*words, cwd=project, timeout=1400, **INTERNET, **packages)
    assert done.stdout.splitlines()[:2] == ["it runs hello", "it runs hello"], done.stderr[-2000:]
    assert (project / "page.png").read_bytes().startswith(b"\x89PNG")
    # Of what Playwright's own browser needs, by its list, fonts alone are missing: that browser itself cannot be had
    # everywhere. The control: without the packages it names libraries.
    assert missing(done.stdout) == []
    words = ["confined-claude", "shell", "--", "npx", "playwright", "install-deps", "--dry-run", "chromium"]
    assert "libnss3" in missing(plain_user.run(*words, cwd=project, **INTERNET).stdout)


def missing(said: str) -> list[str]:
    """The packages but for fonts that Playwright finds missing."""
    return [word for word in said.split() if re.fullmatch(r"(lib|xvfb)[a-z0-9.+-]*", word)]


def test_shared_memory_is_as_large_as_it_is_set_and_a_project_can_only_ask_for_less(
    plain_user: User, place: Path
) -> None:
    project = plain_user.folder(place / "shm")
    words = (
        "confined-claude",
        "shell",
        "--network",
        "none",
        "--",
        "df",
        "--output=size",
        "--block-size=1M",
        "/dev/shm",
    )

    def size(**variables: str) -> str:
        done = plain_user.run(*words, cwd=project, ANTHROPIC_BASE_URL="", **variables)
        return done.stdout.split()[-1]

    assert (size(), size(CONFINED_CLAUDE_SHM="3g")) == ("2048", "3072")
    plain_user.folder(project / ".confined-claude")
    for asked, got in (("64m", "64"), ("8g", "2048")):
        (project / ".confined-claude/config.toml").write_text(f'shm = "{asked}"\n')
        assert size() == got
