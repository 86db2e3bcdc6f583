"""The formats of ``--export``, by name, and what each of them writes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from djinnload.errors import HostError

__all__ = ("FOLDER", "FORMATS", "export")

#: Below a results directory.
FOLDER = "export"


def export(run_dir: Path, wanted: str) -> list[Path]:
    """Write one of `FORMATS`; return the files, whole or as they were before.

    Raises:
        ScenarioError: What it takes is not installed.
        HostError: They cannot be written.
    """
    folder = Path(run_dir) / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        made = []
        for name, write in FORMATS[wanted]().items():
            with _whole(folder / name) as unfinished:
                write(Path(run_dir), unfinished)
            made.append(folder / name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(f"cannot write {folder}: {reason}") from error
    return made


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield where to write what becomes *path* once all of it is written."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


_Writers = Mapping[str, Callable[[Path, Path], None]]


def _csv() -> _Writers:
    from djinnload.report.exports import summaries, tables

    return {"samples.csv": tables.write_csv, "summary.csv": summaries.write_csv}


def _parquet() -> _Writers:
    from djinnload.report.exports import tables

    return {"samples.parquet": tables.write_parquet}


def _openmetrics() -> _Writers:
    from djinnload.report.exports import openmetrics

    return {"metrics.txt": openmetrics.write}


FORMATS: Mapping[str, Callable[[], _Writers]] = {
    "openmetrics": _openmetrics,
    "csv": _csv,
    "parquet": _parquet,
}
