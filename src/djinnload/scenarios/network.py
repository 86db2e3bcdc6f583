"""``[target] network``: what lies between us and a server of ours; pure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import force_setattr

from djinnload.units import Bandwidth, Duration, Share, format_ns

if TYPE_CHECKING:
    from djinnload.scenarios.schema import Target

__all__ = ("Network", "problems", "said")


class Network(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to every packet, each way; None: nothing.

    Attributes:
        rate: Bytes a second.
        delay: ns.
        loss: Share of the packets.
    """

    rate: Bandwidth | None = None
    delay: Duration | None = None
    loss: Share | None = None

    def __post_init__(self) -> None:
        # Plain numbers, so that any encoder takes it as it is.
        for name, kind in (("rate", float), ("delay", int), ("loss", float)):
            if (value := getattr(self, name)) is not None:
                force_setattr(self, name, kind(value))


def said(network: Network) -> str:
    """Return *network* for people, such as ``25 Gbit/s, 500 µs, each way``."""
    words = []
    if network.rate is not None:
        words.append(f"{network.rate * 8 / 1e9:.6g} Gbit/s")
    if network.delay is not None:
        words.append(f"{format_ns(network.delay)} delay")
    if network.loss is not None:
        words.append(f"{100 * network.loss:.3g}% loss")
    return f"{', '.join(words)}, each way"


def problems(target: "Target") -> Iterator[tuple[str, str]]:
    """Yield (path, reason) of what is wrong with the network of a target."""
    network, path = target.network, "$.target.network"
    if network is None:
        return
    if network == Network():
        yield path, 'says nothing, give rate = "25Gbit/s", delay = "500us" or loss'
    if network.delay == 0:
        yield f"{path}.delay", "must be greater than 0, or left out"
    if network.loss is not None and not 0 < network.loss < 1:
        yield f"{path}.loss", "must be greater than 0 and less than 1, or left out"
    if target.address is not None:
        reason = (
            "is of a server that djinnload starts; leave network out, or the address: "
            "what lies on the way to a server elsewhere is not ours to shape"
        )
        yield path, reason
    elif target.use != "djinn":
        reason = (
            f"target {target.use!r} has no network; give its arm a target of its own, "
            f'target = {{ use = "{target.use}" }}, which leaves this one out'
        )
        yield path, reason
