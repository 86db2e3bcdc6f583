"""``[scenario] experiment`` and ``[[claim]]``: which evaluation a scenario is; pure.

What a claim's metric and value mean is in `djinnload.claims`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from djinnload.errors import nearest

if TYPE_CHECKING:
    from djinnload.scenarios.schema import Document

__all__ = ("Claim", "ExperimentId", "problems")

#: Of the evaluation guide; each has its figures in `djinnload.report.experiments`.
ExperimentId = Literal["2.1", "2.2", "2.3", "3.1", "3.2", "4.1", "4.2", "5.1", "6.1"]
Text = Annotated[str, Meta(min_length=1)]


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[claim]]``: a number that a plan promised; shown beside what was measured.

    Attributes:
        arm: That it is about.
        population: None: each.
        point: Of the sweeps; None: each.
        metric: A measure such as ``mean(tpot)``, or another quantity.
        value: With its unit, such as ``3ms``; a factor as a plain number.
        infeasible: Why no machine can reach it; None: it may be possible.
    """

    arm: Text
    population: Text | None = None
    point: Text | None = None
    metric: Text
    value: Text | float
    infeasible: Text | None = None


def problems(document: "Document") -> Iterator[tuple[str, str]]:
    """Yield (path, reason) of names in claims that nothing has."""
    arms = [arm.name for arm in document.arms] or ["default"]
    populations = [each.name for each in document.populations]
    for i, claim in enumerate(document.claims):
        yield from _named(f"$.claim[{i}]", "arm", claim.arm, arms)
        if claim.population is not None:
            name = claim.population
            yield from _named(f"$.claim[{i}]", "population", name, populations)


def _named(
    path: str, kind: str, name: str, known: Sequence[str]
) -> Iterator[tuple[str, str]]:
    if name not in known:
        near = nearest(name, known)
        hint = f", did you mean {near!r}?" if near else ""
        reason = f"no {kind} named {name!r}{hint} (there is: {', '.join(known)})"
        yield f"{path}.{kind}", reason
