"""What `hide` names is not to be read in a session, whatever that or an earlier one does about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from attacks import SECRET, Field
from helpers import PATIENCE, wait_until

HIDE = {"CONFINED_CLAUDE_HIDE": ".env,deploy/keys/"}
READ = "find . -name .git -prune -o -type f -print0 | xargs -0 cat; cat /proc/self/cwd/.env ~/workspace/app/.env"


@pytest.fixture
def field(repository: Field) -> Field:
    """A repository with secrets that git does not track."""
    repository.prepare(f"mkdir -p app deploy/keys; for f in .env app/.env deploy/keys/k; do echo {SECRET} >$f; done")
    return repository


def untouched(field: Field) -> list[str]:
    names = (".env", "app/.env", "deploy/keys/k")
    return [name for name in names if (field.project / name).read_text() != f"{SECRET}\n"]


def test_what_is_hidden_is_empty_and_stays_as_it_is(field: Field) -> None:
    assert SECRET in field.session(READ).stdout  # the control
    attack = """
        for f in .env app/.env deploy/keys/k; do
            echo evil >$f; rm -f $f; mv $f x; ln $f y; chmod 777 $f; cp $f z; cat x y z
        done
        rm -rf deploy/keys app; mv deploy/keys k2; ls deploy/keys; git add -f .env; git stash -u; git clean -fdx"""
    done = field.session(f"{READ}; {attack}; {READ}; true", **HIDE)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert untouched(field) == []


MOVES = """
    mkdir -p node_modules/x sub/.git .venv d; touch app/pyvenv.cfg
    mv app node_modules/x/; mv app sub/.git/; mv app d/; mv deploy d/deploy; mv deploy/keys node_modules/keys; mv app b
