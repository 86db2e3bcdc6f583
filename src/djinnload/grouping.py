"""Rows of samples → the requests and turns of each population; vectorised."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload import columns
from djinnload.stats import Array, PopulationSamples, Requests, Turns, group_starts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("populations",)


def populations(
    table: "pa.Table", manifest: Mapping[str, Any]
) -> dict[str, PopulationSamples]:
    """Group as `djinnload.stats.populations` documents."""
    plans = manifest.get("populations") or {}
    found = _requests_by_population(table)
    return {
        name: _population(name, found.get(name), plans.get(name) or {}, manifest)
        for name in dict.fromkeys((*plans, *found))
    }


def _requests_by_population(table: "pa.Table") -> dict[str, dict[str, Array]]:
    """Return the columns of the measured requests of each population, in due order."""
    phase, phases = columns.codes(table["phase"])
    measured = phase == phases.index("measure") if "measure" in phases else phase < 0
    code, names = columns.codes(table["population"])
    found = {}
    for number, name in enumerate(names):
        rows = np.flatnonzero(measured & (code == number))
        due = columns.integers(table["due_ns"])[rows]
        seq = columns.integers(table["seq"])[rows]
        rows = rows[np.lexsort((seq, due))]
        found[name] = columns.take(table, rows)
    return found


def _population(
    name: str,
    found: dict[str, Array] | None,
    plan: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> PopulationSamples:
    taken = columns.empty() if found is None else found
    if manifest.get("interrupted"):
        taken = _without_cancelled(taken)
    deadline = plan.get("deadline_ns")
    streams = bool(manifest.get("streams"))
    tokens = plan.get("unit", "tokens") == "tokens"
    return PopulationSamples(
        name=name,
        loop=plan.get("loop") or "open",
        qos_class=plan.get("qos_class") or "",
        deadline_ns=None if deadline is None else int(deadline),
        window_ns=_window(manifest),
        turns=_turns(taken, streams=streams, tokens=tokens),
        requests=Requests(**{n: taken[n] for n in Requests.__struct_fields__}),
        sessions=dict((manifest.get("sessions") or {}).get(name) or {}),
    )


def _window(manifest: Mapping[str, Any]) -> tuple[int, int]:
    window = manifest.get("window") or {}
    begin, end = int(window.get("begin_ns") or 0), int(window.get("end_ns") or 0)
    finished = window.get("finished_ns")
    if manifest.get("interrupted") and finished:
        # Rates are over the time that there was.
        end = max(begin, min(end, int(finished)))
    return begin, end


def _by_turn(taken: dict[str, Array]) -> tuple[Array, Array]:
    """Return requests ordered by turn, then submission, and where each turn starts."""
    keys = (taken["turn"], taken["session"], taken["user"], taken["worker"])
    order = np.lexsort((taken["seq"], taken["due_ns"], *keys))
    return order, group_starts(*(key[order] for key in keys))


def _without_cancelled(taken: dict[str, Array]) -> dict[str, Array]:
    order, starts = _by_turn(taken)
    if not len(order):
        return taken
    cut = (taken["outcome"] == "cancelled").astype(bool)[order]
    sizes = np.diff(np.append(starts, len(order)))
    kept = np.empty(len(order), bool)
    kept[order] = ~np.repeat(np.logical_or.reduceat(cut, starts), sizes)
    return {name: column[kept] for name, column in taken.items()}


def _turns(taken: dict[str, Array], *, streams: bool, tokens: bool) -> Turns:
    order, starts = _by_turn(taken)
    if not len(order):
        none = dict.fromkeys(Turns.__struct_fields__, np.empty(0))
        whole = dict.fromkeys(("due_ns", "done_ns", "number"), np.empty(0, np.int64))
        return Turns(**(none | whole | {"ok": np.empty(0, bool)}))
    by = {name: column[order] for name, column in taken.items()}
    due, done = by["due_ns"][starts], np.maximum.reduceat(by["done_ns"], starts)
    good = (by["outcome"] == "ok") & (by["verified"] != False)  # noqa: E712
    units = np.add.reduceat(by["units"], starts)
    first = by["done_ns"][starts].astype(np.float64)
    counts = np.diff(np.append(starts, len(order)))
    if streams:
        first = np.where(
            np.isnan(by["first_ns"][starts]), first, by["first_ns"][starts]
        )
    # One reply that came as a whole has no time between its tokens.
    spaced = (units > 1) & (streams | (counts > 1)) & tokens
    tpot = np.full(len(starts), np.nan)
    tpot[spaced] = (done[spaced] - first[spaced]) / (units[spaced] - 1)
    waited = np.maximum(by["ready_ns"] - by["due_ns"], 0)
    columns = {
        "due_ns": due,
        "done_ns": done,
        "ok": np.logical_and.reduceat(good.astype(bool), starts),
        "latency_ns": (done - due).astype(np.float64),
        "service_ns": np.add.reduceat(by["done_ns"] - by["sent_ns"], starts),
        "queue_ns": np.add.reduceat(by["queue_ns"], starts),
        "exec_ns": np.add.reduceat(by["exec_ns"], starts),
        "lateness_ns": np.add.reduceat(by["sent_ns"] - by["ready_ns"], starts),
        "blocked_ns": np.add.reduceat(waited, starts),
        "ttft_ns": first - due,
        "tpot_ns": tpot,
        "units": units,
        "number": by["turn"][starts],
    }
    by_due = np.argsort(due, kind="stable")
    return Turns(**{name: column[by_due] for name, column in columns.items()})
