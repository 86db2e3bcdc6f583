"""Rows of samples → the requests and turns of each population; vectorised.

Columns stay packed (`packing`): times are kept as ns after due, and made whole where
they are used. A population in which each turn is one request keeps its turns nowhere.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from djinnload.reading import columns
from djinnload.reading.columns import Parts
from djinnload.reading.packing import Labels, Packed, Steps, pack
from djinnload.stats.populations import (
    Array,
    PopulationSamples,
    Requests,
    Turns,
    group_starts,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("Flights", "kept", "populations")

#: sent and done (float64 ns, NaN: never sent) of requests, and their workers.
Flights = tuple[Array, Array, Array]
Values = Callable[[], Array]

_TURN = ("worker", "user", "session", "turn")
_AFTER_DUE = ("ready_ns", "sent_ns", "first_ns", "done_ns")
_WIDEST = 2**62


def populations(
    tables: "Iterable[pa.Table]", manifest: Mapping[str, Any]
) -> tuple[dict[str, PopulationSamples], Flights]:
    """Group as `djinnload.stats.populations` documents, a table at a time.

    Returns:
        Populations by name, and the flights of all requests that are in none of them:
        of other phases, or cancelled by an interrupt.
    """
    plans = manifest.get("populations") or {}
    found: dict[str, list[Parts]] = {}
    others: list[Flights] = []
    for table in tables:
        _split(table, found, others)
    made = {}
    for name in dict.fromkeys((*plans, *found)):
        taken = _in_due_order(columns.join(found.pop(name, [])))
        if manifest.get("interrupted"):
            taken = _without_cancelled(taken, others)
        made[name] = _population(name, taken, plans.get(name) or {}, manifest)
    sent, done, by = zip((np.empty(0),) * 3, *others, strict=True)
    return made, (np.concatenate(sent), np.concatenate(done), np.concatenate(by))


def kept(
    samples: PopulationSamples, rows: Array, manifest: Mapping[str, Any]
) -> PopulationSamples:
    """Return *samples* of some requests alone, their turns made of these.

    Args:
        samples: From `populations`.
        rows: Indices of its requests, ascending.
        manifest: The cell's manifest.json.
    """
    taken = {
        name: getattr(samples.requests, name)[rows]
        for name in Requests.__struct_fields__
    }
    due = taken["due_ns"]
    taken |= {name: taken[name] - due for name in _AFTER_DUE}
    packed: Parts = {name: _packed(values) for name, values in taken.items()}
    packed["session_end"] = Labels(packed["session_end"], (False, True))
    plan = (manifest.get("populations") or {}).get(samples.name) or {}
    turns, requests = _made(packed, plan, manifest)
    return structs.replace(samples, turns=turns, requests=requests)


def _packed(values: Any) -> Packed | Labels:
    if isinstance(values, Labels):
        return values
    if values.dtype == object:
        return Labels.of(values)
    return pack(values.astype(np.int64) if values.dtype == bool else values)


def _split(
    table: "pa.Table", found: dict[str, list[Parts]], others: list[Flights]
) -> None:
    """Add the measured rows of *table* to *found*, the flights of the rest."""
    phase, phases = columns.codes(table["phase"])
    measured = phase == phases.index("measure") if "measure" in phases else phase < 0
    code, names = columns.codes(table["population"])
    at = columns.parts(table)
    for number, name in enumerate(names):
        rows = np.flatnonzero(measured & (code == number))
        if len(rows):
            found.setdefault(name, []).append(at(rows))
    if not measured.all():
        flights = (table[name] for name in ("sent_ns", "done_ns", "worker"))
        sent, done, by = (columns.floats(each)[~measured] for each in flights)
        others.append((sent, done, by))


def _in_due_order(taken: Parts) -> Parts:
    order = np.argsort(taken.pop("seq")(), kind="stable")
    due = taken.pop("due_ns")()[order]
    # Nearly sorted by now, which a stable sort is quick at.
    late = np.argsort(due, kind="stable")
    made: Parts = {"due_ns": Steps(due[late])}
    del due
    order = order[late]
    del late
    for name in tuple(taken):
        made[name] = _taken(taken.pop(name), order)
    return made


def _taken(column: Any, rows: Array) -> Any:
    if isinstance(column, Steps):
        return Steps(column()[rows])
    return column[rows] if isinstance(column, Labels) else column.take(rows)


def _population(
    name: str, taken: Parts, plan: Mapping[str, Any], manifest: Mapping[str, Any]
) -> PopulationSamples:
    deadline = plan.get("deadline_ns")
    turns, requests = _made(taken, plan, manifest)
    return PopulationSamples(
        name=name,
        loop=plan.get("loop") or "open",
        qos_class=plan.get("qos_class") or "",
        deadline_ns=None if deadline is None else int(deadline),
        window_ns=_window(manifest),
        turns=turns,
        requests=requests,
        sessions=dict((manifest.get("sessions") or {}).get(name) or {}),
    )


def _window(manifest: Mapping[str, Any]) -> tuple[int, int]:
    window = manifest.get("window") or {}
    finished = window.get("finished_ns")
    begin = int(window.get("begin_ns") or 0)
    end = int(window.get("end_ns") or finished or 0)
    if manifest.get("interrupted") and finished:
        # Rates are over the time that there was.
        end = max(begin, min(end, int(finished)))
    return begin, end


def _made(
    taken: Parts, plan: Mapping[str, Any], manifest: Mapping[str, Any]
) -> tuple[Turns, Requests]:
    streams = bool(manifest.get("streams"))
    tokens = plan.get("unit", "tokens") == "tokens"
    turns = _turns(taken, _Grouped(taken), streams=streams, tokens=tokens)
    due, ended = taken["due_ns"], taken["session_end"]
    whole = {name: _after(due, taken[name]) for name in _AFTER_DUE}
    whole["session_end"] = lambda: ended == True  # noqa: E712
    session = {"session": Steps(taken["session"]())}
    made = taken | whole | session
    return turns, Requests(**{name: made[name] for name in Requests.__struct_fields__})


def _after(due: Values, after: Values) -> Values:
    return lambda: due() + after()


class _Grouped:
    """Requests of a turn one after the other, turns in due order.

    Attributes:
        single: Each turn is one request; then nothing has to move.
    """

    def __init__(self, taken: Parts) -> None:
        key = _key([taken[name] for name in _TURN])
        ordered = np.sort(key)
        self.single = not (ordered[1:] == ordered[:-1]).any()
        del ordered
        if self.single:
            return
        # Stable: requests of a turn stay in due order.
        self.order = np.argsort(key, kind="stable")
        self.starts = group_starts(key[self.order])
        self.sizes = np.diff(np.append(self.starts, len(key)))
        due = taken["due_ns"]()[self.order][self.starts]
        self._by_due = np.argsort(due, kind="stable")

    def first(self, values: Array) -> Array:
        """Return the first request's value of each turn."""
        return values[self.order][self.starts][self._by_due]

    def each(self, ufunc: np.ufunc, values: Array) -> Array:
        """Return *values* of each turn's requests reduced by *ufunc*."""
        made: Array = ufunc.reduceat(values[self.order], self.starts)
        return made[self._by_due]

    @property
    def several(self) -> Array:
        """Return, bool a turn, whether it is more than one request."""
        return (self.sizes > 1)[self._by_due]

    def any(self, hit: Array) -> Array:
        """Return, bool a request, whether its turn has one that is *hit*."""
        if self.single:
            return hit
        made = np.empty(len(hit), bool)
        groups = np.logical_or.reduceat(hit[self.order], self.starts)
        made[self.order] = np.repeat(groups, self.sizes)
        return made


