"""Sign-ins of clouds: the variables of the one in use, and the user's program that prints a short-lived credential.

No file and no cache of a cloud's own programs is read or copied, and no refresh token, service account or long-lived
key that is in one gets into a session. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..environment import CLOUDS, Cloud, cloud_in, is_of_sign_in, is_true
from ..text import repr_without
from .host_settings import AWS_HELPER, AWS_REFRESH, GCP_REFRESH, KEY_HELPER, HostSettings
from .source import AWS, KEY, Source

# In the image: it has the SDK take the credentials from the session's file, whenever they are about to expire.
_AWS_CONFIG = "/opt/confined-claude/init/aws-config"
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
AWS_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_AWS_TOKENS = ("AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_AWS_API_KEY")
_FOUNDRY_TOKENS = ("ANTHROPIC_FOUNDRY_API_KEY", "ANTHROPIC_FOUNDRY_AUTH_TOKEN")
_DEFAULT_REGION = "us-east-1"
_REGION = "CLOUD_ML_REGION|VERTEX_REGION_.*|ANTHROPIC_GOOGLE_CLOUD_LOCATION"
# As Claude Code (2.1.332) makes them of the region, or of the resource of Foundry.
_HOSTS = {
    "BEDROCK": ("bedrock-runtime.{}.amazonaws.com", "bedrock.{}.amazonaws.com"),
    "FOUNDRY": ("{}.services.ai.azure.com",),
    "ANTHROPIC_AWS": ("aws-external-anthropic.{}.api.aws",),
    "ANTHROPIC_GOOGLE_CLOUD": ("claude.googleapis.com", "claude.{}.rep.googleapis.com"),
    "MANTLE": ("bedrock-mantle.{}.api.aws",),
    "VERTEX": (
        *("aiplatform.googleapis.com", "{}-aiplatform.googleapis.com"),
        "aiplatform.{}.rep.googleapis.com",
    ),
}
_HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
# A gateway that has the cloud's credentials takes these, or the key of a helper.
_FOR_GATEWAYS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
_GOOGLE = ("gcloud", "auth", "application-default", "print-access-token")
# For the scope that Claude Code itself asks for.
_AZURE = (
    *("az", "account", "get-access-token", "--resource", "https://cognitiveservices.azure.com"),
    *("--query", "accessToken", "--output", "tsv"),
)
_LONG_LIVED = "AWS_ACCESS_KEY_ID is a long-lived key: a session can read it, and it works until you delete it at AWS."


class CloudSignIn(NamedTuple):
    """What a cloud's sign-in takes: as in ``sign_in.Chosen``."""

    environ: Mapping[str, str]
    source: Source | None = None
    inside: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return repr_without(self, "environ")


def choose(
    cloud: Cloud, merged: Mapping[str, str], everything: Mapping[str, str], settings: HostSettings
) -> CloudSignIn:
    """Return the sign-in of ``cloud`` with the variables ``merged``; its program gets ``everything``."""
    others = {name for each in CLOUDS if each is not cloud for name in (each.switch, each.skip)}
    environ = {
        name: value
        for name, value in merged.items()
        if not is_of_sign_in(name) or name == _HEADERS or (cloud.has(name) and name not in others)
    }
    if is_true(merged.get(cloud.skip)):
        environ |= {name: merged[name] for name in _FOR_GATEWAYS if merged.get(name)}
        helper = settings.helpers.get(KEY_HELPER)
        return CloudSignIn(environ, Source(KEY_HELPER, helper, KEY, everything) if helper else None)
    if cloud.family == "aws":
        return _aws(environ, everything, settings)
    if any(environ.get(name) for name in _FOUNDRY_TOKENS):
        return CloudSignIn(environ)
    program = _GOOGLE if cloud.family == "google" else _AZURE
    refresh = settings.helpers.get(GCP_REFRESH, "") if cloud.family == "google" else ""
    # The client sends what the helper prints, as to a gateway.
    return CloudSignIn({**environ, cloud.skip: "1"}, Source(program[0], program, KEY, everything, refresh))


def _aws(environ: Mapping[str, str], everything: Mapping[str, str], settings: HostSettings) -> CloudSignIn:
    if any(environ.get(name) for name in _AWS_TOKENS):
        return CloudSignIn({name: value for name, value in environ.items() if name not in _AWS_KEYS})
    helper = settings.helpers.get(AWS_HELPER)
    profile = everything.get("AWS_PROFILE")
    if not helper and not profile and all(environ.get(name) for name in _AWS_KEYS[:2]):
        return CloudSignIn(environ, notes=() if environ.get(_AWS_KEYS[2]) else (_LONG_LIVED,))
    words = ("aws", "configure", "export-credentials", "--format", "process")
    name, command = (AWS_HELPER, helper) if helper else ("aws", words)
    source = Source(name, command, AWS, everything, settings.helpers.get(AWS_REFRESH, ""))
    kept = {name: value for name, value in environ.items() if name not in _AWS_KEYS}
    # The client would keep what it has for an hour, also once that is refused.
    inside = {"AWS_CONFIG_FILE": _AWS_CONFIG, "CLAUDE_CODE_SKIP_AWS_CRED_CACHE": "1"}
    return CloudSignIn(kept, source, inside)


def hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the host names that Claude Code reaches for the cloud in ``environ``, if it is not led elsewhere."""
    cloud = cloud_in(environ)
    if cloud is None or environ.get(cloud.base_url):
        return ()
    region = next((environ[name] for name in AWS_REGIONS if environ.get(name)), _DEFAULT_REGION)
    named = {
        "aws": [region],
        "azure": [environ.get("ANTHROPIC_FOUNDRY_RESOURCE", "")],
        "google": [value for name, value in environ.items() if re.fullmatch(_REGION, name)],
    }[cloud.family]
    found = [template.format(name) for template in _HOSTS[cloud.suffix] for name in sorted({*named}) if name]
    return tuple(dict.fromkeys(found))
