"""What a session is given by name: whose values, from which files and commands, and what is refused before a start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.claude import source
from confined_claude.claude.sign_in import Chosen
from confined_claude.errors import ConfinedError, ReviewNeeded
from confined_claude.host import Host
from confined_claude.project import Project, mounts
from confined_claude.session import secrets
from confined_claude.session.given import Given, gather
from confined_claude.session.remarks import hosts_to_allow
from confined_claude.settings import SPECS, Settings, variables
from confined_claude.settings.files import ProjectFiles
from confined_claude.settings.resolution import resolve
from confined_claude.workspace import Workspace

from ..guarding import put
from ..waiting import has_ended, until
from .test_launch import planned

REFUSED = """BASH_LOADABLES_PATH USE_STAGING_OAUTH USE_LOCAL_OAUTH MCP_PROXY_URL MCP_PROXY_PATH MCP_OAUTH_CALLBACK_PORT
    SELF_HOSTED_RUNNER_EXEC_PATH SESSION_INGRESS_URL CCR_AGENT_PROXY_TOKEN_FILE_DESCRIPTOR BETA_TRACING_ENDPOINT
    LOCAL_BRIDGE LOCALDOMAIN HOSTALIASES RES_OPTIONS
    PATH HOME LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GLIBC_TUNABLES BASH_ENV ENV SHELLOPTS PS4 NODE_OPTIONS
    BUN_OPTIONS CONFINED_CLAUDE_SIGN_IN CONFINED_CLAUDE_CREDENTIAL
    CONFINED_CLAUDE_SUDO GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_GLOBAL GIT_CONFIG GIT_DIR
    GIT_EXEC_PATH ANTHROPIC_API_KEY ANTHROPIC_BASE_URL ANTHROPIC_ANYTHING_NEW CLAUDE_CODE_OAUTH_TOKEN CLAUDE_CONFIG_DIR
    CLAUDECODE CLAUDE_CODE_USE_BEDROCK HTTP_PROXY https_proxy all_proxy OTEL_EXPORTER_OTLP_ENDPOINT SSL_CERT_FILE
    NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED
    GIT_ATTR_NOSYSTEM GIT_ATTR_SOURCE GIT_ATTR_ANYTHING_NEW GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
    GIT_TEMPLATE_DIR GIT_GRAFT_FILE GIT_LITERAL_PATHSPECS XDG_CONFIG_HOME SHELL ZDOTDIR OPENSSL_CONF OPENSSL_MODULES
    RESOLV_HOST_CONF _CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL AGENT_PROXY_URL VOICE_STREAM_BASE_URL VITALS_EMITTER_BIN
    ANT_OTEL_EXPORTER_OTLP_ENDPOINT ANT_CLAUDE_CODE_METRICS_ENDPOINT SSLKEYLOGFILE""".split()
LET_IN = (
    "NPM_TOKEN NODE_ENV PYTHONPATH GIT_AUTHOR_NAME GIT_ASKPASS AWS_REGION PATHS MY_HOME ENVIRONMENT _x GH_TOKEN "
    "MCP_TIMEOUT MAX_FILES DISABLE_TELEMETRY BASH_MAX_TIMEOUT_MS IDENTITY_ENDPOINT GIT_SSH_COMMAND GIT_EXTERNAL_DIFF "
    "GIT_EDITOR GIT_LFS_SKIP_SMUDGE GIT_SSL_CAINFO GIT_TERMINAL_PROMPT PERL5OPT JAVA_TOOL_OPTIONS NODE_PATH ANT_OPTS "
    "XDG_CACHE_HOME TMPDIR EDITOR PIP_CERT OPENSSL_DIR SHELLCHECK_OPTS".split()
)


class Place:
    """A user with a config file, a project, and an environment."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host, self.root = host, root
        root.mkdir()
        self.environ: dict[str, str] = {}

    def workspace(self, user: str = "", project: str = "", **flags: str) -> Workspace:
        put(self.host.user_config_file, user)
        put(self.root / ".confined-claude/config.toml", project)
        host = self.host._replace(environ={**self.environ, "PATH": os.environ["PATH"]})
        files = ProjectFiles.read(self.root / ".confined-claude")
        found = resolve(host.user_config_file, files, host.environ, flags, lambda _files: True)
        return Workspace(host, Project(self.root), found.settings, files, secrets=found.secrets)

    def given(self, user: str = "", project: str = "", **flags: str) -> Given:
        return gather(self.workspace(user, project, **flags))

    def error(self, user: str = "", project: str = "", **flags: str) -> ConfinedError:
        with pytest.raises(ConfinedError) as caught:
            self.given(user, project, **flags)
        assert caught.value.exit_code == 2
        assert caught.value.hint
        assert "s3cret" not in f"{caught.value}"
        return caught.value


