"""What goes into the images, what is built on what, and what a user sees and keeps of a build."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.console import plain
from confined_claude.errors import EngineError
from confined_claude.host import Host
from confined_claude.image import build as image
from confined_claude.image import certificates
from confined_claude.image.build import Again, Recipe, shared, stack
from confined_claude.image.inventory import Image
from confined_claude.settings import SPECS, Settings

CA = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n"
OTHER_CA = CA.replace("ZmFrZQ", "b3RoZXI")
CONTAINER = image.CONTEXT
FILES = sorted(shared("latest", ()).files)
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nRUN make it\n"


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
    made = shared("latest", (CA,))
    assert made.name == shared("latest", (CA,)).name
    assert made.name == f"confined-claude:{made.fingerprint}"
    assert len(made.fingerprint) == 12
    assert set(made.fingerprint) <= set("0123456789abcdef")


def test_the_version_and_each_certificate_change_the_fingerprint() -> None:
    recipes = [
        shared("latest", ()),
        shared("2.1.330", ()),
        shared("latest", (CA,)),
        shared("latest", (OTHER_CA,)),
        shared("latest", (CA, OTHER_CA)),
        shared("latest", (CA + OTHER_CA,)),
    ]
    assert len({made.fingerprint for made in recipes}) == len(recipes)


@pytest.mark.parametrize("name", FILES)
def test_any_file_of_the_context_changes_the_fingerprint(name: str, context: Path) -> None:
    before = shared("latest", ()).fingerprint
    content = (context / name).read_bytes()
    (context / name).write_bytes(content + b"\n")
    assert shared("latest", ()).fingerprint != before
    (context / name).unlink()
    assert shared("latest", ()).fingerprint != before
    (context / name).write_bytes(content)
    assert shared("latest", ()).fingerprint == before


def test_what_makes_a_python_package_of_the_context_is_no_part_of_it(context: Path) -> None:
    before = shared("latest", ())
    (context / "__pycache__").mkdir(exist_ok=True)
    for name in ("__init__.py", "x.pyc", "image/ca/__init__.py", "__pycache__/x.pyc", "__pycache__/x.pyc.139832"):
        (context / name).write_bytes(os.urandom(8))
    assert shared("latest", ()) == before
    assert not [name for name in before.files if "__" in name or name.endswith(".pyc")]


def test_a_new_file_and_another_name_change_the_fingerprint(context: Path) -> None:
    before = shared("latest", ()).fingerprint
    (context / "bin/mkvenv").rename(context / "bin/mkvenv2")
    renamed = shared("latest", ()).fingerprint
    (context / "bin/mkvenv2").rename(context / "bin/mkvenv")
    (context / "new").touch()
    assert len({before, renamed, shared("latest", ()).fingerprint}) == 3


def test_content_moved_from_one_file_to_the_next_changes_the_fingerprint(context: Path) -> None:
    (context / "z1").write_bytes(b"one")
    (context / "z2").write_bytes(b"two")
    before = shared("latest", ()).fingerprint
    (context / "z1").write_bytes(b"onet")
    (context / "z2").write_bytes(b"wo")
    assert shared("latest", ()).fingerprint != before


def test_times_and_modes_of_the_files_do_not_matter(context: Path) -> None:
    before = shared("latest", ()).fingerprint
    for number, path in enumerate(sorted(context.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(0o700)
    assert shared("latest", ()).fingerprint == before


def test_the_shared_image_comes_from_the_settings_and_the_hosts_authorities(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "SYSTEM_BUNDLES", ())
    (tmp_path / "ca.pem").write_text(CA)
    made = stack(Settings(claude_version="2.1.330"), replace(host, environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}))
    assert made.recipes == (shared("2.1.330", (CA,)),)
    assert made.name == made.shared


# The context


def test_the_context_is_the_same_to_the_byte_each_time(context: Path) -> None:
    first = shared("latest", (CA, OTHER_CA)).context().read()
    for path in context.rglob("*"):
        os.utime(path, (1, 1))
    assert shared("latest", (CA, OTHER_CA)).context().read() == first


def test_the_context_holds_every_file_and_certificate() -> None:
    assert set(FILES) <= {path.relative_to(CONTAINER).as_posix() for path in CONTAINER.rglob("*")}
    assert {"Dockerfile", "init/entrypoint", "image/ca/README"} <= set(FILES)
    made = shared("latest", (CA, OTHER_CA))
    certificate_files = ["image/ca/host-0.crt", "image/ca/host-1.crt"]
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
    for name, member in members(shared("latest", (CA,))).items():
        path = CONTAINER / name
        script = path.exists() and path.read_bytes().startswith(b"#!")
        assert member.mode == (0o755 if script else 0o644), name


def test_nothing_of_the_builder_is_in_the_context() -> None:
    for member in members(shared("latest", (CA,))).values():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        assert member.isfile()


# The layers


def dockerfile_of(recipe: Recipe) -> str:
    assert list(recipe.files) == ["Dockerfile"]
    return recipe.files["Dockerfile"].decode()


def names(settings: Settings, host: Host, dockerfile: str = "") -> list[str]:
    return [recipe.name for recipe in stack(settings, host, dockerfile).recipes]


def test_each_layer_is_on_the_one_before_and_the_last_is_the_sessions(host: Host) -> None:
    made = stack(Settings(packages=("hello",)), host, DOCKERFILE)
    bottom, packages, own = made.recipes
    assert (bottom.base, packages.base, own.base) == ("debian:bookworm-slim", bottom.name, packages.name)
    assert (made.shared, made.name) == (bottom.name, own.name)
    assert names(Settings(packages=("hello",)), host) == [bottom.name, packages.name]
    (_, alone) = stack(Settings(), host, DOCKERFILE).recipes
    assert alone.base == bottom.name
    assert alone.name != own.name
    assert alone.files == own.files


def test_the_packages_are_a_set(host: Host) -> None:
    expected = names(Settings(packages=("a1", "b1")), host)
    assert names(Settings(packages=("b1", "a1", "b1")), host) == expected
    others = [("a1",), ("a1", "b1", "c1"), ("a1b1",), ()]
    assert len({names(Settings(packages=packages), host)[-1] for packages in [*others, ("a1", "b1")]}) == 5


def test_full_sudo_is_a_package(host: Host) -> None:
    assert names(Settings(sudo="full"), host) == names(Settings(packages=("sudo",)), host)
    assert names(Settings(sudo="full", packages=("sudo",)), host) == names(Settings(sudo="full"), host)
    assert len(names(Settings(sudo="off"), host)) == len(names(Settings(sudo="apt"), host)) == 1


def test_a_layer_changes_with_what_is_below_it_and_with_its_own(host: Host) -> None:
    settings = Settings(packages=("hello",))
    made = names(settings, host, DOCKERFILE)
    newer = names(replace(settings, claude_version="2.1.330"), host, DOCKERFILE)
    assert not set(made) & set(newer)
    assert names(settings, host, DOCKERFILE + "\n")[:2] == made[:2]
    assert names(settings, host, DOCKERFILE + "\n")[2] != made[2]


def test_the_packages_are_installed_as_in_the_shared_image(host: Host) -> None:
    text = dockerfile_of(stack(Settings(packages=("zlib1g", "g++")), host).recipes[1])
    lines = text.splitlines()
    assert lines[:3] == ["ARG BASE", "FROM ${BASE}", "USER root"]
    assert " && apt-get install -y --no-install-recommends g++ zlib1g \\" in lines
    (clean_up,) = (line for line in lines if "apt-get clean" in line)
    ours = (CONTAINER / "Dockerfile").read_text().splitlines()
    assert {"RUN apt-get update \\", "ARG DEBIAN_FRONTEND=noninteractive", clean_up} <= {*ours} & {*lines}


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, DOCKERFILE.rstrip(), DOCKERFILE + "# end"])
def test_a_layer_ends_with_the_user_and_entrypoint_of_the_shared_image(dockerfile: str, host: Host) -> None:
    ours = (CONTAINER / "Dockerfile").read_text().splitlines()
    _, packages, own = stack(Settings(packages=("hello",)), host, dockerfile).recipes
    assert dockerfile_of(own).startswith(f"{dockerfile}\n")
    for recipe in (packages, own):
        ending = dockerfile_of(recipe).splitlines()[-2:]
        assert ending == [line for line in ours if line.startswith(("USER", "ENTRYPOINT"))]


@given(packages=st.lists(st.from_regex(SPECS["packages"].pattern, fullmatch=True), min_size=1, max_size=5))
def test_packages_are_nothing_but_words_of_one_command(packages: list[str], host: Host) -> None:
    made = stack(Settings(packages=tuple(packages)), host).recipes[1]
    (line,) = (line for line in dockerfile_of(made).splitlines() if "apt-get install" in line)
    assert line.split()[5:-1] == sorted(set(packages))
    assert len(dockerfile_of(made).splitlines()) == 10


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
        image._follow(lines, log, "Building the image with hello.", f"Correct it. The log is {log_path}.")


def test_a_build_that_works_is_logged_and_told_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    follow(iter(LINES), tmp_path / "log")
    assert (tmp_path / "log").read_text() == "".join(LINES)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "confined-claude: Building the image with hello."
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
    assert error.hint == f"Correct it. The log is {tmp_path / 'log'}."
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
    # A layer's build often starts within the same second.
    logs = [image._open_log(host) for _ in range(2)]
    for path, log in logs:
        with log:
            log.write(path.name)
    path, last = (path for path, _ in logs)
    assert path.parent == folder
    assert path.read_text() == path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = [f"build-20200101-0000{number:02}-1.log" for number in range(4, 12)]
    assert sorted(os.listdir(folder)) == sorted([*kept, path.name, last.name, "other"])


def test_a_link_in_place_of_the_log_folder_is_refused(host: Host, tmp_path: Path) -> None:
    host.state.mkdir(parents=True)
    (host.state / "logs").symlink_to(tmp_path)
    with pytest.raises(Exception, match="is a link"):
        image._open_log(host)


# Which images are built


ON = "confined-claude.on"


class Builds:
    """An engine of memory: the images it has, by name, with what each is made on; and what was asked of it."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.all_labels: dict[str, dict[str, str]] = {}
        self.offline = False
        self.pulled: list[str] = []
        self.labels: dict[str, str] = {}
        self.made: list[str] = []
        self.fails: set[str] = set()

    def has_image(self, name: str) -> bool:
        return name in self.images

    def image_id(self, name: str) -> str | None:
        return self.images.get(name)

    def build(self, _context: IO[bytes], name: str, arguments: Mapping[str, str], **options: Any) -> Iterator[str]:
        assert arguments["BASE"] in self.images
        if name in self.fails:
            raise EngineError("It fails.")
        self.made.append(f"{name} fresh" if options["fresh"] else name)
        self.images[name] = str(len(self.made))
        self.labels[name] = "".join(f"{key}={value}" for key, value in options["marks"].items() if key == ON)
        self.all_labels[name] = dict(options["marks"])
        self.arguments = dict(arguments)
        yield "Step 1/1 : FROM x"

    def tag(self, name: str, repository: str, tag: str) -> None:
        self.images[f"{repository}:{tag}"] = self.images[name]

    def remove_names(self, _repository: str, label: str) -> None:
        for name in [name for name, its in self.labels.items() if its == label]:
            del self.images[name], self.labels[name]

    def image_labels(self, name: str) -> dict[str, str]:
        same = [other for other in self.images if self.images.get(other) == self.images.get(name)]
        return next((self.all_labels[other] for other in same if other in self.all_labels), {})

    def tool_images(self) -> list[Image]:
        return []

    def pull(self, name: str) -> None:
        if self.offline:
            raise EngineError(f"Cannot pull {name}: no such host.")
        self.pulled.append(name)
        self.images[name] = "base"


