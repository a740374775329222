"""Attacks by variables and secrets that a session is given: on root, on the sign-in, and on the user's own files."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import Field
from helpers import API_KEY, Api, User, docker, own_name, up, wait_until

# A library, and a shell's start-up file, that leave the uid of each process which loads them.
LIBRARY = """
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
    FILE *file = fopen("PROJECT/loaded", "a");
    if (file) { fprintf(file, "%d\\n", getuid()); fclose(file); }
}
"""


def own_config(field: Field, text: str) -> None:
    field.user.write(field.user.home / ".config/confined-claude/config.toml", text)


@pytest.mark.root  # so that the session can be another user's than root's
@pytest.mark.parametrize("name", ["LD_PRELOAD", "BASH_ENV"])
def test_no_program_of_roots_sees_a_variable_even_if_its_name_were_let_in(
    place: Path, make_user: Callable[..., User], name: str
) -> None:
    """The refusal is one half. The other: what is given is set after privileges are dropped."""
    someone = make_user(12345, 12345)
    # What a dry run prints names its container after the project.
    field = Field(someone, *(someone.folder(folder) for folder in (own_name(place), place / "outside")))
    field.user.write(field.project / "evil.c", field.text(LIBRARY))
    field.user.write(field.project / "evil.sh", field.text("id -u >>PROJECT/loaded\n"))
    built = field.session("cc -shared -fPIC -o evil.so evil.c")
    assert built.returncode == 0, built.stderr
    evil = field.project / ("evil.so" if name == "LD_PRELOAD" else "evil.sh")
    loaded = field.project / "loaded"
    loaded.touch(mode=0o666)
    loaded.chmod(0o666)
    field.user.write(field.project / ".confined-claude/config.toml", f'env = ["{name}={evil}"]')
    refused = field.user.run("confined-claude", "shell", "--", "true", cwd=field.project)
    assert refused.returncode == 2
    assert f"{name}=***: it changes what the session's own programs do" in " ".join(refused.stderr.split())
    for words in (("trust", "--hash", "0"), ("shell", "--env", f"{name}={evil}", "--", "true")):
        assert field.user.run("confined-claude", *words, cwd=field.project).returncode in (2, 4)
    (field.project / ".confined-claude/config.toml").unlink()
    # As if it were not refused: the commands of a dry run, with this variable in the file.
    words = ("shell", "--dry-run", "--env", "HARMLESS=1", "--network", "none", "--", "bash", "-c", "true")
    text = field.user.run("confined-claude", *words, cwd=field.project).stdout
    uid, gid = field.user.uid, field.user.gid
    entry = tarfile.TarInfo("run/confined-claude/variables")
    content = f"{name}={evil}\0".encode()
    entry.size, entry.mode, entry.gid = len(content), 0o440, gid
    place = field.user.folder(field.outside / "pasted")
    with tarfile.open(place / "secrets.tar", "w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    field.user.write(place / "script", text)
    by_hand = field.user.run("bash", "script", cwd=place)
    assert by_hand.returncode == 0, by_hand.stderr
    assert set(loaded.read_text().split()) == {str(uid)}, "the session's command has it, and nothing of root's"
    # The control: in the container's own environment root's programs load it.
    loaded.write_text("")
    docker(
        *("run", "--rm", "--network", "none", "--user", "0", "--volume", f"{field.project}:{field.project}"),
        *("--env", f"{name}={evil}", "--entrypoint", "/bin/bash", "confined-claude:latest", "-c", "true"),
    )
    assert "0" in loaded.read_text().split()


@pytest.mark.parametrize("name", ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "HTTPS_PROXY", "CLAUDE_CODE_USE_BEDROCK"])
def test_a_project_leads_no_sign_in_elsewhere_by_a_variable(field: Field, api: Api, name: str) -> None:
    config = field.user.write(
        field.project / ".confined-claude/config.toml", f'env = ["{name}=http://elsewhere.invalid"]'
    )
    done = field.user.run("confined-claude", "--", "-p", "hello", cwd=field.project)
    assert done.returncode == 2
    config.unlink()
    field.user.write(field.project / "some.env", f"{name}=http://elsewhere.invalid\n")
    trusted(field, 'env_file = ["some.env"]')
    done = field.user.run("confined-claude", "--", "-p", "hello", cwd=field.project)
    assert done.stdout == "FAKE ANSWER: hello\n", done.stderr
    assert api.headers("hello") == {"x-api-key": API_KEY}
    # The control: a variable by another name does arrive in that way.
    field.user.write(field.project / "some.env", "ELSEWHERE=http://elsewhere.invalid\n")
    assert field.session("echo $ELSEWHERE").stdout == "http://elsewhere.invalid\n"


def trusted(field: Field, config: str) -> None:
    """Have a project's config trusted, as its user does who has read what it asks for."""
    field.user.write(field.project / ".confined-claude/config.toml", config)
    shown = field.user.run("confined-claude", "trust", cwd=field.project)
    assert shown.returncode == 4
    digest = re.search(r"--hash (\w+)", shown.stderr)
    assert digest
    done = field.user.run("confined-claude", "trust", "--hash", digest[1], cwd=field.project)
    assert done.returncode == 0, done.stderr


