"""The package helper takes its grammar and nothing else, and outlasts its clients; sudo's arguments are understood."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.container.packages import grammar, helper
from confined_claude.container.packages.grammar import Refused, check, parse
from confined_claude.container.packages.helper import PackageManager

from ..conftest import nothing_stays_open
from ..waiting import SECONDS, until

SHIM = Path(helper.__file__).parents[1] / "bin/sudo"

names = st.from_regex(r"[a-z0-9][a-z0-9+.]{0,20}[a-z0-9+]", fullmatch=True)
architectures = st.sampled_from(["", ":amd64", ":any", ":all"])
versions = st.from_regex(r"(=[0-9][A-Za-z0-9.+:~-]{0,20}[A-Za-z0-9])?", fullmatch=True)
packages = st.builds("".join, st.tuples(names, architectures, versions)).filter(
    lambda word: not word.endswith((".deb", ".ddeb", ".udeb", ".dsc", ".changes"))
)
flags = st.lists(st.sampled_from(sorted(grammar.FLAGS)), max_size=3)
ATTACKS = [
    *("./x.deb", "/tmp/x.deb", "x.deb", "x.dsc", "x.changes", "x.ddeb", "../", "..", ".", "/", "~/x", "a/b"),
    *("-o Dpkg::Pre-Invoke::=id", "-oDpkg::Pre-Invoke::=id", "--option=X=1", "-c f", "-cf", "--config-file=f"),
    *("--", "-", "-t sid", "-tsid", "--target-release=sid", "--allow-unauthenticated", "--no-sandbox", "-a amd64"),
    *("--force-yes", "--allow-downgrades", "--allow-remove-essential", "-d", "-b", "--yes=true", "-q=2", "-yf", "-YY"),
    *("--assume", "--simulat", "-h", "-v", "source", ";", "x;id", "$(id)", "`id`", "x|id", "x&id", "x>y", "'x'", "@x"),
    *("hello/sid", "hello^", "hel*", "hel?", "[a]", "~nhello", "?name(x)", "!x", "hello-", "hello:amd64-", "hello=1-"),
    *(
        "x\n",
        "\nhello",
        "hel\nlo",
        "hel lo",
        "\t",
        "héllo",
        "h\u0435llo",
        "HELLO",
        "x",
        "+x",
        "hello=",
        "hello:",
        "hello=*",
    ),
    *("hello=/x", "hello==1", "hello:a:b", "hello=1=2", "x=a", "hello\x7f", "\x1b[2J", "install", "٣x"),
]
# These are also the names that packages may have; harmless, as no such package exists.
NAMES = {"source", "install"}


def payload(*words: str) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def request(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def accepted(data: bytes) -> bool:
    with contextlib.suppress(Refused):
        check(parse(data))
        return True
    return False


@given(
    st.sampled_from(["apt", "apt-get"]),
    flags,
    st.sampled_from(sorted(grammar.WITH_PACKAGES)),
    flags,
    st.lists(packages),
)
def test_packages_are_taken_by_name(
    program: str, before: list[str], verb: str, after: list[str], some: list[str]
) -> None:
    found = check(parse(payload(program, *before, verb, *after, *some, "hello")))
    assert found == (verb, (*before, *after), (*some, "hello"))
    assert found.words == [*before, *after, verb, *some, "hello"]


@pytest.mark.parametrize("verb", sorted(grammar.ALONE))
def test_some_verbs_take_no_package(verb: str) -> None:
    assert check(["apt-get", "-qq", verb, "-y"]).words == ["-qq", "-y", verb]
    with pytest.raises(Refused, match="takes no packages"):
        check(["apt-get", verb, "hello"])


@pytest.mark.parametrize("verb", sorted(grammar.WITH_PACKAGES))
def test_the_others_need_one_unless_they_mend(verb: str) -> None:
    with pytest.raises(Refused, match="needs a package's name"):
        check(["apt-get", verb, "-y"])
    assert check(["apt-get", "-f", verb]).words == ["-f", verb]


@pytest.mark.parametrize(
    "word",
    ["g++", "libstdc++6", "python3.11", "hello:amd64", "hello=2.10-3", "openssh-client=1:9.2p1-2+deb12u10", "a0=1~rc1"],
)
def test_real_names_are_taken(word: str) -> None:
    assert check(["apt", "install", word]).packages == (word,)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_wherever_it_stands(attack: str) -> None:
    words = attack.split(" ") if attack.startswith("-") else [attack]
    assert not accepted(payload(*words))
    assert not accepted(payload("apt-get", *words))
    assert not accepted(payload("apt-get", *words, "install", "hello")) or words == ["install"]
    if not NAMES.issuperset(words):
        assert not accepted(payload("apt-get", "install", *words))
        assert not accepted(payload("apt-get", "install", "hello", *words))
        assert not accepted(payload("apt-get", "update", *words))


def test_a_refusal_names_the_word_and_what_it_was_taken_for() -> None:
    with pytest.raises(Refused, match="the option '-o' is not allowed"):
        check(["apt-get", "-o", "A=b", "install", "hello"])
    with pytest.raises(Refused, match=r"sudo apt takes only .*need no sudo"):
        check(["apt", "search", "hello"])
    with pytest.raises(Refused, match=r"'\./x\.deb' is not a package's name"):
        check(["apt", "install", "./x.deb"])


@pytest.mark.parametrize(
    "program", ["", "dpkg", "sh", "/usr/bin/apt-get", "./apt-get", "apt-get ", "APT", "aptitude", "apt-get\n", "-y"]
)
def test_no_other_program_is_run(program: str) -> None:
    assert accepted(payload("apt-get", "install", "hello"))
    assert not accepted(payload(program, "install", "hello"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0",
        b"apt-get\0install\0hello",
        b"apt-get\0\0install\0hello\0",
        b"apt-get\0install\0hello\0\0",
        b"apt-get\0install\0\xffello\0",
        b"apt-get\0" * (grammar.MAX_WORDS + 1),
        b"apt-get\0install\0" + b"hello\0" * (grammar.MAX_WORDS - 1),
    ],
)
def test_a_malformed_request_is_refused(data: bytes) -> None:
    assert not accepted(data)


@given(st.lists(st.text(), max_size=5))
def test_a_refusal_is_one_plain_line(words: list[str]) -> None:
    try:
        check(["apt-get", *words])
    except Refused as refusal:
        assert len(str(refusal)) < 300
        assert str(refusal).isprintable()


def test_nothing_of_the_environment_but_the_proxy_is_passed_on() -> None:
    own = {"http_proxy": "http://p:1", "HTTPS_PROXY": "http://q:2", "no_proxy": "x", "ALL_PROXY": "no", "PATH": "/evil"}
    found = helper.environment({**own, "LD_PRELOAD": "x", "APT_CONFIG": "x", "HOME": "/home/claude", "TMPDIR": "/tmp"})
    assert {name: found[name] for name in own if name in found} == {
        "http_proxy": "http://p:1",
        "HTTPS_PROXY": "http://q:2",
        "no_proxy": "x",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    assert set(found) - set(own) == {"HOME", "LANG", "DEBIAN_FRONTEND", "PYTHONNOUSERSITE", "TMPDIR"}
    assert (found["HOME"], found["TMPDIR"]) == ("/root", "/run/confined-claude/tmp")


# What a client sees, over real sockets; in place of apt-get runs a script of the test.

APT_GET = """#!/bin/sh
case "$*" in
    *update*) : >"$0.lists/x_Packages"; echo updated ;;
    *remove*) kill -9 $$ ;;
    *purge*) sleep 600 & echo $! >"$0.pid"; echo forked ;;
    *slow*) trap 'echo interrupted >"$0.log"; exit 3' INT; echo started; until [ -e "$0.go" ]; do sleep 0.05; done ;;
    *fail*) echo failed >&2; exit 100 ;;
    *) echo "$*"; env; pwd; cat ;;