@pytest.fixture
def engine() -> Any:
    made = Builds()
    made.images["debian:bookworm-slim"] = "base"
    return made


def test_a_newer_base_is_fetched_only_if_it_is_wanted(engine: Any, host: Host) -> None:
    wanted = stack(Settings(), host)
    image.ensure(engine, wanted, host)
    image.ensure(engine, wanted, host, again=Again(everything=True))
    assert engine.pulled == []
    image.ensure(engine, wanted, host, again=Again(base=True))
    assert engine.pulled == ["debian:bookworm-slim"]
    assert engine.made == [wanted.shared, f"{wanted.shared} fresh", f"{wanted.shared} fresh"]


def test_another_base_is_fetched_if_missing_and_makes_another_image(engine: Any, host: Host) -> None:
    usual, other = (stack(settings, host) for settings in (Settings(), Settings(base="registry.example/debian:12")))
    assert usual.name != other.name
    image.ensure(engine, other, host)
    assert engine.pulled == [engine.arguments["BASE"]] == ["registry.example/debian:12"]


@pytest.mark.parametrize("newer", [False, True])
def test_a_base_that_cannot_be_had_names_the_setting_and_the_script(newer: bool, engine: Any, host: Host) -> None:
    engine.offline = True
    if not newer:
        engine.images.clear()
    with pytest.raises(EngineError, match="Cannot pull debian:bookworm-slim: no such host") as caught:
        image.ensure(engine, stack(Settings(), host), host, again=Again(base=newer))
    assert "setting `base`" in caught.value.hint
    assert "./install.sh" in caught.value.hint
    assert engine.made == []


