"""What a container without a terminal prints, as the engine sends it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

_HEADER = 8
# Of a frame: standard input (never sent), output and errors, and errors of the engine itself.
_TARGETS = {0: 1, 1: 1, 2: 2, 3: 2}


class Frames:
    """What a container without a terminal prints: frames, each for one of the two outputs.

    A frame is the number of the output, three zeros, the length in four bytes, and as many bytes as that says (the
    engine's API, "Attach to a container").
    """

    def __init__(self) -> None:
        self._header = b""
        self._target = 1
        self._left = 0

    def feed(self, received: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what ``received`` adds: a file descriptor, 1 or 2, and bytes for it. Raises ValueError for no frame."""
        while received:
            if self._left:
                piece, received = received[: self._left], received[self._left :]
                self._left -= len(piece)
                yield self._target, piece
                continue
            missing = _HEADER - len(self._header)
            self._header, received = self._header + received[:missing], received[missing:]
            if len(self._header) == _HEADER:
                header, self._header = self._header, b""
                if header[0] not in _TARGETS or header[1:4] != b"\0\0\0":
                    raise ValueError("not a frame")
                self._target, self._left = _TARGETS[header[0]], int.from_bytes(header[4:], "big")
