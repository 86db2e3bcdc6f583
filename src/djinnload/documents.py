"""Manifests and index entries of a run, as they stand in its directory; pure."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from djinnload import boots, manifest
from djinnload.boots import Boot
from djinnload.plan import CellPlan
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.load import Scenario

__all__ = ("cell", "entry", "root")

SCHEMA = 1
_NICE = 19


def root(
    scenario: Scenario, arms: Mapping[str, Scenario], accepted: Sequence[str]
) -> dict[str, Any]:
    """Return the root ``manifest.json``: all that is needed to repeat the run.

    Args:
        scenario: Of the file.
        arms: The chosen ones, as each runs.
        accepted: Codes that shall not void.
    """
    judged = {each.name: each.judged for each in scenario.arms}
    return {
        "schema": SCHEMA,
        "scenario": {
            "name": scenario.scenario.name,
            "text": scenario.text,
            "sha256": scenario.sha256,
            "path": str(scenario.path),
            "changes": msgspec.to_builtins(dict(scenario.changes)),
        },
        "argv": sys.argv,
        "plan": msgspec.to_builtins(scenario.document),
        "seed": scenario.scenario.seed,
        "versions": manifest.versions(),
        "host": manifest.host(),
        "devices": manifest.devices(),
        "environment": manifest.environment(),
        "anchor": manifest.anchor(),
        "arms": {name: {"judged": judged.get(name, True)} for name in arms},
        "comparison": _comparison(scenario, arms),
        "accepted": list(accepted),
    }


def _comparison(
    scenario: Scenario, arms: Mapping[str, Scenario]
) -> dict[str, Any] | None:
    """Return the comparison, None where the chosen arms leave nothing to compare."""
    wanted = scenario.comparison
    if wanted is None or wanted.baseline not in arms or len(arms) == 1:
        return None
    return {
        "baseline": wanted.baseline,
        "metrics": list(wanted.metrics),
        "equal_work": wanted.equal_work,
        "differs": boots.differing(arms.values()),
    }


def entry(cell: Cell) -> dict[str, Any]:
    """Return a cell's entry in ``index.json``, before it has run."""
    return {
        "id": cell.id,
        "point": {"name": cell.point, **cell.point_values},
        "arm": cell.arm,
        "repeat": cell.repeat,
        "path": f"cells/{cell.id}",
        "status": "missing",
        "boot": None,
    }


def cell(
    plan: CellPlan, boot: Boot, *, precise: bool, declare: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a cell's ``manifest.json`` says before it runs."""
    proof = boot.manifest()
    declared = {k: {"how": "declared", "value": v} for k, v in declare.items()}
    proof["evidence"] = {**declared, **proof["evidence"]}
    return {
        "schema": SCHEMA,
        "complete": False,
        "cell": plan.cell.id,
        "point": plan.cell.point,
        "arm": plan.cell.arm,
        "repeat": plan.cell.repeat,
        "seed": plan.cell.seed,
        "judged": plan.cell.judged,
        "overload": plan.cell.scenario.scenario.overload,
        "precise": precise,
        "streams": bool(getattr(boot.target, "streams", False)),
        "provenance": "measured",
        "populations": {
            population.name: _population(plan, population.name)
            for population in plan.populations
        },
        "proof": proof,
        "server": _server(plan.cell.scenario, boot),
    }


def _population(plan: CellPlan, name: str) -> dict[str, Any]:
    index = [each.name for each in plan.populations].index(name)
    population, labels = plan.populations[index], plan.labels[index]
    return {
        **msgspec.structs.asdict(plan.paces[name]),
        "qos_class": population.qos_class,
        "deadline_ns": population.deadline_ns,
        "timeout_ns": population.timeout_ns,
        "workload": labels.workload,
        "objectives": [each.text for each in plan.objectives[name]],
        "files": msgspec.to_builtins(plan.files[name]),
    }


def _server(scenario: Scenario, boot: Boot) -> dict[str, Any] | None:
    """Return what the server takes of this host; None if it is not ours."""
    if boot.child is None:
        return None
    given = boots.settings(scenario)
    return {
        "nice": given.get("nice", _NICE),
        "threads": given.get("threads") or max(1, boot.child.cores - 1),
        "shares_host": True,
    }
