"""A process that is told where a run is, a line at a time, and never makes it wait."""

import os
import subprocess
import sys
from contextlib import suppress

__all__ = ("Fed",)

#: How long it may take for what it was told last.
PATIENCE_S = 5.0


class Fed:
    """A process of ours, told lines of its standard input.

    Args:
        module: To be run, ``python -m``.
        words: Its arguments.
        backlog: Bytes that may wait for it; once they do, what comes is left out, but
            never half a line.
    """

    def __init__(self, module: str, *words: str, backlog: int = 0) -> None:
        self._left = b""
        self._backlog = backlog
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None  # noqa: S101 - it was asked for
        assert self.process.stdout is not None  # noqa: S101
        self._in = self.process.stdin
        self._out = self.process.stdout
        os.set_blocking(self._in.fileno(), False)

    def tell(self, text: bytes) -> None:
        """Send a line, unless too much waits already."""
        with suppress(OSError):
            self._push()
        if len(self._left) <= self._backlog:
            self._left += text + b"\n"
            with suppress(OSError):
                self._push()

    def _push(self) -> None:
        while self._left:
            self._left = self._left[os.write(self._in.fileno(), self._left) :]

    def hear(self) -> bytes:
        """Return what it says next; empty: it has ended. Waits."""
        return self._out.readline()

    def heard(self) -> bytes:
        """Return what it has said until now, 64 bytes at most; never waits."""
        os.set_blocking(self._out.fileno(), False)
        with suppress(OSError):
            return os.read(self._out.fileno(), 64)
        return b""

    def end(self) -> None:
        """End it: at once by itself, else it is killed."""
        with suppress(OSError):
            self._push()
        with suppress(OSError):
            self._in.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()
