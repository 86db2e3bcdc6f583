"""Draws a run while it goes on: ``python -m djinnload.report.viewer STYLE``.

A process of its own: to draw a table takes milliseconds, and the GIL, which the loop
that sends requests does not have. It is told each `Progress` as a line of JSON, shows
the newest, and says which keys are pressed, a byte each. When its input ends, so does
it.
"""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
from rich.console import Console
from rich.live import Live as Screen

from djinnload.report.dashboard import Dashboard, line
from djinnload.result import Progress

__all__ = ("LISTENED", "Lines", "main")

NICENESS = 10
#: Keys that mean something: stop early, mark this moment.
LISTENED = b"qm"
#: Seconds between two lines where there is no terminal.
_EVERY_S = 5.0
_AT_ONCE = 2**16
_SAID = {
    b"q": "stopping: what is measured is kept",
    b"m": "marked",
}


class Lines:
    """A line for each new cell or message, and otherwise every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""
        self._spoke_at = -_EVERY_S

    def show(self, progress: Progress) -> None:
        """Print a line, if it is time."""
        begun = progress.cell or progress.message
        due = abs(progress.elapsed_s - self._spoke_at) >= _EVERY_S
        if begun != self._said or due:
            self._said, self._spoke_at = begun, progress.elapsed_s
            text = line(progress)
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Terminal:
    def __init__(self, console: Console, screen: Screen, *, keys: bool) -> None:
        self._screen = screen
        self._dashboard = Dashboard(keys=keys)
        self._newest: Progress | None = None

    def show(self, progress: Progress) -> None:
        self._newest = progress
        self._screen.update(self._dashboard.draw(progress), refresh=True)

    def pressed(self, key: bytes) -> None:
        self._dashboard.said = _SAID[key]
        if self._newest is not None:
            self.show(self._newest)


def main(style: str) -> None:
    """Show what comes on the standard input, until it ends.

    Args:
        style: ``screen``, ``lines`` or ``json``.
    """
    with suppress(OSError):
        os.nice(NICENESS)
    # Who started this ends it: by the end of its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    console = Console(stderr=True)
    if style == "json":
        for each in _lines():
            sys.stderr.buffer.write(each + b"\n")
            sys.stderr.buffer.flush()
    elif style == "screen":
        _on_terminal(console)
    else:
        lines, decode = Lines(console), msgspec.json.Decoder(Progress).decode
        for each in _lines():
            lines.show(decode(each))


def _on_terminal(console: Console) -> None:
    decode = msgspec.json.Decoder(Progress).decode
    with (
        _keyboard() as keyboard,
        Screen(console=console, auto_refresh=False, transient=True) as screen,
    ):
        terminal = _Terminal(console, screen, keys=keyboard is not None)

        def listen() -> None:
            for key in _pressed(keyboard):
                terminal.pressed(key)
                os.write(sys.stdout.fileno(), key)

        for each in _lines(listen, keyboard):
            terminal.show(decode(each))


def _lines(listen: object = None, also: int | None = None) -> Iterator[bytes]:
    """Yield lines of the standard input; of those that came at once, the last."""
    source, left = sys.stdin.fileno(), b""
    every = listen is None
    watched = [source] if also is None else [source, also]
    while True:
        ready = select.select(watched, [], [])[0]
        if also in ready and callable(listen):
            listen()
        if source not in ready:
            continue
        came = os.read(source, _AT_ONCE)
        if not came:
            return
        *whole, left = (left + came).split(b"\n")
        yield from whole if every else whole[-1:]


def _pressed(keyboard: int | None) -> Iterator[bytes]:
    if keyboard is not None:
        for value in os.read(keyboard, _AT_ONCE):
            if value in LISTENED:
                yield bytes([value])


@contextmanager
def _keyboard() -> Iterator[int | None]:
    """Have the terminal give its keys one by one; None where there is none."""
    try:
        import termios
        import tty

        keyboard = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except (ImportError, OSError):
        yield None
        return
    try:
        before = termios.tcgetattr(keyboard)
        if os.tcgetpgrp(keyboard) != os.getpgrp():
            yield None  # we are in the background: its keys are not for us
            return
        tty.setcbreak(keyboard, termios.TCSANOW)
        try:
            yield keyboard
        finally:
            termios.tcsetattr(keyboard, termios.TCSANOW, before)
    except termios.error:
        yield None
    finally:
        os.close(keyboard)


if __name__ == "__main__":
    main(sys.argv[1])