esac
"""


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "apt-get"
    script.write_text(APT_GET)
    script.chmod(0o755)
    lists = tmp_path / "apt-get.lists"
    lists.mkdir()
    (lists / "x_Packages").touch()
    monkeypatch.setattr(helper, "APT_GET", str(script))
    monkeypatch.setattr(helper, "LISTS", lists)
    return script


@pytest.fixture
def manager(apt_get: Path) -> PackageManager:
    return PackageManager(helper.environment({}))


def frames(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while data:
        kind, length = struct.unpack(">cI", data[:5])
        assert len(data) >= 5 + length
        found.append((kind, data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def received(connection: socket.socket, seconds: float = SECONDS) -> tuple[int, str]:
    """The exit code and the output of a whole reply."""
    connection.settimeout(seconds)
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    *output, (kind, code) = frames(data)
    assert kind == b"x"
    assert {kind for kind, _ in output} <= {b"o"}
    return code[0], b"".join(text for _, text in output).decode()


@contextlib.contextmanager
def answered(manager: PackageManager, uid: int | None = None) -> Iterator[socket.socket]:
    """A connection that is being answered."""
    ours, theirs = socket.socketpair()

    def attend() -> None:
        with theirs:
            helper.answer(theirs, os.getuid() if uid is None else uid, manager)

    thread = threading.Thread(target=attend)
    thread.start()
    with ours:
        ours.settimeout(SECONDS)
        yield ours
    thread.join(SECONDS)
    assert not thread.is_alive()


def reply(manager: PackageManager, *words: str) -> tuple[int, str]:
    with answered(manager) as connection:
        connection.sendall(request(payload(*words)))
        return received(connection)


def test_apt_get_runs_with_fixed_surroundings(manager: PackageManager) -> None:
    code, output = reply(manager, "apt", "clean", "-y")
    command, *rest = output.splitlines()
    assert code == 0
    assert command.split()[0] == "--assume-yes"
    assert command.endswith(" -y clean")
    assert rest[-1] == "/"
    variables = {line.partition("=")[0] for line in rest[:-1]} - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert variables == set(helper.environment({}))


def test_the_output_and_the_code_of_a_failure_come_back(manager: PackageManager) -> None:
    assert reply(manager, "apt-get", "install", "fail") == (100, "failed\n")
    assert reply(manager, "apt-get", "remove", "hello") == (128 + 9, "")


def test_a_daemon_that_keeps_the_pipe_is_not_waited_for(manager: PackageManager, apt_get: Path) -> None:
    try:
        assert reply(manager, "apt-get", "purge", "hello") == (0, "forked\n")
    finally:
        os.kill(int(apt_get.with_suffix(".pid").read_text()), signal.SIGKILL)


def test_the_lists_are_fetched_when_there_are_none(manager: PackageManager) -> None:
    (helper.LISTS / "x_Packages").unlink()
    assert "updated" not in reply(manager, "apt-get", "clean")[1]
    code, output = reply(manager, "apt-get", "upgrade")
    assert (code, output.count("updated")) == (0, 1)
    assert output.startswith("confined-claude: fetching the package lists first\n")
    assert "updated" not in reply(manager, "apt-get", "upgrade")[1]


def test_how_to_keep_packages_is_told_once_after_a_success(manager: PackageManager) -> None:
    for words in (["install", "fail"], ["install", "-s", "hello"], ["upgrade"], ["install", "-f"]):
        assert "packages =" not in reply(manager, "apt-get", *words)[1]
    last = reply(manager, "apt-get", "install", "-y", "hello", "g++")[1].splitlines()[-1]
    assert last.startswith("confined-claude: what you installed is gone when the session ends. To keep it, ")
    assert 'packages = ["hello", "g++"] into .confined-claude/config.toml' in last
    assert "packages =" not in reply(manager, "apt-get", "install", "tmux")[1]


def test_one_command_at_a_time(manager: PackageManager, apt_get: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = b"confined-claude: waiting for another package command to end\n"
    with answered(manager) as first:
        first.sendall(request(payload("apt-get", "install", "slow")))
        assert first.recv(5 + 8)[5:] == b"started\n"
        with monkeypatch.context() as patch:
            patch.setattr(helper, "TURN_SECONDS", 0.01)
            code, output = reply(manager, "apt-get", "clean")
        assert (code, output.splitlines()[-1]) == (
            1,
            "confined-claude: another package command has not ended; try again later",
        )
        with answered(manager) as second:
            second.sendall(request(payload("apt-get", "clean")))
            assert second.recv(5 + len(waits))[5:] == waits
            apt_get.with_suffix(".go").touch()
            assert received(second)[0] == received(first)[0] == 0


def test_a_client_that_leaves_interrupts_its_command_and_the_next_one_runs(
    manager: PackageManager, apt_get: Path
) -> None:
    with answered(manager) as connection:
        connection.sendall(request(payload("apt-get", "install", "slow")))
        assert connection.recv(5 + 8)[5:] == b"started\n"
    assert apt_get.with_suffix(".log").read_text() == "interrupted\n"
    assert reply(manager, "apt-get", "clean")[0] == 0


def test_apt_get_that_cannot_be_started(manager: PackageManager, apt_get: Path) -> None:
    apt_get.unlink()
    with nothing_stays_open():
        assert reply(manager, "apt-get", "clean") == (
            1,
            "confined-claude: apt-get cannot be run: No such file or directory\n",
        )


def test_another_user_is_not_served(manager: PackageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper.Client, "uid", 4711)
    with answered(manager, uid=12345) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(request(payload("apt-get", "clean")))
        assert received(connection) == (1, "confined-claude: not for this user\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    """Whatever comes, framed or not, there is one refusal (no command is spelt by chance) and no exception."""
    manager = PackageManager({})
    for sent in (data, request(data)):
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                ours.sendall(sent)
                ours.shutdown(socket.SHUT_WR)
                helper.answer(theirs, os.getuid(), manager)
            assert received(ours)[0] == 1


@pytest.mark.parametrize("length", [helper.MAX_REQUEST + 1, 0xFFFFFFFF])
def test_a_request_too_long_is_refused_unread(manager: PackageManager, length: int) -> None:
    with answered(manager) as connection:
        connection.sendall(struct.pack(">I", length))
        assert received(connection) == (1, "confined-claude: the command is too long\n")


def test_a_slow_request_is_refused_by_the_clock(manager: PackageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "REQUEST_SECONDS", 0.1)
    start = time.monotonic()
    with answered(manager) as connection:
        with contextlib.suppress(OSError):
            for byte in request(payload("apt-get", "install", *["hello"] * 100)):
                connection.sendall(bytes([byte]))
                time.sleep(0.01)
        assert received(connection) == (1, "confined-claude: the request did not come in time\n")
    assert time.monotonic() - start < SECONDS


@pytest.fixture
def served(manager: PackageManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The directory of a helper that serves, in a process of its own as it never returns."""
    directory = tmp_path / "run"
    monkeypatch.setattr(helper, "DIRECTORY", directory)
    with helper.listen() as listener:
        child = os.fork()
        if child == 0:
            try:
                helper.serve(listener, os.getuid(), manager)
            finally:
                os._exit(1)
        yield directory
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def connected(directory: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(directory / "packages"))
    return connection


