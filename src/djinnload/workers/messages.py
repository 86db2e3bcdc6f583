"""What a run and its workers say to each other: one JSON document a line.

Plain data only, never a pickle. Plans do not travel: each side makes them of the same
scenario (`djinnload.workers.jobs`).
"""

from typing import Any

import msgspec
from msgspec import Struct

from djinnload.recording.live import Live
from djinnload.scenarios.load import Scenario, loads
from djinnload.shard import Fault, Part, Shard
from djinnload.spi import Proof
from djinnload.workers.jobs import Job

__all__ = (
    "LONGEST",
    "Begin",
    "Close",
    "Closed",
    "Count",
    "Ended",
    "Failed",
    "Identity",
    "Open",
    "Opened",
    "Order",
    "Prepare",
    "Prepared",
    "Report",
    "Setup",
    "Stop",
    "decode_order",
    "decode_report",
    "encode",
)

#: Bytes of a line.
LONGEST = 64 * 2**20


class _Tagged(Struct, frozen=True, tag_field="type", tag=str.lower):
    """A message that says which one it is."""


class Setup(_Tagged, frozen=True):
    """The first order: what the run is.

    Attributes:
        text: Of the scenario file.
        changes: Made to it since, by path.
        sys_path: Where the run imports plugins from.
        cores: To keep to; None: any.
    """

    text: str
    path: str
    changes: dict[str, Any]
    arms: list[str]
    sys_path: list[str]
    part: Part
    cores: tuple[int, ...] | None

    def scenario(self) -> Scenario:
        """Return the scenario that the run has."""
        found = loads(self.text, path=self.path)
        return found.replace(self.changes) if self.changes else found


class Open(_Tagged, frozen=True):
    """Open the target of an arm, and keep it by the name of the boot."""

    boot: str
    arm: str
    address: str
    register: str


class Close(_Tagged, frozen=True):
    """Close the target of a boot: nothing more will be asked of it."""

    boot: str


class Prepare(_Tagged, frozen=True):
    """Open all that a job needs, and wait for `Begin`."""

    job: Job
    boot: str
    directory: str
    prefix: str
    early_ns: int


class Begin(_Tagged, frozen=True):
    """Measure begins at *begin_ns* of the host's monotonic clock, for all alike."""

    begin_ns: int


class Stop(_Tagged, frozen=True):
    """Interrupt what runs; nothing follows."""


class Identity(_Tagged, frozen=True):
    """Set up; and whose clock the worker reads."""

    pid: int
    cores: tuple[int, ...]
    boot_id: str | None
    time_namespace: str | None

    def signed(self, part: Part) -> dict[str, Any]:
        """Return what a manifest says of the worker that drives *part*."""
        said = msgspec.to_builtins(self)
        del said["type"]
        return {**msgspec.to_builtins(part), **said}


class Opened(_Tagged, frozen=True):
    """The target is open."""

    proof: Proof
    streams: bool


class Closed(_Tagged, frozen=True):
    """The target is closed."""


class Prepared(_Tagged, frozen=True):
    """Everything is open."""


class Count(_Tagged, frozen=True):
    """How it goes, twice a second."""

    in_flight: int
    populations: dict[str, Live]
    alive: bool
    started: dict[str, int] = {}
    readings: dict[str, float] = {}


class Ended(_Tagged, frozen=True):
    """The job is over, and what is left of it is on disk."""

    shard: Shard


class Failed(_Tagged, frozen=True):
    """The order could not be carried out."""

    fault: Fault


Order = Setup | Open | Close | Prepare | Begin | Stop
Report = Identity | Opened | Closed | Prepared | Count | Ended | Failed

_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def encode(message: Order | Report) -> bytes:
    """Return the line that *message* is."""
    return msgspec.json.encode(message) + b"\n"


def decode_order(line: bytes) -> Order:
    """Return the order that a line is."""
    return _orders.decode(line)


def decode_report(line: bytes) -> Report:
    """Return the report that a line is."""
    return _reports.decode(line)
