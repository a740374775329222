"""What is lent: who may say so, what the session has in its place, and where the value is on this machine."""

from __future__ import annotations

import json
import os
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.claude.carried import Carried, HostSetup
from confined_claude.claude.sign_in import Chosen
from confined_claude.container.egress import allowlist
from confined_claude.container.egress.lent import parse
from confined_claude.egress import lending
from confined_claude.errors import ConfinedError
from confined_claude.host import Host, gitconfig_text
from confined_claude.session.git import SessionGit
from confined_claude.session.given import Given, gather
from confined_claude.session.host_facts import hide_lent
from confined_claude.session.lent import placeholder
from confined_claude.state.facts import EngineFacts

from ..guarding import put
from .test_given import Place
from .test_launch import planned

VALUE = "ghp_s3cret0123456789"
TABLE = '[secrets.T]\nvariable = "SOURCE"\nalways = true\n'


@pytest.fixture
def here(host: Host, tmp_path: Path) -> Place:
    place = Place(host, tmp_path / "project")
    place.environ["SOURCE"] = VALUE
    return place


def lent(here: Place, lend: str, value: str = VALUE) -> Given:
    here.environ["SOURCE"] = value
    return here.given(f"{TABLE}lend = {lend}\n")


def test_the_session_has_a_placeholder_and_the_sidecar_the_value(here: Place) -> None:
    found = lent(here, '{hosts = ["API.github.com", "git.example.com:8443", "api.github.com:443"]}')
    (one,) = found.lent
    assert one.hosts == (("api.github.com", 443), ("git.example.com", 8443)) == found.hosts
    assert one.header == "authorization"
    assert found.variables == {"T": one.placeholder}
    assert one.placeholder[:4] == "ghp_"
    assert len(one.placeholder) == len(VALUE)
    (theirs,) = parse(found.message.rstrip(b"\n"))
    assert (theirs.value, theirs.placeholder) == (VALUE.encode(), one.placeholder.encode())
    assert theirs.header == b"authorization"
    assert VALUE not in repr(found)
    assert lent(here, '{hosts = ["api.github.com"]}').lent[0].placeholder != one.placeholder


def test_a_file_has_the_placeholder_too(here: Place) -> None:
    found = here.given(TABLE + 'as_file = "~/.token"\nlend = {hosts = ["a.example"], header = "X-Api-Key"}\n')
    assert list(found.files.values()) == [found.lent[0].placeholder.encode()]
    assert found.variables == {}
    assert found.lent[0].header == "x-api-key"


def test_what_is_not_lent_is_given_as_before(here: Place) -> None:
    found = here.given(TABLE)
    assert (found.variables, found.lent, found.message, found.hosts) == ({"T": VALUE}, (), b"", ())


@pytest.mark.parametrize(
    "lend",
    [
        "true",
        "{}",
        "{hosts = []}",
        '{hosts = "a.example"}',
        '{hosts = ["*.example.com"]}',
        '{hosts = ["https://a.example"]}',
        '{hosts = ["127.0.0.1"]}',
        '{hosts = ["a.example:0"]}',
        '{hosts = ["localhost:8443"]}',
        '{hosts = ["localhost."]}',
        '{hosts = ["x.LOCALHOST.:8443"]}',
        '{hosts = ["host.docker.internal."]}',
        '{hosts = ["a.example", "Host.docker.internal"]}',
        '{hosts = ["a.example/path"]}',
        "{hosts = [1]}",
        '{hosts = ["a.example"], header = "Host"}',
        '{hosts = ["a.example"], header = "Content-Length"}',
        '{hosts = ["a.example"], header = "A: b"}',
        '{hosts = ["a.example"], header = ""}',
        '{hosts = ["a.example"], other = 1}',
        f"{{hosts = {[f'h{number}.example' for number in range(51)]}}}",
    ],
)
def test_a_mistake_is_one_line(here: Place, lend: str) -> None:
    error = here.error(f"{TABLE}lend = {lend}\n")
    assert "[secrets.T]" in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("value", ["short", "two words of a text", "ümläut-s3cret-value", "x" * 8193])
