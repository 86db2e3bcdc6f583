"""All cells of a run → arms side by side, comparisons, verdict; pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from djinnload import cell_objectives, deciding, objective
from djinnload.compare import compare, holm
from djinnload.errors import DjinnloadError
from djinnload.findings import Finding, void
from djinnload.health import work as health_work
from djinnload.health.cell import CellEvidence, judge_run
from djinnload.objective import Judged
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary import numbers as summarize
from djinnload.summary import spread
from djinnload.summary.heat import heat

__all__ = ("Cell", "compared", "curves", "groups", "run_summary", "why_not")

Document = dict[str, Any]

SCHEMA = 1
#: Run-level rules that say that a comparison cannot be trusted.
_OF_COMPARISONS = ("UNPROVEN", "UNEQUAL", "NO_CONTENTION", "CALIBRATION", "CPU")
_FOR_A_VERDICT = ("done", "void", "skipped")


class Cell(Struct, frozen=True):
    """One cell as it was found.

    Attributes:
        entry: Its entry in index.json: id, path, boot, ….
        status: done, void, missing, failed, skipped.
        evidence: None unless done or void; then there is no summary either.
        error: Why it could not be read.
    """

    entry: Mapping[str, Any]
    status: str
    manifest: Mapping[str, Any] = {}
    evidence: CellEvidence | None = None
    summary: Document | None = None
    findings: tuple[Finding, ...] = ()
    error: str | None = None

    @property
    def id(self) -> str:
        """``point/arm/rNN``."""
        return str(self.entry.get("id"))

    @property
    def point(self) -> str:
        """The sweep point's name."""
        return str(self.manifest.get("point") or self.id.split("/")[0])

    @property
    def arm(self) -> str:
        """The arm's name."""
        return str(self.manifest.get("arm") or self.entry.get("arm"))

    @property
    def repeat(self) -> int:
        """Number of the repeat, from 0."""
        return int(self.manifest.get("repeat") or self.entry.get("repeat") or 0)


def run_summary(manifest: Mapping[str, Any], cells: Sequence[Cell]) -> Document:
    """Return the root summary.

    Args:
        manifest: The root manifest.json; empty if there is none.
        cells: All that were planned, in the order of the index.
    """
    known = sorted(
        (cell for cell in cells if cell.evidence), key=lambda cell: cell.repeat
    )
    found = groups(known)
    comparison, accepted = manifest.get("comparison"), manifest.get("accepted") or ()
    arms, judged = _arms(found, manifest)
    of_all, more = _of_cell(found, manifest)
    judged += more
    of_cells = [*_of_cells(known), *_of_cells(c for c in cells if not c.evidence)]
    evidence = [cell.evidence for cell in known if cell.evidence]
    of_run = judge_run(evidence, comparison, of_cells, accepted=accepted)
    verdict = objective.run_verdict(
        judged, (*of_cells, *of_run, *_unfinished(cells)), accepted=accepted
    )
    interrupted = bool(manifest.get("interrupted")) or any(
        bool(cell.manifest.get("interrupted")) for cell in cells
    )
    error = DjinnloadError(manifest["error"]) if manifest.get("error") else None
    return {
        "schema": SCHEMA,
        "scenario": (manifest.get("scenario") or {}).get("name"),
        "complete": bool(manifest.get("complete")),
        "interrupted": interrupted,
        "verdict": msgspec.to_builtins(verdict),
        "exit_code": objective.exit_code(verdict, interrupted=interrupted, error=error),
        "error": manifest.get("error"),
        "cells": [_listed(cell) for cell in cells],
        "arms": arms,
        "objectives": of_all,
        "comparisons": _comparisons(found, comparison, of_run),
        "generator": _generator(known),
        # See `claimed` and `scaling`.
        "claims": [],
        "knee": None,
        "efficiency": [],
    }


def curves(cells: Sequence[Cell]) -> Document:
    """Return ``curves.json``: what figures draw, of all repeats together.

    Args:
        cells: All that were planned; those without evidence have no part in it.
    """
    made, hot = [], []
    for (arm, point), several in groups(c for c in cells if c.evidence).items():
        for name in _names(several):
            repeats = _repeats(several, name)
            place = {"arm": arm, "point": point, "population": name}
            for metric, values in _CURVES.items():
                if found := spread.curve([values(each) for each in repeats]):
                    made.append(place | {"metric": metric} | found)
            if counted := heat(repeats):
                hot.append(place | counted)
    return {"schema": SCHEMA, "curves": made, "heat": hot}


_CURVES: Mapping[str, Callable[[PopulationSamples], Array]] = {
    "latency": lambda samples: stats.values(samples, "latency"),
    "queue": lambda samples: summarize.turn_times(samples.turns, "queue"),
    "lateness": lambda samples: summarize.turn_times(samples.turns, "lateness"),
}


