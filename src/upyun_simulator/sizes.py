"""How big objects are: a distribution, looked up by a hash of the key."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Final

from upyun_simulator.content import parse_bytes

_QUANTILES: Final = 4096


class Sizes:
    """A distribution of sizes in bytes, as a table of 4,096 quantiles: equal hashes give equal sizes."""

    def __init__(self, table: list[int]) -> None:
        self.table = tuple(table)
        self.mean = sum(table) / len(table)

    @property
    def fixed(self) -> bool:
        """Whether all objects have one size."""
        return self.table[0] == self.table[-1]

    def pick(self, digest: int) -> int:
        """Return the size for a 32-bit hash."""
        return self.table[(digest * 2654435761 & 0xFFFFFFFF) >> 20]


def parse_sizes(text: str) -> Sizes:
    """Read `20KiB`, `uniform:1KiB:64KiB` or `lognormal:33KiB[:0.8]` (the mean, and sigma of the logarithm)."""
    kind, _, rest = text.partition(":")
    if not rest:
        return Sizes([parse_bytes(text)] * _QUANTILES)
    makers: dict[str, Callable[[list[str]], Sizes]] = {"uniform": _uniform, "lognormal": _lognormal}
    if kind not in makers:
        msg = f"unknown distribution {kind!r} in {text!r}: use SIZE, uniform:LOW:HIGH or lognormal:MEAN:SIGMA"
        raise ValueError(msg)
    return makers[kind](rest.split(":"))


def _uniform(bounds: list[str]) -> Sizes:
    if len(bounds) != 2:
        msg = f"uniform needs two sizes, not {':'.join(bounds)!r}: uniform:LOW:HIGH"
        raise ValueError(msg)
    low, high = (parse_bytes(bound) for bound in bounds)
    if low > high:
        msg = f"uniform:{':'.join(bounds)}: the first size must not be above the second"
        raise ValueError(msg)
    return Sizes([low + (high - low) * step // (_QUANTILES - 1) for step in range(_QUANTILES)])


def _sigma(text: str) -> float:
    try:
        sigma = float(text)
    except ValueError:
        sigma = -1.0
    if not 0 < sigma <= 10:
        msg = f"sigma is {text!r}: it must be a number above 0, up to 10"
        raise ValueError(msg)
    return sigma


def _lognormal(arguments: list[str]) -> Sizes:
    mean = parse_bytes(arguments[0])
    sigma = _sigma(arguments[1]) if len(arguments) > 1 else 0.8
    normal = NormalDist(0, sigma)
    raw = [2.718281828459045 ** normal.inv_cdf((step + 0.5) / _QUANTILES) for step in range(_QUANTILES)]
    factor = mean * _QUANTILES / sum(raw)  # so that the mean is the one asked for, cut tails or not
    return Sizes([max(1, round(value * factor)) for value in raw])
