"""A scenario → what a run of it would do, for ``djinnload check``; opens nothing."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from djinnload import calibrate, traffic
from djinnload.errors import ScenarioError
from djinnload.plan import CellPlan, Pace, Workshop, plan
from djinnload.scenarios import behaviours, rates
from djinnload.scenarios.cells import Cell, cells, skipped
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.points import points
from djinnload.scenarios.population import Population as Declared
from djinnload.scenarios.population import UserRamp
from djinnload.scenarios.schema import Run
from djinnload.spi import Model
from djinnload.traffic import Traffic
from djinnload.units import format_bytes, format_ns

__all__ = ("Description", "Expected", "describe")

#: That an arm may spend on sending weights and state without being asked, seconds.
LONG_S = 1800.0


class Expected(Struct, frozen=True):
    """What a population will do in one cell, as far as it can be said beforehand.

    Attributes:
        loop: As of `Pace`.
        users: The most at once; None: one stream without users.
        load: What drives it, in words, such as ``8 users, closed loop``.
        rate: As in the scenario, such as ``0.2 of capacity × 1.1``; the process, such
            as ``trace``, if it has no single rate; empty if closed.
        sessions: Mean number due in measure; None if it depends on the server.
        requests: Of one session that is answered at once; None if it cannot be told.
        nbytes: Of the tensors that one such session sends, with weights if the arm
            sends them, without state that comes and goes; None if it cannot be told.
        shipped: What one session puts on the wire, if the arm sends weights or state.
    """

    name: str
    workload: str
    qos_class: str
    loop: str
    users: int | None
    load: str
    rate: str
    sessions: float | None
    requests: int | None
    nbytes: int | None
    shipped: Traffic | None
    objectives: tuple[str, ...]


class Shipping(Struct, frozen=True):
    """What an arm that sends weights or state puts on the wire, all cells together.

    Attributes:
        sent: Bytes, at the least; with warm-up.
        received: Bytes, at the least.
        per_s: Bytes a second that are taken for granted.
        network: Whether that is the rate of the target's network, or loopback's.
        seconds: At the least.
    """

    sent: float
    received: float
    per_s: float
    network: bool
    seconds: float


class Description(Struct, frozen=True):
    """What a run of a scenario would do.

    Attributes:
        cells: Ids in order.
        points: Names, in order; ``all`` without sweeps.
        repeats: Of each arm at each point.
        skipped: ``point/arm`` that are left out.
        populations: By arm; with sweeps by ``point/arm``.
        behaviours: Of each arm that has any, as the file has them.
        baseline: The arm that the others are compared with; None: nothing is compared.
        cell_s: Of warm-up and measure of one cell, by the same keys; None: as long as
            its sessions take.
        seconds: Of warm-up and measure, all cells and calibration together; None: one
            of these is not known.
        grace_s: That may come on top, at most.
        calibrated: Whether capacity is measured first.
        shipping: Of each arm that sends weights or state, where the number of its
            sessions is known.
    """

    scenario: str
    cells: tuple[str, ...]
    points: tuple[str, ...]
    repeats: int
    skipped: tuple[str, ...]
    populations: Mapping[str, tuple[Expected, ...]]
    behaviours: Mapping[str, Mapping[str, str]]
    baseline: str | None
    cell_s: Mapping[str, float | None]
    models: tuple[Model, ...]
    seconds: float | None
    grace_s: float
    calibrated: bool
    shipping: Mapping[str, Shipping]


def describe(scenario: Scenario, arms: Sequence[str] | None = None) -> Description:
    """Return what a run of *scenario* would do; plans every arm, opens nothing.

    Args:
        scenario: Rates "of capacity" stay symbolic.
        arms: As of `cells`.

    Raises:
        ScenarioError: As `plan`.
        PluginError: As `plan`.
    """
    order, workshop = cells(scenario, arms), Workshop()
    pinned = scenario.calibrate.capacity
    relative = any(rates.relative(p.arrival) for p in scenario.populations)
    measured = relative and pinned is None
    populations: dict[str, tuple[Expected, ...]] = {}
    seconds: dict[str, float | None] = {}
    asked: dict[str, Mapping[str, str]] = {}
    sizes: dict[str, int] = {}
    for cell in order:
        key = cell.variant if scenario.sweeps else cell.arm
        if key in populations:
            continue
        plain = cell.scenario.at_capacity(pinned or rates.NOMINAL)
        planned = plan(structs.replace(cell, scenario=plain), workshop=workshop)
        run = cell.scenario.scenario
        if planned.behaviours:
            asked[cell.arm] = planned.behaviours
        seconds[key] = _seconds([run])
        populations[key] = tuple(
            _expected(
                planned, i, declared, workshop.models, sizes, symbolic=pinned is None
            )
            for i, declared in enumerate(cell.scenario.populations)
        )
    runs = [cell.scenario.scenario for cell in order]
    warmup, mix_ns = runs[0].warmup, scenario.calibrate.time
    # The mix and one user alone, each before the first cell and after the last.
    once = 2 * warmup + (1 + calibrate.SOLO_SHARE) * mix_ns
    calibration = 2 * once / 1e9 if measured else 0.0
    cells_s = _seconds(runs)
    return Description(
        scenario=scenario.scenario.name,
        cells=tuple(cell.id for cell in order),
        points=tuple(point.name for point in points(scenario.sweeps)),
        repeats=scenario.scenario.repeats,
        skipped=tuple(dict.fromkeys(cell.variant for cell in skipped(scenario, arms))),
        populations=populations,
        behaviours={a.name: asked[a.name] for a in scenario.arms if a.name in asked},
        baseline=scenario.comparison.baseline if scenario.comparison else None,
        cell_s=seconds,
        models=workshop.models,
        seconds=None if cells_s is None else cells_s + calibration,
        grace_s=sum(r.grace for r in runs if not r.duration.sessions) / 1e9,
        calibrated=measured,
        shipping=_shipping(order, populations, swept=bool(scenario.sweeps)),
    )


def refuse_long(
    scenario: Scenario,
    arms: Sequence[str] | None = None,
    *,
    told: Description | None = None,
) -> None:
    """Raise ScenarioError if an arm spends over `LONG_S` on sending weights or state.

    Args:
        scenario: To be run.
        arms: As of `describe`.
        told: What `describe` said of it; None: it is asked, if need be.
    """
    named = [each.name for each in scenario.arms]
    if not any(traffic.ships(behaviours.of_arm(scenario.arms, n)) for n in named):
        return
    for arm, each in (told or describe(scenario, arms)).shipping.items():
        if each.seconds > LONG_S:
            raise ScenarioError(
                f"$.arm[{named.index(arm)}] ({arm})",
                f"sends {format_bytes(each.sent)} and gets "
                f"{format_bytes(each.received)} of weights and state, at "
                f"{format_bytes(each.per_s)}/s at least {each.seconds / 60:.0f} min; "
                "give it fewer repeats (arm.repeats) or a smaller workload (arm.set, "
                "with comparison.equal_work = prefix), leave it out with --arm, or say "
                "--yes-long",
            )


def _shipping(
    order: Sequence[Cell],
    populations: Mapping[str, tuple[Expected, ...]],
    *,
    swept: bool,
) -> dict[str, Shipping]:
    found: dict[str, Shipping] = {}
    warm: set[str] = set()
    for cell in order:
        key = cell.variant if swept else cell.arm
        warmup = cell.scenario.scenario.warmup
        first = key not in warm or warmup.at == "cell"
        warm.add(key)
        for each in populations[key]:
            if each.shipped is not None and each.sessions is not None:
                before = first * warmup.sessions * (each.users or 1)
                made = _put(each.shipped, each.sessions + before, cell.scenario)
                found[cell.arm] = _added(found.get(cell.arm), made)
    return found


def _put(each: Traffic, sessions: float, scenario: Scenario) -> Shipping:
    network = scenario.target.network
    rate = None if network is None else network.rate
    per_s = traffic.LOOPBACK_PER_S if rate is None else float(rate)
    return Shipping(
        sent=sessions * each.sent,
        received=sessions * each.received,
        per_s=per_s,
        network=rate is not None,
        seconds=sessions * each.seconds(per_s),
    )


def _added(before: Shipping | None, more: Shipping) -> Shipping:
    if before is None:
        return more
    return structs.replace(
        more,
        sent=before.sent + more.sent,
        received=before.received + more.received,
        seconds=before.seconds + more.seconds,
    )


def _seconds(runs: Sequence[Run]) -> float | None:
    """Return what warm-up and measure of cells take; None: that is not known."""
    if any(run.warmup.sessions or run.duration.sessions for run in runs):
        return None
    return sum(run.warmup + run.duration for run in runs) / 1e9


def _expected(
    planned: CellPlan,
    index: int,
    declared: Declared,
    models: Sequence[Model],
    sizes: dict[str, int],
    *,
    symbolic: bool,
) -> Expected:
    pace = planned.paces[declared.name]
    unknown = symbolic and rates.relative(declared.arrival)
    offered = None if unknown else pace.offered_per_s
    named = {model.name: model for model in models}
    each = traffic.of_session(planned.populations[index], named, sizes)
    return Expected(
        name=declared.name,
        workload=str(declared.workload["use"]),
        qos_class=declared.qos_class,
        loop=pace.loop,
        users=pace.users,
        load=_load(planned.cell.scenario, declared),
        rate=_rate(planned.cell.scenario, declared),
        sessions=_sessions(planned, pace, offered),
        requests=None if each is None else each.requests,
        nbytes=None if each is None else each.inputs,
        shipped=each if traffic.ships(planned.behaviours) else None,
        objectives=declared.objectives,
    )


def _sessions(planned: CellPlan, pace: Pace, offered: float | None) -> float | None:
    if each := planned.schedule.sessions:
        return float(each * (pace.users or 1))
    return None if offered is None else offered * planned.schedule.duration_ns / 1e9


def _load(scenario: Scenario, declared: Declared) -> str:
    if declared.arrival is None:
        stagger = declared.stagger
        late = f", starts spread over {format_ns(stagger)}" if stagger else ""
        return f"{_users(declared)}, closed loop{late}"
    back = declared.return_probability
    each = f" each of {declared.users} users" if declared.users is not None else ""
    return (
        _rate(scenario, declared) + each + (f", back with {back:.3g}" if back else "")
    )


def _users(declared: Declared) -> str:
    users = declared.users
    if isinstance(users, UserRamp):
        return f"{users.start} to {users.end} users over {format_ns(users.over)}"
    if isinstance(users, tuple):
        stages = (f"{each.users} for {format_ns(each.time)}" for each in users)
        return f"users: {' then '.join(stages)}"
    return f"{users} users"


def _rate(scenario: Scenario, declared: Declared) -> str:
    arrival = declared.arrival or {}
    rate = str(arrival.get("rate", arrival.get("process", "")))
    load = scenario.scenario.load
    return rate if load == 1 or not rates.relative(rate) else f"{rate} × {load:g}"
