"""What arms can be told to do, one preset for each arm of the evaluation; pure.

Each is a word that the target executes and its server echoes; see docs/server.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from djinnload.scenarios.schema import Arm

__all__ = (
    "NAMES",
    "PRESETS",
    "Behaviours",
    "Memory",
    "booted",
    "differing",
    "matrix",
    "of_arm",
    "problems",
    "resolved",
)

NAMES: Final = ("weights", "state", "result", "plan", "phases", "memory")

_FULL: Final = {
    "weights": "resident",
    "state": "session",
    "result": "needed",
    "plan": "cached",
    "phases": "apart",
}
_AWARE: Final = {**_FULL, "state": "shipped", "phases": "merged"}
PRESETS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "full": _FULL,
        "partially_aware": _AWARE,
        "semantic_blind": {
            **_AWARE,
            "weights": "per_call",
            "result": "all",
            "plan": "per_call",
        },
        "full_without_skeletonization": {**_FULL, "result": "all"},
        "full_without_stateful_caching": {**_FULL, "state": "shipped"},
        "full_without_phase_detection": {**_FULL, "phases": "merged"},
        "full_without_plan_cache": {**_FULL, "plan": "per_call"},
        "full_without_vmu": {**_FULL, "memory": "torch"},
    }
)


Memory = Literal["arena", "torch", "malloc", "cudamalloc"]


class Behaviours(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[arm]] behaviours``: how its requests are executed; None: not said.

    Attributes:
        preset: A name of `PRESETS`; the keys beside it change single ones.
        weights: On the server, or sent with every call.
        state: Of a session: on the server, sent there and back, or made anew.
        result: What the client needs next, or every tensor.
        plan: Made once, or at each call.
        phases: Prefill and decode queued apart, or not told apart.
        memory: Allocator of the server, see `booted`.
    """

    preset: (
        Literal[
            "semantic_blind",
            "partially_aware",
            "full",
            "full_without_skeletonization",
            "full_without_stateful_caching",
            "full_without_phase_detection",
            "full_without_plan_cache",
            "full_without_vmu",
        ]
        | None
    ) = None
    weights: Literal["resident", "per_call"] | None = None
    state: Literal["session", "shipped", "recomputed"] | None = None
    result: Literal["needed", "all"] | None = None
    plan: Literal["cached", "per_call"] | None = None
    phases: Literal["apart", "merged"] | None = None
    memory: Memory | None = None


def resolved(asked: Behaviours | None) -> dict[str, str]:
    """Return the behaviours by name: the preset's, and what is said beside it."""
    if asked is None:
        return {}
    found = dict(PRESETS[asked.preset]) if asked.preset else {}
    said = {name: getattr(asked, name) for name in NAMES}
    found |= {name: value for name, value in said.items() if value is not None}
    return {name: found[name] for name in NAMES if name in found}


def booted(asked: Behaviours | None) -> dict[str, str]:
    """Return what of the behaviours is told to a server when it starts, by path."""
    memory = resolved(asked).get("memory")
    return {"target.server.memory": memory} if memory else {}


def of_arm(arms: "Iterable[Arm]", name: str) -> dict[str, str]:
    """Return the behaviours of the arm called *name*; none if there is no such arm."""
    found = (arm.behaviours for arm in arms if arm.name == name)
    return resolved(next(found, None))


def differing(arms: Iterable[Mapping[str, str]]) -> set[str]:
    """Return the names of behaviours that are not the same in all *arms*."""
    found = list(arms)
    return {n for n in NAMES if len({each.get(n) for each in found}) > 1}


def matrix(
    arms: Mapping[str, Mapping[str, str]], baseline: str | None
) -> tuple[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """Return the names of behaviours that any arm has, and each arm's words for them.

    A word that differs from the baseline's ends in ``*``; a dash: the arm says nothing.

    Args:
        arms: Behaviours of each.
        baseline: Arm that the others are held against; None, or no such arm: no stars.
    """
    names = tuple(n for n in NAMES if any(n in each for each in arms.values()))
    usual = arms.get(baseline or "")

    def word(asked: Mapping[str, str], name: str) -> str:
        said = asked.get(name, "–")
        differs = usual is not None and said != usual.get(name, "–")
        return f"{said} *" if differs else said

    rows = [(arm, tuple(word(said, n) for n in names)) for arm, said in arms.items()]
    return names, rows


def problems(asked: Behaviours | None) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) of what cannot be executed anywhere."""
    if asked is None or asked.memory or "memory" not in resolved(asked):
        return
    reason = (
        f"{asked.preset!r} takes models whose state is in an arena, and the reference "
        "server has none: leave it out, all its arms use torch's allocator"
    )
    yield "preset", reason
