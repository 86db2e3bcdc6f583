"""What a run's summaries say of its populations → a table: a row a cell, or an arm."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from djinnload.reading.files import read_document
from djinnload.report.exports.tables import cells
from djinnload.sample import OUTCOMES

__all__ = ("COLUMNS", "write_csv")

_WHERE = ("point", "arm", "repeat", "population", "verdict")
_WHAT = ("qos_class", "loop", "n", "requests")
_RATES = ("offered_per_s", "achieved_per_s", "goodput_per_s", "units_per_s")
_SHARES = ("miss_rate", "error_rate")
_TIMES = ("latency", "service", "lateness", "blocked", "queue", "exec", "ttft", "tpot")
_STATS = ("n", "mean", "p50", "p90", "p95", "p99", "p99.9", "max")
COLUMNS = (
    *_WHERE,
    *_WHAT,
    *map(str, OUTCOMES),
    *_RATES,
    *_SHARES,
    *(f"{name}_ms_{stat}" for name in _TIMES for stat in _STATS),
)


def write_csv(run_dir: Path, path: Path) -> None:
    """Write a row for each cell and population, then one for all repeats together.

    ``repeat`` of the latter is empty. What is not known, or n too small for, is empty.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(run_dir))


def _rows(run_dir: Path) -> Iterator[dict[str, Any]]:
    for cell in cells(run_dir):
        found = read_document(cell / "summary.json")
        where = {name: found.get(name) for name in ("point", "arm", "repeat")}
        where["verdict"] = (found.get("verdict") or {}).get("status")
        for name, population in (found.get("populations") or {}).items():
            yield {**where, "population": name, **_numbers(population)}
    arms = read_document(run_dir / "summary.json").get("arms") or {}
    for arm, points in arms.items():
        for point, populations in points.items():
            for name, population in populations.items():
                where = {"point": point, "arm": arm, "population": name}
                yield {**where, **_numbers(population)}


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = found.get("outcomes") or {}
    row = {name: found.get(name) for name in (*_WHAT, *_RATES)}
    row |= {str(name): outcomes.get(str(name)) for name in OUTCOMES}
    row |= {name: (found.get(name) or {}).get("value") for name in _SHARES}
    for name in _TIMES:
        times = found.get(f"{name}_ms") or {}
        row |= {f"{name}_ms_{stat}": times.get(stat) for stat in _STATS}
    return row
