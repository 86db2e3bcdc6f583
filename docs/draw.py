"""Draws the figures of wrong.md: ``python docs/draw.py``, into docs/drawn/.

Everything is djinnload's own engine in simulated time, so every run draws the same.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from matplotlib.figure import Figure

from djinnload import testing
from djinnload.spi import Outcome, Reply

MS, S = 1_000_000, 1_000_000_000
DRAWN = Path(__file__).parent / "drawn"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
_STYLE = {"svg.hashsalt": "djinnload", "svg.fonttype": "none", "font.size": 11}


def latencies(schedule, service, *, from_sent=False, **options) -> np.ndarray:
    """Return latencies of ok requests, s, of one population under *schedule*."""
    found = testing.simulate(
        (testing.population("load", testing.one_request),),
        schedule,
        lambda clock: testing.ScriptedTarget(clock, service, **options),
        grace_ns=1000 * S,
    )
    start = "sent_ns" if from_sent else "due_ns"
    return np.array(
        [
            (row["done_ns"] - row[start]) / S
            for row in found.rows
            if row["outcome"] == Outcome.OK
        ]
    )


def stall() -> tuple[np.ndarray, np.ndarray]:
    """A server that stalls 10 s in 60: open at 100/s, and one that waits for replies."""
    stalls, service = ((20 * S, 30 * S),), 5 * MS
    due = testing.open_loop(testing.constant(100), duration_ns=60 * S)
    waits = testing.closed(1, duration_ns=60 * S, think=lambda _: 10 * MS - service)
    return (
        latencies(due, service, stalls=stalls),
        latencies(waits, service, stalls=stalls),
    )


def open_and_closed(loads: list[int]) -> tuple[list[float], list[float]]:
    """p99 at the same throughput: Poisson arrivals, and 8 users who wait."""
    opened, closed = [], []
    for per_s in loads:
        schedule = testing.open_loop(testing.poisson(per_s), duration_ns=200 * S)
        opened.append(p99(latencies(schedule, exponential(per_s), servers=1)))
        # Users who think so long that as many requests come in all, as far as they can.
        think = max(0.0, 8 / per_s - 0.010)
        draw = Random(f"think {per_s}").expovariate
        schedule = testing.closed(
            8,
            duration_ns=200 * S,
            think=lambda _, draw=draw, think=think: (
                int(draw(1 / think) * S) if think else 0
            ),
        )
        closed.append(p99(latencies(schedule, exponential(per_s), servers=1)))
    return opened, closed


def tiny_n() -> tuple[np.ndarray, np.ndarray]:
    """p99 of 50 samples and of 5,000, again and again, of the same server."""
    schedule = testing.open_loop(testing.poisson(50), duration_ns=8000 * S)
    every = latencies(schedule, exponential(50), servers=1)
    Random("order").shuffle(every)
    few = np.array([p99(part) for part in np.array_split(every, len(every) // 50)])
    many = np.array([p99(part) for part in np.array_split(every, len(every) // 5000)])
    return few, many


def refusing() -> Iterator[tuple[str, float, float, float]]:
    """A server at 1.3 of what it can do, with queues of different lengths."""
    for room in (4, 16, 64, 100_000):
        schedule = testing.open_loop(testing.poisson(130), duration_ns=60 * S)
        due, ok, answered = refuse(schedule, room)
        counted = np.concatenate([answered, np.full(due - ok, np.inf)])
        name = "none" if room > 1000 else f"at {room} waiting"
        yield name, 1 - ok / due, p99(answered), p99(counted)


def refuse(schedule, room: int) -> tuple[int, int, np.ndarray]:
    """Serve with at most *room* requests in the server; refuse the others."""
    free_at, inside = 0, []

    def script(call):
        nonlocal free_at
        now = call.timeout_at_ns - 60 * S
        inside[:] = [each for each in inside if each > now]
        if len(inside) >= room:
            return testing.Answer(1 * MS, Reply(Outcome.REFUSED, error="busy"))
        free_at = max(free_at, now) + 10 * MS
        inside.append(free_at)
        return testing.Answer(free_at - now, Reply(Outcome.OK))

    found = testing.simulate(
        (testing.population("load", testing.one_request),),
        schedule,
        lambda clock: testing.ScriptedTarget(clock, script),
        grace_ns=1000 * S,
    )
    ok = [
        (r["done_ns"] - r["due_ns"]) / S
        for r in found.rows
        if r["outcome"] == Outcome.OK
    ]
    return len(found.rows), len(ok), np.array(ok)


def exponential(seed):
    """A script whose service times are exponential, 10 ms on average."""
    draw = Random(f"service {seed}").expovariate
    return lambda _: testing.Answer(int(draw(100) * S), Reply(Outcome.OK))


def p99(values: np.ndarray) -> float:
    """Return the nearest rank."""
    return float(np.quantile(values, 0.99, method="inverted_cdf"))


def main() -> None:
    """Draw all."""
    import matplotlib as mpl

    DRAWN.mkdir(exist_ok=True)
    with mpl.rc_context(_STYLE):
        _draw_stall()
        _draw_loops()
        _draw_tiny()
        _draw_refusals()


def _figure(title: str, xlabel: str, ylabel: str):
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, name: str) -> None:
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(DRAWN / f"{name}.svg", metadata=nothing)


def _draw_stall() -> None:
    figure, axes = _figure(
        "The same server, which stalls 10 s in 60",
        "percentile",
        "latency, s",
    )
    q = 1 - np.logspace(0, -3, 300)
    for values, name, colour, dash in zip(
        stall(),
        ("from the due time, 100/s whatever happens", "a loop that waits for replies"),
        (BLUE, ORANGE),
        ("-", "--"),
        strict=True,
    ):
        axes.plot(
            1 / (1 - q),
            [np.quantile(values, each, method="inverted_cdf") for each in q],
            color=colour,
            linestyle=dash,
            label=name,
        )
    axes.set(xscale="log", yscale="log")
    axes.set_xticks([2, 10, 100, 1000], ["p50", "p90", "p99", "p99.9"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    _save(figure, "stall")


def _draw_loops() -> None:
    loads = [20, 40, 60, 70, 80, 90, 95]
    opened, closed = open_and_closed(loads)
    figure, axes = _figure(
        "One server, 10 ms a request on average", "requests/s asked for", "p99, ms"
    )
    for values, name, colour, dash in (
        (opened, "open: Poisson arrivals", BLUE, "o-"),
        (closed, "closed: 8 users who wait", ORANGE, "s--"),
    ):
        shown = [1000 * each for each in values]
        axes.plot(loads, shown, dash, color=colour, label=name)
    axes.set(yscale="log")
    axes.legend(frameon=False)
    _save(figure, "loops")


def _draw_tiny() -> None:
    few, many = tiny_n()
    figure, axes = _figure(
        "“p99” of the same server at half its capacity", "p99, ms", "share of the runs"
    )
    bins = np.linspace(20, 220, 41)
    for values, n, colour, hatch in ((few, 50, ORANGE, "//"), (many, 5000, BLUE, "")):
        axes.hist(
            1000 * values,
            bins,
            weights=np.full(len(values), 1 / len(values)),
            color=colour,
            alpha=0.6,
            hatch=hatch,
            label=f"of {n:,} requests",
        )
    axes.legend(frameon=False)
    _save(figure, "tiny")


def _draw_refusals() -> None:
    found = list(refusing())
    figure, axes = _figure(
        "Asked for 1.3 of what it can do, refusing more and more",
        "refuses",
        "p99, s",
    )
    x = np.arange(len(found))
    answered = [each[2] for each in found]
    axes.bar(x, answered, 0.5, color=ORANGE, label="of what was answered")
    names = [f"{name}\n{100 * refused:.0f} % refused" for name, refused, *_ in found]
    axes.set_xticks(x, names)
    for at, (_, _, low, counted) in zip(x, found, strict=True):
        text = "inf" if np.isinf(counted) else f"{counted:.2g}"
        axes.annotate(
            f"{low:.2g} s\nof all: {text}", (at, low), ha="center", va="bottom"
        )
    axes.set(yscale="log", ylim=(0.01, 200))
    axes.legend(frameon=False, loc="upper left")
    _save(figure, "refusals")


if __name__ == "__main__":
    main()