def test_a_value_that_no_header_can_hold_is_not_lent(here: Place, value: str) -> None:
    here.environ["SOURCE"] = value
    error = here.error(TABLE + 'lend = {hosts = ["a.example"]}\n')
    assert error.message.startswith("The secret T cannot be lent: ")
    assert value not in str(error)


def test_a_project_can_name_what_is_lent_but_not_lend(here: Place) -> None:
    user = TABLE.replace("always = true\n", "") + 'lend = {hosts = ["a.example"]}\n'
    assert here.given(user, 'secrets = ["T"]').lent
    error = here.error(user, '[secrets.T]\nvariable = "SOURCE"\nlend = {hosts = ["evil.example"]}\n')
    assert "a project cannot define a secret" in error.message


def test_a_dry_run_lends_nothing_real(here: Place) -> None:
    workspace = here.workspace('[secrets.T]\ncommand = "false"\nalways = true\nlend = {hosts = ["a.example"]}\n')
    found = gather(workspace, runs_commands=False)
    assert (found.variables, found.lent[0].value) == ({"T": ""}, "")


@pytest.mark.parametrize("network", ["none", "open", "docker:mine"])
def test_a_network_without_a_sidecar_is_refused(host: Host, network: str) -> None:
    from ..egress.test_network import place, plan_egress

    with pytest.raises(ConfinedError) as caught:
        plan_egress(
            place(host, network), key="k", image="i", sets_rules=True, engine=EngineFacts(), lent=[("a.example", 443)]
        )
    assert f"network = {network}" in caught.value.message
    assert caught.value.exit_code == 2


def test_with_an_allowlist_the_hosts_are_on_the_loopback_and_the_sidecar_learns_the_rest_by_its_input(
    host: Host,
) -> None:
    from ..egress.test_network import place, plan_egress, sidecar, values_of

    lent = [("a.example", 443), ("a.example", 8443), ("b.example", 443)]
    workspace = place(host, "allowlist")
    egress = plan_egress(workspace, key="k", image="i", sets_rules=True, engine=EngineFacts(), lent=lent)
    assert values_of("--add-host", egress.arguments) == ["a.example:127.1.0.1", "b.example:127.1.0.2"]
    assert egress.join == "allowlist api.anthropic.com:443 127.1.0.1:443 127.1.0.1:8443 127.1.0.2:443"
    words = sidecar(egress).arguments
    assert words[-4:] == ("/egress", "a.example:443", "a.example:8443", "b.example:443")
    assert "--interactive" in words
    assert values_of("--memory-swap", words) == values_of("--memory", words) == [str(256 << 20)]
    without = plan_egress(workspace, key="k", image="i", sets_rules=True, engine=EngineFacts())
    assert "--interactive" not in sidecar(without).arguments
    assert "--memory-swap" not in sidecar(without).arguments
    assert sidecar(without).arguments[-1] == "/egress"
    assert "--add-host" not in without.arguments


@pytest.mark.parametrize("network", ["internet", "allowlist"])
def test_all_that_is_lent_together_has_a_bound_that_a_start_names(host: Host, network: str) -> None:
    from ..egress.test_network import place, plan_egress

    def plan(count: int) -> None:
        lent = [(f"h{number // 2}.example", 443 + number % 2) for number in range(count)]
        plan_egress(place(host, network), key="k", image="i", sets_rules=True, engine=EngineFacts(), lent=lent)

    plan(98)
    assert lending.MOST_HOSTS == allowlist._MOST_FDS - 2, "a session hands over two more"
    with pytest.raises(ConfinedError, match="are lent to 99 hosts and ports; 98 are possible"):
        plan(99)


