"""Rates that are a part of a capacity not known yet: ``"0.2 of capacity"``; pure."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from djinnload.units import Hz, parse

__all__ = ("NOMINAL", "mapped", "of_capacity", "part", "rates", "relative")

#: Sessions/s that stand for capacity where only the shape of a plan matters.
NOMINAL = 100.0
#: How a rate that is none is told to be written by `units`.
_LIKE = "write it like 20/s, 3/min"
_OF_CAPACITY = re.compile(r"\s*(\S+)\s+of\s+capacity\s*")


def of_capacity(value: object) -> float | None:
    """Return the part of capacity that *value* names, > 0; None if it names none.

    Raises:
        ValueError: It names capacity, but no part that is greater than 0.
    """
    if not isinstance(value, str) or "capacity" not in value.split():
        return None
    found = _OF_CAPACITY.fullmatch(value)
    try:
        part = float(found[1]) if found else math.nan
    except ValueError:
        part = math.nan
    if math.isnan(part):
        raise ValueError(f"{value!r} is no rate, write it like 20/s or 0.2 of capacity")
    if not 0 < part < math.inf:
        raise ValueError(f"{value!r} must be greater than 0")
    return part


def relative(value: object) -> bool:
    """Return whether *value*, a table or a value of one, refers to capacity.

    Raises:
        ValueError: As `of_capacity`.
    """
    return any(of_capacity(each) is not None for _, each in _leaves(value, ""))


def part(value: object) -> float | None:
    """Return the largest part of capacity in *value*, a table; None if it has none.

    Raises:
        ValueError: As `of_capacity`.
    """
    found = (of_capacity(each) for _, each in _leaves(value, ""))
    return max((each for each in found if each is not None), default=None)


def rates(arrival: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (path below *arrival*, reason) of every rate that is wrong."""
    for path, value in _leaves(arrival, ""):
        try:
            if of_capacity(value) is None and path == ".rate":
                parse(Hz, value)
        except ValueError as error:
            reason = str(error).replace(_LIKE, f"{_LIKE} or 0.2 of capacity")
            yield path, reason


def mapped(value: Any, per_part: Callable[[float], Any]) -> Any:
    """Return *value* with each part of capacity replaced by ``per_part(part)``."""
    if isinstance(value, dict):
        return {key: mapped(each, per_part) for key, each in value.items()}
    if isinstance(value, list):
        return [mapped(each, per_part) for each in value]
    part = of_capacity(value)
    return value if part is None else per_part(part)


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _leaves(each, f"{path}[{i}]")
    else:
        yield path, value
