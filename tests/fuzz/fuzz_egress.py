"""Coverage-guided fuzzing of what the allowlist's proxy makes of a request's head.

    python tests/fuzz/fuzz_egress.py [libFuzzer options] [directory of a corpus]

Every request that is let through, and what is sent on for it, is held against ``permitted`` and
``faithful``, which read the same bytes in another way than the proxy does. With FUZZ_CONTROL=suffix
or FUZZ_CONTROL=host in the environment the proxy has a vulnerability, which the fuzzer must find.
"""

from __future__ import annotations

import json
import os
import sys

import atheris

with atheris.instrument_imports(include=["confined_claude.container", "h11"]):
    import h11

    from confined_claude.container.egress import request as requests
    from confined_claude.container.egress.policy import Entry, Policy

LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.")
POLICY = Policy.parse(
    json.dumps(
        {
            "allow": ["api.example.com", "*.wild.example:8443"],
            "named": [["10.0.0.5", 8787]],
            "closed": [],
            "upstream": {"http": None, "https": None, "no_proxy": ""},
        }
    )
)


def authority(head: bytes) -> tuple[bytes, bytes]:
    """The method, and what stands where a request line has its authority, whatever that is."""
    method, target, _ = head.lstrip(b"\r\n").split(b"\n", 1)[0].split(b" ")
    if method == b"CONNECT":
        return method, target
    scheme, _, rest = target.partition(b"://")
    if scheme.lower() != b"http":
        return method, b""
    return method, rest.split(b"/", 1)[0].split(b"?", 1)[0]


def permitted(head: bytes) -> bool:
    """Whether a request with this head may reach anybody."""
    method, place = authority(head)
    host, colon, port = place.lower().rpartition(b":")
    if not colon:
        if method == b"CONNECT":
            return False
        host, port = place.lower(), b"80"
    if (host, port) == (b"10.0.0.5", b"8787"):
        return True
    if host[-1:] == b".":
        host = host[:-1]
    labels = host.split(b".")
    if b"" in labels or not LETTERS.issuperset(host):
        return False
    if int(port) == 8443:
        return len(labels) > 2 and labels[-2:] == [b"wild", b"example"]
    return int(port) in (80, 443) and labels == [b"api", b"example", b"com"]


def faithful(head: bytes, sent: bytes) -> bool:
    """Whether ``sent`` is one request, for the host of the request line alone, on a connection of its own."""
    request, *headers = sent.lower().removesuffix(b"\r\n\r\n").split(b"\r\n")
    names = [header.partition(b":")[0] for header in headers]
    return (
        request.split(b" ")[1].startswith(b"/")
        and not {b"\r", b"\n"} & {bytes([byte]) for line in (request, *headers) for byte in line}
        and [header for header in headers if header.startswith(b"host:")]
        == [b"host: " + usual(authority(head)[1].lower())]
        and [header for header in headers if header.startswith(b"connection:")] == [b"connection: close"]
        and not {b"proxy-authorization", b"proxy-connection", b"upgrade", b"te", b"keep-alive"} & set(names)
        and len({b"content-length", b"transfer-encoding"} & set(names)) <= 1
    )


def usual(place: bytes) -> bytes:
    """An authority as it is written usually: no dot at its end, no port that is 80, no zeros before a port."""
    host, colon, port = place.rpartition(b":")
    if not colon:
        host, port = place, b"80"
    host = host.removesuffix(b".")
    return host if int(port) == 80 else b"%s:%d" % (host, int(port))


def test_one_input(head: bytes) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    try:
        connection.receive_data(head)
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return
        asked = requests.parse_target(event.method, event.target)
        headers = requests.outgoing_headers(asked, list(event.headers))
        POLICY.check(asked)
    except (h11.RemoteProtocolError, requests.Refused):
        return
    if not permitted(head):
        raise AssertionError(f"let through: {asked}")
    if asked.path:
        passed_on = h11.Request(method=event.method, target=asked.path, headers=headers)
        if not faithful(head, h11.Connection(h11.CLIENT).send(passed_on) or b""):
            raise AssertionError(f"not sent on as it was asked for: {passed_on}")


def break_the_proxy(vulnerability: str) -> None:
    """Put in place of a strict rule the kind of slip that this fuzzer is there to find."""
    if vulnerability == "suffix":
        Entry.covers = lambda entry, name: name.endswith(entry.name)
    elif vulnerability == "host":
        strict = requests.outgoing_headers

        def careless(asked: requests.Target, headers: requests.Headers) -> list[tuple[bytes, bytes]]:
            given = [header for header in headers if header[0] == b"host"]
            return [*given, *strict(asked, headers)[1:]] if given else strict(asked, headers)

        requests.outgoing_headers = careless


if __name__ == "__main__":
    break_the_proxy(os.environ.get("FUZZ_CONTROL", ""))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
