"""Two runs, or two arms of one → is the new one worse than tolerated? Pure.

A row is a regression where its 95 % interval lies wholly beyond the tolerance, and
its p value, corrected for the number of rows (Holm), is below `ALPHA`: of comparisons
of the same with the same, at most `ALPHA` cry wolf, however many rows they have. "No
regression" needs no correction: it is said only if every row shows it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from djinnload import units
from djinnload.comparability import KEYS, Differs, differences
from djinnload.compare import OK, VOID, WITHIN, holm
from djinnload.errors import ScenarioError, UnknownName
from djinnload.objective import Measure, parse_measure
from djinnload.summary import run as run_summary
from djinnload.summary.numbers import finite
from djinnload.summary.run import Cell, Document
from djinnload.units import Share

__all__ = (
    "ALPHA",
    "DEFAULT_METRICS",
    "Decision",
    "Question",
    "Run",
    "answer",
    "ask",
    "decide",
    "refusals",
)

ALPHA = 0.05
DEFAULT_METRICS = ("p95(latency)", "mean(latency)", "miss_rate", "goodput")
NONE, REGRESSION, UNDECIDED = "no regression", "regression", "undecided"
NOT_COMPARABLE = "not comparable"
#: The first that any row has is the overall decision.
_EXITS = {VOID: 4, REGRESSION: 1, UNDECIDED: 4, NONE: 0}
#: Less of it is bad; of all else, more is.
_FALLING = ("goodput", "throughput")
#: More than this many times the evidence is "too near the tolerance", not a plan.
_MOST = 1000.0
_SIDES = 2


class Run(Struct, frozen=True):
    """A run directory as it was read.

    Attributes:
        path: Named in the result.
        manifest: The root manifest.json.
        cells: Read, not folded: nothing is written to the directory.
    """

    path: str
    manifest: Mapping[str, Any]
    cells: tuple[Cell, ...]


class Question(Struct, frozen=True):
    """What ``djinnload compare`` was asked; made by `ask`.

    Attributes:
        arms: The new arm and the baseline, of one run; empty: two runs.
        metrics: Empty: the scenario's, else `DEFAULT_METRICS`.
        tolerance: Part by which a value may be worse; of shares, points.
        allow: Keys that may differ.
    """

    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    tolerance: float
    allow: tuple[str, ...]


class Decision(Struct, frozen=True):
    """What one row comes to.

    Attributes:
        decision: ``no regression``, ``regression``, ``undecided`` or ``void``.
        needs: About how many more pairs would decide it; None: decided, or unknown.
        because: Why it is undecided; empty otherwise.
    """

    decision: str
    needs: int | None = None
    because: str = ""


def ask(
    directories: int,
    *,
    arms: str | None = None,
    metrics: Sequence[str] = (),
    tolerance: str = "5%",
    allow: Sequence[str] = (),
) -> Question:
    """Return the question, checked.

    Args:
        directories: How many were given.
        arms: ``NEW,BASELINE`` of one run; None: two runs.
        metrics: Measures such as ``p95(latency)``.
        tolerance: A share such as ``5%``.
        allow: Keys of `comparability.KEYS`.

    Raises:
        ScenarioError: What was asked makes no sense.
    """
    names = tuple(name.strip() for name in arms.split(",")) if arms else ()
    if directories != (1 if names else _SIDES):
        raise ScenarioError(
            "compare", "give two run directories, or one and --arms NEW,BASELINE"
        )
    if names and len(set(names)) != _SIDES:
        raise ScenarioError("--arms", f"{arms!r} should be two arms, NEW,BASELINE")
    for key in allow:
        if key not in KEYS:
            raise UnknownName("--allow", "key", key, KEYS)
    try:
        share = units.parse(Share, tolerance)
    except ValueError as error:
        raise ScenarioError("--tolerance", str(error)) from None
    return Question(names, tuple(map(_metric, metrics)), float(share), tuple(allow))


def answer(question: Question, runs: Sequence[Run]) -> Document:
    """Return the rows, each decided, and what they come to together.

    Args:
        question: From `ask`.
        runs: The new one and the baseline; or the one whose arms are compared.

    Raises:
        ScenarioError: The sides have no cell in common, or there is no such arm.
    """
    a, b = runs[0], runs[-1]
    differs = (
        () if question.arms else differences(*((r.manifest, r.cells) for r in runs))
    )
    refused = [each for each in differs if each.key not in question.allow]
    metrics = question.metrics or _default_metrics(runs)
    rows = [] if refused else list(_rows(question, a, b, metrics))
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    decided = [decide(row, question.tolerance) for row in rows]
    if refused:
        overall, code = NOT_COMPARABLE, ScenarioError.exit_code
    else:
        found = {each.decision for each in decided}
        overall = next((each for each in _EXITS if each in found), VOID)
        code = _EXITS[overall]
    made = {
        "schema": run_summary.SCHEMA,
        "a": _named(a, question.arms[:1]),
        "b": _named(b, question.arms[1:]),
        "metrics": list(metrics),
        "tolerance": question.tolerance,
        "alpha": ALPHA,
        "differs": [_told(each) for each in differs],
        "allowed": [d.key for d in differs if d.key in question.allow],
        "comparisons": [
            row | {"decision": d.decision, "needs": d.needs, "because": d.because}
            for row, d in zip(rows, decided, strict=True)
        ],
        "decision": overall,
        "exit_code": code,
    }
    return dict(finite(made))


def refusals(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield each difference that was not allowed, and how to allow it."""
    for each in document["differs"]:
        if each["key"] not in document["allowed"]:
            yield (
                f"not comparable, {each['key']} differs: {each['what']}; "
                f"--allow {each['key']} compares all the same"
            )


