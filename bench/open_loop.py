"""Open loop at a constant and a Poisson rate, stamped by the client and by the server.

Lateness is sent − due by the client's own stamps, where it has any. What the server sees
needs no client's word: how far arrivals are from the even grid of the rate asked for
(its phase is the one that fits best), and how many came at all.
"""

import argparse
import tempfile
from pathlib import Path
from random import Random

import kit
import null_server
import numpy as np
import peers
from scipy.stats import kstest

from djinnload.reading.files import read_samples

CONNECTIONS = 64
OURS, PRECISE, C, SLEEP = "djinnload", "djinnload precise", "C timerfd", "anyio.sleep"
K6, LOCUST, AIPERF = "k6 constant-arrival-rate", "Locust constant_throughput", "AIPerf"
#: Of the grid: what comes before is the client's start.
SKIP_S = 0.5
COLUMNS = {
    "late_p50_us": "late p50 µs",
    "late_p99_us": "p99 µs",
    "early": "early",
    "unsent": "unsent",
    "grid_p99_us": "off grid p99 µs",
    "arrived": "arrived ÷ asked",
    "cores": "cores",
}


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument(
        "--slow-rounds", type=int, default=3, help="of AIPerf: 30 s each"
    )
    given.add_argument("--seconds", type=float, default=5)
    given.add_argument("--seeds", type=int, default=20)
    given.add_argument(
        "--rates", type=float, nargs="+", default=[1000, 2000, 5000, 10000]
    )
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.slow_rounds, asked.seconds, asked.seeds = 1, 0, 1, 1
        asked.rates = [5000]
    about = kit.machine()
    with tempfile.TemporaryDirectory(prefix="djinnload-open-") as folder:
        figures = {
            f"{rate:g}": _compare(Path(folder), rate, asked) for rate in asked.rates
        }
        figures["poisson_1000"] = _gaps(Path(folder), asked)
    kit.save("open_loop", figures, about, quick=asked.quick)


def _compare(folder: Path, rate: float, asked) -> dict:
    due = np.arange(int(rate * asked.seconds)) * round(1e9 / rate)
    names = [C, OURS, PRECISE, SLEEP, K6, LOCUST, AIPERF]
    seen = {name: [] for name in names}
    for number, name in kit.rounds(names, asked.rounds):
        if name != AIPERF or number < asked.slow_rounds:
            seen[name].append(_measure(name, folder, due, rate))
    seen = {name: [each for each in found if each] for name, found in seen.items()}
    rows = {
        name: {key: kit.middle([each.get(key) for each in found]) for key in COLUMNS}
        for name, found in seen.items()
        if found
    }
    title = f"open loop, {rate:,.0f}/s evenly for {asked.seconds:g} s, medians of {asked.rounds} rounds"
    kit.show(
        title,
        ["client", *COLUMNS.values()],
        [[name, *row.values()] for name, row in rows.items()],
    )
    against_c = kit.ratio(
        *[[each["late_p99_us"] for each in seen[name]] for name in (OURS, C)]
    )
    print(f"lateness p99, djinnload ÷ C, median of the rounds' ratios: {against_c:.2f}")
    return {
        "rounds": asked.rounds,
        "scheduled": len(due),
        "clients": rows,
        "p99_over_c": against_c,
    }


def _measure(name: str, folder: Path, due: np.ndarray, rate: float) -> dict | None:
    """Run one client through *due*; None if it is not installed."""
    seconds = len(due) / rate
    if name in (K6, LOCUST, AIPERF):
        return _by_server(name, folder, rate, seconds)
    served = null_server.opaque_reply()
    make = (
        null_server.raw
        if name in (C, SLEEP)
        else lambda **o: null_server.frame(served, **o)
    )
    with make(stamps=len(due)) as server:
        argv = _argv(name, server.port, folder, due, rate)
        with peers.Client(argv, core=_core(name)) as client:
            used = peers.window(
                server, client, settle=0.1 * seconds, seconds=0.7 * seconds
            )
            sent = _own_stamps(name, folder, client, seconds)
        return {
            **_lateness(*sent, len(due)),
            **_grid(server.stamps(), rate, len(due)),
            "cores": used["cores"],
        }


def _core(name: str) -> int | None:
    """Return the client's core; None for ours: it keeps to it, its writer need not."""
    return None if name in (OURS, PRECISE) else kit.CLIENT_CORE


def _argv(name: str, port: int, folder: Path, due: np.ndarray, rate: float, **more):
    if name in (C, SLEEP):
        file = folder / "due"
        file.write_bytes(due.astype(np.int64).tobytes())
        arguments = (port, CONNECTIONS, file, folder / "rows")
        return (
            [kit.build("timer"), *arguments]
            if name == C
            else peers.python("sleeper.py", *arguments)
        )
    options = [
        "--port",
        port,
        "--payload",
        55,
        "--rate",
        rate,
        "--seconds",
        len(due) / rate,
    ]
    for key, value in more.items():
        options += [f"--{key}", value]
    options += ["--core", kit.CLIENT_CORE]
    if name == PRECISE:
        options.append("--precise")
    return peers.python("generator.py", "frame", folder / "out", *options)


