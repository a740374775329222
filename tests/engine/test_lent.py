"""Secrets that are lent, in real sessions: a host of the test's own, behind a proxy of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import REPOSITORY, TEST_LABEL, User, docker, own_name, sidecars_of, up, wait_until

from confined_claude.image.recipe import image_chain
from confined_claude.settings import Settings

pytestmark = pytest.mark.timeout(400)

HOST, OTHER = "registry.corp.test", "other.corp.test"
VALUE = f"ghp_{uuid.uuid4().hex}"
NETWORKS = ["allowlist"]


@dataclass(frozen=True)
class There:
    """The host, in a ``container``: its ``directory``, and the variables with which a user's tool reaches it."""

    directory: Path
    container: str
    variables: dict[str, str]

    @property
    def log(self) -> list[str]:
        return (self.directory / "log").read_text().splitlines()


@pytest.fixture(scope="module")
def there(ground: Path, installed: Path) -> Iterator[There]:
    """``HOST``, with a certificate that this machine trusts beyond the public authorities, as a company's are."""
    directory = ground / f"lent-{uuid.uuid4().hex[:8]}"
    for name in ("simple", "npm", "git"):
        (directory / name).mkdir(parents=True)
    names = f"subjectAltName=DNS:{HOST},DNS:{OTHER}"
    make = f"-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={HOST} -addext {names} -keyout key -out ca.pem"
    subprocess.run(["openssl", "req", *make.split()], check=True, capture_output=True, cwd=directory)
    (directory / "both").write_text((directory / "ca.pem").read_text() + (directory / "key").read_text())
    (directory / "log").touch()
    directory.chmod(0o755)
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    mounts = [f"type=bind,source={REPOSITORY}/tests/registries.py,target=/registries.py,readonly"]
    mounts.append(f"type=bind,source={directory},target={directory}")
    # What a build would make for who trusts this certificate, without waiting for one.
    environ = {"SSL_CERT_FILE": str(directory / "ca.pem")}
    image = image_chain(Settings(), environ).shared
    trust = "cat >/usr/local/share/ca-certificates/confined-claude/there.crt && update-ca-certificates"
    base = ("--user", "0", "--label", TEST_LABEL, "--name", name)
    command = ["docker", "run", "--interactive", *base, "--entrypoint", "sh", "confined-claude:latest", "-c", trust]
    subprocess.run(command, check=True, capture_output=True, input=(directory / "ca.pem").read_bytes())
    changes = ("USER claude", 'ENTRYPOINT ["/opt/confined-claude/init/entrypoint"]', "CMD []")
    docker("commit", *(word for change in changes for word in ("--change", change)), name, image)
    docker("rm", name)
    try:
        docker(
            *("run", "--detach", *base, "--entrypoint", "python3"),
            *(word for mount in mounts for word in ("--mount", mount)),
            *(image, "/registries.py", str(directory), f"{directory}/both", "3128"),
        )
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        probe = f"curl -s -o /dev/null --resolve {HOST}:443:127.0.0.1 https://{HOST}/echo/"
        wait_until(lambda: "ok" in docker("exec", name, "sh", "-c", f"{probe} && echo ok", check=False))
        yield There(directory, name, environ | {"HTTPS_PROXY": f"http://{address}:3128", "GH_SOURCE": VALUE})
    finally:
        docker("rm", "--force", name, check=False)
        docker("rmi", "--force", image, check=False)


@pytest.fixture
def borrower(plain_user: User, place: Path, there: There) -> tuple[User, Path]:
    """A user who lends a secret to ``HOST`` in each session, and a project."""
    user = plain_user
    project = user.folder(own_name(place))
    user.variables.update(there.variables)
    config(user, f'[secrets.GH_TOKEN]\nvariable = "GH_SOURCE"\nalways = true\nlend = {{hosts = ["{HOST}"]}}\n')
    return user, project


def config(user: User, text: str) -> None:
    file = user.home / ".config/confined-claude/config.toml"
    user.folder(user.home / ".config")
    user.folder(file.parent)
    file.write_text(text)
    user.own(file)


