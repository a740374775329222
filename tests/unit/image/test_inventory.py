"""What images take, which of them can go, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.engine import labels
from confined_claude.engine.image import Image, chains_of
from confined_claude.errors import ConfinedError
from confined_claude.host import Host
from confined_claude.image.inventory import Inventory, footprint, freed_by, is_prune_pending, obsolete, unused
from confined_claude.image.recipe import FILES_LABEL, SHARED_IMAGE_LABEL, shared
from confined_claude.state.store import state_of


def image(name: str, *sizes: int, names: tuple[str, ...] | None = None, is_used: bool = False, **labels: str) -> Image:
    """Its layers are those of any other with the same sizes up to there."""
    layers = tuple(zip(chains_of([str(size) for size in sizes]), sizes, strict=True))
    return Image(name, (name,) if names is None else names, labels, 0.0, layers, is_used)


BASE, ONE, TWO = image("base", 100, 20), image("one", 100, 20, 3), image("two", 100, 20, 4)


def test_what_images_share_is_counted_once() -> None:
    assert footprint([]) == 0
    assert footprint([ONE, TWO]) == 127
    assert footprint([BASE, ONE, TWO]) == 127
    assert ONE.size == 123


def test_what_is_freed_is_what_no_other_has() -> None:
    assert freed_by([ONE], [BASE, ONE, TWO]) == 3
    assert freed_by([BASE], [BASE, ONE, TWO]) == 0
    assert freed_by([BASE, ONE, TWO], [BASE, ONE, TWO]) == 127
    assert freed_by([], [ONE]) == 0


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6), st.integers(0, 6))
def test_freed_and_left_are_the_footprint(stacks: list[list[int]], cut: int) -> None:
    images = [image(str(number), *sizes) for number, sizes in enumerate(stacks)]
    assert freed_by(images[:cut], images) + footprint(images[cut:]) == footprint(images)


def test_what_a_container_uses_is_not_unused() -> None:
    used = image("used", 1, is_used=True)
    assert unused([used, ONE, TWO], wanted=["two"]) == [ONE]


def of(files_hash: str, name: str, *, names: tuple[str, ...] | None = None, is_used: bool = False) -> Image:
    return image(name, 1, names=names, is_used=is_used, **{FILES_LABEL: files_hash})


def test_obsolete_is_what_no_start_asks_for() -> None:
    now, before, nameless = of("2", "now"), of("1", "before"), of("2", "nameless", names=())
    in_use, unmarked = of("1", "in use", is_used=True), image("unmarked", 1)
    assert obsolete([now, before, nameless, in_use, unmarked], "2") == [before, nameless]


class Images:
    """An engine that has these images, and lets go of them."""

    def __init__(self, *images: Image) -> None:
        self.images = list(images)
        self.removed: list[str] = []

    def tool_images(self, is_wanted: Callable[[str, Sequence[str]], bool]) -> list[Image]:
        return [image for image in self.images if is_wanted(image.id, image.names)]

    def layers_beside(self, _images: list[Image]) -> set[str]:
        return set()

    def remove_image(self, name: str) -> None:
        self.removed.append(name)

    def file_in_image(self, identity: str, _path: str) -> bytes | None:
        self.removed.append(identity)
        return b'{"version": "2.1.9"}' if identity == "claude" else None


@pytest.fixture
def engine() -> Images:
    return Images()


@pytest.fixture
def inventory(engine: Any, host: Host) -> Inventory:
    return Inventory(engine, host)


def test_only_what_was_built_here_is_ours_whatever_its_labels_say(
    engine: Images, inventory: Inventory, host: Host
) -> None:
    derived = image("somebodys", 1, 2, names=("confined-claude:x",), **{labels.OWNER: host.owner})
    engine.images = [image("built", 1, names=()), derived]
    inventory.prune()
    assert engine.removed == []
    inventory.note_built("built")
    inventory.note_built("gone since")
    found = inventory.look()
    assert ([own.id for own in found.images], found.others) == (["built"], (derived,))
    inventory.prune()
    assert engine.removed == ["built"]


def test_a_look_makes_nothing(engine: Images, inventory: Inventory, host: Host) -> None:
    engine.images = [image("somebodys", 1, names=("confined-claude:x",))]
    found = inventory.look()
    assert (found.images, [other.id for other in found.others]) == ((), ["somebodys"])
    assert not host.state.exists()


def test_the_latest_image_and_what_is_on_it_are_needed_without_a_container(
    engine: Images, inventory: Inventory
) -> None:
    latest = image("l", 100, names=("confined-claude:l", "confined-claude:latest"))
    above = image("a", 100, 20, names=("confined-claude:a",), **{SHARED_IMAGE_LABEL: "confined-claude:l"})
    older = image("o", 100, 7, names=("confined-claude:o",))
    in_use = image("u", 100, 9, names=("confined-claude:u",), is_used=True)
    engine.images = [older, latest, above, in_use]
    for its in engine.images:
        inventory.note_built(its.id)
    found = inventory.look()
    assert found.images == (above, latest, in_use, older)
    assert (found.removable, found.freed_bytes, found.bytes) == ((older,), 7, 136)
    assert [found.is_needed(its) for its in found.images] == [True, True, True, False]


def test_an_image_that_is_to_go_waits_for_the_container_that_uses_it(
    engine: Images, inventory: Inventory, host: Host
) -> None:
    engine.images = [of("of another version", "old", is_used=True), of(shared().files_hash, "new")]
    for its in engine.images:
        inventory.note_built(its.id)
    inventory.prune()
    assert (engine.removed, is_prune_pending(state_of(host))) == ([], True)
    engine.images[0] = engine.images[0]._replace(is_used=False)
    inventory.prune()
    assert engine.removed == ["old"]
    engine.images.pop(0)
    inventory.prune()
    assert not is_prune_pending(state_of(host))


def test_what_is_gone_is_forgotten(engine: Images, inventory: Inventory, host: Host) -> None:
    engine.images = [image("built", 1)]
    inventory.note_built("built")
    inventory.note_built("gone since")
    inventory.prune()
    assert json.loads((host.state / "images.json").read_text()) == ["built"]


def test_what_is_on_top_goes_first_and_by_every_name(engine: Images, inventory: Inventory) -> None:
    inventory.remove([image("below", 1, names=("a", "b")), image("above", 1, 2)])
    assert engine.removed == ["above", "a", "b"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"claude": 7}', "[" * 9999])
def test_a_version_is_looked_at_once_and_a_damaged_note_of_it_is_no_loss(
    content: str, engine: Images, host: Host
) -> None:
    host.state.mkdir(parents=True)
    (host.state / "versions.json").write_text(content)
    for _ in range(2):
        asked: Any = engine
        assert Inventory(asked, host).claude_version("claude") == "2.1.9"
        assert Inventory(asked, host).claude_version("none") == ""
    assert engine.removed == ["claude", "none"]


def test_once_the_time_is_up_versions_that_are_not_known_stay_so(engine: Images, inventory: Inventory) -> None:
    engine.images = [image(name, 1, names=(f"confined-claude:{name}",)) for name in ("claude", "other")]
    assert inventory.claude_version("claude") == "2.1.9"
    found = inventory.look(with_versions=True, until=0)
    assert {its.id: its.claude_version for its in found.others} == {"claude": "2.1.9", "other": ""}
    assert engine.removed == ["claude"]
    inventory.look(with_versions=True)
    assert engine.removed == ["claude", "other"]


@pytest.mark.parametrize("content", ["{", "7", "[1]", "[" * 9999])
def test_without_a_readable_record_nothing_is_removed(
    content: str, engine: Images, inventory: Inventory, host: Host
) -> None:
    engine.images = [image("built", 1, names=())]
    host.state.mkdir(parents=True)
    (host.state / "images.json").write_text(content)
    inventory.prune()
    assert engine.removed == []


def test_a_record_of_a_newer_version_is_refused_and_stays(engine: Images, inventory: Inventory, host: Host) -> None:
    engine.images = [image("built", 1, names=())]
    host.state.mkdir(parents=True)
    (host.state / "images.json").write_text('{"version": 2, "images": ["built"]}')
    with pytest.raises(ConfinedError, match=r"images.json is from a newer version"):
        inventory.note_built("built")
    inventory.prune()
    assert engine.removed == []
    assert (host.state / "images.json").read_text() == '{"version": 2, "images": ["built"]}'
