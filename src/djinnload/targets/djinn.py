"""A Djinn server, real or djinnload's own: one connection a request, no task."""

import asyncio  # noqa: TID251 - targets talk to the loop
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from msgspec import Struct

from djinnload.errors import (
    ConnectFailed,
    ConnectionLost,
    Refused,
    RemoteProtocolError,
    TargetError,
)
from djinnload.spi import (
    Call,
    Clock,
    Evidence,
    Model,
    Outcome,
    Proof,
    Reply,
    TargetPlan,
    Tensor,
)
from djinnload.targets.exchange import Deserted, Exchange, resolve
from djinnload.targets.parts import Parts
from djinnload.targets.requests import BUILT_IN, Templates, fingerprint
from djinnload.targets.shipping import EXECUTES, EXECUTES_PLAIN, Shipping
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import Buffer, ExecuteReply, Frame, MessageType

__all__ = ("Djinn", "DjinnOptions")

#: What answers where no version of ours is said.
DJINN = "Djinn"
_SECOND = 1_000_000_000
#: Between two attempts to reach a server that is not up yet.
_RETRY_S = 0.05
#: A server may load billions of parameters before it says that it did.
_REGISTRATION_S = 600.0
#: Nothing listens for so long: the server is gone.
_LOST_NS = 1_000_000_000
#: Our name, the server's, ours in its unit.
_METRICS = (
    ("queue_ns", "queue_latency_ms", 1e6),
    ("exec_ns", "executor_time_ms", 1e6),
    ("reused_tokens", "reused_tokens", 1.0),
)
_REFUSALS = ("limit exceeded", "quota exceeded")
#: What the reference server says of memory that it found changed.
_WRONG = "memory corrupted"
_LONGEST = 500

OnReply = Callable[[Reply], None]


class DjinnOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the server.

    Attributes:
        extensions: It has those of djinnload's reference server; Djinn itself has none.
    """

    extensions: bool = True


class Djinn:
    """Djinn's wire protocol over TCP (`djinnload.spi.CallbackTarget`)."""

    Options: type[Struct] = DjinnOptions
    streams = False

    def __init__(self, options: DjinnOptions | None = None) -> None:
        self._live: set[Exchange | Parts] = set()
        self._shipping = Shipping(())
        #: Since when nothing has listened there; None: something does.
        self.deserted_ns: int | None = None

    @staticmethod
    def executes(options: DjinnOptions) -> Mapping[str, tuple[str, ...]]:
        """Return the behaviours that can be asked for, by name."""
        return EXECUTES if options.extensions else EXECUTES_PLAIN

    async def open(self, plan: TargetPlan, clock: Clock) -> Proof:
        """See `djinnload.spi.Target`."""
        self._loop = asyncio.get_running_loop()
        self._now = clock.now
        self._address = plan.address
        self._endpoint = await resolve(plan.address)
        names = {model.name: fingerprint(model, plan.register) for model in plan.models}
        real = [model for model in plan.models if model.name not in BUILT_IN]
        self._shipping = Shipping(real)
        self._templates = Templates(names, self._shipping)
        await self._ready(plan.ready_ns)
        said = await self._warmed()
        spent = {"sent": 0, "received": 0}
        for model in plan.models:
            fields = await self._introduce(model, names[model.name], plan, spent)
            said = {**said, **fields}
        await asyncio.to_thread(self._shipping.prepare)
        kind = _kind(said.pop("server", None))
        self._shipping.extended = kind != DJINN
        return Proof(
            kind=kind,
            evidence={name: Evidence("echoed", value) for name, value in said.items()},
            registration=spent,
        )

    def submit(self, call: Call, on_reply: OnReply) -> Callable[[], Reply | None]:
        """See `djinnload.spi.CallbackTarget`."""
        if call.behaviours:
            return self._started(self._behaving(call, on_reply))
        buffers = self._templates.request(call)
        done = partial(self._replied, on_reply)
        return self._started(Exchange(buffers, self._now, done))

    def _behaving(self, call: Call, on_reply: OnReply) -> "Exchange | Parts":
        """Return the exchange of a call as its arm is to have it, not started yet."""
        self._shipping.refuse(call)
        done = partial(self._replied, partial(self._shipping.received, call, on_reply))
        if groups := self._shipping.groups(call):
            frames = self._templates.parts(call, groups, uuid4().hex)
            return Parts(frames, self._now, done)
        return Exchange(self._templates.request(call), self._now, done)

    def _started(self, exchange: "Exchange | Parts") -> Callable[[], Reply | None]:
        self._live.add(exchange)
        exchange.start(self._loop, self._endpoint)
        return partial(self._cancel, exchange)

    def end_session(self, session_id: str) -> None:
        """Forget the state that was shipped for the session, if any."""
        self._shipping.end(session_id)

    def lost(self) -> bool:
        """Return whether nothing has listened at the address for a second.

        A server that comes back does so without the models: it is another one.
        """
        since_ns = self.deserted_ns
        return since_ns is not None and self._now() - since_ns >= _LOST_NS

    async def aclose(self) -> None:
        """See `djinnload.spi.Target`."""
        while self._live:
            self._live.pop().abort()

    def _replied(
        self, on_reply: OnReply, exchange: Exchange | Parts, result: Frame | TargetError
    ) -> None:
        self._live.discard(exchange)
        if type(result) is not Deserted:
            self.deserted_ns = None
        elif self.deserted_ns is None:
            self.deserted_ns = self._now()
        on_reply(_reply(exchange, result))

    def _cancel(self, exchange: Exchange | Parts) -> Reply | None:
        if exchange not in self._live:
            return None
        self._live.discard(exchange)
        exchange.abort()
        return _ended(exchange, Outcome.CANCELLED, "")

    async def _ready(self, ready_ns: int) -> None:
        """Wait until the server speaks Djinn; say what it speaks if it does not."""
        until_ns = self._now() + ready_ns
        failed: TargetError | None = None
        while (left_ns := until_ns - self._now()) > 0:
            try:
                answer, _ = await self._ask(wire.cache_query(), left_ns / _SECOND)
                wire.decode_bare(answer.payload)
            except (ConnectFailed, ConnectionLost) as error:
                failed = error  # it may be starting; another process may have the port
            except RemoteProtocolError as error:
                raise RemoteProtocolError(
                    f"{self._address} does not speak Djinn: {error}"
                ) from error
            else:
                return
            await asyncio.sleep(_RETRY_S)
        raise self._unready(failed, ready_ns / _SECOND)

    def _unready(self, failed: TargetError | None, seconds: float) -> TargetError:
        where = f"{self._address} for {seconds:g} s"
        if failed is None:
            return ConnectFailed(f"nothing tried at {where}")
        if isinstance(failed, _Silent):
            return failed
        if isinstance(failed, ConnectionLost):
            return ConnectionLost(
                f"{where}: connections are taken and closed, which is not Djinn's way "
                f"to answer ({failed})"
            )
        return ConnectFailed(f"nothing listens at {where}: {failed}")

    async def _warmed(self) -> dict[str, Any]:
        answer, _ = await self._ask(wire.warmup(), _REGISTRATION_S)
        # Without CUDA Djinn says that it failed, and works.
        return _ours(self._v1(answer))

    async def _introduce(
        self, model: Model, name: str, plan: TargetPlan, spent: dict[str, int]
    ) -> dict[str, Any]:
        """Register *model* if it needs that; return what the server says of itself."""
        if model.name in BUILT_IN:
            return await self._built_in(model.name, name)
        if plan.register == "weights" or not _built_by_name(model):
            request = await asyncio.to_thread(_with_weights, name, model)
        else:
            full = wire.model_class(model.architecture, model.config)
            request = wire.register_by_id(name, model.model_id, full)
        answer, exchange = await self._ask(request, _REGISTRATION_S)
        spent["sent"] += exchange.sent
        spent["received"] += exchange.received
        fields = self._v1(answer)
        if fields.get("status") != "success":
            self._declined(model.name, fields.get("message"))
        return _ours(fields)

    async def _built_in(self, model: str, name: str) -> dict[str, Any]:
        probe = Tensor("x", (1,), "int64", bytes(8))
        request = wire.execute_request(
            {"fingerprint": name, "session_finalize": True}, [probe]
        )
        answer, _ = await self._ask(request, _REGISTRATION_S)
        if answer.kind is not MessageType.EXECUTE_MODEL:
            self._declined(model, self._v1(answer).get("message"))
        said = wire.decode_execute_reply(answer.payload)
        if said.status != "success":
            self._declined(model, said.message)
        # What a request was treated like says nothing of a model or of an arm.
        return {
            name: value
            for name, value in said.echo.items()
            if name in ("server", "policy")
        }

    def _declined(self, model: str, message: object) -> None:
        text = one_line(str(message or "without saying why"))
        raise Refused(f"{self._address} declined model {model}: {text}")

    def _v1(self, answer: Frame) -> dict[str, Any]:
        try:
            return wire.decode_v1(answer.payload)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{self._address}: {error}") from error

    async def _ask(
        self, request: list[Buffer], seconds: float
    ) -> tuple[Frame, Exchange]:
        answered: asyncio.Future[Frame | TargetError] = self._loop.create_future()

        def done(_: Exchange, result: Frame | TargetError) -> None:
            if not answered.done():
                answered.set_result(result)

        exchange = Exchange(request, self._now, done)
        exchange.start(self._loop, self._endpoint)
        try:
            async with asyncio.timeout(seconds):
                result = await answered
        except TimeoutError:
            raise self._silent(exchange, seconds) from None
        finally:
            exchange.abort()
        if isinstance(result, TargetError):
            raise result
        return result, exchange

    def _silent(self, exchange: Exchange, seconds: float) -> TargetError:
        if not exchange.sent:
            return ConnectFailed(f"no connection within {seconds:.1f} s")
        return _Silent(
            f"{self._address} takes connections and does not answer: "
            f"{exchange.received} bytes in {seconds:.1f} s"
        )


