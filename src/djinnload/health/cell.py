"""Whether a cell, and a run, can be trusted: one function a rule, all in a table.

The thresholds are those of design.md section 12. A rule that does not apply to a cell
is listed with why; one that found the cell unfit gives a void `Finding` whose message
says what was seen and what to do. What the generator did is judged in
`health_generator`, the load that came of it in `health_load`, the answers in
`health_answers`, all cells together in `health_run`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, structs

from djinnload import objective
from djinnload.findings import Finding, Found, accept, void
from djinnload.health import answers as health_answers
from djinnload.health import load as health_load
from djinnload.health import surroundings
from djinnload.health.generator import cpu, loop_stall
from djinnload.health.run import (
    calibration,
    generator_limited,
    judge_run,
    no_contention,
    unproven,
)
from djinnload.objective import undecided
from djinnload.stats.populations import Array, PopulationSamples, Requests
from djinnload.units import SECOND, US, format_ns

__all__ = (
    "RULES",
    "CellEvidence",
    "Rule",
    "calibration",
    "generator_limited",
    "judge_cell",
    "judge_run",
    "no_contention",
    "not_applicable",
    "undecided",
    "unproven",
)

LATE_FLOOR_NS = 250 * US
LATE_SHARE_OF_SERVICE = 0.05
LATE_WITHOUT_OBJECTIVES = 0.01
DELIVERED_WITHIN_NS = SECOND
DELIVERED_SHARE = 0.98


class CellEvidence(Struct, frozen=True):
    """All that the rules look at.

    Attributes:
        probes: Rows ``t_ns, source, device, name, value``; None: none were kept.
        manifest: The cell's manifest.json.
        calibration: calibration.json, or None where no rate was calibrated.
        other_flights: sent and done (float64 ns, NaN: never sent) and worker of the
            requests that are in no population, as those of warm-up are.
        resolved: How many replies of each population told which QoS class.
    """

    populations: dict[str, PopulationSamples]
    probes: pa.Table | None
    manifest: Mapping[str, Any]
    calibration: Mapping[str, Any] | None = None
    other_flights: tuple[Array, Array, Array] = (np.empty(0),) * 3
    resolved: Mapping[str, Mapping[str, int]] = {}

    def plan(self, population: str) -> Mapping[str, Any]:
        """Return what the manifest says about *population*; empty if nothing."""
        found: Mapping[str, Any] = self.manifest.get("populations", {}).get(
            population, {}
        )
        return found

    @property
    def open(self) -> list[PopulationSamples]:
        """The populations whose arrivals wait for nobody, partly open ones too."""
        return [each for each in self.populations.values() if each.loop != "closed"]

    @property
    def timed(self) -> list[PopulationSamples]:
        """The populations whose requests have a time of their own to be sent at."""
        return [
            each
            for each in self.populations.values()
            if each.loop != "closed" or self.plan(each.name).get("think")
        ]

    @property
    def window_ns(self) -> tuple[int, int]:
        """Begin and end of measure."""
        window = self.manifest["window"]
        return window["begin_ns"], window["end_ns"]

    def flights(self, worker: str = "") -> Iterator[tuple[Array, Array]]:
        """Yield, in parts, when each request that was sent was sent and done.

        Args:
            worker: One of the `workers`, of whose requests.
        """
        yield _sent(*self.other_flights, worker)
        for each in self.populations.values():
            r = each.requests
            yield _sent(r.sent_ns, r.done_ns, r.worker if worker else None, worker)

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers as probes name them, ``w0`` …; one alone has the empty name."""
        n = len(self.manifest.get("workers") or ())
        return tuple(f"w{k}" for k in range(n)) if n > 1 else ("",)

    def probe(
        self, name: str, *, source: str = "generator", device: str = ""
    ) -> tuple[Array, Array]:
        """Return times (int64 ns) and values (float64) of a probe in measure.

        Samples up to a second outside are kept, so that a counter read each second
        spans the window.

        Args:
            name: Such as ``loop_lag_ns``.
            source: Such as ``engine``.
            device: Of one of the `workers`; empty: of any.
        """
        if self.probes is None:
            return np.empty(0, np.int64), np.empty(0)
        table = self.probes.filter(
            pc.and_(
                pc.equal(self.probes["source"].cast(pa.string()), source),
                pc.equal(self.probes["name"].cast(pa.string()), name),
            )
        )
        if device:
            table = table.filter(pc.equal(table["device"].cast(pa.string()), device))
        times = np.asarray(table["t_ns"].to_numpy(), np.int64)
        values = np.asarray(table["value"].to_numpy(), np.float64)
        begin, end = self.window_ns
        near = (times >= begin - SECOND) & (times <= end + SECOND)
        order = np.argsort(times[near], kind="stable")
        return times[near][order], values[near][order]

    def course(
        self, name: str, *, source: str, device: str = ""
    ) -> tuple[Array, Array]:
        """Return when a probe was read in measure, and values; none from outside.

        Args:
            name: As of `probe`.
            source: As of `probe`.
            device: As of `probe`.

        Returns:
            Seconds since measure began (float64), and values (float64).
        """
        times, values = self.probe(name, source=source, device=device)
        begin, end = self.window_ns
        mine = (times >= begin) & (times <= end)
        return (times[mine] - begin) / SECOND, values[mine]


