"""One request as a row of columns: the file format that every number is made from.

A row is written once, when the request is over, never rewritten. Times are int ns on
the host's monotonic clock. The engine appends plain tuples (`ROW`); the recorder turns
them into Arrow batches of `schema`, adding what is constant in a cell (`Header`).
"""

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from djinnload.spi import Outcome

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "COOLDOWN",
    "FORMAT_VERSION",
    "MEASURE",
    "OUTCOMES",
    "PHASES",
    "ROW",
    "WARMUP",
    "Header",
    "Labels",
    "Row",
    "schema",
)

FORMAT_VERSION = "1"

WARMUP, MEASURE, COOLDOWN = "warmup", "measure", "cooldown"
PHASES = (WARMUP, MEASURE, COOLDOWN)
OUTCOMES = tuple(Outcome)

#: What the engine appends for a request, in this order.
ROW = (
    "population",  # index into Header.populations
    "user",
    "session",
    "session_end",  # True on the row after which the session's generator was over
    "turn",
    "step",
    "seq",  # number of this row's request in its worker, in order of submission
    "phase",
    "due_ns",
    "ready_ns",  # None: expired while the previous request was still running
    "sent_ns",  # None: never handed to the target
    "first_ns",
    "done_ns",
    "outcome",
    "error",
    "units",
    "bytes_sent",
    "bytes_received",
    "metrics",  # Reply.metrics
    "qos_class_resolved",
    "echo",  # Reply.echo; not a column: folded into the cell's proof
)
Row = tuple[Any, ...]


class Labels(Struct, frozen=True):
    """What is constant in a population."""

    name: str
    workload: str
    qos_class: str
    deadline_ns: int | None


class Header(Struct, frozen=True):
    """What is constant in the files of one worker of a cell.

    Attributes:
        provenance: ``measured``, ``simulated`` or ``derived``; only measured rows enter
            comparisons.
    """

    cell: str
    point: str
    arm: str
    repeat: int
    populations: tuple[Labels, ...]
    worker: int = 0
    provenance: str = "measured"


def schema() -> "pa.Schema":
    """Return the Arrow schema of a samples file; imports pyarrow."""
    import pyarrow as pa

    label = pa.dictionary(pa.int32(), pa.string())
    text, ns, count = pa.string(), pa.int64(), pa.int64()
    return pa.schema(
        [
            ("cell", label),
            ("point", label),
            ("arm", label),
            ("repeat", pa.int32()),
            ("worker", pa.int32()),
            ("population", label),
            ("workload", label),
            ("qos_class", label),
            ("qos_class_resolved", label),
            ("user", count),
            ("session", count),
            ("session_end", pa.bool_()),
            ("turn", pa.int32()),
            ("step", label),
            ("seq", count),
            ("phase", label),
            ("due_ns", ns),
            ("ready_ns", ns),
            ("sent_ns", ns),
            ("first_ns", ns),
            ("done_ns", ns),
            ("outcome", label),
            ("error", text),
            ("deadline_ns", ns),
            ("units", pa.float64()),
            ("bytes_sent", count),
            ("bytes_received", count),
            ("server_queue_ns", pa.float64()),
            ("server_exec_ns", pa.float64()),
            ("reused_tokens", pa.float64()),
            # Null here; filled by readers from checks/w<k>.arrows.
            ("output_hash", text),
            ("verified", pa.bool_()),
            ("provenance", label),
        ],
        metadata={"djinnload.samples": FORMAT_VERSION},
    )
