"""What a session does to become root in its container, or anything on the host that is root's."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

import pytest
from attacks import Field
from helpers import docker
from probes import (
    INTERNET,
    OPEN,
    Service,
    Target,
    background,
    confined,
    gateway,
    plain,
    probe_words,
    probed,
    settings_file,
)

from confined_claude.session.privileges import CAPABILITIES

CAPABILITY_NUMBERS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "SETGID": 6, "SETUID": 7}


def of_others(field: Field) -> list[str]:
    """The files in the project, and in the user's HOME, that are not the user's."""
    folders = (field.project, field.user.home)
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.lstat().st_uid != field.user.uid and path.name != ".gitconfig"  # the test's own
    ]


# R01-R04

MADE_BY_ROOT = {
    "chown": "cp /bin/true a && sudo chown 0 a",
    "setuid": "cp /bin/true b && sudo chown 0:0 b && sudo chmod 4755 b",
    "install": "sudo install -o root -m 4755 /bin/true c",
    "chown itself": "cp /bin/true d && chown 0 d",
    "mknod": "sudo mknod e b 8 0",
    "mknod itself": "mknod f c 1 3",
    "capabilities": "cp /bin/true g && sudo python3 -c '{0}'",
    "capabilities itself": "cp /bin/true h && python3 -c '{0}'",
    "touch": "sudo touch i",
}  # fmt: skip
_XATTR = 'import os; os.setxattr("{}", "security.capability", bytes.fromhex("0100000280000000") + bytes(12))'
MADE_BY_ROOT["capabilities"] = MADE_BY_ROOT["capabilities"].format(_XATTR.format("g"))
MADE_BY_ROOT["capabilities itself"] = MADE_BY_ROOT["capabilities itself"].format(_XATTR.format("h"))


@pytest.mark.root
def test_a_session_makes_nothing_of_roots(field: Field) -> None:
    """R01, R03, R04."""
    names = list(MADE_BY_ROOT)
    done = confined(field, MADE_BY_ROOT)
    assert done.succeeded(names) == {}
    assert of_others(field) == []
    assert not any("security.capability" in os.listxattr(path) for path in field.project.iterdir() if path.is_file())
    # The control: root in a plain container makes all of it, on the host.
    assert list(plain(field, MADE_BY_ROOT).succeeded(names)) == names
    assert (field.project / "b").stat().st_mode & stat.S_ISUID
    assert (field.project / "b").stat().st_uid == 0
    assert stat.S_ISBLK((field.project / "e").lstat().st_mode)
    assert "security.capability" in os.listxattr(field.project / "g")


# R05

EVIL = """
    mkdir -p x/DEBIAN
    printf 'Package: x\\nVersion: 1\\nArchitecture: all\\nMaintainer: x\\nDescription: x\\n' >x/DEBIAN/control
    printf '#!/bin/sh\\ntouch PROJECT/as-root\\n' >x/DEBIAN/postinst
    chmod 755 x/DEBIAN/postinst; dpkg-deb --root-owner-group --build x x.deb; cp x.deb x.ddeb
    printf 'APT::Update::Pre-Invoke {{ "touch PROJECT/as-root" }};\\n' >apt.conf
    printf '#!/bin/sh\\n/usr/bin/touch PROJECT/as-root\\n' >evil; chmod 755 evil
    mkdir -p bin ~/.local/bin; for n in apt-get dpkg dpkg-deb dpkg-preconfigure apt-config; do
        cp evil bin/$n; cp evil ~/.local/bin/$n; done
    for n in python3 sh touch env; do cp evil bin/$n; done
    printf 'import os\\nos.system("touch PROJECT/as-root")\\n' >sitecustomize.py
    ln -s x.deb hello
""".replace("{{", "{").replace("}}", "}")
SPEAK = """
import socket, struct, sys
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(200)
sock.connect("/run/confined-claude/packages")
{}
said = b""
try:
    while chunk := sock.recv(1000):
        said += chunk
except OSError:
    pass
