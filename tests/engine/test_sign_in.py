"""How sessions are signed in: by copies, without secrets in view, and without ever logging the host out."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import API_KEY, FAR_FUTURE_MS, PATIENCE, Api, User, docker, text_of, wait_until
from terminals import PROMPT, terminal

TOKENS = {
    "ANTHROPIC_API_KEY": ("x-api-key", API_KEY, API_KEY),
    "ANTHROPIC_AUTH_TOKEN": ("authorization", "made-up-auth-token", "Bearer made-up-auth-token"),
    "CLAUDE_CODE_OAUTH_TOKEN": ("authorization", "sk-ant-oat01-made-up-env", "Bearer sk-ant-oat01-made-up-env"),
}


def tree_of(directory: Path) -> dict[str, tuple[int, int, str]]:
    """The mode, the time of change and the content of everything in ``directory``."""
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, hashlib.sha256(content_of(path)).hexdigest())
        for path in [directory, *directory.rglob("*")]
    }


def content_of(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def name_account(directory: Path, name: str) -> Path:
    """Have the client's global state in ``directory`` name this account."""
    account = {"accountUuid": name, "organizationUuid": name, "emailAddress": f"{name}@example.invalid"}
    (directory / ".claude.json").write_text(json.dumps({"oauthAccount": account}))
    return directory / ".claude.json"


def copied(user: User) -> Path:
    return user.home / ".local/share/confined-claude/shared/claude-config/.credentials.json"


@pytest.mark.parametrize("variable", TOKENS)
def test_signed_in_by_a_variable(make_user: Callable[..., User], place: Path, api: Api, variable: str) -> None:
    header, value, sent = TOKENS[variable]
    user = make_user(**{"ANTHROPIC_API_KEY": "", variable: value})
    folder = user.folder(place / "project")
    done = user.run("confined-claude", "--", "-p", f"by {variable}", cwd=folder)
    assert done.stdout == f"FAKE ANSWER: by {variable}\n", done.stderr
    assert done.stderr == ""
    assert api.headers(f"by {variable}")[header] == sent


def test_signed_in_by_the_copied_credentials(make_user: Callable[..., User], place: Path, api: Api) -> None:
    user = make_user(ANTHROPIC_API_KEY="")
    host_file = user.sign_in(token="sk-ant-oat01-of-the-host")
    folder = user.folder(place / "project")
    done = user.run("confined-claude", "--", "-p", "hello", cwd=folder)
    assert done.stdout == "FAKE ANSWER: hello\n", done.stderr
    assert api.tokens()[-1] == "sk-ant-oat01-of-the-host"
    text = copied(user).read_text()
    assert "ort01" not in text
    assert "mcp" not in text
    assert copied(user).stat().st_mode & 0o777 == 0o600
    assert "sk-ant-ort01-made-up" in host_file.read_text()


def token(name: str) -> str:
    """An access token that no other test has."""
    return f"sk-ant-oat01-{name}-{uuid.uuid4().hex}"


@pytest.mark.parametrize("renewed", [True, False], ids=["renewed", "control: not renewed"])
def test_what_the_host_renews_arrives_in_the_middle_of_a_run(
    make_user: Callable[..., User], place: Path, api: Api, renewed: bool
) -> None:
    """The first token is revoked while a tool runs, so the next request needs the second one."""
    old, new = token("old"), token("new")
    user = make_user(ANTHROPIC_API_KEY="", CLAUDE_CODE_MAX_RETRIES="0")
    user.sign_in(token=old)
    folder = user.folder(place / "project")
    wait = f"touch begun; until [ -e go ] || grep -q {new} ~/.claude/.credentials.json; do sleep .1; done"
    with user.running("confined-claude", "--yolo", "--", "-p", f"RUN: {wait}; echo done", cwd=folder) as run:
        wait_until((folder / "begun").exists)
        api.revoke(old)
        if renewed:
            user.sign_in(token=new)
            host = tree_of(user.home / ".claude")
        else:
            (folder / "go").touch()
        output = run.communicate(timeout=PATIENCE)[0]
    if renewed:
        assert ("TOOL SAID: done\n" in output, run.returncode) == (True, 0), output
        assert tree_of(user.home / ".claude") == host
    else:
        assert ("the token is revoked" in output, run.returncode) == (True, 1), output
    sent = [each for each in api.tokens() if each in (old, new)]
    assert (sent[0], sent[-1]) == (old, new if renewed else old)


