"""Numbers and lists for people."""

from collections.abc import Sequence


def file_size(count: int) -> str:
    """Bytes in the unit that reads best, powers of ten."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count / unit:.0f} {name}"
    return f"{max(1, round(count / 1000))} kB"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best, with two digits."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def counted(count: int, singular: str, plural: str = "") -> str:
    """A number with its noun: "1 seed", "3 seeds", "1,000 images".

    Args:
        count: how many.
        singular: the noun for one.
        plural: for more, where it is not the singular with an s.
    """
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def three_digits(value: float) -> str:
    """A number with three digits, or whole with commas from a hundred on: "0.0123", "4.56", "1,320"."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def first_few(names: Sequence[str], count: int = 3, separator: str = ", ") -> str:
    """A few of some names, and how many more there are."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return separator.join(names[:count]) + more
