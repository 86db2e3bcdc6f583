"""What an allocator's memory looked like while it was used: probes → numbers; pure.

A server that allocates says so in its ``/metrics/vmu`` (docs/server.md), read as often
as ``probes.vmu`` says. Times of allocations are no probes: they are ``exec`` of turns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import structs

from djinnload.health.cell import CellEvidence
from djinnload.stats.populations import Array
from djinnload.summary.measured import NO_INTERVAL, Measured, of_repeats
from djinnload.summary.run import Cell, groups

__all__ = ("SHARES", "course", "mean", "memory_of_cell", "memory_of_run")

Document = dict[str, Any]

#: Quantities of claims, 0 to 1, by the name of what is read.
SHARES: Mapping[str, str] = {
    "fragmentation": "memory_fragmentation",
    "utilisation": "memory_utilisation",
}
_LEVELS = {
    **SHARES,
    "requested_bytes": "memory_requested_bytes",
    "reserved_bytes": "memory_reserved_bytes",
}
_COUNTS = ("allocations", "canaries_checked", "corrupted")


def course(evidence: CellEvidence, name: str) -> tuple[Array, Array]:
    """Return when *name* was read in measure, in seconds since it began, and values."""
    return evidence.course(name, source="vmu")


def mean(name: str, cells: Sequence[CellEvidence]) -> Measured:
    """Return the mean over time of one of `SHARES`; None: a cell did not say it."""
    known = [v for each in cells if len(v := course(each, SHARES[name])[1])]
    if len(known) < len(cells) or not known:
        return Measured(None, None, 0, NO_INTERVAL)
    made = of_repeats([float(values.mean()) for values in known])
    return structs.replace(made, n=sum(map(len, known)), of="looks")


def memory_of_cell(evidence: CellEvidence) -> Document | None:
    """Return ``memory`` of a cell; None: no allocator was looked at.

    ``mean`` and ``max`` over time of what is a level, None where the allocator cannot
    know it; what is counted, while it was looked at in measure.
    """
    looks = len(course(evidence, "memory_blocks")[1])
    if not looks:
        return None
    return {
        "looks": looks,
        **{name: _level(evidence, read) for name, read in _LEVELS.items()},
        **{name: _count(evidence, f"memory_{name}") for name in _COUNTS},
    }


def memory_of_run(cells: Sequence[Cell]) -> Document:
    """Return ``memory`` of a run: a row an arm and point, all repeats together.

    Means are over time and repeats, with their interval from five repeats on.
    """
    rows: list[Document] = []
    for (arm, point), several in groups(c for c in cells if c.evidence).items():
        evidence = [each.evidence for each in several if each.evidence]
        found = [made for each in evidence if (made := memory_of_cell(each))]
        if not found:
            continue
        shares = {name: mean(name, evidence) for name in SHARES}
        rows.append(
            {
                "arm": arm,
                "point": point,
                "repeats": len(found),
                **{name: structs.asdict(each) for name, each in shares.items()},
                **{name: sum(each[name] for each in found) for name in _COUNTS},
            }
        )
    return {"memory": rows}


def _level(evidence: CellEvidence, name: str) -> Document | None:
    values = course(evidence, name)[1]
    if not len(values):
        return None
    return {"mean": float(np.mean(values)), "max": float(np.max(values))}


def _count(evidence: CellEvidence, name: str) -> int:
    values = course(evidence, name)[1]
    return int(values[-1] - values[0]) if len(values) else 0
