"""How long a phase is: ``"10s"``, or ``{ sessions = 5 }`` of each user; pure."""

from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import Struct

from djinnload.scenarios.table import Count
from djinnload.units import Duration, parse

__all__ = ("Length", "Sessions", "WarmupLength", "WarmupSessions")


class Sessions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``duration``: so many sessions of each user, however long they take.

    Attributes:
        sessions: Of each user; of an open population, of each stream of arrivals.
    """

    sessions: Count


class WarmupSessions(Sessions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``warmup``: so many sessions of each user, before measure begins.

    Attributes:
        at: ``cell``: before each; ``boot``: only before an arm's first cell on a server
            that has just started.
    """

    at: Literal["cell", "boot"] = "cell"


class Length(Duration):
    """A time span in ns, ≥ 0; 0 where it is told in sessions.

    Attributes:
        sessions: Of each user; 0: it is a time.
        at: As of `WarmupSessions`.
    """

    table: ClassVar[type[Sessions]] = Sessions
    sessions: int
    at: str

    def __new__(cls, ns: int = 0, sessions: int = 0, at: str = "cell") -> Self:
        """Make one; *ns* and *sessions* are not given both."""
        made = super().__new__(cls, ns)
        made.sessions, made.at = sessions, at
        return made

    @classmethod
    def read(cls, value: object) -> Self:
        """Return what a scenario file says.

        Raises:
            ValueError: It is neither a time nor a table of sessions.
        """
        if not isinstance(value, dict):
            return cls(parse(Duration, value))
        try:
            told: Any = msgspec.convert(value, cls.table)
        except msgspec.ValidationError as error:
            # As a plain one, or msgspec would not say where in the file it is.
            raise ValueError(str(error)) from None
        return cls(0, told.sessions, getattr(told, "at", "cell"))


class WarmupLength(Length):
    """A `Length` whose sessions may be of each boot."""

    table: ClassVar[type[Sessions]] = WarmupSessions
