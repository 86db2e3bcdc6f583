"""Numbers of a summary → text for people, in the terminal and in HTML alike."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Undefined

from djinnload import units

__all__ = (
    "FILTERS",
    "amount",
    "few",
    "interval",
    "number",
    "percent",
    "percentile",
    "quantity",
)

_TIMES = re.compile(
    r"latency|service|queue|exec|ttft|tpot|lateness|blocked|\bsession\b"
)
_SHARES = re.compile(r"rate|util|share")
_PER_SECOND = re.compile(r"goodput|throughput")
_NONE = "–"
#: Reasons of one code that are shown.
_FEW = 3


def number(value: object) -> str:
    """Return three significant digits; ``inf`` and what is no number as it is."""
    if value is None or isinstance(value, Undefined):
        return _NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}" if np.isfinite(value) else str(value)
    return f"{value:#.3g}".rstrip(".") if value else "0"


def percent(value: object) -> str:
    """Return a share in percent."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return number(value)
    return f"{number(100.0 * value)} %"


def amount(value: object, metric: str) -> str:
    """Return a value of a metric (ns, share, 1/s) with a unit for readers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return number(value)
    if _TIMES.search(metric):
        return f"{number(value / 1e6)} ms"
    if _SHARES.search(metric):
        return percent(value)
    if "bytes" in metric:
        return units.format_bytes(value)
    return f"{number(value)} /s" if _PER_SECOND.search(metric) else number(value)


def percentile(values: object, name: str) -> str:
    """Return one of the percentiles of a summary, or why there is none."""
    if not isinstance(values, Mapping) or not values.get("n"):
        return _NONE
    found = values.get(name)
    return "n too small" if found is None else number(found)


def interval(value: object, scale: float = 1.0) -> str:
    """Return ``[low, high]``; nothing where there is none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ""
    ends = [end * scale if isinstance(end, int | float) else end for end in value]
    return f"[{', '.join(number(end) for end in ends)}]" if ends else ""


def quantity(value: object, unit: str) -> str:
    """Return a number of a claim, or beside one, in the unit that the claim names."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return number(value)
    if unit == "time":
        return units.format_ns(value)
    if unit == "size":
        return units.format_bytes(value)
    if unit == "share":
        return percent(value)
    ends = {"rate": " /s", "percent": " %", "factor": " ×"}
    return f"{number(value)}{ends.get(unit, '')}"


def few(reasons: object) -> list[Mapping[str, Any]]:
    """Return at most three reasons or findings of a code, and how many more there are.

    A sweep on a noisy host has the same one in each of a hundred cells.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in reasons if isinstance(reasons, Sequence) else ():
        found.setdefault(str(each.get("code")), []).append(each)
    made: list[Mapping[str, Any]] = []
    for code, several in found.items():
        made += several[:_FEW]
        if (more := len(several) - _FEW) > 0:
            told = f"and {more} more like these, all in summary.json"
            made.append({"code": code, "message": told})
    return made


#: By the names that templates use.
FILTERS = {
    "num": number,
    "pct": percent,
    "amount": amount,
    "percentile": percentile,
    "ci": interval,
    "few": few,
    "quantity": quantity,
}
