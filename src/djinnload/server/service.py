"""What the server does with a request: answer it, queue it, run it, load a model."""

import asyncio  # noqa: TID251 - the server talks to the loop
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from djinnload import __version__
from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError, RemoteProtocolError
from djinnload.server.admission import Admission, Ticket, resolve_class
from djinnload.server.churn import ALLOCATOR, Corrupted
from djinnload.server.connection import Respond
from djinnload.server.executor import ECHO, Answer, Executor, RequestError, Work
from djinnload.server.loading import Loaded, Recipe
from djinnload.server.log import log, one_line
from djinnload.server.parts import Parts
from djinnload.server.sessions import SessionError
from djinnload.server.settings import Settings
from djinnload.server.shipping import parted
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import Buffer, Frame, MessageType

__all__ = ("Service",)

#: Phases in which a session is kept; Djinn knows both names of each.
_PHASES = {
    "prefill": "prefill",
    "decode": "decode",
    "llm_prefill": "prefill",
    "llm_decode": "decode",
}
_MERGED = {"begin": "prefill", "continue": "decode"}
#: Types that Djinn does not know at the commit we follow: it closes without a word.
_UNKNOWN = (
    MessageType.EXECUTE_WITH_BREAKPOINT,
    MessageType.SIGNAL_PHASE,
    MessageType.ERROR,
)
#: Fingerprints without a model, which nobody can register.
_BUILT_IN = (ECHO, ALLOCATOR)
_MAX_MODELS = 64
_LONGEST_NAME = 1024
_MS = 1e6


class _Pending(Struct, frozen=True):
    """An admitted request and who waits for it."""

    work: Work
    respond: Respond
    session_id: str
    asked: Mapping[str, Any]


