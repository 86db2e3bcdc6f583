"""The cells of a search → ``search.json``, and the run's verdict that follows from it.

Cells are played through `search.machine` in the order in which they ran: while the
search goes on, and again from the directory alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from djinnload import deciding, objective
from djinnload.findings import Finding
from djinnload.health import load as health_load
from djinnload.objective import Decision, Verdict
from djinnload.reading.files import read_json, write_json
from djinnload.scenarios import search_range
from djinnload.scenarios.schema import Search as Asked
from djinnload.search.machine import End, Look, Probe, Range, Search
from djinnload.stats.knee import knee
from djinnload.stats.populations import PopulationSamples
from djinnload.summary import numbers as summarize
from djinnload.summary.bottleneck import GENERATOR
from djinnload.summary.fold import read_run
from djinnload.summary.run import Cell
from djinnload.summary.scaling import TURNED_AWAY
from djinnload.units import SECOND

__all__ = ("FILE", "Played", "asked_range", "fold")

Document = dict[str, Any]

FILE = "search.json"
SCHEMA = 1
#: Reasons that say that the server did not keep up.
_GROWING = ("NOT_STEADY", "LITTLE")
#: No other cell would be any better.
_FATAL = ("WRONG",)
_NO_ANSWERS = "NO_ANSWERS"
_STATUS = {0: "pass", 1: "fail"}
_INTERRUPTED, _BROKEN = 130, 3
_CUT_SHORT = "it ended before it was decided; run it again"


def asked_range(search: Asked, objectives: int) -> Range:
    """Return what ``[search]`` asks of the state machine; *objectives* are judged."""
    low, high = search_range.bounds(search)
    return Range(
        low=low,
        high=high,
        whole=search_range.whole(search.path),
        resolution=search.resolution,
        confidence=search.confidence,
        probes=search.probes,
        looks=search.looks,
        objectives=objectives,
    )


class Played:
    """A search, played from its cells.

    Attributes:
        search: The state machine.
    """

    def __init__(self, path: str, asked: Range) -> None:
        self.search = Search(asked)
        self._path = path
        self._rows: list[_Row] = []

    def take(self, cell: Cell) -> None:
        """Take in the cell that `djinnload.search.machine.Search.step` asked for."""
        step = self.search.step
        if step is None:
            raise ValueError(f"{cell.id}: the search was over before it")
        if step.probe == len(self._rows):
            self._rows.append(_Row())
        row = self._rows[step.probe]
        row.take(cell, self.search.range.alpha, first=step.probe == 0)
        self.search.tell(row.look)

    def document(self, *, interrupted: bool = False, error: str = "") -> Document:
        """Return ``search.json``."""
        search = self.search
        code = search.exit_code
        if interrupted or error:
            code = _INTERRUPTED if interrupted else _BROKEN
        made = {
            "schema": SCHEMA,
            "asked": msgspec.to_builtins(search.range),
            "path": self._path,
            "alpha": search.range.alpha,
            "end": str(search.end),
            "exit_code": code,
            "reason": self._reason(),
            "passing": search.passing,
            "failing": search.failing if search.end is not End.GENERATOR else None,
            "ceiling": search.ceiling,
            "undecided": search.undecided,
            "resolved": search.resolved,
            "stopped": search.stopped,
            "interrupted": interrupted,
            "error": error or None,
            "probes": list(self._probes()),
        }
        return dict(summarize.finite(made | self._shape(made["probes"])))

    def _probes(self) -> Iterator[Document]:
        for probe, row in zip(self.search.probes, self._rows, strict=True):
            known = msgspec.to_builtins(probe)
            del known["outcome"]
            outcome = None if probe.outcome is None else str(probe.outcome)
            shown = search_range.shown(self._path, probe.load)
            yield known | {"shown": shown, "outcome": outcome} | row.document()

    def _shape(self, probes: Sequence[Document]) -> Document:
        """Return the knee, and where the server was saturated."""
        rows = [each for each in probes if each["n"]]
        bend = knee((each["load"], each["achieved_per_s"]) for each in rows)
        full = [
            each["load"]
            for each in rows
            if each["growth_per_s"] is not None or each["not_ok"] > TURNED_AWAY
        ]
        most = max((each["achieved_per_s"] for each in rows), default=None)
        return {
            "knee": bend and {"load": bend[0], "achieved_per_s": bend[1]},
            "saturation": {
                "load": min(full, default=None),
                "most_achieved_per_s": most,
            },
        }

    def _reason(self) -> str:
        search = self.search
        if search.stopped:
            return search.stopped
        match search.end:
            case End.GENERATOR:
                which = next(p for p in search.probes if p.load == search.ceiling)
                return f"limited by the generator at {self._shown(which)}: {which.why}"
            case End.VOID:
                last = search.probes[-1]
                return f"void at {self._shown(last)}: {last.why}"
            case End.LOW:
                return f"not even low meets the objectives: {search.probes[0].why}"
        return "" if search.resolved else self._why_wide()

    def _why_wide(self) -> str:
        search = self.search
        if len(search.probes) >= search.range.probes:
            return f"the bound of {search.range.probes} probes is reached"
        if search.undecided and search.step is None:
            listed = (search_range.shown(self._path, x) for x in search.undecided)
            return f"{', '.join(listed)} could not be decided; measure longer"
        return ""

    def _shown(self, probe: Probe) -> str:
        return search_range.shown(self._path, probe.load)


class _Row:
    """What the cells of one load came to.

    Attributes:
        look: At the last cell, together with those before it that count.
    """

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.counted: list[Cell] = []
        self.decisions: list[tuple[str, Decision]] = []
        self.growth: float | None = None
        self.look = Look(None)

    def take(self, cell: Cell, alpha: float, *, first: bool) -> None:
        self.cells.append(cell.id)
        said = _said(cell, first=first)
        if any(said[key] for key in ("generator", "void", "fatal")):
            self.look = Look(None, **said)
            return
        self.counted.append(cell)
        self.decisions = list(_decisions(self.counted, 1 - alpha))
        grown = [each.value for each in _saturated(cell) if each.value is not None]
        self.growth = max((*grown, self.growth or 0.0)) or None
        self.look = Look(_all_met(self.decisions), _told(self.decisions), **said)

    def document(self) -> Document:
        repeats = [each for cell in self.counted for each in _populations(cell)]
        turns = sum(len(each.turns.due_ns) for each in repeats)
        ok = sum(_done(each) for each in repeats)
        seconds = sum(map(_seconds, self.counted))
        return {
            "cells": self.cells,
            "seconds": seconds,
            "n": turns,
            "offered_per_s": turns / seconds if seconds else None,
            "achieved_per_s": ok / seconds if seconds else None,
            "growth_per_s": self.growth,
            "not_ok": 1 - sum(map(_ok, repeats)) / turns if turns else None,
            "objectives": [
                {"population": name} | msgspec.to_builtins(each)
                for name, each in self.decisions
            ],
        }


def fold(run_dir: Path, summary: Document) -> Document:
    """Write ``search.json`` and the summary of a search; return the latter.

    Args:
        run_dir: Of a search: it holds ``search.json``.
        summary: From `summary.fold.fold_run`; its verdict is replaced by what the
            search came to, as loads that fail belong to every search.

    Raises:
        OSError: It cannot be written.
    """
    before, (manifest, cells) = read_json(run_dir / FILE), read_run(run_dir)
    played = Played(before["path"], msgspec.convert(before["asked"], Range))
    for cell in cells:
        if cell.evidence is None or cell.manifest.get("interrupted"):
            break
        played.take(cell)
    if played.search.step is not None:
        # Interrupted, killed, or out of time.
        played.search.stop(before.get("stopped") or _CUT_SHORT)
    found = played.document(
        interrupted=bool(manifest.get("interrupted")),
        error=str(manifest.get("error") or ""),
    )
    write_json(run_dir / FILE, found)
    made = summary | {
        "verdict": msgspec.to_builtins(_verdict(found)),
        "exit_code": found["exit_code"],
        "search": found,
        "knee": found["knee"],
    }
    write_json(run_dir / "summary.json", made)
    return made


def _verdict(found: Mapping[str, Any]) -> Verdict:
    status = _STATUS.get(found["exit_code"], "void")
    code = "SEARCH" if status != "pass" else "search"
    told = Finding(code, found["reason"] or found["end"], void=status == "void")
    return (
        Verdict(status, (), (told,)) if code == "search" else Verdict(status, (told,))
    )


# One cell


def _said(cell: Cell, *, first: bool) -> dict[str, str]:
    """Return what the rules say about a cell, by who is to blame."""
    said: dict[str, list[str]] = {}
    for each in cell.findings:
        if each.void:
            said.setdefault(_blame(each, first=first), []).append(_message(each))
    if "generator" in said or "void" in said or "fatal" in said:
        said.pop("growing", None)
    elif "growing" not in said:
        said["growing"] = [_message(each) for each in _saturated(cell)]
    named = ("growing", "generator", "void", "fatal")
    return {key: "; ".join(said.get(key, ())) for key in named}


def _blame(finding: Finding, *, first: bool) -> str:
    if finding.code in GENERATOR:
        return "generator"
    if finding.code in _FATAL or (first and finding.code == _NO_ANSWERS):
        return "fatal"
    # Latency that fell says that warm-up was too short, not that the load was too high.
    fell = finding.code == "NOT_STEADY" and (finding.value or 0) < 0
    if finding.code == _NO_ANSWERS or (finding.code in _GROWING and not fell):
        return "growing"
    return "void"


def _message(finding: Finding) -> str:
    return f"{finding.code}: {finding.message}"


def _saturated(cell: Cell) -> list[Finding]:
    return [] if cell.evidence is None else list(health_load.saturated(cell.evidence))


def _populations(cell: Cell) -> list[PopulationSamples]:
    return [] if cell.evidence is None else list(cell.evidence.populations.values())


def _seconds(cell: Cell) -> float:
    if cell.evidence is None:
        return 0.0
    begin, end = cell.evidence.window_ns
    return (end - begin) / SECOND


def _ok(samples: PopulationSamples) -> int:
    return int(samples.turns.ok.sum())


def _done(samples: PopulationSamples) -> int:
    turns = samples.turns
    return int((turns.ok & (turns.done_ns <= samples.window_ns[1])).sum())


# All cells of a load


def _decisions(
    cells: Sequence[Cell], confidence: float
) -> Iterator[tuple[str, Decision]]:
    plans: Mapping[str, Any] = cells[0].manifest.get("populations") or {}
    for name, plan in plans.items():
        repeats = [
            cell.evidence.populations[name]
            for cell in cells
            if cell.evidence is not None and name in cell.evidence.populations
        ]
        for text in plan.get("objectives") or ():
            wanted = objective.parse(text)
            yield name, deciding.decide(wanted, repeats, confidence=confidence)


def _all_met(decisions: Sequence[tuple[str, Decision]]) -> bool | None:
    met = [each.met for _, each in decisions]
    if False in met:
        return False
    return None if None in met else True


def _told(decisions: Sequence[tuple[str, Decision]]) -> str:
    """Return why it is so: the missed ones, else those undecided, else all."""
    worst = _all_met(decisions)
    return "; ".join(
        f"{name}: {each.text}: {each.reason}"
        for name, each in decisions
        if each.met is worst
    )
