"""How each client is started: argv and environment, each at its best by its own docs.

Every client runs on one core (`taskset`); Go programs are told so (GOMAXPROCS=1), or
their scheduler spins threads that one core cannot run. All HTTP clients POST 64 bytes
with keep-alive and get 64 back.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit
import null_server

CLIENTS = kit.HERE / "clients"
PEERS = kit.HERE / ".venv-peers" / "bin"
#: Long enough for any window; the benchmark ends the client when it has seen enough.
FOREVER = 120


class Client:
    """A client under way; a context manager that ends it.

    Args:
        core: Where it runs; None: anywhere.
    """

    def __init__(self, argv, *, core: int | None = kit.CLIENT_CORE, **env):
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        where = [] if core is None else ["taskset", "-c", str(core)]
        full = [*where, *map(str, argv)]
        texts = {name: str(value) for name, value in env.items()}
        self.process = subprocess.Popen(
            full,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **texts},
            process_group=0,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def cpu_s(self) -> float:
        return null_server.cpu_s(self.process.pid)

    def wait(self, seconds: float) -> int | None:
        """Wait for its own end; None if it goes on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


def python(script: str, *arguments):
    """Return argv of one of our own clients in djinnload's environment."""
    return [sys.executable, CLIENTS / script, *arguments]


def peer(script: str, *arguments):
    return [PEERS / "python", CLIENTS / script, *arguments]


def wrk(port: int, connections: int):
    url = f"http://127.0.0.1:{port}/"
    return [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{FOREVER}s",
        "-s",
        CLIENTS / "post.lua",
        url,
    ], {}


def hey(port: int, connections: int):
    # With -z its -n (200 by default) is ignored; keep-alive is its default.
    body = kit.BUILD / "body64"
    body.parent.mkdir(exist_ok=True)
    body.write_bytes(null_server.BODY)
    url = f"http://127.0.0.1:{port}/"
    argv = [
        "hey",
        "-z",
        f"{FOREVER}s",
        "-c",
        connections,
        "-m",
        "POST",
        "-D",
        body,
        url,
    ]
    return argv, {"GOMAXPROCS": 1}


def k6(port: int, users: int, rate: float | None = None):
    env = {"PORT": port, "USERS": users, "GOMAXPROCS": 1, "K6_NO_USAGE_REPORT": "true"}
    if rate:
        env["RATE"] = f"{rate:g}"
    return [PEERS / "k6", "run", "--quiet", "--no-summary", CLIENTS / "k6.js"], env


def locust(
    port: int,
    users: int,
    rate: float | None = None,
    *,
    seconds: float = FOREVER,
    csv=None,
):
    """Users as asked; with a rate each has an equal share of it, by constant_throughput."""
    argv = [
        PEERS / "locust",
        "-f",
        CLIENTS / "locust_users.py",
        "--headless",
        "--only-summary",
    ]
    argv += ["-u", users, "-r", users, "-t", f"{seconds:g}s", "--stop-timeout", "60"]
    if csv:
        argv += ["--csv", csv, "--csv-full-history"]
    env = {"PORT": port, "LOCUST_SKIP_MONKEY_PATCH_WARNING": 1}
    if rate:
        env["PACE"] = repr(rate / users)
    return argv, env


def molotov(port: int, workers: int):
    argv = [PEERS / "molotov", "-q", "--uvloop", "-w", workers, "-d", FOREVER]
    return [*argv, CLIENTS / "molotov_scenario.py"], {"PORT": port}


def aiperf(port: int, folder: Path, rate: float, seconds: float):
    """A chat client; the answer is 250 bytes of JSON, the least that it takes."""
    tokenizer = kit.BUILD / "tokenizer"
    if not tokenizer.exists():
        subprocess.run(
            [*peer("make_tokenizer.py"), tokenizer], check=True, capture_output=True
        )
    argv = [PEERS / "aiperf", "profile", "--model", "null", "--tokenizer", tokenizer]
    argv += [
        "--url",
        f"http://127.0.0.1:{port}",
        "--endpoint-type",
        "chat",
        "--ui",
        "none",
    ]
    argv += ["--request-rate", f"{rate:g}", "--arrival-pattern", "constant"]
    argv += ["--benchmark-duration", f"{seconds:g}", "--isl", "8", "--osl", "1"]
    argv += ["--artifact-dir", folder, "--no-gpu-telemetry", "--no-server-metrics"]
    return argv, {}


def cell_of(client: Client, seconds: float) -> Path:
    """Return the cell that a djinnload client (generator.py) leaves, once it has ended."""
    code, said = client.wait(seconds), client.said()
    if code != 0:
        raise RuntimeError(f"djinnload ended with {code}: {said[-2000:]}")
    return next(Path(said.strip().splitlines()[-1]).glob("cells/*/*/r00"))


def there(argv) -> bool:
    """Return whether the program is installed; say how if it is not."""
    if shutil.which(str(argv[0])):
        return True
    how = (
        "apt-get install wrk hey"
        if argv[0] in {"wrk", "hey"}
        else "make bench/.venv-peers"
    )
    kit.missing(Path(argv[0]).name, how)
    return False


def window(server, client, *, settle: float, seconds: float) -> dict:
    """Return what happens in *seconds*, once requests have come for *settle*.

    The server's own count and the kernel's CPU times are read at the same two instants:
    nothing is believed that a client says of itself.
    """
    # AIPerf starts a dozen processes before it sends anything.
    if not server.wait(server.count + 50, 120):
        text = client.said()[-500:]
        raise RuntimeError(f"no requests came from {client.process.args}: {text}")
    time.sleep(settle)
    before = _reading(server, client)
    time.sleep(seconds)
    # On a machine where it got no time at all the window is made longer, not dropped.
    if not server.wait(before[1] + 1, 30):
        raise RuntimeError(
            f"{client.process.args} sends nothing: {client.said()[-500:]}"
        )
    took, count, used, served = (
        b - a for a, b in zip(before, _reading(server, client), strict=True)
    )
    return {
        "per_s": count / took,
        "cpu_us": used / count * 1e6,
        "cores": used / took,
        "server_cores": served / took,
    }


def _reading(server, client) -> tuple[float, ...]:
    return time.monotonic(), server.count, client.cpu_s(), server.cpu_s()
