"""Rows → files, counts and echoes; what the writing process does with each channel."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from djinnload.clock import monotonic_ns
from djinnload.recording.batches import Columns, SampleBatches, Words
from djinnload.recording.live import Live, LiveCounts
from djinnload.recording.streams import ROTATE_BYTES, StreamFiles
from djinnload.sample import MEASURE, PHASES, Header, Row, schema
from djinnload.units import MS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("BATCH", "Readings", "Samples", "Writing")

#: Rows of a batch, at most.
BATCH = 1000
#: Rows wait no longer than this, and a tick, for their batch to fill.
PATIENCE_NS = 400 * MS
#: More different echoes than any arms have settings; a server may never repeat one.
_DIFFERENT = 1024


class Writing:
    """Rows of one channel, made into batches of a stream.

    Args:
        files: Where batches go.

    Attributes:
        error: What stopped the writing (a full disk: OSError), else None. Rows go on
            being taken, and counted, but are lost.
    """

    def __init__(self, files: StreamFiles) -> None:
        self.error: Exception | None = None
        self._files = files
        self._rows: list[Any] = []
        self._since_ns = 0

    def open(self) -> None:
        """Open the first file.

        Raises:
            OSError: It cannot be made, or exists.
        """
        self._files.open()

    def add(self, rows: list[Any]) -> None:
        """Take rows; those that fill a batch are written."""
        if not self._rows:
            self._since_ns = monotonic_ns()
        self._rows += rows
        while len(self._rows) >= BATCH:
            self.flush()

    def tick(self) -> None:
        """Write what has waited long enough."""
        if self._rows and monotonic_ns() - self._since_ns >= PATIENCE_NS:
            self.flush()

    def flush(self) -> None:
        """Write one batch of what waits."""
        rows, self._rows = self._rows[:BATCH], self._rows[BATCH:]
        self._since_ns = monotonic_ns()
        try:
            batch = self._convert(rows)
            if self.error is None:
                self._files.write(batch)
        except Exception as error:  # noqa: BLE001 - nobody is there to raise to
            self._stop(error)

    def close(self) -> None:
        """Write what is left and have the disk confirm it; never raises."""
        while self._rows:
            self.flush()
        try:
            self._files.close()
        except OSError as error:
            self.error = self.error or error

    def live(self) -> dict[str, Live]:
        """Return counts by population."""
        return {}

    def readings(self) -> dict[str, float]:
        """Return the newest reading of each probe, by ``device/name``."""
        return {}

    def echoes(self) -> list[dict[str, Any]]:
        """See `Recorder.echoes`."""
        return []

    def _stop(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
            self._files.abandon()

    def _convert(self, rows: list[Any]) -> "pa.RecordBatch":
        raise NotImplementedError


class Samples(Writing):
    """Samples of one worker of a cell."""

    def __init__(
        self, directory: Path, header: Header, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        self._header = header
        self._batches = SampleBatches(header)
        self._echoes = _Echoes()
        self._counts = [LiveCounts(each.deadline_ns) for each in header.populations]

        def path(number: int) -> Path:
            return directory / "samples" / f"w{header.worker}-{number:03d}.arrows"

        super().__init__(StreamFiles(path, schema(), rotate_bytes=rotate_bytes))

    def live(self) -> dict[str, Live]:
        """Return counts by population; requests that wait for their batch included."""
        names = (each.name for each in self._header.populations)
        counts = zip(names, self._counts, strict=True)
        return {name: each.read() for name, each in counts}

    def echoes(self) -> list[dict[str, Any]]:
        """See `Recorder.echoes`."""
        return self._echoes.counted()

    def _convert(self, rows: list[Row]) -> "pa.RecordBatch":
        columns = self._batches.columns(rows)
        if any(columns["echo"]):
            self._echoes.add(columns["echo"])
        self._count(columns)
        return self._batches.batch(columns)

    def _count(self, columns: Columns) -> None:
        population = columns["population"]
        measured = columns["phase"] == PHASES.index(MEASURE)
        outcome, latency = columns["outcome"], columns["done_ns"] - columns["due_ns"]
        lateness = _lateness(columns["ready_ns"], columns["sent_ns"])
        nbytes = columns["bytes_sent"], columns["bytes_received"]
        if len(self._counts) == 1:
            self._counts[0].add(measured, outcome, latency, lateness, nbytes)
            return
        for number, counts in enumerate(self._counts):
            mine = population == number
            if mine.any():
                counts.add(
                    measured[mine],
                    outcome[mine],
                    latency[mine],
                    lateness[mine],
                    (nbytes[0][mine], nbytes[1][mine]),
                )


def _lateness(ready: Any, sent: Any) -> np.ndarray[Any, Any]:
    """Return sent − ready, int64 of shape ``(n,)``; −1: it was never sent."""
    if isinstance(ready, np.ndarray) and isinstance(sent, np.ndarray):
        return sent - ready
    pairs = zip(sent, ready, strict=True)
    found = (-1 if s is None or r is None else s - r for s, r in pairs)
    return np.fromiter(found, np.int64, len(ready))


class _Echoes:
    """Counts equal echoes, by content."""

    def __init__(self) -> None:
        self._found: dict[bytes, list[Any]] = {}

    def add(self, echoes: Iterable[Any]) -> None:
        encode, found = msgspec.json.Encoder(order="sorted").encode, self._found
        for echo in echoes:
            if not echo:
                continue
            content = encode(echo)
            counted = found.get(content)
            if counted is None:
                if len(found) >= _DIFFERENT:
                    content = b"{}"  # of which nothing is known: it proves nothing
                value = msgspec.json.decode(content)
                counted = found.setdefault(content, [0, value])
            counted[0] += 1

    def counted(self) -> list[dict[str, Any]]:
        every = sorted(self._found.values(), key=lambda two: -two[0])
        return [{"n": n, "value": value} for n, value in every]


class Readings(Writing):
    """Readings of probes: ``(t_ns, source, device, name, value)``."""

    def __init__(self, directory: Path, name: str) -> None:
        def path(number: int) -> Path:
            return directory / f"{name}{f'-{number:03d}' * bool(number)}.arrows"

        super().__init__(StreamFiles(path, _reading_schema()))
        self._words = Words()
        self._newest: dict[str, float] = {}

    def add(self, rows: list[Any]) -> None:
        """Take readings; see `Writing.add`."""
        for _, _, device, name, value in rows:
            self._newest[f"{device}/{name}"] = value
        super().add(rows)

    def readings(self) -> dict[str, float]:
        """Return the newest reading of each probe, by ``device/name``."""
        return self._newest

    def _convert(self, rows: list[tuple[Any, ...]]) -> "pa.RecordBatch":
        import pyarrow as pa

        t_ns, *texts, value = zip(*rows, strict=True)
        codes = [[self._words[word] for word in text] for text in texts]
        words = pa.array(list(self._words), pa.string())
        labels = [
            pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), words)
            for code in codes
        ]
        arrays = [pa.array(t_ns, pa.int64()), *labels, pa.array(value, pa.float64())]
        return pa.RecordBatch.from_arrays(arrays, schema=_reading_schema())


def _reading_schema() -> "pa.Schema":
    import pyarrow as pa

    label = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("t_ns", pa.int64()),
            ("source", label),
            ("device", label),
            ("name", label),
            ("value", pa.float64()),
        ]
    )
