"""Rows → Arrow batches of `sample.schema`: whole columns at a time, in C.

It runs in a process of its own, beside the generator and maybe on the same core, so a
column that says the same on every row, as most do, is only counted.
"""

from collections.abc import Collection
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.sample import MEASURE, OUTCOMES, PHASES, ROW, Header, Labels, Row, schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("Columns", "SampleBatches", "Words", "warm")

Column = tuple[Any, ...]
#: Values of each column of `sample.ROW`: a tuple; codes as int32 or, where live counts
#: are made from it and nothing is None, int64 of shape ``(n,)``.
Columns = dict[str, Any]

#: Columns that are copied from the row as they are.
_COPIED = (
    "user",
    "session",
    "session_end",
    "turn",
    "seq",
    "due_ns",
    "ready_ns",
    "sent_ns",
    "first_ns",
    "done_ns",
    "error",
    "units",
    "bytes_sent",
    "bytes_received",
)
#: Of these, what live counts are made from too.
_COUNTED = (
    "due_ns",
    "ready_ns",
    "sent_ns",
    "done_ns",
    "bytes_sent",
    "bytes_received",
)
_METRICS = {
    "server_queue_ns": "queue_ns",
    "server_exec_ns": "exec_ns",
    "reused_tokens": "reused_tokens",
}
_CONSTANT = ("cell", "point", "arm", "repeat", "worker", "provenance")
#: Constant columns are made once for so many rows, and again if a batch is longer.
_LENGTH = 1000


class Words(dict[Any, int]):
    """Codes of words, in order of first sight."""

    def __missing__(self, word: Any) -> int:
        self[word] = code = len(self)
        return code

    def codes(self, words: Column) -> np.ndarray[Any, Any]:
        """Return the codes, int32 of shape ``(n,)``."""
        if _same(words):
            return np.full(len(words), self[words[0]], np.int32)
        return np.fromiter(map(self.__getitem__, words), np.int32, len(words))