@pytest.fixture
def here(host: Host, tmp_path: Path) -> Place:
    return Place(host, tmp_path / "project")


# Variables


def test_every_source_adds_variables_and_the_last_of_a_name_counts(here: Place) -> None:
    here.environ |= {"TOKEN": "s3cret", "CONFINED_CLAUDE_ENV": "TOKEN,C=3"}
    found = here.given('env = ["A=1", "B=1", "C=1"]', 'env = ["B=2"]', env="D=a,b=c\0E=")
    assert dict(found.variables) == {"A": "1", "B": "2", "C": "3", "TOKEN": "s3cret", "D": "a,b=c", "E": ""}
    assert found.remarks == ()


def test_a_variable_that_is_not_set_is_left_out_and_named(here: Place) -> None:
    found = here.given('env = ["MISSING", "A=1"]')
    assert dict(found.variables) == {"A": "1"}
    assert found.remarks == ("MISSING is not set in your environment, so the session does not have it.",)


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_our_programs_or_leads_claude_elsewhere_is_refused_whoever_asks(name: str, here: Place) -> None:
    here.environ[name] = "s3cret" if not name.startswith("CONFINED") else ""
    for entry in (name, f"{name}=s3cret"):
        assert name in here.error(f'env = ["{entry}"]').message
        assert name in here.error(project=f'env = ["{entry}"]').message
        assert name in here.error(env=entry).message
    assert name in here.error(f'[secrets.X]\nvariable = "S"\nas_variable = "{name}"').message
    put(here.root / "x.env", f"{name}=s3cret\nFINE=1\n")
    found = here.given('env_file = ["x.env"]')
    assert dict(found.variables) == {"FINE": "1"}
    assert found.remarks[0].startswith(f"{name} in x.env is left out: ")


@pytest.mark.parametrize("name", LET_IN)
def test_other_names_are_let_in(name: str, here: Place) -> None:
    assert dict(here.given(f'env = ["{name}=1"]').variables) == {name: "1"}


LEADING = """URL HOST ENDPOINT PROXY OAUTH SECRET TOKEN KEY PATH AUTH PORT DIR HEADER HEADERS IDP CERT DESCRIPTOR
    CREDENTIALS GATEWAY ORIGIN BIN BRIDGE""".split()


def test_of_what_claude_code_knows_nothing_is_let_in_that_leads_elsewhere_or_signs_in() -> None:
    """Of the names in its program; those of its SDKs' clouds are left out of sessions that these clouds sign in."""
    names = [line.split()[1] for line in (Path(__file__).parents[1] / "claude_variables.txt").read_text().splitlines()]
    let_in = [name for name in names if not variables.problem(name)]
    assert [name for name in let_in if set(LEADING) & set(name.split("_"))] == []
    assert 100 < len(let_in) < 150  # the control


@pytest.mark.parametrize("entry", ["", "=s3cret", "A B=s3cret", "1A=s3cret", "A-B=s3cret", "A\\u0000=s3cret", "A=***"])
def test_what_is_no_variable_is_an_error_without_its_value(entry: str, here: Place) -> None:
    assert "env cannot" in here.error(f'env = ["{entry}"]').message


