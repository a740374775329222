"""Coverage-guided fuzzing of what the package helper lets through to apt-get.

    python tests/fuzz/fuzz_package_helper.py [libFuzzer options] [directory of a corpus]

Every accepted command is held against ``permitted``, which knows the grammar in another way than
the checker does. With FUZZ_CONTROL=slash or FUZZ_CONTROL=option in the environment the checker has
a vulnerability, which the fuzzer must find.
"""

from __future__ import annotations

import os
import re
import sys

import atheris

with atheris.instrument_imports(include=["confined_claude.container"]):
    from confined_claude.container.packages import grammar

LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
OPTIONS = """
    -y --yes --assume-yes -q -qq --quiet -yq -qy -yqq -qqy -V --verbose-versions -s --simulate --dry-run
    -f --fix-broken --fix-missing --no-install-recommends --install-recommends --no-install-suggests
    --only-upgrade --reinstall --purge --autoremove --auto-remove
""".split()
NAMING = "install reinstall remove purge".split()
PLAIN = "update upgrade full-upgrade dist-upgrade autoremove clean".split()


def made_of(text: str, letters: str) -> bool:
    return bool(text) and all(letter in letters for letter in text)


def is_package(word: str) -> bool:
    """Whether ``word`` is name[:architecture][=version] and can mean nothing else to apt-get."""
    named, equals, version = word.partition("=")
    name, colon, architecture = named.partition(":")
    if equals and not (version[:1].isdigit() and made_of(version, LOWER + LOWER.upper() + ".+:~-")):
        return False
    if colon and not (made_of(architecture, LOWER + "-") and architecture[0] != "-"):
        return False
    if not made_of(name, LOWER + "+.-") or len(name) == 1 or name[0] in "+.-":
        return False
    _, dot, ending = word.rpartition(".")
    return word[-1] != "-" and not (dot and ending in ("deb", "ddeb", "udeb", "dsc", "changes"))


def permitted(payload: bytes, arguments: list[str]) -> bool:
    """Whether a request may lead to apt-get with these ``arguments``."""
    words = [word.decode("ascii") for word in payload.split(b"\0")]
    if words.pop() != "" or len(words) > 200 or words[0] not in ("apt", "apt-get"):
        return False
    if sorted(words[1:]) != sorted(arguments):
        return False
    options = [word for word in arguments if word[:1] == "-"]
    verb, *packages = [word for word in arguments if word[:1] != "-"]
    if any(option not in OPTIONS for option in options) or arguments != [*options, verb, *packages]:
        return False
    if verb in PLAIN:
        return not packages
    mends = "-f" in options or "--fix-broken" in options
    return verb in NAMING and (mends or bool(packages)) and all(is_package(word) for word in packages)


def test_one_input(payload: bytes) -> None:
    try:
        request = grammar.check(grammar.parse(payload))
    except grammar.Refused:
        return
    if not permitted(payload, request.words):
        raise AssertionError(f"let through: {request.words}")


def break_the_checker(vulnerability: str) -> None:
    """Put in place of a strict rule the kind of slip that this fuzzer is there to find."""
    if vulnerability == "slash":
        strict = grammar._PACKAGE
        grammar._PACKAGE = re.compile(strict.pattern.replace("+.-]", "+./-]", 1))
    elif vulnerability == "option":
        grammar.FLAGS |= {"-d"}


if __name__ == "__main__":
    break_the_checker(os.environ.get("FUZZ_CONTROL", ""))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
