"""Each mode of the network in the docker arguments of a session and of its sidecar."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.container.egress import networks
from confined_claude.egress.endpoints import CLAUDE_HOSTS, allowlist_config, mask_config
from confined_claude.egress.network import Egress, SidecarPlan, plan_egress
from confined_claude.egress.ports import Published
from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.image.recipe import ImageChain, Recipe
from confined_claude.project import Project
from confined_claude.session.host_facts import HostFacts
from confined_claude.session.launch import Launch, plan_launch
from confined_claude.settings import Settings
from confined_claude.state.facts import EngineFacts
from confined_claude.workspace import Workspace

from ..conftest import host_below

KEY = "0123456789abcdef"
NAME = f"confined-claude-net-{KEY}"
GATEWAY = "host.docker.internal:host-gateway"
NAMES = ["host.docker.internal:127.0.0.1", "gateway.docker.internal:host-gateway"]
# Of each, what no list of processes and no `docker inspect` may show.
HIDDEN = {
    "ANTHROPIC_BASE_URL": "https://made-up-user:made-up-pw@gateway.example/made-up-path?made-up-query",
    "HTTPS_PROXY": "http://made-up-user:made-up-pw@proxy.example:3128/made-up-path",
    "https_proxy": "http://made-up-user:made-up-pw@proxy.example:3128",
    "http_proxy": "http://made-up-user:made-up-pw@proxy.example:3129",
    "ALL_PROXY": "socks5://made-up-user:made-up-pw@proxy.example:1080",
    "NO_PROXY": "made-up.example",
}


CLOSED = ("192.168.7.0/24", "fd00::/64")
IMAGE = ImageChain((Recipe("x", {}),))
ORDINARY = EngineFacts(remaps_users=True)
ROOTLESS_PODMAN = EngineFacts(podman=True, rootless=True)
KEEPS_ID = ("--userns", "keep-id", "--user", "claude")


def place(host: Host, network: str, environ: dict[str, str] | None = None, **settings: Any) -> Workspace:
    """A workspace by the mode of its network, the host's variables and other settings."""
    host = host._replace(environ=environ or {})
    return Workspace(host, Project(Path("/home/me/My App")), Settings(network=network, **settings))


def planned_for(
    workspace: Workspace, key: str = KEY, *, sets_rules: bool = False, engine: EngineFacts = ORDINARY
) -> Egress:
    return plan_egress(
        workspace,
        key=key,
        image="an:image",
        sets_rules=sets_rules,
        blocked_networks=CLOSED,
        engine=engine,
        published=published(workspace),
    )


def published(workspace: Workspace) -> tuple[Published, ...]:
    """The ports where they are wanted, as on a machine on which all are free."""
    takes_connections = workspace.settings.network not in ("none", "allowlist")
    return tuple(map(Published.as_wanted, workspace.settings.ports)) if takes_connections else ()


def planned(host: Host, network: str, environ: dict[str, str] | None = None, **settings: Any) -> Egress:
    """A network, that of ``internet`` by a sidecar."""
    return planned_for(place(host, network, environ, **settings))


def launched(workspace: Workspace, image: ImageChain = IMAGE, **engine: bool) -> Launch:
    facts = HostFacts(engine=EngineFacts(**engine), networks=CLOSED, published=published(workspace))
    return plan_launch(workspace, facts, image, ["x"], key=KEY)


def sidecar(egress: Egress) -> SidecarPlan:
    assert egress.sidecar is not None
    return egress.sidecar


def rules(egress: Egress) -> list[str]:
    """The rules of a network beside what is always closed."""
    words = egress.rules.split() or list(sidecar(egress).arguments)
    always = [f"closed={network}" for network in networks.CLOSED]
    start = words.index(always[0])
    assert words[start:][: len(always)] == always
    return words[start + len(always) :]


def named(egress: Egress) -> list[str]:
    return [word.removeprefix("named=") for word in rules(egress) if word.startswith("named=")]


def config(egress: Egress) -> Any:
    return json.loads(sidecar(egress).config)


def values_of(flag: str, arguments: tuple[str, ...]) -> list[str]:
    return [value for word, value in pairwise(arguments) if word == flag]


