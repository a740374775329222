"""An engine's API for one session and its sidecar, with programs of the tests' own in place of their containers."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from confined_claude.engine import labels

SECONDS = 10
# What a sidecar does, unless a test has it do something else.
LIVE = "echo joined; exec cat end"
SIDECAR = "sidecar"
# A sidecar is made, started and attached to in words of its own.
OF_A_SIDECAR = {"create": "make", "start": "run", "attach": "join"}
PIPE = subprocess.PIPE
# What the engine is asked to do, in the words of the docker command. Each does what the test has put into the file of
# that name: 0 accepts with what it prints, 4 and 9 refuse with the status 404 and 409, anything else with 500.
VERBS = {
    ("GET", "info"): "info", ("GET", "version"): "version", ("GET", "events"): "events",
    ("GET", "containers/json"): "ps", ("POST", "containers/create"): "create", ("PUT", "archive"): "cp",
    ("POST", "start"): "start", ("POST", "stop"): "stop", ("POST", "kill"): "kill", ("DELETE", ""): "rm",
    ("POST", "attach"): "attach", ("POST", "wait"): "wait", ("POST", "resize"): "resize",
    ("GET", "json"): "inspect", ("GET", "images/json"): "images", ("POST", "images/create"): "import",
    ("GET", "archive"): "read",
}  # fmt: skip
# The first file that the container has of this machine.
READ = """cat "$(sed 's/.*"Mounts": \\[{"Type": "bind", "Source": "\\([^"]*\\)".*/\\1/' create.body)/engine-check\""""
REMOVE = '[ "$1" != identity ] || rm -f container'


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            return
        engine, url = self.server.engine, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = url.path.strip("/").split("/")
        name = parse_qs(url.query).get("name", [""])[0] or (parts[1] if len(parts) > 1 else "")
        verb = VERBS.get((self.command, "/".join(parts)))
        verb = verb or VERBS[self.command, parts[2] if len(parts) > 2 else ""]
        if name == SIDECAR or (verb == "create" and json.loads(body).get("Labels", {}).get(labels.KIND) == SIDECAR):
            verb = OF_A_SIDECAR.get(verb, verb)
        engine.record(f"{verb} {name}")
        (engine.directory / f"{verb}.body").write_bytes(body)
        done = engine.do(verb, name, parse_qs(url.query).get("filters", [""])[0])
        if done.returncode:
            status = {4: 404, 9: 409}.get(done.returncode, 500)
            self.answer(status, json.dumps({"message": done.stderr.decode().strip()}).encode())
        elif verb in ("attach", "join"):
            started = engine.sidecar() if verb == "join" else None
            self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            if started is None:
                engine.pass_on(self.wfile.write)
            else:
                engine.join(started.get(), self.connection)
        elif verb == "wait":
            self.answer(200)
            engine.ended.wait()
            if engine.code is not None:
                self.wfile.write(json.dumps({"StatusCode": engine.code}).encode())
        else:
            engine.change(verb, name)
            self.answer(200, done.stdout)

    def answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 100
    daemon_threads = True

    def __init__(self, path: str, engine: FakeEngine) -> None:
        self.engine = engine
        super().__init__(path, Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client may hang up at any moment."""


class FakeEngine:
    """The engine, with its files in ``directory``; ``started`` are the sidecars."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[bytes]] = []
        self._waiting: list[queue.Queue[subprocess.Popen[bytes]]] = []
        self.begun, self.ended = threading.Event(), threading.Event()
        self.code: int | None = None
        self._is_closed, self._starting = False, threading.Lock()
        self._session: subprocess.Popen[bytes] | None = None
        self._sessions: list[subprocess.Popen[bytes]] = []
        directory.mkdir()
        os.mkfifo(directory / "end")
        # As long as this is open, a sidecar that reads from there lives.
        self.life = os.open(directory / "end", os.O_RDWR)
        self.does(LIVE)
        self.does("", "run")
        self.does("""echo '{"Id": "identity"}'""", "create")
        self.does(f"""echo '{{"Id": "{SIDECAR}"}}'""", "make")
        self.does("exit 0", "command")
        self.does("echo '[]'", "ps")
        self.does("echo '[]'", "images")
        self.does("""echo '{"status": "image"}'""", "import")
        self.does(READ, "read")
        self.does("echo '{}'", "info")
        self.does("echo '{}'", "version")
        self.does("""echo '{"Action": "oom", "timeNano": 1}'""", "events")
        self.does(REMOVE, "rm")
        self.address = str(directory / "api.sock")
        self._server = Server(self.address, self)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def does(self, script: str, verb: str = "sidecar") -> None:
        (self.directory / verb).write_text(script)

    def do(self, verb: str, name: str, filters: str) -> subprocess.CompletedProcess[bytes]:
        script = f"[ ! -e ./{verb} ] || . ./{verb}"
        return subprocess.run(
            ["sh", "-c", script, "sh", name, filters], cwd=self.directory, capture_output=True, check=False
        )

    def change(self, verb: str, name: str) -> None:
        """Carry out what was accepted, beside what it prints."""
        removal = self.stop if name == "identity" else self.end
        changes = {"create": self.made, "start": self.start, "run": self.run, "rm": removal}
        if verb in changes:
            changes[verb]()

    def record(self, call: str) -> None:
        with (self.directory / "calls").open("a") as file:
            file.write(f"{call}\n")

    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text(errors="replace").splitlines()

    def made(self) -> None:
        """Forget the session before: what waits for the end of this one gets nothing of that one's."""
        self.code = self._session = None
        self.begun.clear()
        self.ended.clear()

    def start(self) -> None:
        """Start the session's command; that it has ended is known to all that wait for it."""
        command = ["sh", "-c", ". ./command"]
        with self._starting:
            if self._is_closed:
                return
            self.ended.clear()
            self._session = subprocess.Popen(
                command, cwd=self.directory, stdout=PIPE, stderr=PIPE, start_new_session=True, bufsize=0
            )
            self._sessions.append(self._session)
        self.begun.set()

        def wait(session: subprocess.Popen[bytes]) -> None:
            code = session.wait()
            self.code = 128 - code if code < 0 else code
            self.ended.set()

        threading.Thread(target=wait, args=(self._session,), daemon=True).start()

    def sidecar(self) -> queue.Queue[subprocess.Popen[bytes]]:
        """Return what gets the sidecar that is started next."""
        self._waiting.append(queue.Queue())
        return self._waiting[-1]

    def join(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        """Connect a sidecar's program with what is attached, until its end."""

        def feed() -> None:
            assert process.stdin is not None
            with process.stdin, contextlib.suppress(OSError):
                while piece := connection.recv(1 << 10):
                    process.stdin.write(piece)

        threading.Thread(target=feed, daemon=True).start()
        _frames(process, connection.sendall)
        process.wait()

    def run(self) -> None:
        """Start the sidecar's program."""
        script = ["sh", "-c", "echo $$ >pid; . ./sidecar"]
        with self._starting:
            if self._is_closed:
                return
            process = subprocess.Popen(script, cwd=self.directory, stdin=PIPE, stdout=PIPE, stderr=PIPE, bufsize=0)
            self.started.append(process)
        self._waiting.pop().put(process)

    def pass_on(self, write: Callable[[bytes], object]) -> None:
        """Write what the session's command prints as frames, until its end."""
        self.begun.wait(SECONDS)
        if self._session is not None:
            _frames(self._session, write)

    def stop(self) -> None:
        """Kill the session's command, and wait until that is known."""
        if self._session is not None and self._session.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and the thread that waits is about to say so
                os.killpg(self._session.pid, signal.SIGKILL)
        if self._session is not None:
            self.ended.wait(SECONDS)
        self.begun.set()
        self.ended.set()

    def break_off(self) -> None:
        """Drop all connections without an exit code, as an engine that ends."""
        self.code = None
        self.ended.set()

    def end(self) -> None:
        """End the sidecar, if one has been started."""
        for process in self.started[-1:]:
            process.terminate()
            process.wait(SECONDS)

    def close(self) -> None:
        with self._starting:
            self._is_closed = True
        self.stop()
        self._server.shutdown()
        self._server.server_close()
        for process in self.started:
            process.kill()
            process.wait(SECONDS)
        for session in self._sessions:
            for stream in (session.stdout, session.stderr):
                assert stream is not None
                stream.close()
        os.close(self.life)


def _frames(process: subprocess.Popen[bytes], write: Callable[[bytes], object]) -> None:
    """Write what ``process`` prints as frames, until its end."""
    stdout, stderr = process.stdout, process.stderr
    assert stdout is not None
    assert stderr is not None
    with stdout, stderr, selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ, 1)
        selector.register(stderr, selectors.EVENT_READ, 2)
        while selector.get_map():
            for key, _ in selector.select():
                if piece := os.read(key.fd, 1 << 10):
                    write(bytes([key.data, 0, 0, 0]) + len(piece).to_bytes(4, "big") + piece)
                else:
                    selector.unregister(key.fd)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    made = FakeEngine(tmp_path / "docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.address}")
    yield made
    made.close()
