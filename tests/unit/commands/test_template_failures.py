"""What git and ssh say when they do not get at a template is told in one line, with one line on what to do."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from copier import run_copy, run_update

from confined_claude.commands.template import _BUNDLE, Versions, explained
from confined_claude.errors import ConfinedError


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the code that is the first part of the path."""

    def do_GET(self) -> None:
        code = int(self.path.split("/")[1])
        self.send_response(code)
        if code == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="templates"')
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def closed() -> Iterator[int]:
    """A port of the loopback at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No terminal to ask on, no settings and no proxy of the machine's."""
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def told(source: str, tmp_path: Path) -> str:
    """What is said of a template at ``source``, which git does not get."""
    with pytest.raises(ConfinedError) as refused, explained(source):
        run_copy(source, tmp_path / "made", defaults=True, quiet=True)
    assert len(str(refused.value).splitlines()) == 2, refused.value
    return str(refused.value)


def test_where_no_repository_is_the_template_has_moved(tmp_path: Path) -> None:
    for source in (str(tmp_path / "gone"), f"file://{tmp_path}/gone.git"):
        assert f"no longer where the scaffold came from: {source}\nPut its new path" in told(source, tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "is private or gone: its server asks for a sign-in"),
        (403, "is private or gone"),
        (404, "no longer where the scaffold came from"),
        (410, "no longer where the scaffold came from"),
        (503, "does not answer"),
        (200, "no longer where the scaffold came from"),
    ],
)
def test_what_a_server_answers(code: int, message: str, tmp_path: Path) -> None:
    with serving() as address:
        assert message in told(f"{address}/{code}/template.git", tmp_path)


@pytest.mark.parametrize("sign_in", ["someone:geheim", "geheim", "geheim:x-oauth-basic", ":geheim"])
def test_a_sign_in_in_the_address_is_not_shown(sign_in: str, tmp_path: Path) -> None:
    with serving() as address:
        said = told(f"{address}/401/template.git".replace("://", f"://{sign_in}@"), tmp_path)
    assert "is private or gone" in said
    assert f"{address}/401/template.git" in said
    assert "geheim" not in said


def test_a_sign_in_in_what_git_says_is_not_shown_and_the_user_of_ssh_is() -> None:
    with pytest.raises(ConfinedError) as refused, explained("ssh://git:geheim@host.invalid/x.git"):
        raise OSError("fatal: unheard of: https://geheim@host.invalid/x and https://u:p@geheim@host.invalid")
    assert "unheard of: https://host.invalid/x and https://host.invalid" in refused.value.message
    with pytest.raises(ConfinedError) as refused, explained("ssh://git:geheim@host.invalid/x.git"):
        raise OSError("Host key verification failed.")
    assert refused.value.hint.endswith("git ls-remote -- ssh://git@host.invalid/x.git")
    assert "geheim" not in str(refused.value)
    with pytest.raises(ConfinedError) as refused, explained("git+https://u:p@geheim@host.invalid/x@y.git"):
        raise OSError("Could not resolve host")
    assert refused.value.hint.endswith("git ls-remote -- https://host.invalid/x@y.git")


@pytest.mark.parametrize("source", ["--upload-pack=touch HACKED", "-u", "git+--upload-pack=touch HACKED"])
def test_an_option_is_no_address_and_copier_does_not_see_it(source: str, tmp_path: Path) -> None:
    with pytest.raises(ConfinedError) as refused, explained(source):
        run_copy(source, tmp_path / "made", defaults=True, quiet=True)
        pytest.fail("copier ran")
    assert refused.value.message == f"The answers file names no address of a template: {source.removeprefix('git+')}"
    assert "ls-remote" not in str(refused.value)


