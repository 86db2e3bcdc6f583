"""Sweeps → points: every combination of one value of each, named; pure."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from djinnload.errors import nearest
from djinnload.scenarios.schema import Arm, Document, Sweep

__all__ = ("ALL", "POINT", "Point", "Step", "points", "problems", "skips", "steps")

#: The one point of a scenario without sweeps.
POINT = "all"
#: (path, reason)
Problem = tuple[str, str]

#: What file systems take as it is; the rest becomes a hyphen.
_UNSAFE = re.compile(r"[^A-Za-z0-9._+]+")
#: File systems end at 255 bytes; and people read them.
_LONGEST = 120


class Step(Struct, frozen=True):
    """One value of one sweep.

    Attributes:
        sweep: Its name.
        at: Where it stands, such as ``$.sweep[0].values[2]``.
        label: In names of points: the value, or the name that the file gives.
        set: Values by path.
        unset: Paths removed before.
    """

    sweep: str
    at: str
    label: str
    set: Mapping[str, Any] = {}
    unset: tuple[str, ...] = ()


class Point(Struct, frozen=True):
    """One step of each sweep; applied in the order of the file."""

    steps: tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        """``users=8,policy=qos``; a directory of that name holds its cells."""
        name = ",".join(f"{step.sweep}={step.label}" for step in self.steps) or POINT
        if len(name) <= _LONGEST:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return f"{name[: _LONGEST - 9]}-{digest}"

    @property
    def values(self) -> dict[str, Any]:
        """What it sets, by path."""
        return {path: v for step in self.steps for path, v in step.set.items()}


#: Of a scenario without sweeps.
ALL = Point()


def points(sweeps: Sequence[Sweep]) -> tuple[Point, ...]:
    """Return every combination, the last sweep's values changing first.

    Without sweeps: `ALL` alone.
    """
    each = (steps(sweep, index) for index, sweep in enumerate(sweeps))
    return tuple(Point(found) for found in itertools.product(*each))


def steps(sweep: Sweep, index: int) -> tuple[Step, ...]:
    """Return the values of a sweep, which is the *index*-th of the file."""
    at = f"$.sweep[{index}] ({sweep.name})"
    return tuple(
        Step(sweep.name, f"{at}.values[{i}]", _label(value), {sweep.path or "": value})
        for i, value in enumerate(sweep.values or ())
    ) + tuple(
        Step(sweep.name, f"{at}.points[{i}]", point.name, point.set, point.unset)
        for i, point in enumerate(sweep.points or ())
    )


def skips(arm: Arm, point: Point) -> bool:
    """Return whether the arm leaves the point out."""
    return any(
        step.label in {_label(value) for value in arm.skip.get(step.sweep, ())}
        for step in point.steps
    )


def problems(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with sweeps, and with what arms skip of them."""
    setters: dict[str, str] = {}
    known: dict[str, list[str]] = {}
    for i, sweep in enumerate(document.sweeps):
        yield from _form(sweep, f"$.sweep[{i}]")
        yield from _labels(sweep, i)
        known[sweep.name] = [step.label for step in steps(sweep, i)]
        for path in dict.fromkeys(p for step in steps(sweep, i) for p in step.set):
            if (first := setters.setdefault(path, sweep.name)) != sweep.name:
                reason = f"{path} is set by sweep {first} too, only one can"
                yield f"$.sweep[{i}]", reason
    for i, arm in enumerate(document.arms):
        yield from _skips(arm, f"$.arm[{i}].skip", known)


def _skips(arm: Arm, at: str, known: Mapping[str, list[str]]) -> Iterator[Problem]:
    for name, left_out in arm.skip.items():
        if name not in known:
            yield f"{at}.{name}", _unknown("sweep", name, list(known))
            continue
        for j, value in enumerate(left_out):
            label = _label(value)
            if label not in known[name]:
                reason = _unknown(f"value of sweep {name}", label, known[name])
                yield f"{at}.{name}[{j}]", reason


def _form(sweep: Sweep, at: str) -> Iterator[Problem]:
    if (sweep.values is None) == (sweep.points is None):
        yield at, "give either path and values, or points"
    elif sweep.values is not None and sweep.path is None:
        yield f"{at}.path", "is missing, say what the values are of"
    elif sweep.points is not None and sweep.path is not None:
        yield f"{at}.path", "points have paths of their own in set, leave it out"


def _labels(sweep: Sweep, index: int) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for i, step in enumerate(steps(sweep, index)):
        # Some file systems take upper and lower case for the same.
        first = seen.setdefault(step.label.casefold(), i)
        at = step.at.replace(f" ({sweep.name})", "")
        if not step.label:
            yield at, "gives no name, use points = [{ name, set }]"
        elif first != i:
            reason = f"is named {step.label!r} like number {first}, values must differ"
            yield at, f"{reason}; points = [{{ name, set }}] have names of their own"


def _label(value: object) -> str:
    """Return a value as names of points have it: ``0.5 of capacity``, hyphened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - exact
        value = int(value)
    return _UNSAFE.sub("-", str(value)).strip("-")


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    hint = f", did you mean {near!r}?" if near else ""
    return f"no {kind} named {name!r}{hint} (there is: {', '.join(known) or 'none'})"