sys.stdout.buffer.write(said)
sys.exit(said[-6:] != b"x\\0\\0\\0\\1\\0")
"""


def speaks(sending: str) -> str:
    return f"/usr/bin/python3 -I - <<'END'\n{SPEAK.format(sending)}\nEND"


def words(text: str) -> str:
    return speaks(f"data = {text}\nsock.sendall(struct.pack('>I', len(data)) + data)")


BROKER = {
    "file": "sudo apt-get install -y ./x.deb",
    "file by its path": "sudo apt-get install -y $PWD/x.deb",
    "file above": "sudo apt-get install -y ../$(basename $PWD)/x.deb",
    "file by its name": "sudo apt-get install -y x.deb x.ddeb",
    "file URL": "sudo apt-get install -y file:$PWD/x.deb",
    "link to a file": "sudo apt-get install -y ./hello",
    "option": "sudo apt-get -o 'APT::Update::Pre-Invoke::=touch PROJECT/as-root' update",
    "option in one": "sudo apt-get '-oAPT::Update::Pre-Invoke::=touch PROJECT/as-root' update",
    "long option": "sudo apt-get '--option=APT::Update::Pre-Invoke::=touch PROJECT/as-root' update",
    "option that is shortened": "sudo apt-get '--opt' 'APT::Update::Pre-Invoke::=touch PROJECT/as-root' update",
    "option after the verb": "sudo apt-get update -o 'APT::Update::Pre-Invoke::=touch PROJECT/as-root'",
    "option of dpkg": "sudo apt-get install -y -o 'DPkg::Pre-Invoke::=touch PROJECT/as-root' jq",
    "config": "sudo apt-get -c PROJECT/apt.conf update",
    "config in one": "sudo apt-get -cPROJECT/apt.conf update",
    "long config": "sudo apt-get --config-file=PROJECT/apt.conf update",
    "end of options": "sudo apt-get -- update",
    "semicolon": "sudo apt-get install -y 'jq;touch PROJECT/as-root'",
    "substitution": "sudo apt-get install -y 'jq$(touch PROJECT/as-root)'",
    "newline": "sudo apt-get install -y $'jq\\ntouch PROJECT/as-root'",
    "two commands": "sudo apt-get update '&&' touch PROJECT/as-root",
    "release": "sudo apt-get install -y jq/../../x.deb",
    "pattern": "sudo apt-get install -y '?name(x)'",
    "source": "sudo apt-get source --compile jq",
    "download": "sudo apt-get download jq",
    "build-dep": "sudo apt-get build-dep -y ./x",
    "edit-sources": "sudo apt edit-sources",
    "changelog": "sudo apt-get changelog jq",
    "dpkg": "sudo dpkg -i x.deb",
    "sh": "sudo sh -c 'touch PROJECT/as-root'",
    "no words": "sudo",
    "other user": "sudo -u root touch PROJECT/as-root",
    "user by number": "sudo -u '#0' touch PROJECT/as-root",
    "shell": "sudo -s touch PROJECT/as-root",
    "login": "sudo -i touch PROJECT/as-root",
    "edit": "sudo -e PROJECT/as-root",
    "options of two kinds": "sudo -nE -H -- touch PROJECT/as-root",
    "very long": "sudo apt-get install -y $(yes jq | head -50000)",
    "program by path": "sudo ./bin/apt-get update",
    "root's uid, claimed": "unshare -r sudo touch PROJECT/as-root",
    "words: other program": words(r"b'sh\0-c\0touch PROJECT/as-root\0'"),
    "words: program by path": words(r"b'/bin/sh\0-c\0touch PROJECT/as-root\0'"),
    "words: none": words("b''"),
    "words: empty": words(r"b'\0'"),
    "words: NUL in the middle": words(r"b'apt-get\0install\0\0./x.deb\0'"),
    "words: without an end": words(r"b'apt-get\0update'"),
    "words: no ASCII": words(r"'apt-get\0install\0j\u0251\0'.encode()"),
    "words: not UTF-8": words(r"b'apt-get\0install\0j\xff\0'"),
    "words: 100 000": words(r"b'apt-get\0install\0' + b'jq\0' * 100000"),
    "length: 4 GB": speaks(r"sock.sendall(b'\xff\xff\xff\xff' + b'apt-get\0update\0')"),
    "length: short": speaks(r"sock.sendall(b'\0\0\0\1apt-get\0update\0')"),
    "length: long, and gone": speaks(r"sock.sendall(b'\0\0\0\x20apt-get\0'); sock.shutdown(socket.SHUT_WR)"),
    "length: cut": speaks(r"sock.sendall(b'\0\0'); sock.shutdown(socket.SHUT_WR)"),
}
# They do what they say, but nothing of what they smuggle in.
SMUGGLED = {
    "APT_CONFIG": "APT_CONFIG=PROJECT/apt.conf sudo apt-get update",
    "APT_CONFIG for sudo": "sudo APT_CONFIG=PROJECT/apt.conf apt-get update",
    "PATH": "PATH=PROJECT/bin:/usr/local/bin:/usr/bin:/bin sudo apt-get update",
    "PATH for sudo": "sudo PATH=PROJECT/bin apt-get update",
    "python's": "PYTHONPATH=PROJECT PYTHONSTARTUP=PROJECT/sitecustomize.py sudo apt-get update",
    "own configuration": "echo 'APT::Update::Pre-Invoke { \"touch PROJECT/as-root\" };' >~/.aptrc; sudo apt-get update",
    "TMPDIR": "TMPDIR=PROJECT sudo apt-get update",
}


@pytest.mark.root
def test_the_package_helper_does_nothing_else(field: Field) -> None:
    """R05."""
    field.prepare(EVIL.replace("~/.local/bin", "PROJECT/.confined-claude/local-bin"))
    steps = {name: f"cd PROJECT; {script}" for name, script in {**BROKER, **SMUGGLED}.items()}
    done = confined(field, {**steps, "after": "sudo apt-get install -s -y jq"}, **INTERNET)
    assert done.succeeded(list(BROKER)) == {}, done.told
    assert not (field.project / "as-root").exists(), done.steps
    assert of_others(field) == []
    for name in ("sh", "dpkg", "other user", "option", "file"):
        lines = done[name].said.strip("\0\n").splitlines()
        assert len(lines) == 1, lines
        assert re.search(r"sudo: |confined-claude: ", lines[0])
    for name in SMUGGLED:
        assert "Traceback" not in done[name].said
    assert done["after"].code == 0, done["after"].said  # the helper is still there, and works


@pytest.mark.root
@pytest.mark.parametrize("name", ["file", "option", "config", "sh", "APT_CONFIG"])
def test_without_the_helper_they_do_it(field: Field, name: str) -> None:
    """The controls of R05."""
    field.prepare(EVIL)
    # apt's own user for downloads would have to reach the project, and there is no network here.
    quiet = "printf 'APT::Sandbox::User \"root\";\\n' >/etc/apt/apt.conf.d/x; rm -rf ~/.local/bin; "
    plain(field, {name: quiet + {**BROKER, **SMUGGLED}[name]})
    assert (field.project / "as-root").stat().st_uid == 0


# R06

BECOME = {
    "su": "su -c 'id -u'",
    "su with a word": "echo root | su -c 'id -u'",
    "real sudo": "/usr/bin/sudo -n id -u",
    "pkexec": "pkexec id -u",
    "newuidmap": "unshare -U sleep 9 & newuidmap $! 0 0 1",
    "newgrp": "sg root -c 'id -u'",
    "setpriv": "setpriv --reuid 0 id -u",
    "python": "python3 -c 'import os; os.setuid(0)'",
    "setgid": "python3 -c 'import os; os.setgid(0)'",
    "groups": "python3 -c 'import os; os.setgroups([0])'",
    "passwd": "passwd -d root",
    "mount": "mount -t tmpfs x /mnt",
    "shadow": "head -1 /etc/shadow",
    "write /etc": "echo 'x::0:0::/:/bin/sh' >>/etc/passwd",
    "write /usr": "touch /usr/bin/x /usr/local/bin/x /opt/confined-claude/x",
    "cron": "mkdir -p /etc/cron.d && touch /etc/cron.d/x",
}
SETUID = "cp /usr/bin/python3 PROJECT/s && chmod 4755 PROJECT/s"
AS_SETUID = "PROJECT/s -c 'import os; print(os.geteuid())'"


@pytest.mark.root
def test_nobody_becomes_root(field: Field) -> None:
    """R06."""
    # A program of root's that everybody runs with root's rights, as packages bring them.
    plain(field, {"make": f"cp /usr/bin/python3.11 PROJECT/s || {SETUID}; chown 0:0 PROJECT/s; chmod 4755 PROJECT/s"})
    program = field.project / "s"
    assert (program.stat().st_uid, program.stat().st_mode & stat.S_ISUID) == (0, stat.S_ISUID)
    done = confined(field, {**BECOME, "setuid": AS_SETUID, "who": "id -u; id -g; id -G"})
    assert done.succeeded(list(BECOME)) == {}
    assert done["who"].said.split() == [str(field.user.uid), str(field.user.gid), str(field.user.gid)]
    assert done["setuid"].said.strip() == str(field.user.uid)
    # The control: it works where new privileges are allowed.
    done = plain(field, {"setuid": f"setpriv --reuid 12345 --clear-groups {AS_SETUID}", "shadow": BECOME["shadow"]})
    assert done["setuid"].said.strip() == "0"
    assert done["shadow"].code == 0


# R07

HELPER = "H=$(pgrep -nf '[p]ackages.helper [0-9]'); "
PTRACE = "import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0) != 0)"
AT_HELPER = {
    "kill": HELPER + "kill -9 $H",
    "stop": HELPER + "kill -STOP $H",
    "ptrace": HELPER + f"python3 -c '{PTRACE}' $H",
    "environ": HELPER + "cat /proc/$H/environ",
    "memory": HELPER + "head -c 1 /proc/$H/mem",
    "maps": HELPER + "cat /proc/$H/maps | grep .",
    "handles": HELPER + "ls /proc/$H/fd",
    "root": HELPER + "ls /proc/$H/root/",
    "folder": HELPER + "ls /proc/$H/cwd/",
    "oom": HELPER + "echo 1000 >/proc/$H/oom_score_adj",
    "remove the socket": "rm -f /run/confined-claude/packages",
    "move the folder": "mv /run/confined-claude /run/x",
    "another socket": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/confined-claude/x\")'",
    "its temporary folder": "ls /run/confined-claude/tmp",
    "its program": "echo >>/opt/confined-claude/packages/helper.py",
    "the command": "echo >>/usr/local/bin/sudo",
    "secrets": "cat /run/confined-claude/secrets",
    "apt's lists": "touch /var/lib/apt/lists/x",
    "apt's archives": "touch /var/cache/apt/archives/x",
}


@pytest.mark.root
def test_the_package_helper_is_out_of_reach(field: Field) -> None:
    """R07."""
    first = {"there": HELPER + '[ -n "$H" ] && stat -c %u /proc/$H'}
    last = {"works": "sudo apt-get frobnicate", "first process": "cat /proc/1/environ | tr '\\0' '\\n'; echo; env"}
    done = confined(field, {**first, **AT_HELPER, **last})
    assert (done["there"].code, done["there"].said.strip()) == (0, "0")
    assert done.succeeded(list(AT_HELPER)) == {}
    assert "sudo apt-get takes only" in done["works"].said
    of_first, _, own = done["first process"].said.partition("\n\n")
    assert set(of_first.split("\n")) <= set(own.split("\n")) | {"HOSTNAME=", "SHLVL=0"} | {
        line for line in of_first.split("\n") if line.startswith(("PWD=", "OLDPWD=", "SHLVL=", "_="))
    }
    # The control: root of a plain container does all of that to a process of root's.
    start = "exec -a packages.helper sleep 600 >/dev/null 2>&1 & "
    start += "until pgrep -f '[p]ackages.helper [0-9]' >/dev/null; do sleep .1; done; "
    names = ["environ", "handles", "ptrace", "kill"]
    again = plain(field, {name: start + AT_HELPER[name] for name in names})
    assert list(again.succeeded(names)) == names


# R08, R09

# With these a container's root is the machine's for most that follows.
ALL_DOORS = [
    *(word for name in ("SYS_ADMIN", "SYS_PTRACE", "SYSLOG") for word in ("--cap-add", name)),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
]

# A number of a system call and its arguments: prints 0 or the name of the error.
CALL = """python3 -c '
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
number, *rest = sys.argv[1:]
words = [ctypes.c_char_p(word[1:].encode()) if word.startswith("=") else ctypes.c_long(int(word)) for word in rest]
failed = libc.syscall(ctypes.c_long(int(number)), *words) < 0
print(errno.errorcode[ctypes.get_errno()] if failed else 0)
sys.exit(failed)' """
PINS = {
    "umount": "umount PROJECT/.git/hooks",
    "umount lazily": f"{CALL} 166 =PROJECT/.git/hooks 2",
    "umount the project's": "umount -l PROJECT/.confined-claude",
    "remount": "mount -o remount,rw,bind PROJECT/.git/hooks",
    "remount by call": f"{CALL} 165 =none =PROJECT/.git/hooks =none 4128 0",
    "mount_setattr": 'python3 -c \'import ctypes, struct, sys; a = struct.pack("QQQQ", 0, 1, 0, 0);'
    ' sys.exit(ctypes.CDLL(None).syscall(442, -100, b"PROJECT/.git/hooks", 0, a, 32) != 0)\'',
    "open_tree": f"{CALL} 428 -100 =PROJECT/.git/hooks 1",
    "bind over": "mount --bind /tmp PROJECT/.git/hooks",
    "pivot_root": f"{CALL} 155 =PROJECT =PROJECT",
    "chroot": f"{CALL} 161 =PROJECT",
}
CALLS = {
    "unshare a user": "unshare -Ur true",
    "unshare mounts": "unshare -m true",
    "unshare all": "unshare -Urmnpf true",
    "clone a user": "python3 -c 'import ctypes, os, sys; libc = ctypes.CDLL(None);"
    " p = libc.syscall(56, 0x10000011, 0, 0, 0, 0); p == 0 and os._exit(0); sys.exit(p < 0)'",
    "setns": "exec 3</proc/self/ns/net; " + CALL + " 308 3 0",
    "setns of the helper": "nsenter -t $(pgrep -nf '[p]ackages.helper [0-9]') -m true",
    "mount cgroup": "mkdir -p /tmp/c; mount -t cgroup -o pids x /tmp/c",
    "mount proc": "mkdir -p /tmp/c; mount -t proc x /tmp/c",
    "mount overlay": "mkdir -p /tmp/c; mount -t overlay x /tmp/c -o lowerdir=/etc:/usr",
    "fsopen": f"{CALL} 430 =tmpfs 0",
    "keyctl": f"{CALL} 250 0 -3 1",
    "add_key": f"{CALL} 248 =user =x =x 1 -2",
    "bpf": f"{CALL} 321 0 =0000000200000004000000010000000000000000000000000000000000000000000000000000 36",
    "userfaultfd": f"{CALL} 323 0",
    "init_module": f"{CALL} 175 =x 1 =x",
    "kexec_load": f"{CALL} 246 0 0 0 0",
    "reboot": f"{CALL} 169 0 0 0 0",
    "open_by_handle_at": f"{CALL} 304 -100 =xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx 0",
    "syslog": f"{CALL} 103 3 =xxxxxxxxxx 9",
    "sethostname": f"{CALL} 170 =x 1",
    "settime": f"{CALL} 227 0 =xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "swapon": f"{CALL} 167 =/nope 0",
    "acct": f"{CALL} 163 =/nope",
    "quotactl": f"{CALL} 179 0 =/nope 0 0",
    "core pattern": "echo '|/tmp/x' >/proc/sys/kernel/core_pattern",
    "sysrq": "echo h >/proc/sysrq-trigger",
    "release agent": "echo /tmp/x >/sys/fs/cgroup/pids/release_agent",
    "uevent helper": "echo /tmp/x >/sys/kernel/uevent_helper",
    "forwarding": "echo 1 >/proc/sys/net/ipv4/ip_forward",
    "kernel's keys": "[ -s /proc/keys ]",
    "kernel's symbols": "[ -s /proc/kcore ] && head -c 1 /proc/kcore | grep -q .",
}
# What of it is harmless, and works, for the root of a container that may do everything.
CALLS_THAT_WORK = ["unshare a user", "unshare mounts", "unshare all", "clone a user", "mount cgroup", "mount overlay"]
CALLS_THAT_WORK += ["mount proc", "fsopen", "keyctl", "add_key", "userfaultfd", "syslog"]