def test_no_value_is_in_what_config_prints(here: Place) -> None:
    from confined_claude.commands import config

    here.environ["TOKEN"] = "s3cret"
    workspace = here.workspace('env = ["TOKEN", "URL=s3cret"]\n[secrets.X]\nvariable = "TOKEN"\nalways = true')
    resolved = resolve(workspace.host.user_config_file, workspace.files, workspace.host.environ, {})
    printed = "\n".join(config.lines(resolved)) + json.dumps(config.in_json(resolved))
    assert "s3cret" not in printed
    assert "# Open beyond the defaults: env = TOKEN, URL=***; secrets = X." in printed
    assert "s3cret" not in repr(gather(workspace))


@given(
    value=st.text(
        st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]) | st.sampled_from("'\"$`\\ ;&|\udcff"),
        min_size=1,
    )
)
def test_whatever_a_value_is_it_arrives_as_it_is(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from ..conftest import host_below

    directory = tmp_path_factory.mktemp("x")
    here = Place(host_below(directory), directory / "project")
    here.environ["TOKEN"] = value
    given = here.given('env = ["TOKEN"]')
    launch = planned(here.root, here.host, given=given)
    (file,) = launch.private
    assert file.content == os.fsencode(f"TOKEN={value}\0")
    assert value not in " ".join(launch.create_arguments("x")).split()


@pytest.mark.parametrize(("size", "fits"), [(variables.MOST_BYTES - 2, True), (variables.MOST_BYTES - 1, False)])
def test_a_variable_is_no_larger_than_the_kernel_takes(size: int, fits: bool, here: Place) -> None:
    here.environ["A"] = "x" * size
    if fits:
        value = here.given('env = ["A"]').variables["A"]
        run = subprocess.run(["/usr/bin/env"], env={"A": value}, capture_output=True, check=True)
        assert len(run.stdout) == size + 3
    else:
        assert f"A has {size + 2} bytes" in here.error('env = ["A"]').message
        with pytest.raises(OSError, match="Argument list too long"):
            subprocess.run(["/usr/bin/env"], env={"A": here.environ["A"]}, check=True)


def test_variables_have_room_together(here: Place) -> None:
    here.environ |= {f"A{number}": "x" * 100_000 for number in range(11)}
    names = ", ".join(f'"{name}"' for name in here.environ)
    assert "bytes together" in here.error(f"env = [{names}]").message


# Files of variables


FILE = b"""\xef\xbb\xbf# a comment
\n A=1 \nexport B='two $A'\r\nC="x y"  # why\r\nD=a=b # c\r\nE=\nF='\nexport  G=\xff
H=a#b\nI="say \\"hi\\"\\n$A \\d"\nJ='C:\\n'\nK= "it's"#\nL = # none\nM="-----BEGIN KEY-----
x # y
-----END KEY-----"
   # the end
N='z'"""


def test_a_file_has_lines_of_variables_as_compose_and_direnv_take_them_and_nothing_is_expanded(here: Place) -> None:
    put(here.root / "x.env", "").write_bytes(FILE)
    assert dict(here.given('env_file = ["x.env"]').variables) == {
        **{"A": "1", "B": "two $A", "C": "x y", "D": "a=b", "E": "", "F": "'", "G": "\udcff", "H": "a#b"},
        **{"I": 'say "hi"\n$A \\d', "J": "C:\\n", "K": "it's", "L": "", "N": "z"},
        "M": "-----BEGIN KEY-----\nx # y\n-----END KEY-----",
    }
    put(here.host.home / "y.env", "A=2")
    assert here.given('env_file = ["x.env", "~/y.env"]').variables["A"] == "2"
    assert here.given('env_file = ["x.env"]', env_file=str(here.host.home / "y.env")).variables["A"] == "2"


@pytest.mark.parametrize("line", ['A="', "A='", 'A="\\', "A='\nB=\"", "#", " " * 50])
def test_no_file_takes_long_to_read(line: str, here: Place) -> None:
    put(here.root / "x.env", f"{line}\n" * ((1 << 20) // (len(line) + 1)))
    since = time.thread_time()
    here.given('env_file = ["x.env"]')
    assert time.thread_time() - since < 3


@pytest.mark.parametrize("line", ["s3cret", "NAME", "A B=s3cret", "=s3cret", "-A=s3cret", "A\0=s3cret", "A=\0s3cret"])
def test_a_line_that_is_no_variable_is_named_by_its_number(line: str, here: Place) -> None:
    put(here.root / "x.env", f"A=1\n{line}\n")
    assert "Line 2 of x.env" in here.error('env_file = ["x.env"]').message


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "link", "large"])
@pytest.mark.timeout(120)
def test_a_file_that_cannot_be_read_is_a_clear_error(kind: str, here: Place) -> None:
    path = here.root / "x.env"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(put(here.host.home / "key", "TOKEN=s3cret"))
    elif kind == "large":
        path.write_text("#" * (1 << 20) + "\n")
    assert "x.env" in here.error('env_file = ["x.env"]').message


@pytest.mark.parametrize("path", ["~/x.env", "../x.env", "/etc/passwd", "in/../../x.env", "link.env", "away/x.env"])
def test_a_project_names_files_of_its_own_alone_and_no_link(path: str, here: Place) -> None:
    outside = put(here.root.parent / "x.env", "TOKEN=s3cret")
    (here.root / "link.env").symlink_to(outside)
    (here.root / "away").symlink_to(outside.parent)
    assert "not in it, or behind a link" in requests_error(here, f'env_file = ["{path}"]')
    put(here.root / "own.env", "A=1")
    assert dict(here.given(project='env_file = ["own.env"]').variables) == {"A": "1"}


def requests_error(here: Place, project: str) -> str:
    put(here.root / ".confined-claude/config.toml", project)
    with pytest.raises(ConfinedError) as caught:
        ProjectFiles.read(here.root / ".confined-claude").requests()
    return caught.value.message


def test_what_the_user_names_may_be_behind_a_link_of_theirs_and_no_sessions(here: Place) -> None:
    put(here.host.home / "real/x.env", "A=1")
    (here.host.home / "mine").symlink_to(here.host.home / "real")
    assert dict(here.given('env_file = ["~/mine/x.env"]').variables) == {"A": "1"}
    (here.root / "theirs").symlink_to(here.host.home / "real")
    assert "theirs" in here.error('env_file = ["theirs/x.env"]').message
    # Between the two ends, too: what is named is no session's, and where it leads neither.
    (here.host.home / "there").symlink_to(here.root / "theirs")
    assert "sessions can write there" in here.error('env_file = ["~/there/x.env"]').message
    put(here.root / "sub/y.env", "A=2")
    (here.host.home / "into").symlink_to(here.root / "sub")
    assert dict(here.given('env_file = ["~/into/y.env"]').variables) == {"A": "2"}


# The sign-in, and the network


def test_variables_of_the_cloud_that_signs_in_are_left_out(here: Place) -> None:
    given = Given({"AWS_ACCESS_KEY_ID": "mine", "AWS_PROFILE": "x", "GCE_METADATA_HOST": "p", "A": "1"})
    bedrock = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-1"}
    host = here.host._replace(environ=bedrock)
    launch = planned(here.root, host, given=given, sign_in=Chosen("Amazon Bedrock", bedrock))
    assert dict(launch.variables) == {"GCE_METADATA_HOST": "p", "A": "1", **bedrock}
    assert any("AWS_ACCESS_KEY_ID, AWS_PROFILE would conflict with" in line for line in launch.remarks)
    vertex = {"CLAUDE_CODE_USE_VERTEX": "1"}
    google = planned(here.root, here.host, given=given, sign_in=Chosen("Google Vertex AI", vertex))
    assert set(google.variables) == {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "A", *vertex}
    assert set(planned(here.root, here.host, given=given).variables) == set(given.variables)


def test_the_allowlist_is_proposed_the_hosts_that_are_named(here: Place) -> None:
    given = {
        "URL": "https://u:p@pypi.corp.example/simple",
        "B": "http://b.example:8080/x http://c.example:80",
        "N": "7",
    }
    files = {"/home/claude/.netrc": b"machine Git.example login u password p\n"}
    lines = list(hosts_to_allow(given, files, ("c.example", "*.corp.example")))
    assert [line.split(". ")[0] for line in lines] == [
        "B names b.example:8080",
        "/home/claude/.netrc names git.example",
    ]
    assert lines[0].endswith('allow = ["b.example:8080"]')
    assert list(hosts_to_allow({"U": "https://a.example/"}, {}, ("*.example:443",))) == []
    assert len(list(hosts_to_allow({"U": "https://a.example/"}, {}, ("a.example:8443",)))) == 1
    assert list(hosts_to_allow({"X": "https://user:1234/secret@h.example/"}, {}, ())) == []
    for url in ("https://h.example/@scope/x", "https://a.example/,https://h.example/"):
        assert any("names h.example." in line for line in hosts_to_allow({"X": url}, {}, ()))  # the control
    since = time.thread_time()
    assert list(hosts_to_allow({}, {"x": b"\n" * 100_000 + b"https://a:1/" * 5000}, ("a:1",))) == []
    assert time.thread_time() - since < 2
    launch = planned(here.root, here.host, Settings(network="allowlist"), given=Given(given))
    assert any("pypi.corp.example" in line for line in launch.remarks)
    assert not any("pypi" in line for line in planned(here.root, here.host, given=Given(given)).remarks)


@pytest.mark.parametrize("path", [".", "sub/..", "/"])
def test_a_directory_in_the_place_of_a_file_is_named(path: str, here: Place) -> None:
    assert "it is a directory" in here.error(f'env_file = ["{path}"]').message
    assert "it is a directory" in here.error(f'[secrets.X]\nfile = "{path}"\nalways = true').message


# Secrets


def test_a_secret_is_from_a_variable_a_file_or_a_command_and_given_as_variable_or_file(here: Place) -> None:
    here.environ["MY_TOKEN"] = "from a variable"
    put(here.host.home / "token", "from a file\n")
    user = """
        [secrets.A]
        variable = "MY_TOKEN"
        [secrets.B]
        file = "~/token"
        as_variable = "TOKEN_B"
        [secrets.C]
        command = "printf 'from a %s\\\\n\\\\n' command; pwd >&2"
        [secrets.D]
        file = "~/token"
        as_file = "~/.config/d/token"
        [secrets.E]
        command = "printf 'a\\\\000b'"
        as_file = "/run/secrets/e"
        [secrets.UNUSED]
        command = "exit 1"
    """
    found = here.given(user, 'secrets = ["A", "B"]', secrets="C,D,E")
    expected = {"A": "from a variable", "TOKEN_B": "from a file", "C": "from a command"}
    assert dict(found.variables) == expected
    assert dict(found.files) == {"/home/claude/.config/d/token": b"from a file\n", "/run/secrets/e": b"a\0b"}
    launch = planned(here.root, here.host, given=found)
    by_path = {file.path: (file.mode, file.uid, file.gid) for file in launch.private}
    ids = (here.host.uid, here.host.gid)
    assert by_path["home/claude/.config/d/token"] == (0o400, *ids)
    assert by_path["home/claude/.config/d/"] == (0o755, *ids)
    assert by_path["run/secrets/e"] == (0o400, *ids)


@pytest.mark.parametrize("how", ['file = "~/large"', 'command = "cat {}/large"'])
def test_a_secret_of_a_mebibyte_of_any_bytes_is_given_as_a_file(how: str, here: Place) -> None:
    content = bytes(range(256)) * 4096
    put(here.host.home / "large", "").write_bytes(content)
    user = f'[secrets.X]\n{how.format(here.host.home)}\nas_file = "~/x"\nalways = true'
    assert dict(here.given(user).files) == {"/home/claude/x": content}


def test_a_secret_that_nothing_names_is_given_only_if_it_is_always(here: Place) -> None:
    here.environ["X"] = "s3cret"
    table = '[secrets.X]\nvariable = "X"\n'
    assert dict(here.given(table).variables) == {}
    assert dict(here.given(f"{table}always = true").variables) == {"X": "s3cret"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "0 sources"),
        ('variable = "A"\nfile = "B"', "2 sources"),
        ('variable = "A"\nlend = true', "lend must have hosts"),
        ("variable = 1", "variable must be text"),
        ('command = " "', "command must be text"),
        ('variable = "A"\nalways = "yes"', "always must be true or false"),
        ('variable = "A"\nas_variable = "a b"', "not the name of a variable"),
        ('variable = "A"\nas_file = "x"', "as_file cannot be x"),
        ('variable = "A"\nas_file = "~/../x"', "as_file cannot be"),
        ('variable = "A"\nas_file = "/etc/passwd"', "as_file cannot be"),
        ('variable = "A"\nas_file = "~/workspace/x"', "as_file cannot be"),
        ('variable = "A"\nas_file = "~/.config"', "as_file cannot be"),
        ('keyring = "service"', "must be SERVICE/USERNAME"),
    ],
)
def test_a_definition_that_is_wrong_is_a_clear_error(table: str, said: str, here: Place) -> None:
    assert said in here.error(f"[secrets.X]\n{table}").message


