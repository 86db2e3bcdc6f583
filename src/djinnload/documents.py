"""Manifests and index entries of a run, as they stand in its directory; pure."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from djinnload import fingerprints, manifest
from djinnload.boots import settings as server_settings
from djinnload.boots.servers import Boot
from djinnload.plan import CellPlan
from djinnload.scenarios import behaviours
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.points import points
from djinnload.spi import Model, Target

__all__ = ("asked", "cell", "entry", "index", "root")

SCHEMA = 1
_NICE = 19


def root(
    scenario: Scenario, order: Sequence[Cell], accepted: Sequence[str]
) -> dict[str, Any]:
    """Return the root ``manifest.json``: all that is needed to repeat the run.

    Args:
        scenario: Of the file.
        order: Cells of every chosen arm at every point.
        accepted: Codes that shall not void.
    """
    judged = {cell.arm: cell.judged for cell in order}
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
        "installed": manifest.installed(),
        "origins": manifest.origins(),
        "source": manifest.source(),
        "host": manifest.host(),
        "devices": manifest.devices(),
        "environment": manifest.environment(),
        "anchor": manifest.anchor(),
        "arms": {name: {"judged": each} for name, each in judged.items()},
        "sweeps": _sweeps(scenario),
        "comparison": _comparison(scenario, order),
        "accepted": list(accepted),
    }


def asked(
    declared: Mapping[str, str], target: str | Target | None, models: Iterable[Model]
) -> dict[str, Any]:
    """Return what the root manifest says besides of what was asked of the run.

    Args:
        declared: By ``--declare``.
        target: By ``--target``; of an object only its kind is known.
        models: That workloads asked for.
    """
    named, kind = isinstance(target, str | None), type(target)
    return {
        "declared": dict(declared),
        "target": target if named else None,
        "target_object": None if named else f"{kind.__module__}:{kind.__qualname__}",
        "models": [
            {
                "name": each.name,
                "id": each.model_id,
                "architecture": each.architecture,
                "dtype": each.dtype,
                "seed": each.seed,
                "source": each.source,
            }
            for each in models
        ],
    }


def _sweeps(scenario: Scenario) -> dict[str, Any] | None:
    """Return each point's place in each sweep; None: there are none.

    ``value`` is null where a name stands for several.
    """
    if not scenario.sweeps:
        return None
    valued = {sweep.name: sweep.path for sweep in scenario.sweeps}
    return {
        "paths": valued,
        "points": {
            point.name: {
                step.sweep: {
                    "label": step.label,
                    "value": step.set[path] if (path := valued[step.sweep]) else None,
                }
                for step in point.steps
            }
            for point in points(scenario.sweeps)
        },
    }


def _comparison(scenario: Scenario, order: Iterable[Cell]) -> dict[str, Any] | None:
    """Return the comparison, None where the chosen arms leave nothing to compare."""
    wanted = scenario.comparison
    arms: dict[str, dict[str, Scenario]] = {}
    for cell in order:
        arms.setdefault(cell.point, {}).setdefault(cell.arm, cell.scenario)
    chosen = {arm for each in arms.values() for arm in each}
    if wanted is None or wanted.baseline not in chosen or len(chosen) == 1:
        return None
    differing = (server_settings.differing(each.values()) for each in arms.values())
    done = behaviours.differing(behaviours.of_arm(scenario.arms, a) for a in chosen)
    return {
        "baseline": wanted.baseline,
        "metrics": list(wanted.metrics),
        "equal_work": wanted.equal_work,
        "differs": sorted({name for names in differing for name in names} | done),
    }


def entry(cell: Cell, status: str = "missing") -> dict[str, Any]:
    """Return a cell's entry in ``index.json``, before it has run."""
    return {
        "id": cell.id,
        "point": {"name": cell.point, **cell.point_values},
        "arm": cell.arm,
        "repeat": cell.repeat,
        "path": f"cells/{cell.id}",
        "status": status,
        "boot": None,
    }


def index(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``index.json``; *entries* in the order of the run."""
    order = [each["id"] for each in entries]
    return {"schema": SCHEMA, "order": order, "cells": list(entries)}


def cell(
    plan: CellPlan, boot: Boot, *, precise: bool, declare: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a cell's ``manifest.json`` says before it runs."""
    proof = boot.manifest()
    declared = {k: {"how": "declared", "value": v} for k, v in declare.items()}
    proof["evidence"] = {**declared, **proof["evidence"]}
    # Settings of the arm too, proven as those of the server are: by what is echoed.
    proof["settings"] = {**proof["settings"], **plan.behaviours}
    return {
        "schema": SCHEMA,
        "complete": False,
        "cell": plan.cell.id,
        "point": plan.cell.point,
        "arm": plan.cell.arm,
        "repeat": plan.cell.repeat,
        "seed": plan.cell.seed,
        "judged": plan.cell.judged,
        "behaviours": dict(plan.behaviours),
        "overload": plan.cell.scenario.scenario.overload,
        "precise": precise,
        "streams": bool(getattr(boot.target, "streams", False)),
        "provenance": "measured",
        "objectives": [each.text for each in plan.of_cell],
        "populations": {
            population.name: _population(plan, population.name)
            for population in plan.populations
        },
        "inputs": fingerprints.inputs(plan.schedule, plan.populations),
        "proof": proof,
        "network": boot.network,
        "server": _server(plan.cell.scenario, boot),
    }


def _population(plan: CellPlan, name: str) -> dict[str, Any]:
    at = [each.name for each in plan.populations].index(name)
    population, labels = plan.populations[at], plan.labels[at]
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
    """Return how it was started and what it takes of this host; None: not ours."""
    if boot.child is None:
        return None
    made: dict[str, Any] = {"shares_host": True, "log": boot.child.log.name}
    if (hook := scenario.target.launch) is not None:
        return made | {
            "command": list(hook.command),
            "environment": dict(hook.env),
            "nice": boot.child.nice,
            "threads": None,
        }
    given = server_settings.settings(scenario)
    return made | {
        "command": ["djinnload", "serve"],
        "environment": server_settings.environment(scenario),
        "nice": given.get("nice", _NICE),
        "threads": given.get("threads") or max(1, boot.child.cores - 1),
    }