def cleaned(directory: Path) -> bytes:
    """The whole reply to `apt-get clean`; a refusal for too many at once may cut the request off."""
    data = b""
    with connected(directory) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.settimeout(SECONDS)
        connection.sendall(request(payload("apt-get", "clean")))
        while chunk := connection.recv(65536):
            data += chunk
    return data


def test_the_helper_outlasts_its_clients(served: Path) -> None:
    for sent in (b"", b"\0", b"\xff" * 100, request(b"\xff\0"), request(payload("apt-get", "install", "slow"))):
        with connected(served) as connection:
            connection.sendall(sent)
    # It takes a moment to see that clients have gone.
    until(lambda: refuses_one_more(served))
    until(lambda: frames(cleaned(served))[-1:] == [(b"x", b"\0")])


def refuses_one_more(directory: Path) -> bool:
    """Return whether as many silent clients as are served shut out another one."""
    with contextlib.ExitStack() as stack:
        *_, last = [stack.enter_context(connected(directory)) for _ in range(helper.CLIENTS + 1)]
        with contextlib.suppress(TimeoutError):
            return received(last, 0.5) == (1, "confined-claude: too many package commands at once\n")
    return False


def test_the_socket_is_for_all_and_its_folder_for_root(served: Path) -> None:
    modes = {path: path.stat().st_mode & 0o777 for path in (served, served / "packages", served / "tmp")}
    assert list(modes.values()) == [0o755, 0o666, 0o700]