def mounts(arguments: tuple[str, ...]) -> list[dict[str, str]]:
    records = [next(csv.reader(io.StringIO(text, newline=""))) for text in values_of("--mount", arguments)]
    return [dict(part.partition("=")[::2] for part in record) for record in records]


# The sidecars


@pytest.mark.parametrize("network", ["internet", "allowlist"])
def test_a_sidecar_is_confined_and_leaves_nothing(network: str, host: Host) -> None:
    arguments = sidecar(planned(host, network)).arguments
    assert sidecar(planned(host, network)).name == NAME
    assert arguments[arguments.index("--entrypoint") + 2] == sidecar(planned(host, network)).image
    assert values_of("--name", arguments) == [NAME]
    assert values_of("--cap-drop", arguments) == ["ALL"]
    assert values_of("--security-opt", arguments) == ["no-new-privileges"]
    assert values_of("--log-driver", arguments) == ["none"]
    assert values_of("--pull", arguments) == ["never"]
    assert values_of("--network", arguments) == ["bridge"]
    assert values_of("--userns", arguments) == ["host"]
    assert values_of("--pids-limit", arguments)
    assert values_of("--memory", arguments)
    assert values_of("--ulimit", arguments) == ["core=0"]
    assert {"--rm", "--read-only"} <= set(arguments)
    for flag in ("--privileged", "--volume", "-v", "--device", "--pid", "--ipc", "--detach"):
        assert flag not in arguments


@pytest.mark.parametrize("network", ["internet", "allowlist"])
def test_a_sidecars_labels_are_its_own_kind_and_its_sessions(network: str, host: Host) -> None:
    workspace = place(host, network)
    labels = values_of("--label", sidecar(planned_for(workspace)).arguments)
    assert labels == [
        "confined-claude=sidecar",
        f"confined-claude.project={workspace.project.id}",
        f"confined-claude.key={KEY}",
        f"confined-claude.owner={host.owner}",
    ]


@pytest.mark.parametrize("network", ["none", "open", "docker:mine"])
def test_the_other_modes_have_no_sidecar(network: str, host: Host) -> None:
    egress = planned(host, network)
    assert (egress.sidecar, egress.join, egress.environment, egress.hostname) == (None, "", {}, True)


@pytest.mark.parametrize("network", ["internet", "allowlist"])
def test_a_sidecars_program_is_the_images_own_and_loads_nothing_else(network: str, host: Host) -> None:
    arguments = sidecar(planned(host, network)).arguments
    entrypoint = arguments.index("--entrypoint")
    program, image, *words = arguments[entrypoint + 1 :]
    assert image == "an:image"
    started = " ".join([program, *(word for word in words if not word.startswith("closed="))])
    assert re.search(rf"/usr/bin/python3 -IS? /opt/confined-claude egress\.{network}( sh| /egress)$", started)
    assert {word.rpartition("/")[0] for word in started.split() if "/" in word} <= {
        *("/bin", "/usr/bin", "/opt", "/opt/confined-claude/egress", "")
    }


# internet


def test_internet_the_session_sets_its_rules_and_needs_no_sidecar(host: Host) -> None:
    workspace = place(host, "internet", host_ports=("8080",), ports=("5173",))
    egress = planned_for(workspace, sets_rules=True)
    assert egress.sidecar is None
    assert (egress.hostname, egress.join, egress.relayed) == (True, "", (8080,))
    assert values_of("--network", egress.arguments) == ["bridge"]
    assert values_of("--add-host", egress.arguments) == NAMES
    assert values_of("--publish", egress.arguments) == ["127.0.0.1:5173:61000"]
    assert values_of("--cap-add", egress.arguments) == ["NET_ADMIN", "SETPCAP"]
    assert rules(egress) == rules(planned_for(workspace))
    # They go to the entrypoint alone: variables are also those of a `docker exec`.
    arguments = launched(workspace).create_arguments("x")
    assert arguments[arguments.index("--rules") - 1 :][:2] == [IMAGE.name, "--rules"]
    assert "closed=" not in str(launched(workspace).environment)


