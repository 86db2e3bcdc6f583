"""A target that keeps its connections, for the null server, by djinnload's own SPI.

Djinn wants one connection a request; a null server does not, and without connecting the
generator itself can be seen. A free connection is taken for each request; if none is
free, the request waits its turn on a busy one, as bytes do in a socket.
"""

import asyncio
from collections import deque

from msgspec import Struct

from djinnload.spi import Outcome, Proof, Reply
from djinnload.targets.requests import Templates, fingerprint
from djinnload.wire import djinn as wire

_SCRATCH = memoryview(bytearray(1 << 20))


class Kept:
    """See the module.

    Args:
        whole: Send and read whole EXECUTE_MODEL messages; else frames whose payload is
            the input's bytes and nothing else.
    """

    Options = Struct
    streams = False

    def __init__(self, port: int, connections: int, *, whole: bool):
        self._port = port
        self._connections = connections
        self._whole = whole
        self.free = []
        self._links = []

    async def open(self, plan, clock):
        loop = asyncio.get_running_loop()
        self._templates = Templates(
            {m.name: fingerprint(m, plan.register) for m in plan.models}
        )
        for _ in range(self._connections):
            link = _Link(self, clock.now, decode=_decoded if self._whole else _opened)
            await loop.create_connection(
                lambda link=link: link, "127.0.0.1", self._port
            )
            self._links.append(link)
        self.free += self._links
        self._next = 0
        return Proof("null server")

    async def aclose(self):
        for link in self._links:
            link.transport.abort()

    def submit(self, call, on_reply):
        if self._whole:
            buffers = self._templates.request(call)
        else:
            tensor = next(iter(call.request.inputs.values()))
            buffers = wire.frame(wire.MessageType.EXECUTE_MODEL, [tensor.data])
        return (self.free.pop() if self.free else self._busy()).send(buffers, on_reply)

    def _busy(self):
        self._next = (self._next + 1) % len(self._links)
        return self._links[self._next]

    def end_session(self, session_id):
        pass


class _Link(asyncio.BufferedProtocol):
    def __init__(self, target, now, decode):
        self._target = target
        self._now = now
        self._decode = decode
        self._reader = wire.FrameReader()
        self._waiting = deque()
        self._first = None
        self._received = 0

    def connection_made(self, transport):
        self.transport = transport

    def send(self, buffers, on_reply):
        waiting = [on_reply, sum([len(buffer) for buffer in buffers])]
        self._waiting.append(waiting)
        if len(buffers) == 1:
            self.transport.write(buffers[0])
        else:
            self.transport.writelines(buffers)
        return _Cancel(waiting)

    def get_buffer(self, sizehint):
        return self._reader.room() if self._reader.missing else _SCRATCH

    def buffer_updated(self, nbytes):
        reader = self._reader
        if self._first is None:
            self._first = self._now()
        if reader.missing:
            self._received += nbytes
            self._take(reader.filled(nbytes))
            return
        data = _SCRATCH[:nbytes]
        while len(data):
            frame = self._reader.feed(data)
            # Replies to several requests may come at once: what follows is the next's.
            over = self._reader.surplus
            self._received += len(data) - over
            data = data[len(data) - over :] if over else b""
            self._take(frame)

    def _take(self, frame):
        if frame is None:
            return
        on_reply, sent = self._waiting.popleft()
        reply = self._decode(frame, self._first, sent, self._received)
        self._reader = wire.FrameReader()
        self._first, self._received = None, 0
        if not self._waiting:
            self._target.free.append(self)
        if on_reply is not None:
            on_reply(reply)

    def connection_lost(self, exc):
        while self._waiting:
            on_reply, _ = self._waiting.popleft()
            if on_reply is not None:
                on_reply(Reply(Outcome.ERROR, error="connection lost"))


class _Cancel:
    __slots__ = ("_waiting",)

    def __init__(self, waiting):
        self._waiting = waiting

    def __call__(self):
        self._waiting[0] = None  # its answer is still read, and dropped


def _opened(_, first, sent, received):
    return Reply(Outcome.OK, first_ns=first, bytes_sent=sent, bytes_received=received)


def _decoded(frame, first, sent, received):
    said = wire.decode_execute_reply(frame.payload)
    ok = said.status == "success"
    return Reply(
        Outcome.OK if ok else Outcome.ERROR,
        outputs=said.outputs,
        error="" if ok else said.message,
        first_ns=first,
        bytes_sent=sent,
        bytes_received=received,
        echo=said.echo,
    )