@given(st.text("".join(map(chr, range(33, 127))), min_size=8, max_size=80))
def test_a_placeholder_has_nothing_of_the_value_but_its_length_and_kind(value: str) -> None:
    made = placeholder(value)
    assert len(made) == len(value)
    assert set(made) <= set(string.ascii_letters + string.digits + "-_")
    # Two of one value are as different as random texts are.
    rest = [text.removeprefix("sk-") for text in (made, placeholder(value))]
    assert rest[0] != rest[1] or len(set(value)) < 4


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("github_pat_11AAAA_bbbb", "github_pat_"),
        ("sk-ant-oat01-abcdefgh", "sk-ant-oat01-"),
        ("npm_0123456789", "npm_"),
        ("npm_01234567", "npm_"),
        ("correct-horse-battery-staple", ""),
    ],
)
def test_only_what_is_known_to_tell_the_kind_stays(value: str, kind: str) -> None:
    made = placeholder(value)
    assert made.startswith(kind)
    assert "horse" not in made
    assert value[len(kind) :][:4] not in made


@pytest.mark.parametrize("value", ["github_pat_", "sk-ant-oat01-", "sk-1234567", "ghp_0123"])
def test_what_is_hardly_more_than_its_kind_is_random_as_a_whole(value: str) -> None:
    assert len({placeholder(value) for _ in range(10)}) == 10
    assert not placeholder(value).startswith(value[:8])


def test_a_server_of_the_users_that_names_what_is_lent_gets_the_placeholder(here: Place) -> None:
    here.environ.update(T="ghp_of-another-time", COPY=f"Bearer {VALUE}\n", OTHER="not lent")
    names = ("T", "SOURCE", "COPY", "OTHER")
    server = {"command": "npx", "env": {name: f"${{{name}}}" for name in names}}
    put(here.host.home / ".claude.json", json.dumps({"mcpServers": {"one": server}}))
    workspace = here.workspace(f'{TABLE}lend = {{hosts = ["a.example"]}}\n')
    found = gather(workspace)
    mine = found.lent[0].placeholder

    def seen(found: Given | None) -> list[str]:
        (item,) = HostSetup(hide_lent(workspace, found).host).items
        return [item.inside["env"][name] for name in names]

    assert seen(found) == [mine, mine, f"Bearer {mine}\n", "not lent"]
    assert seen(None) == ["ghp_of-another-time", VALUE, f"Bearer {VALUE}\n", "not lent"], "the control"
    here.environ.pop("T")
    workspace = here.workspace(f'{TABLE}lend = {{hosts = ["a.example"]}}\n')
    assert seen(gather(workspace))[0][:4] == "ghp_"


WAYS = {
    "env": ("", 'env = ["X={}"]'),
    "env_file": ("", 'env_file = ["{root}/x.env"]'),
    "another secret": ("[secrets.OTHER]\nvariable = 'OTHER'\nalways = true\nas_file = '~/.netrc'\n", ""),
    "a header of Claude's": ("", ""),
    "an MCP server": ("", ""),
    "a hook": ("", ""),
    "the command": ("", ""),
    "git": ("", ""),
    "a public variable": ("", ""),
}


