"""What a failing disk, a bad copy or somebody's editor make of a file: flipped bits, a lost end, pieces missing, zeroed or put in."""

from hypothesis import strategies as st

_PLACE = st.floats(0, 1, exclude_max=True)


def _flipped(data: bytes, place: float, bit: int) -> bytes:
    at = int(place * len(data))
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] if data else data


def _replaced(data: bytes, place: float, length: int, new: bytes) -> bytes:
    at = int(place * len(data))
    return data[:at] + new + data[at + length :]


def damages(data: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of damaged forms of a file's content."""
    return st.one_of(
        st.builds(_flipped, st.just(data), _PLACE, st.integers(0, 7)),
        st.builds(_flipped, st.builds(_flipped, st.just(data), _PLACE, st.integers(0, 7)), _PLACE, st.integers(0, 7)),
        st.builds(lambda place: data[: int(place * len(data))], _PLACE),
        st.builds(_replaced, st.just(data), _PLACE, st.sampled_from([0, 1, 64, 4096]), st.binary(max_size=64)),
        st.builds(_replaced, st.just(data), _PLACE, st.just(512), st.sampled_from([bytes(512), b"\xff" * 512])),
    )  # fmt: skip
