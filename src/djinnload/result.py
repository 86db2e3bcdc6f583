"""What a run says while it goes on, and what it leaves: `Progress` and `Result`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from djinnload.recorder import Live, read_samples

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("Progress", "Result")


class Progress(Struct, frozen=True):
    """Where a run is, for a live view; about twice a second.

    Attributes:
        phase: ``boot``, ``calibrate``, ``warmup``, ``measure``, ``cooldown`` or
            ``check``.
        left_s: Estimate for the whole run; None while unknown.
        populations: Of the running cell.
    """

    message: str
    cell: str = ""
    phase: str = "boot"
    elapsed_s: float = 0.0
    total_s: float = 0.0
    left_s: float | None = None
    done_cells: int = 0
    all_cells: int = 0
    in_flight: int = 0
    populations: Mapping[str, Live] = {}


class Result(Struct, frozen=True):
    """A finished run; everything in it can be rebuilt from ``path``.

    Attributes:
        path: The results directory.
        summary: The root ``summary.json``.
        error: What ended the run early; empty if nothing did.
    """

    path: Path
    summary: dict[str, Any]
    error: str = ""

    @property
    def verdict(self) -> dict[str, Any]:
        """Return status, reasons and findings."""
        found: dict[str, Any] = self.summary["verdict"]
        return found

    @property
    def exit_code(self) -> int:
        """Return what the command exits with."""
        return int(self.summary["exit_code"])

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Return the index entries of the cells, in the order they ran."""
        found: list[dict[str, Any]] = self.summary["cells"]
        return found

    def samples(self) -> "pa.Table":
        """Return every sample of every cell; imports pyarrow."""
        import pyarrow as pa

        paths = [self.path / cell["path"] for cell in self.cells]
        return pa.concat_tables(read_samples(p) for p in paths if p.is_dir())