def test_internet_the_sidecar_has_what_the_engine_refuses_the_session(host: Host) -> None:
    egress = planned(host, "internet", host_ports=("8080",), ports=("5173", "80"))
    assert egress.arguments == ("--network", f"container:{NAME}")
    assert (egress.hostname, egress.rules, egress.join) == (False, "", "internet")
    arguments = sidecar(egress).arguments
    assert values_of("--hostname", arguments) == ["confined-claude-my-app"]
    assert values_of("--add-host", arguments) == NAMES
    assert values_of("--publish", arguments) == ["127.0.0.1:5173:61000", "127.0.0.1:80:61001"]
    assert (sidecar(egress).directory, sidecar(egress).config, sidecar(egress).must_exist_first) == (None, "", False)


@pytest.mark.parametrize(
    ("settings", "uid", "image", "engine"),
    [
        ({"sudo": "full"}, 1000, IMAGE, {}),
        ({}, 0, IMAGE, {}),
        ({}, 1000, IMAGE._replace(is_custom=True), {}),
        ({}, 1000, IMAGE, {"podman": True}),
        ({}, 1000, IMAGE, {"rootless": True}),
        ({}, 1000, IMAGE, {"podman": True, "rootless": True}),
        ({}, 1000, IMAGE, {"remaps_users": True}),
    ],
)
def test_internet_the_sidecar_alone_can_set_the_rules_where_a_session_could_keep_that(
    settings: dict[str, Any], uid: int, image: ImageChain, engine: dict[str, bool], host: Host
) -> None:
    launch = launched(place(host._replace(uid=uid), "internet", **settings), image, **engine)
    assert set(values_of("--cap-add", sidecar(launch.egress).arguments)) == {"NET_ADMIN", "SETUID", "SETGID"}
    arguments = tuple(launch.create_arguments("x"))
    assert not {"NET_ADMIN", "SETPCAP", "NET_RAW", "ALL"} & set(values_of("--cap-add", arguments))
    for flag in ("--hostname", "--add-host", "--publish", "--dns", "--rules"):
        assert flag not in arguments
    # The control: any other session sets them itself.
    assert launched(place(host._replace(uid=1000), "internet")).egress.sidecar is None


def test_internet_podman_has_the_sidecar_first_and_a_rootless_one_its_users_too(host: Host) -> None:
    workspace = place(host, "internet")
    for engine in (EngineFacts(podman=True), ROOTLESS_PODMAN):
        made = sidecar(planned_for(workspace, engine=engine))
        assert (made.must_exist_first, made.must_run_first) == (True, True)
        assert values_of("--userns", made.arguments) == ["keep-id"] * engine.rootless
        assert values_of("--user", made.arguments) == ["0:0"]
    arguments = planned_for(workspace, engine=ROOTLESS_PODMAN).arguments
    assert arguments[2:] == ("--userns", f"container:{NAME}", "--user", "claude")
    assert values_of("--userns", planned_for(workspace, engine=EngineFacts(podman=True)).arguments) == []


@pytest.mark.parametrize("network", ["none", "open", "allowlist", "docker:mine"])
def test_a_rootless_podman_keeps_the_callers_id_and_begins_as_root(network: str, host: Host) -> None:
    assert planned_for(place(host, network), engine=ROOTLESS_PODMAN).arguments[-4:] == KEEPS_ID
    for engine in (ORDINARY, EngineFacts(podman=True), EngineFacts(rootless=True)):
        assert not set(KEEPS_ID) & set(planned_for(place(host, network), engine=engine).arguments)


def test_internet_the_rules_are_what_is_closed_and_what_is_open(host: Host) -> None:
    environ = {"ANTHROPIC_BASE_URL": "http://10.0.0.5:8787/v1", "HTTPS_PROXY": "http://proxy.example:3128"}
    egress = planned(host, "internet", environ, host_ports=("8080",), ports=("5173",))
    assert rules(egress) == [
        *("closed=192.168.7.0/24", "closed=fd00::/64", "port=61000"),
        *("named=8787,10.0.0.5", "named=3128,proxy.example", "named=8080,gateway.docker.internal"),
    ]


