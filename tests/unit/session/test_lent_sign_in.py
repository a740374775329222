"""Claude's own sign-in lent: of which kind, to which host, what the session has in its place, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from confined_claude.claude import choosing, tokens
from confined_claude.claude.sign_in import Chosen
from confined_claude.commands.accounts import in_force
from confined_claude.commands.login import login
from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.project import Project
from confined_claude.session.given import Given
from confined_claude.session.host_facts import lent_sign_in
from confined_claude.session.lent import Lent
from confined_claude.session.mounts import plan_mounts
from confined_claude.settings import Settings
from confined_claude.settings.files import ProjectFiles
from confined_claude.settings.resolution import resolve
from confined_claude.workspace import Workspace

from ..guarding import put

KEY, TOKEN = "sk-ant-api03-s3cret-0123456789", "sk-ant-oat01-s3cret-0123456789"
OAUTH = {
    "accessToken": TOKEN, "refreshToken": "sk-ant-ort01-s3cret", "expiresAt": 9e12,
    "scopes": ["user:inference", "user:profile"], "subscriptionType": "max", "rateLimitTier": "two\nlines",
}  # fmt: skip


class Lender:
    """A user who lends the sign-in, and a project of theirs."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host, self.root = host, root
        root.mkdir()

    def lend(self, environ: Mapping[str, str], **settings: Any) -> tuple[Chosen, Given]:
        host = self.host._replace(environ=dict(environ))
        workspace = Workspace(host, Project(self.root), Settings(sign_in="lent", **settings))
        chosen = choosing.find(host, (), workspace.profile_config)
        found, given = lent_sign_in(workspace, chosen, None)
        assert "s3cret" not in f"{found} {given} {dict(found.environ)} {dict(found.inside)}"
        return found, given or Given()

    def sign_in(self, oauth: Any) -> None:
        put(self.host.home / ".claude/.credentials.json", json.dumps({"claudeAiOauth": oauth}))


@pytest.fixture
def here(host: Host, tmp_path: Path) -> Lender:
    return Lender(host, tmp_path / "project")


@pytest.mark.parametrize(
    ("name", "value"),
    [("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_AUTH_TOKEN", "plain-s3cret-word"), ("CLAUDE_CODE_OAUTH_TOKEN", TOKEN)],
)
def test_a_variable_has_a_placeholder_in_every_place(here: Lender, name: str, value: str) -> None:
    found, given = here.lend({name: value, "ANTHROPIC_CUSTOM_HEADERS": f"X-Also: {value}"})
    mine = found.environ[name]
    assert (len(mine), found.kind, found.placeholder, found.is_lent) == (len(value), name, "", True)
    assert found.environ["ANTHROPIC_CUSTOM_HEADERS"] == f"X-Also: {mine}"
    assert given.hosts == (("api.anthropic.com", 443),)
    assert {(one.header, one.placeholder, one.value) for one in given.lent} == {
        ("authorization", mine, value), ("x-api-key", mine, value)
    }  # fmt: skip
    assert given.git_settings == (), "git signs in with none of it"
    assert here.lend({name: value})[0].environ[name] != mine, "each session has another one"


def test_credentials_are_a_variable_with_what_the_client_knows_of_them(here: Lender) -> None:
    here.sign_in(OAUTH)
    found, given = here.lend({})
    assert found.environ["CLAUDE_CODE_OAUTH_TOKEN"] == found.placeholder != ""
    assert found.kind == "", "they are still credentials"
    assert dict(found.inside) == {
        "CLAUDE_CODE_OAUTH_SCOPES": "user:inference user:profile",
        "CLAUDE_CODE_SUBSCRIPTION_TYPE": "max",
    }
    assert {one.value for one in given.lent} == {TOKEN}


