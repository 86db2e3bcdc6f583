"""What a run measured with, step by step and device by device → rows of tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from djinnload.reading.files import read_document
from djinnload.report.amounts import number
from djinnload.spi import Outcome

__all__ = ("devices", "how", "loads", "outcomes", "steps", "summaries")

Document = dict[str, Any]
_LOOPS = {
    "open": "open: sessions start when they are due, whatever the server does",
    "partly-open": "partly open: sessions start when due, and some come back",
    "closed": "closed: a user waits for its answer before it asks again, which hides "
    "queueing",
}
_STEP_TIMES = ("latency_ms", "service_ms", "queue_ms", "exec_ms")


def summaries(run_dir: Path, cells: Iterable[Document]) -> dict[str, Document]:
    """Return the summaries of cells that have one, by path."""
    paths = (str(cell.get("path")) for cell in cells)
    found = ((path, read_document(run_dir / path / "summary.json")) for path in paths)
    return {path: summary for path, summary in found if summary}


def how(
    run_dir: Path, manifest: Mapping[str, Any], cells: Sequence[Document]
) -> Iterator[tuple[str, str]]:
    """Yield how the run was set up: what, and in words."""
    plan = manifest.get("plan") or {}
    scenario = plan.get("scenario") or {}
    parts = [
        _counted(len({str(cell.get(key)) for cell in cells}), noun)
        for key, noun in (("point", "point"), ("arm", "arm"), ("repeat", "repeat"))
    ]
    order = f", {scenario['order']}" if "order" in scenario else ""
    yield "Cells", f"{len(cells)}, of {', '.join(parts)}{order}"
    times = ("warmup", "duration", "grace")
    told = [f"{name} {_text(scenario[name])}" for name in times if name in scenario]
    if told:
        yield "Each cell", ", ".join(told)
    yield "Seed", f"{manifest.get('seed')}: the same seed gives the same arrivals"
    if changes := (manifest.get("scenario") or {}).get("changes"):
        yield "Changed by hand", _text(changes)
    yield from _server(run_dir, cells)
    if accepted := manifest.get("accepted"):
        yield "Accepted by hand", f"{', '.join(accepted)}: these void nothing here"


def _server(run_dir: Path, cells: Sequence[Document]) -> Iterator[tuple[str, str]]:
    """Yield what answered which arms, and what the first cell says of its host."""
    manifests = [
        read_document(run_dir / str(cell.get("path")) / "manifest.json")
        for cell in cells
    ]
    answered: dict[str, list[str]] = {}
    for each in manifests:
        if each.get("proof"):
            answered.setdefault(_answered(each["proof"]), []).append(str(each["arm"]))
    for what, arms in answered.items():
        named = f" of {', '.join(dict.fromkeys(arms))}" * (len(answered) > 1)
        yield f"Server{named}", what
    found: Document = next((each for each in manifests if each.get("proof")), {})
    server = found.get("server") or {}
    if server.get("shares_host"):
        threads = _counted(int(server.get("threads") or 0), "thread")
        had = f"the server had {threads} at nice {server.get('nice')}"
        yield "Shared host", f"{had}, on the cores of the generator"
    network = found.get("network")
    yield "Network", _text(network) if network else "none in between was asked for"
    if found.get("workers"):
        yield "Generator", f"{len(found['workers'])} worker processes"


def _answered(proof: Mapping[str, Any]) -> str:
    own = ", the embedded reference server: it is not Djinn"
    what = f"{proof.get('kind')} at {proof.get('address')}"
    return what.removesuffix(" at ") + own * bool(proof.get("embedded"))


def loads(manifest: Mapping[str, Any], rows: Sequence[Document]) -> Iterator[Document]:
    """Yield of each population what it asks, and how it comes."""
    seen = {row["name"]: row for row in rows}
    for each in (manifest.get("plan") or {}).get("population") or ():
        row = seen.get(each.get("name"), {})
        workload = dict(each.get("workload") or {})
        arrival = dict(each.get("arrival") or {})
        use, process = workload.pop("use", "–"), arrival.pop("process", "")
        users = each.get("users")
        comes = ", ".join(
            part
            for part in (
                f"{process} ({_text(arrival)})" if process else "",
                f"{users} users" if users else "",
                f"think {_text(each['think'])}" if each.get("think") else "",
            )
            if part
        )
        yield {
            "name": each.get("name"),
            "qos_class": each.get("qos_class") or "–",
            "workload": f"{use} ({_text(workload)})" if workload else use,
            "arrivals": comes or "–",
            "loop": _LOOPS.get(str(row.get("loop")), "–"),
            "deadline": each.get("deadline") or "–",
            "timeout": each.get("timeout") or "60s",
        }


def outcomes(rows: Sequence[Document]) -> Document:
    """Return the outcomes that occurred, ok first, and of each row how many."""
    every = [str(each) for each in Outcome]
    seen = [
        name
        for name in every
        if name == Outcome.OK
        or any((row.get("outcomes") or {}).get(name) for row in rows)
    ]
    return {
        "names": seen,
        "rows": [
            {"row": row, "counts": counts, "total": total}
            for row in rows
            if (counts := [int((row.get("outcomes") or {}).get(n) or 0) for n in seen])
            and (total := sum(counts))
        ],
    }


def steps(found: Iterable[Document]) -> list[Document]:
    """Return the steps of populations that have several, all repeats together.

    Means are of all requests; of p95 the least and the largest of any repeat.
    """
    groups: dict[tuple[str, str, str, str], list[Document]] = {}
    for cell in found:
        for name, population in (cell.get("populations") or {}).items():
            by_step = population.get("by_step") or {}
            for step, told in by_step.items() if len(by_step) > 1 else ():
                key = (str(cell.get("point")), name, str(cell.get("arm")), step)
                groups.setdefault(key, []).append(told)
    return [
        {"point": point, "name": name, "arm": arm, "step": step}
        | {"n": sum(each["n"] for each in told)}
        | {
            key: _pooled_mean([each.get(key) or {} for each in told])
            for key in _STEP_TIMES
        }
        | {"p95": _range([(each.get("latency_ms") or {}).get("p95") for each in told])}
        for (point, name, arm, step), told in groups.items()
    ]


def _pooled_mean(times: Sequence[Mapping[str, Any]]) -> float | None:
    known = [t for t in times if t.get("n") and isinstance(t.get("mean"), int | float)]
    n = sum(each["n"] for each in known)
    return sum(each["n"] * each["mean"] for each in known) / n if n else None


def _range(values: Iterable[object]) -> str:
    known = [each for each in values if isinstance(each, int | float)]
    if not known:
        return "n too small"
    low, high = number(min(known)), number(max(known))
    return low if low == high else f"{low} to {high}"


def devices(found: Iterable[Document]) -> list[Document]:
    """Return what GPUs said in measure: mean of all repeats, and the largest of any."""
    groups: dict[tuple[str, str, str, str], list[Document]] = {}
    for cell in found:
        for each in cell.get("gpu") or ():
            for name, told in each.items():
                if name != "device" and isinstance(told, dict):
                    key = (str(cell.get("point")), str(cell.get("arm")))
                    place = (*key, str(each.get("device")), name)
                    groups.setdefault(place, []).append(told)
    return [
        {"point": point, "arm": arm, "device": device, "reading": name}
        | {"mean": sum(each["mean"] for each in told) / len(told)}
        | {"max": max(each["max"] for each in told), "cells": len(told)}
        for (point, arm, device, name), told in groups.items()
    ]


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)
