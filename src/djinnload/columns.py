"""Arrow columns → numpy arrays, as `stats` needs them; imports pyarrow when used."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("codes", "empty", "floats", "integers", "take", "texts")

Array = np.ndarray[Any, np.dtype[Any]]

#: Field of `stats.Requests` (and what groups turns) by column of the samples.
_INTEGERS = ("due_ns", "done_ns", "turn", "session", "user", "worker", "seq")
_FLOATS = {
    "ready_ns": "ready_ns",
    "sent_ns": "sent_ns",
    "first_ns": "first_ns",
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


def take(table: "pa.Table", rows: Array) -> dict[str, Array]:
    """Return the columns of `stats.Requests`, and those that group turns, at *rows*.

    ``max_abs_diff`` may be missing from *table*: nothing was checked.
    """
    taken = {name: integers(table[name])[rows] for name in _INTEGERS}
    for field, name in _FLOATS.items():
        known = name in table.column_names
        taken[field] = (
            floats(table[name])[rows] if known else np.full(len(rows), np.nan)
        )
    for name in _TEXTS:
        taken[name] = texts(table[name])[rows]
    for name in _THREE_STATES:
        taken[name] = _three_states(table[name])[rows]
    taken["session_end"] = (taken["session_end"] == True).astype(bool)  # noqa: E712
    return taken


def _three_states(column: "pa.ChunkedArray") -> Array:
    import pyarrow as pa

    states = column.cast(pa.int8()).fill_null(2).to_numpy()
    known = np.array([False, True, None], dtype=object)
    return np.asarray(known[states])


def empty() -> dict[str, Array]:
    """Return what `take` returns of no rows."""
    taken: dict[str, Array] = {name: np.empty(0, np.int64) for name in _INTEGERS}
    taken |= {field: np.empty(0) for field in _FLOATS}
    taken |= {name: np.empty(0, object) for name in (*_TEXTS, "verified")}
    return taken | {"session_end": np.empty(0, bool)}
