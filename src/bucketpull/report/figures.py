"""Numbers for people: sizes in decimal units, as disks are sold, counts, speeds, shares and sums."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Write bytes with three digits: `999 B`, `33.0 kB`, `1.21 TB`."""
    value, unit = float(max(0.0, count)), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    return f"{value:.{_digits(value)}f} {_UNITS[unit]}"


def count(number: float) -> str:
    """Write a whole number with separators: `300,000,000`."""
    return f"{round(number):,}"


def short(number: int) -> str:
    """Write a number of inodes in few columns: `950`, `12.3 M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if unit == 'k' else limit):.1f} {unit}"
    return str(number)


def money(amount: float) -> str:
    """Write a sum, whatever its currency: `1,234.50`; a small one with more digits, so that it is not nothing."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.4f}"


def speed(per_second: float) -> str:
    """Write objects a second: two digits below ten, else whole."""
    return f"{per_second:.1f}/s" if 0 < per_second < 9.95 else f"{per_second:,.0f}/s"


def percent(share: float) -> str:
    """Write a share, cut off and not rounded: 100 % is shown for nothing but all."""
    return f"{int(max(0.0, min(share, 1.0)) * 1000) / 10:.1f} %"


def _digits(value: float) -> int:
    if value < 9.995:
        return 2
    return 1 if value < 99.95 else 0
