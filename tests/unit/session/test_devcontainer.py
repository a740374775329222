"""A launch as a devcontainer.json. On an engine, by the editors' own command: tests/engine/test_devcontainer.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.session import devcontainer
from confined_claude.settings import Settings

from .test_launch import planned


def test_it_has_what_a_session_has(tmp_path: Path, host: Host) -> None:
    launch = planned(tmp_path, host, Settings(network="internet"), command=("sleep", "infinity"))
    made = json.loads(json.dumps(devcontainer.describe(launch)))
    user = f"{host.uid}:{host.gid}"
    assert (made["image"], made["remoteUser"]) == (launch.image.name, user)
    assert made["workspaceMount"] == f"type=bind,source={tmp_path},target={tmp_path}"
    assert (made["overrideCommand"], made["updateRemoteUserUID"]) == (False, False)
    assert made["runArgs"] == [*launch.privileges, *launch.limits, *launch.egress.arguments]
    variables = made["containerEnv"]
    assert (variables["CONFINED_CLAUDE_USER"], variables["CONFINED_CLAUDE_PROJECT"]) == (user, str(tmp_path))
    assert variables["CONFINED_CLAUDE_RULES"] == launch.egress.rules != ""
    own = tmp_path / ".devcontainer"
    assert made["mounts"][-1] == f"type=bind,source={own},target={own},readonly"
    assert len(made["mounts"]) == len(launch.mounts)


def test_without_a_network_there_are_no_rules(tmp_path: Path, host: Host) -> None:
    made = devcontainer.describe(planned(tmp_path, host, Settings(network="none")))
    assert made["runArgs"][-2:] == ["--network", "none"]
    assert "CONFINED_CLAUDE_RULES" not in made["containerEnv"]


@pytest.mark.parametrize(
    "settings",
    [Settings(network="allowlist"), Settings(sudo="full"), Settings(network="none", runtime="runsc")],
    ids=["allowlist", "sudo", "runtime"],
)
def test_what_needs_a_sidecar_or_a_proof_is_refused(settings: Settings, tmp_path: Path, host: Host) -> None:
    with pytest.raises(ConfinedError, match="needs a sidecar or a proof"):
        devcontainer.describe(planned(tmp_path, host, settings))


@pytest.mark.parametrize("name", ["a,b", 'a"b', "${localEnv:HOME}"])
def test_a_path_that_would_be_another_there_is_refused(name: str, tmp_path: Path, host: Host) -> None:
    with pytest.raises(ConfinedError, match="cannot name"):
        devcontainer.describe(planned(tmp_path / name, host, Settings(network="none")))


def test_secrets_are_not_in_it(tmp_path: Path, host: Host) -> None:
    secret = "sk-ant-made-up"
    host = host._replace(environ={"ANTHROPIC_API_KEY": secret, "HTTPS_PROXY": f"http://me:{secret}@proxy.invalid:1"})
    launch = planned(tmp_path, host, Settings(network="none"))
    assert secret in " ".join((*launch.variables.values(), *launch.secrets.values()))
    assert secret not in json.dumps(devcontainer.describe(launch))


def test_it_says_that_a_lent_sign_in_is_not_there(tmp_path: Path, host: Host) -> None:
    lines = {each: devcontainer.lost(is_lent=each) for each in (True, False)}
    assert [line for line in lines[True] if line not in lines[False]] == [
        'a sign-in to Claude: sign_in = "lent" needs a sidecar; CONFINED_CLAUDE_SIGN_IN=given at the export gives that '
        "of sessions"
    ]
    configs = []
    for sign_in in ("lent", "given"):
        made = devcontainer.describe(planned(tmp_path, host, Settings(network="none", sign_in=sign_in)))
        configs.append([line for line in made["mounts"] if "target=/home/claude/.claude," in f"{line},"])
    assert ["claude-config-lent" in line for (line,) in configs] == [True, False]
