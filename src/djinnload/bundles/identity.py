"""What of a run a repeat must give again: schedule, inputs, weights; pure but reading.

The schedule is read from the samples: when each session was due that waits for no
reply. Inputs and weights are as the cells' manifests have them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from djinnload.reading import columns
from djinnload.reading.files import read_json, sample_groups
from djinnload.reading.weights import weights
from djinnload.sample import MEASURE
from djinnload.units import format_ns

__all__ = ("KINDS", "first_difference", "identity", "schedule", "unknown")

Array = np.ndarray[Any, np.dtype[Any]]
Document = dict[str, Any]

KINDS = ("schedule", "inputs", "weights")
_COLUMNS = ("population", "user", "session", "due_ns", "phase")
_DIGITS = 12


def identity(run_dir: Path) -> Document:
    """Return, of each cell that was measured, what a repeat must give again.

    Of ``schedule`` and ``inputs`` by population, of ``weights`` by model, each a
    sha256. A population that waits for replies has no schedule of its own.
    """
    return {
        cell: {
            "schedule": {
                name: _digest(rows) for name, rows in schedule(path, manifest).items()
            },
            "inputs": {
                name: each["sha256"]
                for name, each in (manifest.get("inputs") or {}).items()
            },
            "weights": dict(sorted(weights(manifest))),
        }
        for cell, path, manifest in _cells(run_dir)
    }


def schedule(cell_dir: Path, manifest: Mapping[str, Any]) -> dict[str, Array]:
    """Return of each open population its sessions of measure: int64, shape (n, 3).

    A row is user, session, and when its first request was due, in ns from the start of
    measure; in order of user and session.
    """
    begin_ns = manifest["window"]["begin_ns"]
    plans = manifest.get("populations") or {}
    parts: dict[str, list[Array]] = {
        name: [np.empty((0, 3), np.int64)]
        for name, each in plans.items()
        if each.get("loop") == "open"
    }
    for table in sample_groups(cell_dir, _COLUMNS):
        population, phase = (
            columns.texts(table[name]) for name in ("population", "phase")
        )
        rows = np.column_stack(
            [columns.integers(table[name]) for name in ("user", "session", "due_ns")]
        )
        for name, several in parts.items():
            mine = (population == name) & (phase == MEASURE)
            several.append(rows[mine])
    return {
        name: _first(np.concatenate(each), begin_ns) for name, each in parts.items()
    }


def _first(rows: Array, begin_ns: int) -> Array:
    """Return the earliest due of each session, from *begin_ns*."""
    ordered = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    starts = np.ones(len(ordered), bool)
    starts[1:] = (ordered[1:, :2] != ordered[:-1, :2]).any(axis=1)
    found = ordered[starts]
    found[:, 2] -= begin_ns
    return found


def _digest(rows: Array) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _cells(run_dir: Path) -> Iterator[tuple[str, Path, Document]]:
    for entry in read_json(run_dir / "index.json")["cells"]:
        if entry["status"] in {"done", "void"}:
            path = run_dir / entry["path"]
            yield entry["id"], path, read_json(path / "manifest.json")


def first_difference(
    then: Mapping[str, Any], now: Mapping[str, Any], run_dirs: tuple[Path, Path]
) -> str:
    """Return the first thing in which two runs differ that must be equal; empty: none.

    Args:
        then: `identity` of the first run.
        now: Of its repeat.
        run_dirs: Of both; the first may lack samples.
    """
    for cell in dict.fromkeys((*then, *now)):
        if cell not in then or cell not in now:
            which = "the bundle" if cell in then else "the repeat"
            return f"cell {cell} was measured in {which} only"
    for kind in KINDS:
        for cell, each in then.items():
            before, after = each[kind], now[cell][kind]
            for name in dict.fromkeys((*before, *after)):
                a, b = before.get(name), after.get(name)
                if a != b and (kind == "schedule" or None not in {a, b}):
                    return _told(kind, cell, name, (a, b), run_dirs)
    return ""


def unknown(document: Mapping[str, Any]) -> list[str]:
    """Return what of `KINDS` no cell of a run tells, such as a server's weights."""
    every = list(document.values())
    return [kind for kind in KINDS if not any(each[kind] for each in every)]


def _told(
    kind: str,
    cell: str,
    name: str,
    digests: tuple[str | None, str | None],
    run_dirs: tuple[Path, Path],
) -> str:
    then, now = (str(each)[:_DIGITS] if each else "none" for each in digests)
    of = "model" if kind == "weights" else "population"
    text = f"{kind} of {cell}, {of} {name}: sha256 {then} then, {now} now"
    if kind == "schedule":
        found = [_rows(run_dir, cell, name) for run_dir in run_dirs]
        if all(len(rows) for rows in found):
            text += f"; {_session(*found)}"
    return text


def _rows(run_dir: Path, cell: str, name: str) -> Array:
    path = run_dir / "cells" / cell
    rows = schedule(path, read_json(path / "manifest.json")).get(name)
    return np.empty((0, 3), np.int64) if rows is None else rows


def _session(then: Array, now: Array) -> str:
    """Return the first session that differs."""
    n = min(len(then), len(now))
    apart = np.flatnonzero((then[:n] != now[:n]).any(axis=1))
    if not len(apart):
        return f"{len(then):,} sessions then, {len(now):,} now"
    (user, session, due), (_, other, due_now) = then[apart[0]], now[apart[0]]
    if session != other:
        return f"session {session} of user {user} then, {other} now"
    at = f"due at {format_ns(int(due))} then, at {format_ns(int(due_now))} now"
    return f"session {session} of user {user} was {at}, {due_now - due} ns apart"
