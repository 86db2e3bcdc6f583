"""What a cell, and a run, came to: ``summary.json`` and ``intervals.hlog``.

Made from the directory alone: the same after a run, from ``djinnload report``, and of a
run that was killed, whose cells are then missing or failed.
"""

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from djinnload import cell_objectives, objective
from djinnload.errors import ScenarioError
from djinnload.findings import Finding, void
from djinnload.health import surroundings
from djinnload.health.cell import CellEvidence, judge_cell, not_applicable
from djinnload.health.generator import cpu_shares
from djinnload.reading import columns, hlog, packing
from djinnload.reading.files import (
    read_document,
    read_json,
    read_marks,
    read_probes,
    sample_groups,
    write_json,
)
from djinnload.stats import grouping
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary import claimed, classes, effects, fairness, scaling, spread
from djinnload.summary import numbers as summarize
from djinnload.summary.memory import memory_of_cell, memory_of_run
from djinnload.summary.numbers import turn_times
from djinnload.summary.run import Cell, curves, run_summary

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("evidence_of", "fold_cell", "fold_run", "read_cell", "read_run")

Document = dict[str, Any]

SCHEMA = 1
#: Parents of a cell's directory: arm, point, cells, run.
_ROOT = 3
_HLOG_METRICS = ("latency", "service", "lateness")
#: Of probes that describe GPUs, a device each.
_GPU_SOURCES = ("gpu", "nvml")
_UNREADABLE = (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError)


@packing.reused()
def fold_cell(
    cell_dir: Path,
    *,
    calibration: Mapping[str, Any] | None = None,
    accepted: Collection[str] = (),
) -> Document:
    """Write a cell's summary.json and intervals.hlog; return the former.

    Args:
        cell_dir: Holds manifest.json and samples.
        calibration: calibration.json; None: nothing was calibrated.
        accepted: Codes of ``--accept``, which void nothing.

    Raises:
        OSError: There is no manifest, or no room.
        ValueError: A time is beyond what an hlog can hold (24 h), or negative.
    """
    return _fold(Path(cell_dir), evidence_of(Path(cell_dir), calibration), accepted)[0]


@packing.reused()
def fold_run(run_dir: Path) -> Document:
    """Write a run's summary.json, repair its index.json; return the former.

    Every complete cell is folded again, so that no summary is older than its samples.
    A cell that was planned and never begun is ``missing``; one that was not finished,
    or cannot be read, is ``failed``; neither counts in any number.
    """
    run_dir = Path(run_dir)
    manifest = read_document(run_dir / "manifest.json")
    calibration = read_document(run_dir / "calibration.json") or None
    index = read_document(run_dir / "index.json")
    cells = [
        read_cell(run_dir, entry, calibration, manifest.get("accepted") or ())
        for entry in index.get("cells") or _found(run_dir)
    ]
    if index:
        _repair(run_dir, index, cells)
    found = (
        run_summary(manifest, cells)
        | scaling.of_run(manifest, cells)
        | effects.of_run(manifest, cells)
        | classes.of_run(cells)
        | memory_of_run(cells)
        | {"marks": read_marks(run_dir)}
    )
    summary = summarize.finite(found | claimed.of_run(manifest, cells, found))
    write_json(run_dir / "curves.json", curves(cells))
    write_json(run_dir / "summary.json", summary)
    return dict(summary)


@packing.reused()
def read_run(run_dir: Path) -> tuple[Document, tuple[Cell, ...]]:
    """Return a run's manifest and its cells, judged; writes nothing.

    Raises:
        ScenarioError: It holds no manifest.
    """
    run_dir = Path(run_dir)
    if not (manifest := read_document(run_dir / "manifest.json")):
        reason = "holds no manifest.json; give the directory that a run printed"
        raise ScenarioError(str(run_dir), reason)
    calibration = read_document(run_dir / "calibration.json") or None
    entries = read_document(run_dir / "index.json").get("cells") or _found(run_dir)
    accepted = manifest.get("accepted") or ()
    return manifest, tuple(
        read_cell(run_dir, entry, calibration, accepted, write=False)
        for entry in entries
    )


def evidence_of(
    cell_dir: Path,
    calibration: Mapping[str, Any] | None,
    manifest: Document | None = None,
) -> CellEvidence:
    """Return all that a cell's directory has to say, not judged.

    A *manifest* stands in for its own; OSError if there is none.
    """
    manifest = manifest or read_json(cell_dir / "manifest.json")
    probes = read_probes(cell_dir)
    samples = sample_groups(cell_dir, (*columns.NEEDED, "qos_class_resolved"))
    resolved: dict[str, dict[str, int]] = {}
    populations, others = grouping.populations(_noted(samples, resolved), manifest)
    return CellEvidence(
        populations=populations,
        probes=probes if probes.num_rows else None,
        manifest=manifest,
        calibration=calibration,
        other_flights=others,
        resolved=resolved,
    )