def _key(every: Iterable[Packed]) -> Array:
    """Return one int64 for each row that is the same where all columns are."""
    key, width = np.zeros(0, np.int64), 1
    for column in every:
        values = column()
        low, span = _range(values)
        if width * span > _WIDEST:
            distinct, key = np.unique(key, return_inverse=True)
            width = len(distinct)
        key = key * span + (values - low) if len(key) else values - low
        width *= span
    return key


def _range(values: Array) -> tuple[int, int]:
    if not len(values):
        return 0, 1
    low = int(values.min())
    return low, int(values.max()) - low + 1


def _without_cancelled(taken: Parts, others: list[Flights]) -> Parts:
    cut = _Grouped(taken).any(taken["outcome"] == "cancelled")
    due = taken["due_ns"]()
    flights = [(due + taken[name]()).astype(np.float64)[cut] for name in _AFTER_DUE]
    others.append((flights[1], flights[3], taken["worker"]()[cut]))
    rows = np.flatnonzero(~cut)
    return {name: _taken(column, rows) for name, column in taken.items()}


def _turns(taken: Parts, grouped: _Grouped, *, streams: bool, tokens: bool) -> Turns:
    made = _single(taken) if grouped.single else _several(taken, grouped)
    latency, units = made["latency_ns"], made["units"]
    first = made.pop("first_ns")
    answered = made.pop("answered_ns")

    def ttft() -> Array:
        if not streams:
            return np.asarray(answered(), np.float64)
        token = first()
        return np.asarray(np.where(np.isnan(token), answered(), token))

    several = None if grouped.single else grouped.several

    def tpot() -> Array:
        whole = units()
        # One reply that came as a whole has no time between its tokens.
        spaced = whole > 1
        if not streams:
            spaced &= False if several is None else several
        found = np.full(len(whole), np.nan)
        if tokens and spaced.any():
            gap = latency()[spaced] - ttft()[spaced]
            found[spaced] = gap / (whole[spaced] - 1)
        return found

    return Turns(**made, ttft_ns=ttft, tpot_ns=tpot)


