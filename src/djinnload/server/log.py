"""Log lines of the reference server: to stderr, one line each, never a flood."""

import sys

from djinnload.clock import monotonic_ns

__all__ = ("log", "one_line")

_LONGEST = 500
_SECOND = 1_000_000_000
#: Bad clients can cause lines; they cannot fill a disk with them.
_PER_SECOND = 20


class _Window:
    began_ns = 0
    lines = 0
    left_out = 0


def log(text: str) -> None:
    """Write *text* as one line; what is over 20 lines a second is counted instead."""
    now_ns = monotonic_ns()
    if now_ns - _Window.began_ns >= _SECOND:
        if _Window.left_out:
            _write(f"{_Window.left_out} lines left out")
        _Window.began_ns, _Window.lines, _Window.left_out = now_ns, 0, 0
    _Window.lines += 1
    if _Window.lines > _PER_SECOND:
        _Window.left_out += 1
    else:
        _write(one_line(text))


def one_line(text: str) -> str:
    """Return *text* as one printable line of bounded length."""
    # Cut twice: a client can send megabytes, and each character may become ten.
    line = " ".join(text[: 2 * _LONGEST].split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _write(line: str) -> None:
    try:
        sys.stderr.write(f"djinnload server: {line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads us, which is no reason to stop
