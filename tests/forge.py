"""A forge of the tests' own: bare repositories behind git's http-backend on the loopback, with Basic authentication."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "someone", "made-up-password"
_CREDENTIALS = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass(frozen=True)
class Forge:
    """Serves the repositories below ``root`` at ``address``."""

    root: Path
    address: str

    def make(self, name: str) -> str:
        """Make an empty repository, and return its address."""
        path = self.root / name
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", path], check=True)
        for setting in ("uploadpack.allowFilter", "http.receivepack"):
            subprocess.run(["git", "-C", path, "config", setting, "true"], check=True)
        return f"{self.address}/{name}"

    def git(self, name: str, *words: str) -> str:
        """What git prints in a repository."""
        done = subprocess.run(["git", "-C", self.root / name, *words], check=False, capture_output=True, text=True)
        return done.stdout.strip()

    def refs(self, name: str) -> dict[str, str]:
        """What each branch and tag of a repository names."""
        lines = self.git(name, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ", 1) for line in lines)


def helper(forge: Forge) -> str:
    """The lines of a user's git config with the credentials for the forge."""
    answer = f"!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f"
    return f'[credential "{forge.address}"]\n\thelper = "{answer}"\n'


@contextlib.contextmanager
def forge(root: Path) -> Iterator[Forge]:
    """Run a forge until the end of the block."""
    search = os.environ["PATH"]  # what a test puts there later is not for the forge

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._run(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._run(body)

        def _run(self, body: bytes) -> None:
            if self.headers.get("Authorization") != _CREDENTIALS:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="forge"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            environ = {
                "PATH": search,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REMOTE_USER": USER,
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            # Git reads the settings of the repository that it stands in, and says nothing where it cannot: a test may
            # stand in one that is being changed, or is damaged.
            done = subprocess.run(
                ["git", "http-backend"], cwd=root, input=body, env=environ, capture_output=True, check=False
            )
            if not done.stdout:  # 200 with nothing would make git take this for a server of plain files
                print(f"git http-backend has ended with {done.returncode}: {done.stderr.decode()}", file=sys.stderr)
                self.send_error(500)
                return
            head, _, answer = done.stdout.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
            status = next((value for name, value in fields if name == "Status"), "200")
            self.send_response(int(status.split()[0]))
            for name, value in fields:
                if name != "Status":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Forge(root, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
