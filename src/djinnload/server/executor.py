"""Forward passes and KV sessions, in worker threads; torch is imported on first use.

One executor serves one process. The event loop calls nothing here but `workers`;
`load` runs in the loading thread, `run` in a worker thread. To make a server that
misbehaves, as the tests do, subclass it and hand it to `serve`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from djinnload.clock import monotonic_ns
from djinnload.models import families
from djinnload.server.allocators import make
from djinnload.server.churn import ALLOCATOR, Churn
from djinnload.server.inputs import RequestError, check_inputs
from djinnload.server.loading import Loaded, Recipe, load
from djinnload.server.sessions import Kept, Sessions
from djinnload.server.settings import Settings
from djinnload.server.shipping import Modules, restored, shipped
from djinnload.spi import Tensor

__all__ = ("ECHO", "Answer", "Executor", "RequestError", "Work")

#: The fingerprint that needs no registration: its outputs are its inputs.
ECHO = "djinnload-echo"

_NEED = re.compile(r"(\w+)(\[-1\])?")
_DTYPES = ("float32", "float16", "int64", "int32", "bool")
#: Arguments of a forward that are the server's to give.
_RESERVED = ("cache", "past_key_values", "use_cache", "return_dict", "self")


class Work(Struct, frozen=True):
    """One admitted request.

    Attributes:
        loaded: The model; None for the echo.
        continues: Decode: the session must be there. Else it is made.
        session: None: no state is read or left.
        finalize: The session is freed afterwards, whatever comes of the request.
        needs: ``NAME`` or ``NAME[-1]`` (its last position only); empty: everything.
        weights: Sent with it, run instead of the resident ones; empty: none.
        state: Sent with it; empty and *ships_state*: the session begins.
        ships_state: The state is sent back, and none is left here.
        plans: The module is built for this request alone.
        did: By behaviour, what was done; filled in as it is done.
    """

    fingerprint: str
    loaded: Loaded | None
    inputs: tuple[Tensor, ...]
    continues: bool = False
    session: str | None = None
    finalize: bool = False
    needs: tuple[str, ...] = ()
    weights: tuple[Tensor, ...] = ()
    state: tuple[Tensor, ...] = ()
    ships_state: bool = False
    plans: bool = False
    did: dict[str, str] = field(default_factory=dict)


class Answer(Struct, frozen=True):
    """What came of a request.

    Attributes:
        reused_tokens: Positions that the session already had.
        begun_ns: When a worker began with it.
        took_ns: Of what was asked for alone; None: all that the worker did.
    """

    outputs: tuple[Tensor, ...]
    reused_tokens: int
    begun_ns: int
    done_ns: int
    took_ns: int | None = None


class Executor:
    """Models run here, one request a worker at a time.

    Attributes:
        workers: Requests that compute at the same time; with the torch threads of each,
            never more threads than the settings allow, however many slots there are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.modules = Modules(settings.device)
        self.sessions = Sessions(
            max_sessions=settings.max_sessions, max_bytes=settings.max_session_bytes
        )
        cores = len(os.sched_getaffinity(0))
        self.threads = settings.threads or max(1, cores - 1)
        self._intra = max(1, self.threads // settings.slots)
        self.workers = min(settings.slots, max(1, self.threads // self._intra))
        if settings.device != "cpu":
            self.workers = settings.slots
        self.churn: Churn | None = None
        if settings.memory:
            made = make(settings.memory, settings.device, settings.memory_bytes)
            self.churn = Churn(made)

    def load(self, recipe: Recipe) -> Loaded:
        """Build the model and run it once, so that no request pays for the first time.

        Raises:
            DjinnloadError, ValueError: The recipe makes no model.
        """
        import torch

        from djinnload.models.tolerance import probe

        torch.set_num_threads(self._intra)
        # Else what is called float32 would be rounded to 10 bits on some GPUs.
        torch.backends.cudnn.allow_tf32 = False
        loaded = load(recipe, device=self.settings.device)
        with torch.inference_mode():
            self.forward(loaded, probe(loaded.model, loaded.module), None, keep=False)
        return loaded

    def run(self, work: Work) -> Answer:
        """Serve one request.

        Raises:
            RequestError: It asks for what the model does not take or give.
            SessionError: Its session cannot be continued.
            Corrupted: Memory is not what it should be.
        """
        begun_ns = monotonic_ns()
        if work.fingerprint == ALLOCATOR:
            outputs, took = self._allocate(work)
            return Answer(outputs, 0, begun_ns, monotonic_ns(), took)
        outputs, reused = self.answer(work)
        return Answer(outputs, reused, begun_ns, monotonic_ns())

    def answer(self, work: Work) -> tuple[tuple[Tensor, ...], int]:
        """Return the outputs that are needed, and how many positions were reused."""
        if work.loaded is None:
            work.did.update(dict.fromkeys(("weights", "state", "plan"), "none"))
            work.did["result"] = "all"
            return work.inputs, 0
        import torch

        dtype = next(work.loaded.module.parameters()).dtype
        arguments = {
            tensor.name: self._array(tensor, dtype)
            for tensor in work.inputs
            if _acceptable(tensor)
        }
        with (
            torch.inference_mode(),
            self.modules.of(work.loaded, work.weights, anew=work.plans) as (
                loaded,
                sha,
            ),
        ):
            work.did["weights_sha256"] = sha
            work.did["weights"] = "per_call" if work.weights else "resident"
            work.did["plan"] = "per_call" if work.plans else "cached"
            work.did["result"] = "needed" if work.needs else "all"
            called = replace(work, loaded=loaded)
            cached = families.family(loaded.model.architecture).cached
            # A model that keeps nothing has nothing to ship; what came is refused.
            if work.ships_state and (cached or work.state):
                return self._shipped(called, loaded, arguments, dtype)
            if work.session is None:
                found, reused = self.forward(loaded, arguments, None, keep=False)
                work.did["state"] = "recomputed" if cached else "none"
            else:
                found, reused = self._in_session(called, work.session, arguments)
                work.did["state"] = "session"
            return _needed(found, work.needs), reused

    def forward(
        self,
        loaded: Loaded,
        arguments: dict[str, Any],
        kept: Kept | None,
        *,
        keep: bool,
    ) -> tuple[Mapping[str, Any], int]:
        """Run the model on *arguments*, after what is *kept* of the session.

        With *keep* the outputs hold the cache, made or extended.
        """
        past = 0 if kept is None else kept.tokens
        check_inputs(loaded.model, arguments, past)
        given = dict(arguments)
        if kept is not None:
            given[loaded.cache_name] = kept.cache
            if kept.encoded is not None:
                given["encoder_outputs"] = (kept.encoded,)
        if loaded.cache_name:
            given["use_cache"] = keep
        return loaded.module(**given), past

    def _allocate(self, work: Work) -> tuple[tuple[Tensor, ...], int]:
        if self.churn is None:
            reason = "this server was started without an allocator"
            raise RequestError(f"{reason}; set target.server.memory")
        work.did["memory"] = self.settings.memory
        return self.churn.step(work.session, work.inputs, last=work.finalize)

    def _shipped(
        self, work: Work, loaded: Loaded, arguments: dict[str, Any], dtype: Any
    ) -> tuple[tuple[Tensor, ...], int]:
        """Continue what the request brought along, and send it all back."""
        kept = None
        if work.state:
            kept = restored(loaded, work.state, self.settings.device, dtype)
        found, reused = self.forward(loaded, arguments, kept, keep=True)
        outputs = _needed(found, work.needs)
        # Nobody needs the last one; who knows nothing of needs gets it all the same.
        if not (work.finalize and work.needs):
            state = shipped(loaded, found)
            outputs += tuple(_tensor(name, value) for name, value in state.items())
        work.did["state"] = "shipped"
        return outputs, reused

    def _in_session(
        self, work: Work, name: str, arguments: dict[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        assert work.loaded is not None  # noqa: S101 - `answer` returned the echo
        if not families.family(work.loaded.model.architecture).cached:
            raise RequestError(f"{work.loaded.name} keeps nothing between requests")
        kept = None
        if work.continues:
            kept = self.sessions.take(name, work.fingerprint)
        else:
            self.sessions.begin(name)
        keeps = False
        try:
            found, past = self.forward(work.loaded, arguments, kept, keep=True)
            keeps = not work.finalize
        finally:
            # A cache that a failed forward has touched can never be continued.
            if not keeps:
                self.sessions.free(name)
        if keeps:
            self.sessions.put(name, _kept(work, work.loaded, found, past, arguments))
        return found, past

    def _array(self, tensor: Tensor, floating: Any) -> Any:
        import torch

        # Copied: the frame's buffer is read-only, and torch wants to own what it runs.
        flat = torch.frombuffer(
            bytearray(tensor.data), dtype=getattr(torch, tensor.dtype)
        )
        value = flat.reshape(tensor.shape).to(self.settings.device)
        # The wire has no bfloat16, and a client need not know what the weights are.
        return value.to(floating) if value.is_floating_point() else value


def _acceptable(tensor: Tensor) -> bool:
    if tensor.dtype not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise RequestError(f"input {tensor.name} is {tensor.dtype}; taken are {known}")
    if tensor.name in _RESERVED or not tensor.name.isidentifier():
        raise RequestError(f"no input may be named {tensor.name!r}")
    if not tensor.nbytes:
        raise RequestError(f"input {tensor.name} is empty")
    return True


def _needed(found: Mapping[str, Any], needs: Sequence[str]) -> tuple[Tensor, ...]:
    import torch

    outputs = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if not needs:
        return tuple(_tensor(name, value) for name, value in outputs.items())
    made = []
    for need in needs:
        match = _NEED.fullmatch(need)
        if match is None or match[1] not in outputs:
            known = ", ".join(f"{name}, {name}[-1]" for name in outputs)
            raise RequestError(f"no output {need!r}; there is: {known}")
        value = outputs[match[1]]
        made.append(_tensor(match[1], value[:, -1:] if match[2] else value))
    return tuple(made)


def _tensor(name: str, value: Any) -> Tensor:
    import torch

    if value.dtype == torch.bfloat16:
        # The wire has no bfloat16; float32 holds every one of its values.
        value = value.float()
    return Tensor.of(name, value.contiguous().cpu().numpy())


def _kept(
    work: Work,
    loaded: Loaded,
    found: Mapping[str, Any],
    past: int,
    arguments: Mapping[str, Any],
) -> Kept:
    inputs = families.family(loaded.model.architecture).inputs
    ids = next(port.name for port in inputs if port.below)
    cache, encoded = found[loaded.cache_name], found.get("encoder_last_hidden_state")
    return Kept(
        work.fingerprint,
        cache,
        past + arguments[ids].shape[1],
        _size(cache) + (0 if encoded is None else encoded.nbytes),
        encoded,
    )


def _size(cache: Any) -> int:
    # A model with an encoder has two: of what it said, and of what it heard.
    caches = (
        getattr(cache, "self_attention_cache", cache),
        getattr(cache, "cross_attention_cache", None),
    )
    return sum(
        layer.keys.nbytes + layer.values.nbytes
        for each in caches
        if each is not None
        for layer in each.layers
    )
