"""What goes into the image, and what a user sees and keeps of a build."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude import certificates, image
from confined_claude.console import plain
from confined_claude.errors import EngineError
from confined_claude.host import Host
from confined_claude.image import Recipe, recipe
from confined_claude.settings import Settings

CA = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n"
OTHER_CA = CA.replace("ZmFrZQ", "b3RoZXI")
CONTAINER = image.CONTEXT
FILES = sorted(path.relative_to(CONTAINER).as_posix() for path in CONTAINER.rglob("*") if path.is_file())


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build context that a test may change."""
    copy = tmp_path / "container"
    shutil.copytree(CONTAINER, copy)
    monkeypatch.setattr(image, "CONTEXT", copy)
    return copy


def members(made: Recipe) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=made.context()) as archive:
        return {member.name: member for member in archive.getmembers()}


# The fingerprint


def test_the_same_recipe_has_the_same_name() -> None:
    made = Recipe("latest", (CA,))
    assert made.name == Recipe("latest", (CA,)).name
    assert made.name == f"confined-claude:{made.fingerprint}"
    assert len(made.fingerprint) == 12
    assert set(made.fingerprint) <= set("0123456789abcdef")


def test_the_version_and_each_certificate_change_the_fingerprint() -> None:
    recipes = [
        Recipe("latest", ()),
        Recipe("2.1.330", ()),
        Recipe("latest", (CA,)),
        Recipe("latest", (OTHER_CA,)),
        Recipe("latest", (CA, OTHER_CA)),
        Recipe("latest", (CA + OTHER_CA,)),
    ]
    assert len({made.fingerprint for made in recipes}) == len(recipes)


@pytest.mark.parametrize("name", FILES)
def test_any_file_of_the_context_changes_the_fingerprint(name: str, context: Path) -> None:
    before = Recipe("latest", ()).fingerprint
    content = (context / name).read_bytes()
    (context / name).write_bytes(content + b"\n")
    assert Recipe("latest", ()).fingerprint != before
    (context / name).unlink()
    assert Recipe("latest", ()).fingerprint != before
    (context / name).write_bytes(content)
    assert Recipe("latest", ()).fingerprint == before


def test_a_new_file_and_another_name_change_the_fingerprint(context: Path) -> None:
    before = Recipe("latest", ()).fingerprint
    (context / "mkvenv").rename(context / "mkvenv2")
    renamed = Recipe("latest", ()).fingerprint
    (context / "mkvenv2").rename(context / "mkvenv")
    (context / "new").touch()
    assert len({before, renamed, Recipe("latest", ()).fingerprint}) == 3


def test_content_moved_from_one_file_to_the_next_changes_the_fingerprint(context: Path) -> None:
    (context / "z1").write_bytes(b"one")
    (context / "z2").write_bytes(b"two")
    before = Recipe("latest", ()).fingerprint
    (context / "z1").write_bytes(b"onet")
    (context / "z2").write_bytes(b"wo")
    assert Recipe("latest", ()).fingerprint != before


