"""Scenario → cells in the order they run: points × arms × repeats; pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from djinnload.errors import UnknownName
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.schema import Arm

__all__ = ("DEFAULT_ARM", "POINT", "Cell", "cells", "seed_of")

#: The one point of a scenario without sweeps, and the one arm of one without arms.
POINT = "all"
DEFAULT_ARM = "default"


class Cell(Struct, frozen=True, kw_only=True):
    """One measurement: a point, an arm, a repeat.

    Attributes:
        id: ``<point>/<arm>/r<NN>``; its directory below ``cells/``.
        point_values: What the point sets, by path.
        judged: Whether its objectives decide the exit code.
        scenario: As the arm runs it.
        seed: Of the schedule; the same in every arm, another in every repeat.
    """

    id: str
    point: str
    arm: str
    repeat: int
    judged: bool
    scenario: Scenario
    seed: int
    point_values: Mapping[str, Any] = {}


def cells(scenario: Scenario, arms: Sequence[str] | None = None) -> tuple[Cell, ...]:
    """Return the cells in the order in which they run.

    ``interleaved``: every arm once, then every arm again; the order of the arms is
    turned round each time (qos fcfs, fcfs qos, …), so that a steady drift of the host
    weighs on all arms alike. ``given``: all repeats of the first arm, then of the next.
    ``shuffled``: in an order that the seed decides.

    Args:
        scenario: Of the file.
        arms: Names of the arms wanted; None or empty: all. The order of the file holds.

    Raises:
        UnknownName: No arm of that name.
        ScenarioError: A change kept from `Scenario.replace` does not fit an arm.
    """
    chosen = _chosen(scenario, arms or ())
    repeats = range(scenario.scenario.repeats)
    under = {arm.name: scenario.under(arm) for arm in chosen}
    made = [
        [_cell(arm, under[arm.name], scenario.scenario.seed, r) for arm in chosen]
        for r in repeats
    ]
    return tuple(_ordered(made, scenario))


def seed_of(seed: int, repeat: int) -> int:
    """Return the seed of a repeat, from 0 to 2**63 − 1."""
    digest = hashlib.sha256(f"{seed}/repeat/{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _chosen(scenario: Scenario, names: Iterable[str]) -> list[Arm]:
    arms = scenario.arms or (Arm(name=DEFAULT_ARM),)
    wanted = set(names)
    known = [arm.name for arm in arms]
    for name in sorted(wanted.difference(known)):
        raise UnknownName("--arm", "arm", name, known)
    return [arm for arm in arms if not wanted or arm.name in wanted]


def _cell(arm: Arm, scenario: Scenario, seed: int, repeat: int) -> Cell:
    return Cell(
        id=f"{POINT}/{arm.name}/r{repeat:02d}",
        point=POINT,
        arm=arm.name,
        repeat=repeat,
        judged=arm.judged,
        scenario=scenario,
        seed=seed_of(seed, repeat),
    )


def _ordered(rounds: list[list[Cell]], scenario: Scenario) -> list[Cell]:
    """Return the cells of *rounds*, one round a repeat, in the scenario's order."""
    order = scenario.scenario.order
    if order == "given":
        return [cell for arm in zip(*rounds, strict=True) for cell in arm]
    if order == "interleaved":
        turned = (each[::-1] if i % 2 else each for i, each in enumerate(rounds))
        return [cell for each in turned for cell in each]
    flat = [cell for each in rounds for cell in each]
    Random(f"{scenario.scenario.seed}/order").shuffle(flat)
    return flat
