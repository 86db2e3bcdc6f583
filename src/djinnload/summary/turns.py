"""Turn by turn within a session: what its first takes, its second …; pure.

A chunk of audio that comes too late, or a dialogue whose history grows, shows here and
in no mean over all turns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary.spread import times

__all__ = ("LISTED", "by_turn")

#: Turns of a session that are listed one by one.
LISTED = 32
_TIMES = ("latency", "ttft")
_TIMES_OF_ALL = ("blocked", "lateness")


def by_turn(
    repeats: Sequence[PopulationSamples], pooled: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the first turns of sessions, one by one, over all sessions and *repeats*.

    Each has ``turn`` (its number), ``n``, ``misses`` (not ok, or later than the
    deadline), ``latency_ms`` and ``ttft_ms`` (of ok ones), ``blocked_ms`` and
    ``lateness_ms`` (of all that were sent), and means a turn: ``reused_tokens`` (that
    the server had already when it began) and ``bytes``; None where unknown.

    Args:
        repeats: One population in each.
        pooled: Their ``…_ms`` together, which are those of the turn if there is but
            one.
    """
    numbers = [each.turns.number for each in repeats]
    listed = np.unique(np.concatenate(numbers))[:LISTED]
    made: list[dict[str, Any]] = [{"turn": int(number)} for number in listed]
    mine = [[of == each["turn"] for of in numbers] for each in made]
    _count(made, mine, repeats)
    names = (*_TIMES, *_TIMES_OF_ALL)
    if len(made) == 1:  # it is all that there is
        made[0] |= {f"{name}_ms": pooled[f"{name}_ms"] for name in names}
        return made
    for name in names:
        columns = [getattr(each.turns, f"{name}_ns") for each in repeats]
        kept = [np.isfinite(values) for values in columns]
        if name in _TIMES:
            kept = [k & each.turns.ok for k, each in zip(kept, repeats, strict=True)]
        for shown, rows in zip(made, mine, strict=True):
            parts = zip(columns, kept, rows, strict=True)
            shown[f"{name}_ms"] = times([values[k & r] for values, k, r in parts])
    return made


def _count(
    made: Sequence[dict[str, Any]],
    mine: Sequence[Sequence[Array]],
    repeats: Sequence[PopulationSamples],
) -> None:
    """Add to *made* what is no time; *mine* is its turns, a repeat each."""
    missed = [~stats.within_deadline(each) for each in repeats]
    reused, sent, received = (
        [getattr(each.turns, name) for each in repeats]
        for name in ("reused_tokens", "bytes_sent", "bytes_received")
    )
    for shown, rows in zip(made, mine, strict=True):
        shown["n"] = sum(int(each.sum()) for each in rows)
        hits = zip(missed, rows, strict=True)
        shown["misses"] = sum(int(late[each].sum()) for late, each in hits)
        shown["reused_tokens"] = _mean(reused, rows)
        shown["bytes"] = {
            "sent": _mean(sent, rows),
            "received": _mean(received, rows),
        }


def _mean(columns: Sequence[Array], rows: Sequence[Array]) -> float | None:
    taken = [values[r] for values, r in zip(columns, rows, strict=True)]
    known = np.concatenate(taken)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None
