"""``[[population]]``: users of one kind, how they come and how they pause."""

from typing import Annotated, Any

from msgspec import Meta

from djinnload.scenarios.table import Config, Name, QosClass
from djinnload.units import SECOND, Duration, Share

__all__ = (
    "Constant",
    "Exponential",
    "Lognormal",
    "Population",
    "Think",
    "Uniform",
    "UserRamp",
    "UserStage",
)


class Think(Config, frozen=True, kw_only=True, tag_field="distribution"):
    """Pause of a user between two sessions; one kind a distribution."""


class Constant(Think, frozen=True, kw_only=True, tag="constant"):
    """Always *mean* ns."""

    mean: Duration


class Exponential(Think, frozen=True, kw_only=True, tag="exponential"):
    """Memoryless, of *mean* ns."""

    mean: Duration


class Uniform(Think, frozen=True, kw_only=True, tag="uniform"):
    """From *low* to *high* ns."""

    low: Duration
    high: Duration


class Lognormal(Think, frozen=True, kw_only=True, tag="lognormal"):
    """Of *mean* ns; *sigma* is the standard deviation of the pause's logarithm."""

    mean: Duration
    sigma: Annotated[float, Meta(gt=0, le=5)] = 1.0


UserCount = Annotated[int, Meta(ge=0, le=1_000_000)]


class UserRamp(Config, frozen=True, kw_only=True):
    """``users``: from *start* to *end* in equal steps over *over* ns, then *end*."""

    start: UserCount = 0
    end: UserCount = 0
    over: Duration


class UserStage(Config, frozen=True, kw_only=True):
    """One of a list of ``users``: that many for *time* ns; nobody after the last."""

    users: UserCount
    time: Duration


Users = Annotated[int, Meta(ge=1, le=1_000_000)]
Stages = Annotated[tuple[UserStage, ...], Meta(min_length=1)]


class Population(Config, frozen=True, kw_only=True):
    """``[[population]]``: users of one kind.

    Attributes:
        name: As reports, paths and ``--set`` say it.
        qos_class: Told to the server with each request.
        deadline: ns from due, or None; told to the server, bounds miss_rate.
        timeout: ns from due; then we give up.
        arrival: Open: ``process``, that process's options, ``per = "user"``.
        users: Closed, alone; with *arrival*: that many independent streams.
        stagger: ns that closed users who come together are spread over; None: 0.
        return_probability: Of an arrival's user, after each session; None: none comes.
        think: Pause of a user between two sessions; None: none.
        retry: Least ns of pause after a session that was not ok.
        workload: ``use``, and that workload's options.
        objectives: Such as ``p95(latency) <= 80ms``: docs/scenario.md.
    """

    name: Name
    qos_class: QosClass = "interactive"
    deadline: Duration | None = None
    timeout: Duration = Duration(60 * SECOND)
    arrival: dict[str, Any] | None = None
    users: Users | UserRamp | Stages | None = None
    stagger: Duration | None = None
    return_probability: Share | None = None
    think: Constant | Exponential | Uniform | Lognormal | None = None
    retry: Duration = Duration(SECOND // 10)
    workload: dict[str, Any]
    objectives: tuple[str, ...] = ()
