"""A run's directory → all that its page says, and the files of its figures."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from djinnload.reading.files import read_document
from djinnload.report import (
    comparison_figures,
    course_figures,
    device_figures,
    distributions,
    evidence,
    heat_figures,
    sweep_figures,
    turn_figures,
)
from djinnload.report.drawn import Drawn, Keys
from djinnload.report.page import measuring, told
from djinnload.report.page.placing import Shelf, data_uri

__all__ = ("of_run",)

Document = dict[str, Any]
#: Points up to which each has figures of its own.
_FEW_POINTS = 4


def of_run(run_dir: Path, summary: Document, *, used: int = 0) -> Document:
    """Return the context of ``run.html.j2``; write ``figures/*.svg``.

    Args:
        run_dir: With curves.json, manifests, and the summaries of cells.
        summary: Its root summary.json.
        used: Bytes that the page has to carry besides.
    """
    manifest = read_document(run_dir / "manifest.json")
    cells = [cell for cell in summary.get("cells") or () if isinstance(cell, dict)]
    rows = list(told.rows(summary.get("arms") or {}))
    keys = Keys(
        tuple(dict.fromkeys(row["arm"] for row in rows)),
        tuple(dict.fromkeys(row["name"] for row in rows)),
    )
    for row in rows:
        row["key"] = keys.of(arm=row["arm"], population=row["name"])
    verdict = summary.get("verdict") or {}
    void = verdict.get("status") == "void"
    few = len({row["point"] for row in rows}) <= _FEW_POINTS
    found = measuring.summaries(run_dir, cells)
    comparisons = _comparisons(summary, keys)
    looked = [c for c in cells if found.get(str(c.get("path")), {}).get("gpu")]
    curves = distributions.read(run_dir, keys)
    drawn = _drawn(run_dir, summary, rows if few else [], curves, keys, void=void)
    if not few:
        groups = distributions.groups(rows)
        drawn["latency"] = distributions.by_point(groups, curves, keys, void=void)
    else:
        drawn["gpu"] = device_figures.drawn(run_dir, looked, keys, void=void)
    shelf = Shelf(run_dir, used)
    return {
        "run": run_dir.resolve().name,
        "summary": summary,
        "manifest": manifest,
        "manifest_data": data_uri(json.dumps(manifest, indent=1), "application/json"),
        "calibration": read_document(run_dir / "calibration.json"),
        "verdict": verdict,
        "void": void,
        "headline": told.headline(summary, rows, cells),
        "begun": told.begun(manifest),
        "cells": cells,
        "rows": rows,
        "keys": keys,
        "objectives": [(row, each) for row in rows for each in row["objectives"] or ()],
        "several": len({row["point"] for row in rows}) > 1,
        "comparisons": comparisons,
        "sweeping": [
            each | {"key": keys.of(arm=each["arm"], population=each["population"])}
            for each in summary.get("efficiency") or ()
        ],
        "shapes": summary.get("knee") if isinstance(summary.get("knee"), list) else (),
        "few": few,
        "figures": {kind: shelf.place(kind, every) for kind, every in drawn.items()},
        "outcomes": measuring.outcomes(rows),
        "steps": [
            each | {"key": keys.of(arm=each["arm"], population=each["name"])}
            for each in measuring.steps(found.values())
        ],
        "devices": measuring.devices(found.values()),
        "how": list(measuring.how(run_dir, manifest, cells)),
        "loads": list(measuring.loads(manifest, rows)),
        "proof": [
            each | {"key": keys.of(arm=each["arm"])}
            for each in evidence.proof(run_dir, cells)
        ],
        "command": shlex.join(str(each) for each in manifest.get("argv") or ()),
        "environment": list(evidence.environment(manifest)),
    }


def _comparisons(summary: Mapping[str, Any], keys: Keys) -> list[Document]:
    return [
        dict(each)
        | told.difference(each)
        | {"key": keys.of(arm=each["arm"], population=each["population"])}
        for each in summary.get("comparisons") or ()
    ]


def _drawn(
    run_dir: Path,
    summary: Mapping[str, Any],
    rows: Sequence[Document],
    curves: distributions.Curves,
    keys: Keys,
    *,
    void: bool,
) -> dict[str, Iterator[Drawn]]:
    """Return figures by section: what says most first, as a page may have no room."""
    groups = distributions.groups(rows)
    cells = summary.get("cells") or () if rows else ()
    known = summary.get("comparisons") or ()
    return {
        "comparison": comparison_figures.drawn(known, keys, void=void),
        "sweep": sweep_figures.drawn(summary, keys, void=void),
        "latency": distributions.drawn(groups, curves, "latency", keys, void=void),
        "course": course_figures.drawn(run_dir, cells, keys, void=void),
        "heat": heat_figures.drawn(run_dir, groups, keys, void=void),
        "queue": distributions.drawn(groups, curves, "queue", keys, void=void),
        "turns": turn_figures.drawn(groups, keys, void=void),
        "lateness": distributions.drawn(groups, curves, "lateness", keys, void=void),
    }