def test_only_the_user_defines_a_secret_and_a_name_without_one_is_an_error(here: Place) -> None:
    assert "cannot define a secret" in here.error(project='[secrets.X]\ncommand = "id"').message
    error = here.error(project='secrets = ["X"]')
    assert "no secret X" in error.message
    assert "[secrets.X]" in error.hint
    put(here.root / ".confined-claude/config.toml", 'secrets = ["X"]')
    with pytest.raises(ReviewNeeded):
        resolve(here.host.user_config_file, ProjectFiles.read(here.root / ".confined-claude"), {}, {})


# What a message calls a command: its program, or nothing where a word might be a part of a secret.
NAMED = {
    "KEY='correct s3cret' false x": "`false`",
    """KEY="correct 's3cret" A='x'"y z" /bin/false s3cret""": "`/bin/false`",
    "'/bin/false' s3cret": "`'/bin/false'`",
    "false;false s3cret": "`false`",
    r"KEY=correct\\ s3cret false": "its command",
    "KEY=$(echo s3cret x) false": "its command",
    "KEY=`echo s3cret x` false": "its command",
    "KEY=${X:-a s3cret b} false": "its command",
    "KEY=x;s3cret=y false": "its command",
    "KEY='a'$( s3cret 2>&1) false": "its command",
    "(s3cret=x false)": "its command",
    "$(echo s3cret >&2) false": "its command",
}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('command = "echo s3cret; echo s3cret >&2; exit 7"', "`echo` ended with 7"),
        ('command = "KEY=s3cret false"', "`false` ended with 1"),
        ('command = "KEY=s3cret"', "X: its command printed nothing"),
        *((f'command = """{line}"""', f"X: {named} ended with 1") for line, named in NAMED.items()),
        ('command = "true"', "`true` printed nothing"),
        ("command = \"printf '\\\\n\\\\n'\"", "printed nothing"),
        ('command = "nosuchprogram --s3cret"', "`nosuchprogram` ended with 127"),
        ("command = \"printf 'a\\\\000s3cret'\"", "has a NUL"),
        ('command = "head -c 1048577 /dev/zero; sleep 60"\nas_file = "~/x"', "`head` printed more than 1048576 bytes"),
        ('file = "~/larger"\nas_file = "~/x"', "larger"),
        ('variable = "MISSING"', "the variable MISSING has nothing"),
        ('file = "~/missing"', "missing"),
        ('file = "~/empty"', "~/empty has nothing"),
    ],
)
def test_a_secret_that_cannot_be_had_ends_the_start_without_its_value(table: str, said: str, here: Place) -> None:
    put(here.host.home / "empty", "\n")
    put(here.host.home / "larger", "x" * 1_048_577)
    assert said in here.error(f"[secrets.X]\n{table}\nalways = true").message


