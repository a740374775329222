"""For every request: the value is in its one header at its one host, in the forms that there are, and nowhere else."""

from __future__ import annotations

import base64

import h11
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.container.egress.lent import Lent, check, outgoing
from confined_claude.container.egress.request import Refused, Target

PLACEHOLDER, VALUE = b"placeholder-0", b"the-real-value"
HOSTS = ("api.example", "other.example")
LENT = (
    Lent(frozenset({("api.example", 443)}), b"authorization", PLACEHOLDER, VALUE),
    Lent(frozenset({("other.example", 8443)}), b"x-api-key", PLACEHOLDER, VALUE),
)
BASIC = base64.b64encode(b"user:" + PLACEHOLDER)
WORDS = st.sampled_from(
    [
        *(PLACEHOLDER, b"Bearer " + PLACEHOLDER, b"token " + PLACEHOLDER, b"Basic " + BASIC, b"Bearer  " + PLACEHOLDER),
        *(PLACEHOLDER * 2, BASIC, b"x", b"Digest " + PLACEHOLDER, b"bearer x" + PLACEHOLDER, b"Basic x", b"Basic =="),
    ]
)
NAMES = st.sampled_from([b"authorization", b"x-api-key", b"cookie", b"x-other", b"connection", b"proxy-authorization"])
TARGETS = st.builds(Target, st.sampled_from(HOSTS), st.sampled_from([443, 8443, 80]))


def sent(target: Target, headers: list[tuple[bytes, bytes]], path: bytes = b"/") -> list[tuple[bytes, bytes]] | None:
    """The headers that reach ``target``; None if nothing does."""
    try:
        request = h11.Request(method="GET", target=path, headers=headers)
        check(target, request)
        found, is_used = outgoing(target, list(request.headers), LENT)
    except (Refused, h11.LocalProtocolError):
        return None
    assert is_used == any(VALUE in whole(text) for _, text in found)
    return found


def whole(text: bytes) -> bytes:
    """A header's text with what is encoded in it."""
    try:
        return text + base64.b64decode(text.rpartition(b" ")[2])
    except ValueError:
        return text


@given(TARGETS, st.sampled_from(HOSTS), st.lists(st.tuples(NAMES, WORDS), max_size=5))
def test_the_value_is_only_in_its_header_at_its_host(
    target: Target, host: str, headers: list[tuple[bytes, bytes]]
) -> None:
    found = sent(target, [(b"host", host.encode()), *headers], b"/" + PLACEHOLDER)
    if found is None:
        return
    assert host == target.host
    allowed = {("api.example", 443): b"authorization", ("other.example", 8443): b"x-api-key"}
    for name, text in found:
        if VALUE in whole(text):
            assert name == allowed[target.host, target.port]
    assert [text.partition(b":")[0] for name, text in found if name == b"host"] == [target.host.encode()]


@given(WORDS)
def test_it_is_there_exactly_where_the_placeholder_is_in_a_form_that_counts(word: bytes) -> None:
    found = sent(Target("api.example", 443), [(b"host", b"api.example"), (b"authorization", word)])
    assert found is not None
    forms = (
        PLACEHOLDER,
        b"Bearer " + PLACEHOLDER,
        b"token " + PLACEHOLDER,
        b"Basic " + BASIC,
        b"Bearer  " + PLACEHOLDER,
    )
    assert (VALUE in whole(dict(found)[b"authorization"])) is (word in forms)
