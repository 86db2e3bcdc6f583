"""What a worker saw, on disk before anyone forgets it: samples, probes, checks.

The engine appends plain tuples (0.1 µs); everything else happens in a writer thread
(`streams`). What is read back is documented in `reading`.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from djinnload.live import Live, LiveCounts
from djinnload.reading import (
    read_checks,
    read_json,
    read_probes,
    read_samples,
    write_checks,
    write_json,
)
from djinnload.sample import MEASURE, OUTCOMES, PHASES, ROW, Header, Row, schema
from djinnload.streams import ROTATE_BYTES, Drain, StreamFiles

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
_NOTHING: Mapping[str, float] = {}
#: Columns that are copied from the row as they are.
_COPIED = (
    "user",
    "session",
    "session_end",
    "turn",
    "seq",
    "due_ns",
    "ready_ns",
    "sent_ns",
    "first_ns",
    "done_ns",
    "error",
    "units",
    "bytes_sent",
    "bytes_received",
)
_METRICS = {
    "server_queue_ns": "queue_ns",
    "server_exec_ns": "exec_ns",
    "reused_tokens": "reused_tokens",
}


class Recorder:
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
        self._columns = _Columns(header)
        self._echoes = _Echoes()
        self._counts = [LiveCounts() for _ in header.populations]
        self._live = {each.name: Live() for each in header.populations}

        def path(number: int) -> Path:
            return directory / "samples" / f"w{header.worker}-{number:03d}.arrows"

        files = StreamFiles(path, schema(), rotate_bytes=rotate_bytes)
        self._drain = Drain(files, self._convert, seen=self._publish)
        self.append: Callable[[Row], None] = self._drain.append

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

    def live(self) -> dict[str, Live]:
        """Return counts by population, at most a second old; cheap, from any thread."""
        return self._live

    def echoes(self) -> list[dict[str, Any]]:
        """Return ``{"n", "value"}`` for each different echo, most frequent first.

        Complete once closed. Replies without an echo are not counted.
        """
        return self._echoes.counted()

    def _convert(self, rows: list[Row]) -> "pa.RecordBatch":
        by = dict(zip(ROW, zip(*rows, strict=True), strict=True))
        self._echoes.add(by["echo"])
        self._count(by)
        return self._columns.batch(by)

    def _count(self, by: Mapping[str, tuple[Any, ...]]) -> None:
        population = np.array(by["population"])
        measured = np.array([phase == MEASURE for phase in by["phase"]])
        ok = np.array([outcome == "ok" for outcome in by["outcome"]])
        refused = np.array([outcome == "refused" for outcome in by["outcome"]])
        latency = np.array(by["done_ns"], np.int64) - np.array(by["due_ns"], np.int64)
        for number, counts in enumerate(self._counts):
            mine = population == number
            if mine.any():
                counts.add(measured[mine], ok[mine], refused[mine], latency[mine])

    def _publish(self) -> None:
        names = (each.name for each in self._header.populations)
        self._live = {
            name: counts.read()
            for name, counts in zip(names, self._counts, strict=True)
        }


class _Words(dict[Any, int]):
    """Codes of words, in order of first sight."""

    def __missing__(self, word: Any) -> int:
        self[word] = code = len(self)
        return code


class _Columns:
    """Turns rows into a batch of `sample.schema`."""

    def __init__(self, header: Header) -> None:
        self._schema = schema()
        each = header.populations
        self._words = {
            "step": _Words(),
            "phase": _Words((word, i) for i, word in enumerate(PHASES)),
            "outcome": _Words((str(word), i) for i, word in enumerate(OUTCOMES)),
            "qos_class_resolved": _Words(),
        }
        self._fixed = {
            name: getattr(header, name)
            for name in ("cell", "point", "arm", "repeat", "worker", "provenance")
        }
        self._labels = {
            "population": [labels.name for labels in each],
            "workload": [labels.workload for labels in each],
            "qos_class": [labels.qos_class for labels in each],
        }
        self._deadlines = [labels.deadline_ns for labels in each]

    def batch(self, by: Mapping[str, tuple[Any, ...]]) -> "pa.RecordBatch":
        import pyarrow as pa

        made: dict[str, Any] = {name: by[name] for name in _COPIED}
        metrics = [each or _NOTHING for each in by["metrics"]]
        for column, key in _METRICS.items():
            made[column] = [each.get(key) for each in metrics]
        codes, n = by["population"], len(metrics)
        made["deadline_ns"] = [self._deadlines[code] for code in codes]
        for column, labels in self._labels.items():
            made[column] = self._dictionary(codes, labels)
        for column, words in self._words.items():
            numbers = [words[word] for word in by[column]]
            made[column] = self._dictionary(numbers, list(words))
        for column, value in self._fixed.items():
            made[column] = self._constant(value, n)
        for column in ("output_hash", "verified"):
            made[column] = pa.nulls(n, self._schema.field(column).type)
        arrays = [
            made[field.name]
            if isinstance(made[field.name], pa.Array)
            else pa.array(made[field.name], type=field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    @staticmethod
    def _dictionary(codes: Iterable[int], words: list[str]) -> "pa.Array":
        import pyarrow as pa

        return pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int32()), pa.array(words, pa.string())
        )

    def _constant(self, value: str | int, n: int) -> "pa.Array":
        import pyarrow as pa

        zeros = np.zeros(n, np.int32)
        if isinstance(value, int):
            return pa.array(zeros + value)
        return pa.DictionaryArray.from_arrays(zeros, pa.array([value], pa.string()))


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
        counted = self._by_content.setdefault(
            content, [0, msgspec.json.decode(content)]
        )
        if len(self._alive) >= _IDENTITIES:
            self._by_identity.clear()
            self._alive.clear()
        self._by_identity[id(echo)] = counted
        self._alive.append(echo)
        return counted


class Probes:
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
        self._words = _Words()
        self._drain = Drain(files, self._convert, name="djinnload-probes")
        self.append: Callable[[tuple[int, str, str, str, float]], None] = (
            self._drain.append
        )

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
        """What stopped the recording, else None."""
        return self._drain.error

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
