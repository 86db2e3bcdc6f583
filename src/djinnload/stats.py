"""Samples → turns, quantiles with intervals, rates; pure, reads no clock.

Percentiles are nearest rank, everywhere. A turn that is not ok ranks as +inf.
"""

from typing import Any

import numpy as np
from msgspec import Struct

__all__ = ("PopulationSamples",)

Array = np.ndarray[Any, np.dtype[Any]]


class Turns(Struct, frozen=True):
    """The turns of one population of one cell whose phase is measure, in due order.

    All arrays have shape ``(n,)``. Times are float64 ns; NaN where unknown.

    Attributes:
        due_ns: int64; the first request's due.
        done_ns: int64; the last request's done.
        ok: bool; every request's outcome was ok and none was found wrong.
        latency_ns: done − due, also of turns that are not ok (see `values`).
        service_ns, queue_ns, exec_ns, lateness_ns, blocked_ns: Sums over its requests.
        ttft_ns: First step's done (first token if the target streams) − due.
        tpot_ns: (done − ttft point) ÷ (units − 1); NaN for one unit.
        units: Sum over its requests.
        number: int64; the turn's number within its session.
    """

    due_ns: Array
    done_ns: Array
    ok: Array
    latency_ns: Array
    service_ns: Array
    queue_ns: Array
    exec_ns: Array
    lateness_ns: Array
    blocked_ns: Array
    ttft_ns: Array
    tpot_ns: Array
    units: Array
    number: Array


class Requests(Struct, frozen=True):
    """The requests of one population of one cell whose phase is measure, in due order.

    Attributes:
        step, outcome: object arrays of str.
        ready_ns, sent_ns, first_ns: float64, NaN where null.
    """

    step: Array
    outcome: Array
    due_ns: Array
    ready_ns: Array
    sent_ns: Array
    first_ns: Array
    done_ns: Array
    queue_ns: Array
    exec_ns: Array
    units: Array
    bytes_sent: Array
    bytes_received: Array
    reused_tokens: Array
    max_abs_diff: Array
    verified: Array  #: object: True, False or None (not checked)
    turn: Array
    session: Array
    user: Array
    session_end: Array


class PopulationSamples(Struct, frozen=True):
    """What one population did in one cell.

    Attributes:
        loop: ``open`` or ``closed``.
        window_ns: (start, end) of measure on the clock.
        sessions: started, done, abandoned, as the engine counted them.
    """

    name: str
    loop: str
    qos_class: str
    deadline_ns: int | None
    window_ns: tuple[int, int]
    turns: Turns
    requests: Requests
    sessions: dict[str, int] = {}
