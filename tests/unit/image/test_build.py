"""Which images are built and when, and what a user sees and keeps of a build."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from confined_claude.engine.image import Image
from confined_claude.errors import EngineError
from confined_claude.host import Host
from confined_claude.image import build, recipe
from confined_claude.image.build import RebuildOptions, ensure
from confined_claude.image.inventory import Inventory
from confined_claude.image.recipe import BASE, ImageChain, image_chain
from confined_claude.settings import Settings

DOCKERFILE = "ARG BASE\nFROM ${BASE}\nRUN make it\n"


def chain(host: Host, dockerfile: str = "", **options: Any) -> ImageChain:
    return image_chain(Settings(**options), host.environ, dockerfile)


# The logs


def test_a_log_is_private_and_the_newest_ten_are_kept(host: Host) -> None:
    folder = host.state / "logs"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"build-20200101-0000{number:02}-1.log").write_text("old")
    (folder / "other").write_text("mine")
    # A layer's build often starts within the same second.
    logs = [build._open_log(host) for _ in range(2)]
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
        build._open_log(host)


# Which images are built


class Builds:
    """An engine of memory: the images it has, as ids by name, with their labels; and what was asked of it."""

    def __init__(self) -> None:
        self.ids = {BASE: "base"}
        self.labels: dict[str, dict[str, str]] = {"base": {}}
        self.offline = False
        self.pulled: list[str] = []
        self.made: list[str] = []
        self.fails: set[str] = set()
        self.reason = "It fails."

    def image(self, name: str) -> Image | None:
        identity = self.ids.get(name, name)
        if identity not in self.labels:
            return None
        names = tuple(name for name, its in self.ids.items() if its == identity)
        return Image(identity, names, self.labels[identity], 0.0, (), is_used=False)

    def tool_images(self, is_wanted: Callable[[str, Sequence[str]], bool] = lambda _id, _names: True) -> list[Image]:
        found = [image for identity in self.labels if identity != "base" and (image := self.image(identity))]
        return [image for image in found if is_wanted(image.id, image.names)]

    def remove_image(self, name: str, **_options: bool) -> None:
        self.ids.pop(name, None)
        self.labels.pop(name, None)

    def build(
        self,
        _context: bytes,
        name: str,
        arguments: Mapping[str, str],
        *,
        labels: Mapping[str, str],
        fresh: bool,
        host_network: bool,
        on_line: Callable[[str], None],
    ) -> int:
        assert arguments["BASE"] in self.ids
        self.arguments, self.host_network = dict(arguments), host_network
        on_line("Step 1/1 : FROM \x1b[2Jx")
        if name in self.fails:
            on_line(" ---> 0123456789ab")
            on_line("\x1b[31mred\x1b[0m\r\x9b2J[bold]kept[/bold]")
            on_line(self.reason)
            self.labels["0123456789ab"] = {}
            return 1
        self.made.append(f"{name} fresh" if fresh else name)
        self.ids[name] = str(len(self.made))
        self.labels[self.ids[name]] = dict(labels)
        return 0

    def tag(self, name: str, new: str) -> None:
        self.ids[new] = self.ids[name]

    def pull(self, name: str) -> None:
        if self.offline:
            raise EngineError(f"Cannot pull {name}: no such host.")
        self.pulled.append(name)
        self.ids[name] = "base"


@pytest.fixture
def engine() -> Any:
    return Builds()


def test_a_newer_base_is_fetched_only_if_it_is_wanted(engine: Any, host: Host) -> None:
    wanted = chain(host)
    ensure(engine, wanted, host)
    ensure(engine, wanted, host, RebuildOptions(everything=True))
    assert engine.pulled == []
    ensure(engine, wanted, host, RebuildOptions(base=True))
    assert engine.pulled == ["debian:bookworm-slim"]
    assert engine.made == [wanted.shared, f"{wanted.shared} fresh", f"{wanted.shared} fresh"]


def test_another_base_is_fetched_if_missing_and_makes_another_image(engine: Any, host: Host) -> None:
    usual, other = (chain(host, base=base) for base in (recipe.BASE, "registry.example/debian:12"))
    assert usual.name != other.name
    ensure(engine, other, host)
    assert engine.pulled == [engine.arguments["BASE"]] == ["registry.example/debian:12"]


@pytest.mark.parametrize("newer", [False, True])
def test_a_base_that_cannot_be_had_names_the_setting_and_the_script(newer: bool, engine: Any, host: Host) -> None:
    engine.offline = True
    if not newer:
        engine.ids.clear()
    with pytest.raises(EngineError, match="Cannot pull debian:bookworm-slim: no such host") as caught:
        ensure(engine, chain(host), host, RebuildOptions(base=newer))
    assert "setting `base`" in caught.value.hint
    assert "./install.sh" in caught.value.hint
    assert engine.made == []


def test_another_claude_is_asked_for_each_time_in_the_image_of_the_same_name(engine: Any, host: Host) -> None:
    wanted = chain(host)
    ensure(engine, wanted, host)
    assert "CLAUDE_ASKED" not in engine.arguments
    asked = []
    for version in ("2.1.3", "latest", "latest"):
        ensure(engine, wanted, host, RebuildOptions(claude=version))
        assert engine.arguments["CLAUDE_VERSION"] == version
        asked.append(engine.arguments["CLAUDE_ASKED"])
    assert len(set(asked)) == 3
    assert engine.made == [wanted.shared] * 4


def test_a_build_says_what_has_changed(
    engine: Any, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**options: Any) -> str:
        ensure(engine, chain(host, **options), host)
        return capsys.readouterr().err.split("confined-claude: Building")[0].removeprefix("confined-claude: ").strip()

    assert said() == ""
    assert said(claude_version="2.1.3") == "The image is built again: the setting claude_version has changed."
    context = tmp_path / "context"
    shutil.copytree(recipe.CONTEXT, context)
    monkeypatch.setattr(recipe, "CONTEXT", context)
    (context / "init/entrypoint").write_text("#!/bin/sh\n")
    (context / "new").write_text("x")
    assert said(claude_version="2.1.3") == "The image is built again: init/entrypoint, new have changed."
    monkeypatch.setattr(recipe, "extra_certificates", lambda _environ: ["authority"])
    assert (
        said(claude_version="2.1.3") == "The image is built again: your machine's certificate authorities have changed."
    )
    engine.ids["other"] = "base"
    assert said(claude_version="2.1.3", base="other") == "The image is built again: the setting base has changed."


def test_what_is_missing_is_built_from_the_bottom_and_once(
    engine: Any, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = chain(host, DOCKERFILE, packages=("hello",))
    ensure(engine, wanted, host)
    assert engine.made == [recipe.name for recipe in wanted.recipes]
    assert engine.ids["confined-claude:latest"] == engine.ids[wanted.shared]
    said = capsys.readouterr().err
    titles = ["Building the image.", "Building the image with these packages: hello."]
    for title in [*titles, "Building the image with this project's Dockerfile."]:
        assert f"confined-claude: {title}\n" in said
    ensure(engine, wanted, host)
    assert len(engine.made) == 3
    assert capsys.readouterr().err == ""


def test_the_latest_image_is_the_one_asked_for_last_built_or_there_already(engine: Any, host: Host) -> None:
    usual, other = chain(host), chain(host, claude_version="2.1.330")
    for wanted in (usual, other, usual):
        ensure(engine, wanted, host)
        assert engine.ids["confined-claude:latest"] == engine.ids[wanted.shared]
    assert engine.made == [usual.shared, other.shared]


def test_projects_that_ask_for_the_same_share_it(engine: Any, host: Host) -> None:
    ensure(engine, chain(host, packages=("a1", "b1")), host)
    ensure(engine, chain(host, DOCKERFILE, packages=("b1", "a1")), host)
    assert len(engine.made) == 3


@pytest.mark.parametrize("fresh", [True, False])
def test_a_new_shared_image_takes_the_layers_of_all_projects_along(fresh: bool, engine: Any, host: Host) -> None:
    others, ours = chain(host, packages=("a1",)), chain(host, DOCKERFILE, packages=("b1",))
    older = chain(host, packages=("a1",), claude_version="2.1.330")
    for wanted in (others, ours, older):
        ensure(engine, wanted, host)
    engine.made.clear()
    if not fresh:
        del engine.ids[ours.shared]
    ensure(engine, ours, host, RebuildOptions(everything=fresh))
    bottom, *layers = (recipe.name for recipe in ours.recipes)
    assert engine.made == [f"{bottom} fresh" if fresh else bottom, *layers]
    assert others.name not in engine.ids
    assert older.name in engine.ids


def test_a_shared_image_that_cannot_be_renewed_stays_with_its_layers(engine: Any, host: Host) -> None:
    wanted = chain(host, packages=("hello",))
    ensure(engine, wanted, host)
    before = dict(engine.ids)
    engine.fails = {wanted.shared}
    with pytest.raises(EngineError):
        ensure(engine, wanted, host, RebuildOptions(everything=True))
    assert engine.ids == before


@pytest.mark.parametrize(
    ("packages", "dockerfile", "cure"),
    [
        ((), "", ""),
        (("hello",), "", "correct the setting `packages`"),
        ((), DOCKERFILE, "Correct the project's Dockerfile"),
        ((), "", "If the network is at fault, start again once it works."),
    ],
)
def test_a_layer_that_fails_names_its_cure_and_its_log(
    packages: tuple[str, ...], dockerfile: str, cure: str, engine: Any, host: Host
) -> None:
    wanted = chain(host, dockerfile, packages=packages)
    engine.fails = {wanted.name}
    with pytest.raises(EngineError, match="It fails") as caught:
        ensure(engine, wanted, host)
    assert cure in caught.value.hint
    log = Path(caught.value.hint.split("The whole log is in ")[1].removesuffix("."))
    assert "It fails" in log.read_text()


@pytest.mark.parametrize(
    "reason",
    [
        "Error processing tar file(exit status 1): write /big: no space left on device",
        "dpkg: error: failed to write status record: No space left on device",
    ],
)
def test_a_full_disk_of_the_engine_is_told_whatever_the_layer(reason: str, engine: Any, host: Host) -> None:
    wanted = chain(host, packages=("hello",))
    engine.fails, engine.reason = {wanted.name}, reason
    with pytest.raises(EngineError, match="o space left on device") as caught:
        ensure(engine, wanted, host)
    assert caught.value.hint.startswith(
        "Free some disk space on the engine's disk and start again. The whole log is in "
    )
    assert host.state in Path(caught.value.hint.split("The whole log is in ")[1]).parents


def test_the_output_of_a_build_does_not_steer_the_terminal(
    engine: Any, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = chain(host)
    engine.fails = {wanted.name}
    with pytest.raises(EngineError, match="failed at step 1/1: FROM x") as caught:
        ensure(engine, wanted, host)
    (log,) = (host.state / "logs").iterdir()
    for text in (caught.value.message, capsys.readouterr().err, log.read_text()):
        assert all(char.isprintable() or char == "\n" for char in text)
    assert "red" in caught.value.message
    assert "[bold]kept[/bold]" in caught.value.message


def test_what_a_failed_build_leaves_is_known_as_built_here(engine: Any, host: Host) -> None:
    wanted = chain(host)
    engine.fails = {wanted.name}
    with pytest.raises(EngineError):
        ensure(engine, wanted, host)
    assert [image.id for image in Inventory(engine, host).own()] == ["0123456789ab"]


def test_a_proxy_on_loopback_needs_the_hosts_network(engine: Any, host: Host) -> None:
    for url, on_host in (("http://proxy.example:3128", False), ("http://127.0.0.1:3128", True)):
        proxied = host._replace(environ={"https_proxy": url})
        ensure(engine, chain(host), proxied, RebuildOptions(everything=True))
        assert (engine.arguments["https_proxy"], engine.host_network) == (url, on_host)
