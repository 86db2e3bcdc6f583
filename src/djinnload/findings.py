"""What a rule saw in a cell or a run: it voids, or it informs."""

from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct, structs

__all__ = ("CODES", "Finding", "Found", "accept", "note", "void")

#: All that can make a cell, a comparison or a run void.
CODES = (
    "ARRIVALS",
    "CALIBRATION",
    "CPU",
    "DROPPED",
    "LATE",
    "LITTLE",
    "LOOP_STALL",
    "NOT_STEADY",
    "NO_ANSWERS",
    "NO_CONTENTION",
    "SERVER_LOST",
    "SUSPENDED",
    "UNDECIDED",
    "UNDELIVERED",
    "UNEQUAL",
    "UNPROVEN",
    "WRONG",
)


class Finding(Struct, frozen=True):
    """Something seen in a cell or a run that a reader has to know.

    Attributes:
        code: A void rule (``LATE``) or, in lower case, information (``saturated``).
        message: What was seen, with numbers, and what to do.
        void: Whether it makes the cell or run void.
        value: The number that the rule compares; None where there is none.
        population: Empty: of the whole cell or run.
        accepted: It would have been void, but for ``--accept``.
        point: Of a rule over a run: that it is about alone; empty: all of them.
    """

    code: str
    message: str
    void: bool
    value: float | None = None
    population: str = ""
    accepted: bool = False
    point: str = ""


Found = Iterator[Finding]


def void(code: str, message: str, value: float, population: str = "") -> Finding:
    """Return a finding that voids."""
    return Finding(code, message, True, value, population)  # noqa: FBT003 - as named


def note(code: str, message: str, value: float, population: str = "") -> Finding:
    """Return a finding that only informs."""
    return Finding(code, message, False, value, population)  # noqa: FBT003 - as named


def accept(findings: Iterable[Finding], codes: Collection[str]) -> tuple[Finding, ...]:
    """Turn void reasons whose code the user accepts into findings marked accepted."""
    return tuple(
        structs.replace(each, void=False, accepted=True)
        if each.void and each.code in codes
        else each
        for each in findings
    )