def _own_stamps(name: str, folder: Path, client, seconds: float):
    """Return due and sent of a client that ends, ns; NaN where nothing was sent."""
    if name in (C, SLEEP):
        code = client.wait(60 + seconds)
        assert code == 0, f"{name} ended with {code}: {client.said()}"
        rows = np.frombuffer((folder / "rows").read_bytes(), np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1].astype(float)
    table = read_samples(peers.cell_of(client, 60 + seconds))
    due = table["due_ns"].to_numpy()
    order = np.argsort(due, kind="stable")
    return due[order], table["sent_ns"].to_numpy()[order].astype(float)


def _lateness(due: np.ndarray, sent: np.ndarray, scheduled: int) -> dict:
    late = (sent - due) / 1000
    known = late[~np.isnan(late)]
    p50, p99 = np.quantile(known, [0.5, 0.99], method="inverted_cdf")
    return {
        "late_p50_us": float(p50),
        "late_p99_us": float(p99),
        "early": int((known < 0).sum()),
        "unsent": abs(len(known) - scheduled),
    }


def _grid(stamps: np.ndarray, rate: float, scheduled: int) -> dict:
    """Return how far arrivals are off the grid of *rate*, and their share of what was asked."""
    if len(stamps) < 10:
        return {"grid_p99_us": None, "arrived": len(stamps) / scheduled}
    begin = stamps[0] + SKIP_S * 1e9
    end = min(stamps[-1], stamps[0] + scheduled / rate * 1e9)
    inside = stamps[(stamps >= begin) & (stamps < end)]
    off = inside - np.arange(len(inside)) * (1e9 / rate)
    off = np.abs(off - np.median(off)) / 1000
    p99 = np.quantile(off, 0.99, method="inverted_cdf")
    return {
        "grid_p99_us": float(p99),
        "arrived": len(inside) / ((end - begin) / 1e9 * rate),
    }


def _by_server(name: str, folder: Path, rate: float, seconds: float) -> dict | None:
    """Run a client that tells no times: only the server's count."""
    scheduled = int(rate * seconds)
    with null_server.http(stamps=2 * scheduled + 1000) as server:
        start = {
            K6: lambda: peers.k6(server.port, 200, rate),
            LOCUST: lambda: peers.locust(server.port, 100, rate),
            AIPERF: lambda: peers.aiperf(
                server.port, folder / "aiperf", rate, seconds + 1
            ),
        }[name]
        argv, env = start()
        if not peers.there(argv):
            return None
        # AIPerf is a dozen processes; on one core it does not reach 1,000/s.
        core = None if name == AIPERF else kit.CLIENT_CORE
        with peers.Client(argv, core=core, **env) as client:
            used = peers.window(server, client, settle=SKIP_S, seconds=seconds)
        return {**_grid(server.stamps(), rate, scheduled), "cores": used["cores"]}


def _gaps(folder: Path, asked) -> dict:
    """Return KS distances of gaps from the exponential of 1,000/s: client's and server's."""
    names, rate = (C, OURS, PRECISE, SLEEP), 1000.0
    seen = {name: [] for name in names}
    for seed in range(1, asked.seeds + 1):
        for name in names if seed % 2 else names[::-1]:
            seen[name].append(_gap(name, folder, rate, asked.seconds, seed))
    rows = {
        name: {key: kit.middle([each[key] for each in found]) for key in found[0]}
        for name, found in seen.items()
    }
    title = f"Poisson at 1,000/s for {asked.seconds:g} s: KS distance of gaps, medians of {asked.seeds} seeds"
    head = ["client", "due", "sent", "arrived", "late p99 µs"]
    kit.show(title, head, [[name, *row.values()] for name, row in rows.items()])
    return {"seeds": asked.seeds, "clients": rows}


def _gap(name: str, folder: Path, rate: float, seconds: float, seed: int) -> dict:
    rng, n = Random(seed), int(rate * seconds)
    due = np.cumsum([rng.expovariate(rate) * 1e9 for _ in range(n)]).astype(np.int64)
    served = null_server.opaque_reply()
    make = (
        null_server.raw
        if name in (C, SLEEP)
        else lambda **o: null_server.frame(served, **o)
    )
    with make(stamps=2 * n) as server:
        argv = _argv(name, server.port, folder, due, rate, process="poisson", seed=seed)
        with peers.Client(argv, core=_core(name)) as client:
            planned, sent = _own_stamps(name, folder, client, seconds)
        known = sent[~np.isnan(sent)]
        distances = [_ks(times, rate) for times in (planned, known, server.stamps())]
    late = float(np.quantile((sent - planned) / 1000, 0.99, method="inverted_cdf"))
    return dict(
        zip(("due", "sent", "arrived", "late_p99_us"), [*distances, late], strict=True)
    )


def _ks(times: np.ndarray, rate: float) -> float:
    return float(kstest(np.diff(np.sort(times)) * rate / 1e9, "expon").statistic)


if __name__ == "__main__":
    main()