def _noted(
    tables: "Iterable[pa.Table]", found: dict[str, dict[str, int]]
) -> "Iterator[pa.Table]":
    """Yield *tables*; count in *found* how many replies told which QoS class."""
    for table in tables:
        name, names = columns.codes(table["population"])
        said, classes = columns.codes(table["qos_class_resolved"])
        counts = np.bincount(
            (name * len(classes) + said)[said >= 0], minlength=len(names) * len(classes)
        )
        for i, j in np.argwhere(counts.reshape(len(names), len(classes))):
            if classes[j]:
                by = found.setdefault(names[i], {})
                by[classes[j]] = by.get(classes[j], 0) + int(
                    counts[i * len(classes) + j]
                )
        yield table


def _fold(
    cell_dir: Path, evidence: CellEvidence, accepted: Collection[str], *more: Finding
) -> tuple[Document, tuple[Finding, ...]]:
    unfit = not_applicable(evidence)
    findings = (*judge_cell(evidence, accepted=accepted, unfit=unfit), *more)
    made = {"schema": SCHEMA, "scenario": _scenario(cell_dir)}
    summary = summarize.finite(made | _cell_summary(evidence, findings, unfit))
    _write_hlog(cell_dir / "intervals.hlog", evidence)
    write_json(cell_dir / "summary.json", summary)
    return summary, findings


def _scenario(cell_dir: Path) -> str | None:
    """Return the name in the root manifest; None for a cell that lies elsewhere."""
    above = cell_dir.resolve().parents
    if len(above) <= _ROOT or above[_ROOT - 1].name != "cells":
        return None
    scenario = read_document(above[_ROOT] / "manifest.json").get("scenario")
    name = scenario.get("name") if isinstance(scenario, dict) else None
    return None if name is None else str(name)


def _cell_summary(
    evidence: CellEvidence, findings: tuple[Finding, ...], unfit: Mapping[str, str]
) -> Document:
    manifest = evidence.manifest
    proof = manifest.get("proof") or {}
    plans = manifest.get("populations") or {}
    return {
        **{key: manifest.get(key) for key in ("point", "arm", "repeat", "complete")},
        "interrupted": bool(manifest.get("interrupted")),
        "verdict": msgspec.to_builtins(objective.run_verdict((), findings)),
        "not_applicable": unfit,
        "proof": proof,
        "populations": {
            name: _population(samples, plans.get(name) or {}, manifest)
            for name, samples in evidence.populations.items()
        },
        "fairness": fairness.of_cell(evidence),
        "gaps": surroundings.gaps(manifest),
        "generator": generator(evidence),
        "target": {key: proof.get(key) for key in ("kind", "address", "embedded")},
        "gpu": gpu(evidence),
        "memory": memory_of_cell(evidence),
        "objectives": msgspec.to_builtins(cell_objectives.decisions([evidence])),
    }


def _population(
    samples: PopulationSamples, plan: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Document:
    packing.give_back()
    made = summarize.population(samples, plan, manifest.get("proof") or {})
    surroundings.mark_lost(made["windows"], surroundings.gaps(manifest))
    return made


def generator(evidence: CellEvidence) -> Document:
    """Return how well the generator kept its own schedule; None: not recorded."""
    lateness = [
        turn_times(each.turns, "lateness") for each in evidence.populations.values()
    ]
    late = np.concatenate(lateness) if lateness else np.empty(0)
    _, lags = evidence.probe("loop_lag_ns") if evidence.probes else ((), np.empty(0))
    _, pauses = evidence.probe("gc_pause_ns") if evidence.probes else ((), np.empty(0))
    shares = cpu_shares(evidence)
    made = {
        "lateness_us": spread.spread_of(late / 1e3),
        "loop_lag_us": spread.spread_of(lags / 1e3) if len(lags) else None,
        "cpu": max(shares.values(), default=None),
        "gc_ms": spread.spread_of(pauses / 1e6) if evidence.probes else None,
        "dropped": evidence.manifest.get("dropped"),
    }
    if len(evidence.workers) > 1:
        made["workers"] = [_worker(evidence, worker) for worker in evidence.workers]
    return made


def _worker(evidence: CellEvidence, worker: str) -> Document:
    _, lags = evidence.probe("loop_lag_ns", device=worker)
    return {
        "worker": worker,
        "cpu": cpu_shares(evidence).get(worker),
        "loop_lag_us": spread.spread_of(lags / 1e3) if len(lags) else None,
    }


def gpu(evidence: CellEvidence) -> list[Document] | None:
    """Return mean and max of what each GPU reported in measure; None: nothing did."""
    if evidence.probes is None:
        return None
    begin, end = evidence.window_ns
    devices: dict[str, dict[str, list[float]]] = {}
    mine = np.isin(columns.texts(evidence.probes["source"]).astype(str), _GPU_SOURCES)
    for row in evidence.probes.filter(mine).to_pylist():
        if begin <= row["t_ns"] <= end:
            named = devices.setdefault(row["device"], {})
            named.setdefault(row["name"], []).append(row["value"])
    made = [
        {"device": device}
        | {k: {"mean": float(np.mean(v)), "max": max(v)} for k, v in named.items()}
        for device, named in devices.items()
    ]
    return made or None


def _write_hlog(path: Path, evidence: CellEvidence) -> None:
    begin, _ = evidence.window_ns
    # One after the other: all together they are larger than the samples.
    series = (
        (f"{name}.{metric}", *_timed(samples, metric))
        for name, samples in evidence.populations.items()
        for metric in _HLOG_METRICS
    )
    text = "\n".join(hlog.hlog_lines(series, begin_ns=begin)) + "\n"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".hlog.")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def _timed(samples: PopulationSamples, metric: str) -> tuple[Array, Array]:
    """Return done and value of the turns that `summarize.turn_times` shows."""
    turns = samples.turns
    values = getattr(turns, f"{metric}_ns")
    known = np.isfinite(values)
    if metric != "lateness":
        known &= turns.ok
    return turns.done_ns[known], values[known]


