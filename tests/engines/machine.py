"""A machine of the tests' own: a Debian in its own namespaces, in which an engine runs. Needs root that may mount.

It shares this machine's kernel, and the directories that it is given, at the same paths. All else is its own: files,
processes, network. So no engine in it meets another one's bridge or containers.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import PATIENCE, SYSTEM_PATH, take

# Whoever uses the engine there.
UID = 12345
HOME = "/home/tester"
# Engines keep what they have here, and none of them can do so on an overlay.
_PLAIN = ("var/lib/docker", "var/lib/containers", "home")
# What this machine trusts: packages may come through a proxy with an authority of its own.
_TRUST = ("/etc/ssl", "/usr/local/share/ca-certificates", "/usr/share/ca-certificates")
_BOOT = """
set -eu
scratch=$1 lower=$2 plain=$3; shift 3
root=$scratch/root
mount --make-rprivate /
mount -t overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
for place in $plain; do mkdir -p "$root/$place" "$scratch/$place"; mount --bind "$scratch/$place" "$root/$place"; done
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir "$root/run/lock" "$root/run/user"
for place in /sys /dev "$@"; do mkdir -p "$root$place"; mount --rbind "$place" "$root$place"; done
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
touch /run/booted
# Bash reaps what others leave, as the first process has to.
while :; do sleep 3600 & wait; done
"""


@dataclass(frozen=True)
class Machine:
    """A machine that runs: its first process, its address, and that of this machine in its network."""

    pid: int
    address: str
    gateway: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list, compare=False)

    def words(self, *command: str, uid: int = 0, groups: Sequence[int] = (), directory: str = "/") -> list[str]:
        """Return the words of a command here that runs ``command`` there."""
        kept = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        return [
            *("nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", f"--wdns={directory}"),
            *("setpriv", "--reuid", str(uid), "--regid", str(uid), *kept, *command),
        ]

    def run(self, *command: str, uid: int = 0, check: bool = True, **environ: str) -> str:
        """Run a command there and return what it prints."""
        done = subprocess.run(
            self.words(*command, uid=uid), env=_environ(uid, environ),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command: str, log: Path, uid: int = 0, **environ: str) -> None:
        """Start a program there that goes on until the machine ends."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.words(*command, uid=uid), env=_environ(uid, environ),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)


def _environ(uid: int, more: dict[str, str]) -> dict[str, str]:
    return {"PATH": SYSTEM_PATH, "HOME": HOME if uid else "/root", **more}


@contextlib.contextmanager
def machine(lower: Path, shared: Sequence[Path], scratch: Path) -> Iterator[Machine]:
    """Have a machine with the files of the directory ``lower``, which stay as they are, during the block.

    ``shared`` are the directories that it shares with this one. What it writes is in a directory of its own in
    ``scratch`` until the end.
    """
    with contextlib.ExitStack() as stack:
        own = Path(tempfile.mkdtemp(prefix="machine-", dir=scratch))
        stack.callback(_remove, own)
        for name in ("root", "upper", "work"):
            (own / name).mkdir()
        own.chmod(0o755)
        space, address, gateway = stack.enter_context(_network())
        words = ["nsenter", f"--net=/run/netns/{space}", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        process = subprocess.Popen(
            [*words, "bash", "-c", _BOOT, "bash", str(own), str(lower), " ".join(_PLAIN), *_TRUST, *map(str, shared)],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        started = [process]
        stack.callback(_end, started)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        (pid,) = map(int, _until(lambda: children.read_text().split(), process))
        _until(Path(f"/proc/{pid}/root/run/booted").exists, process)
        found = Machine(pid, address, gateway, started)
        found.run("sh", "-c", _SET_UP, "sh", str(UID), HOME)
        yield found


_SET_UP = """
set -eu
groupadd -g "$1" tester
useradd -u "$1" -g "$1" -d "$2" -m -s /bin/bash tester
echo "tester:100000:65536" >/etc/subuid
echo "tester:100000:65536" >/etc/subgid
install -d -m 700 -o "$1" -g "$1" "/run/user/$1"
# Of its own, and for all, as udev has it.
mknod /run/tun c 10 200
chmod 666 /run/tun
mount --bind /run/tun /dev/net/tun
"""


def _until(condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert process.poll() is None, "the machine did not start"
        assert time.monotonic() < deadline, "the machine does not start"
        time.sleep(0.02)
    return found


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    started[0].kill()  # and with it its first process, and so all
    for process in started:
        process.wait()


def _remove(directory: Path) -> None:
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.25)


@contextlib.contextmanager
def _network() -> Iterator[tuple[str, str, str]]:
    """Have a network namespace, from which the internet is reached; yield its name, its address, this machine's."""
    taken = _ip("-4", "address")
    free = [number for number in range(1, 60) if f" 198.18.77.{4 * number + 1}/30 " not in taken]
    number = take("machine of engines", free)
    space, near = (f"ccm{secrets.token_hex(3)}{letter}" for letter in "sa")
    gateway, inside = f"198.18.77.{4 * number + 1}", f"198.18.77.{4 * number + 2}"
    rules = [
        ["-t", "nat", "{}", "POSTROUTING", "-s", f"{inside}/32", "-j", "MASQUERADE"],
        ["{}", "FORWARD", "-s", f"{inside}/32", "-j", "ACCEPT"],
        ["{}", "FORWARD", "-d", f"{inside}/32", "-j", "ACCEPT"],
    ]
    with contextlib.ExitStack() as made:
        _ip("netns", "add", space)
        made.callback(_ip, "netns", "delete", space)
        _ip("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", space)
        made.callback(_ip, "link", "delete", near, check=False)
        _ip("address", "add", f"{gateway}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", space, "address", "add", f"{inside}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        _ip("-n", space, "route", "add", "default", "via", gateway)
        for rule in rules:
            subprocess.run(["iptables", *(word.format("-I") for word in rule)], check=True)
            made.callback(subprocess.run, ["iptables", *(word.format("-D") for word in rule)], check=False)
        yield space, inside, gateway


def _ip(*words: str, check: bool = True) -> str:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout
