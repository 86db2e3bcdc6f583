"""What happened around a cell: a server that was lost, a host that slept, a network."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from djinnload.findings import Found, note, void
from djinnload.units import MS, SECOND, format_ns

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = (
    "gaps",
    "if_linked",
    "if_timed_twice",
    "if_watched",
    "linked",
    "lost_in",
    "mark_lost",
    "server_lost",
    "suspended",
)

#: Clocks that are read one after the other differ by less.
SUSPENDED_NS = 100 * MS
STEPPED_NS = 100 * MS


def gaps(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return when a cell's server did not answer, ``from_s`` and ``to_s``.

    In seconds since measure began; ``to_s`` is None if that did not end with the cell.
    """
    found = manifest.get("gaps")
    if not found:
        return []
    begin = manifest["window"]["begin_ns"]
    return [
        {
            "from_s": (each["from_ns"] - begin) / SECOND,
            "to_s": each["to_ns"] and (each["to_ns"] - begin) / SECOND,
        }
        for each in found
    ]


def mark_lost(
    windows: Iterable[dict[str, Any]], found: Sequence[Mapping[str, Any]]
) -> None:
    """Give the windows in which the server did not answer ``lost``: true.

    Args:
        windows: Of a population: ``at_s`` and ``seconds`` of each.
        found: From `gaps`.
    """
    for each in windows:
        end = each["at_s"] + each["seconds"]
        if any(
            gap["from_s"] < end and (gap["to_s"] is None or gap["to_s"] > each["at_s"])
            for gap in found
        ):
            each["lost"] = True


def server_lost(evidence: "CellEvidence") -> Found:
    """SERVER_LOST, or only a note where the scenario has the run go on."""
    return lost_in(evidence.manifest)


def lost_in(manifest: Mapping[str, Any]) -> Found:
    """As `server_lost`, of a cell's manifest alone."""
    found = gaps(manifest)
    if not found:
        return
    spans = ", ".join(map(_span, found))
    seen = f"the server was lost {len(found)} time(s), s since measure began: {spans}"
    policy = manifest.get("on_server_loss") or "void"
    if policy == "void":
        yield void("SERVER_LOST", seen, float(len(found)))
    else:
        more = f'what was due meanwhile counts, on_server_loss is "{policy}"'
        yield note("server-lost", f"{seen}; {more}", float(len(found)))


def _span(gap: Mapping[str, Any]) -> str:
    end = "the end" if gap["to_s"] is None else f"{gap['to_s']:.1f}"
    return f"{gap['from_s']:.1f} to {end}"


def if_watched(evidence: "CellEvidence") -> str:
    """Return why a loss is not looked for; empty: it is."""
    return "" if "gaps" in evidence.manifest else "nobody watched the server"


def suspended(evidence: "CellEvidence") -> Found:
    """SUSPENDED where the host slept; a note where only its wall clock was set."""
    window = evidence.manifest["window"]
    slept, stepped = window["suspended_ns"], window["stepped_ns"]
    if slept > SUSPENDED_NS:
        seen = f"the host was suspended for {format_ns(slept)} meanwhile"
        yield void("SUSPENDED", seen, slept / SECOND)
    if abs(stepped) > STEPPED_NS:
        yield note(
            "clock-step",
            f"the wall clock was set by {format_ns(stepped)} meanwhile: times of "
            "samples are not of it, only the names of directories are",
            abs(stepped) / SECOND,
        )


def if_timed_twice(evidence: "CellEvidence") -> str:
    """Return why clocks are not compared; empty: they are."""
    window: dict[str, Any] = evidence.manifest["window"]
    return "" if "suspended_ns" in window else "the clocks were not read at the end"


def linked(evidence: "CellEvidence") -> Found:
    """Note what network there was, as it was set and as it was measured."""
    network = evidence.manifest["network"]
    round_trip = network["rtt_us"]
    yield note(
        "network",
        f"between us and the server: {network['said']}, by the kernel "
        f"({network['qdisc']['sent']}); before the cells {round_trip['n']} tiny "
        f"exchanges took {round_trip['median'] / 1e3:.3g} ms at the median",
        round_trip["median"] / 1e6,
    )


def if_linked(evidence: "CellEvidence") -> str:
    """Return why there is nothing to say of a network; empty: there is."""
    return "" if evidence.manifest.get("network") else "no network was asked for"
