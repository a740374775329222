#!/usr/bin/env python3
"""A Messages API that the real Claude Code accepts, for tests. Standard library only.

usage: fake_api.py [--host ADDRESS] [--port PORT] [--log FILE] [--tls CERTIFICATE_AND_KEY]

At port 0 it chooses one itself, and prints that.

The text the user typed last steers the answer:
  RUN: COMMAND   a Bash tool call with that command; its result comes back as "TOOL SAID: ..."
  TOOL: NAME {}  a call of that tool with that input
  ... THEN ...   one call after the other, of these two; all results come back
  SLEEP: N       an answer after N seconds
  FAIL: STATUS   that HTTP error
  KNOWS: WORDS   whether Claude Code itself says these words to the model: "KNOWN" or "UNKNOWN"
  STREAM: N AT R an answer of N words, each of them an event, R of them in a second; all at once for 0
  anything else  "FAKE ANSWER: TEXT", with "AFTER N MESSAGES" when the conversation is not new

With --tls it is the server of sign-ins instead: it renews a sign-in for a refresh token, which works once.

What the file SCRIPT has for a text, a command and what to say after it, comes before all of these.

Each request is one JSON line in the log: path, sign-in headers, number of messages, what was asked. An empty token
is refused, and one in a line of the file REVOKED from then on. The paths of Amazon Bedrock and Google Vertex AI
are answered as well.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import ssl
import struct
import sys
import threading
import time
import uuid
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

REMINDER = "<system-reminder>"
REVOKED = "/tmp/revoked"
SCRIPT = "/tmp/script"
SIGN_IN_HEADERS = ("x-api-key", "authorization", "x-amz-security-token", "x-made-up")
# What AWS has around each event of a stream.
EVENT_HEADERS = ((":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event"))


def blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content or [])


def typed(message: dict[str, Any]) -> str:
    """The last text of a user's turn that Claude Code did not put there itself."""
    texts = [block["text"] for block in blocks(message) if block.get("type") == "text"]
    return next((text.strip() for text in reversed(texts) if not text.lstrip().startswith(REMINDER)), "")


def call(step: str) -> dict[str, Any] | None:
    """The tool call that ``step`` asks for; None if it asks for none."""
    if command := re.search(r"RUN: (.+)", step, re.DOTALL):
        name, arguments = "Bash", {"command": command[1].strip(), "description": "what the test asked for"}
    if tool := re.match(r"TOOL: (\w+) (.+)", step, re.DOTALL):
        name, arguments = tool[1], json.loads(tool[2])
    elif not command:
        return None
    return {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:20]}", "name": name, "input": arguments}


