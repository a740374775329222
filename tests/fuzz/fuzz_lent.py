"""Coverage-guided fuzzing of what becomes of a request's head where something is lent.

    python tests/fuzz/fuzz_lent.py [libFuzzer options] [directory of a corpus]

Of every request that is passed on the very bytes are held against ``faithful``: the value is in the one header alone,
and only in a request that names the host. With FUZZ_CONTROL=host or FUZZ_CONTROL=anywhere in the environment there is
a vulnerability, which the fuzzer must find.
"""

from __future__ import annotations

import base64
import os
import sys

import atheris

with atheris.instrument_imports(include=["confined_claude.container", "h11"]):
    import h11

    from confined_claude.container.egress import lent as lending
    from confined_claude.container.egress.request import Refused, Target

TARGET = Target("api.example.com", 443)
PLACEHOLDER, VALUE = b"placeholder-0", b"the-real-value"
HOSTS = frozenset({(TARGET.host, TARGET.port)})
LENT = (
    lending.Lent(HOSTS, b"authorization", PLACEHOLDER, VALUE),
    lending.Lent(frozenset({("other.example.com", 443)}), b"x-api-key", PLACEHOLDER, VALUE),
)


def faithful(head: bytes, sent: bytes) -> bool:
    """Whether ``sent`` is one request for the host, with the value in its one header if at all."""
    request, *headers = sent.removesuffix(b"\r\n\r\n").split(b"\r\n")
    lines = [header.lower() for header in headers]
    own = [line for line in headers if line.lower().startswith(b"authorization:")]
    elsewhere = [line for line in (request, *headers) if line not in own]
    lines_given = head.lstrip(b"\r\n").lower().replace(b"\r", b"").partition(b"\n\n")[0]
    unfolded = lines_given.replace(b"\n ", b" ").replace(b"\n\t", b" ").split(b"\n")
    given = [line[5:].strip() for line in unfolded if line.startswith(b"host:")]
    return (
        request.split(b" ")[1].startswith(b"/")
        and [line for line in lines if line.startswith(b"host:")] == [b"host: api.example.com"]
        and len(given) == 1
        and given[0] in (b"api.example.com", b"api.example.com:443")
        and len(own) <= 1
        and not any(VALUE in line or VALUE in decoded(line) for line in elsewhere)
        and len([line for line in lines if line.startswith((b"content-length:", b"transfer-encoding:"))]) <= 1
        and not any(line.startswith((b"upgrade:", b"te:", b"proxy-", b"connection:")) for line in lines)
    )


def decoded(line: bytes) -> bytes:
    found = b""
    for word in line.split():
        try:
            found += base64.b64decode(word)
        except ValueError:
            continue
    return found


def test_one_input(head: bytes) -> None:
    if VALUE in head:
        return
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    try:
        connection.receive_data(head)
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return
        lending.check(TARGET, event)
        headers, is_used = lending.outgoing(TARGET, list(event.headers), LENT)
    except (h11.RemoteProtocolError, Refused):
        return
    passed_on = h11.Request(method=event.method, target=event.target, headers=headers)
    sent = h11.Connection(h11.CLIENT).send(passed_on) or b""
    if not faithful(head, sent):
        raise AssertionError(f"not passed on as it should be: {sent!r}")
    if is_used != (VALUE in sent or VALUE in decoded(sent)):
        raise AssertionError(f"the use of the value is not known: {sent!r}")


def break_the_lender(vulnerability: str) -> None:
    """Put in place of a strict rule the kind of slip that this fuzzer is there to find."""
    if vulnerability == "host":
        lending.check = lambda _target, _request: None
    elif vulnerability == "anywhere":
        strict = lending.outgoing

        def careless(target: Target, headers: object, lent: object) -> object:
            passed, is_used = strict(target, headers, lent)
            return [(name, text.replace(PLACEHOLDER, VALUE)) for name, text in passed], is_used

        lending.outgoing = careless


if __name__ == "__main__":
    break_the_lender(os.environ.get("FUZZ_CONTROL", ""))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