@pytest.mark.root
def test_what_is_kept_stays_where_it_is(repository: Field) -> None:
    """R08."""
    hook = "; echo x >PROJECT/.git/hooks/pre-commit"
    done = confined(repository, {**PINS, "write": hook[2:]})
    assert done.succeeded([*PINS, "write"]) == {}
    # The control: with the right to mount, each leads to a hook that can be written.
    pinned = f"{repository.project}/.git/hooks"
    names = ["umount", "remount", "mount_setattr", "bind over"]
    for name in names:
        kept = [*ALL_DOORS, "--volume", f"{pinned}:{pinned}:ro"]
        done = plain(repository, {"before": hook[2:], "after": PINS[name] + hook}, *kept)
        assert (done["before"].code, done["after"].code) == (1, 0), name


@pytest.mark.root
def test_the_kernels_other_doors_are_closed(field: Field) -> None:
    """R09."""
    done = confined(field, CALLS)
    assert done.succeeded(list(CALLS)) == {}
    again = plain(field, {name: CALLS[name] for name in CALLS_THAT_WORK}, *ALL_DOORS)
    assert list(again.succeeded(CALLS_THAT_WORK)) == CALLS_THAT_WORK


# R10

ON_THE_HOST = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"]
DEVICES = {"full", "null", "ptmx", "random", "tty", "urandom", "zero"}


