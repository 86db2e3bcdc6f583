"""A cell → all that the engine, the recorder and the verdict need; opens nothing.

Every name is resolved here: plugins are found, their options read, workloads built,
objectives parsed. What is wrong with any of it raises before a server is started.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from djinnload import claims, objective, registry
from djinnload.errors import PluginError, ScenarioError
from djinnload.models.assets import ModelAssets
from djinnload.objective import Objective
from djinnload.sample import Labels
from djinnload.scenarios import behaviours, rates
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.files import InputFile, input_file, located
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.population import Population as Declared
from djinnload.scenarios.thinking import pause
from djinnload.scenarios.users import FOREVER, levels, most
from djinnload.schedule import Closed, Open, Population, Schedule
from djinnload.spi import Arrival, Model, Workload
from djinnload.verify import WorkloadRecipe

__all__ = ("CellPlan", "Pace", "WorkloadRecipe", "Workshop", "plan")

_WHOLE_CELL = ("gpu_util",)
#: For a trace that has fewer sessions than are asked for, seconds.
_LONGEST_S = 1e7
#: Measures that no turn can exceed its requests' timeout in without failing.
_TIMED_OUT = ("latency", "service", "request_latency", "ttft", "tpot")


class Pace(Struct, frozen=True, kw_only=True):
    """How the sessions of a population come, for manifests and rules of health.

    Attributes:
        loop: ``open``, ``partly-open`` or ``closed``.
        users: The most at once; None: one stream without users.
        varies: Whether the number of closed users changes, as the scenario says.
        think: Whether users pause between sessions.
        return_probability: Of a partly-open population's user, after each session.
        random: Whether gaps between starts are drawn; False for an even pace.
        unit: Of the workload's ``Request.units``.
        offered_per_s: Sessions/s expected in measure; if partly open, once as many
            leave as arrive; None if the server decides.
    """

    loop: str
    users: int | None
    varies: bool = False
    think: bool
    return_probability: float = 0.0
    random: bool
    unit: str
    offered_per_s: float | None


class CellPlan(Struct, frozen=True, kw_only=True):
    """One cell with every name resolved.

    Attributes:
        populations: In the order of the file; indices refer to it.
        labels: Of each population.
        paces: By population.
        objectives: By population.
        of_cell: Objectives of all populations together.
        files: That its arrival process reads, by population.
        recipes: How to build each population's workload again, elsewhere.
        target: The target plugin's class.
        target_options: Of its ``Options``.
        behaviours: Of the arm, by name.
        grace_ns: That requests in flight are given after measure.
        max_in_flight: Requests; what falls due beyond it is dropped.
        warmup_sessions: Of each user, before the schedule begins; 0: none.
    """

    cell: Cell
    populations: tuple[Population, ...]
    schedule: Schedule
    labels: tuple[Labels, ...]
    paces: Mapping[str, Pace]
    objectives: Mapping[str, tuple[Objective, ...]]
    of_cell: tuple[Objective, ...]
    files: Mapping[str, tuple[InputFile, ...]]
    recipes: Mapping[str, WorkloadRecipe]
    target: type[Any]
    target_options: Any
    behaviours: Mapping[str, str]
    grace_ns: int
    max_in_flight: int
    warmup_sessions: int = 0


class Built(Struct, frozen=True):
    """A workload that is ready, and how to make it again."""

    workload: Workload
    recipe: WorkloadRecipe


class Workshop:
    """Workloads of a run: each distinct (use, options, seed) is built once.

    Shared between the plans of all cells, because building may take seconds.
    """

    def __init__(self) -> None:
        self._built: dict[bytes, Built] = {}
        self._assets: dict[int, ModelAssets] = {}

    @property
    def models(self) -> tuple[Model, ...]:
        """Return every model that a workload asked for, in the order of the asking."""
        found = [m for assets in self._assets.values() for m in assets.used.values()]
        return tuple({(m.name, m.seed): m for m in found}.values())

    def workload(self, declared: Mapping[str, Any], seed: int, *, path: str) -> Built:
        """Return the workload that a ``workload`` table declares.

        Args:
            declared: ``use``, and that workload's options.
            seed: Of its models and of what it draws.
            path: Of the table; errors start with it.

        Raises:
            ScenarioError: No such workload, or wrong options.
            PluginError: The plugin cannot be imported or built.
        """
        use = str(declared["use"])
        given = {key: value for key, value in declared.items() if key != "use"}
        entry = registry.entry(registry.WORKLOADS, use, path=f"{path}.use")
        key = msgspec.json.encode((entry.value, given, seed), order="deterministic")
        if key not in self._built:
            kind = registry.find(registry.WORKLOADS, use, path=f"{path}.use")
            options = registry.options(kind, given, path)
            assets = self._assets.setdefault(seed, ModelAssets(seed))
            name = f"{registry.WORKLOADS}: {use}"
            made = registry.make(name, path, kind, options, assets)
            recipe = WorkloadRecipe.of(entry.value, options, seed)
            self._built[key] = Built(made, recipe)
        return self._built[key]


def plan(cell: Cell, *, workshop: Workshop) -> CellPlan:
    """Resolve every name in *cell*.

    Args:
        cell: Its rates must be plain: see `Scenario.at_capacity`.
        workshop: Shared by all plans of a run.

    Raises:
        ScenarioError: A name, an option or an objective is wrong; says where.
        PluginError: A plugin cannot be imported or built.
    """
    scenario = cell.scenario
    run = scenario.scenario
    _check_metrics(scenario)
    claims.check(scenario)
    parts = [
        _Part(scenario, i, declared, workshop)
        for i, declared in enumerate(scenario.populations)
    ]
    target = registry.find(registry.TARGETS, scenario.target.use, path="$.target.use")
    options = registry.options(target, scenario.target.options, "$.target.options")
    asked = behaviours.of_arm(scenario.arms, cell.arm)
    _check_behaviours(scenario, cell.arm, asked, target, options)
    return CellPlan(
        cell=cell,
        populations=tuple(part.population(asked) for part in parts),
        schedule=Schedule(
            seed=cell.seed,
            sources=tuple(part.source() for part in parts),
            warmup_ns=int(run.warmup),
            duration_ns=FOREVER if run.duration.sessions else int(run.duration),
            sessions=run.duration.sessions,
        ),
        labels=tuple(part.labels() for part in parts),
        paces={part.name: part.pace() for part in parts},
        objectives={part.name: part.objectives() for part in parts},
        of_cell=tuple(_of_cell(scenario)),
        files={part.name: part.files for part in parts},
        recipes={
            part.name: structs.replace(part.built.recipe, device=scenario.verify.device)
            for part in parts
        },
        target=target,
        target_options=options,
        behaviours=asked,
        grace_ns=run.grace,
        max_in_flight=run.max_in_flight,
        warmup_sessions=run.warmup.sessions,
    )


def _of_cell(scenario: Scenario) -> Iterator[Objective]:
    for i, text in enumerate(scenario.scenario.objectives):
        path = f"$.scenario.objectives[{i}]"
        found = _parsed(text, path)
        metric = found.measure.metric
        if metric not in _WHOLE_CELL:
            reason = f"{metric} is of turns, say it in a population's objectives"
            raise ScenarioError(path, reason)
        if scenario.probes.nvml is None:
            reason = f'nothing measures {metric}, give probes = {{ nvml = "100ms" }}'
            raise ScenarioError(path, reason)
        yield found


class _Part:
    """One population on its way from the scenario to the plan."""

    def __init__(
        self, scenario: Scenario, index: int, declared: Declared, workshop: Workshop
    ) -> None:
        self.name = declared.name
        self.path = f"$.population[{index}] ({declared.name})"
        self._index = index
        self._declared = declared
        self._duration = scenario.scenario.duration
        self._scenario = scenario.path
        self.files: tuple[InputFile, ...] = ()
        # Not the cell's seed: one set of weights serves all repeats.
        self.built = workshop.workload(
            declared.workload, scenario.scenario.seed, path=f"{self.path}.workload"
        )
        self._arrival = self._made_arrival()
        self._check_lengths()

    def population(self, behaviours: Mapping[str, str]) -> Population:
        declared = self._declared
        return Population(
            name=declared.name,
            session=self.built.workload.session,
            plugin=f"{registry.WORKLOADS}: {declared.workload['use']}",
            qos_class=declared.qos_class,
            deadline_ns=declared.deadline,
            timeout_ns=declared.timeout,
            retry_ns=declared.retry,
            behaviours=behaviours,
        )

    def labels(self) -> Labels:
        declared = self._declared
        return Labels(
            name=declared.name,
            workload=str(declared.workload["use"]),
            qos_class=declared.qos_class,
            deadline_ns=declared.deadline,
        )

    def source(self) -> Open | Closed:
        declared, name = self._declared, self.name
        users, wanted = declared.users, declared.think
        think = pause(wanted) if wanted is not None else None
        if self._arrival is not None:
            streams = users if isinstance(users, int) else 0
            returning = declared.return_probability or 0.0
            return Open(self._index, self._arrival, streams, name, returning, think)
        mix, stagger = ((self._index, 1.0),), declared.stagger or 0
        if isinstance(users, int):
            return Closed(users, mix, think, name, stagger_ns=stagger)
        over_time = levels(users or ())
        return Closed(most(over_time), mix, think, name, over_time, stagger)

    def pace(self) -> Pace:
        declared, arrival, source = self._declared, self._arrival, self.source()
        closed = isinstance(source, Closed)
        returning = 0.0 if isinstance(source, Closed) else source.returning
        offered = None
        if arrival is not None:
            offered = self._expected(arrival) * (source.users or 1) / (1 - returning)
        # An arrival process may say that it draws nothing; ours that does is this one.
        even = (declared.arrival or {}).get("process") == "constant"
        return Pace(
            loop="closed" if closed else "partly-open" if returning else "open",
            users=source.users or None,
            varies=isinstance(source, Closed) and source.levels != (),
            think=declared.think is not None,
            return_probability=returning,
            random=closed or bool(getattr(arrival, "random", not even)),
            unit=str(getattr(self.built.workload, "unit", "units")),
            offered_per_s=offered,
        )

    def _expected(self, arrival: Arrival) -> float:
        """Return the sessions/s of one stream, mean over measure."""
        sessions = self._duration.sessions
        seconds = 1.0 if sessions else self._duration / 1e9
        try:
            # Of so many sessions, over about the time that they take to come.
            while sessions and seconds < _LONGEST_S:
                if arrival.expected(seconds) >= sessions:
                    break
                seconds *= 2
            return arrival.expected(seconds) / seconds
        except Exception as error:
            plugin = f"{registry.ARRIVALS}: {(self._declared.arrival or {})['process']}"
            reason = f"expected() raised {type(error).__name__}: {error}"
            raise PluginError(plugin, reason) from error

    def _check_lengths(self) -> None:
        """Raise ScenarioError if the workload cannot take what a trace asks of it."""
        accepts = getattr(self.built.workload, "accepts", None)
        lengths = getattr(self._arrival, "lengths", None)
        if accepts is None or lengths is None:
            return
        try:
            for hints in lengths():
                accepts(hints)
        except ScenarioError as error:
            path = f"{self.path}.workload.{error.path}"
            raise ScenarioError(path, f"of a trace's session: {error.reason}") from None

    def objectives(self) -> tuple[Objective, ...]:
        return tuple(
            self._objective(text, f"{self.path}.objectives[{i}]")
            for i, text in enumerate(self._declared.objectives)
        )

    def _objective(self, text: str, path: str) -> Objective:
        found = _parsed(text, path)
        metric = found.measure.metric
        if metric in _WHOLE_CELL:
            reason = f"{metric} is of the whole cell, say it in scenario.objectives"
            raise ScenarioError(path, reason)
        timeout = self._declared.timeout
        if metric in _TIMED_OUT and found.op == "<=" and found.bound >= timeout:
            reason = (
                f"{text!r} is not below timeout ({timeout / 1e9:g}s), which ends every "
                "request: no answer could break it; lower it or raise timeout"
            )
            raise ScenarioError(path, reason)
        return found

    def _made_arrival(self) -> Arrival | None:
        declared = self._declared.arrival
        if declared is None:
            return None
        path, use = f"{self.path}.arrival", str(declared["process"])
        if rates.relative(declared):
            reason = "is of a capacity that is not known yet, calibrate first"
            raise ScenarioError(path, reason)
        kind = registry.find(registry.ARRIVALS, use, path=f"{path}.process")
        given = {k: v for k, v in declared.items() if k not in {"process", "per"}}
        named = {
            name: given[name] for name in getattr(kind, "files", ()) if name in given
        }
        options = registry.options(kind, given | self._located(named), path)
        made: Arrival = registry.make(
            f"{registry.ARRIVALS}: {use}", path, kind, options
        )
        self.files = tuple(self._file(name, each) for name, each in named.items())
        return made

    def _located(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that name files as paths from the working directory."""
        return {
            name: str(located(each, self._scenario)) if isinstance(each, str) else each
            for name, each in named.items()
        }

    def _file(self, option: str, path: str) -> InputFile:
        try:
            return input_file(option, path, self._scenario)
        except OSError as error:
            where = f"{self.path}.arrival.{option}"
            raise ScenarioError(where, f"cannot be read: {error.strerror}") from None