def test_a_helper_and_a_stored_token_are_lent_too_and_nothing_where_nobody_is_signed_in(here: Lender) -> None:
    assert here.lend({}) == (Chosen("", {}, is_lent=True), Given())
    put(here.host.home / ".claude/settings.json", '{"apiKeyHelper": "print-key"}')
    found, given = here.lend({"ANTHROPIC_API_KEY": KEY})
    (helper,) = {one.placeholder for one in given.lent if one.name == "apiKeyHelper"}
    assert found.placeholder == helper
    assert {one.value for one in given.lent} == {KEY, helper}, "the helper's comes later"
    (here.host.home / ".claude/settings.json").unlink()
    host = here.host._replace(environ={})
    config = Workspace(host, Project(here.root), Settings()).claude_config
    tokens.store_token(host, config.path, TOKEN)
    assert {one.value for one in here.lend({})[1].lent} == {TOKEN}


@pytest.mark.parametrize(
    ("url", "place"),
    [("https://LLM.corp.example/path", ("llm.corp.example", 443)), ("https://llm.corp:8443", ("llm.corp", 8443))],
)
def test_it_is_lent_to_the_host_that_the_base_url_names(here: Lender, url: str, place: tuple[str, int]) -> None:
    assert here.lend({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url})[1].hosts == (place,)


@pytest.mark.parametrize(
    ("environ", "settings", "words"),
    [
        ({"CLAUDE_CODE_USE_BEDROCK": "1"}, {}, "Amazon Bedrock"),
        ({"ANTHROPIC_BASE_URL": "http://llm.corp"}, {}, "http://llm.corp"),
        ({"ANTHROPIC_BASE_URL": "https://127.0.0.1:8080"}, {}, "https://127.0.0.1"),
        ({"ANTHROPIC_BASE_URL": "https://localhost:8080"}, {}, "https://localhost"),
        ({"ANTHROPIC_BASE_URL": "https://[::1"}, {}, "ANTHROPIC_BASE_URL"),
        ({"ANTHROPIC_BASE_URL": "llm.corp"}, {}, "ANTHROPIC_BASE_URL"),
        ({"ANTHROPIC_API_KEY": "s3cret two words"}, {}, "ANTHROPIC_API_KEY"),
        ({}, {"network": "none"}, "network = none"),
        ({}, {"network": "open"}, "network = open"),
        ({}, {"network": "docker:mine"}, "network = docker:mine"),
    ],
)
def test_what_cannot_be_lent_is_one_line_and_what_to_do(
    here: Lender, environ: dict[str, str], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfinedError) as caught:
        here.lend({"ANTHROPIC_API_KEY": KEY, **environ}, **settings)
    assert words in caught.value.message
    assert "--sign-in given" in caught.value.hint
    assert "\n" not in f"{caught.value.message}{caught.value.hint}"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("is_only", [True, False])
@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer s3cret-0123456789"}, "Authorization"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "X-Team: blue\r\nx-api-key:s3cret-0123456789"}, "x-api-key"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "Proxy-Authorization: Basic dTpzM2NyZXQ="}, "Proxy-Authorization"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "cookie : s3cret=1"}, "cookie"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "Helicone-Auth: s3cret"}, "Helicone-Auth"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "CF-Access-Client-Secret: s3cret"}, "CF-Access-Client-Secret"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "X-Gateway-Token: s3cret"}, "X-Gateway-Token"),
        ({"ANTHROPIC_CUSTOM_HEADERS": "X-Plain: Bearer s3cret"}, "X-Plain"),
        ({"ANTHROPIC_CUSTOM_HEADERS": f"X-Key: {KEY}-and-s3cret"}, "X-Key"),
        ({"ANTHROPIC_BASE_URL": "https://u:s3cret@llm.corp"}, "ANTHROPIC_BASE_URL"),
        ({"ANTHROPIC_BASE_URL": "https://llm.corp/?key=s3cret"}, "ANTHROPIC_BASE_URL"),
    ],
)
def test_what_signs_in_beside_it_is_never_in_clear(
    here: Lender, environ: dict[str, str], name: str, is_only: bool
) -> None:
    with pytest.raises(ConfinedError) as caught:
        here.lend(environ if is_only else {"ANTHROPIC_API_KEY": KEY, **environ})
    assert name in caught.value.message
    assert "--sign-in given" in caught.value.hint
    assert "s3cret" not in f"{caught.value.message}{caught.value.hint}"