class _Silent(ConnectionLost):
    """It listens and says nothing."""


def one_line(text: str) -> str:
    """Return *text* as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _kind(server: object) -> str:
    # Djinn itself has no djinnload object and no version on the wire.
    return one_line(server) if isinstance(server, str) and server else DJINN


def _ours(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = fields.get("djinnload")
    return dict(found) if isinstance(found, dict) else {}


def _with_weights(name: str, model: Model) -> list[Buffer]:
    from djinnload.models import weights

    tensors = tuple(weights.tensors(model))
    return wire.register_with_weights(name, model.architecture, model.config, tensors)


def _reply(exchange: Exchange | Parts, result: Frame | TargetError) -> Reply:
    if isinstance(result, TargetError):
        return _ended(exchange, Outcome.ERROR, str(result))
    try:
        return _answered(exchange, result)
    except RemoteProtocolError as error:
        return _ended(exchange, Outcome.ERROR, f"cannot read the reply: {error}")


def _ended(exchange: Exchange | Parts, outcome: Outcome, error: str) -> Reply:
    return Reply(
        outcome,
        error=one_line(error),
        first_ns=exchange.first_ns,
        bytes_sent=exchange.sent,
        bytes_received=exchange.received,
    )


def _answered(exchange: Exchange | Parts, frame: Frame) -> Reply:
    if frame.kind is MessageType.ERROR:
        message = wire.decode_v1(frame.payload).get("message")
        return _ended(exchange, Outcome.ERROR, f"the server could not read: {message}")
    if frame.kind is not MessageType.EXECUTE_MODEL:
        raise RemoteProtocolError(f"a {frame.kind.name} came for an EXECUTE_MODEL")
    said = wire.decode_execute_reply(frame.payload)
    outcome, error = _outcome(said)
    resolved = said.metrics.get("qos_class")
    return Reply(
        outcome,
        outputs=said.outputs if outcome is Outcome.OK else {},
        metrics=_metrics(said),
        error=error,
        first_ns=exchange.first_ns,
        bytes_sent=exchange.sent,
        bytes_received=exchange.received,
        qos_class=resolved if isinstance(resolved, str) else "",
        echo=said.echo,
    )


def _outcome(said: ExecuteReply) -> tuple[Outcome, str]:
    if said.status == "success":
        return Outcome.OK, ""
    error = one_line(said.message) or f"status {one_line(said.status)!r}"
    if error.startswith(_WRONG):
        return Outcome.WRONG, error
    refused = any(words in error for words in _REFUSALS)
    return Outcome.REFUSED if refused else Outcome.ERROR, error


def _metrics(said: ExecuteReply) -> dict[str, float]:
    found: dict[str, float] = {}
    if not said.metrics and not said.echo:
        return found
    for name, theirs, scale in _METRICS:
        value = said.metrics.get(theirs)
        if value is None and scale == 1.0:
            value = said.echo.get(theirs)
        if type(value) is float or (type(value) is int and abs(value) < 2**63):
            found[name] = value * scale
    return found


def _built_by_name(model: Model) -> bool:
    """Return whether a server can make the weights; a checkpoint is only here."""
    return model.source == "random" or model.source.startswith("package:")