"""


def test_a_session_cannot_move_it_to_where_the_next_does_not_look(field: Field) -> None:
    field.session(MOVES, **HIDE)
    done = field.session(f"grep -raF {SECRET} . ; true", **HIDE)
    assert SECRET not in done.stdout
    assert untouched(field) == []
    field.unguarded(MOVES)  # the control: without a mount on the way
    assert (field.project / "node_modules/x/app/.env").exists()
    assert SECRET in field.session("cat node_modules/x/app/.env", **HIDE).stdout, "packages are not looked through"


def test_what_is_closed_to_the_start_is_not_opened_by_the_session(field: Field) -> None:
    """One that a session closes ends the next start, until someone accepts it; this one was closed before."""
    field.prepare("chmod 0111 app deploy")
    script = "chmod 755 app deploy; cat app/.env deploy/keys/k; true"
    done = field.session(script, **HIDE)
    assert (done.returncode, SECRET in done.stdout) == (0, False), done.stderr
    assert field.session(script).stdout.count(SECRET) == 2  # the control


def test_a_session_cannot_have_git_vouch_for_it(field: Field) -> None:
    """What git holds as it is may be read; whoever cannot read it knows other contents alone."""
    other = "$(git hash-object -w file)"
    script = f"git add -f .env; git commit -qm x; git update-index --add --cacheinfo 100644,{other},app/.env"
    field.session(script, **HIDE)
    done = field.session("cat .env app/.env; git show HEAD:.env", **HIDE)
    assert SECRET not in done.stdout
    field.prepare("git add -f .env")  # the control: so does who can
    done = field.session("cat .env", **HIDE)
    assert SECRET in done.stdout
    assert f"{field.project}/.env. Not hidden, because git has the same content" in done.stderr


def test_a_project_may_hide_and_mounts_are_hidden_in_too(field: Field) -> None:
    config = field.project / ".confined-claude/config.toml"
    field.user.folder(config.parent)
    config.write_text('hide = [".env"]\n')
    field.user.own(config)
    data: Path = field.user.folder(field.project.parent / "data")
    field.prepare(f"mkdir {data}/in; cp .env {data}; cp .env {data}/in")
    script = "cat .env app/.env; cat /data/.env /data/in/.env; touch /data/.env; true"
    for mode in ("ro", "rw"):
        done = field.session(script, "--mount", f"{data}:/data:{mode}")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (data / ".env").read_text() == f"{SECRET}\n"
    config.unlink()
    assert field.session(script, "--mount", f"{data}:/data").stdout.count(SECRET) == 4  # the control


def test_a_session_cannot_have_a_read_only_mount_passed_over(field: Field) -> None:
    """One that writes there may make a virtual environment of any directory, which its own project hides whole."""
    there = Field(field.user, field.user.folder(field.project.parent / "data"), field.outside)
    there.prepare(f"mkdir deep; echo {SECRET} >deep/.env; echo {SECRET} >open")
    done = there.session("touch deep/pyvenv.cfg; cat deep/.env", **HIDE)
    assert SECRET not in done.stdout
    done = field.session("cat /data/deep/.env; cat /data/open", "--mount", f"{there.project}:/data", **HIDE)
    assert done.stdout == f"{SECRET}\n", done.stderr  # the control is what is not hidden


def test_a_session_cannot_have_a_directory_passed_over_by_a_start_beside_it(field: Field) -> None:
    """It makes a virtual environment of one, and none, all the time: either is hidden, the whole or what is in it."""
    flips = "touch on; until [ -e go ]; do touch app/pyvenv.cfg; rm -f app/pyvenv.cfg; done"
    with field.user.running("confined-claude", "shell", "--", "sh", "-c", flips, cwd=field.project, **HIDE) as session:
        wait_until((field.project / "on").exists)
        shown = [field.session("cat app/.env; echo started", **HIDE).stdout for _ in range(12)]
        field.prepare("touch go")
        session.communicate(timeout=PATIENCE)
    assert set(shown) == {"started\n"}
    assert SECRET in field.unguarded("cat app/.env")  # the control


def test_a_path_is_hidden_behind_a_link_of_the_project(field: Field) -> None:
    field.prepare("mv deploy infra; ln -s infra deploy")
    script = "cat deploy/keys/k infra/keys/k; true"
    assert field.session(script, **HIDE).stdout == ""
    assert field.session(script).stdout.count(SECRET) == 2  # the control


def test_a_clone_cannot_empty_what_its_users_settings_of_claude_refuse(field: Field) -> None:
    field.user.write(field.project / ".claude/settings.local.json", '{"permissions": {"deny": ["WebFetch"]}}\n')
    field.user.write(field.project / ".confined-claude/config.toml", 'hide = [".claude", "*.json"]\n')
    field.user.write(field.project / ".claude/notes", f"{SECRET}\n")
    done = field.session("cat .claude/settings.local.json .claude/notes")
    assert "WebFetch" in done.stdout
    assert SECRET not in done.stdout  # the control: the rest of it is hidden
    assert f"{field.project}/.claude/settings.local.json. Not hidden, as" in done.stderr


def test_a_start_names_what_a_session_beside_it_sees(field: Field) -> None:
    words = ("confined-claude", "shell", "--", "sh", "-c", "touch on; until [ -e go ]; do sleep .1; done; cp .env copy")
    said = "Not hidden from a session that runs beside this one"
    with field.user.running(*words, cwd=field.project) as open_one:
        wait_until((field.project / "on").exists)
        done = field.session("touch go; until [ -s copy ]; do sleep .1; done; cat .env; cat copy", **HIDE)
        open_one.communicate(timeout=PATIENCE)
    assert done.stdout == f"{SECRET}\n", "the other one has shown it"
    assert f"{field.project}/.env" in done.stderr
    assert said in done.stderr
    field.prepare("rm -f on go copy")
    with field.user.running(*words, cwd=field.project, **HIDE) as hidden_too:  # the control
        wait_until((field.project / "on").exists)
        assert said not in field.session("touch go", **HIDE).stderr
        hidden_too.communicate(timeout=PATIENCE)


def test_the_first_start_counts_what_looks_like_a_secret_and_no_other(field: Field) -> None:
    first, second = (field.session("true").stderr for _ in range(2))
    assert (
        '2 files look like secrets that sessions can read: .env, app/.env. The setting hide = [".env*"] hides' in first
    )
    assert "secret" not in second


def test_a_dry_run_says_what_is_hidden_and_how(field: Field) -> None:
    words = ("confined-claude", "shell", "--dry-run", "--", "cat", ".env")
    shown = field.user.run(*words, cwd=field.project, **HIDE).stdout
    data = field.user.home / ".local/share/confined-claude/stand-ins"
    for path, kind in ((".env", "file"), ("app/.env", "file"), ("deploy/keys", "directory")):
        assert f'"source={data}/{kind}","target={field.project}/{path}","readonly"' in shown
    made = "".join(f"{line}\n" for line in shown.splitlines() if str(data) in line and "--mount" not in line)
    assert field.user.run("sh", "-ec", made, cwd=field.project).returncode == 0
    assert (data / "file").read_bytes() == b""
    assert list((data / "directory").iterdir()) == []
    assert SECRET not in field.session("cat .env", **HIDE).stdout
