"""How big objects are: a distribution, looked up by a hash of the key; and how amounts of bytes are written."""

import sys
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

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


def parse_bytes(text: str) -> int:
    """Read an amount of bytes such as `4096`, `20KiB`, `1.5MiB`, `1GB`."""
    units = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
    units |= {f"{unit}i": 1024 ** (power + 1) for power, unit in enumerate("kmgt")}
    plain = text.strip().lower().removesuffix("b")
    number = plain.rstrip("kmgti")
    try:
        amount = float(number) * units[plain[len(number) :]]
    except (KeyError, ValueError):
        msg = f"{text!r} is not an amount of bytes: write such as 4096, 20KiB or 1GiB"
        raise ValueError(msg) from None
    if not 0 <= amount < sys.maxsize:
        msg = f"{text!r} is out of range: an amount of bytes is zero or more"
        raise ValueError(msg)
    return int(amount)


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
