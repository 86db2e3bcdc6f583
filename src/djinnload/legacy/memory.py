"""Results of 3.2 in the original's shape: a file an arm, an event an allocation."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from djinnload.legacy.study import Cell, Study
from djinnload.reading.files import read_probes, sample_groups
from djinnload.sample import MEASURE
from djinnload.spi import Outcome
from djinnload.summary import spread

__all__ = ("allocations",)

Document = dict[str, Any]
Files = dict[str, Document]

_COLUMNS = ("user", "session", "phase", "outcome", "done_ns", "server_exec_ns")
_PREFIX = "memory_"


def allocations(study: Study) -> Files:
    """Return a file an arm at each point; latency is the server's word for the call."""
    every = list(study.groups())
    return {
        (arm if len(every) == 1 else f"{arm}-{point}"): _file(study, arm, cells)
        for point, arms in every
        for arm, cells in arms.items()
    }


def _file(study: Study, arm: str, cells: Sequence[Cell]) -> Document:
    events = [event for cell in cells for event in _events(study, cell)]
    looks = [look for cell in cells for look in _looks(study, cell)]
    target = cells[0].document.get("target") or {}
    return {
        "allocator": (cells[0].manifest.get("behaviours") or {}).get("memory", arm),
        "device": str((target.get("server") or {}).get("device", "cpu")),
        "duration_s": sum(cell.seconds for cell in cells),
        "events": events,
        "session_metrics": looks,
        "summary": _summary([each["latency_us"] for each in events], looks),
        "final_metrics": looks[-1] if looks else None,
        "provenance": study.provenance(),
    }


def _events(study: Study, cell: Cell) -> Iterator[Document]:
    for table in sample_groups(cell.path, _COLUMNS):
        for row in table.to_pylist():
            exec_ns = row["server_exec_ns"]
            good = row["phase"] == MEASURE and row["outcome"] == Outcome.OK
            if good and exec_ns is not None:
                yield {
                    "kind": "alloc",
                    "session_id": f"{row['user']}/{row['session']}",
                    "size_mb": None,
                    "size_bytes": None,
                    "offset": None,
                    "latency_us": exec_ns / 1000,
                    "timestamp": study.wall_s(row["done_ns"]),
                }


def _looks(study: Study, cell: Cell) -> Iterator[Document]:
    """Yield what the server said of its memory, at each look in measure."""
    window = cell.manifest["window"]
    found: dict[int, Document] = {}
    for row in read_probes(cell.path).to_pylist():
        inside = window["begin_ns"] <= row["t_ns"] <= window["end_ns"]
        if row["source"] == "vmu" and inside and row["name"].startswith(_PREFIX):
            name = row["name"].removeprefix(_PREFIX)
            found.setdefault(row["t_ns"], {})[name] = row["value"]
    for t_ns, said in sorted(found.items()):
        yield {
            "allocated_bytes": said.get("allocated_bytes"),
            "reserved_bytes": said.get("reserved_bytes"),
            "fragmentation_ratio": said.get("fragmentation"),
            "utilization": said.get("utilisation"),
            "active_sessions": said.get("sessions"),
            "timestamp": study.wall_s(t_ns),
        }


def _summary(latencies: Sequence[float], looks: Sequence[Document]) -> Document:
    found = spread.spread_of(np.array(latencies, float))
    used = _mean([each["utilization"] for each in looks])
    return {
        "num_events": len(latencies),
        "avg_latency_us": found["mean"],
        "p50_latency_us": found["p50"],
        "p95_latency_us": found["p95"],
        "p99_latency_us": found["p99"],
        "data_utilization_pct": None if used is None else 100 * used,
        "fragmentation_ratio": _mean([each["fragmentation_ratio"] for each in looks]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None
