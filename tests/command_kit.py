"""What the tests of the command share: the real command, in processes of its own."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TESTS = Path(__file__).parent
DJINNLOAD = (sys.executable, "-m", "djinnload")
#: Generous: four tests at a time share two cores, and each child imports torch.
TIMEOUT_S = 240
#: What a busy machine does to a short run, and what a short run cannot decide.
NOISE = (
    "LATE", "LOOP_STALL", "UNDELIVERED", "CPU", "CALIBRATION", "UNDECIDED",
    "NOT_STEADY",
)  # fmt: skip
ACCEPT_NOISE = tuple(word for code in NOISE for word in ("--accept", code))

ECHO = """
[scenario]
name = "echoes"
warmup = "200ms"
duration = "1s"
grace = "2s"

[[population]]
name = "chat"
arrival = { process = "constant", rate = "100/s" }
workload = { use = "echo" }
objectives = ["p50(latency) <= 10s"]
"""


def environment(cache: Path | None = None) -> dict[str, str]:
    """Ours, without what would choose another server; weights in *cache*."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GENIE_")}
    return kept | ({"DJINNLOAD_CACHE": str(cache)} if cache else {})


def run_command(
    *words: object, cwd: Path, cache: Path | None = None, timeout: float = TIMEOUT_S
):
    """Run `djinnload WORDS…` to its end; whatever comes of it, no traceback."""
    done = subprocess.run(
        [*DJINNLOAD, *map(str, words)],
        cwd=cwd,
        env=environment(cache),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


@contextmanager
def started(*words: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """`djinnload WORDS…`, running; its output goes to *cwd*/said and err."""
    with (cwd / "said").open("w") as out, (cwd / "err").open("w") as err:
        process = subprocess.Popen(
            [*DJINNLOAD, *map(str, words)],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def misbehaving(kind: str, cache: Path | None = None) -> Iterator[tuple[str, int]]:
    """A reference server of that kind: its address and its process id."""
    process = subprocess.Popen(
        [sys.executable, TESTS / "misbehaving_server.py", kind, "--port", "0"],
        env=environment(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        ready = json.loads(process.stdout.readline())["ready"]
        yield f"127.0.0.1:{ready['port']}", process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def answering(reply: bytes | None, *, read: bool = True) -> Iterator[str]:
    """A server that says *reply* to each connection and closes; None: says nothing."""
    held: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = listener.accept()
                if reply is None:
                    held.append(connection)
                    continue
                with connection, suppress(OSError):
                    if read:
                        connection.recv(2**16)
                    connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        # Closing does not wake who accepts.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for *condition*, looked at often; not for ever."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.02)


def results(out: Path) -> Path:
    """The one run directory below *out*."""
    (found,) = out.glob("*/*")
    return found


def document(path: Path):
    return json.loads(path.read_text("utf-8"))


def codes(run: Path) -> set[str]:
    """Codes that void the run."""
    reasons = document(run / "summary.json")["verdict"]["reasons"]
    return {each["code"] for each in reasons}
