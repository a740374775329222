"""A host to lend secrets to, behind a company's proxy, and a user who does; for the tests of engines and attacks."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import REPOSITORY, TEST_LABEL, Api, User, docker, listens, own_name, wait_until

from confined_claude.image.recipe import image_chain
from confined_claude.settings import Settings

HOST, OTHER = "registry.corp.test", "other.corp.test"
API_HOST = "api.corp.test"
API_URL = f"https://{API_HOST}:8443"
VALUE = f"ghp_{uuid.uuid4().hex}"
NETWORKS = ["internet", "allowlist"]  # in which something can be lent


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
    names = f"subjectAltName=DNS:{HOST},DNS:{OTHER},DNS:{API_HOST}"
    make = f"-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={HOST} -addext {names} -keyout key -out ca.pem"
    subprocess.run(["openssl", "req", *make.split()], check=True, capture_output=True, cwd=directory)
    (directory / "both").write_text((directory / "ca.pem").read_text() + (directory / "key").read_text())
    (directory / "log").touch()
    directory.chmod(0o755)
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    mounts = [f"type=bind,source={REPOSITORY}/tests/registries.py,target=/registries.py,readonly"]
    mounts.append(f"type=bind,source={REPOSITORY}/tests/fake_api.py,target=/fake_api.py,readonly")
    mounts.append(f"type=bind,source={directory},target={directory}")
    # What a build would make for who trusts this certificate, without waiting for one.
    environ = {"SSL_CERT_FILE": str(directory / "ca.pem")}
    image, usual = (image_chain(Settings(), each).shared for each in (environ, {}))
    trust = "cat >/usr/local/share/ca-certificates/confined-claude/there.crt && update-ca-certificates"
    base = ("--user", "0", "--label", TEST_LABEL, "--name", name)
    command = ["docker", "run", "--interactive", *base, "--entrypoint", "sh", usual, "-c", trust]
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
        serve = f"/fake_api.py --port 8443 --tls {directory}/both --log /tmp/requests"
        docker("exec", "--detach", name, "python3", *serve.split())
        yield There(directory, name, environ | {"HTTPS_PROXY": f"http://{address}:3128", "GH_SOURCE": VALUE})
    finally:
        docker("rm", "--force", name, check=False)
        docker("rmi", "--force", image, check=False)
        docker("tag", usual, "confined-claude:latest", check=False)  # what was built on it has made it the latest


@pytest.fixture
def lent_api(there: There) -> Api:
    """A fake Messages API at ``API_URL``, to which a sign-in can be lent."""
    wait_until(lambda: listens(there.container, 8443))
    return Api(there.container, "")


@pytest.fixture
def signed_in(make_user: Callable[..., User], there: There, lent_api: Api) -> User:
    """Someone whose Claude is at ``API_URL`` and who lends sessions its sign-in, but has none yet."""
    none = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": API_URL, "CONFINED_CLAUDE_NETWORK": ""}
    user = make_user(*((12345, 12345) if os.geteuid() == 0 else ()), **none)
    user.variables.update(there.variables, CONFINED_CLAUDE_SIGN_IN="lent", CLAUDE_CODE_MAX_RETRIES="0")
    return user


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
