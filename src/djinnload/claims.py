"""What a ``[[claim]]`` is about: ``speed_up(mean(latency))`` → Quantity; pure.

A quantity is a measure of objectives (``mean(tpot)``, ``p99(latency)``, ``gpu_util``);
an effect of such a measure (`EFFECTS`), as of the summary's ``effects``; the ratio of
one to the baseline arm's (``ratio(throughput)``); or one of `NAMED`.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, convert

from djinnload import units
from djinnload.errors import ScenarioError, UnknownName, nearest
from djinnload.objective import Measure, parse_measure
from djinnload.scenarios.experiment import Claim
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.points import points

__all__ = ("EFFECTS", "NAMED", "Quantity", "check", "of_manifest", "parse")

_FACTOR, _PERCENT = "factor", "percent"
#: Of a measure, and what it is measured in.
EFFECTS: Mapping[str, str] = {
    "ratio": _FACTOR,
    "speed_up": _FACTOR,
    "efficiency": _FACTOR,
    "overhead": _PERCENT,
    "saved": _PERCENT,
}
#: Quantities with a name of their own; `djinnload.summary.claimed` knows how to find
#: them.
NAMED: Mapping[str, str] = {
    "bytes_a_turn": "size",
    "bytes_a_session": "size",
    "fragmentation": "share",
    "utilisation": "share",
}

_KINDS: Mapping[str, type] = {
    "time": units.Duration,
    "share": units.Share,
    "rate": units.Hz,
    "size": units.Size,
}
_EFFECT = re.compile(r"(\w+)\s*\(\s*(.*)\s*\)", re.DOTALL)
_PERCENTAGE = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


class Quantity(Struct, frozen=True):
    """What a claim is about.

    Attributes:
        text: Without needless spaces.
        unit: ``time`` (ns), ``share`` (0 to 1), ``rate`` (/s), ``size`` (bytes),
            ``count``, ``factor``, ``percent``.
        effect: A key of `EFFECTS`; empty: it is no effect.
        measure: That is looked at; None: it is of `NAMED`.
    """

    text: str
    unit: str
    effect: str = ""
    measure: Measure | None = None

    def read(self, value: str | float) -> float:
        """Return a claimed *value* in the quantity's unit.

        Raises:
            ValueError: It has no unit, or one of another kind; says what would do.
        """
        if self.unit == _PERCENT:
            found = _PERCENTAGE.fullmatch(str(value))
            if found is None:
                raise ValueError(f"{value!r} is no percentage, write it like 6.7%")
            return float(found[1])
        if self.unit in _KINDS:
            return float(units.parse(_KINDS[self.unit], value))
        try:
            return float(value)
        except ValueError:
            reason = f"{value!r} is no number, write it like 57, without a unit"
            raise ValueError(reason) from None


def parse(text: str) -> Quantity:
    """Read what a claim's ``metric`` says.

    Raises:
        ValueError: Nothing of the kind; names what there is.
    """
    text = text.strip()
    if text in NAMED:
        return Quantity(text, NAMED[text])
    found = _EFFECT.fullmatch(text)
    if found and found[1] in EFFECTS:
        measure = parse_measure(found[2])
        return Quantity(
            f"{found[1]}({measure.text})", EFFECTS[found[1]], found[1], measure
        )
    try:
        measure = parse_measure(text)
    except ValueError as error:
        near = nearest(text.partition("(")[0], (*NAMED, *EFFECTS))
        hint = f"did you mean {near!r}? " if near else ""
        effects = ", ".join(f"{each}(MEASURE)" for each in EFFECTS)
        known = f"{hint}other quantities: {effects}, {', '.join(NAMED)}"
        raise ValueError(f"{error}; {known}") from None
    return Quantity(measure.text, measure.unit, measure=measure)


def check(scenario: Scenario) -> None:
    """Raise ScenarioError if a claim is about nothing, or its value is of no use.

    A claim about a level that ``--set`` left out of a sweep is about nothing, and fine.
    """
    names = [point.name for point in points(scenario.sweeps)]
    cut = any(path.startswith("sweep") for path in scenario.changes)
    for i, claim in enumerate(scenario.claims):
        if claim.point is not None and claim.point not in names and not cut:
            raise UnknownName(f"$.claim[{i}].point", "point", claim.point, names)
        key = "metric"
        try:
            quantity = parse(claim.metric)
            key = "value"
            quantity.read(claim.value)
        except ValueError as error:
            raise ScenarioError(f"$.claim[{i}].{key}", str(error)) from None


def of_manifest(manifest: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Return the claims of a run, from its root manifest.json."""
    listed = (manifest.get("plan") or {}).get("claim") or ()
    return tuple(convert(each, Claim) for each in listed)