def session(user: User, project: Path, script: str, network: str, *flags: str) -> str:
    done = user.run("confined-claude", "shell", "--network", network, *flags, "--", "bash", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("network", NETWORKS)
def test_a_lent_secret_reaches_its_host_and_is_not_in_the_session(
    borrower: tuple[User, Path], there: There, network: str
) -> None:
    user, project = borrower
    ask = f'curl -sS -H "Authorization: Bearer $GH_TOKEN" https://{HOST}/echo/path?query'
    script = f"""
        echo "$GH_TOKEN"
        {ask}; echo
        {ask} --noproxy '*'; echo
        {ask.replace(HOST, OTHER)} -k; echo
        node -e 'fetch("https://{HOST}/echo/", {{headers: {{Authorization: process.env.GH_TOKEN}}}})
            .then(async (answer) => console.log(await answer.text()))'
        python3 -c 'import os, urllib.request as u; r = u.Request("https://{HOST}/echo/",
            headers={{"Authorization": "token " + os.environ["GH_TOKEN"]}}); print(u.urlopen(r).read().decode())'
        wget -qO- --header "Authorization: Bearer $GH_TOKEN" https://{HOST}/echo/
    """
    flags = ("--allow", OTHER) if network == "allowlist" else ()
    placeholder, *answers = session(user, project, script, network, *flags).splitlines()
    assert placeholder != VALUE
    assert (placeholder[:4], len(placeholder)) == ("ghp_", len(VALUE))
    found = [json.loads(answer).get("authorization", "") for answer in map(str.lower, answers)]
    real, mine = VALUE.lower(), placeholder.lower()
    assert found == [
        f"bearer {real}", f"bearer {real}", f"bearer {mine}", real, f"token {real}", f"bearer {real}",
    ]  # fmt: skip
    again = session(user, project, "echo $GH_TOKEN", network)
    assert again.strip() not in ("", VALUE, placeholder), "each session has another one"


@pytest.mark.parametrize("network", NETWORKS)
def test_the_value_is_nowhere_but_in_the_sidecar(borrower: tuple[User, Path], there: There, network: str) -> None:
    user, project = borrower
    # Of all files that can be another session's than the image's, all processes and all variables.
    search = f"""
        half={VALUE[:20]}; rest={VALUE[20:]}
        curl -sS -o /dev/null -H "Authorization: Bearer $GH_TOKEN" https://{HOST}/echo/lent
        echo "$GH_TOKEN" >placeholder
        value() {{ printf %s "$half$rest"; }}  # in no process's words
        grep -rlsF -f <(value) /egress /etc /home /opt /root /run /srv /tmp /var >found
        cat /proc/*/environ /proc/*/cmdline 2>/dev/null | grep -acF -f <(value) >>found
        cat /proc/*/environ 2>/dev/null | grep -acF -f <(printf %s "$GH_TOKEN") >control
        touch ready; exec sleep 200
    """
    words = ("confined-claude", "shell", "--network", network, "--", "bash", "-c", search)
    with user.running(*words, cwd=project) as process:
        wait_until(lambda: (project / "ready").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        (name,), (sidecar,) = up(project), sidecars_of(project)
        assert (project / "found").read_text() == "0\n"
        assert int((project / "control").read_text()) > 0, "what is in the session is found in this way"
        state = [path for place in (".local/share", ".local/state") for path in (user.home / place).rglob("*")]
        shown = {
            "session": docker("inspect", name),
            "sidecar": docker("inspect", sidecar),
            "processes": subprocess.run(["ps", "axww"], check=True, capture_output=True, text=True).stdout,
            "logs": docker("logs", name, check=False) + docker("logs", sidecar, check=False),
            "changes": docker("diff", sidecar),
            "config": user.run("confined-claude", "config", cwd=project).stdout,
            "status": user.run("confined-claude", "status", "--json", cwd=project).stdout,
            "dry run": user.run("confined-claude", "run", "--dry-run", "--network", network, cwd=project).stdout,
            **{str(path): path.read_text(errors="replace") for path in state if path.is_file()},
        }
        assert {where for where, text in shown.items() if VALUE in text} == set()
        logs = [text for where, text in shown.items() if where.endswith("lent.log")]
        assert [line.split()[1:] for text in logs for line in text.splitlines()] == [
            ["GET", f"{HOST}:443", "/echo/lent"]
        ]
        # The sidecar has it in its memory alone, where the control finds it as well.
        files = docker(
            "exec", "--user", "0", sidecar, "sh", "-c", f"grep -rlsF {VALUE} /egress /run /tmp /dev/shm; true"
        )
        assert files == ""
        pid = docker("inspect", "--format", "{{.State.Pid}}", sidecar).strip()
        if os.geteuid() == 0:
            environ = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
            assert VALUE.encode() not in environ
            assert VALUE.encode() in memory(int(pid))


def memory(pid: int) -> bytes:
    """What a process has in its writable memory."""
    found = b""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if rights.startswith("rw") and "[v" not in line:
                start, end = (int(word, 16) for word in place.split("-"))
                file.seek(start)
                found += file.read(end - start)
    return found


@pytest.mark.parametrize("network", NETWORKS)
def test_the_certificate_stays_trusted_and_is_the_sessions_alone(
    borrower: tuple[User, Path], there: There, network: str
) -> None:
    user, project = borrower
    issuer = f"openssl s_client -connect {HOST}:443 -servername {HOST} </dev/null 2>/dev/null"
    script = f"""
        {issuer} | openssl x509 -noout -issuer >lines
        stat -c '%U %a' /usr/local/share/ca-certificates/confined-claude/lent.crt >>lines
        touch /etc/ssl/certs/ca-certificates.crt 2>/dev/null || echo "not the session's to change" >>lines
        touch ready; until [ -e updated ]; do sleep 0.1; done
        curl -sS -H "Authorization: $GH_TOKEN" https://{HOST}/echo/ >answer; touch asked; exec sleep 200
    """
    words = ("confined-claude", "shell", "--network", network, "--", "bash", "-c", script)
    with user.running(*words, cwd=project) as process:
        wait_until(lambda: (project / "ready").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        assert (project / "lines").read_text().splitlines() == [
            "issuer=O = Confined Claude, CN = The authority of this session", "root 644", "not the session's to change",
        ]  # fmt: skip
        (name,) = up(project)
        # As `apt-get` does when the package of authorities is upgraded.
        docker("exec", "--user", "0", name, "update-ca-certificates", "--fresh")
        (project / "updated").touch()
        wait_until((project / "asked").exists)
        assert json.loads((project / "answer").read_text())["authorization"] == VALUE
        # The control: nothing else here trusts it.
        outside = subprocess.run(
            ["openssl", "verify", "-CAfile", "/etc/ssl/certs/ca-certificates.crt", "/dev/stdin"],
            input=docker("exec", name, "cat", "/usr/local/share/ca-certificates/confined-claude/lent.crt"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert outside.returncode


@pytest.mark.parametrize("network", ["none", "open"])
def test_a_network_without_a_sidecar_says_so(borrower: tuple[User, Path], network: str) -> None:
    user, project = borrower
    done = user.run("confined-claude", "shell", "--network", network, "--", "true", cwd=project)
    assert done.returncode == 2
    assert f"Nothing can be lent to a session with network = {network}" in done.stderr
    assert "Choose network = " in done.stderr


def test_a_project_lends_nothing(borrower: tuple[User, Path]) -> None:
    user, project = borrower
    scaffold = user.folder(project / ".confined-claude")
    (scaffold / "config.toml").write_text('[secrets.X]\nvariable = "HOME"\nlend = {hosts = ["evil.test"]}\n')
    done = user.run("confined-claude", "shell", "--", "true", cwd=project)
    assert done.returncode == 2
    assert "a project cannot define a secret" in done.stderr
