"""Writes what a generator saw: ``python -m djinnload.recording.writer``.

To make columns of rows takes as long as to send the requests, in the generator's own
process it would hold the GIL and delay what falls due meanwhile. So rows come by a
pipe. When that ends, whoever wrote into it is gone, and what came is written down:
a generator that is killed loses only what it had not sent.
"""

import gc
import os
import select
import signal
import sys
from pathlib import Path

from djinnload.clock import monotonic_ns
from djinnload.recording.batches import warm
from djinnload.recording.messages import (
    Close,
    Open,
    Order,
    Report,
    Rows,
    decode_order,
    encode,
    frames,
)
from djinnload.recording.writing import Readings, Samples, Writing
from djinnload.scheduling import use_slice
from djinnload.units import MS

__all__ = ("main",)

#: Below the generator, above a server that shares its cores.
NICENESS = 10
TICK_S = 0.1
SAY_NS = 500 * MS
_AT_ONCE = 2**20


class _Writer:
    """Carries out the orders of one generator.

    Args:
        out: Descriptor that reports go to.
    """

    def __init__(self, out: int) -> None:
        self._out = out
        self._channels: dict[int, Writing] = {}
        self._said_ns = 0

    def obey(self, order: Order) -> None:
        if isinstance(order, Rows):
            if order.channel in self._channels:
                self._channels[order.channel].add(order.rows)
        elif isinstance(order, Open):
            self._open(order)
        else:
            self._close(order)

    def tick(self) -> None:
        for writing in self._channels.values():
            writing.tick()
        now = monotonic_ns()
        if now - self._said_ns >= SAY_NS:
            self._said_ns = now
            for channel, writing in self._channels.items():
                live, readings = writing.live(), writing.readings()
                report = _report(channel, writing.error, live=live, readings=readings)
                self._say(report)

    def end(self) -> None:
        """Write down what came; nobody is there to be told."""
        for writing in self._channels.values():
            writing.close()

    def _open(self, order: Open) -> None:
        writing: Writing
        directory = Path(order.directory)
        if order.header is None:
            writing = Readings(directory, order.name)
        else:
            writing = Samples(directory, order.header, order.rotate_bytes)
        try:
            writing.open()
        except OSError as error:
            self._say(_report(order.channel, error, answer=True))
            return
        self._channels[order.channel] = writing
        self._say(Report(order.channel, answer=True))

    def _close(self, order: Close) -> None:
        writing = self._channels.pop(order.channel)
        writing.close()
        gc.collect()
        last = {"live": writing.live(), "echoes": writing.echoes()}
        self._say(_report(order.channel, writing.error, answer=True, **last))

    def _say(self, report: Report) -> None:
        left = memoryview(encode(report))
        while left:
            left = left[os.write(self._out, left) :]


def _report(channel: int, error: Exception | None, **more: object) -> Report:
    number = error.errno if isinstance(error, OSError) else None
    text = "" if error is None else _said(error)
    return Report(channel, errno=number, error=text, **more)  # type: ignore[arg-type]


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error) or type(error).__name__


def main() -> None:
    """Obey what comes on the standard input, until it ends."""
    os.nice(NICENESS)
    use_slice(0)  # not the generator's short ones
    # Rows are lists by the thousand, and never in a cycle: looking through them for
    # garbage took 0.4 of 1.4 µs a row.
    gc.disable()
    warm()
    # A terminal tells all its processes; the generator decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What would be lost by it is told instead, as of a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    source, out = sys.stdin.fileno(), sys.stdout.fileno()
    writer, received = _Writer(out), bytearray()
    try:
        while True:
            if select.select([source], [], [], TICK_S)[0]:
                came = os.read(source, _AT_ONCE)
                if not came:
                    return
                received += came
                for message in frames(received):
                    writer.obey(decode_order(message))
            writer.tick()
    except BrokenPipeError:
        return  # nobody hears what is said
    finally:
        writer.end()


if __name__ == "__main__":
    main()
