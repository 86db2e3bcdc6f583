"""Which servers have been warmed up by the sessions that a scenario wants first."""

from djinnload.boots.servers import Boot
from djinnload.plan import CellPlan

__all__ = ("Warmth",)


class Warmth:
    """What the servers of a run have served already."""

    def __init__(self) -> None:
        self._served: set[tuple[str, bool, str]] = set()

    def known(self, plan: CellPlan, boot: Boot, key: str) -> bool:
        """Return whether *boot* needs no warm-up before the next cell; note the cell.

        Args:
            plan: Of the cell.
            boot: It is another one once it was started again.
            key: What cells have in common that one warm-up is enough for.
        """
        if plan.cell.scenario.scenario.warmup.at != "boot":
            return False
        again = boot.child is not None and boot.child.restarted
        served = (boot.name, again, key)
        known = served in self._served
        self._served.add(served)
        return known
