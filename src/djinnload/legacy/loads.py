"""Results of 4.1 and 4.2 in the original's shapes: requests under an open load."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from djinnload.legacy.study import Cell, Study, Turn, ratio
from djinnload.summary import spread

__all__ = ("production", "qos", "sweep")

Document = dict[str, Any]
Files = dict[str, Document]


def sweep(study: Study) -> Files:
    """Return a file an arm: a row a number of users."""
    arms: dict[str, list[list[Cell]]] = {}
    for _, found in study.groups():
        for arm, cells in found.items():
            arms.setdefault(arm, []).append(cells)
    return {arm: _levels(study, levels) for arm, levels in arms.items()}


def _levels(study: Study, levels: Sequence[list[Cell]]) -> Document:
    rows = [_level(cells) for cells in levels]
    one = next((each for each in rows if each["concurrency"] == 1), None)
    for each in rows:
        alone = one["throughput_tokens_per_s"] if one else None
        share = ratio(each["throughput_tokens_per_s"], alone)
        many = each["concurrency"]
        known = share is not None and bool(many)
        each["efficiency_pct"] = 100 * (share or 0) / many if known else None
    first = levels[0][0]
    return {
        "metadata": {
            "model": first.workload.get("model"),
            "driver": "djinnload",
            "timestamp": _when(study),
            "duration_s": first.seconds,
            "config_path": study.manifest["scenario"]["path"],
        },
        "results": rows,
        "provenance": study.provenance(),
    }


def _level(cells: Sequence[Cell]) -> Document:
    turns = [turn for cell in cells for turn in cell.turns]
    good = [turn for turn in turns if turn.ok]
    # Work that was done within measure; what was still under way is not in it.
    done = sum(
        turn.units
        for cell in cells
        for turn in cell.turns
        if turn.ok and turn.done_ns <= cell.manifest["window"]["end_ns"]
    )
    seconds = sum(cell.seconds for cell in cells)
    users = cells[0].document["population"][0].get("users")
    gpus = [cell.gpu()["gpu_util_pct"] for cell in cells]
    known = [each for each in gpus if each is not None]
    return {
        "concurrency": users if isinstance(users, int) else None,
        "requests_total": len(turns),
        "tokens_per_request": ratio(sum(t.units for t in good), len(good)),
        "latency_ms": _percentiles(good, ("p50", "p90", "p99")),
        "throughput_tokens_per_s": done / seconds,
        "gpu_util_pct": sum(known) / len(known) if known else None,
        "efficiency_pct": None,
        "notes": f"{len(cells)} repeats; {len(turns) - len(good)} requests failed",
    }


def qos(study: Study) -> Files:
    """Return a file a policy, which is an arm, at each load."""
    every = list(study.groups())
    return {
        (arm if len(every) == 1 else f"{arm}-{point}"): {
            "metadata": {
                "driver": "djinnload",
                "policy": arm,
                "timestamp": _when(study),
                "config_path": study.manifest["scenario"]["path"],
                "duration_s": cells[0].seconds,
            },
            "metrics": {
                "per_class": {
                    each["name"]: _class(cells, each)
                    for each in cells[0].document["population"]
                },
                "total_requests": sum(len(cell.turns) for cell in cells),
                "policy": arm,
                "duration_s": sum(cell.seconds for cell in cells),
            },
            "provenance": study.provenance(),
        }
        for point, arms in every
        for arm, cells in arms.items()
    }


def _class(cells: Sequence[Cell], population: Document) -> Document:
    name = population["name"]
    turns = [t for cell in cells for t in cell.turns if t.population == name]
    deadline_ns = cells[0].manifest["populations"][name]["deadline_ns"]
    # A turn that failed kept no promise; a refusal must not improve the rate.
    broken = sum(not t.ok or 1e6 * t.latency_ms > (deadline_ns or 0) for t in turns)
    return {
        "count": len(turns),
        "latency_ms": _percentiles([t for t in turns if t.ok], ("p50", "p90", "p99")),
        "sla_violation_rate": ratio(broken, len(turns)) if deadline_ns else None,
    }


def production(study: Study) -> Files:
    """Return a file an arm at each load: all classes pooled, and each."""
    every = list(study.groups())
    return {
        (arm if len(every) == 1 else f"{arm}-{point}"): {
            "config": cells[0].document,
            "metrics": _metrics(study, cells),
            "raw_metrics": [_raw(study, turn) for cell in cells for turn in cell.turns],
            "provenance": study.provenance(),
        }
        for point, arms in every
        for arm, cells in arms.items()
    }


def _metrics(study: Study, cells: Sequence[Cell]) -> Document:
    seconds = sum(cell.seconds for cell in cells)
    turns = [turn for cell in cells for turn in cell.turns]
    names = [each["name"] for each in cells[0].document["population"]]
    gpus = [cell.gpu() for cell in cells]
    used = [each["gpu_util_pct"] for each in gpus if each["gpu_util_pct"] is not None]
    memory = [each["mem_used_mb"] for each in gpus if each["mem_used_mb"] is not None]
    whole = _counted(turns, seconds)
    latency = _percentiles([t for t in turns if t.ok], ("p50", "p90", "p95", "p99"))
    return {
        "duration_seconds": seconds,
        **{key: whole[key] for key in whole if not key.startswith("latency")},
        **{f"latency_ms_{name}": value for name, value in latency.items()},
        "gpu_utilization_pct": sum(used) / len(used) if used else None,
        "gpu_utilization_samples": used,
        "gpu_memory_used_mb": sum(memory) / len(memory) if memory else None,
        "per_class_metrics": {
            name: _counted([t for t in turns if t.population == name], seconds)
            for name in names
        },
        "sla_violations": _violations(study, cells),
    }


def _counted(turns: Sequence[Turn], seconds: float) -> Document:
    good = [turn for turn in turns if turn.ok]
    latency = _percentiles(good, ("p50", "p99"))
    return {
        "total_requests": len(turns),
        "successful_requests": len(good),
        "failed_requests": len(turns) - len(good),
        "error_rate": ratio(len(turns) - len(good), len(turns)),
        "latency_ms_p50": latency["p50"],
        "latency_ms_p99": latency["p99"],
        "throughput_per_s": len(good) / seconds,
    }


def _violations(study: Study, cells: Sequence[Cell]) -> Document:
    """Return whether the agreement is broken, as the objectives were decided.

    None where no objective says it, or it could not be decided.
    """
    at = study.summary["arms"][cells[0].arm][cells[0].point]
    decided = [each for found in at.values() for each in found["objectives"]]
    decided += [
        each
        for each in study.summary.get("objectives") or ()
        if (each["arm"], each["point"]) == (cells[0].arm, cells[0].point)
    ]
    return {
        "p99_latency": _broken(decided, "p99(latency)"),
        "error_rate": _broken(decided, "error_rate"),
        "gpu_utilization": _broken(decided, "gpu_util"),
    }


def _broken(decided: Iterable[Document], metric: str) -> bool | None:
    met = [each["met"] for each in decided if each["text"].startswith(metric)]
    if False in met:
        return True
    return None if not met or None in met else False


def _raw(study: Study, turn: Turn) -> Document:
    return {
        "user_id": turn.session[0],
        "user_class": turn.population,
        "latency_ms": turn.latency_ms if turn.ok else None,
        "success": turn.ok,
        "timestamp": study.wall_s(turn.done_ns),
    }


def _percentiles(turns: Sequence[Turn], names: Sequence[str]) -> Document:
    if not turns:
        return dict.fromkeys(names)
    found = spread.spread_of(np.array([turn.latency_ms for turn in turns]))
    return {name: found[name] for name in names}


def _when(study: Study) -> str:
    seconds = study.manifest["anchor"]["wall_ns"] / 1e9
    return datetime.fromtimestamp(seconds, UTC).isoformat()
