"""EXECUTE_MODEL requests from calls, by templates of their JSON.

All but the session's name is the same for many requests, and is formatted once.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from djinnload.errors import LocalProtocolError
from djinnload.spi import Call, Model, Tensor
from djinnload.targets.shipping import Shipping, in_session, inputs_of
from djinnload.wire.djinn import (
    Buffer,
    execute_request,
    tensor_fields,
    v2_request,
)
from djinnload.wire.payload import view

__all__ = ("BUILT_IN", "Templates", "fingerprint")

#: Fingerprints of models that the reference server has without registration.
BUILT_IN = {"echo": "djinnload-echo", "allocator": "djinnload-allocator"}
#: What Djinn calls a step that makes a session's state or goes on with it.
_PHASES = {"prefill": "prefill", "decode": "decode"}
_MAKES_STATE = {**_PHASES, "encode": "prefill"}
_WHOLE: Mapping[str, Any] = {}
#: More kinds of request than a run has; shapes may vary without end.
_KEPT = 4096


def fingerprint(model: Model, register: str) -> str:
    """Return the name under which the server knows *model*: 16 hex digits.

    A server keeps the first registration of a fingerprint, so it changes whenever the
    recipe does, and with the way of registering: Djinn loads in fp16 by id only.
    """
    if model.name in BUILT_IN:
        return BUILT_IN[model.name]
    recipe = json.dumps([msgspec.to_builtins(model), register], sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


class _Template(Struct):
    """A kind of request: its JSON around the session's name, if it has one.

    Attributes:
        heads: What stands before each tensor's bytes, without a name; once made.
    """

    before: bytes
    after: bytes
    heads: tuple[bytes, ...] | None = None


class Templates:
    """Makes requests for models by their fingerprints.

    Args:
        fingerprints: By the model's name.
        shipping: Has what behaviours add.
    """

    def __init__(
        self, fingerprints: Mapping[str, str], shipping: Shipping | None = None
    ) -> None:
        self._fingerprints = fingerprints
        self._shipping = shipping or Shipping(())
        self._kept: dict[tuple[Any, ...], _Template] = {}

    def request(self, call: Call) -> list[Buffer]:
        """Return what to send for *call*.

        Raises:
            LocalProtocolError: The workload asked for what cannot be sent.
            HostError: Weights that are to be sent cannot be had.
        """
        inputs = _inputs(call)
        weights: tuple[Tensor, ...] = ()
        if call.behaviours:
            inputs += self._shipping.state(call)
            weights = self._shipping.weights(call)
        made = self._template(call, inputs, weights)
        inputs += weights
        if in_session(call):
            session = json.dumps(f"{call.session_id}/{call.request.state}").encode()
            return v2_request(made.before + session + made.after, inputs)
        if made.heads is None:
            buffers = v2_request(made.before, inputs)
            made.heads = tuple([bytes(head) for head in buffers[::2]])
            return buffers
        found: list[Buffer] = []
        # Tensors of the same shapes: all but their bytes is as it was.
        for head, tensor in zip(made.heads, inputs, strict=False):
            found += (head, view(tensor))
        return found or list(made.heads)

    def parts(
        self, call: Call, groups: Sequence[Sequence[Tensor]], name: str
    ) -> list[list[Buffer]]:
        """Return the frames of a call whose weights are too much for one.

        Args:
            call: Its request, and what else behaviours add, are in the last frame.
            groups: Of its weights, one for each frame.
            name: That no other call has.

        Raises:
            LocalProtocolError: As of `request`.
        """
        count = len(groups)
        whole = [*_inputs(call), *self._shipping.state(call), *groups[-1]]
        last = {"part": [count, count], "call": name}
        before, after = self._format(call, whole, last)
        session = json.dumps(f"{call.session_id}/{call.request.state}").encode()
        document = before + session + after if in_session(call) else before
        head = {"fingerprint": self._fingerprints[call.request.model]}
        return [
            *(
                execute_request(
                    {**head, "djinnload": {"part": [i, count], "call": name}}, group
                )
                for i, group in enumerate(groups[:-1], 1)
            ),
            v2_request(document, whole),
        ]

    def _template(
        self, call: Call, inputs: list[Tensor], weights: tuple[Tensor, ...]
    ) -> "_Template":
        request = call.request
        key = (
            request.model,
            request.step,
            request.state is None,
            request.last,
            request.needs,
            call.qos_class,
            call.deadline_ns,
            tuple(call.behaviours.items()),
            tuple([(t.name, t.shape, t.dtype) for t in inputs]),
        )
        made = self._kept.get(key)
        if made is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            # The weights follow from the model's name: no part of the key.
            made = _Template(*self._format(call, [*inputs, *weights]))
            self._kept[key] = made
        return made

    def _format(
        self, call: Call, inputs: list[Tensor], part: Mapping[str, Any] = _WHOLE
    ) -> tuple[bytes, bytes]:
        fields = self._known(call, inputs)
        more = _session_fields(call)
        if ours := {**_ours(call), **part}:
            more["djinnload"] = ours
        if not in_session(call):
            return _json({**fields, **more}), b""
        rest = b", " + _json(more)[1:] if more else b"}"
        return _json(fields)[:-1] + b', "session_id": ', rest

    def _known(self, call: Call, inputs: list[Tensor]) -> dict[str, Any]:
        name = call.request.model
        if name not in self._fingerprints:
            known = ", ".join(sorted(self._fingerprints)) or "none"
            raise LocalProtocolError(
                f"model {name!r} was not asked for with Assets.model "
                f"(there is: {known})"
            )
        fields: dict[str, Any] = {
            "fingerprint": self._fingerprints[name],
            "profile_id": None,
            **tensor_fields(inputs),
        }
        if call.qos_class:
            fields["qos_class"] = call.qos_class
        if call.deadline_ns is not None:
            fields["deadline_ms"] = -(-call.deadline_ns // 1_000_000)
        return fields


def _inputs(call: Call) -> list[Tensor]:
    return [
        tensor if tensor.name == name else msgspec.structs.replace(tensor, name=name)
        for name, tensor in inputs_of(call).items()
    ]


def _session_fields(call: Call) -> dict[str, Any]:
    request, asked = call.request, call.behaviours
    fields: dict[str, Any] = {}
    shipped = request.state is not None and asked.get("state") == "shipped"
    # Without a state to come back to, Djinn still reserves an arena: free it at once.
    if request.last or not (shipped or in_session(call)):
        fields["session_finalize"] = True
    phases = _PHASES if request.state is None else _MAKES_STATE
    if request.step in phases and asked.get("phases") != "merged":
        fields["execution_phase"] = phases[request.step]
    return fields


def _ours(call: Call) -> dict[str, Any]:
    request, asked = call.request, call.behaviours
    ours: dict[str, Any] = {}
    if asked:
        ours["behaviours"] = dict(asked)
    if request.needs and asked.get("result") != "all":
        ours["needs"] = list(request.needs)
    if asked.get("phases") == "merged" and in_session(call):
        # Djinn's word for this tells phases apart.
        continues = _MAKES_STATE.get(request.step) == "decode"
        ours["session"] = "continue" if continues else "begin"
    return ours


def _json(fields: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(fields).encode()
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"cannot be sent as JSON: {error}") from error