# The other end: /usr/local/bin/sudo.


@pytest.fixture(scope="module")
def shim() -> Any:
    loader = SourceFileLoader("confined_claude_sudo", str(SHIM))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("words", "variables", "command"),
    [
        ([], {}, []),
        (["id"], {}, ["id"]),
        (["-n", "-E", "-H", "-S", "apt", "-y"], {}, ["apt", "-y"]),
        (["-nE", "--preserve-env=A,B", "--stdin", "--non-interactive", "--", "-x"], {}, ["-x"]),
        (["A=1", "B=x=y", "apt", "C=2"], {"A": "1", "B": "x=y"}, ["apt", "C=2"]),
        (["-n", "--", "DEBIAN_FRONTEND=noninteractive", "apt"], {"DEBIAN_FRONTEND": "noninteractive"}, ["apt"]),
        (["-u", "root", "id"], {}, ["-u", "root", "id"]),
        (["=x"], {}, ["=x"]),
    ],
)
def test_sudo_leaves_out_what_does_no_harm(
    shim: Any, words: list[str], variables: dict[str, str], command: list[str]
) -> None:
    assert shim.command(words) == (variables, command)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pip install x", "pip install needs no sudo"),
        ("/usr/bin/pip3.11 install x", "mkvenv NAME"),
        ("python3 -m pip install x", "pip install needs no sudo"),
        ("npm install -g x", "npm install --global needs no sudo"),
        ("python3 x.py", 'sudo = "full"'),
        ("id", 'sudo = "full"'),
        ("./apt-get install x", 'sudo = "full"'),
        ("-u root id", 'sudo = "full"'),
        ("dpkg -i x.deb", '"sudo apt-get install NAME"'),
    ],
)
def test_sudo_advises_in_one_line(shim: Any, monkeypatch: pytest.MonkeyPatch, words: str, said: str) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(SystemExit) as ended:
        shim.main(words.split())
    assert said in str(ended.value.code)
    assert len(str(ended.value.code).splitlines()) == 1