def _parsed(text: str, path: str) -> Objective:
    try:
        return objective.parse(text)
    except ValueError as error:
        raise ScenarioError(path, str(error)) from None


def _check_behaviours(
    scenario: Scenario,
    arm: str,
    asked: Mapping[str, str],
    target: type[Any],
    options: Any,
) -> None:
    """Raise ScenarioError if the target cannot execute what the arm is to do."""
    executes = getattr(target, "executes", None)
    known: Mapping[str, tuple[str, ...]] = executes(options) if executes else {}
    for name, word in asked.items():
        if word in known.get(name, ()):
            continue
        index = [each.name for each in scenario.arms].index(arm)
        what = " or ".join(map(repr, known.get(name, ()))) or "nothing of the kind"
        raise ScenarioError(
            f"$.arm[{index}] ({arm}).behaviours.{name}",
            f"target {scenario.target.use} cannot execute {word!r} "
            f"({target.__name__} with these options does {what}); leave the arm out "
            "with --arm, or use another target",
        )


def _check_metrics(scenario: Scenario) -> None:
    metrics = scenario.comparison.metrics if scenario.comparison else ()
    for i, text in enumerate(metrics):
        try:
            objective.parse_measure(text)
        except ValueError as error:
            raise ScenarioError(f"$.comparison.metrics[{i}]", str(error)) from None