def groups(known: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Return repeats by (arm, point), in order."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(known, key=lambda cell: cell.repeat):
        found.setdefault((cell.arm, cell.point), []).append(cell)
    return found


def _repeats(cells: Iterable[Cell], population: str) -> list[PopulationSamples]:
    return [
        cell.evidence.populations[population]
        for cell in cells
        if cell.evidence and population in cell.evidence.populations
    ]


def _names(cells: Iterable[Cell]) -> list[str]:
    every = (cell.evidence.populations for cell in cells if cell.evidence)
    return list(dict.fromkeys(name for names in every for name in names))


def _arms(
    found: Mapping[tuple[str, str], list[Cell]], manifest: Mapping[str, Any]
) -> tuple[Document, list[Judged]]:
    """Return arms side by side, and every decision that they stand on."""
    arms: Document = {}
    judged: list[Judged] = []
    for (arm, point), cells in found.items():
        counts = _judged(arm, manifest, cells)
        populations = arms.setdefault(arm, {}).setdefault(point, {})
        for name in _names(cells):
            repeats = _repeats(cells, name)
            decided = _decided(cells, name, repeats)
            populations[name] = _pooled(cells, name, repeats) | {
                "repeats": len(repeats),
                "judged": counts,
                "objectives": msgspec.to_builtins(decided),
            }
            judged += (
                Judged(each, name, f"{point}/{arm}", judged=counts) for each in decided
            )
    return arms, judged


def _decided(
    cells: Sequence[Cell], name: str, repeats: Sequence[PopulationSamples]
) -> list[objective.Decision]:
    """Return what `summarize.decisions` does; of one cell it is known already."""
    if len(cells) > 1 or cells[0].summary is None:
        plan = (cells[0].manifest.get("populations") or {}).get(name) or {}
        return summarize.decisions(plan, repeats)
    known = cells[0].summary["populations"][name]["objectives"]
    # Not strict: "inf" is a number.
    return msgspec.convert(known, list[objective.Decision], strict=False)


def _of_cell(
    found: Mapping[tuple[str, str], list[Cell]], manifest: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], list[Judged]]:
    """Return the objectives of ``[scenario]``, by arm and point, and how they count."""
    told: list[Mapping[str, Any]] = []
    judged: list[Judged] = []
    for (arm, point), cells in found.items():
        counts = _judged(arm, manifest, cells)
        decided = cell_objectives.decisions([c.evidence for c in cells if c.evidence])
        told += cell_objectives.listed(decided, arm, point, judged=counts)
        judged += (Judged(d, "", f"{point}/{arm}", judged=counts) for d in decided)
    return told, judged


def _pooled(
    cells: Sequence[Cell], name: str, repeats: Sequence[PopulationSamples]
) -> Document:
    """Return what `summarize.pooled` does; of one cell it is known already."""
    if len(cells) > 1 or cells[0].summary is None:
        return summarize.pooled(repeats)
    known = cells[0].summary["populations"][name]
    return {key: each for key, each in known.items() if key not in summarize.OF_CELLS}


def _judged(arm: str, manifest: Mapping[str, Any], cells: Sequence[Cell]) -> bool:
    planned = (manifest.get("arms") or {}).get(arm) or {}
    return bool(planned.get("judged", cells[0].manifest.get("judged", True)))


def _of_cells(known: Iterable[Cell]) -> Iterator[Finding]:
    """Yield void findings one by one, notes once: the cell with the largest value."""
    notes: dict[tuple[str, str], list[tuple[str, Finding]]] = {}
    for cell in known:
        for each in cell.findings:
            if each.void or each.accepted:
                yield _placed(each, cell.id)
            else:
                notes.setdefault((each.code, each.population), []).append(
                    (cell.id, each)
                )
    for several in notes.values():
        where, largest = max(several, key=lambda two: two[1].value or 0.0)
        more = f" (and less in {len(several) - 1} more cells)" * (len(several) > 1)
        yield _placed(largest, where, more)


def _placed(finding: Finding, where: str, more: str = "") -> Finding:
    return msgspec.structs.replace(finding, message=f"{where}: {finding.message}{more}")


def _unfinished(cells: Iterable[Cell]) -> Iterator[Finding]:
    """Yield INCOMPLETE where planned cells have no result: no verdict without them."""
    every = list(cells)
    lost = [cell for cell in every if cell.status not in _FOR_A_VERDICT]
    named = ", ".join(map(_why_lost, lost[:5]))
    if not any(cell.evidence for cell in every):
        listed = f" ({named})" * bool(lost)
        yield void("INCOMPLETE", f"no cell has a result{listed}; run it again", 0.0)
    elif lost:
        why = f"{len(lost)} of the planned cells have no result ({named})"
        yield void("INCOMPLETE", f"{why}; run it again", float(len(lost)))


def _why_lost(cell: Cell) -> str:
    return f"{cell.id} {cell.error or cell.status}"


def _listed(cell: Cell) -> Document:
    verdict = (cell.summary or {}).get("verdict") or {}
    return {
        "id": cell.id,
        "point": cell.point,
        "arm": cell.arm,
        "repeat": cell.repeat,
        "path": str(cell.entry.get("path") or f"cells/{cell.id}"),
        "status": cell.status,
        "verdict": verdict.get("status"),
        "boot": cell.entry.get("boot"),
        "error": cell.manifest.get("error") or cell.error,
    }


