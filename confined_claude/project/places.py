"""Where in a home directory keys are, settings that programs obey, programs, and what starts by itself.

None of it can be a project, nor a part of one. Sources: the manuals of the tools for their own directories, the XDG
specifications and systemd.unit(5) for what starts by itself, bash(1), zsh(1), ssh(1) and the like for start-up files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from ..text import folded, normal_path

_KEYS = """.ssh .gnupg .aws .azure .kube .docker .config .password-store .pki .gcloud .oci .step .minikube .terraform.d
    .ansible .sops .age .mozilla .thunderbird .bitcoin .ethereum .electrum .var/app .local/share/keyrings
    Library/Keychains Library/Preferences Library/Containers .colima .lima .orbstack .rd .1password .op .putty .vnc
    .yubico .globus .cert .gnome2 .ecryptfs .Private .android .subversion .dropbox .rclone .local/share/gnupg
    .local/share/kwalletd .local/share/password-store .local/share/gopass .local/share/rbw .local/share/python_keyring
    .local/share/remmina .local/share/DBeaverData .local/share/dbeaver .pgadmin .dbt .aliyun .bluemix .linode-cli .tccli
    .cloudflared .fly .tsh .boundary .pulumi .kaggle .databricks .snowsql .snowflake .railway .cf .heroku .netlify
    .vercel .now .wrangler .supabase .serverless .ngrok .ngrok2 .chef .vagrant.d .helm .rancher .talos .sigstore
    .docker-desktop .machine .streamlit .huggingface .openai .modal .local/share/com.vercel.cli .local/share/docker
    .local/share/containers .litecoin .dogecoin .monero .zcash .near-credentials .brownie .aptos .sui .librewolf
    .waterfox .floorp .zen .icecat .tor-browser .local/share/torbrowser .local/share/qutebrowser .local/share/epiphany
    .local/share/falkon .purple .weechat .irssi .mutt .getmail .local/share/TelegramDesktop .local/share/signal-cli
    .local/share/weechat .local/share/gajim .local/share/dino .local/share/nheko .local/share/fractal
    .local/share/evolution .local/share/geary .local/share/akonadi .local/share/local-mail .local/share/atuin
    .cache/mozilla .cache/thunderbird .cache/librewolf .cache/google-chrome .cache/chromium .cache/BraveSoftware
    .cache/vivaldi .cache/microsoft-edge .cache/opera .cache/qutebrowser .cache/epiphany .cache/evolution .cache/geary
    .cache/rbw Library/Accounts Library/Cookies Library/Safari Library/Mail Library/Messages"""
_OF_MACOS = ("Library/Application Support", "Library/Group Containers", "Library/Input Methods")
# Settings, and plug-ins that programs load when they start.
_SETTINGS = """.vim .nvim .emacs.d .doom.d .spacemacs.d .oh-my-zsh .zsh .zsh.d .bash_it .bash.d .tmux .elvish .ipython
    .jupyter .julia .R .octave .gdbinit.d .vscode .vscode-insiders .vscode-oss .vscode-server .cursor .cursor-server
    .windsurf .windsurf-server .zed .fleet .gradle .m2 .ivy2 .sbt .bloop .codex .gemini .copilot .continue .i3 .xmonad
    .fluxbox .openbox .awesome .sway .kde .kde4 .local/share/nvim .local/share/vim .local/share/emacs .local/share/zsh
    .local/share/fish .local/share/bash-completion .local/share/JetBrains .local/share/code-server
    .local/share/confined-claude .bashrc.d .bash_profile.d .bash_aliases.d .bash_completion.d .profile.d .zshrc.d
    .zshenv.d .zfunc .zsh_functions .zinit .zplug .zgen .zgenom .antigen .antidote .zim .zprezto .oh-my-bash .oh-my-posh
    .liquidprompt .fzf .direnv.d .SpaceVim .SpaceVim.d .eclipse .p2 .sage .racket .vscode-remote .vscode-server-insiders
    .vscodium .void-editor .antigravity .trae .kiro .codeium .tabnine .augment .opencode .qwen .factory .lein .clojure
    .nuget .bundle .compiz .fvwm .icewm .hammerspoon .local/share/zinit .local/share/sheldon .local/share/antidote
    .local/share/omf .local/share/nushell .local/share/xonsh .local/share/direnv .local/share/lvim .local/share/kate
    .local/share/gedit .local/share/jupyter .local/share/gh .local/share/helm .local/share/opencode .local/share/goose
    .local/state/mise .local/state/nvim .local/state/zsh .local/state/bash .cache/oh-my-zsh .cache/zsh .cache/antidote
    .cache/gitstatus .cache/JetBrains"""
# Programs on the PATH of many, by the tools that put them there, and the libraries of these programs.
_PROGRAMS = """.local/lib .cargo .rustup .nvm .fnm .n .volta .nodenv .deno .bun .npm-global .npm-packages .npm .yarn
    .pnpm .pyenv .virtualenvs .rye .pixi .conda miniconda3 anaconda3 miniforge3 mambaforge .rbenv .rvm .gem .asdf .mise
    .proto .sdkman .jenv .goenv .gvm go/bin go/pkg .tfenv .krew .ghcup .cabal .stack .opam .dotnet .composer .phpenv
    .pub-cache .mix .luarocks .juliaup .nix-profile .nix-defexpr .linuxbrew .foundry .local/pipx .local/opt
    .local/share/pipx .local/share/uv .local/share/mise .local/share/pnpm .local/share/npm .local/share/fnm
    .local/share/nvm .local/share/virtualenvs .local/share/pypoetry .local/share/cargo .local/share/rustup
    Library/Python Library/pnpm .nodebrew .phpbrew .plenv .perlbrew perl5 .cpan .cpanm .swiftly .swiftpm .zvm .dvm
    .fvm .tenv .wasmer .wasmtime .moon .kotlin .konan .coursier .ammonite .platformio .arduino15 .espressif .conan
    .conan2 .spack .mamba .micromamba micromamba .venv .venvs .local/share/flatpak .local/share/claude
    .local/share/cursor-agent .local/share/heroku .local/share/pyenv .local/share/hatch .local/share/pdm
    .local/share/gem .local/share/coursier .local/share/swiftly .local/share/rtx .local/share/aquaproj-aqua
    .local/share/bob .local/share/R .local/share/Steam .local/state/nix .steam .cache/pip .cache/uv .cache/pypoetry
    .cache/pdm .cache/hatch .cache/pre-commit .cache/prek .cache/ms-playwright .cache/puppeteer .cache/Cypress
    .cache/node .cache/node-gyp .cache/electron .cache/yarn .cache/pnpm .cache/deno .cache/go-build .cache/bazel
    .cache/bazelisk .cache/coursier .cache/nix .cache/torch .cache/helm .cache/typescript .cache/copilot
    .cache/vscode-cpptools Library/Caches"""
_SELF_STARTING = """.local/share/systemd .local/share/applications .local/share/dbus-1 .local/share/autostart
    .local/share/gnome-shell .local/share/plasma .local/share/kservices5 .local/share/nautilus .local/share/nemo
    .local/share/cinnamon .local/share/caja .local/share/kio .local/share/kwin .local/share/thumbnailers
    .local/share/vulkan Library/LaunchAgents Library/LaunchDaemons Library/Scripts Library/Services"""
# No project is in one of these trees.
TREES = (*f"{_KEYS} {_SETTINGS} {_PROGRAMS} {_SELF_STARTING}".split(), *_OF_MACOS)
# Likewise, but projects may be below: `~/go/src/x`, `~/.local/share/chezmoi`, models in `~/.cache/huggingface/hub`.
TOPS = """bin snap .local .local/bin .local/share .local/state .cache .cache/huggingface .ollama .var Library go
    go/src""".split()
# Of what a snap has in `~/snap/NAME`, only what is in `common` and not hidden can be a project; nothing of these.
_SNAPS = frozenset(
    """firefox thunderbird chromium brave opera opera-beta opera-developer vivaldi microsoft-edge librewolf epiphany
    falkon bitwarden bw keepassxc 1password authy proton-pass proton-mail signal-desktop telegram-desktop discord
    slack element-desktop mattermost-desktop skype whatsie evolution mailspring hiri docker lxd multipass kubectl
    google-cloud-sdk google-cloud-cli aws-cli doctl gh code code-insiders codium electron-mail ledger-live-desktop
    bitcoin-core electrum wasabi monero steam""".split()
)
# Where those trees are if they are not below the home directory.
_BASES = {"XDG_DATA_HOME": ".local/share", "XDG_STATE_HOME": ".local/state", "XDG_CACHE_HOME": ".cache"}
_VARIABLES = frozenset(
    """XDG_CONFIG_HOME GNUPGHOME DOCKER_CONFIG CARGO_HOME RUSTUP_HOME NVM_DIR FNM_DIR VOLTA_HOME
    DENO_INSTALL_ROOT BUN_INSTALL PNPM_HOME PYENV_ROOT RBENV_ROOT ASDF_DATA_DIR MISE_DATA_DIR SDKMAN_DIR
    GOBIN PIPX_HOME ZSH PASSWORD_STORE_DIR CLOUDSDK_CONFIG AZURE_CONFIG_DIR PULUMI_HOME GRADLE_USER_HOME""".split()
).union(_BASES)
# Where it would be to have keys in one's own directories, all that holds these is closed too.
_KEY_VARIABLES = ("XDG_CONFIG_HOME", "GNUPGHOME", "DOCKER_CONFIG", "PASSWORD_STORE_DIR")
# Files with passwords and keys.
_KEY_FILES = """.git-credentials .pgpass .my.cnf .mylogin.cnf .s3cfg .boto .vault-token .terraformrc .cvspass
    .databrickscfg .serverlessrc .sentryclirc .modal.toml .comet.config .vast_api_key .fetchmailrc .msmtprc .mbsyncrc
    .offlineimaprc .muttrc .rclone.conf .cache/huggingface/token .cache/huggingface/stored_tokens .ollama/id_ed25519
    .bash_history .zsh_history .python_history .psql_history .mysql_history .node_repl_history""".split()

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
_TREES = frozenset(TREES)
# What counts itself, and not with all in it.
_ALONE = frozenset((*TOPS, *_KEY_FILES, *_START_UP))


def private_place(root: str, home: str, environ: Mapping[str, str]) -> str:
    """Return the place of the user with the real ``home`` that ``root``, a real path, is, or is in; empty if none.

    It is followed by the variable that it is from, if it is from one.
    """
    above = [root, *map(str, Path(root).parents)]
    inner = [path[len(home) + 1 :] for path in above if path.startswith(f"{home}/")]
    tops, trees = _elsewhere(environ)
    # They may be missing.
    by_name = next((path for path in inner if path in _TREES), "") or next(
        (each for each in inner[:1] if each in _ALONE), ""
    )
    if by_name or _is_a_snaps(above, home):
        return f"~/{by_name or 'snap'}"
    if named := tops.get(root) or next((trees[path] for path in above if path in trees), ""):
        return named
    for name in _KEY_VARIABLES:
        place = environ.get(name, "")
        if place.startswith("/") and os.path.realpath(place).startswith(f"{root}/"):
            return f"{place} ({name})"
    # Any of them may be a link. Files are compared, as resolving dozens of paths takes a noticeable part of a start.
    found = list(_there(home, (*_ALONE, *TREES)))
    tops |= {path: f"~/{name}" for name, path, _ in found if name in _ALONE}
    trees |= {path: f"~/{name}" for name, path, is_link in found if name in _TREES or (is_link and name in _START_UP)}
    trees |= {path: path for path in _links_of_start_up(home)}
    return _same_as([root], tops) or _same_as(above, trees)


def _is_a_snaps(above: Sequence[str], home: str) -> bool:
    """Return whether the first of ``above``, which are its parents, is what a snap has for itself in the ``home``."""
    snaps = f"{home}/snap"
    base = next((path for path in above if path == snaps or are_same([path], [snaps])), None)
    if base is None:
        return False
    app, part, name = (*above[0][len(base) + 1 :].split("/"), "", "")[:3]
    return app in _SNAPS or part != "common" or not name or name.startswith(".")


def _same_as(paths: Iterable[str], others: Mapping[str, str]) -> str:
    """Return what ``others`` has for the first path in it that is the same file or directory as one of ``paths``."""
    identities = _identities(paths)
    return next((said for path, said in others.items() if not identities.isdisjoint(_identities([path]))), "")


def _elsewhere(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the paths of tops and of trees that variables put in other places than the home directory.

    With each is how it is named to the user.
    """
    named = {name: normal_path(path) for name, path in environ.items() if name in _VARIABLES and path.startswith("/")}
    said = {path: f"{path} ({name})" for name, path in named.items()}
    tops = {path: said[path] for name in _BASES if (path := named.pop(name, ""))}
    trees = {path: said[path] for path in named.values()}
    for name, usual in _BASES.items():
        if (base := environ.get(name, "")).startswith("/"):
            paths = (normal_path(base) + tree[len(usual) :] for tree in TREES if tree.startswith(f"{usual}/"))
            trees |= {path: f"{path} ({name})" for path in paths}
    return tops, trees


def start_up_links(home: str | Path) -> Iterator[str]:
    """Yield what programs read when they start, or what starts by itself, and is a link in ``home`` or behind one."""
    yield from (path for _, path, is_link in _there(str(home), (*_START_UP, *TREES, "snap")) if is_link)
    yield from _links_of_start_up(home)


def _links_of_start_up(home: str | Path) -> Iterator[str]:
    return _links_in(f"{home}/{name}" for name in _OF_START_UP)


def _there(home: str, names: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield each of ``names`` that is in ``home``, its path, and whether it is a link, or behind one, maybe missing."""
    listed: dict[str, Container[str]] = {home: _names_in(home)}
    for name in names:
        way, is_link = home, False
        for part in name.split("/"):
            if way not in listed:
                listed[way] = _names_in(way)
            if part.lower() not in listed[way]:
                break
            way = f"{way}/{part}"
            if is_link := os.path.islink(way):  # noqa: PTH114 - a Path for each takes longer than that
                break
        else:
            yield name, way, False
        if is_link:
            yield name, f"{home}/{name}", True


def _names_in(directory: str) -> Container[str]:
    """Return the names in a directory as ``folded`` gives them: one list is faster than a look for each."""
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
