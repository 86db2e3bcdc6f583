"""Claims of a plan beside what was measured: ``claims`` of a root summary; pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from djinnload import claims
from djinnload.claims import Quantity
from djinnload.objective import Measure
from djinnload.scenarios.experiment import Claim
from djinnload.stats import populations as stats
from djinnload.stats.populations import PopulationSamples
from djinnload.summary import measured, memory
from djinnload.summary.measured import Measured
from djinnload.summary.run import Cell, groups

__all__ = ("Place", "bytes_a_session", "bytes_a_turn", "look_up", "of_run")

Document = dict[str, Any]
Groups = Mapping[tuple[str, str], list[Cell]]
NOTHING = Measured(None, None, 0, measured.NO_INTERVAL)


def of_run(
    manifest: Mapping[str, Any], cells: Sequence[Cell], summary: Mapping[str, Any]
) -> Document:
    """Return ``claims``: each claim at each point and population that it is about.

    Args:
        manifest: The root manifest.json, whose plan has the claims.
        cells: All that were planned.
        summary: The root summary, so far: its comparisons and effects.
    """
    found = groups(cell for cell in cells if cell.evidence)
    made: list[Document] = []
    for claim in claims.of_manifest(manifest):
        quantity = claims.parse(claim.metric)
        for place in _places(claim, found):
            shown = look_up(quantity, place, found, summary)
            made.append(_row(claim, quantity, place, shown))
    return {"claims": made}


def bytes_a_turn(samples: PopulationSamples) -> float | None:
    """Return bytes both ways of an ok turn, on average; None: nobody counted."""
    turns = samples.turns
    sizes = (turns.bytes_sent + turns.bytes_received)[turns.ok]
    known = sizes[np.isfinite(sizes)]
    return float(known.mean()) if len(known) else None


def bytes_a_session(samples: PopulationSamples) -> float | None:
    """Return bytes both ways of a session that ended ok, on average; None: none did."""
    r = samples.requests
    if not len(r.due_ns):
        return None
    order, starts = stats.by_session(r)
    ok = np.logical_and.reduceat((r.outcome == "ok")[order], starts)
    ended = np.logical_or.reduceat(r.session_end[order].astype(bool), starts)
    sizes = np.add.reduceat((r.bytes_sent + r.bytes_received)[order], starts)
    known = sizes[ok & ended & np.isfinite(sizes)]
    return float(known.mean()) if len(known) else None


#: Of `djinnload.claims.NAMED`: one number of one population in one cell.
NAMED: Mapping[str, Callable[[PopulationSamples], float | None]] = {
    "bytes_a_turn": bytes_a_turn,
    "bytes_a_session": bytes_a_session,
}


class Place(NamedTuple):
    """Where something was measured."""

    arm: str
    point: str
    population: str


def _places(claim: Claim, found: Groups) -> list[Place]:
    """Return where it was measured, or else where it says that it would be."""
    known = [
        Place(arm, point, name)
        for (arm, point), cells in found.items()
        if arm == claim.arm and claim.point in {None, point}
        for name in (cells[0].evidence.populations if cells[0].evidence else ())
        if claim.population in {None, name}
    ]
    alone = Place(claim.arm, claim.point or "all", claim.population or "")
    return known or [alone]


def look_up(
    quantity: Quantity, place: Place, found: Groups, summary: Mapping[str, Any]
) -> Measured:
    """Return what *quantity* came to at *place*.

    Args:
        quantity: From `djinnload.claims.parse`.
        place: Arm, point and population.
        found: Cells with evidence, from `djinnload.summary.run.groups`.
        summary: A root summary, for what it knows of effects and comparisons.
    """
    if quantity.effect:
        return _effect(quantity, place, summary)
    cells = found.get((place.arm, place.point), ())
    evidence = [cell.evidence for cell in cells if cell.evidence]
    if quantity.measure is not None and quantity.measure.metric == "gpu_util":
        return measured.utilised(evidence)
    if quantity.text in memory.SHARES:
        return memory.mean(quantity.text, evidence)
    name = place.population
    repeats = [e.populations[name] for e in evidence if name in e.populations]
    if quantity.measure is not None:
        return measured.measured(quantity.measure, repeats)
    values = [NAMED[quantity.text](each) for each in repeats]
    return measured.of_repeats([value for value in values if value is not None])


def _effect(quantity: Quantity, place: Place, summary: Mapping[str, Any]) -> Measured:
    """Return what the summary says already: paired by repeat, as it has to be."""
    ratio = quantity.effect == "ratio"
    for each in summary.get("comparisons" if ratio else "effects") or ():
        same = ratio or each["kind"] == quantity.effect
        if same and _is(each, place, quantity.measure):
            value = each["ratio"] if ratio else each["value"]
            known = value is not None and each["ci95"]
            ends = tuple(each["ci95"]) if known else None
            how = f"{each['n']} pairs" if known else measured.NO_INTERVAL
            return Measured(value, ends, each["n"], how, "pairs")
    return NOTHING


def _is(each: Mapping[str, Any], place: Place, measure: Measure | None) -> bool:
    same = all(each[key] == value for key, value in place._asdict().items())
    return same and measure is not None and each["metric"] == measure.text


def _row(claim: Claim, quantity: Quantity, place: Place, shown: Measured) -> Document:
    return {
        "metric": quantity.text,
        "unit": quantity.unit,
        **place._asdict(),
        "claimed": quantity.read(claim.value),
        "measured": shown.value,
        "ci95": shown.ci95,
        "n": shown.n,
        "of": shown.of,
        "interval": shown.interval,
        "feasible": claim.infeasible is None,
        "infeasible": claim.infeasible,
    }