@pytest.mark.parametrize(
    ("environ", "settings", "is_named"),
    [
        ({}, {}, False),
        ({"ANTHROPIC_BASE_URL": "https://api.example"}, {}, False),
        ({"ANTHROPIC_BASE_URL": "http://localhost:1"}, {}, True),
        ({"ANTHROPIC_BASE_URL": "http://host.docker.internal:1"}, {}, True),
        ({"https_proxy": "http://[::1]:3128"}, {}, True),
        ({"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_BEDROCK_BASE_URL": "http://localhost:1"}, {}, True),
        ({"ANTHROPIC_BEDROCK_BASE_URL": "http://localhost:1"}, {}, False),
        ({"NOT_PASSED_ON": "http://localhost:1"}, {}, False),
        ({"NO_PROXY": "http://localhost:1"}, {}, False),
        ({}, {"host_ports": ("8080",)}, True),
    ],
)
@pytest.mark.parametrize("network", ["internet", "allowlist", "open", "docker:mine"])
def test_the_host_has_a_name_only_where_something_of_it_is_named(
    network: str, environ: dict[str, str], settings: dict[str, Any], is_named: bool, host: Host
) -> None:
    egress = planned(host, network, environ, **settings)
    arguments = egress.sidecar.arguments if egress.sidecar else egress.arguments
    assert values_of("--add-host", arguments) == ([GATEWAY] if network == "allowlist" else NAMES) * is_named


# allowlist


def test_allowlist_the_session_has_no_network_and_meets_its_sidecar_in_a_directory(host: Host) -> None:
    egress = planned(host, "allowlist")
    assert values_of("--network", egress.arguments) == ["none"]
    assert values_of("--volumes-from", egress.arguments) == [f"{NAME}:ro"]
    # Of what the sidecar has, only the socket's directory: its configuration may have a password.
    assert values_of("--mount", egress.arguments) == ["type=tmpfs,target=/egress,readonly"]
    assert values_of("--dns", egress.arguments) == ["127.0.0.1"]
    assert values_of("--sysctl", egress.arguments) == ["net.ipv4.ip_unprivileged_port_start=0"]
    assert egress.hostname
    for flag in ("--publish", "--add-host", "--cap-add"):
        assert flag not in egress.arguments
    assert (sidecar(egress).must_exist_first, sidecar(egress).must_run_first) == (True, False)
    assert egress.join == "allowlist api.anthropic.com:443"


def test_allowlist_the_sidecar_is_the_caller_and_has_no_capability(host: Host) -> None:
    workspace = place(host._replace(uid=501, gid=20), "allowlist")
    directory = sidecar(planned_for(workspace)).directory
    arguments = sidecar(planned_for(workspace)).arguments
    assert values_of("--user", arguments) == ["501:20"]
    for engine in (EngineFacts(rootless=True), ROOTLESS_PODMAN):  # whose root is the caller
        assert values_of("--user", sidecar(planned_for(workspace, engine=engine)).arguments) == ["0:0"]
    assert "--cap-add" not in arguments
    assert "--publish" not in arguments
    volume, shared = mounts(arguments)
    assert volume == {"type": "volume", "target": "/run/confined-claude-egress"}
    assert directory == workspace.egress.at(KEY)
    assert shared == {"type": "bind", "source": str(directory.path), "target": "/egress"}


def test_allowlist_what_the_sidecar_shares_is_the_sessions_alone(host: Host) -> None:
    workspace = place(host, "allowlist")
    one, other = (sidecar(planned_for(workspace, key)).directory for key in (KEY, "other"))
    assert one is not None
    assert other is not None
    assert one.path.parent == other.path.parent == host.state / "projects" / workspace.project.id / "egress"
    assert one.path != other.path


@pytest.mark.parametrize("name", ["a,b", 'q"u', "two\nlines", "a:b", "readonly", ",source=/", "trailing "])
def test_allowlist_a_directory_of_any_name_is_the_one_that_is_mounted(name: str, tmp_path: Path) -> None:
    workspace = place(host_below(tmp_path)._replace(state=tmp_path / name), "allowlist")
    _, shared = mounts(sidecar(planned_for(workspace)).arguments)
    assert shared == {"type": "bind", "source": str(workspace.egress.at(KEY).path), "target": "/egress"}


