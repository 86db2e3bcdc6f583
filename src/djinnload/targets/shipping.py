"""What behaviours add to calls on this side: weights to send, state to keep and return.

Nothing is copied: weights are views of their memory-mapped file, state of the reply.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from djinnload.errors import LocalProtocolError
from djinnload.spi import Call, Model, Outcome, Reply, Tensor

__all__ = ("EXECUTES", "EXECUTES_PLAIN", "Shipping", "in_session", "inputs_of")

#: Behaviours of the reference server.
EXECUTES: Mapping[str, tuple[str, ...]] = {
    "weights": ("resident", "per_call"),
    "state": ("session", "shipped", "recomputed"),
    "result": ("needed", "all"),
    "plan": ("cached", "per_call"),
    "phases": ("apart", "merged"),
    "memory": ("arena", "torch", "malloc", "cudamalloc"),
}
#: Of Djinn itself: all outputs always; sessions only of requests that tell a phase.
EXECUTES_PLAIN: Mapping[str, tuple[str, ...]] = {
    "weights": ("resident",),
    "state": ("session", "recomputed"),
    "result": ("all",),
    "phases": ("apart",),
}

#: Weights of more bytes travel in several frames, each with no more than these.
PART_BYTES = 2**30 - 2**24
#: What the names of shipped tensors begin with.
WEIGHT, STATE = "weight/", "state/"
#: What a server echoes of a behaviour that a request has no use for.
NOT_APPLICABLE = "none"
#: Steps that go on with what an earlier one of the session left.
_CONTINUES = ("decode",)
_PHASED = ("prefill", "decode", "encode")


def in_session(call: Call) -> bool:
    """Return whether the server keeps what this call leaves, under a session's name."""
    kept = call.behaviours.get("state", "session") == "session"
    return kept and call.request.state is not None


def inputs_of(call: Call) -> Mapping[str, Tensor]:
    """Return the request's inputs, all of the session's where it is recomputed."""
    request = call.request
    if request.full is not None and call.behaviours.get("state") == "recomputed":
        return request.full
    return request.inputs


class Shipping:
    """The weights of models, and the state of sessions that is between two calls.

    Args:
        models: That may be asked for.

    Attributes:
        extended: Whether the server has djinnload's extensions, as it said.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self.extended = True
        self._models = {model.name: model for model in models}
        self._weights: dict[str, tuple[str, tuple[Tensor, ...]]] = {}
        self._state: dict[str, dict[str, tuple[Tensor, ...]]] = {}

    def prepare(self) -> None:
        """Map the weights that are in the cache already; no reading, no hashing."""
        from djinnload.models import weights

        for name, model in self._models.items():
            if weights.cached(model):
                self._load(name)

    def refuse(self, call: Call) -> None:
        """Raise LocalProtocolError if the server cannot do what the arm is to do."""
        if self.extended:
            return
        for name, word in call.behaviours.items():
            if word not in EXECUTES_PLAIN.get(name, ()):
                raise LocalProtocolError(
                    f"Djinn itself cannot execute {name} = {word!r}, which an arm asks "
                    "for: leave the arm out with --arm; target.options = { extensions "
                    "= false } has check refuse it"
                )

    def weights(self, call: Call) -> tuple[Tensor, ...]:
        """Return the weights to send with *call*; see `groups`.

        Raises:
            LocalProtocolError: Its model has none.
            HostError: They had to be made first, and cannot be kept.
        """
        if call.behaviours.get("weights") != "per_call":
            return ()
        return self._load(call.request.model)[1]

    def groups(self, call: Call) -> list[list[Tensor]]:
        """Return the weights in as many groups as frames are needed; none: in one.

        A tensor is never divided: one that is larger has a frame to itself.

        Raises:
            LocalProtocolError, HostError: As of `weights`.
        """
        found: list[list[Tensor]] = []
        room = 0
        for tensor in self.weights(call):
            if tensor.nbytes > room or not found:
                found.append([])
                room = PART_BYTES
            found[-1].append(tensor)
            room -= tensor.nbytes
        return found if len(found) > 1 else []

    def state(self, call: Call) -> tuple[Tensor, ...]:
        """Return the state to send with *call*: none to begin with.

        Raises:
            LocalProtocolError: It continues what was never begun.
        """
        request = call.request
        shipped = call.behaviours.get("state") == "shipped"
        if not shipped or request.state is None or request.step not in _CONTINUES:
            return ()
        try:
            return self._state[call.session_id][request.state]
        except KeyError:
            raise LocalProtocolError(
                f"a {request.step} of a session that has no state yet: it begins with "
                "a prefill that was answered"
            ) from None

    def received(
        self, call: Call, on_reply: Callable[[Reply], None], reply: Reply
    ) -> None:
        """Keep the state of *reply* and hand on the rest; an error if it is not so."""
        if reply.outcome is Outcome.OK:
            reply = self._checked(call, self._kept(call, reply))
        on_reply(reply)

    def end(self, session_id: str) -> None:
        """Forget the session's state; unknown ones are fine."""
        self._state.pop(session_id, None)

    def _kept(self, call: Call, reply: Reply) -> Reply:
        request = call.request
        if request.state is None or call.behaviours.get("state") != "shipped":
            return reply
        state = tuple(t for n, t in reply.outputs.items() if n.startswith(STATE))
        outputs = {n: t for n, t in reply.outputs.items() if not n.startswith(STATE)}
        if state:
            self._state.setdefault(call.session_id, {})[request.state] = state
        elif not request.last:
            return _failed(reply, "the server sent no state back to be shipped again")
        return replace(reply, outputs=outputs)

    def _checked(self, call: Call, reply: Reply) -> Reply:
        """Return *reply*, an error if it denies having had what the call has."""
        if evaded := self._evaded(call, reply):
            return _failed(reply, f"the server says that {evaded} does not apply")
        if call.behaviours.get("weights") != "per_call":
            return reply
        ran, sent = reply.echo.get("weights_sha256"), self._load(call.request.model)[0]
        if ran is None or ran == sent:
            return reply
        said = f"weights of sha256 {str(ran)[:16]}, sent were {sent[:16]}"
        return _failed(reply, f"the server says that it ran {said}")

    def _evaded(self, call: Call, reply: Reply) -> str:
        """Return the behaviour that the server says a request has no use for."""
        did = reply.echo.get("behaviours")
        if call.request.model not in self._models or not isinstance(did, dict):
            return ""
        vain = {name for name, word in did.items() if word == NOT_APPLICABLE}
        if call.request.state is None:
            vain.discard("state")
        if call.request.state is None or call.request.step not in _PHASED:
            vain.discard("phases")
        return min(vain & call.behaviours.keys(), default="")

    def _load(self, name: str) -> tuple[str, tuple[Tensor, ...]]:
        found = self._weights.get(name)
        if found is None:
            from djinnload.models import weights

            if name not in self._models:
                raise LocalProtocolError(f"model {name!r} has no weights to send")
            sha256, tensors = weights.mapped(self._models[name])
            named = tuple(replace(t, name=WEIGHT + t.name) for t in tensors)
            found = self._weights[name] = sha256, named
        return found


def _failed(reply: Reply, error: str) -> Reply:
    return replace(reply, outcome=Outcome.ERROR, error=error, outputs={})
