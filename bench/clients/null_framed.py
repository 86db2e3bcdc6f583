"""A target for the null server, by djinnload's own kit: Djinn's frames, connections kept.

Djinn wants one connection a request; a null server does not, and without connecting the
generator itself can be seen.
"""

from functools import partial

from msgspec import Struct

from djinnload.errors import RemoteProtocolError
from djinnload.spi import Outcome, Proof, Reply
from djinnload.targets.kept import Framing, Kept
from djinnload.targets.requests import Templates, fingerprint
from djinnload.wire import djinn as wire

# Looked up once: a member of an enumeration costs 80 ns each time.
_KIND, _OK = int(wire.MessageType.EXECUTE_MODEL), Outcome.OK
_unpack = wire.HEADER.unpack_from


class NullFramed:
    """See the module.

    Args:
        whole: Send and read whole EXECUTE_MODEL messages; else frames whose payload is
            the input's bytes and nothing else.
    """

    Options = Struct
    streams = False

    def __init__(self, port: int, *, whole: bool):
        self._address = f"127.0.0.1:{port}"
        decode = _decoded if whole else _opened
        self._kept = Kept(Framing(wire.HEADER.size, _length, decode))
        if not whole:
            self.submit = self._submit_bytes

    async def open(self, plan, clock):
        self._templates = Templates(
            {m.name: fingerprint(m, plan.register) for m in plan.models}
        )
        await self._kept.open(self._address, clock)
        return Proof("null server")

    async def aclose(self):
        await self._kept.aclose()

    def submit(self, call, on_reply):
        return self._kept.submit(self._templates.request(call), on_reply)

    def _submit_bytes(self, call, on_reply):
        (tensor,) = call.request.inputs.values()
        return self._kept.submit(wire.frame(_KIND, (tensor.data,)), on_reply)

    def end_session(self, session_id):
        pass


def _length(header) -> int:
    kind, length = _unpack(header)
    if kind != _KIND or length > wire.MAX_PAYLOAD:
        raise RemoteProtocolError(f"no header of a reply: type {kind}, {length} bytes")
    return length


def _opened(_, first, sent, received):
    return Reply(_OK, first_ns=first, bytes_sent=sent, bytes_received=received)


def _decoded(payload, first, sent, received):
    said = wire.decode_execute_reply(payload)
    ok = said.status == "success"
    made = partial(Reply, first_ns=first, bytes_sent=sent, bytes_received=received)
    if not ok:
        return made(Outcome.ERROR, error=said.message)
    return made(Outcome.OK, outputs=said.outputs, echo=said.echo)
