"""What arms cost and save: overhead, speed-up, data saved, semantic efficiency; pure.

Every effect is made of one paired ratio (`djinnload.compare`): the geometric mean of
arm ÷ other over repeats with the same number. Each names its denominator, the arm that
it is held against.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct
from scipy import special

from djinnload import objective
from djinnload.compare import CONFIDENCE, holm
from djinnload.summary.run import Cell, compared, groups, why_not

__all__ = (
    "Effect",
    "Ratio",
    "Roles",
    "efficiency",
    "of_run",
    "overhead",
    "roles",
    "saved",
    "speed_up",
    "success",
)

Document = dict[str, Any]
Groups = Mapping[tuple[str, str], list[Cell]]
Interval = tuple[float, float]

#: Of each of two intervals that shall hold together with at least 95 % (Bonferroni).
_OF_TWO = 1 - (1 - CONFIDENCE) / 2
NOT_DEFINED = "not defined"


class Ratio(Struct, frozen=True):
    """Arm ÷ other in one metric, as a comparison found it.

    Attributes:
        value: > 0; None: a side is 0, infinite, or was not measured.
        ci95: Of the ratio; None: too few pairs.
        n: Pairs.
        p: Two-sided, uncorrected; None: not known.
    """

    value: float | None
    ci95: Interval | None = None
    n: int = 0
    p: float | None = None


class Effect(Struct, frozen=True):
    """One effect.

    Attributes:
        value: Percent; of a speed-up, a factor; of an efficiency, percent ÷ percent.
            None: not known, or not defined.
        ci95: Interval of at least 95 %; None: there is none.
        reasons: Why there is no value, or what limits it.
    """

    value: float | None
    ci95: Interval | None = None
    reasons: tuple[str, ...] = ()


def overhead(ratio: Ratio) -> Effect:
    """Return by how many percent more the arm takes: 100 × (arm ÷ other − 1).

    Negative: it takes less. The other arm is the denominator.
    """
    return _made(ratio, lambda r: 100 * (r - 1))


def saved(ratio: Ratio) -> Effect:
    """Return how many percent of the other's bytes the arm saves, 100 at most.

    Negative: it sends more.
    """
    return _made(ratio, lambda r: 100 * (1 - r))


def speed_up(ratio: Ratio) -> Effect:
    """Return how many times as fast as the other the arm is: other ÷ arm."""
    return _made(ratio, lambda r: 1 / r)


def efficiency(bytes_ratio: Ratio, time_ratio: Ratio) -> Effect:
    """Return data saved in percent ÷ overhead in percent, if that is defined.

    It has the sign of the overhead, and is only defined where the overhead is known to
    be above or below 0: near 0 it could be any number. Its interval takes the 97.5 %
    intervals of both, which hold together at least 95 % of the time.

    Args:
        bytes_ratio: Arm ÷ the arm that ships all, in bytes.
        time_ratio: Arm ÷ the arm without a network, in time.
    """
    less, more = saved(_wider(bytes_ratio)), overhead(_wider(time_ratio))
    if less.value is None or more.value is None:
        return Effect(None, reasons=(NOT_DEFINED, *less.reasons, *more.reasons))
    if more.ci95 is None or less.ci95 is None:
        return Effect(None, reasons=(NOT_DEFINED, "no interval: too few repeats"))
    low, high = more.ci95
    if low <= 0 <= high:
        why = f"the overhead may be 0: {low:.3g} % to {high:.3g} %"
        return Effect(None, reasons=(NOT_DEFINED, why))
    ends = [a / b for a in less.ci95 for b in more.ci95]
    faster = ("the overhead is negative: the arm is the faster one",) * (high < 0)
    return Effect(less.value / more.value, (min(ends), max(ends)), faster)


def success(cells: Sequence[Cell], population: str) -> Document:
    """Return whether every planned cell of an arm at a point did its work, rightly.

    That is: each has a result, each turn came back ok, at least one answer was held
    against a local forward, and none was wrong. How fast it was has no say in it.

    Args:
        cells: All that were planned, also those without a result.
        population: That is looked at.
    """
    found = [
        cell.summary["populations"][population]
        for cell in cells
        if cell.summary and population in cell.summary["populations"]
    ]
    n, ok = (sum(each[key] for each in found) for key in ("n", "ok"))
    checked, wrong = (
        sum(each["verified"][key] for each in found) for key in ("checked", "wrong")
    )
    faults = {
        f"{len(cells) - len(found)} of {len(cells)} cells have no result": len(found)
        < len(cells),
        "no turn was measured": not n,
        f"{n - ok} of {n} turns were not ok": ok < n,
        f"{wrong} of {checked} answers were wrong": wrong > 0,
        "no answer was checked": not checked,
    }
    reasons = [text for text, there in faults.items() if there]
    return {
        "succeeded": not reasons,
        "n": n,
        "ok": ok,
        "checked": checked,
        "wrong": wrong,
        "reasons": reasons,
    }


class Roles(NamedTuple):
    """Arms that others are held against: at a point, the first that was measured there.

    Attributes:
        native: Run the model without a network: the denominator of overheads.
        blind: Are sent the weights with every call: that of speed-ups and savings.
    """

    native: tuple[str, ...]
    blind: tuple[str, ...]


def roles(manifest: Mapping[str, Any], cells: Iterable[Cell]) -> Roles:
    """Return which arm is which, by what they do and not by their names."""
    arms = (manifest.get("plan") or {}).get("arm") or ()
    local = (a["name"] for a in arms if (a.get("target") or {}).get("use") == "local")
    blind = (
        cell.arm
        for cell in cells
        if (cell.manifest.get("behaviours") or {}).get("weights") == "per_call"
    )
    return Roles(tuple(local), tuple(dict.fromkeys(blind)))


def of_run(manifest: Mapping[str, Any], cells: Sequence[Cell]) -> Document:
    """Return ``effects`` and ``successes`` of a summary; nothing without such arms.

    Args:
        manifest: The root manifest.json.
        cells: All that were planned.
    """
    comparison, known = manifest.get("comparison"), roles(manifest, cells)
    if comparison is None or not any(known):
        return {}
    return {
        "effects": _effects(manifest, cells, comparison, known),
        "successes": list(_successes(cells)),
    }


def _effects(
    manifest: Mapping[str, Any],
    cells: Sequence[Cell],
    comparison: Mapping[str, Any],
    known: Roles,
) -> list[Document]:
    found = groups(cell for cell in cells if cell.evidence)
    if not found:
        return []
    void = why_not(manifest, [cell for cell in cells if cell.evidence], comparison)
    rows: list[Document] = []
    for arm, point in found:
        rows += _of_arm(
            found, arm, point, comparison=comparison, known=known, void=void
        )
    for each, p in zip(rows, holm([each["p"] for each in rows]), strict=True):
        each["p_holm"] = p
    return rows


def _of_arm(
    found: Groups,
    arm: str,
    point: str,
    *,
    comparison: Mapping[str, Any],
    known: Roles,
    void: Sequence[str],
) -> Iterator[Document]:
    """Yield every effect of one arm at one point."""

    def against(others: Sequence[str]) -> list[Document]:
        here = (other for other in others if (other, point) in found)
        other = next(here, arm)
        if other == arm:
            return []
        cells = found[other, point]
        how = comparison.get("equal_work") or "exact"
        metrics = comparison.get("metrics") or ()
        each = found[arm, point]
        return list(compared(each, cells, metrics, void=void, equal_work=how))

    native, blind = against(known.native), against(known.blind)
    over = [each for each in native if _unit(each) == "time"]
    less = [each for each in blind if _unit(each) == "size"] if native else []
    yield from (_row("overhead", each, overhead(_ratio(each))) for each in over)
    for each in blind:
        if _unit(each) == "time":
            yield _row("speed_up", each, speed_up(_ratio(each)))
        elif _unit(each) == "size" and arm not in known.native:
            yield _row("saved", each, saved(_ratio(each)))
    for data in less:
        if data["metric"] == "mean(bytes)":
            same = (o for o in over if o["population"] == data["population"])
            yield from (_efficiency(data, each) for each in same)


def _unit(each: Mapping[str, Any]) -> str:
    return objective.parse_measure(each["metric"]).unit


def _ratio(each: Mapping[str, Any]) -> Ratio:
    # Of a difference there is an interval too, which is none of a ratio.
    ends = each["ci95"] if each["ratio"] is not None else None
    return Ratio(
        each["ratio"], None if ends is None else tuple(ends), each["n"], each["p"]
    )


def _row(kind: str, each: Mapping[str, Any], made: Effect) -> Document:
    """Return an effect as it stands in the summary."""
    return {
        "kind": kind,
        "arm": each["arm"],
        "against": each["baseline"],
        "point": each["point"],
        "population": each["population"],
        "metric": each["metric"],
        "value": made.value,
        "ci95": made.ci95,
        "n": each["n"],
        "p": each["p"],
        "status": each["status"],
        "reasons": [*each["reasons"], *made.reasons],
    }


def _efficiency(data: Mapping[str, Any], time: Mapping[str, Any]) -> Document:
    made = efficiency(_ratio(data), _ratio(time))
    less, more = saved(_ratio(data)), overhead(_ratio(time))
    row = _row("efficiency", time, made)
    void = "void" in {data["status"], time["status"]}
    return row | {
        "against": f"{data['baseline']} (bytes), {time['baseline']} (time)",
        # It stands on two tests, which are in rows of their own.
        "p": None,
        "status": "void" if void else "undecided" if made.value is None else "ok",
        "reasons": list(dict.fromkeys((*data["reasons"], *row["reasons"]))),
        "saved": less.value,
        "saved_ci95": less.ci95,
        "overhead": more.value,
        "overhead_ci95": more.ci95,
    }


def _successes(cells: Iterable[Cell]) -> Iterator[Document]:
    planned: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.status != "skipped":
            planned.setdefault((cell.arm, cell.point), []).append(cell)
    names = dict.fromkeys(
        name for cell in cells if cell.summary for name in cell.summary["populations"]
    )
    for (arm, point), every in planned.items():
        for name in names:
            place = {"arm": arm, "point": point, "population": name}
            yield place | success(every, name)


def _made(ratio: Ratio, of: Callable[[float], float]) -> Effect:
    if ratio.value is None:
        return Effect(None, reasons=("there is no ratio: a side is 0 or infinite",))
    ends = None
    if ratio.ci95 is not None:
        low, high = sorted(of(end) for end in ratio.ci95)
        ends = (low, high)
    return Effect(of(ratio.value), ends)


def _wider(ratio: Ratio) -> Ratio:
    """Return the same with its t interval (of the log) at 97.5 %."""
    if ratio.ci95 is None or ratio.n < 2:  # noqa: PLR2004 - no spread of one
        return Ratio(ratio.value)
    low, high = (math.log(end) for end in ratio.ci95)
    usual, wanted = (
        float(special.stdtrit(ratio.n - 1, (1 + level) / 2))
        for level in (CONFIDENCE, _OF_TWO)
    )
    half = (high - low) / 2 * wanted / usual
    middle = (low + high) / 2
    return Ratio(
        ratio.value, (math.exp(middle - half), math.exp(middle + half)), ratio.n
    )
