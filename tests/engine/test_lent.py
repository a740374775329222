"""Secrets that are lent, in real sessions: a host of the test's own, behind a proxy of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers import GITCONFIG, TEST_LABEL, User, contents, docker, sidecars_of, up, wait_until
from lending import HOST, NETWORKS, OTHER, VALUE, There, borrower, config, there
from registries import PASSWORD, TOKEN, USER, tarball, wheel

__all__ = ["borrower", "there"]


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
    # A server of the user's that names what is lent, and what is not.
    server = {"command": "true", "env": {"A": "${GH_SOURCE}", "B": "${GH_TOKEN:-x}", "C": "${HTTPS_PROXY}", "D": VALUE}}
    (user.home / ".claude.json").write_text(json.dumps({"mcpServers": {"one": server}}))
    user.own(user.home / ".claude.json")
    assert user.run("confined-claude", "setup", "--allow", "one", cwd=project).returncode == 0
    # Of all files that can be another session's than the image's, all processes and all variables.
    search = f"""
        half={VALUE[:20]}; rest={VALUE[20:]}
        curl -sS -o /dev/null -H "Authorization: Bearer $GH_TOKEN" https://{HOST}/echo/lent
        echo "$GH_TOKEN" >placeholder
        value() {{ printf %s "$half$rest"; }}  # in no process's words
        grep -rlsF -f <(value) /egress /etc /home /opt /root /run /srv /tmp /var >found
        cat /proc/*/environ /proc/*/cmdline 2>/dev/null | grep -acF -f <(value) >>found
        cat /proc/*/environ 2>/dev/null | grep -acF -f <(printf %s "$GH_TOKEN") >control
        grep -rlsF -f <(printf %s "$GH_TOKEN") /etc >carried
        touch ready; exec sleep 600
    """
    words = ("confined-claude", "shell", "--network", network, "--", "bash", "-c", search)
    with user.running(*words, cwd=project) as process:
        wait_until(lambda: (project / "ready").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        (name,), (sidecar,) = up(project), sidecars_of(project)
        assert (project / "found").read_text() == "0\n"
        assert int((project / "control").read_text()) > 0, "what is in the session is found in this way"
        assert (project / "carried").read_text().endswith("confined-claude-servers.json\n"), "the server is there"
        # The sidecar writes it down from time to time.
        wait_until(lambda: any("/echo/lent" in text for text in contents(user.home / ".local/state").values()))
        shown = {
            "session": docker("inspect", name),
            "sidecar": docker("inspect", sidecar),
            "processes": subprocess.run(["ps", "axww"], check=True, capture_output=True, text=True).stdout,
            "logs": docker("logs", name, check=False) + docker("logs", sidecar, check=False),
            "changes": docker("diff", sidecar),
            "config": user.run("confined-claude", "config", cwd=project).stdout,
            "status": user.run("confined-claude", "status", "--json", cwd=project).stdout,
            "dry run": user.run("confined-claude", "run", "--dry-run", "--network", network, cwd=project).stdout,
            **contents(user.home / ".local/share", user.home / ".local/state"),
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
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line for line in limits if line.startswith("Max core file size")).split()[4:6] == ["0", "0"]
        own = "try: print(open('/proc/1/environ').read(1))\nexcept PermissionError: print('refused')"
        assert docker("exec", sidecar, "python3", "-c", own) == "refused\n", "also to what has its uid, and to dumps"
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
        curl -sS -H "Authorization: $GH_TOKEN" https://{HOST}/echo/ >answer; touch asked; exec sleep 600
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
    assert f"A session with network = {network} cannot use lent secrets" in done.stderr
    assert "Choose network = " in done.stderr


def test_a_project_lends_nothing(borrower: tuple[User, Path]) -> None:
    user, project = borrower
    scaffold = user.folder(project / ".confined-claude")
    (scaffold / "config.toml").write_text('[secrets.X]\nvariable = "HOME"\nlend = {hosts = ["evil.test"]}\n')
    done = user.run("confined-claude", "shell", "--", "true", cwd=project)
    assert done.returncode == 2
    assert "a project cannot define a secret" in done.stderr


DNS = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("0.0.0.0", 53))
while True:
    query, asker = sock.recvfrom(1000)
    end = query.index(b"\\0", 12) + 5
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + bytes((203, 0, 113, 7))
    known = b"registry" in query and query[end - 4 : end - 2] == b"\\0\\1"
    head = query[:2] + (b"\\x81\\x80\\0\\1\\0\\1" if known else b"\\x81\\x83\\0\\1\\0\\0") + b"\\0" * 4
    sock.sendto(head + query[12:end] + answer * known, asker)
"""


def test_the_sidecar_asks_name_servers_although_its_hosts_file_has_the_loopback(there: There, place: Path) -> None:
    """In ``internet`` both have one file, which leads the session's programs to the sidecar."""
    name = f"{there.container}-dns"
    base = ("--label", TEST_LABEL, "--entrypoint", "python3", "confined-claude:latest")
    docker("run", "--detach", "--rm", "--name", name, "--user", "0", *base, "-c", DNS)
    try:
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        ask = "print(socket.gethostbyname(sys.argv[1]))"
        program = f"""
import socket, sys; sys.path.append("/opt/confined-claude")
from egress.lending import look_up_by_dns
{ask}; look_up_by_dns(); {ask}
"""
        for host, expected in ((HOST, ["127.1.0.1", "203.0.113.7"]), (OTHER, ["127.1.0.2", "127.1.0.2"])):
            hosts = ("--add-host", f"{HOST}:127.1.0.1", "--add-host", f"{OTHER}:127.1.0.2", "--dns", address)
            answer = docker("run", "--rm", *hosts, *base, "-c", program, host)
            assert answer.split() == expected
    finally:
        docker("rm", "--force", name, check=False)


TOOLS = f"""
[secrets.GH_ENTERPRISE_TOKEN]
variable = "TOKEN_SOURCE"
always = true
lend = {{hosts = ["{HOST}"]}}
[secrets.PIP_TOKEN]
variable = "PIP_SOURCE"
always = true
lend = {{hosts = ["{HOST}"]}}
"""


def cut(value: str) -> str:
    """A value for a session's shell, which gets a placeholder wherever the value is as it is."""
    return f"{value[:4]}''{value[4:]}"


@pytest.mark.parametrize("network", NETWORKS)
def test_git_pip_npm_and_gh_sign_in_with_the_placeholder(
    borrower: tuple[User, Path], there: There, network: str
) -> None:
    user, project = borrower
    (there.directory / "simple/secretpkg-1.0-py3-none-any.whl").write_bytes(wheel("secretpkg"))
    (there.directory / "npm/secretpkg-1.0.0.tgz").write_bytes(tarball("secretpkg"))
    script = "rm -rf git/x.git && git init -q --bare git/x.git && git -C git/x.git config http.receivepack true"
    subprocess.run(["sh", "-c", script], cwd=there.directory, check=True)
    (user.home / ".gitconfig").write_text(GITCONFIG)
    user.variables.update(TOKEN_SOURCE=TOKEN, PIP_SOURCE=PASSWORD)
    # `gh` as the docs say; what comes with it is built on top of the image.
    config(user, f'packages = ["gh"]\n{TOOLS}')
    (project / ".npmrc").write_text(
        f"registry=https://{HOST}/npm/\n//{HOST}/npm/:_authToken=${{GH_ENTERPRISE_TOKEN}}\n"
    )
    (project / "requirements.txt").write_text(f"--index-url https://{USER}:${{PIP_TOKEN}}@{HOST}/simple\nsecretpkg\n")
    script = f"""
        export GIT_TERMINAL_PROMPT=0 GH_HOST={HOST}
        case "$PIP_TOKEN$GH_ENTERPRISE_TOKEN" in *{cut(TOKEN)}*|*{cut(PASSWORD)}*) exit 9 ;; esac
        pip install -q --no-input -r requirements.txt && python3 -m secretpkg && echo pip works
        npm install --no-audit --no-fund secretpkg >/dev/null && node -p 'require("secretpkg")' && echo npm works
        git clone -q https://{HOST}/git/x.git && cd x && git commit -qm made --allow-empty &&
            git push -q origin HEAD:refs/heads/main && cd .. && git clone -q https://{HOST}/git/x.git again &&
            git -C again log --format=%s origin/main && echo git works
        gh api user --jq .authorization
        other='!f() {{ echo username=x; echo password=x; }}; f'
        git -c credential.https://{HOST}.helper= -c credential.helper="$other" \\
            ls-remote https://{HOST}/git/x.git 2>&1 | tail -n 1
    """
    done = user.run("confined-claude", "shell", "--network", network, "--", "bash", "-c", script, cwd=project)
    assert done.returncode == 0, done.stderr
    *works, gh, refused = done.stdout.splitlines()
    assert works == ["hello from a private package", "pip works", "from npm", "npm works", "made", "git works"], (
        done.stderr
    )
    assert gh == f"token {TOKEN}"
    assert "Authentication failed" in refused, "the control: without the placeholder the host refuses"


def test_git_says_which_secret_a_host_refuses(borrower: tuple[User, Path], there: There) -> None:
    user, project = borrower
    script = f"GIT_TERMINAL_PROMPT=0 git ls-remote https://{HOST}/git/x.git"
    done = user.run("confined-claude", "shell", "--network", "allowlist", "--", "sh", "-c", script, cwd=project)
    assert done.returncode
    assert f"confined-claude: {HOST} does not accept the secret GH_TOKEN, which you lend to it." in done.stderr
