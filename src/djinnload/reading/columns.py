"""Arrow columns → numpy arrays, as `stats` needs them; imports pyarrow when used."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.reading.packing import Labels, Packed, gather, give_back, pack

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("NEEDED", "codes", "floats", "integers", "join", "parts", "texts")

Array = np.ndarray[Any, np.dtype[Any]]
#: All parts of a population: columns end to end, times as ns after ``due_ns``.
Parts = dict[str, Any]

_INTEGERS = ("due_ns", "turn", "session", "user", "worker", "seq")
_TIMES = ("ready_ns", "sent_ns", "first_ns", "done_ns")
#: Name here by column of the samples.
_FLOATS = {
    "queue_ns": "server_queue_ns",
    "exec_ns": "server_exec_ns",
    "units": "units",
    "bytes_sent": "bytes_sent",
    "bytes_received": "bytes_received",
    "reused_tokens": "reused_tokens",
    "max_abs_diff": "max_abs_diff",
}
_TEXTS = ("step", "outcome")
_THREE_STATES = ("verified", "session_end")
_STATES = (False, True, None)

#: The columns of a samples file that a fold reads.
NEEDED = (
    "population",
    "phase",
    *_INTEGERS,
    *_TIMES,
    *(name for name in _FLOATS.values() if name != "max_abs_diff"),
    *_TEXTS,
    *_THREE_STATES,
)


def codes(column: "pa.ChunkedArray") -> tuple[Array, list[Any]]:
    """Return int64 codes (−1: null) and what each stands for."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        if not whole.num_chunks:
            return np.empty(0, np.int64), []
        whole = whole.chunk(0)
    numbers = np.asarray(
        whole.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64
    )
    return numbers, whole.dictionary.to_pylist()


def texts(column: "pa.ChunkedArray") -> Array:
    """Return an object array of str, None where null."""
    numbers, known = codes(column)
    names = np.array([*known, None], dtype=object)
    return names[numbers]


def integers(column: "pa.ChunkedArray") -> Array:
    """Return int64, -1 where null (which these columns never are)."""
    filled = column.fill_null(-1) if column.null_count else column
    return np.asarray(filled.to_numpy(), np.int64)


def floats(column: "pa.ChunkedArray") -> Array:
    """Return float64, NaN where null."""
    return np.asarray(column.to_numpy(), np.float64)


def parts(table: "pa.Table") -> Callable[[Array], Parts]:
    """Return what makes the packed columns of some rows of *table*.

    ``max_abs_diff`` may be missing from *table*: nothing was checked.
    """
    import pyarrow.compute as pc

    wide: dict[str, Array] = {name: integers(table[name]) for name in _INTEGERS}
    for name in _TIMES:
        # Subtracted as integers: floats lose nanoseconds after 104 days of uptime.
        wide[name] = pc.subtract(table[name], table["due_ns"]).to_numpy()
    for field, name in _FLOATS.items():
        known = name in table.column_names
        wide[field] = floats(table[name]) if known else np.full(table.num_rows, np.nan)
    words = {name: codes(table[name]) for name in _TEXTS}
    words |= {name: (_states(table[name]), list(_STATES)) for name in _THREE_STATES}

    def at(rows: Array) -> Parts:
        whole = len(rows) == table.num_rows
        made: Parts = {
            name: pack(values if whole else values[rows])
            for name, values in wide.items()
        }
        for name, (numbers, known) in words.items():
            made[name] = Labels(pack(numbers if whole else numbers[rows]), known)
        return made

    return at


def join(every: Sequence[Parts]) -> Parts:
    """Return columns end to end; of none, columns without rows."""
    if not every:
        return _none()
    made: Parts = {}
    for name in tuple(every[0]):
        several = [each.pop(name) for each in every]
        named = name in (*_TEXTS, *_THREE_STATES)
        made[name] = _labels(several) if named else gather(several)
        del several
        give_back()
    return made


def _labels(several: Sequence[Labels]) -> Labels:
    words: dict[Any, int] = {}
    for each in several:
        for word in each.words:
            words.setdefault(word, len(words))
    known = tuple(words)
    return Labels(gather([_recoded(each, words) for each in several]), known)


def _recoded(labels: Labels, words: dict[Any, int]) -> Packed:
    place = np.array([words[word] for word in labels.words], np.int64)
    if (place == np.arange(len(place))).all():
        return labels.codes
    return pack(place[labels.codes()])


def _states(column: "pa.ChunkedArray") -> Array:
    import pyarrow as pa

    if column.null_count == len(column):
        return np.full(len(column), len(_STATES) - 1)
    states = column.cast(pa.int8()).fill_null(len(_STATES) - 1)
    return np.asarray(states.to_numpy(), np.int64)


def _none() -> Parts:
    whole = Packed(np.empty(0, np.int64), floats=False)
    unknown = Packed(np.empty(0), floats=True)
    made: Parts = dict.fromkeys((*_INTEGERS, "done_ns"), whole)
    made |= dict.fromkeys((*_FLOATS, *_TIMES[:-1]), unknown)
    made |= {name: Labels(whole, ()) for name in _TEXTS}
    return made | {name: Labels(whole, _STATES) for name in _THREE_STATES}
