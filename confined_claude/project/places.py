"""Where in a home directory keys are, settings that programs obey, programs, and what starts by itself.

None of it can be a project, nor a part of one. Sources: the manuals of the tools for their own directories, the XDG
specifications and systemd.unit(5) for what starts by itself, bash(1), zsh(1), ssh(1) and the like for start-up files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from ..text import folded, normal_path

_KEYS = """.ssh .gnupg .aws .azure .kube .docker .config .password-store .pki .gcloud .oci .step .minikube .terraform.d
    .ansible .sops .age .mozilla .thunderbird .bitcoin .ethereum .electrum .var/app .local/share/keyrings
    Library/Keychains Library/Preferences Library/Containers .colima .lima .orbstack .rd"""
# Settings, and plug-ins that programs load when they start.
_SETTINGS = """.vim .nvim .emacs.d .doom.d .spacemacs.d .oh-my-zsh .zsh .zsh.d .bash_it .bash.d .tmux .elvish
    .ipython .jupyter .julia .R .octave .gdbinit.d .vscode .vscode-insiders .vscode-oss .vscode-server .cursor
    .cursor-server .windsurf .windsurf-server .zed .fleet .gradle .m2 .ivy2 .sbt .bloop .codex .gemini .copilot
    .continue .i3 .xmonad .fluxbox .openbox .awesome .sway .kde .kde4
    .local/share/nvim .local/share/vim .local/share/emacs .local/share/zsh .local/share/fish
    .local/share/bash-completion .local/share/JetBrains .local/share/code-server .local/share/confined-claude"""
# Programs on the PATH of many, by the tools that put them there, and the libraries of these programs.
_PROGRAMS = """.local/lib .cargo .rustup .nvm .fnm .n .volta .nodenv .deno .bun .npm-global .npm-packages
    .npm .yarn .pnpm .pyenv .virtualenvs .rye .pixi .conda miniconda3 anaconda3 miniforge3 mambaforge .rbenv .rvm .gem
    .asdf .mise .proto .sdkman .jenv .goenv .gvm go/bin go/pkg .tfenv .krew .ghcup .cabal .stack .opam .dotnet .composer
    .phpenv .pub-cache .mix .luarocks .juliaup .nix-profile .nix-defexpr .linuxbrew .foundry .local/pipx .local/opt
    .local/share/pipx .local/share/uv .local/share/mise .local/share/pnpm .local/share/npm .local/share/fnm
    .local/share/nvm .local/share/virtualenvs .local/share/pypoetry .local/share/cargo .local/share/rustup
    Library/Python Library/pnpm"""
_SELF_STARTING = """.local/share/systemd .local/share/applications .local/share/dbus-1 .local/share/autostart
    .local/share/gnome-shell .local/share/plasma .local/share/kservices5 .local/share/nautilus .local/share/nemo
    .local/share/cinnamon Library/LaunchAgents Library/LaunchDaemons Library/Scripts Library/Services"""
# No project is in one of these trees.
TREES = tuple(f"{_KEYS} {_SETTINGS} {_PROGRAMS} {_SELF_STARTING}".split())
# Likewise, but projects may be below: `~/go/src/x`, `~/.local/share/chezmoi`.
TOPS = ("bin", ".local", ".local/bin", ".local/share", ".local/state", ".var", "Library", "go", "go/src")
# Where those trees are if they are not below the home directory.
_VARIABLES = """XDG_CONFIG_HOME GNUPGHOME DOCKER_CONFIG CARGO_HOME RUSTUP_HOME NVM_DIR FNM_DIR VOLTA_HOME
    DENO_INSTALL_ROOT BUN_INSTALL PNPM_HOME PYENV_ROOT RBENV_ROOT ASDF_DATA_DIR MISE_DATA_DIR SDKMAN_DIR
    GOBIN PIPX_HOME ZSH""".split()

# Where it would be to have keys in one's own directories, all that holds these is closed too.
_KEY_VARIABLES = ("XDG_CONFIG_HOME", "GNUPGHOME", "DOCKER_CONFIG")
# Files with passwords and keys.
_KEY_FILES = """.git-credentials .pgpass .my.cnf .s3cfg .boto .vault-token .terraformrc .huggingface/token .bash_history
    .zsh_history .python_history""".split()

# What shells, git, ssh, tmux, editors and interpreters read in the home directory when they start.
_START_UP = """.bashrc .bash_profile .bash_login .bash_logout .bash_aliases .bash_completion .profile .zshrc .zprofile
    .zshenv .zlogin .zlogout .kshrc .mkshrc .cshrc .tcshrc .login .logout .inputrc .xprofile .xinitrc .xsession
    .xsessionrc .Xresources .pam_environment .direnvrc .dircolors .gitconfig .gitattributes .git-templates .githooks
    .hgrc
    .ssh/config .ssh/rc .ssh/authorized_keys .tmux.conf .screenrc .vimrc .gvimrc .nvimrc .exrc .ideavimrc .emacs
    .spacemacs .nanorc .gdbinit .lldbinit .pythonrc .pypirc .npmrc .yarnrc .condarc .gemrc .irbrc .pryrc .Rprofile
    .Renviron .octaverc .ghci .psqlrc .sqliterc .curlrc .wgetrc .netrc .editrc .mailcap .make.conf .Makefile
    .claude.json""".split()
# Directories whose entries are such files, or directories of them.
_OF_START_UP = (".config", ".config/systemd/user", ".config/autostart", "Library/LaunchAgents")
# In Claude Code's config, the directories whose entries it obeys.
_OF_CLAUDE = ("", "/agents", "/commands", "/hooks", "/output-styles", "/plugins", "/rules", "/skills")
_MAX_ENTRIES = 2000
# What counts itself, and not with all in it.
_ALONE = frozenset((*TOPS, *_KEY_FILES, *_START_UP))


def is_private(root: str, home: str, environ: Mapping[str, str]) -> bool:
    """Return whether ``root``, a real path, is one of the places of the user with the real ``home``, or in a tree."""
    alone = {f"{home}/{name}" for name in _ALONE}
    trees = {f"{home}/{name}" for name in TREES}
    trees.update(normal_path(place) for name in _VARIABLES if (place := environ.get(name, "")).startswith("/"))
    above = [root, *map(str, Path(root).parents)]
    if root in alone or not trees.isdisjoint(above):  # they may be missing
        return True
    keys = (place for name in _KEY_VARIABLES if (place := environ.get(name, "")).startswith("/"))
    if any(os.path.realpath(place).startswith(f"{root}/") for place in keys):
        return True
    # Any of them may be a link. Files are compared, as resolving dozens of paths takes a noticeable part of a start.
    found = list(_there(home, (*_ALONE, *TREES)))
    alone = {path for name, path, _ in found if name in _ALONE}
    trees.difference_update(f"{home}/{name}" for name in TREES)
    trees.update(path for name, path, is_link in found if name not in _ALONE or (is_link and name in _START_UP))
    return are_same([root], alone) or are_same(above, (*trees, *_links_of_start_up(home)))


def start_up_links(home: str | Path) -> Iterator[str]:
    """Yield what programs read when they start, or what starts by itself, and is a link in ``home`` or behind one."""
    yield from (path for _, path, is_link in _there(str(home), (*_START_UP, *TREES)) if is_link)
    yield from _links_of_start_up(home)


def _links_of_start_up(home: str | Path) -> Iterator[str]:
    return _links_in(f"{home}/{name}" for name in _OF_START_UP)


def _there(home: str, names: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield each of ``names`` that is in ``home``, its path, and whether it is a link or behind one: then it may be
    missing.
    """
    listed: dict[str, Container[str]] = {}
    for name in names:
        way, is_link = home, False
        for part in name.split("/"):
            if way not in listed:
                listed[way] = _names_in(way)
            if folded(part) not in listed[way]:
                break
            way = f"{way}/{part}"
            if is_link := os.path.islink(way):  # noqa: PTH114 - a Path for each takes longer than that
                break
        else:
            yield name, way, False
        if is_link:
            yield name, f"{home}/{name}", True