def _comparisons(
    found: Mapping[tuple[str, str], list[Cell]],
    comparison: Mapping[str, Any] | None,
    of_run: Iterable[Finding],
) -> list[Document]:
    """Return every metric × population × point × arm against the baseline."""
    if comparison is None:
        return []
    baseline, metrics = str(comparison.get("baseline")), comparison.get("metrics") or ()
    of_run, work = tuple(of_run), comparison.get("equal_work") or "exact"
    made: list[Document] = []
    for (arm, point), cells in found.items():
        against = found.get((baseline, point))
        if arm != baseline and against is not None:
            why = _spoiling(of_run, point)
            made += compared(cells, against, metrics, void=why, equal_work=work)
    for each, p in zip(made, holm([each["p"] for each in made]), strict=True):
        each["p_holm"] = p
    return made


def compared(
    a: Sequence[Cell],
    b: Sequence[Cell],
    metrics: Sequence[str],
    *,
    void: Iterable[str],
    equal_work: str = "exact",
) -> Iterator[Document]:
    """Yield every population × metric of *a* (an arm) against *b* (the baseline).

    Cells are paired by the number of their repeat; what neither side has is left out.

    Args:
        a: Repeats of one arm and point, in order.
        b: The baseline's.
        metrics: Measures such as ``p95(latency)``.
        void: Why no comparison of the run can be trusted.
        equal_work: ``prefix``: only what both did, and no totals.
    """
    prefix = equal_work == health_work.PREFIX
    voided = list(dict.fromkeys((*void, *_why_void((*a, *b)))))
    both = {cell.repeat for cell in a} & {cell.repeat for cell in b}
    alone = sorted({cell.repeat for cell in (*a, *b)} - both)
    left, right = ([cell for cell in side if cell.repeat in both] for side in (a, b))
    for name in _names(a):
        new, old, whole = _work(left, right, name, equal_work)
        for metric in metrics:
            if not _measured(metric, (*new, *old)):
                continue
            total = prefix and health_work.is_total(metric, whole=whole)
            spoilt = [*voided, *[health_work.TOTALS] * total]
            found = compare(
                metric, new, old, population=name, point=a[0].point, void=spoilt
            )
            row = {"arm": a[0].arm, "baseline": b[0].arm} | msgspec.to_builtins(found)
            if prefix and not total:
                row["reasons"] += (health_work.POSITIONS,)
            if alone:
                listed = ", ".join(map(str, alone))
                row["reasons"] += (f"repeats on one side only, not used: {listed}",)
            yield row


def _work(
    a: Sequence[Cell], b: Sequence[Cell], population: str, equal_work: str
) -> tuple[list[PopulationSamples], list[PopulationSamples], bool]:
    """Return the samples of both sides to compare, and whether all turns are whole."""
    if equal_work != health_work.PREFIX:
        return _repeats(a, population), _repeats(b, population), True
    both = [(x.evidence, y.evidence) for x, y in zip(a, b, strict=True)]
    return health_work.common([(x, y) for x, y in both if x and y], population)


def why_not(
    manifest: Mapping[str, Any], cells: Sequence[Cell], comparison: Mapping[str, Any]
) -> list[str]:
    """Return codes of the rules over a run that forbid to compare *cells* of it."""
    evidence = [cell.evidence for cell in cells if cell.evidence]
    accepted = manifest.get("accepted") or ()
    of_cells = [each for cell in cells for each in cell.findings]
    return _spoiling(judge_run(evidence, comparison, of_cells, accepted=accepted))


def _spoiling(of_run: Iterable[Finding], point: str = "") -> list[str]:
    """Return codes that forbid comparisons at *point*; empty: at any."""
    about = [f for f in of_run if not point or f.point in {"", point}]
    return [f.code for f in about if f.void and f.code in _OF_COMPARISONS]


def _measured(metric: str, repeats: Iterable[PopulationSamples]) -> bool:
    measure = objective.parse_measure(metric)
    return any(len(deciding.series(measure, each)) for each in repeats)


def _why_void(cells: Iterable[Cell]) -> Iterator[str]:
    for cell in cells:
        yield from (f"{each.code} in {cell.id}" for each in cell.findings if each.void)
        if cell.manifest.get("provenance", "measured") != "measured":
            yield f"{cell.id} was not measured but {cell.manifest['provenance']}"


def _generator(known: Iterable[Cell]) -> Document:
    """Return the generator's health, cells pooled: the worst of each."""
    seen = [cell.summary["generator"] for cell in known if cell.summary]

    def worst(name: str, key: str) -> float | None:
        values = [each[name][key] for each in seen if each.get(name)]
        return max((v for v in values if v is not None), default=None)

    shares = [each["cpu"] for each in seen if each["cpu"] is not None]
    dropped = [each["dropped"] for each in seen if each["dropped"] is not None]
    return {
        name: {key: worst(name, key) for key in ("p50", "p99", "max")}
        for name in ("lateness_us", "loop_lag_us", "gc_ms")
    } | {
        "cpu": max(shares, default=None),
        "cpu_mean": float(np.mean(shares)) if shares else None,
        "dropped": sum(dropped) if dropped else None,
    }
