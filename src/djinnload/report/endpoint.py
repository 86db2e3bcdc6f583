"""Metrics of a run for Prometheus, served by another process while it goes on."""

from importlib.util import find_spec
from types import TracebackType
from typing import Self

import msgspec

from djinnload.errors import HostError, ScenarioError
from djinnload.report.feeding import Fed
from djinnload.result import Progress

__all__ = ("Endpoint",)

#: So much may wait for a process that is kept from running: over a minute.
_BACKLOG_BYTES = 2**20


class Endpoint:
    """A context manager; `update` takes each `Progress`.

    Args:
        host: To listen at.
        port: 0: any that is free.

    Attributes:
        url: Where they are, once entered.

    Raises:
        ScenarioError: prometheus-client is not installed.
    """

    def __init__(self, host: str, port: int) -> None:
        if find_spec("prometheus_client") is None:
            reason = "metrics need prometheus-client: pip install 'djinnload[metrics]'"
            raise ScenarioError("--metrics", reason)
        self.url = ""
        self._host, self._port = host, port

    def __enter__(self) -> Self:
        """Listen.

        Raises:
            HostError: It cannot, as where another process has the port.
        """
        module, where = "djinnload.report.exporter", (self._host, str(self._port))
        self._server = Fed(module, *where, backlog=_BACKLOG_BYTES)
        said = msgspec.json.decode(self._server.hear() or b'{"error": "it ended"}')
        host = f"[{self._host}]" if ":" in self._host else self._host
        if "error" in said:
            self._server.end()
            hint = "name another port; 0 is any that is free"
            at = f"{host}:{self._port}"
            raise HostError(f"cannot serve metrics at {at}: {said['error']}; {hint}")
        self.url = f"http://{host}:{said['port']}/metrics"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.end()

    def update(self, progress: Progress) -> None:
        """Have it told where the run is; never waits."""
        self._server.tell(msgspec.json.encode(progress))
