"""Private registries over https, each closed without its own kind of sign-in: pip's, npm's and git's.

    registries.py DIRECTORY CERTIFICATE [PORT]

DIRECTORY has ``simple/`` with wheels (user:password), ``npm/`` with tarballs of packages (a token), and bare
repositories in ``git/`` (any user with the token as password); at ``echo/`` a request's headers come back. It runs in
a container of the image, and writes each request and its status to ``DIRECTORY/log``. At PORT is a company's proxy, for
which each name is this machine's.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

USER, PASSWORD, TOKEN = "someone", "made-up-p4ss", "made-up-t0ken"
BACKEND = "/usr/lib/git-core/git-http-backend"
ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


def wheel(name: str) -> bytes:
    """A package for pip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}.py", "print('hello from a private package')\n")
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


def tarball(name: str) -> bytes:
    """A package for npm."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        text = f'{{"name": "{name}", "version": "1.0.0", "main": "index.js"}}'
        for path, body in (("package/package.json", text), ("package/index.js", "module.exports = 'from npm'\n")):
            entry = tarfile.TarInfo(path)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body.encode()))
    return content.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        kind, _, rest = path.lstrip("/").partition("/")
        if kind in ("echo", "api"):
            self.answer(200, json.dumps(dict(self.headers)).encode())
        elif not self.is_signed_in(kind):
            self.answer(401, b"", **{"WWW-Authenticate": f'Basic realm="{kind}"'})
        elif kind == "simple":
            self.simple(rest)
        elif kind == "npm":
            self.npm(rest)
        elif kind == "git":
            self.git(f"/{rest}")
        else:
            self.answer(404, b"")

    do_POST = do_GET

    def is_signed_in(self, kind: str) -> bool:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "npm":
            return (scheme, value) == ("Bearer", TOKEN)
        _, _, password = (
            base64.b64decode(value).decode("utf-8", "replace").partition(":") if scheme == "Basic" else "   "
        )
        return password == {"simple": PASSWORD, "git": TOKEN}.get(kind)

    def simple(self, rest: str) -> None:
        if rest.endswith(".whl"):
            self.answer(200, (ROOT / "simple" / rest.rpartition("/")[2]).read_bytes())
            return
        links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in (ROOT / "simple").iterdir())
        self.answer(200, links.encode(), **{"Content-Type": "text/html"})

    def npm(self, rest: str) -> None:
        if rest.endswith(".tgz"):
            self.answer(200, (ROOT / "npm" / rest.rpartition("/")[2]).read_bytes())
            return
        url = f"https://{self.headers['Host']}/npm/{rest}-1.0.0.tgz"
        version = {"name": rest, "version": "1.0.0", "dist": {"tarball": url}}
        found = {"name": rest, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        self.answer(200, json.dumps(found).encode(), **{"Content-Type": "application/json"})

    def git(self, path: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(ROOT / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": urlsplit(self.path).query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": "someone",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run([BACKEND], env=environ, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.answer(int(headers.pop("Status", "200 OK").split()[0]), content, **headers)

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, _format: str, *arguments: object) -> None:
        with (ROOT / "log").open("a") as log:
            log.write(f"{arguments[0]} {arguments[1] if len(arguments) > 1 else ''}\n")


class Tunnels(socketserver.StreamRequestHandler):
    """A company's proxy: CONNECT alone."""

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split(" ")
        while self.rfile.readline().strip():
            pass
        if method != "CONNECT":
            self.wfile.write(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
            return
        with (ROOT / "log").open("a") as log:
            log.write(f"CONNECT {target}\n")
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            there = threading.Thread(target=self.copy, args=(self.connection, server))
            there.start()
            self.copy(server, self.connection)
            there.join()

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def main() -> None:
    """Run the program."""
    if len(sys.argv) > 3:
        proxy = socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[3])), Tunnels)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
    server = Server(("0.0.0.0", 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    # Each connection in its own thread: one that is slow, or says nothing, holds up no other.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main()