def test_allowlist_every_proxy_of_the_session_is_the_sidecar_whatever_the_hosts_are(host: Host) -> None:
    launch = launched(place(host, "allowlist", HIDDEN))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for written in (name, name.lower()):
            assert launch.environment[written] == "http://127.0.0.1:3128"
    assert launch.environment["NO_PROXY"] == launch.environment["no_proxy"] == "localhost,127.0.0.1,::1"
    assert launch.environment["NODE_USE_ENV_PROXY"] == "1"
    # What the host's own proxy needs is the sidecar's to know.
    assert not [file for file in launch.private if b"proxy.example" in file.content]
    assert config(launch.egress)["upstream"] == {
        "http": HIDDEN["http_proxy"],
        "https": HIDDEN["https_proxy"],
        "no_proxy": HIDDEN["NO_PROXY"],
    }


def test_allowlist_without_a_proxy_of_the_host_there_is_no_upstream(host: Host) -> None:
    assert config(planned(host, "allowlist"))["upstream"] == {"http": None, "https": None, "no_proxy": ""}


def test_allowlist_what_is_open_is_what_claude_code_needs_and_what_is_set(host: Host) -> None:
    environ = {"ANTHROPIC_BASE_URL": "http://10.0.0.5:8787/v1"}
    egress = planned(host, "allowlist", environ, allow=("example.com", "*.example.org:8443"), host_ports=("80", "99"))
    read = config(egress)
    assert read["allow"] == [*CLAUDE_HOSTS, "example.com", "*.example.org:8443"]
    assert read["named"] == [["10.0.0.5", 8787], ["host.docker.internal", 80], ["host.docker.internal", 99]]
    assert read["closed"] == ["192.168.7.0/24", "fd00::/64"]


@pytest.mark.parametrize(
    ("environ", "allowed", "needed"),
    [
        ({}, ["bedrock-runtime.us-east-1.amazonaws.com", "bedrock.us-east-1.amazonaws.com"], None),
        ({"ANTHROPIC_BEDROCK_BASE_URL": "https://gateway.example/x"}, [], "gateway.example:443"),
    ],
)
def test_allowlist_opens_the_cloud_in_use_or_the_gateway_to_it(
    environ: dict[str, str], allowed: list[str], needed: str | None, host: Host
) -> None:
    egress = planned(host, "allowlist", {"CLAUDE_CODE_USE_BEDROCK": "1", **environ})
    assert config(egress)["allow"] == [*CLAUDE_HOSTS, *allowed]
    assert config(egress)["named"] == ([["gateway.example", 443]] if needed else [])
    assert egress.join.split()[-1] == (needed or f"{allowed[0]}:443")


def test_allowlist_ports_of_the_host_are_on_the_sessions_loopback(host: Host) -> None:
    egress = planned(host, "allowlist", host_ports=("80", "99"))
    assert values_of("--add-host", egress.arguments) == NAMES[:1]
    assert values_of("--add-host", sidecar(egress).arguments) == [GATEWAY]
    assert (egress.join, egress.relayed) == ("allowlist api.anthropic.com:443", (80, 99))
    assert egress.forward == "via=proxy out=80 out=99"
    assert egress.environment["no_proxy"] == "localhost,127.0.0.1,::1,host.docker.internal"


def test_allowlist_the_proxys_own_ports_are_not_the_hosts_and_this_is_said(host: Host) -> None:
    environ = {"HTTPS_PROXY": "http://localhost:3128", "ANTHROPIC_BASE_URL": "http://localhost:4000"}
    egress = planned(host, "allowlist", environ, host_ports=("3128", "53", "80"))
    assert egress.relayed == (80, 4000)
    assert egress.notes == ('Not reachable with network = "allowlist": port 3128 and 53 of your machine.',)