class Service:
    """Everything that connections share; all but the workers is on the loop's thread.

    Args:
        settings: As the server was told.
        executor: Runs models; `load` and `run` are called in threads.
    """

    def __init__(self, settings: Settings, executor: Executor) -> None:
        self._settings = settings
        self._executor = executor
        self._parts = Parts(settings.max_buffer_bytes)
        self._admission: Admission[_Pending] = Admission(settings)
        self._models: dict[str, asyncio.Future[Loaded]] = {}
        self._loop = asyncio.get_running_loop()
        self._workers = ThreadPoolExecutor(executor.workers, "djinnload-worker")
        self._loader = ThreadPoolExecutor(1, "djinnload-loader")
        self._said = {
            "server": f"djinnload {__version__}",
            "policy": settings.policy,
        }

    def handle(self, frame: Frame, respond: Respond) -> None:
        """Answer *frame*, now or later; never raises."""
        arrived_ns = monotonic_ns()
        try:
            self._handle(frame, respond, arrived_ns)
        except RemoteProtocolError as error:
            log(f"{frame.kind.name} that cannot be read: {error}")
            reason = f"Failed to deserialize request: {one_line(str(error))}"
            respond(wire.error_reply(reason))
        except Exception as error:  # noqa: BLE001 - no client may end the server
            log(f"{frame.kind.name} failed: {_described(error)}")
            respond(None)

    def usage(self) -> dict[str, float]:
        """Return what is used of the memory, for diagnostics; bytes and counts."""
        ready = [each for each in self._models.values() if each.done()]
        loaded = {id(found.module): found for found in (f.result() for f in ready)}
        sessions = self._executor.sessions
        return {
            "text_used_bytes": sum(each.weights_bytes for each in loaded.values()),
            "data_reserved_bytes": sessions.nbytes,
            "data_capacity_bytes": self._settings.max_session_bytes,
            "active_sessions": len(sessions),
            "models_loaded": len(ready),
            "requests_running": sum(self._admission.running.values()),
            "requests_waiting": self._admission.waiting,
            **(self._executor.churn.usage() if self._executor.churn else {}),
        }

    def close(self) -> None:
        """Start nothing any more; what runs in a thread ends by itself."""
        for pool in (self._workers, self._loader):
            pool.shutdown(wait=False, cancel_futures=True)

    def _handle(self, frame: Frame, respond: Respond, arrived_ns: int) -> None:
        match wire.decode_request(frame):
            case wire.ExecuteRequest() as request:
                self._execute(request, respond, arrived_ns)
            case wire.RegisterRequest() as request:
                self._register(request, respond, arrived_ns)
            case wire.WarmupRequest():
                respond(wire.v1_reply(frame.kind, self._warm()))
            case wire.CacheQuery():
                respond(wire.cache_reply())
            case wire.InitRequest(fingerprint):
                respond(wire.v1_reply(frame.kind, self._init(fingerprint)))
            case wire.OtherRequest(kind) if kind in _UNKNOWN:
                respond(None)
            case wire.OtherRequest(kind):
                log(f"{kind.name} refused")
                respond(wire.error_reply(f"{kind.name} is not supported"))

    def _execute(
        self, request: wire.ExecuteRequest, respond: Respond, arrived_ns: int
    ) -> None:
        try:
            ours = _ours(request.meta)
            if "part" in ours:
                found = self._parts.add(ours, request.inputs, arrived_ns)
                if found is None:
                    echo = {**self._said, "part": ours["part"]}
                    respond(wire.execute_reply("success", echo=echo))
                    return
                request = replace(request, inputs=found)
            pending = self._pending(request, ours, respond)
        except RequestError as error:
            respond(_failed(str(error)))
            return
        qos_class = resolve_class(request.meta, self._settings.default_class)
        decode = pending.work.did["phases"] == "apart" and _decodes(request.meta)
        refusal = self._admission.offer(pending, qos_class, arrived_ns, decode=decode)
        if refusal is not None:
            respond(_failed(refusal))
            return
        self._start()

    def _pending(
        self, request: wire.ExecuteRequest, ours: Mapping[str, Any], respond: Respond
    ) -> _Pending:
        meta = request.meta
        loaded = self._model(request.fingerprint)
        asked = ours.get("behaviours")
        asked = asked if isinstance(asked, dict) else {}
        phase = _PHASES.get(str(meta.get("execution_phase")))
        # Who does not tell phases apart says what to do with the session only.
        phase = phase or _MERGED.get(str(ours.get("session")))
        shipping = asked.get("state") == "shipped"
        name = None if shipping else meta.get("session_id")
        stays = phase is not None or request.fingerprint == ALLOCATOR
        kept = stays and isinstance(name, str) and name != ""
        if kept and len(str(name)) > _LONGEST_NAME:
            raise RequestError(f"session_id is longer than {_LONGEST_NAME} characters")
        # The echo gives back whatever came, by any name.
        echoes = (request.inputs, (), ())
        inputs, weights, state = parted(request.inputs) if loaded else echoes
        work = Work(
            fingerprint=request.fingerprint,
            loaded=loaded,
            inputs=inputs,
            weights=weights,
            state=state,
            ships_state=shipping,
            plans=asked.get("plan") == "per_call",
            continues=phase == "decode",
            session=str(name) if kept else None,
            finalize=bool(meta.get("session_finalize")),
            needs=() if asked.get("result") == "all" else _needs(ours),
            did={"phases": self._phases(asked, meta)},
        )
        session_id = str(name) if kept else f"session_{uuid4().hex[:12]}"
        return _Pending(work, respond, session_id, asked)

    def _phases(self, asked: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
        """Return how a request will be queued: with its phase, or without looking."""
        if asked.get("phases") != "apart" or self._settings.policy == "none":
            return "merged"
        return "apart" if meta.get("execution_phase") in _PHASES else "none"

    def _model(self, fingerprint: str) -> Loaded | None:
        if fingerprint in _BUILT_IN:
            return None
        found = self._models.get(fingerprint)
        if found is None or not found.done():
            name = one_line(fingerprint)
            raise RequestError(f"Model {name} not found in cache. Register it first.")
        return found.result()

    def _start(self) -> None:
        while (ticket := self._admission.start_next(monotonic_ns())) is not None:
            self._workers.submit(self._run, ticket)

    def _run(self, ticket: Ticket[_Pending]) -> None:
        """Serve a request; in a worker thread."""
        try:
            result: Answer | Exception = self._executor.run(ticket.item.work)
        except Exception as error:  # noqa: BLE001 - becomes the reply
            result = error
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._ran, ticket, result)

    def _ran(self, ticket: Ticket[_Pending], result: Answer | Exception) -> None:
        self._admission.finish(ticket)
        self._start()
        respond = ticket.item.respond
        if isinstance(result, RequestError | SessionError | Corrupted):
            respond(_failed(str(result)))
        elif isinstance(result, Exception):
            log(f"execution failed: {_described(result)}")
            respond(_failed(_described(result)))
        else:
            try:
                respond(self._reply(ticket, result))
            except Exception as error:  # noqa: BLE001 - such as a frame too long
                log(f"an answer cannot be sent: {_described(error)}")
                respond(_failed(_described(error)))

    def _reply(self, ticket: Ticket[_Pending], answer: Answer) -> list[Buffer]:
        pending = ticket.item
        waited_ns = ticket.started_ns - ticket.arrived_ns
        took_ns = answer.took_ns
        if took_ns is None:
            took_ns = answer.done_ns - ticket.started_ns
        metrics = {
            "duration_ms": (answer.done_ns - answer.begun_ns) / _MS,
            "executor_time_ms": took_ns / _MS,
            # Without a policy there is no queue: waiting hides in the executor's time.
            "queue_latency_ms": (
                0.0 if self._settings.policy == "none" else waited_ns / _MS
            ),
            "executor": "djinnload",
            "session_id": pending.session_id,
            "qos_class": ticket.qos_class,
        }
        echo: dict[str, Any] = dict(self._said)
        if (loaded := pending.work.loaded) is not None:
            echo |= _named(loaded)
            echo["reused_tokens"] = answer.reused_tokens
        if pending.asked:
            echo |= _done(pending.asked, pending.work)
        return wire.execute_reply("success", answer.outputs, metrics, echo)

    def _register(
        self, request: wire.RegisterRequest, respond: Respond, arrived_ns: int
    ) -> None:
        name = request.fingerprint
        known = self._models.get(name)
        answer = partial(self._registered, respond, name, arrived_ns)
        if name in _BUILT_IN or len(name) > _LONGEST_NAME:
            answer("", ValueError(f"no model may be registered as {one_line(name)}"))
        elif known is not None:
            known.add_done_callback(partial(answer, "already_registered"))
        elif len(self._models) >= _MAX_MODELS:
            answer("", ValueError(f"{_MAX_MODELS} models are registered already"))
        else:
            future: asyncio.Future[Loaded] = self._loop.create_future()
            self._models[name] = future
            future.add_done_callback(partial(answer, "Model registered successfully"))
            recipe = Recipe(
                request.model_id, request.architecture, request.config, request.weights
            )
            self._loader.submit(self._load, recipe, name, future)

    def _load(
        self, recipe: Recipe, name: str, future: "asyncio.Future[Loaded]"
    ) -> None:
        """Build a model; in the loading thread."""
        try:
            result: Loaded | Exception = self._executor.load(recipe)
        except Exception as error:  # noqa: BLE001 - becomes the reply
            result = error
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._loaded, name, future, result)

    def _loaded(
        self, name: str, future: "asyncio.Future[Loaded]", result: Loaded | Exception
    ) -> None:
        if isinstance(result, Loaded):
            future.set_result(result)
        else:
            del self._models[name]  # the next one may do better
            future.set_exception(result)

    def _registered(
        self,
        respond: Respond,
        name: str,
        arrived_ns: int,
        message: str,
        found: "asyncio.Future[Loaded] | Exception",
    ) -> None:
        error = found if isinstance(found, Exception) else found.exception()
        fields: dict[str, Any] = {"status": "success", "fingerprint": name}
        if error is not None:
            fields["status"] = "error"
            message = _described(error)
        fields["message"] = message
        fields["registration_time_ms"] = (monotonic_ns() - arrived_ns) / _MS
        fields["_request_id"] = uuid4().hex[:12]
        fields["djinnload"] = self._said
        if error is None and isinstance(found, asyncio.Future):
            loaded = found.result()
            fields["djinnload"] = {**self._said, **_named(loaded)}
            message = f"{message}: {loaded.name}, sha256 {loaded.weights_sha256[:16]}"
        log(f"registration of {one_line(name)}: {message}")
        respond(wire.v1_reply(MessageType.REGISTER_MODEL, fields))

    def _warm(self) -> dict[str, Any]:
        # Models are run once when they are loaded; there is nothing else to warm.
        return {
            "status": "success",
            "message": f"nothing to warm up on {self._settings.device}",
            "already_warmed": True,
            "_request_id": uuid4().hex[:12],
            "djinnload": self._said,
        }

    def _init(self, fingerprint: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"status": "success", "fingerprint": fingerprint}
        try:
            self._model(fingerprint)
        except RequestError as error:
            fields |= {"status": "error", "message": str(error)}
        return fields