@pytest.mark.parametrize(("words", "code"), [([], 1), (["-V"], 0), (["-l"], 0), (["-nv"], 1), (["-n", "-v"], 0)])
def test_sudo_says_what_it_is(
    shim: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    try:
        assert shim.main(words) == code
        assert len(capsys.readouterr().out.splitlines()) == 1
    except SystemExit as ended:
        assert (code, len(str(ended.code).splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("setting", "directory", "said"),
    [
        (None, "/none", "off"),
        ("off", "/", "off"),
        ("full", "/", "off"),
        ("apt", "/none", "is not running"),
        ("apt", "/", "is not running"),
        (None, "/", "is not running"),
    ],
)
def test_sudo_without_a_helper(
    shim: Any, monkeypatch: pytest.MonkeyPatch, setting: str | None, directory: str, said: str
) -> None:
    monkeypatch.setattr(shim, "DIRECTORY", directory)
    monkeypatch.setattr(shim, "START_SECONDS", 0.01)
    if setting:
        monkeypatch.setenv("CONFINED_CLAUDE_SUDO", setting)
    with pytest.raises(SystemExit, match=said):
        shim.connect()


def test_sudo_and_the_helper_understand_each_other(
    shim: Any, served: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(shim, "DIRECTORY", str(served))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    # Whatever pytest has put in place of stdout, the bytes go to the descriptor.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(1, "wb", closefd=False)))
    assert shim.main(["-n", "DEBIAN_FRONTEND=x", "/usr/bin/apt-get", "install", "fail"]) == 100
    assert shim.main(["apt", "install", "x" * 1_000_000]) == 1
    assert shim.main(["apt-get", "install", "h\udcffllo"]) == 1
    assert capfdbinary.readouterr().out.splitlines() == [
        b"failed",
        b"confined-claude: the command is too long",
        b"confined-claude: only ASCII is understood",
    ]
