"""Private registries, each a real server of the test's own, with what a session is given by name."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, TEST_LABEL, Api, User, docker, listens, own_name, wait_until
from registries import PASSWORD, TOKEN, USER, tarball, wheel

HOST = "registry.corp.test"


@pytest.fixture
def registry(place: Path, api: Api) -> Iterator[Path]:
    """The directory of registries that run as ``HOST`` on the fake API's network; it has their certificate."""
    directory = place / "registries"
    for name in ("simple", "npm", "git"):
        (directory / name).mkdir(parents=True)
    (directory / "simple/secretpkg-1.0-py3-none-any.whl").write_bytes(wheel("secretpkg"))
    (directory / "npm/secretpkg-1.0.0.tgz").write_bytes(tarball("secretpkg"))
    make = f"-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={HOST} -addext subjectAltName=DNS:{HOST}"
    words = ["openssl", "req", *make.split(), "-keyout", str(directory / "key"), "-out", str(directory / "ca.pem")]
    subprocess.run(words, check=True, capture_output=True)
    (directory / "both").write_text((directory / "ca.pem").read_text() + (directory / "key").read_text())
    script = "git init -q --bare git/x.git && git -C git/x.git config http.receivepack true"
    subprocess.run(["sh", "-c", script], cwd=directory, check=True)
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    mounts = [f"type=bind,source={REPOSITORY}/tests/registries.py,target=/registries.py,readonly"]
    mounts.append(f"type=bind,source={directory},target={directory}")
    docker(
        *("run", "--detach", "--name", name, "--label", TEST_LABEL, "--user", "0", "--entrypoint", "python3"),
        *(word for mount in mounts for word in ("--mount", mount)),
        *("--network", api.network, "--network-alias", HOST),
        *("confined-claude:latest", "/registries.py", str(directory), f"{directory}/both"),
    )
    try:
        probe = f"curl -s -o /dev/null --cacert {directory}/ca.pem --resolve {HOST}:443:127.0.0.1 https://{HOST}/"
        wait_until(lambda: "ok" in docker("exec", name, "sh", "-c", f"{probe} && echo ok", check=False))
        yield directory
    finally:
        docker("rm", "--force", name)


def test_pip_npm_and_git_sign_in_with_what_the_session_is_given(plain_user: User, place: Path, registry: Path) -> None:
    user = plain_user
    project = user.folder(own_name(place))
    user.write(project / "ca.pem", (registry / "ca.pem").read_text())
    user.write(user.home / "netrc", f"machine {HOST}\nlogin someone\npassword {TOKEN}\n")
    user.write(project / ".npmrc", f"registry=https://{HOST}/npm/\n//{HOST}/npm/:_authToken=${{NPM_TOKEN}}\n")
    config = f"""
        env = ["PIP_INDEX_URL", "NPM_TOKEN", "REQUESTS_CA_BUNDLE={project}/ca.pem",
               "NPM_CONFIG_CAFILE={project}/ca.pem", "GIT_SSL_CAINFO={project}/ca.pem"]
        [secrets.GIT_LOGIN]
        file = "~/netrc"
        as_file = "~/.netrc"
    """
    user.write(user.home / ".config/confined-claude/config.toml", config)
    user.variables["PIP_INDEX_URL"] = f"https://{USER}:{PASSWORD}@{HOST}/simple"
    user.variables["NPM_TOKEN"] = TOKEN
    script = f"""
        pip install -q --no-input secretpkg && python3 -m secretpkg && echo pip works
        npm install --no-audit --no-fund secretpkg >/dev/null && node -p 'require("secretpkg")' && echo npm works
        export GIT_TERMINAL_PROMPT=0
        git clone -q https://{HOST}/git/x.git && cd x && git commit -qm made --allow-empty &&
            git push -q https://{HOST}/git/x.git HEAD:refs/heads/main && echo git works
    """
    user.write(user.home / ".gitconfig", "[user]\nname = Test\nemail = test@example.invalid\n")
    # The control: without a sign-in each refuses.
    paths = "simple/secretpkg/ npm/secretpkg git/x.git/info/refs?service=git-upload-pack"
    ask = f"curl -s -o /dev/null -w '%{{http_code}} ' --cacert {project}/ca.pem https://{HOST}"
    script = f"for path in {paths}; do {ask}/$path; done; echo; {script}"
    works = ["401 401 401 ", "hello from a private package", "pip works", "from npm", "npm works", "git works"]
    done = user.run("confined-claude", "shell", "--secrets", "GIT_LOGIN", "--", "sh", "-c", script, cwd=project)
    assert done.stdout.splitlines() == works, done.stderr
    tips = subprocess.run(
        ["git", "log", "--format=%s", "main"], check=True, cwd=registry / "git/x.git", capture_output=True, text=True
    )
    assert tips.stdout == "made\n", tips.stderr


