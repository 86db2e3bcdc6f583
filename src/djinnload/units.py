"""Quantities with units as people write them ⇄ plain numbers; pure.

``"10ms"`` is 10,000,000 ns, ``"20/s"`` is 20.0 Hz, ``"64MiB"`` is 67,108,864 bytes,
``"25Gbit/s"`` is 3.125e9 bytes a second, ``"5%"`` is 0.05. A bare number has no unit
and is refused, so that nobody has to guess one. The classes are plain ``int`` and
``float`` to whoever reads them; scenario files and plugin options name them as types.
"""

import math
import re
from fractions import Fraction
from typing import TypeVar

__all__ = (
    "MS",
    "SECOND",
    "US",
    "Bandwidth",
    "Duration",
    "Hz",
    "Share",
    "Size",
    "format_bytes",
    "format_ns",
    "parse",
)

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000

_TIME = {
    "ns": 1,
    "us": US,
    "µs": US,
    "μs": US,
    "ms": MS,
    "s": SECOND,
    "min": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": 86400 * SECOND,
}
_RATE = {
    "/s": Fraction(1),
    "/min": Fraction(1, 60),
    "/h": Fraction(1, 3600),
    "Hz": Fraction(1),
}
_SIZE = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BAND = {
    f"{p}{u}/s": Fraction(m, d)
    for p, m in {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}.items()
    for u, d in {"bit": 8, "B": 1}.items()
}
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


class Duration(int):
    """A time span in ns, ≥ 0; written ``"10ms"``."""

    __slots__ = ()


class Hz(float):
    """A rate in events a second, > 0; written ``"20/s"`` or ``"3/min"``."""

    __slots__ = ()


class Size(int):
    """A number of bytes, ≥ 0; written ``"64MiB"``."""

    __slots__ = ()


class Bandwidth(float):
    """Bytes a second, > 0; written ``"25Gbit/s"`` or ``"3GB/s"``."""

    __slots__ = ()


class Share(float):
    """A part of a whole, 0 to 1; written ``"5%"`` or ``0.05``."""

    __slots__ = ()


_UNITS: dict[type, dict[str, Fraction]] = {
    Duration: {k: Fraction(v) for k, v in _TIME.items()},
    Hz: _RATE,
    Size: {k: Fraction(v) for k, v in _SIZE.items()},
    Bandwidth: _BAND,
    Share: {"": Fraction(1), "%": Fraction(1, 100)},
}
_WHOLE: tuple[type, ...] = (Duration, Size)
_POSITIVE: tuple[type, ...] = (Hz, Bandwidth)
_AT_MOST_1: tuple[type, ...] = (Share,)
_EXAMPLE: dict[type, str] = {
    Duration: "10ms, 1.5s, 2min",
    Hz: "20/s, 3/min",
    Size: "64MiB, 1GB",
    Bandwidth: "25Gbit/s, 3GB/s",
    Share: "5%, 0.05",
}


Q = TypeVar("Q", Duration, Hz, Size, Bandwidth, Share)


def parse(kind: type[Q], value: object) -> Q:
    """Return *value* as a quantity of *kind*.

    Args:
        kind: One of the classes of this module.
        value: A string with a unit, or one of *kind* already; for Share also a number.

    Raises:
        ValueError: No unit, a unit of another kind, or out of the kind's range.
    """
    if isinstance(value, kind):
        return value
    number, unit = _split(kind, value)
    table = _UNITS[kind]
    if unit not in table:
        raise _refuse(kind, value)
    scaled = number * table[unit]
    low = scaled <= 0 if kind in _POSITIVE else scaled < 0
    if low:
        bound = "greater than 0" if kind in _POSITIVE else "not negative"
        raise ValueError(f"{value!r} must be {bound}")
    if kind in _AT_MOST_1 and scaled > 1:
        raise ValueError(f"{value!r} must be from 0 to 1, or from 0% to 100%")
    return kind(round(scaled) if kind in _WHOLE else float(scaled))


def _split(kind: type, value: object) -> tuple[Fraction, str]:
    if kind in _AT_MOST_1 and isinstance(value, int | float):
        if isinstance(value, bool) or not math.isfinite(value):
            raise _refuse(kind, value)
        return Fraction(value), ""
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise _refuse(kind, value)
    return Fraction(found[1]), found[2]


def _refuse(kind: type, value: object) -> ValueError:
    return ValueError(
        f"{value!r} is no {kind.__name__}, write it like {_EXAMPLE[kind]}"
    )


def format_ns(ns: float) -> str:
    """Return a time span for people: ``"12.3 ms"``; ``"n/a"`` for NaN."""
    if math.isnan(ns):
        return "n/a"
    if math.isinf(ns):
        return "inf"
    for unit, size in (("s", SECOND), ("ms", MS), ("µs", US)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def format_bytes(count: float) -> str:
    """Return a number of bytes for people: ``"12.3 MB"``; ``"n/a"`` for NaN."""
    if math.isnan(count) or math.isinf(count):
        return "n/a" if math.isnan(count) else "inf"
    for unit in ("TB", "GB", "MB", "kB"):
        if abs(count) >= _SIZE[unit]:
            return f"{count / _SIZE[unit]:.3g} {unit}"
    return f"{count:.3g} B"


def text(value: object) -> str:
    """Return a quantity as `parse` reads it, exactly: ``"1.5s"`` is ``"1500ms"``."""
    if isinstance(value, Duration):
        return _whole(value, _TIME, "ns")
    if isinstance(value, Size):
        return _whole(value, _SIZE, "B")
    if isinstance(value, Hz):
        return f"{float(value)!r}/s".replace(".0/s", "/s")
    if isinstance(value, Bandwidth):
        return f"{float(value)!r}B/s".replace(".0B/s", "B/s")
    return f"{float(value):.15g}" if isinstance(value, Share) else str(value)


def _whole(value: int, table: dict[str, int], least: str) -> str:
    """Return *value* in the largest unit that divides it."""
    fits = [(size, unit) for unit, size in table.items() if value % size == 0]
    size, unit = max(fits) if value else (1, least)
    return f"{value // size}{unit}"


def pattern(kind: type) -> str:
    """Return a regular expression of what `parse` takes for *kind*.

    It is of the JSON Schema dialect (ECMA 262), and does not bound the number.
    """
    units = "|".join(map(re.escape, _UNITS[kind]))
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
    return rf"^\s*{number}\s*(?:{units})\s*$"


def example(kind: type) -> str:
    """Return how quantities of *kind* are written, for people."""
    return _EXAMPLE[kind]