def _names_in(directory: str) -> Container[str]:
    """Return the names in a directory as ``folded`` gives them: one list takes less than a look for each of them."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:  # noqa: TID251 - as below
        names = {folded(entry.name) for entry in islice(entries, _MAX_ENTRIES)}
        return names if len(names) < _MAX_ENTRIES else _Any()
    return _Any()


class _Any:
    """The names in a directory that has too many, or cannot be listed: any may be there."""

    def __contains__(self, _name: object) -> bool:
        return True


def claude_links(config: str | Path) -> Iterator[str]:
    """Yield what is a link in the ``config`` of Claude Code, which runs hooks, scripts and skills from there."""
    return _links_in(f"{config}{name}" for name in _OF_CLAUDE)


def _links_in(directories: Iterable[str]) -> Iterator[str]:
    left = _MAX_ENTRIES
    for directory in directories:
        for entry in _entries(directory):
            left -= 1
            if left < 0:
                return
            if entry.is_symlink():
                yield entry.path


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:  # noqa: TID251 - no session can write there
        return sorted(entries, key=lambda entry: entry.name)
    return []


def are_same(paths: Iterable[str | Path], others: Iterable[str | Path]) -> bool:
    """Return whether one of ``paths`` is the same file or directory as one of ``others``; those missing are not."""
    return not _identities(paths).isdisjoint(_identities(others))


def _identities(paths: Iterable[str | Path]) -> set[tuple[int, int]]:
    found = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(path)  # noqa: PTH116 - a Path for each takes longer than that
            found.add((status.st_dev, status.st_ino))
    return found
