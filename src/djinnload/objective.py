"""``p95(latency) <= 80ms`` → Objective → Decision; decisions and findings → Verdict.

Shares and percentiles are decided by counting turns, means by their repeats or blocks
(see `deciding`; `parse` needs no numpy). Void over fail over pass.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from djinnload import units
from djinnload.errors import DjinnloadError, nearest
from djinnload.findings import Finding, accept

if TYPE_CHECKING:
    from djinnload.stats.populations import Array, PopulationSamples

__all__ = (
    "FAILED",
    "METRICS",
    "UNDECIDED",
    "Decision",
    "Finding",
    "Judged",
    "Measure",
    "Objective",
    "Verdict",
    "accept",
    "decide",
    "exit_code",
    "parse",
    "parse_measure",
    "run_verdict",
    "undecided",
)

FAILED, UNDECIDED = "FAILED", "UNDECIDED"
INTERRUPTED_EXIT, VOID_EXIT, FAIL_EXIT = 130, 4, 1

_TIME, _SHARE, _RATE, _COUNT, _SIZE = "time", "share", "rate", "count", "size"
_OF_TURNS = ("latency", "service", "lateness", "blocked", "ttft", "tpot", "session")
#: What each metric is measured in.
METRICS: Mapping[str, str] = dict.fromkeys(
    (*_OF_TURNS, "request_latency", "queue", "exec"), _TIME
) | {
    "miss_rate": _SHARE,
    "error_rate": _SHARE,
    "gpu_util": _SHARE,
    "goodput": _RATE,
    "throughput": _RATE,
    "in_system": _COUNT,
    "bytes_sent": _SIZE,
    "bytes_received": _SIZE,
    "bytes": _SIZE,
}
#: One number a run: written bare. ``mean()`` of the last two says the same.
_BARE = (
    "miss_rate",
    "error_rate",
    "goodput",
    "throughput",
    "gpu_util",
    "in_system",
)
_MEANABLE = ("gpu_util", "in_system")
_COUNTED = ("miss_rate", "error_rate")
_STATS = "mean, p50 to p99.9, max"
_LOWEST, _HIGHEST = Fraction(50), Fraction("99.9")

_OBJECTIVE = re.compile(r"\s*(.*?)\s*(<=|>=)\s*(.*?)\s*", re.DOTALL)
_CALL = re.compile(r"([A-Za-z_][\w.]*)\s*\(\s*(\w+)\s*(?:\[\s*(.*?)\s*\])?\s*\)")
_NAME = re.compile(r"\w+")
_STEP = re.compile(r"step\s*=\s*([\w.-]+)")
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")


class Measure(Struct, frozen=True):
    """One number made from the turns of a population, such as ``p95(latency)``.

    Attributes:
        text: As it was written, without needless spaces.
        stat: ``mean``, ``max``, ``percentile`` or ``rate`` (one number a run).
        metric: A key of `METRICS`.
        step: Only requests of this step; only of ``request_latency``.
        tail: 1 − q of a percentile: 0.05 of p95; 0 otherwise.
    """

    text: str
    stat: str
    metric: str
    step: str | None = None
    tail: float = 0.0

    @property
    def unit(self) -> str:
        """``time`` (ns), ``share`` (0 to 1), ``rate`` (/s), ``count``, ``size`` (B)."""
        return METRICS[self.metric]

    @property
    def counted(self) -> bool:
        """Whether it is decided by counting turns."""
        return self.stat == "percentile" or self.metric in _COUNTED

    def show(self, value: float) -> str:
        """Return *value* as people write it: ``"80 ms"``, ``"5%"``, ``"20/s"``."""
        if self.unit == _TIME:
            return units.format_ns(value)
        if self.unit == _SHARE:
            return f"{100 * value:.3g}%"
        if self.unit == _SIZE:
            return units.format_bytes(value)
        return f"{value:.4g}/s" if self.unit == _RATE else f"{value:.4g}"


class Objective(Struct, frozen=True):
    """What a population must reach.

    Attributes:
        text: As written in the scenario.
        op: ``<=`` or ``>=``.
        bound: In the measure's unit: ns, share from 0 to 1, per second, or a number.
    """

    text: str
    measure: Measure
    op: str
    bound: float

    @property
    def tail(self) -> float | None:
        """The share of turns that may be over; None unless a percentile at most."""
        percentile = self.measure.stat == "percentile" and self.op == "<="
        return self.measure.tail if percentile else None


class Decision(Struct, frozen=True):
    """Whether an objective was met, and how much evidence there was.

    Attributes:
        value: Point estimate in the measure's unit; None: nothing was measured.
        bound: The objective's bound in the same unit.
        met: None: undecided.
        n: Turns.
        n_eff: Independent turns that those are worth; repeats or blocks for means.
        over: Turns on the wrong side of the bound or not ok; None unless counted.
        needed: About how many more turns would decide it; None: decided, or unknown.
        reason: One sentence with the numbers.
    """

    text: str
    value: float | None
    bound: float
    met: bool | None
    n: int
    n_eff: float
    over: int | None
    needed: int | None
    reason: str


class Verdict(Struct, frozen=True):
    """The outcome of a cell or a run.

    Attributes:
        status: ``pass``, ``fail`` or ``void``.
        reasons: Why it is void, or else why it failed; empty for a pass.
        findings: All else, accepted void reasons included.
    """

    status: str
    reasons: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()


class Judged(NamedTuple):
    """A decision over all repeats of one arm and point.

    Attributes:
        where: Such as ``all/qos``.
        judged: False for an arm whose objectives are shown, but decide nothing.
    """

    decision: Decision
    population: str
    where: str = ""
    judged: bool = True


def parse(text: str) -> Objective:
    """Read ``STAT(METRIC[step=S]) OP VALUE`` or ``RATE OP VALUE``; imports no numpy.

    Raises:
        ValueError: Says which part is wrong, with the nearest name or an example.
    """
    if (found := _OBJECTIVE.fullmatch(text)) is None:
        raise ValueError(f"{text!r} needs <= or >=, as in p95(latency) <= 80ms")
    left, op, right = found.groups()
    measure = parse_measure(left)
    bound = float(_bound(measure, right))
    # Counting can never show that a share is exactly 0 or 1.
    if measure.metric in _COUNTED and bound == (0 if op == "<=" else 1):
        raise ValueError(
            f"{text!r}: no finite run can show that, leave room, such as "
            f"{measure.metric} {op} {'0.1%' if op == '<=' else '99.9%'}"
        )
    return Objective(text=text.strip(), measure=measure, op=op, bound=bound)


def parse_measure(text: str) -> Measure:
    """Read the left side alone: ``p95(latency)``, ``mean(queue)``, ``goodput``.

    Raises:
        ValueError: An unknown statistic or metric, or a pair that makes no sense.
    """
    text = text.strip()
    if _NAME.fullmatch(text):
        return _bare(text)
    if (found := _CALL.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no measure, write it as p95(latency) or goodput")
    stat, metric, option = found.groups()
    tail = _tail(stat)
    _known(metric)
    if metric in _BARE:
        if stat == "mean" and metric in _MEANABLE and option is None:
            return Measure(text=metric, stat="rate", metric=metric)
        raise ValueError(f"{metric} is one number a run, write it without {stat}()")
    step = _step(metric, option)
    inner = f"{metric}[step={step}]" if step else metric
    return Measure(
        text=f"{stat}({inner})",
        stat="percentile" if tail else stat,
        metric=metric,
        step=step,
        tail=tail,
    )


def _bare(metric: str) -> Measure:
    _known(metric)
    if metric not in _BARE:
        raise ValueError(f"which {metric}? write p95({metric}) or mean({metric})")
    return Measure(text=metric, stat="rate", metric=metric)


def _known(metric: str) -> None:
    if metric not in METRICS:
        near = nearest(metric, METRICS)
        hint = f", did you mean {near!r}?" if near else ""
        raise ValueError(f"no metric {metric!r}{hint} (there is: {', '.join(METRICS)})")


def _tail(stat: str) -> float:
    """Return 1 − q of a percentile without binary dust, 0 for mean and max."""
    if stat in {"mean", "max"}:
        return 0.0
    if (found := _PERCENTILE.fullmatch(stat)) is None:
        near = nearest(stat, ("mean", "max", "p50", "p90", "p95", "p99", "p99.9"))
        hint = f", did you mean {near!r}?" if near else ""
        raise ValueError(f"no statistic {stat!r}{hint} (there is: {_STATS})")
    percent = Fraction(found[1])
    if not _LOWEST <= percent <= _HIGHEST:
        raise ValueError(f"{stat} is out of range (there is: {_STATS})")
    return float(1 - percent / 100)


def _step(metric: str, option: str | None) -> str | None:
    if option is None:
        return None
    if (found := _STEP.fullmatch(option)) is None:
        raise ValueError(f"[{option}] is no option, write [step=NAME]")
    if metric != "request_latency":
        raise ValueError(f"{metric} has no steps, request_latency[step=…] has")
    return found[1]


def _bound(measure: Measure, text: str) -> float:
    try:
        if measure.unit == _TIME:
            return units.parse(units.Duration, text)
        if measure.unit == _SHARE:
            return units.parse(units.Share, text)
        if measure.unit == _RATE:
            return units.parse(units.Hz, text)
        if measure.unit == _SIZE:
            return units.parse(units.Size, text)
    except ValueError as error:
        raise ValueError(f"{measure.text} is a {measure.unit}: {error}") from None
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{measure.text} is a count: {text!r} must be a plain number")
    return float(text)


def decide(
    objective: Objective,
    repeats: "Sequence[PopulationSamples]",
    *,
    probe: "Sequence[Array] | None" = None,
    confidence: float = 0.95,
) -> Decision:
    """Decide *objective* from all *repeats* of one population at one arm and point.

    Args:
        objective: From `parse`.
        repeats: One a cell; one alone gives that cell's information.
        probe: For ``gpu_util`` only: its samples (share 0 to 1) a repeat.
        confidence: One-sided, of either answer; more where many are asked for.

    Returns:
        Never raises for lack of data: ``met`` is None and ``reason`` says why.
    """
    from djinnload import deciding

    return deciding.decide(objective, repeats, probe=probe, confidence=confidence)


def undecided(judged: Iterable[Judged]) -> tuple[Finding, ...]:
    """Return a void reason for each judged objective that its repeats cannot decide."""
    advice = "; measure longer, or name a bound that this duration can decide"
    return tuple(
        _finding(each, UNDECIDED, "is undecided", advice, void=True)
        for each in judged
        if each.judged and each.decision.met is None
    )


def _finding(
    each: Judged, code: str, words: str, advice: str = "", *, void: bool = False
) -> Finding:
    at, decision = f"{each.where} {each.population}".strip(), each.decision
    return Finding(
        code=code,
        message=f"{at}: {decision.text} {words}: {decision.reason}{advice}",
        void=void,
        value=decision.value,
        population=each.population,
    )


def run_verdict(
    judged: Iterable[Judged],
    findings: Iterable[Finding] = (),
    *,
    accepted: Collection[str] = (),
) -> Verdict:
    """Return the verdict: void over fail over pass; adds UNDECIDED itself.

    Args:
        judged: Objectives over all repeats; of a cell's own verdict: leave out.
        findings: Of the cells and of the run's own rules.
        accepted: Codes of ``--accept``.
    """
    judged = tuple(judged)
    every = accept((*findings, *undecided(judged)), accepted)
    void = tuple(each for each in every if each.void)
    rest = tuple(each for each in every if not each.void)
    failed = tuple(
        _finding(each, FAILED, "is not met")
        for each in judged
        if each.judged and each.decision.met is False
    )
    if void:
        return Verdict("void", void, (*failed, *rest))
    return Verdict("fail" if failed else "pass", failed, rest)


def exit_code(
    verdict: Verdict | None,
    *,
    interrupted: bool = False,
    error: BaseException | None = None,
) -> int:
    """Return the first that applies of 130, 2, 3, 4, 1, 0.

    Args:
        verdict: None: there is none, because of an error.
        interrupted: The user stopped the run.
        error: What ended it; anything that is no DjinnloadError is 3.
    """
    if interrupted:
        return INTERRUPTED_EXIT
    if error is not None or verdict is None:
        kind = error if isinstance(error, DjinnloadError) else DjinnloadError
        return kind.exit_code
    return {"void": VOID_EXIT, "fail": FAIL_EXIT}.get(verdict.status, 0)
