"""A results directory as what the original's result files are made of: turns."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from djinnload.errors import ScenarioError
from djinnload.reading.files import read_json, sample_groups
from djinnload.sample import MEASURE
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads
from djinnload.spi import Outcome
from djinnload.summary import spread

__all__ = ("MB", "Cell", "Study", "Turn", "ratio", "stats", "study")

Document = dict[str, Any]

#: The original's "mb" are 2^20 bytes.
MB = 2**20
_COLUMNS = (
    *("population", "user", "session", "turn", "phase", "due_ns", "done_ns", "outcome"),
    *("units", "bytes_sent", "bytes_received", "verified", "worker", "seq"),
)


class Turn(Struct):
    """One exchange as its user perceived it, due in measure.

    Attributes:
        session: Its user and number.
        ok: Whether all its requests were.
        units: Of work: tokens, images.
        sent, received: Bytes on the socket.
    """

    population: str
    session: tuple[int, int]
    turn: int
    due_ns: int
    done_ns: int
    ok: bool
    units: float
    sent: int
    received: int

    @property
    def latency_ms(self) -> float:
        """Return the time from its due to its last reply."""
        return (self.done_ns - self.due_ns) / 1e6


class Cell:
    """One cell: what was asked in it, and what came of that."""

    def __init__(
        self, run_dir: Path, entry: Mapping[str, Any], document: Mapping[str, Any]
    ) -> None:
        self.arm, self.repeat = str(entry["arm"]), int(entry["repeat"])
        self.point = str(entry["point"]["name"])
        self.path = run_dir / str(entry["path"])
        #: Of the scenario, as this cell's arm and point make it.
        self.document = document
        self.manifest = read_json(self.path / "manifest.json")
        self.summary = read_json(self.path / "summary.json")

    @cached_property
    def turns(self) -> list[Turn]:
        """The turns of measure, by due."""
        found: dict[tuple[Any, ...], Turn] = {}
        for table in sample_groups(self.path, _COLUMNS):
            for row in table.to_pylist():
                if row["phase"] == MEASURE:
                    _add(found, row)
        return sorted(found.values(), key=lambda each: each.due_ns)

    def sessions(self) -> Iterator[list[Turn]]:
        """Yield the turns of each session that was ok throughout, by its first due."""
        found: dict[tuple[Any, ...], list[Turn]] = {}
        for each in self.turns:
            found.setdefault((each.population, each.session), []).append(each)
        return (several for several in found.values() if all(t.ok for t in several))

    @property
    def seconds(self) -> float:
        """Return the length of measure."""
        window = self.manifest["window"]
        return float(window["end_ns"] - window["begin_ns"]) / 1e9

    @property
    def local(self) -> bool:
        """Return whether there was no socket whose bytes could be counted."""
        return bool(self.document.get("target", {}).get("use") == "local")

    @property
    def workload(self) -> Mapping[str, Any]:
        """Return the workload of the first population."""
        found: Mapping[str, Any] = self.document["population"][0]["workload"]
        return found

    def mb(self, nbytes: float) -> float | None:
        """Return bytes as the original's MB; None: they were not counted."""
        return None if self.local else nbytes / MB

    def gpu(self, *, mean: str = "mean") -> Document:
        """Return what the first GPU reported in measure; None: none was looked at."""
        device: Document = next(iter(self.summary.get("gpu") or ()), {})
        names = {
            "gpu_util_pct": ("util", 100.0),
            "mem_util_pct": ("memory_util", 100.0),
            "mem_used_mb": ("memory_bytes", 1 / MB),
        }
        return {
            key: device[name][mean] * scale if name in device else None
            for key, (name, scale) in names.items()
        }


