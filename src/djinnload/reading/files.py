"""What a cell's directory holds, read back; and JSON written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgspec
import numpy as np

from djinnload.signatures import refuse_strangers

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "MARKS",
    "read_checks",
    "read_document",
    "read_json",
    "read_marks",
    "read_probes",
    "read_samples",
    "sample_groups",
    "write_checks",
    "write_json",
)

#: In a results directory: moments that somebody marked, a line of JSON each.
MARKS = "marks.jsonl"

Array = np.ndarray[Any, np.dtype[Any]]
Item = TypeVar("Item")

#: Of a sample in all workers: seq stays below 2^48.
_WORKER_BITS = 48
#: Rows that are handled at once: enough to be quick, few enough to fit the caches.
_GROUP = 2**15


class Checked(Protocol):
    """What `write_checks` takes: rows such as `djinnload.models.replay.CheckRow`."""

    @property
    def seq(self) -> int: ...
    @property
    def output_hash(self) -> str: ...
    @property
    def verified(self) -> bool | None: ...
    @property
    def max_abs_diff(self) -> float | None: ...


def read_samples(cell_dir: Path) -> "pa.Table":
    """Return the samples of all workers of a cell, checks joined.

    Torn files give their whole batches. ``verified`` and ``output_hash`` are filled
    from the checks, ``outcome`` ok becomes wrong where ``verified`` is false, and a
    column ``max_abs_diff`` (float64) is added. About 250 bytes a sample.
    """
    import pyarrow as pa

    from djinnload.sample import schema

    tables = list(sample_groups(cell_dir))
    if not tables:
        nothing = schema().append(pa.field("max_abs_diff", pa.float64()))
        return nothing.empty_table()
    return pa.concat_tables(tables).unify_dictionaries()


def sample_groups(
    cell_dir: Path, names: Collection[str] | None = None
) -> "Iterator[pa.Table]":
    """Yield what `read_samples` returns, some 33,000 rows at a time.

    Args:
        cell_dir: The cell's.
        names: Columns to read; None: all. With ``verified`` go ``worker``, ``seq`` and
            ``outcome``; then ``max_abs_diff`` is added where anything was checked.

    Raises:
        HostError: The workers' times are not of one clock.
    """
    import pyarrow as pa

    from djinnload.sample import schema

    refuse_strangers(Path(cell_dir))
    wanted = schema()
    if names is not None:
        kept = [wanted.field(name) for name in wanted.names if name in names]
        wanted = pa.schema(kept)
    checks = read_checks(cell_dir)
    joined = names is None or ("verified" in names and checks.num_rows)
    for path in sorted((Path(cell_dir) / "samples").glob("w*-*.arrows")):
        for table in _ahead(_tables(path, wanted)):
            yield _join(table, checks) if joined else table


def read_probes(cell_dir: Path) -> "pa.Table":
    """Return ``t_ns, source, device, name, value``; no rows if there is no file."""
    import pyarrow as pa

    label = pa.dictionary(pa.int32(), pa.string())
    names = [(name, label) for name in ("source", "device", "name")]
    schema = pa.schema([("t_ns", pa.int64()), *names, ("value", pa.float64())])
    return _read(sorted(Path(cell_dir).glob("probes*.arrows")), schema)


def read_checks(cell_dir: Path) -> "pa.Table":
    """Return ``worker, seq, output_hash, verified, max_abs_diff`` of all workers."""
    return _read(sorted((Path(cell_dir) / "checks").glob("w*.arrows")), _check_schema())


def write_checks(cell_dir: Path, worker: int, rows: Iterable[Checked]) -> None:
    """Write what was found out about answers, whole or not at all."""
    import pyarrow as pa

    every = list(rows)
    found = {
        "worker": [worker] * len(every),
        "seq": [row.seq for row in every],
        "output_hash": [row.output_hash for row in every],
        "verified": [row.verified for row in every],
        "max_abs_diff": [row.max_abs_diff for row in every],
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _check_schema()) as writer:
        writer.write_table(pa.table(found, schema=_check_schema()))
    _replace(Path(cell_dir) / "checks" / f"w{worker}.arrows", sink.getvalue())


def read_document(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty: it is missing, or is none."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        found = read_json(path)
        return found if isinstance(found, dict) else {}
    return {}


def read_marks(run_dir: Path) -> list[dict[str, Any]]:
    """Return the moments that somebody marked: ``t_ns``, ``utc``, ``cell``.

    A line that was cut short is left out; so is all of a file that is no text of ours.
    """
    try:
        lines = (run_dir / MARKS).read_bytes().splitlines()
    except OSError:
        return []
    marks = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            marks.append(msgspec.json.decode(line))
    return marks


def write_json(path: Path, value: Any) -> None:
    """Write *value* to *path*, whole or not at all; NaN and infinity become null.

    Raises:
        OSError: Such as a full disk; what was there before still is.
    """
    encoded = msgspec.json.encode(value, enc_hook=_plain)
    _replace(Path(path), msgspec.json.format(encoded, indent=1) + b"\n")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote.

    Raises:
        OSError: There is no such file.
        msgspec.DecodeError: It is no JSON.
    """
    return msgspec.json.decode(Path(path).read_bytes())


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def _replace(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's 0600 would hide results from whoever may read the directory.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _read(paths: Iterable[Path], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    tables = [table for path in paths for table in _tables(path, schema)]
    if not tables:
        return schema.empty_table()
    return pa.concat_tables(tables).unify_dictionaries()


def _ahead(items: "Iterator[Item]") -> "Iterator[Item]":
    """Yield *items*; a thread makes the next one while this one is used."""
    nothing = cast("Item", object())
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = reader.submit(next, items, nothing)
            yield item


def _tables(path: Path, schema: "pa.Schema") -> "Iterator[pa.Table]":
    """Yield the columns of *schema*, `_GROUP` rows and a batch at most at a time."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in _batches(path, schema.names):
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _GROUP:
            yield _table(waiting, schema)
            waiting, rows = [], 0
    if waiting:
        yield _table(waiting, schema)


def _table(batches: "list[pa.RecordBatch]", schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    whole = pa.Table.from_batches(batches).combine_chunks().select(schema.names)
    return whole if whole.schema.equals(schema) else whole.cast(schema)


def _batches(path: Path, names: Collection[str]) -> "Iterator[pa.RecordBatch]":
    """Yield whole batches until the file's end, or its tear."""
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as source:
            schema = pa.ipc.read_schema(source)
            source.seek(0)
            fields = [i for i, name in enumerate(schema.names) if name in names]
            # Batches are too small for a pool of threads: it takes ten times as long.
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            with pa.ipc.open_stream(source, options=options) as reader:
                while True:
                    yield reader.read_next_batch()
    except (StopIteration, pa.ArrowInvalid, OSError):
        return


def _check_schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("worker", pa.int32()),
            ("seq", pa.int64()),
            ("output_hash", pa.string()),
            ("verified", pa.bool_()),
            ("max_abs_diff", pa.float64()),
        ]
    )