def test_times_and_modes_of_the_files_do_not_matter(context: Path) -> None:
    before = Recipe("latest", ()).fingerprint
    for number, path in enumerate(sorted(context.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(0o700)
    assert Recipe("latest", ()).fingerprint == before


def test_the_recipe_comes_from_the_settings_and_the_hosts_authorities(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "SYSTEM_BUNDLES", ())
    (tmp_path / "ca.pem").write_text(CA)
    made = recipe(
        Settings(claude_version="2.1.330"), replace(host, environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    )
    assert made == Recipe("2.1.330", (CA,))


# The context


def test_the_context_is_the_same_to_the_byte_each_time(context: Path) -> None:
    first = Recipe("latest", (CA, OTHER_CA)).context().read()
    for path in context.rglob("*"):
        os.utime(path, (1, 1))
    assert Recipe("latest", (CA, OTHER_CA)).context().read() == first


def test_the_context_holds_every_file_and_certificate() -> None:
    made = Recipe("latest", (CA, OTHER_CA))
    certificate_files = ["ca/host-0.crt", "ca/host-1.crt"]
    assert sorted(members(made)) == sorted([*FILES, *certificate_files])
    with tarfile.open(fileobj=made.context()) as archive:
        contents = {name: archive.extractfile(name) for name in [*FILES, *certificate_files]}
        for name in FILES:
            file = contents[name]
            assert file is not None
            assert file.read() == (CONTAINER / name).read_bytes()
        read = [file.read().decode() for name in certificate_files if (file := contents[name])]
    assert read == [CA, OTHER_CA]


def test_scripts_of_the_context_can_be_executed_and_nothing_else() -> None:
    for name, member in members(Recipe("latest", (CA,))).items():
        path = CONTAINER / name
        script = path.exists() and path.read_bytes().startswith(b"#!")
        assert member.mode == (0o755 if script else 0o644), name


def test_nothing_of_the_builder_is_in_the_context() -> None:
    for member in members(Recipe("latest", (CA,))).values():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        assert member.isfile()


# Following a build

LINES = [
    "Step 1/3 : FROM debian\n",
    " ---> 123\n",
    "fetched\n",
    "Step 2/3 : RUN make\n",
    " ---> Running in 456\n",
    "made\n",
]


def failing(lines: list[str], message: str = "The command 'make' returned a non-zero code: 2") -> Iterator[str]:
    yield from lines
    raise EngineError(message)


def follow(lines: Iterator[str], log_path: Path) -> None:
    with open(log_path, "w", encoding="utf-8", errors="replace") as log:
        image._follow(lines, log, log_path)


def test_a_build_that_works_is_logged_and_told_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow(iter(LINES), tmp_path / "log")
    assert (tmp_path / "log").read_text() == "".join(LINES)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "step 1/3: FROM debian" in shown.err
    assert "step 2/3: RUN make" in shown.err
    assert "The image is built" in shown.err


def test_a_build_that_fails_tells_step_reason_and_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError) as caught:
        follow(failing(LINES), tmp_path / "log")
    error = caught.value
    assert error.exit_code == 3
    assert "Step 2/3 : RUN make" in error.message
    assert "non-zero code: 2" in error.message
    assert "\n  made" in error.message
    assert " --->" not in error.message
    assert "fetched" not in error.message
    assert str(tmp_path / "log") in error.hint
    assert "non-zero code: 2" in (tmp_path / "log").read_text()
    assert "The image is built" not in capsys.readouterr().err


def test_the_last_twenty_lines_of_the_failing_step_are_told_and_all_are_logged(tmp_path: Path) -> None:
    lines = [
        "Step 1/2 : FROM debian\n",
        "early\n",
        "Step 2/2 : RUN make\n",
        *(f"line {number:03}\n" for number in range(50)),
    ]
    with pytest.raises(EngineError) as caught:
        follow(failing(lines), tmp_path / "log")
    told = [line.strip() for line in caught.value.message.splitlines() if line.startswith("  ")]
    assert told == [f"line {number:03}" for number in range(30, 50)]
    assert (tmp_path / "log").read_text().startswith("".join(lines))


def test_lines_that_come_together_or_empty_count_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        follow(failing(["Step 1/1 : RUN x\none\n\n  \ntwo\n", "\n", "three"]), tmp_path / "log")
    assert [line.strip() for line in caught.value.message.splitlines()[-3:]] == ["one", "two", "three"]


def test_a_build_that_fails_at_once_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="failed at the start") as caught:
        follow(failing([], "No such image"), tmp_path / "log")
    assert "No such image" in caught.value.message


def test_a_builds_output_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["Step 1/1 : RUN \x1b[2Jx\n", "\x1b]0;title\x07\x1b[31mred\x1b[0m\r\x9b2J[bold]kept[/bold]\n"]
    with pytest.raises(EngineError) as caught:
        follow(failing(lines), tmp_path / "log")
    for text in (caught.value.message, capsys.readouterr().err, (tmp_path / "log").read_text()):
        assert all(char.isprintable() or char == "\n" for char in text)
    assert "[bold]kept[/bold]" in caught.value.message
    assert "red" in caught.value.message


@given(st.text())
def test_plain_text_is_printable_and_keeps_its_lines(text: str) -> None:
    result = plain(text)
    assert all(char.isprintable() or char == "\n" for char in result)
    assert result.count("\n") == text.count("\n")


def test_colours_go_without_a_trace() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \x1b[2K\x1b[?25lshown") == "red shown"


@given(st.text(st.characters(categories=["L", "N", "P"])))
def test_plain_text_without_escapes_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


# The logs


def test_a_log_is_private_and_the_newest_ten_are_kept(host: Host) -> None:
    folder = host.state / "logs"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"build-20200101-0000{number:02}-1.log").write_text("old")
    (folder / "other").write_text("mine")
    path, log = image._open_log(host)
    with log:
        log.write("new")
    assert path.parent == folder
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = [f"build-20200101-0000{number:02}-1.log" for number in range(3, 12)]
    assert sorted(os.listdir(folder)) == sorted([*kept, path.name, "other"])


def test_a_link_in_place_of_the_log_folder_is_refused(host: Host, tmp_path: Path) -> None:
    host.state.mkdir(parents=True)
    (host.state / "logs").symlink_to(tmp_path)
    with pytest.raises(Exception, match="is a link"):
        image._open_log(host)