def test_a_session_follows_the_host_from_token_to_token_and_to_its_end(
    make_user: Callable[..., User], place: Path, api: Api
) -> None:
    old, new = token("old"), token("new")
    # It is said beside the end of the sign-in, and which of them comes first is for the moment to say.
    other_account = "Claude was signed in to another account on your machine"
    user = make_user(ANTHROPIC_API_KEY="")
    credentials = user.sign_in(token=old)
    project = user.folder(place / "project")
    for directory in (user.home, user.folder(copied(user).parent)):
        user.own(name_account(directory, "one"))
    with terminal(user, project, "confined-claude", "run") as opened:
        opened.wait_for(PROMPT)
        opened.wait_for("There is no git repository here.")  # no notice of the client's takes its place
        opened.type("the first")
        opened.wait_for("FAKE ANSWER: the first")
        api.revoke(old)
        user.sign_in(token=new, expires=int(time.time() * 1000) + 600_000)
        wait_until(lambda: new in text_of(copied(user)))
        name_account(user.home, "two")
        wait_until(lambda: "two@example.invalid" in text_of(copied(user).parent / ".claude.json"))
        opened.type("the second")
        opened.wait_for("FAKE ANSWER: the second")
        for turn in range(40):  # the client chooses the tip of an answer some time before that
            opened.type(f"SLEEP: 5 turn {turn}")
            if opened.wait_for_either(other_account, f"FAKE ANSWER: SLEEP: 5 turn {turn}") == other_account:
                break
        assert other_account in opened.words
        credentials.unlink()
        wait_until(lambda: not copied(user).exists())
        opened.type("the third")
        opened.wait_for("/login")
        opened.type("/exit")
        opened.wait_for_end()
    closing = opened.everything.split("This session has ended.")[1]
    assert "Claude was signed out on your machine, and so was this session." in closing
    assert "this session: two@example.invalid instead of one@example.invalid" in " ".join(closing.split())
    assert "Your machine's sign-in ends at" in closing
    assert {sent for sent in api.tokens() if sent in (old, new)} == {old, new}


def test_clients_of_sessions_at_once_renew_a_sign_in_of_their_own_once(
    make_user: Callable[..., User], place: Path, api: Api
) -> None:
    """Two sessions with six clients each, on a sign-in that has ended, whose refresh token works once."""
    user = make_user(ANTHROPIC_API_KEY="")
    user.sign_in()
    host = tree_of(user.home / ".claude")
    user.folder(copied(user).parent)
    own = {"accessToken": token("own"), "refreshToken": token("refresh"), "expiresAt": 1, "scopes": ["user:inference"]}
    copied(user).write_text(json.dumps({"claudeAiOauth": own}))
    user.own(copied(user))
    folder = user.folder(place / "project")
    (folder / "certificate").write_text(api.serve_sign_ins())
    ask = "export NODE_EXTRA_CA_CERTS=$PWD/certificate; for n in 1 2 3 4 5 6; do claude -p question & done; wait"

    def run(_: int) -> str:
        return user.run("confined-claude", "shell", "--", "sh", "-c", ask, cwd=folder).stdout

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(2))) == ["FAKE ANSWER: question\n" * 6] * 2
    renewals = docker("exec", api.container, "cat", "/tmp/renewals").splitlines()
    assert [json.loads(line)["status"] for line in renewals] == [200]
    sign_in = json.loads(copied(user).read_text())["claudeAiOauth"]
    assert sign_in["refreshToken"].startswith(own["refreshToken"] + "-refresh")
    assert {sent for sent in api.tokens() if sent.startswith(own["refreshToken"])} == {sign_in["accessToken"]}
    assert tree_of(user.home / ".claude") == host


def test_not_signed_in_says_how_and_goes_on(make_user: Callable[..., User], place: Path) -> None:
    user = make_user(ANTHROPIC_API_KEY="")
    done = user.run("confined-claude", "--", "-p", "hello", cwd=user.folder(place / "project"))
    assert "Not signed in" in done.stderr
    assert "CLAUDE_CODE_OAUTH_TOKEN" in done.stderr
    assert "/login" in done.stdout  # Claude's own answer
    assert done.returncode == 1


