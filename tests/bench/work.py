"""Work in a session beside the same work outside: the image's own programs, run on the host by chroot. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from .figures import Figure, ratio
from .place import Place
from .starts import in_turn, waiting

_FILES = 3_000
_FUNCTIONS = 500
_TESTS = 150
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
Call = Callable[[Sequence[str]], float]


def work(place: Place, runs: int) -> Iterator[Figure]:
    """Measure the processor time of work in a session beside that of the same work outside."""
    if os.geteuid() != 0:
        print("Work outside is measured by chroot, which needs root.", file=sys.stderr)
        return
    _make_sources(place)
    tasks = {
        "git status": ["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10; do git status --short; done"],
        "a compile": ["gcc", "-O1", "-c", "many.c", "-o", "many.o"],
        "a test run": ["python3", "-m", "unittest", "-q", "test_many"],
        "npm install": ["sh", "-c", "rm -rf node_modules package-lock.json && npm install --prefer-offline --silent"],
    }
    with _outside(place) as outside, waiting(place) as (name, _):
        line = ["docker", "exec", "--workdir", str(place.project), name, "python3", "-c", _TIMED]

        def inside(command: Sequence[str]) -> float:
            return float(place.run([*line, *command]))

        for what, command in tasks.items():
            calls = {"in": lambda it=command: inside(it), "out": lambda it=command: outside(it)}
            times = in_turn(max(3, runs // 3) if what == "npm install" else runs, calls)
            yield ratio(f"{what}, inside / outside", times["in"], times["out"], 1.05, 1.03)


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
def _outside(place: Place) -> Iterator[Call]:
    """Yield a function that runs a command on the host with the image's programs, and returns its processor time.

    The image's files are mounted for one process of the benchmark's own, and are gone with it.
    """
    asked = ["docker", "image", "inspect", place.image, "--format", "{{json .GraphDriver.Data}}"]
    inspected = json.loads(place.run(asked))
    layers = ":".join(filter(None, (inspected["UpperDir"], inspected.get("LowerDir"))))
    root, changes, scratch = (place.home / f"outside/{name}" for name in ("root", "changes", "scratch"))
    for directory in (root, changes, scratch):
        directory.mkdir(parents=True)
    at = f"{root}{place.project}"
    script = f"""
        set -e
        mount -t overlay overlay -o lowerdir={layers},upperdir={changes},workdir={scratch} {root}
        mkdir -p {at}
        mkdir --mode 777 {root}/outside
        mount --bind {place.project} {at}
        mount --rbind /proc {root}/proc
        mount --rbind /dev {root}/dev
        cat /etc/resolv.conf >{root}/etc/resolv.conf
        cat /etc/hosts >{root}/etc/hosts
        echo ready
        exec sleep infinity
    """
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        line = ["nsenter", "--mount", "--target", str(process.pid), "chroot", f"--userspec={place.uid}:{place.uid}"]
        line += [str(root), "env", "-C", str(place.project), "HOME=/outside", "python3", "-c", _TIMED]
        yield lambda command: float(subprocess.run([*line, *command], check=True, capture_output=True).stdout)
    finally:
        process.kill()
        process.communicate()