class Study(Struct, frozen=True):
    """A run.

    Attributes:
        cells: That were measured, whatever their verdict.
    """

    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    cells: tuple[Cell, ...]

    def groups(self) -> Iterator[tuple[str, dict[str, list[Cell]]]]:
        """Yield each point with the repeats of its arms, in the order of the file."""
        points: dict[str, dict[str, list[Cell]]] = {}
        for cell in self.cells:
            points.setdefault(cell.point, {}).setdefault(cell.arm, []).append(cell)
        order = list(self.manifest["arms"])
        for point, arms in points.items():
            yield point, {name: arms[name] for name in order if name in arms}

    @property
    def versions(self) -> Document:
        """Return those that the original wrote down."""
        found = self.manifest["versions"]
        return {name: found.get(name) for name in ("torch", "transformers")}

    def wall_s(self, t_ns: int) -> float | None:
        """Return an instant of the run in s since 1970; None: not known."""
        anchor = self.manifest["anchor"]
        if anchor.get("monotonic_ns") is None:
            return None
        return float(anchor["wall_ns"] + t_ns - anchor["monotonic_ns"]) / 1e9

    def provenance(self) -> Document:
        """Return where the numbers come from, and how they are not the original's."""
        scenario, verdict = self.manifest["scenario"], self.summary["verdict"]
        return {
            "made_by": f"djinnload {self.manifest['versions']['djinnload']}",
            "scenario": scenario["name"],
            "scenario_sha256": scenario["sha256"],
            "verdict": verdict["status"],
            "reasons": [each["code"] for each in verdict.get("reasons") or ()],
            "measured": True,
            "notes": [
                "every number was measured; what was not measured is null",
                "latency begins when a request was due; only ok turns have one",
                "percentiles are nearest rank, null where n is too small for them",
                "mb are 2^20 bytes on the socket; *_pct are percent, rates are shares",
            ],
        }


def study(run_dir: Path) -> Study:
    """Read a run.

    Raises:
        ScenarioError: It holds none, or one without a cell that was measured.
    """
    run_dir = Path(run_dir)
    manifest, about = read_json(run_dir / "manifest.json"), None
    about = manifest["scenario"]
    scenario = loads(about["text"], path=about["path"])
    if about["changes"]:
        scenario = scenario.replace(about["changes"])
    documents = {
        each.variant: each.scenario.document
        for each in cells(scenario, list(manifest["arms"]))
    }
    found = [
        Cell(run_dir, entry, documents[f"{entry['point']['name']}/{entry['arm']}"])
        for entry in read_json(run_dir / "index.json")["cells"]
        if entry["status"] in {"done", "void"}
    ]
    if not found:
        raise ScenarioError(str(run_dir), "no cell of it was measured")
    found.sort(key=lambda each: each.repeat)
    return Study(manifest, read_json(run_dir / "summary.json"), tuple(found))


def stats(values: Iterable[float | None]) -> Document:
    """Return mean, median, p95, min and max, each None where n is too small for it."""
    known = np.array([each for each in values if each is not None], float)
    if not len(known):
        return dict.fromkeys(("mean", "median", "p95", "min", "max"))
    found = spread.spread_of(known)
    return {
        "mean": found["mean"],
        "median": found["p50"],
        "p95": found["p95"],
        "min": float(known.min()),
        "max": float(known.max()),
    }


def ratio(a: float | None, b: float | None) -> float | None:
    """Return a ÷ b; None where either is not known, or b is 0."""
    return None if a is None or not b else a / b


def _add(found: dict[tuple[Any, ...], Turn], row: Mapping[str, Any]) -> None:
    session = (row["user"], row["session"])
    key = (row["population"], session, row["turn"])
    ok = row["outcome"] == Outcome.OK
    if (turn := found.get(key)) is None:
        found[key] = Turn(
            row["population"],
            session,
            row["turn"],
            row["due_ns"],
            row["done_ns"],
            ok,
            row["units"],
            row["bytes_sent"],
            row["bytes_received"],
        )
        return
    turn.due_ns = min(turn.due_ns, row["due_ns"])
    turn.done_ns = max(turn.done_ns, row["done_ns"])
    turn.ok = turn.ok and ok
    turn.units += row["units"]
    turn.sent += row["bytes_sent"]
    turn.received += row["bytes_received"]
