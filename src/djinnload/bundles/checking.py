"""Whether a results directory is whole: complete, readable, of its samples."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from djinnload.errors import ScenarioError
from djinnload.reading import columns
from djinnload.reading.files import read_json, sample_groups
from djinnload.sample import MEASURE

__all__ = ("refuse_unless_whole",)

Document = dict[str, Any]

_MADE = ("summary.json", "report.html", "RUNBOOK.md")
_MEASURED = ("done", "void")
#: How Arrow ends a stream; one that was cut off has not been closed.
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def refuse_unless_whole(run_dir: Path) -> None:
    """Return if everything is there and can be read.

    Raises:
        ScenarioError: Says the first thing that is missing or damaged, and what to do.
    """
    manifest = _document(
        run_dir, "manifest.json", "give the directory that a run printed"
    )
    _refuse_unfinished(run_dir, manifest)
    for name in _MADE:
        if not (run_dir / name).is_file():
            raise _refused(
                run_dir, f"has no {name}; djinnload report {run_dir} makes it"
            )
    hint = "it is damaged; run the scenario again"
    for entry in _document(run_dir, "index.json", hint)["cells"]:
        if entry["status"] in _MEASURED:
            _refuse_damaged(run_dir, str(entry["path"]), hint)
        elif entry["status"] != "skipped":
            reason = f"cell {entry['id']} is {entry['status']}"
            raise _refused(run_dir, f"{reason}; {_resume(run_dir)}")


def _refuse_unfinished(run_dir: Path, manifest: Document) -> None:
    if manifest.get("complete") and not manifest.get("interrupted"):
        return
    if error := manifest.get("error"):
        why = f"broke off ({error})"
    else:
        why = "was interrupted" if manifest.get("interrupted") else "is not complete"
    raise _refused(run_dir, f"{why}; {_resume(run_dir)}")


def _resume(run_dir: Path) -> str:
    return f"djinnload run --resume {run_dir} does what it lacks"


def _refuse_damaged(run_dir: Path, cell: str, hint: str) -> None:
    manifest = _document(run_dir, f"{cell}/manifest.json", hint)
    if not manifest.get("complete"):
        raise _refused(run_dir, f"cell {cell} is not complete; {_resume(run_dir)}")
    for path in _streams(run_dir / cell):
        if _tail(path) != _END:
            where = path.relative_to(run_dir)
            raise _refused(run_dir, f"{where} is cut off; {hint}")
    told = _document(run_dir, f"{cell}/summary.json", hint)["populations"]
    found = _counted(run_dir / cell)
    for name, each in told.items():
        if found.get(name, 0) != each["requests"]:
            reason = (
                f"{cell}: summary.json counts {each['requests']:,} requests of {name}, "
                f"its samples {found.get(name, 0):,}"
            )
            raise _refused(run_dir, f"{reason}; {hint}")


def _streams(cell_dir: Path) -> Iterator[Path]:
    return (path for path in sorted(cell_dir.rglob("*.arrows")) if path.is_file())


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END)))
        return file.read()


def _counted(cell_dir: Path) -> Mapping[str, int]:
    """Return the requests of measure in a cell's samples, by population."""
    found: dict[str, int] = {}
    for table in sample_groups(cell_dir, ("population", "phase")):
        population, names = columns.codes(table["population"])
        measured = columns.texts(table["phase"]) == MEASURE
        counts = np.bincount(population[measured], minlength=len(names))
        for name, n in zip(names, counts.tolist(), strict=True):
            found[name] = found.get(name, 0) + n
    return found


def _document(run_dir: Path, name: str, hint: str) -> Document:
    path = run_dir / name
    if not path.is_file():
        raise _refused(run_dir, f"holds no {name}; {hint}")
    try:
        found = read_json(path)
    except (OSError, msgspec.DecodeError) as error:
        raise _refused(run_dir, f"{name} cannot be read ({error}); {hint}") from None
    if not isinstance(found, dict):
        raise _refused(run_dir, f"{name} is no table; {hint}")
    return found


def _refused(run_dir: Path, reason: str) -> ScenarioError:
    return ScenarioError(str(run_dir), reason)
