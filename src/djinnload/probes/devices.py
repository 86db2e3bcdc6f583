"""The probes that a scenario asks for, beside a cell: GPUs, server, host.

They run in the run's own process, in threads; with several workers, in none of them.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from djinnload.probes.machine import MachineProbe
from djinnload.probes.nvml import NvmlProbe, driver
from djinnload.probes.periodic import Periodic
from djinnload.probes.vmu import VmuProbe
from djinnload.recording.recorder import Probes
from djinnload.scenarios.schema import Probes as Wanted

__all__ = ("watched",)


@contextmanager
def watched(
    wanted: Wanted, directory: Path, metrics: str | None
) -> Iterator[dict[str, Any]]:
    """Record into ``probes-devices.arrows`` of *directory* while inside.

    Args:
        wanted: ``probes`` of the scenario; nothing wanted, nothing is written.
        directory: Of a cell; exists.
        metrics: ``host:port`` of the server's diagnostics; None: it has none.

    Yields:
        What is recorded, for the manifest: ``nvml`` names of devices, ``vmu`` an
        address; None where nothing is asked for, or there is nothing to ask.

    Raises:
        HostError: The file cannot be made.
    """
    told: dict[str, Any] = {"nvml": None, "vmu": None}
    if wanted.nvml is wanted.vmu is wanted.host is None:
        yield told
        return
    with Probes(directory, "devices") as probes, ExitStack() as stack:
        if wanted.nvml is not None and (nvml := driver()) is not None:
            stack.callback(nvml.nvmlShutdown)
            probe = NvmlProbe(nvml, probes.append, gpus=wanted.gpus)
            told["nvml"] = probe.names
            _start(stack, Periodic(probe.read, period_ns=wanted.nvml, name="nvml"))
        if wanted.vmu is not None and metrics is not None:
            log = os.environ.get("GENIE_EVAL_METRICS_PATH")
            scraped = VmuProbe(metrics, probes.append, log=Path(log) if log else None)
            told["vmu"] = metrics
            _start(stack, Periodic(scraped.read, period_ns=wanted.vmu, name="vmu"))
        if wanted.host is not None:
            machine = MachineProbe(probes.append)
            _start(stack, Periodic(machine.read, period_ns=wanted.host, name="host"))
        yield told


def _start(stack: ExitStack, periodic: Periodic) -> None:
    periodic.start()
    stack.callback(periodic.stop)
