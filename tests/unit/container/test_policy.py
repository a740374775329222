"""What the allowlist's proxy lets through: by name, by address, by the shape of a request; and what it records."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from confined_claude.container.egress import dns
from confined_claude.container.egress.blocked import Blocked
from confined_claude.container.egress.policy import Entry, Policy, Upstream
from confined_claude.container.egress.request import Refused, Target, end_to_end, outgoing_headers, parse_target

from .test_networks import CLOSED, OPEN

NOTHING: dict[str, Any] = {
    "allow": [],
    "named": [],
    "closed": [],
    "upstream": {"http": None, "https": None, "no_proxy": ""},
}


def policy(*allow: str, **others: Any) -> Policy:
    return Policy.parse(json.dumps(NOTHING | {"allow": allow} | others))


def outcome(given_policy: Policy, target: str, method: str = "CONNECT") -> int:
    """200 if the request would be served, or the status of its refusal."""
    try:
        given_policy.check(parse_target(method.encode(), target.encode("latin-1")))
    except Refused as refused:
        return refused.status
    return 200


POLICY = policy("api.example.com", "*.wild.example", "db.example:5432", "*.ports.example:8443")


@pytest.mark.parametrize(
    "target",
    [
        "api.example.com:443",
        "api.example.com:80",
        "API.Example.COM:443",
        "api.example.com.:443",
        "a.wild.example:443",
        "a.b.c.wild.example:80",
        "under_score.wild.example:443",
        "db.example:5432",
        "x.ports.example:8443",
    ],
)
def test_what_is_allowed_is_served(target: str) -> None:
    assert outcome(POLICY, target) == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("other.example:443", 403),
        ("evilapi.example.com:443", 403),
        ("api.example.com.evil.test:443", 403),
        ("api-example.com:443", 403),
        ("sub.api.example.com:443", 403),
        ("example.com:443", 403),
        ("api.example.com:22", 403),
        ("wild.example:443", 403),
        ("evilwild.example:443", 403),
        ("a.wild.example:8080", 403),
        ("db.example:443", 403),
        ("x.ports.example:443", 403),
        ("localhost:443", 403),
        ("host.docker.internal:443", 403),
        # Addresses in the usual notation are not allowed, in others not even understood.
        ("203.0.113.80:443", 403),
        ("[2001:db8::1]:443", 403),
        ("[::ffff:127.0.0.1]:443", 403),
        ("[fe80::1%eth0]:443", 403),
        ("2130706433:443", 400),
        ("0x7f000001:443", 400),
        ("0x7f.1:443", 400),
        ("0X7F.0.0.1:443", 400),
        ("127.1:443", 400),
        ("0177.0.0.1:443", 400),
        ("127.0.0.1.:443", 400),
        ("a.wild.example.0x:443", 400),
        # Not names.
        ("api.example.com..:443", 400),
        (".api.example.com:443", 400),
        ("a..wild.example:443", 400),
        (".wild.example:443", 400),
        (":443", 400),
        ("user@api.example.com:443", 400),
        ("api.example.com:443@evil.test:443", 400),
        ("evil.test#api.example.com:443", 400),
        ("evil.test/api.example.com:443", 400),
        ("evil.test\\.wild.example:443", 400),
        ("evil.test\0.wild.example:443", 400),
        ("evil.test%00.wild.example:443", 400),
        ("evil.test .wild.example:443", 400),
        ("evil.test\r\n.wild.example:443", 400),
        ("\xe9.wild.example:443", 400),
        ("*.wild.example:443", 400),
        (f"{'a' * 64}.wild.example:443", 400),
        (f"{'a.' * 130}wild.example:443", 400),
        # Not ports.
        ("api.example.com", 400),
        ("api.example.com:", 400),
        ("api.example.com:0", 400),
        ("api.example.com:65536", 400),
        ("api.example.com:443443", 400),
        ("api.example.com:+443", 400),
        ("api.example.com:-1", 400),
        ("api.example.com:44_3", 400),
        ("api.example.com:\xb2", 400),
        ("api.example.com:443/", 400),
        ("http://api.example.com:443", 400),
    ],
)
def test_everything_else_is_refused(target: str, status: int) -> None:
    assert outcome(POLICY, target) == status


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://api.example.com", Target("api.example.com", 80, "/")),
        ("http://api.example.com?q=1", Target("api.example.com", 80, "/?q=1")),
        (
            "HTTP://API.example.com.:80/a@b?c=http://evil.test/",
            Target("api.example.com", 80, "/a@b?c=http://evil.test/"),
        ),
        ("http://api.example.com:443/", Target("api.example.com", 443, "/")),
    ],
)
def test_a_plain_request_names_host_port_and_path(target: str, expected: Target) -> None:
    assert parse_target(b"GET", target.encode()) == expected


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "*",
        "",
        "api.example.com:80",
        "https://api.example.com/",
        "ftp://api.example.com/",
        "http:api.example.com",
        "http:///api.example.com",
        "http://",
        "http://user:word@api.example.com/",
        "http://evil.test@api.example.com/",
        "http://evil.test\\@api.example.com/",
        "http://evil.test#@api.example.com/",
        "http://api.example.com/#part",
        "http://api.example.com:80:80/",
        "http://api.example.com:/",
        "http://api.example.com/a b",
        "http://api.example.com/a\r\nHost: evil.test",
        "http://api.example.com\t/",
    ],
)
def test_other_forms_of_a_plain_request_are_not_understood(target: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_target(b"GET", target.encode())
    assert (refused.value.status, refused.value.reason) == (400, "malformed")


labels = st.text("abAB01-_x", min_size=1, max_size=3)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
hosts = names | st.text("ab.:@%/[]0 x*\0-", max_size=12)


def oracle(entries: list[str], host: str, port: int) -> bool:
    """Whether any of ``entries`` allows host and port; written label by label, unlike what it judges."""
    asked = host.lower().split(".")
    if asked[-1] == "":
        asked.pop()
    for entry in entries:
        name, _, only = entry.lower().partition(":")
        wanted = name.split(".")
        if port not in ([int(only)] if only else [80, 443]):
            continue
        if wanted[0] == "*":
            if len(asked) >= len(wanted) and asked[len(asked) - len(wanted) + 1 :] == wanted[1:]:
                return True
        elif asked == wanted:
            return True
    return False


entries = st.lists(
    st.builds(
        lambda star, name, port: f"{star}{name}{port}",
        st.sampled_from(["", "*."]),
        names.filter(lambda name: not name[-1].isdigit()),
        st.sampled_from(["", ":80", ":22"]),
    ),
    max_size=3,
)


@given(entries, hosts, st.sampled_from([22, 80, 443]))
def test_nothing_passes_that_no_entry_allows(allow: list[str], host: str, port: int) -> None:
    if outcome(policy(*allow), f"{host}:{port}") == 200:
        assert oracle(allow, host, port)


@given(entries, st.data())
def test_what_an_entry_allows_passes(allow: list[str], data: st.DataObject) -> None:
    assume(allow)
    entry = data.draw(st.sampled_from(allow))
    name, _, port = entry.partition(":")
    host = name.replace("*", data.draw(names)) + data.draw(st.sampled_from(["", "."]))
    assert outcome(policy(*allow), f"{host}:{port or 443}") == 200
    assert oracle(allow, host, int(port or 443))


@given(st.binary(max_size=60), st.sampled_from([b"CONNECT", b"GET"]))
def test_no_target_is_too_strange_to_be_refused(target: bytes, method: bytes) -> None:
    try:
        POLICY.check(parse_target(method, target))
    except Refused as refused:
        assert refused.status in (400, 403)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        ".",
        "*.*.example",
        "a.*",
        "203.0.113.80",
        "[::1]",
        "::1",
        "a:b",
        "a:0",
        "a:65536",
        "a:1:2",
        "a b",
        "http://a",
    ],
)
def test_a_bad_entry_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Entry.parse(text)


def test_a_refusal_says_what_was_asked_for_and_why() -> None:
    for port, reason in ((443, "name"), (22, "name")):
        with pytest.raises(Refused) as refused:
            POLICY.check(Target("other.example", port))
        assert (refused.value.host, refused.value.port, refused.value.reason) == ("other.example", port, reason)
    assert str(refused.value) == "other.example:22 is not in this session's allowlist. See: confined-claude blocked"
    with pytest.raises(Refused) as refused:
        POLICY.check(Target("api.example.com", 22))
    assert refused.value.reason == "port"


def test_only_addresses_outside_are_open() -> None:
    asked = Target("api.example.com", 443)
    assert [address for address in CLOSED if POLICY.is_open(asked, address)] == []
    assert [address for address in OPEN if not POLICY.is_open(asked, address)] == []


def test_the_hosts_own_addresses_are_closed() -> None:
    own = policy("api.example.com", closed=["203.0.113.80/32", "2001:db8:1::5/64"])
    asked = Target("api.example.com", 443)
    assert not own.is_open(asked, "203.0.113.80")
    assert not own.is_open(asked, "2001:db8:1::1")
    assert own.is_open(asked, "203.0.113.81")


def test_a_named_endpoint_may_be_anywhere_and_is_no_other() -> None:
    own = policy(named=[["LLM.corp.example.", 8787], ["10.0.0.5", 80], ["fd00::5", 8080], ["host.docker.internal", 99]])
    assert outcome(own, "llm.corp.example:8787") == 200
    assert outcome(own, "http://10.0.0.5/v1", "POST") == 200
    assert outcome(own, "[fd00::5]:8080") == 200
    assert outcome(own, "http://[FD00:0::5]:8080/", "GET") == 200
    assert own.is_open(Target("llm.corp.example", 8787), "10.0.0.1")
    assert not own.is_open(Target("llm.corp.example", 443), "10.0.0.1")
    for target in ("llm.corp.example:443", "x.llm.corp.example:8787", "10.0.0.5:81", "10.0.0.50:80", "[fd00::6]:8080"):
        assert outcome(own, target) == 403
    for target in ("10.5:80", "167772165:80", "010.0.0.5:80", "[10.0.0.5:80", "[10.0.0.5]:80", "[[fd00::5]]:8080"):
        assert outcome(own, target) == 400


def broken_configurations() -> Iterator[str]:
    yield from ("", "[]", "null", "{", "{}", "[" * 100_000)
    for key in NOTHING:
        yield json.dumps({name: value for name, value in NOTHING.items() if name != key})
    for key, value in {
        "allow": ["a b"],
        "named": ["a:1"],
        "closed": ["x"],
        "upstream": {"http": "socks5://secret@p:1", "https": None, "no_proxy": ""},
    }.items():
        yield json.dumps(NOTHING | {key: value})


@pytest.mark.parametrize("content", list(broken_configurations()), ids=lambda content: content[:70])
def test_a_broken_configuration_is_one_error(content: str) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        Policy.parse(content)
    assert "secret" not in str(error.value)


def test_the_images_registries_are_allowed_too() -> None:
    own = Policy.parse(json.dumps(NOTHING), ["pypi.test:8443"])
    assert outcome(own, "pypi.test:8443") == 200
    assert outcome(own, "pypi.test:443") == 403


ASKED = Target("api.example.com", 80, "/")


def test_only_what_is_end_to_end_is_passed_on_and_the_uri_says_which_host() -> None:
    given_headers = [
        (b"host", b"evil.test"),
        (b"accept", b"*/*"),
        (b"connection", b"X-Secret, Content-Length"),
        (b"x-secret", b"1"),
        (b"content-length", b"3"),
        (b"proxy-authorization", b"Basic eDp5"),
        (b"proxy-connection", b"keep-alive"),
        (b"upgrade", b"websocket"),
        (b"te", b"trailers"),
    ]
    assert outgoing_headers(ASKED, given_headers) == [
        (b"host", b"api.example.com"),
        (b"accept", b"*/*"),
        (b"content-length", b"3"),
        (b"connection", b"close"),
    ]
    assert outgoing_headers(Target("a", 8080, "/"), [])[0] == (b"host", b"a:8080")
    assert outgoing_headers(Target("fd00::5", 80, "/"), [])[0] == (b"host", b"[fd00::5]")


def test_a_body_has_one_end() -> None:
    chunked, counted = (b"transfer-encoding", b"chunked"), (b"content-length", b"5")
    assert chunked in outgoing_headers(ASKED, [chunked])
    for asked, headers in (
        (ASKED, [chunked, counted]),
        (Target("a", 443), [chunked]),
        (Target("a", 443), [counted]),
    ):
        with pytest.raises(Refused, match="no clear end"):
            outgoing_headers(asked, headers)
    assert end_to_end([chunked, counted]) == []


def test_a_companys_proxy_signs_in() -> None:
    found = Upstream.parse("http://user:p%40ss%3A@proxy.corp.example:3129")
    assert (found.host, found.port) == ("proxy.corp.example", 3129)
    assert found.headers() == [(b"proxy-authorization", b"Basic " + base64.b64encode(b"user:p@ss:"))]
    assert Upstream.parse("10.0.0.1:8080") == Upstream("10.0.0.1", 8080)
    assert Upstream.parse("http://proxy/").authority == "proxy:80"
    assert Upstream("a", 1).headers() == []


@pytest.mark.parametrize(
    "url", ["https://p:1", "socks5://secret:1", "http://", "http://u:secret/x@p:1", "http://[secret", "http://p:0x1"]
)
def test_another_kind_of_proxy_is_an_error_that_gives_nothing_away(url: str) -> None:
    with pytest.raises(ValueError, match="must be http://") as error:
        Upstream.parse(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "straight"),
    [
        ("", "a.corp", 443, False),
        ("corp", "a.corp", 443, True),
        (".corp", "a.corp", 443, True),
        ("*.corp", "a.corp", 443, True),
        ("x, CORP ,y", "a.corp", 443, True),
        ("corp", "evilcorp", 443, False),
        ("a.corp:443", "a.corp", 443, True),
        ("a.corp:444", "a.corp", 443, False),
        ("*", "a.corp", 443, True),
        (".", "a.corp", 443, False),
        (",,", "a.corp", 443, False),
        ("10.0.0.5", "10.0.0.5", 80, True),
        ("fd00::5", "fd00::5", 80, True),
        ("", "host.docker.internal", 8787, True),
    ],
)
def test_no_proxy_goes_straight(no_proxy: str, host: str, port: int, straight: bool) -> None:
    own = policy(upstream={"http": "http://h:1", "https": "http://s:2", "no_proxy": no_proxy})
    tunnel, plain = own.upstream(Target(host, port)), own.upstream(Target(host, port, "/"))
    assert (tunnel, plain) == ((None, None) if straight else (Upstream("s", 2), Upstream("h", 1)))


class Clock:
    def __init__(self) -> None:
        self.second = 0

    def __call__(self) -> datetime:
        self.second += 1
        return datetime(2026, 1, 2, 3, 4, self.second % 60, tzinfo=timezone.utc)


def test_what_is_refused_is_counted() -> None:
    blocked = Blocked(Clock())
    blocked.record("a.test", 443, "name")
    blocked.record("a.test", 22, "port")
    blocked.record("a.test", 443, "name")
    assert json.loads(blocked.as_json()) == {
        "version": 1,
        "blocked": [
            {
                "host": "a.test",
                "port": 443,
                "reason": "name",
                "first": "2026-01-02T03:04:01+00:00",
                "last": "2026-01-02T03:04:03+00:00",
                "count": 2,
            },
            {
                "host": "a.test",
                "port": 22,
                "reason": "port",
                "first": "2026-01-02T03:04:02+00:00",
                "last": "2026-01-02T03:04:02+00:00",
                "count": 1,
            },
        ],
        "others": 0,
    }


def test_the_record_is_bounded_and_printable() -> None:
    blocked = Blocked(Clock())
    for number in range(1003):
        blocked.record(f"\x1b[2J\xe9\n{number:04}{'x' * 300}", 443, "name")
    blocked.record("0", 0, "malformed")
    content = blocked.as_json()
    found = json.loads(content)
    assert (len(found["blocked"]), found["others"]) == (1000, 4)
    assert found["blocked"][7]["host"] == f"?[2J??0007{'x' * 300}"[:255]
    assert all(" " <= character <= "~" for character in content)
    assert len(content) < 1 << 20


def test_the_self_test_of_each_start_is_not_recorded() -> None:
    blocked = Blocked()
    blocked.record("self-test.confined-claude.invalid", 443, "name")
    assert not blocked.changed


def query(*labels: bytes, identifier: int = 0x1234, flags: int = 0x0100) -> bytes:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return identifier.to_bytes(2, "big") + flags.to_bytes(2, "big") + b"\0\1" + bytes(6) + name + b"\0\x1c\0\1"


def test_a_query_is_refused_with_its_own_question() -> None:
    asked = query(b"Secret", b"t", b"exfil")
    additional = b"\0\0\x29\x10\0\0\0\0\0\0\0"
    expected = b"\x12\x34\x81\x05\0\1\0\0\0\0\0\0" + asked[12:]
    assert dns.refuse(asked) == (expected, "secret.t.exfil")
    assert dns.refuse(asked[:10] + b"\0\1" + asked[12:] + additional) == (expected, "secret.t.exfil")
    assert dns.refuse(query()) == (b"\x12\x34\x81\x05\0\1\0\0\0\0\0\0" + query()[12:], "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 11,
        query(b"a", flags=0x8100),
        query(b"a")[:-1],
        query(b"a")[:14],
        query(b"a")[:12] + b"\xc0\x0c\0\1\0\1",
    ],
)
def test_what_is_no_query_gets_no_answer(data: bytes) -> None:
    assert dns.refuse(data) is None


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: query(b"a")[:12] + tail))
def test_no_datagram_is_too_strange(data: bytes) -> None:
    if found := dns.refuse(data):
        answer, _ = found
        assert len(answer) <= len(data)
        assert answer[:2] == data[:2]
        assert answer[3] == 5
        assert answer[12:] == data[12 : len(answer)]


def test_where_all_is_open_every_name_is_and_closed_addresses_stay_closed() -> None:
    opened = policy(opens_all=True)
    assert outcome(opened, "anything.example:4444") == 200
    assert not opened.is_open(Target("anything.example", 443), "10.0.0.1")
    assert opened.is_open(Target("anything.example", 443), "203.0.113.1")
    # The control, and what is not plainly true.
    for closed in (policy(), policy(opens_all="yes"), policy(opens_all=1)):
        assert outcome(closed, "anything.example:4444") == 403