def test_no_sockets_and_no_devices(field: Field) -> None:
    """R10."""
    steps = {
        "sockets": "find / -xdev -type s 2>/dev/null; ls -d " + " ".join(ON_THE_HOST) + " 2>/dev/null",
        "devices": "find / \\( -type b -o -type c \\) 2>/dev/null",
        "abstract": "cat /proc/net/unix | grep -c docker",
    }
    done = confined(field, steps)
    assert done["sockets"].said.split() in ([], ["/run/confined-claude/packages"])
    devices = {Path(line) for line in done["devices"].said.split()}
    assert {path.name for path in devices if path.parent == Path("/dev")} <= DEVICES | {"console"}
    assert all(path.parent in (Path("/dev"), Path("/dev/pts")) or path.is_relative_to("/proc") for path in devices)
    # The control: with the engine's socket, as some have it, and with a device.
    again = plain(field, steps, "--volume", "/var/run/docker.sock:/var/run/docker.sock", "--device", "/dev/kmsg")
    assert "/run/docker.sock" in again["sockets"].said
    assert "/dev/kmsg" in again["devices"].said


# R11, R12

STATUS = "grep -E '^(Uid|Gid|Groups|Cap|NoNew|Seccomp:)' /proc/self/status"


def status(said: str) -> dict[str, str]:
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in said.splitlines())}


