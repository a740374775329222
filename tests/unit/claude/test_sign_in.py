"""Which sign-in is in force: one table, in the order of Claude Code, and what a session gets of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from confined_claude import environment
from confined_claude.claude import cloud
from confined_claude.claude.host_settings import AWS_HELPER, KEY_HELPER, HostSettings
from confined_claude.claude.sign_in import TOKEN_KIND, Chosen, choose, session_settings
from confined_claude.claude.source import AWS, KEY

AUTH, KEY_VARIABLE, OAUTH = environment.SIGN_IN
BEDROCK = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-north-1"}
STATIC = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up"}
SESSION = {**STATIC, "AWS_SESSION_TOKEN": "made-up"}
VERTEX = {"CLAUDE_CODE_USE_VERTEX": "yes", "CLOUD_ML_REGION": "us-east5"}
FOUNDRY = {"CLAUDE_CODE_USE_FOUNDRY": "true", "ANTHROPIC_FOUNDRY_RESOURCE": "made-up"}


def chosen(
    environ: Mapping[str, str], token: str = "", refused: tuple[str, ...] = (), **settings: Mapping[str, str]
) -> Chosen:
    return choose(environ, HostSettings(settings.get("env", {}), settings.get("helpers", {})), refused, token)


@pytest.mark.parametrize(
    "row",  # environment, settings' env, helper, token of `login`: kind, what of it is in the session, source
    [
        ({}, {}, "", "", "", {}, ""),
        ({AUTH: "a"}, {}, "", "", AUTH, {AUTH: "a"}, ""),
        ({KEY_VARIABLE: "k"}, {}, "", "", KEY_VARIABLE, {KEY_VARIABLE: "k"}, ""),
        ({OAUTH: "o"}, {}, "", "", OAUTH, {OAUTH: "o"}, ""),
        ({}, {}, "", "t", TOKEN_KIND, {OAUTH: "t"}, ""),
        ({}, {}, "h", "", KEY_HELPER, {}, KEY_HELPER),
        # A request has a bearer token and a key; the helper's value stands where nothing else does.
        ({AUTH: "a", KEY_VARIABLE: "k"}, {}, "", "", AUTH, {AUTH: "a", KEY_VARIABLE: "k"}, ""),
        ({AUTH: "a", KEY_VARIABLE: "k"}, {}, "h", "", AUTH, {AUTH: "a", KEY_VARIABLE: "k"}, ""),
        ({AUTH: "a"}, {}, "h", "", AUTH, {AUTH: "a"}, KEY_HELPER),
        ({KEY_VARIABLE: "k"}, {}, "h", "", KEY_VARIABLE, {KEY_VARIABLE: "k"}, KEY_HELPER),
        # What is not used stays out.
        ({KEY_VARIABLE: "k", OAUTH: "o"}, {}, "", "t", KEY_VARIABLE, {KEY_VARIABLE: "k"}, ""),
        ({OAUTH: "o"}, {}, "h", "t", KEY_HELPER, {}, KEY_HELPER),
        ({OAUTH: "o"}, {}, "", "t", OAUTH, {OAUTH: "o"}, ""),
        # Settings win over the environment.
        ({AUTH: "a"}, {AUTH: "s"}, "", "", AUTH, {AUTH: "s"}, ""),
        ({}, {OAUTH: "s", "HTTPS_PROXY": "p", "EDITOR": "vi"}, "", "", OAUTH, {OAUTH: "s"}, ""),
        ({}, {"CLAUDE_CODE_USE_BEDROCK": "1", **SESSION}, "", "", "Amazon Bedrock", SESSION, ""),
        # A cloud comes before everything, and takes nothing else.
        ({**BEDROCK, **SESSION, AUTH: "a", KEY_VARIABLE: "k", OAUTH: "o"}, {}, "h", "t", "Amazon Bedrock", SESSION, ""),
        ({**BEDROCK, **VERTEX}, {}, "", "", "Amazon Bedrock", {}, "aws"),
        ({**FOUNDRY, **VERTEX}, {}, "", "", "Microsoft Foundry", {}, "az"),
        ({**VERTEX, KEY_VARIABLE: "k"}, {}, "", "", "Google Vertex AI", {}, "gcloud"),
        ({"CLAUDE_CODE_USE_BEDROCK": "0", KEY_VARIABLE: "k"}, {}, "", "", KEY_VARIABLE, {KEY_VARIABLE: "k"}, ""),
        ({"CLAUDE_CODE_USE_VERTEX": "no"}, {}, "", "", "", {}, ""),
    ],
)
def test_what_signs_in(row: tuple[Any, ...]) -> None:
    environ, env, helper, token, kind, sent, source = row
    found = chosen(environ, token, env=env, helpers={KEY_HELPER: helper} if helper else {})
    assert (found.kind, found.source.name if found.source else "") == (kind, source)
    secret = {*environment.SIGN_IN, *SESSION}
    assert {name: value for name, value in found.environ.items() if name in secret} == sent


def test_the_rest_of_the_environment_stays_as_it_is() -> None:
    environ = {"PATH": "/usr/bin", "TERM": "xterm", "AWS_PROFILE": "work", "ANTHROPIC_MODEL": "m"}
    assert chosen({**environ, AUTH: "a"}).environ == {**environ, AUTH: "a"}


def test_a_proxy_of_the_settings_counts_and_other_variables_are_not_the_sessions() -> None:
    found = chosen({}, env={"HTTPS_PROXY": "http://localhost:3128", "EDITOR": "vi", "CLAUDE_CODE_X": "1"})
    assert found.environ == {"HTTPS_PROXY": "http://localhost:3128"}


def test_switches_of_clouds_that_are_off_stay_out() -> None:
    assert chosen({"CLAUDE_CODE_USE_VERTEX": "no", "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1"}).environ == {}
    assert "CLAUDE_CODE_USE_VERTEX" not in chosen({**BEDROCK, **VERTEX}).environ


def test_a_key_that_the_user_refused_stays_refused_and_this_is_said() -> None:
    key = "sk-ant-api03-made-up-0123456789abcdefghij"
    found = chosen({KEY_VARIABLE: key, OAUTH: "o"}, refused=(key[-20:],))
    assert (found.kind, found.environ) == (OAUTH, {OAUTH: "o"})
    assert "you refused this key" in found.notes[0]
    assert chosen({KEY_VARIABLE: key}, refused=("another",)).kind == KEY_VARIABLE


@pytest.mark.parametrize(
    ("environ", "token", "line"),
    [
        ({KEY_VARIABLE: "k"}, "", None),
        ({KEY_VARIABLE: "k", OAUTH: "o"}, "", f"Signed in by {KEY_VARIABLE}, which is billed; {OAUTH} is not used."),
        (
            {KEY_VARIABLE: "k", OAUTH: "o"},
            "t",
            f"Signed in by {KEY_VARIABLE}, which is billed; {OAUTH} and {TOKEN_KIND} are not used.",
        ),
        (
            {AUTH: "a", KEY_VARIABLE: "k"},
            "",
            f"Claude sends both {AUTH} and {KEY_VARIABLE}: who receives them decides which one is billed.",
        ),
    ],
)
def test_with_two_kinds_the_start_says_which_one_is_billed(
    environ: Mapping[str, str], token: str, line: str | None
) -> None:
    assert chosen(environ, token).remarks == ((line,) if line else ())


# Clouds


@pytest.mark.parametrize(
    ("environ", "helpers", "source", "form", "inside"),
    [
        ({**BEDROCK}, {}, "aws", AWS, True),
        ({**BEDROCK, **SESSION, "AWS_PROFILE": "work"}, {}, "aws", AWS, True),
        ({**BEDROCK}, {AWS_HELPER: "print-credentials"}, AWS_HELPER, AWS, True),
        ({**BEDROCK, "AWS_BEARER_TOKEN_BEDROCK": "b", **SESSION}, {}, "", "", False),
        ({**BEDROCK, "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"}, {KEY_HELPER: "h"}, KEY_HELPER, KEY, False),
        ({"CLAUDE_CODE_USE_ANTHROPIC_AWS": "1", "ANTHROPIC_AWS_API_KEY": "k"}, {}, "", "", False),
        ({"CLAUDE_CODE_USE_MANTLE": "1"}, {}, "aws", AWS, True),
        (VERTEX, {}, "gcloud", KEY, False),
        ({"CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD": "1"}, {}, "gcloud", KEY, False),
        (FOUNDRY, {}, "az", KEY, False),
        ({**FOUNDRY, "ANTHROPIC_FOUNDRY_API_KEY": "k"}, {}, "", "", False),
    ],
)
def test_a_cloud_has_its_credentials_from(
    environ: Mapping[str, str], helpers: Mapping[str, str], source: str, form: str, inside: bool
) -> None:
    found = chosen(environ, helpers=helpers)
    assert (found.source.name, found.source.form) == (source, form) if found.source else source == ""
    assert ("AWS_CONFIG_FILE" in found.inside) is inside
    if source in ("aws", AWS_HELPER, "gcloud", "az"):
        assert not set(found.environ) & {*SESSION, *environment.SIGN_IN}


def test_a_program_of_a_cloud_gets_all_that_the_user_set_and_the_session_does_not() -> None:
    files = {"AWS_PROFILE": "work", "AWS_CONFIG_FILE": "/x", "GOOGLE_APPLICATION_CREDENTIALS": "/y"}
    found = chosen({**BEDROCK, **files}, env={"AWS_SHARED_CREDENTIALS_FILE": "/z"})
    assert found.source is not None
    assert {*files, "AWS_SHARED_CREDENTIALS_FILE"} < set(found.source.environ)
    public, secret = environment.split(found.environ)
    assert not {*files, "AWS_SHARED_CREDENTIALS_FILE"} & {*public, *secret}


def test_the_users_command_that_signs_in_to_a_cloud_is_known() -> None:
    helpers = {"awsAuthRefresh": "aws sso login", "gcpAuthRefresh": "gcloud auth login"}
    for environ, refresh in ((BEDROCK, "aws sso login"), (VERTEX, "gcloud auth login"), (FOUNDRY, "")):
        found = chosen(environ, helpers=helpers)
        assert found.source is not None
        assert found.source.refresh == refresh
    assert chosen({}, helpers=helpers).kind == ""


@pytest.mark.parametrize("name", ["ANTHROPIC_PROFILE", "ANTHROPIC_FEDERATION_RULE_ID"])
def test_a_sign_in_that_stays_on_the_host_is_named(name: str) -> None:
    assert f"{name} is set" in chosen({name: "work"}).notes[0]
    assert f"{name} is set" in chosen({OAUTH: "o"}, env={name: "work"}).notes[0]
    assert chosen({OAUTH: "o"}).notes == ()


def test_a_gateway_with_the_clouds_credentials_gets_the_plain_sign_in() -> None:
    environ = {**VERTEX, "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", AUTH: "a", OAUTH: "o"}
    assert chosen(environ).environ == {name: value for name, value in environ.items() if name != OAUTH}


def test_long_lived_keys_are_the_users_own_choice_and_are_named() -> None:
    assert "long-lived" in chosen({**BEDROCK, **STATIC}).notes[0]
    assert chosen({**BEDROCK, **SESSION}).notes == ()


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        ({}, ()),
        (BEDROCK, ("bedrock-runtime.eu-north-1.amazonaws.com", "bedrock.eu-north-1.amazonaws.com")),
        ({**BEDROCK, "ANTHROPIC_BEDROCK_BASE_URL": "https://gateway.example"}, ()),
        ({"CLAUDE_CODE_USE_ANTHROPIC_AWS": "1"}, ("aws-external-anthropic.us-east-1.api.aws",)),
        ({"CLAUDE_CODE_USE_MANTLE": "1"}, ("bedrock-mantle.us-east-1.api.aws",)),
        (FOUNDRY, ("made-up.services.ai.azure.com",)),
        (
            {**VERTEX, "VERTEX_REGION_CLAUDE_5_OPUS": "eu"},
            (
                "aiplatform.googleapis.com",
                "eu-aiplatform.googleapis.com",
                "us-east5-aiplatform.googleapis.com",
                "aiplatform.eu.rep.googleapis.com",
                "aiplatform.us-east5.rep.googleapis.com",
            ),
        ),
    ],
)
def test_an_allowlist_opens_the_clouds_own_hosts(environ: Mapping[str, str], hosts: tuple[str, ...]) -> None:
    assert cloud.hosts(environ) == hosts


# The session's managed settings


@pytest.mark.parametrize(
    ("environ", "helper", "inside", "settings"),
    [
        ({AUTH: "a"}, "", (), None),
        ({}, "h", (), {"apiKeyHelper": "/bin/cat /run/confined-claude/sign-in/value", "env": {"TTL": "15000"}}),
        ({}, "", ("HTTPS_PROXY", "NO_PROXY"), {"env": {"HTTPS_PROXY": "of-the-network", "NO_PROXY": ""}}),
        ({}, "", ("ANTHROPIC_BASE_URL",), {"env": {"ANTHROPIC_BASE_URL": "https://api.anthropic.com"}}),
        (
            {AUTH: "a", "ANTHROPIC_BASE_URL": "http://localhost:1"},
            "",
            (AUTH, "ANTHROPIC_BASE_URL", KEY_VARIABLE),
            {"env": {AUTH: "a", "ANTHROPIC_BASE_URL": "http://host.docker.internal:1", KEY_VARIABLE: ""}},
        ),
    ],
)
def test_what_files_of_a_session_set_of_sign_ins_does_not_count(
    environ: Mapping[str, str], helper: str, inside: tuple[str, ...], settings: Mapping[str, Any] | None
) -> None:
    found = chosen(environ, helpers={KEY_HELPER: helper} if helper else {})
    text = session_settings(found, inside, {"HTTPS_PROXY": "of-the-network"}).replace(
        "CLAUDE_CODE_API_KEY_HELPER_TTL_MS", "TTL"
    )
    assert (json.loads(text) if text else None) == settings
