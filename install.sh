#!/usr/bin/env bash
# Installs Confined Claude for the calling user; run again it brings the installation up to date.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/host.sh
. "$here/scripts/host.sh"

usage() {
    cat <<'END'
usage: ./install.sh [--with-engine] [PROJECT [-- ARGS]]
       ./install.sh --uninstall [--yes]

Installs the commands confined-claude, inv, invoke and copier in ~/.local/bin, and completion of
the first for your shells, and builds the image. With PROJECT, a directory outside this clone, it
adds the scaffold to that directory (created if missing) and starts Claude Code there with ARGS.

  --with-engine  install the Docker engine if there is none, without asking (Debian, Ubuntu)
  --uninstall    remove your installation and the images that you have built, and your data if you
                 want; it names what is lost and asks first, and leaves Docker and other users' sessions
  --yes          remove the installation and images without asking; the data stays
END
}

# xdg VALUE DEFAULT: prints the directory that a variable of this VALUE stands for. By the standard, a relative one counts
# as unset.
xdg() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s' "$2" ;; esac; }

# Sets the directories and files of this installation.
find_directories() {
    case ${HOME-} in /*) ;; *) fail 2 "HOME is not set, or not an absolute path." "Set it to your home directory." ;; esac
    xdg_data=$(xdg "${XDG_DATA_HOME-}" "$HOME/.local/share")
    xdg_config=$(xdg "${XDG_CONFIG_HOME-}" "$HOME/.config")
    data="$xdg_data/confined-claude"
    state="$(xdg "${XDG_STATE_HOME-}" "$HOME/.local/state")/confined-claude"
    config="$xdg_config/confined-claude"
    # As system.py has it: on macOS version 0.1 had all three in one directory; where that is, it stays.
    local earlier="$HOME/Library/Application Support/confined-claude"
    if [ "$(uname -s)" = Darwin ] && [ -d "$earlier" ]; then
        data=$earlier state=$earlier config=$earlier
    fi
    venv="$data/venv"
    bin="$HOME/.local/bin"
}

# check_project PROJECT: ends with exit code 2 if it can be no project, before anything is installed. Without a Python,
# `init` says so in the end.
check_project() {
    search_python || return 0
    "$python" -I -B -c '
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from confined_claude.console import wrapped
from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.project import check_new
try:
    check_new(Path.cwd() / sys.argv[2], Host.current())
except ConfinedError as error:
    sys.exit(wrapped(f"confined-claude: {error}", sys.stderr))
' "$here" "$1" || exit 2
}

# Prints a checksum that changes whenever the package does.
package_stamp() {
    (cd "$here" && find confined_claude pyproject.toml -type f ! -path '*/__pycache__/*' -exec cksum {} + | LC_ALL=C sort | cksum)
}

install_package() {
    local stamp
    stamp=$(package_stamp)
    if [ "$(cat "$venv/installed" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c 'import confined_claude' 2>/dev/null; then
        return
    fi
    find_python
    say "Installing the package into $venv."
    mkdir -p "$data"
    "$venv/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$venv"
    rm -f "$venv/installed"
    pip_trusts_what_the_system_trusts "$venv/bin/python"
    # A directory is installed anew, whatever its version. Where it is named like a release (name-1) pip would cache that.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "$here"
    without_setuptools "$venv/bin/python"
    isolate_command "$venv/bin/confined-claude"
    printf '%s\n' "$stamp" >"$venv/installed"
}

# isolate_command FILE: makes pip's FILE start Python with -I, so that it imports nothing from where PYTHONPATH leads.
# Where the path of Python is long or has a blank, FILE is a shell script whose second line starts it.
isolate_command() {
    sed -e '1s|^\(#!.*/python[0-9.]*\)$|\1 -I|' -e "2s|^\('''exec' .*\) \"\$0\" |\1 -I \"\$0\" |" "$1" >"$1.new"
    head -n 2 "$1.new" | grep -q -e ' -I' || fail 2 "pip has made a command of an unknown form: $1." "Report this as a bug."
    chmod 755 "$1.new"
    mv "$1.new" "$1"
}

link_commands() {
    local name
    mkdir -p "$bin"
    for name in confined-claude inv invoke copier; do
        if [ "$(readlink "$bin/$name" 2>/dev/null)" = "$venv/bin/$name" ]; then
            continue
        elif [ -e "$bin/$name" ] || [ -L "$bin/$name" ]; then
            say "$bin/$name is not from this installer and stays as it is; the installed command is $venv/bin/$name."
        else
            ln -s "$venv/bin/$name" "$bin/$name"
        fi
    done
    case ":$PATH:" in
        *":$bin:"*) ;;
        *) say "$bin is not on your PATH. Add this line to your shell's start-up file:" "    export PATH=\"\$HOME/.local/bin:\$PATH\"" ;;
    esac
}

# completion_link SHELL: prints where the shell searches for the completion of the command. zsh needs a line in .zshrc.
completion_link() {
    case $1 in
        bash) printf '%s' "$xdg_data/bash-completion/completions/confined-claude" ;;
        fish) printf '%s' "$xdg_config/fish/completions/confined-claude.fish" ;;
        zsh) printf '%s' "$data/completion.zsh" ;;
    esac
}

