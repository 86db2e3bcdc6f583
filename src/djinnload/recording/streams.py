"""Rows → crash-safe Arrow IPC streams, in a thread of their own.

A stream is readable up to its last whole batch, whatever kills the writer: SIGKILL
costs at most the last second, a full disk what came after it. Rows become columns 500
at a time with a pause between, so that the thread never keeps the GIL from the loop for
long (10,000 at once stall it 6 ms).
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from djinnload.clock import monotonic_ns
from djinnload.errors import HostError
from djinnload.units import MS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("BATCH", "Drain", "StreamFiles")

#: Rows converted without a pause: about 1 ms of GIL.
BATCH = 500
TICK_S = 0.2
#: Rows wait no longer than this, and a tick, for their batch to fill.
PATIENCE_NS = 600 * MS
PAUSE_S = 0.001
#: Rows waiting beyond which nothing pauses: memory comes before a busy loop's lag.
BACKLOG = 20 * BATCH
ROTATE_BYTES = 256 * 2**20
_BUFFER = 2**18


class StreamFiles:
    """Numbered IPC stream files of one schema; each batch is in the file when it is.

    Args:
        path: Of file k, from 0; existing files are never touched.
        schema: Of every file.
        rotate_bytes: A file that has reached this is followed by the next.
    """

    def __init__(
        self,
        path: Callable[[int], Path],
        schema: "pa.Schema",
        *,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self._path = path
        self._schema = schema
        self._rotate = rotate_bytes
        self._number = 0
        self._sink: Any = None
        self._writer: Any = None

    def open(self) -> None:
        """Open the next file and write its schema.

        Raises:
            OSError: It exists, or cannot be made.
        """
        import pyarrow as pa

        path = self._path(self._number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(f"{path} exists; samples are never rewritten")
        self._sink = _open_sink(path)
        # Deltas: a dictionary that grows is not written again with each new word.
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._writer = pa.ipc.new_stream(self._sink, self._schema, options=options)
        self._sink.flush()

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append *batch*; when this returns, the kernel has it.

        Raises:
            OSError: Such as a full disk; what was written before stays readable.
        """
        if self._sink.tell() >= self._rotate:
            self.close()
            self._number += 1
            self.open()
        self._writer.write_batch(batch)
        self._sink.flush()

    def close(self) -> None:
        """End the file and have the disk confirm it.

        Raises:
            OSError: The end could not be written; the file reads like a torn one.
        """
        if self._sink is None:
            return
        sink, self._sink = self._sink, None
        try:
            self._writer.close()
        finally:
            sink.close()
        _sync(self._path(self._number))

    def abandon(self) -> None:
        """Close what can be closed, after an error."""
        with contextlib.suppress(OSError):
            self.close()


def _open_sink(path: Path) -> Any:
    import pyarrow as pa

    return pa.output_stream(str(path), compression=None, buffer_size=_BUFFER)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Drain:
    """A thread that makes batches of what is appended; a context manager.

    Attributes:
        append: Takes one row; a bound ``deque.append``, so it never blocks and never
            raises. Rows appended after `close` are not written.
        error: What stopped the writing (a full disk: OSError), else None. Rows go on
            being taken, and counted by *seen*, but are lost.

    Args:
        files: Where batches go.
        convert: Makes a batch of at most 500 rows, in the thread.
        seen: Called at each tick, in the thread.
    """

    def __init__(
        self,
        files: StreamFiles,
        convert: Callable[[list[Any]], "pa.RecordBatch"],
        *,
        seen: Callable[[], None] = lambda: None,
        name: str = "djinnload-recorder",
    ) -> None:
        self._rows: deque[Any] = deque()
        self.append: Callable[[Any], None] = self._rows.append
        self.error: Exception | None = None
        self._files = files
        self._convert = convert
        self._seen = seen
        self._stop = Event()
        self._drained_ns = 0
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Open the first file and start.

        Raises:
            HostError: The file cannot be made.
        """
        try:
            self._files.open()
        except OSError as error:
            raise HostError(f"cannot record: {error}") from error
        self._drained_ns = monotonic_ns()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left and end the file; never raises, see `error`."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        try:
            self._files.close()
        except OSError as error:
            self.error = self.error or error

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self._tick()
        self._drain()
        self._seen()

    def _tick(self) -> None:
        waited = monotonic_ns() - self._drained_ns
        if len(self._rows) >= BATCH or waited >= PATIENCE_NS:
            self._drain()
        self._seen()

    def _drain(self) -> None:
        self._drained_ns = monotonic_ns()
        take = self._rows.popleft
        while count := min(BATCH, len(self._rows)):
            self._write([take() for _ in range(count)])
            if len(self._rows) < BATCH and not self._stop.is_set():
                break  # the rest fills up until the next tick
            if monotonic_ns() - self._drained_ns >= PATIENCE_NS:
                self._drained_ns = monotonic_ns()
                self._seen()
            if len(self._rows) < BACKLOG:
                self._stop.wait(PAUSE_S)

    def _write(self, rows: list[Any]) -> None:
        try:
            batch = self._convert(rows)
            if self.error is None:
                self._files.write(batch)
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to
            if self.error is None:
                self.error = error
                self._files.abandon()