def _single(taken: Parts) -> dict[str, Any]:
    """Return the columns of turns that are one request each; none takes memory."""
    due, done, sent, ready = (
        taken[name] for name in ("due_ns", "done_ns", "sent_ns", "ready_ns")
    )
    outcome, verified = taken["outcome"], taken["verified"]
    return {
        "due_ns": due,
        "done_ns": _after(due, done),
        "ok": lambda: (outcome == "ok") & (verified != False),  # noqa: E712
        "latency_ns": lambda: done().astype(np.float64),
        "service_ns": lambda: done() - sent(),
        "queue_ns": taken["queue_ns"],
        "exec_ns": taken["exec_ns"],
        "lateness_ns": lambda: sent() - ready(),
        "blocked_ns": lambda: np.maximum(ready(), 0),
        "units": taken["units"],
        "bytes_sent": taken["bytes_sent"],
        "bytes_received": taken["bytes_received"],
        "reused_tokens": taken["reused_tokens"],
        "number": taken["turn"],
        "first_ns": taken["first_ns"],
        "answered_ns": done,
    }


def _several(taken: Parts, grouped: _Grouped) -> dict[str, Any]:
    """Return the columns of turns of more than one request, packed."""
    one, due = _single(taken), taken["due_ns"]()
    begin = grouped.first(due)
    made: dict[str, Any] = {
        f"{name}_ns": pack(grouped.each(np.add, one[f"{name}_ns"]()))
        for name in ("service", "queue", "exec", "lateness", "blocked")
    }
    latency = pack(grouped.each(np.maximum, due + taken["done_ns"]()) - begin)
    steps = Steps(begin)
    return made | {
        "due_ns": steps,
        "done_ns": _after(steps, latency),
        "ok": grouped.each(np.logical_and, one["ok"]()),
        "latency_ns": lambda: latency().astype(np.float64),
        **{
            name: pack(grouped.each(np.add, taken[name]()))
            for name in ("units", "bytes_sent", "bytes_received")
        },
        "reused_tokens": pack(grouped.first(taken["reused_tokens"]())),
        "number": pack(grouped.first(taken["turn"]())),
        "first_ns": pack(grouped.first(taken["first_ns"]())),
        "answered_ns": pack(grouped.first(taken["done_ns"]())),
    }
