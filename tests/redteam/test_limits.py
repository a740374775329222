"""What a session does to use up the machine, or to outlive its tool."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from attacks import Field
from helpers import PATIENCE, TEST_LABEL, docker, sessions_of, wait_until
from probes import BY_SIDECAR, IMAGE, INTERNET, NONE, background, confined, containers, plain, settings_file, settle

# Starts processes that wait until they are killed, and prints how many there could be.
FORKS = """python3 -c '
import os, signal, sys, time
children = []
for _ in range(1500):
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        time.sleep(300)
        os._exit(0)
    children.append(child)
print(len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)' """
BOMB = "b() { b | b & }; b; sleep 300"
HUNGRY = "python3 -c 'x = [bytearray(b\"x\" * (1 << 20)) for _ in range(400)]; print(len(x))'"


def inspected(name: str) -> dict[str, object]:
    return dict(json.loads(docker("inspect", name))[0]["HostConfig"])


def test_processes_are_limited(field: Field) -> None:
    """D01."""
    done = confined(field, {"forks": FORKS}, CONFINED_CLAUDE_PIDS="100", **NONE)
    assert 0 < int(done["forks"].said) < 100
    assert int(plain(field, {"forks": FORKS})["forks"].said) == 1500  # the control


def test_a_fork_bomb_ends_with_its_session(field: Field) -> None:
    """D01."""
    with background(field, ["bash", "-c", BOMB], CONFINED_CLAUDE_PIDS="100", **NONE) as (tool, name):
        limit = inspected(name)["PidsLimit"]
        assert subprocess.run(["true"], check=False).returncode == 0  # this machine has processes left
        tool.terminate()
        tool.wait(PATIENCE)
    assert limit == 100
    settle(field)
    assert field.session("true", **NONE).returncode == 0


def test_memory_is_limited(field: Field) -> None:
    """D02."""
    done = field.session(HUNGRY, CONFINED_CLAUDE_MEMORY="128m", **NONE)
    assert done.returncode == 137, done.stderr
    assert "memory" in done.stderr
    assert "CONFINED_CLAUDE_MEMORY" in done.stderr
    settle(field)
    assert plain(field, {"x": HUNGRY})["x"].said.strip() == "400"  # the control
    assert field.session(HUNGRY, CONFINED_CLAUDE_MEMORY="1g", **NONE).stdout.strip() == "400"


def test_processors_are_limited(field: Field) -> None:
    with background(field, ["sleep", "600"], CONFINED_CLAUDE_CPUS="0.5", **NONE) as (_, name):
        assert inspected(name)["NanoCpus"] == 500_000_000
    with background(field, ["sleep", "600"], **NONE) as (_, name):  # the control
        assert inspected(name)["NanoCpus"] == 0


def test_a_project_can_only_lower_what_is_set(field: Field) -> None:
    config = field.project / ".confined-claude/config.toml"
    field.user.folder(config.parent)

    settings_file(field.user, 'pids = 200\nmemory = "1g"\n')

    def limits(text: str) -> tuple[object, object]:
        config.write_text(text)
        with background(field, ["sleep", "600"], **NONE) as (_, name):
            found = inspected(name)
        settle(field)
        return found["PidsLimit"], found["Memory"]

    assert limits('pids = 1000000\nmemory = "100%"\n') == (200, 1 << 30)
    assert limits('pids = 150\nmemory = "512m"\n') == (150, 1 << 29)  # the control


ENDLESS = "head -c 100000000 /dev/zero | tr '\\0' 'x'"


def test_endless_output_fills_no_disk(field: Field) -> None:
    """All of it comes through, and the engine keeps none."""
    words = ("confined-claude", "shell", "--", "sh", "-c", f"{ENDLESS}; touch over; sleep 600")
    with subprocess.Popen(
        field.user.command(*words), cwd=field.project, env=field.user.environ(**NONE), stdout=subprocess.PIPE
    ) as tool:
        assert tool.stdout is not None
        got = 0
        while got < 100_000_000 and (chunk := tool.stdout.read1(1 << 20)):  # type: ignore[union-attr]
            got += len(chunk)
        wait_until((field.project / "over").exists)
        (name,) = containers(field, "session")
        log = inspected(name)["LogConfig"]
        path = docker("inspect", "--format", "{{.LogPath}}", name).strip()
        tool.send_signal(signal.SIGTERM)
        tool.stdout.read()
    assert got == 100_000_000
    assert (log, path) == ({"Type": "none", "Config": {}}, "")
    settle(field)
    assert field.session("true", **NONE).returncode == 0
    # The control: a plain container's is kept.
    name = docker(
        "create", "--label", TEST_LABEL, "--entrypoint", "sh", IMAGE, "-c", "head -c 1000000 /dev/zero"
    ).strip()
    try:
        docker("start", "--attach", name)
        assert len(docker("logs", name)) == 1_000_000
    finally:
        docker("rm", "--force", name)


