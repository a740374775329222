"""The settings: one ``Spec`` for each, from which its flag, variable, completion and documentation are derived.

Listing and completing the tasks imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import variables
from .spec import OF_FIELDS, PREFIX, Kind, Spec

# Of its variables those that are no settings; the second marks what `exec` runs.
OTHER_VARIABLES = (f"{PREFIX}TIMING", f"{PREFIX}EXEC")
NEVER, ASK = "never", "ask"  # of the setting `push`
GIVEN, LENT = "given", "lent"  # of the setting `sign_in`
ONCE, OFF = "once", "off"  # of the setting `setup`
PROFILE_NAME = r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
BASE = "debian:bookworm-slim"
LATEST = "latest"  # of the setting `claude_version`
ENGINE = "engine"  # of the setting `runtime`: its own default

# A path from the project's root, `*` for any part of a name: `**`, which is more elsewhere, would miss what it is to
# protect or hide. It cannot name what the guard itself depends on.
_PLACE = r"(?!\.confined-claude(/|$)|\.git(/|$)|\*(/|$))(?!(.*/)?\.\.?(/|$))[^/\s,]([^,\n]*[^,\s])?"
_PATH = rf"(?!.*\*\*){_PLACE}"
# The same, or all that is in a directory: version 0.1 knew `ops/**`.
_TREE = rf"(?!.*\*\*.)(?!(.*[^/])?\*\*){_PLACE}"
_PORT = r"(?!0)[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# The last part of a name is never a number, so that no address in any notation passes for a name.
_HOST = rf"(\*\.)?({_LABEL}\.)*(?![0-9]+(:|$)|0[xX])({_LABEL})(:({_PORT}))?"
# USER@HOST[:PORT]
_LOGIN = rf"[A-Za-z0-9_][A-Za-z0-9_.-]*@({_LABEL}\.)*{_LABEL}(:({_PORT}))?"
# Debian's policy, section 5.6.7. A hyphen at the end is excluded: apt-get would remove the package.
_PACKAGE = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]"
# [REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]
_IMAGE = (
    r"([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?/)?[a-z0-9]+((/|[._-]+)[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
# SOURCE[:TARGET][:ro|rw]
_MOUNT = r"(?!~[^/:])[^:,\s\x00-\x1f]([^:,\x00-\x1f]*[^:,\s\x00-\x1f])?(:/[^:,\x00-\x1f]+)?(:r[ow])?"
# A word that most likely means something else is no branch.
_BRANCH = r"(?!(?:all|allow|always|false|no|off|on|true|yes)(?:,|$))[A-Za-z0-9_*][A-Za-z0-9_.*/-]*"
_BYTES = r"[1-9][0-9]{0,6}[mgMG]|([1-9][0-9]?|100)%"
_CPUS = r"(?![0.]+$)[0-9]{1,4}(\.[0-9]{1,2})?|([1-9][0-9]?|100)%"


def _mounted(entry: str, root: Path) -> str:
    from ..host import Host
    from ..project.mounts import place_of

    return place_of(entry, root, Host.current())


class Settings(NamedTuple):
    """One session's settings. docs/reference/settings.md has the table for users."""

    profile: str = Spec(
        "host",
        "host, or a name like work",
        PROFILE_NAME,
        help="the account whose Claude config, sign-in and history the session has",
        meanings={"host": "the one that claude uses on your machine", "NAME": "that profile"},
    ).field()
    sign_in: str = Spec(
        GIVEN,
        "given or lent",
        scale=(LENT, GIVEN),
        help="whether the session has Claude's sign-in",
        meanings={
            GIVEN: "it has the token or key, which whatever runs in it can read",
            LENT: "it has a placeholder, and a sidecar puts the token or key into requests to Claude",
        },
    ).field()
    claude_config: str = Spec("shared", "shared or project", scale=("project", "shared")).field()
    agent_note: str = Spec("on", "on or off", scale=("off", "on")).field()
    caches: str = Spec("shared", "shared or project", scale=("project", "shared")).field()
    claude_version: str = Spec(
        LATEST,
        "latest, or a version like 2.1.330",
        r"[0-9A-Za-z][0-9A-Za-z.-]*",
        widens="sessions run that version of Claude Code, with whatever vulnerabilities it has",
    ).field()
    base: str = Spec(
        BASE,
        "the name of an image that is Debian 12",
        _IMAGE,
        widens="sessions, and the sidecars that confine their network, run whatever is in that image",
    ).field()
    packages: tuple[str, ...] = Spec(
        (),
        "a list of Debian packages",
        _PACKAGE,
        Kind.LIST,
        widens="the build of the image installs these Debian packages as root",
    ).field()
    yolo: str = Spec(
        "off", "off or on", scale=("off", "on"), widens="Claude acts without asking for permission"
    ).field()
    sudo: str = Spec(
        "apt",
        "apt, full or off",
        scale=("off", "apt", "full"),
        help="what sudo may do in the session",
        meanings={
            "apt": "install and remove Debian packages",
            "full": "everything, as root",
            "off": "nothing",
        },
        is_opening=True,
    ).field()
    setup: str = Spec("follow", "follow, once or off", r"follow|once|off").field()
    plugin_scripts: str = Spec("off", "off or on", scale=("off", "on"), is_opening=True).field()
    network: str = Spec(
        "internet",
        "internet, allowlist, none, open, or docker:NAME",
        r"docker:[0-9A-Za-z][0-9A-Za-z_.-]*",
        scale=("none", "allowlist", "internet", "open"),
        widens="sessions reach your local network and your machine's services, or whatever is in that Docker network",
        help="what the session reaches",
        meanings={
            "internet": "the internet, but nothing on your machine or in its networks",
            "allowlist": "only Claude, package registries and the hosts of --allow",
            "none": "nothing, not even Claude",
            "open": "the internet, your machine and its local networks",
            "docker:NAME": "that Docker network of yours",
        },
        is_opening=True,
    ).field()
    allow: tuple[str, ...] = Spec(
        (),
        "a list of host, *.domain or host:port",
        _HOST,
        Kind.LIST,
        widens="sessions reach these hosts when the network is an allowlist, and can send them what they know",
        help="hosts to add to the allowlist, with commas between them: github.com,*.example.com,host:8443",
        is_opening=True,
    ).field()
    host_ports: tuple[str, ...] = Spec(
        (),
        "a list of ports of your machine",
        _PORT,
        Kind.LIST,
        is_number=True,
        widens="sessions reach the services that listen at these ports of your machine, its loopback included",
        help="ports of your machine that the session reaches, as localhost:PORT",
        is_opening=True,
    ).field()
    ports: tuple[str, ...] = Spec(
        (),
        "a list of ports of the session, or HOST:SESSION",
        rf"({_PORT})(:({_PORT}))?",
        Kind.LIST,
        is_number=True,
        widens="browsers and users of your machine reach what a session serves at these ports",
        help="ports of the session that your machine reaches, as localhost:PORT; 3000:8000 for 8000 as localhost:3000",
        is_opening=True,
    ).field()
    mounts: tuple[str, ...] = Spec(
        (),
        "a list of paths of your machine, each with :/PATH for another one inside, :rw to write there",
        _MOUNT,
        Kind.WAY,
        widens="sessions see these files and directories of your machine, and change those that are writable",
        is_opening=True,
        resolve=_mounted,
        flag_name="mount",
        help="a file or directory of your machine for the session: ~/data, ../library:rw, /srv/models:/models",
    ).field()
    env: tuple[str, ...] = Spec(
        (),
        "a list of NAME or NAME=VALUE",
        variables.ENTRY,
        Kind.WAY,
        widens="sessions have these variables, with the value here or else the one in your environment",
        is_opening=True,
        split=variables.split,
        problem=variables.problem,
        shown=variables.shown,
        help="variables for the session: NAME with the value in your environment, or NAME=VALUE",
    ).field()
    env_file: tuple[str, ...] = Spec(
        (),
        "a list of files",
        r"[^\0\n,]+",
        Kind.WAY,
        widens="sessions have the variables in these files, as they are whenever a session starts",
        is_opening=True,
        resolve=variables.resolve_file,
        help="files with variables for the session, one NAME=VALUE in each line",
    ).field()
    secrets: tuple[str, ...] = Spec(
        (),
        "a list of names of your secrets",
        variables.NAME,
        Kind.WAY,
        widens="sessions have these secrets, which your own config file defines, and can pass them on",
        is_opening=True,
        help="secrets for the session, from those that your config file defines",
    ).field()
    pids: tuple[str, ...] = Spec(
        ("4096",), "a number of processes and threads", r"[1-9][0-9]{0,6}", Kind.LIMIT, is_number=True, is_free=True
    ).field()
    memory: tuple[str, ...] = Spec(
        ("75%",), "an amount like 8g or 512m, or a share like 50%", _BYTES, Kind.LIMIT, is_free=True
    ).field()
    cpus: tuple[str, ...] = Spec(
        ("100%",), "a number like 2 or 1.5, or a share like 50%", _CPUS, Kind.LIMIT, is_number=True, is_free=True
    ).field()
    shm: tuple[str, ...] = Spec(
        ("2g",), "an amount like 2g or 512m, or a share like 50%", _BYTES, Kind.LIMIT, is_free=True
    ).field()
    runtime: str = Spec(
        ENGINE,
        "engine, or a runtime that the engine has, like runsc",
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        help="the runtime of the container",
        meanings={"engine": "the engine's default", "NAME": "that runtime, for instance runsc, which is gVisor"},
    ).field()
    gpus: str = Spec(
        "none",
        "none or all",
        scale=("none", "all"),
        help="the GPUs of your machine that the session has",
        meanings={"none": "no GPU", "all": "every GPU"},
        is_opening=True,
    ).field()
    git: str = Spec(
        "guarded",
        "guarded, isolated or open",
        scale=("isolated", "guarded", "open"),
        widens="sessions may change git's settings and hooks, which your machine runs; you learn of it only afterwards",
        help="what the session may do with the repository",
        meanings={
            "guarded": "use it, but not change git's settings and hooks",
            "isolated": "work on a copy of it",
            "open": "change everything in .git",
        },
        is_opening=True,
    ).field()
    push: str = Spec(
        NEVER,
        "ask, never, or a list of branches like agent/*",
        rf"{_BRANCH}(,{_BRANCH})*",
        scale=(NEVER, ASK),
        is_joined=True,
        help="what happens when the session pushes to the repository's remotes",
        meanings={
            NEVER: "git pushes with what the session itself has",
            ASK: "your machine pushes once you agree with `requests`",
            "BRANCHES": "the same, but without a question for matching branches, such as agent/*",
        },
        is_opening=True,
    ).field()
    ssh_agent: tuple[str, ...] = Spec(
        (),
        "a list of USER@HOST or USER@HOST:PORT",
        _LOGIN,
        Kind.LIST,
        help="the only hosts where the session signs in with your ssh keys: git@github.com",
        is_opening=True,
    ).field()
    protect: tuple[str, ...] = Spec(
        (), "a list of paths in the project, * in a name", _TREE, Kind.LIST, is_free=True
    ).field()
    hide: tuple[str, ...] = Spec(
        (), "a list of names, and of paths in the project, * in a name", _PATH, Kind.LIST, is_free=True
    ).field()
    writable: tuple[str, ...] = Spec(
        (),
        "a list of paths in the project, * in a name",
        _TREE,
        Kind.LIST,
        widens="sessions may change these files, which your machine runs; you learn of it only afterwards",
        is_opening=True,
    ).field()


_NAMED = zip(Settings._fields, OF_FIELDS, strict=True)
SPECS: Mapping[str, Spec] = {name: spec._replace(name=name) for name, spec in _NAMED}
# The settings by the names of their flags.
OF_FLAG = {spec.parameter: spec.name for spec in SPECS.values() if spec.has_flag}
