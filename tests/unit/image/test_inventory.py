"""What images take, which of them can go, and whose they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.engine import labels
from confined_claude.host import Host
from confined_claude.image import inventory as kept_images
from confined_claude.image.inventory import Image, footprint, freed_by, layers_of, obsolete, unused


def image(name: str, *sizes: int, names: tuple[str, ...] | None = None, is_used: bool = False, **labels: str) -> Image:
    """Its layers are those of any other with the same sizes up to there."""
    digests = [str(sizes[: count + 1]) for count in range(len(sizes))]
    layers = layers_of(digests, [(size, False) for size in reversed(sizes)])
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


def test_layers_get_their_sizes_from_the_history() -> None:
    history = [(0, True), (7, False), (0, True), (0, False), (5, False)]
    assert layers_of(["a", "b", "c"], history) == (("a", 5), ("a\nb", 0), ("a\nb\nc", 7))


def test_a_step_that_made_an_empty_layer_may_say_it_made_none() -> None:
    assert [size for _, size in layers_of(["a", "b"], [(7, False), (0, False), (5, False)])] == [5, 7]


def test_what_cannot_be_matched_is_never_overstated_as_shared() -> None:
    unmatched = layers_of(["a", "b", "c"], [(7, False), (5, False)])
    assert [size for _, size in unmatched] == [0, 0, 12]
    assert layers_of([], []) == ()


def test_what_a_container_uses_is_not_unused() -> None:
    used = image("used", 1, is_used=True)
    assert unused([used, ONE, TWO], wanted=["two"]) == [ONE]


def test_obsolete_is_what_no_start_asks_for() -> None:
    now, before, nameless = image("now", 1, x="2"), image("before", 1, x="1"), image("nameless", 1, names=(), x="2")
    in_use, unmarked = image("in use", 1, x="1", is_used=True), image("unmarked", 1)
    assert obsolete([now, before, nameless, in_use, unmarked], label="x", value="2") == [before, nameless]


class Images:
    """An engine that has these images, and lets go of them."""

    def __init__(self, *images: Image) -> None:
        self.images = list(images)
        self.removed: list[str] = []

    def tool_images(self) -> list[Image]:
        return self.images

    def remove_image(self, name: str) -> None:
        self.removed.append(name)

    def file_in_image(self, identity: str, _path: str) -> bytes | None:
        self.removed.append(identity)
        return b'{"version": "2.1.9"}' if identity == "claude" else None


def test_only_what_was_built_here_is_ours_whatever_its_labels_say(host: Host) -> None:
    derived = image("somebodys", 1, 2, names=(), **{labels.OWNER: host.owner})
    engine: Any = Images(image("built", 1, names=()), derived)
    kept_images.prune(engine, host, "x", "1")
    assert engine.removed == []
    kept_images.note_built(host, "built")
    kept_images.note_built(host, "gone since")
    kept_images.prune(engine, host, "x", "1")
    assert engine.removed == ["built"]
    own, others = kept_images.own_and_others(engine, host)
    assert ([found.id for found in own], others) == (["built"], [derived])


def test_a_look_makes_nothing(host: Host) -> None:
    engine: Any = Images(image("somebodys", 1))
    own, others = kept_images.own_and_others(engine, host)
    assert (own, [found.id for found in others]) == ([], ["somebodys"])
    assert not host.state.exists()


def test_what_is_gone_is_forgotten(host: Host) -> None:
    engine: Any = Images(image("built", 1))
    kept_images.note_built(host, "built")
    kept_images.note_built(host, "gone since")
    kept_images.prune(engine, host, "x", "1")
    assert json.loads((host.state / "images.json").read_text()) == ["built"]


def test_what_is_on_top_goes_first_and_by_every_name() -> None:
    engine: Any = Images()
    kept_images.remove(engine, [image("below", 1, names=("a", "b")), image("above", 1, 2)])
    assert engine.removed == ["above", "a", "b"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"claude": 7}', "[" * 9999])
def test_a_version_is_looked_at_once_and_a_damaged_note_of_it_is_no_loss(content: str, host: Host) -> None:
    engine: Any = Images()
    host.state.mkdir(parents=True)
    (host.state / "versions.json").write_text(content)
    for _ in range(2):
        assert kept_images.claude_version(engine, "claude", host) == "2.1.9"
        assert kept_images.claude_version(engine, "none", host) == ""
    assert engine.removed == ["claude", "none"]


@pytest.mark.parametrize("content", ["{", "7", "[1]", "[" * 9999])
def test_without_a_readable_record_nothing_is_removed(content: str, host: Host) -> None:
    engine: Any = Images(image("built", 1, names=()))
    host.state.mkdir(parents=True)
    (host.state / "images.json").write_text(content)
    kept_images.prune(engine, host, "x", "1")
    assert engine.removed == []
