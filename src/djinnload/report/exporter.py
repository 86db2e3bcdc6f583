"""Serves metrics of a run: ``python -m djinnload.report.exporter HOST PORT``.

A process of its own, as the viewer is: a scrape takes milliseconds, and the GIL, which
the loop that sends requests does not have. It is told each `Progress` as a line of
JSON. It says where it listens, as a line, and ends when its input does.
"""

import os
import signal
import sys
from contextlib import suppress

import msgspec
from prometheus_client import CollectorRegistry, start_http_server

from djinnload.report.metrics import Exposition
from djinnload.result import Progress

__all__ = ("main",)

NICENESS = 10


def main(host: str, port: int) -> None:
    """Serve what comes on the standard input, until it ends.

    Args:
        host: To listen at.
        port: 0: any that is free.
    """
    with suppress(OSError):
        os.nice(NICENESS)
    # Who started this ends it: by the end of its input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    exposition = Exposition()
    registry = CollectorRegistry()
    registry.register(exposition)
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        _say({"error": error.strerror or str(error)})
        return
    _say({"port": server.server_port})
    decode = msgspec.json.Decoder(Progress).decode
    for line in sys.stdin.buffer:
        exposition.take(decode(line))


def _say(what: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
