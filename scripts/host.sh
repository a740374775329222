# shellcheck shell=bash
# What install.sh and tests/run need of the host: Python, a running Docker engine, and the base image. Sourced by bash
# scripts; every function says what it does on the machine.

# say LINE...: prints messages, wrapped at words for a terminal. A line with several commands, or with two spaces in a
# row, is for copying and stays as it is.
say() {
    local size width=0
    if [ -t 2 ] && size=$(stty size <&2 2>/dev/null); then width=${size#* }; fi
    printf "confined-claude: %s\n" "$@" | awk -v width="$width" '
        width < 20 || length($0) <= width || /  | && / { print; next }
        {
            line = $1
            for (i = 2; i <= NF; i++)
                if (length(line) + length($i) < width) line = line " " $i
                else { print line; line = "  " $i }
            print line
        }' >&2
}

# fail EXIT_CODE LINE...
fail() {
    local code=$1
    shift
    say "$@"
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# Whether this user can install packages with APT, as root or with sudo.
has_apt() { have apt-get && { [ "$(id -u)" = 0 ] || have sudo; }; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# ask QUESTION: succeeds if a person at a terminal says yes, or with assume_yes=1.
ask() {
    local reply
    [ "${assume_yes-}" = 1 ] && return 0
    [ -t 0 ] && [ -t 2 ] || return 1
    read -r -p "confined-claude: $1 [y/N] " reply
    case $reply in [yY] | [yY][eE][sS]) return 0 ;; *) return 1 ;; esac
}

# may_install WHAT: succeeds for root, and for others who may use sudo and say yes.
may_install() {
    has_apt || return 1
    [ "$(id -u)" = 0 ] || ask "Install $1 with sudo apt-get?"
}

# apt_install PACKAGE...: installs packages, or ends with exit code 2.
apt_install() {
    say "Installing $* with apt-get."
    # A source that cannot be reached does not matter if others have the packages.
    as_root apt-get update -qq >/dev/null || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null ||
        fail 2 "apt-get could not install $*; its reason is above." "Fix that, or install it yourself, and start again."
}

# Prints this user's name, for a command to type.
user_name() { id -un 2>/dev/null || true; }

python_works() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# Sets $python to one that is new enough and can create virtual environments, or fails. The system's own comes first: it
# outlives what version managers remove, and other users can run it.
search_python() {
    for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        python_works "$python" && return
    done
    return 1
}

# Sets $python as search_python does, installs one if it may, or ends with exit code 2.
find_python() {
    search_python && return
    if may_install "python3-venv"; then
        apt_install python3 python3-venv
        python=/usr/bin/python3
        python_works "$python" && return
    fi
    fail 2 "Python 3.10 or newer with its venv module is missing." \
        "Install it (Debian, Ubuntu: apt-get install python3-venv) and start again."
}

# without_setuptools PYTHON: removes what Python up to 3.11 puts into each virtual environment. Nothing here uses it, and
# its hook takes part in every start and every import.
without_setuptools() {
    "$1" -I -c 'import setuptools' 2>/dev/null || return 0
    "$1" -m pip uninstall --quiet --disable-pip-version-check --yes setuptools
}

# pip_trusts_what_the_system_trusts PYTHON: behind a TLS proxy pip's own list of authorities is not enough.
pip_trusts_what_the_system_trusts() {
    local bundle
    [ -z "${PIP_CERT-}" ] && ! "$1" -m pip config get global.cert >/dev/null 2>&1 || return 0
    for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
        if [ -r "$bundle" ]; then
            export PIP_CERT="$bundle"
            return 0
        fi
    done
}

# engine WORD...: the docker command, or Podman's where there is none, for the engine in use.
engine() { if have docker; then docker "$@"; else podman --url "${DOCKER_HOST:-unix:///var/run/docker.sock}" "$@"; fi; }

engine_works() { { have docker || have podman; } && engine version >/dev/null 2>&1; }

how_to_install_engine() {
    local id=
    [ -r /etc/os-release ] && id=$(. /etc/os-release && echo "${ID-} ${ID_LIKE-}")
    case "$(uname -s) $id" in
        Darwin*) echo "Install Docker Desktop, OrbStack or Colima, and start it." ;;
        *debian* | *ubuntu*)
            echo "Run: sudo apt-get install docker.io$([ "${assume_yes-}" = 1 ] || echo "    (or: ./install.sh --with-engine)")" ;;
        *fedora* | *rhel*) echo "Run: sudo dnf install moby-engine && sudo systemctl enable --now docker" ;;
        *arch*) echo "Run: sudo pacman -S docker && sudo systemctl enable --now docker" ;;
        *suse*) echo "Run: sudo zypper install docker && sudo systemctl enable --now docker" ;;
        *alpine*) echo "Run: apk add docker && rc-service docker start" ;;
        *) echo "Install Docker from your distribution, and start it." ;;
    esac
}

