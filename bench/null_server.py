"""The null server (server.c) as a benchmark sees it: started, counted, stalled."""

import mmap
import os
import subprocess
import tempfile
from pathlib import Path
from struct import calcsize, pack_into, unpack_from
from time import monotonic_ns, sleep

import kit
import numpy as np

from djinnload.spi import Tensor
from djinnload.wire import djinn as wire

_HEAD = "4Q"
_HTTP = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
)
#: The least that an OpenAI client takes for an answer.
_CHAT = (
    b'{"id":"a","object":"chat.completion","created":1,"model":"null","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}'
)
BODY = bytes(64)


class Server:
    """A null server on a core of its own; a context manager.

    Args:
        mode: ``raw``, ``frame`` or ``http``.
        size: Of a raw request, bytes.
        replies: By type, see server.c.
        stamps: Arrivals that are kept, each 8 bytes.
        awake: It never sleeps, and so uses all of its core.
    """

    def __init__(
        self,
        mode: str,
        replies: dict[int, bytes],
        *,
        size: int = 0,
        stamps: int = 0,
        awake: bool = False,
    ):
        self._folder = tempfile.TemporaryDirectory(prefix="djinnload-bench-")
        folder = Path(self._folder.name)
        shared = folder / "shared"
        shared.write_bytes(bytes(calcsize(_HEAD) + 8 * stamps))
        with shared.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        argv = [
            "taskset",
            "-c",
            str(kit.SERVER_CORE),
            kit.build("server"),
            mode,
            shared,
            str(size),
        ]
        for kind, reply in replies.items():
            (folder / str(kind)).write_bytes(reply)
            argv.append(f"{kind}={folder / str(kind)}")
        env = {**os.environ, "AWAKE": "1"} if awake else None
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, env=env)
        self.port = int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self._shared.close()
        self._folder.cleanup()

    @property
    def count(self) -> int:
        """Return the requests answered."""
        return unpack_from("Q", self._shared)[0]

    def wait(self, count: int, seconds: float) -> bool:
        """Wait until *count* requests have come."""
        until = monotonic_ns() + int(seconds * 1e9)
        while self.count < count:
            if monotonic_ns() > until:
                return False
            sleep(0.005)
        return True

    def stall(self, begin_ns: int, end_ns: int) -> None:
        """Answer nothing from *begin_ns* to *end_ns* on the monotonic clock."""
        pack_into("2Q", self._shared, 8, begin_ns, end_ns)

    def stamps(self, begin: int = 0) -> np.ndarray:
        """Return when each request from number *begin* on was whole, ns."""
        count = min(self.count, unpack_from("Q", self._shared, 24)[0])
        at = calcsize(_HEAD)
        return np.frombuffer(self._shared[at : at + 8 * count], np.int64)[begin:]

    def cpu_s(self) -> float:
        """Return CPU seconds that the server has used."""
        return cpu_s(self.process.pid)


def cpu_s(pid: int) -> float:
    """Return CPU seconds of a process and its children that live."""
    ticks = 0
    for each in (pid, *_children(pid)):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # What ended children used is the parent's once it has waited for them.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            mine = [int(each) for each in task.read_text().split()]
        except OSError:
            continue
        for each in mine:
            found += [each, *_children(each)]
    return found


def raw(size: int = 64, **options) -> Server:
    """Return a server that answers *size* bytes with *size* bytes."""
    return Server("raw", {0: bytes(size)}, size=size, **options)


def http(**options) -> Server:
    """Return a server that answers with 64 bytes, below /v1/ as a chat model does."""
    replies = {0: _HTTP % (len(BODY), BODY), 1: _HTTP % (len(_CHAT), _CHAT)}
    return Server("http", replies, **options)


def frame(reply: bytes, **options) -> Server:
    """Return a server that speaks Djinn's frames; to an EXECUTE_MODEL it says *reply*."""
    kinds = wire.MessageType
    replies = {
        int(kinds.EXECUTE_MODEL): reply,
        int(kinds.CACHE_QUERY): b"".join(wire.cache_reply()),
        int(kinds.WARMUP_GPU): b"".join(
            wire.v1_reply(kinds.WARMUP_GPU, {"status": "success"})
        ),
    }
    return Server("frame", replies, **options)


def opaque_reply() -> bytes:
    """Return a frame of 64 bytes in all, whose payload means nothing."""
    return b"".join(wire.frame(wire.MessageType.EXECUTE_MODEL, [bytes(55)]))


def execute_reply(payload: int = 64) -> bytes:
    """Return a whole EXECUTE_MODEL's reply with a tensor of *payload* bytes."""
    tensor = Tensor("payload", (payload,), "uint8", bytes(payload))
    return b"".join(wire.execute_reply("success", [tensor]))
