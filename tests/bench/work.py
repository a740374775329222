"""Work in a session beside the same work outside. Needs root.

Outside are the image's own programs on this machine's own file system, without a container: a chroot into the image's
files, with the project at its path. So both run the same programs on the same files, and the difference is all that a
session adds: namespaces, cgroups, the seccomp profile, the commands of ours on its PATH. A plain ``docker run`` would
hide most of that.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from .figures import Item, attempt, ratio
from .place import Place, finish
from .starts import in_turn, waiting

_FILES = 10_000
_FUNCTIONS = 500
_TESTS = 300
# Prints the processor time that a command takes: what others do on the machine changes that little, and a difference of
# 3 % would disappear in the elapsed time.
_TIMED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""
_TEST = """
import json, os, tempfile, unittest

class Test(unittest.TestCase):
    pass

def case(number):
    def test(self):
        with tempfile.TemporaryDirectory(dir=".") as directory:
            path = os.path.join(directory, "file")
            with open(path, "w") as file:
                json.dump(list(range(number * 10)), file)
            with open(path) as file:
                self.assertEqual(len(json.load(file)), number * 10)
    return test

for number in range({tests}):
    setattr(Test, f"test_{{number}}", case(number))
"""
_TASKS = {
    "git status": "for n in 1 2 3 4 5 6 7 8 9 10; do git status --short; done",
    "a compile": "gcc -O1 -c many.c -o many.o",
    "a test run": "python3 -m unittest -q test_many",
    "npm install": "rm -rf node_modules package-lock.json && npm install --prefer-offline --no-audit --silent",
}
Outside = Callable[..., "subprocess.Popen[bytes]"]


def work(place: Place, runs: int) -> Iterator[Item]:
    """Measure the processor time of work in a session beside that of the same work outside."""
    if os.geteuid() != 0:
        print("Work outside is measured by chroot, which needs root.", file=sys.stderr)
        return
    _make_sources(place)
    with outside(place) as start, waiting(place) as (name, _):
        inside = ["docker", "exec", "--workdir", str(place.project), name]

        def compared(what: str, script: str) -> Iterator[Item]:
            timed = ["python3", "-c", _TIMED, "sh", "-c", script]
            calls = {
                "in": lambda: float(place.run([*inside, *timed])),
                "out": lambda: float(finish(start(timed))),
            }
            times = in_turn(max(3, runs // 3) if what == "npm install" else runs, calls)
            yield ratio(f"{what}, inside / outside", times["in"], times["out"], 1.05, 1.03)

        for what, script in _TASKS.items():
            yield from attempt(what, lambda what=what, script=script: compared(what, script))  # type: ignore[misc]


def _make_sources(place: Place) -> None:
    """Make a repository of many files, a C file, a test file and a package with dependencies."""
    project = place.project
    for number in range(_FILES):
        path = project / f"src/{number // 100}/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n")
    code = "double f%d(double x) { for (int i = 0; i < %d; i++) x = x * i + 1; return x; }"
    (project / "many.c").write_text("\n".join(code % (number, number) for number in range(_FUNCTIONS)))
    (project / "test_many.py").write_text(_TEST.format(tests=_TESTS))
    package = {"name": "bench", "version": "1.0.0", "dependencies": {"express": "4"}}
    (project / "package.json").write_text(json.dumps(package))
    place.give()
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for words in (("init", "-q"), ("add", "src"), (*identity, "commit", "-qm", "all")):
        place.run(["git", *words])


@contextlib.contextmanager
def outside(place: Place) -> Iterator[Outside]:
    """Yield a function that starts a command on this machine with the image's programs, in the project.

    It takes more variables of its environment by name. The image's files are mounted for one process of the
    benchmark's own, and are gone with it.
    """
    layers, variables = _image(place)
    root, changes, scratch, home = (place.home / f"outside/{name}" for name in ("root", "changes", "scratch", "home"))
    for directory in (root, changes, scratch, home):
        directory.mkdir(parents=True, exist_ok=True)
    place.give()
    at = f"{root}{place.project}"
    script = f"""
        set -e
        mount -t overlay overlay -o lowerdir={":".join(layers)},upperdir={changes},workdir={scratch} {root}
        mkdir -p {at}
        mount --bind {place.project} {at}
        mount --bind {home} {root}{variables["HOME"]}
        mount --rbind /proc {root}/proc
        mount --rbind /dev {root}/dev
        cat /etc/resolv.conf >{root}/etc/resolv.conf
        cat /etc/hosts >{root}/etc/hosts
        ln -sf /usr/bin/git.distrib {root}/usr/local/bin/git
        echo ready
        exec sleep infinity
    """
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    user = f"--userspec={place.uid}:{place.uid}"
    line = [
        "nsenter",
        "--mount",
        "--target",
        str(process.pid),
        "chroot",
        user,
        str(root),
        "env",
        "--ignore-environment",
    ]

    def start(command: Sequence[str], **extra: str) -> subprocess.Popen[bytes]:
        given = [f"{name}={value}" for name, value in {**variables, **extra}.items()]
        words = [*line, f"--chdir={place.project}", *given, *command]
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
        )

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield start
    finally:
        process.kill()
        process.communicate()


def _image(place: Place) -> tuple[list[str], Mapping[str, str]]:
    """Return the directories of the image's layers, the highest first, and its environment."""
    asked = ["docker", "image", "inspect", place.image, "--format", "{{json .GraphDriver.Data}}\n{{json .Config.Env}}"]
    data, variables = map(json.loads, place.run(asked).splitlines())
    layers = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
    return layers, dict(variable.split("=", 1) for variable in variables)
