"""The answer to every DNS query of a session with an allowlist: REFUSED.

Without an answer programs wait for long, and no name must leave the session.
"""

from __future__ import annotations

_HEADER_LENGTH = 12
_IS_RESPONSE = 0x8000
_FROM_QUERY = 0x7900  # opcode and "recursion desired"
_REFUSED = 5
_LONGEST_LABEL = 63


def refuse(query: bytes) -> tuple[bytes, str] | None:
    """Return the answer to a query, and the name it asks for; None for what is not a query of one question."""
    if len(query) < _HEADER_LENGTH or query[2] & 0x80 or query[4:6] != b"\0\1":
        return None
    labels, place = [], _HEADER_LENGTH
    while place < len(query) and (length := query[place]):
        if length > _LONGEST_LABEL:
            return None
        labels.append(query[place + 1 : place + 1 + length])
        place += 1 + length
    end = place + 5  # the root's empty label, type and class
    if end > len(query):
        return None
    flags = int.from_bytes(query[2:4], "big") & _FROM_QUERY | _IS_RESPONSE | _REFUSED
    answer = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + bytes(6) + query[_HEADER_LENGTH:end]
    return answer, b".".join(labels).decode("latin-1").lower()
