"""An engine of a test's own, with options and a machine that the test chooses; the machine's own is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers import PATIENCE, docker, wait_until

from confined_claude.image.recipe import LATEST, image_chain
from confined_claude.settings import Settings


class OwnEngine:
    """A second engine, of the test's own, that it may stop and kill.

    Its network and its mounts are in namespaces that go with it, so that nothing of them stays on this machine. A shell
    ``script`` runs there before it starts. Its sessions have no network.
    """

    def __init__(self, folder: Path, script: str = "", options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self._script = script
        self._options = [*options, "--iptables=false", "--ip6tables=false"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            f"--host={self.address}", f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid", *self._options,
            "--storage-driver=vfs" if os.environ.get("CONFINED_CLAUDE_TEST_VFS") else "--storage-driver=overlay2",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            script = f'set -e; ip link set lo up; {self._script or ":"}; exec dockerd "$@"'
            command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.docker("version", "--format", "{{.Server.Version}}", check=False).strip())

    def docker(self, *words: str, check: bool = True) -> str:
        return docker("--host", self.address, *words, check=check)

    def take_by_default(self, runtime: str, file: Path) -> None:
        """Have the engine take another runtime by default, without a restart, by its configuration in ``file``."""
        file.write_text(json.dumps(json.loads(file.read_text()) | {"default-runtime": runtime}))
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.docker("info", "--format", "{{.DefaultRuntime}}").strip() == runtime)

    def end(self, ending: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(ending)
            self._process.wait(PATIENCE)
            self._process = None
            # What was killed has left them, and another process may have such a number by now.
            for name in ("pid", "exec/containerd/containerd.pid"):
                (self.folder / name).unlink(missing_ok=True)

    def copy_image(self) -> None:
        """Bring the image of sessions there."""
        name = image_chain(Settings(), {}).name
        copy = 'docker save "$1" | docker --host "$2" load --quiet'
        words = ["bash", "-o", "pipefail", "-c", copy, "bash", name, self.address]
        copied = subprocess.run(words, capture_output=True, text=True, check=False)
        assert copied.returncode == 0, copied.stderr
        self.docker("tag", name, LATEST)


@contextlib.contextmanager
def own_engine(script: str = "", *options: str) -> Iterator[OwnEngine]:
    """Have such an engine during the block."""
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="confined-claude-engine-", dir="/tmp")), script, options)
    try:
        engine.start()
        yield engine
    finally:
        engine.end(signal.SIGTERM)
        # What the engine has left running writes there until it has ended, too.
        wait_until(lambda: shutil.rmtree(engine.folder, ignore_errors=True) or not engine.folder.exists())
