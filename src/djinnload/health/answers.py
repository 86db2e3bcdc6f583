"""Whether the server answered, rightly, and what it says of its queue."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from djinnload import deciding
from djinnload.findings import Found, note, void
from djinnload.stats import populations as stats
from djinnload.stats.populations import PopulationSamples, Requests

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = (
    "if_answered",
    "if_checked",
    "if_classed",
    "if_due",
    "misclassed",
    "no_answers",
    "unqueued",
    "wrong",
)

#: Fewer zeros may be chance: a server at rest whose clock is coarse.
UNQUEUED_LEAST = 100


def no_answers(evidence: "CellEvidence") -> Found:
    """NO_ANSWERS: nothing was ok in the cell; or in a population, and it had errors.

    Refusals and timeouts of one population while another is served may be a policy's
    doing, and are a result. A server that answers nobody, or a class with errors alone,
    was not under the load that was planned.
    """
    busy = [s for s in evidence.populations.values() if len(s.turns.ok)]
    if not any(map(_answered, busy)):
        due = sum(len(samples.turns.ok) for samples in busy)
        yield void("NO_ANSWERS", f"none of {due:,} turns due was ok", float(due))
        return
    for samples in busy:
        errors = int((samples.requests.outcome == "error").sum())
        if errors and not _answered(samples):
            yield void(
                "NO_ANSWERS",
                f"{samples.name}: none of {len(samples.turns.ok):,} turns due was ok, "
                f"{errors:,} requests ended in error",
                float(len(samples.turns.ok)),
                samples.name,
            )


def _answered(samples: PopulationSamples) -> bool:
    """Return whether a turn was ok, or an answer wrong: that is WRONG's to say."""
    return bool(samples.turns.ok.any()) or bool(_checked(samples.requests)[1])


def if_due(evidence: "CellEvidence") -> str:
    """Return why NO_ANSWERS does not apply; empty: it does."""
    due = any(len(samples.turns.ok) for samples in evidence.populations.values())
    return "" if due else "no turn was due"


def wrong(evidence: "CellEvidence") -> Found:
    """WRONG, or else ``verified``: how many wrong answers there may be at most."""
    for samples in evidence.populations.values():
        checked, bad = _checked(samples.requests)
        if bad:
            yield void(
                "WRONG",
                f"{samples.name}: {bad:,} of {checked:,} checked answers were wrong",
                bad,
                samples.name,
            )
        elif checked:
            bound = float(stats.clopper_pearson_upper(0, checked, deciding.CONFIDENCE))
            yield note(
                "verified",
                f"{samples.name}: none of {checked:,} checked answers was wrong, so at "
                f"most {100 * bound:.2g}% of all are (95%)",
                bound,
                samples.name,
            )


def if_checked(evidence: "CellEvidence") -> str:
    """Return why WRONG does not apply; empty: it does."""
    every = evidence.populations.values()
    checked = any(_checked(samples.requests)[0] for samples in every)
    return "" if checked else "no answer was checked"


def _checked(requests: Requests) -> tuple[int, int]:
    bad = (requests.verified == False) | (requests.outcome == "wrong")  # noqa: E712
    checked = bad | (requests.verified == True)  # noqa: E712
    return int(checked.sum()), int(bad.sum())


def misclassed(evidence: "CellEvidence") -> Found:
    """UNPROVEN: replies say that they were served in another class than asked for."""
    for name, asked, said in _classes(evidence):
        others = {each: n for each, n in said.items() if each != asked}
        if wrongly := sum(others.values()):
            total = wrongly + said.get(asked, 0)
            yield void(
                "UNPROVEN",
                f"{name}: asked for class {asked}, but {wrongly:,} of {total:,} "
                f"replies say {', '.join(sorted(others))}",
                wrongly / total,
                name,
            )


def if_classed(evidence: "CellEvidence") -> str:
    """Return why classes are not looked at; empty: they are."""
    return "" if any(_classes(evidence)) else "no reply told its class"


def _classes(
    evidence: "CellEvidence",
) -> Iterator[tuple[str, str, Mapping[str, int]]]:
    """Yield name, class asked for and classes told of each population with both."""
    for name, samples in evidence.populations.items():
        said = evidence.resolved.get(name)
        if samples.qos_class and said:
            yield name, samples.qos_class, said


def unqueued(evidence: "CellEvidence") -> Found:
    """Note that the server says 0 of every wait: it has no queue, or hides it.

    Djinn without QoS says exactly 0 of each request, and counts what it waits for the
    GPU as execution.
    """
    queues = [samples.requests.queue_ns for samples in evidence.populations.values()]
    told = np.concatenate([np.empty(0), *(q[np.isfinite(q)] for q in queues)])
    if len(told) >= UNQUEUED_LEAST and not told.any():
        yield note(
            "no-queue",
            f"the server told a queue wait of exactly 0 for each of {len(told):,} "
            "requests, as Djinn does without QoS: what waits, waits in its exec; "
            "compare service or latency, not queue",
            float(len(told)),
        )


def if_answered(evidence: "CellEvidence") -> str:
    """Return why ``no-queue`` is not looked for; empty: it is."""
    told = sum(
        int(np.isfinite(samples.requests.queue_ns).sum())
        for samples in evidence.populations.values()
    )
    if told >= UNQUEUED_LEAST:
        return ""
    return f"fewer than {UNQUEUED_LEAST} replies told a queue wait"
