"""What NVIDIA GPUs did meanwhile. What a device does not tell is left out, never zero.

NVML's utilisation is itself an average over 1/6 s to 1 s, by device: a shorter period
shows its steps, not more detail. A call takes the driver some 10 µs to 1 ms, without
the GIL.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from djinnload.clock import monotonic_ns
from djinnload.probes.host import Reading

__all__ = ("NvmlProbe", "driver")

SOURCE = "nvml"
#: Memory by process takes longer to ask for, and changes slowly.
PROCESSES_NS = 1_000_000_000
#: Bits of NVML's clock event reasons: what slows a GPU that has work.
_POWER = 0x4 | 0x80  # software power cap, hardware power brake
_THERMAL = 0x20 | 0x40  # software and hardware thermal slowdown
_SLOWED = _POWER | _THERMAL | 0x8  # hardware slowdown of any cause

#: NVML's "not supported" and "no permission"; other errors may pass.
_NEVER = (3, 4)


class _Device(Struct):
    name: str
    handle: Any
    silent: set[str]


def driver() -> Any:
    """Return NVML, ready to be asked; None where there is no driver or no device.

    The caller shuts it down, with its ``nvmlShutdown``.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


class NvmlProbe:
    """Readings of each GPU as a call of `read` takes them; source ``nvml``.

    ``util`` and ``memory_util`` (shares 0 to 1), ``memory_bytes`` (used),
    ``power_w``, ``sm_clock_mhz``, ``temperature_c``; ``slowed``, ``slowed_by_power``
    and ``slowed_by_heat`` (0 or 1); once a second ``memory_bytes_of_PID`` of each
    process that the driver shows. Devices are ``gpu0``, ``gpu1`` …

    Args:
        nvml: From `driver`.
        append: Takes a reading; must be fast.
        gpus: Their indices; None: all.

    Attributes:
        names: Of the devices, as ``gpu0 (NVIDIA H100 80GB HBM3)``.
    """

    def __init__(
        self,
        nvml: Any,
        append: Callable[[Reading], None],
        *,
        gpus: Sequence[int] | None = None,
    ) -> None:
        self._nvml = nvml
        self._append = append
        self._processes_ns = 0
        count = nvml.nvmlDeviceGetCount()
        chosen = range(count) if gpus is None else [i for i in gpus if i < count]
        self.missing = [i for i in gpus or () if i >= count]
        self._devices = [
            _Device(f"gpu{i}", nvml.nvmlDeviceGetHandleByIndex(i), set())
            for i in chosen
        ]
        self.names = [
            f"{each.name} ({nvml.nvmlDeviceGetName(each.handle)})"
            for each in self._devices
        ]

    def read(self, now_ns: int) -> None:
        """Read every device; each reading is stamped when the driver has answered."""
        slow = now_ns >= self._processes_ns
        if slow:
            self._processes_ns = now_ns + PROCESSES_NS
        for device in self._devices:
            self._ask(device, self._use)
            self._ask(device, self._memory)
            self._ask(device, self._power)
            self._ask(device, self._clock)
            self._ask(device, self._temperature)
            self._ask(device, self._slowed)
            if slow:
                self._ask(device, self._processes)

    def _ask(
        self, device: _Device, question: Callable[[Any], Iterator[tuple[str, float]]]
    ) -> None:
        """Append the answers; a device that can never answer is not asked again."""
        if question.__name__ in device.silent:
            return
        try:
            found = list(question(device.handle))
        except self._nvml.NVMLError as error:
            if error.value in _NEVER:
                device.silent.add(question.__name__)
            return
        now = monotonic_ns()
        for name, value in found:
            self._append((now, SOURCE, device.name, name, float(value)))

    def _use(self, handle: Any) -> Iterator[tuple[str, float]]:
        use = self._nvml.nvmlDeviceGetUtilizationRates(handle)
        yield "util", use.gpu / 100
        yield "memory_util", use.memory / 100

    def _memory(self, handle: Any) -> Iterator[tuple[str, float]]:
        yield "memory_bytes", self._nvml.nvmlDeviceGetMemoryInfo(handle).used

    def _power(self, handle: Any) -> Iterator[tuple[str, float]]:
        yield "power_w", self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000

    def _clock(self, handle: Any) -> Iterator[tuple[str, float]]:
        kind = self._nvml.NVML_CLOCK_SM
        yield "sm_clock_mhz", self._nvml.nvmlDeviceGetClockInfo(handle, kind)

    def _temperature(self, handle: Any) -> Iterator[tuple[str, float]]:
        kind = self._nvml.NVML_TEMPERATURE_GPU
        yield "temperature_c", self._nvml.nvmlDeviceGetTemperature(handle, kind)

    def _slowed(self, handle: Any) -> Iterator[tuple[str, float]]:
        bits = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        yield "slowed", bool(bits & _SLOWED)
        yield "slowed_by_power", bool(bits & _POWER)
        yield "slowed_by_heat", bool(bits & _THERMAL)

    def _processes(self, handle: Any) -> Iterator[tuple[str, float]]:
        for each in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            # None in a container or a MIG slice that may not know.
            if each.usedGpuMemory is not None:
                yield f"memory_bytes_of_{each.pid}", each.usedGpuMemory
