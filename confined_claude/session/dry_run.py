"""A session as a shell script to be pasted, with the docker commands that start it. Pure.

The script holds no secret: it takes them from the variables of the shell where it is pasted. Nor does it hold a
control character but the ends of its own lines: a folder's name must not steer the terminal, nor end the paste.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .. import environment
from ..console import plain
from ..egress import blocked
from ..egress.network import CONFIG, Sidecar
from ..engine import labels
from ..engine.command import NO_DETACH
from ..environment import HOST_GATEWAY
from ..errors import ENGINE
from ..guard import isolation
from ..guard.guard import GuardPlan
from ..guard.pins import FILES
from ..host import Host
from ..project import IGNORED, Project
from .launch import SECRETS_FILE, Plan

# The shell that it is pasted into reads all of it before the first command runs, as one word that it does not look
# into; nothing of it is left in the terminal for the session to read. One that is called sh then runs it.
_BEGIN = "sh /dev/fd/3 3<<'END-OF-SESSION'"
_END = "END-OF-SESSION"

_FOLDER = """\
# Make a folder, if it is not there, with what umask $1 leaves of its mode. A link could lead anywhere.
folder() {
    if [ -L "$2" ]; then
        echo "confined-claude: $2 is a link, which could lead anywhere on this machine." >&2
        exit 2
    fi
    [ -d "$2" ] || (umask "$1" && mkdir "$2")
}"""
_EXPORT = r"""
# A line for the session's entrypoint: export NAME='VALUE'
export_line() {
    printf '%s\n' "$2" | LC_ALL=C sed -e "s/'/'\\\\''/g" -e "1s/^/export $1='/" -e "\$s/\$/'/"
}"""
_JSON = r"""
# A value as it is written in JSON
json() {
    printf '%s\n' "$1" | LC_ALL=C sed -e ':a' -e '$!{' -e N -e ba -e '}' -e 's/[\\"]/\\&/g' -e 's/\n/\\n/g' \
        -e "s/$(printf '\t')/\\\\t/g"
}"""
# A tar archive's header has a sum of all its bytes, in which the size is yet to come.
_PUT = r"""
# Put standard input into the session's container, as a file that only its root can read
put_secrets() {
    text=$(cat && echo .)
    text=${text%%.}
    size=$(($(printf %%s "$text" | wc -c)))
    digits=$(printf %%011o "$size")
    sum=%(sum)d
    for digit in $(echo "$digits" | sed 's/./& /g'); do sum=$((sum + digit)); done
    {
        printf %%s %(path)s
        zeros %(rest)d
        printf '0000600\0000000000\0000000000\000%%s\00000000000000\000%%06o\000 0' "$digits" "$sum"
        zeros 100
        printf 'ustar\00000'
        zeros 247
        printf %%s "$text"
        zeros "$((1536 - size %% 512))"
    } | docker cp - "$session:/" >/dev/null
}
zeros() {
    dd if=/dev/zero bs="$1" count=1 2>/dev/null
}"""
_NAME_BYTES = 100


def script(
    plan_for: Callable[[bool, bool], Plan],
    project: Project,
    host: Host,
    *,
    name: str,
    foreseen: GuardPlan,
    upstream: Mapping[str, str],
    remarks: Iterable[str] = (),
) -> str:
    """The script that starts a session called ``name``.

    ``plan_for`` gives its plan by whether standard input and output are terminals; the script finds out if they are.
    ``upstream`` are the variables of the proxies in its sidecar's configuration, ``remarks`` lines to be read first.
    """
    plan = plan_for(True, True)
    sidecar = plan.egress.sidecar
    proxies = upstream if sidecar is not None and sidecar.config else {}
    needed = dict.fromkeys((*plan.secret_names, *proxies.values()))
    parts = [
        _heading(plan, project, remarks),
        ["set -eu", "exec 3<&-", "newline='", "'"],
        *([_EXPORT.splitlines(), _put()] if plan.secret_names else []),
        *([_JSON.splitlines()] if proxies else []),
        ["", *_FOLDER.splitlines()],
        ["", *_tidying(sidecar, foreseen.pins.missing, project)],
        _variables(needed, environment.on_loopback(host.environ)),
        ["", *_folders(plan, project, foreseen)],
        _made(foreseen.pins.missing),
        _sidecar(sidecar, proxies) if sidecar is not None else [],
        ["", *_streams(plan_for)],
        ["session=$(", *_docker('create "$@"', plan.arguments_anywhere(name), plan.image), ")"],
        _secrets(plan.secret_names),
        _start(sidecar),
    ]
    return "\n".join([_BEGIN, *itertools.chain.from_iterable(parts), _END, ""])


def quoted(word: str) -> str:
    """``word`` for a shell, in printable characters alone; needs the variable ``newline`` for what holds one."""
    pieces = []
    for printable, characters in itertools.groupby(word, key=str.isprintable):
        text = "".join(characters)
        pieces.append(shlex.quote(text) if printable else f'"{"".join(_written_out(text))}"')
    return "".join(pieces) or "''"


def _written_out(text: str) -> Iterator[str]:
    """``text`` within double quotes. What a command gives loses its newlines at the end, so these are a variable."""
    for is_newline, characters in itertools.groupby(text, key="\n".__eq__):
        octal = "".join(f"\\{byte:03o}" for byte in os.fsencode("".join(characters)))
        yield "$newline" * (len(octal) // 4) if is_newline else f"$(printf '{octal}')"


def _comment(text: str) -> str:
    return f"# {' '.join(plain(text).split())}"


def _heading(plan: Plan, project: Project, remarks: Iterable[str]) -> Iterator[str]:
    config = next(mount.source for mount in plan.mounts if mount.target.endswith("/.claude"))
    yield _comment(f"A session in {project.root}, as confined-claude would start it now. Paste it into a shell.")
    yield "# What a script cannot do is left out: nobody looks through the project before and after, a change of the"
    yield "# allowlist does not reach a session that runs, and your sign-in is not brought up to date in"
    yield _comment(str(config))
    if plan.secret_names:
        yield "# Secrets come from the variables of the shell that runs this."
    yield from map(_comment, (*remarks, *plan.notes))


def _docker(verb: str, words: Sequence[str], image: str) -> Iterator[str]:
    """A docker command that ends with the image and its command, one option a line."""
    split = words.index(image)
    lines: list[list[str]] = [["docker", verb]]
    for word in words[:split]:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(quoted(word))
    lines.append([quoted(word) for word in words[split:]])
    for number, line in enumerate(lines):
        yield "    " * (1 + bool(number)) + " ".join(line) + " \\" * (number < len(lines) - 1)


def _tidying(sidecar: Sidecar | None, missing: Sequence[Path], project: Project) -> Iterator[str]:
    """What is done at the end, however that comes."""
    yield "# A session and its sidecar go by themselves when they end: only one that fails leaves something."
    yield "session= sidecar="
    if sidecar is not None and sidecar.folder is not None:
        yield f"egress={_path(sidecar.folder.path)}"
    yield "tidy() {"
    yield "    code=$?"
    yield '    if [ "$code" != 0 ] && [ -n "$session" ]; then'
    yield '        docker stop "$session" >/dev/null 2>&1 || true'
    yield '        docker rm --force "$session" >/dev/null 2>&1 || true'
    yield "    fi"
    if sidecar is not None:
        yield '    if [ "$code" != 0 ] && [ -n "$sidecar" ]; then'
        yield '        docker rm --force --volumes "$sidecar" >/dev/null 2>&1 || true'
        yield "    fi"
    if sidecar is not None and sidecar.folder is not None:
        written, kept = f'"$egress/{blocked.WRITTEN}"', f'"$egress{blocked.KEPT}"'
        yield f"    [ ! -e {written} ] || mv {written} {kept} || true"
        yield f'    rm -f "$egress/{CONFIG}"'
        yield '    rmdir "$egress" 2>/dev/null || true'
    if missing:
        ours = (f"{labels.KIND}={labels.SESSION}", f"{labels.PROJECT}={project.id}")
        filters = " ".join(f"--filter label={quoted(label)}" for label in ours)
        yield "    # Another session needs it still."
        yield f'    [ -z "$(docker ps --quiet {filters})" ] || exit "$code"'
        for number, path in enumerate(missing):
            remove = "rmdir"
            if path.name in FILES:
                content = quoted(FILES[path.name].decode().rstrip("\n"))
                remove = f'[ "$(cat {_path(path)})" != {content} ] || rm'
            yield f'    [ -z "${{made_{number}-}}" ] || {remove} {_path(path)} 2>/dev/null || true'
    yield '    exit "$code"'
    yield "}"
    yield "trap tidy EXIT"
    yield from (f"trap 'exit {128 + number}' {name}" for name, number in (("HUP", 1), ("INT", 2), ("TERM", 15)))


def _variables(names: Iterable[str], on_loopback: Mapping[str, str]) -> Iterator[str]:
    """Look that they are there, and rewrite the URLs that name this machine's loopback."""
    names = list(names)
    if names:
        yield ""
    for name in names:
        yield f': "${{{name}:?it was set for the dry run, and has to be set and exported here}}"'
    for name, address in on_loopback.items():
        if name in names:
            pattern = re.sub(r"[][.*^$\\|]", r"\\\g<0>", address)
            replace = rf"1s|^\([^/?#]*//\([^/?#]*@\)\{{0,1\}}\){pattern}|\1{HOST_GATEWAY}|"
            yield f"{name}=$(printf '%s\\n' \"${name}\" | LC_ALL=C sed {quoted(replace)})"


