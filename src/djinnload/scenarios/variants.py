"""What a point of the sweeps, and an arm, make of a scenario's raw document; pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from djinnload.errors import ScenarioError, nearest
from djinnload.scenarios import behaviours, paths
from djinnload.scenarios.decoding import decode
from djinnload.scenarios.points import Point, Step, points, skips
from djinnload.scenarios.rules import problems
from djinnload.scenarios.schema import Arm, Document

__all__ = ("DEFAULT", "Variant", "check", "checked", "made")

#: The one arm of a scenario without arms.
DEFAULT = Arm(name="default")

#: What may be changed. Repeats, seed and order are what all cells have in common.
_FREE = ("population", "target", "verify", "precise")
_FREE_SCENARIO = (
    "warmup",
    "duration",
    "grace",
    "max_in_flight",
    "overload",
    "load",
    "objectives",
)
_SPELT = {
    "scenario": "[scenario], with name and duration",
    "population": "[[population]], with name, workload, and arrival or users",
    "arm": "[[arm]]",
    "sweep": "[[sweep]]",
    "claim": "[[claim]]",
    "workload": 'workload = { use = "llm", model = "gpt2-tiny" }',
    "arrival": 'arrival = { process = "poisson", rate = "20/s" }',
}
_EXAMPLES = {
    "population": '"population.NAME.users"',
    "target": '"target.server.policy"',
    "verify": '"verify.share"',
}


class Variant(Struct, frozen=True):
    """A point and an arm; *index* is the arm's, in the file."""

    point: Point
    arm: Arm
    index: int


def checked(document: dict[str, Any]) -> Document:
    """Return what *document* says.

    Raises:
        ScenarioError: It is wrong.
    """
    try:
        parsed = decode(document, Document)
        for path, reason in problems(parsed):
            raise ScenarioError(path, reason)  # noqa: TRY301 - made pretty below
    except ScenarioError as error:
        path = paths.pretty(error.path, document)
        raise ScenarioError(path, error.reason + _spelt(error)) from None
    return parsed


def _spelt(error: ScenarioError) -> str:
    """Return how a table is written, if one is missing or is something else."""
    key = error.path.rpartition(".")[2]
    if key in _SPELT and error.reason.startswith(("is missing", "must be a ")):
        return f"; write {_SPELT[key]}"
    return ""


def check(
    document: dict[str, Any], parsed: Document, changes: Mapping[str, Any]
) -> None:
    """Raise ScenarioError if *document* is wrong at a point, or as an arm makes it."""
    if not parsed.arms and not parsed.sweeps:
        return
    for point in points(parsed.sweeps):
        for index, arm in enumerate(parsed.arms or (DEFAULT,)):
            if not skips(arm, point):
                made(document, Variant(point, arm, index), changes)


def made(
    document: dict[str, Any], variant: Variant, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], Document]:
    """Return *document* changed by the point, the arm, and *changes* again.

    Of *changes*, those below what the point or the arm unset are left out.

    Raises:
        ScenarioError: Says whose value is wrong.
    """
    for step in variant.point.steps:
        document = _stepped(document, step)
    document = _armed(document, variant)
    reaching = _reaching(document, variant, changes)
    changed = paths.changed(document, reaching) if reaching else document
    try:
        return changed, checked(changed)
    except ScenarioError as error:
        raise _blamed(error, variant) from None


def _reaching(
    document: dict[str, Any], variant: Variant, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return *changes* but those of a table or population that *variant* has not."""
    steps = variant.point.steps
    unset = (*variant.arm.unset, *(path for step in steps for path in step.unset))
    gone = tuple(f"{path}." for path in unset if not paths.exists(document, path))
    return {p: value for p, value in changes.items() if not p.startswith(gone)}


def _stepped(document: dict[str, Any], step: Step) -> dict[str, Any]:
    try:
        _refuse_common((*step.unset, *step.set), "sweep")
        return paths.changed(document, step.set, step.unset)
    except ScenarioError as error:
        if ".values[" in step.at:
            at = f"{step.at.rpartition('.values[')[0]}.path"
            raise ScenarioError(at, f"{error.path[2:]}: {error.reason}") from None
        raise _at(step.at, step.set, step.unset, error) from None


def _armed(document: dict[str, Any], variant: Variant) -> dict[str, Any]:
    arm = variant.arm
    if arm.target is not None:
        document = {**document, "target": document["arm"][variant.index]["target"]}
    try:
        _refuse_common((*arm.unset, *arm.set), "arm")
        told = {**behaviours.booted(arm.behaviours), **arm.set}
        return paths.changed(document, told, arm.unset)
    except ScenarioError as error:
        raise _blamed(error, variant) from None


def _refuse_common(changed: Iterable[str], kind: str) -> None:
    for path in changed:
        first, _, rest = path.partition(".")
        key, _, inner = rest.partition(".")
        if first == "population" and inner == "name":
            reason = (
                f"no {kind} can change names, they are what {kind}s are compared by"
            )
            raise ScenarioError(f"$.{path}", reason)
        if first == "scenario" and key in _FREE_SCENARIO:
            continue
        if first in _FREE and (key or first == "precise"):
            continue
        if first in _FREE:
            reason = f"is a whole table, write the path of one key: {_EXAMPLES[first]}"
            raise ScenarioError(f"$.{path}", reason)
        near = nearest(first, (*_FREE, "scenario"))
        hint = f", did you mean {near!r}?" if near and near != first else ""
        free = ", ".join((*_FREE, *(f"scenario.{k}" for k in _FREE_SCENARIO)))
        reason = f"no {kind} can change that{hint} ({kind}s can: {free})"
        raise ScenarioError(f"$.{path}", reason)


def _blamed(error: ScenarioError, variant: Variant) -> ScenarioError:
    """Return *error*, of the changed document, as one of whoever changed it."""
    arm, point = variant.arm, variant.point
    at = f"$.arm[{variant.index}] ({arm.name})"
    if _sets(arm.set, arm.unset, error) is not None:
        return _at(at, arm.set, arm.unset, error)
    for step in reversed(point.steps):
        if _sets(step.set, step.unset, error) is not None:
            found = _at(step.at, step.set, step.unset, error)
            several = len(point.steps) > 1 or arm.name != DEFAULT.name
            where = f" (at point {point.name}, arm {arm.name})" * several
            return ScenarioError(found.path, found.reason + where)
    if not point.steps:
        return ScenarioError(at, f"with this arm, {error.path}: {error.reason}")
    if arm.name != DEFAULT.name:
        where = f"with this arm at point {point.name}"
        return ScenarioError(at, f"{where}, {error.path}: {error.reason}")
    at, where = point.steps[0].at, f"at point {point.name}"
    return ScenarioError(at, f"{where}, {error.path}: {error.reason}")


def _sets(
    changes: Mapping[str, Any], unset: Iterable[str], error: ScenarioError
) -> str | None:
    """Return the path of *changes* or *unset* that *error* is about."""
    about = paths.plain(error.path)
    found = (p for p in (*changes, *unset) if about == p or about.startswith(f"{p}."))
    return next(found, None)


def _at(
    at: str, changes: Mapping[str, Any], unset: Iterable[str], error: ScenarioError
) -> ScenarioError:
    """Return *error* as one of the table *at*, which has ``set`` and ``unset``."""
    path = _sets(changes, unset, error) or ""
    below = paths.plain(error.path).removeprefix(path)
    if ".values[" in at:
        return ScenarioError(at, f"{path}{below}: {error.reason}")
    key = "set" if path in changes else "unset"
    return ScenarioError(f'{at}.{key}."{path}"{below}', error.reason)
