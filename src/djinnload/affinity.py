"""Which cores the workers are pinned to, and what is left for our own server."""

import os
from collections.abc import Sequence

from djinnload.errors import ScenarioError

__all__ = ("shares", "spare")

Cores = tuple[int, ...]


def shares(pin: bool | Cores, workers: int) -> tuple[Cores, ...] | None:  # noqa: FBT001
    """Return the cores of each worker; None: they are not pinned.

    Args:
        pin: ``scenario.pin``. True: a core each, the first that this process may use.
            Cores: dealt out in turn, so each worker gets at least one.
        workers: How many.

    Raises:
        ScenarioError: There are fewer cores than workers, or not those.
    """
    if pin is False:
        return None
    usable = sorted(os.sched_getaffinity(0))
    chosen = tuple(usable[:workers]) if pin is True else pin
    listed = ", ".join(map(str, usable))
    if missing := sorted(set(chosen).difference(usable)):
        names = ", ".join(map(str, missing))
        reason = f"this process may not use core {names} (it may use {listed})"
        raise ScenarioError("$.scenario.pin", reason)
    if len(chosen) < workers:
        reason = f"{workers} workers need a core each, there is {listed}"
        raise ScenarioError("$.scenario.pin", f"{reason}; use fewer, or do not pin")
    return tuple(chosen[k::workers] for k in range(workers))


def spare(pinned: Sequence[Cores] | None) -> Cores | None:
    """Return the cores that no worker is pinned to; None: any will do, or none is."""
    if pinned is None:
        return None
    taken = {core for cores in pinned for core in cores}
    return tuple(sorted(os.sched_getaffinity(0) - taken)) or None
