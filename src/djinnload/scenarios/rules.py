"""What several keys of a scenario can get wrong together; pure."""

import re
from collections.abc import Iterator, Sequence

from djinnload.errors import nearest
from djinnload.scenarios import (
    behaviours,
    experiment,
    launching,
    network,
    points,
    rates,
    search_range,
)
from djinnload.scenarios.population import Population, Uniform, UserRamp
from djinnload.scenarios.schema import Arm, Document, Run, Sweep

__all__ = ("Problem", "problems")

#: Of a probe's period: more often only slows what it looks at.
_SHORTEST_NS = 10_000_000
_DEVICES = re.compile(r"con|prn|aux|nul|com\d|lpt\d")

#: (path, reason)
Problem = tuple[str, str]


def problems(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with *document*, in the order of the file."""
    yield from _reserved(document)
    yield from _times(document)
    yield from _workers(document)
    yield from _server(document)
    yield from _probes(document)
    yield from launching.problems(document.target)
    yield from network.problems(document.target)
    yield from _twice(document.populations, "population")
    for i, population in enumerate(document.populations):
        for key, reason in _population(population, document.scenario):
            yield f"$.population[{i}].{key}", reason
    yield from _twice(document.sweeps, "sweep")
    yield from _twice(document.arms, "arm")
    yield from _behaviours(document)
    yield from points.problems(document)
    yield from _arm_names(document)
    yield from _comparison(document)
    yield from experiment.problems(document)
    yield from search_range.problems(document)


def _reserved(document: Document) -> Iterator[Problem]:
    """Yield names that are folders of results, and no file of some systems."""
    yield from _device("$.scenario.name", document.scenario.name)
    for i, arm in enumerate(document.arms):
        yield from _device(f"$.arm[{i}].name", arm.name)


def _device(path: str, name: str) -> Iterator[Problem]:
    if _DEVICES.fullmatch(name):
        yield path, f"{name!r} is no file name on Windows, choose another"


def _times(document: Document) -> Iterator[Problem]:
    run = document.scenario
    if run.duration == 0 and not run.duration.sessions:
        yield "$.scenario.duration", "must be greater than 0, such as 10s"
    if document.calibrate.time == 0:
        yield "$.calibrate.time", "must be greater than 0, such as 5s"
    address = document.target.address
    if address is not None and not 0 < int(address.rpartition(":")[2]) < 65536:  # noqa: PLR2004 - ports
        yield "$.target.address", "a port is from 1 to 65535"


def _workers(document: Document) -> Iterator[Problem]:
    run = document.scenario
    if run.max_in_flight < run.workers:
        reason = f"must be at least 1 for each of {run.workers} workers"
        yield "$.scenario.max_in_flight", reason
    if run.pin is True or run.pin is False:
        return
    if len(set(run.pin)) < len(run.pin):
        yield "$.scenario.pin", "names a core twice"
    if len(run.pin) < run.workers:
        n = len(run.pin)
        reason = f"{n} cores for {run.workers} workers, each needs one of its own"
        yield "$.scenario.pin", reason


def _server(document: Document) -> Iterator[Problem]:
    shares = document.target.server.shares
    if shares is None:
        return
    if not any((shares.realtime, shares.interactive, shares.batch)):
        yield "$.target.server.shares", "at least one share must be greater than 0"


def _probes(document: Document) -> Iterator[Problem]:
    probes = document.probes
    for key in ("nvml", "vmu", "host"):
        period = getattr(probes, key)
        if period is not None and period < _SHORTEST_NS:
            yield f"$.probes.{key}", "must be at least 10ms"
    if probes.gpus is not None and probes.nvml is None:
        yield "$.probes.gpus", 'nothing looks at them, give nvml, such as "100ms"'


def _twice(named: Sequence[Population | Sweep | Arm], kind: str) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for i, each in enumerate(named):
        first = seen.setdefault(each.name, i)
        if first != i:
            reason = f"{each.name!r} is the name of {kind}[{first}] too, choose another"
            yield f"$.{kind}[{i}].name", reason


def _population(population: Population, run: Run) -> Iterator[Problem]:
    yield from _pace(population)
    yield from _crowd(population.users)
    yield from _stagger(population, run)
    yield from _counted(population, run)
    yield from _return(population)
    yield from _limits(population)
    yield from _think(population)
    use = population.workload.get("use")
    if not isinstance(use, str) or not use:
        yield "workload.use", 'is missing, name the workload, such as use = "llm"'


def _pace(population: Population) -> Iterator[Problem]:
    arrival, users = population.arrival, population.users
    if arrival is None:
        if users is None:
            yield "arrival", "is missing, give arrival (open) or users (closed)"
        return
    process = arrival.get("process")
    if not isinstance(process, str) or not process:
        yield "arrival.process", 'is missing, such as process = "poisson"'
    per = arrival.get("per")
    if per not in {None, "user"}:
        yield "arrival.per", f'{per!r} is no choice, write per = "user" or leave it out'
    elif per is None and users is not None:
        reason = (
            'an open population takes users only with arrival.per = "user", which '
            "gives each a stream of its own; leave arrival out for a closed one"
        )
        yield "users", reason
    elif per == "user" and not isinstance(users, int):
        what = "is missing" if users is None else "is no plain number"
        yield "users", f'{what}, arrival.per = "user" needs one, such as users = 8'
    for below, reason in rates.rates(arrival):
        yield f"arrival{below}", reason


def _crowd(users: object) -> Iterator[Problem]:
    if isinstance(users, UserRamp):
        if not users.over:
            yield "users.over", "must be greater than 0, such as 60s"
        if not users.start and not users.end:
            yield "users", "start and end are both 0, give at least one user"
    elif isinstance(users, tuple):
        for i, stage in enumerate(users):
            if not stage.time:
                yield f"users[{i}].time", "must be greater than 0, such as 30s"
        if not any(stage.users for stage in users):
            yield "users", "no stage has a user, give at least one"


def _stagger(population: Population, run: Run) -> Iterator[Problem]:
    if population.stagger is None:
        return
    if population.arrival is not None:
        yield "stagger", "only closed populations start together, leave it out"
    elif population.stagger >= run.duration and not run.duration.sessions:
        yield (
            "stagger",
            "must be shorter than scenario.duration, or not all would start",
        )


def _counted(population: Population, run: Run) -> Iterator[Problem]:
    """Yield what has no meaning for so many sessions of each user."""
    told = [key for key in ("warmup", "duration") if getattr(run, key).sessions]
    if not told:
        return
    reason = f"scenario.{told[0]} is told in sessions of each user, give it as a time"
    if population.return_probability is not None:
        yield "return_probability", f"decides how many sessions a user has; {reason}"
    if not isinstance(population.users, int | None):
        yield "users", f"come and go by the clock; {reason}, or a plain number of users"


def _return(population: Population) -> Iterator[Problem]:
    probability, arrival = population.return_probability, population.arrival
    if probability is None:
        return
    if arrival is None:
        reason = "users of a closed population always come back, leave it out"
        yield "return_probability", reason
    elif arrival.get("per") is not None:
        reason = 'arrival.per = "user" has users already, leave one of the two out'
        yield "return_probability", reason
    elif not 0 < probability < 1:
        reason = "must be greater than 0 and less than 1, such as 70%, or left out"
        yield "return_probability", reason


def _limits(population: Population) -> Iterator[Problem]:
    if population.timeout == 0:
        yield "timeout", "must be greater than 0, such as 60s"
    deadline = population.deadline
    if deadline is None:
        return
    if deadline == 0:
        yield "deadline", "must be greater than 0, or left out"
    elif deadline >= population.timeout:
        yield "deadline", "must be shorter than timeout, which ends the request"


def _think(population: Population) -> Iterator[Problem]:
    think = population.think
    if think is None:
        return
    if population.arrival is not None and population.return_probability is None:
        reason = "only users who come back think, give return_probability or no think"
        yield "think", reason
    if isinstance(think, Uniform):
        if think.low > think.high:
            yield "think.low", "must not be over high"
    elif think.mean == 0:
        yield "think.mean", "must be greater than 0, or leave think out"


def _behaviours(document: Document) -> Iterator[Problem]:
    for i, arm in enumerate(document.arms):
        for key, reason in behaviours.problems(arm.behaviours):
            yield f"$.arm[{i}].behaviours.{key}", reason


def _arm_names(document: Document) -> Iterator[Problem]:
    named = [("$.calibrate.arm", document.calibrate.arm)]
    if document.comparison is not None:
        named.append(("$.comparison.baseline", document.comparison.baseline))
    names = [arm.name for arm in document.arms] or ["default"]
    for path, name in named:
        if name is None or name in names:
            continue
        near = nearest(name, names)
        hint = f", did you mean {near!r}?" if near else ""
        yield path, f"no arm named {name!r}{hint} (there is: {', '.join(names)})"


def _comparison(document: Document) -> Iterator[Problem]:
    if document.comparison is not None and len(document.arms) < 2:  # noqa: PLR2004 - a pair
        yield "$.comparison", "needs at least two [[arm]], or leave it out"