start_engine() {
    say "Starting the Docker engine."
    if [ -d /run/systemd/system ]; then
        as_root systemctl enable --now docker >/dev/null 2>&1 || true
    elif have service && [ -e /etc/init.d/docker ]; then
        as_root service docker start >/dev/null 2>&1 || true
    fi
    wait_for_engine 10 && return
    # No service manager, as in a bare container or chroot. If another dockerd runs, this one ends at once.
    if [ "$(id -u)" = 0 ] && have dockerd; then
        engine_log=/var/log/dockerd.log
        setsid nohup dockerd >"$engine_log" 2>&1 </dev/null &
        wait_for_engine 60
    fi
}

wait_for_engine() {
    local deadline=$((SECONDS + $1))
    until engine_works; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.5
    done
}

engine_packages() {
    echo docker.io
    # From Debian 13 on the command is a package of its own.
    if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; fi
}

# Returns once an engine runs that this user may use, or ends with exit code 3.
ensure_engine() {
    engine_works && return
    local answer
    if ! have docker || ! { have dockerd || [ -S /var/run/docker.sock ] || [ -n "${DOCKER_HOST-}${DOCKER_CONTEXT-}" ]; }; then
        if ! may_install "the Docker engine (docker.io)"; then
            fail 3 "There is no Docker engine on your machine." "$(how_to_install_engine)" \
                "Then join its group: sudo usermod -aG docker $(user_name)    (log out and in again)"
        fi
        as_root apt-get update -qq >/dev/null || true
        # shellcheck disable=SC2046 # two words are two packages
        (apt_install $(engine_packages)) || exit 3
        start_engine || true
    elif has_apt && { [ "$(id -u)" = 0 ] || ask "The Docker engine does not answer. Start it with sudo?"; }; then
        start_engine || true
    fi
    engine_works && return
    answer=$(docker version 2>&1 >/dev/null || true)
    case $answer in
        *"permission denied"*)
            fail 3 "You have no permission to use the Docker engine." \
                "Run: sudo usermod -aG docker $(user_name)    then log out and in again, and start ./install.sh again." ;;
        *)
            [ -z "${engine_log-}" ] ||
                fail 3 "The Docker engine does not answer." "See in $engine_log why dockerd does not start; check also: docker context ls"
            fail 3 "The Docker engine does not answer." \
                "Start it: sudo systemctl start docker    (or: sudo service docker start), and check: docker context ls" ;;
    esac
}

# Sets mirrors to the sources lines of Debian 12 that APT on this host uses; none where it uses others.
find_mirrors() {
    local fields='$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)'
    mapfile -t mirrors < <(apt-get indextargets --format "$fields" 'Identifier: Packages' 2>/dev/null |
        awk -F'|' '$3 ~ /^bookworm/ && $4 == "main" && $5 == "Debian" && !seen[$1, $2]++ { print "deb", $1, $2, "main" }')
}

# make_base NAME: makes an image of Debian 12 from packages and imports it under this name, or ends with exit code 3.
make_base() (
    say "No image registry can be reached: making the base image $1 from Debian packages, with mmdebstrap."
    no_docs="$(dirname "${BASH_SOURCE[0]}")/../confined_claude/container/image/dpkg-no-docs"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    find_mirrors
    # Through a file, as an incomplete archive would be imported all the same.
    mmdebstrap --variant=minbase --dpkgopt="$no_docs" bookworm - "${mirrors[@]}" >"$work/base.tar" 2>"$work/log" &&
        engine import --change 'LABEL confined-claude=base' "$work/base.tar" "$1" >/dev/null 2>>"$work/log" && exit
    tail -n 5 "$work/log" >&2
    fail 3 "The base image could not be made; the reason is above." \
        "Fix that, or name an image within reach in the setting \`base\`, and start again."
)

# Provides the base image, unless nothing can be installed to make it: the build then says what is missing.
ensure_base() {
    local base=debian:bookworm-slim old=confined-claude-base:bookworm
    if engine image inspect "$base" >/dev/null 2>&1 || engine pull --quiet "$base" >/dev/null 2>&1; then
        return
    elif engine image inspect "$old" >/dev/null 2>&1; then
        # Version 0.1 made it under this name.
        engine tag "$old" "$base" && engine rmi "$old" >/dev/null
    elif have mmdebstrap || { may_install "mmdebstrap, as no image registry can be reached" &&
        apt_install mmdebstrap debian-archive-keyring; }; then
        make_base "$base" || exit 3
    fi
}
