"""What a worker saw, on disk before anyone forgets it: samples, probes, checks.

The engine appends plain tuples (0.1 µs); everything else happens in a process of its
own (`writer`). What is read back is documented in `reading`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from djinnload.reading.files import (
    read_checks,
    read_json,
    read_probes,
    read_samples,
    write_checks,
    write_json,
)
from djinnload.recording.link import Channel, shared
from djinnload.recording.live import Live
from djinnload.recording.streams import ROTATE_BYTES
from djinnload.sample import Header, Row

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


class _Recording:
    """A channel, opened and closed as a context."""

    _channel: Channel
    append: Callable[[Any], None]

    def _open(self) -> Channel:
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            HostError: It cannot be made, or exists.
        """
        self._channel = self._open()
        self.append = self._channel.append
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pump(self) -> bool:
        """Send on what was appended; to be called every few ms. Never blocks.

        Returns:
            Whether more waits than is sent at a time.
        """
        return self._channel.pump()

    def close(self) -> None:
        """Have what is left written; never raises, see `error`."""
        self._channel.close()

    @property
    def error(self) -> Exception | None:
        """What stopped the recording (a full disk: OSError), else None."""
        return self._channel.error


class Recorder(_Recording):
    """Samples of one worker of a cell, as ``samples/w<k>-<NNN>.arrows``.

    A context manager. Leaving it writes what is left.

    Args:
        directory: The cell's.
        header: What is constant in the cell.
        rotate_bytes: A file that has reached this is followed by the next.

    Attributes:
        append: Takes one `sample.Row`, once entered; never blocks, never raises.
    """

    append: Callable[[Row], None]

    def __init__(
        self, directory: Path, header: Header, *, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        self._directory = directory
        self._header = header
        self._rotate = rotate_bytes

    def _open(self) -> Channel:
        # Absolute: the process that writes was started earlier, maybe elsewhere.
        directory = str(self._directory.absolute())
        return shared().open(directory, header=self._header, rotate=self._rotate)

    def live(self) -> dict[str, Live]:
        """Return counts by population, at most a second old; cheap, from any thread."""
        none = {each.name: Live() for each in self._header.populations}
        return none | self._channel.live

    def echoes(self) -> list[dict[str, Any]]:
        """Return ``{"n", "value"}`` for each different echo, most frequent first.

        Complete once closed, and empty before. Replies without an echo are not counted.
        Those after the first 1,024 different ones are counted together, with an empty
        value.
        """
        return self._channel.echoes


class Probes(_Recording):
    """What the host and devices did meanwhile, as ``probes.arrows`` of a cell.

    A context manager, or use `close`; the file is opened by entering it.

    Args:
        directory: The cell's.
        device: Of one worker of several, such as ``w1``: ``probes-w1.arrows``.

    Attributes:
        append: Takes ``(t_ns, source, device, name, value)``, once entered; never
            blocks or raises.
    """

    append: Callable[[tuple[int, str, str, str, float]], None]

    def __init__(self, directory: Path, device: str = "") -> None:
        self._directory = directory
        self._name = f"probes-{device}" if device else "probes"

    def _open(self) -> Channel:
        return shared().open(str(self._directory.absolute()), name=self._name)