def _folders(plan: Plan, project: Project, foreseen: GuardPlan) -> Iterator[str]:
    """Make what is mounted, owned by the caller: the engine would make it root's."""
    scaffold = project.scaffold
    yield f"folder go= {_path(scaffold)}"
    yield f"[ ! -O {_path(scaffold)} ] || chmod 700 {_path(scaffold)}"
    yield f"(cd {_path(scaffold)} && umask 022 && set -C &&"
    yield f"    {{ [ -e .gitignore ] || printf %s {quoted(IGNORED.decode())} >.gitignore; }})"
    done = {project.root, scaffold}
    is_new = foreseen.copy is not None and foreseen.copy.is_new
    copy = foreseen.copy.mount if is_new and foreseen.copy is not None else None
    for mount in (mount for mount in plan.mounts if not mount.pin and mount != copy):
        yield from _folder(mount.base, mount.parts, done, "go-w" if mount.base == project.root else "go=")
    if copy is not None and foreseen.copy is not None:
        yield from _folder(copy.base, copy.parts[:-1], done)
        yield "# The session works on a copy of the repository, which stays. What it commits there is fetched with"
        yield _comment(isolation.fetch_command(project.root, copy.source))
        yield f"[ -d {_path(copy.source)} ] || cp -R -P -p {_path(foreseen.copy.original)} {_path(copy.source)}"