def test_a_sign_in_made_inside_is_kept_and_what_is_planted_is_not(
    make_user: Callable[..., User], place: Path, api: Api
) -> None:
    theirs, own, planted = token("theirs"), token("own"), token("planted")
    user = make_user(ANTHROPIC_API_KEY="")
    user.sign_in(token=theirs, expires=1_900_000_000_000)
    folder = user.folder(place / "project")

    def write_inside(oauth: dict[str, object]) -> None:
        """Have the container's config hold this sign-in, as a session may write it there."""
        user.folder(copied(user).parent)
        copied(user).write_text(json.dumps({"claudeAiOauth": {"scopes": ["user:inference"], **oauth}}))
        user.own(copied(user))

    def ask() -> tuple[str, str]:
        done = user.run("confined-claude", "--", "-p", "hello", cwd=folder)
        return api.tokens()[-1] if "FAKE ANSWER" in done.stdout else done.stdout, done.stderr

    write_inside({"accessToken": planted, "expiresAt": 9e12})
    assert ask() == (theirs, "")
    write_inside({"accessToken": own, "refreshToken": "sk-ant-ort01-own", "expiresAt": 1_890_000_000_000})
    sent, said = ask()
    assert (sent, "Sessions have a sign-in of their own" in said, "login --from-host" in said) == (own, True, True)
    # Newer by its date, as after a renewal.
    user.sign_in(token=theirs)
    host = tree_of(user.home / ".claude")
    assert ask() == (own, "")
    write_inside({"accessToken": planted, "expiresAt": 9e12})
    sent, said = ask()
    assert (sent, "sessions use your machine's again" in said) == (theirs, True)
    assert tree_of(user.home / ".claude") == host
    (user.home / ".claude/.credentials.json").unlink()
    answer, said = ask()
    assert "/login" in answer
    assert "Claude is signed out on your machine, and so are sessions" in said
    assert not copied(user).exists()


def test_broken_files_are_named_and_the_first_screen_is_the_prompt(make_user: Callable[..., User], place: Path) -> None:
    """A directory for the host's credentials; in the container's config one too, a cut-off state, and a lock."""
    user = make_user()
    theirs = user.folder(user.home / ".claude") / ".credentials.json"
    inside = user.folder(copied(user).parent)
    for directory in (theirs, inside / ".credentials.json", inside / "backups", inside / ".claude.json.lock"):
        user.folder(directory)
    os.utime(inside / ".claude.json.lock", (FAR_FUTURE_MS / 1000, FAR_FUTURE_MS / 1000))
    good = json.dumps({"hasCompletedOnboarding": True, "numStartups": 41})
    (inside / "backups/.claude.json.backup.1790000000000").write_text(good)
    (inside / ".claude.json").write_text(good[:-9])
    user.own(inside / ".claude.json", inside / "backups/.claude.json.backup.1790000000000")
    with terminal(user, user.folder(place / "project"), "confined-claude", "run") as opened:
        opened.wait_for(PROMPT)
        opened.type("hello")
        opened.wait_for("FAKE ANSWER: hello")
        opened.type("/exit")
        opened.wait_for_end()
    closing = " ".join(opened.everything.split("This session has ended.")[1].split())
    assert f"Cannot read {theirs}: it is not a regular file." in closing
    assert f"{inside / '.credentials.json'} has no credentials in it, and is now" in closing
    assert f"{inside / '.claude.json'} was damaged" in closing
    assert json.loads((inside / ".claude.json").read_text())["numStartups"] > 41
    assert theirs.is_dir()


def test_variables_of_a_parent_session_never_follow_and_claudes_own_do(user: User, project: Path) -> None:
    parent = {
        "CLAUDECODE": "1",
        "CLAUDE_CODE_SESSION_ID": "parent",
        "CLAUDE_CODE_ENTRYPOINT": "cli",
        "CLAUDE_CODE_SSE_PORT": "1234",
        "CLAUDE_PID": "1",
        "AWS_SECRET_ACCESS_KEY": "not-asked-for",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "GH_TOKEN": "not-asked-for",
    }
    own = {
        "ANTHROPIC_MODEL": "some-model",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "some-opus",
        "MAX_THINKING_TOKENS": "7",
        "DISABLE_TELEMETRY": "1",
        "COLORTERM": "truecolor",
        "TERM": "xterm-kitty",
        "DISABLE_AUTO_COMPACT": "1",
        "CLAUDE_CODE_DISABLE_NEW_THING": "1",
        "TZ": "America/Lima",
    }
    done = user.run("confined-claude", "shell", "--", "env", cwd=project, **parent, **own)
    seen = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert {name: seen.get(name) for name in own} == own
    assert not set(parent) & set(seen)
    assert "CONFINED_CLAUDE_NETWORK" not in seen
    assert seen["DISABLE_AUTOUPDATER"] == "1"


def test_a_gateway_on_the_hosts_loopback_gets_a_name_that_works_inside(user: User, project: Path) -> None:
    done = user.run(
        "confined-claude", "shell", "--network", "open", "--", "sh", "-c",
        "echo $ANTHROPIC_BASE_URL; getent hosts host.docker.internal",
        cwd=project, ANTHROPIC_BASE_URL="http://127.0.0.1:8787/path",
    )  # fmt: skip
    url, address = done.stdout.splitlines()
    assert url == "http://host.docker.internal:8787/path"
    assert address.split()[1] == "host.docker.internal"
