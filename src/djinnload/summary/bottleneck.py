"""What a run at a load was held up by, as far as its data tell; pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload import cell_objectives
from djinnload.findings import Finding
from djinnload.health.generator import cpu_shares
from djinnload.stats.populations import PopulationSamples
from djinnload.summary import numbers as summarize

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = ("GENERATOR", "GPU_BUSY", "found", "said")

Document = dict[str, Any]

#: Reasons that lie with the generator or its host, never with the server.
GENERATOR = ("LATE", "CPU", "LOOP_STALL", "UNDELIVERED", "DROPPED", "ARRIVALS")
#: A GPU that ran something for this part of the time is what the others wait for.
GPU_BUSY = 0.90
_PARTS = {
    "queue": "server_queue",
    "compute": "server_compute",
    "transfer": "network",
    "idle": "sessions",
}
_WORDS = {
    "generator": "the generator or its host",
    "gpu": "the GPU",
    "server_queue": "the server's queue",
    "server_compute": "the server's compute",
    "network": "transfer: network, framing, and the client",
    "sessions": "pauses of the sessions themselves",
}


def found(
    cells: Sequence["CellEvidence"],
    repeats: Sequence[PopulationSamples],
    findings: Sequence[Finding],
) -> Document | None:
    """Return what held up the cells of one arm and load; None: nothing is known.

    The generator, if a rule about it voided one of them: then the rest says nothing of
    the server. Else a GPU that is busy; else where a turn spent most of its time.

    Args:
        cells: Of the repeats.
        repeats: Their populations that the load is of.
        findings: What the rules found in these cells.

    Returns:
        ``what`` (``generator``, ``gpu``, ``server_queue``, ``server_compute``,
        ``network``, ``sessions``), and the evidence: ``codes`` of the generator's
        rules, ``time_share`` (of a turn, by part of ``time_split_ms``), and means in
        measure of ``gpu_util``, ``host_cpu`` (of all cores) and ``generator_cpu`` (of
        one core, the busiest worker's); None: not measured.
    """
    codes = sorted({f.code for f in findings if f.void and f.code in GENERATOR})
    split = summarize.time_split(repeats)
    known = {part: ms for part, ms in split.items() if ms is not None}
    whole = sum(known.values())
    shares = {part: ms / whole for part, ms in known.items()} if whole else {}
    evidence: Document = {
        "codes": codes,
        "time_share": shares,
        "gpu_util": _mean([cell_objectives.utilisation(each) for each in cells]),
        "host_cpu": _mean([_host_cpu(each) for each in cells]),
        "generator_cpu": _mean([_generator_cpu(each) for each in cells]),
    }
    if codes:
        return {"what": "generator"} | evidence
    if (evidence["gpu_util"] or 0) >= GPU_BUSY:
        return {"what": "gpu"} | evidence
    if not shares:
        return None
    return {"what": _PARTS[max(shares, key=shares.__getitem__)]} | evidence


def said(bottleneck: Document | None) -> str | None:
    """Return what `found` found, with its evidence, in a line."""
    if bottleneck is None:
        return None
    what = bottleneck["what"]
    if what == "generator":
        return f"{_WORDS[what]}: {', '.join(bottleneck['codes'])}"
    said = [f"{s:.0%} {part}" for part, s in bottleneck["time_share"].items() if s]
    parts = [f"a turn's time is {', '.join(said)}"] if said else []
    for key, words in (("gpu_util", "GPU"), ("host_cpu", "host's CPU")):
        if bottleneck[key] is not None:
            parts.append(f"{words} {bottleneck[key]:.0%} busy")
    return f"{_WORDS[what]} ({'; '.join(parts)})"


def _mean(series: Sequence[Any]) -> float | None:
    """Return the mean over repeats of what each of them saw on average."""
    known = [float(np.mean(each)) for each in series if len(each)]
    return float(np.mean(known)) if known else None


def _host_cpu(evidence: "CellEvidence") -> Any:
    return evidence.course("cpu_share", source="host")[1]


def _generator_cpu(evidence: "CellEvidence") -> list[float]:
    shares = cpu_shares(evidence)
    return [max(shares.values())] if shares else []
