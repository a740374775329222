"""Claude's own sign-in lent, in real sessions: the client works with a placeholder, and nowhere is the value."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import pytest
from helpers import Api, User, contents, docker, own_name, sidecars_of, up
from lending import API_URL, lent_api, signed_in, there
from terminals import PROMPT, QUESTIONS, terminal

__all__ = ["lent_api", "signed_in", "there"]
VALUE = "/run/confined-claude/sign-in/value"
KINDS = {
    "ANTHROPIC_AUTH_TOKEN": ("made-up-auth-token-{}", {"authorization": "Bearer {}"}),
    "CLAUDE_CODE_OAUTH_TOKEN": ("sk-ant-oat01-{}", {"authorization": "Bearer {}"}),
}
# Files that can be another session's than the image's, all processes and all variables, for the words in the input.
SEARCH = """
    while read -r word; do
        grep -rlsF -f <(printf %s "$word") /egress /etc /home /opt /root /run /srv /tmp /var
        cat /proc/*/environ /proc/*/cmdline 2>/dev/null | grep -acF -f <(printf %s "$word")
    done; true
"""
POST = f"curl -sf -o /dev/null -d '{{}}' -H \"Authorization: Bearer TOKEN\" {API_URL}/v1/messages"
# Until the API accepts it.
POST_AGAIN = f"for _ in $(seq 600); do {POST} && exit; sleep 0.2; done; exit 9"


def headers(api: Api, sent: str) -> dict[str, str]:
    """The sign-in headers of the last request that had ``sent`` in them."""
    lines = [json.loads(line) for line in api.log().splitlines() if sent in line]
    return dict(lines[-1]["headers"]) if lines else {}


def run(user: User, project: Path, script: str, *flags: str) -> str:
    done = user.run("confined-claude", "shell", *flags, "--", "bash", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_is_a_placeholder_of_its_form(signed_in: User, lent_api: Api, place: Path, kind: str) -> None:
    form, sent = KINDS[kind]
    value = form.format(uuid.uuid4().hex)
    project = signed_in.folder(own_name(place))

    def dry_run() -> list[str]:
        done = signed_in.run("confined-claude", "run", "--dry-run", cwd=project)
        return [line for line in done.stdout.splitlines() if line.startswith("# sign-in:")]

    assert dry_run() == ["# sign-in:   none, so nothing is lent"]
    signed_in.variables[kind] = value
    assert dry_run() == ["# sign-in:   lent"]
    placeholder, answer = run(signed_in, project, f"echo ${kind}; claude -p hello").splitlines()
    assert answer == "FAKE ANSWER: hello"
    assert headers(lent_api, value) == {name: text.format(value) for name, text in sent.items()}
    assert value not in placeholder
    assert len(placeholder) == len(value)
    assert placeholder.startswith("sk-ant-") is value.startswith("sk-ant-")
    del signed_in.variables[kind]
    signed_in.variables["ANTHROPIC_CUSTOM_HEADERS"] = f"Authorization: Bearer {value}"
    refused = signed_in.run("confined-claude", "run", cwd=project)
    assert (refused.returncode, "has Authorization, and its value is not lent" in refused.stderr) == (2, True)
    assert value not in refused.stderr


def test_an_api_key_asks_nothing_and_a_given_one_is_in_the_session(signed_in: User, lent_api: Api, place: Path) -> None:
    key = f"sk-ant-api03-{uuid.uuid4().hex}"
    signed_in.variables["ANTHROPIC_API_KEY"] = key
    project = signed_in.folder(own_name(place))
    with terminal(signed_in, project, "confined-claude", "--network", "allowlist") as opened:
        screen = opened.wait_for(PROMPT)
        assert not [question for question in QUESTIONS if question in screen]
        opened.type("hello")
        opened.wait_for("FAKE ANSWER: hello")
    assert headers(lent_api, key) == {"x-api-key": key}
    assert run(signed_in, project, "echo $ANTHROPIC_API_KEY", "--sign-in", "given") == f"{key}\n", "the control"


def test_credentials_are_nowhere_in_the_session_and_it_uses_what_the_host_renews(
    signed_in: User, lent_api: Api, place: Path
) -> None:
    user, project = signed_in, signed_in.folder(own_name(place))
    old, new = (f"sk-ant-oat01-{uuid.uuid4().hex}" for _ in range(2))
    user.sign_in(token=old)
    # A given session leaves a copy in the profile's config, and is the control of the search.
    words = f"{old}\nsk-ant-ort01-made-up\n"
    search = f"printf '{old[:20]}'\"{old[20:]}\\n\" | ({SEARCH})"
    assert "/home/claude/.claude/.credentials.json" in run(user, project, search, "--sign-in", "given")
    with terminal(user, project, "confined-claude", "run") as opened:
        screen = opened.wait_for(PROMPT)
        assert not [question for question in QUESTIONS if question in screen]
        opened.type("the first")
        opened.wait_for("FAKE ANSWER: the first")
        assert lent_api.tokens()[-1] == old

        def execute(script: str, text: str = "") -> str:
            done = user.run("confined-claude", "exec", "--", "bash", "-c", script, cwd=project, input=text)
            assert done.returncode == 0, done.stderr
            return done.stdout

        name, plan, *found = execute(
            f"echo $CLAUDE_CODE_OAUTH_TOKEN $CLAUDE_CODE_SUBSCRIPTION_TYPE; {SEARCH}", words
        ).split()
        assert (name[:13], len(name), plan, found) == ("sk-ant-oat01-", len(old), "max", ["0", "0"])
        (session,), (sidecar,) = up(project), sidecars_of(project)
        shown = {
            "inspect": docker("inspect", session, sidecar),
            "logs": docker("logs", session, check=False) + docker("logs", sidecar, check=False),
            "processes": subprocess.run(["ps", "axeww"], check=True, capture_output=True, text=True).stdout,
            "dry run": user.run("confined-claude", "run", "--dry-run", cwd=project).stdout,
            **contents(user.home / ".local"),
        }
        copy = f"{user.home}/.local/share/confined-claude/shared/claude-config/.credentials.json"
        assert {where for where, text in shown.items() if old in text} == {copy}
        lent_api.revoke(old)
        user.sign_in(token=new)
        execute(POST_AGAIN.replace("TOKEN", "$CLAUDE_CODE_OAUTH_TOKEN", 1))
        opened.type("the second")
        opened.wait_for("FAKE ANSWER: the second")
        assert lent_api.tokens()[-1] == new
        # In another session it stands for nothing.
        mine = run(user, project, POST.replace("TOKEN", name) + "; echo $CLAUDE_CODE_OAUTH_TOKEN")
        assert (name in lent_api.tokens(), mine.strip() in (name, new)) == (True, False)
        opened.type("/exit")
        opened.wait_for_end()
    assert "Lent secrets went into" in opened.everything


def test_a_helper_is_renewed_in_both_headers(signed_in: User, lent_api: Api, place: Path) -> None:
    user, project = signed_in, signed_in.folder(own_name(place))
    first, second = (f"made-up-key-{uuid.uuid4().hex}" for _ in range(2))
    key = user.write(user.home / "key", first)
    helper = {"apiKeyHelper": f"cat {key}", "env": {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1000"}}
    user.write(user.home / ".claude/settings.json", json.dumps(helper))
    with terminal(user, project, "confined-claude", "run") as opened:
        screen = opened.wait_for(PROMPT)
        assert not [question for question in QUESTIONS if question in screen]
        opened.type("the first")
        opened.wait_for("FAKE ANSWER: the first")
        assert headers(lent_api, first) == {"authorization": f"Bearer {first}", "x-api-key": first}
        (session,) = up(project)
        assert docker("exec", session, "cat", VALUE).startswith("sk-ant-api03-")
        lent_api.revoke(first)
        key.write_text(second)
        script = POST_AGAIN.replace("TOKEN", f"$(cat {VALUE})")
        assert user.run("confined-claude", "exec", "--", "bash", "-c", script, cwd=project).returncode == 0
        opened.type("the second")
        opened.wait_for("FAKE ANSWER: the second")
    assert headers(lent_api, second) == {"authorization": f"Bearer {second}", "x-api-key": second}