def test_another_claude_is_asked_for_each_time_in_the_image_of_the_same_name(engine: Any, host: Host) -> None:
    wanted = stack(Settings(), host)
    image.ensure(engine, wanted, host)
    assert "CLAUDE_ASKED" not in engine.arguments
    asked = []
    for version in ("2.1.3", "latest", "latest"):
        image.ensure(engine, wanted, host, again=Again(claude=version))
        assert engine.arguments["CLAUDE_VERSION"] == version
        asked.append(engine.arguments["CLAUDE_ASKED"])
    assert len(set(asked)) == 3
    assert engine.made == [wanted.shared] * 4


def test_a_build_says_what_has_changed(
    engine: Any, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**options: str) -> str:
        image.ensure(engine, stack(Settings(**options), host), host)
        return capsys.readouterr().err.split("confined-claude: Building")[0].removeprefix("confined-claude: ").strip()

    assert said() == ""
    assert said(claude_version="2.1.3") == "The image is built again: the setting claude_version is another."
    context = tmp_path / "context"
    shutil.copytree(image.CONTEXT, context)
    monkeypatch.setattr(image, "CONTEXT", context)
    (context / "init/entrypoint").write_text("#!/bin/sh\n")
    (context / "new").write_text("x")
    assert said(claude_version="2.1.3") == "The image is built again: init/entrypoint, new have changed."
    monkeypatch.setattr(image, "extra_certificates", lambda _environ: ["authority"])
    assert (
        said(claude_version="2.1.3") == "The image is built again: this machine's certificate authorities have changed."
    )
    engine.images["other"] = "base"
    assert said(claude_version="2.1.3", base="other") == "The image is built again: the setting base is another."