leads_into_venv() { case $(readlink "$1" 2>/dev/null) in "$venv"/*) ;; *) return 1 ;; esac; }

link_completion() {
    local shell link target
    for shell in bash fish zsh; do
        have "$shell" || continue
        link=$(completion_link "$shell")
        target=("$venv"/lib/python*/site-packages/confined_claude/commands/completion/confined-claude."$shell")
        if leads_into_venv "$link"; then
            [ "$link" -ef "${target[0]}" ] || ln -sf "${target[0]}" "$link"
        elif [ -e "$link" ] || [ -L "$link" ]; then
            say "$link is not from this installer and stays as it is; the installed file is ${target[0]}."
        elif ! { mkdir -p "${link%/*}" && ln -s "${target[0]}" "$link"; } 2>/dev/null; then
            say "$link cannot be created: $shell will not complete confined-claude."
        elif [ "$shell" = zsh ] && ! grep -qsF "$link" "${ZDOTDIR:-$HOME}/.zshrc"; then
            say "If you use zsh, add this line to your .zshrc, for completion:" "    source \"$link\""
        fi
    done
}

build_image() {
    local base
    base=$("$venv/bin/confined-claude" config 2>/dev/null | sed -n 's/^base = "\([^"]*\)".*/\1/p')
    [ "$base" != debian:bookworm-slim ] || ensure_base
    "$venv/bin/confined-claude" build
}

start_project() {
    local project=$1
    shift
    cd -- "$project"
    # The project may have a tasks.py of its own, but the command needs none.
    if grep -q confined_claude tasks.py 2>/dev/null; then
        exec "$venv/bin/inv" run "$@"
    fi
    exec "$venv/bin/confined-claude" run "$@"
}

# ask_tool STEP: prints what commands/uninstall.py has to say; nothing if the installation is damaged.
ask_tool() {
    "$venv/bin/python" -I -c 'import confined_claude' 2>/dev/null || return 0
    "$venv/bin/python" -I -m confined_claude.commands.uninstall "$1"
}

# has_data: whether there is more in the directories than the installation itself has put there.
has_data() {
    local found
    found=$(find "$data" "$state" "$config" -mindepth 1 -maxdepth 1 ! -path "$venv" ! -path "$data/completion.zsh" \
        ! -name template.bundle ! -path "$state/locks" ! -path "$state/logs" 2>/dev/null) || true
    [ -n "$found" ]
}

# All that is lost is named first, then all questions are asked; only then anything is removed.
uninstall() {
    local name link plan losses='' with_data=''
    # Consent to install an engine is not consent to delete anything.
    assume_yes=
    plan=$(ask_tool plan) || exit 2
    say "This removes the installation in $venv, and its commands and completion.${plan:+ Also: $plan.}"
    if has_data; then
        # With --yes the data stays, and with it what would be lost.
        [ "$1" = yes ] || losses=$(ask_tool losses) ||
            losses="Findings that wait for a review, and commits that only a copy has, cannot be listed."
        say "Your data is in $data, $state and $config: the sessions' sign-in, history, settings, caches, records and copies of repositories. $([ "$1" = yes ] && echo "It stays." || echo "You are asked about it too.")${losses:+ In it:}"
        [ -z "$losses" ] || say "$losses"
    fi
    if ! { [ "$1" = yes ] || ask "Remove the installation?"; }; then
        [ -t 0 ] && [ -t 2 ] || fail 2 "Nothing was removed. There is no terminal to ask on." "Add --yes to remove it; your data stays."
        say "Nothing was removed."
        return
    fi
    if [ "$1" != yes ] && has_data && ask "Delete your data as well? It cannot be undone."; then with_data=1; fi
    ask_tool images
    for name in confined-claude inv invoke copier; do
        link="$bin/$name"
        if [ "$(readlink "$link" 2>/dev/null)" = "$venv/bin/$name" ]; then rm "$link"; fi
    done
    for name in bash fish zsh; do
        link=$(completion_link "$name")
        if leads_into_venv "$link"; then
            rm "$link"
            rmdir "${link%/*}" "${link%/*/*}" 2>/dev/null || true
        fi
    done
    rm -rf "$venv"
    rm -rf "$state/locks" "$state/logs" "$HOME/.local/share/confined-claude/template.bundle"
    rmdir "$HOME/.local/share/confined-claude" 2>/dev/null || true
    [ -z "$with_data" ] || rm -rf "$data" "$state" "$config"
    # Empty directories are not data.
    rmdir "$data" "$state" "$config" 2>/dev/null || true
    for name in "$data" "$state" "$config"; do [ ! -d "$name" ] || say "Kept: $name"; done
    say "Uninstalled. Projects keep their .confined-claude directory and tasks.py."
}

main() {
    local project='' action='' yes=''
    # Only the user consents here, not the environment.
    assume_yes=
    find_directories
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; return ;;
            --with-engine) assume_yes=1 ;;
            --uninstall) action=uninstall ;;
            --yes) yes=yes ;;
            --) break ;;
            -*) usage >&2; fail 2 "Unknown option: $1" ;;
            *) [ -z "$project" ] || { usage >&2; fail 2 "More than one project: $project, $1"; }
               project=$1 ;;
        esac
        shift
    done
    if [ "$action" = uninstall ]; then
        uninstall "$yes"
        return
    fi
    [ -z "$yes" ] || fail 2 "--yes works only with --uninstall." "Leave it out, or add --uninstall."
    [ $# -eq 0 ] || [ -n "$project" ] || fail 2 "Arguments for Claude need a project: ./install.sh PROJECT -- ARGS"
    [ -z "$project" ] || check_project "$project"
    ensure_engine
    install_package
    if [ -n "$project" ]; then
        have git || ! may_install git || apt_install git
        "$venv/bin/confined-claude" init --defaults --directory="$project" >/dev/null || exit 2
    fi
    link_commands
    link_completion
    build_image
    if [ -n "$project" ]; then
        start_project "$project" "$@"
    fi
    say "Ready. Run confined-claude in a project's directory."
}

main "$@"
