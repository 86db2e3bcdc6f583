"""The search for the highest load that meets its objectives: a state machine, pure.

Loads double from `Range.low` until one fails, then the gap between the highest that
passed and the lowest that did not is halved (on a logarithmic scale). Each probe is
looked at after 1, 2, 4 … lengths, planned beforehand, until it is decided. `Search`
says which cell to measure next and is told what was seen in it; it neither measures
nor reads a clock, so that a directory of results can be played through it again.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

__all__ = ("End", "Look", "Outcome", "Probe", "Range", "Search", "Step")

#: Cells of one load that may be void before the search stops asking there.
SPOILED = 2
#: Cells of one load that must show a growing queue: one may be chance.
UNSTEADY = 2
_DIGITS = 4


class Outcome(StrEnum):
    """What a probe came to."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNSUSTAINED = "unsustained"
    UNDECIDED = "undecided"
    GENERATOR = "generator"
    VOID = "void"


class End(StrEnum):
    """What a search came to."""

    HIGH = "high"
    BRACKET = "bracket"
    LOW = "low"
    GENERATOR = "generator"
    UNDECIDED = "undecided"
    VOID = "void"


_EXIT_CODES = {End.HIGH: 0, End.BRACKET: 0, End.LOW: 1}
_VOID_EXIT = 4


class Range(Struct, frozen=True):
    """What is asked.

    Attributes:
        low: The first load, > 0.
        high: The last one, > low.
        whole: Loads are whole numbers (users).
        resolution: Ends of the bracket closer than this, as a part of the lower, do.
        confidence: That the bracket holds the limit, if more load is never better.
        probes: Loads that are tried at most.
        looks: At one load at most; the last sees 2 ** (looks − 1) lengths.
        objectives: That are judged, ≥ 1.
    """

    low: float
    high: float
    whole: bool = False
    resolution: float = 0.05
    confidence: float = 0.95
    probes: int = 16
    looks: int = 4
    objectives: int = 1

    @property
    def alpha(self) -> float:
        """The error that each test of an objective may make (Bonferroni).

        A probe can be wrong in one direction only: above the limit one objective would
        have to pass at one of the looks, below it any one to fail.
        """
        return (1 - self.confidence) / (self.probes * self.looks * self.objectives)


class Step(Struct, frozen=True):
    """The next cell.

    Attributes:
        probe: Number of the load, from 0.
        cell: Number among the cells of that load, from 0.
        lengths: How many times the scenario's duration it measures.
    """

    load: float
    probe: int
    cell: int
    lengths: int


class Look(Struct, frozen=True):
    """What was seen, all cells of a load together that are not void.

    Attributes:
        met: Of all judged objectives: False if any is missed; None: undecided.
        why: One sentence a decision.
        growing: Why this cell's load was not sustained; empty: it was.
        generator: Why this cell says nothing about the server; empty: it does.
        void: What else makes this cell untrustworthy; empty: nothing.
        fatal: Why no other cell can be trusted either, such as wrong answers.
    """

    met: bool | None
    why: str = ""
    growing: str = ""
    generator: str = ""
    void: str = ""
    fatal: str = ""


class Probe(Struct):
    """One load: how often it was looked at, and what came of it.

    Attributes:
        outcome: None while more is to be measured.
        looks: Cells that count.
        spoiled: Cells that do not.
        unsteady: Cells in which the load was not sustained.
    """

    load: float
    outcome: Outcome | None = None
    why: str = ""
    looks: int = 0
    spoiled: int = 0
    unsteady: int = 0

    @property
    def lengths(self) -> int:
        """Of the next cell: as long as all that count so far together."""
        return 1 << max(0, self.looks - 1)

    def tell(self, look: Look, looks: int) -> None:
        """Take in one more cell; *looks* is how many may count."""
        if look.fatal:
            self._decide(Outcome.VOID, look.fatal)
        elif look.generator or look.void:
            self._spoil(look)
        else:
            self._count(look, looks)

    def _spoil(self, look: Look) -> None:
        # Once may be a hiccup of the host.
        self.spoiled += 1
        if self.spoiled < SPOILED:
            return
        if look.generator:
            self._decide(Outcome.GENERATOR, look.generator)
        else:
            self._decide(Outcome.UNDECIDED, look.void)

    def _count(self, look: Look, looks: int) -> None:
        self.looks += 1
        self.unsteady += bool(look.growing)
        last = self.looks >= looks
        if look.met is False:
            self._decide(Outcome.FAIL, look.why)
        elif look.growing and (last or self.unsteady >= UNSTEADY):
            self._decide(Outcome.UNSUSTAINED, look.growing)
        elif look.met and not look.growing:
            self._decide(Outcome.PASS, look.why)
        elif last:
            self._decide(Outcome.UNDECIDED, look.why)

    def _decide(self, outcome: Outcome, why: str) -> None:
        self.outcome, self.why = outcome, why