@pytest.mark.parametrize("end", ["wait", "exit"])
def test_a_command_that_hangs_is_ended_with_all_it_started(
    end: str, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "SECONDS", 2)
    pid = here.root.parent / "pid"
    since = time.monotonic()
    error = here.error(f'[secrets.X]\ncommand = "sleep 60 & echo $! >{pid}; {end}"\nalways = true')
    assert "X: `sleep` has not ended after" in error.message
    assert time.monotonic() - since < 30
    until(lambda: has_ended(int(pid.read_text())))


def test_commands_run_beside_each_other_in_the_root_directory_without_input(here: Place) -> None:
    met = here.root.parent / "met"
    met.mkdir()
    wait = f"while [ $(ls {met} | wc -l) -lt 6 ]; do sleep 0.05; done"  # for all of them
    tables = [
        f'[secrets.S{number}]\ncommand = "touch {met}/{number}; {wait}; pwd; cat"\nalways = true' for number in range(6)
    ]
    assert set(here.given("\n".join(tables)).variables.values()) == {"/"}


@pytest.mark.parametrize("how", ["a path", "a program on PATH", "the config file"])
def test_nothing_that_a_session_could_have_written_is_run(how: str, here: Place) -> None:
    script = put(here.root / "get-key", "#!/bin/sh\necho s3cret\n")
    script.chmod(0o755)
    command = {"a path": f"sh {script}", "a program on PATH": "get-key", "the config file": "echo s3cret"}[how]
    user = f'[secrets.X]\ncommand = "{command}"\nalways = true'
    if how == "the config file":
        workspace = here.workspace(user)
        put(here.root / "config.toml", user)
        workspace.host.user_config_file.unlink()
        workspace.host.user_config_file.symlink_to(here.root / "config.toml")
    else:
        workspace = here.workspace(user)
    path = f"{here.root}:{os.environ['PATH']}"
    workspace = workspace._replace(host=workspace.host._replace(environ={"PATH": path}))
    with pytest.raises(ConfinedError) as caught:
        gather(workspace)
    assert "s3cret" not in str(caught.value).replace(command, "")
    if how != "a program on PATH":
        assert "its command is not run" in caught.value.message
    # The control: the same command where no session can write.
    workspace.host.user_config_file.unlink()
    elsewhere = put(here.host.home / "bin/get-key", script.read_text())
    elsewhere.chmod(0o755)
    fine = here.workspace(f'[secrets.X]\ncommand = "{elsewhere}"\nalways = true')
    assert dict(gather(fine).variables) == {"X": "s3cret"}


