"""What a Djinn server says of its memory: ``GET /metrics/vmu`` on its health port."""

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from djinnload.probes.host import Reading

__all__ = ("DEFAULT_PORT", "VmuProbe")

#: Djinn's ``GENIE_METRICS_PORT``.
DEFAULT_PORT = 9095
SOURCE = "vmu"
_TIMEOUT_S = 1.0
_PATH = "/metrics/vmu"
_OK = 200
_BAD = (OSError, http.client.HTTPException, msgspec.DecodeError, ValueError)


class VmuProbe:
    """Scrapes of one server as a call of `read` takes them; source ``vmu``.

    Every number of its ``vmu`` and ``summary`` under its own name; and ``answered``, 1
    or 0: a server that does not answer, or says ``error``, leaves no number but that.

    Args:
        address: ``host:port`` of its diagnostics.
        append: Takes a reading; must be fast.
        log: Gets each answer as a line of JSON, ``t_ns`` added; None: nothing does.
    """

    def __init__(
        self,
        address: str,
        append: Callable[[Reading], None],
        *,
        log: Path | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._append = append
        self._log = log

    def read(self, now_ns: int) -> None:
        """Ask the server once; takes a second at most."""
        found = self._asked()
        ok = found is not None and found.get("status") != "error"
        self._append((now_ns, SOURCE, "", "answered", float(ok)))
        if found is None:
            return
        if ok:
            for name, value in _numbers(found):
                self._append((now_ns, SOURCE, "", name, value))
        if self._log is not None:
            line = msgspec.json.encode({"t_ns": now_ns, **found}) + b"\n"
            with suppress(OSError), self._log.open("ab") as file:
                file.write(line)

    def _asked(self) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection(
            self._host, self._port, timeout=_TIMEOUT_S
        )
        with suppress(*_BAD), closing(connection):
            connection.request("GET", _PATH)
            answer = connection.getresponse()
            if answer.status == _OK:
                return msgspec.json.decode(answer.read(), type=dict[str, Any])
        return None


def _numbers(found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    parts = (found.get("summary"), found.get("vmu"))
    # Some are in both: once, in the words of the latter.
    every = {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}
    for name, value in every.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)