def assert_confined(field: Field, said: str) -> None:
    found = status(said)
    bound = sum(1 << CAPABILITY_NUMBERS[name] for name in CAPABILITIES)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found[name], 16) == 0, found
    assert int(found["CapBnd"], 16) == bound
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert found["Uid"] == " ".join([str(field.user.uid)] * 4)
    assert found["Gid"] == " ".join([str(field.user.gid)] * 4)
    assert set(found["Groups"].split()) <= {str(field.user.gid)}


@pytest.mark.root
def test_a_session_and_what_is_run_in_it_hold_nothing(field: Field) -> None:
    """R11, R12."""
    done = confined(field, {"own": STATUS, "tini": STATUS.replace("self", "1")})
    assert_confined(field, done["own"].said)
    assert_confined(field, done["tini"].said)
    with background(field, ["sleep", "600"]) as (_, name):
        assert_confined(field, docker("exec", name, "sh", "-c", STATUS))
        who = docker("exec", name, "bash", "-c", "whoami; echo $HOME; pwd").split()
        assert who == ["claude", "/home/claude", str(field.project)]
        docker("exec", name, "touch", f"{field.project}/made")
        environ = docker("exec", name, "env")
    assert field.user.variables["ANTHROPIC_API_KEY"] not in environ
    assert (field.project / "made").stat().st_uid == field.user.uid
    found = status(plain(field, {"own": STATUS})["own"].said)  # the control
    assert int(found["CapEff"], 16) != 0
    assert (found["NoNewPrivs"], found["Uid"]) == ("0", "0 0 0 0")


