"""What the populations of a run did to each other: fairness, interference; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from djinnload.compare import compare
from djinnload.summary import fairness
from djinnload.summary.run import Cell, groups

__all__ = ("INTERFERENCE", "interference", "of_run")

Document = dict[str, Any]
Groups = Mapping[tuple[str, str], list[Cell]]

#: What is compared with the population alone.
INTERFERENCE = ("mean(latency)", "p95(latency)")


def of_run(cells: Iterable[Cell]) -> Document:
    """Return ``fairness`` and ``interference`` of a summary.

    Args:
        cells: All that were planned; those without evidence have no part in it.
    """
    found = groups(cell for cell in cells if cell.evidence)
    return {
        "fairness": [
            {"arm": arm, "point": point}
            | fairness.of_arm([c.evidence for c in several if c.evidence])
            for (arm, point), several in found.items()
        ],
        "interference": list(interference(found)),
    }


def interference(found: Groups) -> Iterator[Document]:
    """Yield what company does to each population: the interference matrix, by arm.

    A population's cell of the matrix needs a point at which it is alone, and one at
    which others are there too. Points have schedules of their own, so repeats are not
    pairs of the same arrivals; their interval is as wide as that makes it.

    Yields:
        ``arm``, ``population``, ``beside`` (names of the others), ``point``, ``alone``
        (the other point), and `djinnload.compare.Difference`'s values: ``a`` in company
        and ``b`` alone, in the metric's unit.
    """
    for arm in dict.fromkeys(arm for arm, _ in found):
        company = {
            point: (_present(cells), cells)
            for (each, point), cells in found.items()
            if each == arm
        }
        alone = {
            names[0]: cells for names, cells in company.values() if len(names) == 1
        }
        for names, cells in company.values():
            for name in names:
                if len(names) > 1 and name in alone:
                    yield from _beside(name, names, cells, alone[name])


def _present(cells: Sequence[Cell]) -> list[str]:
    evidence = cells[0].evidence
    return list(evidence.populations) if evidence else []


def _beside(
    name: str, names: Sequence[str], cells: Sequence[Cell], alone: Sequence[Cell]
) -> Iterator[Document]:
    voided = [
        f"{finding.code} in {cell.id}"
        for cell in (*cells, *alone)
        for finding in cell.findings
        if finding.void
    ]
    sides = [
        [c.evidence.populations[name] for c in side if c.evidence]
        for side in (cells, alone)
    ]
    for metric in INTERFERENCE:
        difference = compare(
            metric, *sides, population=name, point=cells[0].point, void=voided
        )
        yield {
            "arm": cells[0].arm,
            "beside": [each for each in names if each != name],
            "alone": alone[0].point,
        } | msgspec.to_builtins(difference)