def decide(row: Mapping[str, Any], tolerance: float) -> Decision:
    """Return what a row of ``comparisons``, with its ``p_holm``, comes to."""
    measure = parse_measure(row["metric"])
    if row["status"] == VOID:
        return Decision(VOID)
    if row["ci95"] is None:
        return _without_interval(row)
    low, high = _worse(measure, row)
    if high <= tolerance:
        return Decision(NONE)
    if low <= tolerance:
        needs = _more(low, high, tolerance, row["n"])
        return Decision(UNDECIDED, needs, _needed(needs, row))
    if row["p_holm"] < ALPHA:
        return Decision(REGRESSION)
    why = "beyond the tolerance, but not when corrected for the number of rows"
    return Decision(UNDECIDED, because=f"{why}: more repeats, or fewer metrics")


def _worse(measure: Measure, row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the interval of how much worse a is: a part of b, or points of a share."""
    low, high = row["ci95"]
    if row["ratio"] is not None:
        scale = row["b"] if measure.unit == "share" else 1.0
        low, high = scale * (low - 1), scale * (high - 1)
    elif measure.unit != "share":
        low, high = _part(low, row["b"]), _part(high, row["b"])
    return (-high, -low) if measure.metric in _FALLING else (low, high)


def _part(difference: float, b: float) -> float:
    """Return a difference as a part of b; of nothing, any is infinite."""
    if b:
        return difference / b
    return math.copysign(math.inf, difference) if difference else 0.0


def _without_interval(row: Mapping[str, Any]) -> Decision:
    """Decide where repeats are infinite, as turns were not ok: only their order is."""
    if row["status"] == OK and row["p_holm"] < ALPHA and row["a"] != row["b"]:
        return Decision(REGRESSION if row["a"] > row["b"] else NONE)
    why = "; ".join(each for each in row["reasons"] if each != WITHIN)
    return Decision(UNDECIDED, because=why or "there is no interval")


def _more(low: float, high: float, tolerance: float, n: int) -> int | None:
    """Return about how many more pairs would move the interval off the tolerance."""
    half, gap = (high - low) / 2, abs(tolerance - (low + high) / 2)
    if not (math.isfinite(half) and gap > 0):
        return None
    times = (half / gap) ** 2
    return max(1, math.ceil(n * (times - 1) - 1e-6)) if times <= _MOST else None


def _needed(needs: int | None, row: Mapping[str, Any]) -> str:
    if needs is None:
        return "too near the tolerance for any practical number of repeats"
    if WITHIN in row["reasons"]:
        times = 1 + needs / row["n"]
        return f"needs about {times:.1f} times the duration, or 5 repeats a side"
    return f"needs about {needs:,} more repeats a side"


def _rows(
    question: Question, a: Run, b: Run, metrics: Sequence[str]
) -> Iterator[Document]:
    """Yield every row of every point (and arm) that both sides have."""
    sides = [
        run_summary.groups(cell for cell in run.cells if cell.evidence)
        for run in (a, b)
    ]
    pairs = list(_pairs(question.arms, *sides))
    if not pairs:
        raise ScenarioError("compare", _nothing(question.arms, *sides))
    comparison: Mapping[str, Any] = {}
    if question.arms:
        planned = a.manifest.get("comparison") or {}
        comparison = planned | {"baseline": question.arms[1]}
    used = [
        [cell for pair in pairs for cell in sides[side][pair[side]]]
        for side in range(_SIDES)
    ]
    if question.arms:
        shared = run_summary.why_not(a.manifest, (*used[0], *used[1]), comparison)
    else:
        shared = [
            f"{reason} in {'AB'[side]}"
            for side, run in enumerate((a, b))
            for reason in run_summary.why_not(run.manifest, used[side], comparison)
        ]
    work = comparison.get("equal_work") or "exact"
    for left, right in pairs:
        new, old = sides[0][left], sides[1][right]
        yield from run_summary.compared(new, old, metrics, void=shared, equal_work=work)


def _pairs(
    arms: tuple[str, ...], a: Mapping[tuple[str, str], Any], b: Mapping[Any, Any]
) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Yield the (arm, point) of the new side and that of the baseline."""
    for arm, point in a:
        other = (arms[1] if arms else arm, point)
        if (not arms or arm == arms[0]) and other in b:
            yield (arm, point), other


def _nothing(arms: tuple[str, ...], a: Mapping[Any, Any], b: Mapping[Any, Any]) -> str:
    listed = [
        ", ".join(sorted({f"{point}/{arm}" for arm, point in side})) or "none"
        for side in (a, b)
    ]
    if arms:
        return f"no complete cells of {arms[0]} and {arms[1]}; there are: {listed[0]}"
    return f"no complete cells that both have; A has {listed[0]}, B has {listed[1]}"


def _metric(text: str) -> str:
    try:
        measure = parse_measure(text)
    except ValueError as error:
        raise ScenarioError("--metric", str(error)) from None
    if measure.metric == "gpu_util":
        raise ScenarioError("--metric", "gpu_util is of a device, not of turns")
    return measure.text


def _default_metrics(runs: Sequence[Run]) -> tuple[str, ...]:
    for run in runs:
        if found := (run.manifest.get("comparison") or {}).get("metrics"):
            return tuple(map(_metric, found))
    return DEFAULT_METRICS


def _named(run: Run, arm: Sequence[str]) -> Document:
    scenario = (run.manifest.get("scenario") or {}).get("name")
    return {"path": run.path, "scenario": scenario, "arm": next(iter(arm), None)}


def _told(each: Differs) -> Document:
    return {"key": each.key, "what": each.what}