def _failed(message: str) -> list[Buffer]:
    return wire.execute_reply("error", message=one_line(message))


def _named(loaded: Loaded) -> dict[str, str]:
    return {"model": loaded.name, "weights_sha256": loaded.weights_sha256}


def _ours(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    ours = meta.get("djinnload")
    return ours if isinstance(ours, dict) else {}


def _needs(ours: Mapping[str, Any]) -> tuple[str, ...]:
    needs = ours.get("needs")
    if not isinstance(needs, list):
        return ()
    if not all(isinstance(need, str) for need in needs):
        raise RequestError("needs holds what is no string")
    return tuple(needs)


def _decodes(meta: Mapping[str, Any]) -> bool:
    return _PHASES.get(str(meta.get("execution_phase"))) == "decode"


def _done(asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """Return what was done of the behaviours *asked*; those not known are left out."""
    did = dict(work.did)
    sha256 = did.pop("weights_sha256", None)
    if asked.get("result") == "needed" and not work.needs:
        did["result"] = "needed"  # who names no outputs needs all of them
    behaviours = {name: did[name] for name in asked if name in did}
    ran = {} if sha256 is None else {"weights_sha256": sha256}
    return {**ran, "behaviours": behaviours}


def _described(error: BaseException) -> str:
    """Return what went wrong, in one line, with its type unless it is one of ours."""
    text = one_line(str(error))
    if isinstance(error, DjinnloadError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}"
