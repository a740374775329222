"""What goes into the images, and what is built on what."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.host import Host
from confined_claude.image import certificates, recipe
from confined_claude.image.recipe import Recipe, image_chain, shared
from confined_claude.settings import SPECS, Settings

CA = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n"
OTHER_CA = CA.replace("ZmFrZQ", "b3RoZXI")
CONTAINER = recipe.CONTEXT
FILES = sorted(shared("latest", ()).files)
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nRUN make it\n"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build context that a test may change."""
    copy = tmp_path / "container"
    shutil.copytree(CONTAINER, copy)
    monkeypatch.setattr(recipe, "CONTEXT", copy)
    return copy


def members(made: Recipe) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(made.context())) as archive:
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
    for name in ("__init__.py", "x.pyc", "__pycache__/x.pyc", "__pycache__/x.pyc.139832"):
        (context / name).write_bytes(os.urandom(8))
    assert shared("latest", ()) == before
    assert not [name for name in before.files if "__pycache__" in name or name.endswith(".pyc")]


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
    made = image_chain(Settings(claude_version="2.1.330"), {"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    assert made.recipes == (shared("2.1.330", (CA,)),)
    assert made.name == made.shared


# The context


def test_the_context_is_the_same_to_the_byte_each_time(context: Path) -> None:
    first = shared("latest", (CA, OTHER_CA)).context()
    for path in context.rglob("*"):
        os.utime(path, (1, 1))
    assert shared("latest", (CA, OTHER_CA)).context() == first


def test_the_context_holds_every_file_and_certificate() -> None:
    assert set(FILES) <= {path.relative_to(CONTAINER).as_posix() for path in CONTAINER.rglob("*")}
    assert {"Dockerfile", "init/entrypoint", "image/ca/README"} <= set(FILES)
    made = shared("latest", (CA, OTHER_CA))
    certificate_files = ["image/ca/host-0.crt", "image/ca/host-1.crt"]
    assert sorted(members(made)) == sorted([*FILES, *certificate_files])
    with tarfile.open(fileobj=io.BytesIO(made.context())) as archive:
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
    return [recipe.name for recipe in image_chain(settings, host.environ, dockerfile).recipes]


def test_each_layer_is_on_the_one_before_and_the_last_is_the_sessions(host: Host) -> None:
    made = image_chain(Settings(packages=("hello",)), host.environ, DOCKERFILE)
    bottom, packages, own = made.recipes
    assert (bottom.base, packages.base, own.base) == ("debian:bookworm-slim", bottom.name, packages.name)
    assert (made.shared, made.name) == (bottom.name, own.name)
    assert names(Settings(packages=("hello",)), host) == [bottom.name, packages.name]
    (_, alone) = image_chain(Settings(), host.environ, DOCKERFILE).recipes
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
    newer = names(settings._replace(claude_version="2.1.330"), host, DOCKERFILE)
    assert not set(made) & set(newer)
    assert names(settings, host, DOCKERFILE + "\n")[:2] == made[:2]
    assert names(settings, host, DOCKERFILE + "\n")[2] != made[2]


def test_the_packages_are_installed_as_in_the_shared_image(host: Host) -> None:
    text = dockerfile_of(image_chain(Settings(packages=("zlib1g", "g++")), host.environ).recipes[1])
    lines = text.splitlines()
    assert lines[:3] == ["ARG BASE", "FROM ${BASE}", "USER root"]
    assert " && apt-get install -y --no-install-recommends g++ zlib1g \\" in lines
    (clean_up,) = (line for line in lines if "apt-get clean" in line)
    ours = (CONTAINER / "Dockerfile").read_text().splitlines()
    assert {"RUN apt-get update \\", "ARG DEBIAN_FRONTEND=noninteractive", clean_up} <= {*ours} & {*lines}


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, DOCKERFILE.rstrip(), DOCKERFILE + "# end"])
def test_a_layer_ends_with_the_user_and_entrypoint_of_the_shared_image(dockerfile: str, host: Host) -> None:
    ours = (CONTAINER / "Dockerfile").read_text().splitlines()
    _, packages, own = image_chain(Settings(packages=("hello",)), host.environ, dockerfile).recipes
    assert dockerfile_of(own).startswith(f"{dockerfile}\n")
    for layer in (packages, own):
        ending = dockerfile_of(layer).splitlines()[-2:]
        assert ending == [line for line in ours if line.startswith(("USER", "ENTRYPOINT"))]


@given(packages=st.lists(st.from_regex(SPECS["packages"].pattern, fullmatch=True), min_size=1, max_size=5))
def test_packages_are_nothing_but_words_of_one_command(packages: list[str], host: Host) -> None:
    made = image_chain(Settings(packages=tuple(packages)), host.environ).recipes[1]
    (line,) = (line for line in dockerfile_of(made).splitlines() if "apt-get install" in line)
    assert line.split()[5:-1] == sorted(set(packages))
    assert len(dockerfile_of(made).splitlines()) == 10
