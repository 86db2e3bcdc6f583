"""A results directory in the formats of others, read back by their own libraries."""

import csv
import io
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from prometheus_client.openmetrics.parser import text_fd_to_metric_families

from djinnload.cli.options import exported
from djinnload.errors import HostError, ScenarioError
from djinnload.reading.files import read_document, read_json, read_samples, write_json
from djinnload.report.exports import formats, openmetrics, tables
from djinnload.report.exports.formats import FORMATS, export
from djinnload.summary.fold import fold_run
from many_rows import write_run  # tests/, by conftest.py


@pytest.fixture
def run(synthetic_run):
    fold_run(synthetic_run)
    return synthetic_run


def every(run):
    """All samples, as plain rows of text and numbers."""
    found = pa.concat_tables([read_samples(cell) for cell in tables.cells(run)])
    kinds = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in found.schema
    ]
    return found.cast(pa.schema(kinds))


def plain(table, like):
    return table.cast(pa.schema(list(like.schema))).select(like.column_names)


def test_parquet_is_what_was_read(run):
    (path,) = export(run, "parquet")
    samples, found = every(run), pq.read_table(path)
    assert plain(found, samples).equals(samples)
    about = {f.name: f.metadata for f in found.schema}
    assert about["due_ns"] == {b"unit": b"ns"}
    assert about["bytes_sent"] == {b"unit": b"B"}
    assert about["outcome"] is None
    groups = pq.ParquetFile(path).metadata
    assert groups.row_group(0).column(0).compression == "ZSTD"
    for name in ("arm", "point", "repeat", "population", "verified", "max_abs_diff"):
        assert name in found.column_names


def test_csv_is_what_was_read_and_empty_text_is_no_null(run):
    path, _ = export(run, "csv")
    samples = every(run)
    kinds = pa.csv.ConvertOptions(
        column_types=samples.schema,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    found = pa.csv.read_csv(path, convert_options=kinds)
    assert plain(found, samples).equals(samples)
    assert "" in pc.unique(found["error"]).to_pylist()


def test_the_summary_table_has_a_row_a_cell_and_one_for_all_repeats(run):
    _, path = export(run, "csv")
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    cells = list(tables.cells(run))
    for cell in cells:
        wanted = read_json(cell / "summary.json")
        for name, population in wanted["populations"].items():
            (row,) = (
                r for r in rows
                if (r["arm"], r["repeat"], r["population"])
                == (wanted["arm"], str(wanted["repeat"]), name)
            )  # fmt: skip
            assert row["verdict"] == wanted["verdict"]["status"]
            assert float(row["latency_ms_mean"]) == population["latency_ms"]["mean"]
            p99 = population["latency_ms"]["p99.9"]
            assert row["latency_ms_p99.9"] == ("" if p99 is None else str(p99))
            assert int(row["ok"]) == population["outcomes"]["ok"]
            assert int(row["requests"]) == population["requests"]
    pooled = [row for row in rows if not row["repeat"]]
    arms = read_json(run / "summary.json")["arms"]
    names = {(arm, p) for arm, at in arms.items() for p in at["all"]}
    assert {(row["arm"], row["population"]) for row in pooled} == names
    assert len(rows) == len(cells) * 3 + len(names)


def points(path):
    families = text_fd_to_metric_families(io.StringIO(path.read_text("utf-8")))
    return [sample for family in families for sample in family.samples]


def test_openmetrics_ends_where_the_samples_do(run):
    (path,) = export(run, "openmetrics")
    assert path.read_text("utf-8").endswith("# EOF\n")
    last, course = {}, {}
    for each in points(path):
        key = (each.name, frozenset(each.labels.items()))
        course.setdefault(key, []).append((each.timestamp, each.value))
        last[key] = each.value
    for found in course.values():
        assert found == sorted(found)  # in time, and growing
        assert [v for _, v in found] == sorted(v for _, v in found)
    rows = [r for r in every(run).to_pylist() if r["phase"] == "measure"]
    counted = Counter((r["population"], r["arm"], r["outcome"]) for r in rows)
    seen = {
        (label["population"], label["arm"], label["outcome"]): value
        for (name, labels), value in last.items()
        if name == "djinnload_requests_total"
        for label in [dict(labels)]
    }
    assert seen == counted
    total = sum(
        v for (name, _), v in last.items() if name.endswith("latency_seconds_sum")
    )
    took = sum(r["done_ns"] - r["due_ns"] for r in rows if r["outcome"] == "ok")
    assert total == pytest.approx(took / 1e9)


def test_openmetrics_are_on_the_walls_clock(run):
    document = read_document(run / "manifest.json")
    anchor = document["anchor"] | {"wall_ns": 1_700_000_000 * 10**9}
    cell = next(tables.cells(run))
    window = read_json(cell / "manifest.json")["window"]
    write_json(run / "manifest.json", document | {"anchor": anchor})
    first = min(float(each.timestamp) for each in points(export(run, "openmetrics")[0]))
    begin = 1_700_000_000 + (window["begin_ns"] - anchor["monotonic_ns"]) / 1e9
    assert begin < first <= begin + 2


@pytest.mark.parametrize("wanted", FORMATS)
def test_the_same_directory_gives_the_same_bytes(run, wanted):
    first = [path.read_bytes() for path in export(run, wanted)]
    assert [path.read_bytes() for path in export(run, wanted)] == first
    assert not list((run / formats.FOLDER).glob(".*"))


def test_what_cannot_be_written_leaves_what_there_was(run, monkeypatch):
    (path,) = export(run, "parquet")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "_write_group", full)
    with pytest.raises(HostError, match=r"cannot write .*export: No space left"):
        export(run, "parquet")
    assert path.read_bytes() == before
    assert list((run / formats.FOLDER).iterdir()) == [path]


def test_without_its_library_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(openmetrics, "find_spec", lambda _: None)
    with pytest.raises(ScenarioError, match=r"pip install 'djinnload\[metrics\]'"):
        export(run, "openmetrics")


def test_a_million_rows_are_held_a_part_at_a_time(tmp_path):
    """Each export in a process of its own, for its peak is of the process."""
    write_run(tmp_path, 1_000_000)
    script = """
import sys
from pathlib import Path
import pyarrow as pa
from djinnload.report.exports.formats import export
for wanted in ("csv", "parquet", "openmetrics"):
    export(Path(sys.argv[1]), wanted)
print(pa.default_memory_pool().max_memory())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # All at once they are 250 MB; a row group is an eighth of them.
    assert int(done.stdout) < 120 * 2**20
    assert pq.read_metadata(tmp_path / "export/samples.parquet").num_rows == 1_000_000


def test_the_command_says_where_each_is(run, capsys):
    exported(run, ["parquet", "csv", "parquet"], quiet=False)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"parquet:  {run}/export/samples.parquet",
        f"csv:  {run}/export/samples.csv",
        f"csv:  {run}/export/summary.csv",
    ]
    exported(run, ["openmetrics"], quiet=True)
    assert capsys.readouterr().out == ""
    assert (run / "export/metrics.txt").stat().st_size