@pytest.mark.parametrize(
    ("url", "needed"),
    [
        ("https://gateway.example/x", "gateway.example:443"),
        ("http://gateway.example", "gateway.example:80"),
        ("http://user:pw@gateway.example:8787/v1", "gateway.example:8787"),
        ("http://localhost:8787", "-"),
        ("http://[fd00::1]:8787", "[fd00::1]:8787"),
        ("http://gateway.example:port", "api.anthropic.com:443"),
        ("http://two words:80", "api.anthropic.com:443"),
        ("http://*:80", "api.anthropic.com:443"),
        ("nonsense://x", "api.anthropic.com:443"),
    ],
)
def test_allowlist_what_claude_code_cannot_do_without_is_where_its_api_is(url: str, needed: str, host: Host) -> None:
    egress = planned(host, "allowlist", {"ANTHROPIC_BASE_URL": url})
    assert egress.join.split() == ["allowlist", needed]  # the entrypoint has a shell split it


# The plain ones


def test_none(host: Host) -> None:
    egress = planned(host, "none", {"ANTHROPIC_BASE_URL": "http://localhost:1"}, host_ports=("80",))
    assert (egress.arguments, egress.relayed, egress.forward) == (("--network", "none"), (), "")
    assert egress.notes == ('Not reachable with network = "none": port 80 of your machine.',)


def test_open_is_the_engines_bridge_and_is_reported(host: Host) -> None:
    egress = planned(host, "open", host_ports=("80",), ports=("5173",))
    assert egress.arguments[:2] == ("--network", "bridge")
    assert values_of("--add-host", egress.arguments) == NAMES
    assert values_of("--publish", egress.arguments) == ["127.0.0.1:5173:61000"]
    (note,) = egress.notes
    assert "local network" in note


def test_a_docker_network_of_the_users_is_taken_by_its_name(host: Host) -> None:
    assert planned(host, "docker:my_net").arguments == ("--network", "my_net")
    egress = planned(host, "docker:my_net", {"HTTPS_PROXY": "http://127.0.0.1:1"}, ports=("80",))
    added = [word for name in NAMES for word in ("--add-host", name)]
    assert egress.arguments == ("--network", "my_net", *added, "--publish", "127.0.0.1:80:61000")
    assert egress.forward == "in=61000:80 via=gateway.docker.internal out=1"
    assert egress.notes == ()


@pytest.mark.parametrize("network", ["none", "allowlist"])
def test_ports_that_nobody_can_reach_are_said(network: str, host: Host) -> None:
    (note,) = planned(host, network, ports=("5173", "80")).notes
    assert "5173, 80" in note
    assert planned(host, network).notes == ()


# Ports


def test_what_is_published_leads_past_the_ports_that_a_session_uses(host: Host) -> None:
    egress = planned(host, "open", host_ports=("61001",), ports=("61000", "3000:61000", "80"))
    assert values_of("--publish", egress.arguments) == [
        *("127.0.0.1:61000:61002", "127.0.0.1:3000:61003", "127.0.0.1:80:61004"),
    ]
    assert egress.forward.split()[:3] == ["in=61002:61000", "in=61003:61000", "in=61004:80"]


def test_a_port_that_is_not_where_it_was_wanted_is_said(host: Host) -> None:
    moved = (Published(8000, 8001, 8000, "the session x"), Published(80, 80, 80))
    egress = plan_egress(
        place(host, "open", ports=("8000", "80")), key=KEY, image="x", sets_rules=True, engine=ORDINARY, published=moved
    )
    assert egress.notes[1:] == ("Port 8000 of this session is at localhost:8001, as 8000 is taken by the session x.",)


