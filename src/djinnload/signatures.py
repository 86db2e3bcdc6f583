"""Whose clock the parts of a cell were timed by: ``worker-<k>.json`` of each worker."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from djinnload.errors import HostError

__all__ = ("CLOCK", "refuse_strangers")

#: What has to be the same for times to be comparable, and what it is called.
CLOCK: Mapping[str, str] = {"boot_id": "boot", "time_namespace": "time namespace"}


def refuse_strangers(cell_dir: Path) -> None:
    """Raise HostError if a worker of the cell read another clock than the first."""
    first: dict[str, Any] = {}
    for path in sorted(cell_dir.glob("worker-*.json")):
        signed = msgspec.json.decode(path.read_bytes())
        first = first or signed
        for name, what in CLOCK.items():
            if signed.get(name) != first.get(name):
                raise HostError(
                    f"{path}: was written in another {what} than worker "
                    f"{first.get('worker')}, so their times cannot be compared; "
                    "report the files of each alone"
                )