def _join(table: "pa.Table", checks: "pa.Table") -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    at = _places(_keys(table), _keys(checks))
    for name in {"output_hash", "verified"} & set(table.column_names):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, checks[name].combine_chunks().take(at))
    table = table.append_column("max_abs_diff", checks["max_abs_diff"].take(at))
    wrong = pc.fill_null(pc.invert(table["verified"]), fill_value=False)
    if not pc.any(wrong).as_py():
        return table
    outcome = table["outcome"].cast(pa.string())
    spoiled = pc.and_(wrong, pc.equal(outcome, "ok"))
    place = table.schema.get_field_index("outcome")
    changed = pc.if_else(spoiled, "wrong", outcome).dictionary_encode()
    return table.set_column(place, "outcome", changed)


def _keys(table: "pa.Table") -> Array:
    worker = np.asarray(table["worker"].to_numpy(), np.int64)
    seq = np.asarray(table["seq"].to_numpy(), np.int64)
    return np.asarray((worker << _WORKER_BITS) + seq)


def _places(keys: Array, checks: Array) -> "pa.Array":
    """Return where each key's check is, null where there is none."""
    import pyarrow as pa

    if not len(checks):
        return pa.nulls(len(keys), pa.int64())
    order = np.argsort(checks, kind="stable")
    found = np.minimum(np.searchsorted(checks[order], keys), len(checks) - 1)
    places = order[found]
    return pa.array(places, mask=checks[places] != keys)
