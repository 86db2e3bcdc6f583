"""The engine's requests a second in simulated time, beside a bare heap of callbacks.

The peer is what no engine can beat: a heap of due times whose callbacks push a reply's
callback and append a row. Both in one process, alternating; the ratio is the figure.
"""

import gc
import sys
from time import perf_counter

from djinnload import testing
from djinnload.clock import SimulatedClock

RATE, SECONDS, ROUNDS = 100_000.0, 3, 5
MS = 1_000_000


def engine_round() -> float:
    """Return requests/s of the engine: open loop, one request a session."""
    schedule = testing.open_loop(testing.constant(RATE), duration_ns=SECONDS * 10**9)
    began = perf_counter()
    found = testing.simulate(
        (testing.population(),), schedule, lambda c: testing.ScriptedTarget(c, MS)
    )
    took = perf_counter() - began
    if len(found.raw) != RATE * SECONDS:
        sys.exit(f"lost requests: {len(found.raw)}")
    return len(found.raw) / took


def bare_round() -> float:
    """Return requests/s of two callbacks and a row each."""
    clock, rows, n = SimulatedClock(), [], int(RATE * SECONDS)
    step = round(1e9 / RATE)

    def due() -> None:
        at = clock.now()
        clock.at(at + MS, lambda: rows.append((at, clock.now())))
        if at + step < n * step:
            clock.at(at + step, due)

    began = perf_counter()
    clock.at(0, due)
    clock.run()
    return len(rows) / (perf_counter() - began)


def main() -> None:
    """Print the best of each, and the ratio."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        gc.collect()
        gc.freeze()
        bare.append(bare_round())
        gc.collect()
        gc.freeze()
        ours.append(engine_round())
    best, floor = max(ours), max(bare)
    print(f"engine {best:,.0f} requests/s, bare heap {floor:,.0f}/s")
    print(f"ratio {best / floor:.2f} (one core, simulated time, best of {ROUNDS})")


if __name__ == "__main__":
    main()
