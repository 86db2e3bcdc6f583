"""Every exception that djinnload raises, and the exit code that each one means.

DjinnloadError
├─ ScenarioError          exit 2   the scenario or the command line is wrong
│  └─ UnknownName         exit 2   no plugin, model or arm of that name
├─ PluginError            exit 3   a plugin broke its contract
├─ HostError              exit 3   cannot record, cannot bind, no room
├─ LocalProtocolError     exit 3   we, or a plugin, asked the wire for nonsense
└─ TargetError            exit 3   the server could not be opened; in a run: an outcome
   ├─ ConnectFailed                nothing listens there
   ├─ ConnectionLost               reset, or closed before the reply was whole
   ├─ RemoteProtocolError          the server sent nonsense
   └─ Refused                      the server said no

Messages say what, where and what to do, and end without a period after a value.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class DjinnloadError(Exception):
    """Root of all errors of this package; never raised itself."""

    exit_code = 3


class ScenarioError(DjinnloadError):
    """The scenario (or a command-line value) is wrong.

    Attributes:
        path: Where, such as ``$.population[0] (chat).arrival.rate``.
        reason: What is wrong there and what to do.
    """

    exit_code = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnknownName(ScenarioError):  # noqa: N818 - reads as what it says
    """Nothing of that name exists; names what there is and the nearest."""

    def __init__(
        self, path: str, kind: str, name: str, known: Iterable[str], *, hint: str = ""
    ) -> None:
        names = sorted(known)
        reason = f"no {kind} named {name!r}"
        if near := nearest(name, names):
            reason += f", did you mean {near!r}?"
        reason += f" (there is: {', '.join(names) or 'none'})"
        if hint:
            reason += f"; {hint}"
        super().__init__(path, reason)
        self.name = name


class PluginError(DjinnloadError):
    """A plugin broke its contract.

    Attributes:
        plugin: Its entry point, such as ``djinnload.workloads: chat``.
        reason: What it did and what the contract says.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"{plugin}: {reason}")
        self.plugin = plugin
        self.reason = reason


class HostError(DjinnloadError):
    """This machine cannot do what was asked: disk, port, memory, device."""


class LocalProtocolError(DjinnloadError):
    """We were asked to send what the protocol cannot carry: a bug here or in a plugin.

    It is not a TargetError and it ends the run.
    """


class TargetError(DjinnloadError):
    """The server's fault. Within a run it becomes a sample's outcome, never raised."""


class ConnectFailed(TargetError):  # noqa: N818 - reads as what it says
    """No connection could be made."""


class ConnectionLost(TargetError):  # noqa: N818 - reads as what it says
    """The connection was reset, or closed before a whole reply."""


class RemoteProtocolError(TargetError):
    """The server answered with bytes that the protocol does not allow."""


class Refused(TargetError):  # noqa: N818 - reads as what it says
    """The server refused the request."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that *name* most likely meant, or None."""
    cased = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), cased, n=1, cutoff=0.6)
    return cased[found[0]] if found else None