def _sent(
    sent: Array, done: Array, by: Array | None, worker: str
) -> tuple[Array, Array]:
    was = np.isfinite(sent)
    if worker:
        was &= by == int(worker.removeprefix("w"))
    return (sent, done) if was.all() else (sent[was], done[was])


class Rule(NamedTuple):
    """One row of the table.

    Attributes:
        applies: Returns why it does not apply, empty if it does.
        check: Yields findings, void ones with this code among them.
        advice: What to do when it voids; ends each of its messages.
    """

    code: str
    applies: Callable[[CellEvidence], str]
    check: Callable[[CellEvidence], Found]
    advice: str


def judge_cell(
    evidence: CellEvidence,
    *,
    accepted: Collection[str] = (),
    unfit: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Return what all rules that apply found; accepted codes void nothing.

    Args:
        evidence: Of the cell.
        accepted: Codes of ``--accept``.
        unfit: Codes of `not_applicable`, if they are known.
    """
    unfit = not_applicable(evidence) if unfit is None else unfit
    found = [
        _advised(finding, rule.advice)
        for rule in RULES
        if rule.code not in unfit
        for finding in rule.check(evidence)
    ]
    return accept(found, accepted)


def _advised(finding: Finding, advice: str) -> Finding:
    if not finding.void:
        return finding
    return structs.replace(finding, message=f"{finding.message}; {advice}")


def not_applicable(evidence: CellEvidence) -> dict[str, str]:
    """Return the code of each rule that does not apply, and why."""
    why = {rule.code: rule.applies(evidence) for rule in RULES}
    return {code: reason for code, reason in why.items() if reason}


def _late(evidence: CellEvidence) -> Found:
    for samples in evidence.timed:
        requests = samples.requests
        lateness = requests.sent_ns - requests.ready_ns
        lateness = lateness[np.isfinite(lateness)]
        if not len(lateness):
            continue
        limit = _late_limit_ns(requests)
        share = float((lateness > limit).mean())
        allowed = _late_share(evidence, samples.name)
        if share > allowed:
            yield void(
                "LATE",
                f"{samples.name}: {100 * share:.2g}% of {len(lateness):,} requests "
                f"were sent over {format_ns(limit)} late, {100 * allowed:.2g}% may be",
                share,
                samples.name,
            )


def _late_limit_ns(requests: Requests) -> float:
    ok = requests.outcome == "ok"
    service = (requests.done_ns - requests.sent_ns)[ok]
    service = service[np.isfinite(service)]
    median = float(np.median(service)) if len(service) else 0.0
    return max(LATE_FLOOR_NS, LATE_SHARE_OF_SERVICE * median)


def _late_share(evidence: CellEvidence, population: str) -> float:
    """Return half of the smallest tail that an objective judges."""
    texts = evidence.plan(population).get("objectives", ())
    tails = [objective.parse(text).tail for text in texts]
    judged = [tail for tail in tails if tail is not None]
    return min(judged) / 2 if judged else LATE_WITHOUT_OBJECTIVES


def _undelivered(evidence: CellEvidence) -> Found:
    for samples in evidence.open:
        delivered, cut = _delivered(samples.requests)
        if evidence.manifest.get("interrupted"):
            # What the user cut off says nothing about the generator.
            delivered = delivered[~cut]
        if not len(delivered):
            continue
        share = float(delivered.mean())
        if share < DELIVERED_SHARE:
            yield void(
                "UNDELIVERED",
                f"{samples.name}: {100 * share:.3g}% of {len(delivered):,} sessions "
                "had their first request sent within 1 s and not timed out, "
                f"{100 * DELIVERED_SHARE:.0f}% have to",
                share,
                samples.name,
            )


def _delivered(requests: Requests) -> tuple[Array, Array]:
    """Return for each session's first request whether it got there, and was cancelled.

    A request got there if it was sent within a second of ready and did not time out.
    """
    first = health_load.first_requests(requests)
    outcome = requests.outcome[first]
    # NaN (never sent) compares false.
    in_time = (requests.sent_ns - requests.ready_ns)[first] <= DELIVERED_WITHIN_NS
    lost = (outcome == "dropped") | (outcome == "timeout")
    # Admission is the server's answer: what it refuses was delivered.
    return ((outcome == "refused") | in_time) & ~lost, outcome == "cancelled"


def _dropped(evidence: CellEvidence) -> Found:
    dropped = sum(int((s.requests.outcome == "dropped").sum()) for s in evidence.open)
    dropped = max(dropped, int(evidence.manifest.get("dropped") or 0))
    if dropped:
        yield void("DROPPED", f"{dropped:,} requests were dropped at the cap", dropped)


def _if_open(evidence: CellEvidence) -> str:
    return "" if evidence.open else "no population is open"


def _if_timed(evidence: CellEvidence) -> str:
    if evidence.timed:
        return ""
    return "closed loops without think time send as soon as they can"


def _if_probed(evidence: CellEvidence, name: str) -> str:
    return "" if len(evidence.probe(name)[0]) else f"no {name} was recorded"


RULES = (
    Rule(
        "LATE",
        _if_timed,
        _late,
        "use a quieter host, precise = true or a lower rate",
    ),
    Rule(
        "UNDELIVERED",
        _if_open,
        _undelivered,
        "lower the rate, raise timeout, or check that the server accepts connections",
    ),
    Rule(
        "DROPPED",
        _if_open,
        _dropped,
        "raise max_in_flight, lower the rate, or set a timeout",
    ),
    Rule(
        "LOOP_STALL",
        lambda evidence: _if_probed(evidence, "loop_lag_ns"),
        loop_stall,
        "free the host, or move what the workload computes out of the loop",
    ),
    Rule(
        "CPU",
        lambda evidence: _if_probed(evidence, "cpu_ns"),
        cpu,
        "use a lower rate, or share the load with --workers",
    ),
    Rule(
        "SERVER_LOST",
        surroundings.if_watched,
        surroundings.server_lost,
        'look at its log; on_server_loss = "wait" or "go_on" keeps such a cell',
    ),
    Rule(
        "SUSPENDED",
        surroundings.if_timed_twice,
        surroundings.suspended,
        "keep the host awake, and run it again: the clock of the samples stood still",
    ),
    Rule(
        "network",
        surroundings.if_linked,
        surroundings.linked,
        "say so next to every latency",
    ),
    Rule(
        "NO_ANSWERS",
        health_answers.if_due,
        health_answers.no_answers,
        "look at the errors, and at the server's log: no load was served",
    ),
    Rule(
        "WRONG",
        health_answers.if_checked,
        health_answers.wrong,
        "find out what the server computed before you believe how fast it was",
    ),
    Rule(
        "UNPROVEN",
        health_answers.if_classed,
        health_answers.misclassed,
        "find out how the server makes a class of what it was asked for",
    ),
    Rule(
        "ARRIVALS",
        health_load.if_arrivals,
        health_load.arrivals,
        "lower the rate or free the host: this load had another burstiness",
    ),
    Rule(
        "NOT_STEADY",
        health_load.if_steady,
        health_load.not_steady,
        'warm up longer, lower the rate, or say overload = "expected"',
    ),
    Rule(
        "LITTLE",
        health_load.if_in_flight,
        health_load.little,
        "do not quote these samples; look for rows that are lost or stamped wrong",
    ),
    Rule(
        "saturated",
        health_load.if_overloaded,
        health_load.saturated,
        "say so next to every quantile",
    ),
    Rule(
        "no-queue",
        health_answers.if_answered,
        health_answers.unqueued,
        "compare service or latency, not queue",
    ),
)
