"""Parts of a cell: which one a process drives, what came of it, what all make together.

A cell that one process drives has one part. The manifest is written before, with the
window, and after: `announce`, `conclude`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from djinnload import errors
from djinnload.clock import boottime_ns, monotonic_ns, wall_ns
from djinnload.engine import Tally
from djinnload.errors import DjinnloadError, HostError
from djinnload.plan import CellPlan
from djinnload.reading.files import write_json

__all__ = ("Fault", "Part", "Shard", "announce", "conclude")


class Part(Struct, frozen=True):
    """Which part of a cell a process drives: *worker* of *workers*, from 0."""

    worker: int = 0
    workers: int = 1

    @property
    def device(self) -> str:
        """Of its probes; empty if it drives all."""
        return f"w{self.worker}" if self.workers > 1 else ""

    def of(self, n: int) -> int:
        """Return its part of n things that are divided among the workers."""
        return n // self.workers + (self.worker < n % self.workers)


class Fault(Struct, frozen=True):
    """An error of `djinnload.errors` as plain data, which another process can raise."""

    kind: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, error: DjinnloadError) -> "Fault":
        """Return *error* in words."""
        if isinstance(error, errors.ScenarioError):
            return cls("ScenarioError", (error.path, error.reason))
        if isinstance(error, errors.PluginError):
            return cls("PluginError", (error.plugin, error.reason))
        return cls(type(error).__name__, (str(error),))

    def error(self) -> DjinnloadError:
        """Return the error again."""
        kind: type[DjinnloadError] = getattr(errors, self.kind, HostError)
        return kind(*self.words)


class Shard(Struct, frozen=True):
    """What driving one part of a cell came to.

    Attributes:
        sessions: By population.
        ended_ns: When the last of its requests was settled.
        echoes: See `djinnload.recording.recorder.Recorder.echoes`.
        alive: Whether the server answered to the last, as far as can be told.
        fault: What broke it off.
    """

    worker: int
    finished_ns: int
    ended_ns: int
    polled_ns: int
    sessions: dict[str, Tally]
    echoes: list[dict[str, Any]]
    alive: bool
    fault: Fault | None


def announce(
    plan: CellPlan, directory: Path, manifest: dict[str, Any], lead_ns: int
) -> int:
    """Choose the begin of measure, write it down, return it while it is ahead.

    Args:
        plan: Of the cell.
        directory: Gets manifest.json: a run that is killed can then be reported.
        manifest: Gets ``window``.
        lead_ns: To the first due time; half of it is left at least.
    """
    schedule, lead = plan.schedule, lead_ns
    while True:
        begin = monotonic_ns() + lead + schedule.warmup_ns
        manifest["window"] = {
            "begin_ns": begin,
            # Of so many sessions it is known once they are done.
            "end_ns": None if schedule.sessions else begin + schedule.duration_ns,
            "sessions": schedule.sessions or None,
            "warmup_ns": schedule.warmup_ns,
            "warmup_sessions": plan.warmup_sessions or None,
            "grace_ns": plan.grace_ns,
        }
        manifest["clocks"] = _clocks()
        write_json(directory / "manifest.json", manifest)
        if begin - schedule.warmup_ns - monotonic_ns() >= lead_ns // 2:
            return begin
        lead *= 2  # the disk was slow


def conclude(
    plan: CellPlan,
    directory: Path,
    manifest: dict[str, Any],
    shards: Sequence[Shard],
    *,
    interrupted: bool,
    broken: DjinnloadError | None = None,
) -> dict[str, Any]:
    """Complete the manifest with what became of the parts; write and return it.

    Args:
        plan: Of the cell.
        directory: Of the cell.
        manifest: As it was announced.
        shards: Of all workers that came to an end.
        interrupted: Whether the user did that.
        broken: Why others did not.

    Raises:
        DjinnloadError: What broke the cell off, written down before.
        HostError: The manifest cannot be written.
    """
    faults = [shard.fault.error() for shard in shards if shard.fault is not None]
    error = next(iter(faults), broken)
    sessions = {
        population.name: _total(shard.sessions[population.name] for shard in shards)
        for population in plan.populations
    }
    manifest |= {
        "complete": error is None and all(shard.alive for shard in shards),
        "interrupted": interrupted,
        "error": str(error or "") or None,
        "sessions": sessions,
        "dropped": sum(tally["dropped"] for tally in sessions.values()),
        "polled_ns": sum(shard.polled_ns for shard in shards),
    }
    finished = [shard.finished_ns for shard in shards]
    if plan.schedule.sessions:
        ended = (shard.ended_ns for shard in shards)
        manifest["window"]["end_ns"] = max(ended, default=monotonic_ns())
    manifest["window"] |= {
        "finished_ns": max(finished, default=monotonic_ns()),
        **_drifted(manifest.pop("clocks", None)),
    }
    echoes = _counted(each for shard in shards for each in shard.echoes)
    manifest["proof"] = {**manifest["proof"], "echoes": echoes}
    path = directory / "manifest.json"
    try:
        write_json(path, manifest)
    except OSError as failed:
        first = f"{error}; and " if error else ""
        reason = f"{first}{path} cannot be written: {failed.strerror}"
        raise HostError(reason) from failed
    if error is not None:
        raise error
    return manifest


def _clocks() -> dict[str, int]:
    """Return how far the other clocks are ahead of the one that samples have."""
    now = monotonic_ns()
    return {"suspended_ns": boottime_ns() - now, "stepped_ns": wall_ns() - now}


def _drifted(before: Mapping[str, int] | None) -> dict[str, int]:
    """Return for how long the host slept since, and by how much its date was set."""
    if before is None:
        return {}
    found = {name: now - before[name] for name, now in _clocks().items()}
    # The date goes on while a host sleeps.
    found["stepped_ns"] -= found["suspended_ns"]
    return found


def _total(tallies: Iterable[Tally]) -> dict[str, int]:
    found = Counter(dict.fromkeys(Tally.__struct_fields__, 0))
    for tally in tallies:
        found.update(structs.asdict(tally))
    return dict(found)


def _counted(echoes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return equal echoes of all parts added up, most frequent first."""
    found: Counter[bytes] = Counter()
    for each in echoes:
        found[msgspec.json.encode(each["value"], order="sorted")] += each["n"]
    return [
        {"n": n, "value": msgspec.json.decode(content)}
        for content, n in found.most_common()
    ]
