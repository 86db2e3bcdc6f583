"""Objectives of ``[scenario]``: what a whole cell must reach, as its probes saw it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import structs

from djinnload import objective
from djinnload.health.cell import CellEvidence
from djinnload.stats.populations import Array

__all__ = ("decisions", "listed", "utilisation")

SOURCE = "nvml"


def utilisation(evidence: CellEvidence) -> Array:
    """Return the share of time that the GPUs were busy, at each look in measure.

    Of several GPUs it is their mean. Empty: none was looked at, or none tells.
    """
    series = [_inside(evidence, device) for device in _devices(evidence)]
    n = min(map(len, series), default=0)
    if not n:
        return np.empty(0)
    busy: Array = np.mean([each[:n] for each in series], axis=0)
    return busy


def _devices(evidence: CellEvidence) -> list[str]:
    if evidence.probes is None:
        return []
    pairs = evidence.probes.select(["source", "device"]).group_by(["source", "device"])
    rows = pairs.aggregate([]).to_pylist()
    return sorted(row["device"] for row in rows if row["source"] == SOURCE)


def _inside(evidence: CellEvidence, device: str) -> Array:
    return evidence.course("util", source=SOURCE, device=device)[1]


def decisions(repeats: Sequence[CellEvidence]) -> list[objective.Decision]:
    """Decide the objectives of cells of one arm and point, all repeats together.

    Their ``n`` counts looks at the GPUs, not turns.
    """
    texts = repeats[0].manifest.get("objectives") or ()
    busy = [utilisation(each) for each in repeats] if texts else []
    known = [each for each in busy if len(each)]
    # A repeat without readings is no repeat with a GPU at rest, but not one left out.
    probe = known if len(known) == len(busy) else []
    decided = [objective.decide(objective.parse(t), (), probe=probe) for t in texts]
    looks = sum(map(len, probe))
    return [structs.replace(each, n=looks, needed=None) for each in decided]


def listed(
    decided: Sequence[objective.Decision], arm: str, point: str, *, judged: bool
) -> list[Mapping[str, Any]]:
    """Return *decided* as the root summary has them."""
    place = {"arm": arm, "point": point, "judged": judged}
    return [{**place, **msgspec.to_builtins(each)} for each in decided]
