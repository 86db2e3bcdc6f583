"""Tensors of 1, 19 and 64 MB there and back: djinnload beside a bare socket loop.

One connection, one request at a time. Both send and receive the bytes of the same
EXECUTE_MODEL and its reply; the time of an exchange is the client's own (djinnload:
done − sent of its samples), the median in each round.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import closed_loop
import kit
import null_server
import peers

from djinnload.reading.files import read_samples

MB = 10**6
_WARM = 3
BARE, KEPT = "bare socket, kept", "djinnload, kept"
BARE_CHURN, CHURN = (
    "bare socket, one connection a request",
    "djinnload, one connection a request",
)
PEERS = {BARE: BARE, KEPT: BARE, BARE_CHURN: BARE_CHURN, CHURN: BARE_CHURN}


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--seconds", type=float, default=3)
    given.add_argument("--sizes", type=int, nargs="+", default=[1, 19, 64], help="MB")
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds, asked.sizes = 1, 0.5, [19]
    about = kit.machine()
    with tempfile.TemporaryDirectory(prefix="djinnload-tensors-") as folder:
        figures = {
            f"{size}MB": _compare(Path(folder), size * MB, asked)
            for size in asked.sizes
        }
    kit.save("tensors", figures, about, quick=asked.quick)


def _compare(folder: Path, size: int, asked) -> dict:
    sent, reply = (
        len(closed_loop.execute_request(size)),
        null_server.execute_reply(size),
    )
    ways = {
        BARE: partial(_bare, "kept", sent, reply, asked.seconds),
        KEPT: partial(_ours, folder, "execute", size, reply, asked.seconds),
        BARE_CHURN: partial(_bare, "churn", sent, reply, asked.seconds),
        CHURN: partial(_ours, folder, "djinn", size, reply, asked.seconds),
    }
    seen = {name: [] for name in ways}
    for _, name in kit.rounds(ways, asked.rounds):
        seen[name].append(ways[name]())
    moved = sent + len(reply)
    rows = {
        name: {
            "ms": kit.middle(found) / 1e6,
            "GB_per_s": moved / kit.middle(found),
            "of_bare": kit.ratio(seen[PEERS[name]], found),
        }
        for name, found in seen.items()
    }
    title = f"{size // MB} MB there and {size // MB} MB back, medians of {asked.rounds} rounds"
    head = ["client", "ms", "GB/s", "throughput ÷ bare"]
    kit.show(title, head, [[name, *row.values()] for name, row in rows.items()])
    return rows


def _bare(how: str, sent: int, reply: bytes, seconds: float) -> float:
    # As many as a memcpy of 2 GB/s has time for; at least five.
    count = max(5, int(seconds * 2e9 / (sent + len(reply))))
    with null_server.Server("raw", {0: reply}, size=sent) as server:
        arguments = (how, server.port, sent, len(reply), _WARM, count)
        with peers.Client(peers.python("socket_loop.py", *arguments)) as client:
            code, said = client.wait(120), client.said()
    assert code == 0, said
    return median(map(int, said.split()))


def _ours(folder: Path, variant: str, size: int, reply: bytes, seconds: float) -> float:
    with null_server.frame(reply) as server:
        argv = peers.python(
            "generator.py", variant, folder / "out", "--port", server.port
        )
        argv += [
            "--connections",
            1,
            "--payload",
            size,
            "--seconds",
            seconds,
            "--deadline",
            "30s",
        ]
        with peers.Client(argv) as client:
            table = read_samples(peers.cell_of(client, 120))
    assert set(table["outcome"].to_pylist()) == {"ok"}, table["error"].to_pylist()[:3]
    service = table["done_ns"].to_numpy() - table["sent_ns"].to_numpy()
    # The first ones find cold memory and small windows; the bare loop's are left out too.
    return float(median(service[min(_WARM, len(service) - 1) :]))


if __name__ == "__main__":
    main()
