"""Scenario → cells in the order they run: points × arms × repeats; pure."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from djinnload.errors import ScenarioError, UnknownName
from djinnload.scenarios import variants
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.points import POINT, Point, points, skips
from djinnload.scenarios.schema import Arm

__all__ = ("DEFAULT_ARM", "POINT", "Cell", "cells", "seed_of", "skipped")

#: The one arm of a scenario without arms.
DEFAULT_ARM = variants.DEFAULT.name


class Cell(Struct, frozen=True, kw_only=True):
    """One measurement: a point, an arm, a repeat.

    Attributes:
        id: ``<point>/<arm>/r<NN>``; its directory below ``cells/``.
        point_values: What the point sets, by path.
        judged: Whether its objectives decide the exit code.
        scenario: As the arm runs it at the point.
        seed: Of the schedule; the same in every arm, another at every point and in
            every repeat.
    """

    id: str
    point: str
    arm: str
    repeat: int
    judged: bool
    scenario: Scenario
    seed: int
    point_values: Mapping[str, Any] = {}

    @property
    def variant(self) -> str:
        """``<point>/<arm>``: what its repeats have in common."""
        return f"{self.point}/{self.arm}"


def cells(scenario: Scenario, arms: Sequence[str] | None = None) -> tuple[Cell, ...]:
    """Return the cells in the order in which they run.

    A round is every arm at every point once: the arms of a point next to each other.
    ``interleaved``: round after round, every second one backwards, so that a steady
    drift of the host weighs on all alike; and after each two another arm goes first, so
    that each is in each place (abc, cba, bca, acb, cab, bac): what an arm leaves behind
    does not always hit the same one. ``given``: all repeats of the first arm at the
    first point, then of the next arm; then the next point. ``shuffled``: in an order
    that the seed decides.

    Args:
        scenario: Of the file.
        arms: Names of the arms wanted; None or empty: all. The order of the file holds.

    Raises:
        UnknownName: No arm of that name.
        ScenarioError: A change kept from `Scenario.replace` does not fit an arm; or the
            arms skip everything.
    """
    made = _rounds(scenario, arms, skipped=False)
    if not made[0]:
        raise ScenarioError("$.arm", "skip leaves no point of a sweep to be measured")
    return tuple(_ordered(made, scenario))


def skipped(scenario: Scenario, arms: Sequence[str] | None = None) -> tuple[Cell, ...]:
    """Return the cells that arms skip, which are shown and never measured.

    Args:
        scenario: As of `cells`.
        arms: As of `cells`.

    Raises:
        UnknownName: No arm of that name.
    """
    made = _rounds(scenario, arms, skipped=True)
    return tuple(cell for each in made for cell in each)


def seed_of(seed: int, repeat: int, point: str = POINT) -> int:
    """Return the seed of a repeat at a point, from 0 to 2**63 − 1.

    It follows from the point's name: to add a level changes no other.
    """
    at = "" if point == POINT else f"/point/{point}"
    digest = hashlib.sha256(f"{seed}{at}/repeat/{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _chosen(scenario: Scenario, names: Iterable[str]) -> list[Arm]:
    arms = scenario.arms or (variants.DEFAULT,)
    wanted = set(names)
    known = [arm.name for arm in arms]
    for name in sorted(wanted.difference(known)):
        raise UnknownName("--arm", "arm", name, known)
    return [arm for arm in arms if not wanted or arm.name in wanted]


def _rounds(
    scenario: Scenario, arms: Sequence[str] | None, *, skipped: bool
) -> list[list[Cell]]:
    """Return one list a repeat, of the cells that are measured, or else skipped."""
    chosen = _chosen(scenario, arms or ())
    # A point that is not measured need not even be possible.
    under = [
        (point, arm, scenario if skipped else scenario.under(arm, point))
        for point in points(scenario.sweeps)
        for arm in chosen
        if skips(arm, point) is skipped
    ]
    return [
        [
            _cell(point, arm, each, scenario.scenario.seed, r)
            for point, arm, each in under
            if arm.repeats is None or r < arm.repeats
        ]
        for r in range(scenario.scenario.repeats)
    ]


def _cell(point: Point, arm: Arm, scenario: Scenario, seed: int, repeat: int) -> Cell:
    return Cell(
        id=f"{point.name}/{arm.name}/r{repeat:02d}",
        point=point.name,
        arm=arm.name,
        repeat=repeat,
        judged=arm.judged,
        scenario=scenario,
        seed=seed_of(seed, repeat, point.name),
        point_values=point.values,
    )


def _ordered(rounds: list[list[Cell]], scenario: Scenario) -> list[Cell]:
    """Return the cells of *rounds*, one round a repeat, in the scenario's order."""
    order = scenario.scenario.order
    if order == "given":
        places = {cell.variant: i for i, cell in enumerate(rounds[0])}
        every = (cell for each in rounds for cell in each)
        return sorted(every, key=lambda cell: places[cell.variant])
    if order == "interleaved":
        turned = (_turned(each, number) for number, each in enumerate(rounds))
        return [cell for each in turned for cell in each]
    flat = [cell for each in rounds for cell in each]
    Random(f"{scenario.scenario.seed}/order").shuffle(flat)
    return flat


def _turned(cells: Sequence[Cell], number: int) -> list[Cell]:
    """Return the *number*-th round of ``interleaved``."""
    found: list[Cell] = []
    for _, several in itertools.groupby(cells, key=lambda cell: cell.point):
        arms = list(several)
        first = number // 2 % len(arms)
        found += arms[first:] + arms[:first]
    return found[::-1] if number % 2 else found
