"""What an image's layers take, by the history that each of the builders writes."""

from __future__ import annotations

import pytest

from confined_claude.engine.image import layers_of


def classic(size: int, *, made_none: bool = False) -> dict[str, object]:
    return {"Size": size, "CreatedBy": "/bin/sh -c #(nop)  ENV A=1" if made_none else "/bin/sh -c make", "Comment": ""}


def buildkit(size: int, instruction: str) -> dict[str, object]:
    return {"Size": size, "CreatedBy": instruction, "Comment": "buildkit.dockerfile.v0"}


CLASSIC = [classic(0, made_none=True), classic(7), classic(0, made_none=True), classic(0), classic(5)]
BUILDKIT = [
    *(buildkit(0, 'ENTRYPOINT ["/x"]'), buildkit(7, "COPY x /x # buildkit"), buildkit(0, "USER claude")),
    *(buildkit(0, "WORKDIR /home/claude"), buildkit(0, "ENV A=1"), classic(5)),
]


@pytest.mark.parametrize("history", [CLASSIC, BUILDKIT])
def test_layers_get_their_sizes_from_the_history(history: list[dict[str, object]]) -> None:
    assert layers_of(["a", "b", "c"], history) == (("a", 5), ("a\nb", 0), ("a\nb\nc", 7))


def test_a_step_that_made_an_empty_layer_may_say_it_made_none() -> None:
    history = [classic(7), classic(0), classic(5)]
    assert [size for _, size in layers_of(["a", "b"], history)] == [5, 7]


def test_what_cannot_be_matched_is_never_overstated_as_shared() -> None:
    unmatched = layers_of(["a", "b", "c"], [classic(7), classic(5)])
    assert [size for _, size in unmatched] == [0, 0, 12]
    assert layers_of([], []) == ()