def test_a_project_gets_no_secret_by_asking_and_none_that_the_user_has_not_defined(field: Field) -> None:
    own_config(field, '[secrets.TOKEN]\ncommand = "echo s3cret"\n')
    field.user.write(field.project / ".confined-claude/config.toml", 'secrets = ["TOKEN"]')
    done = field.session("echo $TOKEN")
    assert (done.returncode, "s3cret" in done.stdout + done.stderr) == (4, False)
    shown = field.user.run("confined-claude", "trust", cwd=field.project).stdout
    assert "secrets = 'TOKEN': sessions have these secrets, which your own config file defines" in shown
    own = f'[secrets.TOKEN]\ncommand = "touch {field.outside}/canary; echo s3cret"\n'
    field.user.write(field.project / ".confined-claude/config.toml", own)
    done = field.session("echo $TOKEN")
    assert done.returncode == 2
    assert "a project cannot define a secret" in " ".join(done.stderr.split())
    assert field.escaped() == []
    # The control: named and trusted it is there, and the user's own command does run.
    own_config(field, own)
    trusted(field, 'secrets = ["TOKEN"]')
    assert field.session("echo $TOKEN").stdout == "s3cret\n"
    assert field.escaped() == ["canary"]


def test_a_link_that_a_session_puts_in_place_of_a_trusted_file_is_not_read(field: Field) -> None:
    field.user.write(field.outside / "secret.env", "TOKEN=s3cret\n")
    field.user.write(field.project / "own.env", "TOKEN=fine\n")
    trusted(field, 'env_file = ["own.env"]')
    assert field.session(field.text("echo $TOKEN; ln -sf OUTSIDE/secret.env own.env")).stdout == "fine\n"
    done = field.user.run("confined-claude", "shell", "--", "sh", "-c", "echo $TOKEN", cwd=field.project)
    assert done.returncode == 2
    assert "behind a link" in " ".join(done.stderr.split())
    assert "s3cret" not in done.stdout + done.stderr
    # The control: the user's own config file may name that file, where no session can write.
    field.user.write(field.project / ".confined-claude/config.toml", "")
    (field.project / "own.env").unlink()
    own_config(field, f'env_file = ["{field.outside}/secret.env"]')
    assert field.session("echo $TOKEN").stdout == "s3cret\n"


def test_one_session_does_not_find_what_another_is_given(field: Field) -> None:
    own_config(field, '[secrets.TOKEN]\ncommand = "echo s3cret-$$"\nas_file = "~/token"\nas_variable = "TOKEN"\n')
    waiting = "touch ready; exec sleep 600"
    with field.user.running(
        "confined-claude", "shell", "--secrets", "TOKEN", "--", "sh", "-c", waiting, cwd=field.project
    ):
        wait_until((field.project / "ready").exists)
        (first,) = up(field.project)
        look = "grep -rlsa s3cret- /run /tmp /home/claude /etc /proc/[0-9]*/environ PROJECT | sort"
        other = field.user.folder(own_name(field.outside))
        for cwd in (field.project, other):
            done = field.user.run("confined-claude", "shell", "--", "sh", "-c", field.text(look), cwd=cwd)
            assert done.stdout == "", done.stderr
        # The control: in the first session the same search finds it.
        found = field.user.run("confined-claude", "exec", "--", "sh", "-c", field.text(look), cwd=field.project).stdout
        assert {"/home/claude/token", "/run/confined-claude/variables"} <= set(found.split()), first
