"""The engine's requests a second in simulated time, beside a bare heap of callbacks.

The peer is what no engine can beat: a heap of due times whose callbacks push a reply's
callback and append a row. Both in one process, alternating, under the collector's
settings of a cell, neither keeping its rows; the ratio is the figure.
"""

import argparse
from collections import deque
from statistics import median
from time import process_time

import kit

from djinnload import engine, testing
from djinnload.cell import undisturbed
from djinnload.clock import SimulatedClock
from djinnload.spi import Outcome, Reply

RATE, SECONDS, ROUNDS = 100_000, 3, 7
MS = 1_000_000
N = RATE * SECONDS


class Echo:
    """Answers each call 1 ms later, and keeps nothing."""

    streams = False

    def __init__(self, clock):
        self._at, self._now = clock.at, clock.now
        self._reply = Reply(Outcome.OK)

    def submit(self, call, on_reply):
        reply = self._reply
        self._at(self._now() + MS, lambda: on_reply(reply))
        return _nothing

    def end_session(self, session_id):
        pass


def _nothing():
    return None


def engine_round() -> float:
    """Return requests/s of the engine: open loop, one request a session."""
    schedule = testing.open_loop(testing.constant(RATE), duration_ns=SECONDS * 10**9)
    clock, rows = SimulatedClock(), Rows()
    engine.start(
        schedule,
        (testing.population(),),
        clock=clock,
        target=Echo(clock),
        record=rows.append,
        begin_ns=0,
        grace_ns=MS,
        session_prefix="bench",
    )
    began = process_time()
    clock.run()
    took = process_time() - began
    rows.check()
    return N / took


def bare_round() -> float:
    """Return requests/s of two callbacks and a row each."""
    clock, rows = SimulatedClock(), Rows()
    step = round(1e9 / RATE)

    def due() -> None:
        at = clock.now()
        clock.at(at + MS, lambda: rows.append((at, clock.now())))
        if at + step < N * step:
            clock.at(at + step, due)

    began = process_time()
    clock.at(0, due)
    clock.run()
    took = process_time() - began
    rows.check()
    return N / took


class Rows:
    """Takes rows as a recorder does, a batch at a time, and forgets them."""

    def __init__(self):
        self.all = 0
        self.batch = deque()

    def append(self, row):
        self.batch.append(row)
        if len(self.batch) == 500:
            self.all += 500
            self.batch.clear()

    def check(self):
        assert self.all + len(self.batch) == N, "lost requests"


def main() -> None:
    """Print the median of each, and of the pairs' ratios."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    asked = given.parse_args()
    about, rounds = kit.machine(), 2 if asked.quick else ROUNDS
    pairs = []
    for _ in range(rounds):
        with undisturbed():
            bare = bare_round()
        with undisturbed():
            pairs.append((engine_round(), bare))
    ours, floor = (median(side) for side in zip(*pairs, strict=True))
    ratio = median(a / b for a, b in pairs)
    print(f"engine {ours:,.0f} requests a CPU second, bare heap {floor:,.0f}")
    print(f"ratio {ratio:.2f} (one core, simulated time, medians of {rounds} pairs)")
    figures = {"per_cpu_s": ours, "bare_per_cpu_s": floor, "ratio": ratio}
    kit.save("engine", figures, about, quick=asked.quick)


if __name__ == "__main__":
    main()
