"""Prints the hosts of the package registries that apt, pip and npm use here, as a JSON list of HOST:PORT.

The tools themselves are asked, so that an allowlist opens a company's mirror. Indexes may refer to files elsewhere:
pip's and npm's own packages are looked up, to see where.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

_SECONDS = 60
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"https?://[^\s\"'<>)]+")
_FILE = re.compile(r"https?://[^\s\"'<>)#]+\.(?:whl|tar\.gz|zip)\b")


def urls() -> Iterator[str]:
    """Yield URLs of the registries, and of files that they refer to."""
    yield from _printed("apt-get", "update", "--print-uris")
    # pip's help shows the default as its configuration sets it.
    usage = " ".join(_printed("python3", "-m", "pip", "install", "--help", urls_only=False))
    indexes = [
        *re.findall(r"\(default\s+(https?://[^\s)]+)\)", usage),
        *_printed("python3", "-m", "pip", "config", "list"),
    ]
    for index in indexes:
        yield index
        yield from _links(f"{index.rstrip('/')}/pip/")
    yield from _printed("npm", "config", "get", "registry")
    yield from _printed("npm", "view", "npm", "dist.tarball")


def _printed(*command: str, urls_only: bool = True) -> list[str]:
    """Return the URLs, or the words, that a command prints; none if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return []
    return _URL.findall(done.stdout) if urls_only else done.stdout.split()


def _links(page: str) -> list[str]:
    """Return the URLs of package files in a page of an index; none if it cannot be fetched."""
    try:
        context = ssl.create_default_context()
        with urllib.request.urlopen(page, timeout=_SECONDS, context=context) as answer:  # noqa: S310
            return _FILE.findall(answer.read().decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        print(f"{page}: {error}", file=sys.stderr)
        return []


def main() -> None:
    """Run the program."""
    found = set()
    for url in urls():
        parts = urlsplit(url)
        if parts.hostname and (port := parts.port or _PORTS.get(parts.scheme)):
            found.add(f"{parts.hostname}:{port}")
    json.dump(sorted(found), sys.stdout)


if __name__ == "__main__":
    main()
