"""Closed loop on one core: djinnload beside the least that Python can do, and the field.

Rounds go through all clients, each second round backwards; figures are medians over the
rounds, ratios are medians of the rounds' ratios.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import kit
import null_server
import peers

from djinnload.spi import Call, Request, Tensor
from djinnload.targets.requests import Templates

KEPT = (
    "bare Protocol, 64 B",
    "djinnload, 64 B frames",
    "bare Protocol, EXECUTE bytes",
    "djinnload, whole EXECUTE",
    "djinnload, 64 B frames, sessions of 1,000",
)
CHURN = ("bare connect-send-receive-close", "djinnload, one connection a request")
#: Connecting takes the even ports first, 14,116 of them by Linux's own range; a closed
#: connection keeps its port in TIME_WAIT for a second or more. Once they are all taken
#: each connect looks through them: 34 of 74 µs, and dearer for who is faster. So few
#: connections are made that it never comes to that; each run has a server port of its own.
BRIEF_SETTLE_S, BRIEF_S = 0.15, 0.3
HTTP = {
    "wrk": peers.wrk,
    "hey": peers.hey,
    "k6": peers.k6,
    "Locust FastHttpUser": peers.locust,
    "Molotov": peers.molotov,
    "aiohttp": lambda port, n: (peers.peer("aiohttp_loop.py", port, n), {}),
}
#: ours ÷ theirs, as the summary wants them.
RATIOS = (
    (KEPT[1], KEPT[0]),
    (KEPT[4], KEPT[0]),
    (KEPT[3], KEPT[2]),
    (CHURN[1], CHURN[0]),
    *[(ours, name) for name in HTTP for ours in (KEPT[1], KEPT[4])],
)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--seconds", type=float, default=2.0, help="of each window")
    given.add_argument("--settle", type=float, default=1.0, help="s before a window")
    given.add_argument("--connections", type=int, nargs="+", default=[1, 64, 256])
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds, asked.connections = 1, 0.7, [64]
        asked.settle = 0.5
    about = kit.machine()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="djinnload-closed-") as folder:
        for n in asked.connections:
            figures[str(n)] = _compare(Path(folder), n, asked)
    kit.save("closed_loop", figures, about, quick=asked.quick)


def _compare(folder: Path, connections: int, asked) -> dict:
    clients = _clients(folder, connections)
    seen = {name: [] for name in clients}
    for _, name in kit.rounds(clients, asked.rounds):
        brief = name in CHURN
        seen[name].append(_measure(*clients[name], asked, brief=brief))
    columns = ("per_s", "cpu_us", "cores")
    rows = {
        name: {each: kit.middle([one[each] for one in found]) for each in columns}
        for name, found in seen.items()
    }
    ratios = {
        f"{ours} ÷ {theirs}": {
            "per_s": kit.ratio(
                _column(seen[ours], "per_s"), _column(seen[theirs], "per_s")
            ),
            # The same where both fill their core; it holds on a busy machine too.
            "per_cpu": kit.ratio(
                _column(seen[theirs], "cpu_us"), _column(seen[ours], "cpu_us")
            ),
        }
        for ours, theirs in RATIOS
        if theirs in seen
    }
    added = {
        name: kit.middle(
            [
                ours["cpu_us"] - bare["cpu_us"]
                for ours, bare in zip(seen[name], seen[KEPT[0]], strict=True)
            ]
        )
        for name in (KEPT[1], KEPT[4])
    }
    title = f"closed loop, {connections} connections, medians of {asked.rounds} rounds"
    head = ["client", "requests/s", "CPU µs/request", "client cores"]
    kit.show(title, head, [[name, *row.values()] for name, row in rows.items()])
    kit.show(
        "medians of the rounds' ratios",
        ["ours ÷ theirs", "requests/s", "requests/CPU second"],
        [[name, *row.values()] for name, row in ratios.items()],
    )
    for name, each in added.items():
        print(f"CPU added to a bare exchange of 64 B, µs a request: {each:.2f}, {name}")
    return {
        "rounds": asked.rounds,
        "clients": rows,
        "ratios": ratios,
        "cpu_added_us": added,
    }


def _column(found, name: str) -> list[float]:
    return [each[name] for each in found]


def _clients(folder: Path, connections: int) -> dict:
    """Return by name: how to start the server, and the client given its port."""
    small, whole = null_server.opaque_reply(), null_server.execute_reply()
    sent = folder / "execute"
    sent.write_bytes(execute_request())
    message = folder / "64"
    message.write_bytes(null_server.BODY)
    frames = partial(null_server.frame, small)
    executes = partial(null_server.frame, whole)

    def bare(how, send, size, port):
        return peers.python("bare.py", how, port, connections, send, size), {}

    def ours(variant, payload, port, requests=1):
        argv = peers.python("generator.py", variant, folder / "out", "--port", port)
        argv += ["--connections", connections, "--seconds", peers.FOREVER]
        return [*argv, "--payload", payload, "--requests", requests], {}

    found = {
        KEPT[0]: (null_server.raw, partial(bare, "kept", message, 64)),
        KEPT[1]: (frames, partial(ours, "frame", 55)),
        KEPT[2]: (executes, partial(bare, "kept", sent, len(whole))),
        KEPT[3]: (executes, partial(ours, "execute", 64)),
        KEPT[4]: (frames, partial(ours, "frame", 55, requests=1000)),
        CHURN[0]: (executes, partial(bare, "churn", sent, len(whole))),
        CHURN[1]: (executes, partial(ours, "djinn", 64)),
    }
    for name, start in HTTP.items():
        if peers.there(start(0, connections)[0]):
            found[name] = (null_server.http, partial(_http, start, connections))
    return found


def _http(start, connections, port):
    return start(port, connections)


def execute_request(payload: int = 64) -> bytes:
    """Return what djinnload sends for a request of the workload ``echo``."""
    tensor = Tensor("payload", (payload,), "uint8", bytes(payload))
    request = Request("echo", {"payload": tensor}, step="echo")
    call = Call(request, "load", "bench", "interactive", 10**9, 0, {})
    return b"".join(Templates({"echo": "djinnload-echo"}).request(call))


def _measure(serve, start, asked, *, brief: bool) -> dict:
    settle, seconds = asked.settle, asked.seconds
    if brief:
        settle, seconds = min(settle, BRIEF_SETTLE_S), min(seconds, BRIEF_S)
    with serve(awake=True) as server:
        argv, env = start(server.port)
        with peers.Client(argv, **env) as client:
            return peers.window(server, client, settle=settle, seconds=seconds)


if __name__ == "__main__":
    main()