def _folder(base: Path, parts: Sequence[str], done: set[Path], umask: str = "go=") -> Iterator[str]:
    """Make ``base/parts...`` but for what is ``done``. As for ``safefs.open_folder``, ``base`` may be a link."""
    if base not in done:
        yield f"[ -d {_path(base)} ] || (mkdir -p {_path(base.parent)} && umask {umask} && mkdir {_path(base)})"
    for path in itertools.accumulate(parts, Path.joinpath, initial=base):
        if path not in (base, *done):
            yield f"folder {umask} {_path(path)}"
        done.add(path)


def _made(missing: Iterable[Path]) -> Iterator[str]:
    """Make what git or Python would take something from, as it cannot be kept where it is not."""
    for number, path in enumerate(missing):
        make = f"umask go-w && mkdir {_path(path)}"
        if path.name in FILES:
            make = f"umask 022 && printf %s {quoted(FILES[path.name].decode())} >{_path(path)}"
        yield f"if [ ! -e {_path(path)} ] && [ ! -L {_path(path)} ]; then"
        yield f"    ({make})"
        yield f"    made_{number}=1"
        yield "fi"


def _sidecar(sidecar: Sidecar, proxies: Mapping[str, str]) -> Iterator[str]:
    """Create the sidecar, and what it reads from a file."""
    yield ""
    yield "# The sidecar keeps the session's network; it goes if no session comes within a minute."
    if sidecar.folder is not None:
        yield from _folder(sidecar.folder.base, sidecar.folder.parts, set())
        words = " ".join(_config(sidecar.config, proxies))
        yield f'(umask 077 && printf %s {words} >"$egress/{CONFIG}")'
    image = sidecar.arguments[sidecar.arguments.index("--entrypoint") + 2]
    yield from ("sidecar=$(", *_docker("create", sidecar.arguments, image), ")")


