"""What the engine refuses, with what to do about it. The words are those of engines."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from confined_claude.engine.failures import is_disk_full, refused, unreachable

MOUNT = 'invalid mount config for type "bind": '
OCI = "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error: "
KATA = 'failed to start shim: runtime "io.containerd.kata.v2" binary not installed "containerd-shim-kata-v2"'
RUNC = "failed to create task for container: runc create failed: unable to start container process: "


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (f"{MOUNT}bind source path does not exist: /home/me/app", "sees other files than you do"),
        ("Mounts denied: \nThe path /srv/app is not shared from the host", "sees other files than you do"),
        ("error while creating mount source path '/srv/app': mkdir /srv: read-only file system", "sees other files"),
        ("making volume mountpoint for volume /srv/app: mkdir /srv: permission denied", "sees other files than you do"),
        ("statfs /home/me/app: no such file or directory", "sees other files than you do"),
        (f"{MOUNT}stat /home/me/remote: permission denied", "FUSE without `allow_other`"),
        (f'{RUNC}error mounting "/r" to rootfs at "/r": stat /r: permission denied: unknown', "NFS with root_squash"),
        ("write /var/lib/docker/x: no space left on device", "Free some disk space"),
        ("netavark: nftables error: unable to execute nft: No such file or directory", "apt-get install nftables"),
        ("network there-is-none not found", "docker network ls"),
        ("mkdir /var/lib/docker/overlay2/x: disk quota exceeded", "Free some disk space"),
        (f"{RUNC}mkdir /sys/fs/cgroup/memory/docker/4f: no space left on device: unknown", "no more control groups"),
        ("mkdir /run/containerd/io.containerd.runtime.v2.task/moby/4f: no space left on device", "df -h /run"),
        ("write /srv/run/docker/x: no space left on device", "Free some disk space"),
        ('could not select device driver "" with capabilities: [[gpu]]', "Container Toolkit"),
        ("failed to discover GPU vendor from CDI: no known GPU vendor found", "Container Toolkit"),
        ("setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all", "Container Toolkit"),
        (f"{OCI}fork/exec /usr/bin/runsc: no such file or directory: <nil>: unknown", "correct its path"),
        (f"{KATA}: file does not exist: unknown", "correct its path"),
        ('exec: "containerd-shim-x-v1": executable file not found in $PATH: unknown', "correct its path"),
        ('exec: "there-is-none": executable file not found in $PATH: unknown', "See the engine's own log"),
        ("something else: permission denied", "See the engine's own log"),
    ],
)
def test_a_refusal_has_a_hint_that_fits(reason: str, words: str) -> None:
    error = refused("create the container", reason)
    assert reason in error.message
    assert words in error.hint
    assert error.exit_code == 3


@pytest.mark.parametrize(
    ("printed", "is_full"),
    [
        ("E: write error: No space left on device", True),
        ("write /var/lib/docker/tmp/x: disk quota exceeded", True),
        ("mkdir /sys/fs/cgroup/docker/buildkit/x: no space left on device", False),
        ("write /dev/shm/x: No space left on device", False),
        ("failed", False),
    ],
)
def test_only_a_full_disk_is_called_one(printed: str, is_full: bool) -> None:
    assert is_disk_full(printed) is is_full


def test_podmans_engine_is_named_and_so_is_how_to_start_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/podman.sock")
    assert unreachable("No such file or directory").message == "The Podman engine does not answer."
    refusal = unreachable("connect: permission denied")
    assert refusal.message == "You have no permission to use the Podman engine."
    for error in (unreachable("No such file or directory"), refusal):
        assert "systemctl --user enable --now podman.socket" in error.hint
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert "apt-get install docker.io" in unreachable("No such file or directory").hint
    (tmp_path / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "podman").chmod(0o755)
    assert "podman.socket" in unreachable("No such file or directory").hint


def test_an_engine_that_does_not_answer_is_sought_where_it_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/docker")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert unreachable("refused").hint.endswith("or correct DOCKER_HOST, which is tcp://127.0.0.1:1.")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/podman" if name == "podman" else None)
    assert unreachable("refused").message == "The engine in use does not answer."
    assert unreachable("refused").hint.endswith("or correct DOCKER_HOST, which is tcp://127.0.0.1:1.")
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/docker")
    monkeypatch.delenv("DOCKER_HOST")
    assert unreachable("refused").hint.endswith("and check `docker context ls`.")


def test_a_member_of_the_engines_group_only_has_to_log_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    for members, words in (([me], "not in this login yet"), (["other"], "usermod -aG docker")):
        group = grp.struct_group(("docker", "x", 999, members))
        monkeypatch.setattr(grp, "getgrnam", {"docker": group}.__getitem__)
        assert words in unreachable("dial unix /var/run/docker.sock: connect: permission denied").hint
