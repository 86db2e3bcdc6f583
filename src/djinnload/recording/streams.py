"""Arrow IPC streams that survive a crash.

A stream is readable up to its last whole batch, whatever kills the writer: SIGKILL
costs at most the last second, a full disk what came after it.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("ROTATE_BYTES", "StreamFiles")

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
