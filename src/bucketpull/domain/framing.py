"""Messages in a byte stream: a four-byte little-endian length in front of each. Pure."""

import struct

_LENGTH = struct.Struct("<I")


def frame(message: bytes) -> bytes:
    """Put the length in front of a message."""
    return _LENGTH.pack(len(message)) + message


class Frames:
    """Takes a stream in pieces of any size, and gives back whole messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was read; return the messages that are whole now."""
        rest = self._rest
        rest += data
        found: list[bytes] = []
        start = 0
        while len(rest) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(rest, start)[0]
            if end > len(rest):
                break
            found.append(bytes(memoryview(rest)[start + _LENGTH.size : end]))
            start = end
        if start:
            del rest[:start]
        return found
