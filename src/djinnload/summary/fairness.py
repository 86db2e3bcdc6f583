"""Who was served and who waited: starvation, and Jain's index of fairness; pure.

Jain's index (Jain, Chiu, Hawe: A quantitative measure of fairness, DEC-TR-301, 1984) of
n allocations is (Σx)² ÷ (n Σx²): 1 where all get the same, 1/n where one gets all. Here
an allocation is a part of what is due: of users, of the sessions that they began; of
classes, of what weighted max-min sharing would have given them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.stats import intervals
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary import windows
from djinnload.units import MS

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = (
    "STARVED",
    "jain",
    "max_min",
    "of_arm",
    "of_cell",
    "over_users",
    "starvation",
)

Document = dict[str, Any]

#: A turn starves if it waits for more than this many times its population's median
#: time of execution.
STARVED = 10.0
_WITH_USERS = ("open", "closed")


def jain(allocations: Iterable[float]) -> float | None:
    """Return Jain's index of *allocations* (≥ 0), from 1/n to 1.

    None where it is not defined: of none, or where nobody got anything.
    """
    x = np.asarray(list(allocations), np.float64)
    squares = float((x * x).sum())
    return float(x.sum()) ** 2 / (len(x) * squares) if squares else None


def max_min(
    total: float, demands: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, float]:
    """Return how weighted max-min sharing divides *total*: water filling.

    Each gets its weight's part, but never more than it demands; what is left over is
    divided among the others in the same way. Who has no weight gets what nobody with a
    weight wants.

    Args:
        total: ≥ 0; of more than all demand together, the rest is given to nobody.
        demands: ≥ 0, by name.
        weights: ≥ 0; a name that is not there has none.
    """
    given = dict.fromkeys(demands, 0.0)
    left = total
    for ranked in (_weighted(demands, weights), _weightless(demands, weights)):
        open_ = dict(ranked)
        while open_ and left > 0:
            unit = left / math.fsum(open_.values())
            full = [n for n, w in open_.items() if demands[n] <= unit * w]
            if not full:
                return given | {n: unit * w for n, w in open_.items()}
            for name in full:
                given[name] = demands[name]
                left -= demands[name]
                del open_[name]
    return given


def over_users(repeats: Sequence[PopulationSamples]) -> Document | None:
    """Return how alike the users of a population were served.

    A user's allocation is the sessions that came to their end, ok, within measure: as a
    part of those begun, or, in a closed population, their number, as a closed user
    begins no more than it ends.

    Returns:
        ``index`` (mean over repeats), ``ci95`` from five on, ``users`` (the fewest of a
        repeat), ``least`` and ``most`` allocation of all; None of one user, and of
        populations whose sessions have no users.
    """
    seen = [found for each in repeats if len(found := _by_user(each)) > 1]
    indices = [index for each in seen if (index := jain(each)) is not None]
    if not indices:
        return None
    return {
        **_mean(indices),
        "users": min(map(len, seen)),
        "least": float(min(each.min() for each in seen)),
        "most": float(max(each.max() for each in seen)),
    }


def starvation(repeats: Sequence[PopulationSamples]) -> Document:
    """Return how long turns of a population waited at most, and whether it got nothing.

    Returns:
        ``longest_ms`` in the server's queue, ``bound_ms`` (`STARVED` × the median
        execution), ``share`` of the ``n`` ok turns that waited longer than that; these
        are None where the server told no wait, or exactly 0 of all of them, as one does
        that hides it in execution. ``windows`` (`windows.edges`) in which a turn or
        more was there all the time, or as good as that, and in how many of them none
        came back (``without``).
    """
    wait = np.concatenate([each.turns.queue_ns[each.turns.ok] for each in repeats])
    run = np.concatenate([each.turns.exec_ns[each.turns.ok] for each in repeats])
    known = np.isfinite(wait) & np.isfinite(run)
    made: Document = dict.fromkeys(("longest_ms", "bound_ms", "share"))
    if wait[known].any():
        bound = STARVED * float(np.median(run[known]))
        made = {
            "longest_ms": float(wait[known].max()) / MS,
            "bound_ms": bound / MS,
            "share": float((wait[known] > bound).mean()),
        }
    there = [windows.presence(each) for each in repeats]
    return made | {
        "n": int(known.sum()),
        "windows": sum(int((each.in_system >= 1).sum()) for each in there),
        "without": sum(
            int(((each.in_system >= 1) & (each.back == 0)).sum()) for each in there
        ),
    }


def of_cell(evidence: "CellEvidence") -> Document:
    """Return how a server divided its time among the classes, against their shares.

    A class demands what its turns cost that fell due in measure, and receives what
    those cost that came back ok within it. A turn costs its population's execution with
    one user alone, where that was calibrated, else the mean in this cell.

    Returns:
        ``index`` (Jain's, of received ÷ entitled; None: nothing was received),
        ``weighted`` (whether the server's shares are known; else all weigh the same),
        and by class ``weight`` and, as parts of all that was received, ``demanded``
        (together over 1 if the server was too slow), ``entitled`` and ``received``.
    """
    demanded: dict[str, float] = {}
    received: dict[str, float] = {}
    for samples in evidence.populations.values():
        name, turns = samples.qos_class, samples.turns
        cost = _cost(samples, evidence.calibration)
        back = turns.ok & (turns.done_ns <= samples.window_ns[1])
        demanded[name] = demanded.get(name, 0.0) + cost * len(back)
        received[name] = received.get(name, 0.0) + cost * int(back.sum())
    settings = (evidence.manifest.get("proof") or {}).get("settings") or {}
    shares = settings.get("shares")
    weights = dict(shares or dict.fromkeys(demanded, 1.0))
    total = math.fsum(received.values())
    entitled = max_min(total, demanded, weights)
    parts = [received[n] / entitled[n] for n in demanded if entitled[n]]
    return {
        "index": jain(parts) if len(demanded) > 1 else None,
        "weighted": shares is not None,
        "classes": {
            name: {
                "weight": weights.get(name, 0.0),
                "demanded": demanded[name] / total,
                "entitled": entitled[name] / total,
                "received": received[name] / total,
            }
            for name in demanded
            if total
        },
    }


def of_arm(repeats: Sequence["CellEvidence"]) -> Document:
    """Return what `of_cell` does as means over *repeats*, with the index's ``ci95``."""
    every = [of_cell(each) for each in repeats]
    indices = [each["index"] for each in every if each["index"] is not None]
    classes = dict.fromkeys(name for each in every for name in each["classes"])
    return {
        **(_mean(indices) if indices else {"index": None, "ci95": None}),
        "n": len(indices),
        "weighted": all(each["weighted"] for each in every),
        "classes": {
            name: {
                key: float(np.mean([each["classes"][name][key] for each in there]))
                for key in ("weight", "demanded", "entitled", "received")
            }
            for name in classes
            if (there := [each for each in every if name in each["classes"]])
        },
    }


def _mean(indices: Sequence[float]) -> Document:
    ends = intervals.repeat_interval(indices)
    return {"index": float(np.mean(indices)), "ci95": list(ends) if ends else None}


def _weighted(
    demands: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, float]:
    return {n: w for n in demands if (w := weights.get(n, 0.0)) > 0}


def _weightless(
    demands: Mapping[str, float], weights: Mapping[str, float]
) -> dict[str, float]:
    return {n: 1.0 for n in demands if not weights.get(n, 0.0) > 0}


def _cost(samples: PopulationSamples, calibration: Mapping[str, Any] | None) -> float:
    """Return ns of the server that a turn takes; 0: nothing is known of it."""
    solo = ((calibration or {}).get("solo") or {}).get(samples.name) or {}
    alone = solo.get("exec_ms") or solo.get("service_ms")
    if alone:
        return float(alone) * MS
    run = samples.turns.exec_ns[samples.turns.ok]
    run = run[np.isfinite(run)]
    return float(run.mean()) if len(run) else 0.0


def _by_user(samples: PopulationSamples) -> Array:
    """Return each user's allocation (float64); empty: sessions have no users."""
    r = samples.requests
    user = r.user
    # Of a partly open population each user is but one who came.
    if samples.loop not in _WITH_USERS or not len(user) or user.max() < 0:
        return np.empty(0)
    order, starts = stats.by_session(r)
    ok = (r.outcome == "ok") & (r.verified != False)  # noqa: E712
    fine = np.logical_and.reduceat(ok[order], starts)
    over = r.session_end.astype(bool) & (r.done_ns <= samples.window_ns[1])
    served = fine & np.logical_or.reduceat(over[order], starts)
    _, of = np.unique(user[order][starts], return_inverse=True)
    done = np.bincount(of, weights=served)
    return done if samples.loop == "closed" else done / np.bincount(of)
