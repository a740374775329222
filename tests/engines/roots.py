"""The files of Debian machines, made by mmdebstrap from packages and kept for the next run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "confined-claude-tests"
_COMMON = "ca-certificates git iproute2 iptables procps python3 python3-venv"
_ROOTLESS = "dbus-user-session fuse-overlayfs passt rootlesskit slirp4netns uidmap"
PACKAGES = {
    "bookworm": f"{_COMMON} docker.io",
    "trixie": f"{_COMMON} {_ROOTLESS} aardvark-dns docker-buildx docker-cli docker.io netavark nftables podman runc",
    "sid": f"{_COMMON} docker-buildx docker-cli docker.io",
}


def root(suite: str, cache: Path = CACHE) -> Path:
    """Return the directory with the files of a Debian, which are made first if they are not in ``cache``."""
    mark = hashlib.sha256(f"{suite} {PACKAGES[suite]}".encode()).hexdigest()[:8]
    place = cache / f"{suite}-{mark}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        new = place.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        packages = PACKAGES[suite].replace(" ", ",")
        # A mirror may be a copy of some day; what of it counts is signed all the same.
        options = ["--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"', f"--include={packages}"]
        made = subprocess.run(["mmdebstrap", *options, suite, str(new)], capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr[-2000:]
        shutil.copy("/etc/resolv.conf", new / "etc/resolv.conf")
        new.rename(place)
    return place