class Search:
    """A search under way: `step` says what to measure, `tell` takes what was seen.

    Attributes:
        probes: In the order in which they were begun.
        stopped: Why nothing more is measured, though more could be; empty: not so.
    """

    def __init__(self, asked: Range) -> None:
        self.range = asked
        self.probes: list[Probe] = []
        self.stopped = ""

    @property
    def step(self) -> Step | None:
        """The next cell, or None: the search is over."""
        if self.stopped or any(p.outcome is Outcome.VOID for p in self.probes):
            return None
        if not self.probes or self.probes[-1].outcome is not None:
            load = self._next_load()
            if load is None or len(self.probes) >= self.range.probes:
                return None
            return Step(load, len(self.probes), 0, 1)
        probe = self.probes[-1]
        cell = probe.looks + probe.spoiled
        return Step(probe.load, len(self.probes) - 1, cell, probe.lengths)

    def tell(self, look: Look) -> None:
        """Take in what was seen in the cell that `step` named."""
        step = self.step
        if step is None:
            raise ValueError("the search is over, nothing more is measured")
        if step.probe == len(self.probes):
            self.probes.append(Probe(step.load))
        self.probes[-1].tell(look, self.range.looks)

    def stop(self, why: str) -> None:
        """Measure nothing more."""
        self.stopped = why

    # What is known

    @property
    def passing(self) -> float | None:
        """The highest load that met every objective."""
        return max(self._loads(Outcome.PASS), default=None)

    @property
    def failing(self) -> float | None:
        """The lowest load above `passing` that missed one, or was not sustained."""
        bad = self._loads(Outcome.FAIL, Outcome.UNSUSTAINED)
        return min(self._above(bad), default=None)

    @property
    def ceiling(self) -> float | None:
        """The lowest load above `passing` that the generator could not offer."""
        return min(self._above(self._loads(Outcome.GENERATOR)), default=None)

    @property
    def undecided(self) -> list[float]:
        """Loads between the ends that could not be decided, ascending."""
        top = self._top() or math.inf
        every = self._above(self._loads(Outcome.UNDECIDED))
        return sorted(load for load in every if load < top)

    @property
    def end(self) -> End:
        """What the search came to, as far as it got."""
        if any(probe.outcome is Outcome.VOID for probe in self.probes):
            return End.VOID
        passing, failing = self.passing, self.failing
        if passing is not None and passing >= self.range.high:
            return End.HIGH
        if failing is not None and failing == self._top():
            if passing is not None:
                return End.BRACKET
            if failing <= self.range.low:
                return End.LOW
        return End.UNDECIDED if self.ceiling is None else End.GENERATOR

    @property
    def resolved(self) -> bool:
        """Whether the bracket is as narrow as was asked."""
        passing, failing = self.passing, self.failing
        if self.end is End.HIGH:
            return True
        both = passing is not None and failing is not None
        return both and self._narrow(passing or 0.0, failing or 0.0)

    @property
    def exit_code(self) -> int:
        """0: high is met, or a bracket found; 1: low is not met; 4: neither."""
        return _EXIT_CODES.get(self.end, _VOID_EXIT)

    def _loads(self, *outcomes: Outcome) -> list[float]:
        return [probe.load for probe in self.probes if probe.outcome in outcomes]

    def _above(self, loads: Sequence[float]) -> list[float]:
        passing = self.passing
        return [load for load in loads if passing is None or load > passing]

    def _top(self) -> float | None:
        ends = (self.failing, self.ceiling)
        return min((end for end in ends if end is not None), default=None)

    # What to try next

    def _next_load(self) -> float | None:
        if not self.probes:
            return self.range.low
        top, highest = self._top(), max(probe.load for probe in self.probes)
        if top is None and highest < self.range.high:
            return min(2 * highest, self.range.high)
        return next((self._middle(*gap) for gap in self._gaps(top)), None)

    def _gaps(self, top: float | None) -> list[tuple[float, float]]:
        """Return the gaps still to be halved, the lower one first."""
        passing, unknown = self.passing, self.undecided
        if passing is None:
            # Below low nothing is tried, and low itself is not decided.
            return []
        gaps = []
        if unknown:
            gaps.append((passing, unknown[0]))
            if top is not None:
                gaps.append((unknown[-1], top))
        elif top is not None:
            gaps.append((passing, top))
        return [gap for gap in gaps if not self._narrow(*gap)]

    def _narrow(self, low: float, high: float) -> bool:
        if self.range.whole and high - low <= 1:
            return True
        return high / low <= 1 + self.range.resolution

    def _middle(self, low: float, high: float) -> float:
        middle = math.sqrt(low * high)
        if self.range.whole:
            return float(min(max(round(middle), low + 1), high - 1))
        plain = float(f"{middle:.{_DIGITS}g}")
        return plain if low < plain < high else middle
