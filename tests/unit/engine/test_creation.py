"""Arguments of ``docker create`` as the engine's API takes them. On an engine: tests/engine/test_dry_run.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.engine.creation import read_arguments
from confined_claude.engine.mount import bind_value


def test_every_kind_of_option_has_its_place(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "X",\n "names": []}')
    words = (
        "--tty --interactive --rm --pull never --name a-name --hostname a-host --stop-signal SIGHUP --workdir /w "
        "--cap-drop ALL --cap-add CHOWN --cap-add SETUID --security-opt no-new-privileges "
        f"--security-opt seccomp={profile} "
        "--pids-limit 9 --memory 1000 --memory-swap 2000 --cpus 1.50 --log-driver none --network bridge --userns host "
        "--read-only --entrypoint /e --dns-search . --ulimit core=0 "
        "--add-host a:host-gateway --publish 127.0.0.1:80:81 --dns 1.1.1.1 --volumes-from x:ro --label a=b=c "
        "--label d= --group-add 1001 --env A=1=2 --env B= image --rm word"
    ).split()
    made = read_arguments(words)
    assert made.name == "a-name"
    assert made.body == {
        "AttachStdin": True, "AttachStdout": True, "AttachStderr": True,
        "Tty": True, "OpenStdin": True, "StdinOnce": True,
        "Hostname": "a-host", "StopSignal": "SIGHUP", "WorkingDir": "/w", "Entrypoint": ["/e"],
        "Image": "image", "Cmd": ["--rm", "word"],
        "Labels": {"a": "b=c", "d": ""}, "Env": ["A=1=2", "B="],
        "ExposedPorts": {"81/tcp": {}},
        "HostConfig": {
            "AutoRemove": True, "CapDrop": ["ALL"], "CapAdd": ["CHOWN", "SETUID"],
            "SecurityOpt": ["no-new-privileges", 'seccomp={"defaultAction":"X","names":[]}'],
            "PidsLimit": 9, "Memory": 1000, "MemorySwap": 2000, "NanoCpus": 1_500_000_000,
            "LogConfig": {"Type": "none"}, "NetworkMode": "bridge", "UsernsMode": "host",
            "GroupAdd": ["1001"], "ExtraHosts": ["a:host-gateway"], "Dns": ["1.1.1.1"], "VolumesFrom": ["x:ro"],
            "DnsSearch": ["."], "ReadonlyRootfs": True, "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "PortBindings": {"81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]},
        },
    }  # fmt: skip


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1), st.booleans())
def test_a_mount_keeps_its_path_whatever_that_has(name: str, read_only: bool) -> None:
    source = Path("/") / name
    (mount,) = read_arguments(["--mount", bind_value(source, "/t", read_only=read_only), "i"]).host["Mounts"]
    assert mount == {"Type": "bind", "Source": str(source), "Target": "/t", "ReadOnly": read_only}


def test_a_mount_in_memory_has_no_source() -> None:
    (mount,) = read_arguments(["--mount", "type=tmpfs,target=/t,readonly", "i"]).host["Mounts"]
    assert mount == {"Type": "tmpfs", "Source": "", "Target": "/t", "ReadOnly": True}


@pytest.mark.parametrize("word", ["--privileged", "--volume", "-v"])
def test_an_option_that_is_not_known_is_no_image(word: str) -> None:
    with pytest.raises(LookupError):
        read_arguments([word, "x", "image"])


def test_a_runtime_and_gpus() -> None:
    made = read_arguments(["--runtime", "runsc", "--gpus", "all", "image"])
    # As the docker command asks for them.
    assert made.host == {"Runtime": "runsc", "DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}
    # The only one that Podman heeds, see pkg/api/handlers/compat/containers_create.go in its source.
    (asked,) = read_arguments(["--device", "nvidia.com/gpu=all", "image"]).host["DeviceRequests"]
    assert asked == {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}