def test_a_dry_run_runs_no_command(here: Place) -> None:
    mark = here.root.parent / "mark"
    workspace = here.workspace(f'[secrets.X]\ncommand = "touch {mark}; echo s3cret"\nalways = true')
    assert dict(gather(workspace, runs_commands=False).variables) == {"X": ""}
    assert not mark.exists()
    gather(workspace)
    assert mark.exists()


def test_a_file_where_something_else_is_is_refused(here: Place) -> None:
    table = '[secrets.{}]\ncommand = "echo s3cret"\nas_file = "{}"\nalways = true\n'
    links = ("~/.cache/pip/x", "~/.cargo/registry/cache/x", "~/go/pkg/mod/cache/download")  # to the shared downloads
    for path in ("~/.local/bin/x", "~/.claude/x", "~/venvs/a/b", "~/.local", *links):
        with pytest.raises(ConfinedError, match="of your machine is there"):
            planned(here.root, here.host, given=here.given(table.format("X", path)))
    for other in ("~/.netrc", "~/.netrc/b"):
        two = table.format("X", "~/.netrc") + table.format("Y", other)
        assert "another secret is there" in here.error(two).message
    mount = put(here.root.parent / "data/x").parent
    beside = mounts.bind((f"{mount}:/home/claude/data/x",), here.root, here.host)
    given = here.given(table.format("X", "~/data"))
    with pytest.raises(ConfinedError, match="there, at /home/claude/data/x"):
        planned(here.root, here.host, given=given, mounts=beside)
    planned(here.root, here.host, given=given)  # the control


