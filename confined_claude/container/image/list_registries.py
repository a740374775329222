"""Prints the hosts of the package registries that apt, pip and npm use here: a JSON list of HOST:PORT.

They are asked, so that a company's mirror is what an allowlist opens. Indexes may name files elsewhere: pip's and
npm's own packages are looked up, to see where.
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
    yield from _said("apt-get", "update", "--print-uris")
    # What pip says of its default is what its configuration makes of it.
    usage = " ".join(_said("python3", "-m", "pip", "install", "--help", urls_only=False))
    indexes = [
        *re.findall(r"\(default\s+(https?://[^\s)]+)\)", usage),
        *_said("python3", "-m", "pip", "config", "list"),
    ]
    for index in indexes:
        yield index
        yield from _links(f"{index.rstrip('/')}/pip/")
    yield from _said("npm", "config", "get", "registry")
    yield from _said("npm", "view", "npm", "dist.tarball")


def _said(*command: str, urls_only: bool = True) -> list[str]:
    """The URLs, or the lines, that a command prints; none if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return []
    return _URL.findall(done.stdout) if urls_only else done.stdout.split()


def _links(page: str) -> list[str]:
    """The URLs of package files in a page of an index; none if it cannot be had."""
    try:
        context = ssl.create_default_context()
        with urllib.request.urlopen(page, timeout=_SECONDS, context=context) as answer:  # noqa: S310
            return _FILE.findall(answer.read().decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        print(f"{page}: {error}", file=sys.stderr)
        return []


def main() -> None:
    found = set()
    for url in urls():
        parts = urlsplit(url)
        if parts.hostname and (port := parts.port or _PORTS.get(parts.scheme)):
            found.add(f"{parts.hostname}:{port}")
    json.dump(sorted(found), sys.stdout)


if __name__ == "__main__":
    main()