def test_a_printed_command_has_the_address_as_one_word_and_no_option() -> None:
    source = "ssh://host.invalid/$(touch HACKED);x"
    with pytest.raises(ConfinedError) as refused, explained(source):
        raise OSError("Host key verification failed.")
    assert refused.value.hint.endswith(f"git ls-remote -- '{source}'")


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key -out certificate"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with serving(context) as address:
        assert "does not trust the certificate" in told(f"{address}/404/template.git", tmp_path)


@pytest.mark.parametrize("scheme", ["ssh://git@", "http://", "https://", "git://"])
def test_nobody_answers(scheme: str, closed: int, tmp_path: Path) -> None:
    source = f"{scheme}127.0.0.1:{closed}/certificate/not found.git".replace(" ", "%20")
    assert "does not answer.\nCheck the network, your proxy and the address" in told(source, tmp_path)


def test_a_name_that_nothing_has(tmp_path: Path) -> None:
    source = "https://templates.invalid/x.git"
    assert f"is not found: {source}\nCheck the network" in told(source, tmp_path)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("Host key verification failed.", "ssh does not know the host", "compare the key"),
        ("git@host: Permission denied (publickey).", "does not let you in", "ssh-add"),
        ("ERROR: Repository not found.", "no longer where", "_src_path"),
        ("error: cannot run ssh: No such file or directory", "ssh is missing", "openssh-client"),
        ("kex_exchange_identification: Connection closed by remote host", "does not answer", "Check the network"),
        ("fatal: detected dubious ownership in repository at '/srv/x'", "belongs to another user", "safe.directory"),
        ("error: No space left on device", "copier refuses: error: No space left on device", "Correct that"),
    ],
)
def test_what_ssh_and_a_forge_say(said: str, message: str, hint: str) -> None:
    """In the words of OpenSSH 9, git 2.39 and GitHub."""
    advice = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n"
    with pytest.raises(ConfinedError) as refused, explained("gh:someone/$(something)"):
        raise OSError(f"{said}\n{advice}and the repository exists.")
    assert message in refused.value.message
    assert hint in refused.value.hint
    assert "Please make sure" not in str(refused.value)
    if "ls-remote" in refused.value.hint:  # it can be pasted, whatever the project's answers say
        assert refused.value.hint.endswith("git ls-remote -- 'https://github.com/someone/$(something)'")


def test_settings_in_the_callers_variables_count(tmp_path: Path) -> None:
    # In a process of its own, as what starts git for copier reads the environment once.
    source = "https://templates.invalid/x.git"
    script = f"""
from copier import run_copy, run_update
from confined_claude.commands.template import Versions, explained
with explained("{source}"):
    run_copy("{source}", "made", vcs_ref=Versions().newest, defaults=True, quiet=True)
"""
    setting = {"GIT_CONFIG_KEY_0": f"url.{_BUNDLE}.insteadOf", "GIT_CONFIG_VALUE_0": source}
    environ = {**os.environ, **setting, "GIT_CONFIG_COUNT": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environ, check=True)
    assert (tmp_path / "made/tasks.py").exists()


def test_a_number_of_settings_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "many")
    with pytest.raises(ConfinedError, match="not a number"), explained():
        pass


@pytest.mark.parametrize("is_quiet", [True, False])
def test_no_monitor_of_the_projects_repository_runs(tmp_path: Path, is_quiet: bool) -> None:
    """Without the settings for git one does: so this test sees it."""
    project, ran = tmp_path / "made", tmp_path / "ran"
    run_copy(str(_BUNDLE), project, vcs_ref="v0.1.0", defaults=True, quiet=True)
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    monitor.chmod(0o755)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    commit = [*identity, "commit", "--quiet", "--message", "x"]
    for words in (["init", "--quiet"], ["add", "--all"], commit, ["config", "core.fsmonitor", str(monitor)]):
        subprocess.run(["git", *words], cwd=project, check=True)
    ran.unlink(missing_ok=True)
    with explained() if is_quiet else contextlib.nullcontext():
        run_update(project, defaults=True, overwrite=True, quiet=True, vcs_ref=Versions().newest)
    assert ran.exists() is not is_quiet