def test_the_agent_is_told_the_names_of_what_it_is_given_and_no_value(here: Place) -> None:
    here.environ["TOKEN"] = "s3cret"
    user = 'env = ["TOKEN", "AWS_PROFILE=s3cret"]\n[secrets.X]\nvariable = "TOKEN"\nas_file = "~/.netrc"\nalways = true'
    cloud = {"CLAUDE_CODE_USE_BEDROCK": "1"}
    told = planned(here.root, here.host, given=here.given(user), sign_in=Chosen("x", cloud)).agent_note
    assert "as variables or files: `TOKEN`, `/home/claude/.netrc`." in told
    assert "s3cret" not in told
    assert "Given to you" not in planned(here.root, here.host).agent_note


# The keyring

BACKEND = """
from keyring import backend, errors

class Keyring(backend.KeyringBackend):
    priority = 9
    def get_password(self, service, username):
        if service == "locked":
            raise errors.KeyringLocked("Failed to unlock the collection!")
        return {("git", "me"): "s3cret"}.get((service, username))

    def set_password(self, service, username, password):
        raise NotImplementedError
"""


@pytest.fixture
def keyring(here: Place) -> Place:
    """The real library, with a keyring of the test's own."""
    pytest.importorskip("keyring")
    put(here.host.home / "backends/own_backend.py", BACKEND)
    settings = f"[backend]\ndefault-keyring=own_backend.Keyring\nkeyring-path={here.host.home}/backends\n"
    put(here.host.home / "config/python_keyring/keyringrc.cfg", settings)
    here.environ |= {"XDG_CONFIG_HOME": str(here.host.home / "config"), "HOME": str(here.host.home)}
    return here


