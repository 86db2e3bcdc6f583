"""What the whole host did meanwhile: memory and network, which take long to ask for."""

from collections.abc import Callable

from djinnload.probes.host import Reading

__all__ = ("MachineProbe",)

SOURCE = "host"


class MachineProbe:
    """Readings of this host as a call of `read` takes them; source ``host``.

    ``memory_available_bytes``, ``swap_used_bytes``; and of each network interface that
    is up, as device, ``sent_bytes`` and ``received_bytes``, cumulative. Loopback counts
    each byte as both.

    Args:
        append: Takes a reading; must be fast.
    """

    def __init__(self, append: Callable[[Reading], None]) -> None:
        self._append = append

    def read(self, now_ns: int) -> None:
        """Read once; takes some 0.3 ms."""
        import psutil

        for name, value in (
            ("memory_available_bytes", psutil.virtual_memory().available),
            ("swap_used_bytes", psutil.swap_memory().used),
        ):
            self._append((now_ns, SOURCE, "", name, float(value)))
        for interface, count in psutil.net_io_counters(pernic=True).items():
            for name, value in (
                ("sent_bytes", count.bytes_sent),
                ("received_bytes", count.bytes_recv),
            ):
                self._append((now_ns, SOURCE, interface, name, float(value)))