class SampleBatches:
    """Makes batches for one worker of a cell.

    Args:
        header: What is constant in them.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._schema = schema()
        self._types = {field.name: field.type for field in self._schema}
        self._words = {
            "step": Words(),
            "phase": Words((word, i) for i, word in enumerate(PHASES)),
            "outcome": Words((str(word), i) for i, word in enumerate(OUTCOMES)),
            "qos_class_resolved": Words(),
        }
        each = header.populations
        self._labels = {
            "population": [labels.name for labels in each],
            "workload": [labels.workload for labels in each],
            "qos_class": [labels.qos_class for labels in each],
        }
        self._deadlines = [labels.deadline_ns for labels in each]
        self._constant: dict[str, tuple[Any, pa.Array]] = {}
        self._known: dict[str, pa.Array] = {}

    def columns(self, rows: list[Row]) -> Columns:
        """Return *rows* by column; ``population``, ``phase`` … as codes."""
        found: Columns = dict(zip(ROW, zip(*rows, strict=True), strict=True))
        for name, words in self._words.items():
            found[name] = words.codes(found[name])
        found["population"] = np.fromiter(found["population"], np.int32, len(rows))
        for name in _COUNTED:
            found[name] = _whole(found[name])
        return found

    def batch(self, columns: Columns) -> "pa.RecordBatch":
        """Return the batch of what `columns` found."""
        import pyarrow as pa

        codes = columns["population"]
        made = {name: self._copied(name, columns[name]) for name in _COPIED}
        made |= self._metrics(columns["metrics"])
        made["deadline_ns"] = self._by_population(codes)
        for name, labels in self._labels.items():
            made[name] = self._dictionary(name, codes, labels)
        for name, words in self._words.items():
            made[name] = self._dictionary(name, columns[name], words)
        for name in _CONSTANT:
            made[name] = self._repeated(name, getattr(self._header, name), len(codes))
        for name in ("output_hash", "verified"):
            made[name] = self._repeated(name, None, len(codes))
        arrays = [made[name] for name in self._schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _copied(self, name: str, values: "Column | np.ndarray[Any, Any]") -> "pa.Array":
        import pyarrow as pa

        kind = self._types[name]
        if isinstance(values, np.ndarray):
            return _array(values, kind)
        if _same(values):
            return self._repeated(name, values[0], len(values))
        if kind == pa.string():
            return pa.array(values, kind)
        try:
            plain = np.fromiter(values, kind.to_pandas_dtype(), len(values))
        except TypeError:
            return pa.array(values, kind)  # with a None among them
        return _array(plain, kind)

    def _metrics(self, metrics: Column) -> "dict[str, pa.Array]":
        import pyarrow as pa

        n = len(metrics)
        if not any(metrics):
            return {name: self._repeated(name, None, n) for name in _METRICS}
        made = {}
        for name, key in _METRICS.items():
            try:
                found = np.fromiter(map(itemgetter(key), metrics), np.float64, n)
            except (KeyError, TypeError):
                some = [each.get(key) if each else None for each in metrics]
                made[name] = pa.array(some, pa.float64())
            else:
                made[name] = _array(found, pa.float64())
        return made

    def _by_population(self, codes: np.ndarray[Any, Any]) -> "pa.Array":
        import pyarrow as pa

        if len(self._deadlines) == 1:
            return self._repeated("deadline_ns", self._deadlines[0], len(codes))
        known = np.array([each is not None for each in self._deadlines])
        values = np.array([each or 0 for each in self._deadlines], np.int64)
        return _array(values[codes], pa.int64(), known[codes])

    def _repeated(self, name: str, value: Any, n: int) -> "pa.Array":
        """Return a column of *n* times *value*, made once for a name's latest value."""
        import pyarrow as pa

        value_then, made = self._constant.get(name, (None, None))
        if made is None or value_then != value or len(made) < n:
            field, length = self._types[name], max(n, _LENGTH)
            if pa.types.is_dictionary(field):
                zeros = np.zeros(length, np.int32)
                made = self._dictionary(name, zeros, [value])
            else:
                made = pa.repeat(pa.scalar(value, field), length)
            self._constant[name] = value, made
        return made.slice(0, n)

    def _dictionary(
        self, name: str, codes: np.ndarray[Any, Any], words: Collection[str]
    ) -> "pa.Array":
        """Return a column of words by their codes; words are only ever added."""
        import pyarrow as pa

        known = self._known.get(name)
        if known is None or len(known) != len(words):
            known = self._known[name] = pa.array(list(words), pa.string())
        # Unsafe: the codes need no check.
        indices = _array(codes, pa.int32())
        return pa.DictionaryArray.from_arrays(indices, known, safe=False)


def warm() -> None:
    """Do once what is slow the first time: with it pyarrow imports pandas, 0.3 s."""
    labels = Labels("", "", "", None)
    batches = SampleBatches(Header("", "", "", 0, (labels,)))
    numbers = dict.fromkeys(ROW, 0)
    words = {"step": "", "phase": MEASURE, "outcome": OUTCOMES[0], "error": ""}
    rest = {"session_end": True, "metrics": None, "qos_class_resolved": ""}
    row = {**numbers, **words, **rest}
    # One that differs in both ways, or each column would only be repeated.
    other = {**row, "seq": 1, "error": None}
    batches.batch(batches.columns([tuple(row.values()), tuple(other.values())]))


def _same(values: Column) -> bool:
    first = values[0]
    return values[-1] == first and values.count(first) == len(values)


def _whole(values: Column) -> "Column | np.ndarray[Any, Any]":
    try:
        return np.fromiter(values, np.int64, len(values))
    except TypeError:
        return values  # with a None among them


def _array(
    values: np.ndarray[Any, Any],
    kind: "pa.DataType",
    known: np.ndarray[Any, Any] | None = None,
) -> "pa.Array":
    """Return *values*, not copied; null where *known* is false."""
    import pyarrow as pa

    n, valid = len(values), None
    if known is not None and not known.all():
        valid = pa.py_buffer(np.packbits(known, bitorder="little"))
    if values.dtype == np.bool_:
        values = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(kind, n, [valid, pa.py_buffer(values)])