def test_an_allowlist_is_proposed_the_registry_that_a_variable_names(user: User, project: Path) -> None:
    words = ("confined-claude", "run", "--dry-run", "--network", "allowlist", "--env", "PIP_INDEX_URL")
    text = user.run(*words, cwd=project, PIP_INDEX_URL=f"https://u:{PASSWORD}@{HOST}/simple").stdout
    assert f'PIP_INDEX_URL names {HOST}. If this allowlist is to have it: allow = ["{HOST}"]' in text
    assert PASSWORD not in text
    text = user.run(*words, "--allow", HOST, cwd=project, PIP_INDEX_URL=f"https://u:p@{HOST}/simple").stdout
    assert "If this allowlist" not in text


# apt


@contextlib.contextmanager
def signed_repository(directory: Path) -> Iterator[str]:
    """A signed repository of Debian packages in ``directory``, with its key, by the URL at which builds reach it."""
    package = directory / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/share").mkdir(parents=True)
    (package / "usr/share/secretpkg").write_text("from a private repository\n")
    control = (
        "Package: secretpkg\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <t@example.invalid>\nDescription: a\n"
    )
    (package / "DEBIAN/control").write_text(control)
    deb = directory / "secretpkg.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", package, deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    packages = f"{control}Filename: ./secretpkg.deb\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n".encode()
    (directory / "Packages").write_bytes(packages)
    (directory / "Packages.gz").write_bytes(gzip.compress(packages))
    lines = "".join(
        f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n"
        for name in ("Packages", "Packages.gz")
        if (content := (directory / name).read_bytes())
    )
    date = subprocess.run(["date", "-Ru"], check=True, capture_output=True, text=True).stdout
    (directory / "Release").write_text(f"Date: {date}SHA256:\n{lines}")
    home = directory / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--passphrase", ""]
    try:
        for words in (
            ["--quick-generate-key", "Test <t@example.invalid>", "rsa2048", "sign"],
            ["--clearsign", "--output", str(directory / "InRelease"), str(directory / "Release")],
            ["--output", str(directory / "key.gpg"), "--export"],
        ):
            subprocess.run([*gpg, *words], check=True, capture_output=True)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    mount = f"type=bind,source={directory},target=/served,readonly"
    serve = ["confined-claude:latest", "-m", "http.server", "80", "--directory", "/served"]
    docker("run", "--detach", "--name", name, "--label", TEST_LABEL, "--user", "0", "--mount", mount,
           "--entrypoint", "python3", *serve)  # fmt: skip
    try:
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        wait_until(lambda: listens(name, 80))
        yield f"http://{address}"
    finally:
        docker("rm", "--force", name)


def test_apt_installs_from_a_signed_repository_in_a_projects_dockerfile(user: User, project: Path, place: Path) -> None:
    directory = place / "repository"
    directory.mkdir()
    with signed_repository(directory) as url:
        key = base64.b64encode((directory / "key.gpg").read_bytes()).decode()
        only = "-o Dir::Etc::sourcelist=/etc/apt/sources.list.d/corp.list -o Dir::Etc::sourceparts=-"
        dockerfile = f"""ARG BASE
FROM ${{BASE}}
RUN echo {key} | base64 -d >/etc/apt/keyrings/corp.gpg \\
 && echo 'deb [signed-by=/etc/apt/keyrings/corp.gpg] {url} ./' >/etc/apt/sources.list.d/corp.list \\
 && apt-get update {only} && apt-get install -y {only} secretpkg
"""
        file = project / ".confined-claude/Dockerfile"
        user.write(file, dockerfile)
        refused = user.run("confined-claude", "trust", cwd=project)
        digest = refused.stderr.rpartition("--hash ")[2].split()[0]
        assert user.run("confined-claude", "trust", "--hash", digest, cwd=project).returncode == 0
        done = user.run("confined-claude", "shell", "--", "cat", "/usr/share/secretpkg", cwd=project)
        assert done.stdout == "from a private repository\n", done.stderr
        # The control: what another key has signed is not installed.
        user.write(file, dockerfile.replace("base64 -d >/etc", "base64 -d | tail -c +9 >/etc"))
        refused = user.run("confined-claude", "trust", cwd=project)
        digest = refused.stderr.rpartition("--hash ")[2].split()[0]
        user.run("confined-claude", "trust", "--hash", digest, cwd=project)
        done = user.run("confined-claude", "shell", "--", "cat", "/usr/share/secretpkg", cwd=project)
        assert done.returncode == 3, done.stderr