# sudo = "off" and "full"


def test_without_sudo_there_is_no_helper(field: Field) -> None:
    steps = {
        "helper": "pgrep -f '[p]ackages.helper'",
        "root": "pgrep -U 0",
        "sudo": "sudo apt-get update",
        "id": "sudo id",
    }
    done = confined(field, {**steps, "folder": "ls /run/confined-claude/packages"}, "--sudo", "off")
    if os.geteuid() == 0:
        assert done.succeeded([*steps, "folder"]) == {}
    assert done["sudo"].said.strip() == "sudo: it is off in this session; the user can allow it with the setting sudo"
    assert len(done["id"].said.splitlines()) == 1
    again = confined(field, {name: steps[name] for name in ("helper", "root")})  # the control
    assert again["helper"].code == 0


def test_real_sudo_is_never_the_projects_to_ask_for(field: Field) -> None:
    config = field.project / ".confined-claude/config.toml"
    field.user.folder(config.parent)
    config.write_text('sudo = "full"\n')
    done = field.session("true")
    assert done.returncode == 2, done.stderr
    assert "a project cannot ask for sudo" in done.stderr
    assert "Traceback" not in done.stderr
    trusting = field.user.run("confined-claude", "trust", "--hash", "0" * 64, cwd=field.project)
    assert trusting.returncode == 2