def turns_of(request: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The user's turns up to the last in which something was typed, and the results of tools since."""
    turns = [message for message in request.get("messages", []) if message.get("role") == "user"]
    results: list[str] = []
    while turns and (found := [block for block in blocks(turns[-1]) if block.get("type") == "tool_result"]):
        results.insert(0, "TOOL SAID: " + text_of(found[0].get("content")).strip())
        turns.pop()
    return turns, results


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The one content block to answer ``request`` with."""
    turns, results = turns_of(request)
    text = typed(turns[-1] if turns else {})
    scripted = script().get(text)
    if scripted:
        text = f"RUN: {scripted['command']}"
    tools = [tool.get("name") for tool in request.get("tools") or []]
    block = next((call(step) for step in re.split(r"\sTHEN\s", text)[len(results) :]), None)
    if block and "Bash" in tools:  # not for a title, say
        return block
    if results:
        return {"type": "text", "text": scripted["says"] if scripted else "\n".join(results)}
    if asked := re.search(r"KNOWS: (.+)", text):
        texts = [
            (message, block["text"]) for message in request["messages"] for block in blocks(message) if "text" in block
        ]
        told = [text for message, text in texts if message["role"] == "system" or text.lstrip().startswith(REMINDER)]
        told.append(json.dumps(request.get("system")))
        return {"type": "text", "text": "KNOWN" if any(asked[1].strip() in text for text in told) else "UNKNOWN"}
    after = f" AFTER {len(turns) - 1} MESSAGES" if len(turns) > 1 else ""
    return {"type": "text", "text": f"FAKE ANSWER: {text[:200]}{after}"}


def script() -> dict[str, dict[str, str]]:
    try:
        with open(SCRIPT, encoding="utf-8") as file:
            return json.load(file)  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {}


def revoked() -> list[str]:
    try:
        with open(REVOKED, encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def aws_message(event: dict[str, Any]) -> bytes:
    """An event in the binary form of AWS: lengths and their checksum, headers, payload, checksum."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in EVENT_HEADERS
    )
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log_file = sys.stderr
    log_lock = threading.Lock()
    used_tokens: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        """The log has its own form."""

    def record(self, status: int, messages: int = 0, asked: str = "") -> None:
        headers = {name: self.headers[name] for name in SIGN_IN_HEADERS if self.headers[name]}
        line = {"path": self.path, "status": status, "headers": headers, "messages": messages, "asked": asked}
        with self.log_lock:
            print(json.dumps(line), file=self.log_file, flush=True)

    def send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.send(200, {})

    def do_GET(self) -> None:
        self.record(200)
        self.send(200, {"message": "hello"})

    def renew(self, token: str) -> None:
        with self.log_lock:
            status = 400 if token in self.used_tokens else 200
            self.used_tokens.append(token)
            number = len(self.used_tokens)
        self.record(status)
        if status != 200:
            return self.send(status, {"error": "invalid_grant", "error_description": "the token was used before"})
        tokens = {"access_token": f"{token}-access-{number}", "refresh_token": f"{token}-refresh-{number}"}
        return self.send(200, {**tokens, "expires_in": 28800, "scope": "user:inference", "token_type": "Bearer"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.split("?")[0]
        if path == "/v1/oauth/token":
            return self.renew(request.get("refresh_token", ""))
        if not re.fullmatch(r"/v1/messages|/model/[^/]+/invoke(-with-response-stream)?|.*:streamRawPredict", path):
            self.record(404)
            return self.send(404, {"type": "error", "error": {"type": "not_found_error", "message": self.path}})
        token = (self.headers["authorization"] or "").removeprefix("Bearer ")
        if token == "Bearer" or (token and token in revoked()):
            self.record(401)
            error = {"type": "authentication_error", "message": "the token is revoked"}
            return self.send(401, {"type": "error", "error": error})
        block = answer(request)
        said = block.get("text", "")
        if failure := re.search(r"FAIL: (\d+)", said):
            self.record(int(failure[1]))
            return self.send(int(failure[1]), {"type": "error", "error": {"type": "api_error", "message": "as asked"}})
        if pause := re.search(r"SLEEP: (\d+)", said):
            time.sleep(int(pause[1]))
        turns, _ = turns_of(request)
        self.record(200, len(request.get("messages", [])), typed(turns[-1]) if turns else "")
        if path.endswith("/invoke"):
            message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "fake", "content": [block]}
            return self.send(
                200, {**message, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
            )
        return self.stream(request.get("model"), block)

    def stream(self, model: Any, block: dict[str, Any]) -> None:
        self.send_response(200)
        self.is_aws = self.path.endswith("-with-response-stream")
        kind = "application/vnd.amazon.eventstream" if self.is_aws else "text/event-stream"
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": f"msg_{uuid.uuid4().hex[:20]}", "type": "message", "role": "assistant", "model": model}
        self.event("message_start", message={**message, "content": [], "stop_reason": None, "usage": usage})
        if block["type"] == "text":
            words = re.search(r"STREAM: (\d+) AT (\d+)", block["text"])
            rate = int(words[2]) if words else 0
            texts = [f"word {number} " for number in range(int(words[1]))] if words else [block["text"]]
            empty = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": text} for text in texts]
        else:
            empty, rate = {**block, "input": {}}, 0
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        self.event("content_block_start", index=0, content_block=empty)
        began = time.monotonic()
        for number, delta in enumerate(deltas):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.monotonic()))
            self.event("content_block_delta", index=0, delta=delta)
        self.event("content_block_stop", index=0)
        reason = "end_turn" if block["type"] == "text" else "tool_use"
        self.event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)
        self.event("message_stop")

    def event(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, **fields}
        self.wfile.write(
            aws_message(event) if self.is_aws else f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode()
        )
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is part of the tests."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787)
    parser.add_argument("--log")
    parser.add_argument("--tls")
    options = parser.parse_args()
    with open(options.log or os.devnull, "a", encoding="utf-8") as Handler.log_file:
        server = Server((options.host, options.port), Handler)
        if options.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(options.tls)
            # Each connection in its own thread: one that is slow, or says nothing, holds up no other.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        if not options.port:
            print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
