"""Samples of all cells of a run → one file, a part at a time: CSV or Parquet."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from djinnload.reading.files import read_document, sample_groups
from djinnload.sample import FORMAT_VERSION, schema

__all__ = ("cells", "write_csv", "write_parquet")

#: Rows of a row group: some 30 MB, of which a few are held at once.
_ROW_GROUP = 2**17
#: Of columns that their names do not say it of.
_UNITS = {"units": "as its workload counts", "bytes_sent": "B", "bytes_received": "B"}


def cells(run_dir: Path) -> Iterator[Path]:
    """Yield the directories of cells that have samples, in the order of the index."""
    for entry in read_document(run_dir / "index.json").get("cells") or ():
        path = run_dir / str(entry.get("path") or f"cells/{entry.get('id')}")
        if (path / "samples").is_dir():
            yield path


def write_parquet(run_dir: Path, path: Path) -> None:
    """Write ``read_samples`` of all cells, compressed by zstd.

    Each column has its ``unit`` in its metadata, if it has one. The same samples give
    the same bytes, by the same PyArrow.
    """
    wanted = _schema(label=pa.dictionary(pa.int32(), pa.string()))
    with pq.ParquetWriter(path, wanted, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for table in _tables(run_dir, wanted):
            waiting.append(table)
            if sum(each.num_rows for each in waiting) >= _ROW_GROUP:
                _write_group(writer, waiting)
                waiting = []
        if waiting:
            _write_group(writer, waiting)


def _write_group(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> None:
    whole = pa.concat_tables(waiting).unify_dictionaries()
    writer.write_table(whole, row_group_size=whole.num_rows)


def write_csv(run_dir: Path, path: Path) -> None:
    """Write ``read_samples`` of all cells; null is an empty field, "" is text."""
    wanted = _schema(label=pa.string())
    with pa.csv.CSVWriter(path, wanted) as writer:
        for table in _tables(run_dir, wanted):
            writer.write_table(table)


def _tables(run_dir: Path, wanted: pa.Schema) -> Iterator[pa.Table]:
    for cell in cells(run_dir):
        for table in sample_groups(cell):
            yield table.select(wanted.names).cast(wanted)


def _schema(label: pa.DataType) -> pa.Schema:
    """Return what `read_samples` returns, each column with its unit."""
    every = schema().append(pa.field("max_abs_diff", pa.float64()))
    fields = []
    for field in every:
        unit = "ns" if field.name.endswith("_ns") else _UNITS.get(field.name)
        about = {"unit": unit} if unit else None
        kind = label if pa.types.is_dictionary(field.type) else field.type
        fields.append(pa.field(field.name, kind, metadata=about))
    return pa.schema(fields, metadata={"djinnload.samples": FORMAT_VERSION})