def _config(config: str, proxies: Mapping[str, str]) -> Iterator[str]:
    """A sidecar's configuration in words of shell; the proxies in it may hold passwords, and come from variables."""
    value = json.loads(config)
    # No variable holds a NUL, so nothing else reads like that.
    value["upstream"] |= {kind: f"\0{name}" for kind, name in proxies.items()}
    for number, piece in enumerate(re.split(r"\\u0000(\w+)", json.dumps(value))):
        yield f'"$(json "${piece}")"' if number % 2 else quoted(piece)


def _streams(plan_for: Callable[[bool, bool], Plan]) -> Iterator[str]:
    """Find out where the session's input and output lead."""
    yield "# It has a terminal if there is one here."
    cases = (
        ("if [ -t 0 ] && [ -t 1 ]; then", True, True),
        ("elif [ -t 0 ]; then", True, False),
        ("else", False, False),
    )
    for case, stdin, stdout in cases:
        plan = plan_for(stdin, stdout)
        yield case
        yield f"    set -- {' '.join(plan.stream_arguments())}"
        yield f"    interactive={'--interactive' * plan.stdin}"
    yield "fi"


def _secrets(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield "{"
        yield from (f'    export_line {name} "${name}"' for name in names)
        yield "} | put_secrets"


def _start(sidecar: Sidecar | None) -> Iterator[str]:
    """Start the session, once its sidecar says that it can be joined."""
    yield ""
    session = f'docker start --attach $interactive --detach-keys {quoted(NO_DETACH)} "$session"'
    if sidecar is None:
        yield session
        return
    given = f"printf '%s\\n' {quoted(sidecar.given.removesuffix(chr(10)))}" if sidecar.given else ":"
    yield "exec 5<&0"
    yield f'{given} | docker start --attach --interactive "$sidecar" | {{'
    yield "    read -r ready || true"
    yield '    if [ "$ready" != ready ]; then'
    yield """        echo "confined-claude: The session's network could not be made." >&2"""
    yield f"        exit {ENGINE}"
    yield "    fi"
    # Not the last command, which a shell would become: the sidecar has more to say, and its pipe must stay open.
    yield f'    {session} <&5 5<&- || exit "$?"'
    yield "}"


def _put() -> list[str]:
    """The function that puts a file into the container, by a tar archive whose header is mostly known here."""
    entry = tarfile.TarInfo(SECRETS_FILE)
    entry.mode = 0o600
    header = entry.tobuf(tarfile.USTAR_FORMAT)
    known = {
        "sum": sum(header[:124]) + sum(b"0" * 11) + sum(header[135:148]) + 8 * ord(" ") + sum(header[156:512]),
        "path": quoted(SECRETS_FILE),
        "rest": _NAME_BYTES - len(SECRETS_FILE),
    }
    return (_PUT % known).splitlines()


def _path(path: Path) -> str:
    return quoted(str(path))
