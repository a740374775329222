"""What a container prints and is sent, by this process's pipes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.engine.frames import Frames

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)))
LARGE = 20 << 20


def frame(target: int, content: bytes) -> bytes:
    return bytes([target, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_understood_however_they_arrive(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    sent, found, parser = b"".join(frame(*each) for each in frames), {1: b"", 2: b""}, Frames()
    turn = 0
    while sent:
        size = sizes[turn % len(sizes)]
        for target, content in parser.feed(sent[:size]):
            assert content
            found[target] += content
        sent, turn = sent[size:], turn + 1
    for target, content in found.items():
        assert content == b"".join(each for number, each in frames if number == target)


@given(st.lists(st.binary(max_size=60)))
def test_any_bytes_are_frames_or_an_error(pieces: list[bytes]) -> None:
    parser, given_back = Frames(), 0
    try:
        for piece in pieces:
            given_back += sum(len(content) for _, content in parser.feed(piece))
    except ValueError:
        return
    assert given_back <= sum(map(len, pieces))


# The streams of a process of their own: its standard input and output are what is copied.
SCRIPT = """
import selectors, socket, sys
from confined_claude.engine.api import Answer
from confined_claude.engine.streams import Streams

class Connection:
    socket = socket.socket(fileno=int(sys.argv[1]))

with Streams(Answer(Connection(), 101, b""), terminal=sys.argv[2] == "terminal") as streams:
    streams.take_input()
    with selectors.DefaultSelector() as selector:
        selector.register(streams, selectors.EVENT_READ)
        selector.select()
    while not streams.is_over:
        pass
"""


class Copier:
    """Such a process, and the other end of its stream."""

    def __init__(self, how: str) -> None:
        self.end, other = socket.socketpair()
        self.end.settimeout(30)
        with other:
            words = [sys.executable, "-c", SCRIPT, str(other.fileno()), how]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[other.fileno()])

    def close(self) -> None:
        self.end.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def copier(request: pytest.FixtureRequest) -> Callable[[str], Copier]:
    def make(how: str) -> Copier:
        made = Copier(how)
        request.addfinalizer(made.close)
        return made

    return make


def received(end: socket.socket) -> bytes:
    pieces = []
    while piece := end.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def test_much_passes_untouched_in_both_directions_at_once(copier: Callable[[str], Copier]) -> None:
    made, much = copier("terminal"), os.urandom(LARGE)
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(received(made.end)))

    def write() -> None:
        made.end.sendall(much)
        reading.join(30)  # the end of the output is the end of all
        made.end.shutdown(socket.SHUT_WR)

    writing = threading.Thread(target=write)
    reading.start()
    writing.start()
    printed, errors = made.process.communicate(much, timeout=60)
    writing.join(30)
    assert (printed == much, errors, made.process.returncode) == (True, b"", 0)
    assert found == [much]


def test_the_end_of_the_input_arrives_and_the_output_goes_on(copier: Callable[[str], Copier]) -> None:
    made = copier("pipes")
    assert made.process.stdin is not None
    made.process.stdin.write(b"all of it")
    made.process.stdin.close()
    assert received(made.end) == b"all of it"
    made.end.sendall(frame(1, b"out\x00\xff") + frame(2, b"err") + frame(1, b"\r\n"))
    made.end.shutdown(socket.SHUT_WR)
    assert made.process.stdout is not None
    assert made.process.stderr is not None
    assert (made.process.stdout.read(), made.process.stderr.read()) == (b"out\x00\xff\r\n", b"err")
    assert made.process.wait(30) == 0


def test_a_reader_that_is_gone_is_an_error_and_so_is_what_makes_no_sense(copier: Callable[[str], Copier]) -> None:
    made = copier("terminal")
    assert made.process.stdout is not None
    made.process.stdout.close()
    made.end.sendall(b"x")
    assert b"BrokenPipeError" in made.process.communicate(timeout=30)[1]
    made = copier("pipes")
    made.end.sendall(b"no frame")
    assert b"EngineError" in made.process.communicate(timeout=30)[1]


def test_a_slow_reader_of_the_output_does_not_hold_up_the_input(copier: Callable[[str], Copier]) -> None:
    made, much = copier("terminal"), b"x" * (4 << 20)
    pouring = threading.Thread(target=lambda: made.end.sendall(much))
    pouring.start()
    assert made.process.stdin is not None
    assert made.process.stdout is not None
    made.process.stdin.write(b"typed")
    made.process.stdin.flush()
    assert made.end.recv(100) == b"typed"
    assert pouring.is_alive()
    assert made.process.stdout.read(len(much)) == much
    pouring.join(30)


def test_a_terminal_or_pipe_that_others_have_made_non_blocking_is_used_all_the_same() -> None:
    """It is the same open file for all processes that have it."""
    much = os.urandom(1 << 20)
    stdin, typing = os.pipe()
    printed, stdout = os.pipe()
    for fd in (stdin, stdout):
        os.set_blocking(fd, False)
    end, other = socket.socketpair()
    with end, other, os.fdopen(printed, "rb") as reader:
        words = [sys.executable, "-c", SCRIPT, str(other.fileno()), "terminal"]
        with subprocess.Popen(words, stdin=stdin, stdout=stdout, pass_fds=[other.fileno()]) as process:
            for fd in (stdin, stdout):
                os.close(fd)
            other.close()
            end.settimeout(30)
            threading.Thread(target=lambda: end.sendall(much), daemon=True).start()
            assert reader.read(1) == much[:1]
            os.write(typing, b"typed")
            assert end.recv(100) == b"typed"
            assert reader.read(len(much) - 1) == much[1:]
            os.close(typing)
            assert end.recv(100) == b""
            end.shutdown(socket.SHUT_WR)
            assert process.wait(30) == 0