def _found(run_dir: Path) -> Iterable[Document]:
    """Return what an index would say of the cells that have a directory."""
    for manifest in sorted((run_dir / "cells").glob("*/*/r*/manifest.json")):
        point, arm, repeat = manifest.parent.parts[-3:]
        yield {
            "id": f"{point}/{arm}/{repeat}",
            "arm": arm,
            "repeat": int(repeat[1:]) if repeat[1:].isdigit() else None,
            "path": str(manifest.parent.relative_to(run_dir)),
        }


def read_cell(
    run_dir: Path,
    entry: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
    accepted: Collection[str],
    *,
    write: bool = True,
) -> Cell:
    """Judge one cell, whatever state it is in.

    Args:
        run_dir: Of its run.
        entry: Its entry in index.json.
        calibration: calibration.json; None: nothing was calibrated.
        accepted: Codes of ``--accept``, which void nothing.
        write: Its summary.json and intervals.hlog too.
    """
    path = run_dir / str(entry.get("path") or f"cells/{entry.get('id')}")
    manifest = read_document(path / "manifest.json")
    if not (path / "manifest.json").exists():
        skipped = entry.get("status") == "skipped"
        return Cell(entry, "skipped" if skipped else "missing")
    if not manifest.get("complete"):
        error = _broke_off(path)
        if write:
            _fold_broken(path, manifest, calibration, error)
        lost = tuple(surroundings.lost_in(manifest))
        return Cell(entry, "failed", manifest, findings=lost, error=error)
    try:
        evidence = evidence_of(path, calibration)
        if write:
            summary, findings = _fold(path, evidence, accepted)
        else:
            summary, findings = None, judge_cell(evidence, accepted=accepted)
    except _UNREADABLE as error:
        why = f"{type(error).__name__}: {error}"
        return Cell(entry, "failed", manifest=manifest, error=why)
    status = "void" if any(each.void for each in findings) else "done"
    return Cell(entry, status, manifest, evidence, summary, findings)


def _broke_off(cell_dir: Path) -> str:
    """Return what is left of a cell that did not come to its end."""
    n = sum(table.num_rows for table in sample_groups(cell_dir, ("worker", "seq")))
    return f"broke off after {n:,} requests, which are in its samples"


def _fold_broken(
    cell_dir: Path,
    manifest: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
    error: str,
) -> None:
    """Write the summary of what there is up to the last row; it voids itself.

    Nothing if not even measure had begun.
    """
    window = manifest.get("window") or {}
    last = max(
        (
            int(columns.integers(table["done_ns"]).max())
            for table in sample_groups(cell_dir, ("worker", "seq", "done_ns"))
            if table.num_rows
        ),
        default=0,
    )
    if last <= window.get("begin_ns", last):
        return
    ended = {"end_ns": window.get("end_ns") or last, "finished_ns": last}
    cut = {**manifest, "interrupted": True, "window": {**window, **ended}}
    incomplete = void("INCOMPLETE", f"{error}; run it again", 0.0)
    with contextlib.suppress(*_UNREADABLE):
        _fold(cell_dir, evidence_of(cell_dir, calibration, cut), (), incomplete)


def _repair(run_dir: Path, index: Document, cells: Iterable[Cell]) -> None:
    entries = [dict(cell.entry) | {"status": cell.status} for cell in cells]
    if entries != index.get("cells"):
        write_json(run_dir / "index.json", index | {"cells": entries})
