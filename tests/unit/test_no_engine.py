"""The guard itself: a test that reaches for an engine fails, even where the failure is hidden."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

REACHING = """
import contextlib, os, socket, subprocess

def test_socket():
    with contextlib.suppress(BaseException), socket.socket(socket.AF_UNIX) as client:
        client.connect({socket!r})
        client.send(b"reached")

def test_command():
    with contextlib.suppress(BaseException):
        subprocess.run(["docker", "ps"])

def test_command_in_a_shell():
    with contextlib.suppress(BaseException):
        subprocess.run("true && docker ps", shell=True)

def test_system():
    with contextlib.suppress(BaseException):
        os.system("docker ps")

def test_tcp():
    with contextlib.suppress(BaseException):
        socket.create_connection(("127.0.0.1", 2375))

def test_harmless():
    subprocess.run(["true"], check=True)
"""


def test_every_way_to_an_engine_is_stopped_and_fails_the_test(tmp_path: Path) -> None:
    place = tmp_path / "suite"
    place.mkdir()
    (place / "pytest.ini").touch()
    shutil.copy(Path(__file__).with_name("conftest.py"), place)
    (place / "bin").mkdir()
    command = place / "bin/docker"
    command.write_text(f"#!/bin/sh\n: >{place}/docker-ran\n")
    command.chmod(0o755)
    address = str(place / "docker.sock")
    (place / "test_reaching.py").write_text(REACHING.format(socket=address))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        server.setblocking(False)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", place, "test_reaching.py"],
            cwd=place,
            env={"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            server.accept()[0].close()
            connected = True
        except BlockingIOError:
            connected = False

    assert not connected
    assert not (place / "docker-ran").exists()
    assert "6 passed, 5 errors" in run.stdout, run.stdout
    assert run.stdout.count("reached for a Docker engine") >= 5
    assert "test_harmless" not in run.stdout