def test_other_headers_stay_and_a_lent_secret_may_be_one(here: Lender) -> None:
    environ = {"ANTHROPIC_CUSTOM_HEADERS": "X-Team: blue\nX-Author: me", "ANTHROPIC_BASE_URL": "https://llm.corp/v1"}
    assert here.lend(environ)[0].environ == environ
    value, mine = "gateway-s3cret-0123456789", "gateway-placeholder-012345"
    secret = Given(lent=(Lent((("llm.corp", 443),), "authorization", mine, value, "GW", '"$GW"'),))
    workspace = Workspace(here.host, Project(here.root), Settings(sign_in="lent"))
    header = {"ANTHROPIC_CUSTOM_HEADERS": f"Authorization: Bearer {value}"}
    found, given = lent_sign_in(workspace, Chosen("", header), secret)
    assert found.environ == {"ANTHROPIC_CUSTOM_HEADERS": f"Authorization: Bearer {mine}"}
    assert given == secret
    assert not secret.lends_sign_in, "a dry run says so"
    assert here.lend({"ANTHROPIC_API_KEY": KEY})[1].lends_sign_in


@pytest.mark.parametrize("shared", ["shared", "project"])
def test_its_config_is_another_one_and_its_conversations_are_the_same(host: Host, tmp_path: Path, shared: str) -> None:
    given, lent = (
        Workspace(host, Project(tmp_path), Settings(sign_in=each, claude_config=shared)) for each in ("given", "lent")
    )
    assert lent.claude_config.path == given.claude_config.path.with_name("claude-config-lent")
    assert lent.profile_config == given.profile_config == given.claude_config
    assert lent.conversations == given.conversations
    targets = {mount.target: mount.source for mount in plan_mounts(lent)}
    assert targets["/home/claude/.claude"] == lent.claude_config.path
    assert targets["/home/claude/.claude/projects"] == lent.conversations.path
    assert given.claude_config.path not in targets.values()


@pytest.mark.parametrize(
    ("user", "flag", "expected"), [("lent", None, "lent"), ("given", None, "lent"), ("lent", "given", "given")]
)
def test_a_project_narrows(host: Host, tmp_path: Path, user: str, flag: str | None, expected: str) -> None:
    assert resolved(host, tmp_path, user, "lent", flag) == expected


def test_a_project_never_widens(host: Host, tmp_path: Path) -> None:
    assert resolved(host, tmp_path, "lent", "given", None) == "lent"


def resolved(host: Host, root: Path, user: str, project: str, flag: str | None) -> str:
    put(host.user_config_file, f'sign_in = "{user}"\n')
    put(root / ".confined-claude/config.toml", f'sign_in = "{project}"\n')
    files = ProjectFiles.read(root / ".confined-claude")
    return resolve(host.user_config_file, files, {}, {"sign_in": flag}).settings.sign_in


def test_login_says_what_cannot_be_lent(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root := tmp_path / "project").mkdir()
    monkeypatch.chdir(root)
    lent, given = (host._replace(environ={"CONFINED_CLAUDE_SIGN_IN": each}) for each in ("lent", "given"))
    with pytest.raises(ConfinedError, match="cannot be lent"):
        login(lent, token=False, from_host=False)
    with pytest.raises(ConfinedError, match="needs a terminal"):  # the control
        login(given, token=False, from_host=False)


def test_the_account_says_that_it_is_lent_and_is_the_hosts(here: Lender) -> None:
    here.sign_in(OAUTH)
    put(here.host.home / ".claude.json", '{"oauthAccount": {"emailAddress": "me@host.invalid"}}')
    own = Workspace(here.host, Project(here.root)).profile_config.path
    put(own / ".credentials.json", json.dumps({"claudeAiOauth": OAUTH}))
    put(own / ".claude.json", '{"oauthAccount": {"emailAddress": "me@inside.invalid"}}')
    host = here.host._replace(environ={})
    words = [in_force(host, Project(here.root), Settings(sign_in=each)).in_words for each in ("lent", "given")]
    assert words == ["me@host.invalid, lent", "me@inside.invalid"]
    host = host._replace(environ={"ANTHROPIC_API_KEY": KEY})
    assert in_force(host, None, Settings(sign_in="lent")).in_words == "ANTHROPIC_API_KEY, lent"