# The rules are in the network's namespace: here is whatever changes them.
AT_RULES = {
    "nft": "nft flush ruleset",
    "nft table": "nft delete table inet confined_claude",
    "nft rule": "nft insert rule inet confined_claude output accept",
    "iptables": "iptables -F",
    "iptables policy": "iptables -P OUTPUT ACCEPT",
    "route": "ip route add 10.0.0.0/8 dev eth0",
    "link": "ip link set eth0 down",
    "address": "ip address add 10.9.9.9/8 dev eth0",
    "tunnel": "ip link add x type dummy",
    "namespace": "unshare -n true",
    "raw": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
    "mark": "python3 -c 'import socket; socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1)'",
}


@pytest.mark.root
def test_real_sudo_is_real_and_does_not_open_the_network(field: Field, listener: Service) -> None:
    """It is the user's to allow, in their own file."""
    settings_file(field.user, 'sudo = "full"\n')
    target = Target("tcp", gateway(), listener.port)
    words = probe_words([target])
    probing = {"probe": f"sudo {shlex.join(words)}"}
    tools = {"tools": "sudo apt-get update -qq && sudo apt-get install -y -qq iproute2 iptables nftables"}
    attacks = {name: f"sudo {script}" for name, script in AT_RULES.items()}
    who = {"who": "sudo -n id -u", "status": "sudo " + STATUS.replace("grep", "/bin/grep")}
    done = confined(field, {**who, **tools, **attacks, **probing}, **INTERNET)
    assert "run as root on your machine" in done.told
    assert (done["who"].code, done["who"].said.strip()) == (0, "0"), done["who"].said
    assert done["tools"].code == 0, done["tools"].said
    assert "not found" not in "".join(done[name].said for name in AT_RULES)
    assert done.succeeded(list(AT_RULES)) == {}
    assert probed(done["probe"].said)[str(target)] != "open"
    # The controls: that service is there for a session on the open network, and these commands work where they may.
    again = confined(field, probing, **OPEN)
    assert probed(again["probe"].said)[str(target)] == "open"
    allowed = plain(field, {"nft": "nft add table inet x && nft flush ruleset"}, "--cap-add", "NET_ADMIN")
    assert allowed["nft"].code == 0, allowed["nft"].said
    # Without that setting there is nothing of it.
    settings_file(field.user, "")
    assert confined(field, who, **INTERNET).succeeded(["who"]) == {}