@pytest.mark.parametrize("network", ["internet", "allowlist", "open", "docker:mine"])
@pytest.mark.parametrize(
    ("environ", "ports"), [({}, ("2375",)), ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:2376"}, ()), ({}, ("4243",))]
)
def test_no_session_reaches_an_engine(
    network: str, environ: dict[str, str], ports: tuple[str, ...], host: Host
) -> None:
    workspace = place(host, network, environ, host_ports=ports)
    with pytest.raises(ConfinedError, match="container engine"):
        plan_egress(workspace, key=KEY, image="x", sets_rules=True, engine=ORDINARY, engine_port=4243)


# What never shows


@pytest.mark.parametrize("network", ["internet", "allowlist", "none", "open", "docker:mine"])
def test_no_secret_of_an_endpoint_is_among_any_arguments(network: str, host: Host) -> None:
    launch = launched(place(host, network, HIDDEN, host_ports=("80",)))
    plan = launch.egress.sidecar
    assert not [
        word for word in (*launch.create_arguments("x"), *(plan.arguments if plan else ())) if "made-up" in word
    ]


def test_a_masked_configuration_has_no_proxy_and_all_else(host: Host) -> None:
    whole = sidecar(planned(host, "allowlist", HIDDEN, allow=("a.example",))).config
    masked = mask_config(whole, "***")
    assert "made-up" in whole
    assert "made-up" not in masked
    assert json.loads(masked) == {**json.loads(whole), "upstream": dict.fromkeys(("http", "https", "no_proxy"), "***")}


def test_a_configuration_follows_the_settings(host: Host) -> None:
    workspace = place(host, "allowlist", HIDDEN, allow=("a.example",))
    assert allowlist_config(workspace, CLOSED) == sidecar(planned_for(workspace)).config


# Endpoints


@pytest.mark.parametrize(
    ("url", "pairs"),
    [
        ("http://proxy.example:3128", [("proxy.example", 3128)]),
        ("proxy.example:3128", [("proxy.example", 3128)]),
        ("proxy.example", [("proxy.example", 80)]),
        ("https://proxy.example", [("proxy.example", 443)]),
        ("HTTPS://Proxy.Example", [("proxy.example", 443)]),
        ("http://user:p%40ss@proxy.example:3128/", [("proxy.example", 3128)]),
        ("http://user:p@ss@proxy.example:3128/", [("proxy.example", 3128)]),
        ("user:pw@proxy.example:3128", [("proxy.example", 3128)]),
        ("socks5h://10.0.0.1:1080", [("10.0.0.1", 1080)]),
        ("socks5://10.0.0.1", []),
        ("http://[fd00::1]:3128", [("fd00::1", 3128)]),
        ("http://127.0.0.1:3128", [("host.docker.internal", 3128)]),
        ("http://[::1", []),
        ("http://proxy.example:99999", []),
        ("http://proxy.example:0", [("proxy.example", 80)]),
        ("http://:3128", []),
        ("http://", []),
        ("/path/only", []),
    ],
)
def test_what_a_url_names(url: str, pairs: list[tuple[str, int]], host: Host) -> None:
    found = named(planned(host, "internet", {"HTTPS_PROXY": url}))
    assert [name.replace("gateway.", "host.") for name in found] == [f"{port},{name}" for name, port in pairs]


def test_each_endpoint_is_named_once_and_exceptions_are_none(host: Host) -> None:
    one = "http://proxy.example:3128"
    environ = {"HTTPS_PROXY": one, "http_proxy": one, "no_proxy": "10.0.0.1", "NO_PROXY": "x:1", "OTEL_X": "http://y"}
    assert named(planned(host, "internet", environ)) == ["3128,proxy.example"]


@given(
    url=st.text() | st.from_regex(r"\A(http|socks5)?(://)?[a-z:@\[\]%.0-9/?#\udcff ]*\Z"),
    network=st.sampled_from(["internet", "allowlist", "open"]),
)
def test_whatever_the_variables_hold_there_is_a_plan(url: str, network: str, tmp_path: Path) -> None:
    environ = {"ANTHROPIC_BASE_URL": url, "HTTPS_PROXY": url, "all_proxy": url, "no_proxy": url}
    egress = planned(host_below(tmp_path), network, environ)
    if network == "internet":
        # Shells split them.
        assert all(re.fullmatch(r"[0-9]+,[A-Za-z0-9_.:-]+", word) for word in named(egress))
    if network == "allowlist":
        config(egress)
        assert len(egress.join.split()) == 2


def test_telemetry_on_this_machine_is_an_endpoint_as_a_gateway_is(host: Host) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
        "OTEL_SERVICE_NAME": "http://x",
        "OTHER_ENDPOINT": "http://y",
    }
    assert named(planned(host, "internet", environ)) == ["4318,gateway.docker.internal"]