@pytest.mark.parametrize("is_lent", [True, False], ids=["lent", "given"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [VALUE, 'quo"ted\\s3cret'])
def test_the_value_is_in_nothing_that_the_session_gets(here: Place, way: str, value: str, is_lent: bool) -> None:
    here.environ |= {"SOURCE": value, "OTHER": f"machine a.example password {value}"}
    put(here.root / "x.env", f"X='{value}'\n")
    table, line = WAYS[way]
    line = line.replace("{}", value.replace("\\", "\\\\").replace('"', '\\"')).replace("{root}", str(here.root))
    lends = "lend = {hosts = ['a.example']}\n" if is_lent else ""
    workspace = here.workspace(f"{line}\n{TABLE}{lends}{table}")
    found = gather(workspace)
    server = {"mcpServers": {"s": {"url": "https://a.example", "headers": {"Authorization": f"Bearer {value}"}}}}
    hook = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": f"tell {value}"}]}]}}
    carried = Carried(
        servers=json.dumps(server) if way == "an MCP server" else "", hooks=json.dumps(hook) if way == "a hook" else ""
    )
    sign_in = {"ANTHROPIC_CUSTOM_HEADERS": f"X-Also: {value}"} if way == "a header of Claude's" else {}
    if way == "a public variable":
        sign_in["ANTHROPIC_MODEL"] = value
    settings = (("http.extraHeader", f"X-Also: {value}"),) if way == "git" else ()
    launch = planned(
        here.root, workspace.host, workspace.settings,
        command=("bash", "-c", f"echo {value}" if way == "the command" else "true"),
        given=found, carried=carried, sign_in=Chosen("", sign_in), git=SessionGit(settings=settings),
    )  # fmt: skip
    text = "\0".join((*launch.create_arguments("x"), *(os.fsdecode(file.content) for file in launch.private)))
    values = sum(text.count(form) for form in {value, json.dumps(value)[1:-1]})
    placeholders = sum(text.count(one.placeholder) for one in found.lent)
    # One is the secret's own.
    assert (values, placeholders) == ((0, 2) if is_lent else (2, 0))


def test_a_hexadecimal_value_has_a_hexadecimal_placeholder() -> None:
    assert set(placeholder("0123456789abcdef" * 2)) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'[{"hosts": 1}]', b"[1]", b"[[", b'[{"hosts": [["a", 0]]}]', b"[" * 9999]
)
def test_a_broken_line_is_an_error_that_says_nothing_of_it(line: bytes) -> None:
    if line == b"{}":
        assert parse(line) == ()
        return
    with pytest.raises(ValueError, match=r"^what is lent cannot be read$"):
        parse(line)


def test_a_line_is_one_line(here: Place) -> None:
    found = lent(here, '{hosts = ["a.example"]}')
    assert found.message.count(b"\n") == 1
    assert json.loads(found.message)[0]["value"] == VALUE


LENT = [("a.example", 443), ("b.example", 8443)]


@pytest.mark.parametrize("sets_rules", [True, False])
def test_with_internet_there_is_a_sidecar_that_sets_the_rules_and_lends(host: Host, sets_rules: bool) -> None:
    from ..egress.test_network import place, plan_egress, sidecar, values_of

    workspace = place(host, "internet")
    egress = plan_egress(workspace, key="k", image="i", sets_rules=sets_rules, engine=EngineFacts(), lent=LENT)
    plan = sidecar(egress)
    assert egress.arguments == ("--network", f"container:{plan.name}")
    assert (egress.join, egress.rules, egress.environment) == ("internet", "", {})
    assert values_of("--add-host", plan.arguments) == ["a.example:127.1.0.1", "b.example:127.1.0.2"]
    assert "--interactive" in plan.arguments
    assert values_of("--memory-swap", plan.arguments) == values_of("--memory", plan.arguments) == [str(256 << 20)]
    no_swap = EngineFacts(limits_swap=False)
    egress = plan_egress(workspace, key="k", image="i", sets_rules=sets_rules, engine=no_swap, lent=LENT)
    assert "--memory-swap" not in sidecar(egress).arguments
    script = plan.arguments[plan.arguments.index("-c") + 1]
    assert script.index("/egress/rules") < script.index("setpriv"), "no right to change them is left"
    assert f"--reuid {host.uid} --regid {host.gid}" in script
    assert script.endswith("egress.lending /egress a.example:443 b.example:8443")
    assert plan.directory is not None
    assert json.loads(plan.config)["opens_all"] is True


def test_without_anything_lent_internet_is_as_before(host: Host) -> None:
    from ..egress.test_network import place, plan_egress

    egress = plan_egress(place(host, "internet"), key="k", image="i", sets_rules=True, engine=EngineFacts())
    assert (egress.sidecar, egress.join) == (None, "")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy"])