def test_output_that_nobody_reads_holds_nothing_up(field: Field) -> None:
    """D05."""
    words = ("confined-claude", "shell", "--", "sh", "-c", "touch on; exec cat /dev/zero")
    with subprocess.Popen(
        field.user.command(*words), cwd=field.project, env=field.user.environ(**NONE), stdout=subprocess.PIPE
    ) as tool:
        wait_until((field.project / "on").exists)
        assert tool.stdout is not None
        tool.send_signal(signal.SIGTERM)
        try:
            wait_until(lambda: tool.poll() is not None and not sessions_of(field.project))
        finally:
            tool.stdout.close()
    assert tool.returncode == 128 + signal.SIGTERM


def test_a_hundred_thousand_files_hide_nothing(field: Field) -> None:
    """In one folder and in many; what matters among them is told."""
    many = (
        "import os; [os.makedirs(f'd/{n}') for n in range(20000)]; [open(f'f/{n}', 'w').close() for n in range(80000)]"
    )
    done = field.session(f'mkdir f; python3 -c "{many}"; echo x >d/19999/.envrc; echo x >f/.envrc', **NONE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    reviewed = field.review()
    assert "d/19999/.envrc" in reviewed.stdout
    assert "f/.envrc" in reviewed.stdout
    field.prepare("rm d/19999/.envrc f/.envrc")
    again = field.session("ls f | wc -l", **NONE)
    assert (again.returncode, again.stdout.strip()) == (0, "80000"), again.stderr


# Nobody's API: it is only asked for.
ALLOWLIST = {"CONFINED_CLAUDE_NETWORK": "allowlist", "ANTHROPIC_BASE_URL": "http://localhost:9"}
STUBBORN = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
open("deaf", "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("given", "sidecars"),
    [(INTERNET, 0), (BY_SIDECAR, 1), (ALLOWLIST, 1)],
    ids=["internet", "internet by a sidecar", "allowlist"],
)
def test_what_ignores_every_signal_is_gone_with_its_tool(
    field: Field, number: signal.Signals, given: dict[str, str], sidecars: int
) -> None:
    """D05."""
    with background(field, ["python3", "-c", STUBBORN], **given) as (tool, name):
        assert len(containers(field, "sidecar")) == sidecars
        wait_until((field.project / "deaf").exists)
        docker("exec", name, "sh", "-c", "kill -TERM -1; kill -HUP -1")
        assert containers(field, "session") == [name]  # the control: it does ignore them
        os.kill(tool.pid, number)
        tool.wait(PATIENCE)
        assert containers(field, "session") == []
        wait_until(lambda: not containers(field, "sidecar"))


def test_nothing_of_the_limits_is_the_sessions_to_change(field: Field) -> None:
    groups = "/sys/fs/cgroup"
    steps = {
        "pids": f"for f in $(find {groups} -name pids.max); do echo max >$f && exit 0; done; exit 1",
        "memory": f"for f in $(find {groups} -name memory.max -o -name memory.limit_in_bytes);"
        " do echo 99g >$f && exit 0; done; exit 1",
        "processors": f"for f in $(find {groups} -name cpu.max -o -name cpu.cfs_quota_us); do echo -1 >$f && exit 0;"
        " done; exit 1",
        "priority": "python3 -c 'import os; os.nice(-5)'",
        "real time": "python3 -c 'import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))'",
        "out of memory": "echo -1000 >/proc/self/oom_score_adj",
        "drop caches": "echo 3 >/proc/sys/vm/drop_caches",
    }
    assert confined(field, steps, **NONE).succeeded(list(steps)) == {}
    # The control: cgroups are the same for all containers, but priorities are not.
    names = ["priority"]
    assert list(plain(field, {name: steps[name] for name in names}, "--cap-add", "SYS_NICE").succeeded(names)) == names


def test_the_sidecars_are_limited_too(field: Field) -> None:
    for given in (BY_SIDECAR, ALLOWLIST):
        with background(field, ["sleep", "600"], **given):
            (name,) = containers(field, "sidecar")
            found = inspected(name)
            assert 0 < int(str(found["PidsLimit"])) <= 256
            assert 0 < int(str(found["Memory"])) <= 256 << 20
            assert found["ReadonlyRootfs"] is True
            assert found["CapDrop"] == ["ALL"]
            assert found["LogConfig"] == {"Type": "none", "Config": {}}
            assert "docker.sock" not in json.dumps(found)
            shown = docker("exec", name, "sh", "-c", "grep -E 'Uid|CapEff' /proc/1/status")
            assert "CapEff:\t0000000000000000" in shown
            assert shown.split()[1] != "0"
        settle(field)


def test_the_project_is_still_the_hosts(field: Field) -> None:
    """What a session leaves can be deleted by its user, whatever its mode."""
    field.session("mkdir -p a/b; touch a/b/c; chmod 0 a/b; chmod 0 a", **NONE)
    assert field.host("chmod -R u+rwx a && rm -rf a").returncode == 0
    assert not Path(field.project / "a").exists()