def test_a_secret_is_in_the_keyring(keyring: Place) -> None:
    found = keyring.given('[secrets.X]\nkeyring = "git/me"\nalways = true')
    assert dict(found.variables) == {"X": "s3cret"}
    assert "has no such entry" in keyring.error('[secrets.X]\nkeyring = "git/other"\nalways = true').message
    locked = keyring.error('[secrets.X]\nkeyring = "locked/me"\nalways = true')
    assert "the keyring says: keyring.errors.KeyringLocked: Failed to unlock the collection" in locked.message


def test_the_library_may_be_what_pip_has_installed_for_the_user(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's own Python: that of a virtual environment has no such packages."""
    python = "/usr/bin/python3"
    where = [python, "-c", "import site; print(site.getusersitepackages())"]
    environ = {"HOME": str(here.host.home)}
    site = subprocess.run(where, env=environ, capture_output=True, text=True, check=True).stdout.strip()
    put(Path(site, "keyring/__init__.py"), "")
    put(Path(site, "keyring/__main__.py"), "import sys; print('s3cret', *sys.argv[1:])")
    here.environ |= environ
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(secrets.importlib.util, "find_spec", lambda _name: True)
    found = here.given('[secrets.X]\nkeyring = "git/me"\nalways = true')
    assert dict(found.variables) == {"X": "s3cret get git me"}


def test_without_the_library_the_error_says_how_to_get_it(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets.importlib.util, "find_spec", lambda _name: None)
    error = here.error('[secrets.X]\nkeyring = "git/me"\nalways = true')
    assert "keyring library is not installed" in error.message
    assert f"`{sys.executable} -m pip install keyring`" in error.hint
    assert "`pipx inject confined-claude keyring`" in error.hint


# What it costs


def test_a_start_without_any_imports_none_of_this() -> None:
    script = "import confined_claude.commands.run, confined_claude.session.supervisor, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    modules: Mapping[str, None] = dict.fromkeys(run.stdout.split())
    assert "confined_claude.settings.variables" in modules
    unwanted = ("session.given", "session.lent", "session.lent_sign_in", "claude.lending")
    unwanted += ("session.secrets", "session.named_files", "settings.secrets")
    assert not {f"confined_claude.{name}" for name in unwanted} & set(modules)
    assert SPECS["secrets"].is_opening
