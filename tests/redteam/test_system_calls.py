"""What a session reaches beside the network: its hypervisor, and the kernel's parts that nobody needs for work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from attacks import Field
from helpers import docker
from probes import INTERNET, NONE, OPEN, background, confined, plain

SOURCE = Path(__file__).with_name("families.c")
FAMILIES = {"families": "cc -Wall -Werror -o /tmp/families PROJECT/families.c && /tmp/families"}
FOR_WORK = {"unix", "inet", "inet6", "netlink"}
WORK = {
    "node": 'node -e \'require("net").createServer().listen(0, "127.0.0.1", function () { this.close() })\'',
    "npm": "npm --version && npm init -y",
    "python": "python3 -c 'import asyncio, multiprocessing, socket, threading;"
    " asyncio.run(asyncio.sleep(0)); multiprocessing.Pool(2).map(abs, [1]); socket.socketpair()'",
    "threads": "python3 -c 'import threading; t = threading.Thread(target=print); t.start(); t.join()'",
    "git": "git init -q r && cd r && git -c user.name=x -c user.email=x commit -q --allow-empty -m x && git status",
    "compiler": "echo 'int main(void) { return 0; }' >x.c && cc x.c && ./a.out",
    "names": "getent hosts localhost && python3 -c 'import socket; socket.if_nameindex()'",
}
DEBUG = {
    "install": "sudo apt-get update -qq && sudo apt-get install -y -qq strace gdb",
    "strace": "strace -f -o /tmp/trace sh -c 'ls >/dev/null' && grep -q execve /tmp/trace",
    "gdb": "gdb -batch -ex run --args ls / 2>&1 | grep -q 'exited normally'",
}


@pytest.fixture
def prepared(field: Field) -> Field:
    field.user.own(Path(shutil.copy(SOURCE, field.project)))
    return field


@pytest.mark.root
def test_no_hypervisor_and_no_ring(prepared: Field) -> None:
    """In no mode of the network, and not for root in the container or 32-bit calls."""
    for given in (NONE, INTERNET, OPEN):
        done = confined(prepared, FAMILIES, **given)
        assert set(done["families"].said.split()) == FOR_WORK
    with background(prepared, ["sleep", "600"], **NONE) as (_, name):
        script = prepared.text(FAMILIES["families"])
        assert set(docker("exec", "--user", "0", name, "sh", "-c", script).split()) == FOR_WORK
    # The control: by the engine's default, where that and the kernel have them.
    found = set(plain(prepared, FAMILIES, "--security-opt", "seccomp=unconfined")["families"].said.split())
    assert found >= FOR_WORK | {"vsock", "io_uring"}


def test_work_is_as_before(field: Field) -> None:
    done = confined(field, WORK, **NONE)
    assert list(done.succeeded(list(WORK))) == list(WORK), done.steps
    done = confined(field, DEBUG, **INTERNET)
    assert list(done.succeeded(list(DEBUG))) == list(DEBUG), done.steps