def test_with_internet_a_companys_proxy_is_used_by_the_sidecar(host: Host, name: str) -> None:
    from ..egress.test_network import place, plan_egress, sidecar

    workspace = place(host, "internet", {name: "http://u:pw@proxy.corp:3128", "no_proxy": ".corp"})
    egress = plan_egress(workspace, key="k", image="i", sets_rules=True, engine=EngineFacts(), lent=LENT)
    assert egress.environment["https_proxy"] == egress.environment["HTTP_PROXY"] == "http://127.0.0.1:3128"
    assert egress.environment["NO_PROXY"] == "localhost,127.0.0.1,::1,.corp"
    assert "pw" in sidecar(egress).config
    assert "pw" not in str(sidecar(egress).arguments)


def test_a_rootless_engines_sidecar_is_who_owns_its_directory(host: Host) -> None:
    from ..egress.test_network import place, plan_egress, sidecar

    facts = EngineFacts(rootless=True)
    egress = plan_egress(place(host, "internet"), key="k", image="i", sets_rules=False, engine=facts, lent=LENT)
    assert any("--reuid 0 --regid 0" in word for word in sidecar(egress).arguments)


def test_an_allowlist_that_is_read_again_never_opens_all(host: Host) -> None:
    from confined_claude.egress.endpoints import allowlist_config

    from ..egress.test_network import place

    assert "opens_all" not in json.loads(allowlist_config(place(host, "internet"), ()))


def test_git_gets_the_placeholder_for_the_hosts_that_take_it_as_a_password(here: Place, tmp_path: Path) -> None:
    found = here.given(
        TABLE + 'as_variable = "GH"\nlend = {hosts = ["github.com", "git.example.com:8443"]}\n'
        '[secrets.K]\nvariable = "SOURCE"\nalways = true\nlend = {hosts = ["api.example"], header = "X-Api-Key"}\n'
    )
    settings = dict(found.git_settings)
    assert set(settings) == {"credential.https://git.example.com:8443.helper", "credential.https://github.com.helper"}
    assert not any(one.placeholder in text for text in settings.values() for one in found.lent)
    put(tmp_path / "gitconfig", gitconfig_text(found.git_settings))
    environ = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}

    def credential(host: str, what: str = "fill", more: str = "") -> subprocess.CompletedProcess[str]:
        words = f"protocol=https\nhost={host}\n{more}\n"
        return subprocess.run(
            ["git", "credential", what], input=words, capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**environ, **found.variables, "GIT_TERMINAL_PROMPT": "0"},
        )  # fmt: skip

    for host in ("github.com", "git.example.com:8443"):
        assert f"password={found.variables['GH']}\n" in credential(host).stdout
    assert credential("evil.example").returncode, "the control: another host gets none"
    assert credential("gist.github.com").returncode
    done = credential("github.com", "reject", "username=x\npassword=x\n")
    assert done.stderr == "confined-claude: github.com does not accept the secret T, which you lend to it.\n"


def test_a_file_with_the_placeholder_serves_git_as_well(here: Place) -> None:
    for path, words in (("~/.token", "/home/claude/.token"), ("~/a $(id)", "'/home/claude/a $(id)'")):
        found = here.given(TABLE + f'as_file = "{path}"\nlend = {{hosts = ["github.com"]}}\n')
        ((_, helper),) = found.git_settings
        assert f'"$(cat {words})"' in helper


def test_a_dry_run_says_how_the_sidecar_learns_what_it_lends(host: Host) -> None:
    from confined_claude.session import dry_run

    from ..egress.test_network import place, plan_egress, sidecar

    for network in ("internet", "allowlist"):
        words = {"key": "k", "image": "i", "sets_rules": False, "engine": EngineFacts()}
        lending = plan_egress(place(host, network), lent=LENT, **words)
        without = plan_egress(place(host, network), **words)
        remark = "# A start tells it by its standard input what it lends; here that is nothing."
        assert remark in list(dry_run._sidecar(sidecar(lending), "docker"))
        assert remark not in list(dry_run._sidecar(sidecar(without), "docker"))
