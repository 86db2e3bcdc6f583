"""A run → result files of the original evaluation's shapes, with measured numbers."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from djinnload.errors import HostError, ScenarioError
from djinnload.legacy import answers, loads, memory, works
from djinnload.legacy.study import Study, study
from djinnload.reading.files import write_json

__all__ = ("FOLDER", "export", "refuse")

FOLDER = "legacy"
#: By the experiment that a scenario names.
_SHAPES: Mapping[str, Callable[[Study], dict[str, dict[str, Any]]]] = {
    "2.1": answers.decode,
    "2.2": answers.streaming,
    "2.3": answers.conversation,
    "3.1": works.ablation,
    "3.2": memory.allocations,
    "4.1": loads.sweep,
    "4.2": loads.qos,
    "5.1": works.overhead,
    "6.1": works.generality,
}
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=,-]+")


def export(run_dir: Path) -> list[Path]:
    """Write ``legacy/*.json`` of a run; return their paths.

    Raises:
        ScenarioError: Its experiment is not known, or had no such files.
        HostError: They cannot be written.
    """
    run_dir = Path(run_dir)
    found = study(run_dir)
    refuse(found.manifest["plan"])
    shape = _SHAPES[_experiment(found.manifest["plan"])]
    if shape is loads.qos and _bursts(found):
        shape = loads.production
    made = []
    try:
        for name, document in shape(found).items():
            path = run_dir / FOLDER / f"{_UNSAFE.sub('-', name)}.json"
            write_json(path, document)
            made.append(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(f"cannot write {run_dir / FOLDER}: {reason}") from error
    return made


def refuse(document: Mapping[str, Any]) -> None:
    """Return if a scenario's raw *document* is of an experiment that had such files.

    Raises:
        ScenarioError: It is not.
    """
    if _experiment(document) not in _SHAPES:
        known = ", ".join(_SHAPES)
        reason = f"the scenario is of no experiment that has legacy files ({known})"
        raise ScenarioError(
            "--export", f"{reason}; it names one by scenario.experiment"
        )


def _experiment(document: Mapping[str, Any]) -> str:
    """Return what the scenario names; else what its own name begins with."""
    about = document["scenario"]
    named = re.match(r"exp(\d)_(\d)", str(about["name"]))
    return str(about.get("experiment") or (named and f"{named[1]}.{named[2]}") or "")


def _bursts(found: Study) -> bool:
    """Return whether the users come in bursts, as those of the production mix do."""
    populations = found.cells[0].document["population"]
    processes = [(each.get("arrival") or {}).get("process") for each in populations]
    return "bursts" in processes
