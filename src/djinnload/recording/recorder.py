"""What a worker saw, on disk before anyone forgets it: samples, probes, checks.

The engine appends plain tuples (0.1 µs); everything else happens in a writer thread
(`streams`). What is read back is documented in `reading`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from djinnload.reading.files import (
    read_checks,
    read_json,
    read_probes,
    read_samples,
    write_checks,
    write_json,
)
from djinnload.recording.batches import Columns, SampleBatches, Words
from djinnload.recording.live import Live, LiveCounts
from djinnload.recording.streams import ROTATE_BYTES, Drain, StreamFiles
from djinnload.sample import MEASURE, PHASES, Header, Row, schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "Live",
    "Probes",
    "Recorder",
    "read_checks",
    "read_json",
    "read_probes",
    "read_samples",
    "write_checks",
    "write_json",
)

#: Replies that share an echo object are known by its identity, this many at a time.
_IDENTITIES = 1024
#: More different echoes than any arms have settings; a server may never repeat one.
_DIFFERENT = 1024


class _Drained:
    """A drain of its own, begun and ended as a context."""

    _drain: Drain

    def __enter__(self) -> Self:
        """Start writing.

        Raises:
            HostError: The file cannot be made, or exists.
        """
        self._drain.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left; never raises, see `error`."""
        self._drain.close()

    @property
    def error(self) -> Exception | None:
        """What stopped the recording (a full disk: OSError), else None."""
        return self._drain.error


class Recorder(_Drained):
    """Samples of one worker of a cell, as ``samples/w<k>-<NNN>.arrows``.

    A context manager. Leaving it writes what is left.

    Args:
        directory: The cell's.
        header: What is constant in the cell.
        rotate_bytes: A file that has reached this is followed by the next.

    Attributes:
        append: Takes one `sample.Row`; never blocks, never raises.
    """

    def __init__(
        self, directory: Path, header: Header, *, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        self._header = header
        self._batches = SampleBatches(header)
        self._echoes = _Echoes()
        self._counts = [LiveCounts() for _ in header.populations]
        self._live = {each.name: Live() for each in header.populations}

        def path(number: int) -> Path:
            return directory / "samples" / f"w{header.worker}-{number:03d}.arrows"

        files = StreamFiles(path, schema(), rotate_bytes=rotate_bytes)
        self._drain = Drain(files, self._convert, seen=self._publish)
        self.append: Callable[[Row], None] = self._drain.append

    def live(self) -> dict[str, Live]:
        """Return counts by population, at most a second old; cheap, from any thread."""
        return self._live

    def echoes(self) -> list[dict[str, Any]]:
        """Return ``{"n", "value"}`` for each different echo, most frequent first.

        Complete once closed. Replies without an echo are not counted. Those after the
        first 1,024 different ones are counted together, with an empty value.
        """
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
        outcome, n = columns["outcome"], len(population)
        done = np.fromiter(columns["done_ns"], np.int64, n)
        latency = done - np.fromiter(columns["due_ns"], np.int64, n)
        if len(self._counts) == 1:
            self._counts[0].add(measured, outcome, latency)
            return
        for number, counts in enumerate(self._counts):
            mine = population == number
            if mine.any():
                counts.add(measured[mine], outcome[mine], latency[mine])

    def _publish(self) -> None:
        names = (each.name for each in self._header.populations)
        self._live = {
            name: counts.read()
            for name, counts in zip(names, self._counts, strict=True)
        }


class _Echoes:
    """Counts equal echoes: by identity first, which is free, by content second."""

    def __init__(self) -> None:
        self._by_content: dict[bytes, list[Any]] = {}
        self._by_identity: dict[int, list[Any]] = {}
        # An identity names an object only as long as that lives.
        self._alive: list[Any] = []

    def add(self, echoes: Iterable[Any]) -> None:
        for echo in echoes:
            if echo:
                counted = self._by_identity.get(id(echo)) or self._find(echo)
                counted[0] += 1

    def counted(self) -> list[dict[str, Any]]:
        every = sorted(self._by_content.values(), key=lambda two: -two[0])
        return [{"n": n, "value": value} for n, value in every]

    def _find(self, echo: Any) -> list[Any]:
        content = msgspec.json.encode(echo, order="sorted")
        if len(self._by_content) >= _DIFFERENT and content not in self._by_content:
            content = b"{}"  # of which nothing is known, so it proves nothing
        counted = self._by_content.setdefault(
            content, [0, msgspec.json.decode(content)]
        )
        if len(self._alive) >= _IDENTITIES:
            self._by_identity.clear()
            self._alive.clear()
        self._by_identity[id(echo)] = counted
        self._alive.append(echo)
        return counted


class Probes(_Drained):
    """What the host and devices did meanwhile, as ``probes.arrows`` of a cell.

    A context manager, or use `close`; the file is opened by entering it.

    Args:
        directory: The cell's.
        device: Of one worker of several, such as ``w1``: ``probes-w1.arrows``.

    Attributes:
        append: Takes ``(t_ns, source, device, name, value)``; never blocks or raises.
    """

    def __init__(self, directory: Path, device: str = "") -> None:
        name = f"probes-{device}" if device else "probes"
        files = StreamFiles(
            lambda number: (
                directory / f"{name}{f'-{number:03d}' * bool(number)}.arrows"
            ),
            _probe_schema(),
        )
        self._words = Words()
        self._drain = Drain(files, self._convert, name="djinnload-probes")
        self.append: Callable[[tuple[int, str, str, str, float]], None] = (
            self._drain.append
        )

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
        return pa.RecordBatch.from_arrays(arrays, schema=_probe_schema())


def _probe_schema() -> "pa.Schema":
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