def test_what_is_missing_is_built_from_the_bottom_and_once(
    engine: Any, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = stack(Settings(packages=("hello",)), host, DOCKERFILE)
    image.ensure(engine, wanted, host)
    assert engine.made == [recipe.name for recipe in wanted.recipes]
    assert engine.images["confined-claude:latest"] == engine.images[wanted.shared]
    said = capsys.readouterr().err
    titles = ["Building the image.", "Building the image with these packages: hello."]
    for title in [*titles, "Building the image with this project's Dockerfile."]:
        assert f"confined-claude: {title}\n" in said
    image.ensure(engine, wanted, host)
    assert len(engine.made) == 3
    assert capsys.readouterr().err == ""


def test_projects_that_ask_for_the_same_share_it(engine: Any, host: Host) -> None:
    image.ensure(engine, stack(Settings(packages=("a1", "b1")), host), host)
    image.ensure(engine, stack(Settings(packages=("b1", "a1")), host, DOCKERFILE), host)
    assert len(engine.made) == 3


@pytest.mark.parametrize("fresh", [True, False])
def test_a_new_shared_image_takes_the_layers_of_all_projects_along(fresh: bool, engine: Any, host: Host) -> None:
    others, ours = stack(Settings(packages=("a1",)), host), stack(Settings(packages=("b1",)), host, DOCKERFILE)
    older = stack(Settings(packages=("a1",), claude_version="2.1.330"), host)
    for wanted in (others, ours, older):
        image.ensure(engine, wanted, host)
    engine.made.clear()
    if not fresh:
        del engine.images[ours.shared]
    image.ensure(engine, ours, host, again=Again(everything=fresh))
    bottom, *layers = (recipe.name for recipe in ours.recipes)
    assert engine.made == [f"{bottom} fresh" if fresh else bottom, *layers]
    assert not engine.has_image(others.name)
    assert engine.has_image(older.name)


def test_a_shared_image_that_cannot_be_renewed_stays_with_its_layers(engine: Any, host: Host) -> None:
    wanted = stack(Settings(packages=("hello",)), host)
    image.ensure(engine, wanted, host)
    before = dict(engine.images)
    engine.fails = {wanted.shared}
    with pytest.raises(EngineError):
        image.ensure(engine, wanted, host, again=Again(everything=True))
    assert engine.images == before


@pytest.mark.parametrize(
    ("packages", "dockerfile", "cure"),
    [
        ((), "", ""),
        (("hello",), "", "correct the setting `packages`"),
        ((), DOCKERFILE, "Correct the project's Dockerfile"),
    ],
)
def test_a_layer_that_fails_names_its_cure_and_its_log(
    packages: tuple[str, ...], dockerfile: str, cure: str, engine: Any, host: Host
) -> None:
    wanted = stack(Settings(packages=packages), host, dockerfile)
    engine.fails = {wanted.name}
    with pytest.raises(EngineError, match="It fails") as caught:
        image.ensure(engine, wanted, host)
    assert cure in caught.value.hint
    log = Path(caught.value.hint.split("The whole log is in ")[1].removesuffix("."))
    assert "It fails" in log.read_text()
